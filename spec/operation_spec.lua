-- Operations by hand: their life, their ends, and how they are named. (Those
-- that tasks await: see wait_spec.)

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local nop, some, take = hand.nop, hand.some, hand.take
local pipe = helper.pipe

local function timeout(data, flags)
  return uring.sqe():prep_timeout(3600):set_data64(data or 0)
    :set_flags(flags or 0)
end

local function poll(fd, data)
  return uring.sqe():prep_poll_add(fd, uring.POLLIN):set_data64(data or 0)
end

local function clean()
  hand.close()
  helper.clean()
end

describe("an operation", function()
  after_each(clean)

  it("is one for each sqe that is queued", function()
    local ring = hand.ring()
    local ops = table.pack(ring:queue(nop(1), nop(2), nop(3)))
    assert.equal(3, ops.n)
    assert.equal(1, select("#", ring:queue(nop(4))))
    some(ring, 4)
  end)

  it("is in flight, then completed, then done", function()
    local ring = hand.ring()
    local op = ring:queue(nop())
    assert.equal("in flight", op:status())  -- also before the submit
    assert.equal("uring.Operation (nop, in flight)", tostring(op))
    ring:submit_and_wait(1)
    assert.equal("completed", op:status())
    assert.equal("uring.Operation (nop, completed)", tostring(op))
    take(ring)
    assert.equal("done", op:status())
    assert.equal("uring.Operation (nop, done)", tostring(op))
    -- also when another has its slot
    local other = ring:queue(timeout())
    assert.equal("done", op:status())
    assert.equal("in flight", other:status())
  end)

  it("is done when its ring closes", function()
    local ring = hand.ring()
    local op = ring:queue(timeout())
    ring:close()
    assert.equal("done", op:status())
    assert.is_true(op:cancel())
  end)

  it("is held by the ring when its object is collected", function()
    local ring = hand.ring()
    local r, w = pipe()
    do
      local buffer = uring.buffer(5)
      ring:queue(uring.sqe():prep_read(r, buffer):set_data64(5))
    end
    ring:queue(nop(6))
    helper.collect()
    ring:submit()
    helper.collect()
    assert.same({ 6, 0, 0 }, { take(ring) })
    spec.write(w, "hello")
    assert.same({ 5, 5, 0 }, { take(ring) })
  end)

  it("keeps its ring", function()
    local op
    do op = assert(uring.ring()):queue(timeout()) end
    helper.collect()
    assert.equal("in flight", op:status())
    op = nil  -- luacheck: ignore
    helper.keeps_fds(function()
      local inner = assert(uring.ring())
      inner:queue(timeout())
    end)
  end)

  it("of a multishot is in flight until its last completion", function()
    local ring = hand.ring()
    local r, w = pipe()
    local op = ring:queue(uring.sqe():prep_poll_multishot(r, uring.POLLIN)
      :set_data64(4))
    for _ = 1, 3 do
      spec.write(w, "x")
      local data, res, flags = take(ring)
      assert.same({ 4, uring.POLLIN }, { data, res & uring.POLLIN })
      assert.truthy(flags & uring.IORING_CQE_F_MORE ~= 0)
      assert.equal("in flight", op:status())
      assert.equal("x", spec.read(r))
    end
    assert.is_true(op:cancel())
    assert.same({ 4, -E.ECANCELED, 0 }, { take(ring) })
    assert.equal("done", op:status())
    local stats = helper.lawful(ring)
    assert.equal(0, stats.in_flight)
  end)
end)

