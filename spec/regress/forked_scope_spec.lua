-- A forked child that runs a loop of its own, and the parent's tasks, scopes
-- and channels: they were taken for the new loop's, whose regions have the
-- same numbers.

local helper = require "helper"

local it = helper.needs_ring(it)

-- `code` runs in the child's own run, in the middle of a parent's scope.
local function in_child(code)
  assert.equal("survived", helper.script_ok(([[
    local uring = require "uring"
    local spec = require "uring_spec"
    local status
    uring.run(function()
      local channel, semaphore = uring.channel(), uring.semaphore(0)
      local waits = {
        uring.spawn(channel.receive, channel),
        uring.spawn(semaphore.acquire, semaphore),
        uring.spawn(uring.sleep, 10),
        uring.spawn(uring.await, uring.sqe():prep_timeout(10)),
      }
      local closed
      waits[5] = uring.spawn(function()
        closed = coroutine.running()
        uring.timeout(10, uring.sleep, 10)
      end)
      uring.sleep(0)
      waits[3]:cancel()
      uring.scope(function(scope)
        waits[6] = scope:spawn(uring.sleep, 10)
        uring.sleep(0)
        local pid = spec.fork()
        if pid == 0 then
          local ok, message = xpcall(uring.run, debug.traceback, function()
            uring.spawn(uring.sleep, 0.001)
            uring.sleep(0)
            %s
          end)
          if not ok then io.stderr:write(message, "\n") end
          if not ok then spec._exit(1) end
          spec._exit(0)
        end
        status = spec.wait(pid)
        scope:cancel()
      end)
      for _, task in ipairs(waits) do task:cancel() end
    end)
    assert(status == 0, status)
    io.write "survived"]]):format(code)))
end

describe("in a forked child with a loop of its own", function()
  it("the parent's tasks are over", function()
    in_child [[
      for _, task in ipairs(waits) do
        assert(task:status() == "cancelled" and task:reason() == nil)
        assert(not task:cancel())
        local ok, _, errno = task:join()
        assert(ok == nil and errno == uring.errno.ECANCELED)
        assert(uring.select { task:joining() } == 1)
      end
      assert(#uring.tasks() == 2)]]
  end)

  it("the parent's scope has ended", function()
    in_child [[
      local ok, message = pcall(scope.spawn, scope, print)
      assert(not ok and message:find "has ended", message)
      assert(not scope:cancel())
      assert(tostring(scope):find "ended")]]
  end)

  it("a message is not given to a task of the parent", function()
    in_child [[
      assert(channel:try_send(1) == nil)
      semaphore:release()
      assert(#semaphore == 1)]]
  end)

  it("the parent's coroutines can be closed", function()
    in_child [[assert(coroutine.close(closed))]]
  end)

  it("an error passes through the parent's scope", function()
    local out = helper.script_ok [[
      local uring = require "uring"
      local spec = require "uring_spec"
      uring.run(function()
        local pid
        local ok, message = pcall(uring.scope, function()
          pid = spec.fork()
          if pid == 0 then
            uring.run(function() end)
            error("mine", 0)
          end
        end)
        if pid == 0 then
          spec._exit(not ok and message == "mine" and 0 or 1)
        end
        assert(spec.wait(pid) == 0)
        io.write "survived"
      end)]]
    assert.equal("survived", out)
  end)
end)
