-- What becomes of errors in a scope: of its tasks and of its body.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local fails <const> = helper.fails
local finally <const> = helper.finally
local completes <const> = helper.run
local forever = helper.forever

after_each(helper.no_tasks)

local function count(text, plain)
  local n, at = 0, 1
  while true do
    local first, last = text:find(plain, at, true)
    if not first then return n end
    n, at = n + 1, last + 1
  end
end

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

  it("of the body cancels its tasks, and is rethrown", function()
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

  it("may be a stack overflow, of Lua's or C's calls", function()
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

  it("that is uring.cancelled, although none was cancelled, is taken for "
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
        assert.equal(1, count(err,
          "(a task spawned at spec/scope_error_spec.lua:"))
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

  it("leaves nested scopes as it is, if it is no string", function()
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
      assert.truthy(list[1].error:find "scope_error_spec.lua:%d+: one$")
      assert.equal(first, list[1].task)
      assert.truthy(list[1].traceback:find "stack traceback")
      assert.truthy(list[1].spawned_at:find "^spec/scope_error_spec.lua:%d+$")
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

  it("is a failure, joined or not, and given to a join", function()
    completes(function()
      local joined
      local ok, err = pcall(uring.scope, function(scope)
        local t = scope:spawn(function() error("boom", 0) end)
        -- (a shield, for the failure cancels the task that joins)
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

  it("that is caught outside leaves everything as it was", function()
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
