-- Sockets of tasks, names, and LuaSocket's interface.

local checks = require "shortage.checks"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local patience <const> = checks.patience
local owner <const> = checks.owner
local gives <const> = checks.gives
local first <const> = helper.first

local programs = {}

programs["a server"] = function()
  -- (a connection's task without memory for itself is told by a run's end)
  local ok, why = true, nil
  local function note(...)
    if not (...) then ok, why = false, select(2, ...) end
  end
  note(pcall(uring.run, function()
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local server = uring.spawn(function()
      return listener:serve(function(conn)
        assert(conn:write(assert(conn:read("l", patience)), "!"))
      end, { max = 2, grace = 0 })
    end)
    local got = uring.map(2, { "a", "b" }, function(text)
      local client <close> = assert(uring.tcp.connect(listener:getsockname(),
        patience))
      assert(client:write(text, "\n"))
      -- (of a connection that fails this is an error too)
      return client:read("a", patience) or ""
    end)
    listener:close()
    local ended, served, message = server:join(patience)
    if not (ended and served) then error(message or served, 0) end
    if got[1] ~= "a!" then error("ENOMEM of a connection", 0) end
  end))
  for _ = 1, 9 do note(pcall(uring.run, uring.sleep, 0)) end
  if not ok then error(why, 0) end
end

programs["names"] = function()
  uring.run(function()
    assert(uring.resolve("127.0.0.1", 80))
    local addresses, message, code = uring.resolve("localhost", 80, patience)
    if not addresses then
      assert(code == uring.eai.NONAME or code == uring.eai.AGAIN, message)
      return
    end
    assert(tostring(addresses[1]))
    local listener <close> = assert(uring.tcp.listen "localhost:0")
    local port = listener:getsockname().port
    local client <close> = assert(uring.tcp.connect("localhost:" .. port,
      patience))
    local server <close> = assert(uring.udp.bind "localhost:0")
    port = server:getsockname().port
    local udp <close> = assert(uring.udp.connect("localhost:" .. port,
      patience))
    assert(udp:send "x" and client:getpeername())
  end)
end

programs["datagrams"] = function()
  uring.run(function()
    local a <close> = assert(uring.udp.bind "127.0.0.1:0")
    local b <close> = assert(uring.udp.bind "127.0.0.1:0")
    local to = b:getsockname()
    local message = { data = "hello", name = to }
    assert(a:sendto("hello", to))
    assert(a:sendto("hello", tostring(to)))
    assert(a:sendmsg(message))
    assert(a:sendmsg { message, message })
    local payload, from = assert(b:receive(100, patience))
    assert(payload == "hello" and from == a:getsockname())
    assert(first(b:messages()) == "hello")
    first(b:messages { lease = true }):release()
    assert(tostring(a) and a:stats())
    local x, y = assert(uring.socketpair(uring.SOCK_DGRAM))
    local _ <close> = x
    local _ <close> = y
    local file <close> = assert(io.open "/dev/null")
    assert(x:sendmsg { data = "d", control = { fds = { file } } })
    local data, _, info = assert(y:receive(10, patience))
    assert(data == "d")
    info.control.fds[1]:close()
  end)
end

-- Each of these raises in one task what it was about to take, and the other
-- must have it.

