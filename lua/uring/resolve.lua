-- resolve: uring.resolve, uring.eai, and the addresses of names where one
-- connects, listens or binds. csrc/os/resolve.c asks for them.
--
-- Invariant: of the sockets that `race` has opened one is returned, and all
-- others are closed, however it ends.

local public = require("uring.core").public
local scopes = require("uring.scope").public

local core <const> = require "uring.core"
local spawn_into <const> = core.spawn_into
local bad_argument <const> = require("uring.argument").bad_argument
local lookup <const>, check_timeout <const> =
  core.resolve_lookup, core.check_timeout
local error <const>, type <const>, tostring <const> = error, type, tostring
local pcall <const>, setmetatable <const> = pcall, setmetatable
local ipairs <const>, next <const> = ipairs, next
local tonumber <const>, tointeger <const> = tonumber, math.tointeger
local format <const>, match <const>, find <const> =
  string.format, string.match, string.find
local concat <const> = table.concat

-- How long an attempt to connect goes on before the next begins as well.
local ATTEMPT_DELAY <const> = 0.25  -- RFC 8305, section 5

local eai <const> = setmetatable({}, {
  __index = function(_, name)
    error(format("no code EAI_%s", tostring(name)), 2)
  end,
})
for name, number in next, core.resolve_codes() do eai[name] = number end


-- ---- resolve --------------------------------------------------------------

local function is_text(s)
  return type(s) == "string" and not find(s, "\0", 1, true)
end

local function check_host(host)
  if not is_text(host) then
    bad_argument(1, "resolve",
      "name of a host expected, without zero bytes")
  end
end

-- A service, as text. (getaddrinfo would take what is left of a number that is
-- too large.)
local function check_service(service)
  local digits = type(service) == "number"
    or is_text(service) and find(service, "^%s*[+-]?%d+$") ~= nil
  local port = digits and tointeger(tonumber(service))
  if port and port >= 0 and port <= 65535 then return format("%d", port) end
  if service ~= nil and (digits or not is_text(service)) then
    bad_argument(2, "resolve",
      "port from 0 to 65535, or the name of a service, expected")
  end
  return service
end

local function resolve(host, service, timeout)
  check_host(host)
  service = check_service(service)
  check_timeout(timeout, 3, "resolve")
  local addresses, message, errno = lookup(host, service, 0, timeout)
  if addresses then return addresses end
  if find(host, "^[^:]+:[%w_%-]+$") then
    message = message .. " (the service, or its port, is argument #2)"
  end
  return nil, message, errno
end


-- ---- "host:service" -------------------------------------------------------

-- The host and the service of this text; nil where no name can be meant, as in
-- "10.0.0.1:99999".
local function split(text)
  if type(text) ~= "string" then return nil end
  local host, service = match(text, "^%[([^%[%]%s\0]+)%]:([%w_%-]+)$")
  if not host then
    host, service = match(text, "^([^:%[%]%s\0/]+):([%w_%-]+)$")
  end
  if host == "*" or host and match(service, "^%d+$")
      and (#service > 5 or tonumber(service) > 65535) then
    return nil
  end
  return host, service
end

-- Their addresses, in the order in which they are tried.
local function addresses_of(text, kind)
  local host, service = split(text)
  return lookup(host, service, kind)
end

-- Families in turns, so that one that is out of order delays little; the first
-- stays the first. (RFC 8305, section 4)
local function interleaved(addresses)
  local first, other, mixed = {}, {}, {}
  for _, a in ipairs(addresses) do
    local list = a.family == addresses[1].family and first or other
    list[#list + 1] = a
  end
  for i = 1, #addresses do
    mixed[#mixed + 1] = first[i]
    mixed[#mixed + 1] = other[i]
  end
  return mixed
end

-- nil, message, errno: all of them failed.
local function all_failed(what, text, failures, errno)
  return nil, format("%s '%s': %s", what, text, concat(failures, "; ")), errno
end


-- ---- one after another ----------------------------------------------------

-- try(address) -> socket | nil, message, errno of the first that works.
local function first_of(what, text, addresses, try)
  local failures, code = {}, nil
  for i, address in ipairs(addresses) do
    local socket, message, errno = try(address)
    if socket then return socket end
    failures[i], code = message, errno
  end
  return all_failed(what, text, failures, code)
end


-- ---- side by side ---------------------------------------------------------

-- What was opened and not chosen is closed.
local Opened <const> = {}
Opened.__index = Opened

function Opened:__close()
  for _, socket in ipairs(self) do
    if socket ~= self.chosen then socket:close() end
  end
end

-- One attempt, as a task, which calls `ended` at its end.
local function attempt(address, try, opened, ended)
  local socket, message, errno = try(address)
  if socket then opened[#opened + 1] = socket end
  ended:send(socket or false, message, errno)
end

-- The first that was opened; or nil, the messages, and the last errno.
local function first_opened(scope, addresses, try, opened)
  local ended, running = public.channel(#addresses), {}
  local failures, code, begun = {}, nil, 0
  while #failures < #addresses do
    if begun < #addresses then
      begun = begun + 1
      running[begun] = spawn_into(scope, attempt, addresses[begun], try,
        opened, ended)
    end
    local socket, message, errno
    repeat
      socket, message, errno = ended:receive(begun < #addresses
        and ATTEMPT_DELAY or nil)
      if socket then
        for i = 1, begun do running[i]:cancel() end
        return socket
      end
      if socket == false then
        failures[#failures + 1], code = message, errno
      end
      -- (a failure begins the next at once; so does the end of the delay)
    until begun < #addresses or #failures == #addresses
  end
  return nil, failures, code
end

local function race(text, addresses, try)
  local opened <close> = setmetatable({}, Opened)
  local socket, failures, errno = scopes.scope(first_opened,
    interleaved(addresses), try, opened)
  if not socket then return all_failed("connect to", text, failures, errno) end
  opened.chosen = socket
  return socket
end


-- ---- what sockets need ----------------------------------------------------

-- connect(text, kind, try): a connection, by the addresses that the name has.
local function connect_now(text, kind, try)
  local addresses, message, code = addresses_of(text, kind)
  if not addresses then return nil, message, code end
  if #addresses == 1 or kind ~= public.SOCK_STREAM then
    return first_of("connect to", text, addresses, try)
  end
  return race(text, addresses, try)
end

local function connect(text, kind, try, timeout)
  if timeout == nil then return connect_now(text, kind, try) end
  return scopes.timeout(timeout, connect_now, text, kind, try)
end

-- bind(what, text, kind, try): the first address that can be had here.
local function bind(what, text, kind, try)
  local addresses, message, code = addresses_of(text, kind)
  if not addresses then return nil, message, code end
  return first_of(what, text, addresses, try)
end

return {
  public = { resolve = resolve, eai = eai },
  is_name = function(text)
    return split(text) ~= nil and not pcall(public.sockaddr, text)
  end,
  connect = connect, bind = bind,
}
