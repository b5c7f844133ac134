-- uring.scope: tasks that end together, and what becomes of their errors.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local fails <const> = helper.fails

local function count(text, plain)
  local n, at = 0, 1
  while true do
    local first, last = text:find(plain, at, true)
    if not first then return n end
    n, at = n + 1, last + 1
  end
end

local finally <const> = helper.finally

local function forever() uring.sleep(20) end

local completes <const> = helper.run

after_each(helper.no_tasks)

describe("a scope", function()
  it("gives its body's results, when its tasks have ended", function()
    completes(function()
      local log = {}
      local out = table.pack(uring.scope(function(scope, ...)
        scope:spawn(function(...)
          uring.sleep(0.005)
          log[#log + 1] = table.concat({ ... }, ",")
        end, "a", "b")
        log[#log + 1] = "body"
        return select("#", ...), nil, ..., nil
      end, 1, nil))
      assert.same({ n = 4, 2, nil, 1, nil }, out)
      assert.same({ "body", "a,b" }, log)
      assert.equal(0, select("#", uring.scope(function() end)))
    end)
  end)

  it("is refused outside a task, and where nothing can wait", function()
    helper.raises("uring.run", uring.scope, function() end)
    helper.raises("function expected, got no value", uring.scope)
    helper.raises("function expected, got table", uring.scope, {})
    completes(function()
      helper.raises("cannot wait here", string.gsub, "x", "x", function()
        uring.scope(function() end)
      end)
      helper.raises("not the task's own", coroutine.wrap(function()
        uring.scope(function() end)
      end))
    end)
  end)

  it("lies in another, each with its own tasks", function()
    completes(function()
      local log = {}
      local function say(what, seconds)
        return function() uring.sleep(seconds) log[#log + 1] = what end
      end
      uring.scope(function(outer)
        outer:spawn(say("outer", 0.02))
        uring.scope(function(inner)
          inner:spawn(say("inner", 0.001))
          inner:spawn(function()
            uring.scope(function(third)
              third:spawn(say("third", 0.005))
            end)
            log[#log + 1] = "third ended"
          end)
        end)
        log[#log + 1] = "inner ended"
      end)
      log[#log + 1] = "outer ended"
      assert.same({ "inner", "third", "third ended", "inner ended", "outer",
        "outer ended" }, log)
    end)
  end)

  it("is where uring.spawn spawns, the innermost, in a timeout too", function()
    completes(function()
      local log = {}
      local function later(what)
        return function() uring.sleep(0.003) log[#log + 1] = what end
      end
      uring.scope(function(outer)
        uring.scope(function()
          uring.timeout(5, function()
            uring.shield(5, uring.spawn, later "inner")
          end)
          outer:spawn(later "given")
        end)
        assert.equal("inner", log[1])
        log[#log + 1] = "inner ended"
        uring.spawn(later "outer")
      end)
      assert.equal("outer", log[#log])
      -- a task's own spawns belong to the scope that it is in
      local child
      uring.scope(function(scope)
        scope:spawn(function()
          child = uring.spawn(function() uring.sleep(0.005) end)
        end)
      end)
      assert.equal("done", child:status())
    end)
  end)

  it("never ends while a task of it runs, however it ends", function()
    completes(function()
      for _, ending in ipairs {
        function() end,
        function() error "boom" end,
        function(scope) scope:cancel() end,
        function(scope) scope:spawn(error, "boom") end,
        function() uring.current():cancel() end,
        function() uring.spawn(uring.current().cancel, uring.current()) end,
      } do
        local running = 0
        local task = uring.spawn(function()
          pcall(uring.scope, function(scope)
            for _ = 1, 3 do
              scope:spawn(function()
                running = running + 1
                local _ <close> = finally(function()
                  uring.shield(5, uring.sleep, 0.002)
                  running = running - 1
                end)
                uring.sleep(0.002)
              end)
            end
            uring.sleep(0)
            ending(scope)
          end)
          assert(running == 0, "it ended too early")
        end)
        task:join()
        assert.equal(0, running)
      end
    end)
  end)

  it("takes tasks that its tasks and others put into it", function()
    completes(function()
      local n = 0
      local given
      local other = uring.spawn(function()
        repeat uring.sleep(0) until given
        given:spawn(function() uring.sleep(0.003) n = n + 1 end)
      end)
      uring.scope(function(scope)
        given = scope
        local function more(depth)
          n = n + 1
          if depth > 0 then
            scope:spawn(more, depth - 1)
            scope:spawn(more, depth - 1)
          end
        end
        scope:spawn(more, 4)
        other:join()
      end)
      assert.equal(31 + 1, n)
    end)
  end)

  it("that has ended takes none", function()
    completes(function()
      local kept
      uring.scope(function(scope) kept = scope end)
      helper.raises("the scope has ended", kept.spawn, kept, print)
      helper.raises("the scope has ended", kept.daemon, kept, print)
      assert.is_false(kept:cancel())
      assert.same({}, kept:failures())
      assert.equal("uring.Scope (ended)", tostring(kept))
    end)
    helper.raises("in a task", uring.spawn, print)
    helper.raises("in a task", uring.daemon, print)
    helper.raises("uring.Scope expected", function()
      completes(function()
        uring.scope(function(scope) scope.spawn({}, print) end)
      end)
    end)
  end)

  it("forgets tasks that have ended well", function()
    completes(function()
      uring.scope(function(scope)
        local weak = setmetatable({}, { __mode = "k" })
        for _ = 1, 3 do
          for _ = 1, 100 do weak[scope:spawn(function() end)] = true end
          uring.sleep(0)
          assert.equal("uring.Scope (0 tasks)", tostring(scope))
        end
        helper.collect()
        assert.is_nil(next(weak))
      end)
    end)
  end)

  it("of many hundreds, deep and wide", function()
    completes(function()
      local depth, deepest = 0, 0
      local function down(n)
        depth = depth + 1
        deepest = math.max(deepest, depth)
        if n > 0 then
          uring.scope(function(scope) scope:spawn(down, n - 1):join() end)
        end
        depth = depth - 1
      end
      down(300)
      assert.equal(301, deepest)
      local open = {}
      uring.scope(function(outer)
        for i = 1, 300 do
          outer:spawn(function()
            uring.scope(function(scope)
              open[i] = scope
              uring.sleep(i % 7 * 0.001)
            end)
          end)
        end
      end)
      for i = 1, 300 do
        assert.equal("uring.Scope (ended)", tostring(open[i]))
      end
    end)
  end)
end)

describe("scope:cancel", function()
  it("ends body and tasks: nil, message, ECANCELED", function()
    completes(function()
      local log = {}
      local function waits(what)
        local ok, err = pcall(forever)
        log[#log + 1] = what
        assert(not ok and err == uring.cancelled)
        assert(uring.current():reason() == "enough")
        error(err)
      end
      local out = table.pack(uring.scope(function(scope)
        scope:spawn(waits, "task")
        scope:spawn(function()
          uring.scope(function(inner)
            inner:spawn(waits, "inner task")
            waits "inner body"
          end)
        end)
        scope:spawn(function()
          uring.scope(function(inner) inner:spawn(waits, "waited for") end)
        end)
        uring.sleep(0)
        assert.is_true(scope:cancel "enough")
        assert.is_false(scope:cancel "again")
        assert.equal("uring.Scope (3 tasks, cancelled)", tostring(scope))
        waits "body"
      end))
      assert.same({ n = 3, nil, "the scope was cancelled: enough",
        E.ECANCELED }, out)
      table.sort(log)
      assert.same({ "body", "inner body", "inner task", "task",
        "waited for" }, log)
      -- and the task around it goes on
      uring.sleep(0)
      assert.is_nil(uring.current():reason())
    end)
  end)

  it("takes any value for its reason, which tasks see as it is", function()
    completes(function()
      for _, reason in ipairs { {}, 5, true, false, print,
          uring.cancelled } do
        local seen = {}
        local function see(name)
          local _ <close> = finally(function()
            seen[name] = uring.current():reason()
          end)
          forever()
        end
        local task
        assert.same({ n = 3, nil, "the scope was cancelled", E.ECANCELED },
          table.pack(uring.scope(function(scope)
            task = scope:spawn(see, "task")
            scope:spawn(function()
              uring.sleep(0)
              assert.is_true(scope:cancel(reason))
            end)
            see "body"
          end)))
        assert.equal(reason, seen.task)
        assert.equal(reason, seen.body)
        assert.equal(reason, task:reason())
      end
    end)
  end)

  it("counts although the body returns or catches it", function()
    completes(function()
      local function nothing(scope) scope:cancel() return "result" end
      assert.same({ n = 3, nil, "the scope was cancelled", E.ECANCELED },
        table.pack(uring.scope(nothing)))
      assert.same({ n = 3, nil, "the scope was cancelled", E.ECANCELED },
        table.pack(uring.scope(function(scope)
          scope:cancel {}
          for _ = 1, 3 do
            local ok, err = pcall(uring.sleep, 0)
            assert(not ok and err == uring.cancelled)
          end
          return "result"
        end)))
    end)
  end)

  it("works from a task of it, from outside, and at its end", function()
    completes(function()
      assert.same({ nil, "the scope was cancelled: child", E.ECANCELED }, {
        uring.scope(function(scope)
          scope:spawn(scope.cancel, scope, "child")
          forever()
        end) })
      assert.same({ nil, "the scope was cancelled: child", E.ECANCELED }, {
        uring.scope(function(scope)
          scope:spawn(scope.cancel, scope, "child")
          scope:spawn(forever)
        end) })
      local given
      uring.spawn(function()
        repeat uring.sleep(0) until given
        given:cancel "outside"
      end)
      assert.same({ nil, "the scope was cancelled: outside", E.ECANCELED }, {
        uring.scope(function(scope)
          given = scope
          scope:spawn(forever)
        end) })
    end)
  end)

  it("of an outer one goes through the inner: it raises there", function()
    completes(function()
      local inner, outer
      outer = table.pack(uring.scope(function(scope)
        inner = table.pack(pcall(uring.scope, function(second)
          second:cancel()
          scope:cancel "both"
          forever()
        end))
        error(inner[2])
      end))
      assert.is_false(inner[1])
      assert.equal(uring.cancelled, inner[2])
      assert.same({ n = 3, nil, "the scope was cancelled: both",
        E.ECANCELED }, outer)
    end)
  end)

  it("lets no new task begin", function()
    completes(function()
      local ran = false
      local tasks = {}
      uring.scope(function(scope)
        tasks[1] = scope:spawn(function() ran = true end)
        scope:cancel "no"
        tasks[2] = scope:spawn(function() ran = true end)
        tasks[3] = uring.spawn(function() ran = true end)
        tasks[4] = scope:daemon(function() ran = true end)
      end)
      assert.is_false(ran)
      for _, t in ipairs(tasks) do
        assert.equal("cancelled", t:status())
        assert.equal("no", t:reason())
        assert.same({ nil, "the task was cancelled", E.ECANCELED },
          { t:join() })
      end
    end)
  end)

  it("leaves what is not in it alone", function()
    completes(function()
      local n = 0
      uring.scope(function(outer)
        outer:spawn(function() uring.sleep(0.005) n = n + 1 end)
        uring.scope(function(inner) inner:cancel() end)
        uring.sleep(0)
        n = n + 1
      end)
      assert.equal(2, n)
    end)
  end)
end)

describe("an error in a scope", function()
  it("of a task cancels the others, and is rethrown", function()
    completes(function()
      local log = {}
      local value = {}
      local ok, err = pcall(uring.scope, function(scope)
        for i = 1, 3 do
          scope:spawn(function()
            local _ <close> = finally(function(_, e)
              log[i] = e == uring.cancelled
                and uring.current():reason() == value
            end)
            forever()
          end)
        end
        scope:spawn(function() uring.sleep(0.001) error(value) end)
        forever()
      end)
      assert.is_false(ok)
      assert.equal(value, err)
      assert.same({ true, true, true }, log)
    end)
  end)

  it("of the body does the same", function()
    completes(function()
      local log = {}
      local ok, err = pcall(uring.scope, function(scope)
        scope:spawn(function()
          local _ <close> = finally(function(_, e) log[1] = e end)
          forever()
        end)
        uring.sleep(0)
        error(false)
      end)
      assert.same({ false, false }, { ok, err })
      assert.same({ uring.cancelled }, log)
    end)
  end)

  it("may be that the stack is full, of Lua's or C's calls", function()
    local function lua() return 1 + lua() end
    local function c(n, bound)
      if n == 0 then return "deepest" end
      return bound(function() return (c(n - 1, bound)) end)
    end
    local function timeout(f) return (uring.timeout(60, f)) end
    for _, bound in ipairs { uring.scope, timeout } do
      helper.run(function()
        local slept = false
        uring.spawn(function()
          uring.sleep(0.001)
          slept = true
        end)
        helper.raises("stack overflow", bound, lua)
        assert.equal("deepest", c(30, bound))
        helper.raises("C stack overflow", c, 250, bound)
        uring.scope(function(scope)
          local ok, why = scope:spawn(pcall, c, 250, bound):join()
          assert.is_true(ok)
          assert.is_false(why)
        end)
        uring.sleep(0.002)
        assert.is_true(slept)
        assert.equal("deepest", c(30, bound))
        assert.equal(1, #uring.tasks())
      end)
    end
  end)

  it("that is uring.cancelled, although nobody has cancelled, is taken for "
    .. "that", function()
    helper.run(function()
      local function throw() error(uring.cancelled, 0) end
      local n = 0
      assert.same({ nil, "the scope was cancelled", E.ECANCELED },
        { uring.scope(function(scope)
          scope:spawn(function()
            local _ <close> = finally(function() n = n + 1 end)
            uring.sleep(60)
          end)
          uring.sleep(0)
          throw()
        end) })
      assert.equal(1, n)
      local task = uring.spawn(throw)
      assert.same({ nil, "the task was cancelled", E.ECANCELED },
        { task:join() })
      assert.equal("cancelled", task:status())
      for _, f in ipairs { uring.timeout, uring.shield } do
        local ok, err = pcall(f, 60, throw)
        assert.is_false(ok)
        assert.equal(uring.cancelled, err)
      end
      uring.sleep(0)  -- and is not cancelled itself
    end)
    assert.same({ nil, "the task was cancelled", E.ECANCELED },
      { uring.run(function() error(uring.cancelled, 0) end) })
  end)

  it("that is a string has its traceback and origin, once", function()
    local function thrower() error "boom" end
    completes(function()
      for _, depth in ipairs { 0, 1, 4 } do
        local function nest(n, scope)
          if n == 0 then
            scope:spawn(function() uring.sleep(0) thrower() end)
            forever()
          else uring.scope(function(s) nest(n - 1, s) end) end
        end
        local ok, err = pcall(uring.scope, function(s) nest(depth, s) end)
        assert.is_false(ok)
        assert.equal(1, count(err, "boom"))
        assert.equal(1, count(err, "stack traceback:"))
        assert.equal(1, count(err, "(a task spawned at spec/scope_spec.lua:"))
        assert.truthy(err:find("'thrower'", 1, true), err)
      end
      -- through scopes of several tasks
      local ok, err = pcall(uring.scope, function(a)
        a:spawn(function()
          uring.scope(function(b)
            b:spawn(function() uring.scope(function(c) c:spawn(thrower) end)
            end)
          end)
        end)
      end)
      assert.is_false(ok)
      assert.equal(1, count(err, "boom"))
      assert.equal(1, count(err, "stack traceback:"))
      assert.equal(1, count(err, "(a task spawned at"))
    end)
  end)

  it("of the body says where it was raised", function()
    local function thrower() error "boom" end
    local why = fails("boom", function()
      uring.scope(function() uring.sleep(0) thrower() end)
    end)
    assert.equal(1, count(why, "stack traceback:"))
    assert.truthy(why:find("'thrower'", 1, true), why)
  end)

  it("goes out of nested scopes as it is, if it is no string", function()
    for _, value in ipairs { 42, {}, print, 1.5, true } do
      local ok, err = pcall(uring.run, function()
        uring.scope(function(a)
          a:spawn(function()
            uring.scope(function(b) b:spawn(error, value) forever() end)
          end)
          forever()
        end)
      end)
      assert.is_false(ok)
      assert.equal(value, err)
      assert.equal(math.type(value), math.type(err))
    end
  end)

  it("that comes first wins, and failures() lists all", function()
    completes(function()
      local kept, first, second
      local ok, err = pcall(uring.scope, function(scope)
        kept = scope
        first = scope:spawn { name = "first", main = function()
          uring.sleep(0.001)
          error "one"
        end }
        second = scope:spawn(function()
          local _ <close> = finally(function() error({ "two" }) end)
          forever()
        end)
        scope:spawn(forever)
        local _ <close> = finally(function() error("three", 0) end)
        forever()
      end)
      assert.is_false(ok)
      assert.truthy(err:find "one")
      local list = kept:failures()
      assert.equal(3, #list)
      assert.truthy(list[1].error:find "scope_spec.lua:%d+: one$")
      assert.equal(first, list[1].task)
      assert.truthy(list[1].traceback:find "stack traceback")
      assert.truthy(list[1].spawned_at:find "^spec/scope_spec.lua:%d+$")
      local two, three
      for i = 2, 3 do
        if list[i].task == second then two = list[i] else three = list[i] end
      end
      assert.same({ "two" }, two.error)
      assert.equal("three", three.error)
      assert.equal(uring.current(), three.task)
    end)
  end)

  it("of the body alone is listed first where it was first", function()
    completes(function()
      local kept, task
      local ok = pcall(uring.scope, function(scope)
        kept = scope
        task = scope:spawn(function()
          local _ <close> = finally(function() error "late" end)
          forever()
        end)
        uring.sleep(0)
        error("body", 0)
      end)
      assert.is_false(ok)
      local list = kept:failures()
      assert.equal(2, #list)
      assert.equal("body", list[1].error)
      assert.equal(uring.current(), list[1].task)
      assert.equal(task, list[2].task)
    end)
  end)

  it("is a failure joined or not, and given to who joins", function()
    completes(function()
      local joined
      local ok, err = pcall(uring.scope, function(scope)
        local t = scope:spawn(function() error("boom", 0) end)
        -- (a shield, for the failure cancels who joins)
        joined = table.pack(uring.shield(5, t.join, t))
      end)
      assert.is_false(ok)
      assert.truthy(err:find "^boom")
      assert.same({ n = 2, nil, "boom" }, joined)
    end)
  end)

  it("after a cancel is raised all the same", function()
    completes(function()
      local ok, err = pcall(uring.scope, function(scope)
        scope:spawn(function()
          local _ <close> = finally(function() error("late", 0) end)
          forever()
        end)
        uring.sleep(0)
        scope:cancel()
      end)
      assert.is_false(ok)
      assert.truthy(err:find "^late")
    end)
  end)

  it("caught outside leaves all as it was", function()
    completes(function()
      local me = uring.current()
      for _ = 1, 100 do
        assert.is_false(pcall(uring.scope, function(scope)
          scope:spawn(forever)
          uring.timeout(60, uring.scope, function() error {} end)
        end))
      end
      assert.is_nil(me:reason())
      uring.sleep(0)
      assert.equal(1, #uring.tasks())
    end)
  end)
end)

describe("a daemon", function()
  it("does not keep its scope open", function()
    completes(function()
      local log = {}
      local daemon
      assert.equal("result", (uring.scope(function(scope)
        daemon = scope:daemon(function()
          local _ <close> = finally(function(_, e)
            uring.shield(1, uring.sleep, 0.001)
            log[#log + 1] = e == uring.cancelled
          end)
          forever()
        end)
        scope:spawn(function() uring.sleep(0.003) log[#log + 1] = "task" end)
        return "result"
      end)))
      assert.same({ "task", true }, log)
      assert.equal("cancelled", daemon:status())
      assert.is_nil(daemon:reason())
    end)
  end)

  it("fails its scope, and may end before", function()
    completes(function()
      assert.is_false(pcall(uring.scope, function(scope)
        scope:daemon(error, "boom")
        forever()
      end))
      uring.scope(function(scope)
        local t = scope:daemon(function() return 5 end)
        assert.same({ true, 5 }, { t:join() })
      end)
      local ok, err = pcall(uring.scope, function(scope)
        scope:daemon(function()
          local _ <close> = finally(function() error({}) end)
          forever()
        end)
        uring.sleep(0)
      end)
      assert.is_false(ok)
      assert.equal("table", type(err))
    end)
  end)

  it("is given by uring.daemon to the innermost scope, and to run", function()
    local ended = {}
    local function daemon(name)
      return function()
        local _ <close> = finally(function() ended[#ended + 1] = name end)
        forever()
      end
    end
    completes(function()
      uring.daemon(daemon "run")
      uring.scope(function()
        uring.daemon(daemon "scope")
        uring.sleep(0)
      end)
      assert.same({ "scope" }, ended)
      uring.sleep(0.001)
      assert.same({ "scope" }, ended)
    end)
    assert.same({ "scope", "run" }, ended)
  end)

  it("fails its scope in a __close, too, when that ends", function()
    helper.run(function()
      local log = {}
      local ok, err = pcall(uring.scope, function(scope)
        scope:daemon(function()
          local _ <close> = finally(function(_, e)
            log[#log + 1] = e == uring.cancelled
            error({ mine = true }, 0)
          end)
          uring.sleep(60)
        end)
        scope:daemon(function()
          local _ <close> = finally(function() log[#log + 1] = "other" end)
          uring.sleep(60)
        end)
        scope:spawn(uring.sleep, 0.001)
      end)
      assert.is_false(ok)
      assert.same({ mine = true }, err)
      assert.same({ true, "other" }, log)
    end)
  end)

  it("may spawn tasks in a __close, when its scope ends", function()
    helper.run(function()
      local log = {}
      assert.equal("result", uring.scope(function(scope)
        scope:daemon(function()
          local _ <close> = finally(function()
            uring.spawn(function()
              uring.sleep(0.001)
              log[#log + 1] = "spawned"
              scope:daemon(function()
                local _ <close> = finally(function()
                  log[#log + 1] = "daemon"
                end)
                uring.sleep(60)
              end)
              uring.sleep(0)
            end)
          end)
          uring.sleep(60)
        end)
        uring.sleep(0)
        return "result"
      end))
      assert.same({ "spawned", "daemon" }, log)
    end)
  end)

  it("may spawn tasks, which are waited for", function()
    local done, more
    completes(function()
      uring.scope(function(scope)
        scope:daemon(function()
          scope:spawn(function() uring.sleep(0.003) done = true end)
          local _ <close> = finally(function()
            -- when only daemons are left, a new one is cancelled too
            scope:daemon(function()
              local _ <close> = finally(function() more = true end)
              uring.sleep(0)
              uring.sleep(0)
              forever()
            end)
          end)
          forever()
        end)
        uring.sleep(0)
      end)
      assert.is_true(done)
    end)
    -- (it may have been cancelled before it began)
    assert.truthy(more or more == nil)
  end)
end)

describe("uring.run is a scope:", function()
  it("the first error of any task, and the others are cancelled", function()
    local value, log = {}, {}
    local ok, err = pcall(uring.run, function()
      uring.spawn(function()
        local _ <close> = finally(function(_, e) log[1] = e end)
        forever()
      end)
      uring.spawn(function() uring.sleep(0.001) error(value) end)
    end)
    assert.is_false(ok)
    assert.equal(value, err)
    assert.same({ uring.cancelled }, log)
  end)

  it("main that is cancelled gives nil, message, ECANCELED", function()
    local n = 0
    assert.same({ nil, "the task was cancelled", E.ECANCELED }, {
      uring.run(function()
        uring.spawn(function() uring.sleep(0.002) n = n + 1 end)
        uring.current():cancel()
        uring.sleep(0)
      end) })
    assert.equal(1, n)
  end)

  it("it can be run again after each of its ends", function()
    for _ = 1, 3 do
      fails("boom", function()
        uring.scope(function(s) s:spawn(error, "boom") forever() end)
      end)
      assert.equal(7, uring.run(function()
        uring.scope(function(s) s:spawn(uring.sleep, 0) end)
        return 7
      end))
    end
  end)
end)

describe("a deadlock with scopes", function()
  it("names the tasks, and what they wait for", function()
    local log = {}
    local why = fails("deadlock", function()
      uring.scope(function(scope)
        local channel = uring.channel()
        scope:spawn { name = "reader", main = function()
          local _ <close> = finally(function(_, e)
            log[#log + 1] = e == uring.cancelled
          end)
          channel:receive()
        end }
      end)
    end)
    assert.truthy(why:find(
      "task 1 waits for the 1 tasks of its scope to end at spec/scope_spec",
      1, true), why)
    assert.truthy(why:find("task 2.1 'reader' waits for", 1, true), why)
    assert.truthy(why:find("uring.Channel (0 of 0)", 1, true), why)
    assert.same({ true }, log)
  end)

  it("is none while a timeout or a shield may still end it", function()
    completes(function()
      assert.same({ nil, "timed out", E.ETIME }, {
        uring.timeout(0.005, uring.scope, function(scope)
          local channel = uring.channel()
          scope:spawn(channel.receive, channel)
          uring.shield(0.001, function() uring.sleep(0) end)
          channel:receive()
        end) })
    end)
  end)
end)

describe("scope:spawn", function()
  it("takes a table with a name, and the arguments behind it", function()
    completes(function()
      uring.scope(function(scope)
        local t = scope:spawn({ name = "adder", main = function(...)
          return select("#", ...), ...
        end }, 1, nil)
        assert.equal("adder", t.name)
        assert.same({ n = 4, true, 2, 1, nil }, table.pack(t:join()))
      end)
    end)
  end)
end)

describe("in a forked child", function()
  it("the scopes and tasks of its parent say whose they are", function()
    local words = "belongs to another process"
    completes(function()
      local channel = uring.channel()
      local task = uring.spawn(function() return channel:receive() end)
      local status
      uring.scope(function(scope)
        uring.timeout(60, function()
          uring.sleep(0)
          uring.sleep(0)
          local function look(own)
            if own then
              -- with a loop of its own here they are over
              helper.raises("has ended", scope.spawn, scope, print)
              helper.raises("has ended", scope.daemon, scope, print)
              assert(not scope:cancel() and not task:cancel())
              assert(task:status() == "cancelled")
            else
              for _, f in ipairs { "spawn", "daemon", "cancel" } do
                helper.raises(words, scope[f], scope, print)
              end
              helper.raises(words, task.cancel, task)
              helper.raises(words, task.joining, task)
              assert(task:status() == "waiting")
            end
            assert(task:reason() == nil)
            -- nobody of this process receives
            assert(channel:try_send(1) == nil)
            collectgarbage()
          end
          status = helper.child(function()
            look()
            assert(uring.current() == nil and #uring.tasks() == 0)
            completes(function()
              look(true)
              assert(#uring.tasks() == 1)
              uring.scope(function(own)
                own:spawn(uring.sleep, 0.001)
                look(true)
              end)
            end)
            look(true)
          end)
        end)
      end)
      assert.equal(0, status)
      assert(channel:send "x")
      assert.same({ true, "x" }, { task:join() })
    end)
  end)

  it("the end of a call that its parent began does no harm", function()
    completes(function()
      for _, own in ipairs { false, true } do
        local pid
        local function fork()
          pid = spec.fork()
          if pid == 0 and own then uring.run(function() uring.sleep(0) end) end
        end
        local ok, err = pcall(function()
          uring.timeout(60, fork)
          if pid ~= 0 then assert.equal(0, (spec.wait(pid))) end
          if pid == 0 then spec._exit(0) end
          uring.shield(60, fork)
          if pid ~= 0 then assert.equal(0, (spec.wait(pid))) end
          if pid == 0 then spec._exit(0) end
          uring.scope(fork)
        end)
        if pid == 0 then
          -- a scope cannot be waited for there
          spec._exit(not ok and tostring(err):find "another process"
            and 0 or 1)
        end
        assert.equal(0, (spec.wait(pid)))
        assert.is_true(ok)
      end
    end)
  end)
end)

describe("Ctrl-C with scopes open", function()
  it("cancels all of them, and they clean up", function()
    local status, out = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
      local function finally(what)
        return setmetatable({}, { __close = function(_, e)
          uring.shield(5, uring.sleep, 0.001)
          print(what, e == uring.cancelled)
        end })
      end
      spec.interrupt(0.05)
      uring.run(function()
        local _ <close> = finally "main"
        uring.scope(function(a)
          local _ <close> = finally "outer"
          a:spawn(function()
            uring.scope(function(b)
              b:spawn(function()
                local _ <close> = finally "inner"
                uring.sleep(60)
              end)
            end)
          end)
          uring.timeout(60, uring.sleep, 60)
        end)
      end)
    ]]
    assert.equal(1, status)
    assert.truthy(out:find("interrupted!", 1, true), out)
    for _, what in ipairs { "main", "outer", "inner" } do
      assert.truthy(out:find(what .. "\ttrue", 1, true), out)
    end
  end)

  it("twice closes all where they stand", function()
    local status, out = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
      spec.interrupt(0.05)
      local channel = uring.channel()
      local ok, why = pcall(uring.run, function()
        for i = 1, 20 do
          uring.spawn(function()
            uring.scope(function(scope)
              for j = 1, 3 do
                scope:spawn(function()
                  local _ <close> = setmetatable({}, { __close = function()
                    collectgarbage()
                    collectgarbage()
                  end })
                  pcall(uring.sleep, 60)
                  if i == 20 and j == 3 then spec.interrupt(0.02) end
                  uring.shield(60, channel.receive, channel)
                end)
              end
            end)
          end)
        end
      end)
      assert(not ok and tostring(why):find "interrupted!", why)
      assert(#uring.tasks() == 0)
      collectgarbage()
      collectgarbage()
      assert(uring.run(function()
        return uring.scope(function(s)
          s:spawn(uring.sleep, 0.001)
          return 7
        end)
      end) == 7)
      print "well"
    ]]
    assert.equal(0, status, out)
    assert.truthy(out:find "well", out)
  end)
end)

describe("a state that ends with scopes open", function()
  it("does so whatever finalizers ask of them", function()
    for _, asks in ipairs {
      "channel:close()", "assert(not channel:try_send(1))",
      "assert(task:cancel() == false)", "assert(task:reason() == nil)",
      "assert(scope:cancel() == false)",
      "assert(not pcall(scope.spawn, scope, print))",
      "assert(not pcall(task.join, task))", "semaphore:release()",
      "assert(#uring.tasks() == 0 and uring.tree() == '')",
      "assert(uring.current() == nil and tostring(task) and task.name == nil)",
    } do
      helper.script_ok(([[
        local uring = require "uring"
        local channel, semaphore = uring.channel(0), uring.semaphore(0)
        local task, scope
        local late = setmetatable({}, { __gc = function() %s end })
        uring.run(function()
          task = uring.spawn(function()
            uring.timeout(5, function()
              uring.select { channel:receiving(), semaphore:acquiring() }
            end)
          end)
          uring.scope(function(s)
            scope = s
            s:spawn(channel.receive, channel)
            uring.sleep(0)
            uring.sleep(0)
            os.exit(late and 0, true)
          end)
        end)
      ]]):format(asks))
    end
  end)
end)
