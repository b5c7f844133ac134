-- What sockets receive: single waits, datagrams of every size, control
-- messages, accept, and the iterators over multishots. Nothing that arrived
-- is lost, whoever goes away meanwhile.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(net.close)
after_each(helper.clean)

local SEQPACKET = uring.SOCK_SEQPACKET or 5

-- A run whose first task fails while `f` runs in another one: f's task is
-- cancelled in whatever it waits for.
local function cancelled(f, before)
  helper.raises("boom", uring.run, function()
    uring.spawn(f)
    net.turns()
    if before then before() end
    error "boom"
  end)
end

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

  it("takes what has come before the stream's end", function()
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

  it("gives up in time, and what comes then is for the next", function()
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

  it("goes on for the others when one gives up or fails", function()
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

  it("refuses what no count is, and what no time is", function()
    local a = net.pair()
    for _, name in ipairs { "receive", "recv", "recvfrom", "recvmsg" } do
      for _, bad in ipairs { 0, -1, 1.5, "10", 1 << 31, true, {} } do
        helper.raises("integer from 1", a[name], a, bad)
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

  it("gives no connection to who wants data, nor the reverse", function()
    net.run(function()
      local a, b = net.tcp()
      local reader = uring.spawn(function() return b:recv() end)
      net.turns()
      net.fails(E.EINVAL, b:accept(net.patience))
      assert.equal(E.ETIME, select(3, b:recv(nil, 0)))
      a:send "abcd"
      assert.same({ true, "abcd" }, { reader:join(net.patience) })
      -- what came for nobody is no descriptor: 1 is still what it was
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
    assert.equal(max ~= nil and max < size, info.truncated)
  end

  it("of any size comes whole, or is said to be cut", function()
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

  it("of more than 64 KiB has room when it is asked for", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      check(a, b, 100000, 100000)
      check(a, b, 100000, 200000)
      a:send(net.bytes(100000))
      local payload, _, info = b:receive(nil, net.patience)
      assert.same({ 65536, true }, { #payload, info.truncated })
    end)
  end)

  it("comes from somebody, or from nobody", function()
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

describe("control messages", function()
  it("tell the address that was asked, and the interface", function()
    net.run(function()
      local b, address = net.udp()
      local a = net.udp()
      b:setsockopt("IP_PKTINFO", true)
      a:sendto("x", address)
      local _, _, info = b:receive()
      assert.equal("127.0.0.1", info.control.pktinfo.addr.host)
      assert.truthy(info.control.pktinfo.ifindex > 0)
      a:sendto("x", address)
      _, _, info = net.first(b:messages())
      assert.equal("127.0.0.1", info.control.pktinfo.addr.host)
      -- the answer leaves from there
      assert.equal(1, b:sendmsg { data = "y", name = a:getsockname(),
        control = { pktinfo = info.control.pktinfo } })
      assert.same({ "y", address }, { a:recvfrom() })
    end)
  end)

  it("come with the same of IPv6", function()
    net.run(function()
      local b, why = uring.udp.bind "[::1]:0"
      if not b then helper.skip("no IPv6 here: %s", why) end
      net.keep(b)
      b:setsockopt("IPV6_RECVPKTINFO", true)
      b:setsockopt("IPV6_RECVHOPLIMIT", true)
      local a = net.keep(assert(uring.udp.connect(b:getsockname())))
      a:send "x"
      local _, _, info = b:receive()
      assert.equal("::1", info.control.pktinfo.addr.host)
      assert.equal(uring.IPPROTO_IPV6, info.control[1][1])
    end)
  end)

  it("that have no names come raw", function()
    net.run(function()
      local b, a = net.udp_pair()
      for _, name in ipairs { "SO_TIMESTAMP", "IP_RECVTTL", "IP_RECVTOS",
          "IP_PKTINFO" } do
        assert(b:setsockopt(name, true))
      end
      for _, receive in ipairs {
        function() return b:receive() end,
        function() return net.first(b:messages()) end
      } do
        a:send "x"
        local _, _, info = receive()
        assert.is_false(info.truncated)
        assert.equal(0, info.flags & uring.MSG_CTRUNC)
        local control = info.control
        assert.truthy(control.pktinfo)
        assert.equal(3, #control)
        for _, c in ipairs(control) do
          if c[1] == uring.SOL_SOCKET then
            local seconds = string.unpack("i8", c[3])
            assert.truthy(math.abs(seconds - os.time()) < 1000)
          end
        end
      end
      -- a datagram that has none is told so, whatever the last one had
      b:setsockopt("SO_TIMESTAMP", false)
      b:setsockopt("IP_RECVTTL", false)
      b:setsockopt("IP_RECVTOS", false)
      b:setsockopt("IP_PKTINFO", false)
      a:send "x"
      local _, _, info = b:receive()
      assert.same({}, info.control)
    end)
  end)

  it("say who has sent, where they are to", function()
    net.run(function()
      for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
        local a, b = net.pair(type)
        assert(b:setsockopt("SO_PASSCRED", true))
        a:send "x"
        local _, _, info = b:receive()
        assert.equal(spec.getpid(), info.control.creds.pid)
        a:send "x"
        _, _, info = net.first(b:messages())
        assert.equal(spec.getpid(), info.control.creds.pid)
      end
    end)
  end)
end)

describe("pidfds of senders", function()
  local function pair(type)
    local a, b = net.pair(type)
    if not b:setsockopt("SO_PASSPIDFD", true) then
      pending "needs SO_PASSPIDFD (Linux 6.5)"
    end
    return a, b
  end

  it("arrive as descriptors of processes", function()
    helper.keeps_fds(function()
      net.run(function()
        for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
          local a, b = pair(type)
          for _, receive in ipairs {
            function() return b:receive() end,
            function() return net.first(b:messages()) end,
          } do
            assert(a:sendmsg { data = "x", control = { fds = { a } } })
            local _, _, info = receive()
            local control = info.control
            assert.equal(1, #control.fds)
            assert.is_nil(control[1])
            assert.equal(spec.getpid(), tonumber(helper.content(
              "/proc/self/fdinfo/" .. control.pidfd:fileno())
              :match "\nPid:%s*(%d+)"))
          end
        end
      end)
      net.close()
    end)
  end)

  it("have room beside all else that a message can bring", function()
    net.run(function()
      local a, b = pair(uring.SOCK_DGRAM)
      assert(b:setsockopt("SO_PASSCRED", true))
      assert(b:setsockopt("SO_TIMESTAMP", true))
      local fds = {}
      for i = 1, 253 do fds[i] = a end
      assert(a:sendmsg { data = "x", control = { fds = fds } })
      local _, _, info = b:receive()
      assert.equal(0, info.flags)
      assert.equal(253, #info.control.fds)
      assert.equal(spec.getpid(), info.control.creds.pid)
      assert.truthy(info.control.pidfd)
      assert.equal(uring.SCM_TIMESTAMP, info.control[1][2])
      for _, fd in ipairs(info.control.fds) do fd:close() end
    end)
  end)

  it("are closed where nobody reads them", function()
    for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
      helper.keeps_fds(function()
        net.run(function()
          local a, b = pair(type)
          for _, way in ipairs { b.recv, b.recvfrom, b.receive } do
            a:send "x"
            way(b)
          end
          for _ = 1, 3 do a:send "x" end
          net.first(b:messages())
          net.turns(5)
        end)
        net.close()
      end)
    end
  end)
end)

describe("descriptors in messages", function()
  local function send(a, n)
    local file <close> = assert(io.open "/proc/self/cmdline")
    local fds = {}
    for i = 1, n or 1 do fds[i] = file end
    assert(a:sendmsg { data = "x", control = { fds = fds } })
  end

  it("arrive open, and close themselves", function()
    helper.keeps_fds(function()
      net.run(function()
        for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
          local a, b = uring.socketpair(type)
          for _, receive in ipairs {
            function() return b:receive() end,
            function() return net.first(b:messages()) end,
          } do
            for _, n in ipairs { 1, 3, 253 } do
              helper.collect()  -- or there may be too many
              send(a, n)
              local payload, _, info = receive()
              assert.same({ "x", n }, { payload, #info.control.fds })
              local fd = info.control.fds[n]
              local buffer = uring.buffer(4)
              assert.equal(4, (uring.await(uring.sqe():prep_read(fd,
                buffer))))
              local flags = helper.content("/proc/self/fdinfo/"
                .. fd:fileno()):match "flags:%s*(%d+)"
              assert.truthy(tonumber(flags, 8) & uring.O_CLOEXEC ~= 0)
            end
          end
          a:close()
          b:close()
        end
      end)
    end)
  end)

  it("that nobody reads are closed", function()
    for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
      for name, way in pairs {
        recv = function(b) b:recv() end,
        recvfrom = function(b) b:recvfrom() end,
        receive = function(b) b:receive() end,
        chunks = function(b) net.first(b:chunks()) end,
        timeout = function(b)
          -- it arrives when nobody waits any more
          while b:receive(nil, 0) do end
        end,
        messages = function(b) net.first(b:messages()) end,
        parked = function(b)
          uring.spawn(function() net.first(b:messages()) end)
          net.turns(5)
        end,
        leases = function(b)
          uring.spawn(function() net.first(b:messages { lease = true }) end)
          net.turns(5)
        end,
        nothing = function() end,
      } do
        local ok, why = pcall(helper.keeps_fds, function()
          net.run(function()
            local a, b = uring.socketpair(type)
            for _ = 1, 5 do send(a, 3) end
            way(b)
            for _ = 1, 3 do send(a, 2) end
            net.turns(5)
            b:close()
            a:close()
          end)
        end)
        if not ok then error(("%s: %s"):format(name, why), 0) end
      end
    end
  end)

  it("are closed where their socket is collected in a wait", function()
    helper.keeps_fds(function()
      for i = 1, 3 do
        local a, b = uring.socketpair(uring.SOCK_DGRAM)
        local function wait()
          if i == 1 then b:receive() end
          for _ in b:messages { lease = i == 3 } do uring.sleep(60) end
        end
        cancelled(wait, function() for _ = 1, 4 do send(a, 2) end end)
      end
    end)
  end)
end)

describe("messages", function()
  it("gives payload, sender and info of each, in order", function()
    helper.needs "recvmsg_multishot"
    net.run(function()
      local b, address = net.udp()
      local a, name = net.udp()
      uring.spawn(function()
        for i = 1, 1000 do
          a:sendto(tostring(i), address)
          if i % 50 == 0 then net.turns(4) end
        end
      end)
      local n = 0
      for payload, from, info in b:messages() do
        n = n + 1
        assert(payload == tostring(n) and from == name and info.flags == 0)
        if n == 1000 then break end
      end
      assert.equal(1000, n)
    end)
  end)

  it("cuts what is longer than its size, and says so", function()
    net.run(function()
      local b, a = net.udp_pair()
      for _, size in ipairs { 0, 1, 99, 100, 101, 1000, 65507 } do
        a:send(net.bytes(size))
      end
      a:send "end"
      local n = 0
      for payload, _, info in b:messages { size = 100 } do
        if payload == "end" then break end
        n = n + 1
        assert.equal(#payload == 100 and n ~= 4, info.truncated)
        assert.truthy(#payload <= 100)
      end
      assert.equal(7, n)
      for _, size in ipairs { 65506, 65507 } do
        a:send(net.bytes(size))
        assert.truthy(net.bytes(size) == net.first(b:messages()))
      end
    end)
  end)

  it("goes on after empty datagrams", function()
    net.run(function()
      for _, name in ipairs { "messages", "chunks" } do
        local b, a = net.udp_pair()
        uring.spawn(function()
          for i = 1, 200 do
            a:send ""
            if i % 3 == 0 then a:send "x" end
            net.turns(1)
          end
          a:send "end"
        end)
        local empty, full = 0, 0
        for payload in b[name](b) do
          if payload == "end" then break end
          if payload == "" then empty = empty + 1 else full = full + 1 end
        end
        assert.same({ 200, 66 }, { empty, full })
      end
    end)
  end)

  it("gives leases of its own buffers, and goes on without them", function()
    net.run(function()
      local b, a = net.udp_pair()
      local kept = {}
      local task = uring.spawn(function()
        for lease, from, info in b:messages { lease = true, size = 100 } do
          assert(from and info)
          if lease:string() == "end" then return end
          kept[#kept + 1] = lease
        end
      end)
      -- as many as there are buffers: then it waits for one
      local sent = 0
      repeat
        local before = #kept
        a:send(tostring(sent + 1))
        sent = sent + 1
        net.turns(6)
      until #kept == before or sent > 5000
      assert.truthy(sent < 5000)
      for i = 1, #kept do
        assert.equal(tostring(i), kept[i]:string())
        assert.equal(#tostring(i), #kept[i])
      end
      -- another socket's buffers are others
      local d, c = net.udp_pair()
      c:send "x"
      assert.equal("x", (net.first(d:messages())))
      local n = #kept
      for i = 1, n do kept[i]:release() end
      a:send "end"
      assert(task:join(net.patience))
      assert.equal(sent, #kept)
      for i = n + 1, sent do
        assert.equal(tostring(i), kept[i]:string())
        kept[i]:release()
      end
      helper.raises("released", kept[1].string, kept[1])
    end)
  end)

  it("gives leases that outlive socket and iterator", function()
    local lease, b, a
    net.run(function()
      b, a = net.udp_pair()
      a:send "abc"
      lease = net.first(b:messages { lease = true })
      b:close()
    end)
    b = nil
    helper.collect()
    assert.equal("abc", lease:string())
    net.run(function()
      local c, d = net.pair()
      assert.equal(3, c:send(lease))
      lease:release()
      assert.equal("abc", d:recv())
    end)
  end)

  it("takes its own buffers from the ring when it is closed", function()
    local ring = uring.loop():ring()
    local function taken()
      local n = 0
      for bgid = 65500, 65535 do
        local group = ring:buf_ring { entries = 1, size = 1, bgid = bgid }
        if group then group:close() else n = n + 1 end
      end
      return n
    end
    local before = taken()
    net.run(function()
      local b, a = net.udp_pair()
      a:send "abc"
      local lease = net.first(b:messages { lease = true })
      assert.equal(before + 1, taken())
      b:close()
      assert.equal(before, taken())
      lease:release()
    end)
  end)

  it("gives leases of parts, each its own", function()
    net.run(function()
      local a, b = net.pair()
      local held = {}
      local function part(n)
        a:send(("%4d%4d"):format(n, -n))
        for lease in b:chunks { lease = true, size = 4 } do
          held[#held + 1] = lease
          if #held % 2 == 0 then break end
        end
      end
      part(1)
      held[1]:release()
      for n = 2, 300 do  -- more than there are buffers
        part(n)
        assert.equal(("%4d"):format(n), held[3]:string())
        assert.equal(("%4d"):format(-n), held[4]:string())
        table.remove(held, n % 2 + 3):release()
        table.remove(held):release()
      end
      assert.equal("  -1", held[2]:string())
      held[2]:release()
    end)
  end)

  it("gives leases of what was left from another wait", function()
    net.run(function()
      local a, b = net.tcp()
      a:send "abcdef"
      assert.equal("ab", b:recv(2))
      a:shutdown "write"
      local got = {}
      for lease in b:chunks { lease = true } do
        got[#got + 1] = lease:string()
        lease:release()
      end
      assert.same({ "cdef" }, got)
      local d, c = net.udp_pair()
      assert.equal(E.ETIME, select(3, d:receive(nil, 0)))
      c:send ""
      c:send "x"
      for _, expected in ipairs { "", "x" } do
        assert.equal(expected, net.first(d:messages { lease = true })
          :string())
      end
    end)
  end)

  it("lets no single receive see that it had no buffer", function()
    net.run(function()
      local b, a = net.udp_pair()
      local kept = {}
      uring.spawn(function()
        for lease in b:messages { lease = true, size = 100 } do
          kept[#kept + 1] = lease
        end
      end)
      net.turns()
      for i = 1, 300 do
        a:send(tostring(i))
        if i % 16 == 0 then net.turns(2) end
      end
      local got = {}
      for i = 1, 300 - #kept do
        got[i] = assert(b:recv(nil, net.patience))
      end
      for _, lease in ipairs(kept) do
        got[#got + 1] = lease:string()
        lease:release()
      end
      assert.equal(300, #got)
      b:close()
    end)
  end)

  -- The same as a router says it, forged.
  it("passes whatever else ICMP says of other datagrams", function()
    local said = { [2] = E.ENOPROTOOPT, [3] = E.ECONNREFUSED,
      [6] = E.ENETUNREACH, [7] = E.EHOSTDOWN, [8] = E.ENONET,
      [9] = E.ENETUNREACH, [10] = E.EHOSTUNREACH, [13] = E.EHOSTUNREACH }
    net.run(function()
      local icmp, message, errno = uring.socket(uring.AF_INET,
        uring.SOCK_RAW, 1)
      if errno == E.EPERM then helper.skip "needs root" end
      net.keep(assert(icmp, message))
      local other, address = net.udp()
      local s = net.keep(assert(uring.udp.connect(address)))
      local from = s:getsockname()
      local function forge(code)
        local host = "\127\0\0\1"
        local old = string.pack(">BBHHHBBH", 0x45, 0, 29, 0, 0, 64, 17, 0)
          .. host .. host .. string.pack(">HHHH", from.port, address.port, 9,
          0) .. "x"
        local function packet(sum)
          return string.pack(">BBHI4", 3, code, sum, 0) .. old
        end
        local sum, data = 0, packet(0)
        if #data % 2 == 1 then data = data .. "\0" end
        for i = 1, #data, 2 do sum = sum + string.unpack(">H", data, i) end
        while sum > 0xffff do sum = (sum & 0xffff) + (sum >> 16) end
        assert(icmp:sendto(packet(~sum & 0xffff), "127.0.0.1:0"))
      end
      for code, expected in pairs(said) do
        forge(code)
        net.fails(expected, s:receive(nil, net.patience))
      end
      local got = {}
      local task = uring.spawn(function()
        for payload in s:messages() do got[#got + 1] = payload end
        return "ended"
      end)
      net.turns()
      for code in pairs(said) do
        forge(code)
        net.turns()
        other:sendto(tostring(code), from)
        helper.eventually(function()
          uring.sleep(0)
          return got[#got] == tostring(code)
        end)
      end
      s:close()
      assert.same({ true, "ended" }, { task:join(net.patience) })
    end)
  end)

  it("passes what ICMP says of other datagrams", function()
    net.run(function()
      local gone, port = net.udp()
      gone:close()
      local s = net.keep(assert(uring.udp.connect(port)))
      s:send "x"
      net.fails(E.ECONNREFUSED, s:receive(nil, net.patience))
      local got = {}
      local task = uring.spawn(function()
        for payload in s:messages() do got[#got + 1] = payload end
        return "ended"
      end)
      for _ = 1, 10 do
        s:send "x"
        net.turns()
      end
      local back = net.keep(assert(uring.udp.bind(port)))
      back:sendto("abc", s:getsockname())
      for _ = 1, 1000 do
        if got[1] then break end
        uring.sleep(0.001)
      end
      assert.same({ "abc" }, got)
      s:close()
      assert.same({ true, "ended" }, { task:join(net.patience) })
    end)
  end)

  it("ends when its socket is closed, by whomever", function()
    net.run(function()
      for _, name in ipairs { "messages", "chunks", "connections" } do
        local s = name == "connections" and net.listener() or net.udp()
        local tasks = {}
        for i = 1, 3 do
          tasks[i] = uring.spawn(function()
            for _ in s[name](s) do error "none came" end
            return "ended"
          end)
        end
        net.turns()
        s:close()
        for i = 1, 3 do
          assert.same({ true, "ended" }, { tasks[i]:join(net.patience) })
        end
        local b, a = net.udp_pair()
        a:send "x"
        a:send "y"
        local n = 0
        for _ in b:messages() do
          n = n + 1
          b:close()
        end
        assert.equal(1, n)
      end
    end)
  end)

  it("raises what is no end", function()
    net.run(function()
      local s = net.keep(assert(uring.socket(uring.AF_INET,
        uring.SOCK_STREAM)))
      for _, name in ipairs { "messages", "chunks" } do
        helper.raises("ENOTCONN", function()
          for _ in s[name](s) do error "none came" end
        end)
      end
      helper.raises("EINVAL", function()
        for _ in s:connections() do error "none came" end
      end)
    end)
  end)
end)

describe("chunks", function()
  it("gives a stream in order, to its end", function()
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair } do
        for _, options in ipairs { {}, { size = 1 }, { size = 1000 },
            { count = 1 }, { lease = true }, { lease = true, count = 2 },
            { lease = true, size = 1500 } } do
          local a, b = pair()
          local sent = net.bytes(options.size == 1 and 3000 or 300000)
          uring.spawn(function()
            a:send(sent)
            a:shutdown "write"
          end)
          local parts = {}
          for part in b:chunks(options) do
            assert.truthy(#part <= (options.size or 16384))
            if options.lease then
              parts[#parts + 1] = part:string()
              part:release()
            else
              parts[#parts + 1] = part
            end
          end
          assert.truthy(sent == table.concat(parts))
          assert.same({ n = 1 }, table.pack(b:receive()))
        end
      end
    end)
  end)
end)

describe("what arrives while nobody waits", function()
  it("is the next one's: break", function()
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

  it("is the next one's: the task's coroutine is closed", function()
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

  -- A socket that nobody reads stops at its bound; what is left stays with
  -- the kernel, in order.
  it("stops at its bound, and the others go on", function()
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
      -- nobody asks again and again meanwhile
      local after = uring.loop():ring():stats()
      assert.truthy(after.submitted - before.submitted < 300 * 6)
      assert(sender:join(net.patience))
      local _, got = reader:join(net.patience)
      assert.truthy(sent == got)
    end)
  end)
end)

-- However many buffers slow readers have between them.
it("many slow readers are slow alone", function()
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
        -- and nobody asks in vain again and again
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

describe("accept", function()
  it("gives the connection and its peer, in time", function()
    net.run(function()
      local listener = net.listener()
      assert.same({ n = 3, nil, "timed out", E.ETIME },
        table.pack(listener:accept(0)))
      net.fails(E.ETIME, listener:accept(0.001))
      local a = net.keep(assert(uring.tcp.connect(listener:getsockname())))
      local b, peer = listener:accept(net.patience)
      net.keep(b)
      assert.equal(a:getsockname(), peer)
      assert.equal(uring.SOCK_STREAM, b:getsockopt "SO_TYPE")
    end)
  end)

  it("serves several tasks, and several kinds of waits", function()
    net.run(function()
      local listener = net.listener()
      local peers = {}
      for i = 1, 6 do
        uring.spawn(function()
          if i % 2 == 0 then
            while true do
              local conn, peer, errno = listener:accept()
              if not conn then
                assert.equal(E.EBADF, errno, peer)
                return
              end
              peers[tostring(peer)] = true
              conn:close()
            end
          end
          for conn, peer in listener:connections() do
            peers[tostring(peer)] = true
            conn:close()
          end
        end)
      end
      for _ = 1, 100 do
        local a = assert(uring.tcp.connect(listener:getsockname()))
        local name = tostring(a:getsockname())
        for _ = 1, 10000 do
          if peers[name] then break end
          uring.sleep(0)
        end
        assert.truthy(peers[name])
        a:close()
      end
      listener:close()
    end)
  end)

  it("loses no connection to break, timeouts or cancelled tasks", function()
    local listener = net.listener()
    local address = listener:getsockname()
    local clients, accepted = {}, 0
    local function connect(n)
      for _ = 1, n do
        clients[#clients + 1] = net.keep(assert(uring.tcp.connect(address)))
      end
    end
    net.run(function()
      for _ = 1, 5 do
        connect(3)
        net.keep((net.first(listener:connections())))
        accepted = accepted + 1
        connect(2)
      end
      local conn = listener:accept(0)
      if conn then accepted = accepted + 1 net.keep(conn) end
    end)
    cancelled(function()
      for conn in listener:connections() do
        accepted = accepted + 1
        net.keep(conn)
        uring.sleep(60)
      end
    end, function() connect(4) end)
    net.run(function()
      while accepted < #clients do
        net.keep((assert(listener:accept(net.patience))))
        accepted = accepted + 1
      end
      net.fails(E.ETIME, listener:accept(0))
    end)
  end)

  it("closes what nobody has taken with its socket", function()
    helper.keeps_fds(function()
      for way = 1, 4 do
        net.run(function()
          local listener = assert(uring.tcp.listen "127.0.0.1:0")
          local clients = {}
          local function connect()
            for _ = 1, 5 do
              clients[#clients + 1] = assert(uring.tcp.connect(
                listener:getsockname()))
            end
          end
          if way > 2 then
            uring.spawn(function()
              for conn in listener:connections() do
                conn:close()
                uring.sleep(0.01)
              end
            end)
            net.turns()
          end
          connect()
          if way == 1 then listener:accept(0) end
          if way == 2 then net.first(listener:connections()):close() end
          connect()
          listener:close()
          for _, c in ipairs(clients) do c:close() end
        end)
      end
    end)
  end)

  it("goes on when there are descriptors again", function()
    local output = helper.file ""
    local script = helper.file(([[
      local uring = require "uring"
      local spec = require "uring_spec"
      uring.run(function()
        local listener = assert(uring.tcp.listen "127.0.0.1:0")
        local address = listener:getsockname()
        local clients, accepted = {}, 0
        local kept, full = {}, {}
        for i = 1, 6 do
          clients[i] = assert(uring.tcp.connect(address))
        end
        while true do
          local fd = spec.dup(0)
          if not fd or fd < 0 then break end
          full[#full + 1] = fd
        end
        assert(#full > 0)
        -- accept says so, and loses no connection by it
        local conn, message, errno = listener:accept(5)
        assert(conn == nil and errno == uring.errno.EMFILE, message)
        local task = uring.spawn(function()
          for c in listener:connections() do
            accepted = accepted + 1
            kept[accepted] = c
            if accepted == 6 then return end
          end
        end)
        local before = uring.loop():ring():stats().submitted
        uring.sleep(0.25)
        assert(accepted == 0)
        -- it does not ask again and again
        assert(uring.loop():ring():stats().submitted - before < 20)
        for _, fd in ipairs(full) do spec.close(fd) end
        assert(task:join(20))
        for i = 1, 6 do clients[i]:close() kept[i]:close() end
      end)
      local file = io.open(%q, "w")
      file:write "well"
      file:close()
    ]]):format(output))
    local status, said = spec.execute(30 * helper.slow, "/bin/sh", "-c",
      [[ulimit -n 60 && exec "$(readlink "/proc/$PPID/exe")" "$0"]], script)
    assert.equal("well", helper.content(output), said)
    assert.equal(0, status)
  end)

  -- Nothing grows with the number of connections.
  it("serves ten thousand connections, and keeps nothing", function()
    local rounds = tonumber(os.getenv "URING_CONNECTIONS") or 10000
    local function memory()
      helper.collect()
      local pages = helper.content "/proc/self/statm":match "%d+ (%d+)"
      return collectgarbage "count" * 1024, tonumber(pages) * 4096
    end
    local function serve(n)
      net.run(function()
        local listener = assert(uring.tcp.listen "127.0.0.1:0")
        local address = listener:getsockname()
        local server = uring.spawn(function()
          for conn in listener:connections() do
            uring.spawn(function()
              local s <close> = conn
              for part in s:chunks { size = 256 } do
                assert(s:send(part))
              end
            end)
          end
        end)
        local left, clients = n, {}
        for i = 1, 20 do
          clients[i] = uring.spawn(function()
            while left > 0 do
              left = left - 1
              local s <close> = assert(uring.tcp.connect(address))
              s:setsockopt("SO_LINGER", string.pack("i4i4", 1, 0))
              assert(s:send "abc")
              assert.equal("abc", s:recv(3, net.patience))
              s:shutdown "write"
              assert.is_nil((s:recv(3, net.patience)))
            end
          end)
        end
        for i = 1, 20 do assert(clients[i]:join()) end
        listener:close()
        server:join()
      end)
    end
    serve(1000)
    local fds, lua, rss = helper.fds(), memory()
    serve(rounds)
    local lua_after, rss_after = memory()
    assert.equal(fds, helper.fds())
    assert.truthy(lua_after - lua < 200000, lua_after - lua)
    -- (other things of the process may take some, 10^4 times 100 bytes not)
    if not (os.getenv "LD_PRELOAD" or ""):find "asan" then
      -- (but once the collector may have left holes)
      if rss_after - rss >= 1000000 then
        rss = rss_after
        serve(rounds)
        rss_after = select(2, memory())
      end
      assert.truthy(rss_after - rss < 1000000, rss_after - rss)
    end
  end)
end)

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
