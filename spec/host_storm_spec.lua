-- A host whose scripts, callbacks and threads do whatever is allowed, and much
-- that is not (spec/c/host_storm.c, spec/support/host_storm.lua): nothing
-- crashes or hangs, and each block that was posted is released once.
-- URING_STORM is the number of its states.

local c_host = require "c_host"
local helper = require "helper"
local spec = require "uring_spec"

local it = helper.needs_ring(it)

describe("a storm", function()
  teardown(function() helper.clean() end)

  it("of calls from each callback and thread is survived", function()
    local program = c_host.build "spec/c/host_storm.c"
    local states = tonumber(os.getenv "URING_STORM") or 20
    local status, output = spec.execute(60 * helper.slow + states * 5,
      program, "spec/support/host_storm.lua", "0", tostring(states))
    assert.equal(0, status, output)
    local accepted, released = output:match "^(%d+) accepted, (%d+) released"
    assert.equal(accepted, released)
    assert(tonumber(accepted) > 0)
  end)
end)
