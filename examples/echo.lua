-- An echo server over TCP and UDP: it sends everything back to its sender.
--
--     tools/env.sh plain lua5.4 examples/echo.lua [ADDRESS...]
--     socat - TCP:127.0.0.1:7777
--
-- An ADDRESS is 127.0.0.1:7777, [::1]:7777; port 0 is a free one. The
-- addresses that it listens on are printed, one a line.
--
-- Every connection is a task that waits with a multishot receive: one request
-- to the kernel brings everything that the peer sends, into buffers that all
-- connections share. A task costs little more than a coroutine, so there may
-- be thousands.

local uring = require "uring"

-- One connection. Its peer may end it in any way, at any moment. Errors are
-- caught here, so that they do not end the other connections.
local function talk(accepted, peer)
  local conn <close> = accepted
  local ok, why = pcall(function()
    for data in conn:chunks() do
      assert(conn:send(data))
    end
  end)
  if not ok then
    io.stderr:write(tostring(peer), ": ", tostring(why), "\n")
  end
end

local function tcp(listener)
  for conn, peer in listener:connections() do
    uring.spawn(talk, conn, peer)
  end
end

-- Several tasks run this for one socket, so that the answers to a burst are
-- submitted together, and an answer that has to wait delays no other.
local function udp(sock)
  for data, from in sock:messages() do
    sock:sendto(data, from)  -- (may be lost, as any datagram)
  end
end

local function main(...)
  for _, address in ipairs { ... } do
    local listener = assert(uring.tcp.listen(address))
    uring.spawn(tcp, listener)
    print("tcp " .. tostring(listener:getsockname()))
    local sock = assert(uring.udp.bind(address))
    for _ = 1, 16 do uring.spawn(udp, sock) end
    print("udp " .. tostring(sock:getsockname()))
  end
  io.stdout:flush()
end

local addresses = { table.unpack(arg) }
if not addresses[1] then addresses = { "127.0.0.1:7777", "[::1]:7777" } end
local ok, why = pcall(uring.run, main, table.unpack(addresses))
if not ok then
  io.stderr:write(tostring(why):match "^[^\n]*", "\n")
  os.exit(1)
end
