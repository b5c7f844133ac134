-- What waited since before the loop first slept in a run waited, as
-- uring.tasks had it, since the machine was started.

local helper = require "helper"

local it = helper.needs_ring(it)

describe("uring.tasks", function()
  it("says since when a task waits in the first turn", function()
    local out = helper.script_ok [[
      local uring = require "uring"
      uring.run(function()
        local task = uring.spawn(uring.sleep, 10)
        uring.sleep(0)
        for _, t in ipairs(uring.tasks()) do
          if t.task == task then io.write(tostring(t.seconds < 5)) end
        end
        task:cancel()
      end)]]
    assert.equal("true", out)
  end)
end)
