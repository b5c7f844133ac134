-- Input that arrives at a socket while no task waits for it is kept for the
-- next wait, up to a bound, however much it is and however slow other sockets
-- are.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(net.close)
after_each(helper.clean)

describe("input that arrives while no task waits", function()
  it("is there for the next wait after a break", function()
    net.run(function()
      local a, b = net.tcp()
      local sent = net.bytes(100000)
      uring.spawn(function()
        for i = 1, #sent, 1000 do
          a:send(sent:sub(i, i + 999))
          net.turns(1)
        end
        a:shutdown "write"
      end)
      local parts, i = {}, 0
      while true do
        i = i + 1
        local part
        if i % 4 == 0 then part = b:recv(700)
        elseif i % 4 == 1 then part = net.first(b:chunks())
        elseif i % 4 == 2 then part = net.first(b:messages { size = 500 })
        else
          part = net.first(b:chunks { lease = true })
          part = part and part:string()
        end
        if not part then break end
        parts[#parts + 1] = part
      end
      assert.truthy(sent == table.concat(parts))
    end)
  end)

  it("is there for the next wait after a close of the coroutine", function()
    local b, a
    net.run(function() b, a = net.udp_pair() end)
    for _, name in ipairs { "receive", "messages", "chunks" } do
      helper.raises("ended from outside", uring.run, function()
        local co
        uring.spawn(function()
          co = coroutine.running()
          if name == "receive" then b:receive() end
          for _ in b[name](b) do error "none came" end
        end)
        net.turns()
        coroutine.close(co)
        a:send "one"
        net.turns()
      end)
      net.run(function()
        a:send "two"
        assert.equal("one", b:recv(nil, net.patience))
        assert.equal("two", b:recv(nil, net.patience))
      end)
    end
  end)

  it("gives its buffers back, whether it is read or not", function()
    net.run(function()
      local a, b
      -- more rounds than there are buffers
      for i = 1, 400 do
        a, b = uring.socketpair(uring.SOCK_DGRAM)
        for k = 1, 4 do a:send(tostring(k)) end
        assert.equal("1", (net.first(b:messages { size = 128 })))
        if i % 4 == 0 then assert.equal("2", b:recv()) end
        if i % 3 == 0 then net.turns() end
        if i % 2 == 0 then b:close() a:close() end
      end
      helper.collect()
      net.turns()
      net.whole(128)
    end)
  end)

  -- What a multishot has brought is counted until it is read.
  local function falls(socket, take)
    net.eventually(function() return socket:stats().waiting == 3 end)
    for left = 2, 0, -1 do
      take()
      assert.equal(left, socket:stats().waiting)
    end
  end

  it("is counted by stats() until it is read: datagrams", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local next, reader = b:messages { size = 64 }
      a:send "the first"
      assert.equal("the first", next(reader))
      for _ = 1, 3 do a:send "another" end
      falls(b, function() assert.equal("another", next(reader)) end)
    end)
  end)

  it("is counted by stats() until it is read: connections", function()
    net.run(function()
      local listener = net.listener()
      local address = listener:getsockname()
      local next, reader = listener:connections()
      net.keep(assert(uring.tcp.connect(address)))
      net.keep((assert(next(reader))))
      for _ = 1, 3 do net.keep(assert(uring.tcp.connect(address))) end
      falls(listener, function() net.keep((assert(next(reader)))) end)
    end)
  end)

  -- A socket that is not read stops at its bound; what is left stays with
  -- the kernel, in order.
  it("stops at its bound, and other sockets go on", function()
    net.run(function()
      local slow, to_slow = net.pair(uring.SOCK_STREAM)
      local quick, to_quick = net.pair(uring.SOCK_DGRAM)
      assert.equal("x", (to_slow:send "x" and net.first(slow:chunks
        { size = 200 })))
      local reader = uring.spawn(function()
        local parts = {}
        for part in slow:chunks { size = 200, count = 5 } do
          parts[#parts + 1] = part
          if #parts == 1 then uring.sleep(0.05) end
        end
        return table.concat(parts)
      end)
      local sent = net.bytes(600000)
      local sender = uring.spawn(function()
        to_slow:send(sent)
        to_slow:shutdown "write"
      end)
      net.turns(5)
      local before = uring.loop():ring():stats()
      for i = 1, 300 do
        to_quick:send(tostring(i))
        assert.equal(tostring(i), (net.first(quick:messages
          { size = 200 })))
      end
      -- no task asks again and again meanwhile
      local after = uring.loop():ring():stats()
      assert.truthy(after.submitted - before.submitted < 300 * 6)
      assert(sender:join(net.patience))
      local _, got = reader:join(net.patience)
      assert.truthy(sent == got)
    end)
  end)
end)

-- However many buffers slow readers have between them.
it("many slow readers slow no other socket down", function()
  net.run(function()
    for _, name in ipairs { "messages", "chunks" } do
      local ends = {}
      for i = 1, 8 do
        local a, b = net.pair()
        ends[i] = { a, b }
        uring.spawn(function()
          local next, reader = b[name](b, { size = 333 })
          assert.truthy(next(reader))
          net.fails(E.EBADF, a:recv())  -- until it is closed
        end)
        uring.spawn(function() a:send(("x"):rep(300 * 333)) end)
      end
      net.turns(10)
      for _, pair in ipairs { net.pair, net.tcp, net.udp_pair } do
        local d, c = pair()
        local sent = net.bytes(100000)
        local sender = uring.spawn(function()
          for i = 1, #sent, 250 do
            c:send(sent:sub(i, i + 249))
            net.turns(2)
          end
        end)
        local before = uring.loop():ring():stats().submitted
        local parts = {}
        for part in d[name](d, { size = 333 }) do
          parts[#parts + 1] = part
          if #table.concat(parts) >= #sent then break end
        end
        assert.truthy(sent == table.concat(parts))
        assert(sender:join(net.patience))
        -- and no task asks in vain again and again
        local asked = uring.loop():ring():stats().submitted - before
        assert.truthy(asked < 400 * 5, asked)
      end
      for i = 1, 8 do
        ends[i][2]:close()
        ends[i][1]:close()
      end
    end
  end)
end)

-- Completions that found no room in the queue end a multishot.
it("an overflow of the completion queue loses nothing", function()
  helper.script_ok [[
    local net = require "net"
    local uring = require "uring"
    uring.loop { entries = 8, cq_entries = 8 }
    net.run(function()
      local ends, readers = {}, {}
      for i = 1, 5 do
        local a, b = net.pair(uring.SOCK_DGRAM)
        ends[i] = a
        readers[i] = uring.spawn(function()
          local n = 0
          for payload in b:messages { size = 100 } do
            n = n + 1
            assert(payload == tostring(n), payload)
            if n == 1000 then return n end
          end
        end)
      end
      net.turns()
      local writers = {}
      for i = 1, 5 do
        writers[i] = uring.spawn(function()
          for k = 1, 1000 do assert(ends[i]:send(tostring(k))) end
        end)
      end
      for i = 1, 5 do
        assert(writers[i]:join(net.patience))
        local ok, n = readers[i]:join(net.patience)
        assert(ok and n == 1000, n)
      end
      local stats = uring.loop():ring():stats()
      assert(stats.overflowed > 0, "it never overflowed")
    end)
    net.close()
  ]]
end)
