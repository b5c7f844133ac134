-- The bytes of messages: what is sent comes back, and bytes that are wrong do
-- no harm. (Under ASAN a byte too far is an error.)

local faults = require "faults"
local helper = require "helper"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)

-- luacheck: globals T uring spec

describe("a message's bytes", function()
  faulty("that are corrupt are refused, or give other values", function()
    local shared = { 1, 2, x = "y" }
    local cycle = {}
    cycle[1] = cycle
    local deep = {}
    for _ = 1, 120 do deep = { deep } end
    local messages = {
      { 1, 2.5, "three", false },
      { ("x"):rep(700), "" },
      { { 1, 2, 3, { a = 1, b = { true } } }, { [1.5] = 2, [true] = "k" } },
      { shared, shared, { shared } },
      { cycle }, { deep },
      { { ["\0"] = "\0", [math.mininteger] = -0.0, [math.huge] = 0 } },
    }
    math.randomseed(7)
    local counts = {}
    for _, values in ipairs(messages) do
      local bytes = T.fault.encode(table.unpack(values))
      T.equal(#values, (T.fault.decode(bytes)))
      for _ = 1, 4000 do
        local changed = bytes
        for _ = 1, math.random(3) do
          local at = math.random(#bytes)
          changed = changed:sub(1, at - 1) .. string.char(math.random(0, 255))
            .. changed:sub(at + 1)
        end
        local result, why = T.fault.decode(changed)
        if result == "failed" then error(why, 0) end
        local kind = math.type(result) or result
        counts[kind] = (counts[kind] or 0) + 1
      end
    end
    assert(counts.corrupt > 1000 and counts.integer > 1000)
  end)

  faulty("that are cut off are refused", function()
    local bytes = T.fault.encode({ 1, 2, { x = "y" } }, "z")
    for size = 16, #bytes - 8, 8 do
      T.equal("corrupt", (T.fault.decode(bytes:sub(1, size))))
    end
  end)
end)
