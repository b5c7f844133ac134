-- A task that was spawned while all were abandoned, by a __close, in a place
-- that had been looked at: it never ended.

local helper = require "helper"

local it = helper.needs_ring(it)

describe("a task spawned while all are abandoned", function()
  it("is abandoned too", function()
    local out = helper.script_ok [[
      local uring = require "uring"
      local function stay()  -- whatever happens
        uring.shield(math.huge, function() uring.channel():receive() end)
      end
      local late
      local ok, message = pcall(uring.run, function()
        local first_ends
        uring.spawn(uring.scope, function()  -- its number will be free
          repeat uring.sleep(0) until first_ends
        end)
        uring.spawn(uring.scope, function(outer)
          outer:spawn(function()
            uring.sleep(0.005)
            uring.scope(function(inner)  -- which is before outer's now
              local first = inner:spawn(function() end)
              inner:spawn(function()
                local _ <close> = setmetatable({}, { __close = function()
                  late = inner:spawn(print)  -- in the first one's place
                end })
                stay()
              end)
              first:join()
              stay()
            end)
          end)
          stay()
        end)
        uring.sleep(0)
        first_ends = true
      end)
      assert(not ok and message:find "deadlock", message)
      uring.run(function() assert(#uring.tasks() == 1) end)
      io.write(late:status())]]
    assert.equal("cancelled", out)
  end)
end)
