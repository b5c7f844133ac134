-- A task that calls coroutine.yield, or whose coroutine dies of an error that
-- no protected call of its own could catch, failed with a fixed text: nothing
-- said where.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

local finally <const> = helper.finally

-- The first failure of a scope with this body.
local function failure(body)
  local first
  uring.run(function()
    pcall(uring.scope, function(scope)
      local _ <close> = finally(function() first = scope:failures()[1] end)
      body(scope)
    end)
  end)
  return first
end

local function place(f)
  local info = debug.getinfo(f, "S")
  return ("%s:%d"):format(info.short_src, info.linedefined)
end

after_each(helper.idle_loop)

describe("a broken task", function()
  it("that has yielded says where, and where it was spawned", function()
    local function culprit() coroutine.yield() end
    local why = failure(function(scope)
      scope:spawn { name = "x", main = culprit }
      uring.sleep(1)
    end)
    assert.truthy(why.error:find("called coroutine.yield", 1, true))
    assert.truthy(why.traceback:find "in %a+ '[%a.]*yield'")
    assert.truthy(why.traceback:find(place(culprit), 1, true), why.traceback)
    assert.truthy(why.spawned_at:find "^spec/.*broken_task_spec.lua:%d+$")
    local text = helper.raises("called coroutine.yield", uring.run, culprit)
    assert.truthy(text:find(place(culprit), 1, true), text)
    assert.truthy(text:find("(a task spawned at ", 1, true), text)
  end)

  it("has its variables closed after the error", function()
    local log = {}
    local why = failure(function(scope)
      scope:spawn(function()
        local _ <close> = finally(function()
          log[#log + 1] = coroutine.isyieldable()
        end)
        coroutine.yield()
      end)
      uring.sleep(1)
    end)
    assert.same({ false }, log)
    assert.truthy(why.traceback)
  end)

  it("whose coroutine was closed has no traceback", function()
    local why = failure(function(scope)
      local co
      scope:spawn(function()
        co = coroutine.running()
        uring.sleep(1)
      end)
      uring.sleep(0)
      coroutine.close(co)
      uring.sleep(1)
    end)
    assert.truthy(why.error:find("ended from outside", 1, true))
    assert.is_nil(why.traceback)
    assert.equal("?", why.spawned_at)
  end)

  it("passes its error on", function()
    -- Where run itself is deep inside of C calls its tasks cannot be resumed.
    local function deep(n, f)
      if n == 0 then return f() end
      return select(2, pcall(deep, n - 1, f))
    end
    local found
    for n = 150, 199 do
      local why = deep(n, function()
        return tostring(select(2, pcall(uring.run, function() end)))
      end)
      found = found or why:find("^[^\n]*C stack overflow\nstack traceback:\n"
        .. "\t%[C%]: in %?\n\t%(a task spawned at [^\n]+%)$")
    end
    assert.truthy(found)
    assert.equal(1, uring.run(function() return 1 end))
  end)
end)
