-- examples/httpd.lua: what curl and wrk get, what its limits are, and that
-- nothing outside of its directory is served.

local helper = require "helper"
local net = require "net"
local program = require "program"
local spec = require "uring_spec"
local uring = require "uring"
local web = require "web"

local it = helper.needs_ring(it)
local patience <const> = 4 * net.patience
local SIGTERM <const> = 15

-- ---- a directory and a server ---------------------------------------------

local top, server, port

local function shell(command, ...)
  assert(os.execute(("cd %s && " .. command):format(top, ...)))
end

local function file(name, content)
  local f <close> = assert(io.open(top .. "/" .. name, "w"))
  f:write(content)
end

before_each(function()
  if not helper.probe.available then return end
  top = helper.tmpname()
  os.remove(top)
  assert(os.execute("mkdir -p " .. top .. "/www/sub"))
  file("secret", "secret")
  file("www/index.html", "<p>hello")
  file("www/sub/index.html", "<p>sub")
  file("www/digits.txt", "0123456789")
  server = program.start("examples/httpd.lua", top .. "/www", "127.0.0.1:0",
    top .. "/log")
  port = tonumber(server:line():match ":(%d+)/")
end)

after_each(function()
  net.close()
  program.stop()
  if top then os.execute("rm -rf " .. top) end
  helper.clean()
end)

-- One answer of a connection: status, body, and the head.
local function answer_of(conn, method)
  local head, message = conn:read_until("\r\n\r\n", 65536, patience)
  if not head then return nil, message end
  local size = head:match "[Cc]ontent%-[Ll]ength: (%d+)"
  local body = ""
  if size and tonumber(size) > 0 and method ~= "HEAD" then
    body = conn:read(tonumber(size), patience)
  end
  return tonumber(head:match "^HTTP/1.1 (%d+)"), body, head
end

local function connect()
  return net.keep(assert(uring.tcp.connect("127.0.0.1:" .. port, patience)))
end

-- What is answered to these bytes, on a connection of their own. (In a task.)
local function asked(bytes, method)
  local conn = connect()
  conn:write(bytes)
  local status, body, head = answer_of(conn, method)
  conn:close()
  return status, body, head
end

local function get(target, fields)
  return asked(("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"):format(target,
    fields or ""))
end