describe("cancel", function()
  after_each(clean)

  it("ends a request in flight, and spares one that has ended", function()
    local ring = hand.ring()
    local op = ring:queue(timeout(1))
    ring:submit()
    assert.is_true(op:cancel())
    assert.same({ 1, -E.ECANCELED, 0 }, { take(ring) })
    assert.is_true(op:cancel())
    -- one whose completion waits keeps it
    op = ring:queue(nop(2))
    ring:submit_and_wait(1)
    assert.is_true(op:cancel())
    assert.same({ 2, 0, 0 }, { take(ring) })
    hand.nothing(ring)
    assert.equal(0, helper.lawful(ring).in_flight)
  end)

  it("ends a request that was not yet submitted", function()
    local ring = hand.ring()
    assert.is_true(ring:queue(timeout(1)):cancel())
    assert.same({ 1, -E.ECANCELED, 0 }, { take(ring) })
  end)

  it("may be asked for twice", function()
    local ring = hand.ring()
    local r = pipe()
    local op = ring:queue(poll(r, 1))
    ring:submit()
    assert.is_true(op:cancel())
    assert.is_true(op:cancel())
    assert.same({ 1, -E.ECANCELED, 0 }, { take(ring) })
    hand.nothing(ring)
    assert.equal(0, helper.lawful(ring).in_flight)
  end)

  it("gives ECANCELED whichever error the kernel gives", function()
    local ring = hand.ring()
    local r = pipe()
    for _, flags in ipairs { 0, uring.IOSQE_ASYNC } do
      local op = ring:queue(uring.sqe():prep_read(r, uring.buffer(1))
        :set_data64(1):set_flags(flags))
      ring:submit()
      op:cancel()
      local data, res = take(ring)
      assert.equal(1, data)
      assert.equal(true, res == -E.ECANCELED or res == -E.EINTR, res)
    end
  end)

  it("finds room in a full queue", function()
    for _, entries in ipairs { 1, 4 } do
      local ring = hand.ring { entries = entries }
      local ops = {}
      for i = 1, 100 do ops[i] = assert(ring:queue(timeout(i))) end
      for i = 1, 100 do assert.is_true(ops[i]:cancel()) end
      local got = some(ring, 100)
      for i = 1, 100 do assert.equal(-E.ECANCELED, got[i]) end
      assert.equal(0, helper.lawful(ring).in_flight)
    end
  end)

  it("of a later member ends its chain at the first unfinished", function()
    local ring = hand.ring()
    local first, second, third = ring:queue(timeout(1), nop(2), nop(3))
    ring:submit()
    assert.equal("in flight", first:status())
    assert.equal("in flight", second:status())
    assert(third:cancel())
    assert.same({ -E.ECANCELED, -E.ECANCELED, -E.ECANCELED }, some(ring, 3))
    -- whose members before have ended
    first, second, third = ring:queue(nop(1), timeout(2), nop(3))
    assert.same({ 1, 0, 0 }, { take(ring) })
    assert.equal("done", first:status())
    assert(third:cancel())
    assert.same({ [2] = -E.ECANCELED, [3] = -E.ECANCELED }, some(ring, 2))
    assert.equal("done", second:status())
  end)

  it("of a chain that was not yet submitted ends it all", function()
    local ring = hand.ring()
    local _, second = ring:queue(timeout(1), nop(2), nop(3))
    assert(second:cancel())
    assert.same({ -E.ECANCELED, -E.ECANCELED, -E.ECANCELED }, some(ring, 3))
  end)

  it("ends a chain of hard links member by member", function()
    local ring = hand.ring()
    local hard = uring.IOSQE_IO_HARDLINK
    local _, _, third = ring:queue(timeout(1, hard), timeout(2, hard),
      timeout(3))
    ring:submit()
    assert(third:cancel())
    assert.same({ -E.ECANCELED, -E.ECANCELED, -E.ECANCELED }, some(ring, 3))
  end)

  it("gets past a request that drains", function()
    local ring = hand.ring()
    local op = ring:queue(timeout(1))
    ring:queue(nop(2):set_flags(uring.IOSQE_IO_DRAIN))
    ring:submit()
    assert(op:cancel())
    local data, res = ring:wait_cqe(hand.patience / 5)
    assert.same({ 1, -E.ECANCELED }, { data, res })
    assert.same({ 2, 0, 0 }, { take(ring) })
  end)

  it("is refused on other objects", function()
    local op = hand.ring():queue(timeout())
    for _, self in ipairs { 1, "op", {}, uring.sqe() } do
      helper.raises("uring.Operation expected", op.cancel, self)
      helper.raises("uring.Operation expected", op.status, self)
    end
    helper.raises("uring.Operation expected", op.cancel)
  end)
end)

