-- An empty packet was taken for the end of a socket of packets: the loop over
-- it ended, and what came later was left there.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(net.close)
after_each(helper.clean)

describe("an empty packet", function()
  it("is told from the end of the socket", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_SEQPACKET)
      for _, data in ipairs { "one", "", "two", "" } do
        assert.equal(#data, a:send(data))
      end
      local got = {}
      for data in b:messages { size = 64 } do
        got[#got + 1] = data
        if #got == 4 then
          a:send "last"
          a:close()
        end
      end
      assert.same({ "one", "", "two", "", "last" }, got)
      assert.equal(nil, (b:recv(64, net.patience)))
    end)
  end)

  it("is told from the end by single receives too", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_SEQPACKET)
      a:send ""
      assert.equal("", b:recv(64, net.patience))
      a:send "x"
      assert.equal("x", b:recv(64, net.patience))
      a:close()
      assert.equal(nil, (b:recv(64, net.patience)))
    end)
  end)
end)
