-- A chain whose task's coroutine is closed: what its members had already
-- brought, a descriptor for one, was lost. And a task that was
-- cancelled while the list of its requests was read began to wait.

local helper = require "helper"

local it = helper.needs_ring(it)

local function closes(last, wait)
  assert.equal("survived", helper.script_ok(([[
    local uring = require "uring"
    local spec = require "uring_spec"
    local ring = uring.loop():ring()
    local before = spec.fds()
    local ok = pcall(uring.run, function()
      local co
      local task = uring.spawn(function()
        co = coroutine.running()
        ring:await_chain{
          uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null", 0, 0)
            :set_flags(uring.IOSQE_IO_LINK), %s }
      end)
      uring.sleep(0)
      %s
      assert(coroutine.close(co))
    end)
    uring.run(uring.sleep, 0.01)
    assert(not ok and spec.fds() == before)
    io.write "survived"]]):format(last, wait)))
end

describe("a chain whose task is closed", function()
  it("disposes of the results so far while it waits for the rest", function()
    closes([[uring.sqe():prep_timeout(10)]], [[uring.sleep(0.005)]])
  end)

  it("disposes of all results before the task has taken them", function()
    closes([[uring.sqe():prep_nop()]], [[
      repeat uring.sleep(0) until task:status() == "ready"]])
  end)
end)

describe("a task that is cancelled while its chain is read", function()
  it("does not wait for the chain", function()
    helper.script_ok [[
      local uring = require "uring"
      local ring = uring.loop():ring()
      uring.run(function()
        local list = setmetatable({}, {
          __len = function() return 1 end,
          __index = function()
            uring.current():cancel()
            return uring.sqe():prep_timeout(10)
          end,
        })
        local _, message = uring.spawn(ring.await_chain, ring, list):join()
        assert(message:find "cancelled", message)
        assert(ring:stats().submitted == 0)
      end)]]
  end)
end)
