-- Sockets in messages: they move to the reader's state, with what they have
-- received and sent and not yet given or written; what was not sent is as
-- before, and what is not received is closed.

-- luacheck: ignore 512 (loops whose request stays in flight when they end)

local helper = require "helper"
local mailboxes = require "mailboxes"
local net = require "net"
local uring = require "uring"

local ring_it = helper.needs_ring(it)
local E = uring.errno

local pair <const>, failed <const> = mailboxes.pair, mailboxes.failed
local first <const> = net.first

after_each(helper.clean)
after_each(net.close)

local function it(title, f)
  ring_it(title, function()
    uring.run(function() uring.loop() end)
    helper.keeps_fds(function()
      f()
      net.close()
    end)
  end)
end

-- The socket, sent to another mailbox and received.
local function moved(socket)
  local box, to = pair()
  assert(to:send { at = socket })
  local got = net.keep(box:receive().at)
  assert.is_nil((box:try_receive()))
  box:close()
  return got
end

describe("a socket in a message", function()
  it("moves, and its sender's handle says so", function()
    net.run(function()
      local a, b = net.pair()
      local fd = a:fileno()
      local got = moved(a)
      assert.equal(fd, got:fileno())
      assert.equal("uring.Socket (sent away)", tostring(a))
      helper.raises("sent away", a.receive, a)
      helper.raises("sent away", a.write, a, "x")
      helper.raises("sent away", a.lines, a)
      local _, to = pair()
      helper.raises("cannot send .x: a socket that was sent away", to.send, to,
        { x = a })
      helper.raises("this descriptor was sent away", uring.sqe().prep_recv,
        uring.sqe(), a, 10)
      assert.is_true(a:close())
      assert(b:send "to the other")
      assert.equal("to the other", got:recv(100, net.patience))
      assert(got:send "and back")
      assert.equal("and back", b:recv(100, net.patience))
      assert.equal(got:fileno(), moved(got):fileno())  -- (and again)
    end)
  end)

  it("takes along what was read ahead, before what comes later", function()
    net.run(function()
      local a, b = net.tcp()
      assert(b:send "line 1\nline 2\nunread")
      assert.equal("line 1", a:read("l", net.patience))
      assert(a:unread "line 1a\n")
      a:limit(6)
      local got = moved(a)
      assert(b:send " and more")
      b:shutdown "write"
      failed(E.EMSGSIZE, "6", got:read("l", net.patience))
      got:limit(1000)
      assert.equal("line 1a", got:read("l", net.patience))
      assert.equal("line 2", got:read "l")
      assert.equal("unread and more", got:read("a", net.patience))
      assert.equal("", got:read "a")
      assert.is_nil((got:read "l"))
    end)
  end)

  it("takes along what a multishot has received, each message whole",
    function()
      net.run(function()
        local a, b = net.udp_pair()
        local from = b:getsockname()
        assert(b:send "0")
        for payload in a:messages() do
          assert.equal("0", payload)
          for i = 1, 20 do assert(b:send(("x"):rep(i))) end
          net.eventually(function() return a:stats().waiting == 20 end)
          break
        end
        assert(b:send "")
        local got = moved(a)
        assert(b:send "last")
        for i = 1, 20 do
          local payload, sender, info = got:receive(100, net.patience)
          assert.equal(("x"):rep(i), payload)
          assert.equal(from, sender)
          assert.is_false(info.truncated)
        end
        assert.equal("", got:receive(10, net.patience))
        assert.equal("last", (first(got:messages())))
        assert.equal(0, got:stats().waiting)
      end)
    end)

  it("takes along a stream's chunks and the rest of one", function()
    net.run(function()
      local a, b = net.tcp()
      assert(b:send "first")
      for data in a:chunks() do
        assert.equal("first", data)
        assert(b:send "second")
        net.turns()
        assert(b:send "third")
        net.turns()
        break
      end
      assert.equal("sec", a:recv(3, net.patience))
      local got = moved(moved(a))
      failed(E.EBUSY, "what it has received was not read", got:release())
      b:close()
      local rest = ""
      for data in got:chunks { size = 4 } do rest = rest .. data end
      assert.equal("ondthird", rest)
      assert.is_nil((got:recv(10, net.patience)))
    end)
  end)

  it("takes along connections that were accepted and not taken", function()
    net.run(function()
      local listener = net.listener()
      local at = listener:getsockname()
      local clients = {}
      local function connect()
        clients[#clients + 1] = net.keep(assert(uring.tcp.connect(at)))
        assert(clients[#clients]:send("I am " .. #clients))
      end
      connect()
      for conn in listener:connections() do
        net.keep(conn)
        for _ = 1, 3 do connect() end
        net.turns()
        break
      end
      local got = moved(listener)
      assert.is_true(got:stats().waiting > 0)
      connect()
      for i = 2, 5 do
        local conn, peer = got:accept(net.patience)
        net.keep(conn)
        assert.equal("I am " .. i, conn:recv(100, net.patience))
        assert.equal(clients[i]:getsockname(), peer)
      end
    end)
  end)

  it("takes along descriptors that it has received", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local file <close> = assert(io.open "/dev/null")
      -- (a select leaves its request in flight)
      assert.is_nil((uring.select({ a:receiving() }, 0.001)))
      assert(b:sendmsg { data = "take", control = { fds = { file } } })
      assert(b:sendmsg { data = "this", control = { fds = { file } } })
      net.turns()  -- (one has come by the request, one is the kernel's)
      local got = moved(a)
      for _, word in ipairs { "take", "this" } do
        local data, _, info = got:receive(10, net.patience)
        assert.equal(word, data)
        assert.equal(1, #info.control.fds)
        assert(info.control.fds[1]:close())  -- (it was open)
      end
    end)
  end)

  it("takes along what was written and has not gone", function()
    net.run(function()
      local a, b = net.pair()
      local text = {}
      a:setsockopt("SO_SNDBUF", 4096)
      for i = 1, 60 do
        text[i] = ("%08d "):format(i):rep(200)
        assert(a:write(text[i]))
      end
      net.turns()  -- (a request waits for room)
      local got = moved(a)
      assert(got:write "the end")
      local flush = uring.spawn(got.flush, got)
      local all = table.concat(text) .. "the end"
      assert.is_true(all == b:read(#all, net.patience))
      assert(flush:join())
    end)
  end)

  it("tells the end of data, or an error, to the one that has it", function()
    net.run(function()
      local a, b = net.tcp()
      assert(b:send "x")
      for _ in a:chunks() do
        b:close()
        net.turns()
        break
      end
      local got = moved(a)
      assert.is_nil((got:recv(1, net.patience)))
      local c, d = net.udp_pair()
      c:shutdown "read"
      assert.is_nil((moved(c):recv(10, net.patience)))
      d:close()
      local e, f = net.tcp()
      assert.is_nil((uring.select({ e:receiving() }, 0)))
      f:setsockopt(uring.SOL_SOCKET, uring.SO_LINGER,
        string.pack("i4i4", 1, 0))
      f:close()
      net.turns()
      failed(E.ECONNRESET, "", moved(e):recv(10, net.patience))
    end)
  end)

  it("leaves leases valid, and gives new ones", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      assert(b:send "one")
      local lease
      for held in a:messages { lease = true } do
        lease = held
        break
      end
      assert(b:send "two")
      local got = moved(a)
      assert.equal("one", lease:string())
      local held = first(got:messages { lease = true })
      assert.equal("two", held:string())
    end)
  end)

  it("counts its bytes, and itself as a descriptor", function()
    net.run(function()
      local box, to = pair { bytes = 5000, fds = 1 }
      local a, b = net.tcp()
      assert(b:send(("x"):rep(6000)))
      assert.equal("x", a:read(1, net.patience))
      assert(a:unread(("y"):rep(5000)))
      failed(E.EMSGSIZE, "takes", to:send(a))
      assert.equal(("y"):rep(5000), a:read(5000))
      assert.equal(("x"):rep(5999), a:read(5999, net.patience))
      failed(E.EMSGSIZE, "1 descriptors", to:send(a, b))
      assert(to:send(a))
      failed(E.EAGAIN, "full", to:try_send(b))
      assert(b:send "!")
      assert.equal("!", net.keep(box:receive()):recv(9, net.patience))
    end)
  end)
end)

describe("a socket that cannot move", function()
  it("is one in use by a task, which is named", function()
    net.run(function()
      local _, to = pair()
      local a, b = net.pair()
      local listener = net.listener()
      local function waits(socket, f, ...)
        local task = uring.spawn({ main = f, name = "busy" }, ...)
        net.turns()
        helper.raises("cannot send [1]: a socket in use by task 'busy'",
          to.send, to, { socket })
        task:cancel()
        task:join()
      end
      waits(a, a.receive, a)
      waits(a, uring.select, { a:receiving() })
      waits(a, function() for _ in a:lines() do end end)
      waits(listener, listener.accept, listener)
      waits(listener, function() for _ in listener:connections() do end end)
      a:setsockopt("SO_SNDBUF", 4096)
      waits(a, a.send, a, ("x"):rep(1 << 20))
      assert(b:recv(10, net.patience))
    end)
  end)

  it("is one with a request in flight that is not its own", function()
    net.run(function()
      local _, to = pair()
      local a, b = net.pair()
      local ring <close> = assert(uring.ring())
      assert(ring:queue(uring.sqe():prep_recv(a, uring.buffer(10))))
      helper.raises("a socket with a request in flight", to.send, to, a)
      assert(b:send "x")
      local _, res = ring:wait_cqe(net.patience)
      assert.equal(1, res)
      assert(to:send(a))
    end)
  end)

  it("is a closed one, the same one twice, and one too many", function()
    net.run(function()
      local box, to = pair { fds = 100 }
      local a, b = net.pair()
      helper.raises("[2]: the same socket twice", to.send, to, { a, a })
      helper.raises("by an event", to.sending, to, a)
      helper.raises("cannot send [1][2]: a function", to.send, to,
        { { a, print } })
      assert(b:send "still here")
      assert.equal("still here", a:recv(100, net.patience))
      local many = {}
      for i = 1, 65, 2 do many[i], many[i + 1] = net.pair() end
      helper.raises("more than 64 descriptors", to.send, to, many)
      assert.equal(0, box:stats().accepted)
      a:close()
      helper.raises("a closed socket", to.send, to, a)
    end)
  end)

  it("is a stream over something else, which says so", function()
    net.run(function()
      local _, to = pair()
      local r, w = net.keep(assert(uring.pipe()))
      helper.raises("cannot send .out: a stream or a file", to.send, to,
        { out = w })
      assert(w:write "x" and w:flush())
      assert.equal("x", r:read(1, net.patience))
    end)
  end)

  it("is its parent's, in a forked child", function()
    helper.script_ok [[
      local uring, spec = require "uring", require "uring_spec"
      local a, b = assert(uring.socketpair())
      uring.run(function() b:write "once" end)
      local pid = spec.fork()
      if pid == 0 then
        local box = uring.mailbox()
        local ok, why = pcall(box:address().try_send, box:address(), a)
        spec._exit(not ok and why:find "a socket of another process" and 0
          or 1)
      end
      assert(spec.wait(pid) == 0)
      assert(uring.mailbox():address():try_send(a))]]
  end)
end)

describe("a socket in a message that waits", function()
  local function full()
    local box, to = pair { capacity = 1 }
    assert(to:send "full")
    return box, to
  end

  it("is on its way, and withdrawn it is as before", function()
    net.run(function()
      local box, to = full()
      local a, b = net.tcp()
      assert(b:send "one\ntwo\n")
      assert.equal("one", a:read("l", net.patience))
      a:write "written"
      local task = helper.started(to.send, to, { a })
      assert.equal("uring.Socket (on its way)", tostring(a))
      helper.raises("on its way", a.read, a)
      helper.raises("on its way", a.close, a)
      helper.raises("a socket that is on its way", to.send, to, a)
      helper.raises("on its way", uring.sqe().prep_recv, uring.sqe(), a, 10)
      task:cancel()
      task:join()
      assert.equal("two", a:read("l", net.patience))
      assert.equal("written", b:recv(100, net.patience))
      failed(E.ETIME, "timed out", uring.timeout(0.001, to.send, to, a))
      assert(b:send "three")
      assert.equal("three", a:recv(100, net.patience))
      assert.equal("full", box:receive())
    end)
  end)

  it("is away when that was accepted", function()
    net.run(function()
      local box, to = full()
      local a, b = net.tcp()
      assert(b:send "one\ntwo\n")
      assert.equal("one", a:read("l", net.patience))
      local task = helper.started(to.send, to, a)
      assert.equal("full", box:receive())
      assert(task:join())
      helper.raises("sent away", a.read, a)
      assert.equal("two", net.keep(box:receive()):read("l", net.patience))
    end)
  end)

  it("is closed, if nothing else has it", function()
    net.run(function()
      for _, cancel in ipairs { true, false } do
        local box, to = full()
        local a, b = uring.socketpair()
        net.keep(b)
        local held = { a }
        a = nil  -- luacheck: ignore 311
        local task = helper.started(to.send, to, held)
        held[1] = nil
        helper.collect()
        if cancel then
          task:cancel()
          task:join()
          assert.is_nil((b:recv(1, net.patience)))
          box:close()
        else
          box:receive()
          assert(task:join())
          assert(b:send "x")
          assert.equal("x", net.keep(box:receive()[1]):recv(1, net.patience))
        end
      end
    end)
  end)

  it("is as before if the mailbox is closed", function()
    net.run(function()
      local box, to = full()
      local a, b = net.pair()
      local task = helper.started(to.send, to, a)
      box:close()
      failed(E.EPIPE, "closed", select(2, task:join()))
      assert(b:send "x")
      assert.equal("x", a:recv(1, net.patience))
    end)
  end)
end)

describe("a socket in a message that is not received", function()
  it("is closed, with all that it has, and what was written goes", function()
    net.run(function()
      local box, to = pair()
      local a, b = net.tcp()
      a:write "the last words"
      local listener = net.listener()
      local first_one = net.keep(assert(uring.tcp.connect(
        listener:getsockname())))
      local second
      for conn in listener:connections() do
        net.keep(conn)
        second = net.keep(assert(uring.tcp.connect(listener:getsockname())))
        net.turns()
        break
      end
      local c, d = net.pair(uring.SOCK_DGRAM)
      local r, w = net.keep(assert(uring.pipe()))
      assert.is_nil((uring.select({ c:receiving() }, 0)))
      assert(d:sendmsg { data = "x", control = { fds = { w } } })
      net.turns()
      assert(to:send { a, listener, c })
      w:close()
      box:close()
      assert.equal("the last words", b:read("a", net.patience))
      assert(not second:recv(1, net.patience))
      assert.is_nil((r:read(1, net.patience)))
      first_one:close()
    end)
  end)

  it("is given back by undelivered", function()
    net.run(function()
      local box, to = pair()
      local a, b = net.tcp()
      assert(b:send "one\ntwo\n")
      assert.equal("one", a:read("l", net.patience))
      assert(to:send(a))
      box:close(true)
      for socket in box:undelivered() do
        net.keep(socket)
        assert.equal("two", socket:read("l", net.patience))
        assert(socket:send "back")
      end
      assert.equal("back", b:recv(10, net.patience))
    end)
  end)
end)

describe("an acceptor", function()
  -- A worker that answers each line of its connections, of which it gets one
  -- after another.
  local function upper()
    local net_uring = require "uring"
    local served = 0
    net_uring.scope(function()
      for conn, name in net_uring.inbox():messages() do
        served = served + 1
        net_uring.spawn(function()
          local c <close> = conn
          for line in c:lines() do
            c:write(name, ": ", line:upper(), "\n")
          end
        end)
      end
    end)
    return served
  end

  it("gives connections to workers, with what their clients have sent",
    function()
      net.run(function()
        local listener = net.listener()
        local workers = { assert(uring.worker(upper)),
          assert(uring.worker(upper)) }
        local many = 40
        local acceptor = uring.spawn(function()
          for i = 1, many do
            local conn = assert(listener:accept(net.patience))
            local name = assert(conn:read("l", net.patience))
            assert(conn:write("hello ", name, "\n"))
            assert(workers[i % 2 + 1]:send(conn, name))
          end
        end)
        local clients = {}
        for i = 1, many do
          clients[i] = uring.spawn(function()
            local c <close> = assert(uring.tcp.connect(
              listener:getsockname()))
            assert(c:send(("client %d\none\ntwo\nthr"):format(i)))
            assert.equal("hello client " .. i, c:read("l", net.patience))
            assert(c:send "ee\n")
            for _, word in ipairs { "ONE", "TWO", "THREE" } do
              assert.equal(("client %d: %s"):format(i, word),
                c:read("l", net.patience))
            end
          end)
        end
        for i = 1, many do assert(clients[i]:join()) end
        assert(acceptor:join())
        local served = 0
        for _, w in ipairs(workers) do
          w:close()
          local ok, n = w:join(net.patience)
          assert(ok, n)
          served = served + n
        end
        assert.equal(many, served)
      end)
    end)

  it("may give a worker its listener, as an argument, and get it back",
    function()
      net.run(function()
        local listener = net.listener()
        local at = tostring(listener:getsockname())
        local w = assert(uring.worker(function(l)
          local conn <close> = assert(l:accept())
          assert(conn:send "from the worker")
          return l
        end, listener))
        helper.raises("sent away", listener.accept, listener)
        local c <close> = assert(uring.tcp.connect(at))
        assert.equal("from the worker", c:recv(100, net.patience))
        local ok, back = w:join(net.patience)
        assert(ok, back)
        net.keep(back)
        assert.equal(at, tostring(back:getsockname()))
      end)
    end)
end)
