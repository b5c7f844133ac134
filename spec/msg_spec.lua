-- Messages from ring to ring: what the man pages of io_uring_prep_msg_ring
-- and io_uring_register_sync_msg promise, and what the kernel really does.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, message, nop = hand.one, hand.message, hand.nop

local function msg(...)
  return uring.sqe():prep_msg_ring(...)
end

-- Of each kind of ring that messages come to: a name, its options.
local kinds = {
  { "the default", nil },
  { "a plain", { flags = 0 } },
  { "an IOPOLL", { flags = uring.IORING_SETUP_IOPOLL } },
  { "an SQPOLL", { flags = uring.IORING_SETUP_SQPOLL } },
  { "a CQE32", { flags = uring.IORING_SETUP_CQE32 } },
  { "an SQE128", { flags = uring.IORING_SETUP_SQE128 } },
  { "a COOP_TASKRUN", { flags = uring.IORING_SETUP_COOP_TASKRUN } },
  { "a SINGLE_ISSUER", { flags = uring.IORING_SETUP_SINGLE_ISSUER } },
  { "a DEFER_TASKRUN without TASKRUN_FLAG",
    { flags = uring.IORING_SETUP_SINGLE_ISSUER
        | uring.IORING_SETUP_DEFER_TASKRUN } },
  { "a CQE_MIXED", { flags = uring.IORING_SETUP_CQE_MIXED }, "cqe_mixed" },
}

