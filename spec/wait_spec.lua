-- What a task waits with: await, chains, operations, messages.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local nop <const> = helper.nop

local fails <const> = helper.fails

after_each(helper.idle_loop)

describe("await", function()
  local r, w

  before_each(function() r, w = helper.pipe() end)
  after_each(helper.clean)

  it("gives results, or nil, message, errno, flags", function()
    uring.run(function()
      assert.same({ n = 2, 0, 0 }, table.pack(uring.await(nop())))
      local bad = table.pack(uring.await(uring.sqe():prep_close(9999)))
      assert.same({ n = 4, nil, "close on fd 9999: Bad file descriptor "
        .. "(EBADF)", E.EBADF, 0 }, bad)
    end)
  end)

  it("returns from a timeout when the request has ended", function()
    uring.run(function()
      local buffer = uring.buffer(10)
      local ring = uring.loop():ring()
      for _, s in ipairs { 0, 0.001 } do
        assert.same({ n = 3, nil, "timed out", E.ETIME }, table.pack(
          uring.await(uring.sqe():prep_read(r, buffer), s)))
        assert.equal(0, ring:stats().in_flight - ring:stats().internal)
        assert(buffer:resize(10))
      end
      -- received data is not lost
      spec.write(w, "abc")
      local read = uring.sqe():prep_read(r, buffer)
      assert.equal(3, (uring.await(read, 0) or uring.await(read, 5)))
      assert.same({ 0, 0 }, { uring.await(nop(), 0) })
      assert.same({ 0, 0 }, { uring.await(nop(), math.huge) })
    end)
  end)

  it("loses no byte to a timeout that races it", function()
    uring.run(function()
      local buffer = uring.buffer(1)
      local got, sent = 0, 0
      local writer = uring.spawn(function()
        for _ = 1, 200 do
          spec.write(w, "x")
          sent = sent + 1
          uring.sleep(math.random() * 0.0002)
        end
      end)
      local idle = 0
      while idle < 3 do
        local n = uring.await(uring.sqe():prep_read(r, buffer),
          math.random() * 0.0002)
        if n then got, idle = got + n, 0
        elseif sent == 200 then idle = idle + 1 end
      end
      writer:join()
      while got < sent do  -- (some had no time to come)
        got = got + assert(uring.await(uring.sqe():prep_read(r, buffer),
          5 * helper.slow))
      end
      assert.equal(sent, got)
      assert.is_nil((uring.await(uring.sqe():prep_read(r, buffer), 0)))
    end)
  end)

  it("refuses requests that complete more than once, or never", function()
    uring.run(function()
      helper.raises("ring:queue", uring.await,
        uring.sqe():prep_poll_multishot(r, uring.POLLIN))
      helper.raises("no completion to wait for", uring.await,
        nop():set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
      helper.raises("link flag", uring.await,
        nop():set_flags(uring.IOSQE_IO_LINK))
    end)
  end)

  it("times out three thousand at once on sixty-four entries", function()
    helper.script_ok [[
      local uring = require "uring"
      local spec = require "uring_spec"
      uring.loop { entries = 64 }
      local r, w = spec.pipe()
      local n = 0
      uring.run(function()
        for i = 1, 3000 do
          uring.spawn(function()
            local ok, why = uring.await(uring.sqe():prep_poll_add(r,
              uring.POLLIN), 0.05)
            assert(not ok and why == "timed out", why)
            n = n + 1
          end)
        end
      end)
      assert(n == 3000)
      assert(uring.loop():ring():stats().in_flight == 0)
    ]]
  end)

  it("works in ten thousand tasks", function()
    uring.run(function()
      local n, sqe = 0, nop()
      for _ = 1, 10000 do
        uring.spawn(function()
          uring.await(sqe)
          uring.sleep(0.01)
          n = n + 1
        end)
      end
      repeat uring.sleep(0.01) until n == 10000
    end)
  end)

  it("outlasts a storm of signals", function()
    spec.itimer(0.0005)
    local ok, why = pcall(uring.run, function()
      local buffer = uring.buffer(10)
      local reader = uring.spawn(function()
        return uring.await(uring.sqe():prep_read(r, buffer))
      end)
      for _ = 1, 20 do uring.sleep(0.002) end
      spec.write(w, "abc")
      assert.same({ true, 3, 0 }, { reader:join(5) })
    end)
    spec.itimer(0)
    assert(ok, why)
  end)
end)

describe("await_chain", function()
  it("gives the results of all members", function()
    uring.run(function()
      local ring = uring.loop():ring()
      assert.same({ { 0, 0 }, { -E.EBADF, 0 }, { -E.ECANCELED, 0 } },
        ring:await_chain { nop(), uring.sqe():prep_close(9999), nop() })
      assert.same({ { silent = true }, { 0, 0 } }, ring:await_chain {
        nop():set_flags(uring.IOSQE_CQE_SKIP_SUCCESS), nop() })
      assert.same({ { -E.EBADF, 0 }, { -E.ECANCELED, 0 } }, ring:await_chain {
        uring.sqe():prep_close(9999)
          :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS), nop() })
    end)
  end)

  it("ends on its timeout when the requests have ended", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      local out = table.pack(ring:await_chain({
        nop(), uring.sqe():prep_timeout(60), nop() }, 0.01))
      assert.same({ n = 4, nil, "timed out", E.ETIME, { { 0, 0 },
        { -E.ECANCELED, 0 }, { -E.ECANCELED, 0 } } }, out)
      assert.equal(0, ring:stats().in_flight)
      local function hard()
        return uring.sqe():prep_timeout(60)
          :set_flags(uring.IOSQE_IO_HARDLINK)
      end
      out = table.pack(ring:await_chain({ hard(), hard(),
        uring.sqe():prep_timeout(60) }, 0.01))
      assert.equal("timed out", out[2])
      helper.lawful(ring)
    end)
  end)

  it("refuses chains that it cannot await", function()
    uring.run(function()
      local ring = uring.loop():ring()
      helper.raises("table expected", ring.await_chain, ring)
      helper.raises("array of 1 to", ring.await_chain, ring, {})
      helper.raises("uring.Sqe expected", ring.await_chain, ring, { 1 })
      helper.raises("must complete visibly", ring.await_chain, ring,
        { nop():set_flags(uring.IOSQE_CQE_SKIP_SUCCESS) })
    end)
  end)
