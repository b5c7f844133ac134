-- Workers: a stream of integers to a thread, round trips with it, starting and
-- joining one, and the memory of one that waits; beside a queue under a mutex
-- in C (workers.c), and the threads of cqueues and luv where there are any.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/workers.lua --markdown
--
-- Medians of the wall-clock time. Every message that was sent is counted where
-- it arrives. With BENCH_QUICK=1 it takes a second, and its figures mean
-- little.

local uring = require "uring"

local quick = os.getenv "BENCH_QUICK"
local N <const> = quick and 5000 or 300000    -- messages of a stream
local TRIPS <const> = quick and 200 or 20000
local STARTS <const> = quick and 5 or 100
local ROUNDS <const> = quick and 1 or 5

local function median(f)
  local times = {}
  for i = 1, ROUNDS do times[i] = f() end
  table.sort(times)
  return times[(ROUNDS + 1) // 2]
end

-- Nanoseconds for each of n times.
local function timed(n, f)
  local began = uring.now()
  f()
  return (uring.now() - began) / n * 1e9
end


-- ---- ours ------------------------------------------------------------------

local ours = {}

function ours.stream()
  return uring.run(function()
    local w = assert(uring.worker(function()
      local sum = 0
      for i in uring.inbox():messages() do sum = sum + i end
      return sum
    end))
    return timed(N, function()
      for i = 1, N do w:send(i) end
      w:close()
      assert(select(2, w:join()) == N * (N + 1) // 2)
    end)
  end)
end

function ours.round_trip()
  return uring.run(function()
    local box <close> = assert(uring.mailbox { name = "bench" })
    local w = assert(uring.worker(function()
      local to <close> = assert(uring.address "bench")
      for i in uring.inbox():messages() do to:send(i) end
    end))
    w:send(0)
    box:receive()
    return timed(TRIPS, function()
      for i = 1, TRIPS do
        w:send(i)
        assert(box:receive() == i)
      end
    end)
  end)
end

function ours.start()
  return uring.run(function()
    return timed(STARTS, function()
      for i = 1, STARTS do
        local _, got = assert(uring.worker(function(k) return k end, i)):join()
        assert(got == i)
      end
    end)
  end)
end

local function resident()
  local statm <close> = assert(io.open "/proc/self/statm")
  local _, pages = statm:read("n", "n")
  return pages * 4096
end

-- Bytes of a worker that waits for a message.
local function idle()
  local n <const> = quick and 4 or 50
  return uring.run(function()
    local before, all = resident(), {}
    local box <close> = assert(uring.mailbox { name = "bench" })
    for i = 1, n do
      all[i] = assert(uring.worker(function()
        local to <close> = assert(uring.address "bench")
        to:send(true)
        uring.inbox():receive()
      end))
    end
    for _ = 1, n do box:receive() end
    return (resident() - before) // #all
  end)
end


-- ---- others ----------------------------------------------------------------

local function in_c()
  local pipe = io.popen(("build/bench/workers %d 2>/dev/null"):format(N))
  local stream, trip = pipe:read("n", "n")
  pipe:close()
  return stream, trip
end

local has_cqueues, cqueues = pcall(require, "cqueues")
local has_luv, luv = pcall(require, "luv")
local of_cqueues, of_luv = {}, {}

-- (Its threads share a socket with the one that starts them.)
local function cqueues_thread(f, ...)
  return select(2, assert(require "cqueues.thread".start(f, ...)))
end

local function in_controller(f)
  local took
  local controller = cqueues.new()
  controller:wrap(function() took = f() end)
  assert(controller:loop())
  return took
end

function of_cqueues.stream()
  return in_controller(function()
    local socket = cqueues_thread(function(con)
      local sum = 0
      for line in con:lines() do
        if line == "end" then break end
        sum = sum + tonumber(line)
      end
      con:write(sum, "\n")
      con:flush()
    end)
    return timed(N, function()
      for i = 1, N do socket:write(i, "\n") end
      socket:write "end\n"
      socket:flush()
      assert(tonumber(socket:read "*l") == N * (N + 1) // 2)
    end)
  end)
end

function of_cqueues.round_trip()
  return in_controller(function()
    local socket = cqueues_thread(function(con)
      con:setmode("bn", "bn")
      for line in con:lines() do con:write(line, "\n") end
    end)
    socket:setmode("bn", "bn")
    return timed(TRIPS, function()
      for i = 1, TRIPS do
        socket:write(i, "\n")
        assert(tonumber(socket:read "*l") == i)
      end
      socket:shutdown "w"
    end)
  end)
end

function of_luv.start()
  return timed(STARTS, function()
    for i = 1, STARTS do
      luv.new_thread(function(k) return k end, i):join()
    end
  end)
end


-- ---- the table -------------------------------------------------------------

local markdown = arg[1] == "--markdown"
local row = markdown and "| %s | %s | %s | %s | %s |\n"
  or "%-16s %10s %10s %10s %10s\n"
local c = {}
c.stream, c.round_trip = in_c()

io.write(row:format("ns", "ours", "C", "cqueues", "luv"))
if markdown then io.write "|---|---|---|---|---|\n" end
for _, work in ipairs { "stream", "round_trip", "start" } do
  local cells = { ("%.0f"):format(median(ours[work])),
    c[work] and ("%.0f"):format(c[work]) or "" }
  local peers = { has_cqueues and of_cqueues[work],
    has_luv and of_luv[work] }
  for i = 1, 2 do
    cells[i + 2] = peers[i] and ("%.0f"):format(median(peers[i])) or ""
  end
  io.write(row:format(work, table.unpack(cells)))
end
io.write(("\nA worker that waits: %d KB\n"):format(idle() // 1024))
