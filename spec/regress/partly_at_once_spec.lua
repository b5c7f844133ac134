-- A stream that took the first part of a small send at once, and no more, was
-- taken for one that had taken all of it.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("a send that a stream takes in part at once", function()
  after_each(net.close)

  it("goes on with the rest", function()
    local text = net.bytes(60000)
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair } do
        local a, b = pair()
        local sent = 0
        local writer = uring.spawn(function()
          for _ = 1, 200 do
            assert.equal(#text, (assert(a:send(text))))
            sent = sent + #text
          end
          a:shutdown "write"
        end)
        local parts = {}
        for part in b:chunks() do parts[#parts + 1] = part end
        assert(writer:join())
        assert.equal(200 * #text, sent)
        assert.equal(text:rep(200), table.concat(parts))
      end
    end)
  end)
end)
