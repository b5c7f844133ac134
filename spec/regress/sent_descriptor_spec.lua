-- What is sent is a dup of a descriptor. It was closed when the garbage was
-- collected, so a connection that had been handed over, and ended by the
-- receiver, did not end for its peer.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("a descriptor that was sent", function()
  it("is closed when the message has gone", function()
    local file <close> = assert(io.open "LICENSE")
    uring.run(function()
      local a <close>, b = assert(uring.socketpair())
      local ours <close> = b
      collectgarbage "stop"
      local before = helper.fds()
      for _ = 1, 3 do
        assert(a:sendmsg { data = "x", control = { fds = { file, file } } })
        local _, _, info = ours:receive()
        for _, fd in ipairs(info.control.fds) do fd:close() end
      end
      local after = helper.fds()
      collectgarbage "restart"
      assert.equal(before, after)
    end)
  end)

  it("is closed when it could not be sent", function()
    local file <close> = assert(io.open "LICENSE")
    uring.run(function()
      local a <close>, b = assert(uring.socketpair())
      b:close()
      collectgarbage "stop"
      local before = helper.fds()
      local sent, _, errno = a:sendmsg {
        data = "x", control = { fds = { file } },
      }
      local after = helper.fds()
      collectgarbage "restart"
      assert.same({ nil, uring.errno.EPIPE }, { sent, errno })
      assert.equal(before, after)
    end)
  end)
end)
