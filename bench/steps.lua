-- Steps: what a host pays for each look at its loop, and for each state,
-- compared with lua-cqueues and lua-luv, in one run.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/steps.lua --markdown
--
-- Each round runs each library in a process of its own, in turns. Times are
-- processor times. With BENCH_QUICK=1 it takes a second, and its figures mean
-- little.

local quick = os.getenv "BENCH_QUICK"
local n = quick and 2000 or 200000
local rounds = quick and 1 or 5
local lua = os.getenv "LUA" or "lua5.4"
local SLEEPERS <const> = { 0, 200, 10000 }

-- The ns of f for each of `times`.
local function measure(name, times, f)
  collectgarbage()
  local began = os.clock()
  f()
  io.write(name, " ", (os.clock() - began) / times * 1e9, "\n")
end

-- A state with the standard libraries that runs the code and is closed.
local function states(name, code)
  local spec = require "uring_spec"
  local times = quick and 10 or 100
  measure(name, times, function()
    for _ = 1, times do assert(spec.state(code)) end
  end)
end

local function nothing() end

local libraries = {}

function libraries.bare()
  states("state", "")
end

function libraries.ours()
  local spec = require "uring_spec"
  local uring = require "uring"
  measure("system_call", n, function()
    for _ = 1, n do spec.close(-1) end
  end)
  local loop = assert(uring.loop())
  assert(loop:fd())  -- as a host has it
  local function settle() repeat until not loop:step() end

  local function idle()
    for _ = 1, n do loop:step() end
  end
  local sleeping = 0
  for _, sleepers in ipairs(SLEEPERS) do
    for _ = sleeping + 1, sleepers do loop:spawn(uring.sleep, 1000) end
    sleeping = sleepers
    settle()
    for _ = 1, 10 do loop:step() end
    measure("idle_" .. sleepers, n, idle)
  end
  local budget = { max = 64, seconds = 0.0005 }
  measure("idle_budget", n, function()
    for _ = 1, n do loop:step(budget) end
  end)
  collectgarbage()
  collectgarbage "stop"
  local before = collectgarbage "count"
  idle()
  io.write("idle_bytes ", (collectgarbage "count" - before) * 1024 / n, "\n")
  collectgarbage "restart"

  local mailbox = uring.mailbox()
  local address = mailbox:address()
  local got = 0
  local reader = loop:spawn(function()
    while true do got = got + mailbox:receive() end
  end)
  settle()
  measure("message", n, function()
    for _ = 1, n do
      address:try_send(1)
      loop:step()
    end
  end)
  assert(got == n)
  reader:cancel()
  settle()

  local turns = 0
  for _ = 1, 200 do
    loop:spawn(function()
      while true do
        turns = turns + 1
        uring.sleep(0)
      end
    end)
  end
  local all = { max = 200 }
  loop:step(all)
  turns = 0
  measure("ready_200", n // 200, function()
    for _ = 1, n // 200 do loop:step(all) end
  end)
  assert(turns == n // 200 * 200)
  states("state", "require 'uring'")
  states("state_loop", [[
    local uring = require "uring"
    local loop = uring.loop()
    loop:spawn(uring.sleep, 1000)
    loop:step()]])
end

function libraries.cqueues()
  local cqueues = require "cqueues"
  local condition = require "cqueues.condition"
  local idler = cqueues.new()
  local sleeping = 0
  for _, sleepers in ipairs(SLEEPERS) do
    for _ = sleeping + 1, sleepers do
      idler:wrap(function() cqueues.sleep(1000) end)
    end
    sleeping = sleepers
    idler:step(0)
    measure("idle_" .. sleepers, n // 10, function()
      for _ = 1, n // 10 do idler:step(0) end
    end)
  end
  local reader, came, value, got = cqueues.new(), condition.new(), nil, 0
  reader:wrap(function()
    while true do
      while not value do came:wait() end
      got, value = got + value, nil
    end
  end)
  reader:step(0)
  measure("message", n // 10, function()
    for _ = 1, n // 10 do
      value = 1
      came:signal()
      reader:step(0)
    end
  end)
  assert(got == n // 10)
  local ready, turns = cqueues.new(), 0
  for _ = 1, 200 do
    ready:wrap(function()
      while true do
        turns = turns + 1
        cqueues.sleep(0)
      end
    end)
  end
  ready:step(0)
  turns = 0
  measure("ready_200", n // 200, function()
    for _ = 1, n // 200 do ready:step(0) end
  end)
  assert(turns == n // 200 * 200)
  states("state", "require 'cqueues'")
  states("state_loop", [[
    local cqueues = require "cqueues"
    local loop = cqueues.new()
    loop:wrap(function() cqueues.sleep(1000) end)
    loop:step(0)]])
end

function libraries.luv()
  local uv = require "luv"
  local sleeping = 0
  for _, sleepers in ipairs(SLEEPERS) do
    for _ = sleeping + 1, sleepers do
      uv.new_timer():start(1000000, 0, nothing)
    end
    sleeping = sleepers
    measure("idle_" .. sleepers, n // 10, function()
      for _ = 1, n // 10 do uv.run "nowait" end
    end)
  end
  local got = 0
  local async
  async = uv.new_async(function() got = got + 1 end)
  measure("message", n // 10, function()
    for _ = 1, n // 10 do
      async:send()
      uv.run "nowait"
    end
  end)
  assert(got == n // 10)
  local turns = 0
  for _ = 1, 200 do
    uv.new_idle():start(function() turns = turns + 1 end)
  end
  uv.run "nowait"
  turns = 0
  measure("ready_200", n // 200, function()
    for _ = 1, n // 200 do uv.run "nowait" end
  end)
  assert(turns == n // 200 * 200)
  states("state", "require 'luv'")
  states("state_loop", [[
    local uv = require "luv"
    uv.new_timer():start(1000000, 0, function() end)
    uv.run "nowait"]])
end

if libraries[arg[1]] then return libraries[arg[1]]() end


-- ---- the table ------------------------------------------------------------

local order = { "bare", "ours", "cqueues", "luv" }
local names, results = {}, {}

local function collect(library)
  local pipe <close> = assert(io.popen(("%s bench/steps.lua %s 2>/dev/null")
    :format(lua, library)))
  for line in pipe:lines() do
    local name, value = line:match "^(%S+) (%S+)$"
    if not results[name] then
      results[name] = {}
      names[#names + 1] = name
    end
    results[name][library] = results[name][library] or {}
    table.insert(results[name][library], tonumber(value))
  end
end

for _ = 1, rounds do
  for _, library in ipairs(order) do collect(library) end
end

local function median(name, library)
  local list = results[name][library]
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
for _, name in ipairs(names) do
  local cells = {}
  for i, library in ipairs(order) do cells[i] = cell(median(name, library)) end
  io.write(row:format(name, table.unpack(cells)))
end

local function target(what, value, words, met)
  io.write(("%s%s: %.1f, target %s%s\n"):format(markdown and "\n" or "", what,
    value, words, met and "" or ": missed"))
end
for _, sleepers in ipairs(SLEEPERS) do
  local name = "idle_" .. sleepers
  local ours = median(name, "ours")
  target(name .. " ns", ours, "at most 100", ours <= 100)
  for _, peer in ipairs { "cqueues", "luv" } do
    local theirs = median(name, peer)
    if theirs then
      target(("%s, %s / ours"):format(name, peer), theirs / ours,
        "at least 20", theirs / ours >= 20)
    end
  end
end
