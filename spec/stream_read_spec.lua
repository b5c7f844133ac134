-- Formatted reads, of sockets and of pipes: they give what Lua's io gives, in
-- whatever pieces the bytes come; and what ends early loses nothing.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local patience <const> = net.patience

after_each(function()
  net.close()
  helper.idle_loop()
end)

-- What has bytes: reader, put(bytes), finish().
local sources = {
  ["a socket"] = function()
    local a, b = net.pair()
    return b, function(s) assert(a:send(s)) end, function() a:close() end
  end,
  ["a pipe"] = function()
    local r, w = assert(uring.pipe())
    net.keep(r)
    net.keep(w)
    return r, function(s)
      while #s > 0 do
        local n = assert(uring.await(uring.sqe():prep_write(w, s)))
        s = s:sub(n + 1)
      end
    end, function() w:close() end
  end,
}

-- What io.lines' formats give of this text: the reference.
local function io_reads(text, format)
  local file <close> = assert(io.tmpfile())
  file:write(text)
  file:seek "set"
  local got = {}
  for i = 1, 20 do
    got[i] = table.pack(file:read(format))
    if got[i][1] == nil or got[i][1] == "" and format == "a" then break end
  end
  return got
end

local function reads(s, format)
  local got = {}
  for i = 1, 20 do
    got[i] = table.pack(s:read(format, patience))
    if got[i][1] == nil or got[i][1] == "" and format == "a" then break end
  end
  return got
end

