-- Fetch a page by HTTP, into stdout.
--
--     tools/env.sh plain lua5.4 examples/fetch.lua URL [LIMIT [SECONDS]]
--     tools/env.sh plain lua5.4 examples/fetch.lua http://example.com/ >page
--
-- At most LIMIT bytes (64 MB), in SECONDS altogether (30): the name's lookup,
-- the connection to one of its addresses, and all of the answer. Progress is
-- told on stderr.

local uring = require "uring"

local HEAD <const> = 65536       -- bytes of the answer's head
local PIECE <const> = 65536

local function parse(url)
  local host, path = url:match "^http://([^/?#]+)([^#]*)"
  if not host then return nil end
  if not path:find "^/" then path = "/" .. path end
  return { host = host, path = path,
    address = host:find ":%d+$" and host or host .. ":80" }
end

-- The status, the head's first line, and the length that it tells.
local function read_head(conn)
  local head, message = conn:read_until("\r\n\r\n", HEAD)
  assert(head, message or "the server has closed the connection")
  local line, status = head:match "^(HTTP/%d%.%d (%d%d%d)[^\r\n]*)"
  assert(status, "the answer is not HTTP")
  head = head:lower()
  assert(status ~= "200" or not head:find("\r\ntransfer-encoding:", 1, true),
    "the answer is in chunks, which HTTP/1.0 has not")
  return tonumber(status), line,
    tonumber(head:match "\r\ncontent%-length:[ \t]*(%d+)")
end

local function show(count)
  for _ in uring.every(0.5) do
    uring.stderr:write(("\r%d of %s bytes"):format(count.bytes,
      count.length or "?"))
  end
end

-- The body, to stdout: how many bytes.
local function copy_body(conn, length, limit)
  local count = { bytes = 0, length = length }
  assert(not length or length <= limit, "the page is larger than the limit")
  uring.scope(function()
    uring.daemon(show, count)
    while not length or count.bytes < length do
      local bytes, message = conn:recv(math.min(PIECE,
        (length or math.huge) - count.bytes))
      if not bytes then
        assert(not message and not length, message or "it ended too early")
        break
      end
      count.bytes = count.bytes + #bytes
      assert(count.bytes <= limit, "the page is larger than the limit")
      assert(uring.stdout:write(bytes))
    end
  end)
  return count.bytes
end

local function fetch(to, limit)
  local conn <close> = assert(uring.tcp.connect(to.address))
  -- (1.0: an answer without a length ends with its connection)
  assert(conn:write("GET ", to.path, " HTTP/1.0\r\nHost: ", to.host,
    "\r\nUser-Agent: uring-fetch\r\nAccept: */*\r\n\r\n"))
  local status, line, length = read_head(conn)
  assert(status == 200, line)
  return copy_body(conn, length, limit)
end


local to = arg[1] and parse(arg[1])
local limit, seconds = tonumber(arg[2] or 64e6), tonumber(arg[3] or 30)
if not (to and limit and seconds) then
  io.stderr:write("usage: tools/env.sh plain lua5.4 "
    .. "examples/fetch.lua URL [LIMIT [SECONDS]]\n")
  os.exit(2)
end

local ok, bytes, message = pcall(uring.run, uring.timeout, seconds, fetch, to,
  limit)
if not ok then bytes, message = nil, tostring(bytes):match "[^\n]*" end
io.stderr:write("\r", bytes and bytes .. " bytes" or message, "\n")
os.exit(bytes and 0 or 1)
