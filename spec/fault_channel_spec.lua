-- Whatever error strikes in a channel or a semaphore, and where, it stays what
-- it was: a value is in it or was received, once, and a waiter is served.

local faults = require "faults"
local helper = require "helper"

local it = helper.needs_ring(it)

-- luacheck: globals T uring


-- ---- not enough memory ----------------------------------------------------

-- Each of these does several things, of which any may fail: `try` does one,
-- and answers what that has returned, if it has.
local function scenarios()
  local S = {}

  local function turns(n)
    for _ = 1, n do uring.sleep(0) end
  end

  -- What was accepted by the channel and what it has given; both are noted in
  -- tables that are large enough, so that to note something cannot fail.
  local function book()
    local b = { accepted = {}, received = {}, sent = 0, got = 0 }
    for i = 1, 64 do b.accepted[i], b.received[i] = false, false end
    return b
  end

  local function send(try, b, c, value, ...)
    if try(c.try_send, c, value, ...) then
      b.sent = b.sent + 1
      b.accepted[b.sent] = value
    end
  end

  local function received(b, value)
    if value then
      b.got = b.got + 1
      b.received[b.got] = value
    end
  end

  -- All that is accepted comes, once.
  local function check(b, c, capacity)
    local left = #c
    for value in c.try_receive, c do
      received(b, value)
      left = left - 1
    end
    assert(left == 0, "it was miscounted by " .. left)
    table.sort(b.accepted, function(x, y) return (x or 99) < (y or 99) end)
    table.sort(b.received, function(x, y) return (x or 99) < (y or 99) end)
    for i = 1, 64 do
      assert(b.accepted[i] == b.received[i], ("accepted %s, received %s")
        :format(b.accepted[i], b.received[i]))
    end
    -- nor is any waiter left
    local sent = c:try_send "x"
    assert((sent or nil) == (capacity > 0 or nil))
    assert(c:try_receive() == (sent and "x" or nil))
  end

  function S.queue(try)
    local c, b = uring.channel(2), book()
    for i = 1, 4 do send(try, b, c, i) end
    received(b, try(c.try_receive, c))
    send(try, b, c, 5, 5, 5)
    send(try, b, c, 6)
    for _ = 1, 4 do received(b, try(c.try_receive, c)) end
    check(b, c, 2)
  end

  -- Receivers that wait: some are cancelled with a value in hand.
  function S.receivers(try)
    for _, wait in ipairs {
      function(c) return c:receive() end,
      function(c) return select(2, uring.select { c:receiving() }) end,
    } do
      local c, b, tasks = uring.channel(2), book(), {}
      for i = 1, 4 do
        tasks[i] = uring.spawn(function() received(b, (wait(c))) end)
      end
      turns(1)
      for i = 1, 3 do
        if i == 2 then send(try, b, c, i, i)
        else send(try, b, c, i) end
      end
      tasks[1]:cancel()
      received(b, try(c.try_receive, c))
      tasks[3]:cancel()
      send(try, b, c, 4)
      send(try, b, c, 5)
      received(b, try(c.try_receive, c))
      turns(2)
      for _, t in ipairs(tasks) do t:cancel() end
      turns(2)
      check(b, c, 2)
    end
  end

  -- Senders that wait: what they send is accepted when they say so.
  function S.senders(try)
    for _, capacity in ipairs { 0, 1 } do
      local c, b, tasks = uring.channel(capacity), book(), {}
      for i = 1, 6 do
        tasks[i] = uring.spawn(function()
          local ok
          if i % 2 == 0 then ok = c:send(i, i)
          else ok = select(2, uring.select { c:sending(i) }) end
          if ok then
            b.sent = b.sent + 1
            b.accepted[b.sent] = i
          end
        end)
      end
      turns(1)
      for _ = 1, 3 do received(b, try(c.try_receive, c)) end
      tasks[5]:cancel()
      received(b, try(c.try_receive, c))
      turns(2)
      received(b, try(c.try_receive, c))
      for _, t in ipairs(tasks) do t:cancel() end
      turns(2)
      check(b, c, capacity)
    end
  end

  -- A choice that is ready, and one that is not.
  function S.choices(try)
    local c, d, b = uring.channel(2), uring.channel(), book()
    send(try, b, c, 1)
    send(try, b, c, 2, 2)
    for _ = 1, 3 do
      local key, value = try(uring.select, { d:receiving(), c:receiving() }, 0)
      received(b, key and value)
    end
    turns(1)
    check(b, c, 2)
    assert(d:try_send "x" == nil)
  end

  -- A waiter is told of the end, if not at once then with the next call.
  function S.close(try)
    local c, told = uring.channel(), 0
    for _ = 1, 4 do
      uring.spawn(function()
        local value, _, errno = c:receive()
        assert(value == nil and errno == uring.errno.EPIPE)
        told = told + 1
      end)
    end
    turns(1)
    try(c.close, c)
    c:close()
    assert(c:try_receive() == nil)
    turns(2)
    assert(told == 4, told)
  end

  function S.semaphore(try)
    local s, held, tasks = uring.semaphore(1), 0, {}
    if try(s.try_acquire, s) then held = held + 1 end
    for i = 1, 3 do
      tasks[i] = uring.spawn(function()
        if i == 2 then uring.select { s:acquiring() } else s:acquire() end
        held = held + 1
      end)
    end
    turns(1)
    local released = 1
    for i = 1, 3 do
      local before = held
      if try(function() s:release() return true end) then
        released = released + 1
      end
      if i == 1 then tasks[1]:cancel() end
      if try(s.try_acquire, s) then held = held + 1 end
      turns(1)
      assert(held >= before)
    end
    turns(2)
    for _, t in ipairs(tasks) do t:cancel() end
    turns(2)
    assert(#s == released - held, ("%d, not %d - %d"):format(#s, released,
      held))
  end

  return S