programs["two tasks that wait for the same data"] = function()
  uring.run(function()
    local a, b = assert(uring.socketpair())
    local _ <close> = a
    local _ <close> = b
    local got, errors = "", {}
    local function one()
      local ok, data, message = pcall(b.recv, b, 1, patience)
      if ok and data then got = got .. data
      elseif ok then error(message, 0)
      else errors[#errors + 1] = data end
    end
    local tasks = { uring.spawn(one), uring.spawn(one) }
    uring.sleep(0)
    assert(a:send "xy")
    for i = 1, 2 do assert(tasks[i]:join(patience)) end
    if errors[1] then error(errors[1], 0) end
    assert(got == "xy")
  end)
end

programs["two tasks that accept"] = function()
  uring.run(function()
    local listener <close> = assert(
      uring.unix.listen("@uring-short-" .. spec.getpid(), 4))
    local to = listener:getsockname()
    local function one()
      local conn = assert(listener:accept(patience))
      conn:close()
    end
    local tasks = { uring.spawn(one), uring.spawn(one) }
    uring.sleep(0)
    local a <close> = assert(uring.unix.connect(to.path))
    local b <close> = assert(uring.unix.connect(to.path))
    assert(a and b)
    for i = 1, 2 do assert(tasks[i]:join(patience)) end
  end)
end

programs["buffered sockets"] = function()
  local a, b = assert(uring.socketpair())
  local _ <close> = a
  local _ <close> = b
  uring.run(function()
    assert(a:write("one\ntwo\n", 3, "\nkey: value\r\n\r\nrest\n"))
    assert(a:flush(patience))
    assert(b:limit(1000) == b)
    gives("one", b:read("l", patience))
    gives("two", b:peek(3, patience))
    gives("two\n", b:read "L")
    assert(b:unread "12 ")
    gives(12, b:read "n")
    gives(3, b:read "n")
    gives("", b:read "l")
    gives("key: value\r\n\r\n", b:read_until("\r\n\r\n", 100, patience))
    gives("rest", select(2, uring.select { b:reading "l" }))
    assert(a:write "last\n")
    assert(a:close())
    for line in b:lines() do assert(line == "last") end
  end)
end

programs["a file sent by a socket"] = function()
  local a, b = assert(uring.socketpair())
  local _ <close> = a
  local _ <close> = b
  uring.run(function()
    local name = os.tmpname()
    local file <close> = assert(uring.open(name, "w+"))
    os.remove(name)
    assert(a:write "head ")
    assert(file:write "body")
    gives(4, a:sendfile(file, 0, nil, patience))
    gives("head body", b:read(9, patience))
    gives(2, a:sendfile(file:fileno(), 1, 2))
    gives("od", b:read(2, patience))
    -- (what no call reads without waiting)
    local other <close> = assert(uring.open "/proc/self/comm")
    local n = assert(a:sendfile(other, 0, nil, patience))
    assert(#assert(b:read("L", patience)) == n)
    -- (and where there is no room at first)
    assert(file:truncate(600000))
    local all = ("h"):rep(3000) .. "body" .. ("\0"):rep(599996)
    b:limit(#all)
    local reading = uring.spawn(function()
      return assert(b:read(#all, patience))
    end)
    assert(a:write(all:sub(1, 3000)))
    gives(600000, a:sendfile(file, 0, nil, patience))
    gives(true, reading:join())
  end)
end

programs["LuaSocket's interface"] = function()
  local socket = uring.compat.socket
  uring.run(function()
    local listener = assert(socket.bind("127.0.0.1", 0))
    local ip, port = listener:getsockname()
    local client = assert(socket.tcp())
    assert(client:settimeout(patience))
    assert(client:connect(ip, port))
    assert(client:setoption("tcp-nodelay", true))
    assert(client:getoption "linger")
    local readable = socket.select({ listener }, { client }, patience)
    assert(readable[listener])
    local conn = assert(listener:accept())
    conn:settimeout(patience)
    assert(client:send "line\r\n12345rest")
    assert(assert(conn:receive()) == "line")
    assert(assert(conn:receive(5)) == "12345")
    assert(conn:getpeername())
    assert(conn:dirty() and conn:getstats())
    conn:setstats(0, 0, 0)
    client:shutdown "send"
    assert(assert(conn:receive("*a", "the ")) == "the rest")
    owner(function()
      local number = conn:getfd()
      conn:setfd(-1)
      return number
    end):close()
    local a, b = assert(socket.udp4()), assert(socket.udp4())
    assert(a:setsockname("127.0.0.1", 0))
    a:settimeout(patience)
    ip, port = a:getsockname()
    assert(b:sendto("one", ip, port))
    assert(a:receivefrom())
    assert(b:setpeername(ip, port))
    assert(b:send "two")
    assert(a:receive())
    assert(b:setpeername "*")
    assert(socket.dns.toip "127.0.0.1")
    local f = socket.protect(function() socket.try(nil, "why") end)
    local _, why = f()
    assert(why == "why", why)
  end)
end

return programs
