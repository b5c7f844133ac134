-- Serve the files of a directory by HTTP/1.1.
--
--     tools/env.sh plain lua5.4 examples/httpd.lua DIRECTORY [ADDRESS [LOG]]
--     tools/env.sh plain lua5.4 examples/httpd.lua /srv/www 127.0.0.1:8080
--
-- It answers GET and HEAD, also for a part of a file (Range), and for one that
-- has not changed (If-Modified-Since). Nothing outside of the directory is
-- served, whatever the path and its links, and regular files only. A client
-- has bounds for all that it sends, and for the time that it takes. With 1,000
-- connections open the next ones wait. INT and TERM let it finish the answers
-- that it has begun. LOG is a file, or "-" for standard output (the default).

local uring = require "uring"
local E = uring.errno

local LINE <const>, HEAD <const>, FIELDS <const> = 8192, 32768, 100
local BODY <const> = 65536           -- of a request; it is not looked at
local HEAD_TIME <const>, IDLE_TIME <const> = 10, 15  -- seconds
local WINDOW <const>, RATE <const> = 10, 1024  -- bytes a second that it takes
local LIMITS <const> = { max = 1000, grace = 10 }

local REASONS <const> = { [200] = "OK", [206] = "Partial Content",
  [301] = "Moved Permanently", [304] = "Not Modified", [400] = "Bad Request",
  [403] = "Forbidden", [404] = "Not Found", [405] = "Method Not Allowed",
  [408] = "Request Timeout", [413] = "Content Too Large",
  [414] = "URI Too Long", [416] = "Range Not Satisfiable",
  [431] = "Request Header Fields Too Large", [500] = "Internal Server Error",
  [503] = "Service Unavailable", [505] = "HTTP Version Not Supported" }

local STATUS <const> = { [E.ENOENT] = 404, [E.ENOTDIR] = 404,
  [E.ENAMETOOLONG] = 404, [E.EACCES] = 403, [E.EPERM] = 403, [E.EXDEV] = 403,
  [E.ELOOP] = 403, [E.ENXIO] = 403, [E.ETIME] = 403, [E.EMFILE] = 503,
  [E.ENFILE] = 503, [E.ENOMEM] = 503 }

local TYPES <const> = { html = "text/html; charset=utf-8",
  txt = "text/plain; charset=utf-8", css = "text/css", js = "text/javascript",
  json = "application/json", png = "image/png", jpg = "image/jpeg",
  svg = "image/svg+xml", pdf = "application/pdf", wasm = "application/wasm" }

local root, log, ending
local idle = {}  -- connections that wait for a request

local function http_date(t) return os.date("!%a, %d %b %Y %H:%M:%S GMT", t) end

local now, date = 0, ""  -- made once a second
local function today()
  local t = os.time()
  if t ~= now then now, date = t, http_date(t) end
  return date
end


-- ---- requests -------------------------------------------------------------

-- A field that tells of a body; two that differ from each other, or both
-- kinds, are how requests are smuggled past a proxy.
local function body_size(fields)
  local length = fields["content-length"]
  if fields["transfer-encoding"] then return nil, length and 400 or 413 end
  if not length then return 0 end
  if not length:find "^%d+$" then return nil, 400 end
  local size = tonumber(length)
  return size <= BODY and size, 413
end

-- The request in this head: { method =, path =, fields =, … }, or nil and the
-- status of a refusal.
local function parse(head)
  local line, rest = head:match "^[\r\n]*([^\r\n]*)\r\n(.*)\r\n$"
  if not line then return nil, 400 end
  if #line > LINE then return nil, 414 end
  local method, target, version =
    line:match "^(%u+) ([\x21-\x7e]+) HTTP/(%d%.%d)$"
  if not method then return nil, 400 end
  if version ~= "1.1" and version ~= "1.0" then return nil, 505 end
  local fields, n = {}, 0
  for field in rest:gmatch "(.-)\r\n" do
    local name, value =
      field:match "^([%w!#$%%&'*+.^_`|~-]+):[ \t]*(.-)[ \t]*$"
    n = n + 1
    if n > FIELDS then return nil, 431 end
    if not name or value:find "[%z\r\n]" then return nil, 400 end
    name = name:lower()
    if fields[name] and (name == "host" or name == "content-length") then
      return nil, 400
    end
    fields[name] = value
  end
  if version == "1.1" and not fields.host then return nil, 400 end
  local size, status = body_size(fields)
  if not size then return nil, status end
  local connection = (fields.connection or ""):lower()
  return { line = line, method = method, fields = fields, size = size,
    target = target:gsub("^http://[^/]*", ""):gsub("^/+", "/"),
    keep = version == "1.1" and not connection:find "close" }
end

-- The path beneath the root that a target names: nil if it is none.
local function path_of(target)
  local path = target:match "^/([^?#]*)"
  if not path or path:gsub("%%%x%x", ""):find "%%" then return nil end
  path = path:gsub("%%(%x%x)", function(x)
    return string.char(tonumber(x, 16))
  end)
  if path:find "%z" then return nil end
  return (path == "" or path:sub(-1) == "/") and path .. "index.html" or path
end


-- ---- answers --------------------------------------------------------------

local function answer(conn, request, status, fields, size)
  conn:write("HTTP/1.1 ", status, " ", REASONS[status], "\r\nDate: ", today(),
    "\r\n", fields, size and "Content-Length: " or "", size or "",
    size and "\r\n" or "", request.keep and not ending and "\r\n"
    or "Connection: close\r\n\r\n")
