-- The end of a SOCK_SEQPACKET socket was told as an empty message, again and
-- again, so that a loop over its messages never ended; and flags in the type
-- of a socketpair made the same of a stream.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("the end of a pair", function()
  local types = {
    seqpacket = uring.SOCK_SEQPACKET,
    stream = uring.SOCK_STREAM | uring.SOCK_CLOEXEC,
  }

  for name, type in pairs(types) do
    it("of type " .. name .. " ends its messages", function()
      uring.run(function()
        local a, b = assert(uring.socketpair(type))
        local ours <close> = b
        assert(a:send "x")
        a:close()
        local got = {}
        for data in ours:messages() do
          got[#got + 1] = data
          if #got > 1 then break end
        end
        assert.same({ "x" }, got)
      end)
    end)

    it("of type " .. name .. " is a single nil", function()
      uring.run(function()
        local a, b = assert(uring.socketpair(type))
        local ours <close> = b
        a:close()
        assert.equal(1, select("#", ours:receive()))
        assert.equal(1, select("#", ours:recv()))
      end)
    end)
  end
end)
