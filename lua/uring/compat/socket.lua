-- socket: LuaSocket's interface on tasks. What blocks the program there
-- suspends the task here; results and errors are LuaSocket's, so that its own
-- Lua files (socket.http, socket.smtp, ltn12), and what is written for it, run
-- unchanged.

local uring = require "uring"
local argument = require "uring.compat.socket.argument"
local names = require "uring.compat.socket.names"
local protect = require "uring.compat.socket.protect"
local tcp = require "uring.compat.socket.tcp"
local udp = require "uring.compat.socket.udp"

local raise_at_caller <const> = require("uring.core").raise_at_caller
local loaded <const> = package and package.loaded
local error <const>, type <const>, tostring <const> = error, type, tostring
local ipairs <const>, rawequal <const> = ipairs, rawequal
local setmetatable <const> = setmetatable
local format <const> = string.format
local min <const>, max <const> = math.min, math.max

local socket <const> = {
  _VERSION = "LuaSocket 3.1.0",            -- whose interface it is
  _DATAGRAMSIZE = udp._DATAGRAMSIZE,
  _SETSIZE = 0x7fffffff,                   -- (a select may have any number)
  _SOCKETINVALID = -1,
  BLOCKSIZE = 2048,
  dns = names.dns,
  select = require("uring.compat.socket.select").select,
  newtry = protect.newtry, protect = protect.protect, skip = protect.skip,
  try = protect.newtry(),
  tcp = tcp.tcp, tcp4 = tcp.tcp4, tcp6 = tcp.tcp6, connect = tcp.connect,
  udp = udp.udp, udp4 = udp.udp4, udp6 = udp.udp6,
  sourcet = {}, sinkt = {},
}

-- Let `require "socket"` give this module from now on, in the place of
-- LuaSocket. `modules` is package.loaded, or another table like it.
function socket.install(modules)
  if modules == nil then modules = loaded end
  if type(modules) ~= "table" then
    raise_at_caller "bad argument #1 to 'install' (package.loaded expected)"
  end
  for _, name in ipairs { "socket", "socket.core" } do
    local other = modules[name]
    if other ~= nil and not rawequal(other, socket) then
      raise_at_caller(format("install: LuaSocket is loaded already, as '%s': "
        .. "call install before anything requires it", name))
    end
  end
  modules["socket"], modules["socket.core"] = socket, socket
  return socket
end


-- ---- time -----------------------------------------------------------------

function socket.gettime() return uring.time() end

function socket.sleep(seconds)
  seconds = argument.number_of(seconds, 1, "sleep")
  uring.sleep(min(max(seconds, 0), 0x7fffffff))
end


-- ---- connections and listeners --------------------------------------------

function socket.connect4(host, port, local_host, local_port)
  return socket.connect(host, port, local_host, local_port, "inet")
end

function socket.connect6(host, port, local_host, local_port)
  return socket.connect(host, port, local_host, local_port, "inet6")
end

local function listening(address, port, backlog)
  local make = address.family == "inet" and socket.tcp4 or socket.tcp6
  local listener, why = make()
  if not listener then return nil, why end
  listener:setoption("reuseaddr", true)
  local ok
  ok, why = listener:bind(address.addr, port)
  if ok then ok, why = listener:listen(backlog) end
  if ok then return listener end
  listener:close()
  return nil, why
end

function socket.bind(host, port, backlog)
  if host == "*" then host = "0.0.0.0" end
  local addresses, why = socket.dns.getaddrinfo(host)
  if not addresses then return nil, why end
  for _, address in ipairs(addresses) do
    local listener
    listener, why = listening(address, port, backlog)
    if listener then return listener end
  end
  return nil, why or "no info on address"
end


-- ---- sources and sinks for ltn12 ------------------------------------------

-- A function of a table by its name, or the one called "default".
function socket.choose(functions)
  return function(name, a, b)
    if type(name) ~= "string" then name, a, b = "default", name, a end
    local f = functions[name]
    if not f then error(format("unknown key (%s)", tostring(name)), 3) end
    return f(a, b)
  end
end

-- What is called as a function and selected as its socket.
local function over(s, call)
  return setmetatable({
    getfd = function() return s:getfd() end,
    dirty = function() return s:dirty() end,
  }, { __call = call })
end

local sinks <const>, sources <const> = socket.sinkt, socket.sourcet

sinks["close-when-done"] = function(s)
  return over(s, function(_, chunk)
    if chunk then return s:send(chunk) end
    s:close()
    return 1
  end)
end

sinks["keep-open"] = function(s)
  return over(s, function(_, chunk)
    if chunk then return s:send(chunk) end
    return 1
  end)
end

sinks.default = sinks["keep-open"]

sources["by-length"] = function(s, length)
  return over(s, function()
    if length <= 0 then return nil end
    local chunk, why = s:receive(min(socket.BLOCKSIZE, length))
    if why then return nil, why end
    length = length - #chunk
    return chunk
  end)
end

sources["until-closed"] = function(s)
  local ended
  return over(s, function()
    if ended then return nil end
    local chunk, why, rest = s:receive(socket.BLOCKSIZE)
    if not why then return chunk end
    if why ~= "closed" then return nil, why end
    s:close()
    ended = true
    return rest
  end)
end

sources.default = sources["until-closed"]

socket.sink, socket.source = socket.choose(sinks), socket.choose(sources)

return socket
