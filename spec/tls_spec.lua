-- examples/tls.lua: TLS by LuaSec, with itself and with openssl(1).

local certificates = require "certificates"
local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = certificates.needed(it)
local E = uring.errno
local patience <const> = 4 * net.patience
local pem <const> = certificates.path

after_each(function()
  net.close()
  helper.idle_loop()
end)

teardown(certificates.remove)

local tls, ours, theirs  -- the module, a server's context, a client's

local function load_tls()
  tls = tls or dofile "examples/tls.lua"
  ours = ours or assert(tls.context { certificate = pem "server.pem",
    key = pem "server.key" })
  theirs = theirs or assert(tls.context { cafile = pem "ca.pem" })
end

local function run(f)
  load_tls()
  return net.run(f)
end

-- Handshakes of both ends of a connection: the client's result, and the
-- server's. (In a task.)
local function handshakes(a, b, host, context)
  local task = uring.spawn(tls.server, b, context or ours)
  local client, message, errno = tls.client(a, theirs, host or "localhost")
  local _, server, why = task:join(patience)
  return client and net.keep(client), server and net.keep(server), message,
    errno, why
end

-- Two streams over a connection. (In a task.)
local function streams(a, b)
  local client, server, message, _, why = handshakes(a, b)
  return assert(client, message), assert(server, why)
end

local function tcp_streams() return streams(net.tcp()) end

