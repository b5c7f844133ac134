-- Mailboxes: one-way streams from 1, 2 and 8 states in threads of their own to
-- one reader, of integers and of 64-byte strings; and the same within a state.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/mailboxes.lua --markdown
--
-- Medians of the wall-clock time for each message. With BENCH_QUICK=1 it takes
-- a second, and its figures mean little. The threads are those of the specs
-- (build/spec/uring_spec.so).

local spec = require "uring_spec"
local uring = require "uring"

local quick = os.getenv "BENCH_QUICK"
local n = quick and 8000 or 800000
local rounds = quick and 1 or 7

-- Each sends so many.
local SENDER <const> = [[
  local uring = require "uring"
  local kind, n = ...
  uring.run(function()
    local to <close> = assert(uring.address("bench", 30))
    local value = kind == "integers" and 1 or ("x"):rep(64)
    for _ = 1, n do to:send(value) end
  end)
]]

local function from_threads(kind, senders)
  local took
  uring.run(function()
    local box <close> = assert(uring.mailbox { name = "bench" })
    local threads = {}
    for i = 1, senders do
      threads[i] = spec.thread(SENDER, kind, n // senders)
    end
    local total = n // senders * senders
    for _ = 1, total // 10 do box:receive() end  -- all have begun by then
    local began = uring.now()
    for _ = total // 10 + 1, total do box:receive() end
    took = (uring.now() - began) / (total - total // 10)
    for _, thread in ipairs(threads) do assert(thread:join()) end
  end)
  return took * 1e9
end

local function within(kind)
  local took
  uring.run(function()
    local box <close> = uring.mailbox { capacity = 1000 }
    local to <close> = box:address()
    local value = kind == "integers" and 1 or ("x"):rep(64)
    local began = uring.now()
    for _ = 1, n // 1000 do
      for _ = 1, 1000 do to:send(value) end
      for _ = 1, 1000 do box:receive() end
    end
    took = (uring.now() - began) / (n // 1000 * 1000)
  end)
  return took * 1e9
end

local function median(f, ...)
  local times = {}
  for i = 1, rounds do times[i] = f(...) end
  table.sort(times)
  return times[(rounds + 1) // 2]
end

local row = arg[1] == "--markdown" and "| %s | %s | %s | %s | %s |\n"
  or "%-16s %10s %10s %10s %10s\n"
io.write(row:format("ns", "one state", "1 thread", "2 threads", "8 threads"))
if arg[1] == "--markdown" then io.write "|---|---|---|---|---|\n" end
for _, kind in ipairs { "integers", "64-byte strings" } do
  local cells = { ("%.0f"):format(median(within, kind)) }
  for _, senders in ipairs { 1, 2, 8 } do
    cells[#cells + 1] = ("%.0f"):format(median(from_threads, kind, senders))
  end
  io.write(row:format(kind, table.unpack(cells)))
end
