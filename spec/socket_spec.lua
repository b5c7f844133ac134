-- Sockets, but for what waits: how they are made, named, shut down and set,
-- and what they say where they are used wrongly.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(net.close)
after_each(helper.clean)

-- What /proc says of the descriptor's flags.
local function flags_of(socket)
  local path = "/proc/self/fdinfo/" .. socket:fileno()
  return tonumber(helper.content(path):match "flags:%s*(%d+)", 8)
end

describe("uring.socket", function()
  it("of IPv4 or IPv6 takes no path, and the error names what does", function()
    for _, f in ipairs { uring.tcp.listen, uring.tcp.connect, uring.udp.bind,
      uring.udp.connect } do
      helper.raises("address of IPv4 or IPv6 expected, got unix:/run/x: "
        .. "uring.unix is for paths", f, "unix:/run/x")
    end
  end)

  it("makes sockets of every kind", function()
    for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
      for _, family in ipairs { uring.AF_INET, uring.AF_UNIX } do
        local s = net.keep(assert(uring.socket(family, type)))
        assert.equal(type, s:getsockopt "SO_TYPE")
        assert.equal(family, s:getsockopt "SO_DOMAIN")
        assert.truthy(tostring(s):find("uring.Socket (fd " .. s:fileno(), 1,
          true))
      end
    end
    local s = net.keep(assert(uring.socket(uring.AF_INET, uring.SOCK_DGRAM,
      uring.IPPROTO_UDP)))
    assert.equal(uring.IPPROTO_UDP, s:getsockopt "SO_PROTOCOL")
  end)

  it("says what the kernel does not support", function()
    local message = net.fails(E.EAFNOSUPPORT, uring.socket(12345, 1))
    assert.truthy(message:find("socket(12345, 1, 0)", 1, true))
    net.fails(E.EPROTONOSUPPORT, uring.socket(uring.AF_INET,
      uring.SOCK_STREAM, uring.IPPROTO_UDP))
    net.fails(E.ESOCKTNOSUPPORT, uring.socketpair(7))
  end)

  it("refuses wrong arguments", function()
    for _, bad in ipairs { "1", 0.5, -1, 1 << 31, true, {} } do
      helper.raises("#1", uring.socket, bad, 1)
      helper.raises("#2", uring.socket, 1, bad)
      helper.raises("#3", uring.socket, 1, 1, bad)
      helper.raises("#1", uring.socketpair, bad)
    end
    helper.raises("#1", uring.socket)
    helper.raises("#2 to 'uring.socket' (type expected, such as "
      .. "uring.SOCK_STREAM; a socket that is open is taken over by "
      .. "uring.socket(uring.fd(number))", uring.socket, 1)
  end)

  it("makes sockets that are closed on exec, and blocking", function()
    local more = uring.SOCK_NONBLOCK | uring.SOCK_CLOEXEC
    local function check(...)
      for _, s in ipairs { ... } do
        net.keep(s)
        local flags = flags_of(s)
        assert.equal(uring.O_CLOEXEC, flags & uring.O_CLOEXEC)
        -- a nonblocking one waits in the ring, and is never told EAGAIN
        assert.equal(0, flags & uring.O_NONBLOCK)
      end
    end
    check(assert(uring.socket(uring.AF_INET, uring.SOCK_STREAM)))
    check(assert(uring.socket(uring.AF_INET, uring.SOCK_STREAM | more)))
    check(uring.socketpair())
    check(uring.socketpair(uring.SOCK_DGRAM | more))
    net.run(function()
      check(net.tcp())
      local listener = net.listener()
      net.keep(assert(uring.tcp.connect(listener:getsockname())))
      check((net.first(listener:connections())))
    end)
  end)

  it("knows a pair's type by what was asked, without the flags", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_STREAM | uring.SOCK_NONBLOCK)
      local reader = uring.spawn(function()
        local first = b:receive(2)
        return first, b:recv(2), b:recv()
      end)
      net.turns()
      a:send "abcd"
      a:close()
      assert.same({ true, "ab", "cd" }, { reader:join() })
    end)
  end)
end)

