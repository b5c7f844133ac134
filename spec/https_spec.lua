-- examples/https.lua, as it is started: what curl and openssl get from it, and
-- what it gets and refuses.

local certificates = require "certificates"
local helper = require "helper"
local net = require "net"
local program = require "program"
local spec = require "uring_spec"
local uring = require "uring"

local it = certificates.needed(it)
local patience <const> = 4 * net.patience
local pem <const> = certificates.path
local SIGTERM <const> = 15

local text <const> = net.bytes(10 << 20)
local top, server, address

local function serve(certificate, key)
  server = program.start("examples/https.lua", "serve", top,
    pem(certificate or "server.pem"), pem(key or "server.key"), "127.0.0.1:0")
  local line = server:line()
  address = line:match "^https://(127%.0%.0%.1:%d+)/$" or error(line)
end

-- The directory, and a server of it unless the test has its own.
local function ready()
  top = helper.tmpname()
  os.remove(top)
  assert(os.execute("mkdir " .. top))
  for name, content in pairs { ["index.html"] = "<p>hello", empty = "",
    large = text, ["a b"] = "a space" } do
    local file <close> = assert(io.open(top .. "/" .. name, "w"))
    file:write(content)
  end
end

after_each(function()
  net.close()
  program.stop()
  if top then os.execute("rm -rf " .. top) end
  top, server, address = nil, nil, nil
  helper.clean()
  helper.idle_loop()
end)

teardown(certificates.remove)

-- What curl sees: the status and the body.
local function curl(path, ...)
  local status, output = program.run("curl", "-s", "-w", "\n%{http_code}",
    "--cacert", pem "ca.pem", "https://" .. address .. path, ...)
  assert.equal(0, status, output)
  local body, code = output:match "^(.*)\n(%d+)$"
  return math.tointeger(code), body
end

-- The example as a client: its status, stdout and stderr. (In a task.)
local function get(url, ca, seconds)
  local lua = assert(io.open "/proc/self/cmdline"):read "a":match "^%Z+"
  local out, err, kind, code = assert(assert(uring.process { lua,
    "examples/https.lua", "get", url, ca and pem(ca), seconds,
    stdin = "null", stdout = "pipe", stderr = "pipe" }):communicate(nil,
    { timeout = 6 * patience, max = 1 << 25 }))
  assert.equal("exit", kind, err)
  return code, out, err
end

-- It must fail, and say so.
local function fails(words, ...)
  local code, out, err = get(...)
  assert.same({ 1, "" }, { code, out })
  assert.truthy(err:find(words, 1, true), err)
end

