-- A ring's two queues by hand: queue, submit, submit_and_wait, wait_cqe,
-- peek_cqe and cqes, and a CQ that is too small.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local nop, some, timeout = hand.nop, hand.some, hand.timeout
local SOON = 0.01  -- for waits whose end is what is tested

describe("queue and submit", function()
  after_each(hand.close)

  it("count the requests that were submitted", function()
    local ring = hand.ring()
    for i = 1, 5 do ring:queue(nop(i)) end
    assert.equal(5, ring:submit())
    assert.equal(0, ring:submit())
    for i = 1, 5 do assert.same({ i, 0, 0 }, { hand.take(ring) }) end
    local stats = helper.lawful(ring)
    assert.same({ 5, 5, 0, 0, 5 }, { stats.submitted, stats.completed,
      stats.silent, stats.in_flight, stats.cqes })
  end)

  it("copy the sqe, which may be queued again, on any ring", function()
    local a, b = hand.ring(), hand.ring()
    local sqe = nop(1)
    a:queue(sqe)
    sqe:set_data64(2)
    a:queue(sqe)
    sqe:prep_nop()
    b:queue(sqe)
    sqe:prep_close(9999)
    assert.same({ 0, 0 }, some(a, 2))
    assert.same({ [0] = 0 }, some(b, 1))
  end)

  it("submit a full queue by themselves", function()
    for _, options in ipairs { { entries = 4 }, { entries = 1 },
        { entries = 4, flags = 0 },
        { entries = 4, flags = uring.IORING_SETUP_SQPOLL },
        { entries = 4, flags = 0, cq_entries = 4 } } do
      local ring = hand.ring(options)
      for i = 1, 100 do assert(ring:queue(nop(i))) end
      for i = 1, 100 do assert.same({ i, 0, 0 }, { hand.take(ring) }) end
      assert.equal(0, ring:stats().lost)
    end
  end)

  it("wake a kernel thread that has gone to sleep", function()
    local ring = hand.ring { flags = uring.IORING_SETUP_SQPOLL,
      sq_thread_idle = 1 }
    for i = 1, 3 do
      spec.sleep(0.01)
      ring:queue(nop(i))
      assert.equal(1, ring:submit())
      assert.same({ i, 0, 0 }, { hand.take(ring) })
    end
  end)

  it("need an sqe that is prepared", function()
    local ring = hand.ring()
    helper.raises("uring.Sqe expected", ring.queue, ring)
    for _, what in ipairs { 1, "sqe", {}, ring, uring.buffer(1) } do
      helper.raises("uring.Sqe expected", ring.queue, ring, what)
      helper.raises("#3", function() ring:queue(nop(), nop(), what) end)
    end
    helper.raises("nothing is prepared", ring.queue, ring, uring.sqe())
    helper.raises("nothing is prepared", ring.queue, ring, nop(),
      uring.sqe())
    helper.raises("uring.Ring expected", ring.queue, nop(), nop())
    assert.equal(0, ring:stats().submitted)
  end)
end)

