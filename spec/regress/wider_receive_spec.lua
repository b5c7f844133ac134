-- A datagram was cut although the receive had room for it: a request with less
-- was under way, which a choice had left.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(net.close)
after_each(helper.clean)

describe("a receive with more room than the one under way", function()
  it("gets the whole datagram", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      assert(a:setsockopt("SO_SNDBUF", 1 << 20))
      uring.select({ b:receiving() }, 0.001)
      local sender = uring.spawn(function()
        net.turns()
        return a:send(("x"):rep(150000))
      end)
      local payload, _, info = b:receive(200000, net.patience)
      assert.equal(150000, #payload)
      assert.is_false(info.truncated)
      assert(sender:join(net.patience))
    end)
  end)
end)
