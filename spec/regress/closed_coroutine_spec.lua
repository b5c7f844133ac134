-- A task's coroutine that another task closes: what it waited with lay on its
-- stack, was collected, and was written to when the operation completed.

local helper = require "helper"

local it = helper.needs_ring(it)

local waits = {
  chain = [[ring:await_chain{ timeout(0.02), uring.sqe():prep_nop() }]],
  ["chain on another ring"] =
    [[uring.ring():await_chain{ timeout(0.02), uring.sqe():prep_nop() }]],
  await = [[ring:await(timeout(0.02))]],
  ["await on another ring"] = [[uring.ring():await(timeout(0.02))]],
  operation = [[ring:queue(timeout(0.02)):await()]],
  completions = [[for _ in ring:queue(timeout(0.02)):completions() do end]],
  sleep = [[uring.sleep(0.02)]],
  turn = [[uring.sleep(0)]],
  receive = [[ring:receive(0.02)]],
  ["receive on another ring"] = [[uring.ring():receive(0.02)]],
  join = [[uring.spawn(uring.sleep, 0.02):join()]],
  ["nothing that comes"] = [[uring.channel():receive()]],
}

describe("a task whose coroutine was closed", function()
  for name, wait in pairs(waits) do
    it("fails and harms no other task, waiting by " .. name, function()
      local out = helper.script_ok(([[
        local uring = require "uring"
        local function timeout(s) return uring.sqe():prep_timeout(s) end
        local ring = uring.loop():ring()
        local ok, message = pcall(uring.run, function()
          local co
          uring.spawn(function()
            co = coroutine.running()
            %s
          end)
          uring.sleep(0)
          assert(coroutine.close(co))
          co = nil
          for _ = 1, 3 do collectgarbage() end
          uring.sleep(0.05)
        end)
        assert(not ok and tostring(message):find("ended from outside", 1,
          true), message)
        uring.run(function()  -- and the ring goes on
          assert(uring.await(uring.sqe():prep_nop()) == 0)
          uring.sleep(0.03)
        end)
        local s = ring:stats()
        assert(s.submitted == s.completed + s.silent + s.in_flight)
        io.write "survived"]]):format(wait))
      assert.equal("survived", out)
    end)
  end
end)

describe("a message handed to a task", function()
  it("is not lost when the task's coroutine is closed", function()
    local out = helper.script_ok [[
      local uring = require "uring"
      local ring = uring.loop():ring()
      local got
      pcall(uring.run, function()
        local co
        local function reader()
          uring.spawn(function()
            co = coroutine.running()
            got = ring:receive()  -- (where the message is first)
          end)
        end
        reader()
        uring.sleep(0)
        uring.spawn(function()  -- ready before the reader, when it comes
          local op = ring:queue(uring.sqe():prep_msg_ring(ring, 7, 8))
          ring:submit()
          op:await()
          coroutine.close(co)
        end)
        uring.sleep(0.05)
      end)
      uring.run(function() got = got or ring:receive(1) end)
      io.write(tostring(got))]]
    assert.equal("7", out)
  end)
end)
