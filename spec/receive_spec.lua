-- What a socket's tasks receive by single waits: receive, recv, recvfrom and
-- recvmsg, of streams and of datagrams of every size. Nothing that arrived is
-- lost, whichever task goes away meanwhile.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local SEQPACKET = uring.SOCK_SEQPACKET or 5
local cancelled = net.cancelled

after_each(net.close)
after_each(helper.clean)

describe("receive", function()
  it("gives chunks of a stream, and then a single nil", function()
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair } do
        local a, b = pair()
        a:send "abcdef"
        assert.equal("ab", b:recv(2))
        assert.same({ n = 2, "c" }, table.pack(b:recvfrom(1)))
        local payload, from, info = b:receive(1)
        assert.same({ "d", nil, false, {} },
          { payload, from, info.truncated, info.control })
        assert.same({ n = 3, "ef", nil, b = nil },
          { n = select("#", b:recvmsg()), "ef" })
        a:close()
        for _ = 1, 2 do
          assert.same({ n = 1 }, table.pack(b:receive()))
          assert.same({ n = 1 }, table.pack(b:recv(10, 0)))
          assert.same({ n = 1 }, table.pack(b:recvfrom(nil, 1)))
        end
      end
    end)
  end)

  it("takes the data that has come before the stream's end", function()
    net.run(function()
      local a, b = net.tcp()
      local sent = net.bytes(300000)
      local sender = uring.spawn(function()
        assert(a:send(sent))
        a:close()
      end)
      local parts = {}
      for part in function() return b:recv(100000) end do
        parts[#parts + 1] = part
      end
      assert(sender:join())
      assert.truthy(sent == table.concat(parts))
      -- (it asks for more when there is more)
      assert.truthy(#parts < 60, #parts)
    end)
  end)

  it("asks a unix stream for more when there is more", function()
    net.run(function()
      local a, b = net.pair()
      local n = 0
      local sender = uring.spawn(function()
        a:send(net.bytes(1000000))
        a:close()
      end)
      for _ in function() return b:recv() end do n = n + 1 end
      assert(sender:join())
      assert.truthy(n < 100, n)
    end)
  end)

  it("ends with its timeout, and leaves later data for the next", function()
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair, net.udp_pair } do
        local b, a = pair()
        for _, seconds in ipairs { 0, 0.001 } do
          local timeout = { n = 3, nil, "timed out", E.ETIME }
          assert.same(timeout, table.pack(b:receive(nil, seconds)))
          assert.same(timeout, table.pack(b:recv(nil, seconds)))
          assert.same(timeout, table.pack(b:recvfrom(nil, seconds)))
        end
        a:send "abc"
        assert.equal("abc", (b:recv(nil, 0) or b:recv(nil, net.patience)))
        assert.equal(E.ETIME, select(3, b:receive(nil, 0)))
      end
    end)
  end)

  it("loses no byte to timeouts that race it", function()
    net.run(function()
      local b, a = net.tcp()
      local sent, got = net.bytes(3000), {}
      uring.spawn(function()
        for i = 1, #sent, 10 do
          a:send(sent:sub(i, i + 9))
          uring.sleep(math.random() * 0.0002)
        end
        a:shutdown "write"
      end)
      while true do
        local part, why = b:recv(math.random(20), math.random() * 0.0002)
        if part then got[#got + 1] = part
        elseif why ~= "timed out" then break end
      end
      assert.equal(sent, table.concat(got))
    end)
  end)

  it("loses no datagram to a cancelled task", function()
    local a, b
    net.run(function() b, a = net.udp_pair() end)
    for _, wait in ipairs {
      function() b:receive() end,
      function() for _ in b:messages() do error "none has come" end end,
      function() for _ in b:chunks() do error "none has come" end end,
    } do
      cancelled(wait)
      net.run(function()
        a:send "one"
        a:send "two"
        assert.equal("one", b:recv(nil, net.patience))
        assert.equal("two", b:recv(nil, net.patience))
      end)
      -- and where it arrives in the very turn in which the task is cancelled
      cancelled(wait, function()
        uring.loop():ring():queue(uring.sqe():prep_send(a, "three"))
        uring.loop():ring():queue(uring.sqe():prep_send(a, "four"))
        uring.loop():ring():submit()
      end)
      net.run(function()
        assert.equal("three", b:recv(nil, net.patience))
        assert.equal("four", b:recv(nil, net.patience))
      end)
    end
  end)

  it("gives each datagram to one of the tasks that wait", function()
    net.run(function()
      local b, a = net.udp_pair()
      local tasks = {}
      for i = 1, 20 do
        tasks[i] = uring.spawn(function() return b:recv() end)
      end
      net.turns()
      for i = 1, 20 do
        a:send(tostring(i))
        if i % 3 == 0 then net.turns() end
      end
      local got = {}
      for i = 1, 20 do
        local _, payload = tasks[i]:join(net.patience)
        got[tonumber(payload)] = true
      end
      assert.equal(20, #got)
    end)
  end)

  it("goes on for other tasks when one gives up or fails", function()
    net.run(function()
      local b, a = net.udp_pair()
      local first = uring.spawn(function() return b:recv(nil, 0.01) end)
      local second = uring.spawn(function() return b:recv() end)
      local third = uring.spawn(function() return b:recv() end)
      assert.same({ true, nil, "timed out", E.ETIME }, { first:join() })
      a:send "x"
      assert.same({ true, "x" }, { second:join(net.patience) })
      a:send "y"
      assert.same({ true, "y" }, { third:join(net.patience) })
      -- an error is one task's; the others ask again
      local c, port = net.udp()
      c:close()
      local d = net.keep(assert(uring.udp.connect(port)))
      local e1 = uring.spawn(function() return d:recv() end)
      local e2 = uring.spawn(function() return d:recv() end)
      net.turns()
      assert(d:send "x")
      assert.equal(E.ECONNREFUSED, select(4, e1:join(net.patience)))
      assert(d:send "x")
      assert.equal(E.ECONNREFUSED, select(4, e2:join(net.patience)))
    end)
  end)

  it("shares a stream among tasks, each byte to one of them", function()
    net.run(function()
      local a, b = net.tcp()
      local sum, n, tasks = 0, 0, {}
      for i = 1, 8 do
        tasks[i] = uring.spawn(function()
          local function count(part)
            n = n + #part
            for k = 1, #part do sum = sum + part:byte(k) end
          end
          if i % 2 == 0 then
            for part in function() return b:recv(50 * i) end do count(part) end
          else
            for part in b:chunks { size = 100 } do count(part) end
          end
        end)
      end
      local sent = net.bytes(100000)
      local expected = 0
      for k = 1, #sent do expected = expected + sent:byte(k) end
      a:send(sent)
      a:shutdown "write"
      for _, t in ipairs(tasks) do assert.is_true(t:join(net.patience)) end
      assert.same({ #sent, expected }, { n, sum })
    end)
  end)

  it("tells a reset peer from one that ended", function()
    local linger = string.pack("i4i4", 1, 0)
    net.run(function()
      for _, wait in ipairs {
        function(b) return b:receive() end,
        function(b) return b:recv(1) end,
        function(b)
          local message = helper.raises("ECONNRESET", function()
            for _ in b:chunks() do error "none came" end
          end)
          assert.truthy(message:find("recv on fd", 1, true), message)
          return nil, message, E.ECONNRESET
        end,
        function(b)
          helper.raises("ECONNRESET", function()
            for _ in b:messages() do error "none came" end
          end)
          return nil, "", E.ECONNRESET
        end,
      } do
        for late = 0, 1 do
          local a, b = net.tcp()
          a:setsockopt("SO_LINGER", linger)
          local task
          if late == 1 then
            task = uring.spawn(wait, b)
            net.turns()
          end
          a:close()
          task = task or uring.spawn(wait, b)
          assert.equal(E.ECONNRESET, select(4, task:join(net.patience)))
        end
      end
    end)
  end)

  it("ends a sequence of packets as it ends a stream", function()
    net.run(function()
      local a, b = net.pair(SEQPACKET)
      a:send "one"
      a:send "twenty"
      assert.equal("one", b:recv())
      local payload, _, info = b:receive(3)
      assert.same({ "twe", true }, { payload, info.truncated })
      a:send "three"
      a:close()
      local got = {}
      for p in b:messages() do got[#got + 1] = p end
      assert.same({ "three" }, got)
      assert.same({ n = 1 }, table.pack(b:receive()))
    end)
  end)

  it("without time does not wait, nor enter the kernel in vain", function()
    net.run(function()
      local a, b = net.pair()
      local listener = net.listener()
      net.fails(uring.errno.ETIME, b:recv(10, 0))
      net.fails(uring.errno.ETIME, listener:accept(0))
      local ring = uring.loop():ring()
      local before = ring:stats().enters
      for _ = 1, 1000 do
        net.fails(uring.errno.ETIME, b:recv(10, 0))
        net.fails(uring.errno.ETIME, b:receive(10, 0))
        net.fails(uring.errno.ETIME, listener:accept(0))
      end
      assert(ring:stats().enters - before < 10)
      assert(a:send "x")
      assert.equal("x", b:recv(10, 0))
      net.fails(uring.errno.ETIME, b:recv(10, 0))
      local client = net.keep(assert(uring.tcp.connect(
        listener:getsockname())))
      assert(net.keep((listener:accept(0))))
      assert(client:close() and a:close())
      assert.same({ n = 1 }, table.pack(b:recv(10, 0)))
    end)
  end)

  it("without time finds what other tasks' requests have brought", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local got = {}
      local task = uring.spawn(function()
        for data in b:messages() do
          got[#got + 1] = data
          if data == "end" then return end
        end
      end)
      net.turns()
      for _, data in ipairs { "one", "two" } do assert(a:send(data)) end
      assert.equal("one", b:recv(10, 0))
      assert.equal("two", b:recv(10, 0))
      net.fails(uring.errno.ETIME, b:recv(10, 0))
      assert(a:send "end")
      assert(task:join(net.patience))
      assert.same({ "end" }, got)
      -- the request of that loop is on its way out
      assert(a:send "more")
      assert.equal("more", b:recv(10, 0))
    end)
  end)

  it("lets other tasks have their turns where data is there", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local next, reader = b:messages { size = 64 }
      a:send "the first"
      assert.equal("the first", (next(reader)))
      for _ = 1, 100 do a:send "x" end
      net.eventually(function() return b:stats().waiting == 100 end)
      local ran = false
      uring.spawn(function() ran = true end)
      for _ = 1, 100 do assert.equal("x", b:recv()) end
      assert.is_true(ran)
    end)
  end)

  it("without time lets other tasks have their turns", function()
    net.run(function()
      local a, b = net.pair()
      local stop
      local task = uring.spawn(function()
        repeat
          local data = b:recv(10, 0)
        until data or stop
      end)
      uring.spawn(function()
        for _ = 1, 3 do uring.sleep(0) end
        assert(a:send "x")
      end)
      local ok, why = task:join(net.patience)
      stop = true
      assert(ok, why)
    end)
  end)

  it("without time ends where its side has stopped receiving", function()
    net.run(function()
      local b = net.udp()
      net.fails(uring.errno.ETIME, b:recv(10, 0))
      assert(b:shutdown "read")
      assert.same({ n = 1 }, table.pack(b:recv(10, 0)))
    end)
  end)

  it("refuses values that are no count or no time", function()
    local a = net.pair()
    for _, name in ipairs { "receive", "recv", "recvfrom", "recvmsg" } do
      for _, bad in ipairs { -1, 1.5, "10", 1 << 31, true, {} } do
        helper.raises("integer from 0", a[name], a, bad)
      end
      for _, bad in ipairs { -1, 0 / 0, "1", true, {} } do
        helper.raises("seconds", a[name], a, 1, bad)
        helper.raises("seconds", a.accept, a, bad)
      end
    end
    for _, name in ipairs { "messages", "chunks" } do
      for _, bad in ipairs { { size = 0 }, { size = "1" }, { size = 1 << 30 },
          { count = 0 }, { count = 1.5 }, { count = 129 }, { lease = 1 } } do
        helper.raises("option", a[name], a, bad)
      end
      helper.raises("unknown option", a[name], a, { sise = 1 })
      helper.raises("table", a[name], a, 5)
    end
  end)

  it("gives no connection to a task that wants data", function()
    net.run(function()
      local a, b = net.tcp()
      local reader = uring.spawn(function() return b:recv() end)
      net.turns()
      net.fails(E.EINVAL, b:accept(net.patience))
      assert.equal(E.ETIME, select(3, b:recv(nil, 0)))
      a:send "abcd"
      assert.same({ true, "abcd" }, { reader:join(net.patience) })
      -- what no task asked for is no descriptor: 1 is still what it was
      assert.equal(E.ETIME, select(3, a:recv(nil, 0)))
      b:send "x"
      net.turns()
      net.fails(E.EINVAL, a:accept(0.01))
      helper.collect()
      assert.equal("x", a:recv(nil, net.patience))
      local listener = net.listener()
      local server = uring.spawn(function() return listener:accept() end)
      net.turns()
      net.fails(E.EINVAL, listener:recv(nil, net.patience))
      local c = net.keep(assert(uring.tcp.connect(listener:getsockname())))
      local _, conn = server:join(net.patience)
      net.keep(conn)
      assert.equal(c:getsockname(), conn:getpeername())
      net.fails(E.ENOTCONN, listener:recv(nil, net.patience))
    end)
  end)
end)

describe("a datagram", function()
  local function check(a, b, size, max)
    local sent = net.bytes(size)
    assert.equal(size, (assert(a:send(sent, net.patience))))
    local payload, _, info = b:receive(max, net.patience)
    assert.truthy(sent:sub(1, max or -1) == payload, size)
    local cut = max ~= nil and max < size
    assert.same({ cut, cut and uring.MSG_TRUNC or 0 },
      { info.truncated, info.flags })
  end

  it("of any size comes whole, or is marked as cut", function()
    net.run(function()
      local b, a = net.udp_pair()
      for _, size in ipairs { 0, 1, 1000, 65506, 65507 } do
        check(a, b, size)
        check(a, b, size, 1000)
        check(a, b, size, 1)
        check(a, b, size, 100000)
      end
      net.fails(E.EMSGSIZE, a:send(net.bytes(65508)))
      check(a, b, 999, 1000)
      check(a, b, 1001, 1000)
      assert.equal(E.ETIME, select(3, b:recv(nil, 0)))
    end)
  end)

  it("of more than 64 KiB comes whole when that much is asked for", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      check(a, b, 100000, 100000)
      check(a, b, 100000, 200000)
      a:send(net.bytes(100000))
      local payload, _, info = b:receive(nil, net.patience)
      assert.same({ 65536, true }, { #payload, info.truncated })
    end)
  end)

  it("has its sender's address, or none", function()
    net.run(function()
      local b, address = net.udp()
      local a, name = net.udp()
      a:sendto("one", address)
      a:sendto("two", address)
      local payload, from, info = b:receive()
      assert.same({ "one", name, 0, false, {} },
        { payload, from, info.flags, info.truncated, info.control })
      assert.same({ "two", name }, { b:recvfrom() })
      local other, its = net.udp()
      other:sendto("three", address)
      a:sendto("four", address)
      assert.same({ "three", its }, { b:recvfrom() })
      assert.same({ "four", name }, { b:recvfrom() })
      local c, d = net.pair(uring.SOCK_DGRAM)
      c:send "five"
      assert.same({ n = 2, "five" }, table.pack(d:recvfrom()))
    end)
  end)
end)
