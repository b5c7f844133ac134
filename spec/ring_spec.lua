-- Rings by hand: making, queueing, submitting, taking; chains, silent SQEs,
-- full queues; the books.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local SKIP = uring.IOSQE_CQE_SKIP_SUCCESS

local function nop(data)
  local sqe = uring.sqe():prep_nop()
  return data and sqe:set_data64(data) or sqe
end

-- All completions that are there or come at once, as { data, res }.
local function all(ring)
  local got = {}
  while true do
    local data, res, _, kind = ring:wait_cqe(0.01)
    if not data then return got end
    if kind == "completion" then got[#got + 1] = { data, res } end
  end
end

describe("uring.ring", function()
  it("has 64 entries and a CQ of eight times that", function()
    local ring <close> = assert(uring.ring())
    assert.equal(64, ring:stats().sq_entries)
    assert.equal(512, ring:stats().cq_entries)
    local bits, names = ring:flags()
    assert.truthy(bits & uring.IORING_SETUP_CQSIZE ~= 0)
    assert.truthy(names:find "SUBMIT_ALL")
    assert.truthy(select(2, ring:features()):find "NODROP")
  end)

  it("takes its flags as they are given", function()
    local free = uring.IORING_SETUP_NO_SQARRAY
    local ring <close> = assert(uring.ring { flags = 0 })
    assert.equal(0, ring:flags() & ~free)
    local other <close> = assert(uring.ring { flags = 0, cq_entries = 256 })
    assert.equal(uring.IORING_SETUP_CQSIZE, other:flags() & ~free)
    assert.equal(256, other:stats().cq_entries)
  end)

  it("says why it cannot", function()
    local ring, why, errno = uring.ring { flags = 1 << 30 }
    assert.is_nil(ring)
    assert.equal(E.EINVAL, errno)
    assert.truthy(why:find("cannot make a ring", 1, true))
    helper.raises("did you mean 'entries'?", uring.ring, { entires = 4 })
    helper.raises("1 to 32768", uring.ring, { entries = 0 })
    helper.raises("1 to 32768", uring.ring, { entries = 1.5 })
    helper.raises("1 to 32768", uring.ring, { entries = "64" })
    helper.raises("table expected", uring.ring, 64)
  end)

  it("keeps no descriptor when it is closed, however", function()
    helper.keeps_fds(function()
      local a = uring.ring()
      a:ref()
      assert.is_true(a:close())
      assert.is_true(a:close())
      do local _ <close> = uring.ring() end
      uring.ring()
    end)
  end)

  it("says that it is closed", function()
    local ring = uring.ring()
    ring:close()
    assert.equal("uring.Ring (closed)", tostring(ring))
    for _, method in ipairs { "queue", "submit", "wait_cqe", "peek_cqe", "fd",
        "ref", "flags", "features", "register_files_sparse" } do
      helper.raises("closed ring", ring[method], ring)
    end
    assert.equal(0, ring:stats().in_flight)
  end)
end)

describe("queue and submit", function()
  it("count what was submitted", function()
    local ring <close> = uring.ring()
    for i = 1, 5 do ring:queue(nop(i)) end
    assert.equal(5, ring:submit())
    assert.equal(0, ring:submit())
    assert.same({ { 1, 0 }, { 2, 0 }, { 3, 0 }, { 4, 0 }, { 5, 0 } },
      all(ring))
    helper.lawful(ring)
  end)

  it("copy the sqe, which may be queued again, on any ring", function()
    local a <close> = uring.ring()
    local b <close> = uring.ring()
    local sqe = nop(1)
    a:queue(sqe)
    sqe:set_data64(2)
    a:queue(sqe)
    sqe:prep_nop()
    b:queue(sqe)
    assert.same({ { 1, 0 }, { 2, 0 } }, all(a))
    assert.same({ { 0, 0 } }, all(b))
  end)

  it("submit a full queue by themselves", function()
    local ring <close> = uring.ring { entries = 4 }
    for i = 1, 100 do assert(ring:queue(nop(i))) end
    local got = all(ring)
    assert.equal(100, #got)
    for i = 1, 100 do assert.equal(i, got[i][1]) end
    helper.lawful(ring)
  end)

  it("wait for as many as asked", function()
    local ring <close> = uring.ring()
    for i = 1, 3 do ring:queue(nop(i)) end
    ring:queue(uring.sqe():prep_timeout(0.005):set_data64(4))
    assert.equal(4, ring:submit_and_wait(4, 5))
    for _ = 1, 4 do assert(ring:peek_cqe()) end
    local ok, why, errno = ring:submit_and_wait(1, 0.01)
    assert.same({ nil, "timed out", E.ETIME }, { ok, why, errno })
    assert.equal(E.EAGAIN, select(3, ring:peek_cqe()))
  end)

  it("need an sqe that is prepared", function()
    local ring <close> = uring.ring()
    helper.raises("uring.Sqe expected", ring.queue, ring)
    helper.raises("uring.Sqe expected", ring.queue, ring, 1)
    helper.raises("nothing is prepared", ring.queue, ring, uring.sqe())
    assert.equal(0, ring:stats().submitted)
  end)

  it("outlast a storm of signals", function()
    local ring <close> = uring.ring()
    spec.itimer(0.0005)
    ring:queue(uring.sqe():prep_timeout(0.05):set_data64(1))
    local got = { ring:wait_cqe(5) }
    local ok, why = ring:wait_cqe(0.02)
    spec.itimer(0)
    assert.same({ 1, -E.ETIME, 0, "completion" }, got)
    assert.same({ nil, "timed out" }, { ok, why })
  end)
end)

describe("a chain", function()
  it("runs in order and breaks where a member fails", function()
    local ring <close> = uring.ring()
    ring:queue(nop(1), uring.sqe():prep_close(9999):set_data64(2), nop(3))
    ring:queue(nop(4))
    local got = {}
    for _, one in ipairs(all(ring)) do got[one[1]] = one[2] end
    assert.same({ 0, -E.EBADF, -E.ECANCELED, 0 }, got)
    helper.lawful(ring)
  end)

  it("goes on over a failure behind a hard link", function()
    local ring <close> = uring.ring()
    local bad = uring.sqe():prep_close(9999):set_data64(1)
    ring:queue(bad:set_flags(uring.IOSQE_IO_HARDLINK), nop(2))
    assert.same({ { 1, -E.EBADF }, { 2, 0 } }, all(ring))
  end)

  it("is never split by a full queue", function()
    local ring <close> = uring.ring { entries = 4 }
    for fill = 0, 4 do
      for _ = 1, fill do ring:queue(nop()) end
      ring:queue(uring.sqe():prep_close(9999):set_data64(1), nop(2), nop(3))
      local got = {}
      for _, one in ipairs(all(ring)) do
        if one[1] > 0 then got[one[1]] = one[2] end
      end
      assert.same({ -E.EBADF, -E.ECANCELED, -E.ECANCELED }, got)
    end
  end)

  it("is refused where it cannot go", function()
    local ring <close> = uring.ring { entries = 2 }
    local link = nop():set_flags(uring.IOSQE_IO_LINK)
    helper.raises("must not have a link flag", ring.queue, ring, nop(), link)
    helper.raises("does not fit", ring.queue, ring, nop(), nop(), nop())
    assert.equal(0, ring:stats().submitted)
  end)

  it("is cancelled at its first unfinished member", function()
    local ring <close> = uring.ring()
    local _, second, third = ring:queue(
      uring.sqe():prep_timeout(60):set_data64(1), nop(2), nop(3))
    ring:submit()
    assert.equal("in flight", second:status())
    assert(third:cancel())
    local got = {}
    for _ = 1, 3 do
      local data, res = ring:wait_cqe(5)
      got[data] = res
    end
    assert.same({ -E.ECANCELED, -E.ECANCELED, -E.ECANCELED }, got)
    helper.lawful(ring)
  end)

  it("is cancelled member by member behind hard links", function()
    local ring <close> = uring.ring()
    local function hard(data)
      return uring.sqe():prep_timeout(60):set_data64(data)
        :set_flags(uring.IOSQE_IO_HARDLINK)
    end
    local _, _, third = ring:queue(hard(1), hard(2),
      uring.sqe():prep_timeout(60):set_data64(3))
    ring:submit()
    assert(third:cancel())
    local got = {}
    for _ = 1, 3 do
      local data, res = ring:wait_cqe(5)
      got[data] = res
    end
    assert.same({ -E.ECANCELED, -E.ECANCELED, -E.ECANCELED }, got)
  end)
end)

describe("a silent sqe", function()
  it("is in flight until 4,096 later ones are", function()
    local ring <close> = uring.ring { entries = 256 }
    local sqe = nop():set_flags(SKIP)
    for _ = 1, 4096 do ring:queue(sqe) end
    ring:submit()
    local stats = helper.lawful(ring)
    assert.same({ 4096, 0, 0 },
      { stats.in_flight, stats.silent, stats.completed })
    for _ = 1, 10 do ring:queue(sqe) end
    ring:submit()
    stats = helper.lawful(ring)
    assert.same({ 4096, 10, 0 },
      { stats.in_flight, stats.silent, stats.completed })
  end)

  it("is settled by a later member of its chain", function()
    local ring <close> = uring.ring()
    ring:queue(nop():set_flags(SKIP), nop():set_flags(SKIP), nop(3))
    assert.same({ { 3, 0 } }, all(ring))
    local stats = helper.lawful(ring)
    assert.same({ 0, 2, 1 },
      { stats.in_flight, stats.silent, stats.completed })
  end)

  it("that fails takes the rest of its chain with it", function()
    local ring <close> = uring.ring()
    local bad = uring.sqe():prep_close(9999):set_data64(1)
    ring:queue(bad:set_flags(SKIP), nop(2), nop(3))
    local got = {}
    for _, one in ipairs(all(ring)) do got[one[1]] = one[2] end
    assert.same({ -E.EBADF, -E.ECANCELED, -E.ECANCELED }, got)
    local stats = helper.lawful(ring)
    assert.equal(0, stats.in_flight)
  end)

  it("pins no memory that nobody would give back", function()
    local ring <close> = uring.ring()
    local r, w = spec.pipe()
    local write = uring.sqe():prep_write(w, "hello"):set_flags(SKIP)
    helper.raises("nobody would know", ring.queue, ring, write)
    ring:queue(write, nop(2))
    assert.same({ { 2, 0 } }, all(ring))
    assert.equal("hello", spec.read(r, 10))
    spec.close(r)
    spec.close(w)
  end)
end)

describe("an operation", function()
  it("has a status, and ends when it was taken", function()
    local ring <close> = uring.ring()
    local op = ring:queue(uring.sqe():prep_timeout(60))
    ring:submit()
    assert.equal("in flight", op:status())
    assert.is_true(op:cancel())
    assert.equal(-E.ECANCELED, select(2, ring:wait_cqe(5)))
    assert.equal("done", op:status())
    assert.is_true(op:cancel())
  end)

  it("is held by the ring when its object is collected", function()
    local ring <close> = uring.ring()
    ring:queue(nop(5))
    helper.collect()
    ring:submit()
    helper.collect()
    assert.same({ { 5, 0 } }, all(ring))
  end)

  it("can be named by a cancel, and a bare number cannot", function()
    local ring <close> = uring.ring()
    local other <close> = uring.ring()
    local op = ring:queue(uring.sqe():prep_timeout(60):set_data64(1))
    local sqe = uring.sqe()
    helper.raises("give what ring:queue returned", sqe.prep_cancel, sqe, 1)
    helper.raises("give what ring:queue returned", sqe.prep_poll_remove, sqe,
      1)
    sqe:prep_cancel(op):set_data64(2)
    helper.raises("another ring", other.queue, other, sqe)
    ring:queue(sqe)
    ring:submit_and_wait(2, 5)
    local got = {}
    for _, one in ipairs(all(ring)) do got[one[1]] = one[2] end
    assert.same({ -E.ECANCELED, 0 }, got)
  end)

  it("is cancelled with all others by ANY, and by its descriptor",
    function()
      local ring <close> = uring.ring()
      local r, w = spec.pipe()
      local buffer = uring.buffer(10)
      for _ = 1, 3 do
        ring:queue(uring.sqe():prep_read(r, buffer):set_data64(1))
      end
      ring:submit()
      ring:queue(uring.sqe():prep_cancel_fd(r,
        uring.IORING_ASYNC_CANCEL_ALL):set_data64(2))
      local got = all(ring)
      assert.equal(4, #got)
      for _, one in ipairs(got) do
        assert.equal(one[1] == 1 and -E.ECANCELED or 3, one[2])
      end
      ring:queue(uring.sqe():prep_poll_add(r, uring.POLLIN):set_data64(1))
      ring:queue(uring.sqe():prep_timeout(60):set_data64(1))
      ring:submit()
      assert.equal(2, ring:register_sync_cancel { timeout = 1,
        flags = uring.IORING_ASYNC_CANCEL_ANY
          | uring.IORING_ASYNC_CANCEL_ALL })
      assert.same({ { 1, -E.ECANCELED }, { 1, -E.ECANCELED } }, all(ring))
      helper.lawful(ring)
      spec.close(r)
      spec.close(w)
    end)

  it("can be moved in time, and taken out", function()
    local ring <close> = uring.ring()
    local op = ring:queue(uring.sqe():prep_timeout(60):set_data64(1))
    ring:submit()
    ring:queue(uring.sqe():prep_timeout_update(0.01, op):set_data64(2))
    assert.same({ 2, 0, 0, "completion" }, { ring:wait_cqe(5) })
    assert.same({ 1, -E.ETIME, 0, "completion" }, { ring:wait_cqe(5) })
    op = ring:queue(uring.sqe():prep_timeout(60):set_data64(3))
    ring:submit()
    ring:queue(uring.sqe():prep_timeout_remove(op):set_data64(4))
    local got = {}
    for _, one in ipairs(all(ring)) do got[one[1]] = one[2] end
    assert.same({ [3] = -E.ECANCELED, [4] = 0 }, got)
  end)
end)

describe("files and buffers", function()
  after_each(helper.clean)

  it("are opened, written, read and closed", function()
    local ring <close> = uring.ring()
    local path = helper.tmpname()
    local function one(sqe)
      ring:queue(sqe)
      local _, res = ring:wait_cqe(5)
      return res
    end
    local fd = one(uring.sqe():prep_openat(uring.AT_FDCWD, path,
      uring.O_RDWR | uring.O_CREAT | uring.O_TRUNC, 384))
    assert.truthy(fd > 2)
    local owner = uring.fd(fd)
    assert.equal(11, one(uring.sqe():prep_write(owner, "hello world")))
    local buffer = uring.buffer("HELLO")
    assert.equal(3, one(uring.sqe():prep_write(owner, buffer, 3, 6, 1)))
    local into = uring.buffer(20)
    assert.equal(11, one(uring.sqe():prep_read(owner, into, nil, 0)))
    assert.equal("hello ELLld", into:string(1, 11))
    assert.equal("ELL", into:string(7, 9))
    assert.equal(20, #into)
    into:write(2, "xx")
    assert.equal("hexxo", into:string(1, 5))
    helper.raises("do not fit", into.write, into, 19, "ab")
    assert.is_true(owner:close())
    assert.is_true(owner:close())
    helper.raises("closed descriptor", function()
      uring.sqe():prep_read(owner, into)
    end)
  end)

  it("say which operation holds a buffer", function()
    local ring <close> = uring.ring()
    local r, w = spec.pipe()
    local buffer = uring.buffer(10)
    local sqe = uring.sqe():prep_read(r, buffer)
    ring:queue(sqe)
    for _, method in ipairs { "close", "resize" } do
      local why = helper.raises("in use", buffer[method], buffer, 5)
      assert.truthy(why:find("read on fd " .. r, 1, true))
    end
    ring:submit()
    spec.write(w, "abc")
    assert.equal(3, select(2, ring:wait_cqe(5)))
    buffer:resize(5)
    assert.equal("abc\0\0", buffer:string())
    helper.raises("prepare it again", ring.queue, ring, sqe)
    assert.is_true(buffer:close())
    helper.raises("closed buffer", buffer.string, buffer)
    spec.close(r)
    spec.close(w)
  end)

  it("take what names a descriptor: numbers, fds, files, rings", function()
    local ring <close> = uring.ring()
    local other <close> = uring.ring()
    local path = helper.file "content"
    local buffer = uring.buffer(10)
    ring:queue(uring.sqe():prep_read(assert(io.open(path)), buffer, 7, 0))
    helper.collect()  -- the file is kept for the operation
    assert.equal(7, select(2, ring:wait_cqe(5)))
    local op = ring:queue(uring.sqe():prep_poll_add(other, uring.POLLIN))
    ring:submit()
    op:cancel()
    assert.equal(-E.ECANCELED, select(2, ring:wait_cqe(5)))
    helper.raises("descriptor expected", function()
      uring.sqe():prep_read("x", buffer)
    end)
  end)

  it("submit what names a descriptor before it is closed", function()
    local ring <close> = uring.ring()
    local r, w = spec.pipe()
    spec.write(w, "abc")
    local fd = uring.fd(r)
    local buffer = uring.buffer(10)
    ring:queue(uring.sqe():prep_read(fd, buffer))
    fd:close()
    assert.equal(3, select(2, ring:wait_cqe(5)))
    -- one that the kernel starts later keeps it open until then
    local r2, w2 = spec.pipe()
    fd = uring.fd(r2)
    ring:queue(uring.sqe():prep_timeout(0.02, 0, 0)
      :set_flags(uring.IOSQE_IO_HARDLINK), uring.sqe():prep_read(fd, buffer))
    spec.write(w2, "later")
    fd:close()
    assert.equal(-E.ETIME, select(2, ring:wait_cqe(5)))
    assert.equal(5, select(2, ring:wait_cqe(5)))
    spec.close(w)
    spec.close(w2)
  end)
end)
