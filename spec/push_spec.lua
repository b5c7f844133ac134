-- Requests of a ring by hand that have no operation.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local sqe = uring.sqe

describe("what is pushed", function()
  local ring
  before_each(function()
    if helper.probe.available then ring = hand.ring { entries = 8 } end
  end)
  after_each(function()
    hand.close()
    helper.clean()
  end)

  it("completes with its data, and is true", function()
    assert.is_true(ring:push(hand.nop(1)))
    assert.equal(1, ring:submit())
    assert.same({ [1] = 0 }, hand.some(ring, 1))
  end)

  it("is a chain if it is several", function()
    assert.is_true(ring:push(hand.nop(1), hand.bad(2), hand.nop(3)))
    assert.same({ [1] = 0, [2] = -E.EBADF, [3] = -E.ECANCELED },
      hand.some(ring, 3))
    local many = {}
    for i = 1, 17 do many[i] = hand.nop(i) end
    helper.raises("at most 16", function()
      ring:push(table.unpack(many))
    end)
    helper.raises("does not fit into a ring of 8", function()
      ring:push(table.unpack(many, 1, 9))
    end)
  end)

  it("goes with a full queue by itself", function()
    for i = 1, 100 do assert(ring:push(hand.nop(i))) end
    local got = hand.some(ring, 100)
    for i = 1, 100 do assert.equal(0, got[i]) end
  end)

  it("holds its memory without any object", function()
    local r, w = helper.pipe()
    assert(ring:push(sqe():prep_read(r, uring.buffer(8))))
    assert(ring:submit())
    helper.collect()
    spec.write(w, "12345678")
    assert.equal(8, (select(2, hand.take(ring))))
  end)

  it("ends with the close of its descriptor, and of the ring", function()
    local a, b = assert(uring.socketpair())
    local _ <close> = a
    assert(ring:push(sqe():prep_recv(b, uring.buffer(8))))
    assert(ring:submit())
    b:close()
    assert.equal(-E.ECANCELED, (select(2, hand.take(ring))))
    assert(ring:push(sqe():prep_recv(a, uring.buffer(8))))
  end)

  it("is refused by a closed target, and while tasks wait", function()
    local other = assert(uring.ring())
    local message = hand.msg(other, 1, 2)
    assert(ring:push(message))
    assert(ring:submit())
    assert.equal(1, (hand.message(other)))
    other:close()
    assert.equal(E.EPIPE, (select(3, ring:push(message))))
    uring.run(function()
      uring.spawn(function() ring:await(hand.timeout(60), 0.01) end)
      uring.sleep(0)
      helper.raises("a task waits on it", ring.push, ring, hand.nop())
    end)
    hand.take(ring)
  end)
end)
