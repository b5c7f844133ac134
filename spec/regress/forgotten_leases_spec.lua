-- A loop over leases that lets go of none: those that it has forgotten are
-- garbage, but nothing in it allocates, so nothing collected them, and it
-- waited for ever.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(net.close)
after_each(helper.clean)

describe("leases that were dropped", function()
  it("are collected when there is no buffer left", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local sender = uring.spawn(function()
        for _ = 1, 2000 do assert(a:send("x", net.patience)) end
      end)
      local n = 0
      for lease in b:messages { size = 64, lease = true } do
        n = n + #lease
        if n == 2000 then break end
      end
      assert(sender:join(net.patience))
    end)
  end)

  it("are waited for while they are in use", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local sender = uring.spawn(function()
        for _ = 1, 400 do assert(a:send("x", net.patience)) end
      end)
      local kept, n = {}, 0
      local reader = uring.spawn(function()
        for lease in b:messages { size = 64, lease = true } do
          n = n + 1
          kept[n] = lease
          if n == 400 then break end
        end
      end)
      helper.eventually(function()
        uring.sleep(0.001)
        return n == 256
      end)
      uring.sleep(0.03)
      assert.equal(256, n)
      for i = 1, 256 do kept[i]:release() end
      assert(reader:join(net.patience))
      assert(sender:join(net.patience))
      for i = 257, 400 do kept[i]:release() end
    end)
  end)

  it("may be collected with what closes their socket", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local sender = uring.spawn(function()
        for _ = 1, 400 do
          if not a:send("x", net.patience) then break end
        end
      end)
      local function garbage()
        setmetatable({}, { __gc = function() b:close() end })
      end
      garbage()
      local read, s, control, _ <close> =
        b:messages { size = 64, lease = true }
      local n = 0
      while read(s, control) do
        n = n + 1
        if n == 250 then garbage() end
      end
      assert.truthy(n >= 250 and n < 400, n)
      assert(sender:join(net.patience))
    end)
  end)
end)
