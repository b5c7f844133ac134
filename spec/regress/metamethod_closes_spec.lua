-- Metamethods of a table that is an argument run in the middle of the call,
-- and may close the ring that it is about to use.

local helper = require "helper"

local it = helper.needs_ring(it)

local function says_closed(call)
  return ([[local ok, message = pcall(function() %s end)
    assert(not ok and message:find("a closed ring", 1, true), message)
  ]]):format(call)
end

describe("a metamethod that closes the ring", function()
  for name, call in pairs {
    chain = says_closed "uring.run(function() ring:await_chain(sqes) end)",
    register_files = says_closed "ring:register_files(numbers)",
    register_files_update =
      says_closed "ring:register_files_update(0, numbers)",
    register_sync_cancel = "pcall(ring.register_sync_cancel, ring, options)",
    attach_wq = "pcall(uring.ring, attach)",
  } do
    it("does no harm in " .. name, function()
      assert.equal("survived", helper.script_ok(([[
        local uring = require "uring"
        local ring = uring.ring()
        ring:register_files_sparse(4)
        local sqe = uring.sqe():prep_nop()
        local function index(value)
          return { __len = function() return 2 end, __index = function()
            ring:close()
            return value
          end }
        end
        local sqes = setmetatable({}, index(sqe))
        local numbers = setmetatable({}, index(-1))
        local options = setmetatable({
          flags = uring.IORING_ASYNC_CANCEL_ANY }, index())
        local attach = setmetatable({}, index())
        %s
        local fresh = uring.ring()
        fresh:queue(uring.sqe():prep_nop():set_data64(7))
        assert(fresh:wait_cqe(1) == 7)
        io.write "survived"]]):format(call)))
    end)
  end
end)