-- Writes these bytes to one stream and gets them from the other.
local function moves(from, to, bytes)
  local task = uring.spawn(to.read, to, #bytes, 6 * patience)
  assert(from:write(bytes))
  assert(from:flush(6 * patience))
  local _, got = task:join(6 * patience)
  return got == bytes
end

describe("a stream over TLS", function()
  it("reads and writes as any other does", function()
    run(function()
      local client, server = tcp_streams()
      client:write("one\n", 2, "\nthree")
      assert.equal("one", server:read("l", patience))
      assert.equal(2, server:read("n", patience))
      assert.equal("\nth", server:read(3, patience))
      server:unread("th"):write "answer\n"
      assert.equal("answer", client:read("l", patience))
      net.fails(E.ETIME, client:read("l", 0.01))
      assert.is_true(client:close())
      assert.equal("three", server:read("a", patience))
    end)
  end)

  it("moves megabytes both ways at once", function()
    run(function()
      local client, server = tcp_streams()
      local text = net.bytes(10 << 20)
      local task = uring.spawn(moves, server, client, text)
      assert.is_true(moves(client, server, text))
      assert.same({ true, true }, { task:join(6 * patience) })
    end)
  end)

  it("takes its bytes in whatever pieces they come", function()
    run(function()
      local a, b = net.pair()
      local c, d = net.pair()
      local function relay(from, to)  -- 1, 2, 3... bytes at a time
        for i = 1, math.huge do
          local bytes = from:recv(i % 100 + 1)
          if not (bytes and to:send(bytes)) then break end
        end
      end
      local there = uring.spawn(relay, b, c)
      local back = uring.spawn(relay, c, b)
      local client, server = streams(a, d)
      local text = net.bytes(50000)
      assert.is_true(moves(client, server, text))
      assert.is_true(moves(server, client, text))
      client:close()
      server:close()
      there:cancel()
      back:cancel()
      there:join()
      back:join()
    end)
  end)

  it("begins in the middle of a connection, with what was read ahead",
    function()
      run(function()
        local a, b = net.tcp()
        local task = uring.spawn(function()
          a:write "STARTTLS\n"  -- (and the first message with it)
          return tls.client(a, theirs, "localhost")
        end)
        net.turns(20)
        assert.equal("STARTTLS", b:read("l", patience))
        local server = net.keep(assert(tls.server(b, ours)))
        local _, client = task:join(patience)
        net.keep(client)
        assert.is_true(moves(client, server, "hello"))
      end)
    end)

  it("tells an end from a connection that was cut", function()
    run(function()
      local a, b = net.tcp()
      local client, server = streams(a, b)
      server:write "all"
      server:close()
      assert.equal("all", client:read("a", patience))
      assert.same({ n = 1 }, table.pack(client:read("l", patience)))
      a, b = net.tcp()
      client, server = streams(a, b)
      server:write "part"
      assert(server:flush(patience))
      b:shutdown "write"
      assert.equal("part", client:read(4, patience))
      local message = net.fails(E.ECONNRESET, client:read("a", patience))
      assert.truthy(message:find("close_notify", 1, true), message)
      server:write "more"
      net.fails(E.EPIPE, server:flush(patience))
    end)
  end)

  it("tells of bytes that are no TLS", function()
    run(function()
      local a, b = net.tcp()
      local _, server = streams(a, b)
      a:send "this is no record of TLS"
      local message = net.fails(E.EPROTO, server:read("l", patience))
      assert.truthy(message:find("TLS: ", 1, true), message)
    end)
  end)

  it("does not hold up other tasks when its peer does not read", function()
    run(function()
      local a, b = net.tcp()
      local client = streams(a, b)
      local writer = uring.spawn(function()
        local _ <close> = client
        local text = ("x"):rep(65536)
        while client:write(text) do end
      end)
      net.eventually(function()  -- the connection is full
        local before = writer:status()
        net.turns(50)
        return before == "waiting" and writer:status() == before
          and b:stats().waiting == 0
      end)
      local began, longest = uring.now(), 0
      writer:cancel()
      repeat  -- it lingers, and closes
        local before = uring.now()
        uring.sleep(0.005)
        longest = math.max(longest, uring.now() - before)
        assert(uring.now() - began < 2 * patience, "the close hangs")
      until writer:status() == "cancelled"
      assert(longest < 1 * helper.slow, longest)
    end)
  end)

  it("is collected with its connection, whatever waits in it", function()
    run(function()
      helper.keeps_fds(function()
        local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
        local tasks = #uring.tasks()
        local function dropped(i)
          local a = assert(uring.tcp.connect(listener:getsockname()))
          local b = assert(listener:accept(patience))
          local server = uring.spawn(tls.server, b, ours)
          local client = assert(tls.client(a, theirs, "localhost"))
          local _, stream = server:join(patience)
          if i > 1 then stream:write("x"):flush() end
          if i > 2 then net.fails(E.ETIME, client:read("l", 0.001)) end
          if i > 3 then net.fails(E.ETIME, stream:read("l", 0)) end
        end
        for i = 1, 5 do dropped(i) end
        net.eventually(function()
          helper.collect()
          return #uring.tasks() == tasks
        end)
      end)
    end)
  end)

  it("serves many at once, and leaves no descriptor open", function()
    run(function()
      helper.keeps_fds(function()
        local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
        local address = listener:getsockname()
        local server = uring.spawn(listener.serve, listener, function(conn)
          local stream <close> = assert(tls.server(conn, ours))
          for line in stream:lines() do stream:write(line:upper(), "\n") end
        end)
        local clients = {}
        for i = 1, 100 do clients[i] = i end
        local got = uring.map(50, clients, function(i)
          local stream <close> = assert(tls.client(
            assert(uring.tcp.connect(address)), theirs, "127.0.0.1"))
          stream:write("hello ", i, "\n")
          return stream:read("l", patience)
        end)
        for i = 1, 100 do assert.equal("HELLO " .. i, got[i]) end
        server:cancel()
        server:join()
      end)
    end)
  end)
end)

describe("a certificate", function()
  -- What a client says of a server with these.
  local function refused(words, host, certificate, ca)
    local a, b = net.tcp()
    local context = assert(tls.context {
      certificate = pem(certificate or "server.pem"),
      key = pem(certificate == "other.pem" and "other.key" or "server.key") })
    local before = theirs
    theirs = assert(tls.context { cafile = pem(ca or "ca.pem") })
    local client, server, message, errno = handshakes(a, b, host, context)
    theirs = before
    if words then
      assert.same({ host, nil, E.EACCES }, { host, client, errno })
      assert.truthy(message:find("TLS with ", 1, true), message)
      assert.truthy(message:find(words, 1, true), message)
      assert.equal("uring.Socket (closed)", tostring(a))
    else
      assert(client, message):close()
    end
    if server then server:close() end
  end

  it("is good for the names and addresses in it", function()
    run(function()
      for _, host in ipairs { "localhost", "LOCALHOST", "localhost.",
          "www.example.test", "127.0.0.1", "::1", "0:0::1" } do
        refused(nil, host)
      end
    end)
  end)

  it("is not for another host", function()
    run(function()
      for _, host in ipairs { "example.test", "a.b.example.test",
          "wwwexample.test", "localhost.example.org", "127.0.0.2", "::2",
          "*.example.test", ".example.test", "local", "1.0.0.127" } do
        refused("another host", host)
      end
    end)
  end)

  it("is refused where it is not to be trusted, which says why", function()
    run(function()
      refused("unable to get local issuer", "localhost", nil, "other.pem")
      refused("self-signed", "localhost", "other.pem")
      refused("expired", "localhost", "expired.pem")
      refused("purpose", "localhost", "client.pem")
      -- without a file it is the system's authorities
      local before = theirs
      theirs = assert(tls.context {})
      local client, server, message, errno = handshakes(net.tcp())
      theirs = before
      assert.same({ nil, E.EACCES }, { client, errno })
      assert.truthy(message:find("issuer", 1, true), message)
      server:close()
    end)
  end)

  it("that cannot be read is named", function()
    load_tls()
    for _, options in ipairs { { certificate = "/none.pem", key = "/none" },
        { certificate = pem "server.pem", key = pem "ca.key" },
        { cafile = "/none.pem" } } do
      local context, message = tls.context(options)
      assert.is_nil(context)
      local name = options.cafile or options.certificate
      assert.truthy(message:find(name, 1, true), message)
    end
  end)
end)

describe("a handshake", function()
  it("is not held up by the slow one of another", function()
    run(function()
      local _, slow = net.tcp()
      local waits = uring.spawn(uring.timeout, 60, tls.server, slow, ours)
      local _, half = net.tcp()
      local a = net.pair()
      net.turns()
      local client, server = tcp_streams()
      assert.is_true(moves(client, server, "hello"))
      assert.equal("waiting", waits:status())
      waits:cancel()
      half:close()
      a:close()
    end)
  end)

  it("leaves nothing behind where its time is over, or it is cancelled",
    function()
      run(function()
        helper.keeps_fds(function()
          for _, cut in ipairs { 0, 1, 5, 6, 100, 300, 517 } do
            for _, way in ipairs { "timeout", "cancel", "close" } do
              local a, b = net.tcp()
              local c, d = net.pair()
              -- the server gets so much of the client's first message
              local client = uring.spawn(tls.client, c, theirs, "localhost")
              local hello = d:recv(600, patience)
              if cut > 0 then a:send(hello:sub(1, cut)) end
              local server = uring.spawn(uring.timeout,
                way == "timeout" and 0.02 or 60, tls.server, b, ours)
              net.turns(5)
              if way == "cancel" then server:cancel() end
              if way == "close" then a:close() end
              local ok, stream, message = server:join(patience)
              assert(not ok or not stream)
              assert(way ~= "timeout" or message == "timed out", message)
              client:cancel()
              client:join()
              assert.equal("uring.Socket (closed)", tostring(b))
              assert.equal("uring.Socket (closed)", tostring(c))
              a:close()
              d:close()
            end
          end
        end)
      end)
    end)

  it("with what is no TLS fails, and says so", function()
    run(function()
      local a, b = net.tcp()
      a:send "GET / HTTP/1.0\r\n\r\n"
      local stream, message, errno = tls.server(b, ours)
      assert.same({ nil, E.EPROTO }, { stream, errno })
      assert.truthy(message:find("TLS: http request", 1, true), message)
      a, b = net.tcp()
      b:write "220 hello\r\n"
      stream, message, errno = tls.client(a, theirs, "localhost")
      assert.same({ nil, E.EPROTO }, { stream, errno })
      assert.truthy(message:find("wrong version", 1, true), message)
    end)
  end)
end)

describe("with openssl(1), TLS", function()
  -- openssl s_client, connected to our server, and the stream to it.
  local function s_client(stderr, ...)
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local process = net.keep(assert(uring.process { "openssl", "s_client",
      "-connect", tostring(listener:getsockname()), "-CAfile", pem "ca.pem",
      "-verify_return_error", "-verify_hostname", "localhost", stdin = "pipe",
      stdout = "pipe", stderr = stderr, ... }))
    local conn = assert(listener:accept(patience))
    return process, net.keep(assert(tls.server(conn, ours)))
  end

  it("serves s_client: ten megabytes both ways", function()
    run(function()
      for _, version in ipairs { "-tls1_2", "-tls1_3" } do
        local text = net.bytes(10 << 20)
        local process, stream = s_client("null", "-quiet", version)
        local sends = uring.spawn(function()
          return process.stdin:write(text):flush()
        end)
        assert.is_true(stream:read(#text, 6 * patience) == text)
        assert(sends:join(patience))
        local gets = uring.spawn(process.stdout.read, process.stdout, #text)
        assert(stream:write(text))
        stream:close()
        local _, got = gets:join(6 * patience)
        assert.is_true(got == text)
        assert.same({ "exit", 0 }, { process:wait(patience) })
      end
    end)
  end)

  it("goes on when the peer changes its keys", function()
    run(function()
      local process, stream = s_client("stdout", "-tls1_3")
      local line
      for i = 1, 3 do
        process.stdin:write "K\n"  -- (and ours, please)
        repeat
          line = process.stdout:read("l", patience)
        until line == "KEYUPDATE"
        process.stdin:write("x", i, "\n")
        line = stream:read("l", patience)
        assert.equal("x" .. i, line)
        stream:write("heard ", i, "\n")
        repeat
          line = process.stdout:read("l", patience)
        until line == "heard " .. i
      end
    end)
  end)

  it("is not renegotiated: it ends for that client alone", function()
    run(function()
      local process, stream = s_client("null", "-tls1_2")
      process.stdin:write "hello\n"
      assert.equal("hello", stream:read("l", patience))
      process.stdin:write "R\n"
      assert.is_nil((stream:read("l", patience)))
      local client, server = tcp_streams()
      assert.is_true(moves(client, server, "hello"))
    end)
  end)

  it("gets ten megabytes from s_server, and gives it as many", function()
    run(function()
      for _, version in ipairs { "-tls1_2", "-tls1_3" } do
        local free <close> = assert(uring.tcp.listen "127.0.0.1:0")
        local address = tostring(free:getsockname())
        free:close()
        local process = net.keep(assert(uring.process { "openssl", "s_server",
          "-quiet", version, "-accept", address, "-cert", pem "server.pem",
          "-key", pem "server.key", stdin = "pipe", stdout = "pipe",
          stderr = "null" }))
        local conn = net.eventually(function()
          return (uring.tcp.connect(address, patience))
        end)
        local stream = net.keep(assert(tls.client(conn, theirs, "localhost")))
        local text = net.bytes(10 << 20)
        local gets = uring.spawn(process.stdout.read, process.stdout, #text)
        assert(stream:write(text):flush(6 * patience))
        local _, got = gets:join(6 * patience)
        assert.is_true(got == text)
        uring.spawn(function() process.stdin:write(text):flush() end)
        assert.is_true(stream:read(#text, 6 * patience) == text)
        stream:close()
      end
    end)
  end)

  it("of an old version is refused", function()
    run(function()
      local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
      local process <close> = assert(uring.process { "openssl", "s_client",
        "-connect", tostring(listener:getsockname()), "-tls1_1", "-cipher",
        "ALL:@SECLEVEL=0", stdin = "pipe", stdout = "null", stderr = "null" })
      local conn = assert(listener:accept(patience))
      local stream, message, errno = tls.server(conn, ours)
      assert.same({ nil, E.EPROTO }, { stream, errno })
      assert.truthy(message:find("unsupported protocol", 1, true), message)
      process:kill "KILL"
    end)
  end)
end)