end)

describe("an operation", function()
  local r, w

  before_each(function() r, w = helper.pipe() end)
  after_each(helper.clean)

  it("goes on when its wait times out", function()
    uring.run(function()
      local ring = uring.loop():ring()
      local buffer = uring.buffer(10)
      local op = ring:queue(uring.sqe():prep_read(r, buffer))
      assert.equal("timed out", select(2, op:await(0.001)))
      assert.equal("in flight", op:status())
      spec.write(w, "abc")
      assert.same({ 3, 0 }, { op:await(5) })
      assert.equal("done", op:status())
      assert.equal(E.ESRCH, select(3, op:await()))
    end)
  end)

  it("gives all the completions of a multishot", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      local op = ring:queue(uring.sqe():prep_poll_multishot(r, uring.POLLIN))
      local n = 0
      uring.spawn(function()
        for _ = 1, 3 do
          spec.write(w, "x")
          uring.sleep(0.005)
        end
        op:cancel()
      end)
      for res, flags in op:completions() do
        assert.truthy(res & uring.POLLIN ~= 0)
        assert.truthy(flags & uring.IORING_CQE_F_MORE ~= 0)
        n = n + 1
      end
      assert.truthy(n >= 1)
      assert.equal("done", op:status())
    end)
  end)

  it("gives the times of a timeout that repeats as results", function()
    helper.needs "timeout_multishot"
    local MORE <const> = uring.IORING_CQE_F_MORE
    local function every(count)
      return uring.sqe():prep_timeout(0.001, count,
        uring.IORING_TIMEOUT_MULTISHOT)
    end
    uring.run(function()
      local other <close> = assert(uring.ring())
      for _, ring in ipairs { uring.loop():ring(), other } do
        local got = {}
        for res, flags in ring:queue(every(3)):completions() do
          got[#got + 1] = { res, flags & MORE }
        end
        assert.same({ { -E.ETIME, MORE }, { -E.ETIME, MORE },
          { -E.ETIME, 0 } }, got)
        local op, n = ring:queue(every(0)), 0
        for res in op:completions() do
          assert.equal(-E.ETIME, res)
          n = n + 1
          if n == 2 then op:cancel() end
        end
        assert.truthy(n >= 2)
        assert.equal("done", op:status())
        op = ring:queue(every(2))
        assert.same({ -E.ETIME, MORE }, { op:await(60) })
        assert.same({ -E.ETIME, 0 }, { op:await(60) })
        assert.equal(E.ESRCH, select(3, op:await()))
        -- one that does not repeat ends as every wait whose time is over
        op = ring:queue(uring.sqe():prep_timeout(0.001))
        assert.equal(E.ETIME, select(3, op:await()))
      end
    end)
  end)

  it("raises its error where it is iterated", function()
    uring.run(function()
      local ring = uring.loop():ring()
      local op = ring:queue(uring.sqe():prep_close(9999))
      helper.raises("Bad file descriptor", function()
        for _ in op:completions() do error "it has none" end
      end)
    end)
  end)

  it("can be awaited by one task only", function()
    uring.run(function()
      local ring = uring.loop():ring()
      local op = ring:queue(uring.sqe():prep_timeout(60))
      local t = uring.spawn(function() return op:await() end)
      uring.sleep(0)
      helper.raises("another task awaits", op.await, op)
      op:cancel()
      assert.equal(E.ECANCELED, select(4, t:join()))
    end)
  end)

  it("that is collected closes the file that it opened", function()
    local path = helper.file "x"
    helper.keeps_fds(function()
      uring.run(function()
        local ring = uring.loop():ring()
        for _ = 1, 20 do
          ring:queue(uring.sqe():prep_openat(uring.AT_FDCWD, path, 0)
            :set_flags(uring.IOSQE_ASYNC))
        end
        helper.collect()
        while ring:stats().in_flight > ring:stats().internal do
          uring.sleep(0.001)
        end
      end)
    end)
    helper.clean()
  end)

  it("that is a multishot and collected is cancelled", function()
    uring.run(function()
      local ring = uring.loop():ring()
      ring:queue(uring.sqe():prep_poll_multishot(r, uring.POLLIN))
      uring.sleep(0)
      helper.collect()
      while ring:stats().in_flight > ring:stats().internal do
        uring.sleep(0.001)
      end
    end)
  end)
end)

