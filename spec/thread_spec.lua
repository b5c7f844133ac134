-- Threads: whose a ring is, messages between states, and many states at once.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local words = "belongs to another thread"

local nop <const> = helper.nop

-- What threads begin with. `send` gives 0 or an errno: without a ring where
-- the kernel has that, else by one of its own.
local prelude = ([[
  local uring, spec = require "uring", require "uring_spec"
  local E, slow, sync = uring.errno, %d, %s
  local own
  local function send(to, len, data)
    local sqe = uring.sqe():prep_msg_ring(to, len, data, 0)
    if sync then
      local ok, message, errno = uring.register_sync_msg(sqe)
      return ok and 0 or errno, message
    end
    own = own or assert(uring.ring { entries = 4 })
    local op, message, errno = own:queue(sqe)
    if not op then return errno, message end
    return -select(2, assert(own:wait_cqe(10 * slow)))
  end
]]):format(helper.slow, helper.probe.available and helper.has "sync_msg")

local function thread(code, ...)
  return spec.thread(prelude .. code, ...)
end

local function joined(t)
  local result = table.pack(t:join())
  assert(result[1], result[2])
  return table.unpack(result, 2, result.n)
end

describe("another thread", function()
  it("gets an error for the SINGLE_ISSUER ring of its creator", function()
    helper.needs "single_issuer"
    local ring <close> = assert(uring.ring {})
    assert(ring:flags() & uring.IORING_SETUP_SINGLE_ISSUER ~= 0)
    local op = ring:queue(uring.sqe():prep_timeout(1000))
    ring:submit()
    local sqe = nop(2)
    for _, call in ipairs {
      { "queue", sqe }, { "submit" }, { "submit_and_wait", 0 },
      { "wait_cqe", 0 }, { "peek_cqe" }, { "close" },
      { "register_files_sparse", 2 }
    } do
      local ok, message = spec.in_thread(ring[call[1]], ring, call[2])
      assert.equal(false, ok, call[1])
      assert(message:find(words, 1, true), message)
    end
    local ok, message = spec.in_thread(op.cancel, op)
    assert.equal(false, ok)
    assert(message:find(words, 1, true), message)
    -- and it works on where it belongs
    assert.equal(1, ring:stats().submitted)
    ring:queue(nop(1))
    assert.equal(1, (ring:wait_cqe(1)))
  end)

  it("may use any other ring, one thread at a time", function()
    local ring <close> = assert(uring.ring { flags = 0 })
    for i = 1, 20 do
      local ok, data = spec.in_thread(function()
        ring:queue(nop(i), nop(-i))
        return (ring:wait_cqe(1))
      end)
      assert.same({ true, i }, { ok, data })
      assert.equal(-i, (ring:wait_cqe(1)))
    end
    assert(spec.in_thread(ring.close, ring))
  end)

  it("gets an error for the loop of its creator", function()
    helper.needs "single_issuer"
    assert.equal(1, uring.run(function() return 1 end))
    local ok, message = spec.in_thread(uring.run, function() end)
    assert.equal(false, ok)
    assert(message:find(words, 1, true), message)
    assert.equal(2, uring.run(function() return 2 end))
  end)

  -- The kernel would refuse to end the operations for it.
  it("may collect a ring, whose memory is then kept", function()
    helper.keeps_fds(function()
      local r, w = spec.pipe()
      for _, queue in ipairs { true, false } do
        do
          local ring = assert(uring.ring {})
          if queue then
            ring:queue(uring.sqe():prep_read(r, uring.buffer(99), 99, 0))
          end
          ring:submit()
        end
        assert(spec.in_thread(helper.collect))
      end
      local pattern, others = ("p"):rep(99), {}
      for i = 1, 10 do others[i] = uring.buffer(pattern) end
      spec.write(w, ("K"):rep(99))
      for i = 1, 10 do assert.equal(pattern, others[i]:string()) end
      spec.close(r)
      spec.close(w)
    end)
  end)
end)


