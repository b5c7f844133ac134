-- coroutine.close of a task's coroutine: what it ends, and what it tells.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local fails <const> = helper.fails
local finally <const> = helper.finally
local completes <const> = helper.run
local forever, started = helper.forever, helper.started

after_each(helper.no_tasks)
after_each(helper.clean)

local nop <const> = helper.nop

local function outside(why)
  return why:find("ended from outside", 1, true)
end

describe("coroutine.close of a task's coroutine", function()
  it("runs its to-be-closed variables at once; it cannot wait", function()
    local log = {}
    local why = fails("ended from outside", function()
      local task, co = started(function()
        local _ <close> = finally(function(_, e)
          log[#log + 1] = e == nil
          log[#log + 1] = helper.raises("being closed nothing can wait",
            uring.sleep, 0) and "told"
          helper.raises("being closed nothing can wait", uring.shield, 1,
            uring.sleep, 0)
          helper.raises("being closed nothing can wait", uring.scope, print)
        end)
        forever()
      end)
      assert.is_true(coroutine.close(co))
      assert.same({ true, "told" }, log)
      assert.equal("ready", task:status())
      local _ <close> = finally(function()
        assert.same({ nil, "a task was ended from outside: its coroutine "
          .. "was closed" },
          { uring.shield(1, task.join, task) })
        log[3] = task:status()
      end)
      forever()
    end)
    assert.truthy(outside(why))
    assert.equal("failed", log[3])
  end)

  it("makes the scope around it wait for tasks of open scopes", function()
    for _, waits in ipairs { "body", "tasks", "timeout", "cancelled" } do
      local n, after = 0, nil
      local kept
      fails("ended from outside", function()
        local ok, err = pcall(uring.scope, function(outer)
          local co
          outer:spawn(function()
            co = coroutine.running()
            -- (what lies between two scopes is no more when the inner goes on)
            uring.timeout(60, uring.scope, function(scope)
              kept = scope
              scope:daemon(forever)
              scope:spawn(function()
                local _ <close> = finally(function()
                  uring.shield(1, uring.sleep, 0.003)
                  n = n + 1
                end)
                uring.scope(function(s)
                  s:spawn(function()
                    local _ <close> = finally(function() n = n + 1 end)
                    forever()
                  end)
                end)
              end)
              if waits == "body" then forever() end
              if waits == "timeout" then uring.timeout(60, forever) end
              if waits == "cancelled" then
                uring.sleep(0)
                uring.sleep(0)
                scope:cancel()
              end
            end)
          end)
          for _ = 1, 5 do uring.sleep(0) end
          assert(coroutine.close(co))
          helper.raises("own task was closed", kept.spawn, kept, print)
          helper.collect()
          forever()
        end)
        after = n
        assert(not ok)
        error(err, 0)
      end)
      assert.equal(2, after)
      assert.equal("uring.Scope (ended)", tostring(kept))
    end
  end)

  it("closes the wrapped coroutine it waits in, and all inside", function()
    local log = {}
    fails("ended from outside", function()
      local ring <close> = assert(uring.ring())
      local gen
      local _, co = started(function()
        local _ <close> = finally(function() log[#log + 1] = "outer" end)
        gen = uring.wrap(function()
          local _ <close> = finally(function() log[#log + 1] = "wrapped" end)
          uring.wrap(function()
            uring.timeout(0.005, uring.scope, function(scope)
              local _ <close> = finally(function()
                log[#log + 1] = "scope"
              end)
              scope:spawn(function()
                local _ <close> = finally(function()
                  log[#log + 1] = "child"
                end)
                forever()
              end)
              uring.sleep(0)
              uring.select { ring:receiving() }
            end)
          end)()
        end)
        gen()
      end)
      assert(coroutine.close(co))
      assert.same({ "scope", "wrapped", "outer" }, log)
      helper.raises("has ended", gen)
      helper.collect()
      -- nothing is in the ring's wait queue any more
      uring.shield(1, function()
        local t = uring.spawn(ring.receive, ring, 5)
        t:cancel()  -- (its scope is cancelled by now, or is soon)
        uring.sleep(0.01)
      end)
      helper.collect()
      forever()
    end)
    assert.same({ "scope", "wrapped", "outer", "child" }, log)
  end)

  it("that is a wrapped function's names the caller", function()
    local r, w = spec.pipe()
    completes(function()
      for _, wait in ipairs {
        forever,
        function() uring.scope(function(s) s:spawn(forever) end) end,
        function() uring.channel():receive() end,
        function() uring.await(uring.sqe():prep_poll_add(r, uring.POLLIN))
        end,
        function() uring.timeout(60, uring.select, {}) end,
      } do
        local inner, why
        local task = started(function()
          local f = uring.wrap(function()
            inner = coroutine.running()
            wait()
          end)
          why = helper.raises("was closed while it waited", f)
          helper.raises("has ended", f)
          uring.sleep(0)
          return "goes on"
        end)
        assert(coroutine.close(inner))
        assert.same({ true, "goes on" }, { task:join(5) })
        assert.truthy(why)
      end
    end)
    spec.close(r)
    spec.close(w)
  end)

  it("loses no result that completed meanwhile", function()
    local name = helper.file "content"
    local function open()
      return uring.sqe():prep_openat(uring.AT_FDCWD, name, uring.O_RDONLY)
    end
    uring.run(function() end)
    helper.keeps_fds(function()
      for _, how in ipairs { "task", "wrapped" } do
        for _, wait in ipairs {
          function() spec.close((uring.await(open()))) end,
          function()
            local out = uring.loop():ring():await_chain { open(), nop() }
            spec.close(out[1][1])
          end,
          function()
            uring.loop():ring():await_chain { open(),
              uring.sqe():prep_timeout(20) }
          end,
        } do
          pcall(uring.run, function()
            local co
            uring.spawn(function()
              if how == "task" then
                co = coroutine.running()
                wait()
              else
                pcall(uring.wrap(function()
                  co = coroutine.running()
                  wait()
                end))
              end
            end)
            uring.sleep(0)
            -- until it has come; the task has not run since
            local ring = uring.loop():ring()
            local before = ring:stats().completed
            helper.eventually(function()
              uring.sleep(0)
              return ring:stats().completed > before
            end)
            assert(coroutine.status(co) == "suspended")
            coroutine.close(co)
          end)
        end
      end
    end)
  end)
end)
