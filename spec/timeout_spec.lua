-- uring.timeout and uring.shield.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local finally <const> = helper.finally
local forever <const> = helper.forever

local timed_out = { n = 3, nil, "timed out", E.ETIME }

local function pack(...) return table.pack(...) end

-- What is in flight on the loop's ring, but for its own.
local in_flight <const> = helper.in_flight

local completes <const> = helper.run

after_each(helper.no_tasks)

describe("uring.timeout", function()
  it("gives f's results, or nil, message, ETIME", function()
    completes(function()
      assert.same({ n = 4, 1, nil, 3, nil }, pack(uring.timeout(20,
        function(...) uring.sleep(0) return ... end, 1, nil, 3, nil)))
      assert.equal(0, select("#", uring.timeout(20, function() end)))
      assert.same(timed_out, pack(uring.timeout(0.001, forever)))
      assert.same(timed_out, pack(uring.timeout(0, forever)))
      assert.same({ 1 }, { uring.timeout(0, function() return 1 end) })
      assert.same({ 1 }, { uring.timeout(math.huge, function()
        uring.sleep(0) return 1
      end) })
      -- and the next wait is one again
      uring.sleep(0)
      assert.is_nil(uring.current():reason())
    end)
  end)

  it("refuses values that are no time, no function or no task", function()
    helper.raises("uring.run", uring.timeout, 1, print)
    completes(function()
      helper.raises("function expected", uring.timeout, 1)
      helper.raises("function expected", uring.timeout, 1, {})
      helper.raises("0 or more", uring.timeout, -1, print)
      helper.raises("0 or more", uring.timeout, 0 / 0, print)
      helper.raises("seconds expected", uring.timeout, "1", print)
      helper.raises("seconds expected", uring.shield, nil, print)
      helper.raises("function expected", uring.shield, 1)
    end)
  end)

  it("may be in another: the shorter one wins and is named", function()
    completes(function()
      local inner
      assert.same(timed_out, pack(uring.timeout(0.001, function()
        inner = pack(pcall(uring.timeout, 20, forever))
        error(inner[2])
      end)))
      assert.same({ n = 2, false, uring.cancelled }, inner)
      assert.same({ n = 4, "outer", nil, "timed out", E.ETIME },
        pack(uring.timeout(20, function()
          return "outer", uring.timeout(0.001, forever)
        end)))
      -- both at the same time
      assert.same(timed_out, pack(uring.timeout(0, function()
        return "inner", uring.timeout(0, forever)
      end)))
    end)
  end)

  it("may be in another of the same time: the outer one is named",
    function()
      completes(function()
        for _, seconds in ipairs { 0, 0.001 } do
          for depth = 1, 4 do
            local ended = {}
            local function nest(i)
              if i > depth then
                -- (all are over before the loop looks)
                local over = uring.now() + seconds
                while uring.now() <= over do end
                forever()
              end
              local out = pack(uring.timeout(seconds, nest, i + 1))
              ended[#ended + 1] = i
              return table.unpack(out, 1, out.n)
            end
            assert.same(timed_out, pack(nest(1)))
            assert.same({ 1 }, ended)
            uring.sleep(0)
          end
        end
      end)
    end)

  it("gives f's results even if they are late", function()
    completes(function()
      local caught
      assert.same({ "late", 2 }, { uring.timeout(0.001, function()
        caught = select(2, pcall(forever))
        return "late", 2
      end) })
      assert.equal(uring.cancelled, caught)
      -- f has not noticed at all
      assert.same({ "late" }, { uring.timeout(0, function()
        spec.sleep(0.002)
        return "late"
      end) })
    end)
  end)

  it("passes f's own errors on, late or not", function()
    completes(function()
      local value = {}
      for _, late in ipairs { false, true } do
        local ok, err = pcall(uring.timeout, 0.001, function()
          if late then pcall(forever) end
          error(value)
        end)
        assert.same({ false, value }, { ok, err })
        assert.equal(value, err)
        ok, err = pcall(uring.timeout, 0.001, function()
          if late then pcall(forever) end
          error("timed out", 0)
        end)
        assert.same({ false, "timed out" }, { ok, err })
      end
    end)
    -- with the place where it was raised
    local function thrower() error "boom" end
    local why = helper.raises("boom", uring.run, function()
      uring.timeout(20, function() thrower() return 1 end)
    end)
    assert.truthy(why:find("'thrower'", 1, true), why)
  end)

  it("is not reported by a task that others have cancelled", function()
    completes(function()
      local t = uring.spawn(function()
        return uring.timeout(20, forever)
      end)
      uring.sleep(0)
      uring.sleep(0)
      t:cancel "others"
      assert.same({ n = 3, nil, "the task was cancelled", E.ECANCELED },
        pack(t:join()))
      -- both: a cancelled task is cancelled, and not told of the time
      t = uring.spawn(function()
        return uring.timeout(0.001, function()
          pcall(forever)
          uring.current():cancel()
          uring.sleep(0)
        end)
      end)
      assert.equal(E.ECANCELED, (select(3, t:join())))
    end)
  end)

  it("returns when f has ended: cleanup may wait", function()
    completes(function()
      local log = {}
      assert.same(timed_out, pack(uring.timeout(0.001, function()
        local _ <close> = finally(function()
          assert.is_false(pcall(uring.sleep, 0))
          uring.shield(20, uring.sleep, 0.005)
          log[#log + 1] = "cleaned up"
        end)
        forever()
      end)))
      assert.same({ "cleaned up" }, log)
    end)
  end)

  it("returns when the kernel has let go of f's operation", function()
    local r, w = spec.pipe()
    completes(function()
      local ring <close> = assert(uring.ring())
      local buffer = uring.buffer(16)
      for _, seconds in ipairs { 0, 0.001 } do
        for _, wait in ipairs {
          function() uring.await(uring.sqe():prep_read(r, buffer)) end,
          function()
            uring.loop():ring():await_chain {
              uring.sqe():prep_read(r, buffer), uring.sqe():prep_nop() }
          end,
          function() ring:await(uring.sqe():prep_read(r, buffer)) end,
        } do
          assert.same(timed_out, pack(uring.timeout(seconds, wait)))
          assert.equal(0, in_flight())
          assert.equal(0, helper.lawful(ring).in_flight)
          assert(buffer:resize(16))
        end
      end
      -- nothing was read meanwhile
      spec.write(w, "abc")
      assert.equal(3, (uring.await(uring.sqe():prep_read(r, buffer))))
    end)
    spec.close(r)
    spec.close(w)
  end)

  it("that f has not used up ends with f", function()
    completes(function()
      for _, call in ipairs { uring.timeout, uring.shield } do
        for _ = 1, 20 do call(0.002, function() end) end
        pcall(call, 0.002, error)
        helper.collect()
        -- (nor does it end what begins afterwards)
        call(20, uring.sleep, 0.005)
      end
    end)
  end)

  it("around a scope ends the scope, too", function()
    completes(function()
      local ended = 0
      local function clean() ended = ended + 1 end
      assert.same(timed_out, pack(uring.timeout(0.002, uring.scope,
        function(scope)
          for _ = 1, 3 do
            scope:spawn(function()
              local _ <close> = finally(clean)
              forever()
            end)
          end
        end)))
      assert.equal(3, ended)
      -- a task's error in it wins
      local ok, err = pcall(uring.timeout, 0.001, uring.scope,
        function(scope)
          scope:spawn(function()
            local _ <close> = finally(function() error "late" end)
            forever()
          end)
        end)
      assert.is_false(ok)
      assert.truthy(err:find "late")
    end)
  end)

  it("is no scope: tasks that f spawns go on", function()
    completes(function()
      local t
      assert.same(timed_out, pack(uring.timeout(0.001, function()
        t = uring.spawn(function() uring.sleep(0.003) return "on" end)
        forever()
      end)))
      assert.same({ true, "on" }, { t:join() })
    end)
  end)

  it("ends any wait, of which nothing is left behind", function()
    completes(function()
      local channel, semaphore = uring.channel(), uring.semaphore(0)
      local task = uring.spawn(function() channel:receive() end)
      uring.sleep(0)
      uring.sleep(0)
      for _, wait in ipairs {
        function() channel:send(1) channel:send(2) end,
        function() semaphore:acquire() end,
        function() task:join() forever() end,
        function() uring.select { uring.after(20) } end,
        function() uring.loop():ring():receive() end,
        function() uring.event(forever) uring.select {
          uring.event(forever) } end,
      } do
        assert.same(timed_out, pack(uring.timeout(0.001, wait)))
      end
      assert.same({ nil, "send: the channel is full", E.EAGAIN },
        { channel:try_send(3) })
      semaphore:release()
      assert.equal(semaphore, semaphore:try_acquire())
    end)
  end)

  it("may be one of a thousand at once, each in its own time", function()
    completes(function()
      local n = 0
      for i = 1, 1000 do
        uring.spawn(function()
          local ok = uring.timeout(i % 5 * 0.002, uring.timeout,
            (i + 2) % 5 * 0.002, forever)
          assert(not ok)
          n = n + 1
        end)
      end
      repeat uring.sleep(0.002) until n == 1000
    end)
  end)

  it("runs with all garbage collected between any two lines", function()
    helper.each_step_gc(function()
      completes(function()
        for _ = 1, 3 do
          assert.same(timed_out, pack(uring.timeout(0.001, uring.scope,
            function(scope)
              scope:spawn(uring.timeout, 20, forever)
              scope:spawn(uring.shield, 0.002, uring.sleep, 0.001)
            end)))
        end
      end)
    end)
  end)
end)

describe("uring.shield", function()
  it("gives f's results and errors", function()
    completes(function()
      assert.same({ n = 3, 1, nil, nil }, pack(uring.shield(1, function(...)
        uring.sleep(0)
        return ...
      end, 1, nil, nil)))
      local value = {}
      assert.same({ false, value }, { pcall(uring.shield, 1, error, value) })
    end)
    helper.raises("uring.run", uring.shield, 1, print)
  end)

  it("lets a cancelled task wait, and no longer", function()
    completes(function()
      local log = {}
      local t = uring.spawn(function()
        uring.current():cancel()
        uring.shield(20, function()
          uring.sleep(0.001)
          log[1] = uring.scope(function(scope)
            return select(2, scope:spawn(function()
              uring.sleep(0)
              return "in a scope"
            end):join())
          end)
          log[2] = uring.current():reason() == nil
        end)
        log[3] = select(2, pcall(uring.sleep, 0)) == uring.cancelled
      end)
      t:join()
      assert.same({ "in a scope", true, true }, log)
    end)
  end)

  it("hides a cancel that comes meanwhile until it ends", function()
    completes(function()
      for _, how in ipairs { "task", "scope", "timeout", "sibling" } do
        local shielded, after
        pcall(uring.timeout, how == "timeout" and 0.001 or 20, uring.scope,
          function(scope)
            local t = scope:spawn(function()
              uring.timeout(how == "timeout" and 0.001 or 20, function()
                uring.shield(20, function()
                  uring.sleep(0.005)
                  shielded = true
                end)
                after = pcall(uring.sleep, 0)
              end)
            end)
            uring.sleep(0.001)
            if how == "task" then t:cancel() end
            if how == "scope" then scope:cancel() end
            if how == "sibling" then error {} end
          end)
        assert.is_true(shielded)
        assert.is_false(after)
      end
    end)
  end)

  it("ends when its time is over, in a cancelled task", function()
    completes(function()
      local log = {}
      local t = uring.spawn(function()
        local _ <close> = finally(function()
          log[1] = select(2, pcall(uring.shield, 0.002, forever))
          log[2] = select(2, pcall(uring.sleep, 0))
          log[3] = select(2, pcall(uring.shield, 0, forever))
          log[4] = pcall(uring.shield, 1, uring.sleep, 0)
        end)
        forever()
      end)
      uring.sleep(0)
      uring.sleep(0)
      t:cancel()
      t:join()
      assert.same({ uring.cancelled, uring.cancelled, uring.cancelled, true },
        log)
      -- and is nothing to one that is not
      assert.equal(5, (uring.shield(0, function()
        uring.sleep(0.002)
        return 5
      end)))
    end)
  end)

  it("does not hide a cancel inside it", function()
    completes(function()
      local t = uring.spawn(function()
        uring.current():cancel()
        return uring.shield(20, function()
          assert.same(timed_out, pack(uring.timeout(0.001, forever)))
          assert.same({ nil, "the scope was cancelled: in", E.ECANCELED },
            { uring.scope(function(scope)
              scope:cancel "in"
              forever()
            end) })
          uring.sleep(0)
          return "well"
        end)
      end)
      assert.same({ true, "well" }, { t:join() })
    end)
  end)

  it("may be in another, each for its own time", function()
    completes(function()
      local caught
      local t = uring.spawn(function()
        uring.current():cancel()
        uring.shield(0.001, function()
          caught = select(2, pcall(uring.shield, 0.003, forever))
          pcall(uring.sleep, 0)
        end)
      end)
      t:join()
      assert.equal(uring.cancelled, caught)
    end)
  end)
end)
