-- What is done many times takes so many times as long, and no more: none of
-- these looks at all the others.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

-- The processor's time for what f does.
local function timed(f, ...)
  local began = os.clock()
  f(...)
  return os.clock() - began
end

-- f(n) is measured for n, 2n and 4n, the best of some times: either the whole
-- of it, or what it returns the time of. What is quadratic takes 16 times as
-- long for 4n as for n, and what is n log n not 5. (The constant is for what
-- is too short to be measured.)
local function grows(name, n, f)
  it(name, function()
    local times = {}
    local function once(m)
      collectgarbage()
      collectgarbage "stop"  -- (where it begins a cycle is not the point)
      local _ <close> = helper.finally(function() collectgarbage "restart" end)
      local part
      local all = timed(helper.run, function() part = f(m) end)
      return part or all
    end
    -- (in a virtual machine that has to wait, the clock counts its waits)
    local most = helper.slow > 1 and 14 or 8
    for round = 1, 5 do  -- (others' time is not ours, but their caches are)
      for _, m in ipairs { n, 2 * n, 4 * n, n, 2 * n, 4 * n } do
        times[m] = math.min(times[m] or math.huge, once(m))
      end
      if times[4 * n] <= most * times[n] + 0.002 then return end
      assert(round < 5, ("%d: %.2f ms, %d: %.2f ms, %d: %.2f ms"):format(n,
        times[n] * 1e3, 2 * n, times[2 * n] * 1e3, 4 * n,
        times[4 * n] * 1e3))
    end
  end)
end

-- n tasks that are in their wait.
local function waiting(n, f, ...)
  local tasks = {}
  for i = 1, n do tasks[i] = uring.spawn(f, ...) end
  uring.sleep(0)
  return tasks
end

-- 1 to n, once each, and in no order.
local function shuffled(n)
  local order = {}
  for i = 1, n do order[i] = i end
  local seed = 1
  for i = n, 2, -1 do
    seed = seed * 6364136223846793005 + 1442695040888963407
    local j = (seed >> 33) % i + 1
    order[i], order[j] = order[j], order[i]
  end
  return order
end

local function cancel_all(tasks)
  for _, t in ipairs(tasks) do t:cancel() end
  for _, t in ipairs(tasks) do t:join() end
end

setup(function() spec.keep_memory(true) end)
teardown(function() spec.keep_memory(false) end)
after_each(helper.idle_loop)

describe("a channel takes the same time for each", function()
  grows("value that is handed over, and that is kept", 250, function(n)
    local c = uring.channel(n)
    waiting(n, c.receive, c)
    for i = 1, 2 * n do assert(c:try_send(i)) end
  end)

  for name, order_of in pairs {
    ["in their order"] = function(n)
      local order = {}
      for i = 1, n do order[i] = i end
      return order
    end,
    ["the last first"] = function(n)
      local order = {}
      for i = 1, n do order[i] = n + 1 - i end
      return order
    end,
    ["in no order"] = shuffled,
  } do
    grows("value that comes back, " .. name, 250, function(n)
      local c, order = uring.channel(n), order_of(n)
      local tasks = waiting(n, c.receive, c)
      for i = 1, n do assert(c:try_send(i)) end
      for i = 1, n // 2 do
        tasks[order[i]]:cancel()
        assert(c:try_receive())
      end
      for i = n // 2 + 1, n do tasks[order[i]]:cancel() end
      for _ = n // 2 + 1, n do assert(c:try_receive()) end
    end)
  end

  grows("choice that it completes, and that is cancelled", 250, function(n)
    local c = uring.channel(n)
    local tasks = waiting(n, uring.select, { c:receiving() })
    for i = 1, n do assert(c:try_send(i)) end
    for i = 1, n do
      tasks[i]:cancel()
      assert(c:try_receive() == i)
    end
  end)

  grows("sender that waits, or is cancelled", 250, function(n)
    local c = uring.channel(1)
    local tasks = waiting(2 * n, c.send, c, 1)
    for _ = 1, n do assert(c:try_receive()) end
    cancel_all(tasks)
  end)

  grows("task that waits when it is closed", 500, function(n)
    local c = uring.channel()
    waiting(n, c.receive, c)
    c:close()
  end)

  grows("unit of a semaphore", 250, function(n)
    local s = uring.semaphore(0)
    local tasks = waiting(n, s.acquire, s)
    for _ = 1, 2 * n do s:release() end
    for i = 1, n do
      tasks[i]:cancel()
      assert(#s == n + i)
    end
  end)
end)

describe("a mailbox takes the same time for each", function()
  grows("choice that waits to send", 250, function(n)
    local box = uring.mailbox { capacity = 1 }
    local address = box:address()
    assert(address:try_send(0))
    for i = 1, n do uring.spawn(uring.select, { address:sending(i) }) end
    uring.sleep(0)
    for i = 0, n do assert(box:receive() == i) end
    box:close()
  end)

  grows("choice that waits with the same event", 500, function(n)
    local box = uring.mailbox { capacity = 1 }
    local address = box:address()
    assert(address:try_send(0))
    waiting(n, uring.select, { address:sending(0) })
    for _ = 0, n do assert(box:receive() == 0) end
    box:close()
  end)

  grows("name that others wait for", 250, function(n)
    local tasks, boxes = {}, {}
    for i = 1, n do
      tasks[i] = uring.spawn(uring.address, "growth " .. i, 60)
    end
    uring.sleep(0)
    for i = 1, n do
      boxes[i] = assert(uring.mailbox { name = "growth " .. i, bytes = 256 })
      assert(select(2, tasks[i]:join()))
    end
    for _, box in ipairs(boxes) do box:close() end
  end)
end)

describe("the same time is taken by each", function()
  grows("task that is spawned and joined, and joins one", 500, function(n)
    local gate = uring.channel()
    local one = uring.spawn(gate.receive, gate)
    local tasks = waiting(n, one.join, one)
    for i = 1, n // 2 do tasks[i]:cancel() end
    gate:close()
    for _, t in ipairs(tasks) do t:join() end
  end)

  grows("daemon, when run ends", 500, function(n)
    for _ = 1, n do uring.daemon(uring.sleep, 60) end
    uring.sleep(0)
  end)

  grows("daemon that ends a turn after another, and starts one", 500,
    function(n)
      uring.scope(function(scope)
        local before = uring.spawn(tostring, 1)
        for _ = 1, n do
          local other = before
          before = scope:daemon(function()
            local _ <close> = helper.finally(function()
              uring.shield(60, other.join, other)
              scope:daemon(uring.sleep, 60)
            end)
            uring.sleep(60)
          end)
        end
        uring.sleep(0)
      end)
    end)

  grows("timeout in a timeout, beside many", 4000, function(n)
    local short = waiting(1, uring.timeout, 60, uring.sleep, 60)
    local function deeper(i)
      if i > 0 then return uring.shield(60, deeper, i - 1) end
      cancel_all(short)  -- (leaves a gap)
      return timed(function()
        for _ = 1, n do uring.timeout(60, uring.timeout, 60, tostring, 1) end
      end)
    end
    return deeper(n)
  end)

  grows("shield in a shield that spawns", 2000, function(n)
    local function deeper(i)
      if i == 0 then return end
      uring.spawn(uring.current)
      uring.shield(60, deeper, i - 1)
    end
    deeper(n)
  end)

  grows("sleeper that is cancelled, in no order", 500, function(n)
    local tasks = waiting(n, uring.sleep, 60)
    for _, i in ipairs(shuffled(n)) do tasks[i]:cancel() end
  end)

  grows("wait for a request that is cancelled, in no order", 300, function(n)
    local r, w = spec.pipe()
    local tasks = waiting(n, uring.await,
      uring.sqe():prep_poll_add(r, uring.POLLIN))
    for _, i in ipairs(shuffled(n)) do tasks[i]:cancel() end
    for _, t in ipairs(tasks) do t:join() end
    spec.close(r)
    spec.close(w)
  end)

  -- (The kernel looks for it from the first that was armed on: so in their
  -- order alone.)
  grows("timeout request that is cancelled, in their order", 500, function(n)
    local tasks = waiting(n, uring.await, uring.sqe():prep_timeout(60))
    uring.sleep(0)
    return timed(cancel_all, tasks)
  end)

  grows("wait for a request whose time is over", 300, function(n)
    local r, w = spec.pipe()
    local sqe = uring.sqe():prep_poll_add(r, uring.POLLIN)
    local tasks = waiting(n, uring.await, sqe, 0.001)
    for _, t in ipairs(tasks) do t:join() end
    spec.close(r)
    spec.close(w)
  end)

  grows("operation that is dropped", 500, function(n)
    local r, w = spec.pipe()
    local ring = uring.loop():ring()
    local sqe = uring.sqe():prep_poll_multishot(r, uring.POLLIN)
    for _ = 1, n do
      local op = assert(ring:queue(sqe))
      assert(not op:await(0))
    end
    helper.collect()
    while ring:stats().in_flight > ring:stats().internal do
      uring.sleep(0.0001)
    end
    spec.close(r)
    spec.close(w)
  end)

  grows("event of a choice", 50, function(n)
    local events = {}
    for i = 1, n do events[i] = uring.channel():receiving() end
    for _ = 1, 10 do assert.is_nil((uring.select(events, 0))) end
    for i = 1, n do
      events[i] = uring.event(uring.sleep, i == n and 0 or 60)
    end
    uring.select(events)
  end)

  grows("message that comes back, in no order", 750, function(n)
    -- (of other rings the kernel gives only some at a time)
    local ring <close> = assert(uring.ring { entries = 1024, flags = 0,
      cq_entries = 8192 })
    local tasks = waiting(n, ring.receive, ring)
    for i = 1, n do assert(spec.send(ring:fd(), i, i)) end
    uring.sleep(0)  -- (they come, and none of the tasks has run since)
    assert.equal("ready", tasks[n]:status())
    return timed(function()
      for _, i in ipairs(shuffled(n)) do tasks[i]:cancel() end
      for _ = 1, n do ring:receive(0) end
    end)
  end)

  grows("task that waits for the same socket", 300, function(n)
    local a, b = assert(uring.socketpair())
    local tasks = waiting(n, a.recv, a)
    for _, i in ipairs(shuffled(n)) do tasks[i]:cancel() end
    for _, t in ipairs(tasks) do t:join() end
    a:close()
    b:close()
  end)

  grows("buffer that a request holds", 500, function(n)
    local r, w = spec.pipe()
    local tasks = {}
    for i = 1, n do
      local buffer = uring.buffer(16)
      tasks[i] = uring.spawn(uring.await, uring.sqe():prep_read(r, buffer))
    end
    uring.sleep(0)
    cancel_all(tasks)
    spec.close(r)
    spec.close(w)
  end)

  grows("request beside many groups of buffers", 700, function(n)
    local ring <close> = assert(uring.ring { entries = 8 })
    local groups, nop = {}, uring.sqe():prep_nop()
    for i = 1, n do
      groups[i] = assert(ring:buf_ring { entries = 1, size = 16, bgid = i })
    end
    local spent = timed(function()
      for _ = 1, n do
        ring:queue(nop)
        assert(ring:wait_cqe(60))
      end
    end)
    assert(#groups == n)
    return spent
  end)

  grows("request that is to provide buffers, and fails", 3000, function(n)
    local ring <close> = assert(uring.ring { entries = 64 })
    local taken = assert(ring:buf_ring { entries = 1, size = 16, bgid = 1 })
    local buffer = uring.buffer(16)
    local function provide(group)
      local sqe = uring.sqe():prep_provide_buffers(buffer, 16, 1, group, 1)
      for i = 1, n do
        assert(ring:queue(sqe))
        for _ = 1, i % 64 == 0 and 64 or i == n and n % 64 or 0 do
          local _, res = assert(ring:wait_cqe(60))
          assert(res < 0 == (group == 1), res)
        end
      end
    end
    provide(2)
    local spent = timed(provide, 1)
    taken:close()
    return spent
  end)

  for name, prep in pairs {
    poll = function(fd) return uring.sqe():prep_poll_add(fd, uring.POLLIN) end,
    read = function(fd)
      return uring.sqe():prep_read(fd, uring.buffer(16))
    end,
    timeout = function() return uring.sqe():prep_timeout(60) end,
    futex_wait = function()
      if not helper.probe.ops.futex_wait then return end
      return uring.sqe():prep_futex_wait(uring.buffer(4), 0, 0xffffffff,
        uring.FUTEX2_SIZE_U32)
    end,
  } do
    grows(name .. " in flight, when its ring closes", 1500, function(n)
      local r, w = spec.pipe()
      local sqe = prep(r)
      if not sqe then return 0 end
      local ring = assert(uring.ring { entries = 1024 })
      for _ = 1, n do assert(ring:push(sqe)) end
      assert(ring:submit())
      local spent = timed(function() assert(ring:close()) end)
      spec.close(r)
      spec.close(w)
      return spent
    end)
  end

  grows("close of a descriptor beside many requests", 250, function(n)
    local r, w = spec.pipe()
    local tasks = waiting(n, uring.await,
      uring.sqe():prep_poll_add(r, uring.POLLIN))
    local spent = timed(function()
      for _ = 1, n do
        local fd = uring.fd(spec.dup(w))
        uring.loop():ring():queue(uring.sqe():prep_poll_add(fd,
          uring.POLLERR))
        fd:close()
      end
    end)
    cancel_all(tasks)
    spec.close(r)
    spec.close(w)
    return spent
  end)

  grows("member of a chain", 512, function(n)
    local ring <close> = assert(uring.ring { entries = n })
    local chain, tick = {}, uring.sqe():prep_nop()
    for i = 1, n do chain[i] = tick end
    local results = assert(ring:await_chain(chain))
    assert.equal(n, #results)
    chain[1] = uring.sqe():prep_timeout(60)
    local t = uring.spawn(ring.await_chain, ring, chain)
    uring.sleep(0)
    t:cancel()
    t:join()
  end)

  grows("task that uring.tasks tells of", 300, function(n)
    local tasks = waiting(n, uring.sleep, 60)
    assert.equal(n + 1, #uring.tasks())
    assert.truthy(#uring.tree() > n)
    cancel_all(tasks)
  end)

  grows("failure of a scope", 50, function(n)
    local scope
    assert.is_false(pcall(uring.scope, function(s)
      scope = s
      for _ = 1, n do
        s:spawn(function()
          local _ <close> = helper.finally(function() error "again" end)
          uring.sleep(60)
        end)
      end
      uring.sleep(0)
      error "the first"
    end))
    assert.equal(n + 1, #scope:failures())
  end)
end)

-- (A traceback looks for the name of each function in all modules.)
describe("a cancelled task makes no traceback, though it is", function()
  -- The time of f, best of some, beside so many modules.
  local function beside(n, f)
    local _ <close> = helper.finally(function()
      for i = 1, n do package.loaded["growth." .. i] = nil end
    end)
    for i = 1, n do package.loaded["growth." .. i] = {} end
    local best = math.huge
    for _ = 1, 3 do
      helper.run(function() best = math.min(best, f()) end)
    end
    return best
  end

  local function same(name, f)
    it(name, function()
      local few, many = beside(0, f), beside(20000, f)
      assert(many <= 3 * few + 0.01, ("%.2f ms beside none, %.2f ms beside "
        .. "many"):format(few * 1e3, many * 1e3))
    end)
  end

  same("a connection", function()
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local server = uring.spawn(listener.serve, listener, function(conn)
      conn:recv()
    end, { grace = 0 })
    local conns = {}
    for i = 1, 30 do
      conns[i] = assert(uring.tcp.connect(listener:getsockname(), 60))
      uring.sleep(0)
    end
    uring.sleep(0.01)
    local spent = timed(function()
      server:cancel()
      server:join()
    end)
    for _, c in ipairs(conns) do c:close() end
    return spent
  end)

  same("an event that was not chosen", function()
    return timed(function()
      for _ = 1, 30 do
        uring.select { uring.event(uring.sleep, 60), uring.event(uring.sleep,
          0) }
      end
    end)
  end)

  same("a call whose caller leaves", function()
    local box <close> = uring.mailbox()
    local address <close> = box:address()
    local server = uring.spawn(box.serve, box, { wait = function()
      uring.sleep(60)
    end })
    local spent = timed(function()
      for _ = 1, 30 do
        local task = uring.spawn(address.call, address, "wait")
        for _ = 1, 4 do uring.sleep(0) end
        task:cancel()
        task:join()
        for _ = 1, 4 do uring.sleep(0) end
      end
    end)
    server:cancel()
    server:join()
    return spent
  end)

  same("a read of a stream that is closed", function()
    return timed(function()
      for _ = 1, 30 do
        local s = uring.stream { read = function() uring.sleep(60) end }
        assert.is_nil((s:read("l", 0.0001)))
        s:close()
      end
    end)
  end)
end)

describe("a line takes the same time, in pieces of", function()
  local line = ("x"):rep(99) .. "\n"

  for size, n in pairs { [1] = 30, [7] = 200, [1460] = 5000,
      [65536] = 10000 } do
    grows(size .. " bytes", n, function(m)
      local r, w = assert(uring.pipe())
      local text = line:rep(m)
      local writer = uring.spawn(function()
        for from = 1, #text, size do
          w:write(text:sub(from, from + size - 1))
          w:flush()
        end
        w:close()
      end)
      local lines = 0
      for got in r:lines() do lines = lines + (#got == 99 and 1 or 0) end
      writer:join()
      r:close()
      assert(lines == m)
    end)
  end

  grows("one byte, when the line is long", 3000, function(m)
    local a, b = assert(uring.socketpair())
    uring.spawn(function()
      for _ = 1, m do
        a:send "x"
        uring.sleep(0)
      end
      a:close()
    end)
    assert(#b:read() == m)
    b:close()
  end)
end)

describe("a stream is read in time in proportion to its bytes", function()
  -- A stream of this text, in pieces of this size.
  local function pieces(text, size)
    local at = 1
    return uring.stream { read = function()
      local piece = text:sub(at, at + size - 1)
      at = at + #piece
      return piece ~= "" and piece or nil
    end }
  end

  for size, n in pairs { [1] = 50, [7] = 300, [1460] = 5000,
      [65536] = 20000 } do
    grows(("that come in pieces of %d, as lines"):format(size), n,
      function(lines)
        local s <close> = pieces(("a line of some size\n"):rep(lines), size)
        local count = 0
        for _ in s:lines() do count = count + 1 end
        assert.equal(lines, count)
      end)
  end

  grows("that come one by one, as one line, and up to a delimiter", 1000,
    function(bytes)
      local text = ("x"):rep(bytes)
      local s <close> = pieces(text .. "\n" .. text .. "--", 1)
      assert.equal(bytes, #s:read "l")
      assert.equal(bytes + 2, #s:read_until "--")
    end)
end)
