-- Messages from ring to ring: what the man pages of io_uring_prep_msg_ring
-- and io_uring_register_sync_msg promise, and what the kernel really does.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

-- One SQE on a ring, submitted; its completion's res.
local function send(ring, sqe)
  assert(ring:queue(sqe))
  assert(ring:submit())
  while true do
    local data, res, flags, kind = assert(ring:wait_cqe(5))
    if kind == "completion" then return res, data, flags end
  end
end

local function take(ring)
  local data, res, flags, kind = ring:wait_cqe(5)
  assert.equal("message", kind)
  return res, data, flags
end

describe("prep_msg_ring", function()
  local a, b

  before_each(function()
    if not helper.probe.available then return end
    a, b = assert(uring.ring()), assert(uring.ring { entries = 8 })
  end)

  after_each(function()
    if not a then return end
    helper.lawful(a)
    helper.lawful(b)
    a:close()
    b:close()
  end)

  it("brings length and data, and tells the sender", function()
    local sqe = uring.sqe():prep_msg_ring(b, 0x10, 0x1234, 0):set_data64(7)
    assert.same({ 0, 7, 0 }, { send(a, sqe) })
    assert.same({ 0x10, 0x1234, 0 }, { take(b) })
  end)

  it("keeps 64 bits of data and 32 of length, whatever they are", function()
    for _, data in ipairs { 0, 1, -1, math.mininteger, math.maxinteger,
        0xdeadbeefcafebabe, 1 << 32 } do
      assert.equal(0, send(a, uring.sqe():prep_msg_ring(b, 1, data)))
      assert.equal(data, select(2, take(b)))
    end
    for len, res in pairs { [0] = 0, [0x7fffffff] = 0x7fffffff,
        [0x80000000] = -0x80000000, [0xffffffff] = -1,
        [-0x80000000] = -0x80000000, [-1] = -1, [-2] = -2 } do
      assert.equal(0, send(a, uring.sqe():prep_msg_ring(b, len, 9)))
      assert.equal(res, (take(b)))
    end
  end)

  it("gives a task the length as it was set", function()
    local got = uring.run(function()
      assert(a:await(uring.sqe():prep_msg_ring(b, 0xffffffff, 5)))
      return { b:receive(5) }
    end)
    assert.same({ 0xffffffff, 5, 0 }, got)
  end)

  it("refuses lengths beyond 32 bits, and what is no ring", function()
    local sqe = uring.sqe()
    helper.raises("-2147483648 to 4294967295", sqe.prep_msg_ring, sqe, b,
      1 << 32, 0)
    helper.raises("-2147483648 to 4294967295", sqe.prep_msg_ring, sqe, b,
      -(1 << 31) - 1, 0)
    helper.raises("ring expected", sqe.prep_msg_ring, sqe, "b", 1, 0)
    helper.raises("ring expected", sqe.prep_msg_ring, sqe, io.stdout, 1, 0)
  end)

  it("reaches the ring itself", function()
    -- which of the two comes first depends on the ring's flags
    for _, ring in ipairs { a, assert(uring.ring { flags = 0 }) } do
      ring:queue(uring.sqe():prep_msg_ring(ring, 3, 4):set_data64(5))
      ring:submit()
      local got = {}
      for _ = 1, 2 do
        local data, res, flags, kind = ring:wait_cqe(5)
        got[kind] = { data, res, flags }
      end
      assert.same({ message = { 4, 3, 0 }, completion = { 5, 0, 0 } }, got)
      if ring ~= a then ring:close() end
    end
  end)

  it("goes by ring, by reference and by number", function()
    for _, target in ipairs { b, b:ref(), b:fd() } do
      assert.equal(0, send(a, uring.sqe():prep_msg_ring(target, 1, 2)))
      assert.same({ 1, 2, 0 }, { take(b) })
    end
  end)

  it("says in words what the kernel refuses", function()
    local r, w = spec.pipe()
    local off = assert(uring.ring { flags = uring.IORING_SETUP_R_DISABLED })
    uring.run(function()
      local function try(target, flags)
        local n, why, errno = a:await(
          uring.sqe():prep_msg_ring(target, 1, 2, flags))
        assert.is_nil(n)
        return errno, why
      end
      assert.equal(E.EBADF, (try(9999)))
      assert.equal(E.EBADF, (try(-1)))
      local errno, why = try(r)
      assert.equal(E.EBADFD, errno)
      assert.truthy(why:find("not a ring", 1, true))
      assert.equal(E.EBADFD, (try(off)))
      assert.equal(E.EINVAL, (try(b, 1 << 20)))
      -- CQE_SKIP is for descriptors
      assert.equal(E.EINVAL, (try(b, uring.IORING_MSG_RING_CQE_SKIP)))
    end)
    assert(off:enable_rings())
    assert.equal(0, send(a, uring.sqe():prep_msg_ring(off, 1, 2)))
    assert.same({ 1, 2, 0 }, { take(off) })
    off:close()
    spec.close(r)
    spec.close(w)
  end)

  it("keeps the order of a thousand, through a queue of four", function()
    local small = assert(uring.ring { entries = 2, cq_entries = 4 })
    local sqe = uring.sqe()
    for i = 1, 1000 do
      assert(a:queue(sqe:prep_msg_ring(small, 1, i)))
    end
    a:submit()
    for i = 1, 1000 do assert.equal(i, select(2, take(small))) end
    local stats = small:stats()
    assert.equal(1000, stats.messages)
    assert.equal(0, stats.lost)
    small:close()
  end)

  it("says nothing of a success with CQE_SKIP_SUCCESS", function()
    local sqe = uring.sqe():prep_msg_ring(b, 1, 2)
    sqe:set_flags(uring.IOSQE_CQE_SKIP_SUCCESS)
    a:queue(sqe)
    a:submit()
    assert.same({ 1, 2, 0 }, { take(b) })
    assert.is_nil(a:wait_cqe(0))
    -- but of a failure
    sqe:prep_msg_ring(9999, 1, 2):set_data64(77)
    sqe:set_flags(uring.IOSQE_CQE_SKIP_SUCCESS)
    a:queue(sqe)
    a:submit()
    assert.same({ 77, -E.EBADF, 0, "completion" }, { a:wait_cqe(5) })
  end)

  it("reaches rings of every kind", function()
    local kinds = { "IORING_SETUP_IOPOLL", "IORING_SETUP_SQPOLL",
      "IORING_SETUP_CQE32", "IORING_SETUP_SQE128",
      "IORING_SETUP_COOP_TASKRUN", "IORING_SETUP_SINGLE_ISSUER" }
    for _, name in ipairs(kinds) do
      local ring = assert(uring.ring { flags = uring[name] })
      for i = 1, 3 do
        assert.equal(0, send(a, uring.sqe():prep_msg_ring(ring, i, 100 + i)),
          name)
      end
      for i = 1, 3 do
        assert.same({ i, 100 + i, 0 }, { take(ring) }, name)
      end
      assert(ring:close())
    end
  end)

  it("leaves rings of every kind", function()
    for _, name in ipairs { "IORING_SETUP_IOPOLL", "IORING_SETUP_SQPOLL",
        "IORING_SETUP_CQE32", "IORING_SETUP_SQE128" } do
      local ring = assert(uring.ring { flags = uring[name] })
      assert.equal(0, send(ring, uring.sqe():prep_msg_ring(b, 5, 6)), name)
      assert.same({ 5, 6, 0 }, { take(b) })
      assert(ring:close())
    end
  end)
end)

