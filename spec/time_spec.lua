-- uring.time, uring.at_time and uring.every: the wall clock, and ticks.

local helper = require "helper"
local hosts = require "hosts"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local patience <const> = net.patience

after_each(function()
  helper.clean()
  helper.no_tasks()
end)

describe("uring.time", function()
  it("is the time of os.time, with a fraction", function()
    local before, time, after = os.time(), uring.time(), os.time()
    assert.equal("float", math.type(time))
    assert(before <= time and time < after + 1)
    local later = helper.eventually(function()
      local now = uring.time()
      return now ~= time and now
    end)
    assert(later > time)
  end)
end)

describe("uring.at_time", function()
  it("is ready when uring.time() has reached it", function()
    net.run(function()
      local time = uring.time() + 0.02
      assert.equal(1, select("#", uring.select { t = uring.at_time(time) }))
      assert(uring.time() >= time)
    end)
  end)

  it("is ready at once for a time that is over", function()
    net.run(function()
      for _, t in ipairs { uring.time(), 1, 0, -1, -math.huge } do
        assert.equal("t", (uring.select({ t = uring.at_time(t) }, 0)))
      end
    end)
  end)

  it("takes nothing when it is not chosen", function()
    net.run(function()
      local event = uring.at_time(uring.time() + 3600)
      for _ = 1, 3 do
        local _, message, errno = uring.select({ event }, 0.001)
        assert.same({ "timed out", E.ETIME }, { message, errno })
        assert.equal("now", (uring.select { event, now = uring.after(0) }))
      end
      local never = uring.at_time(math.huge)
      assert.is_nil(uring.select({ never }, 0.001))
    end)
  end)

  it("wakes many tasks in the order of their times", function()
    net.run(function()
      local from, order = uring.time() + 0.4, {}
      uring.scope(function(scope)
        for i = 20, 1, -1 do  -- (each is earlier than the ones before it)
          scope:spawn(function()
            uring.select { uring.at_time(from + i / 1000) }
            order[#order + 1] = i
          end)
        end
      end)
      local sorted = table.move(order, 1, #order, 1, {})
      table.sort(sorted)
      assert.same(sorted, order)
      assert.equal(20, #order)
    end)
  end)

  it("needs one request for them all", function()
    net.run(function()
      local ring, tasks = uring.loop():ring(), {}
      local before = helper.lawful(ring).submitted
      local time = uring.time() + 3600
      for i = 1, 100 do
        tasks[i] = helper.started(function()
          uring.select { uring.at_time(time + i) }
        end)
      end
      local stats = helper.lawful(ring)
      assert.equal(1, stats.submitted - before)
      assert.equal(1, helper.in_flight(ring))
      for _, task in ipairs(tasks) do task:cancel() end
    end)
  end)

  it("comes although the task with an earlier one has left", function()
    net.run(function()
      local now = uring.time()
      local early = helper.started(function()
        uring.select { uring.at_time(now + 0.01) }
      end)
      local late = helper.started(function()
        uring.select { uring.at_time(now + 0.02) }
      end)
      early:cancel()
      assert.is_true((late:join(patience)))
    end)
  end)

  it("comes although the first task is cancelled as it is woken", function()
    net.run(function()
      -- the timeout ends, both are told, and the first one does not set the
      -- next: another has cancelled it before it runs
      local now = uring.time()
      local first
      local second = helper.started(function()
        uring.select { uring.at_time(now + 0.05) }
      end)
      first = helper.started(function()
        uring.select { uring.at_time(now + 0.04) }
      end)
      local canceller = helper.started(function()
        uring.select { uring.at_time(now + 0.03) }
        first:cancel()
      end)
      assert.is_true((second:join(patience)))
      assert.is_true((canceller:join(patience)))
    end)
  end)

  it("is one object for any number of selects at once", function()
    net.run(function()
      local event = uring.at_time(uring.time() + 0.02)
      local tasks = {}
      for i = 1, 5 do
        tasks[i] = uring.spawn(uring.select, { event, again = event })
      end
      for _, task in ipairs(tasks) do
        assert.is_true((task:join(patience)))
      end
    end)
  end)

  it("is the system's time, also where the time is the host's", function()
    helper.apart(function()
      local u = require "uring"
      local loop, done = u.loop(), false
      local fd = loop:fd()
      loop:spawn(function()
        u.select { u.at_time(u.time() + 0.02) }
        done = true
      end)
      local limit = os.time() + 60
      repeat
        require("uring_spec").ready(fd, 1)
        loop:step { now = 1 }
      until done or os.time() > limit
      assert(done, "it has not come")
    end)
  end)

  it("goes on in a forked child", function()
    local function time()
      uring.run(function()
        local t = uring.time() + 0.01
        assert(uring.select({ t = uring.at_time(t) }, patience) == "t")
      end)
    end
    uring.run(function()
      local pending = helper.started(function()
        uring.select { uring.at_time(uring.time() + 3600) }
      end)
      local pid = spec.fork()
      if pid == 0 then
        spec._exit(pcall(function()
          helper.collect()
        end) and 0 or 1)
      end
      assert.equal(0, (spec.wait(pid)))
      pending:cancel()
    end)
    helper.in_child(time)
    time()
  end)

  it("leaves nothing when its state ends with it", function()
    helper.apart(function()
      local u = require "uring"
      local loop = u.loop()
      loop:spawn(function()
        u.select { u.at_time(u.time() + 3600) }
      end)
      loop:step()
    end)
  end)

  it("is refused for what is no time", function()
    helper.mistake("bad argument #1 to 'at_time' (seconds expected, got "
      .. "nil)", uring.at_time)
    helper.mistake("NaN", uring.at_time, 0 / 0)
    assert.equal("uring.Event (at_time 1.500000)",
      tostring(uring.at_time(1.5)))
  end)

  -- Only where the machine is the test's own: see tools/kernels.sh.
  it("follows when the clock is set", function()
    if not os.getenv "URING_OWN_CLOCK" then
      helper.skip("needs a machine whose clock may be set: make kernels")
    end
    local function set(time)
      assert(os.execute(("date -s @%d >/dev/null"):format(time)))
    end
    net.run(function()
      local began, real = uring.now(), uring.time()
      local task = helper.started(function()
        uring.select { uring.at_time(real + 3600) }
      end)
      set(real // 1 + 7200)  -- an hour ahead of it
      assert.is_true((task:join(patience)))
      assert(uring.now() - began < 3600)
      -- an hour back: what was near is far
      local near = helper.started(function()
        uring.select { uring.at_time(uring.time() + 0.5) }
      end)
      set(real // 1)
      local _, message = near:join(1)
      assert.equal("timed out", message)
      near:cancel()
      set((real + uring.now() - began) // 1)
    end)
  end)
end)


-- luacheck: globals loop

describe("uring.every", function()
  it("gives numbered ticks to a for, and does not drift", function()
    net.run(function()
      local began, seen = uring.now(), {}
      for n in uring.every(0.01) do
        assert(uring.now() - began >= n * 0.01)
        seen[#seen + 1] = n
        uring.sleep(0.004)
        if n >= 8 then break end
      end
      -- (a machine under load may miss some: then the numbers say so)
      for i = 2, #seen do assert(seen[i] > seen[i - 1]) end
    end)
  end)

  hosts.tests(it)("counts ticks in a host's time, without drift", function()
    local u, seen = require "uring", {}
    loop:step { now = 100 }
    loop:spawn(function()
      for n in u.every(10) do
        seen[#seen + 1] = n .. " at " .. u.now()
        if n == 7 then break end
        u.sleep(3)
      end
    end)
    for now = 100, 170 do loop:step { now = now + 0.5 } end
    assert(table.concat(seen, ", ") == "1 at 110.5, 2 at 120.5, 3 at 130.5, "
      .. "4 at 140.5, 5 at 150.5, 6 at 160.5, 7 at 170.5",
      table.concat(seen, ", "))
  end)

  hosts.tests(it)("keeps the last tick of those that are missed", function()
    local u, seen = require "uring", {}
    loop:step { now = 0 }
    loop:spawn(function()
      local ticks <close> = u.every(10)
      u.sleep(35)
      seen[1] = ticks:receive()
      seen[2] = ticks:receive(0) or "none"
      seen[3] = ticks:receive()
      seen[4] = u.now()
    end)
    for now = 0, 40 do loop:step { now = now } end
    assert(table.concat(seen, " ") == "3 none 4 40.0",
      table.concat(seen, " "))
  end)

  hosts.tests(it)("misses no tick for the rounding of times", function()
    local u, seen = require "uring", 0
    for i, period in ipairs { 0.1, 0.7, 1 / 3 } do
      local start = 100.3 + 1000000 * i
      loop:step { now = start }
      local task = loop:spawn(function()
        for n in u.every(period) do
          assert(n == seen + 1, n)
          seen = n
        end
      end)
      seen = 0
      loop:step { now = start }
      for n = 1, 1000 do
        loop:step { now = start + n * period }
        assert(seen == n, n)
      end
      task:cancel()
    end
  end)

  it("gives a tick to all tasks that wait for it", function()
    net.run(function()
      local ticks <close> = uring.every(0.5)
      local a = helper.started(ticks.receive, ticks)
      local b = helper.started(uring.select, { t = ticks:receiving() })
      local _, n = assert(a:join(patience))
      assert.same({ true, "t", n }, { b:join(patience) })
    end)
  end)

  it("is an event, and has timeouts", function()
    net.run(function()
      local ticks <close> = uring.every(3600)
      assert.equal("uring.Ticks (every 3600 s)", tostring(ticks))
      assert.equal("uring.Event (every 3600)", tostring(ticks:receiving()))
      local _, message, errno = ticks:receive(0.001)
      assert.same({ "timed out", E.ETIME }, { message, errno })
      assert.equal("now", (uring.select { t = ticks:receiving(),
        now = uring.after(0.001) }))
      local soon <close> = uring.every(0.001)
      assert.equal("t", (uring.select({
        t = soon:receiving(), never = ticks:receiving() }, patience)))
    end)
  end)

  it("ends loops and waits when it is closed", function()
    net.run(function()
      local ticks = uring.every(3600)
      local waits = helper.started(ticks.receive, ticks)
      local loops = helper.started(function()
        for _ in ticks:messages() do error "a tick" end
        for _ in ticks do error "a tick" end
        return "ended"
      end)
      assert.is_true(ticks:close())
      assert.is_true(ticks:close())
      local _, none, message, errno = waits:join(patience)
      assert.is_nil(none)
      assert.same({ "the ticks were closed", E.EBADF }, { message, errno })
      assert.same({ true, "ended" }, { loops:join(patience) })
      helper.mistake("attempt to use closed ticks", ticks.receive, ticks)
      helper.mistake("attempt to use closed ticks", ticks.receiving, ticks)
      assert.equal("uring.Ticks (closed, every 3600 s)", tostring(ticks))
    end)
  end)

  it("is closed when the loop over its messages is left", function()
    net.run(function()
      local ticks = uring.every(0.001)
      assert(helper.first(ticks:messages()) >= 1)
      helper.raises("closed ticks", ticks.receive, ticks)
    end)
  end)

  it("ends by a cancel, and ticks on for others", function()
    net.run(function()
      local ticks <close> = uring.every(0.02)
      local cancelled = helper.started(ticks.receive, ticks)
      local other = helper.started(ticks.receive, ticks)
      cancelled:cancel()
      assert.is_true((other:join(patience)))
    end)
  end)

  it("refuses what is no period", function()
    for _, bad in ipairs { 0, math.huge, -1, "1", 0 / 0, 1e-300 } do
      helper.mistake("bad argument #1 to 'every'", uring.every, bad)
    end
    helper.mistake("bad argument #1 to 'every'", uring.every)
    local ticks = uring.every(1)
    helper.mistake("bad argument #1 to 'receive' (uring.Ticks expected, got "
      .. "table)", ticks.receive, {})
    net.run(function()
      helper.mistake("bad argument #1 to 'receive'", ticks.receive, ticks, -1)
    end)
    helper.mistake("waits, and only a task can wait", ticks.receive, ticks)
  end)
end)
