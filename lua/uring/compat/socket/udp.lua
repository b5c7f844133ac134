-- udp: LuaSocket's udp{unconnected} and udp{connected}.

local uring = require "uring"
local argument = require "uring.compat.socket.argument"
local object = require "uring.compat.socket.object"
local names = require "uring.compat.socket.names"
local options = require "uring.compat.socket.options"

local socket_disconnect <const> = require("uring.core").socket_disconnect
local reason <const>, check <const> = names.reason, object.check
local limit <const>, done <const> = object.limit, object.done
local name_of <const>, string_of <const>, integer_of <const> =
  argument.name_of, argument.string_of, argument.integer_of
local setmetatable <const> = setmetatable
local min <const>, max <const> = math.min, math.max
local DATAGRAM <const> = uring.SOCK_DGRAM

local DATAGRAMSIZE <const> = 8192        -- of a receive that is not told
local MOST <const> = 65536
local NOT_A_NAME <const> = "Name or service not known"

local methods <const> = {}
local Unconnected <const> = object.class "udp{unconnected}"
local Connected <const> = object.class "udp{connected}"

local ANY <const> = object.group("udp{any}", Unconnected, Connected)
local UNCONNECTED <const> = object.group("udp{unconnected}", Unconnected)
local CONNECTED <const> = object.group("udp{connected}", Connected)

object.common(methods, ANY, DATAGRAM, options.udp)

function methods:setsockname(host, port)
  check(self, UNCONNECTED, "setsockname")
  host = name_of(host, 1, "setsockname")
  return done(object.bind(self, DATAGRAM, host,
    name_of(port, 2, "setsockname")))
end

function methods:setpeername(host, port)
  check(self, ANY, "setpeername")
  host = name_of(host, 1, "setpeername")
  if host == "*" then
    if self.socket then socket_disconnect(self.socket) end
    setmetatable(self, Unconnected)
    return 1
  end
  local why = object.connect(self, DATAGRAM, host,
    name_of(port, 2, "setpeername"))
  if why then return nil, why end
  setmetatable(self, Connected)
  return 1
end

function methods:getpeername()
  check(self, CONNECTED, "getpeername")
  return object.address_of(self, "getpeername")
end

-- A send's result: how many bytes; or nil and what was wrong.
local function sent(n, _, errno)
  if n then return n end
  return nil, reason(errno)
end

function methods:send(data)
  check(self, CONNECTED, "send")
  data = string_of(data, 1, "send")
  if not self.socket then return nil, "refused" end
  return sent(self.socket:send(data, limit(self)))
end

function methods:sendto(data, ip, port)
  check(self, UNCONNECTED, "sendto")
  data = string_of(data, 1, "sendto")
  ip = name_of(ip, 2, "sendto")
  port = integer_of(port, 3, "sendto")
  local address = names.numeric(ip, port)
  if not address then return nil, NOT_A_NAME end
  local family = names.family(address)
  if self.family == "unspec" then
    local why = object.create(self, family, DATAGRAM)
    if why then return nil, why end
    self.family = family
  elseif self.family ~= family then
    return nil, reason(uring.eai.ADDRFAMILY)
  end
  if not self.socket then return nil, "refused" end
  return sent(self.socket:sendto(data, address, limit(self)))
end

local function receive(self, size, method)
  size = max(integer_of(size, 1, method, DATAGRAMSIZE), 0)
  if not self.socket then return nil, "closed" end
  local data, from, errno = self.socket:recvfrom(min(max(size, 1), MOST),
    limit(self))
  if not data then return nil, reason(errno) end
  return size == 0 and "" or data, from
end

function methods:receive(size)
  check(self, ANY, "receive")
  local data, why = receive(self, size, "receive")
  if not data then return nil, why end
  return data
end

function methods:receivefrom(size)
  check(self, UNCONNECTED, "receivefrom")
  local data, from = receive(self, size, "receivefrom")
  if not data then return nil, from end
  return data, from.host, from.port
end

function methods:dirty()
  check(self, ANY, "dirty")
  return false
end

object.give(methods, ANY)

return {
  _DATAGRAMSIZE = DATAGRAMSIZE,
  udp = function() return object.new(Unconnected, "unspec") end,
  udp4 = function() return object.new_of(Unconnected, DATAGRAM, "inet") end,
  udp6 = function() return object.new_of(Unconnected, DATAGRAM, "inet6") end,
}
