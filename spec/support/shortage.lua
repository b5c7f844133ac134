-- What runs programs again and again with memory refused at each place in
-- turn: see spec/shortage_spec.lua. The programs are in the folder shortage;
-- together they use all of the library's objects.
--
-- A program that was refused memory fails, and says so; it leaves nothing
-- open, and runs as ever when there is memory again.

local checks = require "shortage.checks"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local r <const> = checks.r

local programs = {}
for _, part in ipairs { "rings", "requests", "tasks", "sockets", "files",
    "workers" } do
  for name, program in pairs(require("shortage." .. part)) do
    programs[name] = program
  end
end

-- Does the error say that there is no memory?
local function says_so(why)
  why = tostring(why)
  return why:find("memory", 1, true) or why:find("ENOMEM", 1, true)
end

-- Takes out what a program has left in the pipe.
local function empty_pipe()
  if spec.ready(r) then spec.read(r, 65536) end
end

-- How many descriptors are open once the loop is idle.
local function descriptors()
  helper.collect()
  helper.eventually(function()
    uring.run(uring.sleep, 0)
    return pcall(helper.idle_loop)
  end)
  return spec.fds()
end

-- How many objects the state keeps for their finalizers. Once nothing is left
-- alive these are the ones that Lua could not finalize for want of memory: the
-- state ends them when it closes.
local function kept()
  local n = 0
  for key, state in pairs(debug.getregistry()) do
    if type(key) == "userdata" and type(state) == "userdata" then
      for i = 1, 255 do
        local value, is_there = debug.getuservalue(state, i)
        if not is_there then break end
        if type(value) == "table" and type(next(value)) == "userdata" then
          for _ in pairs(value) do n = n + 1 end
        end
      end
    end
  end
  return n
end

-- f, with the n-th request for memory refused and some more after it; true
-- when it has asked less often than that. `refuse(n, failing)` begins, and
-- refuse() ends that and says how often it was asked.
local function once(f, refuse, n, failing)
  refuse(n, failing)
  local ok, why = pcall(f)
  local asked = refuse()
  -- (what runs without memory could not tell of tasks that are in no scope)
  for _ = 1, ok and 0 or 9 do pcall(uring.run, uring.sleep, 0) end
  empty_pipe()
  if not ok and not says_so(why) then
    error(("refused the %d-th: %s"):format(n, why), 0)
  end
  return asked < n
end

local shortage = { all = os.getenv "URING_SWEEP" ~= nil }

-- In how many requests in a row memory is refused. Lua itself asks twice.
local RUNS = shortage.all and { 1, 2, 3, 4, 5, 6, 1 << 30 } or { 2, 1 << 30 }

-- Calls f(n, failing) for places where memory may be refused until it answers
-- true; for all of them, or for one in `stride`. How many there were.
function shortage.places(stride, f)
  local tried = 0
  if shortage.all then stride = 1 end
  for i, failing in ipairs(RUNS) do
    local n = 1 + i * 3 % stride
    while not f(n, failing) do
      n, tried = n + stride, tried + 1
      assert(n < 100000, "it never ends")
    end
  end
  return tried
end

-- In a process with the faulty module (spec/support/faults.lua), whose `T`
-- this is.
function shortage.sweep(name, T, stride)
  local f = programs[name]
  f()
  f()
  empty_pipe()
  for _, refuse in ipairs { T.fault.malloc, T.fault.alloc } do
    local before, kept_before = descriptors(), kept()
    shortage.places(stride or 11, function(n, failing)
      local done = once(f, refuse, n, failing)
      f()
      empty_pipe()
      assert(#uring.tasks() == 0, "tasks are left")
      return done
    end)
    local after = descriptors()
    local lost = kept() - kept_before
    assert(after >= before and after - before <= lost, ("%d descriptors "
      .. "before, %d after, %d finalizers lost"):format(before, after, lost))
  end
end

-- Runs one of the programs.
function shortage.run(name)
  programs[name]()
  empty_pipe()
end

shortage.names = {}
for name in pairs(programs) do
  shortage.names[#shortage.names + 1] = name
end
table.sort(shortage.names)

return shortage
