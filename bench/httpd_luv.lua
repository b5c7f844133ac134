-- httpd_luv: a static file server with lua-luv, for bench/httpd.lua: GET of
-- files that are known to be there, on connections that are kept. What is
-- parsed is the path.
--
--     lua5.4 bench/httpd_luv.lua DIRECTORY

local uv = require "luv"

local PIECE <const> = 65536
local directory = arg[1]

-- Pieces one after another: the next is read when the last was sent.
local function send(conn, file, from, left, head, done)
  local data = assert(uv.fs_read(file, math.min(left, PIECE), from))
  left = left - #data
  conn:write(head and { head, data } or data, function(err)
    if err or left == 0 or #data == 0 then return done(err) end
    send(conn, file, from + #data, left, nil, done)
  end)
end

local function answer(conn, path, done)
  local file = assert(uv.fs_open(directory .. path, "r", 0))
  local size = assert(uv.fs_fstat(file)).size
  local head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
    .. "Content-Length: " .. size .. "\r\n\r\n"
  send(conn, file, 0, size, head, function(err)
    uv.fs_close(file)
    if not conn:is_closing() then
      if err then conn:close() else done() end
    end
  end)
end

local function serve(conn)
  local got, busy = "", false
  local function look()
    local head, rest = got:match "^(.-\r\n\r\n)(.*)$"
    if head and not busy then
      got, busy = rest, true
      answer(conn, head:match "^GET (%S+)", function()
        busy = false
        look()
      end)
    end
  end
  conn:read_start(function(err, data)
    if err or not data then
      if not conn:is_closing() then conn:close() end
    else
      got = got .. data
      look()
    end
  end)
end

-- (or a client that leaves ends the program)
assert(uv.new_signal():start("sigpipe"))

local listener = uv.new_tcp()
assert(listener:bind("127.0.0.1", 0))
assert(listener:listen(1024, function(err)
  assert(not err, err)
  local conn = uv.new_tcp()
  assert(listener:accept(conn))
  conn:nodelay(true)
  serve(conn)
end))
print(listener:getsockname().port)
io.stdout:flush()
uv.run()
