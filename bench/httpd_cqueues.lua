-- httpd_cqueues: the same as httpd_luv.lua with lua-cqueues.

local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local PIECE <const> = 65536
local directory = arg[1]
local loop = cqueues.new()

local function answer(conn, path)
  local file <close> = assert(io.open(directory .. path, "rb"))
  local size = file:seek "end"
  file:seek "set"
  local head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
    .. "Content-Length: " .. math.tointeger(size) .. "\r\n\r\n"
  conn:write(head)
  while true do
    local data = file:read(PIECE)
    if not data then break end
    if not conn:write(data) then return false end
  end
  return conn:flush()
end

local function serve(conn)
  conn:setmode("b", "bf")
  conn:onerror(function(_, _, why) return why end)
  while true do
    local line = conn:read "*l"
    if not line then break end
    repeat local field = conn:read "*l" until not field or field == "\r"
    if not answer(conn, line:match "^GET (%S+)") then break end
  end
  conn:close()
end

local listener = socket.listen { host = "127.0.0.1", port = 0,
  nodelay = true }
assert(listener:listen())
local _, _, port = listener:localname()
print(math.tointeger(port))
io.stdout:flush()
loop:wrap(function()
  -- (what a client that leaves makes of its task is nothing to the others)
  for conn in listener:clients() do loop:wrap(pcall, serve, conn) end
end)
assert(loop:loop())
