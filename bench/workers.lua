-- Workers and mailboxes: streams to one reader, of four kinds of messages and
-- from 1 to 64 threads; round trips, asleep and awake; a message to each of 64
-- workers; starting and joining one; and the memory of what waits. Beside
-- a queue under a mutex in C (workers.c), and beside threads of cqueues and
-- luv, which share sockets, where there are any.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/workers.lua --markdown
--     ... bench/workers.lua --data FILE          for a plot: workers.gp
--     taskset -c 0 ...                           on one CPU
--
-- Medians of the time for a message; in the last column how many have arrived,
-- which are all. BENCH_CLOCK=cpu takes the processor time of all threads
-- instead, for machines that do other work as well. With BENCH_QUICK=1 it
-- takes a few seconds, and its figures mean little.

local uring = require "uring"

local quick = os.getenv "BENCH_QUICK"
local N <const> = quick and 6400 or 256000    -- messages of a stream
local SLOW <const> = quick and 640 or 25600   -- the same for others
local TRIPS <const> = quick and 100 or 4000
local STARTS <const> = quick and 5 or 50
local FANS <const> = quick and 3 or 100
local ROUNDS <const> = quick and 1 or 5
local MANY <const> = 64

local KINDS <const> = { "integers", "64", "1024", "tables" }

-- Each of these is also what a worker runs, so it has no upvalues but uring.

local function sample(kind)
  local size = tonumber(kind)
  if size then return ("x"):rep(size) end
  return kind == "integers" and 1 or { id = 1, weight = 0.5, name = "a name" }
end

local by_cpu <const> = os.getenv "BENCH_CLOCK" == "cpu"
local clock <const> = by_cpu and os.clock or uring.now

local function timed(n, f)
  local began = clock()
  local arrived = f()
  return (clock() - began) / n * 1e9, arrived
end


-- ---- ours ------------------------------------------------------------------

local ours = {}

function ours.stream(kind, senders, n)
  return uring.run(function()
    local box <close> = uring.mailbox()
    local each <const> = n // senders
    local all = {}
    for i = 1, senders do
      all[i] = assert(uring.worker(function(to, value, count)
        to:send "ready"
        uring.inbox():receive()
        for _ = 1, count do to:send(value) end
        uring.inbox():receive()  -- (its end is not timed)
      end, box, sample(kind), each))
    end
    for _ = 1, senders do box:receive() end
    return timed(each * senders, function()
      local arrived = 0
      for i = 1, senders do all[i]:send "go" end
      for _ = 1, each * senders do
        if box:receive() then arrived = arrived + 1 end
      end
      return arrived
    end)
  end)
end

-- The same between two tasks of one state, a thousand at a time.
function ours.within(kind, n)
  return uring.run(function()
    local box <close> = uring.mailbox { capacity = 1000 }
    local to <close> = box:address()
    local value = sample(kind)
    return timed(n // 1000 * 1000, function()
      local arrived = 0
      for _ = 1, n // 1000 do
        for _ = 1, 1000 do to:send(value) end
        for _ = 1, 1000 do
          if box:receive() then arrived = arrived + 1 end
        end
      end
      return arrived
    end)
  end)
end

-- Awake: a task of each side keeps its loop from sleeping.
function ours.trip(awake)
  return uring.run(function()
    local box <close> = uring.mailbox()
    local function spin() while true do uring.sleep(0) end end
    local w = assert(uring.worker(function(to, code)
      if code then uring.daemon(load(code)) end
      for i in uring.inbox():messages() do to:send(i) end
    end, box, awake and [[
      local uring = require "uring"
      while true do uring.sleep(0) end
    ]] or nil))
    local daemon = awake and uring.daemon(spin)
    w:send(0)
    box:receive()
    local ns, arrived = timed(TRIPS, function()
      local same = 0
      for i = 1, TRIPS do
        w:send(i)
        if box:receive() == i then same = same + 1 end
      end
      return same
    end)
    if daemon then daemon:cancel() end
    w:close()
    return ns, arrived
  end)
end

function ours.call()
  return uring.run(function()
    local w = assert(uring.worker(function()
      uring.inbox():serve { same = function(i) return i end }
    end))
    w:call("same", 0)
    return timed(TRIPS, function()
      local same = 0
      for i = 1, TRIPS do
        if w:call("same", i) == i then same = same + 1 end
      end
      return same
    end)
  end)
