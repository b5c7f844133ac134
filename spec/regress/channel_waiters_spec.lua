-- What an attack on channels and semaphores has found: waiters that outlive
-- their queue, their coroutine or their turn.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local turns <const> = helper.turns

after_each(helper.idle_loop)

-- A task that was ended by coroutine.close is an error of the run.
local function run_closed(main)
  helper.raises("ended from outside", uring.run, main)
end

local function closer(f) return setmetatable({}, { __close = f }) end

local waits <const> = {
  receive = function() uring.channel():receive() end,
  send = function() uring.channel():send(1) end,
  acquire = function() uring.semaphore(0):acquire() end,
}

describe("a wait whose coroutine is closed", function()
  for name, wait in pairs(waits) do
    it("has left its queue when that is collected: " .. name, function()
      run_closed(function()
        local co
        uring.spawn(function()
          co = coroutine.running()
          local _ <close> = closer(helper.collect)
          wait()
        end)
        turns(1)
        assert.is_true(coroutine.close(co))
      end)
    end)
  end

  it("sends nothing to its own to-be-closed variables", function()
    run_closed(function()
      local c, co = uring.channel(), nil
      local got = {}
      uring.spawn(function()
        co = coroutine.running()
        local _ <close> = closer(function()
          got[1] = table.pack(c:try_receive())
          got[2] = table.pack(select(2, coroutine.resume(coroutine.create(
            function() return c:try_receive() end), "wrong")))
        end)
        c:send "message"
      end)
      turns(1)
      coroutine.close(co)
      got[3] = table.pack(c:try_receive())
      for i = 1, 3 do
        assert.same({ n = 3, nil, "receive: the channel is empty",
          uring.errno.EAGAIN }, got[i])
      end
    end)
  end)

  it("leaves a select after it in peace, though it had sent", function()
    helper.run(function()
      local c, inner = uring.channel(), nil
      local task = uring.spawn(function()
        local w = uring.wrap(function()
          inner = coroutine.running()
          uring.select { c:sending "x" }
        end)
        assert.is_false((pcall(w)))
        w = nil  -- luacheck: ignore
        helper.collect()
        return uring.select({ uring.channel():receiving() }, 0.01)
      end)
      turns(1)
      assert.equal("x", c:try_receive())
      coroutine.close(inner)
      inner = nil  -- luacheck: ignore
      helper.collect()
      assert.same({ true, nil, "timed out", uring.errno.ETIME },
        { task:join() })
    end)
  end)
end)