describe("prep_cancel", function()
  after_each(clean)

  it("names an operation, and completes with how it went", function()
    local ring = hand.ring()
    local op = ring:queue(timeout(1))
    local sqe = uring.sqe():prep_cancel(op):set_data64(2)
    ring:queue(sqe)
    assert.same({ -E.ECANCELED, 0 }, some(ring, 2))
    ring:queue(sqe)  -- now there is nothing to find
    assert.same({ 2, -E.ENOENT, 0 }, { take(ring) })
  end)

  it("never hits an operation that has the same slot later", function()
    local ring = hand.ring()
    local op = ring:queue(nop())
    take(ring)
    local sqe = uring.sqe():prep_cancel(op):set_data64(2)
    local second = ring:queue(timeout(1))
    ring:submit()
    ring:queue(sqe)
    assert.same({ 2, -E.ENOENT, 0 }, { take(ring) })
    assert.equal("in flight", second:status())
  end)

  it("of a later member names the first unfinished", function()
    local ring = hand.ring()
    local _, second = ring:queue(timeout(1), nop(2))
    ring:submit()
    ring:queue(uring.sqe():prep_cancel(second):set_data64(3))
    assert.same({ -E.ECANCELED, -E.ECANCELED, 0 }, some(ring, 3))
  end)

  it("refuses operations of another ring", function()
    local ring, other = hand.ring(), hand.ring()
    local op = ring:queue(timeout(1))
    for _, name in ipairs { "prep_cancel", "prep_poll_remove",
        "prep_timeout_remove" } do
      local sqe = uring.sqe()
      sqe[name](sqe, op)
      helper.raises("on another ring", other.queue, other, sqe)
      helper.raises("on another ring", other.queue, other, nop(), sqe)
    end
    helper.raises("on another ring", other.queue, other,
      uring.sqe():prep_timeout_update(1, op))
    assert.equal(0, other:stats().submitted)
  end)

  it("refuses numbers, and says what to give", function()
    local sqe = uring.sqe()
    for _, call in ipairs { { "prep_cancel", 1 }, { "prep_poll_remove", 1 },
        { "prep_timeout_remove", 1 }, { "prep_timeout_update", 1, 1 } } do
      helper.raises("give what ring:queue returned", sqe[call[1]], sqe,
        table.unpack(call, 2))
    end
  end)

  it("ends any operation, all, or those of an opcode", function()
    local ring = hand.ring()
    local r = pipe()
    local function start()
      for i = 1, 3 do
        ring:queue(timeout(i))
        ring:queue(poll(r, i + 3))
      end
      ring:submit()
    end
    local any, all = uring.IORING_ASYNC_CANCEL_ANY,
      uring.IORING_ASYNC_CANCEL_ALL
    start()
    ring:queue(uring.sqe():prep_cancel(nil, any | all):set_data64(9))
    local got = some(ring, 7)
    for i = 1, 6 do assert.equal(-E.ECANCELED, got[i]) end
    assert.equal(6, got[9])
    ring:queue(uring.sqe():prep_cancel(nil, any | all):set_data64(9))
    assert.same({ 9, 0, 0 }, { take(ring) })
    if helper.has "cancel_op" then
      start()
      ring:queue(uring.sqe():prep_cancel(nil,
        uring.IORING_ASYNC_CANCEL_OP | all, uring.IORING_OP_POLL_ADD)
        :set_data64(9))
      got = some(ring, 4)
      assert.same({ -E.ECANCELED, -E.ECANCELED, -E.ECANCELED, 3 },
        { got[4], got[5], got[6], got[9] })
      assert.equal(3, helper.lawful(ring).in_flight)
    end
  end)

  it("needs to be told what to end", function()
    local sqe = uring.sqe()
    helper.raises("operation expected, or nil with", sqe.prep_cancel, sqe)
    helper.raises("operation expected, or nil with", sqe.prep_cancel, sqe,
      nil, uring.IORING_ASYNC_CANCEL_ALL)
  end)
end)