end

function ours.fan_out()
  return uring.run(function()
    local box <close> = uring.mailbox()
    local all = {}
    for i = 1, MANY do
      all[i] = assert(uring.worker(function(to)
        for n in uring.inbox():messages() do to:send(n) end
      end, box))
      all[i]:send(0)
    end
    for _ = 1, MANY do box:receive() end
    return timed(FANS * MANY, function()
      local arrived = 0
      for k = 1, FANS do
        for i = 1, MANY do all[i]:send(k) end
        for _ = 1, MANY do
          if box:receive() == k then arrived = arrived + 1 end
        end
      end
      return arrived
    end)
  end)
end

function ours.start()
  return uring.run(function()
    return timed(STARTS, function()
      local same = 0
      for i = 1, STARTS do
        local _, got = assert(uring.worker(function(k) return k end, i)):join()
        if got == i then same = same + 1 end
      end
      return same
    end)
  end)
end


-- ---- C ---------------------------------------------------------------------

local function in_c(...)
  local command = table.concat({ "build/bench/workers", ... }, " ")
  local pipe <close> = assert(io.popen(command .. " 2>/dev/null"))
  local wall, cpu, arrived = pipe:read("n", "n", "n")
  return by_cpu and cpu or wall, arrived
end

local c = {}

function c.stream(kind, senders, n) return in_c("stream", kind, senders, n) end

function c.trip(awake)
  if not awake then return in_c("trip", TRIPS) end
end


-- ---- cqueues and luv -------------------------------------------------------

-- What is sent through a socket: the length, and the bytes of the value. A
-- table of which both sides know what is in it: the least that it can take.
local PACKING <const> = [[
  local pack, unpack = string.pack, string.unpack
  local function encode(value)
    if type(value) == "number" then return pack("<s4", pack("<j", value)) end
    if type(value) == "string" then return pack("<s4", value) end
    return pack("<s4", pack("<jns4", value.id, value.weight, value.name))
  end
  local function decode(kind, bytes)
    if kind == "integers" then return (unpack("<j", bytes)) end
    if kind ~= "tables" then return bytes end
    local id, weight, name = unpack("<jns4", bytes)
    return { id = id, weight = weight, name = name }
  end
]]
local decode <const> = load(PACKING .. "return decode")()
local encode <const> = load(PACKING .. "return encode")()
local SAMPLE <const> = [[
  local size = tonumber(kind)
  local value = size and ("x"):rep(size) or kind == "integers" and 1
    or { id = 1, weight = 0.5, name = "a name" }
]]

local has_cqueues, cqueues = pcall(require, "cqueues")
local has_luv, luv = pcall(require, "luv")
local of_cqueues, of_luv = {}, {}

local function in_controller(f)
  local took, arrived
  local controller = cqueues.new()
  controller:wrap(function() took, arrived = f(controller) end)
  assert(controller:loop())
  return took, arrived
end

local function cqueues_thread(f, ...)
  local _, socket = assert(require("cqueues.thread").start(f, ...))
  socket:setmode("bf", "bf")
  return socket
end

function of_cqueues.stream(kind, senders, n)
  local each <const> = n // senders
  return in_controller(function(controller)
    local all, arrived = {}, 0
    for i = 1, senders do
      all[i] = cqueues_thread(function(con, packing, first, k, count)
        con:setmode("bf", "bf")
        local encode_one, value = load("local kind = ...; " .. packing
          .. first .. "return encode, value")(k)
        con:write "r"
        con:flush()
        con:read(1)
        for _ = 1, tonumber(count) do con:write(encode_one(value)) end
        con:flush()
      end, PACKING, SAMPLE, kind, tostring(each))
    end
    for i = 1, senders do all[i]:read(1) end
    return timed(each * senders, function()
      local left = senders
      local done = require("cqueues.condition").new()
      for i = 1, senders do
        controller:wrap(function()
          all[i]:write "g"
          all[i]:flush()
          for _ = 1, each do
            local size = string.unpack("<I4", all[i]:read(4))
            if decode(kind, all[i]:read(size)) then arrived = arrived + 1 end
          end
          left = left - 1
          done:signal()
        end)
      end
      while left > 0 do done:wait() end
      return arrived
    end)
  end)
