-- An echo server: what comes over TCP or UDP goes back to where it came from.
--
--     tools/env.sh plain lua5.4 examples/echo.lua [ADDRESS...]
--     socat - TCP:127.0.0.1:7777
--
-- An ADDRESS is 127.0.0.1:7777, [::1]:7777; port 0 is a free one. What it
-- listens on is printed, each on a line.
--
-- Every connection is a task, and each of them waits with a multishot receive:
-- one request to the kernel brings all that its peer sends, into buffers that
-- all connections share. A task costs little more than a coroutine, so there
-- may be thousands.

local uring = require "uring"

-- One connection. Its peer may end it in any way, at any moment: that is no
-- reason for the others to end, so errors stop here.
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

-- Several tasks do this for one socket, so that the answers to a burst go
-- together, and one that has to wait keeps no other.
local function udp(sock)
  for data, from in sock:messages() do
    sock:sendto(data, from)  -- one that cannot be sent is lost, as any may be
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