describe("prep_cancel_fd", function()
  after_each(clean)

  it("ends one or all that use a descriptor", function()
    local ring = hand.ring()
    local r = pipe()
    local r2 = pipe()
    for i = 1, 3 do ring:queue(poll(r, i)) end
    ring:queue(poll(r2, 4))
    ring:submit()
    ring:queue(uring.sqe():prep_cancel_fd(r):set_data64(9))
    local got = some(ring, 2)
    assert.equal(0, got[9])
    local fd <close> = uring.fd(spec.dup(r2))
    ring:queue(uring.sqe():prep_cancel_fd(r,
      uring.IORING_ASYNC_CANCEL_ALL):set_data64(9))
    got = some(ring, 3)
    assert.equal(2, got[9])
    -- the file is what counts, whatever names it
    ring:queue(uring.sqe():prep_cancel_fd(fd):set_data64(9))
    assert.same({ [4] = -E.ECANCELED, [9] = 0 }, some(ring, 2))
    ring:queue(uring.sqe():prep_cancel_fd(r):set_data64(9))
    assert.same({ 9, -E.ENOENT, 0 }, { take(ring) })
  end)
end)

describe("polls and timeouts", function()
  after_each(clean)

  it("end by their own removals", function()
    local ring = hand.ring()
    local r = pipe()
    local p = ring:queue(poll(r, 1))
    local t = ring:queue(timeout(2))
    ring:submit()
    ring:queue(uring.sqe():prep_poll_remove(p):set_data64(3))
    ring:queue(uring.sqe():prep_timeout_remove(t):set_data64(4))
    assert.same({ -E.ECANCELED, -E.ECANCELED, 0, 0 }, some(ring, 4))
    ring:queue(uring.sqe():prep_poll_remove(p):set_data64(3))
    ring:queue(uring.sqe():prep_timeout_remove(t):set_data64(4))
    assert.same({ [3] = -E.ENOENT, [4] = -E.ENOENT }, some(ring, 2))
  end)

  it("may be moved to another time", function()
    local ring = hand.ring()
    local op = ring:queue(timeout(1))
    ring:submit()
    local update = uring.sqe():prep_timeout_update(0.01, op):set_data64(2)
    ring:queue(update)
    assert.same({ 2, 0, 0 }, { take(ring) })
    assert.same({ 1, -E.ETIME, 0 }, { take(ring) })
    ring:queue(update)
    assert.same({ 2, -E.ENOENT, 0 }, { take(ring) })
  end)

  it("end by time, or after a count of completions", function()
    local ring = hand.ring()
    ring:queue(uring.sqe():prep_timeout(0.001):set_data64(1))
    assert.same({ 1, -E.ETIME, 0 }, { take(ring) })
    ring:queue(uring.sqe():prep_timeout(3600, 2):set_data64(1))
    ring:queue(nop(2))
    ring:queue(nop(3))
    assert.same({ 0, 0, 0 }, some(ring, 3))
  end)

  it("take times of any length", function()
    local ring = hand.ring()
    for i, seconds in ipairs { math.huge, 1e10, 9.2e9, 1 << 40 } do
      local op = ring:queue(uring.sqe():prep_timeout(seconds):set_data64(i))
      ring:submit()
      assert.equal("in flight", op:status())
      op:cancel()
      assert.same({ i, -E.ECANCELED, 0 }, { take(ring) })
    end
    ring:queue(uring.sqe():prep_timeout(0):set_data64(1))
    assert.same({ 1, -E.ETIME, 0 }, { take(ring) })
  end)

  it("complete again and again as multishots", function()
    helper.needs "timeout_multishot"
    local ring = hand.ring()
    local op = ring:queue(uring.sqe():prep_timeout(0.001, 3,
      uring.IORING_TIMEOUT_MULTISHOT):set_data64(1))
    for i = 1, 3 do
      local data, res, flags = take(ring)
      assert.same({ 1, -E.ETIME }, { data, res })
      assert.equal(i < 3, flags & uring.IORING_CQE_F_MORE ~= 0)
    end
    assert.equal("done", op:status())
  end)

  it("tell which descriptors are ready", function()
    local ring = hand.ring()
    local r, w = pipe()
    ring:queue(uring.sqe():prep_poll_add(w, uring.POLLOUT):set_data64(1))
    assert.same({ 1, uring.POLLOUT, 0 }, { take(ring) })
    ring:queue(poll(r, 2))
    hand.nothing(ring)
    spec.write(w, "x")
    assert.same({ 2, uring.POLLIN, 0 }, { take(ring) })
    ring:queue(poll(9999, 3))
    assert.same({ 3, -E.EBADF, 0 }, { take(ring) })
  end)
end)
