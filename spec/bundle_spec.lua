-- Bundles: several buffers of a group that are received into or sent from at
-- once.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, has = hand.one, hand.has
local after = sockets.after
local sqe = uring.sqe


describe("a bundle's send", function()
  after_each(after)

  it("takes what a legacy group has", function()
    helper.needs "bundles"
    local ring = hand.ring()
    local a, b = sockets.pair()
    local memory = uring.buffer "hello"
    assert.equal(0, (one(ring, sqe():prep_provide_buffers(memory, 5, 1,
      9))))
    local res, _, flags = one(ring, sqe():prep_send_bundle(a)
      :set_buf_group(9))
    assert.equal(5, res)
    assert.is_true(has(flags, uring.IORING_CQE_F_BUFFER))
    assert.equal("hello", sockets.read(b))
    assert.equal(-E.ENOBUFS, (one(ring, sqe():prep_send_bundle(a)
      :set_buf_group(9))))
  end)
end)
