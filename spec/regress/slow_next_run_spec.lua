-- The watchdog of one run went on in every later one.

local helper = require "helper"

local it = helper.needs_ring(it)

local function script(set_up)
  return ([[
    local uring = require "uring"
    local told = {}
    local function block() require "uring_spec".sleep(0.02) end
    local function tell(name)
      return function() told[#told + 1] = name end
    end
    %s
    uring.run { main = block, slow = 0.001, on_slow = tell "first" }
    uring.run(block)
    pcall(uring.run, { main = 1, slow = 0.001, on_slow = tell "none" })
    uring.run(block)
    io.write(table.concat(told, " "))]]):format(set_up)
end

describe("a run's watchdog", function()
  it("is gone with it", function()
    assert.equal("first", helper.script_ok(script ""))
  end)

  it("takes the place of the loop's for the run", function()
    assert.equal("first loop's loop's", helper.script_ok(script
      [[uring.loop { slow = 0.001, on_slow = tell "loop's" }]]))
  end)
end)
