-- Bad weather for files: full disks, no permission, loops of links, files that
-- change while they are read, very many of them. An error says what was tried
-- on which path, and leaves nothing half done.

-- luacheck: no redefined (what runs in another process has no upvalues)

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local fs, E = uring.fs, uring.errno
local patience <const> = net.patience
local fails <const> = helper.refused

local lua_path = assert(io.popen(("readlink /proc/%d/exe"):format(
  spec.getpid()))):read "l"
local folder

before_each(function()
  if not helper.probe.available then return end
  net.run(function() folder = assert(fs.mkdtemp "/tmp/uring.XXXXXX") end)
end)

after_each(function()
  if not helper.probe.available then return end
  os.execute("rm -rf " .. folder)
  helper.no_tasks()
end)

-- Runs a function without upvalues by these words before an interpreter; what
-- it is called with is `...`.
local function apart(words, f, ...)
  local path = helper.file(("require 'uring'.run(load(%q), ...)"):format(
    string.dump(f)))
  local command = { "/usr/bin/env", table.unpack(words) }
  for _, word in ipairs { lua_path, path, ... } do
    command[#command + 1] = word
  end
  assert(os.execute("chmod a+r " .. path))
  local status, output = spec.execute(60 * helper.slow,
    table.unpack(command))
  assert.equal(0, status, output)
end

describe("without /proc", function()
  -- (a file system of nothing in its place)
  local command = "mount -t tmpfs none /proc && exec \"$@\""
  local words = { "unshare", "-rm", "sh", "-c", command, "sh" }

  it("files are copied and replaced, and the rest says so", function()
    if spec.execute(30 * helper.slow, "/usr/bin/env", "unshare", "-rm", "sh",
        "-c", command, "sh", "true") ~= 0 then
      helper.skip "needs unshare(1) and mount(8)"
    end
    apart(words, function(d)
      local u = require "uring"
      local fs, E = u.fs, u.errno
      local a, b = d .. "/a", d .. "/b"
      assert(fs.write(a, "hello"))
      assert(fs.copy(a, b) == 5)
      assert(fs.write(a, "again", { atomic = true }))
      assert(fs.read(a) == "again" and fs.read(b) == "hello")
      assert(fs.stat(a).mode == fs.stat(b).mode)
      for name, of in pairs { chmod = { a, 384 }, watch = { a } } do
        local ok, message, errno = fs[name](table.unpack(of))
        assert(ok == nil and errno == E.EOPNOTSUPP, message)
        assert(message:find(name .. " '" .. a, 1, true), message)
        assert(message:find("without /proc", 1, true), message)
      end
      local ok, _, errno = fs.chmod(d .. "/none", 384)
      assert(ok == nil and errno == E.ENOENT)
    end, folder)
  end)
end)

describe("a full disk", function()
  -- A file system of its own, which is full soon: its size, and files.
  local MOUNT <const> = "mount -t tmpfs -o size=%s,nr_inodes=%d none %s && "
    .. "exec \"$@\""

  local function full(size, inodes, f, ...)
    local command = MOUNT:format(size, inodes, folder)
    local words = { "unshare", "-rm", "sh", "-c", command, "sh" }
    local status = spec.execute(30 * helper.slow, "/usr/bin/env",
      "unshare", "-rm", "sh", "-c", command, "sh", "true")
    if status ~= 0 then helper.skip "needs unshare(1) and mount(8)" end
    apart(words, f, folder, ...)
  end

  it("is told by write, flush or close, once", function()
    full("256k", 100, function(d)
      local u = require "uring"
      local E = u.errno
      -- (a write returns when all is buffered; so the next call tells)
      local file = assert(u.open(d .. "/a", "w"))
      local ok, message, errno = file:write(("x"):rep(1 << 20))
      if ok then ok, message, errno = file:flush() end
      assert(ok == nil and errno == E.ENOSPC, message)
      assert(message:find(d .. "/a", 1, true), message)
      assert(file:close())  -- it was told
      assert(u.fs.stat(d .. "/a").size <= 1 << 18)
      assert(u.fs.remove(d .. "/a"))
      -- a part of the last piece goes, and no byte overwrites another
      assert(u.fs.write(d .. "/large", ("x"):rep(150000)))
      file = assert(u.open(d .. "/a", "w"))
      local bytes = {}
      for i = 1, 37500 do bytes[i] = ("%04d"):format(i % 9999) end
      bytes = table.concat(bytes)
      assert(file:write(bytes))
      ok, message, errno = file:flush()
      assert(ok == nil and errno == E.ENOSPC, message)
      assert(file:close())
      local part = assert(u.fs.read(d .. "/a"))
      assert(#part > 65536 and part == bytes:sub(1, #part), #part)
      -- what fits in a buffer is told by the close, with what did not go
      file = assert(u.open(d .. "/b", "w"))
      assert(file:write(("x"):rep(10000)))
      local unsent
      ok, message, errno, unsent = file:close()
      assert(ok == nil and errno == E.ENOSPC and unsent == 10000, message)
      assert(message:find(d .. "/b", 1, true), message)
      file = assert(u.open(d .. "/c", "w"))
      ok, message, errno = file:pwrite("x", 0)
      assert(ok == nil and errno == E.ENOSPC, message)
      assert(file:close())
      -- and it goes on when there is room
      assert(u.fs.remove(d .. "/large"))
      assert(u.fs.write(d .. "/b", ("y"):rep(10000)))
      assert(#u.fs.read(d .. "/b") == 10000)
    end)
  end)

  it("fails a copy, though there may be room again at once", function()
    local path = helper.tmpname()
    local source <close> = assert(io.open(path, "w"))
    source:seek("set", 1 << 20)  -- a hole, which is copied first
    assert(source:write(("x"):rep(65536), ("y"):rep(65536), "z"))
    source:close()
    assert(os.execute("chmod a+r " .. path))
    full("256k", 100, function(d, from)
      local u = require "uring"
      local job = require "uring.core".file_job
      assert(u.fs.write(d .. "/filler", ("x"):rep(180000)))
      local jobs = 0
      local function room()
        if debug.getinfo(2, "f").func ~= job then return end
        jobs = jobs + 1
        os.remove(d .. "/filler")
      end
      debug.sethook(room, "r")
      local n, message, errno = u.fs.copy(from, d .. "/copy")
      debug.sethook()
      assert(jobs > 0)
      assert(n == nil and errno == u.errno.ENOSPC, message)
      assert(u.fs.copy(from, d .. "/copy") == (1 << 20) + 131073)
      assert(u.fs.read(d .. "/copy") == u.fs.read(from))
    end, path)
  end)

  it("leaves a file that is replaced as it was", function()
    full("256k", 100, function(d)
      local u = require "uring"
      local fs, E = u.fs, u.errno
      local function only(...)
        local expected, found = { ... }, {}
        for name in fs.dir(d) do found[#found + 1] = name end
        table.sort(found)
        found = table.concat(found, " ")
        assert(found == table.concat(expected, " "), found)
      end
      local function fails(ok, message, errno)
        assert(ok == nil and errno == E.ENOSPC, message or "it went")
        assert(message:find("old'", 1, true) or message:find(d, 1, true))
      end
      assert(fs.write(d .. "/old", "old content"))
      fails(fs.write(d .. "/old", ("x"):rep(1 << 20), { atomic = true }))
      only "old"
      assert(fs.read(d .. "/old") == "old content")
      assert(fs.write(d .. "/large", ("x"):rep(150000)))
      fails(fs.copy(d .. "/large", d .. "/old"))
      local copied, message, errno = fs.copy(d .. "/large", d .. "/new")
      fails(copied, message, errno)
      assert(message:find(("copy '%s/large' to '%s/new': "):format(d, d), 1,
        true), message)
      only("large", "old")
      assert(fs.read(d .. "/old") == "old content")
      local root <close> = assert(fs.root(d))
      fails(root:write("old", ("x"):rep(150000), { atomic = true }))
      only("large", "old")
      -- without `atomic` it is as with io: what went is there
      fails(fs.write(d .. "/part", ("x"):rep(150000)))
      assert(fs.stat(d .. "/part").size < 150000)
    end)
  end)

  it("may be one without room for more names", function()
    full("1m", 8, function(d)
      local u = require "uring"
      local fs, E = u.fs, u.errno
      local function fails(ok, message, errno)
        assert(ok == nil and errno == E.ENOSPC, message)
        assert(message:find(d .. "/more", 1, true), message)
      end
      assert(fs.write(d .. "/a", "x"))
      local i = 0
      repeat i = i + 1 until not fs.mkdir(d .. "/" .. i) or i > 100
      local more = d .. "/more"
      fails(fs.mkdir(more))
      fails(fs.mkdir(more .. "/b/c", { parents = true }))
      fails(fs.symlink("a", more))
      fails(u.open(more, "w"))
      fails(fs.write(more, "x", { atomic = true }))
      fails(fs.copy(d .. "/a", more))
      fails(fs.mkdtemp(more .. "XXXXXX"))
      assert(fs.stat(more) == nil)
    end)
  end)
end)

describe("without permission", function()
  it("every call says so, with its path", function()
    if spec.execute(10 * helper.slow, "/usr/bin/env", "setpriv",
        "--reuid=65534", "--clear-groups", lua_path, "-e",
        "require 'uring'") ~= 0 then
      helper.skip "needs setpriv(1), root, and a tree that others may read"
    end
    net.run(function()
      assert(fs.chmod(folder, 493))
      assert(fs.mkdir(folder .. "/closed"))
      assert(fs.write(folder .. "/closed/f", "x"))
      assert(fs.write(folder .. "/secret", "x"))
      assert(fs.mkdir(folder .. "/open"))
      assert(fs.chmod(folder .. "/open", 511))
      assert(fs.write(folder .. "/open/f", "x"))
      assert(fs.chmod(folder .. "/closed", 448))
      assert(fs.chmod(folder .. "/secret", 384))
    end)
    apart({ "setpriv", "--reuid=65534", "--clear-groups" }, function(d)
      local u = require "uring"
      local fs, E = u.fs, u.errno
      local function fails(path, ok, message, errno)
        assert(ok == nil, path)
        assert(errno == E.EACCES or errno == E.EPERM, message)
        assert(message:find(path, 1, true), message)
      end
      local closed, secret = d .. "/closed", d .. "/secret"
      fails(secret, u.open(secret))
      fails(secret, fs.read(secret))
      fails(secret, fs.copy(secret, d .. "/open/copy"))
      fails(secret, fs.write(secret, "y"))
      fails(secret, fs.write(secret, "y", { atomic = true }))
      fails(secret, fs.chmod(secret, 511))
      fails(secret, fs.watch(secret))
      fails(secret, fs.remove(secret))
      fails(secret, fs.rename(secret, d .. "/open/moved"))
      fails(closed .. "/f", fs.stat(closed .. "/f"))
      fails(closed .. "/new", fs.mkdir(closed .. "/new"))
      fails(closed .. "/a", fs.mkdir(closed .. "/a/b", { parents = true }))
      fails(closed, fs.watch(closed))
      fails(closed, fs.remove(closed, { recursive = true }))
      fails(closed .. "/new", fs.copy(d .. "/open/f", closed .. "/new"))
      local ok, message = pcall(fs.dir, closed)
      assert(not ok and message:find(closed, 1, true), message)
      -- a walk tells, and goes on
      local told, seen = 0, 0
      for path, kind, why, errno in fs.walk(d) do
        seen = seen + 1
        if not kind then
          fails(closed, kind, why, errno)
          assert(path == closed)
          told = told + 1
        end
      end
      assert(told == 1 and seen == 5, seen)
      -- what was begun in a folder that is open left nothing there
      for name in fs.dir(d .. "/open") do assert(name == "f", name) end
    end, folder)
  end)
end)

describe("loops of links", function()
  it("are told, and are no loop for a walk", function()
    net.run(function()
      local a, b = folder .. "/a", folder .. "/b"
      assert(fs.symlink("b", a))
      assert(fs.symlink("a", b))
      assert(fs.mkdir(folder .. "/d"))
      assert(fs.symlink("..", folder .. "/d/up"))
      local root <close> = assert(fs.root(folder))
      for _, try in ipairs { fs.stat, fs.read, fs.watch, uring.open, fs.root,
          function(path) return fs.copy(path, folder .. "/c") end,
          function(path) return fs.mkdir(path .. "/x", { parents = true })
          end } do
        fails(E.ELOOP, a, try(a))
      end
      fails(E.ELOOP, "'a'", root:read "a")
      helper.raises(a, fs.dir, a)
      local n = 0
      for _, kind in fs.walk(folder) do
        n = n + 1
        assert(kind == "link" or kind == "directory")
      end
      assert.equal(4, n)
      assert(fs.remove(folder, { recursive = true }))
      fails(E.ENOENT, folder, fs.stat(folder))
    end)
  end)
end)

describe("a file that changes while it is read", function()
  it("ends where it ends then", function()
    net.run(function()
      local path = folder .. "/f"
      assert(fs.write(path, ("0123456\n"):rep(100000)))
      local file <close> = assert(uring.open(path, "r+"))
      local n = 0
      for line in file:lines() do
        n = n + 1
        assert(line == "0123456" or n > 1000, line)
        if n == 1000 then assert(fs.write(path, "short\n")) end
      end
      assert(n < 100000)
      assert.is_nil(file:read())
      assert.is_nil(file:pread(10, 6))
      assert.equal("hort", file:pread(4, 1))
      file:seek "set"
      assert.equal("short\n", file:read "a")
      assert(fs.write(path, "short\nand more"))  -- (what is new comes)
      assert.equal("and more", file:read "a")
    end)
  end)

  it("is copied as far as it goes", function()
    net.run(function()
      local path, size = folder .. "/f", 40 << 20
      local file <close> = assert(uring.open(path, "w"))
      assert(file:truncate(size))
      local copy = uring.spawn(fs.copy, path, folder .. "/copy")
      uring.sleep(0)
      assert(file:truncate(1))
      local _, n, message = copy:join(2 * patience)
      assert(n, message)
      assert(n >= 1 and n <= size)
      assert.equal(n, fs.stat(folder .. "/copy").size)
    end)
  end)
end)

describe("a FIFO", function()
  it("without another end holds up a call no longer than wanted", function()
    net.run(function()
      local fifo = folder .. "/fifo"
      assert(os.execute("mkfifo " .. fifo))
      for _, try in ipairs { fs.read, function(path)
          return fs.copy(path, folder .. "/copy")
        end, function(path) return fs.write(path, "x") end } do
        local _, message, errno = uring.timeout(0.02, try, fifo)
        assert.same({ "timed out", E.ETIME }, { message, errno })
      end
      fails(E.ETIME, "timed out", uring.open(fifo, "r", 0.02))
      fails(E.ENOENT, folder, fs.stat(folder .. "/copy"))
      -- and it is read when there is one
      local reader = helper.started(fs.read, fifo)
      assert(fs.write(fifo, "through it"))
      assert.same({ true, "through it" }, { reader:join(patience) })
    end)
  end)
end)

describe("names", function()
  it("may be long, and are refused where they are too long", function()
    net.run(function()
      local name = folder .. "/" .. ("n"):rep(255)
      assert(fs.write(name, "x", { atomic = true }))
      assert(fs.copy(name, name))
      assert.equal("x", fs.read(name))
      for path, kind in fs.walk(folder) do
        assert.same({ name, "file" }, { path, kind })
      end
      for _, long in ipairs { name .. "n", ("/x"):rep(3000) } do
        for _, try in ipairs { fs.stat, fs.read, fs.mkdir, fs.watch, fs.remove,
            uring.open } do
          fails(E.ENAMETOOLONG, long:sub(1, 200), try(long))
        end
      end
    end)
  end)
end)

describe("very many files", function()
  it("are walked, copied and removed in bounded memory", function()
    local FILES <const> = tonumber(os.getenv "URING_FILES") or 1000
    net.run(function()
      assert(fs.mkdir(folder .. "/from"))
      assert(fs.mkdir(folder .. "/to"))
      for i = 1, FILES do
        assert(io.open(("%s/from/%d"):format(folder, i), "w")):close()
      end
      collectgarbage()
      local before, most, n = collectgarbage "count", 0, 0
      local slots = uring.semaphore(8)
      uring.scope(function(scope)
        for path in fs.walk(folder .. "/from") do
          slots:acquire()
          n = n + 1
          scope:spawn(function()
            assert(fs.copy(path, folder .. "/to/" .. path:match "[^/]+$"))
            slots:release()
          end)
          if n % 100 == 0 then
            collectgarbage()
            most = math.max(most, collectgarbage "count" - before)
          end
        end
      end)
      assert.equal(FILES, n)
      assert(most < 1000, most)  -- (KB: a piece of the folder, and tasks)
      n = 0
      for _, kind in fs.dir(folder .. "/to") do
        assert.equal("file", kind)
        n = n + 1
      end
      assert.equal(FILES, n)
      assert(fs.remove(folder, { recursive = true }))
      fails(E.ENOENT, folder, fs.stat(folder))
    end)
  end)

  it("are more than descriptors, where folders are deep", function()
    helper.apart(function()
      -- luacheck: ignore
      local u = require "uring"
      local fs, E = u.fs, u.errno
      u.run(function()
        local d = assert(fs.mkdtemp "/tmp/uring.XXXXXX")
        local at = d
        for _ = 1, 300 do
          at = at .. "/d"
          assert(fs.mkdir(at))
        end
        local n = 0
        for _, kind, message in fs.walk(d) do
          assert(kind, message)
          n = n + 1
        end
        assert(n == 300)
        assert(fs.remove(d, { recursive = true }))
        assert(not fs.stat(d))
      end)
    end)
  end)
end)
