-- Closing ends what uses a descriptor, by hand and by tasks, on all rings of
-- the state; nothing of the library keeps the file open after it.

local hand = require "hand"
local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local take = hand.take

after_each(function()
  net.close()
  hand.close()
  helper.clean()
end)

local function recv(fd, data)
  return uring.sqe():prep_recv(fd, uring.buffer(10)):set_data64(data or 0)
end

local function poll(fd)
  return uring.sqe():prep_poll_add(fd, uring.POLLIN)
end

-- The peer sees the end at once, whatever had the socket.
local function ended(peer)
  assert.same({ nil, nil }, { peer:recv(10, net.patience) })
end

describe("closing a socket", function()
  it("ends requests queued on it by hand, and the peer sees the end",
    function()
      local ring, plain = hand.ring(), hand.ring { flags = 0 }
      net.run(function()
        local a, b = net.pair()
        local loops = uring.loop():ring()
        local op = loops:queue(recv(b))
        ring:queue(recv(b, 1))
        plain:queue(poll(b):set_data64(2))
        ring:submit()
        net.turns()
        b:close()
        assert.equal("completed", op:status())
        assert.equal(0, ring:stats().in_flight)
        assert.equal(0, plain:stats().in_flight)
        ended(a)
        assert.equal(E.ECANCELED, select(3, op:await()))
      end)
      assert.same({ 1, -E.ECANCELED, 0 }, { take(ring) })
      assert.same({ 2, -E.ECANCELED, 0 }, { take(plain) })
    end)

  it("ends the requests that tasks await on it, on any ring", function()
    local ring = hand.ring()
    net.run(function()
      local a, b = net.pair()
      local tasks = {
        uring.spawn(function() return uring.await(recv(b)) end),
        uring.spawn(function() return ring:await(recv(b), 60) end),
        uring.spawn(function() return ring:await(poll(b)) end),
        uring.spawn(function()
          local results = ring:await_chain { poll(b), recv(a) }
          return nil, results[1][1], -results[2][1]
        end),
        uring.spawn(function()
          for _ in uring.loop():ring():queue(uring.sqe()
              :prep_poll_multishot(b, uring.POLLIN)):completions() do
            error "there is nothing"
          end
          return nil, "ended", E.ECANCELED
        end),
        uring.spawn(function() return select(2, uring.select {
          ring:awaiting(recv(b)) }) end),
      }
      local own = uring.spawn(function() return b:recv() end)
      net.turns(5)
      b:close()
      ended(a)
      for _, task in ipairs(tasks) do
        assert.equal(E.ECANCELED, select(4, task:join(net.patience)))
      end
      assert.equal(E.EBADF, select(4, own:join(net.patience)))
    end)
  end)

  it("ends a multishot accept of a listener", function()
    net.run(function()
      local listener = net.listener()
      local address = listener:getsockname()
      local op = uring.loop():ring():queue(uring.sqe()
        :prep_multishot_accept(listener))
      net.turns()
      listener:close()
      net.fails(E.ECONNREFUSED, uring.tcp.connect(address, net.patience))
      for _ in op:completions() do error "accepted" end
    end)
  end)

  it("ends the requests that name it by its number, too", function()
    local ring = hand.ring()
    net.run(function()
      local a, b = net.pair()
      local op = uring.loop():ring():queue(recv(b:fileno()))
      ring:queue(recv(b:fileno(), 1))
      local gate, opener = spec.pipe()
      ring:queue(uring.sqe():prep_read(gate, uring.buffer(1)):set_data64(2),
        recv(b:fileno(), 3))
      ring:submit()
      net.turns()
      b:close()
      ended(a)
      assert.equal("completed", op:status())
      assert.same({ -E.ECANCELED, -E.ECANCELED, -E.ECANCELED },
        hand.some(ring, 3))
      spec.close(gate)
      spec.close(opener)
    end)
  end)

  it("gives the result that came first", function()
    local ring = hand.ring { flags = 0 }
    net.run(function()
      local a, b = net.pair()
      ring:queue(recv(b, 1))
      ring:submit()
      spec.write(a:fileno(), "first")
      b:close()
    end)
    assert.same({ 1, 5, 0 }, { take(ring) })
  end)

  it("by the collector leaves the requests of others", function()
    local ring = hand.ring()
    local x, y = spec.socketpair(uring.SOCK_STREAM)
    do
      local b = assert(uring.socket(uring.fd(x)))
      ring:queue(recv(b, 1))
      ring:submit()
      net.run(function() net.fails(E.ETIME, b:recv(10, 0)) end)
      b = nil  -- luacheck: ignore
    end
    helper.collect()
    spec.write(y, "abc")
    assert.same({ 1, 3, 0 }, { take(ring) })
    helper.collect()
    assert.equal("", spec.read(y))  -- and its file goes with the last
    spec.close(y)
  end)

  it("by the collector ends its own requests", function()
    net.run(function()
      local a, b = uring.socketpair()
      net.keep(a)
      uring.select({ b:receiving() }, 0)  -- the request stays
      b = nil  -- luacheck: ignore
      helper.collect()
      ended(a)
    end)
  end)

  it("by a finalizer in the middle of a wait does no harm", function()
    net.run(function()
      for _ = 1, 10 do
        local a, b = net.pair()
        local task = uring.spawn(function() return uring.await(recv(b)) end)
        net.turns()
        setmetatable({}, { __gc = function() b:close() end })
        helper.collect()
        ended(a)
        assert.equal(E.ECANCELED, select(4, task:join(net.patience)))
      end
    end)
  end)

  it("does not harm a copy of its descriptor", function()
    net.run(function()
      local a, b = net.pair()
      local copy <close> = assert(uring.socket(uring.fd(spec.dup(
        b:fileno()))))
      local task = uring.spawn(function() return copy:recv() end)
      net.turns()
      b:close()
      a:send "still there"
      assert.equal("still there", select(2, task:join(net.patience)))
    end)
  end)

  it("with many requests ends each once, and says so to each", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local n, tasks = 300, {}
      for i = 1, n do
        tasks[i] = uring.spawn(function() return uring.await(recv(b)) end)
      end
      net.turns(5)
      b:close()
      local stats = helper.lawful(uring.loop():ring())
      assert.equal(stats.internal, stats.in_flight)
      for i = 1, n do
        assert.equal(E.ECANCELED, select(4, tasks[i]:join(net.patience)))
      end
      assert.truthy(a)
    end)
  end)
