-- What had been handed to tasks that were cancelled before they ran came back
-- in the reverse order, and not before they ran.

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

local function check(...)
  for _, order in ipairs { { 1, 2, 3 }, { 3, 2, 1 }, { 2, 1, 3 }, { 2, 3 },
      { 2 }, { 3, 1 } } do
    local expected = { table.unpack(order) }
    table.sort(expected)
    local wait, send, receive = ...
    assert.same(expected, handed(3, wait, send, order, receive))
  end
end

describe("what was handed to tasks that are cancelled comes back in order",
  function()
    it("at once: messages of a ring", function()
      helper.run(function()
        for _, ring in ipairs { uring.loop():ring(),
            assert(uring.ring()) } do
          local sent = {}
          check(function() return ring:receive() end,
            function(i)
              if i then sent[#sent + 1] = i return end
              for _, n in ipairs(sent) do spec.send(ring:fd(), n, n) end
              sent = {}
              uring.sleep(0)  -- (they come, and nobody has run since)
            end,
            function() return (ring:receive(0)) end)
        end
      end)
    end)

    it("messages, to those who wait behind them", function()
      helper.run(function()
        local ring = uring.loop():ring()
        local got, tasks = {}, {}
        for i = 1, 4 do
          tasks[i] = uring.spawn(function() got[i] = ring:receive() end)
        end
        uring.sleep(0)
        for i = 1, 3 do spec.send(ring:fd(), i, i) end
        uring.sleep(0)
        tasks[1]:cancel()  -- the fourth has the first
        tasks[3]:cancel()
        assert.equal(3, (ring:receive(0)))
        for _, t in ipairs(tasks) do t:join() end
        assert.same({ [2] = 2, [4] = 1 }, got)
      end)
    end)
  end)
