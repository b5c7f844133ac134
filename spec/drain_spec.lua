-- IOSQE_IO_DRAIN: everything queued after such a request waits for it, cancels
-- and timeouts too. So it is for rings that are driven by hand.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local nop = hand.nop
local WORDS = "IO_DRAIN makes every later request wait, cancels and timeouts "
  .. "too: use a ring driven by hand"

local function draining(n)
  return nop(n):set_flags(uring.IOSQE_IO_DRAIN)
end

describe("IO_DRAIN", function()
  local r, w

  before_each(function() r, w = spec.pipe() end)
  after_each(function()
    spec.close(r)
    spec.close(w)
    hand.close()
  end)

  local function poll() return uring.sqe():prep_poll_add(r, uring.POLLIN) end

  it("is refused by the loop's ring", function()
    local ring = uring.loop():ring()
    local before = ring:stats().submitted
    helper.raises(WORDS, ring.queue, ring, draining())
    helper.raises(WORDS, ring.queue, ring, nop(), draining())
    uring.run(function()
      helper.raises(WORDS, ring.queue, ring, draining())
      helper.raises(WORDS, uring.await, draining())
      helper.raises(WORDS, ring.await, ring, draining())
      helper.raises(WORDS, ring.awaiting, ring, draining())
      helper.raises(WORDS, ring.await_chain, ring, { nop(), draining() })
      assert.equal(0, uring.await(nop(), 5))
    end)
    assert.equal(before + 1, ring:stats().submitted)
  end)

  it("is refused by any ring that a task awaits", function()
    local ring = hand.ring()
    uring.run(function()
      helper.raises(WORDS, ring.await, ring, draining())
      local waits = uring.spawn(ring.await, ring, poll())
      uring.sleep(0)
      helper.raises(WORDS, ring.queue, ring, draining())
      waits:cancel()
      waits:join()
      local receives = uring.spawn(ring.receive, ring)
      uring.sleep(0)
      helper.raises(WORDS, ring.queue, ring, draining())
      receives:cancel()
      receives:join()
      assert(ring:queue(draining(1)))
    end)
    assert.same({ 1, 0, 0 }, { hand.take(ring) })
  end)

  it("in flight lets no task await its ring", function()
    local ring = hand.ring()
    uring.run(function()
      ring:await(nop())  -- it is watched from here on
      local blocker = ring:queue(poll():set_data64(1))
      ring:queue(draining(2))
      ring:submit()
      helper.raises(WORDS, ring.await, ring, nop())
      helper.raises(WORDS, ring.await_chain, ring, { nop() })
      helper.raises(WORDS, ring.receive, ring, 0)
      helper.raises(WORDS, blocker.await, blocker, 0)
      spec.write(w, "x")
      assert.equal(1, (hand.take(ring)))
      assert.equal(2, (hand.take(ring)))
      assert.equal(0, ring:await(nop(), 5))
    end)
  end)

  it("does not keep a ring from closing", function()
    local ring = hand.ring()
    ring:queue(poll())
    ring:queue(draining())
    for _ = 1, 10 do ring:queue(poll()) end
    ring:submit()
    assert.is_true(ring:close())
    assert.equal(0, helper.lawful(ring).leaked)
  end)

  it("does not keep the requests before it from being cancelled", function()
    local ring = hand.ring()
    local op = ring:queue(poll():set_data64(1))
    ring:queue(draining(2))
    ring:submit()
    assert(op:cancel())
    assert.same({ 1, -E.ECANCELED, 0 }, { hand.take(ring) })
    assert.same({ 2, 0, 0 }, { hand.take(ring) })
  end)

  it("and sends without a copy cannot be on one ring", function()
    local raised = "waits for its own notification for ever"
    local ring = hand.ring()
    local a, b = uring.socketpair()
    local bytes = uring.buffer "x"
    local function zero_copy(flags)
      return uring.sqe():prep_send_zc(a, bytes):set_flags(flags or 0)
    end
    local function zero_copy_message()
      return uring.sqe():prep_sendmsg_zc(a, uring.msghdr{ iov = { bytes } })
    end
    helper.raises(raised, ring.queue, ring,
      zero_copy(uring.IOSQE_IO_DRAIN))
    helper.raises(raised, ring.queue, ring, draining(), zero_copy())
    helper.raises(raised, ring.queue, ring,
      nop():set_flags(uring.IOSQE_IO_LINK), zero_copy(uring.IOSQE_IO_LINK),
      draining())
    assert.equal(0, ring:stats().submitted)
    ring:queue(draining(1))
    helper.raises(raised, ring.queue, ring, zero_copy())
    ring:submit()
    assert.equal(1, (hand.take(ring)))
    helper.raises(raised, ring.queue, ring, zero_copy())
    helper.raises(raised, ring.queue, ring, zero_copy_message())
    assert.is_true(ring:close())
    a:close()
    b:close()
  end)
end)
