-- Files: opening, reading, writing and closing; direct descriptors.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, some, take = hand.one, hand.some, hand.take
local content, fixed = hand.content, hand.fixed
local CWD = uring.AT_FDCWD

local function after()
  hand.close()
  helper.clean()
end

local function direct(path, slot, flags)
  return uring.sqe():prep_openat_direct(CWD, path, flags or uring.O_RDONLY,
    0, slot)
end

describe("files", function()
  after_each(after)

  it("are opened, written, read and closed", function()
    local ring = hand.ring()
    local path = helper.tmpname()
    helper.keeps_fds(function()
      local fd = one(ring, uring.sqe():prep_openat(CWD, path,
        uring.O_RDWR | uring.O_CREAT | uring.O_TRUNC, 384))
      assert.truthy(fd > 2)
      assert.equal(11, (one(ring, uring.sqe():prep_write(fd,
        "hello world"))))
      local buffer = uring.buffer "HELLO"
      assert.equal(3, (one(ring, uring.sqe():prep_write(fd, buffer, 3, 6,
        1))))
      local into = uring.buffer(20)
      assert.equal(11, (one(ring, uring.sqe():prep_read(fd, into, nil, 0))))
      assert.equal("hello ELLld", into:string(1, 11))
      assert.equal(0, (one(ring, uring.sqe():prep_close(fd))))
      assert.equal(-E.EBADF, (one(ring, uring.sqe():prep_close(fd))))
    end)
    assert.equal("hello ELLld", helper.content(path))
  end)

  it("are created on demand, and used as they were opened", function()
    local ring = hand.ring()
    local path = helper.tmpname()
    os.remove(path)
    assert.equal(-E.ENOENT, (one(ring, uring.sqe():prep_openat(CWD, path))))
    local create = uring.O_WRONLY | uring.O_CREAT | uring.O_EXCL
    local fd = uring.fd((one(ring, uring.sqe():prep_openat(CWD, path, create,
      256))))
    assert.equal(-E.EEXIST, (one(ring, uring.sqe():prep_openat(CWD, path,
      create, 256))))
    assert.equal(-E.EBADF, (one(ring, uring.sqe():prep_read(fd,
      uring.buffer(1)))))
    fd:close()
  end)

  it("are closed in programs that are executed", function()
    local ring = hand.ring()
    local fd <close> = uring.fd((one(ring, uring.sqe():prep_openat(CWD,
      "/dev/null"))))
    local info = helper.content("/proc/self/fdinfo/" .. fd:fileno())
    local flags = tonumber(info:match "flags:%s*(%d+)", 8)
    assert.truthy(flags & uring.O_CLOEXEC ~= 0)
  end)

  it("are opened beside a directory's descriptor", function()
    local ring = hand.ring()
    local path = helper.file "here"
    local directory, name = path:match "(.*/)(.*)"
    local dir <close> = uring.fd((one(ring, uring.sqe():prep_openat(CWD,
      directory, uring.O_RDONLY | uring.O_DIRECTORY))))
    local fd <close> = uring.fd((one(ring, uring.sqe():prep_openat(dir,
      name))))
    assert.equal("here", spec.read(fd:fileno()))
  end)

  it("have a position, which an offset leaves alone", function()
    local ring = hand.ring()
    local path = helper.file "0123456789"
    local file <close> = assert(io.open(path, "r+"))
    local buffer = uring.buffer(4)
    local function read(offset, n)
      local got = one(ring, uring.sqe():prep_read(file, buffer, n, offset))
      return buffer:string(1, got)
    end
    assert.equal("0123", read())
    assert.equal("4567", read(-1))
    assert.equal("0123", read(0))
    assert.equal("89", read(nil, 3))
    assert.equal("", read())
    assert.equal("67", read(6, 2))
    assert.equal("", read(100))
    assert.equal(1, (one(ring, uring.sqe():prep_write(file, "x", nil, 12))))
    assert.equal("0123456789\0\0x", helper.content(path))
  end)

  it("are read into the middle of a buffer", function()
    local ring = hand.ring()
    local file <close> = assert(io.open(helper.file "abcdef"))
    local buffer = uring.buffer "..........."
    assert.equal(3, (one(ring, uring.sqe():prep_read(file, buffer, 3, 1,
      4))))
    assert.equal("....bcd....", buffer:string())
    -- all that is left of it where no number is given
    assert.equal(2, (one(ring, uring.sqe():prep_read(file, buffer, nil, 0,
      9))))
    assert.equal("....bcd..ab", buffer:string())
    assert.equal(0, (one(ring, uring.sqe():prep_read(file, buffer, nil, 0,
      11))))
    assert.equal(0, (one(ring, uring.sqe():prep_read(file, buffer, 0, 0))))
  end)

  it("are written from strings, parts of strings, and empty ones",
    function()
      local ring = hand.ring()
      local r, w = spec.pipe()
      assert.equal(4, (one(ring, uring.sqe():prep_write(w, "a\0b\255"))))
      assert.equal("a\0b\255", spec.read(r))
      assert.equal(2, (one(ring, uring.sqe():prep_write(w, "abcde", 2))))
      assert.equal("ab", spec.read(r))
      assert.equal(2, (one(ring, uring.sqe():prep_write(w, "abcde", 2, -1,
        3))))
      assert.equal("de", spec.read(r))
      assert.equal(0, (one(ring, uring.sqe():prep_write(w, ""))))
      spec.close(r)
      spec.close(w)
    end)

  it("keep a copy of the string, which may be collected", function()
    local ring = hand.ring()
    local r, w = spec.pipe()
    do
      local s = ("0123456789"):rep(300)
      ring:queue(uring.sqe():prep_timeout(0.005)
        :set_flags(uring.IOSQE_IO_HARDLINK), uring.sqe():prep_write(w, s))
    end
    helper.collect()
    ring:submit()
    helper.collect()
    local junk = {}  -- in its place
    for i = 1, 100 do junk[i] = ("x"):rep(3000) .. i end
    assert.equal(100, #junk)
    assert.equal(-E.ETIME, (select(2, take(ring))))
    assert.equal(3000, (select(2, take(ring))))
    assert.equal(("0123456789"):rep(300), spec.read(r, 4000))
    spec.close(r)
    spec.close(w)
  end)

  it("are told apart from descriptors that are none, in messages", function()
    local ring = hand.ring()
    uring.run(function()
      local function try(...) hand.await_fails(ring, ...) end
      local null <close> = assert(io.open("/dev/null", "w"))
      try("not open, or not open for reading", E.EBADF,
        uring.sqe():prep_read(null, uring.buffer(1)))
      try("not open, or not open for writing", E.EBADF,
        uring.sqe():prep_write(9999, "x"))
      try("ENOENT", E.ENOENT, uring.sqe():prep_openat(CWD, "/no/such"))
      try("EISDIR", E.EISDIR, uring.sqe():prep_openat(CWD, "/",
        uring.O_WRONLY))
      try("register_files_sparse(n) makes one", E.ENXIO,
        direct("/dev/null", 0))
    end)
  end)

  it("of Lua are kept for as long as an operation needs them", function()
    local ring = hand.ring()
    local name = helper.file "content"
    local buffer = uring.buffer(7)
    ring:queue(uring.sqe():prep_timeout(0.005)
      :set_flags(uring.IOSQE_IO_HARDLINK),
      uring.sqe():prep_read(assert(io.open(name)), buffer, 7, 0))
    helper.collect()
    take(ring)
    helper.collect()
    assert.equal(7, (select(2, take(ring))))
    assert.equal("content", buffer:string())
    -- and not longer
    helper.keeps_fds(function()
      local inner = hand.ring()
      local before = helper.fds()
      inner:queue(uring.sqe():prep_read(assert(io.open(name)), buffer))
      helper.collect()
      assert.equal(before + 1, helper.fds())
      take(inner)
      assert.equal(before, helper.fds())
      inner:close()
    end)
  end)
end)

describe("a write that has no reader", function()
  local script = [[
    local uring = require "uring"
    local spec = require "uring_spec"
    local a, b = spec.%s
    spec.close(a)
    local sqe = uring.sqe():prep_write(b, "x"):%s
    local _, why = uring.run(uring.await, sqe)
    io.write(why)]]
  local kinds = { "pipe()", "socketpair(1)" }

  local function well(setter)
    for _, kind in ipairs(kinds) do
      assert.matches("^write on fd %d+: Broken pipe %(EPIPE%)$",
        helper.script_ok(script:format(kind, setter)))
    end
  end

  it("raises SIGPIPE, as write(2) does, or fails", function()
    for _, kind in ipairs(kinds) do  -- (older kernels have a worker do it)
      local status, out = helper.script(script:format(kind,
        "set_rw_flags(0)"))
      assert.truthy(status == 128 + 13 or status == 0 and out:find "EPIPE",
        out)
    end
  end)

  it("raises none with RWF_NOSIGNAL", function()
    helper.needs "rwf_nosignal"
    well "set_rw_flags(uring.RWF_NOSIGNAL)"
  end)

  it("raises none with IOSQE_ASYNC", function()
    well "set_flags(uring.IOSQE_ASYNC)"
  end)

  it("raises none where it is a send of any kind", function()
    assert.equal("", helper.script_ok [[
      local uring = require "uring"
      uring.run(function()
        for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_SEQPACKET } do
          local a, b = uring.socketpair(type)
          b:close()
          local function gone(res, why, errno)
            assert(res == nil and errno == uring.errno.EPIPE, why)
          end
          local buffer = uring.buffer "x"
          gone(a:send "x")
          gone(a:send(buffer))
          gone(a:sendmsg { data = "x" })
          gone(a:sendmsg { { data = "x" }, { data = "y" } })
          local message = uring.msghdr { iov = { "x" } }
          for _, sqe in ipairs { uring.sqe():prep_send(a, "x"),
              uring.sqe():prep_sendmsg(a, message) } do
            gone(uring.await(sqe))
            gone(uring.await(sqe:set_flags(uring.IOSQE_ASYNC)))
          end
        end
      end)]])
  end)

  it("names the first kernel with RWF_NOSIGNAL where it is missing", function()
    if helper.has "rwf_nosignal" then return end
    local path = helper.tmpname()
    local file <close> = assert(io.open(path, "w"))
    local _, why = uring.run(uring.await, uring.sqe():prep_write(file, "x")
      :set_rw_flags(uring.RWF_NOSIGNAL))
    assert.matches("write on fd %d+ needs Linux 6.18 %(this is ", why)
  end)
end)