describe("wait_cqe", function()
  after_each(hand.close)

  it("submits, and gives data, result, flags and kind", function()
    local ring = hand.ring()
    ring:queue(nop(5))
    assert.same({ 5, 0, 0, "completion", n = 4 },
      table.pack(ring:wait_cqe()))
  end)

  it("gives 0 where no data was set, and all 64 bits where it was",
    function()
      local ring = hand.ring()
      ring:queue(uring.sqe():prep_nop())
      assert.equal(0, (hand.take(ring)))
      for _, data in ipairs { -1, math.mininteger, math.maxinteger } do
        ring:queue(nop(data))
        assert.equal(data, (hand.take(ring)))
      end
    end)

  it("ends with its timeout", function()
    for _, flags in ipairs { 0, uring.IORING_SETUP_IOPOLL,
        uring.IORING_SETUP_SQPOLL, uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN } do
      local ring = hand.ring { flags = flags }
      for _, seconds in ipairs { 0, SOON } do
        assert.same({ nil, "timed out", E.ETIME, n = 3 },
          table.pack(ring:wait_cqe(seconds)))
      end
    end
    local ring = hand.ring()
    ring:queue(timeout(3600))
    assert.equal(E.ETIME, (select(3, ring:wait_cqe(SOON))))
    assert.equal(1, ring:stats().in_flight)
  end)

  it("ends no sooner than its timeout", function()
    local ring = hand.ring()
    ring:queue(timeout(0.05, 1))
    assert.same({ 1, -E.ETIME, 0 }, { hand.take(ring) })
    -- both clocks started at once, and its own runs longer
    ring:queue(timeout(0.05, 2))
    assert.equal(2, (ring:wait_cqe(0.05 + hand.patience)))
    ring:queue(timeout(0, 3))
    assert.equal(3, (ring:wait_cqe(math.huge)))
  end)

  it("outlasts a storm of signals", function()
    local ring = hand.ring()
    spec.itimer(0.0005)
    ring:queue(timeout(0.05, 1))
    local got = { ring:wait_cqe(hand.patience) }
    local none = { ring:wait_cqe(0.02) }
    local alarms = spec.itimer(0)
    assert.same({ 1, -E.ETIME, 0, "completion" }, got)
    assert.same({ nil, "timed out", E.ETIME }, none)
    assert.truthy(alarms > 0)
  end)

  it("refuses values that are no timeout", function()
    local ring = hand.ring()
    for _, seconds in ipairs { "1", true, {} } do
      helper.raises("seconds expected", ring.wait_cqe, ring, seconds)
    end
    for _, seconds in ipairs { -1, -0.001, 0 / 0, -math.huge } do
      helper.raises("seconds must be 0 or more", ring.wait_cqe, ring,
        seconds)
    end
  end)

  it("says that a disabled ring cannot wait", function()
    local ring = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    local data, why, errno = ring:wait_cqe(5)
    assert.same({ nil, E.EBADFD }, { data, errno })
    assert.truthy(why:find("call enable_rings() first", 1, true))
    assert(ring:enable_rings())
    assert.equal(0, (hand.one(ring, nop())))
  end)
end)

describe("peek_cqe", function()
  after_each(hand.close)

  it("gives a completion, or says that there is none", function()
    for _, flags in ipairs { 0, uring.IORING_SETUP_IOPOLL,
        uring.IORING_SETUP_COOP_TASKRUN, uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN } do
      local ring = hand.ring { flags = flags }
      assert.same({ nil, "no completion is there yet", E.EAGAIN, n = 3 },
        table.pack(ring:peek_cqe()))
      ring:queue(nop(1))
      ring:submit()
      assert.same({ 1, 0, 0, "completion" }, { ring:peek_cqe() })
      assert.equal(E.EAGAIN, (select(3, ring:peek_cqe())))
    end
  end)

  it("finds the completions that the kernel has deferred", function()
    local from = assert(spec.sender())
    for _, ring in ipairs { hand.ring(), hand.ring {
        flags = uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN } } do
      assert(from:send(ring:fd(), 3, 4))
      assert.same({ 3, 4, 0, "message" }, { ring:peek_cqe() })
    end
    from:close()
  end)
end)

