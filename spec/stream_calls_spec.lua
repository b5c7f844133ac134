-- uring.stream{ read=, write=, close= }: streams over functions. They do all
-- that streams do; and what has been read of a connection before it becomes
-- one, as by STARTTLS, is not lost.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local patience <const> = net.patience

after_each(function()
  net.close()
  helper.idle_loop()
end)

-- A toy cipher: each byte is changed by its place in the stream. (So a byte
-- that is lost, doubled or out of order spoils all that follow.)
local function cipher()
  local at = 0
  return function(s)
    return (s:gsub(".", function(c)
      at = at + 1
      return string.char(c:byte() ~ (at * 31 & 255))
    end))
  end
end

-- A stream with that over this socket.
local function secure(socket)
  local decrypt, encrypt = cipher(), cipher()
  return net.keep(assert(uring.stream {
    read = function(max, timeout)
      local data, message, errno = socket:recv(max, timeout)
      if not data then return nil, message, errno end
      return decrypt(data)
    end,
    write = function(bytes, timeout)
      local sent, message, errno = socket:send(encrypt(bytes), timeout)
      return sent, message, errno
    end,
    close = function() return socket:close() end,
  }))
end

local function secure_pair()
  local a, b = net.pair()
  return secure(a), secure(b)
end

-- A stream that reads what is put into a channel, in these pieces.
local function fed(more)
  local channel = uring.channel(100)
  local options = { read = function(_, timeout)
    local ok, v, message, errno = pcall(channel.receive, channel, timeout)
    if not ok then error(v, 0) end
    if type(v) == "table" then return table.unpack(v, 1, 3) end
    if v == nil and errno == E.EPIPE then return nil end
    return v, message, errno
  end }
  for k, v in pairs(more or {}) do options[k] = v end
  return net.keep(assert(uring.stream(options))), channel
end

