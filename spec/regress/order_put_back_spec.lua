-- What had been handed to tasks that were cancelled before they ran came back
-- in the reverse order, and not before they ran. Nothing is handed over now:
-- whichever tasks are left take what comes first.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

-- So many tasks wait; each is handed what `send` sends. Those of `cancelled`
-- are cancelled, in that order, and what `receive` gives then is returned.
local function handed(n, wait, send, cancelled, receive)
  local tasks = {}
  for i = 1, n do tasks[i] = uring.spawn(wait) end
  uring.sleep(0)
  for i = 1, n do send(i) end
  send()
  for i = 1, n do assert.equal("ready", tasks[i]:status()) end
  for _, i in ipairs(cancelled) do tasks[i]:cancel() end
  local got = {}
  for i = 1, #cancelled do got[i] = receive() end
  for _, t in ipairs(tasks) do t:join() end
  return got
end

local function check(wait, send, receive, rest)
  for _, order in ipairs { { 1, 2, 3 }, { 3, 2, 1 }, { 2, 1, 3 }, { 2, 3 },
      { 2 }, { 3, 1 } } do
    local expected = { table.unpack(order) }
    for i = 1, #order do expected[i] = i end
    assert.same(expected, handed(3, wait, send, order, receive))
    if rest then rest() end
  end
end

describe("values handed to tasks that are then cancelled",
  function()
    it("go back at once, in order: messages of a ring", function()
      helper.run(function()
        for _, ring in ipairs { uring.loop():ring(),
            assert(uring.ring()) } do
          local sent = {}
          check(function() return ring:receive() end,
            function(i)
              if i then sent[#sent + 1] = i return end
              for _, n in ipairs(sent) do spec.send(ring:fd(), n, n) end
              sent = {}
              uring.sleep(0)  -- (they come, and no task has run since)
            end,
            function() return (ring:receive(0)) end)
        end
      end)
    end)

    local waits = {
      receive = function(c) return function() return c:receive() end end,
      select = function(c)
        return function()
          return uring.select { c = c:receiving(), t = uring.after(60) }
        end
      end,
    }

    for name, wait in pairs(waits) do
      it("go back at once, in order: values, by " .. name, function()
        for _, capacity in ipairs { 0, 1, 5 } do
          helper.run(function()
            local c = uring.channel(capacity)
            check(wait(c),
              function(i)
                if i then assert(c:try_send(i))
                elseif capacity > 0 then assert(c:try_send "behind") end
              end,
              function() return (c:try_receive()) end,
              function()
                assert.equal(capacity > 0 and "behind" or nil,
                  (c:try_receive()))
                assert.equal(0, #c)
              end)
          end)
        end
      end)

      it("go to the tasks behind them when those run, by "
        .. name, function()
          helper.run(function()
            local c = uring.channel()
            local got, tasks = {}, {}
            for i = 1, 5 do
              tasks[i] = uring.spawn(function()
                local key, value = wait(c)()
                got[i] = value or key
              end)
            end
            uring.sleep(0)
            for i = 1, 3 do assert(c:try_send(i, i)) end
            tasks[1]:cancel()  -- the fourth has the first
            tasks[3]:cancel()
            -- the fifth has the third, and no task is there for another
            assert.is_nil((c:try_send(4, 4)))
            assert.equal(0, #c)
            for _, t in ipairs(tasks) do t:join() end
            assert.same({ [2] = 1, [4] = 2, [5] = 3 }, got)
          end)
        end)
    end

    it("go back to a channel though it is closed", function()
      helper.run(function()
        local c = uring.channel(2)
        local t = uring.spawn(c.receive, c)
        uring.sleep(0)
        assert(c:try_send(false, nil))
        assert(c:try_send(2))
        t:cancel()
        c:close()
        assert.equal(2, #c)
        assert.same({ n = 2, false, nil }, table.pack(c:receive()))
        assert.equal(2, c:receive())
        assert.equal(uring.errno.EPIPE, (select(3, c:receive())))
      end)
    end)

    it("stay with a task that is shielded", function()
      helper.run(function()
        local c = uring.channel(1)
        local got
        local t = uring.spawn(function()
          uring.shield(60, function() got = c:receive() end)
        end)
        uring.sleep(0)
        assert(c:try_send(1))
        t:cancel()
        assert.is_nil((c:try_receive()))
        assert(c:try_send(2))
        t:join()
        assert.equal(1, got)
        assert.equal(2, c:receive())
      end)
    end)

    it("go to the tasks behind them: messages", function()
      helper.run(function()
        local ring = uring.loop():ring()
        local got, tasks = {}, {}
        for i = 1, 4 do
          tasks[i] = uring.spawn(function() got[i] = ring:receive() end)
        end
        uring.sleep(0)
        for i = 1, 3 do spec.send(ring:fd(), i, i) end
        uring.sleep(0)
        tasks[1]:cancel()  -- the fourth is woken in its place
        tasks[3]:cancel()
        assert.equal(1, (ring:receive(0)))
        for _, t in ipairs(tasks) do t:join() end
        assert.same({ [2] = 2, [4] = 3 }, got)
      end)
    end)
  end)
