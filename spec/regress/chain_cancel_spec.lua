-- Each member of a chain can be cancelled, however many are before it: also
-- one behind a send without copy, of which only the notification is to come.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

describe("a cancel in a chain", function()
  after_each(sockets.after)

  it("takes no longer where the chain is long", function()
    local ring = hand.ring { entries = 16384 }
    local function seconds(n)
      local sqes = { hand.timeout(100) }
      for i = 2, n do sqes[i] = hand.nop(i) end
      local ops = { ring:queue(table.unpack(sqes)) }
      ring:submit()
      local began = os.clock()
      for i = n, 1, -1 do ops[i]:cancel() end
      ring:submit()
      local took = os.clock() - began
      for _ = 1, n do
        assert.equal(-E.ECANCELED, (select(2, hand.take(ring))))
      end
      return took
    end
    local few = seconds(2048)
    for _ = 1, 2 do few = math.min(few, seconds(2048)) end
    local many = math.min(seconds(16384), seconds(16384))
    assert.is_true(many < 24 * few, ("%g and %g s"):format(few, many))
  end)

  it("names no request that has been sent", function()
    helper.needs "send_zc"
    local ring = hand.ring()
    local a, b = sockets.connection(ring, 32768)  -- it does not read yet
    local r, w = spec.pipe()
    sockets.set(a, uring.SOL_SOCKET, uring.SO_SNDBUF, 1 << 20)
    local _, poll = ring:queue(uring.sqe():prep_send_zc(a,
      uring.buffer(300000)):set_data64(1),
      uring.sqe():prep_poll_add(r, uring.POLLIN):set_data64(2))
    local data, res, flags = hand.take(ring)
    assert.equal(1, data)
    assert.is_true(res > 0)
    assert.is_true(hand.has(flags, uring.IORING_CQE_F_MORE))
    hand.nothing(ring)
    assert(poll:cancel())
    assert.same({ 2, -E.ECANCELED, 0 }, { hand.take(ring) })
    assert.equal(1, ring:stats().in_flight)
    while res > 0 do res = res - #sockets.read(b, 65536) end
    assert.is_true(hand.has(select(3, hand.take(ring)),
      uring.IORING_CQE_F_NOTIF))
    spec.close(r)
    spec.close(w)
  end)
end)
