-- examples/fetch.lua and examples/chat.lua, as they are started.

local helper = require "helper"
local net = require "net"
local program = require "program"
local uring = require "uring"

local it = helper.needs_ring(it)
local patience <const> = 4 * net.patience
local start <const> = program.example

after_each(function()
  net.close()
  helper.idle_loop()
end)

describe("examples/fetch.lua", function()
  -- Fetch from a server that answers with f(conn, head): status, stdout,
  -- stderr. %s in the URL is the server's port.
  local function fetch(f, url, ...)
    local words = { ... }
    return net.run(function()
      local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
      uring.daemon(listener.serve, listener, function(conn)
        f(conn, assert(conn:read_until("\r\n\r\n", 4096, patience)))
      end)
      url = url:format(listener:getsockname().port)
      local out, err, kind, code = assert(start("fetch", url,
        table.unpack(words)):communicate(nil, { timeout = patience,
        max = 1 << 24 }))
      assert.equal("exit", kind, err)
      return code, out, err
    end)
  end

  local function page(body, head)
    return function(conn)
      conn:write(head or "HTTP/1.1 200 OK\r\n\r\n", body)
    end
  end

  it("writes the page, by name and path", function()
    local asked
    local code, out, err = fetch(function(conn, head)
      asked = head
      conn:write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n",
        "not of the page")
      conn:read("a", patience)  -- (it stays open)
    end, "http://localhost:%d/a?b=c#d")
    assert.same({ 0, "hello\n" }, { code, out })
    assert(asked:find("^GET /a%?b=c HTTP/1.0\r\nHost: localhost:%d+\r\n"),
      asked)
    assert(err:find("\r6 bytes\n", 1, true), err)
  end)

  it("takes a page without a length up to its end", function()
    local body = ("0123456789abcdef"):rep(100000)
    local code, out = fetch(page(body), "http://127.0.0.1:%d")
    assert.equal(0, code)
    assert(out == body)
  end)

  it("tells its progress", function()
    local code, _, err = fetch(function(conn)
      conn:write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
      conn:flush(patience)
      uring.sleep(1.5)
      conn:write("cd")
    end, "http://127.0.0.1:%d/")
    assert.equal(0, code, err)
    assert(err:find("\r2 of 4 bytes", 1, true), err)
  end)

  it("takes no more than its limit", function()
    local long = "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n"
    for _, head in ipairs { long, "HTTP/1.1 200 OK\r\n\r\n" } do
      local code, out, err = fetch(page(("x"):rep(1001), head),
        "http://127.0.0.1:%d/", "1000")
      assert.equal(1, code)
      assert(#out <= 1000)
      assert(err:find("larger than the limit", 1, true), err)
    end
  end)

  it("takes no longer than its time", function()
    for _, first in ipairs { "", "HTTP/1.1 200 OK\r\n\r\nx" } do
      local code, _, err = fetch(function(conn)
        conn:write(first)
        conn:read("a", patience)
      end, "http://127.0.0.1:%d/", "1000", "0.3")
      assert.equal(1, code)
      assert(err:find("timed out", 1, true), err)
    end
  end)

  it("says what goes wrong", function()
    local cases = {
      ["404 Not Found"] = page("", "HTTP/1.1 404 Not Found\r\n\r\n"),
      ["410 Gone"] = page("0\r\n\r\n",
        "HTTP/1.1 410 Gone\r\nTransfer-Encoding: chunked\r\n\r\n"),
      ["not HTTP"] = page("", "SSH-2.0\r\n\r\n"),
      ["ended too early"] = page("x",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
      ["larger than the limit"] = page("x",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
      ["in chunks"] = page("1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
      ["closed the connection"] = page("", ""),
    }
    for words, f in pairs(cases) do
      local code, _, err = fetch(f, "http://127.0.0.1:%d/")
      assert.equal(1, code)
      assert(err:find(words, 1, true), err)
    end
    local code, _, err = fetch(page "", "ftp://127.0.0.1:%d/")
    assert.equal(2, code)
    assert(err:find("usage", 1, true), err)
  end)
end)

describe("examples/chat.lua", function()
  -- Starts it, and calls f(connect, process).
  local function chat(f)
    net.run(function()
      local p <close> = start("chat", "127.0.0.1:0")
      local address = p.stdout:read("l", patience):match "^chat on (.+)$"
      f(function(name)
        local conn = assert(uring.tcp.connect(address, patience))
        net.keep(conn)
        assert.equal("* this is room lobby", conn:read("l", patience))
        if name then
          conn:write("/name ", name, "\n")
        end
        return conn
      end, p)
    end)
  end

  -- The lines of a client up to this one.
  local function hears(conn, words)
    for line in conn:lines("l", { timeout = patience }) do
      if line == words then return end
    end
    error("not heard: " .. words, 2)
  end

  it("sends what a client writes to the others of its room", function()
    chat(function(connect)
      local a, b = connect(), connect "bob"
      hears(a, ("* %s is now bob"):format(b:getsockname()))
      a:write("/name ann\n")
      hears(b, ("* %s is now ann"):format(a:getsockname()))
      a:write("hello\n")
      hears(b, "ann: hello")
      local c = connect "cat"
      c:write("/join den\n")
      hears(c, "* this is room den")
      hears(b, "* cat leaves")
      c:write("nobody hears\n")
      b:write("/join den\n")
      hears(c, "* bob joins")
      b:write("psst\n/nonsense\n")
      hears(c, "bob: psst")
      hears(b, "* /join ROOM, /name NAME, /quit")
      b:write("/quit\n")
      hears(c, "* bob leaves")
      assert.is_nil(b:read("l", patience))
      c:close()
      local d = connect()
      a:write("still here\n/name J\u{fc}rgen\n")
      hears(d, "* ann is now J\u{fc}rgen")
    end)
  end)

  it("drops a client that does not read, and no other waits", function()
    chat(function(connect, p)
      local silent, a, b = connect "silent", connect "ann", connect "bob"
      hears(a, ("* %s is now bob"):format(b:getsockname()))
      local line, gone, rounds = ("x"):rep(900) .. "\n", false, 0
      repeat  -- (its buffers take some megabytes)
        for _ = 1, 50 do a:write(line) end
        local n = 0
        repeat
          local heard = assert(b:read("l", patience))
          if heard == "* silent leaves" then gone = true else n = n + 1 end
        until n == 50
        rounds = rounds + 1
      until gone or rounds == 2000
      assert.is_true(gone)
      silent:close()
      local c = connect "cat"  -- it goes on
      hears(b, ("* %s joins"):format(c:getsockname()))
      assert(p:kill "TERM")
    end)
  end)

  it("ends with a last line to each client", function()
    chat(function(connect, p)
      local a, b = connect(), connect()
      assert(p:kill "INT")
      hears(a, "* the server ends")
      hears(b, "* the server ends")
      assert.same({ "exit", 0 }, { p:wait(patience) })
      assert.equal("", p.stderr:read "a")
    end)
  end)

  it("ends the connection of a client that sends too long a line", function()
    chat(function(connect, p)
      local a, b = connect "ann", connect()
      a:write(("x"):rep(5000), "\n")
      hears(b, "* ann leaves")
      assert(p.stdout:read("l", patience):find("limit", 1, true))
    end)
  end)
end)
