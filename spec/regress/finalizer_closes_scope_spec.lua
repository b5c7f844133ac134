-- A finalizer that ran in the middle of scope:spawn and closed the scope: the
-- task began in one that was not there.

local helper = require "helper"

local it = helper.needs_ring(it)

describe("scope:spawn", function()
  it("refuses a scope that a finalizer has just closed", function()
    local out = helper.script_ok [[
      local uring = require "uring"
      local function nothing() end  -- (made here, for that may collect too)
      collectgarbage("incremental", 50, 400)
      uring.run(function()
        for i = 1, 400 do
          pcall(uring.scope, function(outer)
            local co, scope, closed
            outer:spawn(function()
              co = coroutine.running()
              uring.scope(function(inner)
                scope = inner
                uring.sleep(10)
              end)
            end)
            uring.sleep(0)
            collectgarbage()
            collectgarbage "stop"
            setmetatable({}, { __gc = function()
              closed = true
              coroutine.close(co)
            end })
            collectgarbage "restart"
            for _ = 1, i % 50 do local _ = {} end  -- sooner or later
            if not closed then
              local ok, message = pcall(scope.spawn, scope, nothing)
              assert(ok or message:find "the scope has ended", message)
            end
            outer:cancel()
          end)
        end
      end)
      io.write "survived"]]
    assert.equal("survived", out)
  end)
end)
