-- Sockets of the usual kinds, made in one call.

local core = require "uring.core"

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

local parsed = core.sockaddr

local function of_unix(path)
  if type(path) == "string" and path:sub(1, 5) ~= "unix:" then
    path = "unix:" .. path
  end
  return core.sockaddr(path)
end

local function listening(address, backlog)
  address = parsed(address)
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
  address = parsed(address)
  return made(address.family, core.SOCK_DGRAM, function(socket)
    return socket:bind(address)
  end)
end

local tcp = {
  listen = listening,
  connect = function(address, timeout)
    return connected(core.SOCK_STREAM, parsed(address), timeout)
  end,
}

local udp = {
  bind = bound,
  connect = function(address)
    return connected(core.SOCK_DGRAM, parsed(address))
  end,
}

local unix = {
  listen = function(path, backlog)
    return listening(of_unix(path), backlog)
  end,
  connect = function(path, timeout)
    return connected(core.SOCK_STREAM, of_unix(path), timeout)
  end,
  bind = function(path) return bound(of_unix(path)) end,
}

return { tcp = tcp, udp = udp, unix = unix }