-- Those of them that this kernel can make.
local function possible()
  local all = {}
  for _, kind in ipairs(kinds) do
    if not kind[3] or helper.has(kind[3]) then all[#all + 1] = kind end
  end
  return all
end

-- f(name, make) for each; make(options) skips the test where it cannot.
local function each_kind(f)
  for _, kind in ipairs(kinds) do
    local name, options, feature = table.unpack(kind, 1, 3)
    f(name .. " ring", function(more)
      if feature then helper.needs(feature) end
      local all = {}
      for k, v in pairs(options or {}) do all[k] = v end
      for k, v in pairs(more or {}) do all[k] = v end
      return hand.ring(all)
    end)
  end
end

describe("prep_msg_ring", function()
  local a, b

  before_each(function()
    if not helper.probe.available then return end
    a, b = hand.ring(), hand.ring { entries = 8 }
  end)

  after_each(hand.close)

  it("brings length and data, and tells the sender", function()
    assert.same({ 0, 7, 0 }, { one(a, msg(b, 0x10, 0x1234, 0)
      :set_data64(7)) })
    assert.same({ 0x10, 0x1234, 0 }, { message(b) })
    hand.nothing(a)
    hand.nothing(b)
  end)

  it("sends the same sqe as often as it is queued", function()
    local sqe = msg(b, 1, 2)
    for _ = 1, 3 do assert(a:queue(sqe)) end
    assert.equal(3, a:submit())
    for _ = 1, 3 do assert.equal(0, (select(2, hand.take(a)))) end
    for _ = 1, 3 do assert.same({ 1, 2, 0 }, { message(b) }) end
    -- on other rings too, and to other targets once it is prepared again
    local c = hand.ring()
    assert.equal(0, (one(c, sqe)))
    assert.same({ 1, 2, 0 }, { message(b) })
    assert.equal(0, (one(c, sqe:prep_msg_ring(a, 3, 4))))
    assert.same({ 3, 4, 0 }, { message(a) })
  end)

  it("keeps all 64 bits of data", function()
    for _, data in ipairs { 0, 1, -1, -2, math.mininteger, math.maxinteger,
        0xdeadbeefcafebabe, 1 << 32, (1 << 32) - 1, 0xffffff, 1 << 24 } do
      assert.equal(0, (one(a, msg(b, 1, data))))
      assert.equal(data, (select(2, message(b))))
    end
  end)

  it("keeps all 32 bits of length, signed or not", function()
    for len, res in pairs { [0] = 0, [1] = 1, [0x7fffffff] = 0x7fffffff,
        [0x80000000] = -0x80000000, [0xffffffff] = -1,
        [-0x80000000] = -0x80000000, [-1] = -1, [-E.EINVAL] = -E.EINVAL } do
      assert.equal(0, (one(a, msg(b, len, 9))))
      assert.equal(res, (message(b)))
    end
  end)

  it("gives a task the length as it was set", function()
    uring.run(function()
      for _, len in ipairs { 0, 0x7fffffff, 0x80000000, 0xffffffff } do
        assert(a:await(msg(b, len, 5)))
        assert.same({ len, 5, 0 }, { b:receive(hand.patience) })
      end
      assert(a:await(msg(b, -1, 5)))
      assert.same({ 0xffffffff, 5, 0 }, { b:receive(hand.patience) })
    end)
  end)

  it("refuses numbers that are none, or do not fit", function()
    local sqe = msg(b, 1, 2)
    local before = tostring(sqe)
    for _, len in ipairs { 1 << 32, -(1 << 31) - 1, math.mininteger,
        math.maxinteger, 0.5, 0 / 0, 2.0 ^ 63, math.huge, "1", true } do
      helper.raises("integer from -2147483648 to 4294967295",
        sqe.prep_msg_ring, sqe, b, len, 0)
    end
    helper.raises("got no value", sqe.prep_msg_ring, sqe, b)
    for _, data in ipairs { 0.5, 0 / 0, 2.0 ^ 63, "1", {} } do
      helper.raises("integer from -9223372036854775808", sqe.prep_msg_ring,
        sqe, b, 1, data)
    end
    for _, flags in ipairs { -1, 1 << 32, 0.5, "0" } do
      helper.raises("integer from 0 to 4294967295", sqe.prep_msg_ring, sqe,
        b, 1, 0, flags)
    end
    assert.equal(before, tostring(sqe))
    assert.equal(0, (one(a, sqe)))
    assert.same({ 1, 2, 0 }, { message(b) })
  end)

  it("refuses targets that are no rings", function()
    local sqe = uring.sqe()
    for _, target in ipairs { "b", io.stdout, {}, uring.buffer(1), sqe,
        print, true } do
      helper.raises("ring expected", sqe.prep_msg_ring, sqe, target, 1, 0)
    end
    helper.raises("ring expected", sqe.prep_msg_ring, sqe, nil, 1, 0)
    for _, target in ipairs { 1 << 31, 0.5, 0 / 0, math.mininteger } do
      helper.raises("integer from -2147483648", sqe.prep_msg_ring, sqe,
        target, 1, 0)
    end
  end)

  it("takes floats that are integers", function()
    assert.equal(0, (one(a, msg(b, 3.0, 4.0, 0.0))))
    assert.same({ 3, 4, 0 }, { message(b) })
  end)

  it("goes by ring, by reference and by number", function()
    for _, target in ipairs { b, b:ref(), b:fd() } do
      assert.equal(0, (one(a, msg(target, 1, 2))))
      assert.same({ 1, 2, 0 }, { message(b) })
    end
  end)

  it("is refused by the kernel where it is wrong", function()
    local r, w = spec.pipe()
    local off = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    local function try(target, flags, change)
      local sqe = msg(target, 1, 2, flags):set_data64(8)
      if change then change(sqe) end
      return (one(a, sqe))
    end
    assert.equal(-E.EBADF, try(9999))
    assert.equal(-E.EBADF, try(-1))
    assert.equal(-E.EBADFD, try(r))
    assert.equal(-E.EBADFD, try(off))
    for bit = 2, 31 do  -- 0 and 1 are known
      assert.equal(-E.EINVAL, try(b, 1 << bit))
    end
    -- this one is for descriptors
    assert.equal(-E.EINVAL, try(b, uring.IORING_MSG_RING_CQE_SKIP))
    for setter, value in pairs { set_ioprio = 1, set_personality = 1,
        set_buf_group = 1 } do
      assert.equal(-E.EINVAL, try(b, 0, function(sqe)
        sqe[setter](sqe, value)
      end), setter)
    end
    assert.equal(-E.EOPNOTSUPP, try(b, 0, function(sqe)
      sqe:set_flags(uring.IOSQE_BUFFER_SELECT)
    end))
    assert.equal(-E.EBADF, try(b, 0, function(sqe)
      sqe:set_flags(uring.IOSQE_FIXED_FILE)
    end))
    hand.nothing(b)
    -- once enabled it is a ring like others
    assert(off:enable_rings())
    assert.equal(0, try(off))
    assert.same({ 1, 2, 0 }, { message(off) })
    spec.close(r)
    spec.close(w)
  end)

  it("says in words what the kernel refused", function()
    local r, w = spec.pipe()
    local off = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    uring.run(function()
      local function try(words, errno, sqe)
        local res, why, err, flags = a:await(sqe)
        assert.same({ nil, errno, 0 }, { res, err, flags })
        assert.truthy(why:find(words, 1, true), why)
      end
      try("is not open", E.EBADF, msg(9999, 1, 2))
      try("not a ring, or its enable_rings()", E.EBADFD, msg(r, 1, 2))
      try("not a ring, or its enable_rings()", E.EBADFD, msg(off, 1, 2))
      try("flag, command or slot", E.EINVAL, msg(b, 1, 2, 1 << 20))
    end)
    spec.close(r)
    spec.close(w)
  end)

  it("that the kernel does not take holds up none behind it", function()
    for _, ring in ipairs { a, hand.ring { flags = 0 } } do
      ring:queue(nop(1))
      ring:queue(msg(b, 1, 2, 1 << 20):set_data64(2))
      ring:queue(msg(b, 3, 4):set_data64(3))
      assert.equal(3, ring:submit())
      assert.same({ 0, -E.EINVAL, 0 }, hand.some(ring, 3))
      assert.same({ 3, 4, 0 }, { message(b) })
    end
  end)

  it("keeps the order of a thousand", function()
    local sqe = uring.sqe()
    for _, flags in ipairs { 0, uring.IORING_SETUP_SINGLE_ISSUER
        | uring.IORING_SETUP_DEFER_TASKRUN } do
      local target = hand.ring { flags = flags, cq_entries = 2048 }
      for i = 1, 1000 do assert(a:queue(sqe:prep_msg_ring(target, 1, i))) end
      a:submit()
      for i = 1, 1000 do assert.equal(i, (select(2, message(target)))) end
    end
  end)

  it("passes flags as none where FLAGS_PASS is set by hand", function()
    helper.needs "msg_ring_cqe_flags"
    assert.equal(0, (one(a, msg(b, 1, 2, uring.IORING_MSG_RING_FLAGS_PASS))))
    assert.same({ 1, 2, 0 }, { message(b) })
  end)

  it("counts what arrived, what waits, and the most that did", function()
    for i = 1, 5 do a:queue(msg(b, 1, i)) end
    a:submit()
    assert.equal(1, (select(2, message(b))))
    local stats = b:stats()
    assert.same({ 5, 4, 5 },
      { stats.messages, stats.waiting, stats.high_water })
    for i = 2, 5 do assert.equal(i, (select(2, message(b)))) end
    stats = b:stats()
    assert.same({ 5, 0, 5, 0 },
      { stats.messages, stats.waiting, stats.high_water, stats.submitted })
  end)
end)

describe("a message", function()
  after_each(hand.close)

  each_kind(function(name, make)
    it("reaches " .. name, function()
      local a, ring = hand.ring(), make()
      for i = 1, 3 do
        assert.equal(0, (one(a, msg(ring, i, 100 + i))))
      end
      for i = 1, 3 do
        assert.same({ i, 100 + i, 0 }, { message(ring) })
      end
    end)

    it("leaves " .. name, function()
      local ring, b = make(), hand.ring()
      assert.equal(0, (one(ring, msg(b, 5, 6))))
      assert.same({ 5, 6, 0 }, { message(b) })
    end)

    it("reaches the ring itself: " .. name, function()
      local ring = make()
      ring:queue(msg(ring, 3, 4):set_data64(5))
      ring:submit()
      local got = {}
      for _ = 1, 2 do  -- which comes first depends on the kernel
        local data, res, flags, kind = ring:wait_cqe(hand.patience)
        got[kind] = { data, res, flags }
      end
      assert.same({ message = { 4, 3, 0 }, completion = { 5, 0, 0 } }, got)
    end)

    it("waits in line where there is no room: " .. name, function()
      local a, small = hand.ring(), make { entries = 2, cq_entries = 4 }
      local sqe = uring.sqe()
      for i = 1, 300 do assert(a:queue(sqe:prep_msg_ring(small, 1, i))) end
      a:submit()
      for i = 1, 300 do assert.equal(i, (select(2, message(small)))) end
      local stats = small:stats()
      assert.same({ 300, 0, 0 },
        { stats.messages, stats.lost, stats.waiting })
      for _ = 1, 300 do assert.equal(0, (select(2, hand.take(a)))) end
      assert.equal(0, (one(small, nop())))
    end)

    it("fails or goes to a disabled one only: " .. name, function()
      local a = hand.ring()
      local ring = make()
      local bits = ring:flags() & ~uring.IORING_SETUP_NO_SQARRAY
      local off = hand.ring { cq_entries = 64,
        flags = bits | uring.IORING_SETUP_R_DISABLED }
      assert.equal(-E.EBADFD, (one(a, msg(off, 1, 2))))
      assert(off:enable_rings())
      assert.equal(0, (one(a, msg(off, 1, 2))))
      assert.same({ 1, 2, 0 }, { message(off) })
    end)
  end)

  it("makes an eventfd of its target's readable, deferred or not",
    function()
      local a = hand.ring()
      for _, ring in ipairs { hand.ring(), hand.ring { flags = 0 } } do
        local fd = spec.eventfd()
        assert(ring:register_eventfd(fd))
        assert.is_false(spec.ready(fd))
        assert.equal(0, (one(a, msg(ring, 1, 2))))
        assert.is_true(spec.ready(fd, hand.patience))
        assert.same({ 1, 2, 0 }, { message(ring) })
        assert(ring:unregister_eventfd())
        spec.close(fd)
      end
    end)

  it("to a thread that has ended is sent, and never read", function()
    local a = hand.ring()
    helper.keeps_fds(function()
      local ring, ref
      assert(spec.in_thread(function()
        ring = assert(uring.ring())
        ref = ring:ref()
        assert(ring:register_files_sparse(1))
      end))
      helper.raises("belongs to another thread", ring.wait_cqe, ring, 0)
      assert.equal(0, (one(a, msg(ref, 1, 2))))
      if helper.has "sync_msg" then
        assert.is_true(uring.register_sync_msg(msg(ref, 1, 2)))
      end
      -- a descriptor is not
      a:register_files_sparse(1)
      assert.equal(0, (one(a, uring.sqe():prep_openat_direct(uring.AT_FDCWD,
        "/dev/null", uring.O_RDONLY, 0, 0))))
      local sqe = uring.sqe():prep_msg_ring_fd(ref, 0, 0, 1)
      local res = one(a, sqe)
      if res ~= 0 then  -- an old kernel needs no owner to install it
        assert.equal(-E.EOWNERDEAD, res)
      end
      a:unregister_files()
    end)
  end)
end)

describe("a message with flags of IOSQE_", function()
  local a, b

  before_each(function()
    if not helper.probe.available then return end
    a, b = hand.ring(), hand.ring()
  end)

  after_each(hand.close)

  it("CQE_SKIP_SUCCESS says nothing of a success", function()
    a:queue(msg(b, 1, 2):set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
    a:submit()
    assert.same({ 1, 2, 0 }, { message(b) })
    hand.nothing(a)
  end)

  it("CQE_SKIP_SUCCESS says of a failure", function()
    a:queue(msg(9999, 1, 2):set_data64(77)
      :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
    assert.same({ 77, -E.EBADF, 0 }, { hand.take(a) })
    assert.equal(0, helper.lawful(a).in_flight)
  end)

  it("IO_LINK cancels the next one when it fails", function()
    local bad = msg(9999, 1, 2):set_data64(1):set_flags(uring.IOSQE_IO_LINK)
    a:queue(bad, msg(b, 1, 3):set_data64(2))
    assert.same({ -E.EBADF, -E.ECANCELED }, hand.some(a, 2))
    hand.nothing(b)
    a:queue(msg(b, 1, 4):set_data64(1):set_flags(uring.IOSQE_IO_LINK),
      msg(b, 1, 5):set_data64(2))
    assert.same({ 0, 0 }, hand.some(a, 2))
    assert.equal(4, (select(2, message(b))))
    assert.equal(5, (select(2, message(b))))
  end)

  it("IO_HARDLINK does not", function()
    a:queue(msg(9999, 1, 2):set_data64(1)
      :set_flags(uring.IOSQE_IO_HARDLINK), msg(b, 1, 3):set_data64(2))
    assert.same({ -E.EBADF, 0 }, hand.some(a, 2))
    assert.same({ 1, 3, 0 }, { message(b) })
  end)

  it("ASYNC goes by a worker of the kernel's", function()
    for _, ring in ipairs { a, hand.ring { flags = 0 } } do
      assert.equal(0, (one(ring, msg(b, 1, 2):set_flags(uring.IOSQE_ASYNC))))
      assert.same({ 1, 2, 0 }, { message(b) })
    end
  end)

  it("IO_DRAIN goes when all before it have ended", function()
    local op = a:queue(uring.sqe():prep_timeout(3600):set_data64(1))
    a:queue(msg(b, 1, 2):set_data64(2):set_flags(uring.IOSQE_IO_DRAIN))
    a:submit()
    hand.nothing(b)
    assert.equal(0, a:register_sync_cancel { op = op })
    assert.same({ 1, -E.ECANCELED, 0 }, { hand.take(a) })
    assert.same({ 2, 0, 0 }, { hand.take(a) })
    assert.same({ 1, 2, 0 }, { message(b) })
  end)
end)

describe("a target that is closed", function()
  after_each(hand.close)

  it("is refused before the kernel is asked", function()
    local a, b = hand.ring(), hand.ring()
    local ref = b:ref()
    local sqe = msg(ref, 1, 2)
    b:close()
    assert.is_true(ref:closed())
    local op, why, errno = a:queue(sqe)
    assert.same({ nil, E.EPIPE }, { op, errno })
    assert.truthy(why:find("the target ring is closed", 1, true))
    -- nothing of a chain is queued either
    assert.equal(E.EPIPE, (select(3, a:queue(nop(1), sqe))))
    assert.equal(0, a:stats().submitted)
    assert.equal(E.EPIPE, (select(3, a:queue(msg(ref, 1, 2)))))
    local fd = uring.sqe():prep_msg_ring_fd_alloc(ref, 0, 0)
    assert.equal(E.EPIPE, (select(3, a:queue(fd))))
    if helper.has "sync_msg" then
      local ok
      ok, why, errno = uring.register_sync_msg(sqe)
      assert.same({ nil, E.EPIPE }, { ok, errno })
      assert.truthy(why:find("the target ring is closed", 1, true))
    end
    helper.raises("closed ring", sqe.prep_msg_ring, sqe, b, 1, 2)
    hand.nothing(a)
  end)

  it("is refused when it was closed between queue and submit", function()
    local a, b = hand.ring(), hand.ring()
    a:queue(msg(b:ref(), 1, 2):set_data64(8), nop(9))
    b:close()
    assert.same({ [8] = -E.EPIPE, [9] = -E.ECANCELED }, hand.some(a, 2))
  end)

  it("by another thread meanwhile is refused at the submit", function()
    local a = hand.ring()
    local t = spec.thread [[
      local uring, spec = require "uring", require "uring_spec"
      local ring = assert(uring.ring())
      spec.put("ref", ring:ref())
      spec.take "queued"
      assert(ring:close())
    ]]
    local ref = spec.take "ref"
    assert.is_false(ref:closed())
    a:queue(msg(ref, 1, 2):set_data64(1))
    a:queue(nop(2))
    a:queue(uring.sqe():prep_msg_ring_fd(ref, 0, 0, 0):set_data64(3))
    spec.put("queued", true)
    assert.same({ true }, { t:join() })
    assert.is_true(ref:closed())
    a:submit()
    assert.same({ -E.EPIPE, 0, -E.EPIPE }, hand.some(a, 3))
  end)

  it("is told to the task that awaits it", function()
    local a, b = hand.ring(), hand.ring()
    local ref = b:ref()
    b:close()
    uring.run(function()
      local res, why, errno = a:await(msg(ref, 1, 2))
      assert.same({ nil, E.EPIPE }, { res, errno })
      assert.truthy(why:find("the target ring is closed", 1, true))
    end)
  end)

  it("never lends its number to another ring", function()
    local a = hand.ring()
    helper.keeps_fds(function()
      local b = assert(uring.ring())
      local sqe = msg(b, 1, 2)
      assert(a:queue(msg(b, 1, 3)))
      b:close()
      local others = {}
      for i = 1, 8 do others[i] = hand.ring { entries = 1, flags = 0 } end
      assert.equal(E.EPIPE, (select(3, a:queue(sqe))))
      a:submit()
      assert.equal(-E.EPIPE, (select(2, hand.take(a))))
      for _, ring in ipairs(others) do
        hand.nothing(ring)
        assert.not_equal(sqe.fd, ring:fd())
        ring:close()
      end
    end)
  end)

  it("by its number has got what named it, and no other ring gets it",
    function()
      local a, b = hand.ring(), hand.ring { flags = 0 }
      local fd = b:fd()
      assert(a:queue(msg(fd, 1, 2)))
      b:close()
      local others = {}
      for i = 1, 8 do
        others[i] = hand.ring { entries = 1, flags = 0 }
        fd = fd ~= others[i]:fd() and fd
      end
      assert.is_false(fd)  -- one of them has the number now
      assert.equal(0, (select(2, hand.take(a))))
      for _, ring in ipairs(others) do hand.nothing(ring) end
    end)
end)

describe("a reference", function()
  after_each(hand.close)

  it("is equal to others of its ring, and says whether it is open",
    function()
      local a, b = hand.ring(), hand.ring()
      local ref = a:ref()
      assert.is_true(ref == a:ref())
      assert.is_false(ref == b:ref())
      assert.is_false(ref:closed())
      assert.truthy(tostring(ref):match "^uring.Ref %(fd %d+%)$")
      a:close()
      assert.is_true(ref:closed())
      assert.equal("uring.Ref (closed)", tostring(ref))
    end)

  it("keeps its number when its ring has gone, and no longer", function()
    helper.keeps_fds(function()
      local ring = assert(uring.ring())
      local ref = ring:ref()
      local number = msg(ref, 1, 2).fd
      assert.not_equal(ring:fd(), number)
      ring:close()
      local _, open = spec.fds()
      assert.truthy(open[number]:find "io_uring")
    end)
  end)

  it("keeps a collected ring from nothing", function()
    local ref
    do ref = assert(uring.ring()):ref() end
    helper.collect()
    assert.is_true(ref:closed())
  end)
end)

describe("prep_msg_ring_cqe_flags", function()
  after_each(hand.close)

  it("brings flags as they are", function()
    helper.needs "msg_ring_cqe_flags"
    local a = hand.ring()
    for _, kind in ipairs(possible()) do
      local b = hand.ring(kind[2])
      for _, flags in ipairs { 0x42, 0xffff0000, 0x2, 0x1f, 0xffff7fdf,
          0 } do
        assert.equal(0, (one(a, uring.sqe():prep_msg_ring_cqe_flags(b, 1, 2,
          0, flags))))
        assert.same({ 1, 2, flags }, { message(b) }, kind[1])
      end
    end
  end)

  it("refuses what would corrupt the reader's queue", function()
    local b = hand.ring()
    local sqe = uring.sqe()
    for _, flags in ipairs { 0x8000, 0x20, 0x8020, 0xffffffff } do
      helper.raises("corrupt the reader's queue", sqe.prep_msg_ring_cqe_flags,
        sqe, b, 1, 2, 0, flags)
    end
    for _, flags in ipairs { -1, 1 << 32, 0.5, "0" } do
      helper.raises("integer from 0 to 4294967295",
        sqe.prep_msg_ring_cqe_flags, sqe, b, 1, 2, 0, flags)
    end
    helper.raises("#6", uring.sqe().prep_msg_ring_cqe_flags, sqe, b, 1, 2)
  end)

  -- Sends to a ring as somebody does who does not use this library. Newer
  -- kernels refuse some flags. Answers whether it was sent.
  local function send_unsafe(from, ring, data, flags)
    local ok, _, errno = from:send(ring:fd(), data, 3, flags)
    if not ok then assert.equal(E.EINVAL, errno) end
    return ok
  end

  local unsafe = { 0x8000, 0x20, 0x8020, 0x2, 0x1f, 0xffffffff }

  it("of any value harm nobody, if they are sent all the same", function()
    helper.needs "msg_ring_cqe_flags"
    local from = assert(spec.sender())
    for _, setup in ipairs { 0, uring.IORING_SETUP_CQE32,
        uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN } do
      local b = hand.ring { entries = 4, cq_entries = 128, flags = setup }
      local sent = {}
      for i = 1, 100 do
        local flags = unsafe[i % #unsafe + 1]
        if send_unsafe(from, b, i, flags) then
          sent[#sent + 1] = { 3, i, flags }
        end
      end
      for _, what in ipairs(sent) do assert.same(what, { message(b) }) end
      hand.nothing(b)
    end
    from:close()
  end)

  it("of any value harm nobody in the middle of other work", function()
    helper.needs "msg_ring_cqe_flags"
    local from, b = assert(spec.sender()), hand.ring()
    local sent, messages, completions = {}, 0, 0
    for i = 1, 50 do
      b:queue(nop(i))
      if i % 2 == 0 then b:submit() end
      if send_unsafe(from, b, 1000 + i, unsafe[i % #unsafe + 1]) then
        sent[#sent + 1] = 1000 + i
      end
    end
    for _ = 1, 50 + #sent do
      local data, _, _, kind = assert(b:wait_cqe(hand.patience))
      if kind == "message" then
        messages = messages + 1
        assert.equal(sent[messages], data)
      else
        completions = completions + 1
        assert.equal(completions, data)
      end
    end
    assert.same({ 50, #sent }, { completions, messages })
    hand.nothing(b)
    from:close()
  end)

  it("of any value harm nobody else through an overflow", function()
    helper.needs "msg_ring_cqe_flags"
    -- Some kernels give F_32 two places here, one of which they then write
    -- over: what such messages say is lost or comes twice. Whatever is honest
    -- comes once.
    local b = hand.ring { entries = 4, cq_entries = 8 }
    local from = assert(spec.sender())
    local honest = {}
    for i = 1, 100 do
      if i % 3 == 0 or i % 7 < 3 then
        assert(from:send(b:fd(), i, 3))
        honest[#honest + 1] = i
      else
        send_unsafe(from, b, i, unsafe[i % 3 + 1])
      end
    end
    for i = 1, 20 do b:queue(nop(i)) end
    local n, completions = 0, 0
    while n < #honest or completions < 20 do
      local data, res, flags, kind = assert(b:wait_cqe(hand.patience))
      if kind == "completion" then
        completions = completions + 1
        assert.same({ completions, 0 }, { data, res })
      elseif flags == 0 then
        n = n + 1
        assert.same({ honest[n], 3 }, { data, res })
      end
    end
    while b:peek_cqe() do end
    assert.equal(0, (one(b, nop())))
    from:close()
  end)

  it("says since when it is there, where it is not", function()
    if helper.has "msg_ring_cqe_flags" then return end
    local a, b = hand.ring(), hand.ring()
    uring.run(function()
      local n, why, errno = a:await(
        uring.sqe():prep_msg_ring_cqe_flags(b, 1, 2, 0, 0x100))
      assert.is_nil(n)
      assert.truthy(why:find("needs Linux 6.3", 1, true))
      assert.equal(E.EINVAL, errno)
    end)
  end)
end)

describe("a forged completion", function()
  after_each(hand.close)

  -- A token is secret, but not from the state that it belongs to.
  local function token(op)
    return uring.sqe():prep_cancel(op).addr
  end

  it("is a message, with all its bits, if it names nothing", function()
    local from, b = assert(spec.sender()), hand.ring()
    local op = b:queue(uring.sqe():prep_timeout(3600):set_data64(9))
    b:submit()
    local real = token(op)
    local sent = { 0, -1, 1, real ~ (1 << 24), real ~ (1 << 63), real + 1,
      real & 0xffffff, real | 0xffffff }
    for i, data in ipairs(sent) do
      assert(from:send(b:fd(), data, -E.ECANCELED - i))
    end
    for i, data in ipairs(sent) do
      assert.same({ -E.ECANCELED - i, data, 0 }, { message(b) })
    end
    assert.equal("in flight", op:status())
    assert.equal(0, b:stats().stale)
    op:cancel()
    assert.same({ 9, -E.ECANCELED, 0 }, { hand.take(b) })
    from:close()
  end)

  it("is dropped and counted if it names what has just ended", function()
    local from, b = assert(spec.sender()), hand.ring()
    local first = b:queue(nop(1))
    local old = token(first)
    hand.take(b)
    for _ = 1, 3 do assert(from:send(b:fd(), old, -1)) end
    assert(b:submit_and_wait(0))
    assert.equal(E.EAGAIN, (select(3, b:peek_cqe())))
    assert.equal(3, b:stats().stale)
    assert.equal(0, b:stats().messages)
    from:close()
  end)

  it("never ends what lives in the same slot later", function()
    local from, b = assert(spec.sender()), hand.ring()
    local first = b:queue(nop(1))
    local old = token(first)
    hand.take(b)
    local second = b:queue(uring.sqe():prep_timeout(3600):set_data64(2))
    b:submit()
    assert.equal(old & 0xffffff, token(second) & 0xffffff)
    assert(from:send(b:fd(), old, 0))
    assert(b:submit_and_wait(0))
    assert.equal("in flight", second:status())
    assert.equal(E.EAGAIN, (select(3, b:peek_cqe())))
    assert.equal(1, b:stats().stale)
    second:cancel()
    assert.same({ 2, -E.ECANCELED, 0 }, { hand.take(b) })
    -- two uses ago it is nobody's
    assert(from:send(b:fd(), old, 5))
    assert.same({ 5, old, 0 }, { message(b) })
    from:close()
  end)

  it("draws tokens that nobody can count to", function()
    local ring = hand.ring { entries = 128 }
    local seen = {}
    for _ = 1, 4 do
      for _ = 1, 100 do
        local nonce = token(ring:queue(nop())) >> 24
        assert.not_equal(0, nonce)
        assert.is_nil(seen[nonce])
        assert.falsy(seen[nonce - 1] or seen[nonce + 1])
        seen[nonce] = true
      end
      for _ = 1, 100 do hand.take(ring) end
    end
  end)
end)

describe("prep_msg_ring_fd", function()
  local a, b, path

  before_each(function()
    if not helper.probe.available then return end
    path = helper.file "in the file"
    a, b = hand.ring(), hand.ring()
  end)

  after_each(function()
    hand.close()
    helper.clean()
  end)

  local function fd(...)
    return uring.sqe():prep_msg_ring_fd(...)
  end

  local function fd_alloc(...)
    return uring.sqe():prep_msg_ring_fd_alloc(...)
  end

  local function open(ring, slot, name)
    assert.equal(0, (one(ring, uring.sqe():prep_openat_direct(uring.AT_FDCWD,
      name or path, uring.O_RDONLY, 0, slot))))
  end

  local function content(ring, slot)
    local buffer = uring.buffer(100)
    local sqe = uring.sqe():prep_read(slot, buffer, 100, 0)
    local n = one(ring, sqe:set_flags(uring.IOSQE_FIXED_FILE))
    return n >= 0 and buffer:string(1, n) or n
  end

  it("installs an open file in another ring's slot", function()
    a:register_files_sparse(4)
    b:register_files_sparse(4)
    open(a, 2)
    assert.equal(0, (one(a, fd(b, 2, 3, 99))))
    assert.same({ 0, 99, 0 }, { message(b) })
    assert.equal("in the file", content(b, 3))
    -- it is shared: the sender may close its own
    assert.equal(0, (one(a, uring.sqe():prep_close_direct(2))))
    assert.equal(-E.EBADF, content(a, 2))
    assert.equal("in the file", content(b, 3))
    assert.equal(0, (one(b, uring.sqe():prep_close_direct(3))))
    assert.equal(-E.EBADF, content(b, 3))
  end)

  it("brings all 64 bits of data", function()
    a:register_files_sparse(1)
    b:register_files_sparse(1)
    open(a, 0)
    for _, data in ipairs { 0, -1, math.mininteger, 0xdeadbeefcafebabe } do
      assert.equal(0, (one(a, fd(b, 0, 0, data))))
      assert.same({ 0, data, 0 }, { message(b) })
    end
  end)

  it("takes the place of what was in the slot", function()
    a:register_files_sparse(2)
    b:register_files_sparse(1)
    open(a, 0)
    open(a, 1, helper.file "another")
    assert.equal(0, (one(a, fd(b, 0, 0, 1))))
    assert.same({ 0, 1, 0 }, { message(b) })
    assert.equal("in the file", content(b, 0))
    assert.equal(0, (one(a, fd(b, 1, 0, 1))))
    assert.same({ 0, 1, 0 }, { message(b) })
    assert.equal("another", content(b, 0))
  end)

  it("finds a slot itself by fd_alloc, and names it to both", function()
    a:register_files_sparse(1)
    b:register_files_sparse(4)
    assert(b:register_file_alloc_range(2, 2))
    open(a, 0)
    for slot = 2, 3 do
      assert.equal(slot, (one(a, fd_alloc(b, 0, 5))))
      assert.same({ slot, 5, 0 }, { message(b) })
      assert.equal("in the file", content(b, slot))
    end
    assert.equal(-E.ENFILE, (one(a, fd_alloc(b, 0, 5))))
    -- and again when one is free
    assert.equal(0, (one(b, uring.sqe():prep_close_direct(3))))
    assert.equal(3, (one(a, fd_alloc(b, 0, 6))))
    assert.same({ 3, 6, 0 }, { message(b) })
    hand.nothing(b)
  end)

  it("takes IORING_FILE_INDEX_ALLOC for a slot", function()
    a:register_files_sparse(1)
    b:register_files_sparse(1)
    open(a, 0)
    local sqe = fd(b, 0, uring.IORING_FILE_INDEX_ALLOC, 5)
    assert.equal(0, (one(a, sqe)))
    assert.same({ 0, 5, 0 }, { message(b) })
    assert.equal(-E.ENFILE, (one(a, sqe)))
  end)

  it("says nothing to the target with CQE_SKIP", function()
    a:register_files_sparse(1)
    b:register_files_sparse(2)
    open(a, 0)
    local skip = uring.IORING_MSG_RING_CQE_SKIP
    assert.equal(0, (one(a, fd(b, 0, 1, 5, skip))))
    assert.equal("in the file", content(b, 1))
    assert.equal(0, (one(a, fd_alloc(b, 0, 5, skip))))
    assert.equal("in the file", content(b, 0))
    hand.nothing(b)
    assert.equal(0, b:stats().messages)
  end)

  it("takes FLAGS_PASS and passes none", function()
    helper.needs "msg_ring_cqe_flags"
    a:register_files_sparse(1)
    b:register_files_sparse(1)
    open(a, 0)
    assert.equal(0, (one(a, fd(b, 0, 0, 5,
      uring.IORING_MSG_RING_FLAGS_PASS))))
    assert.same({ 0, 5, 0 }, { message(b) })
  end)

  it("fails as the kernel has it", function()
    local off = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    local function try(sqe) return (one(a, sqe)) end
    assert.equal(-E.EBADF, try(fd(b, 0, 0, 1)))       -- no table
    a:register_files_sparse(2)
    assert.equal(-E.EBADF, try(fd(b, 0, 0, 1)))       -- an empty slot
    assert.equal(-E.EBADF, try(fd(b, 2, 0, 1)))       -- beyond its end
    assert.equal(-E.EBADF, try(fd_alloc(b, 1, 1)))
    open(a, 0)
    assert.equal(-E.ENXIO, try(fd(b, 0, 0, 1)))       -- no table there
    assert.equal(-E.ENFILE, try(fd_alloc(b, 0, 1)))
    b:register_files_sparse(2)
    assert.equal(-E.EINVAL, try(fd(b, 0, 2, 1)))      -- beyond its end
    assert.equal(-E.EINVAL, try(fd(a, 0, 1, 1)))      -- to itself
    assert.equal(-E.EINVAL, try(fd_alloc(a, 0, 1)))
    local res = try(fd(off, 0, 0, 1))                 -- disabled
    if res ~= -E.ENXIO then  -- (what an old kernel looks at first)
      assert.equal(-E.EBADFD, res)
    end
    assert.equal(-E.EBADF, try(fd(9999, 0, 0, 1)))
    assert.equal(-E.EINVAL, try(fd(b, 0, 0, 1, 1 << 20)))
    hand.nothing(b)
    assert.equal(-E.EBADF, content(b, 0))
  end)

  it("says in words why", function()
    a:register_files_sparse(1)
    open(a, 0)
    uring.run(function()
      local function try(words, errno, sqe)
        local res, why, err = a:await(sqe)
        assert.same({ nil, errno }, { res, err })
        assert.truthy(why:find(words, 1, true), why)
      end
      try("the source slot) is not open", E.EBADF, fd(b, 5, 0, 1))
      try("no file table: its register_files_sparse", E.ENXIO,
        fd(b, 0, 0, 1))
      try("no free file slot", E.ENFILE, fd_alloc(b, 0, 1))
      try("cannot be sent to its own ring", E.EINVAL, fd(a, 0, 0, 1))
    end)
  end)

  it("refuses slots that are none", function()
    local sqe = uring.sqe()
    for _, slot in ipairs { -1, 1 << 31, 0.5, "0", 1 << 40 } do
      helper.raises("#3", sqe.prep_msg_ring_fd, sqe, b, slot, 0, 1)
      helper.raises("#3", sqe.prep_msg_ring_fd_alloc, sqe, b, slot, 1)
      helper.raises("#4", sqe.prep_msg_ring_fd, sqe, b, 0, slot, 1)
    end
  end)

  it("loses none in a queue of two", function()
    local small = hand.ring { entries = 2, cq_entries = 2 }
    a:register_files_sparse(1)
    small:register_files_sparse(8)
    open(a, 0)
    for i = 1, 8 do a:queue(fd(small, 0, i - 1, i):set_data64(i)) end
    local sent = hand.some(a, 8)
    local seen = {}
    for _ = 1, 8 do  -- the kernel keeps no order among these
      local res, data = message(small)
      assert.equal(0, res)
      seen[data] = true
    end
    for i = 1, 8 do
      assert.equal(0, sent[i])
      assert.is_true(seen[i])
      assert.equal("in the file", content(small, i - 1))
    end
  end)

  it("goes to rings of each kind", function()
    a:register_files_sparse(1)
    open(a, 0)
    for _, kind in ipairs(possible()) do
      local ring = hand.ring(kind[2])
      ring:register_files_sparse(1)
      assert.equal(0, (one(a, fd(ring, 0, 0, 7))), kind[1])
      assert.same({ 0, 7, 0 }, { message(ring) }, kind[1])
    end
  end)
end)

describe("register_sync_msg", function()
  after_each(hand.close)

  each_kind(function(name, make)
    it("needs no ring to send from, to " .. name, function()
      helper.needs "sync_msg"
      local ring = make()
      assert.is_true(uring.register_sync_msg(msg(ring, 6, 7)))
      assert.is_true(uring.register_sync_msg(uring.sqe()
        :prep_msg_ring_cqe_flags(ring:ref(), 8, 9, 0, 0x100)))
      assert.is_true(uring.register_sync_msg(msg(ring:fd(), -1, -1)))
      assert.same({ 6, 7, 0 }, { message(ring) })
      assert.same({ 8, 9, 0x100 }, { message(ring) })
      assert.same({ -1, -1, 0 }, { message(ring) })
    end)
  end)

  it("sends the same sqe as often as it is asked", function()
    helper.needs "sync_msg"
    local ring = hand.ring { entries = 2, cq_entries = 4 }
    local sqe = msg(ring, 1, 2):set_data64(99)  -- of no meaning here
    for _ = 1, 50 do assert(uring.register_sync_msg(sqe)) end
    for _ = 1, 50 do assert.same({ 1, 2, 0 }, { message(ring) }) end
    assert.equal(0, ring:stats().submitted)
  end)

  it("says what is wrong", function()
    helper.needs "sync_msg"
    local r, w = spec.pipe()
    local off = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    local ring = hand.ring()
    local function try(words, errno, target, flags)
      local ok, why, err = uring.register_sync_msg(msg(target, 1, 1, flags))
      assert.same({ nil, errno }, { ok, err })
      assert.truthy(why:find(words, 1, true), why)
    end
    try("is not open", E.EBADF, 9999)
    try("is not open", E.EBADF, -1)
    try("not a ring", E.EBADFD, r)
    try("enable_rings()", E.EBADFD, off)
    try("flag, command or slot", E.EINVAL, ring,
      uring.IORING_MSG_RING_CQE_SKIP)
    try("flag, command or slot", E.EINVAL, ring, 1 << 20)
    hand.nothing(ring)
    spec.close(r)
    spec.close(w)
  end)

  it("takes messages of data and nothing else", function()
    local ring = hand.ring()
    local send = uring.register_sync_msg
    helper.raises("prep_msg_ring", send, uring.sqe():prep_nop())
    helper.raises("prep_msg_ring", send,
      uring.sqe():prep_msg_ring_fd(ring, 0, 0, 0))
    helper.raises("no flags of IOSQE_", send,
      msg(ring, 0, 0):set_flags(uring.IOSQE_ASYNC))
    helper.raises("nothing is prepared", send, uring.sqe())
    helper.raises("uring.Sqe expected", send)
    helper.raises("uring.Sqe expected", send, ring)
  end)

  it("says since when it is there, where it is not", function()
    if helper.has "sync_msg" then return end
    local ring = hand.ring()
    local ok, why, errno = uring.register_sync_msg(msg(ring, 1, 1))
    assert.same({ nil, E.EINVAL }, { ok, errno })
    assert.truthy(why:find("needs Linux 6.13", 1, true))
  end)
end)

describe("messages across states and processes", function()
  after_each(hand.close)

  it("come from another state's thread by reference, into a sleep",
    function()
      local ring = hand.ring()
      local t = spec.thread([[
        local uring, ref = require "uring", ...
        local own = assert(uring.ring())
        assert(own:queue(uring.sqe():prep_msg_ring(ref, 3, 4)))
        assert(own:submit())
        assert(own:wait_cqe(5))
        own:close()
        return "sent"
      ]], ring:ref())
      assert.same({ 3, 4, 0 }, { message(ring) })
      assert.same({ true, "sent" }, { t:join() })
    end)

  it("come in the order of their sender, from many threads at once",
    function()
      local ring = hand.ring { entries = 4, cq_entries = 16 }
      local threads, last, n = {}, {}, 0
      for i = 1, 4 do
        last[i] = 0
        threads[i] = spec.thread([[
          local uring, ref, i = require "uring", ...
          local own <close> = assert(uring.ring())
          for k = 1, 100 do
            assert(own:queue(uring.sqe():prep_msg_ring(ref, i, k)))
          end
          assert(own:submit())
          for _ = 1, 100 do assert(select(2, own:wait_cqe(60)) == 0) end
        ]], ring:ref(), i)
      end
      while n < 400 do
        local i, k = message(ring)
        assert.equal(last[i] + 1, k)
        last[i], n = k, n + 1
      end
      for i = 1, 4 do assert.same({ true }, { threads[i]:join() }) end
      hand.nothing(ring)
    end)

  it("are refused there once the ring is closed here", function()
    local ring = hand.ring()
    local ref = ring:ref()
    ring:close()
    local t = spec.thread([[
      local uring, ref = require "uring", ...
      local own <close> = assert(uring.ring())
      local op, why, errno = own:queue(uring.sqe():prep_msg_ring(ref, 3, 4))
      return op == nil, errno
    ]], ref)
    assert.same({ true, true, E.EPIPE }, { t:join() })
  end)

  it("come from a child process, by reference and by number", function()
    local ring = hand.ring()
    local ref, fd = ring:ref(), ring:fd()
    assert.equal(0, (helper.child(function()
      local own = assert(uring.ring())
      for i, target in ipairs { ref, fd } do
        assert(own:queue(msg(target, i, 9)))
        assert(select(2, own:wait_cqe(hand.patience)) == 0)
      end
      if helper.has "sync_msg" then
        assert(uring.register_sync_msg(msg(ref, 3, 9)))
      end
      helper.raises("belongs to another process", function()
        msg(ring, 4, 9)
      end)
    end)))
    for i = 1, helper.has "sync_msg" and 3 or 2 do
      assert.same({ i, 9, 0 }, { message(ring) })
    end
    hand.nothing(ring)
  end)
end)
