-- Loops that wait awake for another thread, before they sleep.

local helper = require "helper"

local it = helper.needs_ring(it)

local CPUS <const> = helper.content "/proc/self/status"
  :match "Cpus_allowed_list:%s*(%S+)"

local function needs_two_cpus()
  if not CPUS:find "[,-]" then pending "needs two processors" end
end

-- A message to a worker and its answer, many times; then the spins of both.
-- On this processor, where the loop spins so long, if these are given.
local function trips(spin, cpu)
  local uring = require "uring"
  if cpu then
    local file <close> = io.open "/proc/self/stat"
    assert(os.execute(("taskset -p %x %d >/dev/null"):format(
      1 << tonumber(cpu), file:read "n")))
  end
  if tonumber(spin) then assert(uring.loop { spin = tonumber(spin) }) end
  uring.run(function()
    local box <close> = uring.mailbox()
    local w = assert(uring.worker(function(to)
      for i in uring.inbox():messages() do to:send(i) end
      to:send(require "uring".loop():stats().spins)
    end, box))
    for i = 1, 200 do
      w:send(i)
      assert(box:receive() == i)
    end
    w:close()
    print(uring.loop():stats().spins, (box:receive()))
  end)
end

after_each(helper.clean)

describe("a loop that other threads wake", function()
  it("waits awake for them", function()
    needs_two_cpus()
    local ours, theirs = helper.apart(trips):match "^(%d+)%s+(%d+)"
    assert.is_true(tonumber(ours) > 0)
    assert.is_true(tonumber(theirs) > 0)
  end)

  it("does not on a single processor", function()
    assert.equal("0\t0\n", helper.apart(trips, nil, "", CPUS:match "^%d+"))
  end)

  it("does not if it is not to, nor do its workers", function()
    assert.equal("0\t0\n", helper.apart(trips, nil, 0))
  end)

  it("seldom tries it where it was in vain", function()
    needs_two_cpus()
    local spins, in_vain = helper.apart(function()
      local uring = require "uring"
      uring.run(function()
        local box <close> = uring.mailbox()
        uring.daemon(function() box:receive() end)
        for _ = 1, 300 do uring.sleep(0.0005) end
        local stats = uring.loop():stats()
        print(stats.spins, stats.spins_in_vain)
      end)
    end):match "^(%d+)%s+(%d+)"
    assert.equal(spins, in_vain)
    assert.is_true(tonumber(spins) >= 4 and tonumber(spins) <= 12, spins)
  end)
end)

describe("how long a loop spins", function()
  it("is seconds, from 0 to 1", function()
    local output <const> = helper.apart(function()
      local uring = require "uring"
      for _, wrong in ipairs { -1, 2, 0 / 0, "1", true } do
        local ok, why = pcall(uring.loop, { spin = wrong })
        if ok or not why:find("'spin' must be seconds, from 0 to 1", 1, true)
        then print(wrong, why) end
      end
    end)
    assert.equal("", output)
  end)
end)
