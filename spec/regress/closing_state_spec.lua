-- Finalizers that run as the state closes, when the loop is gone, and use
-- what it had: null pointers.

local helper = require "helper"

local it = helper.needs_ring(it)

local function at_the_end(setup, code)
  assert.equal("survived", helper.script_ok(([[
    local uring = require "uring"
    local task, co, waiter
    keep = setmetatable({}, { __gc = function()  -- after all later ones
      %s
      io.write "survived"
    end })
    uring.run(function()
      task = uring.spawn(function()
        co = coroutine.running()
        %s
      end)
      uring.sleep(0)
      os.exit(0, true)
    end)]]):format(code, setup)))
end

describe("when the state closes", function()
  it("a task can still be asked", function()
    at_the_end([[uring.sleep(10)]], [[
      assert(task:reason() == nil and not task:cancel())
      assert(task:status() == "waiting")]])
  end)

  it("a cancelled task can still be asked", function()
    at_the_end([[
      uring.current():cancel()
      pcall(uring.sleep, 10)
      uring.shield(10, uring.sleep, 10)]], [[
      assert(task:reason() == nil and not task:cancel())]])
  end)

  -- That makes another loop: its heap, its scopes and its requests are not
  -- those that these tasks have places in.
  it("its tasks can still be asked after another run", function()
    at_the_end([[
      uring.spawn(function() uring.scope(uring.sleep, 10) end)
      uring.sleep(10)]], [[
      assert(uring.run(function()
        uring.spawn(uring.sleep, 0)
        assert(not task:cancel() and task:reason() == nil)
        assert(task:join() == nil)
        uring.sleep(0.001)
        return true
      end))
      assert(not task:cancel())
      pcall(coroutine.resume, co)
      coroutine.close(co)]])
  end)

  it("a waiter can still be called", function()
    at_the_end([[
      uring.select { uring.event {
        try = function() end, cancel = function() end,
        block = function(_, w) waiter = w end,
      } }]], [[waiter:wake()]])
  end)

  -- The ring was made before the loop, so its finalizer runs after.
  it("a wait for another ring's messages can still be dropped", function()
    assert.equal("survived", helper.script_ok [[
      local uring = require "uring"
      local event, waiter = uring.ring():receiving(), {}
      keep = setmetatable({}, { __gc = function()
        event:cancel(waiter)
        io.write "survived"
      end })
      uring.run(function()
        late = setmetatable({}, { __gc = function() event:block(waiter) end })
        os.exit(0, true)
      end)]])
  end)

  it("a task's coroutine can still be resumed, and closed", function()
    at_the_end([[uring.timeout(10, uring.sleep, 10)]], [[
      assert(coroutine.resume(co) and coroutine.close(co))]])
  end)

  -- What was made before the loop is collected after it.
  for what, made in pairs {
    ["a mailbox"] = { "uring.mailbox()", "x.receive", "x:receiving()" },
    ["a full mailbox"] = { [[(function()
      local address = uring.mailbox({ capacity = 1 }):address()
      address:try_send(1)
      return address
    end)()]], "x.send", "x:sending(2)" },
    ["an end of a mailbox"] = { "uring.mailbox():address():monitor()",
      "uring.select", "x" },
    ["a channel"] = { "uring.channel()", "x.receive", "x:receiving()" },
    ["a reader of a channel"] = { "uring.channel()", "x.send",
      "x:sending(1)" },
    ["a semaphore"] = { "uring.semaphore(0)", "x.acquire", "x:acquiring()" },
    ["messages of a ring"] = { "uring.ring()", "x.receive", "x:receiving()" },
    ["a datagram"] = { "uring.udp.bind '127.0.0.1:0'", "x.receive",
      "x:receiving()" },
    ["a connection"] = { "uring.tcp.listen '127.0.0.1:0'", "x.accept",
      "x:accepting()" },
    ["bytes of a pipe"] = { "uring.pipe()", "x.read", "x:reading(1)" },
  } do
    local make, wait, event = table.unpack(made)
    it("tasks may wait for " .. what .. " that was made before the loop",
      function()
        for _, code in ipairs {
          wait == "uring.select" and "uring.select { x }"
            or wait .. (wait == "x.send" and "(x, 2)" or "(x)"),
          "uring.select { " .. event .. ", uring.after(60) }",
        } do
          helper.script_ok(([[
            local uring = require "uring"
            local x = assert(%s)
            uring.run(function()
              for _ = 1, 3 do uring.spawn(function() %s end) end
              uring.sleep(0)
              uring.sleep(0)
              os.exit(0, true)
            end)]]):format(make, code))
        end
      end)
  end

  it("a task of a step may wait for what was made before the loop", function()
    helper.script_ok [[
      local uring = require "uring"
      local mailbox = assert(uring.mailbox())
      uring.loop():spawn(mailbox.receive, mailbox)
      uring.loop():step()]]
  end)

  it("what a chain has opened is closed once, on a ring older than the loop",
    function()
      assert.equal("1", helper.script_ok [[
        local uring = require "uring"
        local ring = assert(uring.ring())
        keep = setmetatable({}, { __gc = function()  -- between the two
          io.write(ring:stats().disposed)
        end })
        local loop = assert(uring.loop())
        loop:spawn(ring.await_chain, ring, {
          uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null", 0),
          uring.sqe():prep_timeout(100), uring.sqe():prep_nop() })
        repeat loop:step() until ring:stats().completed == 1]])
    end)

  it("a worker that was collected can still end in another run", function()
    assert.equal("survived", helper.script_ok [[
      local uring = require "uring"
      local loop = assert(uring.loop())
      local function threads()
        local file <close> = assert(io.open "/proc/self/status")
        return tonumber(file:read "a":match "Threads:%s*(%d+)")
      end
      keep = setmetatable({}, { __gc = function()  -- before the loop ends
        uring.run(function()
          repeat uring.sleep(0.001) until threads() == 1
          uring.sleep(0)
        end)
        io.write "survived"
      end })
      loop:spawn(function()
        assert(uring.worker(function() uring.inbox():receive() end)):join()
      end)
      for _ = 1, 3 do loop:step() end]])
  end)
end)