end

function of_cqueues.trip(awake)
  return in_controller(function(controller)
    local over = false
    local socket = cqueues_thread(function(con, busy)
      local queue = require("cqueues").new()
      local ended = false
      con:setmode("bn", "bn")
      queue:wrap(function()
        for line in con:lines() do con:write(line, "\n") end
        ended = true
      end)
      if busy == "true" then
        queue:wrap(function()
          while not ended do require("cqueues").sleep(0) end
        end)
      end
      assert(queue:loop())
    end, tostring(awake))
    socket:setmode("bn", "bn")
    if awake then
      controller:wrap(function() while not over do cqueues.sleep(0) end end)
    end
    return timed(TRIPS, function()
      local same = 0
      for i = 1, TRIPS do
        socket:write(i, "\n")
        if tonumber(socket:read "*l") == i then same = same + 1 end
      end
      socket:shutdown "w"
      over = true
      return same
    end)
  end)
end

-- Call `f` with each message that arrives at a pipe.
local function luv_messages(pipe, f)
  local rest = ""
  pipe:read_start(function(_, data)
    if not data then return pipe:close() end
    local at = 1
    rest = rest .. data
    while #rest - at >= 3 do
      local size = string.unpack("<I4", rest, at)
      if #rest - at - 3 < size then break end
      f(rest:sub(at + 4, at + 3 + size))
      at = at + 4 + size
    end
    rest = rest:sub(at)
  end)
end

-- A thread that has one end of a pair of sockets; and the other end.
local function luv_thread(f, ...)
  local pair = assert(luv.socketpair(nil, nil, { nonblock = true },
    { nonblock = true }))
  local pipe = luv.new_pipe(false)
  pipe:open(pair[1])
  return luv.new_thread(f, pair[2], ...), pipe
end

