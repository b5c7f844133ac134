-- Serve the files of a directory by HTTP/1.1.
--
--     tools/env.sh plain lua5.4 examples/httpd.lua DIRECTORY [ADDRESS [LOG]]
--     tools/env.sh plain lua5.4 examples/httpd.lua /srv/www 127.0.0.1:8080 -
--
-- It answers GET and HEAD, also for a part of a file (Range), and for one that
-- has not changed (If-Modified-Since). Nothing outside of the directory is
-- served, whatever the path and its links, and regular files only. A client
-- has bounds for all that it sends, and for the time that it takes. With 1,000
-- connections open the next ones wait. INT and TERM let it finish the answers
-- that it has begun. LOG is a file for the access log, or "-" for standard
-- output.

local uring = require "uring"
local E = uring.errno

local LINE <const>, HEAD <const>, FIELDS <const> = 8192, 32768, 100
local BODY <const> = 65536           -- of a request; it is not looked at
local HEAD_TIME <const>, IDLE_TIME <const> = 10, 15  -- seconds
local WINDOW <const>, RATE <const> = 10, 1024  -- bytes a second that it takes

local STATUS <const> = { [200] = "200 OK", [206] = "206 Partial Content",
  [301] = "301 Moved Permanently", [304] = "304 Not Modified",
  [400] = "400 Bad Request", [403] = "403 Forbidden", [404] = "404 Not Found",
  [405] = "405 Method Not Allowed", [408] = "408 Request Timeout",
  [413] = "413 Content Too Large", [414] = "414 URI Too Long",
  [416] = "416 Range Not Satisfiable", [431] = "431 Head Too Large",
  [500] = "500 Internal Server Error", [503] = "503 Service Unavailable",
  [505] = "505 HTTP Version Not Supported" }

local FAILED <const> = { [E.ENOENT] = 404, [E.ENOTDIR] = 404,
  [E.ENAMETOOLONG] = 404, [E.EACCES] = 403, [E.EPERM] = 403, [E.EXDEV] = 403,
  [E.ELOOP] = 403, [E.ENXIO] = 403, [E.ETIME] = 403, [E.EMFILE] = 503,
  [E.ENFILE] = 503, [E.ENOMEM] = 503 }

local TYPES <const> = { html = "text/html; charset=utf-8",
  txt = "text/plain; charset=utf-8", css = "text/css", js = "text/javascript",
  json = "application/json", png = "image/png", jpg = "image/jpeg",
  svg = "image/svg+xml", pdf = "application/pdf" }

local root, log, ending
local idle = {}  -- connections that wait for a request

local now, dates = 0, {}  -- texts of times, of this second
local function date_of(t)
  dates[t] = dates[t] or os.date("!%a, %d %b %Y %H:%M:%S GMT", t)
  return dates[t]
end

local function today()
  local t = os.time()
  if t ~= now then now, dates = t, {} end
  return date_of(t)
end

-- Unless it is so, the request is answered with this status and these fields.
local Refusal <const> = {}
local function check(ok, status, fields)
  if not ok then
    error(setmetatable({ status = status, fields = fields or "" }, Refusal))
  end
  return ok
end


-- ---- requests -------------------------------------------------------------

-- Read this head into the request. (Two lengths, or two kinds of them, are how
-- requests are smuggled past a proxy.)
local function parse(head, request)
  check(head:find("\r\n", 3, true) <= LINE, 414)
  local line, method, target, version, at = head:match(
    "^[\r\n]*((%u+) ([\x21-\x7e]+) HTTP/(%d%.%d))\r\n()")
  check(line, 400)
  check(version == "1.1" or version == "1.0", 505)
  local fields, n = {}, 0
  while at < #head - 1 do
    local name, value, after =
      head:match("^([^%c%s:]+):([^\0\r\n]*)\r\n()", at)
    name, n, at = check(name, 400):lower(), n + 1, after
    check(n <= FIELDS, 431)
    check(not fields[name] or name ~= "host" and name ~= "content-length", 400)
    -- (each pattern in proportion to the length, whatever is sent)
    local from = value:find "[^ \t]"
    value = from and value:match("^.*[^ \t]", from) or ""
    fields[name] = fields[name] and fields[name] .. ", " .. value or value
  end
  local length, connection = fields["content-length"] or "0", fields.connection
  check(version == "1.0" or fields.host, 400)
  check(not fields["transfer-encoding"],
    fields["content-length"] and 400 or 413)
  check(length:find "^%d+$", 400)
  check(tonumber(length) <= BODY, 413)
  request.line, request.method, request.target = line, method, target
  request.fields, request.body = fields, tonumber(length)
  request.waits = version == "1.1" and fields.expect  -- to send the body
  request.keep = version == "1.1"
    and not (connection and connection:lower():find "close")
end

-- The path beneath the root that a target names, and as it is written there.
local function path_of(target)
  local raw = target:match "^/+([^?#]*)"
    or target:match "^[hH][tT][tT][pP]://[^/?#]+/*([^?#]*)"
  local path = check(raw, 400)
  if raw:find("%", 1, true) then
    check(not raw:gsub("%%%x%x", ""):find("%", 1, true), 400)
    path = raw:gsub("%%(%x%x)", function(x)
      return string.char(tonumber(x, 16))
    end)
    check(not path:find("\0", 1, true), 400)
  end
  if path == "" or path:sub(-1) == "/" then path = path .. "index.html" end
  return path, raw
