-- Sends without a copy: which they are, that their memory is held until the
-- kernel says so, and that no task waits for that in vain.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

-- From here on, says csrc/net/send_request.c, it is worth it.
local LARGE = 49152

after_each(net.close)
after_each(helper.clean)

-- A connection whose first end sends without a copy. What the second does not
-- read stays with the first, for which it has room.
local function connection()
  helper.needs "send_zc_report_usage"
  local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
  assert(listener:setsockopt("SO_RCVBUF", 8192))
  assert(listener:setsockopt("TCP_MAXSEG", 1000))  -- (small windows go on)
  local a = net.keep(assert(uring.tcp.connect(listener:getsockname())))
  local b = net.keep((assert(listener:accept(net.patience))))
  assert(a:setsockopt("SO_SNDBUF", 1 << 20))
  assert(a:setsockopt("SO_ZEROCOPY", true))
  return a, b
end

-- n bytes of what comes.
local function read(b, n)
  local parts = {}
  while n > 0 do
    local part = assert(b:recv(nil, net.patience))
    parts[#parts + 1] = part
    n = n - #part
  end
  assert.equal(0, n)
  return table.concat(parts)
end

-- A task that sends, when all has gone and nothing is free.
local function held(a, ...)
  local task = uring.spawn(a.send, a, ...)
  net.turns()
  assert.equal("waiting", task:status())
  return task
end

describe("a send without a copy", function()
  it("returns when its memory is free, and lets others send first", function()
    net.run(function()
      local a, b = connection()
      local buffer = uring.buffer(net.bytes(100000))
      local task = held(a, buffer)
      helper.raises("in use", buffer.close, buffer)
      assert.equal(5, a:send("after", net.patience))
      assert.equal("waiting", task:status())
      assert.truthy(read(b, 100005) == net.bytes(100000) .. "after")
      assert.same({ true, 100000 }, { task:join(net.patience) })
      assert.truthy(buffer:close())
    end)
  end)

  it("wakes the next waiter when its data is sent", function()
    net.run(function()
      local a, b = connection()
      local one = uring.spawn(a.send, a, uring.buffer(net.bytes(100000)))
      local two = uring.spawn(a.send, a, "after")
      assert.same({ true, 5 }, { two:join(net.patience) })
      assert.equal("waiting", one:status())
      assert.truthy(read(b, 100005) == net.bytes(100000) .. "after")
      assert.same({ true, 100000 }, { one:join(net.patience) })
    end)
  end)

  it("sends a message's parts", function()
    net.run(function()
      local a, b = connection()
      local buffer = uring.buffer(net.bytes(50000))
      local task = uring.spawn(a.sendmsg, a, { iov = { "<", buffer, ">" } })
      net.turns()
      assert.equal("waiting", task:status())
      helper.raises("in use", buffer.close, buffer)
      assert.truthy(read(b, 50002) == "<" .. net.bytes(50000) .. ">")
      assert.same({ true, 50002 }, { task:join(net.patience) })
      assert.is_false(a:stats().zero_copy)
    end)
  end)

  it("sends datagrams, also to an address", function()
    helper.needs "send_zc_report_usage"
    net.run(function()
      local a, address = net.udp()
      local b = net.udp()
      assert(b:setsockopt("SO_ZEROCOPY", true))
      local buffer = uring.buffer(net.bytes(60000))
      assert.equal(60000, b:sendto(buffer, address, net.patience))
      assert.truthy(a:receive(nil, net.patience) == net.bytes(60000))
      assert.is_false(b:stats().zero_copy)
      assert.equal(60000, b:sendto(buffer, address, net.patience))
      assert.truthy(a:receive(nil, net.patience) == net.bytes(60000))
    end)
  end)

  it("ends by its timeout, and says how much was sent", function()
    net.run(function()
      local a, b = connection()
      do
        local buffer = uring.buffer(net.bytes(100000))
        assert.same({ nil, "timed out", E.ETIME, 100000 },
                    { a:send(buffer, 0.001) })
        helper.raises("in use", buffer.close, buffer)
      end
      helper.collect()
      assert.truthy(read(b, 100000) == net.bytes(100000))
    end)
  end)

  it("ends by its timeout where only a part was sent", function()
    net.run(function()
      local a, b = connection()
      local data = net.bytes(4000000)
      local _, message, errno, sent = a:send(uring.buffer(data), 0.01)
      assert.same({ "timed out", E.ETIME }, { message, errno })
      assert.truthy(sent > 0 and sent < #data)
      local task = uring.spawn(a.send, a, uring.buffer(data))
      net.turns()
      task:cancel()
      net.fails(E.ECANCELED, task:join(net.patience))
      task = uring.spawn(a.send, a, uring.buffer(data))
      net.turns()
      a:close()
      local _, no
      _, no, message, errno, sent = task:join(net.patience)
      assert.same({ nil, E.EBADF }, { no, errno })
      assert.truthy(message:find "closed")
      local got = 0
      for part in b:chunks() do got = got + #part end
      assert.truthy(got >= sent)
    end)
  end)

  it("ends when its task is cancelled, though its data is sent", function()
    net.run(function()
      local a, b = connection()
      local sent
      local task = uring.spawn(function()
        sent = a:send(uring.buffer(net.bytes(100000)))
      end)
      net.turns()
      task:cancel()
      net.fails(E.ECANCELED, task:join(net.patience))
      helper.collect()
      assert.equal(nil, sent)
      assert.truthy(read(b, 100000) == net.bytes(100000))
      assert.same({ nil, "timed out", E.ETIME }, { b:recv(nil, 0.001) })
    end)
  end)

  it("ends when its coroutine is closed", function()
    helper.needs "send_zc_report_usage"  -- (where no error is wanted)
    local a, b
    helper.raises("ended from outside", uring.run, function()
      local co
      a, b = connection()
      uring.spawn(function()
        co = coroutine.running()
        a:send(uring.buffer(net.bytes(100000)))
      end)
      net.turns()
      coroutine.close(co)
    end)
    helper.collect()
    net.run(function()
      assert.equal(1, a:send("x", net.patience))
      assert.truthy(read(b, 100001) == net.bytes(100000) .. "x")
    end)
  end)

  -- What was asked to end before its result was there.
  local function begun(a)
    local co
    local task = uring.spawn(function()
      co = coroutine.running()
      return a:send(uring.buffer(net.bytes(100000)))
    end)
    uring.sleep(0)
    assert.equal("waiting", task:status())
    return task, co
  end

  it("leaves the turn to the next when its data is sent",
    function()
      helper.needs "send_zc_report_usage"  -- (where no error is wanted)
      local a, b
      helper.raises("ended from outside", uring.run, function()
        a, b = connection()
        local _, co = begun(a)
        coroutine.close(co)
      end)
      net.run(function()
        assert.equal(1, a:send("x", net.patience))
        assert.truthy(read(b, 100001) == net.bytes(100000) .. "x")
      end)
    end)

  it("is not cancelled any more when its data is sent", function()
    for _, finish in ipairs { "cancel", "close" } do
      net.run(function()
        local a, b = connection()
        local before = uring.loop():ring():stats().submitted
        local task = begun(a)
        if finish == "cancel" then task:cancel() else a:close() end
        task:join(net.patience)
        net.turns()
        local asked = uring.loop():ring():stats().submitted - before
        assert.truthy(asked <= 3, asked)
        assert.truthy(read(b, 100000) == net.bytes(100000))
      end)
    end
  end)

  it("keeps the order of the waiters when its memory is free",
    function()
      net.run(function()
        local a, b = connection()
        local task = held(a, uring.buffer(net.bytes(60000)))
        uring.spawn(a.send, a, net.bytes(4000000))
        net.turns()
        for i = 1, 6 do uring.spawn(a.send, a, tostring(i)) end
        net.turns()
        assert.equal("waiting", task:status())
        assert.equal("123456", read(b, 4060006):sub(-6))
      end)
    end)

  it("ends when its socket is closed, which sends the rest", function()
    net.run(function()
      local a, b = connection()
      local one = held(a, uring.buffer(net.bytes(50000, 1)))
      local two = held(a, uring.buffer(net.bytes(50000, 2)))
      assert.equal(1, a:send "x")
      local before = uring.loop():ring():stats().submitted
      assert(a:close())
      net.turns()
      -- what has gone cannot be cancelled, and is not asked to be
      assert.equal(before, uring.loop():ring():stats().submitted)
      for _, task in ipairs { one, two } do
        local _, no, _, errno, sent = task:join(net.patience)
        assert.same({ nil, E.EBADF, 50000 }, { no, errno, sent })
      end
      helper.collect()
      assert.truthy(read(b, 100001) == net.bytes(50000, 1)
                    .. net.bytes(50000, 2) .. "x")
      assert.equal(nil, b:recv(nil, net.patience))
    end)
  end)

  it("keeps its memory when all else has been collected", function()
    net.run(function()
      local a, b = connection()
      do
        net.fails(E.ETIME, a:send(uring.buffer(net.bytes(50000, 1)), 0.001))
        net.fails(E.ETIME, a:send(uring.buffer(net.bytes(50000, 2)), 0.001))
        a:close()
      end
      helper.collect()
      local other = uring.buffer(net.bytes(50000, 3))
      assert.truthy(read(b, 100000) == net.bytes(50000, 1)
                    .. net.bytes(50000, 2))
      other:close()
    end)
  end)

  it("hides no deadlock when it was abandoned", function()
    helper.needs "send_zc_report_usage"  -- (where no error is wanted)
    local got
    helper.raises("deadlock", uring.run, function()
      local a, b = connection()
      net.fails(E.ETIME, a:send(uring.buffer(net.bytes(100000)), 0.001))
      a:close()
      got = b
      local two
      local one = uring.spawn(function() uring.sleep(0); two:join() end)
      two = uring.spawn(function() one:join() end)
      one:join()
    end)
    net.run(function()
      assert.truthy(read(got, 100000) == net.bytes(100000))
    end)
  end)

  it("that fails before anything was sent says nothing of the interface",
    function()
      helper.needs "send_zc_report_usage"
      net.run(function()
        local a = net.udp()
        assert(a:setsockopt("SO_ZEROCOPY", true))
        net.fails(uring.errno.EDESTADDRREQ,
          a:send(uring.buffer(net.bytes(60000)), net.patience))
        assert.is_true(a:stats().zero_copy)
      end)
    end)

  it("is copied where the kernel may hold no memory", function()
    helper.needs "send_zc_report_usage"
    local message = helper.script_ok [[
      local uring = require "uring"
      local spec = require "uring_spec"
      spec.may_lock(57344)
      uring.loop { entries = 4 }
      uring.run(function()
        local a = assert(uring.udp.bind "127.0.0.1:0")
        local b = assert(uring.udp.connect(a:getsockname()))
        local buffer = uring.buffer(60000)
        local op = uring.loop():ring():queue(uring.sqe()
          :prep_send_zc(b, buffer))
        print(select(2, op:await(5)))
        assert(b:setsockopt("SO_ZEROCOPY", true))
        assert(b:send(buffer, 5) == #buffer)
        assert(not b:stats().zero_copy and #a:receive(nil, 5) == #buffer)
      end)
    ]]
    assert.truthy(message:find("ENOMEM", 1, true), message)
    assert.truthy(message:find("RLIMIT_MEMLOCK", 1, true), message)
  end)

  it("fails as any other", function()
    net.run(function()
      local a, b = connection()
      b:setsockopt("SO_LINGER", string.pack("ii", 1, 0))
      b:close()
      local buffer = uring.buffer(100000)
      local ok, message, errno = a:send(buffer, net.patience)
      while ok do ok, message, errno = a:send(buffer, net.patience) end
      assert.truthy(errno == E.ECONNRESET or errno == E.EPIPE, message)
      assert.truthy(buffer:close())
    end)
  end)
end)

describe("zero copy", function()
  -- (over loopback the kernel copies, says so, and is not asked again)
  local function was_tried(a, b, data)
    assert.is_true(a:stats().zero_copy)
    local n = type(data) == "table" and 1 or #data
    local task = uring.spawn(function()
      if type(data) ~= "table" then return a:send(data) end
      return a:sendmsg(data)
    end)
    local bytes = type(data) == "table" and LARGE or n
    assert.equal(bytes, #read(b, bytes))
    local _, sent = assert(task:join(net.patience))
    assert.equal(n, sent)
    local tried = not a:stats().zero_copy
    a:setsockopt("SO_ZEROCOPY", true)
    return tried
  end

  it("is used for large data in a buffer", function()
    net.run(function()
      local a, b = connection()
      assert.is_false(was_tried(a, b, uring.buffer(LARGE - 1)))
      assert.is_true(was_tried(a, b, uring.buffer(LARGE)))
      assert.is_false(was_tried(a, b, ("x"):rep(LARGE)))
      assert.is_false(was_tried(a, b, { { data = uring.buffer(LARGE) } }))
    end)
  end)

  it("is used on a socket that asked for it, and those it accepts", function()
    helper.needs "send_zc_report_usage"
    net.run(function()
      local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
      assert.is_false(listener:stats().zero_copy)
      assert(listener:setsockopt("SO_ZEROCOPY", true))
      local a = net.keep(assert(uring.tcp.connect(listener:getsockname())))
      local b = net.keep((assert(listener:accept(net.patience))))
      assert.is_false(a:stats().zero_copy)
      assert.is_true(b:stats().zero_copy)
      assert.equal(1, b:getsockopt "SO_ZEROCOPY")
      assert(b:setsockopt("SO_ZEROCOPY", false))
      assert.is_false(b:stats().zero_copy)
      assert(b:setsockopt("SO_ZEROCOPY", string.pack("i", 1)))
      assert.is_true(b:stats().zero_copy)
      local u = net.pair()
      assert.falsy(u:setsockopt("SO_ZEROCOPY", true))
      assert.is_false(u:stats().zero_copy)
    end)
  end)
end)