describe("cqes", function()
  after_each(hand.close)

  local function all(ring)
    local got = {}
    for data, res, flags, kind in ring:cqes() do
      got[#got + 1] = { data, res, flags, kind }
    end
    return got
  end

  it("gives completions and messages in order, and ends", function()
    local ring = hand.ring()
    assert.same({}, all(ring))
    ring:queue(nop(1))
    ring:queue(hand.msg(ring, -3, 4))
    ring:queue(hand.bad(2))
    assert.equal(3, ring:submit_and_wait(4))
    local got = all(ring)
    table.sort(got, function(a, b) return a[1] < b[1] end)
    assert.same({ { 0, 0, 0, "completion" }, { 1, 0, 0, "completion" },
      { 2, -E.EBADF, 0, "completion" }, { 4, -3, 0, "message" } }, got)
    assert.same({}, all(ring))
  end)

  it("submits and finds what the kernel has deferred, as peek_cqe", function()
    local from = assert(spec.sender())
    for _, flags in ipairs { 0, uring.IORING_SETUP_IOPOLL,
        uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN } do
      local ring = hand.ring { flags = flags }
      ring:queue(nop(1))
      assert.same({ { 1, 0, 0, "completion" } }, all(ring))
      if flags ~= uring.IORING_SETUP_IOPOLL then
        for i = 1, 100 do assert(from:send(ring:fd(), i, 3)) end
        local got = all(ring)
        for i = 1, 100 do assert.same({ i, 3, 0, "message" }, got[i]) end
      end
    end
    from:close()
  end)

  it("leaves what a loop that breaks or raises has not taken", function()
    local ring = hand.ring()
    for i = 1, 5 do ring:push(nop(i)) end
    for data in ring:cqes() do
      if data == 2 then break end
    end
    assert.has_error(function()
      for data in ring:cqes() do error(data, 0) end
    end, 3)
    assert.same({ { 4, 0, 0, "completion" }, { 5, 0, 0, "completion" } },
      all(ring))
  end)

  it("gives what its own body has queued, and the body may take too",
    function()
      local ring = hand.ring()
      ring:push(nop(1))
      local got = {}
      for data in ring:cqes() do
        got[#got + 1] = data
        if data == 1 then
          for i = 2, 4 do ring:push(nop(i)) end
          got[#got + 1] = ring:wait_cqe()
        end
      end
      assert.same({ 1, 2, 3, 4 }, got)
    end)

  it("ends when its body closes the ring, however", function()
    local ring = hand.ring()
    for i = 1, 3 do ring:push(nop(i)) end
    local n = 0
    for _ in ring:cqes() do
      n = n + 1
      ring:close()
    end
    assert.equal(1, n)
    helper.raises("closed ring", ring.cqes, ring)
  end)

  it("keeps its ring", function()
    local function begin()
      local ring = assert(uring.ring())
      ring:push(nop(7))
      return ring:cqes()
    end
    local step = begin()
    helper.collect()
    assert.equal(7, (step()))
  end)

  it("is refused while a task waits, also in a loop that has begun",
    function()
      local ring = hand.ring()
      uring.run(function()
        ring:push(nop(1))
        local step = ring:cqes()
        local task = uring.spawn(function()
          return ring:await(timeout(3600), 0.05)
        end)
        uring.sleep(0)
        helper.raises("driven by the loop", ring.cqes, ring)
        helper.raises("driven by the loop", step)
        task:join()
        assert.equal(1, (step()))
      end)
    end)

  it("says whose ring it is to a child and to another thread", function()
    local ring = hand.ring()
    ring:push(nop(1))
    local step = ring:cqes()
    assert.equal(0, (helper.child(function()
      helper.raises("belongs to another process", step)
    end)))
    local ok, why = spec.in_thread(step)
    assert.is_false(ok)
    assert.truthy(why:find("belongs to another thread", 1, true), why)
    assert.equal(1, (step()))
  end)

  it("raises what is no end", function()
    local ring = assert(uring.ring { flags = uring.IORING_SETUP_R_DISABLED })
    ring:queue(nop(1))
    helper.raises("submit to ring", ring:cqes())
    assert(ring:enable_rings())
    assert.same({ { 1, 0, 0, "completion" } }, all(ring))
    ring:close()
  end)

  it("leaves no garbage but one function", function()
    local ring = hand.ring()
    local function garbage(n)
      for i = 1, n do ring:push(nop(i)) end
      ring:submit_and_wait(n)
      collectgarbage()
      collectgarbage "stop"
      local before = collectgarbage "count"
      for _ in ring:cqes() do end
      local after = collectgarbage "count"
      collectgarbage "restart"
      return after - before
    end
    garbage(50)
    assert.equal(garbage(1), garbage(50))
  end)
end)

describe("submit_and_wait", function()
  after_each(hand.close)

  it("submits and waits by one call of the kernel", function()
    local ring = hand.ring()
    for i = 1, 3 do ring:queue(timeout(0.005, i)) end
    local before = ring:stats().enters
    assert.equal(3, ring:submit_and_wait(3, hand.patience))
    assert.equal(1, ring:stats().enters - before)
  end)

  it("submits all, also where enough has completed before", function()
    local ring = hand.ring()
    for i = 1, 3 do ring:queue(nop(i)) end
    assert.equal(3, ring:submit_and_wait(3, hand.patience))
    ring:queue(nop(4))
    assert.equal(1, ring:submit_and_wait(2))
    assert.equal(0, ring:submit())
    assert.equal(4, ring:stats().submitted)
    -- (without SUBMIT_ALL the kernel stops at each request that fails)
    local plain = hand.ring { flags = 0 }
    for i = 1, 8 do plain:queue(i % 2 == 0 and nop(i) or hand.bad(i)) end
    assert.equal(8, plain:submit_and_wait(1))
    assert.equal(0, plain:submit())
    hand.some(plain, 8)
  end)

  it("waits for as many as asked, and leaves them to be taken", function()
    local ring = hand.ring()
    for i = 1, 3 do ring:queue(nop(i)) end
    ring:queue(timeout(0.005, 4))
    assert.equal(4, ring:submit_and_wait(4, hand.patience))
    for i = 1, 4 do assert.equal(i, (ring:peek_cqe())) end
    assert.equal(E.EAGAIN, (select(3, ring:peek_cqe())))
  end)

  it("waits for one where no number is given, for none with 0", function()
    local ring = hand.ring()
    ring:queue(timeout(0.005, 1))
    assert.equal(1, ring:submit_and_wait())
    assert.equal(1, (ring:peek_cqe()))
    ring:queue(timeout(3600, 2))
    assert.equal(1, ring:submit_and_wait(0))
    assert.equal(0, ring:submit_and_wait(0, 5))
    assert.equal(E.EAGAIN, (select(3, ring:peek_cqe())))
  end)

  it("counts completions that have come before", function()
    local ring = hand.ring()
    for i = 1, 3 do ring:queue(nop(i)) end
    assert.equal(3, ring:submit_and_wait(3, hand.patience))
    assert.equal(0, ring:submit_and_wait(3, SOON))
    assert.equal(1, (ring:peek_cqe()))
    assert.same({ nil, "timed out", E.ETIME },
      { ring:submit_and_wait(3, SOON) })
    assert.same({ 2, 3 }, { (ring:peek_cqe()), (ring:peek_cqe()) })
  end)

  it("ends with its timeout, and loses nothing by it", function()
    local ring = hand.ring()
    for i = 1, 3 do ring:queue(nop(i)) end
    assert.same({ nil, "timed out", E.ETIME, n = 3 },
      table.pack(ring:submit_and_wait(4, SOON)))
    assert.equal(3, ring:stats().completed)
    for i = 1, 3 do assert.equal(i, (ring:peek_cqe())) end
  end)

  it("waits for messages as well", function()
    local ring = hand.ring()
    local later = spec.send_later(0.02, ring:fd(), 3, 4)
    assert.equal(0, ring:submit_and_wait(1, hand.patience))
    assert.same({ 4, 3, 0 }, { hand.message(ring) })
    assert.is_true((later:join()))
  end)

  it("refuses numbers that the CQ cannot hold", function()
    local ring = hand.ring { entries = 4, cq_entries = 8 }
    for _, n in ipairs { -1, 9, 0.5, "1", 1 << 40 } do
      helper.raises("integer from 0 to 8 expected", ring.submit_and_wait,
        ring, n)
    end
    helper.raises("seconds expected", ring.submit_and_wait, ring, 1, "1")
  end)
end)

describe("a CQ that is too small", function()
  after_each(hand.close)

  it("loses nothing and keeps the order", function()
    for _, flags in ipairs { 0, uring.IORING_SETUP_SINGLE_ISSUER
        | uring.IORING_SETUP_DEFER_TASKRUN } do
      local ring = hand.ring { entries = 4, cq_entries = 4, flags = flags }
      local from = assert(spec.sender())
      for i = 1, 500 do
        if i % 5 == 0 then assert(from:send(ring:fd(), i, 0))
        else assert(ring:queue(nop(i))) end
      end
      local last = { completion = 0, message = 0 }
      for _ = 1, 500 do
        local data, _, _, kind = ring:wait_cqe(hand.patience)
        assert.truthy(data > last[kind])
        last[kind] = data
      end
      assert.same({ completion = 499, message = 500 }, last)
      assert.equal(0, ring:stats().lost)
      assert.equal(E.EAGAIN, (select(3, ring:peek_cqe())))
      from:close()
    end
  end)
end)
