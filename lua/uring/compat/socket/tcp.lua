-- tcp: LuaSocket's tcp{master}, tcp{client} and tcp{server}.
--
-- What was received is kept by the uring.Socket, and nowhere else: so a call
-- that is cancelled loses nothing. One that is out of time takes what has come
-- and gives it as LuaSocket does, as its third result.

local uring = require "uring"
local argument = require "uring.compat.socket.argument"
local object = require "uring.compat.socket.object"
local names = require "uring.compat.socket.names"
local options = require "uring.compat.socket.options"

local reason <const>, check <const> = names.reason, object.check
local limit <const>, done <const> = object.limit, object.done
local bad <const>, name_of <const>, string_of <const> =
  argument.bad, argument.name_of, argument.string_of
local number_of <const>, integer_of <const> =
  argument.number_of, argument.integer_of
local now <const> = uring.now
local tonumber <const>, setmetatable <const> = tonumber, setmetatable
local getmetatable <const> = getmetatable
local find <const>, format <const>, gsub <const>, sub <const> =
  string.find, string.format, string.gsub, string.sub
local concat <const> = table.concat
local min <const>, max <const>, huge <const> = math.min, math.max, math.huge
local STREAM <const> = uring.SOCK_STREAM

local PIECE <const> = 65536
local MOST_QUEUED <const> = 0x7fffffff
local HOW <const> = { receive = "read", send = "write", both = "both" }

local methods <const> = {}
local Master <const> = object.class "tcp{master}"
local Client <const> = object.class "tcp{client}"
local Server <const> = object.class "tcp{server}"

local ANY <const> = object.group("tcp{any}", Master, Client, Server)
local MASTER <const> = object.group("tcp{master}", Master)
local CLIENT <const> = object.group("tcp{client}", Client)
local SERVER <const> = object.group("tcp{server}", Server)

object.common(methods, ANY, STREAM, options.tcp)


-- ---- to connect and to listen ---------------------------------------------

function methods:connect(host, port)
  check(self, ANY, "connect")
  host = name_of(host, 1, "connect")
  port = name_of(port, 2, "connect")
  local why = object.connect(self, STREAM, host, port)
  setmetatable(self, Client)  -- (the connection may still come about)
  return done(why)
end

function methods:bind(host, port)
  check(self, MASTER, "bind")
  host = name_of(host, 1, "bind")
  return done(object.bind(self, STREAM, host, name_of(port, 2, "bind")))
end

methods.setpeername, methods.setsockname = methods.connect, methods.bind

function methods:listen(backlog)
  check(self, MASTER, "listen")
  backlog = integer_of(backlog, 1, "listen", 32)
  if not self.socket then return nil, object.BAD_DESCRIPTOR end
  local ok, _, errno = self.socket:listen(min(max(backlog, 0), MOST_QUEUED))
  if not ok then return nil, reason(errno) end
  setmetatable(self, Server)
  return 1
end

function methods:accept()
  check(self, SERVER, "accept")
  if not self.socket then return nil, "closed" end
  local socket, _, errno = self.socket:accept(limit(self))
  if not socket then return nil, reason(errno) end
  local client = object.new(Client, self.family)
  object.adopt(client, socket, STREAM)
  return client
end

function methods:shutdown(how)
  check(self, CLIENT, "shutdown")
  how = string_of(how or "both", 1, "shutdown")
  local direction = HOW[how]
    or bad(1, "shutdown", format("invalid option '%s'", how))
  if self.socket then self.socket:shutdown(direction) end
  return 1
end

function methods:getpeername()
  check(self, ANY, "getpeername")
  return object.address_of(self, "getpeername")
end


-- ---- send and receive -----------------------------------------------------

