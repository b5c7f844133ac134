-- uring.event: events that are tasks, and events of other libraries.

local choice = require "choice"
local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local mistake <const> = helper.mistake
local signal, message, turns, timed_out =
  choice.signal, choice.message, choice.turns, choice.timed_out

after_each(helper.idle_loop)

local nop <const> = helper.nop

describe("uring.event(f)", function()
  it("is a task whose results are the values", function()
    helper.run(function()
      local e = uring.event(function(...) uring.sleep(0.001) return ... end,
        1, nil, nil)
      for _ = 1, 2 do
        assert.same({ n = 4, "e", 1, nil, nil }, table.pack(uring.select {
          e = e, f = uring.after(60) }))
      end
      local name
      uring.select { uring.event { name = "worker", main = function()
        name = uring.current().name
      end } }
      assert.equal("worker", name)
      assert.truthy(tostring(uring.event { name = "worker", main = print })
        :find "worker")
    end)
  end)

  it("is cancelled if it loses", function()
    helper.run(function()
      local log = {}
      local function f(name)
        local _ <close> = setmetatable({}, { __close = function(_, err)
          log[name] = err == uring.cancelled and uring.current():reason()
        end })
        uring.sleep(60)
      end
      uring.scope(function()
        local s = signal()
        uring.spawn(function() turns() s.raise() end)
        assert.equal("c", (uring.select { a = uring.event(f, "a"),
          b = uring.event(f, "b"), c = s.event }))
      end)
      assert.same({ a = "another event was chosen",
        b = "another event was chosen" }, log)
      -- the choice itself cancelled, or timed out
      local t = uring.spawn(function()
        uring.select { uring.event(f, "c") }
      end)
      turns(2)
      t:cancel()
      repeat  -- (its time may be over before it has begun the event)
        uring.select({ uring.event(f, "d") }, 0.001)
        turns()
      until log.d
      assert.truthy(log.c)
    end)
  end)

  it("that fails is an error of the choice, with its traceback",
    function()
      local function culprit() error "culprit's error" end
      local why = helper.raises("culprit's error", uring.run, function()
        uring.select { uring.event(function()
          uring.sleep(0.001)
          culprit()
        end), uring.after(60) }
      end)
      assert.truthy(why:find("'culprit'", 1, true), why)
      local _, n = why:gsub("stack traceback", "")
      assert.equal(1, n)
      helper.run(function()
        local value = {}
        local ok, err = pcall(uring.select, { uring.event(error, value) })
        assert.is_false(ok)
        assert.equal(value, err)
      end)
    end)

  it("that is cancelled by others is a failure", function()
    helper.run(function()
      local task
      local e = uring.event(function()
        task = uring.current()
        uring.sleep(60)
      end)
      uring.spawn(function() turns() task:cancel() end)
      assert.same({ n = 4, "e", nil, "the task was cancelled", E.ECANCELED },
        table.pack(uring.select { e = e }))
      assert.equal("running", uring.current():status())
      uring.sleep(0)
    end)
  end)

  it("fails its scope if it fails when it has lost", function()
    local why = helper.raises("while it cleans up", uring.run, function()
      uring.select { uring.after(0.001), uring.event(function()
        local _ <close> = setmetatable({}, { __close = function()
          error "while it cleans up"
        end })
        uring.sleep(60)
      end) }
    end)
    assert.truthy(why:find("spawned at spec/event_spec.lua:", 1, true), why)
  end)

  it("refuses wrong arguments, and says where", function()
    mistake("function or table expected", uring.event)
    mistake("unknown option 'trie'", uring.event, { trie = print })
    mistake("try, block and cancel", uring.event, { try = print })
    mistake("try, block and cancel", uring.event, {})
    mistake("'try' must be a function", uring.event, { try = 5 })
    mistake("'main' must be a function", uring.event, { main = 5 })
    mistake("'name' must be a string",
      uring.event, { main = print, name = {} })
    mistake("unknown option 'nmae'", uring.event, { main = print, nmae = "x" })
  end)
end)

describe("an event of a ring", function()
  it("cannot be of one that is driven by hand only", function()
    local ring <close> = uring.ring { flags = uring.IORING_SETUP_IOPOLL }
    mistake("an IOPOLL ring is driven by hand", ring.receiving, ring)
    mistake("an IOPOLL ring is driven by hand", ring.awaiting, ring, nop())
  end)
end)

