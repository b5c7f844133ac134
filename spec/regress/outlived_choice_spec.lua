-- A choice that ended by a timeout, or by an error as cancellation is one,
-- left behind what it had begun: a task, a request that took what came later.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(helper.idle_loop)

local in_flight <const> = helper.in_flight
local turns <const> = helper.turns

-- Ways to end a choice of these events without a choice. `look` is called in
-- the moment in which it is over.
local ends = {}

ends["by its timeout"] = function(events, look)
  assert.is_nil((uring.select(events, 0.002)))
  look()
end

ends["as a poll"] = function(events, look)
  assert.is_nil((uring.select(events, 0)))
  look()
end

ends["by uring.timeout"] = function(events, look)
  assert.equal("timed out",
    select(2, uring.timeout(0.002, uring.select, events)))
  look()
end

ends["by task:cancel"] = function(events, look)
  local looked
  local t = uring.spawn(function()
    local ok, err = pcall(uring.select, events)
    assert(not ok and err == uring.cancelled, err)
    look()
    looked = true
    error(err, 0)
  end)
  turns()
  t:cancel()
  assert.equal("the task was cancelled", select(2, t:join()))
  assert.is_true(looked)
end

ends["by a sibling's error"] = function(events, look)
  helper.raises("sibling's", uring.scope, function(scope)
    scope:spawn(uring.select, events)
    turns()
    error "the sibling's"
  end)
  look()
end

ends["by an event's error"] = function(events, look)
  local time = math.huge
  events.broken = uring.event {
    try = function() if uring.now() >= time then error "it is broken" end end,
    block = function() time = uring.now() + 0.002 return time end,
    cancel = function() end,
  }
  helper.raises("is broken", uring.select, events)
  look()
end

for name, ending in pairs(ends) do
  describe("a choice that ends " .. name, function()
    it("leaves no request behind that takes later data", function()
      helper.run(function()
        local r, w = spec.pipe()
        local other <close> = assert(uring.ring())
        for _, ring in ipairs { uring.loop():ring(), other } do
          local buffer = uring.buffer(8)
          local before = in_flight(ring)
          local read = ring:awaiting(uring.sqe():prep_read(r, buffer))
          ending({ read, read, read:wrap(print) }, function()
            assert.equal(before, in_flight(ring))
          end)
          buffer:close()  -- (nothing of the kernel's)
          spec.write(w, "x")
          turns()
          assert.equal("x", spec.read(r, 1))
        end
        spec.close(r)
        spec.close(w)
      end)
    end)

    it("leaves no task behind", function()
      helper.run(function()
        local ended = 0
        local function f(seconds)
          local _ <close> = setmetatable({}, { __close = function()
            uring.shield(1, uring.sleep, seconds)
            ended = ended + 1
          end })
          uring.sleep(60)
        end
        local began
        local function g(seconds)
          began = began + 1
          f(seconds)
        end
        -- (its time may be over before it has begun any of them)
        helper.eventually(function()
          began, ended = 0, 0
          ending({ uring.event(g, 0.001), uring.event(g, 0.003),
            uring.event(g, 0) }, function()
              assert.equal(began, ended)
            end)
          return began == 3
        end)
      end)
    end)
  end)
end

describe("a choice that has chosen", function()
  it("is not held up by an event that resists its cancel", function()
    helper.run(function()
      local gate, through = uring.channel(), nil
      uring.scope(function()
        assert.equal("t", (uring.select { t = uring.after(0.001),
          uring.event(uring.shield, 60, function()
            through = gate:receive()
          end) }))
        assert.is_nil(through)
        assert.is_true(gate:send "go")
      end)
      assert.equal("go", through)
    end)
  end)
end)

describe("a choice that waits for an event that had begun", function()
  it("cannot be cancelled, and gives the result of the event", function()
    helper.run(function()
      local gate, out, begun = uring.channel(), nil, false
      local t = uring.spawn(function()
        repeat  -- (its time may be over before it has begun the event)
          out = table.pack(uring.select({ uring.event(uring.shield, 60,
            function()
              begun = true
              gate:receive()
            end) }, 0.001))
        until begun
        uring.sleep(0)
      end)
      helper.eventually(function()
        local before = begun
        uring.sleep(0.002)  -- (longer than the choice waits)
        return before and t:status() == "waiting"
          and uring.tree():find "joining of"
      end)
      t:cancel()
      turns()
      assert.equal("waiting", t:status())
      gate:send(true)
      assert.equal("the task was cancelled", select(2, t:join()))
      assert.same({ n = 3, nil, "timed out", uring.errno.ETIME }, out)
    end)
  end)

  it("is part of a deadlock with a task that waits for it", function()
    helper.raises("deadlock", uring.run, function()
      local channel = uring.channel()
      uring.select({ uring.event(uring.shield, math.huge, function()
        channel:receive()
      end) }, 0)
      channel:send "too late"
    end)
  end)

  it("may be closed from outside, also before it begins to wait", function()
    for _, long in ipairs { false, true } do
      helper.raises("ended from outside", uring.run, function()
        local co
        local gate = uring.channel()
        uring.spawn(function()
          co = coroutine.running()
          uring.select({ uring.event(uring.shield, 60, function()
            gate:receive()
          end), uring.loop():ring():awaiting(
            uring.sqe():prep_timeout(60)) }, long and 60 or 0)
        end)
        turns(20)
        assert.is_true(coroutine.close(co))
        helper.collect()
        gate:send(true)
      end)
    end
  end)

  it("ends with the ring that it waits for", function()
    helper.run(function()
      local ring = assert(uring.ring())
      local t = uring.spawn(uring.timeout, 0.001, uring.select,
        { ring:awaiting(uring.sqe():prep_timeout(60)) })
      turns()
      local over = uring.now() + 0.002
      while uring.now() < over do end
      turns(1)
      ring:close()
      local _, key, why = t:join()
      assert.is_nil(key)
      assert.truthy(why)
    end)
  end)
end)
