-- Messages from ring to ring: what the man pages of io_uring_prep_msg_ring
-- and io_uring_register_sync_msg promise, and what the kernel really does.

local hand = require "hand"
local helper = require "helper"
local kinds = require "kinds"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, message, nop, msg = hand.one, hand.message, hand.nop, hand.msg
local each_kind = kinds.each

describe("prep_msg_ring", function()
  local a, b

  before_each(function()
    if not helper.probe.available then return end
    a, b = hand.ring(), hand.ring { entries = 8 }
  end)

  after_each(hand.close)

  it("brings length and data, and completes for the sender", function()
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

  it("refuses values that are no integers, or do not fit", function()
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

  it("says in the message why the kernel refused it", function()
    local r, w = spec.pipe()
    local off = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    uring.run(function()
      local function try(...) hand.await_fails(a, ...) end
      try("is not open", E.EBADF, msg(9999, 1, 2))
      try("not a ring, or its enable_rings()", E.EBADFD, msg(r, 1, 2))
      try("not a ring, or its enable_rings()", E.EBADFD, msg(off, 1, 2))
      try("flag, command or slot", E.EINVAL, msg(b, 1, 2, 1 << 20))
    end)
    spec.close(r)
    spec.close(w)
  end)

  it("that the kernel does not take holds up no message behind it", function()
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

  it("passes no flags where FLAGS_PASS is set by hand", function()
    helper.needs "msg_ring_cqe_flags"
    assert.equal(0, (one(a, msg(b, 1, 2, uring.IORING_MSG_RING_FLAGS_PASS))))
    assert.same({ 1, 2, 0 }, { message(b) })
  end)

  it("is counted by stats() on arrival and while it waits", function()
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

    it("waits where the queue has no room: " .. name, function()
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

    it("fails, or goes to a disabled ring only: " .. name, function()
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

  it("makes its target's eventfd readable, deferred or not",
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

  it("CQE_SKIP_SUCCESS posts no completion of a success", function()
    a:queue(msg(b, 1, 2):set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
    a:submit()
    assert.same({ 1, 2, 0 }, { message(b) })
    hand.nothing(a)
  end)

  it("CQE_SKIP_SUCCESS posts a completion of a failure", function()
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

  it("IO_HARDLINK does not cancel the next one when it fails", function()
    a:queue(msg(9999, 1, 2):set_data64(1)
      :set_flags(uring.IOSQE_IO_HARDLINK), msg(b, 1, 3):set_data64(2))
    assert.same({ -E.EBADF, 0 }, hand.some(a, 2))
    assert.same({ 1, 3, 0 }, { message(b) })
  end)

  it("ASYNC is sent by an io-wq worker", function()
    for _, ring in ipairs { a, hand.ring { flags = 0 } } do
      assert.equal(0, (one(ring, msg(b, 1, 2):set_flags(uring.IOSQE_ASYNC))))
      assert.same({ 1, 2, 0 }, { message(b) })
    end
  end)

  it("IO_DRAIN is sent when all requests before it have ended", function()
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
