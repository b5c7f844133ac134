-- Tasks, scopes, selects, steps and times.

local checks = require "shortage.checks"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local patience <const> = checks.patience
local r <const> = checks.r
local w <const> = checks.w
local must <const> = checks.must
local fails <const> = checks.fails
local nop <const> = helper.nop
local first <const> = helper.first

local programs = {}

programs["tasks"] = function()
  local n = uring.run(function()
    local buffer = uring.buffer(4)
    local reader = uring.spawn { name = "reader", main = function()
      return assert(uring.await(uring.sqe():prep_read(r, buffer, 4, 0)))
    end }
    local sleeper = uring.spawn(function()
      uring.sleep(0.0001)
      return 1, 2, 3
    end)
    assert(#uring.tasks() == 3 and uring.tree())
    assert(uring.await(nop(), patience))
    assert(select("#", sleeper:join()) == 4)
    spec.write(w, "data")
    local got = must(reader:join(patience))
    assert(tostring(reader))
    return got
  end)
  assert(n == 4)
end

programs["options of a run"] = function()
  local got = uring.run { name = "m", slow = 1000, on_slow = print,
    main = function(...)
      uring.sleep(0)
      return ...
    end }
  assert(got == nil)
  uring.probe()
end

programs["scopes"] = function()
  uring.run(function()
    uring.scope(function(s)
      s:spawn(uring.sleep, 0)
      s:daemon(uring.sleep, 60)
      uring.root():daemon(uring.sleep, 60)
      uring.scope(function(inner)
        inner:spawn(uring.sleep, 60)
        inner:cancel "why"
      end)
    end)
    local ok, why = uring.timeout(0, uring.sleep, 60)
    assert(not ok and why == "timed out", why)
    uring.shield(1, uring.sleep, 0)
    local task = uring.spawn(function()
      local _ <close> = helper.finally(function()
        uring.shield(1, uring.sleep, 0)
      end)
      uring.sleep(60)
    end)
    uring.sleep(0)
    task:cancel "because"
    task:reason()
    task:join()
    fails("mine", uring.scope, function(s)
      s:spawn(function() error "mine" end)
      uring.sleep(60)
    end)
  end)
end

programs["a scope whose coroutine is closed"] = function()
  fails("ended from outside", uring.run, function()
    local co
    local task = uring.spawn(function()
      co = coroutine.running()
      uring.scope(function(s)
        s:spawn(uring.sleep, 60)
        uring.sleep(60)
      end)
    end)
    uring.sleep(0)
    uring.sleep(0)
    coroutine.close(co)
    task:join()
  end)
end

programs["a deadlock"] = function()
  fails("deadlock", uring.run, function()
    local c = uring.channel()
    uring.spawn(function() c:receive() end)
    uring.spawn(function() uring.select { c:receiving() } end)
    c:receive()
  end)
end

programs["wrapped functions"] = function()
  uring.run(function()
    local f = uring.wrap(function()
      for i = 1, 2 do
        uring.sleep(0)
        coroutine.yield(i)
      end
      return "end"
    end)
    assert(f() == 1 and f() == 2 and f() == "end")
    fails("own", uring.wrap(function()
      uring.sleep(0)
      error "own"
    end))
  end)
end

programs["choices"] = function()
  uring.run(function()
    local ring <close> = assert(uring.ring { entries = 8 })
    local a, b = assert(uring.socketpair())
    local _ <close> = a
    local _ <close> = b
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local channel = uring.channel()
    local other = uring.spawn(uring.sleep, 60)
    local all = {
      ring = ring:receiving(), socket = a:receiving(),
      accept = listener:accepting(), channel = channel:receiving(),
      call = uring.event(uring.sleep, 60), time = uring.after(60),
      await = ring:awaiting(uring.sqe():prep_timeout(60)),
      join = other:joining(),
      wrapped = uring.channel():receiving():wrap(print),
      own = uring.event { try = function() end, block = function() end,
        cancel = function() end },
    }
    local function choose(events, timeout)
      local key, value, message = uring.select(events, timeout)
      if key and not value then error(message, 0) end
      return key, value
    end
    assert(choose(all, 0) == nil)
    local task = uring.spawn(function()
      uring.sleep(0)
      assert(b:send "x")
    end)
    assert(choose(all, patience) == "socket")
    task:join()
    assert(choose { s = a:sending "yy", c = channel:receiving() } == "s")
    task = uring.spawn(function() assert(channel:send("a", "b")) end)
    assert(choose({ c = channel:receiving(), call = all.call }) == "c")
    assert(task:join())
    other:cancel()
    local key = uring.select({ j = other:joining() }, patience)
    assert(key == "j")
  end)
end

programs["steps"] = function()
  local loop, done = assert(uring.loop()), false
  assert(loop:spawn(function()
    local task = uring.spawn(uring.sleep, 0)
    assert(task:join())
    assert(uring.await(uring.sqe():prep_nop()))
    done = true
  end))
  assert(loop:fd())
  while not done do
    loop:step { max = 10, gc = true }
    assert(loop:timeout() >= 0)
  end
end

programs["times"] = function()
  uring.run(function()
    local now = uring.time()
    uring.scope(function(scope)
      for i = 1, 3 do
        scope:spawn(function()
          uring.select({ uring.at_time(now + i / 1000) }, patience)
        end)
      end
      local ticks <close> = uring.every(0.001)
      assert(ticks:receive(patience) and tostring(ticks))
      assert(uring.select({ ticks:receiving() }, patience))
      assert(first(ticks:messages()))
    end)
  end)
end

return programs
