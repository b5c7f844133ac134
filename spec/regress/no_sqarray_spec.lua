-- NO_SQARRAY is liburing's own business; one that does not know the flag
-- misreads the ring's memory if it is passed on.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("each setup flag alone", function()
  for bit = 0, 31 do
    it(("1 << %d makes a ring that works, or none"):format(bit), function()
      local ring, message = uring.ring { entries = 8, flags = 1 << bit }
      if not ring then
        assert.is_string(message)
        return
      end
      ring:enable_rings()
      if ring:queue(uring.sqe():prep_nop():set_data64(5)) then
        local data, res, flags, kind = ring:wait_cqe(2 * helper.slow)
        assert.same({ 5, 0, 0, "completion" }, { data, res, flags, kind })
      end
      ring:close()
    end)
  end
end)
