-- uring.daemon: tasks that their scope does not wait for.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local finally <const> = helper.finally
local completes <const> = helper.run
local forever = helper.forever

after_each(helper.no_tasks)

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

  it("fails its scope when its __close raises at the scope's end", function()
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

  it("may spawn tasks in a __close at the end of its scope", function()
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
