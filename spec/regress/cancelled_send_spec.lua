-- A send whose value was received, and whose task was cancelled before it ran
-- again, said that it was not sent: "timed out", or uring.cancelled.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

local function sends(c)
  return {
    send = function() return c:send "v" end,
    select = function()
      return select(2, uring.select { c:sending "v" })
    end,
    ["select with a time"] = function()
      return select(2, uring.select({ c:sending "v" }, 60))
    end,
    ["a wrapped event"] = function()
      return select(2, uring.select { c:sending("v"):wrap(function(ok)
        return ok
      end) })
    end,
  }
end

local function each(f)
  for _, capacity in ipairs { 0, 1 } do
    for name in pairs(sends(uring.channel())) do
      helper.run(function()
        local c = uring.channel(capacity)
        for i = 1, capacity do c:send(i) end
        f(c, sends(c)[name], capacity)
      end)
    end
  end
end

-- The value that is on its way goes through.
local function receive(c, capacity)
  for i = 1, capacity do assert.equal(i, c:try_receive()) end
  if capacity == 0 then assert.equal("v", c:try_receive()) end
end

local function received(c, capacity)
  if capacity > 0 then assert.equal("v", c:try_receive()) end
  assert.is_nil((c:try_receive()))
end

describe("a send that was received before its task was cancelled", function()
  it("by a timeout, has sent", function()
    each(function(c, send, capacity)
      local out, s
      local seconds = 0.001
      repeat  -- (it may be over too early)
        if s then s:join() end
        seconds = seconds * 2
        s = uring.spawn(function()
          out = table.pack(uring.timeout(seconds, send))
        end)
        uring.sleep(0)
      until s:status() == "waiting"
      -- in one turn the value is received, and the time is over
      local over = uring.now() + 2 * seconds
      receive(c, capacity)
      while uring.now() < over do end
      s:join()
      assert.same({ n = 1, true }, out)
      received(c, capacity)
    end)
  end)

  it("by task:cancel, has sent, and its next wait raises", function()
    each(function(c, send, capacity)
      local sent, ok, err
      local s = uring.spawn(function()
        sent = send()
        ok, err = pcall(uring.sleep, 0)
      end)
      uring.sleep(0)
      receive(c, capacity)
      s:cancel()
      s:join()
      assert.same({ true, false, uring.cancelled }, { sent, ok, err })
      received(c, capacity)
    end)
  end)

  it("by its scope's end, has sent", function()
    each(function(c, send, capacity)
      local sent
      pcall(uring.scope, function()
        uring.spawn(function() sent = send() end)
        uring.sleep(0)
        receive(c, capacity)
        error "the end"
      end)
      assert.is_true(sent)
      received(c, capacity)
    end)
  end)

  it("by a timeout in a poll, has sent", function()
    helper.run(function()
      local c, key, sent = uring.channel(), nil, nil
      local s = uring.spawn(function()
        key, sent = uring.select({ s = c:sending "v" }, 0)
      end)
      uring.sleep(0)
      assert.equal("v", c:try_receive())
      s:cancel()
      s:join()
      assert.same({ "s", true }, { key, sent })
    end)
  end)
end)

describe("a send that was not received before its task was cancelled",
  function()
    it("has not sent", function()
      each(function(c, send, capacity)
        local s = uring.spawn(send)
        uring.sleep(0)
        s:cancel()
        s:join()
        assert.equal("cancelled", s:status())
        for i = 1, capacity do assert.equal(i, c:try_receive()) end
        assert.is_nil((c:try_receive()))
      end)
    end)
  end)
