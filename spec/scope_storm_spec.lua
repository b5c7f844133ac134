-- A storm: tasks that open scopes, timeouts and shields, spawn, wait in every
-- way, cancel each other, throw, close coroutines and collect garbage at
-- random. What was sent arrives once, no scope ends before its tasks, and
-- nothing is kept: no buffer either.
--
-- See spec/support/storm.lua for how one is repeated, or goes on for long.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local storm = require "storm"
local uring = require "uring"

local it = helper.needs_ring(it)

local random, pick = math.random, storm.pick

local finally <const> = helper.finally

-- What must never be, noted where nothing catches it.
local fault

local function check(ok, ...)
  if not ok then
    fault = fault or debug.traceback(string.format(...), 2)
    error(fault, 0)
  end
end

-- ---- what is sent ---------------------------------------------------------

-- Every value is a number of its own. A send that was not told how it ended
-- may have sent it or not; one that was told so has.
local books, last, world
-- The sender of it, the latest that came from a sender to a receiver by
-- a channel, and what was the last when a task that may have been handed one
-- gave it back.
local senders, latest, given_back

local function sending()
  last = last + 1
  books[last] = "perhaps"
  senders[last] = uring.current()
  return last
end

local function sent(n)
  check(books[n], "%s was never sent", n)
  if books[n] == "perhaps" then books[n] = "sent" end
end

local function received(value)
  local n = math.tointeger(tonumber(value))
  check(books[n], "%q was received, and never sent", value)
  check(books[n] ~= "received", "%d was received twice", n)
  books[n] = "received"
end

-- A wait for what a channel hands over, to be closed at its end. What was
-- handed to a task that is cancelled before it runs may be overtaken.
local function taking()
  return finally(function(self)
    if not self.over then given_back = last end
  end)
end

local function within(list, key)
  list[key] = list[key] or {}
  return list[key]
end

-- By a channel, where what one task sends another gets in order. (A task
-- that was handed one goes on in its turn; one that comes before it gets the
-- next.)
local function came(channel, n)
  received(n)
  local of = within(within(latest, channel), uring.current() or "nobody")
  local sender = senders[n]
  check((of[sender] or 0) < n or n <= given_back, "%d came after %s", n,
    of[sender])
  of[sender] = n
end

-- What is sent by a stream has eight bytes, and goes whole or not; readers get
-- it in pieces, in order.
local function record(n) return ("%7d\n"):format(n) end

local function read(bytes)
  local all = world.bytes .. bytes
  local whole = #all // 8 * 8
  world.bytes = all:sub(whole + 1)
  for n in all:sub(1, whole):gmatch "[^\n]+" do received(n) end
end

local function balance()
  for n, state in ipairs(books) do
    check(state ~= "sent", "%d of %d was lost", n, last)
  end
end


-- ---- the world ------------------------------------------------------------

local function make_world()
  books, last, senders, latest, given_back = {}, 0, {}, {}, 0
  local a, b = assert(uring.socketpair(uring.SOCK_DGRAM))
  local c, d = assert(uring.socketpair(uring.SOCK_STREAM))
  local name = ("@uring-storm-%d-%d"):format(spec.getpid(), random(1 << 30))
  local r, w = spec.pipe()
  world = {
    budget = random(20, 600),
    tasks = {}, scopes = {}, threads = {}, n = 0,
    channels = { uring.channel(0), uring.channel(1), uring.channel(5) },
    semaphore = uring.semaphore(2), inside = 0,
    ring = assert(uring.ring { entries = 8 }),
    a = a, b = b, c = c, d = d, r = r, w = w, bytes = "",
    name = name, listener = assert(uring.unix.listen(name)),
  }
end

