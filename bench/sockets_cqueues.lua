-- sockets_cqueues: the socket servers of the benchmarks with lua-cqueues. Its
-- sockets do not report the sender of a datagram, so its UDP servers are given
-- the load's port.

local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local work = arg[1]
local BURST = 128

local loop = cqueues.new()

local function port_of(s)
  local _, _, port = s:localname()
  print(math.tointeger(port))
  io.stdout:flush()
  return s
end

local function tcp(per_connection)
  local listener = socket.listen { host = "127.0.0.1", port = 0 }
  assert(listener:listen())
  port_of(listener)
  loop:wrap(function()
    for conn in listener:clients() do
      loop:wrap(per_connection, conn)
    end
  end)
end

local function udp(f)
  local s = socket.connect { host = "127.0.0.1", port = tonumber(arg[2]),
    type = socket.SOCK_DGRAM }
  loop:wrap(function()
    assert(s:connect())
    s:setmode("bn", "bn")
    f(port_of(s))
  end)
end

local works = {}

function works.udp_receive()
  udp(function(s)
    local bytes = 0
    while true do
      io.read(1)
      local start = os.clock()
      for _ = 1, BURST do bytes = bytes + #s:xread(-2048) end
      print((os.clock() - start) * 1e9)
      io.stdout:flush()
    end
  end)
end

function works.udp_echo()
  udp(function(s)
    while true do s:xwrite(s:xread(-2048)) end
  end)
end

function works.tcp_echo()
  tcp(function(conn)
    conn:setmode("bn", "bn")
    while true do
      local data = conn:xread(-2048)
      if not data then break end
      conn:xwrite(data)
    end
    conn:close()
  end)
end

function works.accept()
  tcp(function(conn)
    conn:peername()
    conn:close()
  end)
end

function works.receive_stream()
  tcp(function(conn)
    local bytes = 0
    conn:setmode("bn", "bn")
    while true do
      local data = conn:xread(-16384)
      if not data then break end
      bytes = bytes + #data
    end
  end)
end

function works.send(size)
  local bytes = ("x"):rep(size)
  tcp(function(conn)
    conn:setmode("bn", "bn")
    while conn:xwrite(bytes) do end
  end)
end

local size, unit = work:match "^send_(%d+)([km])$"
if size then works.send(size * (unit == "k" and 1024 or 1024 * 1024))
else works[work:match "^udp_echo" or work:match "^tcp_echo" or work]() end
assert(loop:loop())
