-- sockets_luv: the socket servers of the benchmarks with lua-luv.

local uv = require "luv"

local work = arg[1]
local BURST = 128

local function bound(handle)
  assert(handle:bind("127.0.0.1", 0))
  return handle
end

local function print_port(handle)
  print(assert(handle:getsockname()).port)
  io.stdout:flush()
end

local function udp()
  local socket = bound(uv.new_udp())
  print_port(socket)
  return socket
end

local function tcp(per_connection)
  local listener = bound(uv.new_tcp())
  assert(listener:listen(4096, function(err)
    assert(not err, err)
    local conn = uv.new_tcp()
    assert(listener:accept(conn))
    per_connection(conn)
  end))
  print_port(listener)
end

local works = {}

function works.udp_receive()
  local got, start = 0, nil
  local bytes = 0
  local socket = udp()
  assert(socket:recv_start(function(err, data, from)
    assert(not err, err)
    if not data then return end
    bytes = bytes + #data + (from and 1 or 0)
    got = got + 1
    if got == BURST then
      print((os.clock() - start) * 1e9)
      io.stdout:flush()
      got = 0
      io.read(1)
      start = os.clock()
    end
  end))
  io.read(1)
  start = os.clock()
end

function works.udp_echo()
  local socket = udp()
  assert(socket:recv_start(function(err, data, from)
    assert(not err, err)
    if data then socket:try_send(data, from.ip, from.port) end
  end))
end

function works.tcp_echo()
  tcp(function(conn)
    conn:read_start(function(err, data)
      if err or not data then conn:close()
      else conn:write(data) end
    end)
  end)
end

function works.accept()
  tcp(function(conn)
    assert(conn:getpeername())
    conn:close()
  end)
end

function works.receive_stream()
  tcp(function(conn)
    local bytes = 0
    conn:read_start(function(err, data)
      if err or not data then conn:close()
      else bytes = bytes + #data end
    end)
  end)
end

function works.send(size)
  local bytes = ("x"):rep(size)
  tcp(function(conn)
    local function more(err)
      if err then conn:close() else conn:write(bytes, more) end
    end
    more()
  end)
end

local size, unit = work:match "^send_(%d+)([km])$"
if size then works.send(size * (unit == "k" and 1024 or 1024 * 1024))
else works[work:match "^udp_echo" or work:match "^tcp_echo" or work]() end
uv.run()
