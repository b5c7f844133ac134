-- Tasks: spawn, join, sleep, their turns, their errors.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local nop <const> = helper.nop

local fails <const> = helper.fails

after_each(helper.idle_loop)

describe("a task", function()
  it("is joined for its results", function()
    uring.run(function()
      local t = uring.spawn(function(a, b) uring.sleep(0) return b, nil, a,
        nil end, 1, 2)
      assert.same({ n = 5, true, 2, nil, 1, nil }, table.pack(t:join()))
      assert.same({ n = 5, true, 2, nil, 1, nil }, table.pack(t:join()))
      local u = uring.spawn { main = function() return 5 end, name = "five" }
      assert.equal("uring.Task ('five', new)", tostring(u))
      assert.same({ true, 5 }, { u:join() })
      assert.equal("uring.Task ('five', done)", tostring(u))
    end)
  end)

  it("is joined by many tasks, and no longer than their timeouts", function()
    uring.run(function()
      local gate = uring.channel()
      local t = uring.spawn(function() return (gate:receive()) end)
      assert.same({ n = 3, nil, "timed out", E.ETIME },
        table.pack(t:join(0.001)))
      assert.same({ n = 3, nil, "timed out", E.ETIME }, table.pack(t:join(0)))
      local others = {}
      for i = 1, 10 do
        others[i] = uring.spawn(function() return t:join(5) end)
      end
      uring.sleep(0)
      gate:send "x"
      for i = 1, 10 do
        assert.same({ true, true, "x" }, { others[i]:join() })
      end
    end)
  end)

  it("that sleeps for 0 seconds lets all others run once", function()
    local log = {}
    uring.run(function()
      for i = 1, 3 do
        uring.spawn(function()
          for _ = 1, 2 do
            log[#log + 1] = i
            uring.sleep(0)
          end
        end)
      end
    end)
    assert.same({ 1, 2, 3, 1, 2, 3 }, log)
  end)

  it("sleeps for as long as it says", function()
    uring.run(function()
      local order = {}
      local tasks = {}
      for i, s in ipairs { 0.03, 0.01, 0.02 } do
        tasks[i] = uring.spawn(function()
          uring.sleep(s)
          order[#order + 1] = i
        end)
      end
      for _, t in ipairs(tasks) do t:join() end
      assert.same({ 2, 3, 1 }, order)
    end)
    helper.raises("0 or more", uring.sleep, -1)
    helper.raises("0 or more", uring.sleep, 0 / 0)
    helper.raises("seconds expected", uring.sleep)
    helper.raises("seconds expected", uring.sleep, "1")
  end)

  it("has a bounded turn where its waits complete at once", function()
    local ring <close> = assert(uring.ring())
    for i = 1, 1000 do
      ring:queue(uring.sqe():prep_msg_ring(ring, 1, i)
        :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
    end
    ring:submit()
    uring.run(function()
      local turns, taken = 0, 0
      local t = uring.spawn(function()
        for _ = 1, 1000 do
          ring:receive()
          taken = taken + 1
        end
      end)
      while taken < 1000 do
        uring.sleep(0)
        turns = turns + 1
      end
      t:join()
      assert.truthy(turns >= 10, "only " .. turns .. " turns")
    end)
  end)

  it("may wait in pcall, metamethods and iterators", function()
    uring.run(function()
      assert.same({ true, 0, 0 }, { pcall(uring.await, nop()) })
      local t = setmetatable({}, {
        __index = function(_, k) uring.sleep(0.001) return k end,
        __add = function() uring.sleep(0.001) return "sum" end,
      })
      assert.equal("key", t.key)
      assert.equal("sum", t + 1)
      local n = 0
      for i in function(_, i)
        uring.sleep(0)
        return i < 3 and i + 1 or nil
      end, nil, 0 do
        n = n + i
      end
      assert.equal(6, n)
      local closed
      do
        local _ <close> = setmetatable({}, { __close = function()
          uring.sleep(0.001)
          closed = true
        end })
      end
      assert.is_true(closed)
    end)
  end)

  it("may wait in metamethods that C and the instructions call", function()
    uring.run(function()
      local function slow(value)
        return function()
          uring.sleep(0)
          return value
        end
      end
      local t = setmetatable({}, {
        __le = slow(true), __idiv = slow "idiv", __mod = slow "mod",
        __band = slow "band", __shl = slow "shl",
        __pairs = function(t)
          uring.sleep(0)
          return function(_, k)
            uring.sleep(0)
            return not k and "only" or nil
          end, t
        end,
      })
      assert.is_true(t <= {})
      assert.is_true(1 <= t)
      assert.same({ "idiv", "mod", "band", "shl" },
        { t // 1, 2 % t, t & 1, 1 << t })
      local keys = {}
      for k in pairs(t) do keys[#keys + 1] = k end
      assert.same({ "only" }, keys)
    end)
  end)

  it("may wait in the main chunk of a file", function()
    local file = helper.file [[
      local uring = require "uring"
      uring.sleep(0.001)
      return uring.await(uring.sqe():prep_nop()), "file"]]
    uring.run(function()
      assert.same({ 0, "file" }, { dofile(file) })
    end)
    os.remove(file)
  end)

  it("cannot wait in a message handler", function()
    uring.run(function()
      local why
      local ok, err = xpcall(error, function(e)
        why = select(2, pcall(uring.sleep, 0))
        return e .. "!"
      end, "mine")
      assert.is_false(ok)
      assert.equal("mine!", err)
      assert.truthy(why:find("uring.sleep cannot wait here", 1, true), why)
      -- if that fails, it is an error in an error, and Lua's to tell
      ok = xpcall(error, function() uring.sleep(0) end, "mine")
      assert.is_false(ok)
      assert.same({ 0, 0 }, { uring.await(nop()) })
    end)
  end)

  it("gets an error where it cannot wait", function()
    uring.run(function()
      helper.raises("cannot wait here", table.sort, { 1, 2, 3 },
        function(a, b) uring.sleep(0) return a < b end)
      helper.raises("cannot wait here", string.gsub, "x", "x",
        function() uring.await(nop()) end)
      helper.raises("not the task's own", coroutine.wrap(function()
        uring.sleep(0)
      end))
      helper.raises("not the task's own", coroutine.wrap(function()
        uring.await(nop())
      end))
      -- and nothing was queued
      assert.same({ 0, 0 }, { uring.await(nop()) })
    end)
    fails("coroutine.yield", function() coroutine.yield() end)
  end)

  it("may use coroutines that do not wait", function()
    uring.run(function()
      local f = coroutine.wrap(function()
        for i = 1, 3 do coroutine.yield(i) end
      end)
      local sum = 0
      for i in f do
        sum = sum + i
        uring.sleep(0)
      end
      assert.equal(6, sum)
    end)
  end)

  it("allocates nothing by waiting", function()
    uring.run(function()
      local sqe = nop()
      collectgarbage()
      collectgarbage "stop"
      for _ = 1, 100 do uring.await(sqe) end  -- (stacks were made smaller)
      local before = collectgarbage "count"
      for _ = 1, 1000 do
        uring.await(sqe)
        uring.await(sqe, 10)
        uring.sleep(0)
      end
      local after = collectgarbage "count"
      collectgarbage "restart"
      assert.equal(before, after)
    end)
  end)

  it("runs with all garbage collected between any two lines", function()
    helper.each_step_gc(function()
      uring.run(function()
        local ring <close> = assert(uring.ring())
        local t = uring.spawn(function()
          local sum = 0
          for i = 1, 3 do sum = sum + select(2, ring:receive(5)) + i end
          return sum
        end)
        for i = 1, 3 do
          assert(uring.await(uring.sqe():prep_msg_ring(ring, 1, i), 5))
        end
        assert.same({ true, 12 }, { t:join(5) })
      end)
    end)
  end)
end)

describe("an error", function()
  it("comes out of run with its traceback, once", function()
    local why = fails("boom", function()
      uring.spawn(function()
        uring.sleep(0.001)
        error "boom"
      end)
      uring.sleep(60)
    end)
    local _, n = why:gsub("stack traceback", "")
    assert.equal(1, n)
    assert.truthy(why:find("a task spawned at spec/task_spec.lua:", 1, true))
  end)

  it("that is no string is passed on as it is", function()
    local value = {}
    local ok, err = pcall(uring.run, function() error(value) end)
    assert.is_false(ok)
    assert.equal(value, err)
    ok, err = pcall(uring.run, function() error(nil) end)
    assert.is_false(ok)
    -- (Lua 5.5 makes a string of it)
    assert.truthy(err == nil or err:find("no error object", 1, true))
  end)

  it("is given to a task that joins, and fails the run as well", function()
    local joined
    fails("boom", function()
      local t = uring.spawn(function() error("boom", 0) end)
      local ok, err = pcall(function() joined = { t:join() } end)
      assert.is_false(ok)
      assert.equal(uring.cancelled, err)
      error(err)
    end)
    assert.is_nil(joined)
  end)

  it("cancels all others at their waits, which may clean up", function()
    local r, w = spec.pipe()
    local log = {}
    fails("boom", function()
      local ring <close> = assert(uring.ring())
      local buffer = uring.buffer(10)
      local waits = {
        sleep = function() uring.sleep(60) end,
        await = function() uring.await(uring.sqe():prep_read(r, buffer)) end,
        other = function() ring:await(uring.sqe():prep_read(r, buffer)) end,
        receive = function() ring:receive() end,
        chain = function()
          ring:await_chain { uring.sqe():prep_timeout(60), nop() }
        end,
        operation = function()
          local op = ring:queue(uring.sqe():prep_timeout(60))
          op:await()
        end,
      }
      for name, f in pairs(waits) do
        uring.spawn(function()
          local _ <close> = setmetatable({}, { __close = function(_, err)
            log[name] = err == uring.cancelled
          end })
          f()
        end)
      end
      uring.spawn(function() uring.sleep(0.01) error "boom" end)
      uring.sleep(60)
    end)
    assert.same({ sleep = true, await = true, other = true, receive = true,
      chain = true, operation = true }, log)
    assert.equal("uring.cancelled", tostring(uring.cancelled))
    spec.close(r)
    spec.close(w)
  end)

  it("about arguments leaves the loop whole", function()
    uring.run(function()
      helper.raises("uring.Sqe expected", uring.await)
      helper.raises("uring.Sqe expected", uring.await, 5)
      helper.raises("0 or more", uring.await, nop(), -1)
      helper.raises("seconds expected", uring.await, nop(), "1")
      assert.same({ 0, 0 }, { uring.await(nop()) })
    end)
  end)
end)
