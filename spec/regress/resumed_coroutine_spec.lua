-- A task's coroutine that another task resumes: its continuation ran as if it
-- were the resumer's, enlisted the resumer, and it waited in two places.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

local waits = {
  chain = function(ring)
    return ring:await_chain { uring.sqe():prep_timeout(0.01) }
  end,
  await = function() return uring.await(uring.sqe():prep_timeout(0.01)) end,
  operation = function(ring)
    return ring:queue(uring.sqe():prep_timeout(0.01)):await()
  end,
  completions = function(ring)
    for _ in ring:queue(uring.sqe():prep_nop()):completions() do end
  end,
  sleep = function() uring.sleep(0.01) end,
  turn = function() for _ = 1, 9 do uring.sleep(0) end end,
  receive = function(ring) return ring:receive(0.01) end,
  messages = function(ring) for _ in ring:messages() do end end,
  join = function() return uring.spawn(uring.sleep, 0.01):join() end,
}

describe("a task's coroutine resumed by another task", function()
  for name, wait in pairs(waits) do
    it("does not go on, nor does it make the other task wait: " .. name,
      function()
        local went_on = false
        local steps = 0
        local other = uring.ring()
        pcall(uring.run, function()
          local co
          uring.spawn(function()
            co = coroutine.running()
            wait(other)
            went_on = steps
          end)
          uring.spawn(function()
            uring.sleep(0)
            for _ = 1, 3 do
              coroutine.resume(co)
              assert(not went_on)
              steps = steps + 1
            end
            for _ = 1, 10 do
              assert.equal(0, uring.await(uring.sqe():prep_nop()))
              steps = steps + 1
            end
            -- for messages(), which would not end
            other:close()
          end)
        end)
        other:close()
        -- (the run fails where the resumed task was ended by it)
        assert.is_true(steps >= 3)
        uring.run(function()
          assert.equal(0, uring.await(uring.sqe():prep_nop()))
          uring.sleep(0.02)
        end)
        local stats = helper.lawful(uring.loop():ring())
        assert.equal(stats.internal, stats.in_flight)
      end)
  end
end)