describe("a turn at a channel", function()
  it("is passed on though the task that has it waits elsewhere", function()
    local elsewhere <const> = {
      function(d) d:receive(0.05) end,
      function(d) uring.timeout(0.05, d.send, d, 1) end,
      function() uring.semaphore(0):acquire(0.05) end,
      function(d) uring.select({ d:receiving() }, 0.05) end,
    }
    helper.run(function()
      for _, wait in ipairs(elsewhere) do
        local c, d = uring.channel(1), uring.channel()
        uring.spawn(function()
          assert(not helper.deep(5000, function() c:receive() end))
          wait(d)
        end)
        turns(1)
        local second = uring.spawn(function()
          return select("#", c:receive())
        end)
        turns(1)
        c:send(table.unpack({ 1 }, 1, 980000))
        assert.same({ true, 980000 }, { second:join() })
      end
    end)
  end)

  it("is no way past a message that was sent before", function()
    helper.run(function()
      local c, got = uring.channel(), {}
      local first = uring.spawn(function() got[#got + 1] = c:receive() end)
      turns(1)
      uring.spawn(function()
        c:send(1)
        c:send(2)
      end)
      uring.spawn(function()
        got[#got + 1] = c:receive()
        first:cancel()
        got[#got + 1] = c:receive()
      end):join()
      assert.same({ 1, 2 }, got)
    end)
  end)

  it("of the parent process keeps nothing from a forked child", function()
    helper.run(function()
      local c, s = uring.channel(5), uring.semaphore(0)
      uring.spawn(function() c:receive() end)
      uring.spawn(function() s:acquire() end)
      turns(1)
      c:try_send "m"
      s:release()
      local pid = spec.fork()
      if pid == 0 then
        local ok = #c == 1 and c:try_receive() == "m" and #s == 1
          and s:try_acquire() == s
        os.exit(ok and 0 or 1)
      end
      local status = spec.wait(pid)
      assert.equal(0, status)
    end)
  end)
end)

describe("a select whose own events change its channels", function()
  -- An event of the program's, the n-th try of which does this.
  local function trying(f)
    return uring.event { try = function(_, w) if w then f() end end,
      block = function() end, cancel = function() end }
  end

  it("sees what it has sent itself", function()
    helper.run(function()
      for _ = 1, 10 do
        local c, sent = uring.channel(1), false
        assert.equal("c", (uring.select({ c = c:receiving(), t = trying(
          function() sent = sent or c:try_send "x" end) }, 60)))
      end
    end)
  end)

  it("sees the space that it has made itself", function()
    helper.run(function()
      for _ = 1, 10 do
        local c, taken = uring.channel(1), false
        c:send "full"
        assert.equal("c", (uring.select({ c = c:sending "x", t = trying(
          function() taken = taken or c:try_receive() end) }, 60)))
      end
    end)
  end)

  it("sees a unit that comes after one that it gave and took", function()
    helper.run(function()
      for _ = 1, 10 do
        local s = uring.semaphore(0)
        local e = s:acquiring()
        local task = uring.spawn(function()
          return uring.select { s = e, t = uring.event {
            try = function() end, cancel = function() end,
            block = function()
              s:release()
              assert(s:try_acquire())
            end } }
        end)
        turns(2)
        s:release()
        assert.same({ true, "s", s }, { task:join() })
      end
    end)
  end)
end)

describe("a program's event around events of channels", function()
  local function around(event, is_open)
    return uring.event {
      try = function(_, w) if is_open() then return event:try(w) end end,
      block = function(_, w) return event:block(w) end,
      cancel = function(_, w) return event:cancel(w) end,
    }
  end

  it("may refuse what was kept for it, and its select goes on", function()
    helper.run(function()
      local c, d = uring.channel(), uring.channel()
      local task = uring.spawn(function()
        return uring.select { gate = around(c:receiving(), function()
          return false
        end), d = d:receiving() }
      end)
      turns(1)
      assert.is_true(c:try_send "m")
      turns(1)
      assert.is_true(d:try_send "n")
      assert.equal("m", c:receive(0))
      assert.same({ true, "d", "n" }, { task:join() })
    end)
  end)

  it("sends one of two messages, though both could go", function()
    helper.run(function()
      for _ = 1, 10 do
        local a, b = uring.channel(), uring.channel()
        local x, y = a:sending "x", b:sending "y"
        local both = uring.event {
          try = function(_, w)
            local ready, value = y:try(w)
            if ready then return true, "y", value end
            ready, value = x:try(w)
            if ready then return true, "x", value end
          end,
          block = function(_, w)
            x:block(w)
            return y:block(w)
          end,
          cancel = function(_, w)
            x:cancel(w)
            y:cancel(w)
          end,
        }
        local task = uring.spawn(function() return uring.select { both } end)
        turns(1)
        assert.equal("x", a:try_receive())
        assert.is_nil((b:try_receive()))
        assert.same({ true, 1, "x", true }, { task:join() })
      end
    end)
  end)
end)

describe("a task that a finalizer cancels", function()
  it("while its send makes a slot does not wait", function()
    helper.needs_eager_collector()
    helper.run(function()
      local c = uring.channel(2)
      c:send(1)
      local task
      task = uring.spawn(function()
        helper.collect()
        collectgarbage "stop"
        collectgarbage("incremental", 10, 1000, 30)  -- a cycle each time
        setmetatable({}, { __gc = function()
          c:try_send "full"
          task:cancel()
        end })
        collectgarbage "restart"
        pcall(c.send, c, 2)
        collectgarbage("incremental", 200, 100, 13)
      end)
      assert.same({ true }, { task:join(1) })
      assert.same({ 1, "full" }, { c:try_receive(), c:try_receive() })
      assert.is_nil((c:try_receive()))
    end)
  end)
end)