end

-- Runs a scenario again and again: of its first step, its second, … the first
-- allocation fails, its second, … until there is none; and so many in a row.
local function shortages(scenario)
  local failed = 0
  for _, failing in ipairs { 1 << 30, 6, 2, 1 } do
    local which, steps = 0, nil
    repeat
      which = which + 1
      local n, met = 0, false
      repeat
        n, steps = n + 1, 0
        uring.run(function()
          met = false
          scenario(function(f, ...)
            steps = steps + 1
            if steps ~= which then return f(...) end
            local ok, a, b = pcall(function(...)
              T.fault.alloc(n, failing)
              return f(...)
            end, ...)
            met = T.fault.alloc() >= n
            if ok then return a, b end
            failed = failed + 1
          end)
        end)
        if n % 10 == 0 then collectgarbage() end
        assert(n < 1000, "it never ends")
      until not met
    until which >= steps
  end
  return failed
end

local before = faults.prelude .. ("scenarios = load(%q) "):format(
  string.dump(scenarios)) .. ("shortages = load(%q)"):format(
  string.dump(shortages))

describe("without memory", function()
  for name in pairs(scenarios()) do
    -- (the others need no memory)
    local may_fail = name == "queue" or name == "receivers"
      or name == "choices"
    it("nothing is lost or doubled: " .. name, function()
      helper.apart(load(("assert((shortages(scenarios()[%q]) > 0) == %s)")
        :format(name, may_fail)), before)
    end)
  end
end)


-- ---- stack overflow -------------------------------------------------------

-- Calls f again and again, with ever less of the stack left, until there is
-- none. That has a million slots, so the way down is in large frames, and the
-- last of it in small ones of every size.
local descend_from = assert(load(([[
  local depth, f = ...
  local function one() f() return 1 end
  local function two() local _ f() return 1 end
  local function three() local _, _ f() return 1 end
  local function small()
    one() two() three()
    local r = small()
    return r
  end
  local function large(n)
    local %s
    if n == 0 then
      local r = small()
      return r
    end
    local r = large(n - 1)
    return r
  end
  pcall(large, depth)
]]):format("_" .. (", _"):rep(189))))

