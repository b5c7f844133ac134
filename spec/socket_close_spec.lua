-- A socket's end: by close, while tasks wait for it, or by the collector, also
-- in the middle of a call; and what goes with it.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local cancelled = net.cancelled

after_each(net.close)
after_each(helper.clean)

describe("closing a socket", function()
  -- Every wait of one task, and what it gives when another task closes.
  local waits = {
    receive = function(s) return s:receive() end,
    recv = function(s) return s:recv(1, 60) end,
    recvfrom = function(s) return s:recvfrom() end,
    recvmsg = function(s) return s:recvmsg() end,
    messages = function(s)
      for _ in s:messages() do error "none came" end
      return nil, "ended", E.EBADF
    end,
    chunks = function(s)
      for _ in s:chunks { lease = true } do error "none came" end
      return nil, "ended", E.EBADF
    end,
    send = function(s)
      return s:send(("x"):rep(10000000))
    end,
    sendmsg = function(s)
      return s:sendmsg { { data = ("x"):rep(10000000) }, { data = "y" } }
    end,
  }

  for name, wait in pairs(waits) do
    it("ends a wait of another task: " .. name, function()
      net.run(function()
        for _, pair in ipairs { net.tcp, net.pair } do
          local a, b = pair()
          local first = uring.spawn(wait, b)
          local second = uring.spawn(wait, b)
          net.turns(5)
          b:close()
          assert.equal(E.EBADF, select(4, first:join(net.patience)))
          assert.equal(E.EBADF, select(4, second:join(net.patience)))
          -- the peer learns of it at once
          while true do
            local part, why, errno = a:recv(nil, net.patience)
            assert.not_equal("timed out", why)
            if not part then
              assert.truthy(why == nil or errno == E.ECONNRESET, why)
              break
            end
          end
        end
      end)
    end)
  end

  it("ends accept, and connect", function()
    net.run(function()
      local listener = net.listener()
      local task = uring.spawn(function() return listener:accept() end)
      local other = uring.spawn(function() return listener:accept(60) end)
      net.turns()
      listener:close()
      assert.equal(E.EBADF, select(4, task:join(net.patience)))
      assert.equal(E.EBADF, select(4, other:join(net.patience)))
    end)
  end)

  it("by the collector, where its task was cancelled", function()
    for _, wait in pairs(waits) do
      local x, y = uring.socketpair()
      cancelled(function() wait(y) end)
      y = nil
      helper.collect()
      net.run(function()
        while true do
          local part, why = x:recv(nil, net.patience)
          assert.not_equal("timed out", why)
          if not part then break end
        end
        x:close()
      end)
    end
  end)
end)
