-- HTTPS: get a page, or serve the files of a directory. It needs LuaSec
-- (Debian: lua-sec).
--
--     tools/env.sh plain lua5.4 examples/https.lua get URL [CA [SECONDS]]
--     tools/env.sh plain lua5.4 examples/https.lua serve DIRECTORY CERT KEY \
--       [ADDRESS]
--
-- `get` writes the page to stdout, within SECONDS (30) altogether. The server
-- must have a certificate for the URL's host, signed by one of the system's
-- authorities, or by one in CA, a file. `serve` answers GET and HEAD at
-- ADDRESS (127.0.0.1:8443), with the certificates in CERT and their key in
-- KEY. INT and TERM let it finish the answers that it has begun. To try it,
-- with a certificate of its own:
--
--     openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem \
--       -out cert.pem \
--       -subj /CN=localhost -addext subjectAltName=DNS:localhost
--     tools/env.sh plain lua5.4 examples/https.lua serve . cert.pem key.pem &
--     tools/env.sh plain lua5.4 examples/https.lua get \
--       https://localhost:8443/README.md cert.pem

local uring = require "uring"
local tls = dofile((arg[0]:gsub("[^/]*$", "tls.lua")))

local HEAD <const>, PIECE <const> = 65536, 65536  -- bytes
local HANDSHAKE <const>, IDLE <const>, WINDOW <const> = 10, 15, 10  -- seconds


-- ---- get ------------------------------------------------------------------

local function parse(url)
  local authority, path = url:match "^https://([^/?#]+)([^#]*)"
  if not authority then return nil end
  local host = authority:match "^(.*):%d+$"
  return { authority = authority,
    path = path:find "^/" and path or "/" .. path,
    address = host and authority or authority .. ":443",
    host = (host or authority):gsub("^%[(.*)%]$", "%1") }
end

-- Writes the page: how many bytes.
local function get(to, context)
  local conn = assert(uring.tcp.connect(to.address))
  local stream <close> = assert(tls.client(conn, context, to.host))
  -- (1.0: an answer without a length ends with its connection)
  assert(stream:write("GET ", to.path, " HTTP/1.0\r\nHost: ", to.authority,
    "\r\nUser-Agent: uring-https\r\nAccept: */*\r\n\r\n"))
  local head, message = stream:read_until("\r\n\r\n", HEAD)
  assert(head, message or "the server has ended the connection")
  local line, status = head:match "^(HTTP/%d%.%d (%d%d%d)[^\r\n]*)"
  assert(status == "200", line or "the answer is not HTTP")
  head = head:lower()
  assert(not head:find("\r\ntransfer-encoding:", 1, true),
    "the answer is in chunks, which HTTP/1.0 has not")
  local size = tonumber(head:match "\r\ncontent%-length:[ \t]*(%d+)")
  local count = 0
  while count ~= size do
    local bytes
    bytes, message = stream:read(math.min(PIECE, size and size - count
      or PIECE))
    if not bytes then
      assert(not message and not size, message or "it ended too early")
      break
    end
    count = count + #bytes
    assert(uring.stdout:write(bytes))
  end
  return count
end

local function run_get(url, ca, seconds)
  local to = parse(url)
  local context = assert(tls.context { cafile = ca })
  local ok, count, message = pcall(uring.run, uring.timeout, seconds, get, to,
    context)
  if not ok then count, message = nil, tostring(count):match "[^\n]*" end
  io.stderr:write(count and count .. " bytes" or message, "\n")
  os.exit(count and 0 or 1)
end


-- ---- serve ----------------------------------------------------------------

local root, context, ending
local idle = {}  -- streams that wait for a request

local function answer(stream, request, status, size)
  stream:write("HTTP/1.1 ", status, "\r\nContent-Length: ", size, "\r\n",
    request.keep and "\r\n" or "Connection: close\r\n\r\n")
end

local function refuse(stream, request, status)
  answer(stream, request, status, #status + 1)
  if request.method ~= "HEAD" then stream:write(status, "\n") end
  return stream:flush(WINDOW)
end

-- True, if the connection goes on. A client takes each piece in a WINDOW.
local function serve_file(stream, request)
  if request.method ~= "GET" and request.method ~= "HEAD" then
    return refuse(stream, request, "405 Method Not Allowed")
  end
  local file <close> = not request.path:find("\0", 1, true)
    and root:open(request.path, "r", 0)
  local stat = file and file:stat()
  if not stat or stat.kind ~= "file" then
    return refuse(stream, request, "404 Not Found")
  end
  answer(stream, request, "200 OK", stat.size)
  local left = request.method == "GET" and stat.size or 0
  while left > 0 do
    local bytes = file:read(math.min(PIECE, left))
    if not (bytes and stream:write(bytes) and stream:flush(WINDOW)) then
      return false
    end
    left = left - #bytes
  end
  return stream:flush(WINDOW)
end

local function next_request(stream)
  idle[stream] = true
  local first = stream:peek(1, IDLE)
  idle[stream] = nil
  local head = first and stream:read_until("\r\n\r\n", HEAD, IDLE)
  local method, target, version, fields = (head or ""):match
    "^(%u+) (%S+) HTTP/1%.(%d)\r\n(.*)$"
  local path = target and (target:match "^/([^?#]*)"
    or target:match "^[hH][tT][tT][pP][sS]://[^/?#]+/?([^?#]*)")
  if not path then return nil end
  fields = fields:lower()
  path = path:gsub("%%(%x%x)", function(x)
    return string.char(tonumber(x, 16))
  end)
  return { method = method, path = path:gsub("^$", "index.html"),
    keep = version ~= "0" and not ending  -- (nor is a body looked at)
      and not fields:find "connection: *close"
      and not fields:find "content%-length" and not fields:find "transfer%-" }
end

local function serve(conn, peer)
  local stream <close>, message = uring.timeout(HANDSHAKE, tls.server, conn,
    context)
  if not stream then
    uring.stderr:write(tostring(peer), ": ", message, "\n")
    return
  end
  repeat
    local request = not ending and next_request(stream)
  until not (request and serve_file(stream, request) and request.keep)
end

local function run_serve(directory, certificate, key, address)
  context = assert(tls.context { certificate = certificate, key = key })
  root = assert(uring.fs.root(directory))
  local listener = assert(uring.tcp.listen(address, 1024))
  local server = uring.spawn(listener.serve, listener, serve, { max = 1000,
    grace = 10, on_error = function(_, trace)
      uring.stderr:write(trace, "\n")
    end })
  print(("https://%s/"):format(listener:getsockname()))
  io.stdout:flush()
  local stop <close> = uring.signals("INT", "TERM")
  stop:receive()
  ending = true
  listener:close()
  for stream in pairs(idle) do uring.spawn(stream.close, stream) end
  server:cancel()
  server:join()
end


if arg[1] == "get" and arg[2] and parse(arg[2]) then
  run_get(arg[2], arg[3], tonumber(arg[4] or 30))
elseif arg[1] == "serve" and arg[4] then
  uring.run(run_serve, arg[2], arg[3], arg[4], arg[5] or "127.0.0.1:8443")
else
  io.stderr:write [=[
usage: tools/env.sh plain lua5.4 examples/https.lua get URL [CA [SECONDS]]
       tools/env.sh plain lua5.4 examples/https.lua serve DIRECTORY CERT KEY \
         [ADDRESS]
]=]
  os.exit(2)
end
