-- Shields in one another, which are Lua calls and may be very many: each that
-- ended looked at all around it.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("a shield in very many others", function()
  it("ends in the same short time", function()
    local deepest = 0
    uring.run(function()
      local function deeper(n)
        deepest = n
        if n < 50000 then
          return 1 + uring.shield(10, deeper, n + 1)
        end
        return 0
      end
      local before = os.clock()
      assert.equal(49999, deeper(1))
      assert.is_true(os.clock() - before < 2 * helper.slow)
    end)
    assert.equal(50000, deepest)
  end)
end)
