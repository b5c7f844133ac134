-- Metamethods of a table that is an argument run in the middle of the call,
-- and may close the ring that it is about to use.

local helper = require "helper"

local it = helper.needs_ring(it)

describe("a metamethod that closes the ring", function()
  for name, call in pairs {
    chain = "uring.run(function() ring:await_chain(array) end)",
    register_files = "ring:register_files(array)",
    register_files_update = "ring:register_files_update(0, array)",
    register_sync_cancel = "ring:register_sync_cancel(options)",
    attach_wq = "uring.ring(attach)",
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
        local array = setmetatable({}, index(sqe))
        local options = setmetatable({
          flags = uring.IORING_ASYNC_CANCEL_ANY }, index())
        local attach = setmetatable({}, index())
        local ok = pcall(function() %s end)
        local fresh = uring.ring()
        fresh:queue(uring.sqe():prep_nop():set_data64(7))
        assert(fresh:wait_cqe(1) == 7)
        io.write "survived"]]):format(call)))
    end)
  end
end)
