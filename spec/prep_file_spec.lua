-- Open files at liburing's level: vectors, sync, size, advice, splice, epoll.
-- (For read, write and close by themselves see sqe_spec and queue_spec; for
-- registered buffers register_spec.)

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, sqe = hand.one, uring.sqe

describe("files", function()
  local ring, file

  before_each(function()
    if not helper.probe.available then return end
    ring = hand.ring()
    file = uring.fd(one(ring, sqe():prep_open(helper.file "hello world",
      uring.O_RDWR)))
  end)
  after_each(function()
    if file then file:close() end
    hand.close()
    helper.clean()
  end)

  local function content()
    local buffer = uring.buffer(100)
    return buffer:string(1, one(ring, sqe():prep_read(file, buffer, nil, 0)))
  end

  it("are read into several buffers, and written from several", function()
    local a, b = uring.buffer(4), uring.buffer(100)
    assert.equal(11, (one(ring, sqe():prep_readv(file, { a, b }, 0))))
    assert.same({ "hell", "o world" }, { a:string(), b:string(1, 7) })
    assert.equal(9, (one(ring, sqe():prep_writev(file, { "one", a, "", "xx" },
      1))))
    assert.equal("honehellxxd", content())
    assert.equal(3, (one(ring, sqe():prep_writev2(file, { "end" }, 0,
      uring.RWF_APPEND))))
    assert.equal("honehellxxdend", content())
    local res = one(ring, sqe():prep_readv2(file, { a }, 0,
      uring.RWF_NOWAIT))
    -- (EOPNOTSUPP: the file system has no such reads, as tmpfs before 6.6)
    assert.truthy(res == 4 or res == -E.EAGAIN or res == -E.EOPNOTSUPP, res)
  end)

  it("keep the buffers of a vector until the kernel is done", function()
    local r, w = helper.pipe()
    local a <const> = setmetatable({}, { __mode = "v" })
    do
      local buffer = uring.buffer(4)
      a[1] = buffer
      assert(ring:queue(sqe():prep_readv(r, { buffer, uring.buffer(4) })))
      assert(ring:submit())
      helper.raises("in use", buffer.close, buffer)
    end
    collectgarbage()
    collectgarbage()
    assert(spec.write(w, "12345678"))
    assert.equal(8, (select(2, hand.take(ring))))
  end)

  it("take arrays of bytes, and nothing else", function()
    local closed = uring.buffer(1)
    closed:close()
    for _, array in ipairs { {}, { "x" }, { closed }, { file },
        { uring.buffer(1), 1 } } do
      helper.raises("#2 to 'prep_readv'", function()
        sqe():prep_readv(file, array)
      end)
    end
    local many = {}
    for i = 1, 1025 do many[i] = "x" end
    for _, array in ipairs { {}, { 1 }, { closed }, many } do
      helper.raises("#2 to 'prep_writev'", function()
        sqe():prep_writev(file, array)
      end)
    end
    many[1025] = nil
    assert.equal(1024, (one(ring, sqe():prep_writev(file, many, 0))))
  end)

  it("break a chain where a silent vector is short", function()
    local a = uring.buffer(100)
    assert(ring:queue(sqe():prep_readv(file, { a }, 0):set_data64(1)
      :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS), hand.nop(2)))
    assert.same({ [1] = 11, [2] = -E.ECANCELED }, hand.some(ring, 2))
    assert(ring:queue(sqe():prep_readv(file, { uring.buffer(11) }, 0)
      :set_data64(1):set_flags(uring.IOSQE_CQE_SKIP_SUCCESS), hand.nop(2)))
    assert.same({ [2] = 0 }, hand.some(ring, 1))
  end)

  it("are synced, allocated, truncated and advised", function()
    for _, step in ipairs {
        { 0, sqe():prep_fsync(file) },
        { 0, sqe():prep_fsync(file, uring.IORING_FSYNC_DATASYNC) },
        { 0, sqe():prep_sync_file_range(file, 0, 0,
          uring.SYNC_FILE_RANGE_WRITE) },
        { 0, sqe():prep_fallocate(file, 0, 0, 20) },
        { 0, sqe():prep_fadvise(file, 0, 0, uring.POSIX_FADV_WILLNEED) },
        { -E.EINVAL, sqe():prep_fadvise(file, 0, 0, 99) } } do
      assert.equal(step[1], (one(ring, step[2])), tostring(step[2]))
    end
    assert.equal("hello world" .. ("\0"):rep(9), content())
  end)

  it("are advised of more than 4 GiB", function()
    helper.needs_linux(6, 11)
    assert.equal(0, (one(ring, sqe():prep_fadvise64(file, 0, 1 << 40,
      uring.POSIX_FADV_SEQUENTIAL))))
  end)

  it("are truncated", function()
    hand.needs_op("ftruncate", "6.9")
    assert.equal(0, (one(ring, sqe():prep_ftruncate(file, 5))))
    assert.equal("hello", content())
  end)

  it("are spliced from and to pipes", function()
    local r, w = helper.pipe()
    local r2, w2 = helper.pipe()
    assert.equal(5, (one(ring, sqe():prep_splice(file, 6, w, -1, 5))))
    assert.equal(3, (one(ring, sqe():prep_tee(r, w2, 3))))
    assert.equal(5, (one(ring, sqe():prep_splice(r, nil, file, 0, 100))))
    assert.equal("world world", content())
    local buffer = uring.buffer(10)
    assert.equal(3, (one(ring, sqe():prep_read(r2, buffer))))
    assert.equal("wor", buffer:string(1, 3))
    assert(ring:register_files { file })
    assert.equal(2, (one(ring, sqe():prep_splice(0, 0, w, -1, 2,
      uring.SPLICE_F_FD_IN_FIXED))))
  end)

  it("end a splice when the first descriptor is closed", function()
    local r = helper.pipe()
    local r2, w = spec.pipe()
    local _ <close>, out = uring.fd(r2), uring.fd(w)
    local op = assert(ring:queue(sqe():prep_splice(r, -1, out, -1, 10)))
    assert(ring:submit())
    out:close()
    local res = select(2, hand.take(ring))
    assert.truthy(res == -E.ECANCELED or res == -E.EINTR or res == -E.EBADF,
      res)
    assert.equal("done", op:status())
  end)

  it("are waited for by an epoll", function()
    hand.needs_op("epoll_wait", "6.15")
    local r, w = helper.pipe()
    local quiet <close> = uring.fd(spec.eventfd())
    local epoll = uring.fd(spec.epoll(quiet:fileno()))
    finally(function() epoll:close() end)
    assert.equal(0, (one(ring, sqe():prep_epoll_ctl(epoll, r,
      uring.EPOLL_CTL_ADD, uring.EPOLLIN, -7))))
    local machine = io.popen "uname -m":read()
    local layout = machine == "x86_64" and "=I4i8" or "=!I4i8"
    local buffer = uring.buffer(2 * layout:packsize())
    assert(ring:queue(sqe():prep_epoll_wait(epoll, buffer, 2)))
    assert(ring:submit())
    assert(spec.write(w, "x"))
    assert.equal(1, (select(2, hand.take(ring))))
    local events, data = layout:unpack(buffer:string())
    assert.same({ uring.EPOLLIN, -7 }, { events, data })
    assert.equal(-E.EEXIST, (one(ring, sqe():prep_epoll_ctl(epoll, r,
      uring.EPOLL_CTL_ADD))))
    assert.equal(0, (one(ring, sqe():prep_epoll_ctl(epoll, r,
      uring.EPOLL_CTL_DEL))))
    helper.raises("no room for 3 events", function()
      sqe():prep_epoll_wait(epoll, buffer, 3)
    end)
  end)

  it("are read by one request again and again", function()
    hand.needs_op("read_multishot", "6.7")
    local r, w = helper.pipe()
    local group = assert(ring:buf_ring { entries = 4, size = 8 })
    local op = assert(ring:queue(sqe():prep_read_multishot(r, 0, -1,
      group:bgid())))
    for _, text in ipairs { "one", "two" } do
      assert(spec.write(w, text))
      local _, res, flags = hand.take(ring)
      assert.truthy(hand.has(flags, uring.IORING_CQE_F_MORE))
      local lease <close> = assert(group:lease(res, flags))
      assert.equal(text, lease:string())
    end
    assert(op:cancel())
    assert.equal(-E.ECANCELED, (select(2, hand.take(ring))))
  end)
end)
