-- Tests of a loop in a host: each is a process of its own, for a state has one
-- loop. H has all that helper has, and more.
--
--     local hosted = require("hosts").tests(it)
--
--     -- luacheck: globals loop uring spec H
--     hosted("does x", function()
--       loop:spawn(...)
--       H.settle()
--     end)

local helper = require "helper"

local hosts = {}

-- Runs in each of those processes, before the test: its globals. (A test has
-- no upvalues.)
local function tools()
  local helper = require "helper"  -- luacheck: ignore
  local uring = require "uring"
  local spec = require "uring_spec"
  local H = setmetatable({}, { __index = helper })
  _G.H, _G.uring, _G.spec = H, uring, spec

  -- Values are equal, or it is an error that shows both.
  function H.equal(expected, got)
    if expected ~= got then
      error(("%s expected, not %s"):format(expected, got), 2)
    end
  end

  -- Steps until nothing is left to do; how many tasks were resumed.
  function H.settle(options)
    local resumed = 0
    for _ = 1, 100000 do
      local more, n = uring.loop():step(options)
      resumed = resumed + n
      if not more then return resumed end
    end
    error "it never settles"
  end

  -- Steps, sleeping in between on the loop's descriptor, until f() is true.
  function H.host(f, seconds)
    local fd = uring.loop():fd()
    local limit = os.time() + (seconds or 5) * helper.slow + 1
    while not f() do
      assert(os.time() < limit, "it did not happen in time")
      spec.ready(fd, 0.5)
      H.settle()
    end
  end

  -- A task that goes on whenever it may, and counts.
  function H.busy(loop)
    local count = { n = 0 }
    count.task = loop:spawn(function()
      while true do
        count.n = count.n + 1
        uring.sleep(0)
      end
    end)
    return count
  end
end

-- Given `it`, answers one for such tests, each of which may need a feature of
-- the kernel, or what a function looks for. Code may run in each before all
-- else, and after the globals were set.
function hosts.tests(it, before, after)
  local prelude = ("%s\nload(%q)()\nloop = uring.loop()\n%s\n"):format(
    before or "", string.dump(tools), after or "")
  return function(name, f, feature)
    it(name, function()
      if type(feature) == "function" then feature()
      elseif feature then helper.needs(feature) end
      helper.apart(f, prelude)
    end)
  end
end

return hosts
