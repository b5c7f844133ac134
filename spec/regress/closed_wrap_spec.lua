-- A task that waits in a wrapped function, and one of the two coroutines is
-- closed by others. The wait was left where it was: its timeouts and what it
-- awaited kept the addresses of what was collected, and a message or a
-- channel's value was handed to a task that would never take it.

local helper = require "helper"

local it = helper.needs_ring(it)

-- `wait` runs in a wrapped function, in a task, until `close` is done to the
-- coroutine `outer` (the task's) or `inner`.
local function script(wait, close)
  return ([[
    local uring = require "uring"
    local ring = uring.loop():ring()
    local channel = uring.channel()
    local closed, message
    local ok = pcall(uring.run, function()
      local outer, inner
      uring.spawn(function()
        outer = coroutine.running()
        local wrapped = uring.wrap(function()
          inner = coroutine.running()
          local _ <close> = setmetatable({}, { __close = function()
            closed = true
          end })
          %s
        end)
        local ok
        ok, message = pcall(wrapped)
        assert(not ok)
      end)
      uring.sleep(0)
      assert(coroutine.close(%s))
      assert(closed)
      outer, inner = nil, nil
      for _ = 1, 3 do collectgarbage() end
      assert(channel:try_send(1) == nil and channel:try_receive() == nil)
      assert(uring.await(uring.sqe():prep_msg_ring(ring, 7, 8, 0)) == 0)
      uring.sleep(0.03)
    end)
    for _ = 1, 3 do collectgarbage() end
    uring.run(function()
      assert(ring:receive(1) == 7)
      assert(uring.await(uring.sqe():prep_nop()) == 0)
      uring.sleep(0.01)
    end)
    local s = ring:stats()
    assert(s.submitted == s.completed + s.silent + s.in_flight)
    assert(#uring.tasks() == 0)
    io.write(tostring(ok), " ", tostring(message))]]):format(wait, close)
end

local waits = {
  sleep = [[uring.sleep(10)]],
  await = [[ring:await(uring.sqe():prep_timeout(10))]],
  receive = [[ring:receive()]],
  channel = [[channel:receive()]],
  sending = [[channel:send(1)]],
  timeout = [[uring.timeout(0.02, uring.sleep, 10)]],
  shield = [[uring.shield(0.02, uring.sleep, 10)]],
  scope = [[uring.scope(function(s) s:spawn(uring.sleep, 10) end)]],
  join = [[uring.daemon(uring.sleep, 10):join()]],
  select = [[uring.select{ uring.daemon(uring.sleep, 10):joining(),
    ring:awaiting(uring.sqe():prep_timeout(0.02)), ring:receiving(),
    channel:receiving() }]],
  nested = [[uring.wrap(function()
    uring.timeout(0.02, uring.scope, function()
      uring.wrap(uring.sleep)(10)
    end)
  end)()]],
}

describe("a wait in a wrapped function", function()
  for name, wait in pairs(waits) do
    it("is over when the task's coroutine is closed: " .. name, function()
      assert.equal("false nil", helper.script_ok(script(wait, "outer")))
    end)

    it("is over when its own coroutine is closed: " .. name, function()
      local out = helper.script_ok(script(wait, "inner"))
      assert.truthy(out:find "^true .*ended from outside", out)
    end)
  end
end)

describe("a wrapped function", function()
  it("cannot be called while its coroutine is being closed", function()
    local out = helper.script_ok [[
      local uring = require "uring"
      local wrapped, inside
      wrapped = uring.wrap(function()
        local _ <close> = setmetatable({}, { __close = function()
          inside = select(2, pcall(wrapped, 1, 2, 3))
        end })
        error("mine", 0)
      end)
      local ok, message = pcall(wrapped)
      assert(not ok and message == "mine")
      assert(inside:find "running already", inside)
      io.write(select(2, pcall(wrapped, 1)))]]
    assert.equal("cannot resume a wrapped function that has ended", out)
  end)
end)
