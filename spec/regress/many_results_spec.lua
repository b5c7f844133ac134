-- Many arguments and results need stack room where they are moved; a Lua
-- built with API checks told where it was missing.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

local function many(n) return table.unpack({}, 1, n) end

describe("many values", function()
  for _, n in ipairs { 0, 1, 19, 20, 21, 39, 40, 41, 250, 100000 } do
    it(n .. " of them pass in and out", function()
      assert.equal(n, select("#", uring.run(many, n)))
      assert.equal(n, uring.run(function(...) return select("#", ...) end,
        many(n)))
      assert.equal(n + 1, uring.run(function()
        return select("#", uring.spawn(many, n):join())
      end))
      assert.equal(n, select("#", uring.run(function()
        uring.sleep(0)
        return many(n)
      end)))
    end)
  end

  it("are refused where they are too many, and nothing breaks", function()
    local ring = uring.ring()
    local sqe = uring.sqe():prep_nop()
    local sqes = {}
    for i = 1, 100000 do sqes[i] = sqe end
    helper.raises("does not fit", ring.queue, ring, table.unpack(sqes))
    helper.raises("array of 1 to 64 sqes", uring.run, function()
      ring:await_chain(sqes)
    end)
    ring:queue(sqe:set_data64(3))
    assert.equal(3, (ring:wait_cqe(1)))
    ring:close()
  end)
end)