describe("a socket", function()
  it("is closed once, by any task, and says so afterwards", function()
    local s = assert(uring.socket(uring.AF_INET, uring.SOCK_DGRAM))
    local number = s:fileno()
    assert.is_true(s:close())
    local other = net.keep(assert(uring.socket(uring.AF_INET,
      uring.SOCK_DGRAM)))
    assert.equal(number, other:fileno())
    assert.is_true(s:close())
    assert.equal(number, other:fileno())
    assert.truthy(other:getsockname())
    assert.equal("uring.Socket (closed)", tostring(s))
    for _, name in ipairs { "bind", "listen", "accept", "connect", "send",
        "sendto", "sendmsg", "receive", "recv", "recvfrom", "recvmsg",
        "shutdown", "setsockopt", "getsockopt", "getsockname", "getpeername",
        "fileno", "messages", "chunks", "connections" } do
      helper.raises("closed socket", s[name], s, "x", "y")
    end
    helper.raises("closed descriptor", uring.sqe().prep_recv, uring.sqe(), s,
      uring.buffer(1), 0)
  end)

  it("is closed when its block ends, and when it is collected", function()
    helper.keeps_fds(function()
      do
        local s <close> = assert(uring.socket(uring.AF_INET,
          uring.SOCK_STREAM))
        s:setsockopt("SO_REUSEADDR", true)
      end
      for _ = 1, 10 do uring.socketpair() end
      net.run(function()
        local listener = assert(uring.tcp.listen "127.0.0.1:0")
        for _ = 1, 10 do
          assert(uring.tcp.connect(listener:getsockname()))
          assert(listener:accept(net.patience))
        end
        assert(uring.tcp.connect(listener:getsockname()))  -- not accepted
      end)
    end)
  end)

  it("refuses other objects in its methods", function()
    local s = net.keep(assert(uring.socket(uring.AF_INET, uring.SOCK_DGRAM)))
    for _, method in ipairs { s.close, s.bind, s.receive, s.send, s.fileno,
        s.messages, s.connections, s.connect, s.getsockopt } do
      for _, bad in ipairs { 1, "x", {}, uring.fd(99), io.stdout,
          uring.buffer(1) } do
        helper.raises("uring.Socket expected", method, bad, 1, 1)
      end
      helper.raises("uring.Socket expected", method)
    end
    -- (99 was not open)
  end)

  it("may be used wherever a descriptor may", function()
    net.run(function()
      local a, b = net.pair()
      local buffer = uring.buffer(10)
      assert.equal(3, (uring.await(uring.sqe():prep_send(a, "abc"))))
      assert.equal(3, (uring.await(uring.sqe():prep_recv(b, buffer))))
      assert.equal("abc", buffer:string(0, 3))
      assert.equal(1, (uring.await(uring.sqe():prep_write(b, "x"))))
      assert.equal("x", a:recv())
      assert.equal(0, (uring.await(uring.sqe():prep_shutdown(a,
        uring.SHUT_WR))))
      assert.is_nil(b:recv())
    end)
  end)

  it("is closed after the requests that were queued on it", function()
    local ring <close> = assert(uring.ring())
    local a, b = net.pair()
    assert(ring:queue(uring.sqe():prep_send(a, "abc")))
    a:close()
    assert.equal(3, (select(2, ring:wait_cqe(net.patience))))
    net.run(function()
      assert.equal("abc", b:recv())
      assert.is_nil(b:recv())
    end)
  end)

  it("that one task closes is closed for the others at once", function()
    net.run(function()
      local listener = net.listener()
      local address = listener:getsockname()
      local task = uring.spawn(function() return listener:accept() end)
      net.turns()
      listener:close()
      -- nothing listens there any more, not even until the next turn
      local again = net.keep(assert(uring.tcp.listen(address)))
      assert.equal(address, again:getsockname())
      assert.equal(E.EBADF, select(4, task:join()))
    end)
  end)
end)

