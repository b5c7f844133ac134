-- A SIGINT that came when a sleep was about to begin was noticed when that
-- ended, if it ever did. One in a wait by hand on an IOPOLL ring was not
-- noticed at all.

local faults = require "faults"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("Ctrl-C just before a sleep", function()
  for name, wait in pairs {
    ["of the loop"] = [[uring.run(function()
      spec.r = spec.pipe()
      T.fault.signal()
      uring.await(uring.sqe():prep_poll_add(spec.r, uring.POLLIN))
    end)]],
    ["of the loop, with a timer set"] = [[uring.run(function()
      T.fault.signal()
      uring.sleep(3600)
    end)]],
    ["of the loop, after completions that woke no task"] = [[
      uring.run(function()
      local ring = uring.loop():ring()
      spec.r = spec.pipe()
      for i = 1, 12 do ring:queue(uring.sqe():prep_timeout(i * 0.003)) end
      T.fault.signal(0.2)
      uring.await(uring.sqe():prep_poll_add(spec.r, uring.POLLIN), 60)
    end)]],
    ["of a wait by hand"] = [[
      local ring = uring.ring()
      T.fault.signal()
      ring:wait_cqe()]],
    ["of a wait by hand, with a timeout"] = [[
      local ring = uring.ring()
      T.fault.signal()
      ring:wait_cqe(3600)]],
  } do
    it("ends the sleep " .. name, function()
      local status, output = helper.script(faults.prelude .. wait)
      assert.equal(1, status)
      assert.truthy(output:find("interrupted!", 1, true), output)
    end)
  end
end)

describe("Ctrl-C", function()
  it("ends a wait by hand on an IOPOLL ring", function()
    local status, output = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
      local ring = assert(uring.ring { flags = uring.IORING_SETUP_IOPOLL })
      spec.interrupt(0.01)
      ring:wait_cqe(3600)]]
    assert.equal(1, status)
    assert.truthy(output:find("interrupted!", 1, true), output)
  end)

  -- Half a second is four looks if each nap is twice as long as the one before
  -- it, and ten if all are as long as the first.
  local function looks(ring, wait)
    local before = ring:stats().enters
    wait()
    local enters = ring:stats().enters - before
    assert(enters <= 8, ("it entered the kernel %d times"):format(enters))
  end

  it("is looked for less and less often by the loop", function()
    uring.run(function()
      local r, w = spec.pipe()
      local sqe = uring.sqe():prep_poll_add(r, uring.POLLIN)
      looks(uring.loop():ring(), function() uring.await(sqe, 0.5) end)
      spec.close(r)
      spec.close(w)
    end)
  end)

  it("is looked for less and less often by a wait by hand", function()
    local ring <close> = assert(uring.ring())
    looks(ring, function() ring:wait_cqe(0.5) end)
  end)
end)