function methods:send(data, i, j)
  check(self, CLIENT, "send")
  data = string_of(data, 1, "send")
  i = integer_of(i, 2, "send", 1)
  j = integer_of(j, 3, "send", -1)
  if i < 0 then i = #data + i + 1 end
  if j < 0 then j = #data + j + 1 end
  i, j = max(i, 1), min(j, #data)
  if i > j then return i - 1, nil, nil end
  if not self.socket then return nil, "closed", i - 1 end
  if i > 1 or j < #data then data = sub(data, i, j) end
  local n, _, errno, some = self.socket:send(data, limit(self))
  local sent = n or some or 0
  self.sent = self.sent + sent
  if n then return i - 1 + n, nil, nil end
  return nil, reason(errno), i - 1 + sent
end

-- What has come, up to `most` bytes or the end of a line, is taken.
local function take(socket, most, is_line)
  local pieces, n, ends = {}, 0, nil
  while n < most and not ends do
    local bytes = socket:try_receive(min(most - n, PIECE))
    if not bytes or bytes == "" then break end
    ends = is_line and find(bytes, "\n", 1, true)
    if ends then
      socket:unread(sub(bytes, ends + 1))
      bytes = sub(bytes, 1, ends)
    end
    n = n + #bytes
    pieces[#pieces + 1] = bytes
  end
  return concat(pieces)
end

-- The bytes of a read; and what was wrong, where that gave not all of them.
local function received(self, pattern, most)
  local socket = self.socket
  if not socket then return "", "closed" end
  local bytes, message, errno = socket:read(pattern, limit(self))
  local why
  if not bytes then
    why = message and reason(errno) or "closed"
    bytes = message and errno ~= uring.errno.EBADF
      and take(socket, most, pattern == "L") or ""
  end
  self.received = self.received + #bytes
  return bytes, why
end

-- (The end of a line is taken off first: gsub looks at each byte.)
local function receive_line(self)
  local bytes, why = received(self, "L", huge)
  if find(bytes, "\r\n", -2, true) then bytes, why = sub(bytes, 1, -3), nil
  elseif find(bytes, "\n", -1, true) then bytes, why = sub(bytes, 1, -2), nil
  else why = why or "closed" end
  if find(bytes, "\r", 1, true) then bytes = gsub(bytes, "\r", "") end
  return bytes, why
end

local function receive_all(self)
  local bytes, why = received(self, "a", huge)
  return bytes, why or bytes == "" and "closed" or nil
end

local function receive_count(self, n)
  local bytes, why = received(self, n, n)
  if #bytes < n then return bytes, why or "closed" end
  return bytes, n == 0 and why or nil
end

local PATTERNS <const> = { ["*l"] = receive_line, ["*a"] = receive_all }

local function bad_pattern()
  return bad(1, "receive", "invalid receive pattern")
end

function methods:receive(pattern, prefix)
  check(self, CLIENT, "receive")
  prefix = prefix == nil and "" or string_of(prefix, 2, "receive")
  local n = tonumber(pattern)
  local bytes, why
  if n then
    if not (n >= 0 and n < 2^53) then bad_pattern() end
    n = n // 1 | 0
    if prefix ~= "" and n <= #prefix then return prefix, nil, nil end
    bytes, why = receive_count(self, n - #prefix)
  else                                     -- ("*line" is "*l")
    local kind = sub(string_of(pattern or "*l", 1, "receive"), 1, 2)
    bytes, why = (PATTERNS[kind] or bad_pattern())(self)
  end
  if why then return nil, why, prefix .. bytes end
  return prefix .. bytes, nil, nil         -- (as LuaSocket does)
end

-- Is there something to receive that poll(2) may not know of?
function methods:dirty()
  check(self, ANY, "dirty")
  if getmetatable(self) ~= Client or not self.socket then return false end
  local byte = self.socket:try_receive(1)
  if not byte or byte == "" then return false end
  self.socket:unread(byte)
  return true
end

function methods:getstats()
  check(self, CLIENT, "getstats")
  return self.received, self.sent, now() - self.born
end

function methods:setstats(got, sent, age)
  check(self, CLIENT, "setstats")
  self.received = number_of(got, 1, "setstats", self.received)
  self.sent = number_of(sent, 2, "setstats", self.sent)
  if age ~= nil then self.born = now() - number_of(age, 3, "setstats") end
  return 1
end

object.give(methods, ANY)


-- ---- the functions of the module ------------------------------------------

-- Closes what is not connected, also where the task is cancelled.
local Guard <const> = {
  __close = function(guard)
    if guard.object then object.drop(guard.object) end
  end,
}

local FAMILIES <const> = { unspec = true, inet = true, inet6 = true }

local function connect(host, port, local_host, local_port, family)
  host, port = name_of(host, 1, "connect"), name_of(port, 2, "connect")
  family = string_of(family or "unspec", 5, "connect")
  if not FAMILIES[family] then
    bad(5, "connect", format("invalid option '%s'", family))
  end
  local self = object.new(Client, family)
  local guard <close> = setmetatable({ object = self }, Guard)
  local why = local_host ~= nil and object.bind(self, STREAM,
    name_of(local_host, 3, "connect"),
    name_of(local_port or "0", 4, "connect"))
  why = why or object.connect(self, STREAM, host, port)
  if why then return nil, why end
  guard.object = nil
  return self
end

return {
  connect = connect,
  tcp = function() return object.new(Master, "unspec") end,
  tcp4 = function() return object.new_of(Master, STREAM, "inet") end,
  tcp6 = function() return object.new_of(Master, STREAM, "inet6") end,
}
