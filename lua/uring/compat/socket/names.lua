-- names: LuaSocket's texts of errors, the addresses of names, and socket.dns.

local uring = require "uring"
local name_of <const> = require("uring.compat.socket.argument").name_of
local parse_problem <const> = require("uring.argument").parse_problem

local core <const> = require "uring.core"
local resolve_lookup <const>, resolve_names <const> =
  core.resolve_lookup, core.resolve_names
local error_text <const>, raise_at_caller <const> =
  core.error_text, core.raise_at_caller
local error <const>, pcall <const>, ipairs <const> = error, pcall, ipairs
local match <const> = string.match
local E <const>, eai <const> = uring.errno, uring.eai

local FAMILIES <const> = {
  [uring.AF_INET] = "inet", [uring.AF_INET6] = "inet6",
}


-- ---- errors ---------------------------------------------------------------

-- These programs compare; LuaSocket gives them instead of the system's.
local TEXTS <const> = {
  [E.ETIME] = "timeout", [E.ETIMEDOUT] = "timeout",
  [E.EPIPE] = "closed", [E.ECONNRESET] = "closed", [E.ECONNABORTED] = "closed",
  [E.EBADF] = "closed",                    -- by another task, meanwhile
  [E.ECONNREFUSED] = "connection refused",
  [E.EADDRINUSE] = "address already in use",
  [E.EISCONN] = "already connected",
  [E.EACCES] = "permission denied",
  [eai.AGAIN] = "temporary failure in name resolution",
  [eai.BADFLAGS] = "invalid value for ai_flags",
  [eai.FAIL] = "non-recoverable failure in name resolution",
  [eai.FAMILY] = "ai_family not supported",
  [eai.MEMORY] = "memory allocation failure",
  [eai.NONAME] = "host or service not provided, or not known",
  [eai.OVERFLOW] = "argument buffer overflow",
  [eai.SERVICE] = "service not supported for socket type",
  [eai.SOCKTYPE] = "ai_socktype not supported",
  [eai.NODATA] = "No address associated with hostname",
  [eai.ADDRFAMILY] = "Address family for hostname not supported",
}

-- What LuaSocket calls this errno, or this code of getaddrinfo's.
local function reason(code)
  return TEXTS[code] or code > 0 and error_text(code) or "unknown error"
end


-- ---- addresses ------------------------------------------------------------

-- The family of an address, and whether it is one that was asked for.
local function family_of(address) return FAMILIES[address.family] end

-- The addresses of a host and a service, of one family or of any; or nil, what
-- was wrong, and the code.
local function lookup(host, service, family, kind)
  local all, _, code = resolve_lookup(host, service, kind)
  if not all then return nil, reason(code), code end
  if family == "unspec" then return all end
  local some = {}
  for _, address in ipairs(all) do
    if family_of(address) == family then some[#some + 1] = address end
  end
  if #some == 0 then return nil, reason(eai.ADDRFAMILY), eai.ADDRFAMILY end
  return some
end

-- The address of a host and a port in digits; or nil.
local function numeric(host, port)
  local ok, address = pcall(uring.sockaddr, host, port)
  if ok then return family_of(address) and address end
  if not parse_problem(address) then error(address, 0) end  -- (no memory)
  return nil
end


-- ---- socket.dns -----------------------------------------------------------

local dns <const> = {}

local function not_found(why, code)
  if code == eai.NONAME or code == eai.NODATA or code == eai.ADDRFAMILY then
    return nil, "host not found"
  end
  return nil, why
end

-- What is known of a host: of aliases there are none.
local function resolved(name, ips)
  return { name = name, alias = {}, ip = ips }
end

function dns.toip(host)
  host = name_of(host, 1, "toip")
  local address = numeric(host, 0)
  if address then
    return host, resolved(resolve_names(address) or host, { host })
  end
  local all, why, code = lookup(host, nil, "inet", uring.SOCK_STREAM)
  if not all then return not_found(why, code) end
  local ips = {}
  for i, a in ipairs(all) do ips[i] = a.host end
  return ips[1], resolved(host, ips)
end

function dns.tohostname(host)
  host = name_of(host, 1, "tohostname")
  local address = numeric(host, 0)
  if not address then
    local ip, of = dns.toip(host)
    if not ip then return nil, of end
    return host, of
  end
  local name, _, code = resolve_names(address, true)
  if not name then return not_found(reason(code), code) end
  return name, resolved(name, { host })
end

function dns.getaddrinfo(host)
  host = name_of(host, 1, "getaddrinfo")
  local all, why = lookup(host, nil, "unspec", uring.SOCK_STREAM)
  if not all then return nil, why end
  local list = {}
  for i, address in ipairs(all) do
    list[i] = { family = family_of(address), addr = address.host }
  end
  return list
end

function dns.getnameinfo(host, service)
  if host == nil and service == nil then
    raise_at_caller "host and serv cannot be both nil"
  end
  local all, why = lookup(name_of(host or "localhost", 1, "getnameinfo"),
    service and name_of(service, 2, "getnameinfo"), "unspec",
    uring.SOCK_STREAM)
  if not all then return nil, why end
  local list, port = {}, nil
  for i, address in ipairs(all) do
    local name, known, code = resolve_names(address)
    if not name then return nil, reason(code) end
    if host then list[i] = name end
    port = known
  end
  if service then return list, port end
  return list
end

function dns.gethostname()
  local text, message = uring.fs.read("/proc/sys/kernel/hostname", 256)
  if not text then return nil, message end
  return match(text, "^[^\n]*")
end

return {
  reason = reason, lookup = lookup, numeric = numeric, family = family_of,
  dns = dns,
}