end)

-- The first of a chain has ended, and the ring has not seen it; what follows
-- it is under way, perhaps at a worker of the kernel's.
describe("behind a request that has ended, the next of its chain", function()
  for name, options in pairs { ["a ring"] = {},
      ["a plain ring"] = { flags = 0 }, ["an SQPOLL ring"] = {
      flags = uring.IORING_SETUP_SQPOLL } } do
    for _, flags in ipairs { uring.IOSQE_IO_LINK, uring.IOSQE_IO_HARDLINK,
        uring.IOSQE_IO_LINK | uring.IOSQE_ASYNC } do
      local function begin()
        local ring = assert(uring.ring(options))
        local r, w = spec.pipe()
        local a, b = spec.socketpair(uring.SOCK_STREAM)
        local fd = uring.fd(a)
        spec.write(w, "x")
        ring:queue(uring.sqe():prep_read(r, uring.buffer(1)):set_flags(flags),
          recv(fd))
        ring:submit()
        local limit = os.time() + hand.patience
        while spec.ready(r, 0) and os.time() < limit do spec.sleep(0.001) end
        spec.close(r)
        spec.close(w)
        return ring, fd, b
      end

      it(("ends with the ring: %s, %#x"):format(name, flags), function()
        local ring, fd, peer = begin()
        assert(ring:close())
        assert.equal(0, ring:stats().leaked)
        fd:close()
        spec.close(peer)
      end)

      it(("ends with its descriptor: %s, %#x"):format(name, flags), function()
        local ring, fd, peer = begin()
        fd:close()
        assert.truthy(spec.ready(peer, hand.patience))
        assert.equal("", spec.read(peer))
        spec.close(peer)
        assert(ring:close())
      end)
    end
  end
end)