describe("an event of another library", function()
  it("is cancelled once for each block, whether it wins or loses", function()
    helper.run(function()
      local s = signal()
      local function balanced(n)
        assert.same({ n, n }, { s.blocks, s.cancels })
        assert.is_nil(next(s.waiters))
      end
      s.raise()
      assert.same({ "s", "raised" }, { uring.select { s = s.event } })
      balanced(0)
      uring.spawn(function() turns() s.raise() end)
      assert.same({ "s", "raised" }, { uring.select { s = s.event } })
      balanced(1)
      assert.equal("t", (uring.select { t = uring.after(0.001),
        s = s.event }))
      balanced(2)
      assert.is_nil((uring.select({ s.event }, 0)))
      assert.is_nil((uring.select({ s.event }, 0.001)))
      balanced(4)
      -- two wait, one signal: the other goes on waiting
      local n = 0
      for _ = 1, 2 do
        uring.spawn(function()
          uring.select { s.event:wrap(function() n = n + 1 end) }
        end)
      end
      turns(2)
      s.raise()
      turns()
      assert.equal(1, n)
      s.raise()
      turns()
      balanced(6)
      assert.equal(2, n)
    end)
  end)

  it("is cancelled once when its task ends in any other way", function()
    local s = signal()
    helper.run(function()
      local t = uring.spawn(function() uring.select { s.event } end)
      turns(2)
      t:cancel()
      t:join()
      assert.same({ 1, 1 }, { s.blocks, s.cancels })
      timed_out(uring.timeout(0.001, uring.select, { s.event }))
      assert.same({ 2, 2 }, { s.blocks, s.cancels })
      -- an error in try: at once, and when it was woken
      s.broken = true
      helper.raises("is broken", uring.select, { s.event })
      assert.same({ 2, 2 }, { s.blocks, s.cancels })
      s.broken = false
      uring.spawn(function() turns() s.broken = true s.raise() end)
      helper.raises("is broken", uring.select, { s.event, signal().event })
      assert.same({ 3, 3 }, { s.blocks, s.cancels })
      s.broken, s.raised = false, false
    end)
    -- its coroutine closed
    helper.raises("ended from outside", uring.run, function()
      local co
      uring.spawn(function()
        co = coroutine.running()
        uring.select { s.event, uring.after(60) }
      end)
      turns(2)
      assert.equal(4, s.blocks)
      assert.is_true(coroutine.close(co))
      assert.equal(4, s.cancels)
    end)
    assert.same({ 4, 4 }, { s.blocks, s.cancels })
    -- an error in block: those before it
    helper.run(function()
      local function broken()
        return uring.event { try = function() end, cancel = function()
          error "never blocked" end, block = function()
          error "block is broken" end }
      end
      for _ = 1, 10 do
        helper.raises("block is broken", uring.select, { s.event, broken() })
      end
      assert.equal(s.blocks, s.cancels)
      -- an error in cancel: the others all the same
      local t = signal()
      local e = uring.event { try = function() end, block = function() end,
        cancel = function() error "cancel is broken" end }
      for i = 1, 10 do  -- (in any order)
        helper.raises("cancel is broken", uring.select,
          { s.event, e, t.event, uring.after(1e-9) })
        assert.same({ i, i }, { t.blocks, t.cancels })
        assert.equal(s.blocks, s.cancels)
      end
    end)
    assert.is_nil(next(s.waiters))
  end)

  it("may wake a task that has just tried it", function()
    helper.run(function()
      for _ = 1, 20 do
        local s, blocked = signal(), false
        local e = uring.event {
          try = function() if blocked then s.raise() end end,
          block = function() blocked = true end,
          cancel = function() end,
        }
        assert.equal("s", (uring.select({ e = e, s = s.event }, 60)))
      end
    end)
  end)

  it("in a poll does not hide another that has completed", function()
    helper.run(function()
      local s, channel = signal(), uring.channel()
      local got
      uring.spawn(function()
        for waiter in pairs(s.waiters) do waiter:wake() end
        uring.sleep(0)
        got = channel:try_receive()
        s.raised = true
      end)
      assert.same({ "c", true }, { uring.select({ s = s.event,
        c = channel:sending "x" }, 0) })
      assert.equal("x", got)
    end)
  end)

  it("may name a time to be tried again at", function()
    helper.run(function()
      local tries, start = 0, uring.now()
      local function sometime(seconds, ready_then)
        return uring.event {
          try = function()
            tries = tries + 1
            if ready_then and uring.now() >= start + seconds then
              return true
            end
          end,
          block = function() return start + seconds end,
          cancel = function() end,
        }
      end
      assert.equal("late", (uring.select { never = sometime(0.005),
        past = sometime(0), late = sometime(0.03, true) }))
      -- (the clock has not been polled meanwhile)
      assert.truthy(tries < 30, tries .. " tries")
    end)
  end)

  it("may be any object with the methods", function()
    local Gate = {}
    Gate.__index = Gate
    function Gate:try() if self.open then return true, self end end
    function Gate:block(w) self.waiter = w end
    function Gate:cancel() self.waiter = nil end
    helper.run(function()
      local gate = setmetatable({}, Gate)
      uring.spawn(function()
        turns()
        gate.open = true
        gate.waiter:wake()
      end)
      assert.same({ "g", gate }, { uring.select { g = gate } })
      assert.is_nil(gate.waiter)
    end)
  end)

  it("may give another event a waiter of its own, whatever is in that",
    function()
      helper.run(function()
        local ready = uring.channel(1)
        for _, n in ipairs { 2^31 - 1, math.maxinteger, math.mininteger,
            -1, "n", {} } do
          local inner, own = ready:receiving(), { n = n }
          assert.is_nil((inner:block(own)))
          ready:send(n)
          assert.same({ true, n }, { inner:try(own) })
          inner:cancel(own)
        end
      end)
    end)

  it("cannot pass the record of one wait off as another's", function()
    helper.run(function()
      local one, two = uring.channel(1), uring.channel(1)
      local a, b, own = one:receiving(), two:receiving(), { n = 0 }
      a:block(own)
      local forged = { [b] = own[a] }
      local function send(channel)
        uring.spawn(channel.send, channel, "x")
        uring.sleep(0)
      end
      send(one)  -- (it is for the event, which leaves the queue)
      assert.is_nil((one:try_receive()))
      assert.is_nil((b:try(forged)))
      send(two)
      assert.equal(1, #two)
      two, b, forged = nil, nil, nil  -- luacheck: ignore
      helper.collect()
      a:cancel(own)
    end)
  end)

  it("may cancel an event that it has not blocked on", function()
    helper.run(function()
      for _, inner in ipairs { uring.event(uring.sleep, 0.01),
        uring.after(0.01), uring.channel():receiving() } do
        local outer = uring.event {
          try = function() end,
          block = function() end,
          cancel = function(_, w) return inner:cancel(w) end,
        }
        assert.equal("tick", (uring.select { outer,
          tick = uring.after(0.001) }))
      end
    end)
  end)

  it("may use a call that is also in the choice, which is made once",
    function()
      helper.run(function()
        local calls, open = 0, 0
        local inner = uring.event(function()
          calls, open = calls + 1, open + 1
          pcall(uring.sleep, 60)
          open = open - 1
        end)
        local outer = uring.event {
          try = function(_, w) return inner:try(w) end,
          block = function(_, w) return inner:block(w) end,
          cancel = function(_, w) return inner:cancel(w) end,
        }
        for i = 1, 10 do  -- (in any order)
          local ready = uring.channel(1)
          uring.daemon(function()
            while calls < i do uring.sleep(0) end
            ready:send(true)
          end)
          assert.equal("ready", (uring.select { outer, inner,
            ready = ready:receiving() }))
          uring.sleep(0)
          uring.sleep(0)
          assert.equal(i, calls)
          assert.equal(0, open)
        end
      end)
    end)

  it("may use another event, which may also be in the choice", function()
    helper.run(function()
      local channel = uring.channel()
      local inner = channel:receiving()
      local outer = uring.event {
        try = function(_, w) return inner:try(w) end,
        block = function(_, w) return inner:block(w) end,
        cancel = function(_, w) return inner:cancel(w) end,
      }
      local ring = uring.loop():ring()
      local message_of = ring:receiving()
      local outer2 = uring.event {
        try = function(_, w) return message_of:try(w) end,
        block = function(_, w) return message_of:block(w) end,
        cancel = function(_, w) return message_of:cancel(w) end,
      }
      for _ = 1, 5 do
        assert.is_nil((uring.select({ inner, outer, message_of, outer2 },
          0)))
      end
      helper.collect()
      message(ring, 3)
      assert.equal(3, (select(2, uring.select { message_of, outer2 })))
      local inner3 = ring:awaiting(nop())
      local outer3 = uring.event {
        try = function(_, w) return inner3:try(w) end,
        block = function(_, w) return inner3:block(w) end,
        cancel = function(_, w) return inner3:cancel(w) end,
      }
      for _ = 1, 10 do  -- (in any order)
        local before = ring:stats().submitted
        uring.select { outer3, inner3 }
        assert.equal(before + 1, ring:stats().submitted)
      end
      local t = uring.spawn(function() return uring.select { outer2 } end)
      turns(2)
      message(ring, 4)
      assert.equal(4, (select(3, t:join())))
    end)
  end)

  it("around several gives the one that another task has completed",
    function()
      uring.run(function()
        local a, b = uring.channel(1), uring.channel()
        local of_a, of_b = a:receiving(), b:receiving()
        local function try_b(waiter, ready, ...)
          if ready then return ready, ... end
          return of_b:try(waiter)
        end
        local either = {
          try = function(_, waiter) return try_b(waiter, of_a:try(waiter)) end,
          block = function(_, waiter)
            of_a:block(waiter)
            of_b:block(waiter)
          end,
          cancel = function(_, waiter)
            of_a:cancel(waiter)
            of_b:cancel(waiter)
          end,
        }
        local task = helper.started(uring.select, { either })
        assert.is_true(b:send("b", 0))
        assert.is_true(a:send("a", 0))
        assert.equal("b", (select(3, task:join(5))))
        assert.equal("a", a:receive(0))
      end)
    end)

  it("whose waiter was emptied leaves no operation without an owner",
    function()
      helper.run(function()
        local ring = uring.loop():ring()
        local rude = uring.event {
          try = function() end,
          block = function(_, w)
            for k in pairs(w) do
              if type(k) == "userdata" then w[k] = nil end
            end
            helper.collect()
          end,
          cancel = function() end,
        }
        for _ = 1, 20 do
          uring.select({ rude, ring:awaiting(uring.sqe():prep_timeout(0.001)),
            ring:receiving() }, 0.003)
        end
        helper.collect()
        assert.same({ 0, 0 }, { uring.await(nop()) })
      end)
    end)
end)
