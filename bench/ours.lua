-- ours: the same work as floor.c, done by the library. Prints lines of
-- `name ns`, and the memory of a wait and of a parked task; given a prefix, of
-- those rows whose names begin with it.

local uring = require "uring"

local N = tonumber(arg and arg[1]) or 200000

-- os.clock is enough: it would miss work that the kernel does in another
-- thread, but a NOP causes none.
local function now() return os.clock() * 1e9 end

local function report(name, value)
  print(("%s %.1f"):format(name, value))
end

local function nops(tasks)
  uring.run(function()
    local sqe = uring.sqe():prep_nop()
    local await, each = uring.await, N // tasks
    local function work() for _ = 1, each do await(sqe) end end
    local list = {}
    local start = now()
    for i = 1, tasks do list[i] = uring.spawn(work) end
    for i = 1, tasks do list[i]:join() end
    report("nop_" .. tasks, (now() - start) / (each * tasks))
  end)
end

local function message(other)
  uring.run(function()
    local own = uring.loop():ring()
    local ring = other and assert(uring.ring()) or own
    local sqe, n = uring.sqe(), N // 4
    local start = now()
    for i = 1, n do
      own:await(sqe:prep_msg_ring(ring, 1, i))
      ring:receive()
    end
    report(other and "message_other" or "message_own", (now() - start) / n)
    if other then ring:close() end
  end)
end

local function batches(batch, skip)
  local a = assert(uring.ring { entries = 256 })
  local b = assert(uring.ring { entries = 256 })
  local sqe = uring.sqe():prep_msg_ring(b, 1, 1)
  if skip then sqe:set_flags(uring.IOSQE_CQE_SKIP_SUCCESS) end
  local start, n, sum = now(), N // 2, 0
  for _ = 1, n // batch do
    for _ = 1, batch do a:push(sqe) end
    if skip then a:submit()
    else
      a:submit_and_wait(batch)
      for data in a:cqes() do sum = sum + data end
    end
    b:submit_and_wait(batch)
    for data in b:cqes() do sum = sum + data end
  end
  report(("raw_%d%s"):format(batch, skip and "_skip" or ""),
    (now() - start) / n)
  a:close()
  b:close()
end

local function sync_messages()
  if not uring.probe().features.sync_msg.works then return end
  local ring = assert(uring.ring { entries = 256 })
  local sqe = uring.sqe():prep_msg_ring(ring, 1, 1)
  local start, n = now(), N // 4
  for _ = 1, n // 64 do
    for _ = 1, 64 do uring.register_sync_msg(sqe) end
    for _ = 1, 64 do ring:wait_cqe() end
  end
  report("sync", (now() - start) / n)
  ring:close()
end

local function bytes_per_wait()
  uring.run(function()
    local sqe = uring.sqe():prep_nop()
    for _ = 1, 100 do uring.await(sqe) end
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    for _ = 1, 10000 do uring.await(sqe) end
    local after = collectgarbage "count"
    collectgarbage "restart"
    report("bytes_per_wait", (after - before) * 1024 / 10000)
  end)
end

-- The resident memory of the process, of Lua and C together.
local function resident()
  local file <close> = assert(io.open "/proc/self/statm")
  return tonumber(file:read "l":match "%d+ (%d+)") * 4096
end

-- Each in a process of its own, so that no freed memory is reused.
local function parked(n)
  uring.run(function()
    local function sleeper() uring.sleep(5) end
    uring.spawn(function() uring.sleep(0.001) end):join()
    collectgarbage()
    local heap, all = collectgarbage "count", resident()
    for _ = 1, n do uring.spawn(sleeper) end
    uring.sleep(0)
    collectgarbage()
    report("parked_" .. n, (resident() - all) / n)
    report("parked_lua_" .. n, (collectgarbage "count" - heap) * 1024 / n)
    os.exit(0)
  end)
end

local function bare(n)
  local list = table.move({}, 1, 0, 1, {})
  for i = 1, n do list[i] = false end
  collectgarbage()
  local heap = collectgarbage "count"
  local function f() coroutine.yield() end
  for i = 1, n do
    list[i] = coroutine.create(f)
    coroutine.resume(list[i])
  end
  collectgarbage()
  report("bare_coroutine", (collectgarbage "count" - heap) * 1024 / n)
end

local prefix = arg and arg[2] or ""
if prefix == "parked" then return parked(tonumber(arg[3])) end

local function row(name, f, ...)
  if name:sub(1, #prefix) == prefix then f(...) end
end

for _, tasks in ipairs { 1, 100, 10000 } do
  row("nop_" .. tasks, nops, tasks)
end
row("message_own", message, false)
row("message_other", message, true)
for _, batch in ipairs { 1, 8, 32, 256 } do
  row("raw_" .. batch, batches, batch, false)
  row(("raw_%d_skip"):format(batch), batches, batch, true)
end
row("sync", sync_messages)
row("bytes_per_wait", bytes_per_wait)
row("bare_coroutine", bare, 10000)
