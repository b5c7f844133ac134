-- Events and uring.select: the choice, and that a loser loses nothing.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local mistake <const> = helper.mistake

local function nop() return uring.sqe():prep_nop() end

-- An event of somebody else's, as a library would write it: a flag that may
-- be raised, and stays so until somebody takes it. It counts its calls.
local function signal()
  local self = { raised = false, blocks = 0, cancels = 0, backs = 0,
    waiters = {} }
  function self.raise()
    self.raised = true
    for waiter in pairs(self.waiters) do waiter:wake() end
  end
  self.event = uring.event {
    try = function()
      if self.broken then error "the signal is broken" end
      if self.raised then
        self.raised = false
        return true, "raised"
      end
    end,
    block = function(_, waiter)
      assert(not self.waiters[waiter], "blocked twice")
      self.waiters[waiter] = true
      self.blocks = self.blocks + 1
    end,
    cancel = function(_, waiter)
      assert(self.waiters[waiter], "cancelled without a block, or twice")
      self.waiters[waiter] = nil
      self.cancels = self.cancels + 1
    end,
    back = function() self.backs = self.backs + 1 end,
  }
  return self
end

-- A message to that ring; when this is over it has come.
local function message(ring, n)
  assert(uring.await(uring.sqe():prep_msg_ring(ring, n, n)))
end

-- Every ready task runs, and what has completed is taken, some times.
local function turns(n)
  for _ = 1, n or 5 do uring.sleep(0) end
end

local function ready(...)
  local values = table.pack(true, ...)
  return uring.event {
    try = function() return table.unpack(values, 1, values.n) end,
    block = function() end,
    cancel = function() end,
  }
end

-- These are the results of a wait whose time was over.
local function timed_out(...)
  assert.same({ n = 3, nil, "timed out", E.ETIME }, table.pack(...))
end