describe("a stream over functions", function()
  it("reads by every format, whatever the pieces", function()
    net.run(function()
      for _, size in ipairs { 1, 3, 1000 } do
        local s, channel = fed()
        local text = "line\nwith end\n12 0x1F word--delimited--rest of it"
        for i = 1, #text, size do channel:send(text:sub(i, i + size - 1)) end
        channel:close()
        assert.equal("li", s:peek(2, patience))
        assert.equal("line", s:read(nil, patience))
        assert.equal("with end\n", s:read("L", patience))
        assert.equal(12, s:read("n", patience))
        assert.equal(31, s:read("n", patience))
        assert.equal(" word", s:read(5, patience))
        assert.equal("--delimited--", s:read(2) .. s:read_until("--"))
        assert.equal(s, s:unread "all the ")
        assert.equal("all the rest of it", s:read "a")
        assert.equal("", s:read "a")
        assert.same({ n = 1 }, table.pack(s:read()))
        s:close()
      end
    end)
  end)

  it("gives lines, and refuses what is over its limit", function()
    net.run(function()
      local s, channel = fed()
      channel:send "one\ntw"
      channel:send "o\nthree and more"
      channel:close()
      local lines = {}
      for line in s:lines("l", { timeout = patience }) do
        lines[#lines + 1] = line
        if #lines == 2 then break end
      end
      assert.same({ "one", "two" }, lines)
      net.fails(E.EMSGSIZE, s:limit(5):read "l")
      assert.equal("three", s:read(5))
      assert.equal(" and more", s:limit(100):read "a")
    end)
  end)

  it("loses nothing when its time is over, or it is cancelled", function()
    net.run(function()
      local s, channel = fed()
      net.fails(E.ETIME, s:read("l", 0))
      net.fails(E.ETIME, s:read("l", 0.001))
      channel:send "par"
      net.fails(E.ETIME, s:read("l", 0.001))
      local task = uring.spawn(s.read, s)
      net.turns()
      task:cancel()
      task:join()
      channel:send "t of it\n"
      assert.equal("part of it", s:read("l", patience))
      -- without a wait: a turn of the tasks that are ready
      channel:send "at hand\n"
      assert.equal("at hand", s:read("l", 0))
    end)
  end)

  it("loses nothing where it loses a choice", function()
    net.run(function()
      local s, channel = fed()
      local other = uring.channel(1)
      for i = 1, 20 do
        other:send(i)
        assert.same({ "other", i }, { uring.select({ line = s:reading(),
          other = other:receiving() }, patience) })
        channel:send(i .. "\n")
        if i % 3 == 0 then
          assert.same({ "line", tostring(i) },
            { uring.select({ line = s:reading "l" }, patience) })
        elseif i % 3 == 1 then
          assert.equal(tostring(i), s:read("l", patience))
        else
          net.turns()
          assert.same({ 1, tostring(i) },
            { uring.select({ s:reading() }, 0) })
        end
      end
    end)
  end)

  it("is read as one unit, first come, first served", function()
    net.run(function()
      local s, channel = fed()
      local got, tasks = {}, {}
      for i = 1, 4 do
        tasks[i] = uring.spawn(function() got[i] = s:read(4, patience) end)
      end
      net.turns(1)
      for i = 1, 8 do
        channel:send(("%02d"):format(i))
        net.turns(i % 3)
      end
      for i = 1, 4 do tasks[i]:join(patience) end
      assert.same({ "0102", "0304", "0506", "0708" }, got)
    end)
  end)

  it("calls one function at a time, with a size and a timeout", function()
    net.run(function()
      local calls, timeouts = 0, {}
      local s = net.keep(assert(uring.stream {
        read = function(max, timeout)
          assert(math.type(max) == "integer" and max > 0)
          calls = calls + 1
          assert(calls == 1)
          timeouts[#timeouts + 1] = timeout or "none"
          uring.sleep(0.001)
          calls = calls - 1
          return "x\n"
        end }))
      for _ = 1, 3 do uring.spawn(s.read, s, "l", patience) end
      assert.equal("x", s:read "l")
      assert.equal("x", s:read("l", patience))
      for _, t in ipairs(timeouts) do
        assert.truthy(t == "none" or t > 0 and t <= patience)
      end
    end)
  end)

  it("tells what read says or raises, once, and goes on", function()
    net.run(function()
      local s, channel = fed()
      channel:send({ nil, "bad record", E.EBADMSG })
      channel:send({ nil, "no number", "x" })
      channel:send({ 42 })
      channel:send({ "" })
      channel:send "good\n"
      assert.same({ nil, "bad record", E.EBADMSG }, { s:read() })
      assert.same({ nil, "no number", E.EIO }, { s:read() })
      local message = helper.raises("returned a number", s.read, s)
      assert.truthy(message)
      assert.equal("good", s:read())
      local mine = {}
      local raising = net.keep(assert(uring.stream {
        read = function() error(mine) end }))
      local ok, why = pcall(raising.read, raising)
      assert.same({ false, true }, { ok, rawequal(why, mine) })
      ok, why = pcall(raising:lines())
      assert.same({ false, true }, { ok, rawequal(why, mine) })
      -- (a task that has raised in its turn, and selects next, is woken)
      ok, why = pcall(uring.select, { raising:reading() })
      assert.same({ false, true }, { ok, rawequal(why, mine) })
    end)
  end)

  it("writes what is buffered, and all of it, in order", function()
    net.run(function()
      local a, b = secure_pair()
      b:limit(math.huge)
      local parts = {}
      for i = 1, 200 do parts[i] = ("%06d"):format(i):rep(i) end
      local got = uring.spawn(b.read, b, "a")
      for i = 1, 200 do assert.equal(a, a:write(parts[i], i, "\n")) end
      assert.is_true(a:close())
      local _, text = got:join(patience)
      for i = 1, 200 do parts[i] = parts[i] .. i .. "\n" end
      assert.is_true(table.concat(parts) == text)
    end)
  end)

  it("writes without a flush, when its task waits", function()
    net.run(function()
      local a, b = secure_pair()
      uring.spawn(function()
        for line in b:lines() do b:write("<", line, ">\n") end
      end)
      for i = 1, 5 do
        a:write("line ", i)
        a:write "\n"
        assert.equal(("<line %d>"):format(i), a:read("l", patience))
      end
      assert.equal(a, a:flush(patience))
      a:close()
    end)
  end)

  it("hands small writes on together, and large ones in pieces", function()
    net.run(function()
      local sizes, all = {}, {}
      local s = net.keep(assert(uring.stream { write = function(bytes)
        sizes[#sizes + 1], all[#all + 1] = #bytes, bytes
        return true
      end }))
      for i = 1, 50 do s:write(i % 10) end
      assert(s:flush(patience))
      assert.same({ 50 }, sizes)
      local large = net.bytes(300000)
      assert(s:write(large))
      assert(s:flush(patience))
      table.remove(all, 1)
      assert.is_true(large == table.concat(all))
      for _, size in ipairs(sizes) do assert.truthy(size <= 65536) end
    end)
  end)

  it("takes the number of bytes that write took, and gives the rest again",
    function()
      net.run(function()
        local got = {}
        local s = net.keep(assert(uring.stream { write = function(bytes)
          local n = math.min(#bytes, 1000)
          got[#got + 1] = bytes:sub(1, n)
          return #got % 2 == 0 and n or n + 0.0  -- (by lua_pushnumber)
        end }))
        local text = net.bytes(100000)
        assert(s:write(text))
        assert(s:flush(patience))
        assert.is_true(text == table.concat(got))
      end)
    end)

  it("tells by close what the function write has said", function()
    net.run(function()
      local s = assert(uring.stream { write = function()
        return nil, "the cipher is broken", E.EPROTO, 1
      end })
      assert(s:write "four")
      assert.same({ nil, "close the stream: 3 bytes were not written: the "
        .. "cipher is broken", E.EPROTO, 3 }, { s:close() })
    end)
  end)

  it("tells an error of write once: by write, flush or close", function()
    net.run(function()
      local results = {}
      local s = net.keep(assert(uring.stream { write = function()
        return table.unpack(table.remove(results, 1), 1, 4)
      end }))
      results[1] = { nil, "no more", E.ENOSPC, 2 }
      assert(s:write "four")
      assert.same({ nil, "no more", E.ENOSPC }, { s:flush(patience) })
      results[1] = { nil, "still none", E.ENOSPC }
      assert(s:write "four")
      net.turns()
      assert.same({ nil, "still none", E.ENOSPC }, { s:write "more" })
      results[1] = { false }
      assert(s:write "four")
      assert.equal(E.EIO, select(3, s:flush(patience)))
      for _, wrong in ipairs { 0, 5, -1, 1.5 } do
        results[1] = { wrong }
        assert(s:write "four")
        helper.raises(("took %s of 4 bytes"):format(wrong), s.flush, s)
      end
      results[1] = { nil, "what?", E.EIO, "x" }
      assert(s:write "four")
      helper.raises("took x of 4 bytes", s.flush, s)
      results[1] = { true }
      assert(s:write "last")
      assert.equal(s, s:flush(patience))
      results[1] = { nil, "at the end", E.EPIPE, 1 }
      assert(s:write "lost")
      net.turns()
      local ok, message, errno, unsent = s:close()
      assert.same({ E.EPIPE, 3 }, { errno, unsent })
      assert.is_nil(ok)
      assert.truthy(message:find "3 bytes were not written", message)
      assert.is_true(s:close())
    end)
  end)

  it("raises what write has raised, once, and what close raises", function()
    net.run(function()
      local s = assert(uring.stream { write = function() error "mine" end })
      s:write "x"
      helper.raises("mine", s.flush, s, patience)
      assert.equal(s, s:flush(patience))
      s:write "x"
      net.turns()
      helper.raises("mine", s.close, s)
      assert.is_true(s:close())
      s = assert(uring.stream { write = function() return true end,
        close = function() error "closing" end })
      helper.raises("closing", s.close, s)
      assert.is_true(s:close())
      s = assert(uring.stream { read = function() end,
        close = function() return nil, "not so fast", E.EBUSY end })
      assert.same({ nil, "not so fast", E.EBUSY }, { s:close() })
    end)
  end)

  it("refuses what it has no function for", function()
    net.run(function()
      local r = net.keep(assert(uring.stream { read = function() end }))
      local w = net.keep(assert(uring.stream {
        write = function() return true end }))
      assert.is_nil(r:read())
      net.fails(E.EBADF, r:write "x")
      net.fails(E.EBADF, w:read())
      net.fails(E.EBADF, select(2, uring.select({ w:reading() }, patience)))
      assert(w:write "x":flush())
      assert.equal(w, uring.stream(w))
      assert.truthy(tostring(w):find "functions", tostring(w))
      for _, name in ipairs { "fileno", "seek", "stat", "sync" } do
        helper.raises("functions", w[name], w)
      end
      helper.raises("functions", w.pread, w, 1, 0)
      helper.raises("functions", function() uring.sqe():prep_read(w,
        uring.buffer(1)) end)
    end)
  end)

  it("raises for what is no table of functions", function()
    for _, bad in ipairs { {}, { close = print }, { read = 1 },
        { write = true }, { read = print, close = "x" } } do
      assert.has_error(function() uring.stream(bad) end)
    end
    helper.raises("did you mean 'write'?", uring.stream,
      { read = print, wriet = print })
  end)

  it("ends its readers and its calls when it is closed", function()
    net.run(function()
      local a, b = net.pair()
      local s = secure(b)
      local task = uring.spawn(s.read, s)
      net.turns()
      assert.is_true(s:close())
      local _, v, _, errno = task:join(patience)
      assert.same({ n = 2, nil, E.EBADF }, { n = 2, v, errno })
      assert.is_nil(a:recv(nil, patience))
      helper.raises("closed stream", s.read, s)
      -- outside of tasks too
    end)
    local closed = 0
    local s = assert(uring.stream { read = print,
      close = function() closed = closed + 1 end })
    assert.is_true(s:close())
    assert.is_true(s:close())
    assert.equal(1, closed)
    do local _ <close> = assert(uring.stream { write = print,
      close = function() closed = closed + 1 end }) end
    assert.equal(2, closed)
  end)

  it("lingers when it is closed, in a cancelled task too", function()
    net.run(function()
      local a, b = secure_pair()
      b:limit(math.huge)
      local text = ("y"):rep(50000)
      local task = uring.spawn(function()
        local _ <close> = a
        a:write(text)
        uring.sleep(60)
      end)
      local got = uring.spawn(b.read, b, "a")
      net.turns(3)
      task:cancel()
      local _, all = got:join(patience)
      assert.is_true(text == all)
    end)
  end)

  it("is collected, with a call that reads, and without", function()
    net.run(function()
      local a, b = net.pair()
      local weak = setmetatable({}, { __mode = "v" })
      do
        local decrypt = cipher()
        local s = assert(uring.stream { read = function(max)
          return decrypt((b:recv(max)))
        end })
        weak[1] = s
        net.fails(E.ETIME, s:read("l", 0.001))
      end
      net.eventually(function()
        helper.collect()
        return weak[1] == nil
      end)
      -- the call has ended as well
      assert(a:send "for another")
      assert.equal("for another", (b:recv(nil, patience)))
    end)
  end)

  it("may be closed by a finalizer while a read begins", function()
    net.run(function()
      local s = uring.stream { read = function() return helper.forever() end }
      -- (collects in the library's own code, which starts the call)
      local function collect_within()
        local source = debug.getinfo(2, "S").source
        if source:find "uring/stream.lua$" then collectgarbage() end
      end
      local closed = false
      setmetatable({}, { __gc = function() closed = s:close() end })
      local began <const>, tasks <const> = uring.now(), #uring.tasks()
      debug.sethook(collect_within, "l")
      local line, message, errno = s:read("l", patience)
      debug.sethook()
      assert.is_true(closed)
      net.fails(E.EBADF, line, message, errno)
      assert.is_true(uring.now() - began < patience / 2)  -- (not its time)
      net.turns(5)
      assert.equal(tasks, #uring.tasks())  -- (its call has ended)
    end)
  end)

  it("is described where a task waits for it", function()
    net.run(function()
      local s = fed()
      local task = uring.spawn({ name = "reads", main = s.read }, s)
      net.turns()
      local found
      for _, info in ipairs(uring.tasks()) do
        if info.name == "reads" then found = info.waits end
      end
      assert.truthy(found:find("read from stream over functions", 1, true),
        found)
      task:cancel()
    end)
  end)

  it("serves from one run to the next", function()
    local s, channel
    net.run(function()
      s, channel = fed()
      net.fails(E.ETIME, s:read("l", 0.001))
    end)
    net.run(function()
      channel:send "later\n"
      assert.equal("later", s:read("l", patience))
      s:close()
    end)
  end)
end)

describe("an upgrade in the middle of a connection", function()
  -- The server says what it can do; the client asks for the cipher, and sends
  -- on at once, without waiting for the answer.
  local function server(conn)
    conn:write "HELLO toy cipher\n"
    assert(conn:read("l", patience) == "STARTTLS")
    conn:write "OK\n"
    local s <close> = secure(conn)
    for line in s:lines("l", { timeout = patience }) do
      s:write(line:upper(), "\n")
    end
  end

  it("loses nothing that was read ahead, put back, or buffered", function()
    net.run(function()
      for _, size in ipairs { 1, 7, 65536 } do
        local a, b = net.pair()
        uring.spawn(server, b)
        assert.equal("HELLO", a:read(5, patience))
        a:unread "He"
        assert.equal("He toy cipher", a:read("l", patience))
        local encrypt = cipher()
        local bytes = "STARTTLS\n" .. encrypt "one\ntwo\n"
        for i = 1, #bytes, size do
          a:write(bytes:sub(i, i + size - 1))
          net.turns(1)
        end
        assert.equal("OK", a:read("l", patience))
        -- what the server has sent since is in the store, or not yet
        local decrypt = cipher()
        local s = net.keep(assert(uring.stream {
          read = function(max, timeout)
            local data, message, errno = a:recv(max, timeout)
            if not data then return nil, message, errno end
            return decrypt(data)
          end,
          write = function(text) return a:send(encrypt(text)) end,
          close = function() return a:close() end,
        }))
        assert.equal("ONE", s:read("l", patience))
        s:write "three\n"
        assert.equal("TWO", s:read("l", patience))
        assert.equal("THREE", s:read("l", patience))
        s:close()
      end
    end)
  end)

  it("takes as ciphertext what was put back before it", function()
    net.run(function()
      local a, b = net.pair()
      local encrypt = cipher()
      assert(a:send("go\n" .. encrypt "hidden\n"))
      assert.equal("go\n", b:read("L", patience))
      local ahead = b:read(3, patience)
      b:unread(ahead)
      local s = secure(b)
      assert.equal("hidden", s:read("l", patience))
      -- and over that another
      s:close()
    end)
  end)
end)

describe("a stream over functions in a step", function()
  it("goes on from step to step", function()
    helper.script_ok [[
      local uring = require "uring"
      local loop = assert(uring.loop())
      local a, b = assert(uring.socketpair())
      local s = assert(uring.stream {
        read = function(max, timeout) return b:recv(max, timeout) end,
        write = function(bytes) return b:send(bytes) end,
        close = function() return b:close() end,
      })
      local got = {}
      loop:spawn(function()
        for line in s:lines() do got[#got + 1] = line s:write(line, "!\n") end
        s:close()
        got.ended = true
      end)
      loop:spawn(function()
        for i = 1, 3 do
          a:write(i, "\n")
          local line = a:read("l", 5)
          got[#got + 1] = line
        end
        a:close()
      end)
      local limit = os.time() + 20
      while not got.ended do
        loop:step()
        assert(os.time() < limit, "it hangs")
      end
      assert(table.concat(got, " ") == "1 1! 2 2! 3 3!",
        table.concat(got, " "))
      assert(loop:close())
    ]]
  end)
end)
