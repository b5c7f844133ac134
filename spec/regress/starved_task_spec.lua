-- A task that has no memory left even to fail was said to have been ended from
-- outside. One whose coroutine was closed was resumed all the same: Lua says
-- so in words of its own, and has to allocate them where nothing is protected.

local faults = require "faults"
local helper = require "helper"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)

-- luacheck: globals T uring

describe("a task without memory", function()
  faulty("fails for that reason, whichever allocation was refused", function()
    local function work()
      local t = {}
      for i = 1, 20 do t[i] = { ("x"):rep(i * 10) } end
      error { t }
    end
    local reasons = 0
    for _, failing in ipairs { 2, 3, 1 << 30 } do
      local n, asked = 0
      repeat
        n = n + 1
        local ok, why = pcall(uring.run, function()
          T.fault.alloc(n, failing)
          work()
        end)
        asked = T.fault.alloc()
        assert(not ok)
        if type(why) == "string" then
          assert(why:find("not enough memory", 1, true), why)
          reasons = reasons + 1
        end
        assert(uring.run(function() return 5 end) == 5)
      until asked < n
    end
    assert(reasons > 100, reasons)
  end)

  faulty("gives that error to the task that joins it", function()
    uring.run(function()
      local ok, why
      uring.scope(function(s)
        local task = s:spawn(function()
          ok, why = pcall(uring.scope, function(inner)
            inner:spawn(function()
              T.fault.alloc(1, 1 << 30)
              local _ = { {}, {} }
            end)
            uring.sleep(20)
          end)
          T.fault.alloc()
        end)
        task:join()
      end)
      assert(not ok and why:find("not enough memory", 1, true), why)
    end)
  end)

  faulty("leaves what it could not take to the next, and waits on", function()
    uring.run(function()
      local a, b = uring.socketpair(uring.SOCK_STREAM)
      local bytes, failed, got = ("x"):rep(100), nil, nil
      local first = uring.spawn(function()
        local ok = pcall(b.recv, b, 100)
        T.fault.alloc()
        failed = not ok
        uring.sleep(60 * T.slow)
      end)
      local second = uring.spawn(function() got = b:recv(100, 30 * T.slow) end)
      for arms = 0, 1 do  -- (the first call takes memory for its frame)
        if arms == 1 then
          assert(a:send(bytes) == 100)
          T.fault.alloc(1, 1 << 30)
        end
        uring.sleep(0)
      end
      assert(second:join(20 * T.slow))
      assert(failed and got == bytes, got)
      first:cancel()
    end)
  end)

  faulty("ends when its coroutine was closed", function()
    require "shortage".sweep("a scope whose coroutine is closed", T, 1)
  end)
end)
