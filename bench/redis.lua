-- examples/redis.lua beside redis-benchmark, Redis's own client in C: SETs
-- a second of 50 clients that each wait for their answer, against one
-- redis-server.
--
--     make bench                                 or:
--     tools/env.sh plain lua5.4 bench/redis.lua
--
-- They alternate; medians. Says so where redis-server is missing.

local program = require "program"
local spec = require "uring_spec"
local web = require "web"

local quick = os.getenv "BENCH_QUICK"
local rounds, count = quick and 1 or 5, quick and 5000 or 100000

for _, name in ipairs { "redis-server", "redis-benchmark" } do
  if program.missing(name) then
    print("redis: left out, for " .. name .. " is missing")
    return
  end
end

local port = web.port()
program.command("redis-server", "--port", tostring(port), "--save", "",
  "--bind", "127.0.0.1", "--dir", "/tmp")
web.wait_for(port)

local rates = { {}, {}, {} }
for _ = 1, rounds do
  local _, own = program.run("redis-benchmark", "-p", tostring(port), "-c",
    "50", "-n", tostring(count), "-t", "set", "--csv")
  local _, ours = program.run(("/proc/%d/exe"):format(spec.getpid()),
    "examples/redis.lua", ("127.0.0.1:%d"):format(port), "bench",
    tostring(count))
  table.insert(rates[1], tonumber(own:match '"SET","([%d.]+)"'))
  table.insert(rates[2], tonumber(ours:match "50 connections (%d+)"))
  table.insert(rates[3], tonumber(ours:match "one connection (%d+)"))
end
program.stop()

local function median(list)
  table.sort(list)
  return list[#list // 2 + 1]
end

local base = median(rates[1])
print(("%-34s %12s %6s"):format("redis, SET of 50 clients", "a second",
  "ratio"))
for i, name in ipairs { "redis-benchmark", "ours, 50 connections",
    "ours, one connection" } do
  local rate = median(rates[i])
  print(("%-34s %12.0f %6.2f"):format(name, rate, rate / base))
end
