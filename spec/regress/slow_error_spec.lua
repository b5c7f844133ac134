-- An on_slow that raises, or that closes the slow task's coroutine, of a task
-- that has stopped before it could be seen: the task was never ended, and the
-- run waited for it for ever.

local helper = require "helper"

local it = helper.needs_ring(it)

local function script(main, on_slow)
  return ([[
    local uring = require "uring"
    local co
    local function block()  -- in a C function, which no hook interrupts
      require "uring_spec".sleep(0.02)
    end
    local ok, message = pcall(uring.run, { slow = 0.001, main = function()
      co = coroutine.running()
      %s
    end, on_slow = function() %s end })
    assert(uring.run(function() return 7 end) == 7)
    io.write(tostring(ok), " ", tostring(message):match "[^\n]*")]])
    :format(main, on_slow)
end

describe("an error in on_slow", function()
  local raise = [[error("too slow", 0)]]

  it("is raised by the run, when the task has ended", function()
    assert.equal("false too slow", helper.script_ok(script(
      "block()", raise)))
  end)

  it("is raised by the run, when the task has failed", function()
    assert.equal("false too slow", helper.script_ok(script(
      "block() error 'mine'", raise)))
  end)

  it("is raised by the run, when the task has yielded", function()
    assert.equal("false too slow", helper.script_ok(script(
      "block() coroutine.yield()", raise)))
  end)

  it("is raised by the run, when the task waits", function()
    assert.equal("false too slow", helper.script_ok(script(
      "block() uring.sleep(10)", raise)))
  end)
end)

describe("a slow task", function()
  it("has its results, though on_slow closes its coroutine", function()
    assert.equal("true 1", helper.script_ok(script(
      "block() return 1, 2, 3", "pcall(coroutine.close, co)")))
  end)

  it("ends, if on_slow closes its coroutine in a wait", function()
    local out = helper.script_ok(script(
      "block() uring.sleep(10)", "coroutine.close(co)"))
    assert.truthy(out:find("ended from outside", 1, true), out)
  end)
end)