for name, open in pairs(sources) do
  describe("of " .. name .. ", read", function()
    local texts = { "", "\n", "one", "one\ntwo", "one\r\n\n\0two\n",
      ("x"):rep(5000) .. "\n" .. ("y"):rep(70000), "12 0x1F -3.5e2 +7 .5 z 8",
      "  \n 99", "1e", "0x", "-", "1..2", ("1"):rep(250) .. " 3",
      "3 nan 0x.8p1", ("1"):rep(199), ("1"):rep(200) .. " 3",
      ("1"):rep(201), ("1"):rep(200) .. ".5", "0x" .. ("f"):rep(198),
      "0x" .. ("f"):rep(199) }
    for _, format in ipairs { "l", "*l", "L", "a", "*n", "n", 1, 4, 100000 } do
      it(("gives with %q what io's does"):format(format), function()
        net.run(function()
          for _, text in ipairs(texts) do
            local s, put, finish = open()
            uring.spawn(function()
              put(text)
              finish()
            end)
            assert.same(io_reads(text, format), reads(s, format),
              ("%q"):format(text:sub(1, 40)))
            s:limit(math.huge)
            s:read "a"  -- (or its writer waits)
          end
        end)
      end)
    end

    it("puts pieces together, byte by byte", function()
      net.run(function()
        local s, put, finish = open()
        uring.spawn(function()
          for c in ("ab\ncd\n12 rest"):gmatch "." do
            put(c)
            net.turns(1)
          end
          finish()
        end)
        assert.equal("ab", s:read(nil, patience))
        assert.equal("cd\n", s:read("L", patience))
        assert.equal(12, s:read("n", patience))
        assert.equal(" re", s:read(3, patience))
        assert.equal("st", s:read("a", patience))
        assert.is_nil(s:read())
      end)
    end)

    it("loses nothing when its time is over", function()
      net.run(function()
        local s, put, finish = open()
        put "par"
        for _, format in ipairs { "l", "L", "a", 5 } do
          assert.same({ nil, "timed out", E.ETIME },
            { s:read(format, format == "l" and 0 or 0.001) })
        end
        put "t\n"
        assert.equal("part", s:read("l", patience))
        put "7"
        assert.same({ nil, "timed out", E.ETIME }, { s:read("n", 0.001) })
        finish()
        assert.equal(7, s:read("n", patience))
      end)
    end)

    it("gives what is there without a wait", function()
      net.run(function()
        local s, put = open()
        for _ = 1, 20 do
          put "ab\nc;"
          assert.equal("a", s:peek(1, 0))
          assert.equal("ab", s:read("l", 0))
          assert.equal("c;", s:read_until(";", 10, 0))
        end
        net.fails(E.ETIME, s:read(1, 0))
      end)
    end)

    it("loses nothing when it is cancelled, closed or loses a choice",
      function()
        net.run(function()
          local s, put = open()
          local first = uring.spawn(s.read, s, "l")
          put "ab"
          net.turns()
          first:cancel()
          first:join()
          put "cd"
          assert.same({ "late" },
            { uring.select({ line = s:reading "l", late = uring.after(0.01) })
            })
          put "ef"
          assert.is_false(pcall(uring.scope, function(scope)
            local co
            scope:spawn(function()
              co = coroutine.running()
              s:read()
            end)
            net.turns()
            coroutine.close(co)  -- (which is an error of its task)
            net.turns()
          end))
          put "\n"
          assert.same({ "line", "abcdef" },
            { uring.select({ line = s:reading() }, patience) })
        end)
      end)

    it("is one unit, first come, first served", function()
      net.run(function()
        local s, put = open()
        local got = {}
        for i = 1, 5 do
          uring.spawn(function() got[i] = s:read(6, patience) end)
        end
        net.turns(1)
        for i = 1, 15 do
          put(("%02d"):format(i))
          net.turns(i % 3)
        end
        helper.eventually(function()
          uring.sleep(0.001)
          return got[5]
        end)
        assert.same({ "010203", "040506", "070809", "101112", "131415" }, got)
      end)
    end)

    it("refuses what is over its limit, and all stays to be read", function()
      net.run(function()
        local s, put, finish = open()
        assert.equal(1 << 20, s:limit())
        assert.equal(s, s:limit(8))
        put "12345678\n123456789\nx"
        assert.equal("12345678", s:read("l", patience))
        local line, message, errno = s:read("l", patience)
        assert.same({ nil, E.EMSGSIZE }, { line, errno })
        assert.truthy(message:find "limit of 8 bytes", message)
        assert.equal(E.EMSGSIZE, select(3, s:read("a", patience)))
        assert.equal(E.EMSGSIZE, select(3, s:read(9, patience)))
        assert.equal("12345678", s:read(8, patience))
        s:limit(math.huge)
        assert.equal(math.huge, s:limit())
        finish()
        assert.equal("9\nx", s:read("a", patience))
      end)
    end)

    it("has at first a limit for lines alone", function()
      net.run(function()
        local s, put, finish = open()
        local size <const> = (1 << 20) + 4096
        uring.spawn(function()
          for _ = 1, 3 do put(("x"):rep(size)) end
          finish()
        end)
        net.fails(E.EMSGSIZE, s:read("L", patience))
        net.fails(E.EMSGSIZE, s:read_until("\n", nil, patience))
        assert.equal(size, #s:read(size, patience))
        assert.equal(2 * size, #s:read("a", patience))
      end)
    end)

    it("ends when it is closed", function()
      net.run(function()
        local s = open()
        local t = uring.spawn(s.read, s)
        net.turns()
        s:close()
        local _, value, message, errno = t:join(patience)
        assert.same({ n = 2, nil, E.EBADF }, { n = 2, value, errno })
        assert.truthy(message:find "closed", message)
        assert.has_error(function() s:read() end)
      end)
    end)

    it("raises for what is no format", function()
      net.run(function()
        local s = open()
        for _, bad in ipairs { "x", "", "ll", "*", "*x", -1, 1.5, {}, true } do
          assert.has_error(function() s:read(bad) end)
        end
        assert.has_error(function() s:read("l", "1") end)
        assert.has_error(function() s:limit(0) end)
        assert.has_error(function() s:unread(1) end)
        assert.has_error(function() s:peek(0) end)
        assert.has_error(function() s:read_until "" end)
      end)
    end)
  end)

  describe("of " .. name .. ",", function()
    it("lines end with the data, and raise what fails", function()
      net.run(function()
        local s, put, finish = open()
        put "a\nb\n\nlast"
        finish()
        local got = {}
        for line in s:lines() do got[#got + 1] = line end
        assert.same({ "a", "b", "", "last" }, got)
        s, put, finish = open()
        put "a\nb"
        finish()
        got = {}
        for line in s:lines("L", { timeout = patience }) do
          got[#got + 1] = line
        end
        assert.same({ "a\n", "b" }, got)
        s, put = open()
        put "abc\nlonger\n"
        got = {}
        local ok, message = pcall(function()
          for line in s:lines("l", { max = 3 }) do got[#got + 1] = line end
        end)
        assert.same({ false, "abc" }, { ok, got[1] })
        assert.truthy(message:find "limit of 3", message)
        assert.equal("longer", s:read("l", patience))
        ok, message = pcall(function()
          for _ in s:lines("l", { timeout = 0.001 }) do end  -- luacheck: ignore
        end)
        assert.is_false(ok)
        assert.truthy(message:find "timed out", message)
        assert.has_error(function() s:lines("a") end)
        assert.has_error(function() s:lines(0) end)
        assert.has_error(function() s:lines("l", { time = 1 }) end)
        assert.has_error(function() s:lines("l", { timeout = "1" }) end)
      end)
    end)

    it("lines end when it is closed", function()
      net.run(function()
        local s, put = open()
        put "a\nb\n"
        local n = 0
        for _ in s:lines() do
          n = n + 1
          s:close()
        end
        assert.equal(1, n)
      end)
    end)

    it("read_until gives what comes up to a delimiter", function()
      net.run(function()
        local s, put, finish = open()
        uring.spawn(function()
          for c in ("head\r\nx\r\n\r\nbody--tail"):gmatch "." do
            put(c)
            net.turns(1)
          end
          finish()
        end)
        assert.equal("head\r\nx\r\n\r\n",
          s:read_until("\r\n\r\n", 100, patience))
        local v, message, errno = s:read_until("--", 5, patience)
        assert.same({ nil, E.EMSGSIZE }, { v, errno })
        assert.truthy(message:find "limit of 5", message)
        assert.equal("body--", s:read_until("--", 6, patience))
        assert.equal(E.ENODATA, select(3, s:read_until("\n", nil, patience)))
        assert.equal("tail", s:read("l", patience))
        assert.same({ n = 1 }, table.pack(s:read_until("\n", nil, patience)))
      end)
    end)

    it("peek leaves the bytes, and unread puts some back", function()
      net.run(function()
        local s, put, finish = open()
        put "abc"
        assert.equal("ab", s:peek(2, patience))
        assert.equal("abc", s:peek(3, patience))
        assert.same({ nil, "timed out", E.ETIME }, { s:peek(4, 0.001) })
        assert.equal(s, s:unread "12")
        assert.equal("12a", s:read(3, patience))
        finish()
        assert.equal("bc", s:peek(100, patience))
        assert.equal("bc", s:read(100, patience))
        assert.is_nil(s:peek(1, patience))
        s:unread "again\n"
        assert.equal("again", s:read("l", patience))
      end)
    end)

    it("unread wakes a task that waits", function()
      net.run(function()
        local s = open()
        local t = uring.spawn(s.read, s, 2)
        net.turns()
        s:unread "xy"
        assert.same({ true, "xy" }, { t:join(patience) })
      end)
    end)
  end)
end

describe("a read of a socket is one unit", function()
  it("beside a loop that brings several pieces at once", function()
    net.run(function()
      local a, b = net.pair()
      local gate, got = uring.channel(), {}
      local size <const> = 4096
      local function pieces(letters)
        return (letters:gsub(".", function(c) return c:rep(size) end))
      end
      uring.spawn(function()
        for chunk in b:chunks { size = size } do
          got.a = chunk
          if gate:receive() then break end
        end
      end)
      net.turns()
      for _, name in ipairs { "b", "c" } do
        uring.spawn(function() got[name] = b:read(3 * size, patience) end)
      end
      net.turns()
      assert(a:send(pieces "x12"))
      net.turns()
      assert(a:send(pieces "3abc"))
      net.turns()
      assert.same({ a = pieces "x", b = pieces "123", c = pieces "abc" }, got)
      gate:send(true)
    end)
  end)

  it("which a finalizer in its middle does not change", function()
    helper.needs_eager_collector()
    net.run(function()
      local a, b = net.pair()
      local refused = 0
      -- the collector runs in the next allocation, which is the line's
      collectgarbage("incremental", 1, 1000, 30)
      local _ <close> = helper.finally(function()
        collectgarbage("incremental", 200, 100, 13)
        collectgarbage "restart"
      end)
      for i = 1, 20 do
        local text = ("%03d"):format(i):rep(400)
        assert(a:send(text .. "\nrest\n"))
        assert(b:peek(1206, patience))
        collectgarbage()
        collectgarbage "stop"
        setmetatable({}, { __gc = function()
          if not pcall(b.unread, b, "Z") then refused = refused + 1 end
        end })
        collectgarbage "restart"
        local line = b:read("l", patience)
        collectgarbage()
        assert.equal(text, (line:gsub("Z", "")))
        assert.equal("rest", (b:read("l", patience):gsub("Z", "")))
        if refused > 2 then break end  -- (collections take their time)
      end
      assert.truthy(refused > 0)
    end)
  end)
end)

describe("the store of a socket", function()
  it("comes first in receives and iterators", function()
    net.run(function()
      local a, b = net.pair()
      local function rest()
        assert(a:send "line\nmore")
        assert.equal("line", b:read("l", patience))
      end
      rest()
      assert.equal("mo", b:recv(2, patience))
      local data, from, info = b:receive(nil, patience)
      assert.same({ "re", nil, "table" }, { data, from, type(info) })
      rest()
      assert.same({ "x", "more" }, { select(1, uring.select({
        x = b:receiving() }, patience)) , "more" })
      rest()
      assert.equal("more", net.first(b:chunks()))
      assert(a:send "next\n")
      assert.equal("next", b:read("l", patience))
      rest()
      assert.equal("more", net.first(b:chunks { lease = true }):string())
    end)
  end)

  it("is of a stream: sockets of messages have none", function()
    net.run(function()
      local s = net.keep(assert(uring.udp.bind "127.0.0.1:0"))
      for _, name in ipairs { "read", "lines", "read_until", "peek", "unread",
          "limit", "reading" } do
        local ok, message = pcall(s[name], s, 1)
        assert.is_false(ok)
        assert.truthy(message:find "receive", message)
      end
    end)
  end)

  it("is described, where a task waits for more", function()
    net.run(function()
      local a, b = net.pair()
      local t = uring.spawn({ name = "reads", main = b.read }, b)
      net.turns()
      for _, task in ipairs(uring.tasks()) do
        if task.name == "reads" then
          assert.truthy(task.waits:find "read from socket",
            task.waits)
        end
      end
      a:close()
      assert.same({ true, n = 2 }, table.pack(t:join(patience)))
    end)
  end)
end)

describe("a numeral", function()
  it("may have the decimal point of the locale, as for io", function()
    net.run(function()
      local d <const> = assert(uring.fs.mkdtemp "/tmp/uring-locale.XXXXXX")
      local source <const> = helper.file('LC_NUMERIC\ndecimal_point ","\n'
        .. 'thousands_sep ""\ngrouping -1\nEND LC_NUMERIC\n')
      local made <const> = uring.process { "localedef", "-c", "-i", source,
        "-f", "UTF-8", d .. "/comma", stdout = "null", stderr = "null" }
      if made then made:wait() end
      local script <const> = [[
        if not os.setlocale("comma", "numeric") then return print "none" end
        local uring = require "uring"
        uring.run(function()
          local ours = assert(uring.open(arg[1]))
          local theirs = assert(io.open(arg[1]))
          for _ = 1, 6 do
            local got, expected = ours:read "n", theirs:read "n"
            assert(got == expected, ("%s, not %s"):format(got, expected))
          end
          assert(ours:read "a" == theirs:read "a")
        end)
        print "done"
      ]]
      local run <close> = assert(uring.process { "env", "LOCPATH=" .. d,
        uring.fs.readlink "/proc/self/exe", helper.file(script),
        helper.file "1,5 2.5 -,25 0x1,8p1 7 1,,5 9", stdout = "pipe" })
      local out <const> = run.stdout:read("a", patience)
      uring.fs.remove(d, { recursive = true })
      if out == "none\n" then helper.skip "no locale can be made" end
      assert.equal("done\n", out)
    end)
  end)
end)

describe("a timeout of", function()
  it("chunks, messages and connections is that of each step", function()
    net.run(function()
      local a, b = net.pair()
      local listener = net.listener()
      local function out_of_time(next, state)
        local ok, message = pcall(next, state)
        assert.is_false(ok)
        assert.truthy(message:find "timed out", message)
      end
      out_of_time(b:chunks { timeout = 0.001 })
      out_of_time(b:messages { timeout = 0 })
      out_of_time(listener:connections { timeout = 0.001 })
      assert(a:send "x")
      assert.equal("x", net.first(b:chunks { timeout = patience }))
    end)
  end)
end)

describe("a stream of a socket", function()
  it("rests, where that is not blocking and has an error to tell", function()
    net.run(function()
      local TIMESTAMPING <const>, SENT_BY_SOFTWARE <const> = 37, 0x112
      local a, b = net.tcp()
      assert(a:setsockopt(uring.SOL_SOCKET, TIMESTAMPING, SENT_BY_SOFTWARE))
      assert(a:send "x")
      assert(b:receive(1, patience))  -- (and so it has been sent)
      spec.nonblock(a:fileno())
      local stream <close> = assert(uring.stream(a:release()))
      local enters = uring.loop():ring():stats().enters
      net.fails(E.ETIME, stream:read(1, 0.2))
      assert.is_true(uring.loop():ring():stats().enters - enters < 100)
      assert(b:send "later")
      assert.equal("later", stream:read(5, patience))
      b:close()
      assert.is_nil(stream:read(1, patience))
    end)
  end)
end)

describe("a stream of a forked child's parent", function()
  it("is refused", function()
    local r, w = assert(uring.pipe())
    helper.in_child(function()
      helper.raises("belongs to another process", r.limit, r)
    end)
    assert(r:limit() > 0)
    r:close()
    w:close()
  end)
end)
