-- Chains by hand: SQEs that are linked, run in order, and break.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local nop, some, bad = hand.nop, hand.some, hand.bad

describe("a chain", function()
  after_each(hand.close)

  it("runs in order and breaks where a member fails", function()
    local ring = hand.ring()
    ring:queue(nop(1), bad(2), nop(3))
    ring:queue(nop(4))
    assert.same({ 0, -E.EBADF, -E.ECANCELED, 0 }, some(ring, 4))
  end)

  it("starts each when the one before has ended", function()
    local ring = hand.ring()
    local r, w = spec.pipe()
    local buffer = uring.buffer(5)
    ring:queue(uring.sqe():prep_read(r, buffer):set_data64(1), nop(2))
    assert.equal(2, ring:submit())
    hand.nothing(ring)
    spec.write(w, "hello")
    assert.same({ 1, 5, 0 }, { hand.take(ring) })
    assert.same({ 2, 0, 0 }, { hand.take(ring) })
    spec.close(r)
    spec.close(w)
  end)

  it("is linked by queue, which changes no sqe", function()
    local ring = hand.ring()
    local first = bad(1)
    ring:queue(first, nop(2))
    assert.same({ -E.EBADF, -E.ECANCELED }, some(ring, 2))
    assert.equal(0, first.flags)
    ring:queue(first)  -- alone it has no link
    ring:queue(nop(2))
    assert.same({ -E.EBADF, 0 }, some(ring, 2))
    -- one sqe may be several members
    local sqe = nop()
    local a, b, c = ring:queue(sqe, sqe, sqe)
    assert.truthy(a ~= b and b ~= c)
    for _ = 1, 3 do assert.same({ 0, 0, 0 }, { hand.take(ring) }) end
  end)

  it("goes on over a failure behind a hard link", function()
    local ring = hand.ring()
    ring:queue(bad(1):set_flags(uring.IOSQE_IO_HARDLINK), nop(2))
    assert.same({ -E.EBADF, 0 }, some(ring, 2))
    ring:queue(bad(1):set_flags(uring.IOSQE_IO_HARDLINK), bad(2), nop(3))
    assert.same({ -E.EBADF, -E.EBADF, -E.ECANCELED }, some(ring, 3))
  end)

  it("is never split by a full queue", function()
    for _, flags in ipairs { 0, uring.IORING_SETUP_SQPOLL } do
      local ring = hand.ring { entries = 4, flags = flags }
      for fill = 0, 4 do
        for length = 2, 4 do
          for _ = 1, fill do ring:queue(nop(-1)) end
          local chain = { bad(1) }
          for i = 2, length do chain[i] = nop(i) end
          ring:queue(table.unpack(chain))
          for _ = 1, fill do assert.equal(-1, (hand.take(ring))) end
          local got = some(ring, length)
          assert.equal(-E.EBADF, got[1])
          for i = 2, length do assert.equal(-E.ECANCELED, got[i]) end
        end
      end
    end
  end)

  it("may be as long as the queue", function()
    local ring = hand.ring { entries = 256 }
    local chain = {}
    for i = 1, 256 do chain[i] = nop(i) end
    assert.equal(256, select("#", ring:queue(table.unpack(chain))))
    for i = 1, 256 do assert.same({ i, 0, 0 }, { hand.take(ring) }) end
    chain[257] = nop()
    helper.raises("a chain of 257 does not fit into a ring of 256 entries",
      ring.queue, ring, table.unpack(chain))
  end)

  it("is refused whole where it cannot go", function()
    local ring = hand.ring { entries = 2 }
    for _, flag in ipairs { uring.IOSQE_IO_LINK, uring.IOSQE_IO_HARDLINK } do
      local link = nop():set_flags(flag)
      helper.raises("must not have a link flag", ring.queue, ring, link)
      helper.raises("must not have a link flag", ring.queue, ring, nop(),
        link)
    end
    helper.raises("does not fit", ring.queue, ring, nop(), nop(), nop())
    assert.equal(0, ring:stats().submitted)
    assert.equal(0, ring:submit())
  end)
end)
