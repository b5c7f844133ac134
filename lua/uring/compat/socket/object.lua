-- object: what the objects of LuaSocket's interface have in common, of TCP and
-- of UDP: classes, arguments, timeouts, errors, and a socket of uring's, which
-- there may not be yet, or not any more.
--
-- The fields of an object:
--
--   socket          the uring.Socket, or nil
--   family          "inet", "inet6" or "unspec"
--   block, total    seconds, by settimeout; negative: no limit
--   born, received, sent    of getstats: when on uring.now(), bytes
--
-- Invariant: a socket that is replaced is closed.

local uring = require "uring"
local argument = require "uring.compat.socket.argument"
local names = require "uring.compat.socket.names"
local options = require "uring.compat.socket.options"

local core <const> = require "uring.core"
local raise_at_caller <const> = core.raise_at_caller
local bad <const>, string_of <const>, number_of <const>, integer_of <const> =
  argument.bad, argument.string_of, argument.number_of, argument.integer_of
local now <const> = uring.now
local reason <const> = names.reason
local error <const>, pcall <const> = error, pcall
local ipairs <const>, next <const> = ipairs, next
local setmetatable <const>, getmetatable <const> = setmetatable, getmetatable
local format <const>, sub <const> = string.format, string.sub
local min <const>, huge <const> = math.min, math.huge

local BAD_DESCRIPTOR <const> = core.error_text(uring.errno.EBADF)
local MODES <const> = { b = "block", r = "total", t = "total" }
local NUMBERS <const> = { inet = uring.AF_INET, inet6 = uring.AF_INET6 }


-- ---- classes --------------------------------------------------------------

-- A class as LuaSocket's are: its name in its methods and in tostring.
local function class(name)
  local meta = { __index = { class = name }, __name = name }
  function meta:__tostring() return format("%s: %p", name, self) end
  return meta
end

-- Some classes: group("tcp{any}", Master, Client, Server).
local function group(name, ...)
  local of = { name = name, ... }
  for _, meta in ipairs(of) do of[meta] = true end
  return of
end

-- Each class has all methods, and they check of which class their object is.
local function give(methods, of)
  for _, meta in ipairs(of) do
    for name, f in next, methods do meta.__index[name] = f end
  end
end

local function check(self, of, method)
  if not of[getmetatable(self)] then
    raise_at_caller(format("calling '%s' on bad self (%s expected)", method,
      of.name))
  end
end


-- ---- timeouts -------------------------------------------------------------

-- How long a call may wait; nil: as long as it takes.
local function limit(self)
  local block, total = self.block, self.total
  if block < 0 then block = total
  elseif total >= 0 then block = min(block, total) end
  return block >= 0 and block < huge and block or nil
end


-- ---- sockets --------------------------------------------------------------

-- (a socket of a stream has a limit for lines)
local function adopt(self, socket, kind)
  if kind == uring.SOCK_STREAM then socket:limit(huge) end
  self.socket = socket
end

local function drop(self)
  local socket = self.socket
  self.socket = nil
  if socket then socket:close() end
end

-- Give it a new socket: nothing; or what was wrong.
local function create(self, family, kind)
  drop(self)
  local socket, _, errno = uring.socket(NUMBERS[family], kind)
  if not socket then return reason(errno) end
  if family == "inet6" then socket:setsockopt("IPV6_V6ONLY", true) end
  adopt(self, socket, kind)
end

-- For the addresses of a name, until one is good: use(socket, address) -> true
-- | nil, message, errno, and for a failure that is the last, true. Nothing; or
-- what was wrong.
local function try_addresses(self, kind, host, port, use)
  local addresses, why = names.lookup(host, port, self.family, kind)
  if not addresses then return why end
  local current = self.family
  for _, address in ipairs(addresses) do
    local family = names.family(address)
    why = nil
    if family ~= current or not self.socket then
      why = create(self, family, kind)
      if not why then current = family end
    end
    if not why then
      local socket = self.socket
      local ok, _, errno, last = use(socket, address)
      if ok or last or self.socket ~= socket then  -- (it was closed)
        self.family = current
        return not ok and reason(errno) or nil
      end
      why = reason(errno)
    end
  end
  return why
