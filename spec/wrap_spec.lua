-- Coroutines of the user's own inside a task: uring.wrap; and waits where
-- others call: pcall, metamethods, iterators, C functions, hooks.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local mistake <const> = helper.mistake

local nop <const> = helper.nop
local turns <const> = helper.turns

-- A generator of 1 to n that waits before each.
local function counter(n)
  return uring.wrap(function()
    for i = 1, n do
      assert(uring.await(nop()) == 0)
      uring.sleep(0)
      coroutine.yield(i, -i)
    end
  end)
end

local function on_close(f)
  return setmetatable({}, { __close = function(_, err) f(err) end })
end

after_each(helper.idle_loop)

describe("uring.wrap", function()
  it("makes generators that wait inside", function()
    helper.run(function()
      local got = {}
      for i, j in counter(5) do
        got[#got + 1] = i
        assert.equal(-i, j)
        uring.sleep(0)
      end
      assert.same({ 1, 2, 3, 4, 5 }, got)
    end)
  end)

  it("passes values in and out, as coroutine.wrap does", function()
    helper.run(function()
      local f = uring.wrap(function(...)
        local a = table.pack(...)
        uring.sleep(0)
        local b = table.pack(coroutine.yield(a.n, nil))
        uring.sleep(0)
        local c = table.pack(coroutine.yield())
        return b.n, c.n, nil
      end)
      assert.same({ n = 2, 3, nil }, table.pack(f(nil, nil, nil)))
      assert.same({ n = 0 }, table.pack(f()))
      assert.same({ n = 3, 0, 2, nil }, table.pack(f(1, nil)))
      mistake("that has ended", f)
      mistake("function expected", uring.wrap, 5)
      mistake("function expected", uring.wrap)
    end)
  end)

  it("may be nested, and waited in at every depth", function()
    helper.run(function()
      local function tree(depth)
        if depth == 0 then
          uring.sleep(0)
          coroutine.yield(uring.await(nop()))
          return
        end
        for _ = 1, 2 do
          for v in uring.wrap(tree), depth - 1 do coroutine.yield(v) end
        end
      end
      local n = 0
      local function each(depth)
        local g = uring.wrap(tree)
        return function() return g(depth) end
      end
      for v in each(0) do
        n = n + 1
        assert.equal(0, v)
      end
      assert.equal(1, n)
      local function nested(depth)
        if depth == 0 then return uring.await(nop()) end
        local f = uring.wrap(nested)
        uring.sleep(0)
        local r = f(depth - 1)
        uring.sleep(0)
        return r + depth
      end
      assert.equal(5 * 6 / 2 + 4 * 0, nested(5))
      -- a plain coroutine in a wrapped one, which does not wait
      local f = uring.wrap(function()
        for v in coroutine.wrap(function()
          for i = 1, 3 do coroutine.yield(i) end
        end) do
          uring.sleep(0)
          coroutine.yield(v)
        end
      end)
      assert.same({ 1, 2, 3 }, { f(), f(), f() })
    end)
  end)

  it("may wait for everything that a task can wait for", function()
    helper.run(function()
      local channel, ring = uring.channel(), assert(uring.ring())
      local f = uring.wrap(function()
        local t = uring.spawn(function() uring.sleep(0.001) return "t" end)
        coroutine.yield(select(2, t:join()))
        uring.spawn(channel.send, channel, "c")
        coroutine.yield(channel:receive())
        uring.spawn(channel.send, channel, "s")
        coroutine.yield(select(2, uring.select { channel:receiving() }))
        coroutine.yield(uring.scope(function(scope)
          scope:spawn(uring.sleep, 0.001)
          return "scope"
        end))
        coroutine.yield((select(2, uring.timeout(0.001, uring.sleep, 60))))
        coroutine.yield((select(2, ring:receive(0.001))))
        return uring.shield(1, function() uring.sleep(0) return "shield" end)
      end)
      local got = {}
      for i = 1, 7 do got[i] = f() end
      assert.same({ "t", "c", "s", "scope", "timed out", "timed out",
        "shield" }, got)
      ring:close()
    end)
  end)

  it("passes errors on, with their tracebacks", function()
    local function culprit() error "in the generator" end
    local why = helper.raises("in the generator", uring.run, function()
      local f = uring.wrap(function()
        uring.sleep(0)
        coroutine.yield(1)
        uring.sleep(0)
        culprit()
      end)
      f()
      f()
    end)
    assert.truthy(why:find("upvalue 'culprit'", 1, true), why)
    helper.run(function()
      local value = {}
      for _, wait in ipairs { true, false } do
        local closed
        local f = uring.wrap(function()
          local _ <close> = on_close(function(err) closed = err end)
          if wait then uring.sleep(0) end
          error(value)
        end)
        local ok, err = pcall(f)
        assert.same({ false, true, true }, { ok, err == value,
          closed == value })
        mistake("that has ended", f)
      end
    end)
  end)

  it("is cancelled with the task that waits in it", function()
    helper.run(function()
      local log = {}
      local f
      local t = uring.spawn(function()
        f = uring.wrap(function()
          local _ <close> = on_close(function(err)
            log[#log + 1] = err == uring.cancelled
            uring.shield(1, uring.sleep, 0.001)
            uring.shield(1, uring.wrap(uring.sleep), 0.001)
            log[#log + 1] = "cleaned up"
          end)
          uring.sleep(60)
        end)
        f()
      end)
      turns()
      t:cancel()
      t:join()
      assert.same({ true, "cleaned up" }, log)
      assert.equal("cancelled", t:status())
      mistake("that has ended", f)
      -- caught inside, it goes on
      f = uring.wrap(function()
        local ok, err = pcall(uring.sleep, 60)
        coroutine.yield(ok, err == uring.cancelled)
      end)
      t = uring.spawn(function() return f() end)
      turns()
      t:cancel()
      assert.same({ true, false, true }, { t:join() })
      -- a timeout around it
      assert.same({ nil, "timed out", uring.errno.ETIME },
        { uring.timeout(0.001, uring.wrap(function() uring.sleep(60) end)) })
    end)
  end)

  it("is for one task at a time, and then for another", function()
    helper.run(function()
      local f = counter(4)
      local a = uring.spawn(function() return (f()) end)
      turns(1)
      mistake("running already", f)
      assert.same({ true, 1 }, { a:join() })
      local b = uring.spawn(function() return (f()) end)
      assert.same({ true, 2 }, { b:join() })
      assert.equal(3, (f()))
      -- from inside itself
      local g
      g = uring.wrap(function() return g() end)
      helper.raises("running already", g)
    end)
  end)

  it("may begin in one cancel scope and go on in another", function()
    helper.run(function()
      local f = counter(3)
      assert.equal(1, (uring.timeout(60, f)))
      assert.equal(2, (uring.scope(function() return (f()) end)))
      assert.equal(3, (f()))
      for _, f2 in ipairs {
        function() uring.timeout(60, coroutine.yield) end,
        function() uring.scope(coroutine.yield) end,
        function() uring.shield(60, coroutine.yield) end,
      } do
        local closed
        local g = uring.wrap(function()
          local _ <close> = on_close(function() closed = true end)
          f2()
        end)
        mistake("yields inside a uring.scope", g)
        assert.is_true(closed)
        mistake("that has ended", g)
      end
      uring.sleep(0)
    end)
  end)

  it("that is left in the middle is garbage", function()
    helper.run(function()
      local kept = setmetatable({}, { __mode = "k" })
      for _ = 1, 10 do
        local f = counter(10)
        f()
        kept[f] = true
      end
      helper.collect()
      assert.is_nil(next(kept))
    end)
  end)

  it("is closed with the coroutine of the task that waits in it", function()
    local channel, ring = uring.channel(), nil
    for name, wait in pairs {
      receive = function() channel:receive() end,
      choice = function()
        uring.select { channel:receiving(), uring.after(60) }
      end,
      scope = function()
        uring.scope(function(scope)
          scope:spawn(uring.sleep, 60)
          uring.sleep(60)
        end)
      end,
      timeout = function() uring.timeout(60, uring.sleep, 60) end,
      await = function() uring.await(uring.sqe():prep_timeout(60)) end,
      message = function() ring:receive() end,
    } do
      local closed
      local start = uring.now()
      local why = helper.raises("", uring.run, function()
        local co
        ring = uring.loop():ring()
        uring.spawn(function()
          co = coroutine.running()
          local f = uring.wrap(function()
            local g = uring.wrap(function()
              local _ <close> = on_close(function() closed = true end)
              wait()
            end)
            g()
          end)
          f()
        end)
        turns()
        assert.is_true(coroutine.close(co))
        assert.is_true(closed)
        -- no task is there to take it
        assert.is_nil((channel:try_send(1)))
      end)
      assert.truthy(why:find("ended from outside", 1, true), name .. why)
      assert.truthy(uring.now() - start < 30)
    end
    -- an error of what is closed inside is coroutine.close's
    helper.raises("ended from outside", uring.run, function()
      local co
      uring.spawn(function()
        co = coroutine.running()
        uring.wrap(function()
          local _ <close> = on_close(function() error("inside", 0) end)
          uring.sleep(60)
        end)()
      end)
      turns()
      assert.is_false((coroutine.close(co)))
    end)
  end)

  it("is a plain coroutine outside of a task", function()
    local f = uring.wrap(function(a)
      return coroutine.yield(a + 1) + 1
    end)
    assert.same({ 2, 6 }, { f(1), f(5) })
    mistake("that has ended", f)
    helper.raises("under uring.run", uring.wrap(function()
      uring.sleep(0)
    end))
    -- begun outside, it may wait inside
    local g = uring.wrap(function()
      coroutine.yield "out"
      uring.sleep(0)
      return "in"
    end)
    assert.equal("out", g())
    uring.run(function() assert.equal("in", g()) end)
  end)

  it("fails where the program has no loop yet", function()
    helper.apart(function()
      local wrap, sleep = require "uring".wrap, require "uring".sleep
      local ok, why = pcall(wrap(function() error "in here" end))
      assert(not ok and why:find "in here", why)
      ok, why = pcall(wrap(sleep), 0)
      assert(not ok and why:find "under uring.run", why)
    end)
  end)

  it("says that it cannot wait in a plain coroutine, or behind C",
    function()
      helper.run(function()
        local ok, why = pcall(coroutine.wrap(function()
          return uring.wrap(function() uring.sleep(0) end)()
        end))
        assert.is_false(ok)
        assert.truthy(why:find("not the task's own", 1, true), why)
        assert.truthy(why:find("spec/wrap_spec.lua:%d+: uring.sleep"))
        helper.raises("not the task's own", table.sort, { 1, 2, 3 },
          uring.wrap(function() uring.sleep(0) return false end))
        -- what does not wait works there
        local t = { 3, 1, 2 }
        table.sort(t, uring.wrap(function(a, b)
          while true do a, b = coroutine.yield(a < b) end
        end))
        assert.same({ 1, 2, 3 }, t)
        uring.sleep(0)
      end)
    end)

  it("runs with all garbage collected between any two lines", function()
    helper.each_step_gc(function()
      helper.run(function()
        local sum = 0
        for i in counter(3) do sum = sum + i end
        assert.equal(6, sum)
      end)
    end)
  end)
end)

describe("a wait inside", function()
  it("pcall, xpcall, metamethods, iterators and closes works",
    function()
      helper.run(function()
        local function f() return (uring.await(nop())) end
        assert.same({ true, 0 }, { pcall(f) })
        assert.same({ true, 0 }, { xpcall(f, debug.traceback) })
        assert.same({ true, true, 0 }, { pcall(pcall, f) })
        local ok, err = xpcall(function()
          uring.sleep(0)
          error "x"
        end, function(m) return m .. "!" end)
        assert.is_false(ok)
        assert.equal("x!", err:match "x!$")
        local t = setmetatable({}, {
          __index = f, __add = f, __eq = f, __lt = f, __concat = f,
          __len = f, __call = f, __newindex = function() f() end,
          __unm = f, __close = f,
        })
        assert.equal(0, t.x)
        assert.equal(0, t + 1)
        assert.equal(0, #t)
        assert.equal(0, t())
        assert.equal(0, t .. "x")
        assert.equal(0, -t)
        assert.is_true(t < {})
        assert.is_true(t == setmetatable({}, {}))
        t.y = 1
        do local _ <close> = t end
        local n = 0
        for v in function() if n < 3 then n = n + 1 return f() end end do
          assert.equal(0, v)
        end
        assert.equal(3, n)
      end)
    end)

  it("a call that cannot be suspended says so, and where", function()
    helper.run(function()
      local function f() uring.sleep(0) return "x" end
      package.preload.uring_wrap_spec = f
      for name, call in pairs {
        sort = function() table.sort({ 1, 2, 3 }, f) end,
        gsub = function() string.gsub("x", "x", f) end,
        require = function() require "uring_wrap_spec" end,
        load = function() assert(load(f)) end,
        tostring = function()
          tostring(setmetatable({}, { __tostring = f }))
        end,
      } do
        local why = helper.raises("cannot wait here", call)
        assert.truthy(why:find("spec/wrap_spec.lua:%d+: uring.sleep"),
          name .. ": " .. why)
      end
      package.preload.uring_wrap_spec = nil
      uring.sleep(0)
    end)
  end)

  it("a debug hook says that it cannot wait", function()
    helper.run(function()
      local why
      debug.sethook(function()
        debug.sethook()
        why = select(2, pcall(uring.sleep, 0))
      end, "l")
      local _ = 1
      assert.truthy(tostring(why):find("cannot wait here", 1, true), why)
      local n = 0
      debug.sethook(function() n = n + 1 end, "l")
      uring.await(nop())
      local f = counter(2)
      assert.equal(1, (f()))
      debug.sethook()
      assert.equal(2, (f()))
      assert.truthy(n > 0)
    end)
  end)

  it("a finalizer says that it cannot wait", function()
    helper.run(function()
      local why
      setmetatable({}, { __gc = function()
        why = select(2, pcall(uring.sleep, 0))
      end })
      helper.collect()
      assert.truthy(tostring(why):find("cannot wait here", 1, true), why)
    end)
  end)
end)
