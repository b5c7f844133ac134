-- uring.tasks() read what a task waits for out of an operation, a socket or
-- a coroutine while it pushed the words for it; a push may run finalizers, and
-- these may close any of them. (A sanitizer sees what is read after that.)

local helper = require "helper"

local it = helper.needs_ring(it)

describe("the description of a wait", function()
  it("is whole although finalizers close the object meanwhile", function()
    helper.needs_eager_collector()
    assert.equal("whole", helper.script_ok [[
      local finalizers = require "finalizers"
      for _, call in ipairs { "uring.tasks", "uring.tree" } do
        for _, deed in ipairs { "end_all", "close" } do
          for n = 1, 120, 7 do finalizers.run(call, deed, n) end
        end
      end
      io.write "whole"]])
  end)

  it("is whole in the error of a deadlock as well", function()
    helper.needs_eager_collector()
    assert.equal("whole", helper.script_ok [[
      local uring = require "uring"
      for n = 1, 30 do
        local ok, why = pcall(uring.run, function()
          local cos, left = {}, n
          local armed = true
          local function arm()
            setmetatable({}, { __gc = function()
              if not armed then return end
              left = left - 1
              if left > 0 then return arm() end
              for _, co in ipairs(cos) do coroutine.close(co) end
            end })
          end
          local function waiter()
            cos[#cos + 1] = coroutine.running()
            local c = uring.channel()
            local _ <close> = setmetatable({}, { __close = function()
              armed = false
              collectgarbage("incremental", 200, 100, 13)
            end })
            uring.select { [setmetatable({}, { __tostring = function()
              return ("key"):rep(20)
            end })] = c:receiving() }
          end
          for _ = 1, 3 do uring.spawn(waiter) end
          uring.sleep(0)
          uring.sleep(0)
          collectgarbage()
          collectgarbage("incremental", 10, 1000, 30)
          arm()
          uring.channel():receive()
        end)
        assert(not ok and (why:find "deadlock" or why:find "ended from"), why)
      end
      io.write "whole"]])
  end)
end)
