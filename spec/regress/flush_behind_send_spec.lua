-- A flush with nothing to write, behind a send that is in flight, joined no
-- queue, and waited for ever.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(net.close)

describe("a flush of nothing", function()
  it("waits behind a send, and ends", function()
    net.run(function()
      local a, b = net.pair()
      local sending = uring.spawn(function()
        return a:send(("s"):rep(3000000))
      end)
      net.turns(2)
      local flushing = uring.spawn(function() return a:flush() end)
      net.turns(2)
      b:limit(math.huge)
      assert.equal(3000000, #b:read(3000000, net.patience))
      assert.same({ true, 3000000 }, { sending:join(net.patience) })
      assert.same({ true, a }, { flushing:join(net.patience) })
    end)
  end)
end)
