-- For specs of web servers: a port, and clients of others.
--
--     local port = web.port()
--     web.wait_for(port)
--     local status, body = web.get(port, "/path")

local helper = require "helper"
local program = require "program"
local uring = require "uring"

local web = {}

-- A port of 127.0.0.1 that is free.
function web.port()
  local socket <close> = assert(uring.tcp.listen "127.0.0.1:0")
  return socket:getsockname().port
end

-- Until something listens there.
function web.wait_for(port)
  local address = ("127.0.0.1:%d"):format(port)
  helper.eventually(function()
    local socket <close> = uring.run(uring.tcp.connect, address, 1)
    return socket
  end, 20)
end

-- What curl sees: the status and the body.
function web.get(port, path, ...)
  local status, output = program.run("curl", "-s", "-w", "\n%{http_code}",
    ("http://127.0.0.1:%d%s"):format(port, path), ...)
  if status ~= 0 then
    error(("curl %s: status %d: %s"):format(path, status, output), 2)
  end
  local body, code = output:match "^(.*)\n(%d+)$"
  return math.tointeger(code), body
end

-- What wrk sees in a second, with so many connections: how many answers. All
-- have to be good ones.
function web.load(port, path, connections)
  local status, output = program.run("wrk", "-t", "1", "-c",
    tostring(connections), "-d", "1", "--timeout", "20",
    ("http://127.0.0.1:%d%s"):format(port, path))
  if status ~= 0 or output:find "Socket errors" or output:find "Non%-2xx" then
    error(output, 2)
  end
  return math.tointeger(output:match "(%d+) requests in")
end

-- The whole path of a file of the repository.
function web.path(name)
  local pipe <close> = assert(io.popen "pwd")
  return pipe:read "l" .. "/" .. name
end

-- An example's configuration with other settings: a plain text that is there,
-- and what takes its place.
function web.configure(name, settings)
  local text = helper.content(name)
  for was, is in pairs(settings) do
    local found
    text, found = text:gsub(was:gsub("%p", "%%%0"), (is:gsub("%%", "%%%%")))
    if found == 0 then error(name .. " has no " .. was, 2) end
  end
  return text
end

return web
