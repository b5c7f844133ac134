-- options: setoption and getoption, by LuaSocket's names.
--
-- An option is a table with the C name and the functions `set`, which gives
-- the value for setsockopt, and `get`, which makes a result of that of
-- getsockopt. One of them may be missing.

local uring = require "uring"
local argument = require "uring.compat.socket.argument"
local names = require "uring.compat.socket.names"

local bad <const> = argument.bad
local reason <const>, numeric <const> = names.reason, names.numeric
local type <const> = type
local tonumber <const>, pairs <const> = tonumber, pairs
local format <const>, gmatch <const>, match <const> =
  string.format, string.gmatch, string.match
local gsub <const>, rep <const>, char <const> =
  string.gsub, string.rep, string.char
local pack <const>, unpack <const> = string.pack, string.unpack
local concat <const> = table.concat

-- What is wrong with the value of an option.
local function wrong(what) return bad(2, "setoption", what) end

local function expected(kind, value)
  return argument.expected(kind, value, 2, "setoption")
end


-- A number as a C int.
local function int_of(value)
  local n = argument.integer_of(value, 2, "setoption")
  if n < -0x80000000 or n > 0x7fffffff then
    wrong "number from -2147483648 to 2147483647 expected"
  end
  return n
end


-- ---- kinds of values ------------------------------------------------------

local function flag(name)
  return {
    name = name,
    set = function(value)
      if type(value) ~= "boolean" then expected("boolean", value) end
      return value
    end,
    get = function(value) return value ~= 0 end,
  }
end

local function int(name)
  return {
    name = name,
    set = int_of,
    get = function(value) return value end,
  }
end

-- A field of an option's table; `kind` is a type.
local function field(t, name, kind)
  if type(t) ~= "table" then expected("table", t) end
  if type(t[name]) ~= kind then
    wrong(format("%s '%s' field expected", kind, name))
  end
  return t[name]
end

local function address(text, family, what)
  local a = numeric(text, 0)
  return a and a.family == family and a.host or wrong(what)
end

-- The bytes of an address of IPv4; "*" is any.
local function ip(text, what)
  if text == "*" then text = "0.0.0.0" end
  return (gsub(address(text, uring.AF_INET, what), "(%d+)%.?", function(n)
    return char(n)
  end))
end

local function words(text)
  local bytes = {}
  for word in gmatch(text, "[^:]+") do
    bytes[#bytes + 1] = match(word, "%.") and ip(word)
      or pack(">I2", tonumber(word, 16))
  end
  return concat(bytes)
end

-- The bytes of an address of IPv6. (The text is inet_ntop's.)
local function ip6(text, what)
  local host = address(text, uring.AF_INET6, what)
  local before, after = match(host, "^(.*)::(.*)$")
  local head, tail = words(before or host), words(after or "")
  return head .. rep("\0", 16 - #head - #tail) .. tail
end

local function membership(name)
  return { name = name, set = function(value)
    return ip(field(value, "multiaddr", "string"),
        "invalid 'multiaddr' ip address")
      .. ip(field(value, "interface", "string"),
        "invalid 'interface' ip address")
  end }
end

local function membership6(name)
  return { name = name, set = function(value)
    local group = ip6(field(value, "multiaddr", "string"),
      "invalid 'multiaddr' ip address")
    return group .. pack("i4", value.interface == nil and 0
      or int_of(field(value, "interface", "number")))
  end }
end

local linger <const> = {
  name = "SO_LINGER",
  set = function(value)
    return pack("i4i4", field(value, "on", "boolean") and 1 or 0,
      int_of(field(value, "timeout", "number")))
  end,
  get = function(value)
    local on, timeout = unpack("i4i4", value)
    return { on = on ~= 0, timeout = timeout }
  end,
}

local device <const> = {
  name = "SO_BINDTODEVICE",
  set = function(value)
    return type(value) == "string" and value .. "\0"
      or expected("string", value)
  end,
  get = function(value)
    return type(value) == "string" and match(value, "^[^\0]*") or ""
  end,
}

local multicast_if <const> = {
  name = "IP_MULTICAST_IF",
  set = function(value)
    return type(value) == "string" and ip(value, "ip expected")
      or expected("string", value)
  end,
  get = function(value)
    return format("%d.%d.%d.%d", unpack("BBBB", pack("i4", value)))
  end,
}

local pending_error <const> = {
  name = "SO_ERROR",
  get = function(value) return value ~= 0 and reason(value) or nil end,
}

local function only_set(option)
  return { name = option.name, set = option.set }
end


-- ---- the options of a class -----------------------------------------------

local both <const> = {
  ["reuseaddr"] = flag "SO_REUSEADDR",
  ["reuseport"] = flag "SO_REUSEPORT",
  ["ipv6-v6only"] = flag "IPV6_V6ONLY",
  ["recv-buffer-size"] = int "SO_RCVBUF",
  ["send-buffer-size"] = int "SO_SNDBUF",
  ["error"] = pending_error,
}

local tcp <const> = {
  ["bindtodevice"] = device,
  ["keepalive"] = flag "SO_KEEPALIVE",
  ["linger"] = linger,
  ["tcp-nodelay"] = flag "TCP_NODELAY",
  ["tcp-keepidle"] = int "TCP_KEEPIDLE",
  ["tcp-keepcnt"] = int "TCP_KEEPCNT",
  ["tcp-keepintvl"] = int "TCP_KEEPINTVL",
  ["tcp-defer-accept"] = only_set(int "TCP_DEFER_ACCEPT"),
  ["tcp-fastopen"] = only_set(int "TCP_FASTOPEN"),
  ["tcp-fastopen-connect"] = only_set(int "TCP_FASTOPEN_CONNECT"),
}

local udp <const> = {
  ["dontroute"] = flag "SO_DONTROUTE",
  ["broadcast"] = flag "SO_BROADCAST",
  ["ip-multicast-if"] = multicast_if,
  ["ip-multicast-ttl"] = only_set(int "IP_MULTICAST_TTL"),
  ["ip-multicast-loop"] = flag "IP_MULTICAST_LOOP",
  ["ip-add-membership"] = membership "IP_ADD_MEMBERSHIP",
  ["ip-drop-membership"] = membership "IP_DROP_MEMBERSHIP",
  ["ipv6-unicast-hops"] = int "IPV6_UNICAST_HOPS",
  ["ipv6-multicast-hops"] = int "IPV6_MULTICAST_HOPS",
  ["ipv6-multicast-loop"] = flag "IPV6_MULTICAST_LOOP",
  ["ipv6-add-membership"] = membership6 "IPV6_ADD_MEMBERSHIP",
  ["ipv6-drop-membership"] = membership6 "IPV6_DROP_MEMBERSHIP",
}

for name, option in pairs(both) do
  tcp[name], udp[name] = option, option
end

local function find(named, name, how, method)
  local option = named[argument.string_of(name, 1, method)]
  if not option or not option[how] then
    bad(1, method, format("unsupported option `%s'", name))
  end
  return option
end

local function set(socket, named, name, value)
  local option = find(named, name, "set", "setoption")
  value = option.set(value)
  if not socket or not socket:setsockopt(option.name, value) then
    return nil, "setsockopt failed"
  end
  return 1
end

local function get(socket, named, name)
  local option = find(named, name, "get", "getoption")
  local value = socket and socket:getsockopt(option.name)
  if value == nil then return nil, "getsockopt failed" end
  return option.get(value)
end

return { tcp = tcp, udp = udp, set = set, get = get }