end

local function connect(self, kind, host, port)
  return try_addresses(self, kind, host, port, function(socket, address)
    local ok, message, errno = socket:connect(address, limit(self))
    return ok, message, errno, self.block == 0
  end)
end

local function bind(self, kind, host, port)
  if host == "*" then host = self.family == "inet6" and "::" or "0.0.0.0" end
  return try_addresses(self, kind, host, port, function(socket, address)
    return socket:bind(address)
  end)
end

-- (what LuaSocket gives where there is nothing else to say)
local function done(why)
  if why then return nil, why end
  return 1
end

-- An object without a socket.
local function new(meta, family)
  return setmetatable({ family = family, block = -1, total = -1,
    born = now(), received = 0, sent = 0 }, meta)
end

-- One that has a socket at once, of a family; or nil and what was wrong.
local function new_of(meta, kind, family)
  local self = new(meta, family)
  local why = create(self, family, kind)
  if why then return nil, why end
  return self
end

-- A socket of this descriptor, which stays the caller's where that fails.
local function own(number, kind)
  local fd, why = uring.fd(number)
  if not fd then raise_at_caller(why) end
  local ok, socket, message = pcall(uring.socket, fd)
  if ok and socket then
    if socket:getsockopt "SO_TYPE" == kind then return socket end
    socket:release()
    raise_at_caller(format("socket: descriptor %d is one of another type",
      number))
  end
  fd:release()
  if not ok then error(socket, 0) end
  return raise_at_caller(message)
end


-- ---- the methods of all ---------------------------------------------------

local function address_of(self, getname)
  local socket = self.socket
  if not socket then return nil, BAD_DESCRIPTOR end
  local address, _, errno = socket[getname](socket)
  if not address then return nil, reason(errno) end
  return address.host, address.port, self.family
end

-- Add the methods for `any`, a group of classes of this kind of sockets, with
-- the options that they have.
local function common(methods, any, kind, named)
  function methods:close()
    check(self, any, "close")
    drop(self)
    return 1
  end

  function methods:settimeout(seconds, mode)
    check(self, any, "settimeout")
    seconds = number_of(seconds, 1, "settimeout", -1)
    mode = sub(string_of(mode or "b", 2, "settimeout"), 1, 1)
    self[MODES[mode] or bad(2, "settimeout", "invalid timeout mode")] = seconds
    return 1
  end

  function methods:gettimeout()
    check(self, any, "gettimeout")
    return self.block, self.total
  end

  function methods:getfamily()
    check(self, any, "getfamily")
    return self.family == "inet6" and "inet6" or "inet4"
  end

  function methods:getsockname()
    check(self, any, "getsockname")
    return address_of(self, "getsockname")
  end

  function methods:setoption(name, value)
    check(self, any, "setoption")
    return options.set(self.socket, named, name, value)
  end

  function methods:getoption(name)
    check(self, any, "getoption")
    return options.get(self.socket, named, name)
  end

  function methods:getfd()
    check(self, any, "getfd")
    return self.socket and self.socket:fileno() or -1
  end

  -- The descriptor that it had is the caller's from now on, and this one is
  -- not the caller's any more.
  function methods:setfd(number)
    check(self, any, "setfd")
    number = integer_of(number, 1, "setfd")
    local socket = self.socket
    if socket then
      local old, message = socket:release()
      if not old then raise_at_caller(message) end
    end
    self.socket = nil
    if number >= 0 then adopt(self, own(number, kind), kind) end
  end
end

return {
  class = class, group = group, give = give, check = check,
  limit = limit, adopt = adopt, drop = drop, create = create,
  connect = connect, bind = bind, new = new, new_of = new_of, done = done,
  address_of = address_of, common = common, BAD_DESCRIPTOR = BAD_DESCRIPTOR,
}
