-- What a ring may do and how it works: credentials, restrictions, workers,
-- busy polling, its clock, and waits for several completions.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, sqe = hand.one, uring.sqe

-- The results of a call that older kernels do not have.
local function since(...)
  local ok, why, errno = ...
  if ok == nil and type(why) == "string" and why:find "needs Linux"
      and (errno == E.EINVAL or errno == E.EOPNOTSUPP) then
    helper.skip(why)
  end
  assert(ok ~= nil, why)
  return ...
end

describe("a ring's settings", function()
  local ring
  before_each(function()
    if helper.probe.available then ring = hand.ring() end
  end)
  after_each(function()
    hand.close()
    helper.clean()
  end)

  it("are credentials, which a request may name", function()
    local id = assert(ring:register_personality())
    assert.equal(0, (one(ring, hand.nop():set_personality(id))))
    assert.is_true(ring:unregister_personality(id))
    assert.equal(-E.EINVAL, (one(ring, hand.nop():set_personality(id))))
    assert.equal(E.EINVAL, (select(3, ring:unregister_personality(id))))
  end)

  it("are restrictions, before it is enabled", function()
    local quiet = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    assert.is_true(quiet:register_restrictions {
      { uring.IORING_RESTRICTION_SQE_OP, uring.IORING_OP_NOP },
      { uring.IORING_RESTRICTION_SQE_OP, uring.IORING_OP_ASYNC_CANCEL },
      { uring.IORING_RESTRICTION_REGISTER_OP, 12 } })  -- ENABLE_RINGS
    assert(quiet:enable_rings())
    assert.equal(0, (one(quiet, hand.nop())))
    assert.equal(-E.EACCES, (one(quiet, sqe():prep_timeout(0))))
    assert.equal(E.EACCES, (select(3, quiet:register_personality())))
    assert.equal(E.EBADFD, (select(3, ring:register_restrictions {
      { 1, 0 } })))
    for _, array in ipairs { {}, { 1 }, { { 1 } }, { { 1, 256 } },
        { { 1, "x" } }, { { 1.5, 0 } }, { { 1, 0.5 } } } do
      helper.raises("#1 to 'register_restrictions'", function()
        quiet:register_restrictions(array)
      end)
    end
  end)

  it("are the CPUs and the number of io-wq's workers", function()
    assert.is_true(ring:register_iowq_aff { 0 })
    assert.is_true(ring:unregister_iowq_aff())
    local bounded, unbounded = ring:register_iowq_max_workers(1, 2)
    assert.truthy(bounded > 0 and unbounded > 0)
    assert.same({ 1, 2 }, { ring:register_iowq_max_workers() })
    -- (they are the thread's: later specs would wait for each other)
    assert.same({ 1, 2 }, { ring:register_iowq_max_workers(bounded,
      unbounded) })
    for _, array in ipairs { {}, { -1 }, { 1024 }, { "x" }, { 0.5 } } do
      helper.raises("#1 to 'register_iowq_aff'", function()
        ring:register_iowq_aff(array)
      end)
    end
  end)

  it("are busy polling", function()
    local before, preferred = since(ring:register_napi(50, true))
    assert.same({ 0, false }, { before, preferred })
    assert.same({ 50, true }, { ring:unregister_napi() })
  end)

  it("are a clock", function()
    assert.is_true(since(ring:register_clock(uring.CLOCK_BOOTTIME)))
    assert.equal(E.ETIME, (select(3, ring:wait_cqe(0.001))))
    assert.equal(E.EINVAL, (select(3, ring:register_clock(99))))
  end)

  it("are how its waits are accounted", function()
    since(ring:set_iowait(false))
    assert.equal(E.ETIME, (select(3, ring:wait_cqe(0.001))))
    assert.is_true(ring:set_iowait(true))
    assert.equal(0, (one(ring, hand.nop())))
  end)

  it("are whether its eventfd is signalled", function()
    local eventfd <close> = uring.fd(spec.eventfd())
    assert.equal(E.ENXIO, (select(3, ring:cq_eventfd_toggle(true))))
    assert(ring:register_eventfd(eventfd))
    assert.is_true(ring:cq_eventfd_toggle(false))
    assert.equal(0, (one(ring, hand.nop())))
    assert.is_false(spec.ready(eventfd:fileno()))
    assert.is_true(ring:cq_eventfd_toggle(true))
    assert.equal(0, (one(ring, hand.nop())))
    assert.is_true(spec.ready(eventfd:fileno()))
    assert(ring:unregister_eventfd())
    assert.is_true(ring:register_eventfd_async(eventfd))
  end)

  it("are files with tags", function()
    local r = helper.pipe()
    assert.is_true(ring:register_files_tags({ r, false }, { 55, 0 }))
    assert.equal(1, ring:register_files_update(0, { false }))
    local len, data = hand.message(ring)
    assert.same({ 0, 55 }, { len, data })
    assert.equal(2, ring:register_files_update_tag(0, { r, r }, { 56, 0 }))
    assert.equal(1, ring:register_files_update(0, { false }))
    len, data = hand.message(ring)
    assert.same({ 0, 56 }, { len, data })
    helper.raises("#2 to 'register_files_tags'", function()
      ring:register_files_tags({ r }, {})
    end)
  end)
end)

describe("a wait for several completions", function()
  after_each(hand.close)

  it("ends with one when the least time is over", function()
    local ring = hand.ring()
    assert(ring:queue(hand.nop(1)))
    assert.equal(1, since(ring:submit_and_wait_min_timeout(2, 60, 0.001)))
    assert.equal(1, (hand.take(ring)))
    assert.equal(E.ETIME, (select(3, ring:submit_and_wait_min_timeout(1,
      0.002, 0.001))))
    assert(ring:queue(hand.nop(1), hand.nop(2)))
    assert.equal(2, ring:submit_and_wait_min_timeout(2, 60, 60))
    assert.same({ [1] = 0, [2] = 0 }, hand.some(ring, 2))
  end)

  -- Skips the test where the kernel has no such wait.
  local function try(ring)
    assert(ring:queue(hand.nop(1)))
    since(ring:submit_and_wait_min_timeout(1, 60, 0.001))
    assert.equal(1, (hand.take(ring)))
  end

  it("ends at the timeout also where the least time is longer", function()
    local began, ring = uring.now(), hand.ring()
    try(ring)
    for _, least in ipairs { 60, math.huge } do
      assert.equal(E.ETIME, (select(3, ring:submit_and_wait_min_timeout(2,
        0.002, least))))
    end
    assert(ring:queue(hand.nop(1)))
    assert.equal(1, ring:submit_and_wait_min_timeout(2, 0.002, 60))
    assert.equal(1, (hand.take(ring)))
    local polled = hand.ring { flags = uring.IORING_SETUP_IOPOLL }
    assert.equal(E.ETIME, (select(3, polled:submit_and_wait_min_timeout(1,
      0.002, 0.001))))
    assert.is_true(uring.now() - began < 50)
  end)

  it("needs one where there is no timeout, or no least time", function()
    local began, ring = uring.now(), hand.ring()
    try(ring)
    assert(ring:queue(hand.timeout(0.02, 7)))
    assert.equal(1, ring:submit_and_wait_min_timeout(2, nil, 0.001))
    assert.equal(7, (ring:peek_cqe()))
    assert(ring:queue(hand.nop(1)))
    assert.equal(1, ring:submit_and_wait_min_timeout(2, 60, 0))
    assert.equal(1, (hand.take(ring)))
    assert.is_true(uring.now() - began < 50)
  end)
end)
