-- uring.after(0) was ready only once the choice had waited, so that it never
-- won against what was ready always.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("uring.after(0)", function()
  it("is as ready as any other event", function()
    helper.run(function()
      local over = uring.spawn(function() end)
      over:join()
      local wins = { over = 0, now = 0, past = 0 }
      for _ = 1, 300 do
        local key = uring.select { over = over:joining(),
          now = uring.after(0), past = uring.at(0) }
        wins[key] = wins[key] + 1
      end
      -- 100 each; that one is below 40 has a chance of 1 in 10^13
      for key, n in pairs(wins) do
        assert.truthy(n > 40, key .. " won " .. n)
      end
    end)
  end)
end)
