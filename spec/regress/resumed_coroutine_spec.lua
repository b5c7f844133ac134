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
            for i = 0, 2 do  -- (more values than a C function has room for)
              coroutine.resume(co, table.unpack({}, 1, 12 * i))
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


-- Each makes a task wait, also for its turn after many waits at hand, and says
-- whether that did only what was asked of it.
local uses = {
  select = function()
    local c = uring.channel(100)
    for i = 1, 100 do c:try_send(i) end
    return function()
      local sum = 0
      for _ = 1, 100 do
        sum = sum + select(2, uring.select { c:receiving() })
      end
      return sum == 5050
    end
  end,
  send = function()
    local box = uring.mailbox()
    local to = box:address()
    return function()
      for _ = 1, 100 do to:send("x") end
      for _ = 1, 100 do
        if select("#", box:try_receive()) ~= 1 then return false end
      end
      return true
    end
  end,
  write = function()
    local a, b = assert(uring.socketpair())
    local bytes = ("x"):rep(300000)
    local reader = uring.spawn(function()
      for _ = 1, 20 do uring.sleep(0) end
      return b:read "a" == bytes:rep(3)
    end)
    return function()
      assert(a:write(bytes, bytes, bytes))
      a:close()
      return select(2, reader:join())
    end
  end,
  address = function()
    local box = uring.mailbox { name = "resumed" }
    return function()
      for _ = 1, 100 do
        if not uring.address("resumed", 1):try_send("x") then return false end
      end
      return box:try_receive() == "x"
    end
  end,
}

describe("a task's coroutine resumed with values by another task", function()
  for name, use in pairs(uses) do
    it("does not take them for its own: " .. name, function()
      assert.is_true(uring.run(function()
        local co
        local wait = use()
        local task = uring.spawn(function()
          co = coroutine.running()
          return wait()
        end)
        while task:status() ~= "done" and task:status() ~= "failed" do
          uring.sleep(0)
          if coroutine.status(co) == "suspended" then
            coroutine.resume(co, {}, nil, "junk", 5)
          end
        end
        return select(2, task:join())
      end))
    end)
  end
end)
