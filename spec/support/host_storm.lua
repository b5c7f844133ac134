-- The script of spec/c/host_storm.c: it runs actions that are drawn, in tasks,
-- in finalizers, to-be-closed variables and hooks, in on_error and on_slow.
-- Each may fail; nothing may crash or hang.

-- luacheck: globals uring host host_time closing

local draw <const> = host.draw
local SHORT <const> = 0.001  -- a wait that may be for nothing
local DEEP <const> = 4       -- actions in actions

local boxes, addresses, tasks, channels = {}, {}, {}, {}
local rings, sockets, others = {}, {}, {}
local actions = {}

local function pick(t) return t[draw(math.max(#t, 1))] end

-- Puts a value, if it is one, in the place of another.
local function keep(t, value)
  if value ~= nil then t[draw(math.min(#t + 1, 6))] = value end
end

local depth = 0

-- Does `n` of the actions. (What is made while the state closes is collected
-- by nothing, so there its blocks would count as lost.)
local function act(n)
  for _ = 1, n do
    if closing or depth > DEEP then return end
    depth = depth + 1
    local ok, why = pcall(actions[draw(#actions)])
    depth = depth - 1
    if not ok and why == uring.cancelled and draw(3) > 1 then error(why, 0) end
  end
end

local function trap()
  local function f() act(draw(2)) end
  return setmetatable({}, { __gc = f, __close = f })
end

local function maybe(n, f, ...)
  if draw(n) == 1 then return f(...) end
end

local function body(n)
  local _ <close> = trap()
  act(n)
  maybe(3, uring.sleep, draw(3) / 1000)
  act(n)
  maybe(4, error, "of a task")
end

local function name() return "n" .. draw(6) end

actions = {
  -- memory, hooks, coroutines
  trap,
  function() keep(others, trap()) end,
  function() others = {} end,
  function() maybe(2, collectgarbage) end,
  function() collectgarbage("step", 200) end,
  function() keep(others, uring.buffer(draw(5000))) end,
  function()
    debug.sethook(function()
      debug.sethook()
      act(2)
      maybe(6, error, "of a hook")
    end, "", draw(200))
  end,
  function() coroutine.wrap(function() act(3) coroutine.yield() end)() end,
  function()
    local co = coroutine.create(body)
    coroutine.resume(co, 4)
    coroutine.close(co)
  end,
  function() keep(others, uring.wrap(body)) end,
  function() pick(others)(2) end,
  -- the host
  host.step, host.step, host.step, host.post, host.post, host.look,
  function()
    uring.loop():step(host_time and { now = draw(1000) }
      or { max = draw(5), gc = true })
  end,
  function() maybe(10, host.close) end,
  function() maybe(20, function() uring.loop():close(0.01) end) end,
  function() host.spawn(body, draw(4)) end,
  function() host.give(pick(boxes)) end,
  function() keep(addresses, host.take()) end,
  function()
    uring.run(function()
      uring.timeout(0.01, act, draw(6))
      uring.root():cancel()
    end)
  end,
  function() uring.tasks() uring.tree() uring.loop():stats() end,
  -- mailboxes
  function() keep(boxes, uring.mailbox { capacity = draw(10),
    name = maybe(3, name) }) end,
  function() keep(addresses, pick(boxes):address()) end,
  function() keep(addresses, uring.address(name(), maybe(2, draw, 1))) end,
  function() keep(others, pick(boxes):try_receive()) end,
  function() keep(others, pick(boxes):receive(SHORT)) end,
  function()
    for value in pick(boxes):messages() do
      keep(others, value)
      act(1)
      if draw(5) == 1 then break end
    end
  end,
  function() pick(addresses):try_send(draw(9), "x", { 1, { 2 } }) end,
  function() pick(addresses):send(("y"):rep(draw(2000))) end,
  function() pick(addresses):send(uring.fd(pick(sockets))) end,
  function()
    uring.timeout(SHORT, function() pick(addresses):send(1) end)
  end,
  function() maybe(3, function() pick(boxes):close() end) end,
  function() maybe(3, function() pick(addresses):close() end) end,
  function() table.remove(boxes) end,
  function() table.remove(addresses) end,
  function() pick(others):release() end,
  -- tasks
  function() keep(tasks, uring.spawn(body, draw(6))) end,
  function() keep(tasks, uring.loop():spawn(body, draw(6))) end,
  function() pick(tasks):cancel() end,
  function() pick(tasks):join(SHORT) end,
  function()
    uring.scope(function(s)
      keep(others, s)
      s:spawn(body, 3)
      s:daemon(function()
        while true do
          uring.sleep(SHORT)
          act(1)
        end
      end)
      act(2)
    end)
  end,
  function() pick(others):spawn(body, 2) end,
  function() pick(others):cancel() end,
  function() uring.shield(2 * SHORT, body, 2) end,
  function() uring.sleep(0) end,
  function() uring.sleep(SHORT) end,
  function()
    uring.select({ box = pick(boxes):receiving(), t = uring.after(SHORT),
      address = pick(addresses):sending "z",
      channel = pick(channels):receiving() })
  end,
  function() keep(channels, uring.channel(draw(3) - 1)) end,
  function() pick(channels):send(1) end,
  function() pick(channels):receive() end,
  function() pick(channels):close() end,
  -- rings, sockets
  function() keep(rings, uring.ring { entries = 4 }) end,
  function() pick(rings):queue(uring.sqe():prep_nop()) end,
  function() pick(rings):await(uring.sqe():prep_timeout(SHORT)) end,
  function() pick(rings):receive(SHORT) end,
  function() maybe(3, function() pick(rings):close() end) end,
  function()
    uring.register_sync_msg(
      uring.sqe():prep_msg_ring(uring.loop():ring(), draw(9), draw(100)))
  end,
  function()
    local a, b = uring.socketpair()
    keep(sockets, a)
    keep(sockets, b)
  end,
  function() pick(sockets):send "abc" end,
  function() pick(sockets):receive(10, SHORT) end,
  function() maybe(3, function() pick(sockets):close() end) end,
}

-- A callback of the loop's.
local function callback()
  act(draw(3))
  maybe(6, error, "of a callback")
end

local slow = maybe(3, tonumber, "0.00001")
assert(uring.loop { entries = 8, memory = maybe(4, tonumber, 4000000),
  on_error = draw(3) > 1 and callback or nil,
  slow = slow, on_slow = slow and callback })
for _ = 1, 3 do
  keep(boxes, uring.mailbox { capacity = draw(20) })
  keep(channels, uring.channel(1))
end
for _ = 1, 100 do
  act(3)
  maybe(2, function()
    host.spawn(function()
      for _ = 1, draw(10) do
        act(1)
        maybe(3, uring.sleep, 0)
      end
    end)
  end)
  host.step()
end