describe("closing a ring", function()
  it("ends polls of it on other rings", function()
    local ring, other = assert(uring.ring()), hand.ring()
    local op = other:queue(poll(ring):set_data64(1))
    other:submit()
    ring:close()
    assert.equal("completed", op:status())
    assert.same({ 1, -E.ECANCELED, 0 }, { take(other) })
  end)
end)

-- A child's close is no parent's.
it("closing a ring in a forked child ends no request of the parent", function()
  local ring = hand.ring()
  local r, w = spec.pipe()
  local fd = uring.fd(r)
  ring:queue(uring.sqe():prep_read(fd, uring.buffer(3)):set_data64(1))
  ring:submit()
  assert.equal(0, (helper.child(function()
    assert(fd:close())
    local _, all = spec.fds()
    assert(all[r] == nil)
    local own = assert(uring.ring())
    assert(own:close())
  end)))
  hand.nothing(ring)
  spec.write(w, "abc")
  assert.same({ 1, 3, 0 }, { take(ring) })
  fd:close()
  spec.close(w)
end)

-- In time of the processor, the least of some; in a process whose loop has
-- never had more requests.
describe("the cost of a close", function()
  it("is the same beside many requests", function()
    helper.apart(function()
      local spec = require "uring_spec"  -- luacheck: ignore 431
      local uring = require "uring"  -- luacheck: ignore 431
      local ring = uring.loop():ring()

      -- Descriptors with a request each, or sockets that have been used.
      local function make(sockets)
        if not sockets then
          return uring.fd(spec.eventfd()), uring.fd(spec.eventfd())
        end
        local a, b = assert(uring.socketpair(uring.SOCK_DGRAM))
        a:recv(1, 0)
        b:recv(1, 0)
        return a, b
      end

      local function closes(sockets)
        local took = 0
        for _ = 1, 10 do
          local all = {}
          for i = 1, 50, 2 do
            all[i], all[i + 1] = make(sockets)
            for k = i, i + 1 do
              ring:queue(uring.sqe():prep_poll_add(all[k], uring.POLLIN))
            end
          end
          ring:submit()
          local began = os.clock()
          for _, one in ipairs(all) do one:close() end
          took = took + os.clock() - began
        end
        return took
      end

      local function beside(n)
        local r, w = spec.pipe()
        local other = uring.fd(r)
        local sqe = uring.sqe():prep_poll_add(other, uring.POLLIN)
        for _ = 1, n do ring:queue(sqe) end
        ring:submit()
        local best = {}
        for i = 1, 2 do
          best[i] = math.huge
          for _ = 1, 3 do best[i] = math.min(best[i], closes(i == 2)) end
        end
        other:close()
        spec.close(w)
        return best
      end

      uring.run(function()
        local few, many = beside(500), beside(8000)
        for i = 1, 2 do
          assert(many[i] < few[i] * 4 + 0.001,
            ("beside 8000 %g s, beside 500 %g s"):format(many[i], few[i]))
        end
      end)
    end)
  end)

  it("grows with the requests that it cancels, and no faster", function()
    local function of(n, chains)
      local ring = assert(uring.ring { entries = 1024 })
      local r, w = spec.pipe()
      local fd = uring.fd(r)
      local sqe = poll(fd)
      for _ = 1, n, chains and 8 or 1 do
        if chains then ring:queue(sqe, sqe, sqe, sqe, sqe, sqe, sqe, sqe)
        else ring:queue(sqe) end
      end
      ring:submit()
      local began = os.clock()
      fd:close()
      local took = os.clock() - began
      assert.equal(0, ring:stats().in_flight)
      ring:close()
      spec.close(w)
      return took
    end
    local function least(...)
      local best = math.huge
      for _ = 1, 3 do best = math.min(best, of(...)) end
      return best
    end
    for _, chains in ipairs { false, true } do
      local one = least(1000, chains)
      for k = 2, 4, 2 do
        local more = least(k * 1000, chains)
        assert(more < one * k * 3 + 0.02, ("%d took %g s, 1000 %g s")
          :format(k * 1000, more, one))
      end
    end
  end)
end)
