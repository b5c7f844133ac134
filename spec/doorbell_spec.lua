-- The bell by which others wake a loop that sleeps: in a process with the
-- module that lets a test ring it. (spec/c/test_doorbell.c has the rest.)

local helper = require "helper"

local it = helper.needs_ring(it)

local prelude = ([[
package.cpath = %q .. "/?.so;" .. package.cpath
uring = require "uring"
local file = package.searchpath("uring.core", package.cpath)
fault = assert(package.loadlib(file, "luaopen_uring_fault"))()

-- How much of these has come since before.
function since(before, key)
  return uring.loop():ring():stats()[key] - before[key]
end
]]):format(os.getenv "URING_FAULT_DIR" or "build/fault")

-- luacheck: globals uring fault since

describe("a loop's doorbell", function()
  it("wakes it from another thread, and is no message", function()
    helper.apart(function()
      uring.run(function()
        local ring = uring.loop():ring()
        fault.bell()
        uring.sleep(0.001)
        for _ = 1, 20 do
          local before = ring:stats()
          local rung = fault.ring()
          repeat uring.sleep(0.001) until since(before, "cqes") > 0
          assert(rung())
          assert(since(before, "cqes") == 1, since(before, "cqes"))
          assert(since(before, "messages") == 0)
          assert(since(before, "forged_doorbells") == 0)
        end
      end)
    end, prelude)
  end)

  it("that is forged wakes, and is counted", function()
    helper.needs "sync_msg"
    helper.apart(function()
      uring.run(function()
        local ring = uring.loop():ring()
        local token = fault.bell()
        uring.sleep(0.001)
        local before = ring:stats()
        local forged = uring.sqe():prep_msg_ring(ring, 1, token)
        for _ = 1, 3 do assert(uring.register_sync_msg(forged)) end
        local ok, _, errno = ring:receive(0.001)
        assert(ok == nil and errno == uring.errno.ETIME)
        assert(since(before, "forged_doorbells") == 3)
        assert(since(before, "messages") == 0)
        -- a number that differs from it is a message like any
        forged:prep_msg_ring(ring, 1, token ~ (1 << 40))
        assert(uring.register_sync_msg(forged))
        assert(ring:receive(5) == 1)
        assert(since(before, "forged_doorbells") == 3)
        -- and the real one is still told apart
        before = ring:stats()
        local rung = fault.ring()
        repeat uring.sleep(0.001) until since(before, "cqes") > 0
        assert(rung())
        assert(since(before, "forged_doorbells") == 0)
      end)
    end, prelude)
  end)

  it("is closed with its ring", function()
    helper.apart(function()
      uring.run(function()
        fault.bell()
        uring.spawn(uring.sleep, 0.001)
      end)
    end, prelude)
  end)
end)