-- f(n) for the last `many` times that are possible.
local function descend(many, f)
  local depth, n = 5208, 0
  repeat
    depth = depth - 1
    descend_from(depth, function() n = n + 1 end)
  until n > many
  descend_from(depth, function()
    n = n - 1
    if n < many then f(many - n) end
  end)
end

local TIMES <const> = 200
local MANY <const> = 4 * TIMES  -- (it may be possible more often)

describe("after a stack overflow", function()
  local uring = require "uring"

  -- A channel and, of each value from 1 to MANY, was it sent and received?
  -- (To note it calls nothing.)
  local function world(capacity)
    local w = { channel = uring.channel(capacity), sent = {}, received = {} }
    for i = 1, MANY do w.sent[i], w.received[i] = false, false end
    return w
  end

  local function try_send(w, ...)
    local ok, sent = pcall(w.channel.try_send, w.channel, ...)
    if ok and sent then w.sent[...] = true end
    return ok and sent
  end

  local function try_receive(w)
    local ok, value = pcall(w.channel.try_receive, w.channel)
    if ok and value then
      if w.received[value] then w.twice = value end
      w.received[value] = true
    end
    return ok and value
  end

  local function try_select(w)
    local ok, _, value = pcall(uring.select, w.events, 0)
    if ok and value then w.received[value] = true end
  end

  local function check(w)
    assert.is_nil(w.twice)
    while #w.channel > 0 do assert(try_receive(w)) end
    assert.is_nil((w.channel:try_receive()))
    assert.same(w.sent, w.received)
  end

  it("a channel has lost and doubled nothing", function()
    helper.run(function()
      local queue, fed = world(MANY * 2), world(0)
      local met, admitted = world(0), world(1)
      local taken = uring.semaphore(0)
      local cut_short, fell, acquired = 0, 0, 0
      local receivers, tasks = {}, {}
      assert(admitted.channel:send(1))
      admitted.sent[1] = true
      for i = 2, MANY do
        receivers[#receivers + 1] = uring.spawn(function()
          local value = fed.channel:receive()
          if fed.received[value] then fed.twice = value end
          fed.received[value] = true
        end)
        for _, w in ipairs { met, admitted } do
          tasks[#tasks + 1] = uring.spawn(function()
            if i % 2 == 0 then w.sent[i] = w.channel:send(i, "and more")
            else w.sent[i] = select(2, uring.select {
              w.channel:sending(i) }) end
          end)
        end
        tasks[#tasks + 1] = uring.spawn(function()
          taken:acquire()
          acquired = acquired + 1
        end)
      end
      uring.sleep(0)
      queue.events = { queue.channel:receiving() }
      descend(TIMES, function(n)
        cut_short = cut_short + 1
        if n % 2 == 0 then try_send(queue, n)
        else try_send(queue, n, "and more") end
        if n % 3 == 1 then try_receive(queue) end
        if n % 3 == 2 then try_select(queue) end
        if try_send(fed, n) and n % 3 == 0 then
          fell = fell + 1
          if receivers[fell] then receivers[fell]:cancel() end
          if n % 2 == 0 then try_receive(fed) end
        end
        try_receive(met)
        try_receive(admitted)
        if pcall(taken.release, taken) then acquired = acquired - 1 end
        cut_short = cut_short - 1
      end)
      assert.truthy(cut_short > 0)
      uring.sleep(0)
      for _, list in ipairs { receivers, tasks } do
        for _, t in ipairs(list) do t:cancel() end
        for _, t in ipairs(list) do t:join() end
      end
      for _, w in ipairs { queue, fed, met, admitted } do check(w) end
      assert.equal(0, acquired)
    end)
  end)
end)