end

-- The part of the file that is wanted: first, count. (Several parts at once,
-- and what is no range, are all of it.)
local function range_of(fields, size, modified)
  local from, to
  if fields.range and (fields["if-range"] or modified) == modified then
    from, to = fields.range:match "^bytes=(%d*)%-(%d*)$"
  end
  if not from or from .. to == "" then return 0, size end
  from, to = tonumber(from), tonumber(to)
  if from and to and to < from then return 0, size end
  if not from then from, to = math.max(size - to, 0), size - 1 end
  to = math.min(to or size, size - 1)
  check(from < size and to >= from, 416, "Content-Range: bytes */" .. size
    .. "\r\n")
  return from // 1, (to - from) // 1 + 1
end


-- ---- answers --------------------------------------------------------------

local function write_head(conn, request, status, fields, size)
  conn:write("HTTP/1.1 ", STATUS[status], "\r\nDate: ", today(), "\r\n",
    fields, "Content-Length: ", size, request.keep and not ending
    and "\r\n\r\n" or "\r\nConnection: close\r\n\r\n")
end

local function refuse(conn, request, refusal)
  local status, text = refusal.status, STATUS[refusal.status] .. "\n"
  write_head(conn, request, status, refusal.fields
    .. "Content-Type: text/plain\r\n", #text)
  if request.method ~= "HEAD" then conn:write(text) end
  return status, #text
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

-- The status, or false if the connection is to be closed, and the size.
local function serve_file(conn, request, path, raw)
  local file <close>, _, errno = root:open(path, "r", 0)  -- (waits at no FIFO)
  local stat = check(file, FAILED[errno] or 500):stat()
  check(stat.kind ~= "directory" or not raw:find "[^/]$", 301, "Location: /"
    .. raw .. "/" .. (request.target:match "%?[^#]*" or "") .. "\r\n")
  check(stat.kind == "file", 403)
  local modified, fields = date_of(stat.mtime // 1 | 0), request.fields
  local from, count, status = 0, stat.size, 200
  if fields["if-modified-since"] == modified and not fields["if-none-match"]
  then
    status = 304
  elseif request.method == "GET" then  -- (HEAD has no parts)
    from, count = range_of(fields, stat.size, modified)
    if count < stat.size then status = 206 end
  end
  write_head(conn, request, status, "Last-Modified: " .. modified
    .. "\r\nAccept-Ranges: bytes\r\nContent-Type: "
    .. (TYPES[path:match "%.(%w+)$"] or "application/octet-stream") .. "\r\n"
    .. (status == 206 and ("Content-Range: bytes %d-%d/%d\r\n"):format(from,
    from + count - 1, stat.size) or ""), count)
  if status == 304 or request.method == "HEAD" then return status, 0 end
  return send(conn, file, from, count) and status, count
end

local function respond(conn, request)
  local head, _, errno = conn:read_until("\r\n\r\n", HEAD, HEAD_TIME)
  check(errno ~= E.EMSGSIZE, 431)
  check(errno ~= E.ETIME, 408)
  if not head then return false, 0 end
  parse(head, request)
  if request.body > 0 then  -- (what comes later is no request)
    local keep = request.keep
    request.keep = false
    if request.waits then conn:write "HTTP/1.1 100 Continue\r\n\r\n" end
    local body = conn:read(request.body, HEAD_TIME)
    check(body and #body == request.body, 408)
    request.keep = keep
  end
  check(request.method == "GET" or request.method == "HEAD", 405,
    "Allow: GET, HEAD\r\n")
  return serve_file(conn, request, path_of(request.target))
end


-- ---- connections ----------------------------------------------------------

local function serve(conn, address)
  local peer = tostring(address)
  repeat
    idle[conn] = true
    local first = not ending and conn:peek(1, IDLE_TIME)
    idle[conn] = nil
    if not first then return end
    local request = { line = "-", method = "GET", target = "", fields = false,
      body = 0, keep = false }
    local ok, status, size = pcall(respond, conn, request)
    if not ok then
      if getmetatable(status) ~= Refusal then error(status, 0) end
      status, size = refuse(conn, request, status)
    end
    if log then
      log:write(peer, " - - [", today(), "] \"", request.line:gsub("[\"\\]",
        "\\%0"), "\" ", status or "-", " ", size, "\n")
    end
    if not status or not conn:flush(WINDOW) then return end
  until not request.keep or ending
  -- (to close with bytes unread would take the answer back)
  conn:shutdown "write"
  uring.timeout(2, function() while conn:receive() do end end)
end

uring.run(function()
  local listener = assert(uring.tcp.listen(arg[2] or "127.0.0.1:8080", 1024))
  root = assert(uring.fs.root(arg[1] or "."))
  log = arg[3] == "-" and uring.stdout
    or arg[3] and assert(uring.open(arg[3], "a"))
  local server = uring.spawn(listener.serve, listener, serve, { max = 1000,
    grace = 10, on_error = function(_, trace)
      uring.stderr:write(trace, "\n")
    end })
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
