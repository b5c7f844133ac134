-- Sockets of the usual kinds, made in one call.

local core = require("uring.core").public
local check_timeout <const> = require("uring.select").check_timeout

-- Closes its socket at the end of a block, unless that was taken out.
local guard = {
  __close = function(g) if g.socket then g.socket:close() end end
}

-- f(socket) -> true or the socket | nil, message, errno. Where it fails, in
-- whatever way, the socket is closed.
local function made(family, type, f)
  local socket, message, errno = core.socket(family, type)
  if not socket then return nil, message, errno end
  local g <close> = setmetatable({ socket = socket }, guard)
  local ok
  ok, message, errno = f(socket)
  if not ok then return nil, message, errno end
  g.socket = nil
  return socket
end


-- ---- arguments ------------------------------------------------------------

local INTERNET = { [core.AF_INET] = true, [core.AF_INET6] = true }
local UNIX = { [core.AF_UNIX] = true }

-- What is wrong with an address is told where the maker was called.
local function parsed(address, name, families)
  local ok, result = pcall(core.sockaddr, address)
  if ok and families[result.family] then return result end
  local words = tostring(result):match "%((.*)%)$"
  if ok then
    words = ("%s expected, got %s"):format(families == UNIX
      and "path of a unix socket" or "address of IPv4 or IPv6", result)
  end
  error(words and ("bad argument #1 to '%s' (%s)"):format(name, words)
    or result, 3)
end

-- A path may be given without "unix:".
local function full(path)
  if type(path) == "string" and path:sub(1, 5) ~= "unix:" then
    return "unix:" .. path
  end
  return path
end

local function check_backlog(n)
  if n ~= nil and (math.type(n) ~= "integer" or n < 0 or n > 0x7fffffff) then
    error("bad argument #2 to 'listen' (integer from 0 to 2147483647 "
      .. "expected)", 3)
  end
end


-- ---- makers ---------------------------------------------------------------

local function listening(address, backlog)
  return made(address.family, core.SOCK_STREAM, function(socket)
    if address.family ~= core.AF_UNIX then
      local ok, message, errno = socket:setsockopt("SO_REUSEADDR", true)
      if not ok then return nil, message, errno end
    end
    local ok, message, errno = socket:bind(address)
    if not ok then return nil, message, errno end
    return socket:listen(backlog)
  end)
end

local function connected(type, address, timeout)
  return made(address.family, type, function(socket)
    return socket:connect(address, timeout)
  end)
end

local function bound(address)
  return made(address.family, core.SOCK_DGRAM, function(socket)
    return socket:bind(address)
  end)
end

local tcp, udp, unix = {}, {}, {}

function tcp.listen(address, backlog)
  address = parsed(address, "listen", INTERNET)
  check_backlog(backlog)
  return listening(address, backlog)
end

function tcp.connect(address, timeout)
  address = parsed(address, "connect", INTERNET)
  check_timeout(timeout, 2, "connect")
  return connected(core.SOCK_STREAM, address, timeout)
end

function udp.bind(address)
  address = parsed(address, "bind", INTERNET)
  return bound(address)
end

function udp.connect(address)
  address = parsed(address, "connect", INTERNET)
  return connected(core.SOCK_DGRAM, address)
end

function unix.listen(path, backlog)
  local address = parsed(full(path), "listen", UNIX)
  check_backlog(backlog)
  return listening(address, backlog)
end

function unix.connect(path, timeout)
  local address = parsed(full(path), "connect", UNIX)
  check_timeout(timeout, 2, "connect")
  return connected(core.SOCK_STREAM, address, timeout)
end

function unix.bind(path)
  local address = parsed(full(path), "bind", UNIX)
  return bound(address)
end

return { public = { tcp = tcp, udp = udp, unix = unix } }