describe("direct descriptors", function()
  after_each(after)

  it("are slots of the ring's own table", function()
    local ring = hand.ring()
    local path = helper.file "direct"
    helper.keeps_fds(function()
      assert(ring:register_files_sparse(4))
      assert.equal(0, (one(ring, direct(path, 3))))
      assert.equal("direct", content(ring, 3))
      assert.equal(-E.EBADF, content(ring, 2))
      assert.equal(0, (one(ring, uring.sqe():prep_close_direct(3))))
      assert.equal(-E.EBADF, content(ring, 3))
      assert.equal(-E.EBADF, (one(ring, uring.sqe():prep_close_direct(3))))
      assert(ring:unregister_files())
    end)
  end)

  it("replace the file in their slot", function()
    local ring = hand.ring()
    assert(ring:register_files_sparse(1))
    assert.equal(0, (one(ring, direct(helper.file "one", 0))))
    assert.equal(0, (one(ring, direct(helper.file "two", 0))))
    assert.equal("two", content(ring, 0))
  end)

  it("are given a free slot where one is asked for", function()
    local ring = hand.ring()
    local path = helper.file "direct"
    assert(ring:register_files_sparse(4))
    assert(ring:register_file_alloc_range(1, 2))
    local any = uring.IORING_FILE_INDEX_ALLOC
    assert.equal(1, (one(ring, direct(path, any))))
    assert.equal(2, (one(ring, direct(path, any))))
    assert.equal(-E.ENFILE, (one(ring, direct(path, any))))
    assert.equal("direct", content(ring, 2))
  end)

  it("fail with the kernel's errors", function()
    local ring = hand.ring()
    assert.equal(-E.ENXIO, (one(ring, direct("/dev/null", 0))))
    assert.equal(-E.ENXIO, (one(ring, uring.sqe():prep_close_direct(0))))
    assert(ring:register_files_sparse(2))
    assert.equal(-E.EINVAL, (one(ring, direct("/dev/null", 2))))
    assert.equal(-E.EINVAL, (one(ring, uring.sqe():prep_close_direct(2))))
    assert.equal(-E.ENOENT, (one(ring, direct("/no/such", 0))))
  end)

  it("are opened, read and closed in one chain", function()
    local ring = hand.ring()
    assert(ring:register_files_sparse(1))
    local buffer = uring.buffer(6)
    ring:queue(direct(helper.file "linked", 0):set_data64(1),
      fixed(uring.sqe():prep_read(0, buffer, 6, 0):set_data64(2)),
      uring.sqe():prep_close_direct(0):set_data64(3))
    assert.same({ 0, 6, 0 }, some(ring, 3))
    assert.equal("linked", buffer:string())
    assert.equal(-E.EBADF, content(ring, 0))
  end)

  it("become ordinary ones by prep_fixed_fd_install", function()
    helper.needs "fixed_fd_install"
    local ring = hand.ring()
    assert(ring:register_files_sparse(1))
    assert.equal(-E.EBADF, (one(ring,
      uring.sqe():prep_fixed_fd_install(0))))
    assert.equal(0, (one(ring, direct(helper.file "direct", 0))))
    helper.keeps_fds(function()
      for _, flags in ipairs { 0, uring.IORING_FIXED_FD_NO_CLOEXEC } do
        local fd <close> = uring.fd((one(ring,
          uring.sqe():prep_fixed_fd_install(0, flags))))
        local info = helper.content("/proc/self/fdinfo/" .. fd:fileno())
        local bits = tonumber(info:match "flags:%s*(%d+)", 8)
        assert.equal(flags == 0, bits & uring.O_CLOEXEC ~= 0)
        local buffer = uring.buffer(6)
        assert.equal(6, (one(ring, uring.sqe():prep_read(fd, buffer, 6,
          0))))
        assert.equal("direct", buffer:string())
      end
    end)
    assert.equal(-E.EINVAL, (one(ring,
      uring.sqe():prep_fixed_fd_install(0, 1 << 20))))
  end)

  it("name the first kernel with prep_fixed_fd_install", function()
    if helper.has "fixed_fd_install" then return end
    local ring = hand.ring()
    uring.run(function()
      local res, why, errno = ring:await(
        uring.sqe():prep_fixed_fd_install(0))
      assert.same({ nil, E.EINVAL }, { res, errno })
      assert.truthy(why:find("needs Linux 6.8", 1, true))
    end)
  end)
end)