describe("examples/httpd.lua", function()
  it("serves files, parts of files, and heads to curl", function()
    program.needs "curl"
    assert.same({ 200, "<p>hello" }, { web.get(port, "/") })
    assert.same({ 200, "<p>sub" }, { web.get(port, "/sub/") })
    assert.same({ 200, "<p>sub" }, { web.get(port, "/sub", "-L") })
    assert.same({ 200, "0123456789" }, { web.get(port, "/digi%74s.txt?x=1") })
    assert.same({ 404, "404 Not Found\n" }, { web.get(port, "/none") })
    assert.same({ 404, "404 Not Found\n" }, { web.get(port, "/index.html/x") })
    for range, want in pairs { ["0-3"] = "0123", ["5-"] = "56789",
      ["-2"] = "89", ["8-100"] = "89", ["-100"] = "0123456789" } do
      local status, body = web.get(port, "/digits.txt", "-r", range)
      assert.equal(want, body)
      assert.equal(#want == 10 and 200 or 206, status)
    end
    assert.equal(416, (web.get(port, "/digits.txt", "-r", "10-20")))
    assert.equal(200, (web.get(port, "/digits.txt", "-r", "5-2")))
    local _, head = web.get(port, "/digits.txt", "-I")
    assert.truthy(head:find("Content-Length: 10", 1, true), head)
    local modified = head:match "Last%-Modified: ([^\r]+)"
    assert.equal(304, (web.get(port, "/digits.txt", "-H",
      "If-Modified-Since: " .. modified)))
    assert.equal(405, (web.get(port, "/digits.txt", "-d", "x=1")))
  end)

  it("answers conditions before ranges, and heads without these", function()
    net.run(function()
      local _, _, head = get "/digits.txt"
      local since = "If-Modified-Since: "
        .. head:match "Last%-Modified: ([^\r]+\r\n)"
      for range, size in pairs { ["0-1"] = 10, ["50-"] = 10, ["0-"] = 10 } do
        local status, _, got = asked(("GET /digits.txt HTTP/1.1\r\nHost: x\r\n"
          .. "%sRange: bytes=%s\r\n\r\n"):format(since, range), "HEAD")
        assert.same({ 304, size }, { status,
          tonumber(got:match "Content%-Length: (%d+)") })
      end
      assert.equal(200, (get("/digits.txt", since
        .. "If-None-Match: \"x\"\r\n")))
      local status, _, got = asked("HEAD /digits.txt HTTP/1.1\r\nHost: x\r\n"
        .. "Range: bytes=0-1\r\n\r\n", "HEAD")
      assert.equal(200, status)
      assert.truthy(got:find("Content-Length: 10\r\n", 1, true), got)
      assert.is_nil(got:find "Content%-Range")
    end)
  end)

  it("takes whole URLs, and sends directories to their names", function()
    shell "mkdir -p www/odd/index.html"
    net.run(function()
      for _, target in ipairs { "http://x", "http://x?y", "http://x/",
        "HTTP://x:80/index.html#z" } do
        local status, body = get(target)
        assert.same({ 200, "<p>hello" }, { status, body })
      end
      assert.equal(400, (get "ftp://x/"))
      local _, _, head = get "/sub?a=/b"
      assert.truthy(head:find("\r\nLocation: /sub/?a=/b\r\n", 1, true), head)
      assert.equal(403, (get "/odd/"))  -- (its index is no file)
      assert.equal(301, (get "/odd"))
    end)
  end)

  it("asks for the body that a client waits to send", function()
    net.run(function()
      local conn = connect()
      conn:write("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        .. "Content-Length: 3\r\n\r\n")
      assert.equal(100, (answer_of(conn)))
      conn:write("abcGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        .. "Connection: x\r\n\r\n")
      assert.equal(405, (answer_of(conn)))
      assert.equal(200, (answer_of(conn)))
      assert.is_nil((conn:read(1, patience)))
    end)
  end)

  it("sends large files whole, to many clients at once", function()
    local text = net.bytes(3000000)
    file("www/large", text)
    net.run(function()
      local all = uring.map(10, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 },
        function()
          local conn = connect()
          conn:limit(math.huge):write "GET /large HTTP/1.0\r\n\r\n"
          local status, body = answer_of(conn)
          return status == 200 and body == text and not conn:read(1, patience)
        end)
      for i = 1, 12 do assert.is_true(all[i]) end
    end)
  end)

  it("keeps a connection, and answers requests in their order", function()
    net.run(function()
      local conn = connect()
      for _ = 1, 50 do
        conn:write("GET /digits.txt HTTP/1.1\r\nHost: x\r\n\r\n"
          .. "HEAD /digits.txt HTTP/1.1\r\nHost: x\r\n\r\n"
          .. "GET /none HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert.same({ 200, "0123456789" },
          { table.unpack({ answer_of(conn) }, 1, 2) })
        assert.same({ 200, "" },
          { table.unpack({ answer_of(conn, "HEAD") }, 1, 2) })
        assert.equal(404, (answer_of(conn)))
      end
      conn:write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      assert.equal(200, (answer_of(conn)))
      assert.is_nil((conn:read(1, patience)))
    end)
  end)

  it("serves nothing outside of its directory", function()
    shell "ln -s ../secret www/link && ln -s / www/root"
    shell("ln -s %s/secret www/absolute && ln -s sub www/inside", top)
    net.run(function()
      for _, target in ipairs { "/../secret", "/%2e%2e/secret",
        "/..%2fsecret", "/sub/../../secret", "/sub/%2e%2e/%2E%2E/secret",
        "/link", "/root/etc/passwd", "/absolute", "//../secret",
        "/./../secret", "/sub/..%2f../secret", "http://x/../secret",
        "/%2e%2e%2fsecret", "/....//secret", "/%252e%252e/secret",
        "/..\\secret", "/..%5csecret", "/%c0%ae%c0%ae/secret",
        "//etc/passwd", "/%2fetc/passwd", "/link/", "/sub/../link" } do
        local status, body = get(target)
        assert.is_true(status == 403 or status == 404, target)
        assert.is_nil(body:find("secret", 1, true))
      end
      assert.equal(200, (get "/inside/index.html"))
      assert.equal(200, (get "/sub/../digits.txt"))
      local _, _, head = get "//sub"
      assert.truthy(head:find("\r\nLocation: /sub/\r\n", 1, true), head)
    end)
  end)

  it("serves nothing outside while a link is swapped", function()
    shell "mkdir out && cp secret out/digits.txt && cp -r www/sub in"
    file("www/sub/digits.txt", "inside")
    net.run(function()
      local swapped = 0
      local swapping = uring.daemon(function()
        while true do
          shell("ln -sfn %s www/swap", swapped % 2 == 0 and "sub" or "../out")
          swapped = swapped + 1
          uring.sleep(0.001)
        end
      end)
      local seen = {}
      net.eventually(function()
        for _ = 1, 20 do
          local status, body = get "/swap/digits.txt"
          seen[status] = true
          assert.is_true(status == 200 and body == "inside" or status == 403
            or status == 404, body)
        end
        return seen[200] and seen[403] and swapped > 10
      end)
      swapping:cancel()
    end)
  end)

  it("serves regular files only", function()
    shell "mkfifo www/fifo"
    os.execute(("mknod %s/www/zero c 1 5 2>/dev/null"):format(top))  -- (root)
    net.run(function()
      for _ = 1, 3 do
        assert.equal(403, (get "/fifo"))
        assert.is_true(({ [403] = true, [404] = true })[get "/zero"])
      end
      assert.equal(301, (get "/sub"))
    end)
  end)

  it("refuses what is no request, or more than one", function()
    net.run(function()
      local function is(status, bytes)
        assert.equal(status, (asked(bytes)), bytes)
      end
      is(400, "nonsense\r\n\r\n")
      is(400, "GET / HTTP/1.1\r\n\r\n")
      is(400, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n")
      is(400, "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n")
      is(400, "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n")
      is(400, "GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n")
      is(400, "GET / HTTP/1.1\r\nHost : x\r\n\r\n")
      is(400, "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n")
      is(400, "GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n")
      is(400, "GET no-slash HTTP/1.1\r\nHost: x\r\n\r\n")
      is(505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n")
      is(400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
        .. "Transfer-Encoding: chunked\r\n\r\n")
      is(400, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
        .. "Content-Length: 4\r\n\r\n")
      is(400, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\n")
      is(413, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999"
        .. "999\r\n\r\n")
      local cut = connect()
      cut:write "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"
      assert(cut:shutdown "write")  -- (what is late would be a request)
      assert.equal(408, (answer_of(cut)))
      assert.is_nil((cut:read(1, patience)))
      is(414, ("GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"):format(("a"):rep(8200)))
      is(431, ("GET / HTTP/1.1\r\nHost: x\r\n%s\r\n"):format(
        ("a: b\r\n"):rep(100)))
      is(431, ("GET / HTTP/1.1\r\nHost: x\r\nbig: %s"):format(
        ("b"):rep(40000)))
      assert.equal(200, (get "/"))
    end)
  end)

  it("takes time for a head in proportion to its length", function()
    local blank = (" "):rep(32000)
    net.run(function()
      for field, status in pairs { ["x" .. blank .. "x "] = 200,
        [blank] = 200, [blank .. "\0"] = 400, [blank .. "x\n"] = 400 } do
        assert.equal(status, (asked("GET / HTTP/1.1\r\nHost: x\r\nA:" .. field
          .. "\r\n\r\n")))
      end
    end)
    assert(server:seconds() < 2 * helper.slow, "it took too long")
  end)

  it("serves others beside silent and slow ones, by one thread", function()
    local large <const> = 8 << 20
    file("www/large", ("x"):rep(large))
    local clients <const> = 1000
    local limit = tonumber(io.popen("ulimit -n"):read "a")
    if not limit or limit < clients + 100 then
      helper.skip("needs more descriptors (ulimit -n is %s)", limit)
    end
    local function threads()
      return tonumber(helper.content(("/proc/%d/status"):format(server.pid))
        :match "Threads:%s+(%d+)")
    end
    net.run(function()
      get "/"
      local before = threads()
      -- (with small windows, or the server fills gigabytes of buffers)
      uring.map(50, table.pack(("x"):rep(clients - 10):byte(1, -1)),
        function(_, i)
          local conn = net.keep(assert(uring.socket(uring.AF_INET,
            uring.SOCK_STREAM)))
          assert(conn:setsockopt("SO_RCVBUF", 8192))
          assert(conn:connect("127.0.0.1:" .. port, patience))
          if i % 50 == 0 then conn:write "GET / HTTP/1.1\r\nHo"  -- no more
          elseif i % 50 > 1 then
            conn:write("GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert(conn:flush(patience))
          end
        end)
      for _ = 1, 20 do assert.equal(200, (get "/digits.txt")) end
      -- (the kernel's few for requests that block; not one for each client)
      assert.is_true(threads() <= before + 8)
    end, 24)
  end)

  it("answers wrk", function()
    program.needs "wrk"
    for path, size in pairs { ["/digits.txt"] = 10, ["/large"] = 300000 } do
      if size > 10 then file("www" .. path, ("x"):rep(size)) end
      assert.is_true(web.load(port, path, 50) >= 1)
    end
  end)

  it("ends with TERM when its answers have ended, and has logged", function()
    local text = net.bytes(4000000)
    file("www/large", text)
    net.run(function()
      local idle, busy = connect(), connect()
      idle:write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      assert.equal(200, (answer_of(idle)))
      busy:limit(math.huge):write("GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
      local head = assert(busy:read_until("\r\n\r\n", 65536, patience))
      assert.truthy(head:find "^HTTP/1.1 200")
      spec.kill(server.pid, SIGTERM)
      assert.is_nil((idle:read(1, patience)))  -- it waited for a request
      net.eventually(function()
        return not uring.tcp.connect("127.0.0.1:" .. port, patience)
      end)
      assert.is_true(busy:read(#text, patience) == text)
      assert.is_nil((busy:read(1, patience)))
    end)
    assert.equal(0, (server:interrupt(0)))  -- (it ends by itself)
    local log = helper.content(top .. "/log")
    assert.truthy(log:find('"GET / HTTP/1.1" 200 8\n', 1, true), log)
    assert.truthy(log:find('"GET /large HTTP/1.1" 200 4000000\n', 1, true),
      log)
  end)
end)