after_each(helper.idle_loop)

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

  it("times out, and leaves nothing behind", function()
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

  it("refuses what is no event, and says where", function()
    mistake("table of events expected, got nil", uring.select)
    mistake("0 or more, got -1)", uring.select, {}, -1)
    mistake("0 or more", uring.select, {}, 0 / 0)
    mistake("0 or more, got string)", uring.select, {}, "1")
    mistake("under uring.run", uring.select, {})
    mistake("under uring.run", uring.select, { ready() })
    helper.run(function()
      local me = uring.current()
      mistake("event expected at [a], got number", uring.select, { a = 5 })
      mistake("event expected at [1], got userdata", uring.select, { me })
      mistake("event expected at [1], got table",
        uring.select, { uring.channel() })
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
      -- (what can be called is a method)
      local f = setmetatable({}, { __call = function() return true end })
      assert.same({ "e" }, { uring.select { e = { try = f, block = f,
        cancel = f } } })
      mistake("block has returned a string", uring.select, { uring.event {
        try = function() end, block = function() return "soon" end,
        cancel = nothing } })
      local stranger = ready()
      mistake("chosen one that is not in the choice", uring.select, {
        uring.event { try = function() end, cancel = function() end,
          block = function(_, w) w:choose(stranger) end } })
      -- and all works on
      assert.equal(1, (uring.select { ready() }))
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
        assert.equal(channel.senders, channel.senders.next)
        assert.equal(channel.receivers, channel.receivers.next)
        helper.collect()
        turns()
      end
    end)
  end)

  it("does not forget who waits because another took what had come",
    function()
      helper.run(function()
        local ring = assert(uring.ring())
        local s = uring.spawn(function()
          return uring.select { m = ring:receiving() }
        end)
        turns(2)
        ring:queue(uring.sqe():prep_msg_ring(ring, 7, 7))
        uring.spawn(function()  -- (in each turn before the other)
          for _ = 1, 50 do
            if ring:stats().waiting > 0 then return ring:receive() end
            uring.sleep(0)
          end
        end):join()
        turns()
        assert.equal("waiting", s:status())
        message(ring, 8)
        assert.same({ true, "m", 8, 8, 0 }, { s:join(5) })
        ring:close()
      end)
    end)

  it("is a deadlock only if nothing but tasks of its own can end it",
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

  it("is between the events that it was called with, whatever becomes of "
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

  it("leaves the program's random numbers alone", function()
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
  it("counts from the choice, or is a time", function()
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
  it("changes the values, after the choice, nested too", function()
    helper.run(function()
      local e = ready(1, 2):wrap(function(a, b) return a + b, "x" end)
      assert.same({ 1, 3, "x" }, { uring.select { e } })
      local f = e:wrap(function(n, x) return x, n * 2 end)
        :wrap(function(...) return select("#", ...), ... end)
      assert.same({ 1, 2, "x", 6 }, { uring.select { f } })
      assert.same({ 1, 3, "x" }, { uring.select { e } })
      assert.same({ n = 1, "k" }, table.pack(uring.select {
        k = uring.after(0.001):wrap(function() end) }))
      mistake("function expected, got nil", e.wrap, e)
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
end)

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
        assert.equal("c", (uring.select { a = uring.event(f, "a"),
          b = uring.event(f, "b"), c = uring.after(0.001) }))
      end)
      assert.same({ a = "another event was chosen",
        b = "another event was chosen" }, log)
      -- the choice itself cancelled, or timed out
      local t = uring.spawn(function()
        uring.select { uring.event(f, "c") }
      end)
      turns(2)
      t:cancel()
      uring.select({ uring.event(f, "d") }, 0.001)
      turns()
      assert.truthy(log.c and log.d)
    end)
  end)

  it("that fails is an error of the choice, told from where it was",
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

  it("refuses what it does not know, and says where", function()
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

describe("an event of somebody else's", function()
  it("wins, loses, times out: each block is cancelled once", function()
    helper.run(function()
      local s = signal()
      local function balanced(n)
        assert.same({ n, n, 0 }, { s.blocks, s.cancels, s.backs })
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

  it("is cancelled once when the task is, or is closed, or fails", function()
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

  it("may be chosen by another task, and gets back what was not taken",
    function()
      local backs, waiter = {}, nil
      local e
      e = uring.event {
        try = function() end,
        block = function(_, w) waiter = w end,
        cancel = function() end,
        back = function(self, ...)
          assert(self == e)
          backs[#backs + 1] = table.pack(...)
        end,
      }
      helper.run(function()
        local t = uring.spawn(function() return uring.select { e = e } end)
        turns(2)
        assert.is_true(waiter:choose(e, 1, nil))
        assert.is_false(waiter:choose(e, 2))
        assert.same({ n = 4, true, "e", 1, nil }, table.pack(t:join()))
        assert.is_false(waiter:choose(e, 3))
        waiter:wake()
        assert.same({}, backs)
        -- chosen, then cancelled
        t = uring.spawn(function() return uring.select { e = e } end)
        turns(2)
        assert.is_true(waiter:choose(e, 1, nil))
        t:cancel()
        t:join()
        assert.same({ { n = 2, 1, nil } }, backs)
        -- cancelled, then chosen: it takes nothing any more
        t = uring.spawn(function() return uring.select { e = e } end)
        turns(2)
        t:cancel()
        assert.is_false(waiter:choose(e, 2))
        t:join()
        assert.equal(1, #backs)
      end)
      uring.run(function() waiter:wake() end)
      waiter:wake()
    end)

  it("may wake who has just looked", function()
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

  it("in a poll does not hide that another was completed", function()
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

  it("may be any object with the methods, of another class", function()
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

  it("may use another's event, which may also be in the choice", function()
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

describe("a loser loses nothing:", function()
  -- Two events are ready at once, of which one is a signal: `prepare` makes
  -- the other ready, and the task that chooses has not run since. `lost` is
  -- called each time that the signal wins, `won` with the values if not.
  local function contend(event, prepare, lost, won)
    local wins, s = 0, signal()
    for i = 1, 40 do
      local key, values
      local t = uring.spawn(function()
        values = table.pack(uring.select { e = event, s = s.event })
        key = values[1]
      end)
      turns(2)
      s.raised = true
      prepare(i)
      for waiter in pairs(s.waiters) do waiter:wake() end
      t:join()
      if key == "s" then
        wins = wins + 1
        lost(i)
      else
        if won then won(i, table.unpack(values, 2, values.n)) end
        s.raised = false
      end
    end
    assert.truthy(wins > 0)
  end

  it("a message that comes while another event wins", function()
    helper.run(function()
      for _, ring in ipairs { uring.loop():ring(), assert(uring.ring()) } do
        contend(ring:receiving(), function(i) message(ring, i) end,
          function(i)
            assert.same({ i, i, 0 }, { ring:receive(0) })
          end,
          function(i, len) assert.equal(i, len) end)
        assert.is_nil((ring:receive(0)))
      end
    end)
  end)

  it("the message that its ear was called for wakes the next who waits",
    function()
      helper.run(function()
        local ring = uring.loop():ring()
        local next_waits = {
          plain = function() return ring:receive() end,
          choice = function()
            return select(2, uring.select { ring:receiving() })
          end,
        }
        -- (each answers len, data, flags)
        for _, wait in pairs(next_waits) do
          local heir
          contend(ring:receiving(), function(i)
            heir = uring.spawn(wait)  -- behind the other in the line
            turns(2)
            message(ring, i)
          end, function(i)
            assert.same({ true, i, i, 0 }, { heir:join(5) })
          end, function(_, len)
            assert.truthy(len)
            heir:cancel()
            heir:join()
          end)
        end
      end)
    end)

  it("so do two messages, of which it takes one", function()
    helper.run(function()
      local ring = uring.loop():ring()
      local got = {}
      for i = 1, 3 do
        uring.spawn(function()
          got[i] = select(2, uring.select { ring:receiving() })
        end)
      end
      turns(2)
      for i = 1, 3 do assert(spec.send(ring:fd(), i, i)) end
      turns()
      table.sort(got)
      assert.same({ 1, 2, 3 }, got)
    end)
  end)

  it("a message for a choice that is cancelled", function()
    helper.run(function()
      local ring = uring.loop():ring()
      local t = uring.spawn(uring.select, { ring:receiving() })
      local heir = uring.spawn(function() return ring:receive() end)
      turns(2)
      assert(spec.send(ring:fd(), 1, 1))
      uring.sleep(0)
      -- (in this turn it has been called, and not run)
      t:cancel()
      assert.same({ true, 1, 1, 0 }, { heir:join(5 * helper.slow) })
    end)
    local got
    helper.raises("ended from outside", uring.run, function()
      local ring, co = uring.loop():ring(), nil
      uring.spawn(function()
        co = coroutine.running()
        uring.select { ring:receiving() }
      end)
      turns(2)
      assert(spec.send(ring:fd(), 9, 9))
      uring.sleep(0)
      coroutine.close(co)
      got = ring:receive(0)
    end)
    assert.equal(9, got)
  end)

  it("a value, buffered or not, and what it would have sent", function()
    helper.run(function()
      for _, capacity in ipairs { 0, 1, 3 } do
        local channel = uring.channel(capacity)
        local wins = { s = 0, c = 0 }
        for i = 1, 40 do
          local sender = uring.spawn(function() return channel:send(i) end)
          turns(1)
          local key, value = uring.select { c = channel:receiving(),
            s = ready() }
          wins[key] = wins[key] + 1
          if key == "s" then value = channel:receive(0) end
          assert.equal(i, value)
          assert.same({ true, true }, { sender:join() })
          assert.is_nil((channel:try_receive()))

          for _ = 1, capacity do channel:send "full" end
          local receiver = uring.spawn(function()
            for _ = 1, capacity do channel:receive() end
            return channel:receive(0)
          end)
          turns(1)
          key = uring.select { c = channel:sending(i), s = ready() }
          wins[key] = wins[key] + 1
          assert.same(key == "c" and { true, i }
            or { true, nil, "timed out", E.ETIME }, { receiver:join() })
        end
        assert.truthy(wins.s > 0 and wins.c > 0)
      end
    end)
  end)

  it("a value handed to who was cancelled before he could take it",
    function()
      helper.run(function()
        local channel = uring.channel()
        local function choose()
          return uring.select { c = channel:receiving(), uring.after(60) }
        end
        -- to the next in the line
        local t, heir = uring.spawn(choose), uring.spawn(choose)
        turns(2)
        assert.is_true(channel:try_send(1, nil, "x"))
        t:cancel()
        assert.same({ true, "c", 1, nil, "x" }, { heir:join() })
        -- to who comes, in order
        t, heir = uring.spawn(choose), uring.spawn(choose)
        turns(2)
        assert.is_true(channel:try_send(1, nil))
        assert.is_true(channel:try_send(2))
        t:cancel()
        heir:cancel()
        heir:join()
        t:join()
        local got = {}
        for _ = 1, 2 do got[#got + 1] = table.pack(channel:try_receive()) end
        assert.same({ { n = 2, 1, nil }, { n = 1, 2 } }, got)
        -- cancelled first: the next has it at once, and the order stays
        t, heir = uring.spawn(choose), uring.spawn(choose)
        turns(2)
        t:cancel()
        assert.is_true(channel:try_send(1))
        assert.is_nil((channel:try_send(2)))
        assert.same({ true, "c", 1 }, { heir:join() })
        -- what ends by its time in the same turn is not lost either
        for _ = 1, 10 do
          t = uring.spawn(function()
            return uring.select({ channel:receiving() }, 0.001)
          end)
          uring.sleep(0.001)
          local sent = channel:try_send "v"
          local _, key = t:join()
          assert.equal(sent and 1 or nil, key)
        end
        -- a unit of a semaphore
        local semaphore = uring.semaphore(0)
        t = uring.spawn(semaphore.acquire, semaphore)
        turns(2)
        semaphore:release()
        t:cancel()
        t:join()
        assert.equal(1, #semaphore)
      end)
    end)

  it("nor is anything counted twice: choices on both sides", function()
    helper.run(function()
      for _, capacity in ipairs { 0, 1 } do
        local a, b = uring.channel(capacity), uring.channel(capacity)
        local sent, received, n = {}, {}, 0
        uring.scope(function(scope)
          for task = 1, 8 do
            scope:spawn(function()
              for _ = 1, 50 do
                n = n + 1
                local mine = n
                local key, value = uring.select({
                  sa = a:sending(mine), sb = b:sending(-mine),
                  ra = a:receiving(), rb = b:receiving(),
                }, task == 1 and 0.0001 or 0.01)
                if key == "sa" then sent[mine] = true
                elseif key == "sb" then sent[-mine] = true
                elseif key then
                  assert.is_nil(received[value])
                  assert.not_equal(mine, math.abs(value))
                  received[value] = true
                end
              end
            end)
          end
        end)
        for _, c in ipairs { a, b } do
          for v in c.try_receive, c do
            assert.is_nil(received[v])
            received[v] = true
          end
        end
        assert.truthy(next(sent))
        assert.same(sent, received)
      end
    end)
  end)

  it("a task's end, which all see", function()
    helper.run(function()
      local wins = 0
      for i = 1, 20 do
        local t = uring.spawn(function() return i end)
        local choices = {}
        for j = 1, 5 do
          choices[j] = uring.spawn(uring.select, { t:joining(), s = ready() })
        end
        turns(2)
        for j = 1, 5 do
          local _, key = choices[j]:join()
          if key == "s" then wins = wins + 1 end
        end
        assert.same({ 1, true, i }, { uring.select { t:joining() } })
        assert.same({ true, i }, { t:join() })
      end
      assert.truthy(wins > 0)
    end)
  end)

  it("a file that an awaited request has opened is closed", function()
    helper.keeps_fds(function()
      helper.run(function()
        local ring = uring.loop():ring()
        local open = uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null",
          uring.O_RDONLY or 0, 0)
        local disposed = ring:stats().disposed
        contend(ring:awaiting(open), function() turns(1) end,
          function() end,
          function(_, fd)
            assert.is_truthy(fd)
            if math.type(fd) == "integer" then spec.close(fd)
            else fd:close() end
          end)
        -- cancelled before it was submitted, and timed out
        for _ = 1, 10 do
          uring.select { ring:awaiting(open), ready() }
          local t = uring.spawn(uring.select, { ring:awaiting(open) })
          turns(1)
          t:cancel()
          t:join()
        end
        turns()
        assert.truthy(ring:stats().disposed > disposed)
      end)
    end)
  end)

  it("a connection that an awaited request has accepted is closed",
    function()
      helper.keeps_fds(function()
        helper.run(function()
          local server <close> = assert(uring.tcp.listen "127.0.0.1:0")
          local ring = uring.loop():ring()
          local clients = {}
          contend(ring:awaiting(uring.sqe():prep_accept(server)),
            function(i)
              clients[i] = assert(uring.tcp.connect(server:getsockname()))
              turns(1)
            end,
            function(i)
              -- closed by the library: the client sees the end
              assert.equal("", (clients[i]:receive(5)) or "")
              clients[i]:close()
            end,
            function(i, fd)
              if math.type(fd) == "integer" then spec.close(fd)
              else fd:close() end
              clients[i]:close()
            end)
        end)
      end)
    end)
end)
