-- A silent operation whose cancel found no room, and which ended meanwhile,
-- stayed on the list of cancels: the next operation in its slot was cancelled.

local faults = require "faults"
local helper = require "helper"

local faulty = faults.tests(helper.needs_ring(it))

-- luacheck: globals T uring
describe("a silent operation that has ended", function()
  faulty("is not cancelled, nor is the next one in its slot", function()
    local function nop(n) return uring.sqe():prep_nop():set_data64(n) end
    local ring <close> = assert(uring.ring { entries = 2 })
    local silent = ring:queue(
      nop(1):set_flags(uring.IOSQE_CQE_SKIP_SUCCESS), nop(2))
    T.fault.inject { fn = "enter", err = T.E.EBUSY, count = 2 }
    assert(silent:cancel())
    T.equal(0, T.fault.clear().enter)
    assert(ring:queue(nop(3)))
    assert(ring:queue(nop(4)))
    -- what the chain has said is taken on the way, and its slots are free
    T.fault.inject { fn = "enter", err = T.E.EBUSY, count = 1 }
    local innocent = assert(ring:queue(uring.sqe():prep_timeout(30)
      :set_data64(5)))
    T.equal(0, T.fault.clear().enter)
    T.equal("done", silent:status())
    for n = 2, 4 do T.equal(n, (ring:wait_cqe(5))) end
    ring:submit()
    T.nothing(ring)
    T.equal("in flight", innocent:status())
  end)
end)