describe("a target that is closed", function()
  it("is refused before the kernel is asked", function()
    local a, b = assert(uring.ring()), assert(uring.ring())
    local ref = b:ref()
    local sqe = uring.sqe():prep_msg_ring(ref, 1, 2)
    b:close()
    assert.is_true(ref:closed())
    local op, why, errno = a:queue(sqe)
    assert.is_nil(op)
    assert.equal(E.EPIPE, errno)
    assert.truthy(why:find("the target ring is closed", 1, true))
    assert.equal(0, a:stats().submitted)
    if helper.has "sync_msg" then
      assert.equal(E.EPIPE, select(3, uring.register_sync_msg(sqe)))
    end
    a:close()
  end)

  it("is refused when it was closed between queue and submit", function()
    local a, b, c = uring.ring(), uring.ring(), uring.ring()
    -- a state of its own closes it, so that nothing submits on the way
    local ref = b:ref()
    a:queue(uring.sqe():prep_msg_ring(ref, 1, 2):set_data64(8),
      uring.sqe():prep_nop():set_data64(9))
    b:close()
    a:submit()
    assert.same({ 8, -E.EPIPE, 0, "completion" }, { a:wait_cqe(5) })
    assert.same({ 9, -E.ECANCELED, 0, "completion" }, { a:wait_cqe(5) })
    a:close()
    c:close()
  end)

  it("never lends its number to another ring", function()
    local a = assert(uring.ring())
    local b = assert(uring.ring())
    local sqe = uring.sqe():prep_msg_ring(b, 1, 2)
    b:close()
    local others = {}
    for i = 1, 8 do others[i] = assert(uring.ring { entries = 1 }) end
    assert.equal(E.EPIPE, select(3, a:queue(sqe)))
    for _, ring in ipairs(others) do
      assert.is_nil(ring:wait_cqe(0))
      ring:close()
    end
    a:close()
  end)
end)