describe("in a forked child, a socket of its parent", function()
  local words = "belongs to another process"

  local in_child <const> = helper.in_child

  it("is refused, and closed without harm to the parent's", function()
    local a, b = net.pair()
    in_child(function()
      for _, name in ipairs { "bind", "listen", "accept", "connect", "send",
          "sendto", "sendmsg", "receive", "shutdown", "setsockopt",
          "getsockopt", "getsockname", "getpeername", "fileno", "messages",
          "chunks", "connections" } do
        helper.raises(words, a[name], a, "x", "y")
      end
      a:close()
      b = nil
      helper.collect()
      -- and it has its own
      net.run(function()
        local c, d = uring.socketpair()
        c:send "abc"
        assert(d:recv() == "abc")
        c:close()
        d:close()
      end)
    end)
    net.run(function()
      a:send "abc"
      assert.equal("abc", b:recv())
    end)
  end)

  it("is not read by its iterators", function()
    local a, b = net.pair(uring.SOCK_DGRAM)
    local next, reader, third, closer
    net.run(function()
      next, reader, third, closer = b:messages()
      a:send "one"
      assert.equal("one", (next(reader, third)))
    end)
    in_child(function()
      helper.raises(words, next, reader)
      net.run(function() helper.raises(words, next, reader) end)
      closer = nil
      helper.collect()
    end)
    net.run(function()
      a:send "two"
      a:send "three"
      assert.equal("two", (next(reader)))
      assert.equal("three", net.first(next, reader, third, closer))
    end)
  end)

  it("leaves leases behind that may be released later", function()
    local a, b = net.pair(uring.SOCK_DGRAM)
    local lease, shared
    net.run(function()
      a:send "one"
      lease = net.first(b:messages { lease = true })
      a:send "two"
      shared = net.first(b:messages())
    end)
    in_child(function()
      net.run(function() uring.sleep(0) end)
      b:close()
      b = nil
      helper.collect()
      assert(lease:string() == "one")
      lease:release()
      net.run(function()
        local c, d = uring.socketpair(uring.SOCK_DGRAM)
        c:send "mine"
        assert(net.first(d:messages()) == "mine")
      end)
    end)
    assert.equal("two", shared)
    assert.equal("one", lease:string())
    lease:release()
    net.run(function()
      a:send "three"
      assert.equal("three", net.first(b:messages { lease = true }):string())
    end)
  end)
end)

