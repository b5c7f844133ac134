-- What is written for LuaSocket runs unchanged over uring.compat.socket, many
-- at once: LuaSocket's own Lua files, and a client of Redis. (Each test is
-- a program of its own, for it changes what require gives.)

local helper = require "helper"
local program = require "program"
local web = require "web"

local it = helper.needs_ring(it)

after_each(function()
  program.stop()
  helper.clean()
end)

-- Where Debian has files of its own for another version of Lua.
local OTHERS <const> = { "/usr/share/lua/5.3/?.lua",
  "/usr/share/lua/5.1/?.lua" }

-- In a test: the path of a module of others, or the test is skipped.
local function needs(name, package_name)
  local path = package.path .. ";" .. table.concat(OTHERS, ";")
  return package.searchpath(name, path)
    or helper.skip("needs %s (Debian: %s)", name, package_name)
end

-- Runs a function that has no upvalues in a program of its own, in a task,
-- with these arguments, as strings.
local function run(main, ...)
  needs("socket.http", "lua-socket")
  return helper.script_ok(([[
    require "uring.compat.socket".install()
    require "uring".run(load(%q), ...)
  ]]):format(string.dump(main)), ...)
end

describe("socket.http", function()
  it("makes many requests at once", function()
    assert.equal("50\n", run(function()
      local http, uring = require "socket.http", require "uring"
      local listener = assert(uring.tcp.listen "127.0.0.1:0")
      local url = ("http://%s/"):format(listener:getsockname())
      local asked, answers = 0, 0
      local all_have_asked = uring.channel()
      uring.spawn(function()
        listener:serve(function(conn)
          conn:read_until("\r\n\r\n", 65536)
          asked = asked + 1
          if asked == 50 then all_have_asked:close() end
          all_have_asked:receive()          -- before that none is answered
          conn:write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        end)
      end)
      uring.scope(function(scope)
        for _ = 1, 50 do
          scope:spawn(function()
            local body, code = http.request(url)
            assert(body == "hello" and code == 200, code)
            answers = answers + 1
          end)
        end
      end)
      listener:close()
      print(answers)
    end))
  end)

  it("fetches files from examples/httpd.lua", function()
    local top = helper.tmpname()
    os.remove(top)
    assert(os.execute(("mkdir -p %s/sub"):format(top)))
    local large = ("0123456789abcdef"):rep(1 << 16)
    for name, text in pairs { ["sub/index.html"] = "<p>hello",
        ["empty.txt"] = "", ["large.txt"] = large } do
      local file <close> = assert(io.open(top .. "/" .. name, "w"))
      file:write(text)
    end
    local server = program.start("examples/httpd.lua", top, "127.0.0.1:0",
      "/dev/null")
    local base = server:line():match "http://%S+/" or error "no address"
    local output = run(function(url)
      local http, ltn12 = require "socket.http", require "ltn12"
      local uring = require "uring"
      local function fetch(path)
        local body, code = http.request(url .. path)
        return code, #body
      end
      print(fetch "sub/")
      print(fetch "sub")                   -- (it is redirected)
      print(fetch "empty.txt")
      print((fetch "nothing"))
      local chunks = {}
      local _, code, headers = http.request { url = url .. "large.txt",
        method = "HEAD", sink = ltn12.sink.table(chunks) }
      print(code, headers["content-length"], #chunks)
      _, code = http.request { url = url .. "large.txt",
        headers = { range = "bytes=16-31" }, sink = ltn12.sink.table(chunks) }
      print(code, table.concat(chunks))
      local paths, sum = {}, 0
      for i = 1, 60 do paths[i] = i % 3 == 0 and "large.txt" or "sub/" end
      local sizes = uring.map(20, paths, function(path)
        return (select(2, fetch(path)))
      end)
      for _, size in ipairs(sizes) do sum = sum + size end
      print(#sizes, sum)
    end, base)
    os.execute("rm -rf " .. top)
    assert.equal(("200\t8\n200\t8\n200\t0\n404\n200\t%d\t0\n"
      .. "206\t0123456789abcdef\n60\t%d\n"):format(#large,
      20 * #large + 40 * 8), output)
  end)

  it("sends and receives chunks", function()
    assert.equal("echo: one two three\n", run(function()
      local http, ltn12 = require "socket.http", require "ltn12"
      local uring = require "uring"
      local listener = assert(uring.tcp.listen "127.0.0.1:0")
      uring.spawn(function()
        local conn <close> = assert(listener:accept())
        conn:read_until("\r\n\r\n", 65536)
        conn:write("HTTP/1.1 100 Continue\r\n\r\n",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
          "6\r\necho: \r\n")
        while true do
          local size = tonumber(conn:read "l", 16)
          local chunk = size > 0 and conn:read(size) or ""
          conn:read "l"
          if size == 0 then break end
          conn:write(("%x"):format(size), ";extension\r\n", chunk, "\r\n")
        end
        conn:write "0\r\nTrailer: yes\r\n\r\n"
      end)
      local got = {}
      local words = { "one ", "two ", "three" }
      assert(http.request {
        url = ("http://%s/"):format(listener:getsockname()),
        method = "POST", source = ltn12.source.table(words),
        sink = ltn12.sink.table(got),
      })
      listener:close()
      print(table.concat(got))
    end))
  end)

  it("gives errors as it does, and closes what it has opened", function()
    assert.equal([[
nil	connection refused
nil	host or service not provided, or not known
nil	timeout
nil	closed
125
0
]], run(function()
      local http, uring = require "socket.http", require "uring"
      local spec, collect = require "uring_spec", require("helper").collect
      http.request "http://no-such-host.invalid/"
      local before = spec.fds()
      print(http.request "http://127.0.0.1:1/")
      print(http.request "http://no-such-host.invalid/")
      local listener = assert(uring.tcp.listen "127.0.0.1:0")
      local url = ("http://%s/"):format(listener:getsockname())
      http.TIMEOUT = 0.02
      print(http.request(url))
      http.TIMEOUT = 60
      local task = uring.spawn(http.request, url)
      assert(listener:accept()):close()
      assert(listener:accept()):close()
      print(select(2, task:join()))
      task = uring.spawn(http.request, url)
      local conn = assert(listener:accept())
      task:cancel()
      print((select(3, task:join())))
      conn:close()
      listener:close()
      collect()
      print(spec.fds() - before)
    end))
  end)
end)

describe("socket.smtp", function()
  it("sends mails, several at once, to a server", function()
    local output = run(function()
      local smtp, mime = require "socket.smtp", require "mime"
      local ltn12, uring = require "ltn12", require "uring"

      -- a server that takes mails, and keeps them
      local listener = assert(uring.tcp.listen "127.0.0.1:0")
      local mails = {}
      local function serve(conn)
        local mail = { to = {} }
        local function say(line) conn:write(line, "\r\n") end
        local commands = {
          EHLO = function() say "250-sink" say "250 AUTH PLAIN" end,
          AUTH = function(text)
            mail.auth = mime.unb64((text:match "^PLAIN (.*)"))
            say "235 welcome"
          end,
          MAIL = function(text) mail.from = text say "250 ok" end,
          RCPT = function(text)
            mail.to[#mail.to + 1] = text
            say(text:find("no-one", 1, true) and "550 no such user"
              or "250 ok")
          end,
          DATA = function()
            say "354 go on"
            mail.text = conn:read_until("\r\n.\r\n", 1 << 20)
            mails[mail.from] = mail
            say "250 taken"
          end,
          QUIT = function() say "221 bye" end,
        }
        say "220 sink"
        for line in conn:lines() do
          local word, text = line:match "^(%u+) ?(.-)\r$"
          commands[word](text)
          if word == "QUIT" then return end
        end
      end
      uring.spawn(function() listener:serve(serve) end)

      local port = listener:getsockname().port
      local function send(i, rcpt)
        return smtp.send {
          server = "127.0.0.1", port = port, user = "me", password = "secret",
          from = ("<%d@example.test>"):format(i), rcpt = rcpt,
          source = smtp.message {
            headers = { subject = "number " .. i },
            body = {
              { body = "the text\r\n.with a dot\r\n" },
              { headers = { ["content-type"] = "application/octet-stream",
                  ["content-transfer-encoding"] = "base64" },
                body = ltn12.source.chain(
                  ltn12.source.string(("binary"):rep(1000)),
                  ltn12.filter.chain(mime.encode "base64", mime.wrap())) },
            },
          },
        }
      end
      uring.scope(function(scope)
        for i = 1, 10 do
          scope:spawn(function() assert(send(i, { "<a@b>", "<c@d>" })) end)
        end
      end)
      print(send(11, "<no-one@b>"))
      listener:close()
      local n = 0
      for i = 1, 10 do
        local mail = mails[("FROM:<%d@example.test>"):format(i)]
        assert(#mail.to == 2 and mail.auth == "\0me\0secret")
        assert(mail.text:find("Subject: number " .. i, 1, true))
        assert(mail.text:find("\r\n..with a dot\r\n", 1, true))
        local code = mail.text:match "\r\n\r\n(YmluYXJ5[%w+/=\r\n]+)"
        assert(mime.unb64((code:gsub("%s", ""))) == ("binary"):rep(1000))
        n = n + 1
      end
      print(n)
    end)
    assert.equal("nil\t550 no such user\n10\n", output)
  end)
end)

describe("ltn12", function()
  it("pumps between sockets, files and tables", function()
    local name = helper.file(("line\r\n"):rep(20000))
    assert.equal("120000\ttrue\n", run(function(path)
      local socket, ltn12 = require "socket", require "ltn12"
      local uring = require "uring"
      local listener = assert(socket.bind("127.0.0.1", 0))
      local ip, port = listener:getsockname()
      local sender = uring.spawn(function()
        local conn = assert(listener:accept())
        assert(ltn12.pump.all(ltn12.source.file(io.open(path)),
          socket.sink("close-when-done", conn)))
      end)
      local sink, parts = ltn12.sink.table()
      local conn = assert(socket.connect(ip, port))
      assert(ltn12.pump.all(socket.source("until-closed", conn), sink))
      assert(sender:join())
      listener:close()
      local all = table.concat(parts)
      print(#all, all == ("line\r\n"):rep(20000))
    end, name))
  end)
end)

describe("a client that is written for LuaSocket", function()
  it("talks to Redis, from many tasks at once", function()
    program.needs "redis-server"
    local file = needs("redis", "lua-redis")
    local port = web.port()
    program.command("redis-server", "--port", tostring(port), "--save", "",
      "--bind", "127.0.0.1", "--dir", "/tmp")
    web.wait_for(port)
    local output = run(function(path, at)
      local redis, uring = dofile(path), require "uring"
      local client = redis.connect("127.0.0.1", at)
      assert(client:ping())
      print(client:set("key", "a\r\nvalue"), client:get "key" == "a\r\nvalue")
      print(client:get "no such key")
      assert(client:set("large", ("x"):rep(1 << 20)))
      print(#client:get "large")
      for _, word in ipairs { "one", "two", "three" } do
        client:rpush("list", word)
      end
      print(table.concat(client:lrange("list", 0, -1), " "))
      local ok, why = pcall(client.incr, client, "key")
      print(ok, (why:match "ERR [%w ]+"))
      uring.scope(function(scope)
        for _ = 1, 20 do
          scope:spawn(function()
            local own = redis.connect { host = "127.0.0.1", port = at,
              timeout = 60 }
            for _ = 1, 10 do own:incr "count" end
            own:quit()
          end)
        end
      end)
      print(client:get "count")
      -- one that waits for what another does
      local waiter = uring.spawn(function()
        local own = redis.connect("127.0.0.1", at)
        return table.concat(own:blpop("queue", 0), " ")
      end)
      uring.sleep(0.01)
      client:lpush("queue", "job")
      print(waiter:join())
      client:quit()
    end, file, tostring(port))
    assert.equal("true\ttrue\nnil\n1048576\none two three\nfalse\t"
      .. "ERR value is not an integer or out of range\n200\n"
      .. "true\tqueue job\n", output)
  end)
end)