end

local function refuse(conn, request, status, fields)
  local text = ("%d %s\n"):format(status, REASONS[status])
  answer(conn, request, status, (fields or "")
    .. "Content-Type: text/plain\r\n", #text)
  if request.method ~= "HEAD" then conn:write(text) end
  return conn:flush(WINDOW) and status, #text
end

-- The part of the file that is wanted: first, count; nil if there is no such
-- part. (Several parts at once, and what is no range, count as none.)
local function range_of(fields, size, modified)
  local from, to = (fields.range or ""):match "^bytes=(%d*)%-(%d*)$"
  if not from or from .. to == "" or (fields["if-range"] or modified)
    ~= modified then return 0, size end
  from, to = tonumber(from), tonumber(to)
  if not from then from, to = math.max(size - to, 0), size - 1
  else to = math.min(to or size, size - 1) end
  if from >= size or to < from then return nil end
  return from // 1, (to - from) // 1 + 1
end

-- A client that takes less than RATE has as long as a WINDOW.
local function send(conn, file, from, count)
  local left = count
  while left > 0 do
    local n, _, errno, sent = conn:sendfile(file, from, left, WINDOW)
    if n then return n == left end  -- (else it has become shorter)
    if errno ~= E.ETIME or sent < RATE * WINDOW then return false end
    from, left = from + sent, left - sent
  end
  return true
end

local function serve_file(conn, request, path, file)
  local stat, _, errno = file:stat()
  if not stat then return refuse(conn, request, STATUS[errno] or 500) end
  if stat.kind == "directory" then
    return refuse(conn, request, 301, ("Location: %s/\r\n"):format(
      request.target:match "^[^?#]*"))
  end
  if stat.kind ~= "file" then return refuse(conn, request, 403) end
  local fields, modified = request.fields, http_date(stat.mtime // 1 | 0)
  if fields["if-modified-since"] == modified then
    answer(conn, request, 304, "")
    return conn:flush(WINDOW) and 304, 0
  end
  local from, count = range_of(fields, stat.size, modified)
  if not from then
    return refuse(conn, request, 416,
      ("Content-Range: bytes */%d\r\n"):format(stat.size))
  end
  local part = count < stat.size
  answer(conn, request, part and 206 or 200, ("Content-Type: %s\r\n"
    .. "Last-Modified: %s\r\nAccept-Ranges: bytes\r\n%s"):format(
    TYPES[path:match "%.(%w+)$" or ""] or "application/octet-stream", modified,
    part and ("Content-Range: bytes %d-%d/%d\r\n"):format(from,
    from + count - 1, stat.size) or ""), count)
  if request.method == "HEAD" then return conn:flush(WINDOW) and 200, 0 end
  return send(conn, file, from, count) and (part and 206 or 200), count
end

-- The status, or false if the connection is to be closed, and the size.
local function serve_request(conn, request)
  if request.method ~= "GET" and request.method ~= "HEAD" then
    return refuse(conn, request, 405, "Allow: GET, HEAD\r\n")
  end
  local path = path_of(request.target)
  if not path then return refuse(conn, request, 400) end
  local file, _, errno = root:open(path, "r", 0)  -- (not to wait at a FIFO)
  if not file then return refuse(conn, request, STATUS[errno] or 500) end
  local f <close> = file
  return serve_file(conn, request, path, f)
end


-- ---- connections ----------------------------------------------------------

-- The next request; nil where there is none, and perhaps the status of
-- a refusal.
local function next_request(conn)
  idle[conn] = true
  local first = conn:peek(1, IDLE_TIME)
  idle[conn] = nil
  if not first then return nil end
  local head, _, errno = conn:read_until("\r\n\r\n", HEAD, HEAD_TIME)
  if not head then
    return nil, errno == E.EMSGSIZE and 431 or errno == E.ETIME and 408
  end
  local request, status = parse(head)
  if request and request.size > 0 and not conn:read(request.size, HEAD_TIME)
  then
    return nil
  end
  return request, status
end

local function report(peer, request, status, size)
  if log then
    log:write(("%s - - [%s] \"%s\" %s %s\n"):format(peer, today(),
      (request.line:gsub("[\"\\]", "\\%0")), status or "-", size))
  end
end

local function serve(conn, peer)
  while not ending do
    local request, status = next_request(conn)
    if not request then
      if status then
        request = { method = "GET", line = "-" }
        report(peer, request, refuse(conn, request, status))
        -- (to close with bytes unread would take the answer back)
        conn:shutdown "write"
        uring.timeout(2, function() while conn:receive() do end end)
      end
      return
    end
    local size
    status, size = serve_request(conn, request)
    report(peer, request, status, size)
    if not status or not request.keep then return end
  end
end

uring.run(function()
  local listener = assert(uring.tcp.listen(arg[2] or "127.0.0.1:8080", 1024))
  root = assert(uring.fs.root(arg[1] or "."))
  if arg[3] then log = arg[3] ~= "-" and assert(uring.open(arg[3], "a")) end
  log = log == nil and uring.stdout or log
  LIMITS.on_error = function(_, trace) uring.stderr:write(trace, "\n") end
  local server = uring.spawn(listener.serve, listener, serve, LIMITS)
  print("http://" .. tostring(listener:getsockname()) .. "/")
  io.stdout:flush()
  local stop <close> = uring.signals("INT", "TERM")
  stop:receive()
  ending = true
  listener:close()
  for conn in pairs(idle) do conn:close() end
  server:cancel()
  server:join()
end)
