-- uring.compat.socket: the same as LuaSocket where one thread uses it; and
-- that it waits as all tasks do.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local ring_it = helper.needs_ring(it)
local socket = uring.compat.socket

local CASES <const> = "spec/support/luasocket_cases.lua"

after_each(function()
  net.close()
  helper.clean()
end)

-- A client, the server's end of it, and the listener. (In a task.)
local function connected()
  local listener = net.keep(assert(socket.bind("127.0.0.1", 0)))
  local ip, port = listener:getsockname()
  local client = net.keep(assert(socket.connect(ip, port)))
  return client, net.keep(assert(listener:accept())), listener
end

local function cases(...)
  return spec.execute(60 * helper.slow, "/proc/self/exe", CASES, ...)
end

describe("uring.compat.socket", function()
  ring_it("answers as LuaSocket does", function()
    if not package.searchpath("socket.core", package.cpath) then
      helper.skip "needs LuaSocket (Debian: lua-socket)"
    end
    local status, theirs = cases()
    assert.equal(0, status, theirs)
    local ours
    status, ours = cases "uring"
    assert.equal(0, status, ours)
    assert.equal(theirs, ours)
  end)

  -- (also where there is no LuaSocket to compare it with)
  ring_it("answers all of these calls", function()
    local status, output = cases "uring"
    assert.equal(0, status, output)
    assert.truthy(#output > 5000, output)
  end)

  it("is what require gives, and what uring.compat has", function()
    assert.equal(socket, require "uring.compat.socket")
    helper.raises("no interface 'sockets' in uring.compat",
      function() return uring.compat.sockets end)
  end)

  it("is loaded when it is first used", function()
    assert.equal("", helper.script_ok [[
      local uring = require "uring"
      assert(not package.loaded["uring.compat.socket"])
      assert(uring.compat.socket == package.loaded["uring.compat.socket"])
    ]])
  end)

  ring_it("is in the module for states without files, too", function()
    local module = package.searchpath("uring.core", package.cpath)
    local open = assert(package.loadlib(module, "luaopen_uring"))
    local ok, why = spec.state(open, string.dump(function()
      local u = _G.uring
      local s, modules = u.compat.socket, {}
      assert(s.install(modules) == modules["socket.core"])
      assert(not pcall(s.install))
      return u.run(function()
        local listener = assert(s.bind("127.0.0.1", 0))
        local ip, port = listener:getsockname()
        local client = assert(s.connect(ip, port))
        assert(client:send "hello\r\n")
        return assert(listener:accept()):receive()
      end)
    end))
    assert.is_true(ok, why)
    assert.equal("hello", why)
  end)

  it("raises where there is no task that could wait", function()
    for _, call in ipairs {
      { socket.sleep, 0 }, { socket.select, {}, {}, 1 },
      { socket.connect, "127.0.0.1", 1 }, { socket.dns.toip, "localhost" },
    } do
      helper.mistake("only a task can wait", table.unpack(call))
    end
  end)

  ring_it("does outside of tasks what need not wait", function()
    local listener = net.keep(assert(socket.bind("127.0.0.1", 0)))
    listener:settimeout(0)
    assert.equal("127.0.0.1", (listener:getsockname()))
    assert.is_true(socket.gettime() > 1e9)
    helper.mistake("only a task can wait", listener.accept, listener)
  end)

  it("has errors with the caller's line", function()
    local tcp, udp = socket.tcp(), socket.udp()
    for _, call in ipairs {
      { "calling 'receive' on bad self (tcp{client} expected)", tcp.receive,
        tcp },
      { "calling 'close' on bad self (udp{any} expected)", udp.close, tcp },
      { "calling 'close' on bad self (tcp{any} expected)", tcp.close, "x" },
      { "bad argument #1 to 'connect' (string expected, got table)",
        tcp.connect, tcp, {} },
      { "bad argument #2 to 'bind' (string without zero bytes expected)",
        tcp.bind, tcp, "*", "\0" },
      { "bad argument #5 to 'connect' (invalid option 'inet4')",
        socket.connect, "127.0.0.1", 1, nil, nil, "inet4" },
      { "bad argument #1 to 'select' (table expected, got string)",
        socket.select, "x" },
      { "bad argument #1 to 'settimeout' (number expected, got table)",
        tcp.settimeout, tcp, {} },
      { "bad argument #2 to 'setoption' (number from -2147483648 to "
        .. "2147483647 expected)", tcp.setoption, tcp, "send-buffer-size",
        1 << 40 },
      { "bad argument #1 to 'install' (package.loaded expected)",
        socket.install, 5 },
    } do
      helper.mistake(table.unpack(call, 1, 7))
    end
  end)
end)

describe("install", function()
  it("puts it where require finds it, once for all", function()
    assert.equal("", helper.script_ok [[
      local socket = require "uring.compat.socket"
      assert(socket.install() == socket and socket.install() == socket)
      assert(require "socket" == socket and require "socket.core" == socket)
    ]])
  end)

  it("refuses where LuaSocket is loaded already", function()
    for _, name in ipairs { "socket", "socket.core" } do
      local modules = { [name] = {} }
      helper.mistake(("LuaSocket is loaded already, as '%s'"):format(name),
        socket.install, modules)
      assert.is_nil(modules[name == "socket" and "socket.core" or "socket"])
    end
  end)
end)

describe("a call of uring.compat.socket", function()
  ring_it("suspends its task alone", function()
    net.run(function()
      local client, server, listener = connected()
      local waiting = {
        uring.spawn(server.receive, server),
        uring.spawn(listener.accept, listener),
        uring.spawn(socket.select, { client }, nil, net.patience),
        uring.spawn(socket.sleep, 0.01),
        uring.spawn(socket.dns.toip, "localhost"),
        uring.spawn(socket.dns.tohostname, "127.0.0.1"),
      }
      local udp = net.keep(socket.udp())
      udp:setsockname("127.0.0.1", 0)
      waiting[#waiting + 1] = uring.spawn(udp.receive, udp)
      uring.sleep(0)
      for i, task in ipairs(waiting) do
        assert.equal("waiting", task:status(), i)
      end
      local ip, port = udp:getsockname()
      net.keep(socket.udp()):sendto("x", ip, port)
      client:send "line\n"
      server:send "x"
      ip, port = listener:getsockname()
      net.keep(socket.connect(ip, port))
      for _, task in ipairs(waiting) do
        assert.is_true((task:join(net.patience)))
      end
    end)
  end)

  ring_it("loses nothing when it is cancelled", function()
    net.run(function()
      local client, server = connected()
      for i, pattern in ipairs { "*l", "*a", 100 } do
        local task = uring.spawn(server.receive, server, pattern)
        client:send(i .. "abc")
        net.turns()
        task:cancel()
        net.fails(uring.errno.ECANCELED, task:join())
      end
      client:send "\n"
      assert.equal("1abc2abc3abc", (server:receive()))
    end)
  end)

  ring_it("ends when another task closes its socket", function()
    net.run(function()
      local client, server, listener = connected()
      local udp = net.keep(socket.udp())
      udp:setsockname("127.0.0.1", 0)
      local waiting = {
        [server] = uring.spawn(server.receive, server),
        [listener] = uring.spawn(listener.accept, listener),
        [udp] = uring.spawn(udp.receive, udp),
        [client] = uring.spawn(socket.select, { client }),
      }
      net.turns()
      for s, task in pairs(waiting) do
        if s ~= client then
          s:close()
          local ok, nothing, why = task:join(net.patience)
          assert.same({ true, nil, "closed" }, { ok, nothing, why })
        end
      end
      assert.is_true(waiting[client]:join(net.patience))
    end)
  end)

  ring_it("holds no socket open that another task closes", function()
    net.run(function()
      local client, server = connected()
      local task = uring.spawn(socket.select, { client }, nil, 600)
      net.turns()
      client:close()
      server:settimeout(net.patience)
      assert.equal("closed", (select(2, server:receive())))
      assert.equal("waiting", task:status())
      task:cancel()
    end)
  end)

  ring_it("obeys uring.timeout, also one that is protected", function()
    net.run(function()
      local _, server = connected()
      local f = socket.protect(function()
        return socket.try(server:receive())
      end)
      net.fails(uring.errno.ETIME, uring.timeout(0.01, f))
      local task = uring.spawn(f)
      net.turns()
      task:cancel()
      net.fails(uring.errno.ECANCELED, task:join())
    end)
  end)

  ring_it("takes what has come when its time is over, and no more", function()
    net.run(function()
      local client, server = connected()
      client:send "no end"
      server:settimeout(0.02)
      local line, why, part = server:receive()
      assert.same({ nil, "timeout", "no end" }, { line, why, part })
      client:send " of it\nnext\n"
      assert.equal("no end of it", (server:receive("*l", part)))
      assert.equal("next", (server:receive()))
    end)
  end)

  ring_it("has no bound for a line", function()
    net.run(function()
      local client, server = connected()
      local line = ("x"):rep(12 << 20)
      local task = uring.spawn(client.send, client, line .. "\n")
      assert.is_true(server:receive() == line)
      assert.same({ true, #line + 1 }, { task:join() })
    end)
  end)

  -- What a receive gives whose read is out of time, where these pieces came at
  -- that very moment; and what is left to be received.
  local function at_the_last_moment(pieces, ...)
    local _, server = connected()
    local _ <close> = server.socket
    local left = pieces
    server.socket = {
      read = function() return nil, "timed out", uring.errno.ETIME end,
      try_receive = function(_, most)
        local bytes = table.remove(left, 1)
        if not bytes then return nil, "nothing", uring.errno.EAGAIN end
        if #bytes > most then
          table.insert(left, 1, bytes:sub(most + 1))
        end
        return bytes:sub(1, most)
      end,
      unread = function(_, bytes) table.insert(left, 1, bytes) end,
    }
    local result, why, part = server:receive(...)
    server.socket = nil
    return { result or "nil", why, part, table.concat(left) }
  end

  ring_it("is complete if the rest came when its time was over", function()
    net.run(function()
      assert.same({ "a line", nil, nil, "next" },
        at_the_last_moment({ "a li", "ne\r\nnext" }))
      assert.same({ "nil", "timeout", "no line", "" },
        at_the_last_moment({ "no ", "line" }))
      assert.same({ "12345", nil, nil, "678" },
        at_the_last_moment({ "123", "45678" }, 5))
      assert.same({ "nil", "timeout", "x123", "" },
        at_the_last_moment({ "123" }, 5, "x"))
      assert.same({ "nil", "timeout", "all", "" },
        at_the_last_moment({ "a", "ll" }, "*a"))
      assert.same({ "nil", "timeout", "", "" },
        at_the_last_moment({}, 0))
    end)
  end)

  ring_it("waits at most for both limits", function()
    net.run(function()
      local _, server = connected()
      server:settimeout(100, "b")
      server:settimeout(0.02, "t")
      assert.equal("timeout", (select(2, server:receive())))
      server:settimeout(0.02, "b")
      server:settimeout(100, "t")
      assert.equal("timeout", (select(2, server:receive())))
      server:settimeout(math.huge)
      assert.equal(math.huge, (server:gettimeout()))
    end)
  end)
end)

describe("select of uring.compat.socket", function()
  ring_it("tells all that are ready, however many they are", function()
    net.run(function()
      local clients, servers = {}, {}
      for i = 1, 40 do clients[i], servers[i] = connected() end
      local task = uring.spawn(socket.select, servers)
      net.turns()
      for i = 2, 40, 2 do clients[i]:send "x" end
      local ok, ready = task:join(net.patience)
      assert(ok, ready)
      assert(#ready >= 1)
      ready = socket.select(servers, nil, 0)
      assert.equal(20, #ready)
      for i = 2, 40, 2 do assert.equal(i // 2, ready[servers[i]]) end
    end)
  end)

  ring_it("tells what was read ahead by a receive that failed", function()
    net.run(function()
      local client, server = connected()
      client:send "half"
      local task = uring.spawn(server.receive, server)
      net.turns()
      task:cancel()
      task:join()
      local ready, _, why = socket.select({ server }, nil, 0)
      assert.same({ 1, nil }, { #ready, why })
      assert.is_true(server:dirty())
      assert.equal("half", (server:receive(4)))
      assert.is_false(server:dirty())
    end)
  end)

  ring_it("refuses to wait for nothing for ever", function()
    net.run(function()
      helper.mistake("there is nothing to wait for", socket.select, {}, {})
      helper.mistake("select failed", socket.select,
        { { getfd = function() return 999999 end } })
    end)
  end)
end)

describe("a descriptor", function()
  ring_it("can be taken over and given away", function()
    net.run(function()
      local client, server = connected()
      local fd = server:getfd()
      server:setfd(-1)
      assert.equal(-1, server:getfd())
      assert.equal("closed", (select(2, server:receive())))
      local other = net.keep(socket.tcp())
      other:setfd(fd)
      assert.equal(fd, other:getfd())
      client:send "still there\n"
      assert.equal(1, other:connect("127.0.0.1", 1) or 1)
      assert.equal(1, other:close())
      helper.mistake("a uring.fd, a socket, a ring or the loop owns",
        other.setfd, other, client:getfd())
      -- what has been read ahead would be lost
      local near, far = connected()
      far:send "x"
      socket.select({ near })
      near:dirty()
      helper.mistake("release socket", near.setfd, near, -1)
      assert.equal("x", (near:receive(1)))
      -- what cannot be taken over is still the caller's
      local r, w = uring.pipe()
      local number = assert(uring.fd(spec.dup(r:fileno()))):release()
      helper.mistake("socket: descriptor", other.setfd, other, number)
      local back <close> = assert(uring.fd(number))
      assert.equal(number, back:fileno())
      r:close()
      w:close()
      number = assert(uring.socketpair(uring.SOCK_DGRAM)):release()
      helper.mistake("of another type", other.setfd, other, number)
      local _ <close> = assert(uring.socket(assert(uring.fd(number))))
    end)
  end)

  ring_it("stays open when its object is collected", function()
    net.run(function()
      local _, _, listener = connected()
      local ip, port = listener:getsockname()
      local function give_away()
        local client = assert(socket.connect(ip, port))
        local fd = client:getfd()
        client:setfd(-1)
        return fd
      end
      local fd = give_away()
      helper.collect()
      local mine <close> = assert(uring.socket(assert(uring.fd(fd))))
      assert(mine:send "x")
      assert.equal("x", (net.keep(listener:accept()):receive(1)))
    end)
  end)

  ring_it("is not left open by what fails", function()
    net.run(function()
      connected()
      helper.keeps_fds(function()
        for _ = 1, 3 do
          assert.is_nil(socket.connect("127.0.0.1", 1))
          assert.is_nil(socket.bind("192.0.2.1", 0))
          local c = socket.tcp()
          c:connect("127.0.0.1", 1)
          c:connect("127.0.0.1", 1)
        end
      end)
    end)
  end)

  ring_it("is closed at once when a connect is cancelled", function()
    net.run(function()
      local address = net.listener(nil, 0):getsockname()
      net.crowd(uring.tcp.connect, address)
      local before = helper.fds()
      collectgarbage "stop"
      local _ <close> = helper.finally(function()
        collectgarbage "restart"
      end)
      local task = uring.spawn(socket.connect, address.host, address.port)
      net.turns()
      assert.equal(before + 1, helper.fds())
      task:cancel()
      net.fails(uring.errno.ECANCELED, task:join())
      assert.equal(before, helper.fds())
      -- one that another task closes tries no other address
      local names = require "uring.compat.socket.names"
      local lookup = names.lookup
      local _ <close> = helper.finally(function() names.lookup = lookup end)
      names.lookup = function() return { address, address } end
      local tcp = socket.tcp()
      task = uring.spawn(tcp.connect, tcp, address.host, address.port)
      net.turns()
      tcp:close()
      local ok, nothing, why = task:join(net.patience)
      assert.same({ true, nil, "closed" }, { ok, nothing, why })
      assert.equal(before, helper.fds())
    end)
  end)
end)

describe("IPv6", function()
  ring_it("works as IPv4 does", function()
    net.run(function()
      local listener = socket.tcp6()
      local alone = listener and listener:getoption "ipv6-v6only"
      if not listener or not listener:bind("::1", 0) then
        helper.skip "needs IPv6"
      end
      assert.is_true(alone)
      net.keep(listener):listen()
      local _, port, family = listener:getsockname()
      assert.equal("inet6", family)
      local client = net.keep(assert(socket.connect6("::1", port)))
      assert.same({ "::1", port, "inet6" }, { client:getpeername() })
      assert.equal("inet6", client:getfamily())
      local udp = net.keep(socket.udp6())
      assert.equal(1, udp:setoption("ipv6-v6only", false))
      assert.is_false(udp:getoption "ipv6-v6only")
      assert.equal(1, udp:setsockname("*", 0))
      local group <const> = { multiaddr = "ff02::1:3" }
      -- (it fails where lo is the only interface)
      if udp:setoption("ipv6-add-membership", group) then
        group.interface = 0
        assert.equal(1, udp:setoption("ipv6-drop-membership", group))
      end
      assert.same({ nil, "setsockopt failed" }, { udp:setoption(
        "ipv6-drop-membership", { multiaddr = "ff02::1:3" }) })
      helper.mistake("invalid 'multiaddr' ip address", udp.setoption, udp,
        "ipv6-add-membership", { multiaddr = "10.0.0.1" })
      for name, value in pairs { ["ipv6-unicast-hops"] = 7,
          ["ipv6-multicast-hops"] = 8, ["ipv6-multicast-loop"] = false } do
        assert.equal(1, udp:setoption(name, value), name)
        assert.equal(value, udp:getoption(name), name)
      end
    end)
  end)
end)
