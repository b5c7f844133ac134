-- Tests of a kernel and a malloc that fail (see spec/c/sys_fault.c). Each is a
-- process of its own, with the module in which faults are built.
--
--     local faults = require "faults"
--     local faulty = faults.tests(it)
--
--     -- luacheck: globals T uring spec
--     faulty("does x", function()
--       T.fault.inject { fn = "enter", err = T.E.EAGAIN }
--       ...
--     end)

local helper = require "helper"

local faults = {}

-- Runs in each of those processes, before the test: its globals. (A test has
-- no upvalues; T has all that helper has.)
local function tools()
  local helper = require "helper"  -- luacheck: ignore
  local uring = require "uring"
  local file = package.searchpath("uring.core", package.cpath)
  local fault = assert(package.loadlib(file, "luaopen_uring_fault"))()
  local T = setmetatable({ fault = fault, E = uring.errno },
    { __index = helper })

  function T.nop(n)
    return uring.sqe():prep_nop():set_data64(n)
  end

  -- Queues nops from..to on a ring; retries while the kernel has no room.
  function T.queue(ring, from, to)
    local refused = 0
    for i = from, to do
      while true do
        local op, message, errno = ring:queue(T.nop(i))
        if op then break end
        assert(errno == T.E.EAGAIN or errno == T.E.EBUSY
               or errno == T.E.ENOMEM, message)
        refused = refused + 1
        assert(refused < 1000, "refused for ever")
      end
    end
    return refused
  end

  -- Submits until that goes well; how often it did not.
  function T.submit(ring)
    for refused = 0, 1000 do
      local n, message, errno = ring:submit()
      if n then return refused end
      assert(math.type(errno) == "integer", message)
    end
    error "refused for ever"
  end

  -- Completions 1..n come once each, in whatever order, and nothing else.
  function T.all_come(ring, n)
    local seen = {}
    for _ = 1, n do
      local data, res, _, kind = assert(ring:wait_cqe(5 * helper.slow))
      assert(kind == "completion" and res == 0)
      assert(not seen[data], "twice")
      seen[data] = true
    end
    for i = 1, n do assert(seen[i], "never") end
    T.nothing(ring)
    local stats = helper.lawful(ring)
    assert(stats.submitted == n and stats.completed == n)
    assert(stats.stale == 0 and stats.messages == 0)
  end

  function T.nothing(ring)
    local data, _, errno = ring:peek_cqe()
    assert(data == nil and errno == T.E.EAGAIN)
  end

  function T.equal(expected, got)
    if expected ~= got then
      error(("%s expected, not %s"):format(expected, got), 2)
    end
  end

  _G.T, _G.uring = T, uring
  _G.spec = require "uring_spec"
end

-- Code that makes a script load that module, and has `fault` as a local.
faults.path = ([[
package.cpath = %q .. "/?.so;" .. package.cpath
local fault = assert(package.loadlib(package.searchpath("uring.core",
  package.cpath), "luaopen_uring_fault"))()
]]):format(os.getenv "URING_FAULT_DIR" or "build/fault")

faults.prelude = ([[
package.cpath = %q .. "/?.so;" .. package.cpath
load(%q)()
]]):format(os.getenv "URING_FAULT_DIR" or "build/fault", string.dump(tools))

-- The same, where the kernel calls itself Linux 6.1.
faults.old = faults.path .. "fault.kernel '6.1.0'\n" .. faults.prelude

-- Given `it`, answers one for such tests.
function faults.tests(it)
  return function(name, f)
    it(name, function() helper.apart(f, faults.prelude) end)
  end
end

return faults
