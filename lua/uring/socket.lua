-- socket: uring.tcp, uring.udp and uring.unix: sockets that are made, and
-- bound or connected, in one call.
--
-- Invariant: a socket is returned, or closed before the call ends.

local public = require("uring.core").public
local names = require "uring.resolve"
local argument = require "uring.argument"
local check_timeout <const> = require("uring.core").check_timeout
local bad_argument <const>, raise_as <const>, check_integer <const> =
  argument.bad_argument, argument.raise_as, argument.check_integer
local pcall <const>, type <const> = pcall, type
local setmetatable <const> = setmetatable
local format <const>, sub <const> = string.format, string.sub

-- Closes `socket` at the end of a block, unless that is nil by then.
local guard = {
  __close = function(g) if g.socket then g.socket:close() end end
}

-- Make a socket and call f(socket) -> true or the socket | nil, message,
-- errno. If f fails or raises, the socket is closed. An error of the socket
-- itself names what it was for: `op` and the address.
local function make(op, address, kind, f)
  local socket, message, errno = public.socket(address.family, kind)
  if not socket then
    return nil, format("%s %s: %s", op, address, message), errno
  end
  local g <close> = setmetatable({ socket = socket }, guard)
  local ok
  ok, message, errno = f(socket)
  if not ok then return nil, message, errno end
  g.socket = nil
  return socket
end


-- ---- arguments ------------------------------------------------------------

local INTERNET = { [public.AF_INET] = true, [public.AF_INET6] = true }
local UNIX = { [public.AF_UNIX] = true }

-- An address, or an error at the position where the maker was called.
local function check_address(address, name, families)
  local ok, result = pcall(public.sockaddr, address)
  if ok and families[result.family] then return result end
  if not ok then raise_as(name, 0, result) end
  bad_argument(1, name, families == UNIX
    and "path of a unix socket expected, got %s"
    or "address of IPv4 or IPv6 expected, got %s: uring.unix is for paths",
    result)
end

-- The same, but the name of a host stays the text that it is.
local function check_name(address, name)
  if names.is_name(address) then return address end
  return check_address(address, name, INTERNET)
end

-- A path, with or without "unix:", as an address.
local function unix_address(path)
  if type(path) == "string" and sub(path, 1, 5) ~= "unix:" then
    return "unix:" .. path
  end
  return path
end

local function check_backlog(n)
  if n ~= nil then check_integer(n, 2, "listen", 0, 0x7fffffff) end
end


-- ---- makers ---------------------------------------------------------------

local function make_listening(address, backlog)
  return make("listen at", address, public.SOCK_STREAM, function(socket)
    if address.family ~= public.AF_UNIX then
      local ok, message, errno = socket:setsockopt("SO_REUSEADDR", true)
      if not ok then return nil, message, errno end
    end
    local ok, message, errno = socket:bind(address)
    if not ok then return nil, message, errno end
    return socket:listen(backlog)
  end)
end

local function make_connected(kind, address, timeout)
  if type(address) == "string" then
    return names.connect(address, kind, function(found)
      return make_connected(kind, found)
    end, timeout)
  end
  return make("connect to", address, kind, function(socket)
    return socket:connect(address, timeout)
  end)
end

local function make_bound(address)
  return make("bind to", address, public.SOCK_DGRAM, function(socket)
    return socket:bind(address)
  end)
end

local tcp, udp, unix = {}, {}, {}

function tcp.listen(address, backlog)
  address = check_name(address, "listen")
  check_backlog(backlog)
  if type(address) == "string" then
    return names.bind("listen at", address, public.SOCK_STREAM, function(found)
      return make_listening(found, backlog)
    end)
  end
  return make_listening(address, backlog)
end

function tcp.connect(address, timeout)
  address = check_name(address, "connect")
  check_timeout(timeout, 2, "connect")
  return make_connected(public.SOCK_STREAM, address, timeout)
end

function udp.bind(address)
  address = check_name(address, "bind")
  if type(address) == "string" then
    return names.bind("bind to", address, public.SOCK_DGRAM, make_bound)
  end
  return make_bound(address)
end

function udp.connect(address, timeout)
  address = check_name(address, "connect")
  check_timeout(timeout, 2, "connect")
  return make_connected(public.SOCK_DGRAM, address, timeout)
end

function unix.listen(path, backlog)
  local address = check_address(unix_address(path), "listen", UNIX)
  check_backlog(backlog)
  return make_listening(address, backlog)
end

function unix.connect(path, timeout)
  local address = check_address(unix_address(path), "connect", UNIX)
  check_timeout(timeout, 2, "connect")
  return make_connected(public.SOCK_STREAM, address, timeout)
end

function unix.bind(path)
  return make_bound(check_address(unix_address(path), "bind", UNIX))
end

return { public = { tcp = tcp, udp = udp, unix = unix } }
