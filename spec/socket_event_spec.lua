-- Events of sockets: receiving, accepting, sending; and an event that loses a
-- choice loses no data.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(function()
  net.close()
  helper.idle_loop()
end)

-- What select gives, as a table with n.
local function select(events, timeout)
  return table.pack(uring.select(events, timeout or net.patience))
end

describe("socket:receiving", function()
  it("gives the values of receive, at once or later", function()
    net.run(function()
      local a, b = net.pair()
      assert.same({ n = 3, nil, "timed out", E.ETIME },
        select({ x = b:receiving() }, 0))
      assert(a:send "one")
      local got = select { x = b:receiving() }
      assert.equal("x", got[1])
      assert.equal("one", got[2])
      assert.equal("table", type(got[4]))
      uring.spawn(function()
        net.turns()
        assert(a:send "two")
      end)
      assert.equal("two", select({ x = b:receiving() })[2])
      assert(a:send "three")
      assert.equal("thr", select({ x = b:receiving(3) })[2])
      assert.equal("ee", select({ x = b:receiving() }, 0)[2])
      a:close()
      local last = select { x = b:receiving() }
      assert.equal("x", last[1])
      assert.is_nil(last[2])
    end)
  end)

  it("finds the kernel's data in a poll", function()
    net.run(function()
      local a = net.keep(assert(uring.udp.bind "127.0.0.1:0"))
      local b = net.keep(assert(uring.udp.connect(a:getsockname())))
      for i = 1, 20 do
        assert(b:send("d" .. i))
        assert.equal("d" .. i, select({ a:receiving() }, 0)[2])
        assert.is_nil(select({ a:receiving() }, 0)[1])
      end
    end)
  end)

  it("takes nothing when it loses: bytes of a stream", function()
    net.run(function()
      local a, b = net.pair()
      local channel = uring.channel(1)
      local sent, got = {}, {}
      for i = 1, 50 do
        -- the choice blocks on the socket, and the channel wins; then the
        -- bytes come, to a request that no task waits for
        uring.spawn(function() channel:send(i) end)
        assert.same({ n = 2, "c", i },
          select { s = b:receiving(), c = channel:receiving() })
        sent[i] = ("<%d>"):format(i)
        assert(a:send(sent[i]))
        net.turns()
        if i % 2 == 0 then
          got[#got + 1] = assert(b:recv(nil, net.patience))
        else
          local won = select { s = b:receiving() }
          got[#got + 1] = assert(won[2])
        end
      end
      a:close()
      for data in b:chunks() do got[#got + 1] = data end
      assert.equal(table.concat(sent), table.concat(got))
    end)
  end)

  it("takes nothing when it loses: datagrams", function()
    net.run(function()
      local a = net.keep(assert(uring.udp.bind "127.0.0.1:0"))
      local b = net.keep(assert(uring.udp.connect(a:getsockname())))
      local wins = { s = 0, c = 0 }
      for i = 1, 50 do
        -- both are ready when the choice looks again, and one is chosen
        local channel = uring.channel(1)
        uring.spawn(function()
          assert(b:send("d" .. i))
          channel:send(i)
        end)
        local got = select { s = a:receiving(), c = channel:receiving() }
        wins[got[1]] = wins[got[1]] + 1
        if got[1] == "c" then
          local payload, from = a:receive(nil, net.patience)
          assert.equal("d" .. i, payload)
          assert.equal(b:getsockname(), from)
        else
          assert.equal("d" .. i, got[2])
          assert.equal(i, channel:receive(net.patience))
        end
      end
      assert.is_nil(select({ a:receiving() }, 0)[1])
      assert.truthy(wins.c > 0)
    end)
  end)

  it("leaves its turn to the next waiter", function()
    net.run(function()
      local a = net.keep(assert(uring.udp.bind "127.0.0.1:0"))
      local b = net.keep(assert(uring.udp.connect(a:getsockname())))
      local got, stop = {}, uring.channel()
      for i = 1, 4 do
        uring.spawn(function()
          while true do
            local key, payload
            if i == 1 then key, payload = "s", a:recv(nil, net.patience)
            else
              key, payload = uring.select { s = a:receiving(),
                t = uring.after(0.001 * i), stop = stop:receiving() }
            end
            if key == "stop" or payload == "end" then return end
            if key == "s" then got[#got + 1] = payload end
          end
        end)
      end
      local sent = {}
      for i = 1, 200 do
        sent[i] = ("%03d"):format(i)
        assert(b:send(sent[i]))
        if i % 7 == 0 then uring.sleep(0.001) end
      end
      while #got < 200 do uring.sleep(0.001) end
      stop:close()
      assert(b:send "end")
      table.sort(got)
      assert.same(sent, got)
    end)
  end)

  it("tells that the socket was closed", function()
    net.run(function()
      local _, b = net.pair()
      uring.spawn(function()
        net.turns()
        b:close()
      end)
      local got = select { x = b:receiving() }
      assert.same({ "x", nil, E.EBADF }, { got[1], got[2], got[4] })
      helper.raises("closed socket", b.receiving, b)
    end)
  end)

  it("is one event in many choices", function()
    net.run(function()
      local a, b = net.pair()
      local event = b:receiving(1)
      local got = {}
      for i = 1, 3 do
        uring.spawn(function() got[i] = select({ event })[2] end)
      end
      net.turns()
      assert(a:send "xyz")
      while #got < 3 do uring.sleep(0) end
      table.sort(got)
      assert.same({ "x", "y", "z" }, got)
    end)
  end)
end)

describe("a receive that stays in flight after a choice", function()
  it("does not hide a deadlock", function()
    local why = helper.raises("deadlock", uring.run, function()
      local _, b = net.pair()
      uring.select({ b:receiving() }, 0)
      uring.channel():receive()
    end)
    assert.truthy(why:find("socket_event_spec", 1, true))
  end)

  it("ends with the run, and its ring is free again", function()
    local _, b
    net.run(function()
      _, b = net.pair()
      uring.select({ b:receiving() }, 0)
    end)
    local ring = uring.loop():ring()
    assert.equal(0, ring:stats().in_flight - ring:stats().internal)
    assert(ring:queue(uring.sqe():prep_nop():set_data64(5)))
    assert(ring:submit())
    assert.equal(5, (ring:wait_cqe(1)))
    b:close()
  end)
end)

describe("an iterator in whose first step a finalizer receives", function()
  it("loses nothing", function()
    helper.needs_eager_collector()
    net.run(function()
      local n, all = 0, true
      while all do
        n = n + 1
        local a, b = net.pair()
        assert(a:send "stream")
        local event, waiter = b:receiving(), { choose = function() end }
        local got
        all = helper.in_allocation(n, function()
          event:block(waiter)
          event:cancel(waiter)
        end, function()
          -- (of a size of its own: it makes a pool of buffers)
          got = helper.first(b:chunks { size = 1000 + n, lease = true,
            timeout = helper.slow })
          got = got and got:string()
        end)
        assert.equal("stream", got)
      end
      assert(n > 3)
    end)
  end)
end)

describe("socket:accepting", function()
  it("gives a connection and its peer", function()
    net.run(function()
      local server = net.listener()
      assert.is_nil(select({ server:accepting() }, 0)[1])
      local client
      uring.spawn(function()
        client = assert(uring.tcp.connect(server:getsockname()))
      end)
      local got = select { c = server:accepting() }
      assert.equal("c", got[1])
      while not client do uring.sleep(0) end
      assert.equal(client:getsockname(), got[3])
      assert(client:send "hi")
      assert.equal("hi", got[2]:recv(nil, net.patience))
    end)
  end)

  it("loses no connection when it loses", function()
    net.run(function()
      local server = net.listener()
      for i = 1, 30 do
        local channel = uring.channel()
        local t = uring.spawn(function()
          return uring.select { s = server:accepting(),
            c = channel:receiving() }
        end)
        net.turns()
        assert(channel:try_send(i))  -- chosen; the request stays out
        local client = assert(uring.tcp.connect(server:getsockname()))
        assert.same({ true, "c", i }, { t:join() })
        local conn = assert(server:accept(net.patience))
        -- (it is that one)
        assert.equal(client:getsockname(), conn:getpeername())
        conn:close()
        client:close()
      end
      assert.is_nil(select({ server:accepting() }, 0)[1])
      server:close()
    end)
  end)
end)

describe("socket:sending", function()
  it("sends once there is room, and tells how much", function()
    net.run(function()
      local a, b = net.pair()
      assert.same({ n = 2, "s", 5 }, select { s = a:sending "hello" })
      local n, block = 5, ("x"):rep(100000)
      repeat
        local key, count = uring.select({ s = a:sending(block) }, 0)
        n = n + (key and count or 0)
      until not key
      -- full now: another event wins, and nothing of it goes
      assert.same({ n = 1, "t" },
        select { s = a:sending "lost?", t = uring.after(0.001) })
      local reader = uring.spawn(function()
        local got, data = 0, nil
        while got < n do
          data = b:recv(nil, net.patience)
          got = got + #data
        end
        return data  -- (the last of it may have "end" as well)
      end)
      local last = select { s = a:sending "end" }
      assert.equal(3, last[2])
      local _, tail = assert(reader:join())
      a:close()
      local rest = { tail }
      for data in b:chunks() do rest[#rest + 1] = data end
      assert.equal("end", table.concat(rest):sub(-3))
    end)
  end)

  it("fails as the send does", function()
    net.run(function()
      local a, b = net.pair()
      b:close()
      local got = select { s = a:sending "x" }
      assert.same({ "s", nil, E.EPIPE }, { got[1], got[2], got[4] })
      helper.raises("string, buffer or lease", a.sending, a, 5)
      a:close()
      helper.raises("closed socket", a.sending, a, "x")
    end)
  end)

  it("is woken by the socket's close", function()
    net.run(function()
      local a = net.pair()
      repeat until not uring.select({ a:sending(("x"):rep(65536)) }, 0)
      uring.spawn(function()
        net.turns()
        a:close()
      end)
      local got = select { s = a:sending "x" }
      assert.same({ "s", nil, E.EBADF }, { got[1], got[2], got[4] })
    end)
  end)
end)
