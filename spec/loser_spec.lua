-- The wait that loses a choice loses nothing: what came for it is there for
-- the next one. (Of sockets: see socket_event_spec.)

local choice = require "choice"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local signal, message, turns, ready =
  choice.signal, choice.message, choice.turns, choice.ready

after_each(helper.idle_loop)

describe("an event that loses a choice", function()
  -- Two events are ready at once, of which one is a signal: `prepare` makes
  -- the other ready, and the task that chooses has not run since. `lost` is
  -- called each time that the signal wins, `won` with the values if not.
  local function contend(event, prepare, lost, won)
    local wins, s = 0, signal()
    for i = 1, 40 do
      local key, values
      local t = uring.spawn(function()
        values = table.pack(uring.select { e = event, s = s.event })
        key = values[1]
      end)
      turns(2)
      s.raised = true
      prepare(i)
      for waiter in pairs(s.waiters) do waiter:wake() end
      t:join()
      if key == "s" then
        wins = wins + 1
        lost(i)
      else
        if won then won(i, table.unpack(values, 2, values.n)) end
        s.raised = false
      end
    end
    assert.truthy(wins > 0)
  end

  it("loses no message that comes while another event wins", function()
    helper.run(function()
      for _, ring in ipairs { uring.loop():ring(), assert(uring.ring()) } do
        contend(ring:receiving(), function(i) message(ring, i) end,
          function(i)
            assert.same({ i, i, 0 }, { ring:receive(0) })
          end,
          function(i, len) assert.equal(i, len) end)
        assert.is_nil((ring:receive(0)))
      end
    end)
  end)

  it("passes a message that woke its select waiter to the next waiter",
    function()
      helper.run(function()
        local ring = uring.loop():ring()
        local next_waits = {
          plain = function() return ring:receive() end,
          choice = function()
            return select(2, uring.select { ring:receiving() })
          end,
        }
        -- (each answers len, data, flags)
        for _, wait in pairs(next_waits) do
          local heir
          contend(ring:receiving(), function(i)
            heir = uring.spawn(wait)  -- behind the other in the queue
            turns(2)
            message(ring, i)
          end, function(i)
            assert.same({ true, i, i, 0 }, { heir:join(5) })
          end, function(_, len)
            assert.truthy(len)
            heir:cancel()
            heir:join()
          end)
        end
      end)
    end)

  it("takes one of two messages, and leaves the other", function()
    helper.run(function()
      local ring = uring.loop():ring()
      local got = {}
      for i = 1, 3 do
        uring.spawn(function()
          got[i] = select(2, uring.select { ring:receiving() })
        end)
      end
      turns(2)
      for i = 1, 3 do assert(spec.send(ring:fd(), i, i)) end
      turns()
      table.sort(got)
      assert.same({ 1, 2, 3 }, got)
    end)
  end)

  it("loses no message where the choice is cancelled", function()
    helper.run(function()
      local ring = uring.loop():ring()
      local t = uring.spawn(uring.select, { ring:receiving() })
      local heir = uring.spawn(function() return ring:receive() end)
      turns(2)
      assert(spec.send(ring:fd(), 1, 1))
      uring.sleep(0)
      -- (in this turn it has been called, and not run)
      t:cancel()
      assert.same({ true, 1, 1, 0 }, { heir:join(5 * helper.slow) })
    end)
    local got
    helper.raises("ended from outside", uring.run, function()
      local ring, co = uring.loop():ring(), nil
      uring.spawn(function()
        co = coroutine.running()
        uring.select { ring:receiving() }
      end)
      turns(2)
      assert(spec.send(ring:fd(), 9, 9))
      uring.sleep(0)
      coroutine.close(co)
      got = ring:receive(0)
    end)
    assert.equal(9, got)
  end)

  it("loses no value that a channel receives or sends", function()
    helper.run(function()
      for _, capacity in ipairs { 0, 1, 3 } do
        local channel = uring.channel(capacity)
        local wins = { s = 0, c = 0 }
        for i = 1, 40 do
          local sender = uring.spawn(function() return channel:send(i) end)
          turns(1)
          local key, value = uring.select { c = channel:receiving(),
            s = ready() }
          wins[key] = wins[key] + 1
          if key == "s" then value = channel:receive(0) end
          assert.equal(i, value)
          assert.same({ true, true }, { sender:join() })
          assert.is_nil((channel:try_receive()))

          for _ = 1, capacity do channel:send "full" end
          local receiver = uring.spawn(function()
            for _ = 1, capacity do channel:receive() end
            return channel:receive(0)
          end)
          turns(1)
          key = uring.select { c = channel:sending(i), s = ready() }
          wins[key] = wins[key] + 1
          assert.same(key == "c" and { true, i }
            or { true, nil, "timed out", E.ETIME }, { receiver:join() })
        end
        assert.truthy(wins.s > 0 and wins.c > 0)
      end
    end)
  end)

  it("loses no value that was handed to a task which was then cancelled",
    function()
      helper.run(function()
        local channel = uring.channel()
        local function choose()
          return uring.select { c = channel:receiving(), uring.after(60) }
        end
        -- to the next waiter
        local t, heir = uring.spawn(choose), uring.spawn(choose)
        turns(2)
        assert.is_true(channel:try_send(1, nil, "x"))
        t:cancel()
        assert.same({ true, "c", 1, nil, "x" }, { heir:join() })
        -- to the tasks that come, in order
        t, heir = uring.spawn(choose), uring.spawn(choose)
        turns(2)
        assert.is_true(channel:try_send(1, nil))
        assert.is_true(channel:try_send(2))
        t:cancel()
        heir:cancel()
        heir:join()
        t:join()
        local got = {}
        for _ = 1, 2 do got[#got + 1] = table.pack(channel:try_receive()) end
        assert.same({ { n = 2, 1, nil }, { n = 1, 2 } }, got)
        -- cancelled first: the next has it at once, and the order stays
        t, heir = uring.spawn(choose), uring.spawn(choose)
        turns(2)
        t:cancel()
        assert.is_true(channel:try_send(1))
        assert.is_nil((channel:try_send(2)))
        assert.same({ true, "c", 1 }, { heir:join() })
        -- what ends by its time in the same turn is not lost either
        for _ = 1, 10 do
          t = uring.spawn(function()
            return uring.select({ channel:receiving() }, 0.001)
          end)
          uring.sleep(0.001)
          local sent = channel:try_send "v"
          local _, key = t:join()
          assert.equal(sent and 1 or nil, key)
        end
        -- a unit of a semaphore
        local semaphore = uring.semaphore(0)
        t = uring.spawn(semaphore.acquire, semaphore)
        turns(2)
        semaphore:release()
        t:cancel()
        t:join()
        assert.equal(1, #semaphore)
      end)
    end)

  it("counts no value twice where there are choices on both sides", function()
    helper.run(function()
      for _, capacity in ipairs { 0, 1 } do
        local a, b = uring.channel(capacity), uring.channel(capacity)
        local sent, received, n = {}, {}, 0
        uring.scope(function(scope)
          for task = 1, 8 do
            scope:spawn(function()
              for _ = 1, 50 do
                n = n + 1
                local mine = n
                local key, value = uring.select({
                  sa = a:sending(mine), sb = b:sending(-mine),
                  ra = a:receiving(), rb = b:receiving(),
                }, task == 1 and 0.0001 or 0.01)
                if key == "sa" then sent[mine] = true
                elseif key == "sb" then sent[-mine] = true
                elseif key then
                  assert.is_nil(received[value])
                  assert.not_equal(mine, math.abs(value))
                  received[value] = true
                end
              end
            end)
          end
        end)
        for _, c in ipairs { a, b } do
          for v in c.try_receive, c do
            assert.is_nil(received[v])
            received[v] = true
          end
        end
        assert.truthy(next(sent))
        assert.same(sent, received)
      end
    end)
  end)

  it("loses no task's end, which all choices see", function()
    helper.run(function()
      local wins = 0
      for i = 1, 20 do
        local t = uring.spawn(function() return i end)
        local choices = {}
        for j = 1, 5 do
          choices[j] = uring.spawn(uring.select, { t:joining(), s = ready() })
        end
        turns(2)
        for j = 1, 5 do
          local _, key = choices[j]:join()
          if key == "s" then wins = wins + 1 end
        end
        assert.same({ 1, true, i }, { uring.select { t:joining() } })
        assert.same({ true, i }, { t:join() })
      end
      assert.truthy(wins > 0)
    end)
  end)

  it("closes a file that its request has opened", function()
    helper.keeps_fds(function()
      helper.run(function()
        local ring = uring.loop():ring()
        local open = uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null",
          uring.O_RDONLY or 0, 0)
        local disposed = ring:stats().disposed
        contend(ring:awaiting(open), function() turns(1) end,
          function() end,
          function(_, fd)
            assert.is_truthy(fd)
            if math.type(fd) == "integer" then spec.close(fd)
            else fd:close() end
          end)
        -- cancelled before it was submitted, and timed out
        for _ = 1, 10 do
          uring.select { ring:awaiting(open), ready() }
          local t = uring.spawn(uring.select, { ring:awaiting(open) })
          turns(1)
          t:cancel()
          t:join()
        end
        turns()
        assert.truthy(ring:stats().disposed > disposed)
      end)
    end)
  end)

  it("closes a connection that its request has accepted",
    function()
      helper.keeps_fds(function()
        helper.run(function()
          local server <close> = assert(uring.tcp.listen "127.0.0.1:0")
          local ring = uring.loop():ring()
          local clients = {}
          contend(ring:awaiting(uring.sqe():prep_accept(server)),
            function(i)
              clients[i] = assert(uring.tcp.connect(server:getsockname()))
              turns(1)
            end,
            function(i)
              -- closed by the library: the client sees the end
              assert.equal("", (clients[i]:receive(5)) or "")
              clients[i]:close()
            end,
            function(i, fd)
              if math.type(fd) == "integer" then spec.close(fd)
              else fd:close() end
              clients[i]:close()
            end)
        end)
      end)
    end)
end)
