-- scope:cancel, and Ctrl-C, which cancels all scopes.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local finally <const> = helper.finally
local completes <const> = helper.run
local forever = helper.forever

after_each(helper.no_tasks)

describe("scope:cancel", function()
  it("ends the body and the tasks: nil, message, ECANCELED", function()
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

  it("takes any value as its reason, which tasks get as it is", function()
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

  it("works from a task of the scope, from outside, and at its end", function()
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

  it("of an outer scope raises in the inner one", function()
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

  it("leaves tasks outside the scope alone", function()
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
      uring.run(function()
        local _ <close> = finally "main"
        uring.scope(function(a)
          local _ <close> = finally "outer"
          a:spawn(function()
            uring.scope(function(b)
              b:spawn(function()
                local _ <close> = finally "inner"
                spec.interrupt(0.001)
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

  it("twice closes all tasks where they stand", function()
    local status, out = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
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
                  local last = i == 20 and j == 3
                  if last then spec.interrupt(0.001) end
                  pcall(uring.sleep, 60)
                  if last then spec.interrupt(0.001) end
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
