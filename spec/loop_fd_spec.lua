-- loop:fd(): a host polls it, and it is readable when a step would do
-- something, and only then.

local helper = require "helper"
local faults = require "faults"
local hosts = require "hosts"

local it = helper.needs_ring(it)

-- A host that polls in each of these ways; the prelude's `comes(seconds)` says
-- whether the descriptor was, or became, readable.
local POLLS <const> = {
  ["level-triggered epoll"] = [[
    local ep = spec.epoll(fd, false)
    function comes(seconds) return spec.epoll_wait(ep, seconds) end]],
  ["edge-triggered epoll"] = [[
    local ep = spec.epoll(fd, true)
    function comes(seconds) return spec.epoll_wait(ep, seconds) end]],
  poll = "function comes(seconds) return spec.ready(fd, seconds) end",
  select = "function comes(seconds) return spec.select(fd, seconds) end",
}

-- luacheck: globals loop uring spec H fault fd comes quiet works copied step

-- A child that has copies of all that is open, and never touches the library;
-- what ends it.
local COPIED <const> = [[
  function copied()
    local r, w = spec.pipe()
    local child = spec.fork()
    if child == 0 then
      spec.close(w)
      spec.read(r)
      spec._exit(0)
    end
    return function()
      spec.close(w)
      H.equal(0, spec.wait(child))
    end
  end
]]

local COMMON <const> = COPIED .. [[
  fd = loop:fd()
  %s

  -- It is not readable, and a step has nothing to do.
  function quiet()
    assert(not comes(0), "it is readable for nothing")
    local more, resumed = loop:step()
    assert(not more and resumed == 0, "it was not readable")
    assert(not comes(0), "it became readable for nothing")
  end

  -- It becomes readable, and steps resume so many tasks; then it is quiet.
  function works(resumes, options)
    local total = 0
    while total < resumes do
      assert(comes(5 * H.slow), "it does not become readable")
      local _, resumed = loop:step(options)
      total = total + resumed
    end
    assert(total == resumes, total)
    -- once it may be readable for nothing
    if comes(0) then loop:step() end
    quiet()
  end
]]

local function polled(name, f, before, feature)
  for how, code in pairs(POLLS) do
    hosts.tests(it, before, COMMON:format(code))(
      name .. ", by " .. how, f, feature)
  end
end

describe("loop:fd() becomes readable", function()
  polled("by spawn, once", function()
    quiet()
    for _ = 1, 3 do
      loop:spawn(uring.sleep, 60)
      works(1)
    end
    for _ = 1, 100 do uring.spawn(uring.sleep, 60) end
    works(100, { max = 30 })
  end)

  polled("by a deadline", function()
    for i = 1, 3 do
      loop:spawn(uring.sleep, i * 0.01 * H.slow)
      loop:spawn(uring.timeout, i * 0.01 * H.slow, uring.sleep, 60 * H.slow)
    end
    works(12)  -- (on a slow machine they begin when others are due)
  end)

  polled("by an earlier deadline than the one that was set", function()
    loop:spawn(uring.sleep, 60)
    loop:spawn(uring.sleep, 30)
    works(2)
    loop:spawn(uring.sleep, 0.05)
    works(2)
  end)

  polled("by cancel of any wait", function()
    local ring = assert(uring.ring())
    for _, wait in ipairs {
      function() uring.sleep(60) end,
      function() uring.channel():receive() end,
      function() loop:ring():receive() end,
      function() loop:ring():await(uring.sqe():prep_timeout(60)) end,
      function() ring:receive() end,
      function() ring:await(uring.sqe():prep_timeout(60)) end,
    } do
      local task = loop:spawn(wait)
      works(1)
      assert(task:cancel())
      works(1)
      H.equal("cancelled", task:status())
    end
  end)

  polled("by a channel's send", function()
    local channel = uring.channel(8)
    loop:spawn(function() while channel:receive() do end end)
    works(1)
    for i = 1, 5 do
      assert(channel:try_send(i))
      works(1)
    end
    for i = 1, 3 do assert(channel:try_send(i)) end
    works(1)
    assert(channel:close() ~= false)
    works(1)
  end)

  polled("by messages and completions, on the loop's ring and others",
    function()
      local other = assert(uring.ring())
      for _, ring in ipairs { loop:ring(), other } do
        local got = 0
        local task = loop:spawn(function()
          for _ = 1, 3 do
            assert(ring:receive())
            got = got + 1
          end
        end)
        works(1)
        for i = 1, 3 do
          local later = spec.send_later(i == 2 and 0 or 0.01, ring:fd(), i, 5)
          works(1)
          H.equal(i, got)
          assert(later:join())
        end
        H.equal("done", task:status())
        loop:spawn(ring.await, ring, uring.sqe():prep_timeout(0.01))
        works(2)  -- (that may be over when it has begun)
      end
    end)

  -- (the kernel puts such a signal off, and forgets the second one)
  polled("by what tasks wait for that is an eventfd itself", function()
    for _, ring in ipairs { loop:ring(), assert(uring.ring()) } do
      local eventfd, buffer = spec.eventfd(), uring.buffer(8)
      local got = 0
      local task = loop:spawn(function()
        for i = 1, 6 do
          if i % 2 == 0 then
            ring:await(uring.sqe():prep_poll_add(eventfd, uring.POLLIN))
          end
          ring:await(uring.sqe():prep_read(eventfd, buffer, 8, 0))
          got = i
        end
      end)
      H.settle()
      for i = 1, 6 do
        local later = spec.write_later(0.002, eventfd)
        while got < i do
          assert(comes(5 * H.slow), "it does not become readable")
          loop:step()
        end
        later:join()
      end
      H.settle()
      H.equal("done", task:status())
      spec.close(eventfd)
    end
  end)

  polled("by a request that was queued by hand", function()
    loop:ring():queue(uring.sqe():prep_nop())
    assert(comes(0))
    H.settle()
    if comes(0) then loop:step() end
    quiet()
    H.equal("completion", select(4, loop:ring():wait_cqe(5)))
  end)

  polled("by what a step leaves, each time", function()
    local n = 0
    loop:spawn(function()
      for _ = 1, 10 do
        n = n + 1
        uring.sleep(0)
      end
    end)
    for i = 1, 11 do
      assert(comes(0))
      local more, resumed = loop:step { max = 1 }
      assert(resumed == 1 and more == (i < 11))
    end
    quiet()
  end)

  polled("by errors that were not raised yet", function()
    for i = 1, 3 do loop:spawn(error, i) end
    for i = 1, 3 do
      assert(comes(0))
      local ok, why = pcall(loop.step, loop)
      assert(not ok and why == i)
    end
    quiet()
  end)

  polled("by another thread that rings the loop's doorbell", function()
    quiet()
    for _ = 1, 5 do
      local rung = fault.ring()
      assert(comes(5 * H.slow))
      loop:step()
      assert(rung())
      if comes(0) then loop:step() end
      quiet()
    end
  end, faults.path .. "_G.fault = fault ")
end)

