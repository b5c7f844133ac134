-- A task that a socket had woken, and whose coroutine a script then closed,
-- took the wake with it, and no task got the data.

local helper = require "helper"

local it = helper.needs_ring(it)

describe("input that has woken a task which is then closed", function()
  it("is there for the next task", function()
    local out = helper.script_ok [[
      local uring = require "uring"
      local here = assert(uring.udp.bind "127.0.0.1:0")
      local there = assert(uring.udp.bind "127.0.0.1:0")
      pcall(uring.run, function()
        local co
        uring.spawn(function()
          co = coroutine.running()
          here:recv()
        end)
        uring.sleep(0)
        there:sendto("x", here:getsockname())
        coroutine.close(co)
        uring.sleep(0.1)
      end)
      uring.run(function() io.write(tostring((here:recv(100, 5)))) end)]]
    assert.equal("x", out)
  end)

  it("wakes the next waiter", function()
    helper.script_ok [[
      local uring = require "uring"
      local spec = require "uring_spec"
      local here, there = assert(uring.socketpair(uring.SOCK_DGRAM))
      uring.run(function()
        local co, second
        uring.scope(function(outer)
          pcall(uring.scope, function(inner)
            local first = inner:spawn(function()
              co = coroutine.running()
              here:recv()
            end)
            uring.sleep(0)
            second = outer:spawn(here.recv, here, 100, 60)
            uring.sleep(0)
            spec.write(there:fileno(), "x")
            uring.sleep(0)
            assert(first:status() == "ready")
            coroutine.close(co)
          end)
          assert(select(2, second:join(10)) == "x")
        end)
      end)]]
  end)
end)
