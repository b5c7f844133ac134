-- Finalizers that run as the state closes, when the loop is gone, and use
-- what it had: null pointers.

local helper = require "helper"

local it = helper.needs_ring(it)

local function at_the_end(setup, code)
  assert.equal("survived", helper.script_ok(([[
    local uring = require "uring"
    local task, co, waiter
    keep = setmetatable({}, { __gc = function()  -- after all later ones
      %s
      io.write "survived"
    end })
    uring.run(function()
      task = uring.spawn(function()
        co = coroutine.running()
        %s
      end)
      uring.sleep(0)
      os.exit(0, true)
    end)]]):format(code, setup)))
end

describe("when the state closes", function()
  it("a task can still be asked", function()
    at_the_end([[uring.sleep(10)]], [[
      assert(task:reason() == nil and not task:cancel())
      assert(task:status() == "waiting")]])
  end)

  it("a cancelled task can still be asked", function()
    at_the_end([[
      uring.current():cancel()
      pcall(uring.sleep, 10)
      uring.shield(10, uring.sleep, 10)]], [[
      assert(task:reason() == nil and not task:cancel())]])
  end)

  it("a waiter can still be called", function()
    at_the_end([[
      uring.select { uring.event {
        try = function() end, cancel = function() end,
        block = function(_, w) waiter = w end,
      } }]], [[waiter:wake()]])
  end)

  -- The ring was made before the loop, so its finalizer runs after.
  it("a wait for another ring's messages can still be dropped", function()
    assert.equal("survived", helper.script_ok [[
      local uring = require "uring"
      local event, waiter = uring.ring():receiving(), {}
      keep = setmetatable({}, { __gc = function()
        event:cancel(waiter)
        io.write "survived"
      end })
      uring.run(function()
        late = setmetatable({}, { __gc = function() event:block(waiter) end })
        os.exit(0, true)
      end)]])
  end)

  it("a task's coroutine can still be resumed, and closed", function()
    at_the_end([[uring.timeout(10, uring.sleep, 10)]], [[
      assert(coroutine.resume(co) and coroutine.close(co))]])
  end)
end)
