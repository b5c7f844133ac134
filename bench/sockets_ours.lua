-- sockets_ours: the socket servers of the benchmarks with the library. load.c
-- describes such a server; WORK is the argument.

local uring = require "uring"

local work = arg[1]
local BURST = 128

local function serve(socket)
  print(assert(socket:getsockname()).port)
  io.stdout:flush()
  return socket
end

local function udp() return serve(assert(uring.udp.bind "127.0.0.1:0")) end

local function tcp(per_connection)
  for conn in serve(assert(uring.tcp.listen("127.0.0.1:0", 4096)))
      :connections() do
    per_connection(conn)
  end
end

local works = {}

function works.udp_receive()
  local got, bytes = 0, 0
  local socket = udp()
  io.read(1)
  local start = os.clock()
  for data, from in socket:messages { size = 2048 } do
    bytes = bytes + #data + (from and 1 or 0)
    got = got + 1
    if got == BURST then
      print((os.clock() - start) * 1e9)
      io.stdout:flush()
      got = 0
      io.read(1)
      start = os.clock()
    end
  end
end

-- Several tasks, so that the answers to a burst are submitted together.
function works.udp_echo()
  local socket = udp()
  local function answer()
    for data, from in socket:messages { size = 2048 } do
      socket:sendto(data, from)
    end
  end
  for _ = 1, 32 do uring.spawn(answer) end
end

local function echo(conn)
  for data in conn:chunks { size = 2048 } do conn:send(data) end
  conn:close()
end

function works.tcp_echo()
  tcp(function(conn) uring.spawn(echo, conn) end)
end

function works.accept()
  tcp(function(conn) conn:close() end)
end

function works.receive_stream()
  tcp(function(conn)
    local bytes = 0
    for data in conn:chunks() do bytes = bytes + #data end
  end)
end

function works.send(size)
  local bytes = uring.buffer(("x"):rep(size))
  tcp(function(conn) while conn:send(bytes) do end end)
end

-- (Over loopback the kernel copies, and reports it: then later sends copy.)
local function sends_without_copy(size)
  local bytes = uring.buffer(("x"):rep(size))
  tcp(function(conn)
    assert(conn:setsockopt("SO_ZEROCOPY", true))
    while conn:send(bytes) do end
  end)
end

local function string_sends(size)
  local bytes = ("x"):rep(size)
  tcp(function(conn) while conn:send(bytes) do end end)
end

uring.run(function()
  local size, unit, how = work:match "^send_(%d+)([km])(.*)$"
  if size then
    size = size * (unit == "k" and 1024 or 1024 * 1024)
    local send = how == "_string" and string_sends
      or how == "_zc" and sends_without_copy or works.send
    return send(size)
  end
  return works[work:match "^udp_echo" or work:match "^tcp_echo" or work]()
end)
