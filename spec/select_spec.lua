-- uring.select: the choice among events, also by time; and event:wrap.

local choice = require "choice"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local mistake <const> = helper.mistake
local signal, message, turns, ready, timed_out =
  choice.signal, choice.message, choice.turns, choice.ready, choice.timed_out

after_each(helper.idle_loop)

local nop <const> = helper.nop

describe("uring.select", function()
  it("gives the winner's key, of any type, and its values", function()
    helper.run(function()
      local t = {}
      for _, key in ipairs { "a", 1, 2.5, true, false, t, print,
          uring.current() } do
        assert.same({ n = 4, key, 1, nil, nil },
          table.pack(uring.select { [key] = ready(1, nil, nil) }))
        local k, ok = uring.select { [key] = uring.after(0.001) }
        assert.equal(key, k)
        assert.is_nil(ok)
      end
    end)
  end)

  it("is fair among those that are ready", function()
    helper.run(function()
      local wins = { a = 0, b = 0, c = 0 }
      local channel = uring.channel(1)
      channel:send(1)
      local over = uring.spawn(function() end)
      over:join()
      for _ = 1, 3000 do
        local key = uring.select {
          a = ready(), b = over:joining(), c = channel:receiving() }
        wins[key] = wins[key] + 1
        if key == "c" then channel:send(1) end
      end
      -- 1,000 each; that one is off by 150 has a chance of 1 in 10^8
      for key, n in pairs(wins) do
        assert.truthy(n > 850 and n < 1150, key .. " won " .. n)
      end
    end)
  end)

  it("with timeout 0 polls what the kernel already has", function()
    helper.run(function()
      local own, other = uring.loop():ring(), assert(uring.ring())
      for _, ring in ipairs { own, other } do
        timed_out(uring.select({ ring:receiving() }, 0))
        assert(spec.send(ring:fd(), 7, 8))
        assert.same({ 1, 8, 7, 0 }, { uring.select({ ring:receiving() }, 0) })
        assert.same({ "x", 0, 0 },
          { uring.select({ x = ring:awaiting(nop()) }, 0) })
      end
      local channel = uring.channel()
      uring.spawn(function() channel:send "sent" end)
      assert.same({ 1, "sent" }, { uring.select({ channel:receiving() }, 0) })
      assert.same({ "t" }, { uring.select({ t = uring.after(0) }, 0) })
      other:close()
    end)
  end)

  it("times out, and leaves no request or waiter behind", function()
    helper.run(function()
      local channel, s = uring.channel(), signal()
      local events = { channel:receiving(), s.event, channel:sending(1) }
      for _, timeout in ipairs { 0, 0.001, 0.01 } do
        timed_out(uring.select(events, timeout))
      end
      timed_out(uring.select({}, 0.001))
      timed_out(uring.select({}, 0))
      assert.equal(3, s.cancels)
      assert.is_nil((channel:try_send(1)))
      assert.is_nil((channel:try_receive()))
      s.raise()
      assert.same({ 3, "raised" }, { uring.select({ uring.after(60),
        signal().event, s.event }, 1e300) })
    end)
  end)

  it("gives key, nil, message, errno for one that failed", function()
    helper.run(function()
      local r, w = spec.pipe()
      spec.close(w)
      local ring = uring.loop():ring()
      local key, ok, why, errno = uring.select { read =
        ring:awaiting(uring.sqe():prep_openat(uring.AT_FDCWD, "/nowhere/x",
          0, 0)) }
      assert.same({ "read", nil, E.ENOENT }, { key, ok, errno })
      assert.truthy(why:find "ENOENT")
      local t = uring.spawn(function() uring.sleep(60) end)
      t:cancel()
      assert.same({ n = 4, "t", nil, "the task was cancelled", E.ECANCELED },
        table.pack(uring.select { t = t:joining() }))
      local channel = uring.channel()
      uring.spawn(function() channel:close() end)
      assert.same({ n = 4, "c", nil, "receive: the channel is closed",
        E.EPIPE }, table.pack(uring.select { c = channel:receiving() }))
      assert.same({ n = 4, "c", nil, "send: the channel is closed", E.EPIPE },
        table.pack(uring.select { c = channel:sending(1) }))
      spec.close(r)
    end)
  end)

  it("fails with a ring that is closed, before and while it waits", function()
    helper.run(function()
      local ring = assert(uring.ring())
      local receiving, awaiting = ring:receiving(), ring:awaiting(
        uring.sqe():prep_timeout(60))
      uring.spawn(function() turns() ring:close() end)
      local key, ok, _, errno = uring.select { r = receiving, a = awaiting }
      assert.is_nil(ok)
      assert.equal(key == "r" and E.EBADF or E.ECANCELED, errno)
      for name, event in pairs { r = receiving, a = awaiting } do
        key, ok, _, errno = uring.select { [name] = event }
        assert.same({ name, nil, E.EBADF }, { key, ok, errno })
      end
    end)
  end)

  it("refuses values that are no event, and says where", function()
    mistake("table of events expected, got nil", uring.select)
    mistake("must be 0 or more, got -1)", uring.select, {}, -1)
    mistake("0 or more", uring.select, {}, 0 / 0)
    mistake("seconds expected, got string)", uring.select, {}, "1")
    mistake("under uring.run", uring.select, {})
    mistake("under uring.run", uring.select, { ready() })
    helper.run(function()
      local me = uring.current()
      mistake("event expected at [a], got number", uring.select, { a = 5 })
      mistake("event expected at [1], got uring.Task", uring.select, { me })
      mistake("event expected at [1], got uring.Channel",
        uring.select, { uring.channel() })
      mistake("event expected at [1], got table", uring.select, { {} })
      mistake("cannot join itself", uring.select, { me:joining() })
      -- one event, and no table of them
      local function nothing() end
      local bare = "table of events expected, got an event: "
        .. "uring.select{ event }"
      local class = { try = nothing, block = nothing, cancel = nothing }
      class.__index = class
      for _, event in ipairs { me:joining(), uring.channel():receiving(),
          uring.channel():sending(1), uring.semaphore(1):acquiring(),
          uring.after(0), uring.at(0), uring.event(nothing), ready(),
          ready():wrap(nothing), uring.loop():ring():receiving(), class,
          setmetatable({}, class), setmetatable({ n = 1 }, class) } do
        mistake(bare, uring.select, event)
      end
      -- what is not all of an event
      local function lacks(name, event)
        mistake(("the event at [e] has no method '%s'"):format(name),
          uring.select, { e = event })
      end
      lacks("block", { try = nothing })
      lacks("cancel", { try = nothing, block = nothing })
      lacks("try", { try = 1, block = nothing, cancel = nothing })
      lacks("block", { try = nothing, block = "b", cancel = nothing })
      lacks("cancel", { try = nothing, block = nothing,
        cancel = setmetatable({}, {}) })
      -- (what can be called is a method)
      local f = setmetatable({}, { __call = function() return true end })
      assert.same({ "e" }, { uring.select { e = { try = f, block = f,
        cancel = f } } })
      mistake("block has returned a string", uring.select, { uring.event {
        try = function() end, block = function() return "soon" end,
        cancel = nothing } })
      -- and all works on
      assert.equal(1, (uring.select { ready() }))
    end)
  end)

  -- (names have another order in each state)
  it("with a host's time takes them in the same order in each run", function()
    local script = [[
      local uring = require "uring"
      local loop = uring.loop()
      local function ready(i)
        return { try = function() return true, i end, block = print,
          cancel = print }
      end
      loop:spawn(function()
        for n = 1, 40 do
          local events = { [-1] = ready(0), [2.5] = ready(1) }
          for i = n, 1, -1 do events["name " .. i * 7919 % 100] = ready(i) end
          if n % 2 == 0 then events[1] = ready(n) end
          for _ = 1, 5 do print(uring.select(events)) end
        end
      end)
      repeat until not loop:step { now = 1 }]]
    local first = helper.script_ok(script)
    assert.truthy(#first > 1000)
    for _ = 1, 3 do assert.equal(first, helper.script_ok(script)) end
  end)

  it("takes as many events as its stack has space for", function()
    helper.run(function()
      local channel, events = uring.channel(1), {}
      for i = 1, 20000 do events[i] = channel:receiving() end
      events.last = uring.semaphore(1):acquiring()
      assert.equal("last", (uring.select(events)))
      channel:send "here"
      assert.same({ "number", "here" },
        (function(key, ...) return { type(key), ... } end)(
          uring.select(events)))
      local receiving <const> = channel:receiving()
      for i = 20001, 600000 do events[i] = receiving end
      helper.raises("too many events", uring.select, events)
      events = { receiving }
      channel:send "still"
      assert.same({ 1, "still" }, { uring.select(events) })
    end)
  end)

  it("is described with its events in that order", function()
    helper.run(function()
      local channel = uring.channel()
      local task <close> = helper.started(function()
        uring.select { d = channel:receiving(), c = channel:receiving(),
          b = channel:receiving(), a = channel:receiving(),
          channel:receiving(), [true] = channel:receiving() }
      end)
      assert(task)
      local text = uring.tree()
      assert.truthy(text:find("{ 1: [^,]*, a: [^,]*, b: "), text)
    end)
  end)

  it("takes one event in several choices at once", function()
    helper.run(function()
      local channel, ring = uring.channel(), assert(uring.ring())
      local t = uring.spawn(function() channel:receive() return "t" end)
      local events = { c = channel:receiving(), r = ring:receiving(),
        t = t:joining(), after = uring.after(60) }
      turns(2)
      local got, tasks = {}, {}
      for i = 1, 6 do
        tasks[i] = uring.spawn(function()
          got[i] = { uring.select(events) }
        end)
      end
      turns(2)
      message(ring, 4)
      channel:send "to t"   -- (which waited first)
      turns()
      for _, task in ipairs(tasks) do task:join() end
      local n = { c = 0, r = 0, t = 0 }
      for i = 1, 6 do n[got[i][1]] = n[got[i][1]] + 1 end
      assert.same({ c = 0, r = 1, t = 5 }, n)
      ring:close()
    end)
  end)

  it("takes one event under two keys", function()
    helper.run(function()
      local ring = uring.loop():ring()
      local wait = uring.sqe():prep_timeout(0.001)
      local function doubles()
        local channel, s = uring.channel(), signal()
        local sent = channel:sending(1)
        local t = uring.spawn(function() turns() end)
        local join, after = t:joining(), uring.after(0.001)
        local receiving, awaiting = ring:receiving(), ring:awaiting(wait)
        local call = uring.event(uring.sleep, 60)
        return channel, s, { sent, sent, join, join, after, after, receiving,
          receiving, awaiting, awaiting, s.event, s.event, call, call,
          channel:receiving(), channel:receiving() }
      end
      for _ = 1, 20 do
        local channel, s, events = doubles()
        collectgarbage()
        local key = uring.select(events)
        assert.truthy(key >= 3 and key <= 10)
        assert.same({ 1, 1 }, { s.blocks, s.cancels })
        assert.is_nil((channel:try_receive()))  -- (no task waits to send)
        assert.is_nil((channel:try_send(1)))
        helper.collect()
        turns()
      end
    end)
  end)

  it("passes its turn on where an event is collected without a cancel",
    function()
      helper.run(function()
        local ring = uring.loop():ring()
        local waiter = {}
        ring:receiving():block(waiter)
        local t = uring.spawn(ring.receive, ring)
        turns(2)
        message(ring, 7)
        turns(2)  -- (the first in the queue has been woken)
        assert.equal("waiting", t:status())
        waiter = nil  -- luacheck: ignore
        helper.collect()
        local result = { t:join(2 * helper.slow) }
        t:cancel()
        assert.same({ true, 7, 7, 0 }, result)
      end)
    end)

  it("is not overtaken by a task that comes when its message has come",
    function()
      helper.run(function()
        local ring = assert(uring.ring())
        local s = uring.spawn(function()
          return uring.select { m = ring:receiving() }
        end)
        turns(2)
        ring:queue(uring.sqe():prep_msg_ring(ring, 7, 7))
        local late = uring.spawn(function()  -- (in each turn before the other)
          for _ = 1, 50 do
            if ring:stats().waiting > 0 then return ring:receive() end
            uring.sleep(0)
          end
        end)
        assert.same({ true, "m", 7, 7, 0 }, { s:join(5) })
        turns()
        assert.equal("waiting", late:status())
        message(ring, 8)
        assert.same({ true, 8, 8, 0 }, { late:join(5) })
        ring:close()
      end)
    end)

  it("is a deadlock only if nothing but its own tasks can end it",
    function()
      for _, f in ipairs {
        function(channel) uring.select { channel:receiving() } end,
        function(channel)
          uring.select { channel:sending(1), channel:receiving() }
        end,
        function(_, t) uring.select { t:joining() } end,
        function(channel, t)
          uring.select { a = t:joining(), b = channel:receiving():wrap(print),
            c = uring.semaphore(0):acquiring() }
        end,
        function() uring.select {} end,
        function()
          uring.select { uring.event(function()
            uring.channel():receive()
          end) }
        end,
      } do
        helper.raises("deadlock", uring.run, function()
          local channel = uring.channel()
          local t = uring.spawn(function() uring.channel():receive() end)
          f(channel, t)
        end)
      end
      helper.run(function()
        local channel, ring = uring.channel(), uring.loop():ring()
        local join = uring.spawn(function() uring.channel():receive() end)
        local function with(event)
          return (uring.select { e = event, c = channel:receiving(),
            j = join:joining() })
        end
        assert.equal("e", with(uring.after(0.02)))
        assert.equal("e", with(uring.at(uring.now() + 0.02)))
        assert.equal("e", with(ring:awaiting(
          uring.sqe():prep_timeout(0.02))))
        assert.equal("e", with(uring.event(uring.sleep, 0.02)))
        local later = spec.send_later(0.02, ring:fd(), 1, 2)
        assert.equal("e", with(ring:receiving()))
        later:join()
        local s = signal()
        uring.spawn(function() uring.sleep(0.02) s.raise() end)
        assert.equal("e", with(s.event))
        timed_out(uring.select({ channel:receiving() }, 0.02))
        join:cancel()
      end)
    end)

  it("chooses among the events that it was called with, not those later in "
    .. "their table", function()
      helper.run(function()
        for _, change in ipairs {
          function(events)
            for key in pairs(events) do events[key] = nil end
          end,
          function(events)
            for key in pairs(events) do events[key] = "no event" end
          end,
          function(events)
            for i = 1, 100 do events[i] = ready() end
          end,
        } do
          local a, b = uring.channel(), uring.channel()
          local events = { a = a:receiving(), b = b:receiving(),
            t = uring.after(60) }
          local t = uring.spawn(uring.select, events)
          turns(2)
          change(events)
          helper.collect()
          assert.equal("waiting", t:status())
          assert.is_true(b:try_send "b")
          assert.same({ true, "b", "b" }, { t:join() })
          assert.is_nil((a:try_send "a"))
        end
      end)
    end)

  it("of thousands of events needs no deep stack", function()
    helper.run(function()
      local channels, events = {}, {}
      for i = 1, 20000 do
        channels[i] = uring.channel()
        events[i] = channels[i]:receiving()
      end
      uring.spawn(function() channels[12345]:send "x" end)
      assert.same({ 12345, "x" }, { uring.select(events) })
    end)
  end)

  it("leaves the random numbers of the program alone", function()
    helper.run(function()
      math.randomseed(7)
      local a = math.random(0)
      math.randomseed(7)
      uring.select { ready(), ready(), ready() }
      assert.equal(a, math.random(0))
    end)
  end)
end)

describe("a timer", function()
  it("counts from the choice, or ends at a time", function()
    helper.run(function()
      local after = uring.after(0.01)
      for _ = 1, 2 do
        local t = uring.now()
        uring.select { after }
        assert.truthy(uring.now() - t >= 0.01)
      end
      local at = uring.at(uring.now() + 0.01)
      uring.select { at }
      assert.same({ 1 }, { uring.select { at, uring.after(60) } })
      assert.equal("soon", (uring.select { soon = uring.after(0.01),
        late = uring.after(60), never = uring.after(math.huge) }))
      assert.same({ "now" }, { uring.select({ now = uring.after(0) }, 0) })
      assert.equal("now", (uring.select { now = uring.after(0),
        late = uring.at(math.huge) }))
      mistake("seconds expected", uring.after, "1")
      mistake("0 or more", uring.after, -1)
      mistake("seconds expected", uring.at)
      mistake("seconds expected", uring.at, 0 / 0)
      assert.equal("uring.Event (after 0.5)", tostring(uring.after(0.5)))
    end)
  end)
end)

describe("event:wrap", function()
  it("changes the values after the choice, nested too", function()
    helper.run(function()
      local e = ready(1, 2):wrap(function(a, b) return a + b, "x" end)
      assert.same({ 1, 3, "x" }, { uring.select { e } })
      local f = e:wrap(function(n, x) return x, n * 2 end)
        :wrap(function(...) return select("#", ...), ... end)
      assert.same({ 1, 2, "x", 6 }, { uring.select { f } })
      assert.same({ 1, 3, "x" }, { uring.select { e } })
      assert.same({ n = 1, "k" }, table.pack(uring.select {
        k = uring.after(0.001):wrap(function() end) }))
      mistake("function expected, got no value", e.wrap, e)
      mistake("function expected", uring.after(0).wrap, uring.after(1), 5)
    end)
  end)

  it("may wait, and is called by the winner alone, once", function()
    helper.run(function()
      local called, channel = 0, uring.channel()
      local e = channel:receiving():wrap(function(v)
        called = called + 1
        uring.sleep(0.001)
        return (uring.await(nop())), v
      end)
      timed_out(uring.select({ e, channel:receiving():wrap(error) }, 0.001))
      assert.equal(0, called)
      uring.spawn(function() channel:send "v" end)
      assert.same({ 1, 0, "v" }, { uring.select { e, uring.after(60) } })
      assert.equal(1, called)
    end)
  end)

  it("raises what its function raises, with a traceback", function()
    local function culprit() error "in wrap" end
    local why = helper.raises("in wrap", uring.run, function()
      uring.select { uring.after(0.001):wrap(function() culprit() end) }
    end)
    assert.truthy(why:find("'culprit'", 1, true), why)
    helper.run(function()
      local t = uring.spawn(function()
        uring.select { ready():wrap(function() uring.sleep(60) end) }
      end)
      turns(2)
      t:cancel()
      t:join()
      assert.equal("cancelled", t:status())
    end)
  end)

  it("takes one call of C's stack, for functions that select again", function()
    assert.equal("40", helper.script_ok [[
      local uring = require "uring"
      io.write(tostring(uring.run(function()
        local c, deep = uring.channel(1), 0
        local function state()
          deep = deep + 1
          if deep == 40 then return deep end
          c:try_send(true)
          return select(-1, pcall(pcall, pcall, uring.select,
            { c:receiving():wrap(state) }))
        end
        return state()
      end)))]])
  end)
end)