describe("shutdown", function()
  it("ends one direction, or both", function()
    net.run(function()
      local a, b = net.tcp()
      assert.is_true(a:shutdown "write")
      assert.is_nil(b:receive())
      b:send "abc"
      assert.equal("abc", a:recv())
      assert.is_true(b:shutdown "both")
      assert.is_nil(a:receive())
      net.fails(E.EPIPE, b:send "x")
      a, b = net.pair()
      assert.is_true(a:shutdown "read")
      assert.is_nil(a:receive())
      net.fails(E.EPIPE, b:send "x")
    end)
  end)

  it("wakes the tasks that wait to receive", function()
    net.run(function()
      local a = net.tcp()
      local one = uring.spawn(function() return a:receive() end)
      local two = uring.spawn(function()
        for _ in a:chunks() do error "none came" end
        return "ended"
      end)
      net.turns()
      a:shutdown "read"
      assert.same({ true, nil, n = 2 }, table.pack(one:join()))
      assert.same({ true, "ended" }, { two:join() })
    end)
  end)

  it("ends loops over datagrams, too", function()
    net.run(function()
      local a, b = net.udp_pair()
      b:send ""
      b:send "x"
      local got = {}
      local reader = uring.spawn(function()
        for payload in a:messages() do got[#got + 1] = payload end
      end)
      net.turns(10)
      assert.same({ "", "x" }, got)
      a:close()
      assert(reader:join())
      -- a connected one, by its shutdown
      local c, d = net.pair(uring.SOCK_DGRAM)
      reader = uring.spawn(function()
        local n = 0
        for _ in c:messages() do
          n = n + 1
          assert(n < 10, "it never ends")
        end
        return n
      end)
      d:send "one"
      d:send ""
      net.turns(10)
      c:shutdown "read"
      assert.same({ true, 2 }, { reader:join() })
      assert.same({ n = 1 }, table.pack(c:receive(nil, net.patience)))
    end)
  end)

  it("refuses other directions", function()
    local a = net.pair()
    helper.raises('"read", "write" or "both" expected', a.shutdown, a, "up")
    helper.raises('"read", "write" or "both" expected', a.shutdown, a)
    helper.raises('"read", "write" or "both" expected', a.shutdown, a, 1)
    local s = net.keep(assert(uring.socket(uring.AF_INET,
      uring.SOCK_STREAM)))
    net.fails(E.ENOTCONN, s:shutdown "both")
  end)
end)

describe("setsockopt and getsockopt", function()
  local s

  before_each(function()
    s = net.keep(assert(uring.socket(uring.AF_INET, uring.SOCK_STREAM)))
  end)

  it("take booleans, integers and strings by C name", function()
    assert.equal(0, s:getsockopt "SO_REUSEADDR")
    assert.is_true(s:setsockopt("SO_REUSEADDR", true))
    assert.equal(1, s:getsockopt "SO_REUSEADDR")
    assert.is_true(s:setsockopt("SO_REUSEADDR", false))
    assert.equal(0, s:getsockopt "SO_REUSEADDR")
    assert.is_true(s:setsockopt("TCP_NODELAY", 1))
    assert.equal(1, s:getsockopt "TCP_NODELAY")
    assert.is_true(s:setsockopt("SO_RCVBUF", 20000))
    assert.equal(40000, s:getsockopt "SO_RCVBUF")
    assert.is_true(s:setsockopt("IP_TTL", 7))
    assert.equal(7, s:getsockopt "IP_TTL")
    local linger = string.pack("i4i4", 1, 5)
    assert.is_true(s:setsockopt("SO_LINGER", linger))
    assert.equal(linger, s:getsockopt "SO_LINGER")
    assert.truthy(#s:getsockopt "TCP_INFO" > 50)
  end)

  it("know the names of options that bring control messages", function()
    for _, case in ipairs {
      { "127.0.0.1:0", "IP_PKTINFO", "IP_RECVORIGDSTADDR", "IP_RECVTTL",
        "SO_TIMESTAMPNS", "SO_RXQ_OVFL", "UDP_GRO" },
      { "[::1]:0", "IPV6_RECVPKTINFO", "IPV6_RECVORIGDSTADDR",
        "IPV6_RECVTCLASS", "IPV6_RECVFRAGSIZE" },
      { "unix:", "SO_PASSCRED" },
    } do
      local bind = (case[1] == "unix:" and uring.unix or uring.udp).bind
      local sock <close> = bind(case[1])
      if sock then  -- (there may be no IPv6)
        for i = 2, #case do
          assert.is_true(sock:setsockopt(case[i], true), case[i])
          assert.equal(1, sock:getsockopt(case[i]), case[i])
        end
      end
    end
  end)

  it("take level and number", function()
    assert.is_true(s:setsockopt(uring.SOL_SOCKET, uring.SO_KEEPALIVE, true))
    assert.equal(1, s:getsockopt(uring.SOL_SOCKET, uring.SO_KEEPALIVE))
    assert.equal(1, s:getsockopt "SO_KEEPALIVE")
  end)

  it("fail with the kernel's errors", function()
    net.fails(E.ENOPROTOOPT, s:getsockopt(uring.SOL_SOCKET, 9999))
    net.fails(E.ENOPROTOOPT, s:setsockopt(uring.SOL_SOCKET, 9999, 1))
    net.fails(E.EINVAL, s:setsockopt("SO_LINGER", "x"))
    net.fails(E.EINVAL, s:setsockopt("IP_TTL", 1000))
    net.fails(E.EFAULT, s:setsockopt("SO_ATTACH_FILTER",
      string.pack("I2I6I8", 1, 0, 1)))
  end)

  it("refuse wrong names and values", function()
    for _, name in ipairs { "SO_NOSUCH", "so_reuseaddr", "REUSEADDR", "",
        "SOCK_STREAM", "SOL_SOCKET", "IPPROTO_TCP", "AF_INET", "SO_\0" } do
      helper.raises("unknown socket option", s.getsockopt, s, name)
      helper.raises("unknown socket option", s.setsockopt, s, name, 1)
    end
    for _, name in ipairs { true, {}, 1.5, 1 << 40 } do
      helper.raises("#2", s.getsockopt, s, name)
      helper.raises("#2", s.setsockopt, s, name, 1, 1)
    end
    helper.raises("#3", s.getsockopt, s, 1)
    helper.raises("#3", s.getsockopt, s, 1, "x")
    for _, value in ipairs { 1.5, 1 << 32, -(1 << 31) - 1, {}, print } do
      helper.raises("#3", s.setsockopt, s, "SO_REUSEADDR", value)
    end
    helper.raises("boolean, integer or string expected, got n",
      s.setsockopt, s, "SO_REUSEADDR")
    assert.equal(0, s:getsockopt "SO_REUSEADDR")
  end)
end)
