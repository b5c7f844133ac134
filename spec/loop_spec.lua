-- The loop: run and its ends, turns and fairness, deadlock, many tasks,
-- loops on rings of other kinds, and that nothing grows or is lost.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local patience = 10 * helper.slow

local function nop() return uring.sqe():prep_nop() end

-- uring.run must fail, and say `words`.
local function fails(words, main, ...)
  return helper.raises(words, uring.run, main, ...)
end

after_each(function()
  if helper.probe.available then
    local stats = helper.lawful(uring.loop():ring())
    assert.equal(stats.internal, stats.in_flight)
    assert.equal("uring.Loop (0 tasks)", tostring(uring.loop()))
  end
end)

describe("uring.run", function()
  it("gives main its arguments and returns its results", function()
    assert.same({ n = 4, 1, nil, 3, nil }, table.pack(uring.run(
      function(...) return ... end, 1, nil, 3, nil)))
    assert.same({ n = 3, nil, nil, nil }, table.pack(uring.run(
      function() uring.sleep(0) return nil, nil, nil end)))
    assert.equal(0, select("#", uring.run(function() end)))
    assert.equal(3, uring.run(function(...) return select("#", ...) end,
      nil, nil, nil))
    assert.equal(7, uring.run({ main = function(x) return x end,
      name = "m" }, 7))
  end)

  it("ends when all its tasks have", function()
    local log = {}
    assert.equal("result", uring.run(function()
      uring.spawn(function()
        uring.sleep(0.01)
        uring.spawn(function()
          uring.sleep(0.01)
          log[#log + 1] = "grandchild"
        end)
        log[#log + 1] = "child"
      end)
      log[#log + 1] = "main"
      return "result"
    end))
    assert.same({ "main", "child", "grandchild" }, log)
  end)

  it("runs again and again, with what the last one left", function()
    local ring <close> = assert(uring.ring())
    local op
    uring.run(function()
      op = ring:queue(uring.sqe():prep_timeout(0.01))
      assert.equal("timed out", select(2, op:await(0)))
      assert.same({ 0, 0 }, { ring:await(uring.sqe():prep_msg_ring(ring, 1,
        2)) })
    end)
    uring.run(function()
      assert.same({ 1, 2, 0 }, { ring:receive(0) })
      assert.equal(uring.errno.ETIME, select(3, op:await(patience)))
    end)
    for i = 1, 100 do
      assert.equal(i, uring.run(function() uring.sleep(0) return i end))
    end
  end)

  it("is not for tasks, which go on", function()
    assert.equal("on", uring.run(function()
      helper.raises("inside a task", uring.run, function() end)
      uring.spawn(function()
        helper.raises("inside a task", uring.run, function() end)
      end):join()
      coroutine.wrap(function()
        helper.raises("inside a task", uring.run, function() end)
      end)()
      return "on"
    end))
  end)

  it("refuses what is no function", function()
    helper.raises("function expected", uring.run)
    helper.raises("function expected", uring.run, 1)
    helper.raises("did you mean 'main'?", uring.run, { mian = print })
    helper.raises("'main' must be a function", uring.run, { name = "x" })
    helper.raises("'name' must be a string", uring.run,
      { main = print, name = {} })
  end)

  it("works in a coroutine of the program's own", function()
    local f = coroutine.wrap(function(...)
      coroutine.yield(uring.run(function(...)
        uring.sleep(0.001)
        uring.spawn(uring.sleep, 0.001):join()
        return ...
      end, ...))
      return uring.run(function() return "again" end)
    end)
    assert.same({ 1, 2 }, { f(1, 2) })
    assert.equal("again", f())
  end)

  it("is named by what waits outside a task, ready or not", function()
    local ring <close> = assert(uring.ring())
    local done
    uring.run(function() done = uring.spawn(function() end) end)
    ring:queue(uring.sqe():prep_msg_ring(ring, 1, 2), nop())
    local op = ring:queue(nop())
    ring:submit()
    local function raises(f, ...)
      local message = helper.raises("uring.run", f, ...)
      assert.truthy(message:find("task", 1, true))
    end
    raises(uring.sleep, 0)
    raises(uring.sleep, 1)
    raises(uring.await, nop())
    raises(uring.spawn, function() end)
    raises(done.join, done)
    raises(ring.receive, ring)
    raises(ring.receive, ring, 0)
    raises(ring.await, ring, nop())
    raises(ring.await_chain, ring, { nop() })
    raises(op.await, op)
    raises(op.await, op, 0)
    raises(function() for _ in op:completions() do break end end)
    raises(function() for _ in ring:messages() do break end end)
    for _ = 1, 5 do assert(ring:wait_cqe(patience)) end
    helper.lawful(ring)
  end)
end)

describe("turns", function()
  it("go round", function()
    local log = {}
    uring.run(function()
      for i = 1, 3 do
        uring.spawn(function()
          for _ = 1, 3 do
            log[#log + 1] = i
            uring.sleep(0)
          end
        end)
      end
    end)
    assert.same({ 1, 2, 3, 1, 2, 3, 1, 2, 3 }, log)
  end)

  it("by sleep(0) let every ready task run exactly once", function()
    uring.run(function()
      local runs = {}
      local stop = false
      for i = 1, 20 do
        runs[i] = 0
        uring.spawn(function()
          while not stop do
            runs[i] = runs[i] + 1
            uring.sleep(0)
          end
        end)
      end
      for turn = 1, 5 do
        uring.sleep(0)
        for i = 1, 20 do assert.equal(turn, runs[i]) end
      end
      stop = true
    end)
  end)

  it("by sleep(0) submit, and take what has completed", function()
    uring.run(function()
      local op = uring.loop():ring():queue(nop())
      assert.equal("in flight", op:status())
      uring.sleep(0)
      assert.equal("completed", op:status())
      assert.same({ 0, 0 }, { op:await(0) })
    end)
  end)

  it("by sleep(0) also wake whose time is over, and who is rung", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      local rung, slept = false, false
      uring.spawn(function() rung = ring:receive() end)
      uring.spawn(function() uring.sleep(0.001) slept = true end)
      assert(spec.send_later(0.005, ring:fd(), 1, 2):join())
      helper.eventually(function() uring.sleep(0) return rung and slept end)
    end)
  end)

  -- One task's waits are always at hand; the other must get its turns.
  local function fair(wait)
    uring.run(function()
      local turns, n = 0, 0
      local other = uring.spawn(function()
        while n < 1000 do
          turns = turns + 1
          uring.sleep(0)
        end
      end)
      for i = 1, 1000 do
        wait(i)
        n = i
      end
      other:join()
      -- every 64 waits, or more often
      assert.truthy(turns >= 1000 // 64, "only " .. turns .. " turns")
    end)
  end

  it("come although messages never end", function()
    local ring <close> = assert(uring.ring { cq_entries = 4096 })
    for i = 1, 1000 do
      ring:queue(uring.sqe():prep_msg_ring(ring, 1, i)
        :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
    end
    ring:submit()
    fair(function(i) assert.equal(i, select(2, ring:receive())) end)
    for i = 1, 1000 do
      ring:queue(uring.sqe():prep_msg_ring(ring, 1, i)
        :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
    end
    ring:submit()
    local next_message, state = ring:messages()
    fair(function(i)
      assert.equal(i, select(2, next_message(state)))
    end)
  end)

  it("come although a message is sent whenever one is taken", function()
    local ring <close> = assert(uring.ring())
    local sender = assert(spec.sender())
    fair(function(i)
      assert(sender:send(ring:fd(), i, 1))
      assert.equal(i, select(2, ring:receive()))
    end)
    sender:close()
  end)

  it("come although all that is joined has ended", function()
    local done
    uring.run(function() done = uring.spawn(function() end) end)
    fair(function() assert.is_true(done:join()) end)
  end)

  it("come although completions are at hand", function()
    helper.needs "timeout_multishot"
    local ring <close> = assert(uring.ring())
    local op = ring:queue(uring.sqe():prep_timeout(0.00001, 0,
      uring.IORING_TIMEOUT_MULTISHOT))
    ring:submit()
    helper.eventually(function()
      ring:submit_and_wait(0)
      return ring:stats().cqes >= 1000
    end, 10)
    fair(function() assert(op:await() == nil) end)
    op:cancel()
  end)
end)

describe("a loop", function()
  it("allocates nothing for a wait", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      local sqe, send = nop(), uring.sqe():prep_msg_ring(ring, 1, 2)
      local function waits()
        uring.await(sqe)
        uring.await(sqe, 10)
        ring:await(sqe)
        uring.await(send)
        ring:receive()
        uring.await(send)
        ring:receive(10)
        uring.sleep(0)
      end
      for _ = 1, 100 do waits() end
      collectgarbage()
      collectgarbage "stop"
      local before = collectgarbage "count"
      for _ = 1, 1000 do waits() end
      local after = collectgarbage "count"
      collectgarbage "restart"
      assert.equal(before, after)
    end)
  end)

  it("does not grow", function()
    uring.run(function()
      local ring = uring.loop():ring()
      local other <close> = assert(uring.ring())
      local sqe, late = nop(), uring.sqe():prep_timeout(60)
      local size
      local before = ring:stats()
      for round = 1, 5 do
        for i = 1, 20000 do
          uring.await(sqe)
          if i % 100 == 0 then
            uring.await(late, 0)
            other:await(late, 0)
            uring.spawn(uring.sleep, 0):join()
            ring:queue(sqe)
            uring.await(uring.sqe():prep_msg_ring(other, 1, 2))
            other:receive()
          end
        end
        helper.collect()
        uring.sleep(0)
        if round == 2 then size = collectgarbage "count" end
      end
      assert.truthy(collectgarbage "count" < size + 4)
      local stats = ring:stats()
      assert.equal(before.in_flight - before.internal,
        stats.in_flight - stats.internal)
      assert.equal(before.waiting, stats.waiting)
      assert.equal(0, other:stats().in_flight)
    end)
  end)

  it("runs ten thousand tasks", function()
    uring.run(function()
      local n, sqe = 0, nop()
      local tasks = {}
      for i = 1, 10000 do
        tasks[i] = uring.spawn(function()
          uring.await(sqe)
          uring.sleep(0.01)
          n = n + 1
          return i
        end)
      end
      for i = 1, 10000 do assert(select(2, tasks[i]:join()) == i) end
      assert.equal(10000, n)
    end)
  end)

  it("times three thousand out at once on sixty-four entries", function()
    for _, options in ipairs { "entries = 64", "entries = 1",
        "entries = 64, flags = 0" } do
      helper.script_ok(([[
        local uring = require "uring"
        local spec = require "uring_spec"
        uring.loop { %s }
        local r, w = spec.pipe()
        local n = 0
        uring.run(function()
          for i = 1, 3000 do
            uring.spawn(function()
              local ok, why = uring.await(uring.sqe():prep_poll_add(r,
                uring.POLLIN), 0.02)
              assert(not ok and why == "timed out", why)
              n = n + 1
            end)
          end
        end)
        assert(n == 3000)
        assert(uring.loop():ring():stats().in_flight == 0)]]):format(options))
    end
  end)

  it("can be on a ring of any kind", function()
    local kinds = { "flags = 0", "flags = uring.IORING_SETUP_COOP_TASKRUN",
      "flags = uring.IORING_SETUP_SQPOLL",
      "flags = uring.IORING_SETUP_SINGLE_ISSUER",
      "flags = uring.IORING_SETUP_CQE32",
      "flags = uring.IORING_SETUP_SQE128",
      [[flags = uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN]],
      "entries = 1, cq_entries = 2" }
    for _, kind in ipairs(kinds) do
      assert.equal("done", helper.script_ok(([[
        local uring = require "uring"
        local spec = require "uring_spec"
        local slow = %d
        local own = assert(uring.loop { %s }):ring()
        uring.run(function()
          local other <close> = assert(uring.ring())
          local nop = uring.sqe():prep_nop()
          for _ = 1, 200 do
            assert(uring.await(nop) == 0)
            assert(other:await(nop) == 0)
          end
          for _, ring in ipairs { own, other } do
            local tasks = {}
            for i = 1, 20 do
              tasks[i] = uring.spawn(function() return ring:receive() end)
            end
            uring.sleep(0)
            for i = 1, 20 do
              assert(uring.await(uring.sqe():prep_msg_ring(ring, 1, i)) == 0)
            end
            for i = 1, 20 do
              local ok, _, data = tasks[i]:join()
              assert(ok and data == i)
            end
            local later = spec.send_later(0.01, ring:fd(), 11, 22)
            local len, data = ring:receive(10 * slow)
            assert(len == 22 and data == 11)
            assert(later:join())
            local r, why = ring:await(uring.sqe():prep_timeout(60), 0.005)
            assert(r == nil and why == "timed out")
            local t = uring.spawn(function()
              return ring:await(uring.sqe():prep_timeout(0.005))
            end)
            local _, _, _, errno = t:join(10 * slow)
            assert(errno == uring.errno.ETIME)
          end
        end)
        assert(own:stats().in_flight == own:stats().internal)
        io.write "done"]]):format(helper.slow, kind)), kind)
    end
  end)

  it("runs with all garbage collected between any two lines", function()
    local r, w = spec.pipe()
    helper.each_step_gc(function()
      assert.equal("result", uring.run(function()
        local ring <close> = assert(uring.ring())
        local t = uring.spawn(function()
          local sum = 0
          for i = 1, 3 do sum = sum + select(2, ring:receive(5)) + i end
          return sum
        end)
        for i = 1, 3 do
          assert(uring.await(uring.sqe():prep_msg_ring(ring, 1, i), 5))
        end
        local buffer = uring.buffer(3)
        local reader = uring.spawn(function()
          return uring.await(uring.sqe():prep_read(r, buffer))
        end)
        assert.equal("timed out", select(2, reader:join(0.001)))
        assert.equal(3, uring.await(uring.sqe():prep_write(w, "abc")))
        assert.same({ true, 3, 0 }, { reader:join(5) })
        assert.equal("abc", buffer:string())
        assert.same({ { 0, 0 }, { 0, 0 } }, ring:await_chain { nop(),
          nop() })
        local op = ring:queue(uring.sqe():prep_poll_multishot(r,
          uring.POLLIN))
        op:await(0)
        op:cancel()
        for _ in op:completions() do uring.sleep(0) end
        assert.same({ true, 12 }, { t:join(5) })
        return "result"
      end))
    end)
    spec.close(r)
    spec.close(w)
  end)
end)

describe("a deadlock", function()
  -- How many times, and where, does it say that?
  local function count(text, words)
    return select(2, text:gsub(words, ""))
  end

  it("is an error that says who waits for whom, and where", function()
    local why = fails("deadlock", function()
      local a, b
      a = uring.spawn { name = "anna", main = function() b:join() end }
      b = uring.spawn(function() a:join() end)
      a:join()
    end)
    assert.equal(1, count(why, "task %d+ 'anna' waits for task %d+ to end "
      .. "at spec/loop_spec.lua:%d+ %(spawned at spec/loop_spec.lua:%d+%)"))
    assert.equal(2, count(why, "waits for task %d+ 'anna' to end at "
      .. "spec/loop_spec.lua:%d+"))
    assert.equal(3, count(why, "to end at"))
  end)

  it("lets its tasks clean up, and the loop run again", function()
    local log = {}
    fails("deadlock", function()
      local a, b
      local function f(get, name)
        return function()
          local _ <close> = setmetatable({}, { __close = function(_, err)
            log[name] = err == uring.cancelled
          end })
          get():join()
        end
      end
      a = uring.spawn(f(function() return b end, "a"))
      b = uring.spawn(f(function() return a end, "b"))
    end)
    assert.same({ a = true, b = true }, log)
    assert.equal(1, uring.run(function() uring.sleep(0) return 1 end))
  end)

  it("does not count operations that nobody can be told of", function()
    local why = fails("deadlock", function()
      local ring = uring.loop():ring()
      for _ = 1, 3 do
        ring:queue(nop():set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
      end
      local a, b
      a = uring.spawn(function() b:join() end)
      b = uring.spawn(function() a:join() end)
    end)
    assert.equal(2, count(why, "to end at"))
  end)

  it("is not while a timer, an operation or a message may end it", function()
    local r, w = spec.pipe()
    local ring = assert(uring.ring())
    local ends = {
      function() uring.sleep(0.01) end,
      function() uring.await(uring.sqe():prep_timeout(0.01)) end,
      function() ring:await(uring.sqe():prep_timeout(0.01)) end,
      function()
        local later = spec.write_later(0.01, w)
        assert.equal(8, uring.await(uring.sqe():prep_read(r,
          uring.buffer(8))))
        later:join()
      end,
      function()
        local later = spec.send_later(0.01, ring:fd(), 1, 2)
        assert.equal(2, ring:receive())
        later:join()
      end,
      function()
        local later = spec.send_later(0.01, uring.loop():ring():fd(), 1, 2)
        assert.equal(2, (uring.loop():ring():receive()))
        later:join()
      end,
      function() ring:queue(uring.sqe():prep_timeout(0.01)):await() end,
      function() ring:await_chain { uring.sqe():prep_timeout(0.01) } end,
    }
    for _, f in ipairs(ends) do
      uring.run(function()
        local t = uring.spawn(f)
        local u = uring.spawn(function() assert(t:join()) end)
        assert(u:join())
      end)
    end
    -- one whose join has a timeout breaks the circle
    uring.run(function()
      local a, b
      a = uring.spawn(function() return select(2, b:join(0.01)) end)
      b = uring.spawn(function() return select(2, a:join()) end)
      assert.same({ true, "timed out" }, { b:join() })
    end)
    ring:close()
    spec.close(r)
    spec.close(w)
  end)

  it("is told when the last operation in flight has ended", function()
    local ended = false
    fails("deadlock", function()
      local op = uring.loop():ring():queue(uring.sqe():prep_timeout(0.02))
      local a, b
      a = uring.spawn(function()
        local _ <close> = setmetatable({}, { __close = function()
          ended = op:status() ~= "in flight"
        end })
        b:join()
      end)
      b = uring.spawn(function() a:join() end)
    end)
    assert.is_true(ended)
  end)
end)

-- Tasks that do anything at all, by a seed; then the books must balance,
-- every message must have come once, and every byte be accounted for.
describe("a random program", function()
  local function program(seed)
    math.randomseed(seed)
    local random = math.random
    local r, w = spec.pipe()
    local rings = { uring.loop():ring(), assert(uring.ring()),
      assert(uring.ring { entries = 2, cq_entries = 4, flags = 0 }) }
    local sent, tried, got = {}, {}, {}
    local id, written, read = 0, 0, 0
    local pending = 0  -- bytes that a cancelled read may have taken
    local crash = seed % 2 == 0
    local steps = 0
    local live = 0

    local function brief() return random(0, 3) * random() * 0.0005 end
    local function any() return rings[random(#rings)] end
    local function note(ring, len, data)
      if not len then return end
      local key = tostring(ring)
      assert(len == 7 and tried[data] == key, "a message from nowhere")
      assert(not got[data], "a message came twice")
      got[data] = true
    end

    local actions = {
      function() any():await(nop()) end,
      function() any():await(nop(), brief()) end,
      function() uring.sleep(0) end,
      function() uring.sleep(brief()) end,
      function() any():await(uring.sqe():prep_timeout(60), brief()) end,
      function()
        local to = any()
        id = id + 1
        local mine = id
        tried[mine] = tostring(to)
        local timeout = random() < 0.5 and brief() or nil
        local ok, why = any():await(uring.sqe():prep_msg_ring(to, 7, mine),
          timeout)
        if ok == 0 then sent[mine] = true
        else assert(timeout and why == "timed out", why) end
      end,
      function()
        local ring = any()
        note(ring, ring:receive(brief()))
      end,
      function()
        local _ = any():queue(uring.sqe():prep_timeout(brief()))
      end,
      function()
        local op = any():queue(uring.sqe():prep_timeout(brief()))
        local _, why, errno = op:await(brief())
        if why == "timed out" and random() < 0.5 then
          op:cancel()
          _, _, errno = op:await()
        end
        assert(errno)
      end,
      function()
        local op = any():queue(uring.sqe():prep_poll_multishot(r,
          uring.POLLIN))
        op:await(brief())
        if random() < 0.5 then op:cancel() end
      end,
      function()
        assert(uring.await(uring.sqe():prep_write(w, "x")) == 1)
        written = written + 1
      end,
      function()
        pending = pending + 1
        local n = any():await(uring.sqe():prep_read(r, uring.buffer(1)),
          brief())
        pending = pending - 1
        if n then read = read + n end
      end,
      function()
        any():await_chain({ nop(), random() < 0.5 and nop()
          or uring.sqe():prep_timeout(60) }, brief())
      end,
      function() helper.collect() end,
    }

    local function task(depth)
      return function()
        live = live + 1
        local _ <close> = setmetatable({}, { __close = function()
          live = live - 1
        end })
        for _ = 1, 12 do
          steps = steps + 1
          if crash and steps == 150 then error("crash", 0) end
          if depth > 0 and random() < 0.15 then
            local t = uring.spawn(task(depth - 1))
            if random() < 0.7 then t:join(random() < 0.5 and brief() or nil)
            end
          else
            actions[random(#actions)]()
          end
        end
      end
    end

    local ok, why = pcall(uring.run, function()
      for _ = 1, 12 do uring.spawn(task(2)) end
    end)
    assert(ok or crash and why:find("crash", 1, true), why)
    assert.equal(0, live)

    -- what nobody has received
    uring.run(function()
      for _, ring in ipairs(rings) do
        repeat
          local len, data = ring:receive(0.001 * helper.slow)
          note(ring, len, data)
        until not len
      end
    end)
    for i in pairs(sent) do assert(got[i], "a message was lost") end
    -- what nobody has read
    spec.nonblock(r)
    local left = spec.read(r, 65536)
    local rest = left and #left or 0
    assert.truthy(read + rest <= written
      and read + rest + pending >= written)
    if ok then assert.equal(0, pending) end

    helper.collect()
    for _, ring in ipairs(rings) do
      uring.run(function()
        helper.eventually(function()
          uring.sleep(0.001)
          local stats = helper.lawful(ring)
          return stats.in_flight == stats.internal
        end)
      end)
      assert.equal(0, ring:stats().waiting)
    end
    for i = 2, #rings do
      assert(rings[i]:close())
      assert.equal(0, helper.lawful(rings[i]).leaked)
    end
    spec.close(r)
    spec.close(w)
  end

  it("loses nothing", function()
    local from = os.getenv "URING_SEED" or 1
    for seed = from, from + math.max(3, 20 // helper.slow) do
      local ok, why = pcall(program, math.tointeger(seed))
      if not ok then error(("seed %d: %s"):format(seed, why)) end
    end
  end)
end)