-- All that is still somewhere, and the end of everything.
local function end_world()
  local done
  net.run(function()
    for _, channel in ipairs(world.channels) do
      while true do
        local n = channel:try_receive()
        if not n then break end
        came(channel, n)
      end
    end
    while true do
      local _, n = world.ring:receive(0)
      if type(n) ~= "number" then break end
      received(n)
    end
    while true do
      local n = world.b:recv(100, 0)
      if not n then break end
      received(n)
    end
    while true do
      local bytes = world.d:recv(100, 0)
      if not bytes then break end
      read(bytes)
    end
    done = true
  end)
  check(done, "a task was cancelled that began afterwards")
  balance()
  check(world.bytes == "", "the stream ends in %q", world.bytes)
  check(#world.semaphore == 2, "the semaphore has %d of 2", #world.semaphore)
  check(world.inside == 0, "%d are inside", world.inside)
  local stats = helper.lawful(world.ring)
  check(stats.in_flight == 0, "%d in flight", stats.in_flight)
  world.ring:close()
  for _, name in ipairs { "a", "b", "c", "d", "listener" } do
    world[name]:close()
  end
  spec.close(world.r)
  spec.close(world.w)
  world = nil
end


-- ---- what tasks do --------------------------------------------------------

local act

local function brief() return pick { 0, 0, 0.0001, 0.0005, 0.002 } end

local function acts(depth, n)
  for _ = 1, n do act(depth) end
end

-- Spawns by one of the ways into a scope; its books say which tasks are in it.
local function body(book, depth)
  return function()
    book.n = book.n + 1
    world.threads[#world.threads + 1] = coroutine.running()
    local _ <close> = finally(function() book.n = book.n - 1 end)
    acts(depth + 1, random(5))
  end
end

local function spawn(book, depth, scope)
  local f = body(book, depth)
  local task
  if scope then task = pick { scope.spawn, scope.daemon } (scope, f)
  else task = pick { uring.spawn, uring.daemon } (f) end
  world.tasks[#world.tasks + 1] = task
  return task
end

-- Cancelled tasks mostly go on being so.
local function guarded(ok, err, ...)
  if ok then return err, ... end
  if err == uring.cancelled and random(10) > 1 then error(err, 0) end
end

local function scope(depth)
  local book = { n = 0 }
  guarded(pcall(function()
    local over = finally(function(_, err)
      -- (a body that was closed from outside cannot wait for its tasks)
      if book.done or err ~= nil then
        check(book.n == 0, "a scope ended with %d tasks", book.n)
      end
    end)
    local _ <close> = over
    uring.scope(function(s)
      world.scopes[#world.scopes + 1] = s
      for _ = 1, random(0, 5) do
        spawn(book, depth, random(2) == 1 and s or nil)
        if random(3) == 1 then act(depth + 1) end
      end
    end)
    book.done = true
  end))
end

local function wait_or_not(f, ...)
  if random(3) == 1 then return uring.timeout(brief(), f, ...) end
  return f(..., brief())
end

local waits = {
  function() uring.sleep(brief()) end,
  function() uring.await(uring.sqe():prep_nop()) end,
  function()
    uring.await(uring.sqe():prep_poll_add(world.r, uring.POLLIN), brief())
  end,
  function()
    uring.timeout(brief(), world.ring.await_chain, world.ring, {
      uring.sqe():prep_nop(),
      uring.sqe():prep_poll_add(world.r, uring.POLLIN) })
  end,
  function()
    local fd = uring.await(uring.sqe():prep_openat(uring.AT_FDCWD,
      "/dev/null", uring.O_RDONLY))
    if fd then spec.close(fd) end
  end,
  function()
    local op = world.ring:queue(uring.sqe():prep_nop())
    op:await(brief())
  end,
  function()
    local n = sending()
    if world.ring:await(uring.sqe():prep_msg_ring(world.ring, 1, n)) then
      sent(n)
    end
  end,
  function()
    local _, n = wait_or_not(world.ring.receive, world.ring)
    if type(n) == "number" then received(n) end
  end,
  function()
    local n = sending()
    if uring.timeout(brief(), pick(world.channels).send,
      pick(world.channels), n) then sent(n) end
  end,
  function()
    local channel = pick(world.channels)
    local wait <close> = taking()
    local n = wait_or_not(channel.receive, channel)
    wait.over = n ~= nil
    if n then came(channel, n) end
  end,
  function()
    local n = sending()
    if pick(world.channels):try_send(n) then sent(n) end
  end,
  function()
    local n = sending()
    if world.a:send(tostring(n), brief()) then sent(n) end
  end,
  function()
    local n = world.b:recv(100, brief())
    if n then received(n) end
  end,
  function()
    local n = sending()
    if world.c:send(record(n), brief()) then sent(n) end
  end,
  function()
    local bytes = world.d:recv(random(12), brief())
    if bytes then read(bytes) end
  end,
  -- (for as long as it likes: to break is the storm's)
  function()
    uring.timeout(brief(), function()
      for bytes in world.d:chunks { size = 64, lease = random(4) == 1 } do
        if type(bytes) == "string" then read(bytes)
        else
          read(bytes:string())
          if random(2) == 1 then bytes:release() end
        end
        if random(3) == 1 then break end
      end
    end)
  end,
  function()
    uring.timeout(brief(), function()
      for message in world.b:messages { size = 64, lease = random(4) == 1 } do
        if type(message) == "string" then received(message)
        else
          received(message:string())
          if random(2) == 1 then message:release() end
        end
        if random(3) == 1 then break end
        if random(8) == 1 then uring.sleep(brief()) end
      end
    end)
  end,
  function()
    local client <close> = uring.unix.connect(world.name, brief())
    if client and random(2) == 1 then uring.sleep(brief()) end
  end,
  function()
    uring.timeout(brief(), function()
      for client in world.listener:connections() do
        client:close()
        if random(3) == 1 then break end
      end
    end)
  end,
  function()
    local client <close> = world.listener:accept(brief())  -- luacheck: ignore
  end,
  function()
    local n, m = sending(), sending()
    local key, one = uring.timeout(brief(), uring.select, {
      message = world.b:receiving(),
      bytes = world.d:receiving(random(12)),
      client = world.listener:accepting(),
      sent = random(3) == 1 and world.a:sending(tostring(n)) or nil,
      recorded = random(3) == 1 and world.c:sending(record(m)) or nil,
      time = random(2) == 1 and uring.after(brief()) or nil,
    }, random(3) == 1 and 0 or nil)
    if key == "message" and one then received(one)
    elseif key == "bytes" and one then read(one)
    elseif key == "client" and one then one:close()
    elseif key == "sent" and one then sent(n)
    elseif key == "recorded" and one then
      check(one == 8, "%d bytes of a record went", one)
      sent(m)
    end
  end,
  function()
    if wait_or_not(world.semaphore.acquire, world.semaphore) then
      local _ <close> = finally(function()
        world.inside = world.inside - 1
        world.semaphore:release()
      end)
      world.inside = world.inside + 1
      check(world.inside <= 2, "%d are inside", world.inside)
      uring.sleep(brief())
    end
  end,
  function()
    local task = pick(world.tasks)
    if task and task ~= uring.current() then task:join(brief()) end
  end,
  function()
    local n = sending()
    local task, channel = pick(world.tasks), pick(world.channels)
    local events = {
      channel = channel:receiving(),
      sent = pick(world.channels):sending(n),
      ring = world.ring:receiving(),
      time = uring.after(brief()),
      task = task and task ~= uring.current() and task:joining() or nil,
      call = random(3) == 1 and uring.event(uring.sleep, brief()) or nil,
      nop = random(3) == 1 and world.ring:awaiting(uring.sqe():prep_nop())
        or nil,
    }
    local wait <close> = taking()
    local key, one, two = uring.select(events, random(3) == 1 and 0 or nil)
    wait.over = true
    if key == "channel" then came(channel, one)
    elseif key == "sent" and one then sent(n)
    elseif key == "ring" then received(two) end
  end,
}

local acts_of = {
  scope, scope,
  function(depth) uring.timeout(brief(), acts, depth + 1, random(4)) end,
  function(depth) uring.shield(brief(), acts, depth + 1, random(3)) end,
  function(depth) uring.wrap(function()
    world.threads[#world.threads + 1] = coroutine.running()
    acts(depth + 1, random(3))
  end)() end,
  function()
    local f = uring.wrap(function()
      uring.sleep(brief())
      coroutine.yield(1)
      uring.sleep(brief())
    end)
    f()
    if random(2) == 1 then f() end
  end,
  function(depth) guarded(pcall(acts, depth + 1, random(3))) end,
  function(depth) spawn({ n = 0 }, depth) end,
  function()
    local task = pick(world.tasks)
    if task and random(4) == 1 then task:cancel(random(3)) end
  end,
  function()
    local s = pick(world.scopes)
    if s and random(4) == 1 then s:cancel(random(3)) end
  end,
  function(depth)
    local s = pick(world.scopes)
    if s and tostring(s) ~= "uring.Scope (ended)" then
      pcall(spawn, { n = 0 }, depth, s)
    end
  end,
  function()
    local co = pick(world.threads)
    if co and random(6) == 1 and coroutine.status(co) == "suspended" then
      coroutine.close(co)
    end
  end,
  function() if random(6) == 1 then error { storm = true } end end,
  function() if random(6) == 1 then collectgarbage() end end,
  function() if random(10) == 1 then assert(uring.tree()) end end,
}

function act(depth)
  world.budget = world.budget - 1
  if world.budget < 0 then return uring.sleep(0) end
  if depth > 12 or random(2) == 1 then pick(waits)()
  else pick(acts_of)(depth) end
end

-- The errors of the program's own.
local function expected(err)
  return err == uring.cancelled or type(err) == "table" and err.storm
    or tostring(err):find("ended from outside", 1, true)
    or tostring(err):find("was closed while it waited", 1, true)
    or tostring(err):find("has ended", 1, true)
end

local function round()
  make_world()
  local started = os.time()
  local ok, err = pcall(uring.run, function()
    local book = { n = 0 }
    local done, why = pcall(uring.scope, function(s)
      for _ = 1, random(6) do spawn(book, 0, s) end
      repeat uring.sleep(0.001) until world.budget < 0 or random(15) == 1
      if random(2) == 1 then s:cancel "it is over" end
      if random(2) == 1 then error { storm = true } end
    end)
    check(book.n == 0, "%d tasks are left", book.n)
    if not done then error(why, 0) end
  end)
  if fault then error(fault, 0) end
  if not ok and not expected(err) then error(err, 0) end
  check(os.time() - started < 10 * helper.slow, "it took too long")
  check(#uring.tasks() == 0, "tasks are left:\n%s", uring.tree())
  end_world()
  helper.idle_loop()
end

it("a storm of scopes loses nothing, and keeps nothing", function()
  net.run(function() uring.loop():ring():ref() end)
  storm.rounds(1.5, round, function()
    net.run(function() net.whole(64) end)
  end)
end)
