-- What a task waits for is kept by the wait, though nothing else has it.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(helper.idle_loop)

-- Each makes an object that nothing else has, and gives a task that waits for
-- it, and what ends that. `keep` notes the object, weakly.
local waits = {}

waits["a ring's messages"] = function(keep)
  local ring = keep(assert(uring.ring()))
  local fd = ring:fd()
  return uring.spawn(ring.receive, ring), function(t)
    spec.send(fd, 7, 5)
    assert.same({ true, 5, 7, 0 }, { t:join() })
  end
end

waits["a ring's request"] = function(keep)
  local ring = keep(assert(uring.ring()))
  local r, w = spec.pipe()
  return uring.spawn(ring.await, ring,
    uring.sqe():prep_poll_add(r, uring.POLLIN)), function(t)
      spec.write(w, "x")
      assert.same({ true, uring.POLLIN, 0 }, { t:join() })
      spec.close(r)
      spec.close(w)
    end
end

waits["a ring's chain"] = function(keep)
  local ring = keep(assert(uring.ring()))
  local r, w = spec.pipe()
  return uring.spawn(ring.await_chain, ring, {
    uring.sqe():prep_poll_add(r, uring.POLLIN), uring.sqe():prep_nop(),
  }), function(t)
    spec.write(w, "x")
    local ok, results = t:join()
    assert.same({ true, uring.POLLIN, 0 }, { ok, results[1][1],
      results[2][1] })
    spec.close(r)
    spec.close(w)
  end
end

waits["an operation"] = function(keep)
  local ring = keep(assert(uring.ring()))
  local r, w = spec.pipe()
  local op = keep(ring:queue(uring.sqe():prep_poll_add(r, uring.POLLIN)))
  return uring.spawn(op.await, op), function(t)
    spec.write(w, "x")
    assert.same({ true, uring.POLLIN, 0 }, { t:join() })
    spec.close(r)
    spec.close(w)
  end
end

waits["an operation's completions"] = function(keep)
  local r, w = spec.pipe()
  local op = keep(uring.loop():ring():queue(
    uring.sqe():prep_poll_add(r, uring.POLLIN)))
  return uring.spawn(op:completions(), op), function(t)
    spec.write(w, "x")
    assert.same({ true, uring.POLLIN, 0 }, { t:join() })
    spec.close(r)
    spec.close(w)
  end
end

waits["a socket"] = function(keep)
  local a, b = assert(uring.socketpair())
  keep(b)
  return uring.spawn(b.recv, b), function(t)
    assert(a:send "x")
    assert.same({ true, "x" }, { t:join() })
    a:close()
  end
end

waits["a listener"] = function(keep)
  local listener = keep(assert(uring.tcp.listen "127.0.0.1:0"))
  local address = listener:getsockname()
  return uring.spawn(listener.accept, listener), function(t)
    local client = assert(uring.tcp.connect(address))
    local _, conn = t:join()
    assert(conn):close()
    client:close()
  end
end

waits["a channel"] = function(keep)
  local channel = keep(uring.channel())
  return uring.spawn(channel.receive, channel), function(t)
    t:cancel()  -- (nothing can send to it)
    t:join()
    assert.equal("cancelled", t:status())
  end
end

waits["a semaphore"] = function(keep)
  local semaphore = keep(uring.semaphore(0))
  return uring.spawn(semaphore.acquire, semaphore), function(t)
    t:cancel()
    t:join()
    assert.equal("cancelled", t:status())
  end
end

waits["a task"] = function(keep)
  local gate = uring.channel()
  local task = keep(uring.spawn(function()
    gate:receive()
    return "ended"
  end))
  return uring.spawn(task.join, task), function(t)
    gate:send(true)
    assert.same({ true, true, "ended" }, { t:join() })
  end
end

waits["a choice"] = function(keep)
  local ring, other = keep(assert(uring.ring())), keep(assert(uring.ring()))
  local fd = ring:fd()
  local a, b = assert(uring.socketpair())
  return uring.spawn(uring.select, keep {
    ring = keep(ring:receiving()), channel = keep(uring.channel():receiving()),
    socket = keep(keep(b):receiving()), sending = keep(b:receiving(1)),
    accept = keep(keep(assert(uring.tcp.listen "127.0.0.1:0")):accepting()),
    awaiting = other:awaiting(uring.sqe():prep_timeout(60)),
    task = keep(uring.event(uring.sleep, 60)),
  }), function(t)
    spec.send(fd, 7, 5)
    assert.same({ true, "ring", 5, 7, 0 }, { t:join() })
    a:close()
  end
end

describe("a wait keeps what it waits for, and not longer:", function()
  for name, make in pairs(waits) do
    it(name, function()
      local kept = setmetatable({}, { __mode = "k" })
      local made = 0
      local function keep(object)
        kept[object] = true
        made = made + 1
        return object
      end
      local function count()
        local n = 0
        for _ in pairs(kept) do n = n + 1 end
        return n
      end
      helper.run(function()
        local t, finish = make(keep)
        for _ = 1, 3 do
          uring.sleep(0)
          helper.collect()
        end
        assert.equal("waiting", t:status())
        assert.equal(made, count())
        finish(t)
      end)
      helper.collect()
      helper.collect()
      assert.equal(0, count())
    end)
  end
end)