describe("examples/https.lua as a server", function()
  it("serves files to curl, and no others", function()
    program.needs "curl"
    ready()
    serve()
    assert.same({ 200, "<p>hello" }, { curl "/" })
    assert.same({ 200, "" }, { curl "/empty" })
    assert.same({ 200, "a space" }, { curl "/a%20b?x=1" })
    assert.same({ 200, "a space" }, { curl("/", "--request-target",
      "HTTPS://localhost/a%20b?x=1") })
    assert.same({ 200, "<p>hello" }, { curl("/", "--request-target",
      "https://localhost?x") })
    assert.same({ 404, "404 Not Found\n" }, { curl "/none" })
    assert.same({ 404, "404 Not Found\n" }, { curl "/a%00b" })
    for _, path in ipairs { "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
      "//etc/passwd" } do
      assert.equal(404, (curl(path, "--path-as-is")))
    end
    assert.same({ 405, "405 Method Not Allowed\n" }, { curl("/", "-d", "x") })
    local status, head = curl("/large", "-I")
    assert.equal(200, status)
    assert.truthy(head:find("Content-Length: " .. #text, 1, true), head)
    -- two requests of one connection
    local _, output = program.run("curl", "-sv", "--cacert", pem "ca.pem",
      "https://" .. address .. "/", "https://" .. address .. "/empty")
    assert.truthy(output:find "Re%-using existing connection", output)
  end)

  it("sends ten megabytes whole, to many at once", function()
    program.needs "curl"
    ready()
    serve()
    net.run(function()
      uring.map(4, { 1, 2, 3, 4 }, function(i)
        local out, err, _, code = assert(uring.process { "env", "-u",
          "LD_PRELOAD", "curl", "-s",
          i % 2 == 0 and "--tlsv1.3" or "--tls-max", i % 2 == 1 and "1.2"
          or "--http1.1", "--cacert", pem "ca.pem",
          "https://" .. address .. "/large", stdout = "pipe" }:communicate(nil,
          { timeout = 6 * patience, max = 1 << 25 }))
        assert.equal(0, code, err)
        assert.is_true(out == text)
      end)
    end)
  end)

  it("is refused by curl where it should be, and goes on", function()
    program.needs "curl"
    ready()
    serve()
    local refused = 60  -- (CURLE_PEER_FAILED_VERIFICATION)
    assert.equal(refused, (program.run("curl", "-s", "--cacert",
      pem "other.pem", "https://" .. address .. "/")))
    assert.truthy(server:line():find("unknown ca", 1, true))
    assert.equal(refused, (program.run("curl", "-s", "--cacert",
      pem "ca.pem", "--resolve", "example.org:443:127.0.0.1", "--connect-to",
      "example.org:443:" .. address, "https://example.org/")))
    assert.same({ 200, "<p>hello" }, { curl "/" })
  end)

  it("is not held up by clients that say nothing, or go away", function()
    ready()
    serve()
    net.run(function()
      for i = 1, 20 do
        local conn = net.keep(assert(uring.tcp.connect(address, patience)))
        if i % 3 == 0 then conn:send "\x16\x03\x01" end
        if i % 4 == 0 then conn:close() end
      end
      local code, out, err = get("https://" .. address .. "/", "ca.pem")
      assert.same({ 0, "<p>hello" }, { code, out }, err)
    end)
  end)

  it("takes time for a head in proportion to its length", function()
    ready()
    serve()
    net.run(function()
      local tls = dofile "examples/tls.lua"
      local context = assert(tls.context { cafile = pem "ca.pem" })
      local stream = net.keep(assert(tls.client(assert(uring.tcp.connect(
        address, patience)), context, "localhost")))
      stream:write("GET /", ("x"):rep(60000), " NONE\r\n\r\n")
      assert.is_nil((stream:read("l", patience)))
    end)
    assert(server:seconds() < 2 * helper.slow, "it took too long")
  end)

  it("finishes its answers when it is told to end", function()
    ready()
    serve()
    net.run(function()
      local tls = dofile "examples/tls.lua"
      local context = assert(tls.context { cafile = pem "ca.pem" })
      local function client()
        return net.keep(assert(tls.client(assert(uring.tcp.connect(address,
          patience)), context, "localhost")))
      end
      local idle, busy = client(), client()
      idle:write "GET / HTTP/1.1\r\n\r\n"
      assert(idle:read_until("<p>hello", 4096, patience))
      busy:write "GET /large HTTP/1.1\r\n\r\n"
      local head = assert(busy:read_until("\r\n\r\n", 4096, patience))
      assert.truthy(head:find "^HTTP/1.1 200 OK\r\n")
      spec.kill(server.pid, SIGTERM)
      assert.is_nil((idle:read("l", patience)))
      assert.is_true(busy:read(#text, 6 * patience) == text)
      assert.is_nil((busy:read("l", patience)))
    end)
    assert.same({ 0, "" }, { server:interrupt(0) })  -- (it ends by itself)
  end)
end)

describe("examples/https.lua as a client", function()
  it("gets pages from its own server", function()
    ready()
    serve()
    net.run(function()
      local port = address:match ":(%d+)"
      for _, host in ipairs { "localhost", "127.0.0.1" } do
        local code, out, err = get(("https://%s:%s/large#x"):format(host,
          port), "ca.pem")
        assert.equal(0, code, err)
        assert.is_true(out == text)
        assert.equal(#text .. " bytes\n", err)
      end
      assert.same({ 0, "<p>hello", "8 bytes\n" },
        { get(("https://localhost:%s?x"):format(port), "ca.pem") })
      fails("404 Not Found", ("https://localhost:%s/none"):format(port),
        "ca.pem")
      for _, ca in ipairs { false, "other.pem" } do
        fails("unable to get local issuer certificate",
          ("https://localhost:%s/"):format(port), ca or nil)
      end
    end)
  end)

  it("refuses a certificate of another host", function()
    ready()
    serve("other.pem", "other.key")
    net.run(function()
      fails("it is for another host", "https://" .. address, "other.pem")
    end)
  end)

  it("refuses a certificate that has expired", function()
    ready()
    serve "expired.pem"
    net.run(function()
      fails("certificate has expired", "https://localhost:"
        .. address:match ":(%d+)", "ca.pem")
    end)
  end)

  it("gets ten megabytes from s_server", function()
    ready()
    net.run(function()
      local process <close> = assert(uring.process { "openssl", "s_server",
        "-WWW", "-accept", "127.0.0.1:0", "-cert", pem "server.pem", "-key",
        pem "server.key", cwd = top, stdin = "pipe", stdout = "pipe",
        stderr = "null" })
      local port
      repeat
        port = process.stdout:read("l", patience):match "^ACCEPT .*:(%d+)$"
      until port
      local code, out, err = get(("https://localhost:%s/large"):format(port),
        "ca.pem")
      -- (it has no Content-Length: the end is told by close_notify)
      assert.equal(0, code, err)
      assert.is_true(out == text)
      process:kill "KILL"
    end)
  end)

  it("takes no longer than its time", function()
    certificates.path "ca.pem"
    net.run(function()
      local listener = net.listener()
      local url = "https://" .. tostring(listener:getsockname())
      fails("timed out", url, "ca.pem", "0.3")
    end)
  end)

  it("takes no page in chunks, nor one that was cut, for a whole one",
    function()
    net.run(function()
      local answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        .. "1\r\nx\r\n0\r\n\r\n"
      local tls = dofile "examples/tls.lua"
      local context = assert(tls.context { certificate = pem "server.pem",
        key = pem "server.key" })
      local listener = net.listener()
      uring.daemon(listener.serve, listener, function(conn)
        local stream <close> = assert(tls.server(conn, context))
        assert(stream:read_until("\r\n\r\n", 4096, patience))
        stream:write(answer)
        assert(stream:flush(patience))
        conn:shutdown "write"
        stream:read("a", patience)
      end)
      local url = "https://" .. tostring(listener:getsockname())
      fails("in chunks", url, "ca.pem")
      answer = "HTTP/1.0 200 OK\r\n\r\n"
      fails("close_notify", url, "ca.pem")
    end)
  end)

  it("says how it is used", function()
    for _, words in ipairs { {}, { "get" }, { "get", "http://x/" },
        { "serve", "." }, { "put", "https://x/" } } do
      local status, output = spec.execute(60 * helper.slow, "/proc/self/exe",
        "examples/https.lua", table.unpack(words))
      assert.equal(2, status)
      assert.truthy(output:find("usage", 1, true), output)
    end
  end)
end)
