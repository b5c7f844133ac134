-- A task that was broken off long after its last await had that await's result
-- disposed of a second time: with it went the buffer of another request.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

local waits = {
  await = function(ring, sqe) return ring:await(sqe) end,
  chain = function(ring, sqe)
    return table.unpack(ring:await_chain { sqe }[1])
  end,
}

describe("a result that its task has taken", function()
  for name, wait in pairs(waits) do
    it("is not disposed of when the task breaks off: " .. name, function()
      helper.needs "buf_ring"
      local ring <close> = assert(uring.ring { entries = 4 })
      local group = assert(ring:buf_ring { entries = 1, size = 64 })
      local a, b = assert(uring.socketpair())
      local function recv()
        return uring.sqe():prep_recv(b):set_buf_group(group:bgid())
      end
      helper.raises("yield", uring.run, function()
        assert(a:send "one")
        local res, flags = assert(wait(ring, recv()))
        assert.equal("one", group:string(res, flags))
        assert(a:send "two")
        assert(ring:queue(recv()))
        assert(ring:submit_and_wait(1, 5 * helper.slow))
        coroutine.yield()
      end)
      local _, res, flags = assert(ring:wait_cqe(5 * helper.slow))
      assert.equal("two", group:string(res, flags))
      a:close()
      b:close()
    end)
  end
end)