describe("loop:fd() is not readable", function()
  polled("for daemons alone that sleep", function()
    loop:spawn(function()
      uring.daemon(function() uring.channel():receive() end)
      uring.sleep(0.005 * H.slow)
    end)
    H.settle()
    loop:spawn(function()
      uring.shield(math.huge, function() uring.channel():receive() end)
    end)
    assert(comes(5))
    H.host(function() return #uring.tasks() == 1 end)
    if comes(0) then loop:step() end
    quiet()
    assert(not comes(0.02))
  end)

  polled("because a forked child has gone on with a step", function()
    quiet()
    local r, w = spec.pipe()
    local child
    loop:spawn(function()
      child = spec.fork()
      if child == 0 then spec.read(r) end
    end)
    loop:spawn(function() end)
    local ok, why = pcall(loop.step, loop)
    if child == 0 then
      spec._exit(not ok and tostring(why):find "forked child" and 0 or 1)
    end
    assert(ok, why)
    H.settle()
    if comes(0) then loop:step() end
    quiet()
    spec.write(w, "go on")
    H.equal(0, spec.wait(child))
    quiet()
  end)

  polled("because a forked child has a copy of what is closed here", function()
    local ring = assert(uring.ring())
    loop:spawn(ring.receive, ring)
    H.settle()
    local ends = copied()
    assert(ring:queue(uring.sqe():prep_timeout(60)))
    assert(ring:submit())
    ring:close()
    H.settle()
    if comes(0) then loop:step() end
    quiet()
    ends()
  end)

  polled("for a deadline that was cancelled more than once", function()
    for _ = 1, 5 do
      local task = loop:spawn(uring.sleep, 0.15 * H.slow)
      works(1)
      task:cancel()
      works(1)
    end
    local n = 0
    while comes(0.3 * H.slow) do
      n = n + 1
      loop:step()
    end
    assert(n <= 1, n)
    quiet()
  end)

  -- (Idle steps that follow each other read the eventfds seldom.)
  polled("twice for what the host has taken by hand", function()
    for _ = 1, 3 do
      for _ = 1, 20 do loop:step() end
      spec.send_later(0, loop:ring():fd(), 1, 5):join()
      assert(loop:ring():wait_cqe(5))
      loop:step()
      quiet()
    end
  end)

  polled("twice for a signal that comes late", function()
    local eventfd, buffer = spec.eventfd(), uring.buffer(8)
    for _ = 1, 3 do
      local task = loop:spawn(function()
        uring.await(uring.sqe():prep_read(eventfd, buffer, 8, 0))
      end)
      H.settle()
      spec.write_later(0, eventfd):join()
      repeat loop:step() until task:status() == "done"
      for _ = 1, 20 do loop:step() end
      if comes(0.05) then loop:step() end  -- (or it was read in time)
      quiet()
    end
    spec.close(eventfd)
  end)

  -- Where each step is one with work, and the signal another ring's.
  for how, code in pairs {
    ["where each step collects"] = "step = { gc = true, seconds = 0.001 }",
    ["where the loop's ring tells no task work"] = [[
      local uring = require "uring"
      uring.loop { flags = uring.IORING_SETUP_SINGLE_ISSUER
        | uring.IORING_SETUP_DEFER_TASKRUN }]],
  } do
    polled("for ever for a signal that comes late, " .. how, function()
      local eventfd, buffer = spec.eventfd(), uring.buffer(8)
      local ring = assert(uring.ring())
      loop:spawn(ring.receive, ring)
      for _ = 1, 3 do
        local task = loop:spawn(function()
          ring:await(uring.sqe():prep_read(eventfd, buffer, 8, 0))
        end)
        H.settle()
        spec.write_later(0, eventfd):join()
        repeat loop:step(step) until task:status() == "done"
        local n = 0
        while comes(0.05) do
          n = n + 1
          assert(n < 20, "it is readable for nothing")
          loop:step(step)
        end
      end
      spec.close(eventfd)
    end, code)
  end

  polled("after a run, when a step has looked once", function()
    local channel = uring.channel()
    local server = loop:spawn(function() return channel:receive() end)
    H.equal(5, uring.run(function()
      uring.sleep(0.002)
      return 5
    end))
    H.settle()
    if comes(0) then loop:step() end
    quiet()
    uring.run(function() channel:send(7) end)
    H.settle()
    H.equal(7, select(2, server:join()))
    quiet()
  end)

  polled("with a host's clock, for any deadline", function()
    loop:step { now = 1 }
    loop:spawn(uring.sleep, 0.001)
    H.settle { now = 1 }
    assert(not comes(0.02))
    H.equal(0.001, loop:timeout())
    local more, resumed = loop:step { now = 2 }
    assert(not more and resumed == 1)
    assert(not comes(0))
  end)
end)

describe("loop:fd()", function()
  hosts.tests(it)("is one descriptor, closed with the loop", function()
    local before = H.fds()
    local fd = loop:fd()
    H.equal(fd, loop:fd())
    H.equal(before + 4, H.fds())
    assert(loop:close())
    H.equal(before - 1, H.fds())
  end)

  hosts.tests(it, nil, COPIED)(
    "leaves nothing to poll, though a forked child has a copy", function()
      local ring = assert(uring.ring())
      local ep = spec.epoll(loop:fd(), false)
      loop:spawn(ring.receive, ring)
      H.settle()
      local ends = copied()
      loop:spawn(uring.sleep, 60)
      assert(spec.epoll_wait(ep, 0))
      assert(loop:close())
      assert(not spec.epoll_wait(ep, 0), "it is polled for ever")
      ends()
    end)

  hosts.tests(it)("may be made by a thread that does not run the loop",
    function()
      local fd = loop:fd()
      loop:spawn(uring.sleep, 0.05)
      assert(spec.in_thread(function()
        assert(spec.ready(fd))
        assert(not loop:step())
        assert(spec.ready(fd, 5))
        local _, resumed = loop:step()
        assert(resumed == 1)
      end))
    end)
end)

-- The same, for a message that comes at each place where a step looks.
describe("a message that comes while a step looks", function()
  polled("is not left behind", function()
    for _, ring in ipairs { loop:ring(), assert(uring.ring()) } do
      local got, sent, missed = 0, 0, 0
      loop:spawn(function()
        while true do
          if ring:receive() then got = got + 1 end
        end
      end)
      H.settle()
      if comes(0) then loop:step() end
      for skip = 0, 40 do
        fault.arrive(ring:fd(), skip // 2)
        if skip % 2 == 0 then
          loop:spawn(ring.await, ring, uring.sqe():prep_nop())
        end
        loop:step()
        if fault.arrive() then sent = sent + 1 else missed = missed + 1 end
        for _ = 1, 5 do
          if comes(got < sent and 5 * H.slow or 0) then loop:step() end
        end
        H.equal(sent, got)
        quiet()
      end
      assert(sent >= 5 and missed >= 5, sent)
    end
  end, faults.path .. "_G.fault = fault ", "sync_msg")
end)

-- Another thread sends while the host steps and sleeps: whatever the order of
-- the two, no message is left where nothing wakes the host.
describe("a host that sleeps on loop:fd()", function()
  for how, code in pairs(POLLS) do
    hosts.tests(it, nil, COMMON:format(code))("misses no message, by " .. how,
      function()
        local n = tonumber(os.getenv "URING_MESSAGES") or 20000
        local ring = loop:ring()
        local got, empty, polls = 0, 0, 0
        loop:spawn(function()
          for _, data in ring:messages() do
            got = got + 1
            assert(data == got)
          end
        end)
        loop:step()
        local flood = spec.flood(ring:fd(), n, os.time())
        while got < n do
          local before = got
          assert(comes(10 * H.slow), "stalled at " .. got)
          polls = polls + 1
          local _, resumed = loop:step()
          if resumed == 0 and got == before then empty = empty + 1 end
        end
        assert(flood:join())
        assert(empty <= polls / 4, empty)
        if comes(0) then loop:step() end
        quiet()
      end, "sync_msg")
  end
end)
