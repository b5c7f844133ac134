-- What waited since before the loop first slept in a run waited, as
-- uring.tasks had it, since the machine was started; and what began to wait
-- after others had run for long, for as long as that.

local helper = require "helper"
local uring = require "uring"

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

  -- For how long a task has waited that began to when others had run for 0.3
  -- seconds.
  local function since(wait, before)
    local seconds
    helper.run(function()
      local channel = uring.channel()
      before()
      local task = uring.spawn(wait, channel)
      uring.sleep(0)
      for _, t in ipairs(uring.tasks()) do
        if t.task == task then seconds = t.seconds end
      end
      task:cancel()
    end)
    return seconds
  end

  local function busy()
    local stop = uring.now() + 0.3
    while uring.now() < stop do end
  end

  it("does not count the time before a wait with a deadline", function()
    local seconds = since(function() uring.sleep(9) end, busy)
    assert.truthy(seconds < 0.2, seconds)
    seconds = since(function(channel) channel:receive(9) end, busy)
    assert.truthy(seconds < 0.2, seconds)
  end)

  it("does not count turns that do not enter the kernel", function()
    local seconds = since(function(channel) channel:receive() end, function()
      local stop = uring.now() + 0.3
      while uring.now() < stop do uring.sleep(0) end
    end)
    assert.truthy(seconds < 0.2, seconds)
  end)

  it("does not count the time in turns with a timer set", function()
    local seconds = since(function(channel) channel:receive() end, function()
      local sleeper = uring.spawn(uring.sleep, 60)
      uring.sleep(0)
      busy()
      uring.sleep(0)
      sleeper:cancel()
    end)
    assert.truthy(seconds < 0.2, seconds)
  end)
end)
