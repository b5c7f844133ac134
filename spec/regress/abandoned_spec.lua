-- A loop that is interrupted twice closes its tasks where they stand. What
-- one of them closes on that occasion may wake another, which is then dead.

local helper = require "helper"

local it = helper.needs_ring(it)

describe("a loop that was interrupted twice", function()
  it("runs afresh", function()
    local out = helper.script_ok [[
      local uring = require "uring"
      local main = coroutine.running()
      local ring = uring.ring()
      local interrupts = 0
      local ok, message = pcall(uring.run, function()
        for _ = 1, 2 do
          uring.spawn(function()
            local _ <close> = setmetatable({}, { __close = function()
              ring:close()
            end })
            while true do pcall(uring.sleep, 0) end
          end)
          uring.spawn(function()
            while true do pcall(uring.sleep, 0) end
          end)
          uring.spawn(function() while true do pcall(ring.receive, ring)
            pcall(uring.sleep, 0) end end)
        end
        uring.spawn(function()
          while true do
            pcall(uring.sleep, 0.001)
            if coroutine.running() ~= main and interrupts > 1 then break end
          end
        end)
        uring.spawn(function() pcall(ring.receive, ring) end)
        uring.sleep(0)
        debug.sethook(main, function()
          interrupts = interrupts + 1
          if interrupts >= 2 then debug.sethook(main) end
          error("interrupt " .. interrupts, 0)
        end, "c")
        while true do pcall(uring.sleep, 0) end
      end)
      debug.sethook()
      assert(not ok and message == "interrupt 1", message)
      collectgarbage()
      collectgarbage()
      local result = uring.run(function()
        uring.sleep(0.001)
        assert(uring.await(uring.sqe():prep_nop()) == 0)
        return "survived"
      end)
      assert(tostring(uring.loop()):find("0 tasks", 1, true))
      io.write(result)]]
    assert.equal("survived", out)
  end)

  it("keeps no task ready that may have been collected", function()
    local out = helper.script_ok [[
      local uring = require "uring"
      local main = coroutine.running()
      local channel = uring.channel()
      local interrupts = 0
      local ok, message = pcall(uring.run, function()
        uring.spawn(uring.shield, 10, uring.sleep, 10)
        uring.spawn(function()
          local _ <close> = setmetatable({}, { __close = function()
            collectgarbage()
            collectgarbage()
            assert(channel:try_send(1))
          end })
          while true do pcall(uring.sleep, 0) end
        end)
        uring.spawn(uring.shield, 10, channel.receive, channel)
        uring.sleep(0)
        debug.sethook(main, function()
          interrupts = interrupts + 1
          if interrupts >= 2 then debug.sethook(main) end
          error("interrupt " .. interrupts, 0)
        end, "c")
        uring.sleep(10)
      end)
      assert(not ok and message == "interrupt 1", message)
      uring.run(function() uring.sleep(0.001) end)
      io.write "survived"]]
    assert.equal("survived", out)
  end)
end)
