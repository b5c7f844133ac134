-- task:cancel, why a task is cancelled, and its status and name meanwhile.
-- (For coroutine.close see coroutine_close_spec.)

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local finally <const> = helper.finally
local completes <const> = helper.run
local forever, started = helper.forever, helper.started

after_each(helper.no_tasks)
after_each(helper.clean)

local nop <const> = helper.nop

describe("task:cancel", function()
  it("raises uring.cancelled in its wait, and in every later one", function()
    completes(function()
      local n = 0
      local t = started(function()
        for _ = 1, 3 do
          for _, wait in ipairs {
            forever, function() uring.await(nop()) end,
            function() uring.scope(function() end) end,
            function() uring.timeout(1, print) end,
            function() uring.current():join() end,
            function() uring.channel(1):send(1) end,
            function() uring.semaphore(1):acquire() end,
            function() uring.select({}, 0) end,
            function() uring.loop():ring():receive(0) end,
            function() uring.loop():ring():await(nop()) end,
            function() uring.loop():ring():await_chain { nop() } end,
          } do
            local ok, err = pcall(wait)
            assert(not ok and err == uring.cancelled, err)
            n = n + 1
          end
        end
        return "swallowed"
      end)
      assert.is_true(t:cancel())
      assert.is_false(t:cancel())
      -- what it returns all the same is its result
      assert.same({ true, "swallowed" }, { t:join() })
      assert.equal(33, n)
      assert.equal("done", t:status())
      assert.is_nil(t:reason())
    end)
  end)

  it("is told to the task that joins, and fails nothing", function()
    completes(function()
      local t = started(forever)
      t:cancel()
      assert.equal("ready", t:status())
      local out = { n = 3, nil, "the task was cancelled", E.ECANCELED }
      assert.same(out, table.pack(t:join()))
      assert.same(out, table.pack(t:join()))
      assert.equal("cancelled", t:status())
      assert.is_false(t:cancel())
    end)
  end)

  it("before the first step lets the task take no step", function()
    completes(function()
      local ran
      local t = uring.spawn(function() ran = true end)
      assert.is_true(t:cancel "early")
      assert.equal("early", t:reason())
      t:join()
      assert.is_nil(ran)
      assert.equal("early", t:reason())
    end)
  end)

  it("of the running task is noticed at its next wait", function()
    completes(function()
      local log = {}
      local t = uring.spawn(function()
        uring.current():cancel "me"
        log[1] = uring.current():reason()
        log[2] = "goes on"
        uring.sleep(0)
        log[3] = "never"
      end)
      t:join()
      assert.same({ "me", "goes on" }, log)
    end)
  end)

  it("is how a task ends that is a to-be-closed variable", function()
    completes(function()
      local t
      do
        local task <close> = uring.spawn(forever)
        t = task
        uring.sleep(0)
      end
      assert.same({ nil, "the task was cancelled", E.ECANCELED },
        { t:join() })
      local u
      do
        local task <close> = uring.spawn(function() return 1 end)
        u = task
        task:join()
      end
      assert.equal("done", u:status())
    end)
  end)

  it("of a task with a scope cancels the scope, and waits for it", function()
    completes(function()
      local n = 0
      local t = started(function()
        uring.scope(function(scope)
          for _ = 1, 3 do
            scope:spawn(function()
              local _ <close> = finally(function()
                uring.shield(1, uring.sleep, 0.001)
                n = n + 1
              end)
              forever()
            end)
          end
        end)
      end)
      t:cancel()
      t:join()
      assert.equal(3, n)
    end)
  end)

  it("leaves tasks alone that the task has spawned beside itself", function()
    completes(function()
      local child
      local t = started(function()
        child = uring.spawn(function() uring.sleep(0.003) return 1 end)
        forever()
      end)
      t:cancel()
      assert.same({ true, 1 }, { child:join() })
    end)
  end)

  it("whose value other code throws is a cancellation too", function()
    completes(function()
      local t = uring.spawn(function() error(uring.cancelled) end)
      assert.same({ nil, "the task was cancelled", E.ECANCELED },
        { t:join() })
      assert.is_nil(t:reason())
    end)
  end)

  it("may come from each task to each, all at once", function()
    completes(function()
      local tasks = {}
      for i = 1, 50 do
        tasks[i] = uring.spawn(function()
          uring.sleep(0)
          for j = 1, 50 do tasks[j]:cancel(i) end
          forever()
        end)
      end
      for i = 1, 50 do
        assert.equal(E.ECANCELED, (select(3, tasks[i]:join())))
        assert.equal(1, tasks[i]:reason())
      end
    end)
  end)

  it("of three thousand tasks in one tick fits sixty-four entries", function()
    helper.script_ok [[
      local uring = require "uring"
      local spec = require "uring_spec"
      uring.loop { entries = 64 }
      local r, w = spec.pipe()
      local n = 0
      uring.run(function()
        local other <close> = assert(uring.ring { entries = 8 })
        local rings = { uring.loop():ring(), other }
        local tasks = {}
        for i = 1, 3000 do
          tasks[i] = uring.spawn(function()
            local _ <close> = setmetatable({}, { __close = function(_, e)
              if e == uring.cancelled then n = n + 1 end
            end })
            rings[i % 10 == 0 and 2 or 1]:await(
              uring.sqe():prep_poll_add(r, uring.POLLIN))
          end)
        end
        for _ = 1, 3 do uring.sleep(0) end
        for i = 1, 3000 do assert(tasks[i]:cancel()) end
        for i = 1, 3000 do assert(select(3, tasks[i]:join())
          == uring.errno.ECANCELED) end
        assert(n == 3000)
        assert(other:stats().in_flight == 0)
        -- and by a scope, before anything was submitted, too
        for turns = 0, 2 do
          n = 0
          uring.scope(function(scope)
            for i = 1, 3000 do
              scope:spawn(function()
                n = n + 1
                uring.await(uring.sqe():prep_poll_add(r, uring.POLLIN))
              end)
            end
            for _ = 1, turns do uring.sleep(0) end
            scope:cancel()
          end)
          assert(n == (turns == 0 and 0 or 3000))
        end
      end)
      local stats = uring.loop():ring():stats()
      assert(stats.in_flight == stats.internal)
      assert(stats.submitted == stats.completed + stats.silent
        + stats.in_flight)
    ]]
  end)

  it("of ten thousand sleeping tasks ends them all", function()
    completes(function()
      local n = 0
      uring.scope(function(scope)
        for _ = 1, 10000 do
          scope:spawn(function()
            local ok, err = pcall(forever)
            if not ok and err == uring.cancelled then n = n + 1 end
          end)
        end
        uring.sleep(0)
        scope:cancel()
      end)
      assert.equal(10000, n)
    end)
  end)
end)