describe("receive and messages", function()
  it("give each message to exactly one, in order", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      local got, tasks, last = {}, {}, 0
      for i = 1, 5 do
        tasks[i] = uring.spawn(function()
          for len, data in ring:messages() do
            if len == 0 then return end
            got[#got + 1] = data
            assert(data > last)
            last = data
            if data % 7 == 0 then uring.sleep(0) end
          end
        end)
      end
      for i = 1, 500 do
        uring.await(uring.sqe():prep_msg_ring(ring, 1, i))
      end
      for _ = 1, 5 do
        uring.await(uring.sqe():prep_msg_ring(ring, 0, 1 << 40))
      end
      for _, t in ipairs(tasks) do assert(t:join(5)) end
      assert.equal(500, #got)
    end)
  end)

  it("time out, and lose nothing by it", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      assert.same({ n = 3, nil, "timed out", E.ETIME },
        table.pack(ring:receive(0.001)))
      uring.await(uring.sqe():prep_msg_ring(ring, 1, 2))
      assert.same({ 1, 2, 0 }, { ring:receive(0) })
      local sent, got = 200, 0
      uring.spawn(function()
        for i = 1, sent do
          uring.await(uring.sqe():prep_msg_ring(ring, 1, i))
          uring.sleep(math.random() * 0.0002)
        end
      end)
      while got < sent do
        local _, data = ring:receive(math.random() * 0.0002)
        if data ~= "timed out" then
          got = got + 1
          assert.equal(got, data)
        end
      end
    end)
  end)

  it("put back a message that a cancelled task was handed", function()
    local ring = assert(uring.ring())
    fails("boom", function()
      uring.spawn(function() ring:receive() end)
      uring.spawn(function()
        uring.sleep(0.001)
        -- handed over in the same turn in which the run ends
        ring:queue(uring.sqe():prep_msg_ring(ring, 1, 42)
          :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
        ring:submit()
        uring.sleep(0)
        error "boom"
      end)
    end)
    assert.same({ 42, 1, 0, "message" }, { ring:wait_cqe(1) })
    ring:close()
  end)

  it("end when the ring is closed", function()
    uring.run(function()
      local ring = assert(uring.ring())
      local a = uring.spawn(function() return ring:receive() end)
      local b = uring.spawn(function()
        for _ in ring:messages() do error "none came" end
        return "ended"
      end)
      uring.sleep(0.001)
      ring:close()
      assert.equal(E.EBADF, select(4, a:join(5)))
      assert.same({ true, "ended" }, { b:join(5) })
    end)
  end)
end)
