-- What TLS costs (examples/tls.lua) beside plain TCP: both ends in this
-- process, over loopback; medians of rounds that alternate. "alone" is what
-- LuaSec and OpenSSL take for it, with a socketpair between their two ends and
-- no loop.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/tls.lua --markdown
--
-- Processor time, of both ends together.

local has_luasec, ssl = pcall(require, "ssl")
if not has_luasec or not os.execute "command -v openssl >/dev/null" then
  print "tls: not measured (it needs Debian's lua-sec and openssl)"
  return
end

local certificates = require "certificates"
local uring = require "uring"
local tls = dofile "examples/tls.lua"

local quick = os.getenv "BENCH_QUICK"
local ROUNDS <const> = quick and 1 or 7
local BYTES <const>, PIECE <const> = 8 << 20, 65536
local REQUESTS <const>, CONNECTIONS <const> = 1000, 100

local server = assert(tls.context {
  certificate = certificates.path "server.pem",
  key = certificates.path "server.key" })
local client = assert(tls.context { cafile = certificates.path "ca.pem" })
local block = ("x"):rep(PIECE)

-- What is done with two ends: { write(bytes), read(count) }.
local function transfer(a, b)
  for _ = 1, BYTES // PIECE do
    a.write(block)
    b.read(PIECE)
  end
end

local function request(a, b)
  b.write(("q"):rep(100))
  a.read(100)
  a.write(("a"):rep(100))
  b.read(100)
end

local function requests(a, b)
  for _ = 1, REQUESTS do request(a, b) end
end


-- ---- with the loop --------------------------------------------------------

local function ends_of(stream)
  return { close = function() stream:close() end,
    write = function(bytes) assert(stream:write(bytes)) end,
    read = function(n) assert(#stream:read(n) == n) end }
end

-- f(connect), where connect() gives the two ends of a connection.
local function with_loop(secure, f)
  local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
  return f(function()
    local there = assert(uring.tcp.connect(listener:getsockname()))
    local here = assert(listener:accept())
    if not secure then return ends_of(here), ends_of(there) end
    local task = uring.spawn(tls.server, here, server)
    there = assert(tls.client(there, client, "localhost"))
    return ends_of(assert(select(2, task:join()))), ends_of(there)
  end)
end


-- ---- alone ----------------------------------------------------------------

local function alone(f)
  return f(function()
    local ends, sessions = {}, {}
    local a, b = assert(uring.socketpair())
    for i, socket in ipairs { a, b } do
      sessions[i] = assert(ssl.wrap({ setfd = function() end,
        getfd = function() return socket:release() end },
        i == 1 and server or client))
      local session = sessions[i]
      session:settimeout(0)
      ends[i] = { close = function() session:close() end,
        write = function(bytes) assert(session:send(bytes)) end,
        read = function(n) assert(session:receive(n)) end }
    end
    repeat
      local theirs = sessions[2]:dohandshake()
      local ours = sessions[1]:dohandshake()
    until theirs and ours
    return ends[1], ends[2]
  end)
end


-- ---- measuring ------------------------------------------------------------

local WAYS <const> = {
  tcp = function(f) return with_loop(false, f) end,
  tls = function(f) return with_loop(true, f) end,
  alone = alone,
}

-- Seconds for each of `n`.
local function timed(n, work)
  return function(connect)
    local a, b = connect()
    local began = os.clock()
    work(a, b)
    local took = (os.clock() - began) / n
    b.close()
    a.close()
    return took
  end
end

local WORKS <const> = {
  { "8 MiB, ms", 1e3, timed(1, transfer) },
  { "request, us", 1e6, timed(REQUESTS, requests) },
  { "connection, us", 1e6, function(connect)
    local began = os.clock()
    for _ = 1, CONNECTIONS do
      local a, b = connect()
      request(a, b)
      b.close()
      a.close()
    end
    return (os.clock() - began) / CONNECTIONS
  end },
}

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local ORDER <const> = { "tcp", "alone", "tls" }
local markdown = arg[1] == "--markdown"
local row = markdown and "| %s | %s | %s | %s | %s |\n"
  or "%-16s %8s %8s %8s %10s\n"
io.write(row:format("processor time", "TCP", "alone", "TLS", "TLS / TCP"))
if markdown then io.write "|---|---|---|---|---|\n" end

local function measure(name, scale, work)
  local took = { tcp = {}, alone = {}, tls = {} }
  for round = 1, ROUNDS do
    for _, way in ipairs(ORDER) do took[way][round] = WAYS[way](work) end
  end
  local tcp, bare, ours = median(took.tcp), median(took.alone),
    median(took.tls)
  io.write(row:format(name, ("%.1f"):format(tcp * scale),
    ("%.1f"):format(bare * scale), ("%.1f"):format(ours * scale),
    ("%.1f"):format(ours / tcp)))
end

uring.run(function()
  local _ <close> = uring.signals "PIPE"  -- (LuaSec alone may raise it)
  for _, work in ipairs(WORKS) do measure(table.unpack(work)) end
end)
certificates.remove()
