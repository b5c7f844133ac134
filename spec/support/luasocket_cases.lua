-- What LuaSocket and uring.compat.socket must answer alike: a program that
-- prints what its calls give, in one thread, over sockets of its own. What
-- differs from run to run (ports, addresses, times) is not printed.
--
--     lua5.4 luasocket_cases.lua          by LuaSocket
--     lua5.4 luasocket_cases.lua uring    by tasks

local socket, cases = nil, {}

local UNUSED <const> = 1                 -- a port at which nothing listens

-- A value as text: 1.0 is 1 (LuaSocket's numbers are floats).
local function text(v)
  if type(v) == "number" and v == v // 1 then return ("%d"):format(v) end
  if type(v) == "string" then return ("%q"):format(v) end
  if type(v) == "table" and not getmetatable(v) then
    local keys, parts = {}, {}
    for k in pairs(v) do keys[#keys + 1] = k end
    table.sort(keys, function(a, b) return text(a) < text(b) end)
    for i, k in ipairs(keys) do parts[i] = text(k) .. "=" .. text(v[k]) end
    return "{" .. table.concat(parts, " ") .. "}"
  end
  return (tostring(v):gsub("0x%x+", "0x"))
end

local function show(...)
  local words = table.pack(...)
  for i = 1, words.n do words[i] = text(words[i]) end
  print("", table.concat(words, ", "))
end

-- What a call raises, without its position, and the function's name.
local function raises(f, ...)
  local ok, why = pcall(f, ...)
  show(ok, (tostring(why):gsub("^[^ ]-:%d+: ", "")
    :gsub("to '[%w.?]+'", "to '?'")))
end

-- (In some versions of LuaSocket it is a string.)
local function port_of(s)
  local _, port = s:getsockname()
  return math.tointeger(port)
end

-- A client and the server's end of it, a listener and its port.
local function connected()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local port = port_of(listener)
  local client = assert(socket.connect("127.0.0.1", port))
  local server = assert(listener:accept())
  return client, server, listener, port
end

cases["classes"] = function()
  local client, server, listener, port = connected()
  local udp = socket.udp()
  local to = socket.udp()
  show(to:setpeername("127.0.0.1", port))
  for _, s in ipairs { client, server, listener, socket.tcp(), udp, to } do
    show(s, s.class, getmetatable(s).__name)
  end
  show(client:getfamily(), socket.tcp():getfamily(), udp:getfamily())
  show(type(client.nothing), client.send == listener.send)
  show(client:close(), client:close())
end

cases["lines"] = function()
  local client, server = connected()
  show(client:send "one\r\ntwo\nth\rree\n\r\n\nfour")
  for _ = 1, 5 do show(server:receive()) end
  server:settimeout(0.01)
  show(server:receive "*l")
  show(server:receive("*l", "prefix "))
  client:send "\rfive\n"
  server:settimeout()
  show(server:receive("*line", "four"))
  client:send "the end"
  client:close()
  show(server:receive())
  show(server:receive())
  show(server:receive("*l", "kept"))
end

cases["counts"] = function()
  local client, server = connected()
  client:send "0123456789abcdef"
  show(server:receive(4), server:receive(0), server:receive "2")
  show(server:receive(4, "xy"))
  show(server:receive(2, "long prefix"))
  show(server:receive(11, "long prefix"))
  server:settimeout(0.01)
  show(server:receive(100))
  show(server:receive(3))
  show(server:receive(0))
  show(server:receive(5, "abc"))
  client:send "xyz"
  client:close()
  server:settimeout()
  show(server:receive(5, "abc"))
  show(server:receive(5, "abc"))
  show(server:receive(1))
  show(server:receive(0))
end

cases["all"] = function()
  local client, server = connected()
  client:send "some"
  server:settimeout(0.01)
  show(server:receive "*a")
  server:settimeout(0)
  show(server:receive "*a")
  show(server:receive("*a", "some"))
  client:send "thing\nelse"
  client:close()
  server:settimeout(nil)
  show(server:receive("*a", "some"))
  show(server:receive "*a")
  show(server:receive("*a", "x"))
end

cases["large amounts"] = function()
  local client, server = connected()
  local data = ("0123456789abcdef"):rep(1 << 18)
  client:settimeout(0)
  local n, why, last = client:send(data)
  show(n, why, last > 0 and last < #data)
  local sent = last
  server:settimeout(0)
  local got = {}
  while sent < #data do
    local _, _, part = server:receive(#data)
    got[#got + 1] = part
    n, why, last = client:send(data, sent + 1)
    if not n then show(why == "timeout" or why) end
    sent = n or last
    if why == nil then break end
  end
  client:close()
  server:settimeout()
  show(sent == #data, table.concat(got) .. server:receive "*a" == data)
end

cases["a line without bounds"] = function()
  local client, server = connected()
  client:settimeout(0)
  server:settimeout(0)
  local data, at, line = ("x"):rep(3 << 20) .. "\nrest", 0, ""
  repeat
    local n, why, last = client:send(data, at + 1)
    at = n or last
    local whole, _, part = server:receive("*l", line)
    line = whole or part
  until whole or why == "closed"
  show(#line, line == data:match "^x*")
  show(server:receive "*a")
end

cases["parts of a string"] = function()
  local client, server = connected()
  local data = "0123456789"
  for _, range in ipairs { {}, { 1 }, { 3 }, { 3, 5 }, { -3 }, { -3, -2 },
      { 5, 3 }, { 0 }, { 20 }, { 1, 50 }, { 11 }, { 2, 0 }, { -50, 2 } } do
    show(range[1], range[2], client:send(data, range[1], range[2]))
  end
  show(client:send(42), client:send "")
  client:close()
  show(server:receive "*a")
  show(client:send(data, 3))
  show(client:receive())
end

cases["timeouts"] = function()
  local client = connected()
  show(client:gettimeout())
  show(client:settimeout(1), client:gettimeout())
  show(client:settimeout(2, "t"), client:gettimeout())
  show(client:settimeout(nil, "r"), client:gettimeout())
  show(client:settimeout(-1, "b"), client:gettimeout())
  raises(function() client:settimeout(1, "x") end)
  for _, mode in ipairs { "b", "t" } do
    client:settimeout(-1, "b")
    client:settimeout(-1, "t")
    client:settimeout(0.05, mode)
    local from = socket.gettime()
    show(client:receive())
    show(socket.gettime() - from >= 0.045)
  end
  local listener = socket.bind("127.0.0.1", 0)
  listener:settimeout(0.01)
  show(listener:accept())
  listener:settimeout(0, "t")
  show(listener:accept())
end

cases["closed"] = function()
  local client, server, listener = connected()
  server:close()
  listener:close()
  show(client:receive())
  show(listener:accept())
  show(server:send "x")
  show(server:receive())
  show(server:getsockname())
  show(server:getpeername())
  show(server:setoption("keepalive", true))
  show(server:getoption "keepalive")
  show(server:getfd(), server:dirty())
  show(server:shutdown())
  show(socket.connect("127.0.0.1", UNUSED))
  local other = socket.tcp()
  show(other:connect("127.0.0.1", UNUSED), other)
  show(other:close())
  show(socket.tcp():listen())
end

cases["a connection that is reset"] = function()
  local client, server = connected()
  client:setoption("linger", { on = true, timeout = 0 })
  client:close()
  show(server:receive "*a")
  show(server:send "x")
end

cases["shutdown"] = function()
  local client, server = connected()
  show(client:shutdown "send")
  show(server:receive())
  server:send "still\n"
  show(client:receive())
  show(client:send "x")
  show(client:shutdown "receive", client:shutdown "both", client:shutdown())
  raises(function() client:shutdown "nothing" end)
end

cases["addresses"] = function()
  local client, server, listener, port = connected()
  local function named(ip, p, family)
    show(ip, math.tointeger(p) == port, family)
  end
  named(client:getpeername())
  named(server:getsockname())
  named(listener:getsockname())
  show(listener:getpeername())
  local master = socket.tcp()
  show(master:getsockname())
  show(master:bind("*", 0))
  show((master:getsockname()))
  show(master:listen())
  local six = socket.tcp6()
  show(six:getfamily())
  local bound = socket.tcp4()
  show(bound:bind("127.0.0.1", port))
  show(bound:bind("127.0.0.1", "0"))
  show(bound:connect("127.0.0.1", port))
  show(socket.connect("127.0.0.1", port, "127.0.0.1"))
  show(socket.connect("127.0.0.1", port, "127.0.0.1", 0))
  show(socket.connect4("127.0.0.1", port))
  show(socket.tcp6():connect("127.0.0.1", port))
  show(socket.bind("127.0.0.1", port))
  show(socket.bind("no-such-host.invalid", 0))
end

cases["connecting without a wait"] = function()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local port = port_of(listener)
  local c = socket.tcp()
  c:settimeout(0)
  local ok, why = c:connect("127.0.0.1", port)
  show(ok == 1 or why == "timeout", tostring(c):match "^%S+")
  local _, writable = socket.select({}, { c }, 5)
  show(writable[1] == c)
  show(c:getpeername() ~= nil, assert(listener:accept()))
  show(c:send "x")
  c:connect("127.0.0.1", port)      -- (the first time it may say 1)
  show(c:connect("127.0.0.1", port))
  local d = socket.tcp()
  d:settimeout(0)
  ok, why = d:connect("127.0.0.1", UNUSED)
  if why == "timeout" then          -- (where it is not told at once)
    socket.select({ d }, { d }, 5)
    ok, why = d:receive()
  end
  show(ok, why)
end

cases["options of tcp"] = function()
  local client = connected()
  for _, name in ipairs { "keepalive", "reuseaddr", "reuseport",
      "tcp-nodelay" } do
    show(name, client:getoption(name), client:setoption(name, true),
      client:getoption(name), client:setoption(name, false),
      client:getoption(name))
  end
  for name, value in pairs { ["tcp-keepidle"] = 100, ["tcp-keepcnt"] = 5,
      ["tcp-keepintvl"] = 7 } do
    show(client:setoption(name, value), client:getoption(name) == value)
  end
  show(client:setoption("linger", { on = true, timeout = 3 }))
  show(client:getoption "linger")
  show(client:getoption "error")
  show(client:setoption("recv-buffer-size", 20000))
  show(client:getoption "recv-buffer-size")
  show(client:setoption("send-buffer-size", 20000))
  show(client:getoption "send-buffer-size")
  show(socket.tcp():setoption("keepalive", true))
  raises(function() client:setoption("keepalive", 1) end)
  raises(function() client:setoption("nothing", 1) end)
  raises(function() client:getoption "nothing" end)
  raises(function() client:setoption("linger", {}) end)
  raises(function() client:setoption("linger", { on = true }) end)
end

cases["options of udp"] = function()
  local udp = socket.udp4()
  for _, name in ipairs { "dontroute", "broadcast", "reuseaddr",
      "reuseport", "ip-multicast-loop" } do
    show(name, udp:setoption(name, true), udp:getoption(name),
      udp:setoption(name, false), udp:getoption(name))
  end
  show(udp:setoption("ip-multicast-if", "127.0.0.1"))
  show(udp:getoption "ip-multicast-if")
  show(udp:setoption("ip-multicast-if", "*"))
  show(udp:getoption "ip-multicast-if")
  show(udp:setoption("ip-multicast-ttl", 3))
  show(udp:setoption("ip-add-membership", { multiaddr = "239.1.2.3",
    interface = "127.0.0.1" }))
  show(udp:setoption("ip-drop-membership", { multiaddr = "239.1.2.3",
    interface = "127.0.0.1" }))
  show(udp:setoption("ip-drop-membership", { multiaddr = "239.1.2.3",
    interface = "127.0.0.1" }))
  raises(function()
    udp:setoption("ip-add-membership", { multiaddr = "no", interface = "*" })
  end)
  raises(function() udp:setoption("ip-add-membership", {}) end)
  raises(function() udp:setoption("ip-multicast-if", "no") end)
  raises(function() udp:getoption "tcp-nodelay" end)
end

cases["datagrams"] = function()
  local a, b = socket.udp(), socket.udp()
  show(a:setsockname("127.0.0.1", 0))
  local ip, port = "127.0.0.1", port_of(a)
  show((a:getsockname()), a:getfamily())
  show(b:setpeername(ip, port), b)
  show((b:getpeername()), select(3, b:getpeername()))
  show(b:send "one", b:send "", b:send(("x"):rep(9000)))
  show(a:receive())
  local data, from, number = a:receivefrom()
  local own = port_of(b)
  show(data, from, number == own, math.type(number))
  show(#a:receive())
  show(b:send "a long one", a:receive(6))
  show(b:send "x", a:receive(20000))
  show(a:sendto("back", "127.0.0.1", own), b:receive())
  show(a:sendto("back", "127.0.0.1", tostring(own)), b:receive())
  show(a:sendto("x", "localhost", own))
  a:settimeout(0.01)
  show(a:receive())
  show(a:receivefrom())
  show(b:setpeername "*", b)
  show(b:sendto("two", ip, port), a:receive())
  show(a:dirty(), a:close(), a:getfd())
  raises(function() b:send "x" end)
  raises(function() b:getpeername() end)
  show(b:setpeername(ip, port))
  raises(function() b:sendto("x", ip, port) end)
  raises(function() b:receivefrom() end)
  show(b:setpeername(ip, UNUSED), b:send "not taken")
  b:settimeout(5)
  show(b:receive())
  show(socket._DATAGRAMSIZE)
end

cases["wrong objects and arguments"] = function()
  local client, server, listener = connected()
  local master = socket.tcp()
  raises(function() master:send "x" end)
  raises(function() master:receive() end)
  raises(function() master:accept() end)
  raises(function() client:accept() end)
  raises(function() client:listen() end)
  raises(function() client:bind("*", 0) end)
  raises(function() listener:send "x" end)
  raises(function() listener:getstats() end)
  raises(function() server:receive "nothing" end)
  raises(function() server:receive "l" end)
  raises(function() server:receive(-1) end)
  raises(function() client:connect(nil, 1) end)
  show(pcall(function() client:send(nil) end))
end

cases["select"] = function()
  local client, server, listener, port = connected()
  local function told(r, w, why)
    for _, set in ipairs { r, w } do
      for i, s in ipairs(set) do
        if set[s] ~= i then show "no key" end
      end
    end
    local function is(set, s) return set[s] ~= nil end
    show(#r, #w, why, is(r, client), is(r, server), is(r, listener),
      is(w, client), is(w, server))
  end
  told(socket.select({ client, server, listener }, nil, 0))
  told(socket.select({ client, server, listener }, {}, 0.01))
  told(socket.select({ client }, { client, server }, 5))
  told(socket.select(nil, nil, 0.01))
  server:send "one\ntwo\n"
  told(socket.select({ client, server, listener }, nil, 5))
  show(client:receive(), client:dirty())
  told(socket.select({ client, server }, nil))
  show(client:receive())
  told(socket.select({ client }, nil, 0))
  local other = socket.connect("127.0.0.1", port)
  server:close()
  told(socket.select({ client, listener }, nil, 5))
  show(client:receive())
  show(listener:accept())
  client:close()
  told(socket.select({ client }, nil, 0.01))
  local source = socket.source("until-closed", other)
  other:settimeout(0)
  told(socket.select({ source, { getfd = function() return -1 end }, {} },
    { other }, 0.01))
end

cases["statistics"] = function()
  local client, server = connected()
  client:send "0123\r\n45"
  server:receive()
  server:receive(1)
  local got, sent, age = server:getstats()
  show(got, sent, age >= 0 and age < 60)
  show((select(2, client:getstats())))
  show(server:setstats(1, 2, 1000), server:getstats() == 1)
  got, sent, age = server:getstats()
  show(got, sent, age >= 1000 and age < 1060)
end

cases["exceptions"] = function()
  local finalized = 0
  local try = socket.newtry(function() finalized = finalized + 1 end)
  local f = socket.protect(function(...)
    return "fine", try(...)
  end)
  show(f(1, 2, nil), finalized)
  show(f(nil, "failed", 3), finalized)
  show(f(false, "failed"), finalized)
  show(f(), finalized)
  raises(socket.protect(error), "other", 0)
  show(pcall(socket.protect(error), 42))
  show(socket.protect(function() return socket.try(nil, { 1 }) end)())
  local nested = socket.protect(function()
    return "outer", socket.protect(function() socket.try(nil, "in") end)()
  end)
  show(nested())
  show(socket.skip(0, 1, 2), socket.skip(2, 1, 2, 3, 4), socket.skip(5, 1))
  show(pcall(socket.try, nil, "x") == false)
  local co = coroutine.wrap(socket.protect(function(a)
    local b = coroutine.yield(a + 1)
    return socket.try(nil, b)
  end))
  show(co(1))
  show(co "over a yield")
end

cases["sources and sinks"] = function()
  local found, ltn12 = pcall(require, "ltn12")
  if not found then return end  -- (it comes with LuaSocket)
  local client, server = connected()
  show(ltn12.pump.all(ltn12.source.string(("x"):rep(5000) .. "end"),
    socket.sink("keep-open", client)))
  local into, chunks = ltn12.sink.table()
  show(ltn12.pump.all(socket.source("by-length", server, 5001), into))
  for _, chunk in ipairs(chunks) do show(#chunk) end
  show(ltn12.pump.all(ltn12.source.string "more",
    socket.sink("close-when-done", client)))
  into, chunks = ltn12.sink.table()
  show(ltn12.pump.all(socket.source(server), into))
  for _, chunk in ipairs(chunks) do show(chunk) end
  show(client:send "x")
  raises(socket.sink, "nothing", client)
  show(socket.BLOCKSIZE)
  local choose = socket.choose { default = function(a, b) return a, b end }
  show(choose("default", 1, 2))
  show(choose(1, 2))
end

cases["names"] = function()
  show(socket.dns.toip "localhost")
  show(socket.dns.toip "no-such-host.invalid")
  show(socket.dns.tohostname "no-such-host.invalid")
  show(socket.dns.toip "127.0.0.1")
  show(socket.dns.tohostname "127.0.0.1")
  show(socket.dns.getaddrinfo "127.0.0.1")
  show(socket.dns.getaddrinfo "::1")
  show(socket.dns.getaddrinfo "no-such-host.invalid")
  show(socket.dns.getnameinfo "127.0.0.1")
  show(socket.dns.getnameinfo("127.0.0.1", "80"))
  show(socket.dns.gethostname())
  raises(socket.dns.toip, nil)
  show(socket.connect("no-such-host.invalid", 80))
end

cases["time"] = function()
  local from = socket.gettime()
  show(math.abs(from - os.time()) < 60, socket.sleep(0.02))
  show(socket.gettime() - from >= 0.019)
  socket.sleep(-1)
  raises(socket.sleep, nil)
end

cases["the module"] = function()
  for _, name in ipairs { "_VERSION", "_SOCKETINVALID", "sourcet", "sinkt" } do
    show(name, type(socket[name]))
  end
  show(socket._VERSION:match "^LuaSocket 3")
end

local function all()
  local names = {}
  for name in pairs(cases) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    print(name)
    cases[name]()
  end
end

if arg[1] == "uring" then
  socket = require "uring.compat.socket".install()
  require "uring".run(all)
else
  socket = require "socket"
  all()
end
