-- Compare the library with the same work in C, in one run: ratios of medians.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/run.lua --markdown
--     tools/env.sh plain lua5.4 bench/run.lua raw_256    only such rows
--
-- The two alternate, so that other load on the machine slows both. With
-- BENCH_QUICK=1 it takes a few seconds, and its figures mean little.

local quick = os.getenv "BENCH_QUICK"
local markdown = arg[1] == "--markdown"
local prefix = arg[markdown and 2 or 1] or ""
local rounds, n = quick and 1 or 7, quick and 20000 or 200000
local lua = os.getenv "LUA" or "lua5.4"

local names, floor, ours = {}, {}, {}

local function collect(command, into)
  local pipe <close> = assert(io.popen(command))
  for line in pipe:lines() do
    local name, value = line:match "^(%S+) (%S+)$"
    assert(name, line)
    if not into[name] then
      into[name] = {}
      if into == ours then names[#names + 1] = name end
    end
    table.insert(into[name], tonumber(value))
  end
end

local function median(list)
  if not list then return nil end
  table.sort(list)
  return list[(#list + 1) // 2]
end

for round = 1, rounds do
  collect(("build/bench/floor %d %s"):format(n, prefix), floor)
  collect(("%s bench/ours.lua %d %s"):format(lua, n, prefix), ours)
  if round <= 3 and prefix == "" then
    for _, tasks in ipairs { 10000, quick and 10000 or 100000 } do
      collect(("%s bench/ours.lua %d parked %d"):format(lua, n, tasks), ours)
    end
  end
end

local targets = { nop_1 = 1.6, nop_100 = 2.5, raw_256 = 1.5,
  raw_256_skip = 1.5 }
local limits = { bytes_per_wait = 0, parked_10000 = 1400,
  parked_100000 = 1400 }

local row = markdown and "| %s | %s | %s | %s | %s |\n"
  or "%-18s %10s %10s %8s  %s\n"
io.write(row:format("work", "C ns", "ours ns", "ratio", "target"))
if markdown then io.write "|---|---|---|---|---|\n" end
for _, name in ipairs(names) do
  local c, o = median(floor[name]), median(ours[name])
  if c then
    local ratio, target = o / c, targets[name]
    io.write(row:format(name, ("%.1f"):format(c), ("%.1f"):format(o),
      ("%.2f"):format(ratio), target and ("at most %.1f%s"):format(target,
        ratio > target and ": missed" or "") or ""))
  end
end
io.write(markdown and "\n| memory | bytes | target |\n|---|---|---|\n"
  or "\n")
for _, name in ipairs(names) do
  if not floor[name] then
    local o, limit = median(ours[name]), limits[name]
    local words = limit and ("at most %d%s"):format(limit,
      o > limit and ": missed" or "") or ""
    io.write((markdown and "| %s | %.0f | %s |\n" or "%-18s %10.0f  %s\n")
      :format(name, o, words))
  end
end
