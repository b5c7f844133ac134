-- sendmsg of sockets: messages of several parts, arrays of messages, and
-- descriptors in them.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local read_all, fill = net.read_all, net.fill

after_each(net.close)
after_each(helper.clean)

describe("sendmsg", function()
  it("sends the parts of one message together", function()
    net.run(function()
      local b, address = net.udp()
      local a = net.udp()
      local buffer = uring.buffer "0123456789"
      assert.equal(12, a:sendmsg({ iov = { "ab", buffer, "" },
        name = address }, net.patience))
      assert.equal("ab0123456789", b:recv())
      assert.equal(5, a:sendmsg { iov = { { buffer, 3, 4 }, "x" },
        name = tostring(address) })
      assert.equal("3456x", b:recv())
      assert.equal(0, a:sendmsg { name = address })
      assert.equal("", b:recv())
    end)
  end)

  it("sends an array of messages, and says how many went", function()
    net.run(function()
      local b, address = net.udp()
      local c, other = net.udp()
      local a = net.udp()
      local all = {}
      for i = 1, 20 do
        all[i] = { data = tostring(i), name = i % 2 == 0 and address
          or other }
      end
      assert.equal(20, a:sendmsg(all))
      for i = 1, 20 do
        assert.equal(tostring(i), (i % 2 == 0 and b or c):recv())
      end
      all[11] = { data = ("x"):rep(70000), name = address }
      local out = table.pack(a:sendmsg(all))
      assert.same({ 4, nil, E.EMSGSIZE, 10 },
        { out.n, out[1], out[3], out[4] })
      for i = 1, 10 do (i % 2 == 0 and b or c):recv() end
      assert.equal(0, a:sendmsg {})
      assert.equal(E.ETIME, select(3, b:recv(nil, 0)))
    end)
  end)

  it("sends nothing of an array in which one is no message", function()
    net.run(function()
      for _, kind in ipairs { uring.SOCK_DGRAM, uring.SOCK_STREAM } do
        local a, b = net.pair(kind)
        helper.raises("array of messages", a.sendmsg, a,
          { { data = "1" }, "2" })
        helper.raises("unknown option 'dta': did you mean 'data'?",
          a.sendmsg, a, { { data = "1" }, { dta = "2" } })
        for _, bad in ipairs { { data = true }, { iov = { true } },
            { iov = 1 }, { data = "2", flags = "x" }, { data = "2",
            control = { fds = { "x" } } }, { data = "2", name = 5 } } do
          assert.falsy((pcall(a.sendmsg, a, { { data = "1" }, bad })))
        end
        assert.equal(E.ETIME, select(3, b:recv(nil, 0)))
      end
    end)
  end)

  it("keeps the order of an array of any messages", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local all = {}
      for i = 1, 300 do
        all[i] = i % 7 == 0 and { iov = { tostring(i), "" } }
          or i % 11 == 0 and { data = uring.buffer(tostring(i)) }
          or i % 13 == 0 and { data = tostring(i), flags = 0 }
          or { data = tostring(i) }
      end
      local reader = uring.spawn(function()
        for i = 1, 300 do assert.equal(tostring(i), b:recv()) end
      end)
      assert.equal(300, a:sendmsg(all, net.patience))
      assert(reader:join(net.patience))
    end)
  end)

  it("says for how many of an array there was room", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local all = {}
      for i = 1, 2000 do all[i] = { data = tostring(i) } end
      local out = table.pack(a:sendmsg(all, 0.001))
      assert.same({ 4, nil, "timed out", E.ETIME },
        { out.n, out[1], out[2], out[3] })
      assert.truthy(out[4] > 0 and out[4] < 2000)
      for i = 1, out[4] do assert.equal(tostring(i), b:recv()) end
      assert.equal(E.ETIME, select(3, b:recv(nil, 0)))
      local closed = uring.buffer(1)
      closed:close()
      helper.raises("closed buffer", a.sendmsg, a, { { data = closed } })
      helper.raises("address expected", a.sendmsg, a,
        { { data = "", name = "nowhere" } })
      helper.raises("string, buffer or lease expected, got boolean",
        a.sendmsg, a, { { data = true } })
    end)
  end)

  it("does not count a message that was sent in part", function()
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair } do
        local a, b = pair()
        local big = net.bytes(8000000)
        local out = table.pack(a:sendmsg({ { data = "one" },
          { data = big } }, 0.02))
        assert.same({ 5, nil, "timed out", E.ETIME, 1 },
          { out.n, table.unpack(out, 1, 4) })
        assert.truthy(out[5] > 0 and out[5] < #big)  -- of the next
        b:close()
        a, b = pair()
        out = table.pack(a:sendmsg({ data = big }, 0.02))
        assert.same({ 4, nil, "timed out", E.ETIME },
          { out.n, out[1], out[2], out[3] })
        assert.truthy(out[4] > 0 and out[4] < #big)
        local reader = uring.spawn(read_all, b)
        a:shutdown "write"
        local _, got = reader:join(net.patience)
        assert.truthy(big:sub(1, out[4]) == got)
      end
    end)
  end)

  it("sends the message as it was when it is changed meanwhile", function()
    net.run(function()
      local a, b = net.pair()
      local n = fill(a)
      local iov = { "one", uring.buffer "two" }
      local message = { iov = iov }
      local array = { message, { data = "three" } }
      local task = uring.spawn(function() return a:sendmsg(array) end)
      net.turns()
      iov[1], iov[2] = nil, nil
      message.iov = "nothing"
      helper.collect()
      local got = {}
      local left = n + 11
      while left > 0 do
        got[#got + 1] = assert(b:recv(nil, net.patience))
        left = left - #got[#got]
      end
      assert.same({ true, 2 }, { task:join(net.patience) })
      assert.equal("onetwothree", table.concat(got):sub(n + 1))
    end)
  end)

  it("does not wait when a finalizer has cancelled it", function()
    helper.needs_eager_collector()
    net.run(function()
      local n, all = 0, true
      while all do
        n = n + 1
        local a <close>, b = net.pair()
        local sender
        fill(a)
        sender = uring.spawn(function()
          all = helper.in_allocation(n, function() sender:cancel() end,
            a.sendmsg, a, { data = "more" })
        end)
        uring.sleep(0)
        sender:cancel()  -- (where it makes not as many)
        assert(sender:join(net.patience))
        b:close()
      end
      assert(n > 1)
    end)
  end)

  it("sends descriptors once, and keeps no copy", function()
    helper.keeps_fds(function()
      net.run(function()
        local a, b = uring.socketpair(uring.SOCK_DGRAM)
        local c, d = uring.socketpair()
        assert(a:sendmsg { data = "x", control = { fds = { c, d } } })
        c:close()
        d:close()
        local _, _, info = b:receive()
        local x, y = table.unpack(info.control.fds)
        assert.equal(1, (uring.await(uring.sqe():prep_write(x, "z"))))
        local buffer = uring.buffer(1)
        assert.equal(1, (uring.await(uring.sqe():prep_read(y, buffer))))
        assert.equal("z", buffer:string())
        -- what could not go has gone nowhere
        for _ = 1, 3000 do
          if not a:sendmsg({ data = "x", control = { fds = { b } } }, 0) then
            break
          end
        end
        a:close()
        b:close()
        local e <close> = assert(uring.socket(uring.AF_UNIX,
          uring.SOCK_STREAM))
        net.fails(E.ENOTCONN, e:sendmsg { data = "x",
          control = { fds = { 0 } } })
      end)
    end)
  end)
end)
