-- What sockets send: all of it or so much, in order, one after another, and
-- what is said when it does not go.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local read_all, fill = net.read_all, net.fill

after_each(net.close)
after_each(helper.clean)

describe("send", function()
  it("takes all of a stream's data, and says how much that was", function()
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair } do
        local a, b = pair()
        local reader = uring.spawn(read_all, b)
        local total, sum = 0, {}
        for _, n in ipairs { 0, 1, 100, 65536, 1000000 } do
          local data = net.bytes(n, n)
          assert.equal(n, a:send(data))
          assert.equal(n, a:send(data, net.patience))
          sum[#sum + 1] = data .. data
          total = total + 2 * n
        end
        a:shutdown "write"
        local _, got = reader:join(net.patience)
        assert.equal(total, #got)
        assert.truthy(table.concat(sum) == got)
      end
    end)
  end)

  it("wakes all waiting tasks, one after another", function()
    net.run(function()
      local a, b = net.pair()
      local full = fill(a)
      local order, tasks = {}, {}
      for i = 1, 6 do
        tasks[i] = uring.spawn(function()
          a:send(tostring(i))
          order[#order + 1] = i
        end)
      end
      uring.sleep(0.01)
      local got = 0
      while got < full + 6 do
        local data = assert(b:recv(65536, net.patience))
        got = got + #data
      end
      for i = 1, 6 do assert(tasks[i]:join(net.patience)) end
      assert.same({ 1, 2, 3, 4, 5, 6 }, order)
    end)
  end)

  it("takes ten megabytes, of strings and of buffers", function()
    net.run(function()
      local data = net.bytes(10000000)
      for _, what in ipairs { data, uring.buffer(data) } do
        local a, b = net.tcp()
        local sender = uring.spawn(function()
          local n = assert(a:send(what))
          a:shutdown "write"
          return n
        end)
        local parts = {}
        for part in function() return b:recv(1 << 20) end do
          parts[#parts + 1] = part
        end
        assert.truthy(data == table.concat(parts))
        assert.same({ true, 10000000 }, { sender:join() })
      end
    end)
  end)

  it("tells how much was sent when its time is over", function()
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair } do
        local a, b = pair()
        local sent = net.bytes(8000000)
        local out = table.pack(a:send(sent, 0.01))
        assert.same({ 4, nil, "timed out", E.ETIME },
          { out.n, out[1], out[2], out[3] })
        assert.truthy(out[4] > 0 and out[4] < #sent)
        -- so the rest can be sent later
        local reader = uring.spawn(read_all, b)
        assert.equal(#sent - out[4], a:send(sent:sub(out[4] + 1)))
        a:shutdown "write"
        local _, got = reader:join(net.patience)
        assert.truthy(got == sent)
      end
    end)
  end)

  it("says that nothing was sent while another task sends", function()
    net.run(function()
      local a, b = net.pair()
      local n = fill(a)
      local first = uring.spawn(function() return a:send "first" end)
      net.turns()
      assert.same({ n = 4, nil, "timed out", E.ETIME, 0 },
        table.pack(a:send("second", 0.001)))
      assert.same({ n = 4, nil, "timed out", E.ETIME, 0 },
        table.pack(a:sendmsg({ { data = "third" } }, 0.001)))
      local got = ""
      while #got < n + 5 do got = got .. b:recv(nil, net.patience) end
      assert.same({ true, 5 }, { first:join(net.patience) })
      assert.equal("first", got:sub(-5))
      assert.equal(E.ETIME, select(3, b:recv(nil, 0)))
    end)
  end)

  it("lets no bytes of other tasks in between", function()
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair } do
        local a, b = pair()
        local reader = uring.spawn(read_all, b)
        local tasks = {}
        for i = 1, 10 do
          tasks[i] = uring.spawn(function()
            local letter = string.char(96 + i)
            for k = 1, 5 do
              local data = letter:rep(200000 - 1) .. "\n"
              if k % 2 == 0 then data = uring.buffer(data) end
              if i % 2 == 0 then
                assert.equal(200000, a:send(data))
              else
                assert.equal(200000, a:sendmsg { data = data })
              end
            end
          end)
        end
        for i = 1, 10 do assert(tasks[i]:join()) end
        a:shutdown "write"
        local _, got = reader:join(net.patience)
        local n = 0
        for line in got:gmatch "(.-)\n" do
          n = n + 1
          assert.equal(199999, #line)
          assert.equal(line:sub(1, 1):rep(10), line:sub(-10))
          assert.is_nil(line:find("[^" .. line:sub(1, 1) .. "]"))
        end
        assert.equal(50, n)
      end
    end)
  end)

  it("goes on for other tasks when one is cancelled", function()
    local a, b = net.pair()
    local n
    net.run(function() n = fill(a) end)
    helper.raises("boom", uring.run, function()
      for _ = 1, 3 do
        uring.spawn(function() a:send(("y"):rep(100)) end)
      end
      net.turns()
      error "boom"
    end)
    net.run(function()
      local sender = uring.spawn(function()
        assert(a:send "zz")
        a:shutdown "write"
      end)
      local got = read_all(b)
      assert(sender:join())
      -- what was not taken before it was cancelled has not gone
      assert.equal(n + 2, #got)
      assert.equal("xzz", got:sub(-3))
    end)
  end)

  it("goes on for other tasks when a coroutine is closed", function()
    local a, b = net.pair()
    local done
    helper.raises("ended from outside", uring.run, function()
      fill(a)
      local co = {}
      for i = 1, 2 do
        uring.spawn(function()
          co[i] = coroutine.running()
          a:send "y"
        end)
      end
      net.turns()
      coroutine.close(co[1])
      coroutine.close(co[2])
    end)
    net.run(function()
      uring.spawn(function()
        assert(a:send("zz", net.patience))
        a:shutdown "write"
        done = true
      end)
      local got = read_all(b)
      assert.truthy(done)
      -- (what the kernel had already may have gone)
      assert.truthy(got:find("^x*y?zz$"), got:sub(-9))
    end)
  end)

  it("that is cancelled as its turn comes leaves it to others at once",
    function()
      net.run(function()
        local a, b = assert(uring.socketpair())
        local _ <close> = a
        local _ <close> = b
        local long = ("x"):rep(1 << 20)
        local first = helper.started(a.send, a, long)
        local second = helper.started(function()
          assert(not pcall(a.send, a, "never"))
          return a:try_send "z"
        end)
        uring.spawn(function()  -- (before it in the queue of ready tasks)
          repeat uring.sleep(0) until second:status() ~= "waiting"
          second:cancel()
        end)
        assert.is_true(b:read(#long + 1, net.patience) == long .. "z")
        assert.same({ true, #long }, { first:join() })
        assert.same({ true, 1 }, { second:join() })
      end)
    end)

  it("goes on for other tasks when one that was woken raises", function()
    net.run(function()
      for _, method in ipairs { "send", "sendmsg" } do
        local a, b = net.pair()
        local n = fill(a)
        local buffer = uring.buffer "never"
        local what = method == "send" and buffer or { data = buffer }
        local first = uring.spawn(function() return a:send "first" end)
        net.turns()
        local bad = uring.spawn(function()
          return pcall(function()
            local sent = a[method](a, what, net.patience)
            return sent
          end)
        end)
        local third = uring.spawn(function() return a:send "third" end)
        net.turns()
        buffer:close()
        local reader = uring.spawn(read_all, b)
        assert.same({ true, 5 }, { first:join(net.patience) })
        local _, ok, why = bad:join(net.patience)
        assert.is_false(ok)
        assert.truthy(why:find "send_spec.lua:%d+: .*closed buffer", why)
        assert.same({ true, 5 }, { third:join(net.patience) })
        a:shutdown "write"
        local _, got = reader:join(net.patience)
        assert.equal("firstthird", got:sub(n + 1))
      end
    end)
  end)

  it("goes on for other tasks when one that was woken is cancelled", function()
    net.run(function()
      local a, b = net.pair()
      local n = fill(a)
      local first = uring.spawn(function() return a:send "first" end)
      net.turns()
      local second = uring.spawn(function() return a:send "second" end)
      local third = uring.spawn(function() return a:send "third" end)
      net.turns()
      local reader = uring.spawn(read_all, b)
      -- (a task with a turn runs before one that a completion has woken)
      while second:status() == "waiting" do uring.sleep(0) end
      assert.equal("ready", second:status())
      second:cancel()
      net.fails(E.ECANCELED, second:join(net.patience))
      assert.same({ true, 5 }, { first:join(net.patience) })
      assert.same({ true, 5 }, { third:join(net.patience) })
      a:shutdown "write"
      local _, got = reader:join(net.patience)
      assert.equal("firstthird", got:sub(n + 1))
    end)
  end)

  it("pins a buffer for as long as it is sent without a copy", function()
    net.run(function()
      local a, b = net.pair()
      local n = fill(a)
      local buffer = uring.buffer(net.bytes(500000))
      local one = uring.spawn(function() return a:send(buffer) end)
      net.turns()
      helper.raises("in use", buffer.resize, buffer, 10)
      helper.raises("in use", buffer.close, buffer)
      local got = {}
      local left = n + 500000
      while left > 0 do
        got[#got + 1] = assert(b:recv(nil, net.patience))
        left = left - #got[#got]
      end
      assert.same({ true, 500000 }, { one:join(net.patience) })
      assert.truthy(table.concat(got):sub(n + 1) == net.bytes(500000))
      assert.truthy(buffer:resize(10))
      -- and after a timeout
      fill(a)
      buffer = uring.buffer(500000)
      net.fails(E.ETIME, a:send(buffer, 0.001))
      net.fails(E.ETIME, a:sendmsg({ iov = { buffer, "x" } }, 0.001))
      assert.truthy(buffer:close())
    end)
  end)

  it("sends leases, which may be released at once", function()
    net.run(function()
      local c, d = net.pair(uring.SOCK_DGRAM)
      local a, b = net.pair()
      local n = fill(a)
      c:send(net.bytes(20000))
      local lease = net.first(d:messages { lease = true })
      local task = uring.spawn(function() return a:send(lease) end)
      net.turns()
      lease:release()
      -- the next to get buffers of that group gets another one
      for i = 1, 300 do
        c:send(tostring(i))
        assert.equal(tostring(i), net.first(d:messages { lease = true })
          :string())
        if i % 50 == 0 then helper.collect() end
      end
      local got = {}
      local left = n + 20000
      while left > 0 do
        got[#got + 1] = assert(b:recv(nil, net.patience))
        left = left - #got[#got]
      end
      assert.same({ true, 20000 }, { task:join(net.patience) })
      assert.truthy(table.concat(got):sub(n + 1) == net.bytes(20000))
      helper.raises("released", a.send, a, lease)
    end)
  end)

  it("outlives a buffer that is closed before its turn", function()
    net.run(function()
      local a, b = net.pair()
      fill(a)
      local first = uring.spawn(function() return a:send "first" end)
      net.turns()
      local buffer = uring.buffer "second"
      local second = uring.spawn(function()
        return pcall(a.send, a, buffer)
      end)
      net.turns()
      buffer:close()
      uring.spawn(function() for _ in b:chunks() do end end)
      assert.same({ true, 5 }, { first:join(net.patience) })
      local _, ok, why = second:join(net.patience)
      assert.is_false(ok)
      assert.truthy(why:find("closed", 1, true), why)
      assert.equal(5, a:send("third", net.patience))
      b:close()
    end)
  end)

  it("goes on without memory once a part has gone, with an address too",
    function()
      local ok, sent, got = assert(spec.state([[
        local uring = require "uring"
        local patience = ...
        return uring.run(function()
          local listener = assert(uring.tcp.listen "127.0.0.1:0")
          local to = tostring(listener:getsockname())
          assert(listener:setsockopt("SO_RCVBUF", 4096))
          local a = assert(uring.tcp.connect(to))
          local b = assert(listener:accept(patience))
          assert(a:setsockopt("SO_SNDBUF", 4096))
          local big = ("x"):rep(60000)
          assert(a:sendto("y", to) == 1)
          local reader = uring.spawn(function()
            uring.sleep(0.01, refuse())  -- (this call needs no memory later)
            refuse()
            local n = 0
            for data in b:chunks() do n = n + #data end
            return n
          end)
          uring.sleep(0)
          refuse(1, 1 << 30)
          local sent = a:sendto(big, to)
          a:close()
          return sent, select(2, reader:join())
        end)]], net.patience))
      assert.same({ true, 60000, 60001 }, { ok, sent, got })
    end)

  it("fails with EPIPE without a reader, and raises no signal", function()
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair } do
        local a, b = pair()
        b:close()
        local ok, message, errno, sent
        for _ = 1, 1000 do
          ok, message, errno, sent = a:send "x"
          if not ok then break end
          uring.sleep(0.001)
        end
        assert.truthy(errno == E.EPIPE or errno == E.ECONNRESET, message)
        assert.equal(0, sent)
        net.fails(E.EPIPE, a:send "x")
        net.fails(E.EPIPE, a:sendmsg { data = "x" })
        net.fails(E.EPIPE, a:sendmsg { { data = "x" }, { data = "y" } })
      end
      local a, b = net.pair()
      local sender = uring.spawn(function()
        return a:send(("x"):rep(10000000))
      end)
      net.turns(5)
      b:close()
      local _, ok, _, errno, sent = sender:join(net.patience)
      assert.same({ nil, E.EPIPE }, { ok, errno })
      assert.truthy(sent > 0 and sent < 10000000)
      -- nor is there one of a process that would die of it
      helper.script_ok [[
        local uring = require "uring"
        uring.run(function()
          local a, b = uring.socketpair()
          b:close()
          for _, f in ipairs { a.send, a.sendmsg, a.sendmsg } do
            local data = _ == 1 and "x" or _ == 2 and { data = "x" }
              or { { data = "x" } }
            assert(select(3, f(a, data)) == uring.errno.EPIPE)
          end
        end)
      ]]
    end)
  end)

  it("refuses values that are no data or no address", function()
    net.run(function()
      local a = net.pair(uring.SOCK_DGRAM)
      for _, bad in ipairs { 1, true, {}, print } do
        helper.raises("expected", a.send, a, bad)
        helper.raises("expected", a.sendto, a, bad, "unix:@x")
        helper.raises("expected", a.sendto, a, "x", bad)
        helper.raises("expected", a.connect, a, bad)
        helper.raises("expected", a.sendmsg, a, { { data = bad } })
        helper.raises("expected", a.sendmsg, a, { name = bad })
      end
      for _, bad in ipairs { "x", 1, uring.buffer(1), false } do
        helper.raises("table expected", a.sendmsg, a, bad)
        helper.raises("array of messages", a.sendmsg, a, { bad or 1 })
      end
      for _, bad in ipairs { "1", true, -1, {} } do
        helper.raises("seconds", a.send, a, "x", bad)
        helper.raises("seconds", a.sendto, a, "x", "unix:@x", bad)
        helper.raises("seconds", a.sendmsg, a, { data = "x" }, bad)
        helper.raises("seconds", a.connect, a, "unix:@x", bad)
      end
      helper.raises("unknown option 'dta'", a.sendmsg, a, { dta = "x" })
      helper.raises("one of them", a.sendmsg, a, { data = "x", iov = {} })
      helper.raises("unknown name 'fd'", a.sendmsg, a,
        { data = "x", control = { fd = {} } })
      helper.raises("descriptor", a.sendmsg, a,
        { data = "x", control = { fds = { "x" } } })
    end)
  end)
end)

describe("sendto", function()
  it("sends to the address", function()
    net.run(function()
      local a, from = net.udp()
      local b, one = net.udp()
      local c, two = net.udp()
      for i = 1, 10 do
        assert.equal(1, a:sendto("b", one))
        assert.equal(2, a:sendto("cc", tostring(two), net.patience))
        assert.same({ "b", from }, { b:recvfrom() })
        assert.same({ "cc", from }, { c:recvfrom() })
        if i == 5 then a:setsockopt("SO_BROADCAST", true) end
      end
      assert.equal(0, a:sendto("", one))
      assert.equal("", (b:recvfrom()))
      net.fails(E.EDESTADDRREQ, a:send "x")
      net.fails(E.EMSGSIZE, a:sendto(("x"):rep(65508), one))
      net.fails(E.ENOENT, (net.pair(uring.SOCK_DGRAM)):sendto("x",
        "unix:/no/such/path"))
    end)
  end)
end)
