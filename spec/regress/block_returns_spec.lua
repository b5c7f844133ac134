-- A block that returned something else than a time had its event tried again
-- and again, without a rest.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("the result of an event's block", function()
  it("must be a time or nothing", function()
    local cancelled = 0
    local function event(again)
      return uring.event { try = function() end,
        block = function() return again end,
        cancel = function() cancelled = cancelled + 1 end }
    end
    uring.run(function()
      for _, again in ipairs { "soon", true, {} } do
        helper.raises("block has returned a " .. type(again), uring.timeout,
          0.01, uring.select, { event(again) })
      end
      -- (no time is after this one: the timeout would never come)
      helper.raises("block has returned NaN", uring.timeout, 0.01,
        uring.select, { event(0/0) }, 0.001)
      assert.equal(4, cancelled)
      local _, _, errno = uring.select({ event(uring.now() + 9) }, 0.001)
      assert.equal(uring.errno.ETIME, errno)
    end)
    assert.equal(5, cancelled)
  end)
end)
