-- uring.scope: tasks that end together, and where scopes themselves end: with
-- a run, a forked child, a state.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local fails <const> = helper.fails
local finally <const> = helper.finally
local completes <const> = helper.run
local forever = helper.forever

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

  it("is refused outside a task, and where a task cannot wait", function()
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

  it("may be in another, each with its own tasks", function()
    completes(function()
      local log = {}
      local function say(what, last)  -- when that is the last that was said
        return function()
          while log[#log] ~= last do uring.sleep(0.001) end
          log[#log + 1] = what
        end
      end
      uring.scope(function(outer)
        outer:spawn(say("outer", "inner ended"))
        uring.scope(function(inner)
          inner:spawn(say("inner"))
          inner:spawn(function()
            uring.scope(function(third)
              third:spawn(say("third", "inner"))
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

  it("that has ended takes no tasks", function()
    completes(function()
      local kept
      uring.scope(function(scope) kept = scope end)
      helper.raises("the scope has ended", kept.spawn, kept, print)
      helper.raises("the scope has ended", kept.daemon, kept, print)
      assert.is_false(kept:cancel())
      assert.same({}, kept:failures())
      assert.equal("uring.Scope (ended)", tostring(kept))
    end)
    helper.raises("in a task", uring.daemon, print)
    helper.raises("uring.Scope expected", function()
      completes(function()
        uring.scope(function(scope) scope.spawn({}, print) end)
      end)
    end)
  end)

  it("has a pcall that names its caller's line, called without a function",
    function()
      helper.mistake("bad argument #1 to 'pcall' (value expected)",
        uring.pcall)
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

  it("may be one of many hundreds, deep and wide", function()
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

describe("uring.run is a scope, and", function()
  it("raises the first error of any task, and cancels the others", function()
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

  it("gives nil, message, ECANCELED when main is cancelled", function()
    local n = 0
    assert.same({ nil, "the task was cancelled", E.ECANCELED }, {
      uring.run(function()
        uring.spawn(function() uring.sleep(0.002) n = n + 1 end)
        uring.current():cancel()
        uring.sleep(0)
      end) })
    assert.equal(1, n)
  end)

  it("can be run again after each of its ends", function()
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
      "task 1 waits for the 1 task of its scope to end at spec/scope_spec",
      1, true), why)
    assert.truthy(why:find("task 2.1 'reader' waits for", 1, true), why)
    assert.truthy(why:find("uring.Channel (0 of 0)", 1, true), why)
    assert.same({ true }, log)
  end)

  it("is not raised while a timeout or a shield may still end it", function()
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
  it("the scopes and tasks of its parent are refused", function()
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
            -- no task of this process receives
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

describe("a state that ends with scopes open", function()
  it("ends whatever finalizers call on them", function()
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
