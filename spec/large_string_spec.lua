-- Large strings in messages. (On Lua 5.5 the string keeps the message's
-- memory; what is promised is the same everywhere.)

local helper = require "helper"
local mailboxes = require "mailboxes"
local uring = require "uring"

local it = helper.needs_ring(it)
local pair <const> = mailboxes.pair

-- Bytes of which each is known.
local function bytes(n, from)
  local piece = ("%d:0123456789abcdef\0"):format(from or 0)
  return piece:rep(n // #piece + 1):sub(1, n)
end

local function equal(expected, got)
  if expected ~= got then
    error(("a string of %d bytes differs, of %s"):format(#expected,
      type(got) == "string" and #got or type(got)), 2)
  end
end

-- The bytes that C holds for this state.
local function held()
  helper.collect()
  return uring.loop():stats().memory
end

describe("a large string in a message", function()
  it("arrives whole, wherever it is", function()
    helper.run(function()
      local box, to = pair { bytes = 1 << 24 }
      for _, n in ipairs { 4095, 4096, 4097, 100000, 1 << 22 } do
        local s = bytes(n)
        assert(to:send(s, "and", bytes(50, 1)))
        local got, word, other = box:receive()
        equal(s, got)
        equal("and", word)
        equal(bytes(50, 1), other)
        assert(to:send { 1, { text = s, n = n }, false })
        got = box:receive()
        equal(s, got[2].text)
        equal(n, got[2].n)
        assert(to:send { [s] = "key" })
        equal("key", box:receive()[s])
        assert(to:send(s, s, bytes(n, 2)))
        local a, b, c = box:receive()
        equal(s, a)
        equal(s, b)
        equal(bytes(n, 2), c)
        assert(to:send(a))  -- one that has come by a message
        equal(s, box:receive())
      end
    end)
  end)

  it("is valid as long as it is there", function()
    helper.run(function()
      local kept = {}
      for i = 1, 20 do
        local box, to = pair()
        assert(to:send(bytes(100000, i), uring.buffer "x"))
        kept[i] = box:receive()
        box:close()
      end
      helper.collect()
      for i = 1, 20 do equal(bytes(100000, i), kept[i]) end
      local box, to = pair()
      assert(to:send(bytes(100000)))
      box:close(true)
      for s in box:undelivered() do kept[1] = s end
      box = nil  -- luacheck: ignore 311
      helper.collect()
      equal(bytes(100000), kept[1])
    end)
  end)

  it("goes to a worker, and comes back", function()
    helper.run(function()
      local w = assert(uring.worker(function(first)
        local inbox = require "uring".inbox()
        return first .. inbox:receive()
      end, bytes(50000)))
      assert(w:send(bytes(60000)))
      local ok, got = w:join()
      assert(ok, got)
      equal(bytes(50000) .. bytes(60000), got)
    end)
  end)

  it("leaves nothing when it is collected", function()
    helper.run(function()
      local box, to = pair { bytes = 1 << 22 }
      local s = bytes(1 << 20)
      assert(to:send(s))
      equal(s, box:receive())
      local before, most = held(), 0
      for _ = 1, 200 do
        assert(to:send(s))
        box:receive()
        most = math.max(most, uring.loop():stats().memory - before)
      end
      assert.is_true(most < 100 << 20, most)  -- of 200 MiB
      assert.equal(before, held())
      local kept
      assert(to:send(s))
      kept = box:receive()
      local more = held() - before
      assert(more == 0 or _VERSION ~= "Lua 5.4" and more > #s, more)
      equal(s, kept)
    end)
  end)
end)
