-- What only waits, at liburing's level: limits of time in a chain, polls that
-- change, futexes, children. (For timeouts and polls by themselves see
-- operation_spec.)

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, sqe = hand.one, uring.sqe
local FUTEX <const> = uring.FUTEX2_SIZE_U32 | uring.FUTEX2_PRIVATE

describe("a linked timeout", function()
  after_each(function()
    hand.close()
    helper.clean()
  end)

  it("ends the member before it when the time is over", function()
    local ring = hand.ring()
    local r = helper.pipe()
    assert(ring:queue(sqe():prep_read(r, uring.buffer(1)):set_data64(1),
      sqe():prep_link_timeout(0.01):set_data64(2)))
    local got = hand.some(ring, 2)
    assert.equal(-E.ETIME, got[2])
    assert.truthy(got[1] == -E.ECANCELED or got[1] == -E.EINTR, got[1])
  end)

  it("is canceled when the member is done in time", function()
    local ring = hand.ring()
    assert(ring:queue(hand.nop(1), sqe():prep_link_timeout(60):set_data64(2)))
    assert.same({ [1] = 0, [2] = -E.ECANCELED }, hand.some(ring, 2))
  end)

  it("is awaited with its chain", function()
    local ring = hand.ring()
    local r = helper.pipe()
    uring.run(function()
      local results = assert(ring:await_chain {
        sqe():prep_poll_add(r, uring.POLLIN), sqe():prep_link_timeout(0.01) })
      assert.same({ -E.ECANCELED, -E.ETIME },
        { results[1][1], results[2][1] })
    end)
  end)

  it("ends with its chain when the descriptor is closed", function()
    local ring = hand.ring()
    local r, w = spec.pipe()
    local _ <close> = uring.fd(w)
    r = uring.fd(r)
    assert(ring:queue(sqe():prep_poll_add(r, uring.POLLIN):set_data64(1),
      sqe():prep_link_timeout(60):set_data64(2)))
    assert(ring:submit())
    r:close()
    assert.same({ [1] = -E.ECANCELED, [2] = -E.ECANCELED },
      hand.some(ring, 2))
  end)

  it("alone is refused by the kernel", function()
    assert.equal(-E.EINVAL, (one(hand.ring(), sqe():prep_link_timeout(1))))
  end)
end)

describe("a poll", function()
  after_each(function()
    hand.close()
    helper.clean()
  end)

  it("waits for other events after an update", function()
    local ring = hand.ring()
    local _, w = helper.pipe()
    local op = assert(ring:queue(sqe():prep_poll_add(w, uring.POLLPRI)
      :set_data64(1)))
    assert(ring:queue(sqe():prep_poll_update(op, uring.POLLOUT)
      :set_data64(2)))
    assert.same({ [1] = uring.POLLOUT, [2] = 0 }, hand.some(ring, 2))
    assert.equal(-E.ENOENT, (one(ring, sqe():prep_poll_update(op, 1))))
    helper.raises("#3 to 'prep_poll_update'", function()
      sqe():prep_poll_update(op, 1, 4)  -- (IORING_POLL_UPDATE_USER_DATA)
    end)
  end)
end)

describe("a futex", function()
  after_each(hand.close)

  it("is waited for until it is woken", function()
    hand.needs_op("futex_wait", "6.7")
    local ring = hand.ring()
    local buffer = uring.buffer(string.pack("<I4I4", 5, 6))
    assert.equal(-E.EAGAIN, (one(ring, sqe():prep_futex_wait(buffer, 5,
      0xffffffff, FUTEX, 0, 4))))
    for i = 1, 2 do
      assert(ring:queue(sqe():prep_futex_wait(buffer, 6, 0xffffffff, FUTEX, 0,
        4):set_data64(i)))
    end
    assert(ring:submit())
    assert.equal(0, (one(ring, sqe():prep_futex_wake(buffer, 1, 0xffffffff,
      FUTEX))))
    assert(ring:queue(sqe():prep_futex_wake(buffer, 9, 0xffffffff, FUTEX, 0,
      4):set_data64(3)))
    assert.same({ [1] = 0, [2] = 0, [3] = 2 }, hand.some(ring, 3))
  end)

  it("with a node, which the kernel may set, has room for that", function()
    local NUMA <const> = FUTEX | 4
    local s, buffer = sqe(), uring.buffer(12)
    for _, method in ipairs { "prep_futex_wait", "prep_futex_wake" } do
      assert.equal(s, s[method](s, buffer, 0, 1, NUMA, 0, 0))
      for at = 4, 8, 4 do
        helper.raises("8 bytes at a multiple of 8", s[method], s, buffer, 0, 1,
          NUMA, 0, at)
        assert.equal(s, s[method](s, buffer, 0, 1, FUTEX, 0, at))
      end
    end
  end)

  it("holds its buffer until the wait is canceled", function()
    hand.needs_op("futex_wait", "6.7")
    local ring = hand.ring()
    local buffer = uring.buffer(4)
    local op = assert(ring:queue(sqe():prep_futex_wait(buffer, 0, 0xffffffff,
      FUTEX)))
    assert(ring:submit())
    helper.raises("in use", buffer.close, buffer)
    assert(op:cancel())
    assert.equal(-E.ECANCELED, (select(2, hand.take(ring))))
    buffer:close()
  end)
end)

describe("a child", function()
  after_each(hand.close)

  it("is waited for", function()
    hand.needs_op("waitid", "6.7")
    local ring = hand.ring()
    local info = uring.buffer(128)
    local pid = spec.fork()
    if pid == 0 then spec._exit(7) end
    assert.equal(0, (one(ring, sqe():prep_waitid(uring.P_PID, pid, info,
      uring.WEXITED))))
    local signo, _, code, who, _, status = string.unpack("<i4i4i4xxxxi4i4i4",
      info:string())
    assert.same({ 17, 1, pid, 7 }, { signo, code, who, status })
    assert.equal(-E.ECHILD, (one(ring, sqe():prep_waitid(uring.P_PID, pid,
      nil, uring.WEXITED))))
    helper.raises("128 bytes or more expected", function()
      sqe():prep_waitid(uring.P_ALL, 0, uring.buffer(127), uring.WEXITED)
    end)
  end)
end)
