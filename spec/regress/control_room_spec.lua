-- Control messages were cut where their option was switched on late: while
-- a request was under way, before the socket was made one of uring's, or on
-- a stream. And nothing but a flag said so.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(net.close)
after_each(helper.clean)

describe("room for control messages", function()
  it("is made for a loop that is under way", function()
    net.run(function()
      local a, b = net.udp_pair()
      local n, seen = 0, {}
      local reader = uring.spawn(function()
        for _, _, info in a:messages() do
          n = n + 1
          seen[n] = info
          if n == 3 then break end
        end
      end)
      net.turns()
      b:send "1"
      helper.eventually(function() uring.sleep(0) return n == 1 end)
      assert(a:setsockopt("IP_PKTINFO", true))
      net.turns()
      b:send "2"
      b:send "3"
      assert(reader:join(net.patience))
      assert.equal(nil, seen[1].control.pktinfo)
      for i = 2, 3 do
        assert.truthy(seen[i].control.pktinfo, i)
        assert.is_false(seen[i].control_truncated)
      end
    end)
  end)

  it("is made for a request that a choice has left", function()
    net.run(function()
      local a, b = net.udp_pair()
      uring.select({ a:receiving() }, 0.001)
      assert(a:setsockopt("IP_PKTINFO", true))
      net.turns()
      b:send "x"
      local _, _, info = a:receive(nil, net.patience)
      assert.truthy(info.control.pktinfo)
    end)
  end)

  it("is made for a socket that had the option before", function()
    net.run(function()
      local a, b = net.udp_pair()
      assert(a:setsockopt("IP_PKTINFO", true))
      local dup = spec.dup(a:fileno())
      local again = net.keep(assert(uring.socket(uring.fd(dup))))
      b:send "x"
      local _, _, info = again:receive(nil, net.patience)
      assert.truthy(info.control.pktinfo)
    end)
  end)

  it("is made for streams, and for what they accept", function()
    net.run(function()
      local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
      assert(listener:setsockopt("SO_TIMESTAMP", true))
      local a <close> = assert(uring.tcp.connect(listener:getsockname()))
      local b <close> = assert(listener:accept(net.patience))
      -- The kernel begins to stamp what streams carry in the background, some
      -- time after the option was set: what came before has no stamp.
      local control = helper.eventually(function()
        a:send "x"
        local _, _, info = b:receive(nil, net.patience)
        return info.control[1]
      end)
      assert.equal(uring.SOL_SOCKET, control[1])
    end)
  end)
end)
