-- Semaphores: so many at a time, and first come, first served.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local mistake <const> = helper.mistake

local turns <const> = helper.turns

after_each(helper.idle_loop)

describe("a semaphore", function()
  it("lets as many tasks go on at once as it has units", function()
    helper.run(function()
      local semaphore, inside, most = uring.semaphore(3), 0, 0
      uring.scope(function(scope)
        for _ = 1, 20 do
          scope:spawn(function()
            assert.equal(semaphore, semaphore:acquire())
            inside = inside + 1
            most = math.max(most, inside)
            uring.sleep(0.0005)
            inside = inside - 1
            semaphore:release()
          end)
        end
      end)
      assert.same({ 3, 0, 3 }, { most, inside, #semaphore })
      assert.equal("uring.Semaphore (3)", tostring(semaphore))
    end)
  end)

  it("serves first the task that came first", function()
    helper.run(function()
      local semaphore, order = uring.semaphore(0), {}
      for i = 1, 5 do
        uring.spawn(function()
          semaphore:acquire()
          order[#order + 1] = i
        end)
      end
      turns()
      semaphore:release()
      -- a task that comes now does not pass those that wait
      assert.is_nil((semaphore:try_acquire()))
      for _ = 1, 4 do semaphore:release() end
      turns()
      assert.same({ 1, 2, 3, 4, 5 }, order)
      assert.equal(0, #semaphore)
    end)
  end)

  it("is tried without waiting, outside of tasks too", function()
    local semaphore = uring.semaphore(1)
    assert.equal(semaphore, semaphore:try_acquire())
    assert.same({ n = 3, nil, "acquire: the semaphore is taken", E.EAGAIN },
      table.pack(semaphore:try_acquire()))
    semaphore:release()
    semaphore:release()
    assert.equal(2, #semaphore)
    mistake("under uring.run", semaphore.acquire, semaphore)
    for _, name in ipairs { "acquire", "try_acquire", "acquiring",
        "release" } do
      mistake("uring.Semaphore expected", semaphore[name], 5)
    end
    for _, n in ipairs { -1, 1.5, "1", {} } do
      mistake("integer expected", uring.semaphore, n)
    end
    mistake("integer expected", uring.semaphore)
  end)

  it("ends a wait after its timeout", function()
    helper.run(function()
      local semaphore = uring.semaphore(0)
      for _, seconds in ipairs { 0, 0.001 } do
        assert.same({ n = 3, nil, "timed out", E.ETIME },
          table.pack(semaphore:acquire(seconds)))
        assert.same({ n = 3, nil, "timed out", E.ETIME },
          table.pack(uring.timeout(seconds, semaphore.acquire, semaphore)))
        assert.same({ n = 3, nil, "timed out", E.ETIME },
          table.pack(uring.select({ semaphore:acquiring() }, seconds)))
      end
      semaphore:release()
      assert.equal(1, #semaphore)
      assert.equal(semaphore, semaphore:acquire(0))
      for _, bad in ipairs { -1, 0 / 0, "1" } do
        mistake("bad argument #2", semaphore.acquire, semaphore, bad)
      end
    end)
  end)

  it("is an event, and loses no unit to a loser", function()
    helper.run(function()
      local semaphore, other = uring.semaphore(1), uring.semaphore(1)
      for _ = 1, 20 do
        local key, won = uring.select { a = semaphore:acquiring(),
          b = other:acquiring() }
        assert.equal(key == "a" and semaphore or other, won)
        assert.equal(1, #semaphore + #other)
        won:release()
      end
      assert.equal("uring.Event (acquiring of uring.Semaphore (1))",
        tostring(semaphore:acquiring()))
    end)
  end)

  it("is released at the end of a block that holds it", function()
    helper.run(function()
      local semaphore = uring.semaphore(1)
      do
        local held <close> = semaphore:acquire()
        assert.equal(semaphore, held)
        local none <close> = semaphore:acquire(0)
        assert.is_nil(none)
        assert.equal(0, #semaphore)
      end
      assert.equal(1, #semaphore)
      local task = uring.spawn(function()
        local _ <close> = semaphore:acquire()
        uring.sleep(60)
      end)
      uring.sleep(0)
      task:cancel()
      task:join()
      assert.equal(1, #semaphore)
    end)
  end)

  it("gets back the unit of a task cancelled at any moment", function()
    helper.run(function()
      local semaphore = uring.semaphore(1)
      for i = 1, 60 do
        local tasks = {}
        for j = 1, 3 do
          tasks[j] = uring.spawn(function()
            if j == 2 then uring.select { semaphore:acquiring() }
            else semaphore:acquire() end
            local _ <close> = setmetatable({}, { __close = function()
              semaphore:release()
            end })
            uring.sleep(0)
          end)
        end
        turns(i % 5)
        tasks[i % 3 + 1]:cancel()
        for j = 1, 3 do tasks[j]:join() end
        assert.equal(1, #semaphore)
      end
    end)
  end)

  it("is part of a deadlock where no task can release it", function()
    helper.raises("acquiring of uring.Semaphore (0)", uring.run, function()
      uring.semaphore(0):acquire()
    end)
  end)
end)
