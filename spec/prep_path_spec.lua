-- Paths at liburing's level: opened, made, renamed, linked, removed, looked
-- at. (For tasks there is uring.fs.)

local hand = require "hand"
local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, sqe = hand.one, uring.sqe
local HERE <const> = uring.AT_FDCWD

describe("paths", function()
  local ring, dir

  -- A path in the directory of the test.
  local function at(name) return dir .. "/" .. name end

  local function write(name, text)
    local file <close> = assert(io.open(at(name), "w"))
    file:write(text)
  end

  before_each(function()
    if not helper.probe.available then return end
    ring = hand.ring()
    dir = os.tmpname()
    os.remove(dir)
    assert.equal(0, (one(ring, sqe():prep_mkdir(dir, tonumber("700", 8)))))
  end)
  after_each(function()
    hand.close()
    if dir then os.execute("rm -r " .. dir) end
  end)

  -- A uring.fd of the directory.
  local function opened()
    local fd = one(ring, sqe():prep_open(dir, uring.O_PATH))
    assert(fd >= 0)
    return uring.fd(fd)
  end

  it("are opened, and closed in programs that are executed", function()
    write("a", "hello")
    helper.keeps_fds(function()
      local folder <close> = opened()
      for _, request in ipairs { sqe():prep_open(at "a"),
          sqe():prep_openat(folder, "a"),
          sqe():prep_openat2(folder, "a", {}) } do
        local fd <close> = uring.fd(assert(one(ring, request)))
        local info = helper.content("/proc/self/fdinfo/" .. fd:fileno())
        assert.truthy(tonumber(info:match "flags:%s*(%d+)", 8)
          & uring.O_CLOEXEC ~= 0)
      end
    end)
    assert.equal(-E.ENOENT, (one(ring, sqe():prep_open(at "none"))))
  end)

  it("are opened into slots of the ring", function()
    write("a", "hello")
    assert(ring:register_files_sparse(3))
    assert.equal(0, (one(ring, sqe():prep_open_direct(at "a", 0, 0, 0))))
    assert.equal(0, (one(ring, sqe():prep_openat2_direct(HERE, at "a",
      { flags = uring.O_CLOEXEC }, 1))))
    assert.equal(2, (one(ring, sqe():prep_open_direct(at "a",
      uring.O_CLOEXEC, 0, uring.IORING_FILE_INDEX_ALLOC))))
    for slot = 0, 2 do assert.equal("hello", hand.content(ring, slot)) end
  end)

  it("are looked up by the rules of openat2", function()
    write("a", "hello")
    os.execute("ln -s .. " .. at "up")
    local folder <close> = opened()
    for path, res in pairs { ["../x"] = -E.EXDEV, ["up/x"] = -E.EXDEV,
        ["/etc"] = -E.EXDEV } do
      assert.equal(res, (one(ring, sqe():prep_openat2(folder, path,
        { resolve = uring.RESOLVE_BENEATH }))))
    end
    local fd = one(ring, sqe():prep_openat2(folder, "new", {
      flags = uring.O_CREAT | uring.O_WRONLY, mode = tonumber("640", 8),
      resolve = uring.RESOLVE_BENEATH | uring.RESOLVE_NO_SYMLINKS }))
    assert(uring.fd(fd)):close()
    for _, how in ipairs { { flag = 1 }, { flags = "1" }, { flags = -1 },
        { 1 }, { mode = 0.5 } } do
      helper.raises("#3 to 'prep_openat2'", function()
        sqe():prep_openat2(folder, "a", how)
      end)
    end
  end)

  it("are looked at by statx", function()
    write("a", "hello")
    local buffer = uring.buffer(256)
    assert.equal(0, (one(ring, sqe():prep_statx(HERE, at "a", 0,
      uring.STATX_BASIC_STATS, buffer))))
    local mask, _, _, nlink, _, _, mode = string.unpack("<I4I4I8I4I4I4I2",
      buffer:string())
    assert.truthy(mask & uring.STATX_SIZE ~= 0)
    assert.same({ 1, 8 }, { nlink, mode >> 12 })
    assert.equal(5, (string.unpack("<I8", buffer:string(), 41)))
    helper.raises("256 bytes or more expected", function()
      sqe():prep_statx(HERE, "a", 0, 0, uring.buffer(255))
    end)
  end)

  it("are made, renamed, linked and removed", function()
    local folder <close> = opened()
    write("a", "hello")
    for _, step in ipairs {
        { 0, sqe():prep_rename(at "a", at "b") },
        { 0, sqe():prep_renameat(folder, "b", folder, "c") },
        { -E.ENOENT, sqe():prep_rename(at "a", at "b") },
        { 0, sqe():prep_link(at "c", at "d") },
        { 0, sqe():prep_linkat(HERE, at "c", folder, "e") },
        { 0, sqe():prep_symlink("c", at "f") },
        { 0, sqe():prep_symlinkat("f", folder, "g") },
        { -E.EEXIST, sqe():prep_renameat(folder, "c", HERE, at "d",
          uring.RENAME_NOREPLACE) },
        { 0, sqe():prep_mkdirat(folder, "sub", tonumber("700", 8)) },
        { -E.EISDIR, sqe():prep_unlink(at "sub") },
        { 0, sqe():prep_unlinkat(folder, "sub", uring.AT_REMOVEDIR) },
      } do
      assert.equal(step[1], (one(ring, step[2])))
    end
    assert.equal("hello", helper.content(at "g"))
    for name in ("cdefg"):gmatch "." do
      assert.equal(0, (one(ring, sqe():prep_unlinkat(folder, name))))
    end
    assert.equal(0, (one(ring, sqe():prep_unlink(dir, uring.AT_REMOVEDIR))))
    os.execute("mkdir " .. dir)
  end)

  it("name a second directory that must not be closed", function()
    write("a", "hello")
    local folder = opened()
    local request = sqe():prep_renameat(HERE, at "a", folder, "b")
    assert.equal(0, (one(ring, request)))
    folder:close()
    helper.raises("the descriptor that this sqe names was closed",
      ring.queue, ring, request)
    local file <close> = assert(io.open(dir))
    helper.raises("#3 to 'prep_renameat'", function()
      sqe():prep_renameat(HERE, "a", file, "b")
    end)
    -- the first may be a Lua file
    assert.equal(0, (one(ring, sqe():prep_renameat(file, "b", HERE,
      at "a"))))
  end)

  it("have attributes", function()
    write("a", "hello")
    local fd <close> = uring.fd(one(ring, sqe():prep_open(at "a")))
    local res = one(ring, sqe():prep_setxattr("user.x", "12345", at "a"))
    if res == -E.EOPNOTSUPP then
      helper.skip "this file system has no attributes"
    end
    assert.equal(0, res)
    local buffer = uring.buffer(10)
    assert.equal(5, (one(ring, sqe():prep_getxattr("user.x", buffer,
      at "a"))))
    assert.equal("12345", buffer:string(1, 5))
    assert.equal(-E.EEXIST, (one(ring, sqe():prep_fsetxattr(fd, "user.x",
      "1", uring.XATTR_CREATE))))
    local value = uring.buffer "abcdef"
    assert.equal(0, (one(ring, sqe():prep_fsetxattr(fd, "user.x", value,
      uring.XATTR_REPLACE, 3))))
    assert.equal(-E.ERANGE, (one(ring, sqe():prep_fgetxattr(fd, "user.x",
      buffer, 2))))
    assert.equal(3, (one(ring, sqe():prep_fgetxattr(fd, "user.x", buffer))))
    assert.equal("abc", buffer:string(1, 3))
    assert.equal(-E.ENODATA, (one(ring, sqe():prep_getxattr("user.y", buffer,
      at "a"))))
  end)

  it("are in the errors of what is awaited", function()
    local no, other = at "no", at "other"
    uring.run(function()
      for _, case in ipairs {
          { no, sqe():prep_open(no) }, { no, sqe():prep_unlink(no) },
          { no, sqe():prep_openat2(HERE, no, {}) },
          { no .. "/x", sqe():prep_mkdir(no .. "/x") },
          { no, sqe():prep_statx(HERE, no, 0, 0, uring.buffer(256)) },
          { no, sqe():prep_getxattr("user.x", uring.buffer(8), no) },
          { no .. "' to '" .. other, sqe():prep_rename(no, other) },
          { no .. "' to '" .. other, sqe():prep_link(no, other) },
          { no .. "' to '" .. no .. "/x", sqe():prep_symlink(no,
            no .. "/x") } } do
        hand.await_fails(ring, "'" .. case[1] .. "'", E.ENOENT, case[2])
      end
    end)
  end)

  it("outlive the strings and the sqe that named them", function()
    write("a", "hello")
    for _ = 1, 20 do
      assert(ring:queue(sqe():prep_rename(at "a", at "b")))
      collectgarbage()
      assert(ring:queue(sqe():prep_rename(at "b", at "a")
        :set_flags(uring.IOSQE_ASYNC)))
      collectgarbage()
      local _, first = hand.take(ring)
      local _, second = hand.take(ring)
      assert.truthy(first == 0 or second == 0)
      os.rename(at "b", at "a")
    end
  end)
end)
