-- Sockets, but for what waits: how they are made, named, set and closed, and
-- what they say to whoever uses them wrongly.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(net.close)
after_each(helper.clean)

-- A name for a unix socket that nothing has yet.
local function free_path()
  local path = helper.tmpname()
  os.remove(path)
  return path
end

-- What /proc says of the descriptor's flags.
local function flags_of(socket)
  local path = "/proc/self/fdinfo/" .. socket:fileno()
  return tonumber(helper.content(path):match "flags:%s*(%d+)", 8)
end

describe("uring.socket", function()
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

  it("tells what the kernel does not have", function()
    local message = net.fails(E.EAFNOSUPPORT, uring.socket(12345, 1))
    assert.truthy(message:find("socket(12345, 1, 0)", 1, true))
    net.fails(E.EPROTONOSUPPORT, uring.socket(uring.AF_INET,
      uring.SOCK_STREAM, uring.IPPROTO_UDP))
    net.fails(E.ESOCKTNOSUPPORT, uring.socketpair(7))
  end)

  it("refuses arguments that are none", function()
    for _, bad in ipairs { "1", 0.5, -1, 1 << 31, true, {} } do
      helper.raises("#1", uring.socket, bad, 1)
      helper.raises("#2", uring.socket, 1, bad)
      helper.raises("#3", uring.socket, 1, 1, bad)
      helper.raises("#1", uring.socketpair, bad)
    end
    helper.raises("#1", uring.socket)
    helper.raises("#2", uring.socket, 1)
  end)

  it("closes them on exec, and lets them wait", function()
    local more = uring.SOCK_NONBLOCK | uring.SOCK_CLOEXEC
    local function check(...)
      for _, s in ipairs { ... } do
        net.keep(s)
        local flags = flags_of(s)
        assert.equal(uring.O_CLOEXEC, flags & uring.O_CLOEXEC)
        -- who must not block waits in the ring, and is never told EAGAIN
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
  it("is closed once, by anybody, and says so afterwards", function()
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

  it("is no other object, and its methods take no other", function()
    local s = net.keep(assert(uring.socket(uring.AF_INET, uring.SOCK_DGRAM)))
    for _, method in ipairs { s.close, s.bind, s.receive, s.send, s.fileno,
        s.messages, s.connections, s.connect, s.getsockopt } do
      for _, bad in ipairs { 1, "x", {}, uring.fd(99), io.stdout,
          uring.buffer(1) } do
        helper.raises("uring.Socket expected", method, bad, 1, 1)
      end
      helper.raises("uring.Socket expected", method)
    end
    -- (99 was nobody's)
  end)

  it("goes wherever a descriptor does", function()
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

  it("goes out with what was queued before it is closed", function()
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

  it("closed in one task is gone for the others at once", function()
    net.run(function()
      local listener = net.listener()
      local address = listener:getsockname()
      local task = uring.spawn(function() return listener:accept() end)
      net.turns()
      listener:close()
      -- nobody listens there any more, not even until the next turn
      local again = net.keep(assert(uring.tcp.listen(address)))
      assert.equal(address, again:getsockname())
      assert.equal(E.EBADF, select(4, task:join()))
    end)
  end)
end)

describe("in a forked child, a socket of its parent's", function()
  local words = "belongs to another process"

  local function in_child(f)
    assert.equal(0, (helper.child(f)))
  end

  it("says so, and is closed without harm to the parent's", function()
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

  it("leaves leases behind that may go home later", function()
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

describe("tcp", function()
  it("listens, connects and accepts, with and without IPv6", function()
    net.run(function()
      for _, host in ipairs { "127.0.0.1:0", "[::1]:0" } do
        local listener, why, errno = uring.tcp.listen(host)
        if listener then
          net.keep(listener)
          local address = listener:getsockname()
          local a = net.keep(assert(uring.tcp.connect(address,
            net.patience)))
          local b, peer = listener:accept(net.patience)
          net.keep(b)
          assert.equal(address, a:getpeername())
          assert.equal(a:getsockname(), peer)
          assert.equal(a:getsockname(), b:getpeername())
          assert.equal(address, b:getsockname())
          a:send "abc"
          assert.equal("abc", b:recv())
        else
          assert.equal("[::1]:0", host, why)
          assert.truthy(errno == E.EADDRNOTAVAIL
            or errno == E.EAFNOSUPPORT, why)
        end
      end
    end)
  end)

  it("takes addresses as strings and as sockaddrs", function()
    local listener = net.keep(assert(uring.tcp.listen(
      uring.sockaddr("127.0.0.1", 0), 5)))
    net.run(function()
      local text = tostring(listener:getsockname())
      net.keep(assert(uring.tcp.connect(text)))
      net.keep((assert(listener:accept(net.patience))))
    end)
    for _, bad in ipairs { "localhost:80", "127.0.0.1", "127.0.0.1:x", "" } do
      helper.raises("address expected", uring.tcp.listen, bad)
      helper.raises("address expected", uring.tcp.connect, bad)
      helper.raises("address expected", uring.udp.bind, bad)
      helper.raises("address expected", uring.udp.connect, bad)
    end
    helper.raises("host names are not looked up", uring.tcp.connect,
      "localhost:80")
    for _, bad in ipairs { 80, true, {} } do
      helper.raises("address expected", uring.tcp.listen, bad)
      helper.raises("address expected", uring.tcp.connect, bad)
      helper.raises("address expected", uring.udp.bind, bad)
      helper.raises("address expected", uring.udp.connect, bad)
      helper.raises("address expected", uring.unix.listen, bad)
      helper.raises("address expected", uring.unix.connect, bad)
      helper.raises("address expected", uring.unix.bind, bad)
    end
    helper.raises("address expected", uring.tcp.listen)
    helper.raises("integer", listener.listen, listener, "x")
    local function raises(words, f)  -- and says where it was called
      helper.raises(("socket_spec.lua:%d: bad argument %s"):format(
        debug.getinfo(f, "S").linedefined, words), f)
    end
    raises("#1 to 'listen' (address expected, got 'localhost:80': neither",
      function() uring.tcp.listen "localhost:80" end)
    raises("#1 to 'connect'", function() uring.tcp.connect "x:80" end)
    raises("#1 to 'bind'", function() uring.udp.bind() end)
    raises("#1 to 'connect'", function() uring.udp.connect "x:80" end)
    raises("#1 to 'bind'", function() uring.unix.bind(5) end)
    raises("#2 to 'listen'", function() uring.unix.listen("x", -1) end)
    raises("#2 to 'connect'", function() uring.unix.connect("x", "x") end)
  end)

  it("leaves no socket behind where it fails", function()
    helper.keeps_fds(function()
      local listener = net.listener()
      local address = listener:getsockname()
      collectgarbage "stop"
      local before = helper.fds()
      for _ = 1, 5 do
        net.fails(E.EADDRINUSE, uring.tcp.listen(address))
        net.fails(E.EADDRNOTAVAIL, uring.udp.bind "192.0.2.1:0")
        helper.raises("integer", uring.tcp.listen, "127.0.0.1:0", "x")
        net.run(function()
          helper.raises("seconds", uring.tcp.connect, address, "soon")
        end)
        helper.raises("uring.run", uring.tcp.connect, address)
      end
      collectgarbage "restart"
      assert.equal(before, helper.fds())
      listener:close()
    end)
  end)

  it("waits in tasks only, but for what never waits", function()
    local listener = net.listener()
    helper.raises("uring.run", listener.accept, listener)
    helper.raises("uring.run", uring.tcp.connect, listener:getsockname())
    local a, b = net.pair()
    helper.raises("uring.run", a.send, a, "x")
    helper.raises("uring.run", b.receive, b)
    local next, reader = b:chunks()
    helper.raises("uring.run", next, reader)
  end)
end)

describe("unix", function()
  it("listens at paths and at abstract names", function()
    local path = free_path()
    for _, name in ipairs { path, "unix:" .. free_path(),
        "@uring-spec-" .. path, "unix:@uring-spec-" .. path .. "-2" } do
      net.run(function()
        local listener = net.keep(assert(uring.unix.listen(name)))
        local a = net.keep(assert(uring.unix.connect(name, net.patience)))
        local b, peer = listener:accept(net.patience)
        net.keep(b)
        assert.equal("unix:", tostring(peer))
        a:send "abc"
        assert.equal("abc", b:recv())
        os.remove((name:gsub("^unix:", "")))
      end)
    end
  end)

  it("tells what is in the way of a path", function()
    local path = free_path()
    net.run(function()
      net.fails(E.ENOENT, uring.unix.connect(path))
      local listener = assert(uring.unix.listen(path))
      net.fails(E.EADDRINUSE, uring.unix.listen(path))
      listener:close()
      net.fails(E.ECONNREFUSED, uring.unix.connect(path))
      net.fails(E.ENOTDIR, uring.unix.listen(path .. "/no/such"))
      os.remove(path)
    end)
    helper.raises("107 bytes", uring.unix.listen, ("x"):rep(108))
  end)

  it("binds for datagrams, which say where they come from", function()
    local one, two = free_path(), free_path()
    net.run(function()
      local a = net.keep(assert(uring.unix.bind(one)))
      local b = net.keep(assert(uring.unix.bind(two)))
      assert.equal(3, a:sendto("abc", "unix:" .. two))
      local payload, from = b:recvfrom()
      assert.equal("abc", payload)
      assert.equal("unix:" .. one, tostring(from))
      assert.equal(3, b:sendto("def", from))
      assert.equal("def", a:recv())
    end)
    os.remove(one)
    os.remove(two)
  end)
end)

describe("names of sockets", function()
  it("are nil, message, errno where there are none", function()
    local s = net.keep(assert(uring.socket(uring.AF_INET,
      uring.SOCK_STREAM)))
    assert.equal("0.0.0.0:0", tostring(s:getsockname()))
    local message = net.fails(E.ENOTCONN, s:getpeername())
    assert.truthy(message:find("getpeername of socket", 1, true))
    assert.equal("unix:", tostring((net.pair()):getsockname()))
  end)

  it("come with what bind and listen are told", function()
    local s = net.keep(assert(uring.socket(uring.AF_INET,
      uring.SOCK_STREAM)))
    assert.equal(s, s:bind "127.0.0.1:0")
    assert.equal(s, s:listen())
    assert.equal(s, s:listen(3))
    assert.equal("127.0.0.1", s:getsockname().host)
    assert.truthy(s:getsockname().port > 0)
    local message = net.fails(E.EINVAL, s:bind "127.0.0.1:0")
    assert.truthy(message:find("to 127.0.0.1:0", 1, true))
    local d = net.udp()
    net.fails(E.EOPNOTSUPP, d:listen())
    helper.raises("address expected", s.bind, s)
    helper.raises("address expected", s.bind, s, 80)
    helper.raises("#2", s.listen, s, -1)
    helper.raises("#2", s.listen, s, "5")
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

  it("wakes who waits to receive", function()
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

  it("ends what reads datagrams too", function()
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

  it("refuses directions that are none", function()
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

  it("know what brings control messages by name", function()
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

  it("tell what the kernel refuses", function()
    net.fails(E.ENOPROTOOPT, s:getsockopt(uring.SOL_SOCKET, 9999))
    net.fails(E.ENOPROTOOPT, s:setsockopt(uring.SOL_SOCKET, 9999, 1))
    net.fails(E.EINVAL, s:setsockopt("SO_LINGER", "x"))
    net.fails(E.EINVAL, s:setsockopt("IP_TTL", 1000))
    net.fails(E.EFAULT, s:setsockopt("SO_ATTACH_FILTER",
      string.pack("I2I6I8", 1, 0, 1)))
  end)

  it("refuse names and values that are none", function()
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

-- Lua 5.5 has another word for it.
local function tune(name, value)
  if _VERSION == "Lua 5.4" then return collectgarbage("set" .. name, value) end
  return collectgarbage("param", name, value)
end

-- Finalizers may run whenever memory is taken, and may close the very socket
-- whose method is running.
it("outlives being closed by a finalizer in the middle of a call", function()
  local mode = collectgarbage "incremental"
  local pause, step = tune("pause", 0), tune("stepmul", 1000)
  local ok, why = pcall(net.run, function()
    for i = 1, 150 do
      local a, b = uring.socketpair(uring.SOCK_DGRAM)
      local way = i % 5
      for _ = 1, 3 do a:send("abc", 0) end
      setmetatable({}, { __gc = function() a:close() b:close() end })
      for _ = 1, 30 do
        local done, err = pcall(function()
          if way == 0 then
            b:receive(nil, 0)
          elseif way == 1 then
            net.first(b:messages { lease = true })
          elseif way == 2 then
            net.first(b:messages { size = 100 + i })
          elseif way == 3 then
            a:sendmsg({ data = "x", control = { fds = { 0 } } }, 0)
          else
            a:sendmsg({ { data = "x" }, { data = "y" } }, 0)
          end
          if way < 3 then a:send("abc", 0) else b:recv(nil, 0) end
        end)
        if not done then
          assert(tostring(err):find("closed", 1, true), err)
          break
        end
      end
      a:close()
      b:close()
    end
  end)
  tune("pause", pause)
  tune("stepmul", step)
  collectgarbage(mode)
  assert(ok, why)
end)

-- What is first allocated in the call sets it off, and then the number is
-- another's.
for _, lease in ipairs { "false", "true" } do
  it("asks nothing of a number that a finalizer has closed in the call, "
    .. "lease = " .. lease, function()
      helper.script_ok(([[
        local uring = require "uring"
        local a, b = uring.socketpair(uring.SOCK_DGRAM)
        local number = b:fileno()
        local lease = %s
        local mine, other
        uring.run(function()
          local receive = b:messages { size = 3000, lease = lease }
          setmetatable({}, { __gc = function()
            b:close()
            mine, other = uring.socketpair(uring.SOCK_DGRAM)
          end })
          collectgarbage "stop"
          collectgarbage("incremental", 100, 1000, 30)
          collectgarbage "restart"
          assert(receive() == nil)
          assert(mine:fileno() == number)
          other:send "x"
          assert(mine:recv(10, 5) == "x")
          -- the ring has no buffers of its
          assert(not lease
            or uring.loop():ring():buf_ring { bgid = 65535 })
        end)]]):format(lease))
    end)
end

it("sends nothing to a number that a finalizer has closed in the call",
  function()
    helper.script_ok [[
      local uring = require "uring"
      local a, b = uring.socketpair(uring.SOCK_DGRAM)
      local number = a:fileno()
      local message = { data = "x" }
      local mine, other
      uring.run(function()
        setmetatable({}, { __gc = function()
          a:close()
          mine, other = uring.socketpair(uring.SOCK_DGRAM)
        end })
        collectgarbage "stop"
        collectgarbage("incremental", 100, 1000, 30)
        collectgarbage "restart"
        local sent, _, errno = a:sendmsg(message)
        assert(sent == nil and errno == uring.errno.EBADF)
        assert(mine:fileno() == number)
        mine:send "y"
        assert(other:recv(10, 5) == "y")
      end)]]
  end)

it("gives what it has come to give though a finalizer closes it", function()
  helper.script_ok [[
    local uring = require "uring"
    local spec = require "uring_spec"
    local a, b = uring.socketpair(uring.SOCK_DGRAM)
    local closed
    uring.run(function()
      local receive = b:messages { lease = true }
      spec.write(a:fileno(), "one")
      assert(receive():string() == "one")
      spec.write(a:fileno(), "two")
      uring.sleep(0)
      setmetatable({}, { __gc = function()
        b:close()
        closed = true
      end })
      collectgarbage "stop"
      collectgarbage("incremental", 100, 1000, 30)
      collectgarbage "restart"
      local lease = receive()
      assert(closed and lease:string() == "two")
    end)]]
end)

it("may be collected before the end of what it has asked for", function()
  helper.script_ok [[
    local uring = require "uring"
    uring.run(function()
      local a, b = uring.socketpair(uring.SOCK_DGRAM)
      uring.select({ b:receiving(10) }, 0)  -- the request stays
      b:close()
      b = nil
      collectgarbage()
      collectgarbage()
      for _ = 1, 3 do uring.sleep(0) end
    end)]]
end)

it("closes the descriptors that nobody has read when it is closed", function()
  net.run(function()
    local a, b = net.pair()
    local before = helper.fds()
    uring.select({ b:receiving(10) }, 0)  -- the request stays
    assert(a:sendmsg { data = "xy", control = { fds = { a } } })
    assert.equal("x", b:recv(1, net.patience))
    assert.equal(before + 1, helper.fds())
    b:close()
    assert.equal(before - 1, helper.fds())
    a:close()
  end)
end)

describe("a socket that a uring.fd has owned", function()
  it("is the new object's alone", function()
    helper.keeps_fds(function()
      local a, b = assert(uring.socketpair())
      uring.run(function()
        local text = "an open socket"
        assert(a:sendmsg { data = "x", control = { fds = { a } } })
        local _, _, info = assert(b:receive())
        local fd = info.control.fds[1]
        local number = fd:fileno()
        local copy <close> = assert(uring.socket(fd))
        assert.equal(number, copy:fileno())
        helper.raises("closed descriptor", fd.fileno, fd)
        helper.raises("closed descriptor", uring.socket, fd)
        assert(copy:send(text))
        assert.equal(text, b:recv())
      end)
      a:close()
      b:close()
    end)
  end)

  it("is one", function()
    local fd <close> = uring.fd(spec.eventfd())
    local sock, message, errno = uring.socket(fd)
    assert.same({ nil, uring.errno.ENOTSOCK }, { sock, errno })
    assert.truthy(message:find("socket: descriptor", 1, true))
    assert.equal("number", type(fd:fileno()))
  end)
end)
