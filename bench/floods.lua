-- Floods: how long a step takes that has far more to do than its budget
-- allows. 20,000 deadlines at once, completions, ready tasks, and messages
-- from two workers.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/floods.lua --markdown
--
-- Times are processor times of the thread that steps. A virtual machine takes
-- some of that for itself: the first row is a loop that only looks at the time
-- for as long. Target: 999 of 1,000 steps overrun their budget by at most
-- one resume and 50 us more than that. With BENCH_QUICK=1 it takes a second,
-- and its figures mean little.

local uring = require "uring"

local quick = os.getenv "BENCH_QUICK"
local STEPS <const> = quick and 100 or 5000
local MANY <const> = quick and 2000 or 20000
local BUDGET <const> = 0.0005
local OVERRUN <const> = 50e-6
local markdown <const> = arg[1] == "--markdown"

local loop <const> = assert(uring.loop { entries = 4096, cq_entries = 16384 })
local thread_time <const> = require "uring_spec".thread_time

-- The time is the bench's own, so that deadlines are at once where it goes on.
local options <const> = { max = 1 << 30, seconds = BUDGET, now = 0 }

local tasks = {}
local function spawn(f) tasks[#tasks + 1] = loop:spawn(f) end

local function settle()
  repeat until not loop:step { max = 1 << 30, now = options.now }
end

local function finish()
  for _, t in ipairs(tasks) do t:cancel() end
  tasks = {}
  settle()
end

local function shown(seconds) return ("%.0f"):format(seconds * 1e6) end

local row <const> = markdown and "| %s | %s | %s | %s | %s | %s |\n"
  or "%-16s %8s %8s %8s %8s %10s\n"
io.write(row:format("us", "median", "p99", "p99.9", "longest", "resumes"))
if markdown then io.write "|---|---|---|---|---|---|\n" end

-- Steps until there are enough that had more to do than they did. `more`
-- makes new work.
local machine              -- the p99.9 of a busy loop
local results <const> = {}

local function measure(name, more, step)
  local times, total = {}, 0
  step = step or function(o) return loop:step(o) end
  while #times < STEPS do
    more()
    local before = thread_time()
    local left, resumed = step(options)
    local took = thread_time() - before
    total = total + resumed
    if left then times[#times + 1] = took end
  end
  table.sort(times)
  local function at(part) return times[math.ceil(#times * part)] end
  io.write(row:format(name, shown(at(0.5)), shown(at(0.99)), shown(at(0.999)),
    shown(times[#times]), total // #times))
  return at(0.999)
end

local function check(name, took)
  local over <const> = took - machine
  if quick or over <= OVERRUN then return end
  io.write(("%s%s: %s us more than a busy loop, target 50: missed\n"):format(
    markdown and "\n" or "", name, shown(over)))
end

local function flood(name, more)
  results[#results + 1] = { name, measure(name, more) }
end

-- What the machine itself takes from a thread that only looks at the time.
local monotonic <const> = require "uring_spec".monotonic
machine = measure("(a busy loop)", function() end, function()
  local over <const> = monotonic() + BUDGET
  repeat until monotonic() >= over
  return true, 0
end)

do  -- all sleep until the same time, again and again
  local waiting = 0
  for _ = 1, MANY do
    spawn(function()
      while true do
        waiting = waiting + 1
        uring.sleep(1)
        waiting = waiting - 1
      end
    end)
  end
  settle()
  flood("deadlines", function()
    if waiting == MANY then options.now = options.now + 1 end
  end)
  finish()
end

do
  local sqe <const> = uring.sqe
  for _ = 1, 4000 do
    spawn(function()
      local nop <const> = sqe()
      while true do uring.await(nop:prep_nop()) end
    end)
  end
  flood("completions", function() end)
  finish()
end

do
  for _ = 1, MANY do
    spawn(function() while true do uring.sleep(0) end end)
  end
  flood("ready tasks", function() end)
  finish()
end

do
  local box <const> = uring.mailbox { capacity = 65536, bytes = 1 << 26 }
  local workers <const> = {}
  spawn(function()
    for i = 1, 2 do
      workers[i] = assert(uring.worker(function(to)
        while to:send(1, "some text") do end
      end, box))
    end
    for _ = 1, 20 do
      uring.spawn(function() for _ in box:messages() do end end)
    end
  end)
  flood("messages", function() end)
  box:close()
  for _, w in ipairs(workers) do w:cancel() end
  finish()
end

for _, result in ipairs(results) do check(table.unpack(result)) end
os.exit(0)  -- (without the end of what was sent)
