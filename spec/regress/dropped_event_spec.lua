-- What a choice has arranged with an event and does not take back: it was
-- collected, and what it waited for wrote to it.

local helper = require "helper"

local it = helper.needs_ring(it)

local function survives(code)
  assert.equal("survived", helper.script_ok(([[
    local uring = require "uring"
    local ring = uring.loop():ring()
    local function timeout() return uring.sqe():prep_timeout(0.005) end
    local function collect() for _ = 1, 3 do collectgarbage() end end
    uring.run(function()
      %s
      collect()
      uring.sleep(0.02)
      collect()
    end)
    assert(ring:stats().in_flight == 0)
    io.write "survived"]]):format(code)))
end

describe("a choice", function()
  it("may have an event twice", function()
    survives [[
      local late = ring:awaiting(uring.sqe():prep_timeout(60))
      local events = { late, late, late:wrap(print) }
      local _, _, errno = uring.select(events, 0.001)
      assert(errno == uring.errno.ETIME)
      local event = ring:awaiting(timeout())
      assert(uring.select { event, event:wrap(function() end) })]]
  end)

  it("starts a task once, though its event is there twice", function()
    survives [[
      local started, ended = 0, 0
      local event = uring.event(function()
        started = started + 1
        local _ <close> = setmetatable({}, { __close = function()
          ended = ended + 1
        end })
        uring.sleep(10)
      end)
      local one = uring.spawn(function()
        uring.select({ event, event }, 5)
      end)
      for _ = 1, 5 do uring.sleep(0) end
      one:cancel()
      one:join()
      uring.sleep(0)
      assert(started == 1 and ended == 1)]]
  end)

  it("takes everything back, though one cancel fails", function()
    survives [[
      local cancelled = 0
      local function bad()
        return uring.event { try = function() end, block = function() end,
          cancel = function() cancelled = cancelled + 1 error "bad" end }
      end
      for _ = 1, 5 do  -- (in whatever order)
        local sleeper = uring.spawn(uring.sleep, 0.005)
        local ok, message = pcall(uring.select, { bad(), bad(), bad(),
          ring:awaiting(timeout()), sleeper:joining(), ring:receiving(),
          ring:awaiting(timeout()) }, 0)
        assert(not ok and message:find "bad", message)
      end
      assert(cancelled == 15)]]
  end)

  it("raises the error of an event that could not begin", function()
    survives [[
      local event = uring.event { try = function() end,
        block = function() error "bad" end,
        cancel = function() error "never blocked" end }
      local ok, message = pcall(uring.select, { event })
      assert(not ok and message:find "bad", message)]]
  end)
end)

describe("an event that another library has blocked on", function()
  it("can be dropped with its waiter", function()
    survives [[
      for _ = 1, 10 do
        pcall(uring.scope, function(scope)
          local waiter = {}
          ring:awaiting(timeout()):block(waiter)
          ring:receiving():block(waiter)
          scope:spawn(uring.sleep, 0.001):joining():block(waiter)
          scope:cancel()
        end)
        collect()
      end]]
  end)
end)