describe("a message from another thread's state", function()
  -- The ring sleeps when it comes.
  local function wakes(receive, ring)
    local t = thread([[
      local ref, i = ...
      spec.sleep(0.005)
      return send(ref, i, 40 + i)
    ]], ring:ref(), 2)
    local len, data = receive(ring)
    assert.equal(2, len)
    assert.equal(42, data)
    assert.equal(0, joined(t))
  end

  local function by_hand(ring)
    local data, res = assert(ring:wait_cqe(10 * helper.slow))
    return res, data
  end

  local function in_loop(ring)
    return uring.run(function()
      return ring:receive(10 * helper.slow)
    end)
  end

  it("wakes a ring by hand", function()
    for _, flags in ipairs { false, 0, uring.IORING_SETUP_SINGLE_ISSUER } do
      local ring <close> = assert(uring.ring { flags = flags or nil })
      wakes(by_hand, ring)
    end
  end)

  it("wakes the loop, for its own ring", function()
    wakes(in_loop, uring.loop():ring())
  end)

  it("wakes the loop, for rings that it watches", function()
    for _, flags in ipairs { false, 0, uring.IORING_SETUP_SINGLE_ISSUER } do
      local ring <close> = assert(uring.ring { flags = flags or nil })
      for _ = 1, 3 do wakes(in_loop, ring) end
    end
  end)

  it("is one of many, which all come in each sender's order",
    function()
      local senders, each = 4, 250
      local ring <close> = assert(uring.ring {})
      local threads = {}
      for s = 1, senders do
        threads[s] = thread([[
          local s, each, a, b = ...
          for i = 1, each do
            local to = i % 2 == 0 and a or b
            local errno
            repeat errno = send(to, s, i) until errno ~= E.EAGAIN
            if errno ~= 0 then return i, errno end
          end
          return each, 0
        ]], s, each, ring:ref(), uring.loop():ring():ref())
      end
      uring.run(function()
        for parity, from in ipairs { uring.loop():ring(), ring } do
          uring.spawn(function()
            local last = {}
            for _ = 1, senders * each // 2 do
              local s, i = assert(from:receive(20 * helper.slow))
              assert.equal((last[s] or parity - 2) + 2, i)
              last[s] = i
            end
          end)
        end
      end)
      for _, t in ipairs(threads) do
        assert.same({ each, 0 }, { joined(t) })
      end
      assert.equal(senders * each // 2, ring:stats().messages)
      assert.equal(0, ring:stats().waiting)
    end)

  it("is refused with EPIPE once the ring is closed", function()
    local ring = assert(uring.ring {})
    local t = thread([[
      local ref = ...
      local errno
      for i = 1, 1 << 40 do
        errno, message = send(ref, 1, i)
        if i == 10 then spec.put("ten", true) end
        if errno ~= 0 and errno ~= E.EAGAIN and errno ~= E.EOVERFLOW then
          return errno, message, ref:closed(), tostring(ref)
        end
      end
    ]], ring:ref())
    for _ = 1, 10 do assert(ring:wait_cqe(10 * helper.slow)) end
    spec.take "ten"
    ring:close()
    local errno, _, closed, text = joined(t)
    assert.equal(E.EPIPE, errno)
    assert.equal(true, closed)
    assert(text:find("closed", 1, true), text)
  end)

  it("is refused when the target's state has ended", function()
    local t = thread([[
      local ring = uring.ring {}
      spec.put("ref", ring:ref())
      return (select(2, ring:wait_cqe(10 * slow)))
    ]])
    local ref = spec.take("ref", 20 * helper.slow)
    local mine <close> = assert(uring.ring {})
    local sqe = uring.sqe():prep_msg_ring(ref, 5, 6, 0)
    mine:queue(sqe)
    assert.equal(0, (select(2, mine:wait_cqe(10 * helper.slow))))
    assert.equal(5, joined(t))
    assert.equal(true, ref:closed())
    assert.equal(E.EPIPE, (select(3, mine:queue(sqe))))
    if helper.has "sync_msg" then
      assert.equal(E.EPIPE, (select(3, uring.register_sync_msg(sqe))))
    end
  end)
end)


describe("states", function()
  -- Each passes on what it gets to the next, one up.
  it("may send to each other in a circle", function()
    local n, rounds = 6, 30
    local threads = {}
    for i = 1, n do
      threads[i] = thread([[
        local i, n, rounds = ...
        spec.put("ring" .. i, uring.loop():ring():ref())
        local nxt = spec.take("next" .. i, 60 * slow)
        return uring.run(function()
          local ticks = 0
          local ticking = uring.spawn(function()
            for _ = 1, 5 do uring.sleep(0.001) ticks = ticks + 1 end
          end)
          local last
          for round = 1, rounds do
            if not (round == 1 and i == 1) then
              last = select(2, assert(uring.loop():ring():receive(60 * slow)))
            end
            uring.await(uring.sqe():prep_msg_ring(nxt, 0,
              (last or 0) + 1, 0))
          end
          if i == 1 then
            last = select(2, assert(uring.loop():ring():receive(60 * slow)))
          end
          ticking:join()
          return last, ticks
        end)
      ]], i, n, rounds)
    end
    for i = 1, n do
      local ref = spec.take("ring" .. i, 60 * helper.slow)
      spec.put("next" .. (i == 1 and n or i - 1), ref)
    end
    for i = 1, n do
      local last, ticks = joined(threads[i])
      assert.equal(i == 1 and n * rounds or n * (rounds - 1) + i - 1, last)
      assert.equal(5, ticks)
    end
  end)

  it("come and go, and leave no memory or descriptor", function()
    helper.keeps_fds(function()
      local ring <close> = assert(uring.ring {})
      local ref = ring:ref()
      local total = 60
      for from = 1, total, 6 do
        local threads = {}
        for i = from, from + 5 do
          threads[#threads + 1] = thread([[
            local ref, i = ...
            local other = uring.ring { entries = 4 }
            uring.run(function()
              uring.spawn(function() uring.sleep(0) end)
              assert(uring.await(uring.sqe():prep_nop()))
              assert(other:await(uring.sqe():prep_msg_ring(ref, i, i, 0)))
              uring.spawn(function()
                other:await(uring.sqe():prep_timeout(1000), 0)
              end)
            end)
            if i % 3 == 0 then other:close() end
            if i % 3 == 1 then
              other:queue(uring.sqe():prep_timeout(1000))
            end
            if i % 5 == 0 then error "on purpose" end
            return i
          ]], ref, i)
        end
        for k, t in ipairs(threads) do
          local ok, got = t:join()
          local i = from + k - 1
          if i % 5 == 0 then
            assert(not ok and got:find("on purpose", 1, true), got)
          else
            assert.same({ true, i }, { ok, got })
          end
        end
      end
      local sum = 0
      for _ = 1, total do
        sum = sum + select(2, assert(ring:wait_cqe(10 * helper.slow)))
      end
      assert.equal(total * (total + 1) // 2, sum)
    end)
  end)

  it("share no class, and keep their objects to themselves", function()
    local t = thread([[
      local ok, message = pcall(uring.ring().queue, ...)
      return ok, message
    ]], 5)
    local ok, message = joined(t)
    assert.equal(false, ok)
    assert(message:find("uring.Ring", 1, true), message)
  end)
end)
