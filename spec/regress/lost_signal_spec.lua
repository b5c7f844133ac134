-- A SIGINT that came when a sleep was about to begin was noticed when that
-- ended, if it ever did. One in a wait by hand on an IOPOLL ring was not
-- noticed at all.

local faults = require "faults"
local helper = require "helper"
local spec = require "uring_spec"

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
    ["of the loop, after completions that woke nobody"] = [[
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
    it("ends one " .. name, function()
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

  -- Whoever sleeps for long is not woken for that ever more often.
  it("is looked for less and less often", function()
    local uring = require "uring"
    uring.run(function()
      local r, w = spec.pipe()
      local stats = uring.loop():ring():stats()
      local began = stats.enters
      uring.await(uring.sqe():prep_poll_add(r, uring.POLLIN), 0.5)
      local enters = uring.loop():ring():stats().enters - began
      assert.truthy(enters < 12, enters)
      spec.close(r)
      spec.close(w)
    end)
  end)
end)
