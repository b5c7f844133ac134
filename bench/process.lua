-- Children: start `true` and wait for its end, one after another and 64 at
-- once, beside lua-luv's spawn and io.popen. In microseconds a child, medians
-- of rounds that alternate; a library that is not there is left out.
--
--     tools/env.sh plain lua5.4 bench/process.lua

local uring = require "uring"
local found, uv = pcall(require, "luv")

local quick = os.getenv "BENCH_QUICK"
local ROUNDS <const>, N <const>, ABREAST <const> = quick and 1 or 5,
  quick and 64 or 512, 64

local TRUE <const> = "/bin/true"

local works = { "ours", "luv", "popen" }
local run = {}

function run.ours(abreast)
  uring.run(function()
    for _ = 1, abreast do
      uring.spawn(function()
        for _ = 1, N // abreast do
          local child = assert(uring.process { TRUE })
          assert(child:wait() == "exit")
        end
      end)
    end
  end)
end

-- Its callbacks start the next child.
local function luv_chain(n)
  if n == 0 then return end
  local handle
  handle = assert(uv.spawn(TRUE, {}, function()
    handle:close()
    luv_chain(n - 1)
  end))
end

function run.luv(abreast)
  for _ = 1, abreast do luv_chain(N // abreast) end
  uv.run()
end

-- (It has a shell between, and cannot wait for several.)
function run.popen(abreast)
  for _ = 1, N // abreast do
    local pipes = {}
    for i = 1, abreast do pipes[i] = assert(io.popen(TRUE)) end
    for _, pipe in ipairs(pipes) do assert(pipe:close()) end
  end
end

local function microseconds(f, abreast)
  local began = uring.now()
  f(abreast)
  return (uring.now() - began) * 1e6 / N
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

print(("%-24s %10s %10s %10s"):format("start and wait, us", "ours", "luv",
  "io.popen"))
for _, abreast in ipairs { 1, ABREAST } do
  local times = { ours = {}, luv = {}, popen = {} }
  for round = 1, ROUNDS do
    for _, name in ipairs(works) do
      if name ~= "luv" or found then
        times[name][round] = microseconds(run[name], abreast)
      end
    end
  end
  local function cell(name)
    local value = median(times[name])
    return value and ("%.0f"):format(value) or "-"
  end
  print(("%-24s %10s %10s %10s"):format(abreast == 1 and "one after another"
    or ("%d at once"):format(abreast), cell "ours", cell "luv", cell "popen"))
end
