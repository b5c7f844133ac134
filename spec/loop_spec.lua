-- Tasks and the loop: run, spawn, join, sleep; awaiting single completions,
-- chains, operations and messages, on the loop's ring and on others; errors,
-- timeouts, deadlock, signals.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local function nop() return uring.sqe():prep_nop() end

-- uring.run must fail, and say `words`.
local function fails(words, main)
  return helper.raises(words, uring.run, main)
end

after_each(function()
  if helper.probe.available then
    local stats = helper.lawful(uring.loop():ring())
    assert.equal(stats.internal, stats.in_flight)
  end
end)

describe("uring.run", function()
  it("gives main its arguments and returns its results", function()
    assert.same({ n = 4, 1, nil, 3, nil }, table.pack(uring.run(
      function(...) return ... end, 1, nil, 3, nil)))
    assert.equal(0, select("#", uring.run(function() end)))
    assert.equal(7, uring.run({ main = function(x) return x end,
      name = "m" }, 7))
  end)

  it("ends when all its tasks have", function()
    local log = {}
    uring.run(function()
      uring.spawn(function()
        uring.sleep(0.02)
        log[#log + 1] = "child"
      end)
      log[#log + 1] = "main"
    end)
    assert.same({ "main", "child" }, log)
  end)

  it("is not for tasks, and refuses what is no function", function()
    fails("inside a task", function() uring.run(function() end) end)
    helper.raises("function expected", uring.run)
    helper.raises("function expected", uring.run, 1)
    helper.raises("did you mean 'main'?", uring.run, { mian = print })
    helper.raises("'main' must be a function", uring.run, { name = "x" })
    helper.raises("'name' must be a string", uring.run,
      { main = print, name = {} })
  end)

  it("works in a coroutine of the program's own", function()
    local f = coroutine.wrap(function()
      return uring.run(function() uring.sleep(0.001) return "in" end)
    end)
    assert.equal("in", f())
  end)

  it("is named by what waits outside a task", function()
    local ring <close> = assert(uring.ring())
    for _, f in ipairs { uring.sleep, uring.await } do
      helper.raises("uring.run", f, f == uring.sleep and 0 or nop())
    end
    helper.raises("uring.run", uring.spawn, function() end)
    helper.raises("uring.run", ring.receive, ring)
    helper.raises("uring.run", ring.await, ring, nop())
    helper.raises("uring.run", ring.await_chain, ring, { nop() })
    local op = ring:queue(nop())
    helper.raises("uring.run", op.await, op)
    assert(ring:wait_cqe(5))
  end)
end)

describe("a task", function()
  it("is joined for its results", function()
    uring.run(function()
      local t = uring.spawn(function(a, b) uring.sleep(0) return b, nil, a,
        nil end, 1, 2)
      assert.same({ n = 5, true, 2, nil, 1, nil }, table.pack(t:join()))
      assert.same({ n = 5, true, 2, nil, 1, nil }, table.pack(t:join()))
      local u = uring.spawn { main = function() return 5 end, name = "five" }
      assert.equal("uring.Task ('five', new)", tostring(u))
      assert.same({ true, 5 }, { u:join() })
      assert.equal("uring.Task ('five', done)", tostring(u))
    end)
  end)

  it("is joined by many, and not for longer than asked", function()
    uring.run(function()
      local t = uring.spawn(function() uring.sleep(0.03) return "x" end)
      assert.same({ n = 3, nil, "timed out", E.ETIME },
        table.pack(t:join(0.001)))
      assert.same({ n = 3, nil, "timed out", E.ETIME }, table.pack(t:join(0)))
      local others = {}
      for i = 1, 10 do
        others[i] = uring.spawn(function() return t:join(5) end)
      end
      for i = 1, 10 do
        assert.same({ true, true, "x" }, { others[i]:join() })
      end
    end)
  end)

  it("that sleeps 0 lets all others run once", function()
    local log = {}
    uring.run(function()
      for i = 1, 3 do
        uring.spawn(function()
          for _ = 1, 2 do
            log[#log + 1] = i
            uring.sleep(0)
          end
        end)
      end
    end)
    assert.same({ 1, 2, 3, 1, 2, 3 }, log)
  end)

  it("sleeps for as long as it says", function()
    uring.run(function()
      local order = {}
      local tasks = {}
      for i, s in ipairs { 0.03, 0.01, 0.02 } do
        tasks[i] = uring.spawn(function()
          uring.sleep(s)
          order[#order + 1] = i
        end)
      end
      for _, t in ipairs(tasks) do t:join() end
      assert.same({ 2, 3, 1 }, order)
    end)
    helper.raises("0 or more", uring.sleep, -1)
    helper.raises("0 or more", uring.sleep, 0 / 0)
    helper.raises("seconds expected", uring.sleep)
    helper.raises("seconds expected", uring.sleep, "1")
  end)

  it("cannot take more than its turn of waits that need none", function()
    local ring <close> = assert(uring.ring())
    for i = 1, 1000 do
      ring:queue(uring.sqe():prep_msg_ring(ring, 1, i)
        :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
    end
    ring:submit()
    uring.run(function()
      local turns, taken = 0, 0
      local t = uring.spawn(function()
        for _ = 1, 1000 do
          ring:receive()
          taken = taken + 1
        end
      end)
      while taken < 1000 do
        uring.sleep(0)
        turns = turns + 1
      end
      t:join()
      assert.truthy(turns >= 10, "only " .. turns .. " turns")
    end)
  end)

  it("may wait in pcall, metamethods and iterators", function()
    uring.run(function()
      assert.same({ true, 0, 0 }, { pcall(uring.await, nop()) })
      local t = setmetatable({}, {
        __index = function(_, k) uring.sleep(0.001) return k end,
        __add = function() uring.sleep(0.001) return "sum" end,
      })
      assert.equal("key", t.key)
      assert.equal("sum", t + 1)
      local n = 0
      for i in function(_, i)
        uring.sleep(0)
        return i < 3 and i + 1 or nil
      end, nil, 0 do
        n = n + i
      end
      assert.equal(6, n)
      local closed
      do
        local _ <close> = setmetatable({}, { __close = function()
          uring.sleep(0.001)
          closed = true
        end })
      end
      assert.is_true(closed)
    end)
  end)

  it("is told where it cannot wait", function()
    uring.run(function()
      helper.raises("cannot wait here", table.sort, { 1, 2, 3 },
        function(a, b) uring.sleep(0) return a < b end)
      helper.raises("cannot wait here", string.gsub, "x", "x",
        function() uring.await(nop()) end)
      helper.raises("not the task's own", coroutine.wrap(function()
        uring.sleep(0)
      end))
      helper.raises("not the task's own", coroutine.wrap(function()
        uring.await(nop())
      end))
      -- and nothing was queued
      assert.same({ 0, 0 }, { uring.await(nop()) })
    end)
    fails("coroutine.yield", function() coroutine.yield() end)
  end)

  it("may use coroutines that do not wait", function()
    uring.run(function()
      local f = coroutine.wrap(function()
        for i = 1, 3 do coroutine.yield(i) end
      end)
      local sum = 0
      for i in f do
        sum = sum + i
        uring.sleep(0)
      end
      assert.equal(6, sum)
    end)
  end)

  it("allocates nothing by waiting", function()
    uring.run(function()
      local sqe = nop()
      for _ = 1, 100 do uring.await(sqe) end
      collectgarbage()
      collectgarbage "stop"
      local before = collectgarbage "count"
      for _ = 1, 1000 do
        uring.await(sqe)
        uring.await(sqe, 10)
        uring.sleep(0)
      end
      local after = collectgarbage "count"
      collectgarbage "restart"
      assert.equal(before, after)
    end)
  end)

  it("runs with all garbage collected between any two lines", function()
    helper.each_step_gc(function()
      uring.run(function()
        local ring <close> = assert(uring.ring())
        local t = uring.spawn(function()
          local sum = 0
          for i = 1, 3 do sum = sum + select(2, ring:receive(5)) + i end
          return sum
        end)
        for i = 1, 3 do
          assert(uring.await(uring.sqe():prep_msg_ring(ring, 1, i), 5))
        end
        assert.same({ true, 12 }, { t:join(5) })
      end)
    end)
  end)
end)

describe("an error", function()
  it("comes out of run with its traceback, once", function()
    local why = fails("boom", function()
      uring.spawn(function()
        uring.sleep(0.001)
        error "boom"
      end)
      uring.sleep(60)
    end)
    local _, n = why:gsub("stack traceback", "")
    assert.equal(1, n)
    assert.truthy(why:find("a task spawned at spec/loop_spec.lua:", 1, true))
  end)

  it("that is no string is passed on as it is", function()
    local value = {}
    local ok, err = pcall(uring.run, function() error(value) end)
    assert.is_false(ok)
    assert.equal(value, err)
    ok, err = pcall(uring.run, function() error(nil) end)
    assert.is_false(ok)
    -- (Lua 5.5 makes a string of it)
    assert.truthy(err == nil or err:find("no error object", 1, true))
  end)

  it("is given to who joins, and fails the run all the same", function()
    local joined
    fails("boom", function()
      local t = uring.spawn(function() error("boom", 0) end)
      local ok, err = pcall(function() joined = { t:join() } end)
      assert.is_false(ok)
      assert.equal(uring.cancelled, err)
      error(err)
    end)
    assert.is_nil(joined)
  end)

  it("cancels all others at their waits, which may clean up", function()
    local r, w = spec.pipe()
    local log = {}
    fails("boom", function()
      local ring <close> = assert(uring.ring())
      local buffer = uring.buffer(10)
      local waits = {
        sleep = function() uring.sleep(60) end,
        await = function() uring.await(uring.sqe():prep_read(r, buffer)) end,
        other = function() ring:await(uring.sqe():prep_read(r, buffer)) end,
        receive = function() ring:receive() end,
        chain = function()
          ring:await_chain { uring.sqe():prep_timeout(60), nop() }
        end,
        operation = function()
          local op = ring:queue(uring.sqe():prep_timeout(60))
          op:await()
        end,
      }
      for name, f in pairs(waits) do
        uring.spawn(function()
          local _ <close> = setmetatable({}, { __close = function(_, err)
            log[name] = err == uring.cancelled
          end })
          f()
        end)
      end
      uring.spawn(function() uring.sleep(0.01) error "boom" end)
      uring.sleep(60)
    end)
    assert.same({ sleep = true, await = true, other = true, receive = true,
      chain = true, operation = true }, log)
    assert.equal("uring.cancelled", tostring(uring.cancelled))
    spec.close(r)
    spec.close(w)
  end)

  it("of arguments leaves the loop whole", function()
    uring.run(function()
      helper.raises("uring.Sqe expected", uring.await)
      helper.raises("uring.Sqe expected", uring.await, 5)
      helper.raises("0 or more", uring.await, nop(), -1)
      helper.raises("seconds expected", uring.await, nop(), "1")
      assert.same({ 0, 0 }, { uring.await(nop()) })
    end)
  end)
end)

describe("await", function()
  local r, w

  before_each(function() r, w = spec.pipe() end)
  after_each(function() spec.close(r) spec.close(w) end)

  it("gives results, or nil, message, errno, flags", function()
    uring.run(function()
      assert.same({ n = 2, 0, 0 }, table.pack(uring.await(nop())))
      local bad = table.pack(uring.await(uring.sqe():prep_close(9999)))
      assert.same({ n = 4, nil, "close on fd 9999: Bad file descriptor "
        .. "(EBADF)", E.EBADF, 0 }, bad)
    end)
  end)

  it("returns from a timeout when the kernel has let go", function()
    uring.run(function()
      local buffer = uring.buffer(10)
      local ring = uring.loop():ring()
      for _, s in ipairs { 0, 0.001 } do
        assert.same({ n = 3, nil, "timed out", E.ETIME }, table.pack(
          uring.await(uring.sqe():prep_read(r, buffer), s)))
        assert.equal(0, ring:stats().in_flight - ring:stats().internal)
        assert(buffer:resize(10))
      end
      -- what has come is not lost
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
      assert.equal(sent, got)
    end)
  end)

  it("refuses what completes more than once, or never", function()
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

  it("works on ten thousand tasks", function()
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
  it("gives the results of all", function()
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

  it("ends on its timeout when the kernel has let go", function()
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

  it("refuses what it cannot await", function()
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

  before_each(function() r, w = spec.pipe() end)
  after_each(function() spec.close(r) spec.close(w) end)

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

  it("that is collected gives back what it opened", function()
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

  it("put back what a cancelled task was handed", function()
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

describe("a ring that is not the loop's", function()
  it("of any kind wakes the loop", function()
    for _, options in ipairs { {}, { flags = 0 },
        { flags = uring.IORING_SETUP_COOP_TASKRUN },
        { flags = uring.IORING_SETUP_SQPOLL },
        { flags = uring.IORING_SETUP_CQE32 } } do
      uring.run(function()
        local ring <close> = assert(uring.ring(options))
        assert.same({ 0, 0 }, { ring:await(nop()) })
        assert.equal(E.ETIME, select(3, ring:await(
          uring.sqe():prep_timeout(0.005))))
        local later = spec.send_later(0.02, ring:fd(), 11, 22)
        assert.same({ 22, 11, 0 }, { ring:receive(5 * helper.slow) })
        assert.is_true((later:join()))
      end)
    end
  end)

  it("and the loop's own are woken by another thread", function()
    uring.run(function()
      local own = uring.loop():ring()
      local later = spec.send_later(0.02, own:fd(), 11, 22)
      assert.same({ 22, 11, 0 }, { own:receive(5 * helper.slow) })
      assert.is_true((later:join()))
    end)
  end)

  it("is the loop's while a task waits on it, and free again", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      local t = uring.spawn(function() return ring:receive(5) end)
      uring.sleep(0)
      helper.raises("driven by the loop", ring.wait_cqe, ring, 0)
      helper.raises("driven by the loop", ring.peek_cqe, ring)
      local fd = spec.eventfd()
      helper.raises("eventfd of its own", ring.register_eventfd, ring, fd)
      uring.await(uring.sqe():prep_msg_ring(ring, 1, 2))
      assert(t:join(5))
      ring:queue(nop())
      assert(ring:wait_cqe(5))
      assert(ring:register_eventfd(fd))
      assert.equal(E.EBUSY, select(3, ring:receive(0)))
      assert(ring:unregister_eventfd())
      assert.equal(E.ETIME, select(3, ring:receive(0)))
      spec.close(fd)
    end)
  end)

  it("is driven by hand if it polls, and refused while disabled", function()
    uring.run(function()
      local poll <close> = assert(uring.ring {
        flags = uring.IORING_SETUP_IOPOLL })
      helper.raises("driven by hand only", poll.await, poll, nop())
      local off <close> = assert(uring.ring {
        flags = uring.IORING_SETUP_R_DISABLED })
      assert.equal(E.EBADFD, select(3, off:await(nop())))
      assert(off:enable_rings())
      assert.same({ 0, 0 }, { off:await(nop()) })
    end)
  end)

  it("is watched through thousands of messages", function()
    uring.run(function()
      local ring <close> = assert(uring.ring { entries = 2, cq_entries = 4 })
      local t = uring.spawn(function()
        for i = 1, 3000 do
          local _, data = assert(ring:receive(5 * helper.slow))
          assert.equal(i, data)
        end
      end)
      local sqe = uring.sqe()
      for i = 1, 3000 do
        uring.await(sqe:prep_msg_ring(ring, 1, i))
      end
      assert(t:join(5 * helper.slow))
    end)
  end)

  it("leaves nothing behind when it is closed", function()
    helper.keeps_fds(function()
      for _ = 1, 10 do
        uring.run(function()
          local ring <close> = assert(uring.ring())
          ring:await(nop())
        end)
      end
    end)
  end)
end)

describe("a deadlock", function()
  it("is an error that says who waits for whom, and where", function()
    local why = fails("deadlock", function()
      local a, b
      a = uring.spawn { name = "anna", main = function() b:join() end }
      b = uring.spawn(function() a:join() end)
      a:join()
    end)
    assert.truthy(why:find("task %d+ 'anna' waits for task %d+ to end at "
      .. "spec/loop_spec.lua:%d+"))
  end)

  it("is not to wait for messages, time or operations", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      local t = uring.spawn(function() return ring:receive() end)
      local later = spec.send_later(0.02, ring:fd(), 1, 2)
      assert.same({ true, 2, 1, 0 }, { t:join() })
      later:join()
    end)
  end)

  it("is not to join oneself, which is refused", function()
    fails("cannot join itself", function()
      local t
      t = uring.spawn(function() t:join() end)
    end)
  end)
end)

describe("Ctrl-C", function()
  local script = [[
    local uring = require "uring"
    local spec = require "uring_spec"
    local function wait() %s end
    spec.interrupt(0.05)
    wait()
  ]]

  it("ends a script in any wait, with a traceback", function()
    for _, wait in ipairs {
      "uring.run(function() uring.sleep(60) end)",
      "uring.run(function() uring.loop():ring():receive() end)",
      "uring.ring():wait_cqe()",
      [[uring.run(function()
          local _ <close> = setmetatable({}, { __close = function()
            io.write "cleaned up\n"
          end })
          uring.sleep(60)
        end)]],
    } do
      local status, out = helper.script(script:format(wait))
      assert.equal(1, status)
      assert.truthy(out:find("interrupted!", 1, true), out)
      assert.truthy(out:find("stack traceback", 1, true), out)
      if wait:find "cleaned" then assert.truthy(out:find "cleaned up") end
    end
  end)
end)
