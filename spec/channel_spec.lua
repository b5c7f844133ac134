-- Channels: values from task to task, in order, each exactly once.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local mistake <const> = helper.mistake

-- These are the results of a wait whose time was over.
local function timed_out(...)
  assert.same({ n = 3, nil, "timed out", E.ETIME }, table.pack(...))
end

local function refused(what, ...)
  assert.same({ n = 3, nil, what .. ": the channel is closed", E.EPIPE },
    table.pack(...))
end

local turns <const> = helper.turns

after_each(helper.idle_loop)

describe("a channel", function()
  it("of capacity 0 makes a sender wait for a receiver", function()
    helper.run(function()
      local channel, log = uring.channel(), {}
      uring.spawn(function()
        for i = 1, 3 do
          assert.is_true(channel:send(i))
          log[#log + 1] = "sent " .. i
        end
      end)
      turns()
      assert.same({}, log)
      assert.equal(0, #channel)
      for i = 1, 3 do
        assert.equal(i, channel:receive())
        turns()
        assert.equal("sent " .. i, log[#log])
        assert.equal(i, #log)
      end
      -- the receiver first
      local t = uring.spawn(function() return channel:receive() end)
      turns()
      assert.is_true(channel:send "x")
      assert.same({ true, "x" }, { t:join() })
    end)
  end)

  it("holds as many as it has room for, in order", function()
    helper.run(function()
      local channel, sent = uring.channel(3), 0
      local t = uring.spawn(function()
        for i = 1, 10 do
          channel:send(i)
          sent = i
        end
      end)
      turns()
      assert.same({ 3, 3 }, { sent, #channel })
      for i = 1, 10 do
        assert.equal(i, channel:receive())
        turns()
        assert.equal(math.min(10, i + 3), sent)
      end
      t:join()
      assert.equal("uring.Channel (0 of 3)", tostring(channel))
    end)
  end)

  it("takes several values at once, of which the first is not nil", function()
    helper.run(function()
      for _, capacity in ipairs { 0, 1, 4 } do
        local channel = uring.channel(capacity)
        local values = { table.pack(1), table.pack(1, nil),
          table.pack(false, nil, 3, nil), table.pack({}, "x") }
        uring.spawn(function()
          for _, v in ipairs(values) do
            channel:send(table.unpack(v, 1, v.n))
          end
        end)
        for _, v in ipairs(values) do
          assert.same(v, table.pack(channel:receive()))
        end
        for _, f in ipairs { channel.send, channel.try_send,
            channel.sending } do
          mistake("other than nil", f, channel)
          mistake("other than nil", f, channel, nil)
          mistake("other than nil", f, channel, nil, 1)
        end
        assert.equal(0, #channel)
      end
    end)
  end)

  it("that is closed gives what it holds, then EPIPE", function()
    helper.run(function()
      for _, capacity in ipairs { 0, 2 } do
        local channel = uring.channel(capacity)
        for i = 1, capacity do channel:send(i, nil) end
        local waiting = uring.spawn(function() return channel:send "no" end)
        local choosing = uring.spawn(function()
          return uring.select { c = channel:sending "no" }
        end)
        turns()
        assert.is_true(channel:close())
        assert.is_true(channel:close())
        refused("send", select(2, waiting:join()))
        local function rest(_, key, ...)
          assert.equal("c", key)
          return ...
        end
        refused("send", rest(choosing:join()))
        refused("send", channel:send(1))
        refused("send", channel:try_send(1))
        for i = 1, capacity do
          assert.same({ n = 2, i, nil }, table.pack(channel:receive()))
        end
        refused("receive", channel:receive())
        refused("receive", channel:receive(0))
        refused("receive", channel:try_receive())
        assert.truthy(tostring(channel):find "closed")
      end
      -- a task that waits to receive is told too
      local channel = uring.channel()
      local waiting = uring.spawn(function() return channel:receive() end)
      turns()
      channel:close()
      refused("receive", select(2, waiting:join()))
      -- as a variable that is closed
      local other
      do
        local c <close> = uring.channel(1)
        other = c
        c:send(1)
      end
      assert.equal(1, other:receive())
      refused("receive", other:receive())
    end)
  end)

  it("is iterated over until it is closed and empty", function()
    helper.run(function()
      for _, capacity in ipairs { 0, 2 } do
        local channel, got = uring.channel(capacity), {}
        local ends = 0
        for _ = 1, 3 do
          uring.spawn(function()
            for value, other in channel:messages() do
              got[#got + 1] = { value, other }
            end
            ends = ends + 1
          end)
        end
        for i = 1, 10 do channel:send(i, -i) end
        channel:close()
        turns()
        assert.equal(3, ends)
        assert.equal(10, #got)
        for _, v in ipairs(got) do assert.equal(v[1], -v[2]) end
      end
    end)
  end)

  it("is tried without waiting, outside of tasks too", function()
    local channel = uring.channel(1)
    local function full(...)
      assert.same({ n = 3, nil, "send: the channel is full", E.EAGAIN },
        table.pack(...))
    end
    local function empty(...)
      assert.same({ n = 3, nil, "receive: the channel is empty", E.EAGAIN },
        table.pack(...))
    end
    empty(channel:try_receive())
    assert.is_true(channel:try_send(1, nil))
    full(channel:try_send(2))
    assert.same({ n = 2, 1, nil }, table.pack(channel:try_receive()))
    empty(channel:try_receive())
    mistake("under uring.run", channel.send, channel, 1)
    mistake("under uring.run", channel.receive, channel)
    mistake("under uring.run", channel.receive, channel, 0)
    mistake("under uring.run", channel:messages(), channel)
    assert.is_true(channel:try_send(3))
    mistake("under uring.run", channel.receive, channel)  -- (ready or not)
    helper.run(function()
      assert.equal(3, channel:receive())
      -- a rendezvous, with a waiter
      local meeting = uring.channel()
      full(meeting:try_send(1))
      empty(meeting:try_receive())
      local t = uring.spawn(function() return meeting:receive() end)
      turns()
      assert.is_true(meeting:try_send(1))
      full(meeting:try_send(2))
      assert.same({ true, 1 }, { t:join() })
      t = uring.spawn(function() return meeting:send(2) end)
      turns()
      assert.equal(2, meeting:try_receive())
      empty(meeting:try_receive())
      assert.same({ true, true }, { t:join() })
    end)
    channel:close()
    refused("receive", channel:try_receive())
  end)

  it("serves first the task that came first", function()
    helper.run(function()
      local channel, order = uring.channel(), {}
      for i = 1, 5 do
        uring.spawn(function() order[i] = channel:receive() end)
      end
      turns()
      for i = 1, 5 do channel:send(i) end
      turns()
      assert.same({ 1, 2, 3, 4, 5 }, order)
      for i = 1, 5 do uring.spawn(channel.send, channel, i) end
      turns()
      for i = 1, 5 do assert.equal(i, channel:receive()) end
    end)
  end)

  it("does not starve other tasks where no task has to wait", function()
    helper.run(function()
      local channel, turn, done = uring.channel(1), 0, false
      uring.spawn(function()
        while not done do
          turn = turn + 1
          uring.sleep(0)
        end
      end)
      for i = 1, 1000 do
        channel:send(i)
        channel:receive()
      end
      done = true
      assert.truthy(turn >= 20, turn .. " turns")
    end)
  end)

  it("ends a wait after its timeout", function()
    helper.run(function()
      local channel = uring.channel()
      for _, seconds in ipairs { 0, 0.001, 0.01 } do
        local start = uring.now()
        timed_out(channel:receive(seconds))
        assert.truthy(uring.now() - start >= seconds)
        timed_out(uring.timeout(seconds, channel.receive, channel))
        timed_out(uring.timeout(seconds, channel.send, channel, 1))
        timed_out(uring.select({ channel:sending(1) }, seconds))
      end
      assert.is_nil((channel:try_receive()))
      assert.is_nil((channel:try_send(1)))
      -- a poll finds a task that is about to send
      uring.spawn(channel.send, channel, "v")
      assert.equal("v", channel:receive(0))
      for _, bad in ipairs { -1, 0 / 0, "1", {} } do
        mistake(("(seconds %s, got %s)"):format(
          type(bad) == "number" and "must be 0 or more" or "expected",
          type(bad) == "number" and bad or type(bad)),
          channel.receive, channel, bad)
      end
      local t = uring.spawn(function() return channel:receive(math.huge) end)
      turns()
      channel:send "late"
      assert.same({ true, "late" }, { t:join() })
    end)
  end)

  it("refuses other objects in its place", function()
    local channel = uring.channel()
    for _, name in ipairs { "send", "receive", "try_send", "try_receive",
        "sending", "receiving", "messages", "close" } do
      mistake("uring.Channel expected, got number", channel[name], 5)
      mistake("uring.Channel expected, got table", channel[name], {})
    end
    for _, capacity in ipairs { -1, 1.5, "1", {}, false } do
      if capacity ~= false then
        mistake("capacity expected", uring.channel, capacity)
      end
    end
  end)

  it("shows itself and its events as strings", function()
    local channel = uring.channel(2)
    channel:try_send(1)
    assert.equal("uring.Channel (1 of 2)", tostring(channel))
    assert.equal("uring.Event (receiving of uring.Channel (1 of 2))",
      tostring(channel:receiving()))
    assert.equal("uring.Event (sending of uring.Channel (1 of 2): 1)",
      tostring(channel:sending(1)))
  end)

  it("does not keep tasks that have left its wait queues", function()
    helper.run(function()
      local channel = uring.channel()
      local kept = setmetatable({}, { __mode = "k" })
      for _ = 1, 10 do
        local value = {}
        kept[value] = true
        uring.timeout(0, channel.send, channel, value)
        local t = uring.spawn(channel.receive, channel)
        kept[t] = true
        turns(1)
        t:cancel()
        t:join()
      end
      helper.collect()
      assert.is_nil(next(kept))
    end)
  end)
end)

describe("a channel that is closed while tasks select over it", function()
  it("is what they choose, though another event is ready by then", function()
    helper.run(function()
      for _ = 1, 20 do
        local stop, other = uring.channel(), uring.channel(1)
        local task = uring.spawn(function()
          return uring.select { stop = stop:receiving(),
            other = other:receiving(), send = stop:sending(1) }
        end)
        turns(1)
        stop:close()
        other:send "x"
        local _, key = task:join()
        assert.truthy(key == "stop" or key == "send")
        assert.equal("x", other:try_receive())
      end
    end)
  end)
end)

describe("a finalizer", function()
  it("that sends while a channel grows leaves it within its capacity",
    function()
      helper.needs_eager_collector()
      local channel, sent = uring.channel(2), 0
      assert.is_true(channel:try_send(1))
      helper.collect()
      collectgarbage "stop"
      collectgarbage("incremental", 10, 1000, 30)  -- a cycle each time
      setmetatable({}, { __gc = function()
        if channel:try_send(2) then sent = sent + 1 end
      end })
      collectgarbage "restart"
      local ok = channel:try_send(3)
      collectgarbage("incremental", 200, 100, 13)
      assert.equal(1, sent)
      assert.is_nil(ok)
      assert.same({ 2, 1, 2 }, { #channel, channel:try_receive(),
        channel:try_receive() })
    end)

  it("finds a channel and a semaphore that were collected closed", function()
    local why = {}
    local function collected(name, make, use)
      -- (finalizers run in the reverse order of creation)
      local box = setmetatable({}, { __gc = function(box)
        why[name] = select(2, pcall(use, box.object))
      end })
      box.object = make(1)
    end
    collected("channel", uring.channel, function(c) c:try_send(1) end)
    collected("semaphore", uring.semaphore, function(s) s:release() end)
    helper.collect()
    assert.truthy(why.channel:find "this channel was collected")
    assert.truthy(why.semaphore:find "this semaphore was collected")
  end)
end)

describe("a task that cannot take a message", function()
  it("passes it to the next one when it goes on to another wait", function()
    helper.run(function()
      local channel = uring.channel(1)
      local failed, got
      local first = uring.spawn(function()
        local ok, why = helper.deep(5000, function() channel:receive() end)
        failed = not ok and why
        uring.sleep(60)
      end)
      turns(1)
      local second = uring.spawn(function()
        got = select("#", channel:receive())
      end)
      turns(1)
      assert.is_true(channel:send(table.unpack({ 1 }, 1, 980000)))
      assert.is_true(second:join(10))
      assert.truthy(failed:find("too many values", 1, true), failed)
      assert.equal(980000, got)
      first:cancel()
    end)
  end)
end)

describe("a task that is cancelled", function()
  it("before it waits at a channel leaves it as it was", function()
    helper.run(function()
      local channel = uring.channel(1)
      channel:send "there"
      local log = {}
      local t = uring.spawn(function()
        local me = uring.current()
        me:cancel()
        for i, f in ipairs { channel.receive, channel.send,
            function() uring.select { channel:receiving() } end } do
          local ok, err = pcall(f, channel, i > 1 and "x" or nil)
          log[i] = not ok and err == uring.cancelled
        end
      end)
      t:join()
      assert.same({ true, true, true }, log)
      assert.same({ 1, "there" }, { #channel, channel:receive() })
    end)
  end)

  it("while it waits neither sends nor receives", function()
    helper.run(function()
      local channel = uring.channel()
      for _, stop in ipairs { function(t) t:cancel() end,
          function(t) t:cancel() t:join() end } do
        local r = uring.spawn(channel.receive, channel)
        turns()
        stop(r)
        assert.is_nil((channel:try_send(1)))
        local s = uring.spawn(channel.send, channel, 1)
        turns()
        stop(s)
        assert.is_nil((channel:try_receive()))
        turns()
      end
    end)
  end)

  it("after it was served gives the value back to its place", function()
    helper.run(function()
      for _, capacity in ipairs { 0, 2 } do
        local channel = uring.channel(capacity)
        local r = uring.spawn(channel.receive, channel)
        turns()
        assert.is_true(channel:try_send(1, nil, 3))
        for i = 2, capacity do channel:try_send(i) end
        r:cancel()
        r:join()
        assert.equal("cancelled", r:status())
        assert.same({ n = 3, 1, nil, 3 }, table.pack(channel:receive()))
        for i = 2, capacity do assert.equal(i, channel:receive()) end
        assert.is_nil((channel:try_receive()))
        -- a sender has sent by then
        local s = uring.spawn(channel.send, channel, "sent")
        turns()
        assert.equal("sent", channel:receive())
        s:cancel()
        s:join()
        assert.is_nil((channel:try_receive()))
        -- and it is there, though the channel was closed meanwhile
        r = uring.spawn(channel.receive, channel)
        turns()
        channel:try_send "last"
        channel:close()
        r:cancel()
        r:join()
        assert.equal("last", channel:receive())
        refused("receive", channel:receive())
      end
    end)
  end)

  it("by coroutine.close loses no value", function()
    for _, when in ipairs { "before", "after" } do
      local got, channel
      helper.raises("ended from outside", uring.run, function()
        local co
        channel = uring.channel()
        uring.spawn(function()
          co = coroutine.running()
          channel:receive()
        end)
        turns()
        if when == "after" then assert.is_true(channel:try_send "v") end
        assert.is_true(coroutine.close(co))
        if when == "before" then assert.is_nil((channel:try_send "v")) end
        got = channel:try_receive()
      end)
      assert.equal(when == "after" and "v" or nil, got)
    end
  end)
end)

describe("many senders and receivers", function()
  -- What happens to each value is noted where it is known: a send that was
  -- accepted, a send that was refused, or one whose task was cancelled, in
  -- which case it is either.
  local function storm(seed, capacity)
    local random = seed
    local function rnd(n)
      random = (random * 6364136223846793005 + 1442695040888963407)
      return (random >> 33) % n + 1
    end
    local accepted, unsure, received, n = {}, {}, {}, 0
    local channel = uring.channel(capacity)

    local function receive(value)
      if value == nil then return end
      assert.is_nil(received[value], "received twice")
      received[value] = true
    end

    local function sender()
      for _ = 1, 20 do
        n = n + 1
        local mine = n
        unsure[mine] = true
        local way = rnd(4)
        local ok
        if way == 1 then ok = channel:try_send(mine)
        elseif way == 2 then
          ok = uring.timeout(rnd(3) / 10000, channel.send, channel, mine)
        elseif way == 3 then
          local key
          key, ok = uring.select({ s = channel:sending(mine),
            t = uring.after(rnd(3) / 10000) }, rnd(2) == 1 and 0 or nil)
          if key ~= "s" then ok = nil end
        else ok = channel:send(mine) end
        unsure[mine] = nil
        if ok == true then accepted[mine] = true end
        if rnd(5) == 1 then uring.sleep(0) end
      end
    end

    local function receiver()
      for _ = 1, 20 do
        local way = rnd(4)
        if way == 1 then receive((channel:try_receive()))
        elseif way == 2 then receive((channel:receive(rnd(3) / 10000)))
        elseif way == 3 then
          local key, value = uring.select({ r = channel:receiving(),
            t = uring.after(rnd(3) / 10000) })
          if key == "r" then receive(value) end
        else receive((channel:receive(0.002))) end
        if rnd(5) == 1 then uring.sleep(0) end
      end
    end

    helper.run(function()
      uring.scope(function(scope)
        local tasks = {}
        for i = 1, 12 do
          tasks[#tasks + 1] = scope:spawn(i % 2 == 0 and sender or receiver)
        end
        for _ = 1, 8 do
          uring.sleep(rnd(3) / 2000)
          tasks[rnd(#tasks)]:cancel()
          tasks[#tasks + 1] = scope:spawn(rnd(2) == 1 and sender
            or receiver)
        end
        uring.sleep(0.01)
        for _, t in ipairs(tasks) do t:cancel() end
      end)
      for value in channel.try_receive, channel do receive(value) end
    end)
    for value in pairs(accepted) do
      assert.truthy(received[value], "accepted, and never received")
    end
    for value in pairs(received) do
      assert.truthy(accepted[value] or unsure[value],
        "received, and told the sender that it was not")
    end
    -- no waiter is left
    for _ = 1, capacity do assert.is_true(channel:try_send(1)) end
    assert.is_nil((channel:try_send(1)))
    for _ = 1, capacity do assert.equal(1, channel:try_receive()) end
    assert.is_nil((channel:try_receive()))
    return accepted
  end

  for _, capacity in ipairs { 0, 1, 5 } do
    it("lose and double no value, with capacity " .. capacity, function()
      local some = false
      for seed = 1, 8 do
        if next(storm(seed * 7919 + capacity, capacity)) then some = true end
      end
      assert.is_true(some)
    end)
  end
end)