function of_luv.stream(kind, senders, n)
  local each <const> = n // senders
  local threads, pipes, ready = {}, {}, 0
  for i = 1, senders do
    threads[i], pipes[i] = luv_thread(function(fd, packing, first, k, count)
      local uv = require "luv"
      local encode_one, value = load("local kind = ...; " .. packing .. first
        .. "return encode, value")(k)
      local out = uv.new_pipe(false)
      out:open(fd)
      out:write "r"
      out:read_start(function()
        out:read_stop()
        -- (some at a time: there is no bound but the sender's)
        local left = count
        local function some()
          for _ = 1, math.min(left, 256) do out:write(encode_one(value)) end
          left = left - 256
          if left > 0 then out:write("", some) else out:shutdown(function()
            out:close()
          end) end
        end
        some()
      end)
      uv.run()
    end, PACKING, SAMPLE, kind, each)
  end
  for i = 1, senders do
    pipes[i]:read_start(function()
      pipes[i]:read_stop()
      ready = ready + 1
      if ready == senders then luv.stop() end
    end)
  end
  luv.run()
  local took, count = timed(each * senders, function()
    local arrived = 0
    for i = 1, senders do
      luv_messages(pipes[i], function(bytes)
        if decode(kind, bytes) then arrived = arrived + 1 end
      end)
      pipes[i]:write "g"
    end
    luv.run()
    return arrived
  end)
  for i = 1, senders do threads[i]:join() end
  return took, count
end

function of_luv.trip(awake)
  local thread, pipe = luv_thread(function(fd, busy)
    local uv = require "luv"
    local out, idle = uv.new_pipe(false), uv.new_idle()
    out:open(fd)
    if busy then idle:start(function() end) end
    out:read_start(function(_, data)
      if data then return out:write(data) end
      out:close()
      idle:close()
    end)
    uv.run()
  end, awake)
  local idle, same = luv.new_idle(), 0
  if awake then idle:start(function() end) end
  local took, arrived = timed(TRIPS, function()
    luv_messages(pipe, function(bytes)
      same = same + 1
      if same < TRIPS then return pipe:write(encode(bytes)) end
      pipe:shutdown(function()
        pipe:close()
        idle:close()
      end)
    end)
    pipe:write(encode "ping")
    luv.run()
    return same
  end)
  thread:join()
  return took, arrived
end

function of_luv.start()
  return timed(STARTS, function()
    for i = 1, STARTS do
      luv.new_thread(function(k) return k end, i):join()
    end
    return STARTS
  end)
end


-- ---- memory ----------------------------------------------------------------

local function resident()
  local statm <close> = assert(io.open "/proc/self/statm")
  local _, pages = statm:read("n", "n")
  return pages * 4096
end

-- Bytes of a worker that waits for a message.
local function idle_worker()
  local n <const> = quick and 4 or 50
  return uring.run(function()
    local box <close> = uring.mailbox()
    local before, all = resident(), {}
    for i = 1, n do
      all[i] = assert(uring.worker(function(to)
        to:send(true)
        uring.inbox():receive()
      end, box))
    end
    for _ = 1, n do box:receive() end
    return (resident() - before) // #all
  end)
end

-- Bytes of a mailbox that a task waits at, with its address; and of the task.
local function idle_mailbox()
  local n <const> = quick and 1000 or 10000
  return uring.run(function()
    local all = {}
    collectgarbage()
    local first = resident()
    for i = 1, n do
      local box = uring.mailbox()
      all[i] = { box, box:address() }
    end
    collectgarbage()
    local second = resident()
    for i = 1, n do uring.daemon(all[i][1].receive, all[i][1]) end
    uring.sleep(0)
    collectgarbage()
    return (second - first) // n, (resident() - second) // n
  end)
end


-- ---- the tables ------------------------------------------------------------

local SIDES <const> = { { "ours", ours }, { "C", c },
  { "cqueues", has_cqueues and of_cqueues or {} },
  { "luv", has_luv and of_luv or {} } }

-- Medians of each side's time, in turns; and the least that arrived, or nil if
-- they differ in that.
local function compare(work, ...)
  local times, arrived = {}, {}
  for _ = 1, ROUNDS do
    for i, side in ipairs(SIDES) do
      local f = side[2][work]
      local took, n
      if f then took, n = f(...) end
      times[i] = times[i] or {}
      times[i][#times[i] + 1] = took
      arrived[i] = n
    end
  end
  local medians = {}
  for i, list in ipairs(times) do
    table.sort(list)
    medians[i] = list[(#list + 1) // 2]
  end
  return medians, arrived
end

local markdown = arg[1] == "--markdown"
local data <close> = arg[1] == "--data" and assert(io.open(arg[2], "w")) or nil
local row = markdown and "| %s | %s | %s | %s | %s | %s | %s | %s |\n"
  or "%-16s %9s %9s %9s %9s %9s %9s  %s\n"

local function show(name, work, ...)
  local times, arrived = compare(work, ...)
  local cells = {}
  for i = 1, #SIDES do
    cells[i] = times[i] and ("%.0f"):format(times[i]) or ""
  end
  for i = 3, 4 do
    cells[i + 2] = times[i] and ("%.1f"):format(times[i] / times[1]) or ""
  end
  local counts = {}
  for i = 1, #SIDES do counts[#counts + 1] = arrived[i] end
  cells[7] = table.concat(counts, ", ")
  io.write(row:format(name, table.unpack(cells)))
  return times
end

io.write(row:format("ns", "ours", "C", "cqueues", "luv", "cq/ours",
  "luv/ours", "arrived"))
if markdown then io.write "|---|---|---|---|---|---|---|---|\n" end
show("within a state", "within", "integers", N)
for _, kind in ipairs(KINDS) do
  show("stream " .. kind, "stream", kind, 1, N)
end
for _, senders in ipairs { 1, 2, 8, MANY } do
  local times = show(("%d senders"):format(senders), "stream", "integers",
    senders, SLOW)
  if data then
    data:write(senders, " ")
    for i = 1, #SIDES do
      data:write(times[i] and ("%.4f "):format(1e3 / times[i]) or "? ")
    end
    data:write "\n"
  end
end
show("trip asleep", "trip", false)
show("trip awake", "trip", true)
show("call", "call")
show(("fan-out to %d"):format(MANY), "fan_out")
show("start and join", "start")

local mailbox, task = idle_mailbox()
io.write(("\nA worker that waits: %d KB; a mailbox and its address: %.1f KB; "
  .. "a task that waits there: %.1f KB\n"):format(idle_worker() // 1024,
  mailbox / 1024, task / 1024))