describe("prep_msg_ring_cqe_flags", function()
  it("brings flags as they are", function()
    helper.needs "msg_ring_cqe_flags"
    local a, b = assert(uring.ring()), assert(uring.ring())
    for _, flags in ipairs { 0x42, 0xffff0000, 0x2, 0xffff7fdf, 0 } do
      assert.equal(0, send(a, uring.sqe():prep_msg_ring_cqe_flags(b, 1, 2, 0,
        flags)))
      assert.same({ 1, 2, flags }, { take(b) })
    end
    a:close()
    b:close()
  end)

  it("refuses what would corrupt the reader's queue", function()
    local b = assert(uring.ring())
    local sqe = uring.sqe()
    for _, flags in ipairs { 0x8000, 0x20, 0x8020, 0xffffffff } do
      helper.raises("corrupt the reader's queue", sqe.prep_msg_ring_cqe_flags,
        sqe, b, 1, 2, 0, flags)
    end
    b:close()
  end)

  -- The messages i = 1, 2, … n with such flags from somebody who does not use
  -- this library; newer kernels refuse some of them.
  local function send_unsafe(ring, n)
    local from = assert(spec.sender())
    local unsafe = { 0x8000, 0x20, 0x8020, 0x2, 0x1f }
    local sent = {}
    for i = 1, n do
      local flags = unsafe[i % 5 + 1]
      local ok, _, errno = from:send(ring:fd(), i, 3, flags)
      if ok then sent[#sent + 1] = { 3, i, flags }
      else assert.equal(E.EINVAL, errno) end
    end
    return sent
  end

  it("does no harm where somebody sends it all the same", function()
    helper.needs "msg_ring_cqe_flags"
    local b = assert(uring.ring { entries = 4, cq_entries = 128 })
    for _, message in ipairs(send_unsafe(b, 100)) do
      assert.same(message, { take(b) })
    end
    assert.is_nil(b:wait_cqe(0))
    b:close()
  end)

  it("does no harm through an overflow either", function()
    helper.needs "msg_ring_cqe_flags"
    -- here some kernels themselves give F_32 two places, one of which they
    -- then write over: what such messages say is lost or comes twice. The
    -- ring and what is its own are not touched.
    local b = assert(uring.ring { entries = 4, cq_entries = 8 })
    local sent = send_unsafe(b, 100)
    for _ = 1, #sent // 2 do assert(b:wait_cqe(5)) end
    while b:wait_cqe(0) do end
    assert.equal(0, send(b, uring.sqe():prep_nop()))
    helper.lawful(b)
    b:close()
  end)

  it("says since when it is there, where it is not", function()
    if helper.has "msg_ring_cqe_flags" then return end
    local a, b = assert(uring.ring()), assert(uring.ring())
    uring.run(function()
      local n, why, errno = a:await(
        uring.sqe():prep_msg_ring_cqe_flags(b, 1, 2, 0, 0x100))
      assert.is_nil(n)
      assert.truthy(why:find("needs Linux 6.3", 1, true))
      assert.equal(E.EINVAL, errno)
    end)
    a:close()
    b:close()
  end)
end)

describe("prep_msg_ring_fd", function()
  local a, b, path

  before_each(function()
    if not helper.probe.available then return end
    path = helper.file "in the file"
    a, b = assert(uring.ring()), assert(uring.ring())
  end)

  after_each(function()
    if a then a:close() b:close() end
    helper.clean()
  end)

  local function open(ring, slot)
    local sqe = uring.sqe():prep_openat_direct(uring.AT_FDCWD, path,
      uring.O_RDONLY, 0, slot)
    return send(ring, sqe)
  end

  local function content(ring, slot)
    local buffer = uring.buffer(100)
    local sqe = uring.sqe():prep_read(slot, buffer, 100, 0)
    local n = send(ring, sqe:set_flags(uring.IOSQE_FIXED_FILE))
    return n >= 0 and buffer:string(1, n) or n
  end

  it("installs an open file in another ring's slot", function()
    a:register_files_sparse(4)
    b:register_files_sparse(4)
    assert.equal(0, open(a, 2))
    assert.equal(0, send(a, uring.sqe():prep_msg_ring_fd(b, 2, 3, 99)))
    assert.same({ 0, 99, 0 }, { take(b) })
    assert.equal("in the file", content(b, 3))
    -- it is shared: the sender may close its own
    assert.equal(0, send(a, uring.sqe():prep_close_direct(2)))
    assert.equal("in the file", content(b, 3))
    assert.equal(0, send(b, uring.sqe():prep_close_direct(3)))
    assert.equal(-E.EBADF, content(b, 3))
  end)

  it("finds a slot itself by fd_alloc, and names it to both", function()
    a:register_files_sparse(1)
    b:register_files_sparse(4)
    assert(b:register_file_alloc_range(2, 2))
    assert.equal(0, open(a, 0))
    for slot = 2, 3 do
      local res = send(a, uring.sqe():prep_msg_ring_fd_alloc(b, 0, 5))
      assert.equal(slot, res)
      local got, data = take(b)
      assert.same({ slot, 5 }, { got, data })
      assert.equal("in the file", content(b, slot))
    end
    assert.equal(-E.ENFILE, (send(a,
      uring.sqe():prep_msg_ring_fd_alloc(b, 0, 5))))
  end)

  it("says nothing to the target with CQE_SKIP", function()
    a:register_files_sparse(1)
    b:register_files_sparse(1)
    assert.equal(0, open(a, 0))
    assert.equal(0, send(a, uring.sqe():prep_msg_ring_fd(b, 0, 0, 5,
      uring.IORING_MSG_RING_CQE_SKIP)))
    assert.is_nil(b:wait_cqe(0.01))
    assert.equal("in the file", content(b, 0))
  end)

  it("fails as the kernel has it", function()
    local function fd(slot, to) return uring.sqe():prep_msg_ring_fd(b, slot,
      to or 0, 1) end
    assert.equal(-E.EBADF, (send(a, fd(0))))           -- no table
    a:register_files_sparse(2)
    assert.equal(-E.EBADF, (send(a, fd(0))))           -- an empty slot
    assert.equal(-E.EBADF, (send(a, fd(7))))           -- beyond it
    assert.equal(0, open(a, 0))
    assert.equal(-E.ENXIO, (send(a, fd(0))))           -- no table there
    assert.equal(-E.ENFILE, (send(a,
      uring.sqe():prep_msg_ring_fd_alloc(b, 0, 1))))
    b:register_files_sparse(2)
    assert.equal(-E.EINVAL, (send(a, fd(0, 9))))       -- beyond the target's
    assert.equal(-E.EINVAL, (send(a,
      uring.sqe():prep_msg_ring_fd(a, 0, 1, 1))))      -- to itself
    assert.is_nil(b:wait_cqe(0))
  end)

  it("makes it an ordinary descriptor by fixed_fd_install", function()
    helper.needs "fixed_fd_install"
    a:register_files_sparse(1)
    assert.equal(0, open(a, 0))
    local fd = send(a, uring.sqe():prep_fixed_fd_install(0))
    assert.truthy(fd > 2)
    assert.equal("in the file", spec.read(fd, 100))
    spec.close(fd)
  end)
end)

describe("register_sync_msg", function()
  it("needs no ring to send from", function()
    helper.needs "sync_msg"
    for _, flags in ipairs { 0, uring.IORING_SETUP_SQPOLL,
        uring.IORING_SETUP_IOPOLL, uring.IORING_SETUP_CQE32,
        uring.IORING_SETUP_SINGLE_ISSUER | uring.IORING_SETUP_DEFER_TASKRUN
        } do
      local ring = assert(uring.ring { flags = flags })
      assert.is_true(uring.register_sync_msg(
        uring.sqe():prep_msg_ring(ring, 6, 7)))
      assert.is_true(uring.register_sync_msg(
        uring.sqe():prep_msg_ring_cqe_flags(ring:ref(), 6, 7, 0, 0x100)))
      assert.same({ 6, 7, 0 }, { take(ring) })
      assert.same({ 6, 7, 0x100 }, { take(ring) })
      ring:close()
    end
  end)

  it("says what is wrong", function()
    helper.needs "sync_msg"
    local r, w = spec.pipe()
    local function errno(target)
      return select(3, uring.register_sync_msg(
        uring.sqe():prep_msg_ring(target, 1, 1)))
    end
    assert.equal(E.EBADF, errno(9999))
    assert.equal(E.EBADFD, errno(r))
    local off = assert(uring.ring { flags = uring.IORING_SETUP_R_DISABLED })
    assert.equal(E.EBADFD, errno(off))
    helper.raises("prep_msg_ring", uring.register_sync_msg,
      uring.sqe():prep_nop())
    helper.raises("prep_msg_ring", uring.register_sync_msg,
      uring.sqe():prep_msg_ring_fd(off, 0, 0, 0))
    helper.raises("no flags of IOSQE_", uring.register_sync_msg,
      uring.sqe():prep_msg_ring(off, 0, 0):set_flags(uring.IOSQE_ASYNC))
    off:close()
    spec.close(r)
    spec.close(w)
  end)

  it("says since when it is there, where it is not", function()
    if helper.has "sync_msg" then return end
    local ring = assert(uring.ring())
    local ok, why = uring.register_sync_msg(
      uring.sqe():prep_msg_ring(ring, 1, 1))
    assert.is_nil(ok)
    assert.truthy(why:find("needs Linux 6.13", 1, true))
    ring:close()
  end)
end)

describe("messages across states and processes", function()
  it("come from another state's thread by reference, into a sleep",
    function()
      local ring = assert(uring.ring())
      local t = spec.thread([[
        local uring, ref = require "uring", ...
        local own = assert(uring.ring())
        assert(own:queue(uring.sqe():prep_msg_ring(ref, 3, 4)))
        assert(own:submit())
        assert(own:wait_cqe(5))
        own:close()
        return "sent"
      ]], ring:ref())
      assert.same({ 4, 3, 0, "message" }, { ring:wait_cqe(5) })
      assert.same({ true, "sent" }, { t:join() })
      ring:close()
    end)

  it("are refused there once the ring is closed here", function()
    local ring = assert(uring.ring())
    local ref = ring:ref()
    ring:close()
    local t = spec.thread([[
      local uring, ref = require "uring", ...
      local own = assert(uring.ring())
      local op, why, errno = own:queue(uring.sqe():prep_msg_ring(ref, 3, 4))
      own:close()
      return op == nil, errno
    ]], ref)
    assert.same({ true, true, E.EPIPE }, { t:join() })
  end)

  it("come from a child process, by reference and by number", function()
    local ring = assert(uring.ring())
    local ref, fd = ring:ref(), ring:fd()
    assert.equal(0, (helper.child(function()
      local own = assert(uring.ring())
      for i, target in ipairs { ref, fd } do
        assert(own:queue(uring.sqe():prep_msg_ring(target, i, 9)))
        assert(own:submit())
        assert(select(2, own:wait_cqe(5)) == 0)
      end
    end)))
    assert.same({ 1, 9, 0 }, { take(ring) })
    assert.same({ 2, 9, 0 }, { take(ring) })
    ring:close()
  end)
end)
