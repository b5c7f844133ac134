-- A finalizer runs in whatever allocation comes next, also in the middle of a
-- function of the library, and may close the ring that it is about to use.

local helper = require "helper"

local it = helper.needs_ring(it)

-- `call` with a finalizer that runs `finalizer` in its first allocation.
local function script(call, finalizer)
  return helper.script_ok(([[
    local uring = require "uring"
    local ring = uring.ring{ entries = 16 }
    local sqe = uring.sqe():prep_nop()
    local buffer = uring.buffer(8)
    local many = {}
    for i = 1, 12 do many[i] = sqe end
    local function call() %s end
    local function trial()
      collectgarbage()
      collectgarbage()
      collectgarbage "stop"
      collectgarbage("incremental", 100, 1000, 30)
      setmetatable({}, { __gc = function() %s end })
      collectgarbage "restart"
      call()
      collectgarbage("incremental", 200, 100, 13)
    end
    pcall(trial)
    collectgarbage()
    local fresh = uring.ring()
    fresh:queue(uring.sqe():prep_nop():set_data64(7))
    assert(fresh:wait_cqe(1) == 7)
    io.write "survived"]]):format(call, finalizer))
end

describe("a finalizer that closes the ring", function()
  for name, call in pairs {
    queue = "ring:queue(sqe)",
    ["queue of many"] = "ring:queue(table.unpack(many))",
    ref = "ring:ref()",
    stats = "ring:stats()",
    flags = "ring:flags()",
    messages = "ring:messages()",
    receive = "uring.run(function() ring:receive(0) end)",
    await = "uring.run(function() ring:await(sqe) end)",
    chain = "uring.run(function() ring:await_chain(many) end)",
    register_files = "ring:register_files{ 0 }",
    register_sync_cancel = "ring:register_sync_cancel{ flags = 4 }",
    prep = "uring.sqe():prep_msg_ring(ring, 1, 2)",
    ["prep of its descriptor"] = "uring.sqe():prep_read(ring, buffer)",
  } do
    it("does no harm in " .. name, function()
      assert.equal("survived", script(call, "ring:close()"))
    end)
  end
end)

describe("a finalizer that changes the sqe", function()
  for name, change in pairs {
    ["link flag"] = "sqe:set_flags(uring.IOSQE_IO_LINK)",
    ["silent and with memory"] = [[sqe:prep_read(0, buffer)
      :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS)]],
    ["closed buffer"] = "sqe:prep_read(0, buffer) buffer:close()",
  } do
    it("does no harm: " .. name, function()
      assert.equal("survived", script("ring:queue(sqe) ring:submit()",
        change))
      assert.equal("survived", script(
        "ring:queue(table.unpack(many)) ring:submit()", change))
    end)
  end
end)
