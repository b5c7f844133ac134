-- uring.tcp and uring.unix: sockets that listen, connect and are bound, and
-- their names.

local helper = require "helper"
local net = require "net"
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
    for _, bad in ipairs { "localhost:65536", "127.0.0.1", "[::1:x", "" } do
      helper.raises("address expected", uring.tcp.listen, bad)
      helper.raises("address expected", uring.tcp.connect, bad)
      helper.raises("address expected", uring.udp.bind, bad)
      helper.raises("address expected", uring.udp.connect, bad)
    end
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
      helper.raises(("tcp_spec.lua:%d: bad argument %s"):format(
        debug.getinfo(f, "S").linedefined, words), f)
    end
    raises("#1 to 'listen' (address expected, got 'local host:80': neither",
      function() uring.tcp.listen "local host:80" end)
    raises("#1 to 'connect'", function() uring.tcp.connect "x" end)
    raises("#1 to 'bind'", function() uring.udp.bind() end)
    raises("#1 to 'connect'", function() uring.udp.connect "x" end)
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

  it("may be called outside of tasks where it never waits", function()
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

  it("says what is in the way of a path", function()
    local path = free_path()
    net.run(function()
      net.fails(E.ENOENT, uring.unix.connect(path))
      local listener = assert(uring.unix.listen(path))
      listener:close()
      local message = net.fails(E.EADDRINUSE, uring.unix.listen(path))
      assert.truthy(message:find("remove the file", 1, true), message)
      net.fails(E.ECONNREFUSED, uring.unix.connect(path))
      net.fails(E.ENOTDIR, uring.unix.listen(path .. "/no/such"))
      os.remove(path)
    end)
    helper.raises("107 bytes", uring.unix.listen, ("x"):rep(108))
  end)

  it("binds for datagrams, which have their sender's address", function()
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
  it("are nil, message, errno where a socket has none", function()
    local s = net.keep(assert(uring.socket(uring.AF_INET,
      uring.SOCK_STREAM)))
    assert.equal("0.0.0.0:0", tostring(s:getsockname()))
    local message = net.fails(E.ENOTCONN, s:getpeername())
    assert.truthy(message:find("getpeername of socket", 1, true))
    assert.equal("unix:", tostring((net.pair()):getsockname()))
  end)

  it("are given as bind and listen got them", function()
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