describe("task:reason", function()
  it("is what was given, of any type, or nil", function()
    completes(function()
      for _, reason in ipairs { "words", 42, false, {}, print } do
        local inside
        local t = started(function()
          local _ <close> = finally(function()
            inside = uring.current():reason()
          end)
          forever()
        end)
        assert.is_nil(t:reason())
        t:cancel(reason)
        assert.equal(reason, t:reason())
        t:join()
        assert.equal(reason, inside)
        assert.equal(reason, t:reason())
      end
      local t = started(forever)
      t:cancel()
      assert.is_nil(t:reason())
      t:join()
      assert.is_nil(t:reason())
    end)
  end)

  it("is the scope's, in all scopes inside it", function()
    completes(function()
      local reasons = {}
      local function note(what)
        return finally(function()
          reasons[what] = uring.current():reason()
        end)
      end
      local given, direct
      uring.scope(function(scope)
        given = scope
        direct = scope:spawn(function()
          local _ <close> = note "task"
          uring.scope(function(inner)
            inner:spawn(function()
              local _ <close> = note "in body's wait for tasks"
              forever()
            end)
          end)
        end)
        scope:spawn(function()
          uring.scope(function(inner)
            inner:spawn(function()
              local _ <close> = note "in body"
              forever()
            end)
            forever()
          end)
        end)
        local _ <close> = note "body"
        uring.sleep(0)
        uring.sleep(0)
        scope:cancel "why"
        forever()
      end)
      assert.same({ task = "why", ["in body's wait for tasks"] = "why",
        ["in body"] = "why", body = "why" }, reasons)
      assert.equal("why", direct:reason())
      assert.is_false(given:cancel "later")
    end)
  end)

  it("is the first error of a sibling, or of the body", function()
    completes(function()
      for _, who in ipairs { "sibling", "body" } do
        local value, reason = {}, nil
        pcall(uring.scope, function(scope)
          scope:spawn(function()
            local _ <close> = finally(function()
              reason = uring.current():reason()
            end)
            forever()
          end)
          uring.sleep(0)
          if who == "body" then error(value) end
          scope:spawn(error, value)
          forever()
        end)
        assert.equal(value, reason)
      end
    end)
  end)

  it("is 'timed out' in a timeout, and in what that ends", function()
    completes(function()
      local reasons = {}
      for i, waits in ipairs { true, false } do
        uring.timeout(0.002, uring.scope, function(scope)
          scope:spawn(function()
            local _ <close> = finally(function()
              reasons[2 * i] = uring.current():reason()
            end)
            forever()
          end)
          local _ <close> = finally(function()
            reasons[2 * i - 1] = uring.current():reason()
          end)
          if waits then forever() end
        end)
      end
      assert.same({ "timed out", "timed out", nil, "timed out" }, reasons)
      assert.is_nil(uring.current():reason())
    end)
  end)

  it("of a task cancelled twice is that of the innermost scope", function()
    completes(function()
      local log = {}
      local t = started(function()
        uring.scope(function(scope)
          scope:cancel "inner"
          uring.current():cancel "outer"
          log[1] = uring.current():reason()
        end)
      end)
      t:join()
      assert.same({ "inner" }, log)
      assert.equal("outer", t:reason())
    end)
  end)
end)

describe("task:status, task:name and uring.current", function()
  it("follow a task through its life", function()
    completes(function()
      local t
      t = uring.spawn { name = "it", main = function()
        assert(uring.current() == t and t:status() == "running")
        uring.sleep(0)
        uring.sleep(0.001)
        return uring.current()
      end }
      assert.equal("new", t:status())
      assert.equal("it", t.name)
      uring.sleep(0)
      assert.equal("ready", t:status())
      uring.sleep(0)
      uring.sleep(0)
      assert.equal("waiting", t:status())
      assert.same({ true, t }, { t:join() })
      assert.equal("done", t:status())
      assert.equal("it", t.name)
      local me = uring.current()
      assert.equal("running", me:status())
      assert.is_nil(me.name)
      assert.is_nil(me.nothing)
      pcall(uring.scope, function(s) t = s:spawn(error, "x") forever() end)
      assert.equal("failed", t:status())
      uring.wrap(function() assert(uring.current() == me) end)()
      coroutine.wrap(function() assert(uring.current() == me) end)()
    end)
    assert.is_nil(uring.current())
  end)
end)
