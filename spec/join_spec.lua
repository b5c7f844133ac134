-- Joining a task that is the next to run: it runs inside of the wait, and
-- no task can tell, but by the time that it takes.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(helper.no_tasks)

-- A function that notes in `log` that it ran.
local function noting(log, what)
  return function()
    log[#log + 1] = what
    return what
  end
end

describe("joining the next task", function()
  it("gives what any join gives", function()
    helper.run(function()
      assert.same({ n = 1, true },
        table.pack(uring.spawn(function() end):join()))
      assert.same({ n = 4, true, 1, nil, nil },
        table.pack(uring.spawn(function() return 1, nil, nil end):join()))
      local ok, results = pcall(uring.scope, function(scope)
        local t = scope:spawn(error, { "thrown" })
        return table.pack(t:join())
      end)
      assert.falsy(ok)
      assert.same({ "thrown" }, results)
      local t = uring.spawn(uring.sleep, 10)
      t:cancel()
      assert.same({ n = 3, nil, "the task was cancelled", E.ECANCELED },
        table.pack(t:join()))
    end)
  end)

  it("keeps the order in which tasks are ready", function()
    helper.run(function()
      local log = {}
      local a = uring.spawn(noting(log, "a"))
      uring.spawn(noting(log, "b"))
      a:join()
      log[#log + 1] = "main"
      assert.same({ "a", "b", "main" }, log)

      log = {}
      local first = uring.spawn(function()
        log[#log + 1] = "first"
        uring.spawn(noting(log, "its own"))
        uring.sleep(0)
        log[#log + 1] = "first again"
      end)
      first:join()
      log[#log + 1] = "main"
      assert.same({ "first", "its own", "first again", "main" }, log)
    end)
  end)

  it("looks like a wait to the task that runs in it", function()
    helper.run(function()
      local main = uring.current()
      local t
      t = uring.spawn(function()
        assert.equal(t, uring.current())
        assert.equal("running", t:status())
        assert.equal("waiting", main:status())
        local said
        for _, row in ipairs(uring.tasks()) do
          if row.task == main then said = row end
        end
        assert.equal("waiting", said.state)
        assert.truthy(said.waits:find "^for task %d+ to end$", said.waits)
        assert.truthy(said.seconds < 5 * helper.slow)
        assert.truthy(tostring(uring.tree()):find(said.waits, 1, true))
      end)
      assert.same({ true }, { t:join() })
      assert.equal("running", main:status())
      assert.equal(main, uring.current())
    end)
  end)

  it("waits on where that task waits", function()
    helper.run(function()
      local t = uring.spawn(function()
        uring.sleep(0.005)
        return "slept"
      end)
      assert.same({ true, "slept" }, { t:join() })
      t = uring.spawn(uring.sleep, 10)
      assert.same({ nil, "timed out", E.ETIME }, { t:join(0.005) })
      assert.equal("waiting", t:status())
      t:cancel()
      t = uring.spawn(uring.sleep, 10)
      assert.same({ nil, "timed out", E.ETIME }, { t:join(0) })
      t:cancel()
    end)
  end)

  it("may be cancelled by the task that runs in it", function()
    helper.run(function()
      local log = {}
      local joiner = uring.spawn(function()
        local self = uring.current()
        local t = uring.spawn(function()
          assert.truthy(self:cancel "from inside")
          return "done"
        end)
        local ok, why = pcall(t.join, t)
        log[1] = ok == false and why == uring.cancelled
        log[2] = self:reason()
        log[3] = t:status()
        error(why, 0)
      end)
      assert.same({ nil, "the task was cancelled", E.ECANCELED },
        { joiner:join() })
      assert.same({ true, "from inside", "done" }, log)
    end)
  end)

  it("ends with its timeout, and with its scope", function()
    helper.run(function()
      assert.same({ nil, "timed out", E.ETIME },
        { uring.timeout(0.005, function()
          return uring.spawn(uring.sleep, 0.05):join()
        end) })
      local _, message, errno = uring.scope(function(scope)
        return scope:spawn(function() scope:cancel "enough" end):join()
      end)
      assert.equal("the scope was cancelled: enough", message)
      assert.equal(E.ECANCELED, errno)
    end)
  end)

  it("does not let the task that runs in it close its coroutine", function()
    helper.run(function()
      local co = coroutine.running()
      local t = uring.spawn(function()
        return pcall(coroutine.close, co)
      end)
      local _, ok, why = t:join()
      assert.falsy(ok)
      assert.truthy(why:find("normal coroutine", 1, true), why)
    end)
  end)

  it("nests one deep, and does not use up the C stack", function()
    helper.run(function()
      local function nest(n)
        if n == 0 then return 0 end
        local _, sum = uring.spawn(nest, n - 1):join()
        return sum + 1
      end
      assert.equal(1000, nest(1000))
    end)
  end)

  it("leaves that task the depth of calls that it would have", function()
    local function deep(n, f)
      if n == 0 then return f() end
      return select(2, pcall(deep, n - 1, f))
    end
    helper.run(function()
      assert.equal("fine", deep(100, function()
        local t = uring.spawn(deep, 100, function() return "fine" end)
        return select(2, t:join())
      end))
    end)
  end)

  it("works in a wrapped coroutine, and in a protected call", function()
    helper.run(function()
      local f = uring.wrap(function()
        for i = 1, 3 do
          local _, value = uring.spawn(function()
            if i == 2 then uring.sleep(0) end
            return i * i
          end):join()
          coroutine.yield(value)
        end
      end)
      assert.same({ 1, 4, 9 }, { f(), f(), f() })
      assert.same({ true, true, "x" },
        { pcall(function()
          return uring.spawn(function() return "x" end):join()
        end) })
    end)
  end)

  it("lets completions and timers have their turn", function()
    helper.run(function()
      local over = false
      uring.spawn(function()
        uring.sleep(0.002)
        over = true
      end)
      local n = 0
      repeat
        uring.spawn(function() end):join()
        n = n + 1
      until over or n > 1e7
      assert.truthy(over)
    end)
  end)

  it("does not make a turn endless that was to end with that task", function()
    helper.run(function()
      local over, spins = false, 0
      local function spin()
        while not over and spins < 1e6 do
          spins = spins + 1
          uring.sleep(0)
        end
      end
      local last
      uring.spawn(function() last:join() end)
      last = uring.spawn(function() uring.spawn(spin) end)
      uring.sleep(0.005)  -- both have their turn in one
      over = true
      assert.truthy(spins < 1e6, "the turn did not end")
    end)
  end)

  it("is an error in a forked child that comes back", function()
    local status, out = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
      uring.run(function()
        local child
        local t = uring.spawn(function()
          child = spec.fork()
          return child == 0 and "child" or "parent"
        end)
        local _, who = t:join()
        print(who .. " goes on")
        spec.wait(child)
      end)
    ]]
    assert.equal(0, status, out)
    assert.truthy(out:find("came back into its parent's uring.run", 1, true),
      out)
    assert.truthy(out:find("parent goes on", 1, true), out)
    assert.falsy(out:find("child goes on", 1, true), out)
  end)
end)
