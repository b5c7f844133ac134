-- Tasks: the cost of spawning, turns, sleeping, rendezvous and select,
-- compared with bare coroutines, lua-cqueues and lua-luv, in one run.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/tasks.lua --markdown
--
-- Each round runs each library in a process of its own, in turns. Times are
-- processor times. With BENCH_QUICK=1 it takes a few seconds, and its figures
-- mean little.

local quick = os.getenv "BENCH_QUICK"
local n = quick and 5000 or 200000
local many = quick and 5000 or 100000
local rounds = quick and 1 or 7
local lua = os.getenv "LUA" or "lua5.4"

-- The ns of f for each of `times`.
local function measure(name, times, f)
  collectgarbage()
  local began = os.clock()
  f()
  io.write(name, " ", (os.clock() - began) / times * 1e9, "\n")
end

local function nothing() end

local libraries = {}

function libraries.bare()
  measure("spawn_join", n, function()
    for _ = 1, n do coroutine.wrap(nothing)() end
  end)
end

function libraries.ours()
  local uring = require "uring"
  uring.run(function()
    measure("spawn_join", n, function()
      for _ = 1, n do uring.spawn(nothing):join() end
    end)
    measure("turn", n, function()
      uring.scope(function(scope)
        for _ = 1, 100 do
          scope:spawn(function()
            for _ = 1, n // 100 do uring.sleep(0) end
          end)
        end
      end)
    end)
    measure("handover", n, function()
      local channel = uring.channel()
      local t = uring.spawn(function()
        for i = 1, n do channel:send(i) end
      end)
      for _ = 1, n do channel:receive() end
      t:join()
    end)
    local full = uring.channel(1000)
    local spent = 0
    for _ = 1, n // 1000 do
      for _ = 1, 1000 do full:send(true) end
      local began = os.clock()
      for _ = 1, 1000 do full:receive() end
      spent = spent + os.clock() - began
    end
    io.write("receive ", spent / n * 1e9, "\n")
    local others = {}
    for i = 1, 3 do others[i] = uring.channel(1000) end
    spent = 0
    for _ = 1, n // 1000 do
      for i = 1, 3 do
        while #others[i] < 1000 do others[i]:send(true) end
      end
      local began = os.clock()
      for _ = 1, 1000 do
        uring.select { a = others[1]:receiving(), b = others[2]:receiving(),
          c = others[3]:receiving() }
      end
      spent = spent + os.clock() - began
    end
    io.write("select_3 ", spent / n * 1e9, "\n")
    local began
    measure("sleepers", many, function()
      uring.scope(function(scope)
        for _ = 1, many do scope:spawn(uring.sleep, 1000) end
        uring.sleep(0)
        began = os.clock()
        scope:cancel()
      end)
    end)
    io.write("cancel_all ", (os.clock() - began) * 1e9, "\n")
  end)
end

function libraries.cqueues()
  local cqueues = require "cqueues"
  local condition = require "cqueues.condition"
  local cq = cqueues.new()
  cq:wrap(function()
    measure("spawn_join", n, function()
      local ended = condition.new()
      for _ = 1, n do
        local done
        cq:wrap(function()
          done = true
          ended:signal()
        end)
        while not done do ended:wait() end
      end
    end)
    measure("turn", n, function()
      local left, ended = 100, condition.new()
      for _ = 1, 100 do
        cq:wrap(function()
          for _ = 1, n // 100 do cqueues.sleep(0) end
          left = left - 1
          ended:signal()
        end)
      end
      while left > 0 do ended:wait() end
    end)
    measure("handover", n, function()
      local value
      local came, went = condition.new(), condition.new()
      cq:wrap(function()
        for i = 1, n do
          while value do went:wait() end
          value = i
          came:signal()
        end
      end)
      for _ = 1, n do
        while not value do came:wait() end
        value = nil
        went:signal()
      end
    end)
  end)
  assert(cq:loop())
  -- (It cannot cancel a coroutine: they end with their controller.)
  measure("sleepers", many, function()
    local all = cqueues.new()
    for _ = 1, many do all:wrap(function() cqueues.sleep(1000) end) end
    all:step(0)
    all:close()
  end)
end

function libraries.luv()
  local uv = require "luv"
  measure("turn", n, function()
    for _ = 1, 100 do
      local turns, idle = 0, uv.new_idle()
      idle:start(function()
        turns = turns + 1
        if turns == n // 100 then idle:close() end
      end)
    end
    uv.run()
  end)
  measure("sleepers", many, function()
    local timers = {}
    for i = 1, many do
      timers[i] = uv.new_timer()
      timers[i]:start(1000000, 0, nothing)
    end
    for i = 1, many do timers[i]:close() end
    uv.run()
  end)
end

if libraries[arg[1]] then return libraries[arg[1]]() end


-- ---- the table ------------------------------------------------------------

local order = { "bare", "ours", "cqueues", "luv" }
local results = {}

local function collect(library)
  local pipe <close> = assert(io.popen(("%s bench/tasks.lua %s 2>/dev/null")
    :format(lua, library)))
  for line in pipe:lines() do
    local name, value = line:match "^(%S+) (%S+)$"
    results[name] = results[name] or {}
    results[name][library] = results[name][library] or {}
    table.insert(results[name][library], tonumber(value))
  end
end

for _ = 1, rounds do
  for _, library in ipairs(order) do collect(library) end
end

local function median(name, library)
  local list = results[name] and results[name][library]
  if not list then return nil end
  table.sort(list)
  return list[(#list + 1) // 2]
end

local markdown = arg[1] == "--markdown"
local row = markdown and "| %s | %s | %s | %s | %s |\n"
  or "%-12s %10s %10s %10s %10s\n"
local function cell(value) return value and ("%.0f"):format(value) or "" end

io.write(row:format("ns", table.unpack(order)))
if markdown then io.write "|---|---|---|---|---|\n" end
for _, name in ipairs { "spawn_join", "turn", "handover", "sleepers" } do
  local cells = {}
  for i, library in ipairs(order) do cells[i] = cell(median(name, library)) end
  io.write(row:format(name, table.unpack(cells)))
end

local function target(what, value, limit, unit)
  io.write(("%s%s: %.2f%s, target at most %g%s\n"):format(markdown and "\n"
    or "", what, value, unit, limit, value > limit and ": missed" or ""))
end
target("spawn_join, ours / bare", median("spawn_join", "ours")
  / median("spawn_join", "bare"), 3, "")
target("select_3 / receive", median("select_3", "ours")
  / median("receive", "ours"), 5, "")
target(("cancelling %d sleeping tasks"):format(many),
  median("cancel_all", "ours") / 1e9, 1, " s")
