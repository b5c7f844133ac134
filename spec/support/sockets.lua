-- Sockets for specs, each a uring.fd that is closed after the test.
--
--     local sockets = require "sockets"
--     after_each(sockets.close)
--
--     local a, b = sockets.pair(uring.SOCK_STREAM)
--     local server, address = sockets.udp()

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local sockets = {}
local open = {}

-- Own a number until the end of the test.
function sockets.keep(number)
  local fd = uring.fd(number)
  open[#open + 1] = fd
  return fd
end

-- For after_each: closes them all.
function sockets.close()
  for i = #open, 1, -1 do
    open[i]:close()
    open[i] = nil
  end
end

-- For after_each, where there are rings by hand too.
function sockets.after()
  hand.close()
  sockets.close()
end

-- Two ends of a unix socket.
function sockets.pair(type)
  local a, b = spec.socketpair(type or uring.SOCK_STREAM)
  return sockets.keep(a), sockets.keep(b)
end

-- Bound to a free port; skips the test where there is no IPv6.
local function bound(host, type)
  local fd, port, errno = spec.socket(host, type)
  if not fd then
    if host == "::1" then helper.skip("no IPv6 here: %s", port) end
    error(("%s (errno %s)"):format(port, errno), 3)
  end
  return sockets.keep(fd), uring.sockaddr(host, port)
end

-- A UDP socket, and its address.
function sockets.udp(host)
  return bound(host or "127.0.0.1", uring.SOCK_DGRAM)
end

-- A TCP listener, and its address.
function sockets.listener(host)
  return bound(host or "127.0.0.1", uring.SOCK_STREAM)
end

-- A datagram socket, and one to send to it from: to, address, from, source.
function sockets.udp_pair(host)
  local to, address = sockets.udp(host)
  local from, source = sockets.udp(host)
  return to, address, from, source
end

-- setsockopt with an integer.
function sockets.set(fd, level, name, value)
  assert(spec.setsockopt(fd:fileno(), level, name, value))
end

-- A stream that is connected to this address, by a ring driven by hand.
function sockets.client(ring, address)
  local fd = sockets.keep((hand.one(ring, uring.sqe():prep_socket(
    address.family, uring.SOCK_STREAM))))
  assert(hand.one(ring, uring.sqe():prep_connect(fd, address)) == 0)
  return fd
end

-- Two connected TCP sockets. Given the size of the second's receive buffer,
-- segments are small beside it, so that its window opens without a timer.
function sockets.connection(ring, room)
  local listener, address = sockets.listener()
  if room then
    sockets.set(listener, uring.SOL_SOCKET, uring.SO_RCVBUF, room)
    sockets.set(listener, uring.IPPROTO_TCP, uring.TCP_MAXSEG, 1000)
  end
  local a = sockets.client(ring, address)
  return a, sockets.keep((hand.one(ring, uring.sqe():prep_accept(listener))))
end

-- Sends a message with these options of uring.msghdr: the result.
function sockets.sendmsg(ring, fd, options, flags)
  return (hand.one(ring, uring.sqe():prep_sendmsg(fd, uring.msghdr(options),
    flags)))
end

-- Receives a message into this uring.msghdr: the result.
function sockets.recvmsg(ring, fd, msg, flags)
  return (hand.one(ring, uring.sqe():prep_recvmsg(fd, msg, flags)))
end

-- Room for one message: its header and a buffer.
function sockets.room(size, namelen, controllen)
  local buffer = uring.buffer(size)
  return uring.msghdr { iov = { buffer }, namelen = namelen,
    controllen = controllen }, buffer
end

-- write(2) of all of it.
function sockets.write(fd, s)
  assert(spec.write(fd:fileno(), s))
end

-- read(2) of up to n bytes.
function sockets.read(fd, n)
  return spec.read(fd:fileno(), n)
end

return sockets
