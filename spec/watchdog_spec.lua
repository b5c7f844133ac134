-- The watchdog: tasks that run for too long without waiting.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

local SLOW <const> = 0.01

-- Runs f under a watchdog; what that was told.
local function watched(f, on_slow, ...)
  local told = {}
  uring.run({ name = "main", slow = SLOW, main = f,
    on_slow = function(task, seconds, traceback)
      told[#told + 1] = { task = task, seconds = seconds,
        traceback = traceback }
      if on_slow then on_slow(task, seconds, traceback) end
    end }, told, ...)
  return told
end

-- Those that were told of for what these words say; a busy machine can have
-- kept any other from the processor for too long.
local function of(told, words)
  local n, text = 0, ""
  for _, t in ipairs(told) do
    if t.traceback:find(words, 1, true) then
      n, text = n + 1, text .. t.traceback
    end
  end
  return n, text
end

-- Until this is true, which takes longer than is allowed.
local function busy_until(f)
  local limit = uring.now() + 10
  while not f() do assert(uring.now() < limit, "nothing was said") end
end

-- The same, in turns.
local function busy_turns(f)
  local limit = uring.now() + 10
  while not f() do
    assert(uring.now() < limit, "nothing was said")
    uring.sleep(0)
  end
end

after_each(function()
  debug.sethook()
  helper.idle_loop()
end)

describe("the watchdog", function()
  it("names a busy task, while it is busy, with its traceback", function()
    local task
    local function is_its(t) return t.task == task end
    local told = watched(function(all)
      local function culprit()
        busy_until(function() return all[1] and is_its(all[#all]) end)
      end
      task = uring.spawn { name = "culprit's task", main = culprit }
      task:join()
    end)
    local its = {}
    for _, t in ipairs(told) do
      if is_its(t) then its[#its + 1] = t end
    end
    assert.equal(1, #its)
    told = its[1]
    assert.truthy(told.seconds >= SLOW and told.seconds < 10 * helper.slow)
    assert.truthy(told.traceback:find("task 2 'culprit's task' has run for",
      1, true), told.traceback)
    assert.truthy(told.traceback:find("'culprit'", 1, true)
      or told.traceback:find("spec/watchdog_spec.lua", 1, true))
    assert.falsy(told.traceback:find("just stopped", 1, true))
  end)

  it("names a task once for each time that it runs", function()
    local told = watched(function(all)
      for i = 1, 3 do
        busy_until(function() return #all >= i end)
        local more = uring.now() + 2 * SLOW
        while uring.now() < more do end
        uring.sleep(0)
      end
    end)
    assert.equal(3, #told)
  end)

  it("finds a call that blocks when the task has stopped", function()
    local told = watched(function()
      spec.sleep(3 * SLOW)
      uring.sleep(0)
      uring.spawn(function() spec.sleep(3 * SLOW) end)
    end)
    assert.equal(2, #told)
    assert.truthy(told[1].traceback:find("it has just stopped there", 1, true))
    assert.truthy(told[1].traceback:find("spec/watchdog_spec.lua", 1, true))
    assert.equal("done", told[2].task:status())
  end)

  it("names a task that has ended by where it was spawned", function()
    local log, places = {}, {}
    pcall(watched, function()
      local line = debug.getinfo(1, "l").currentline
      for i, main in ipairs {
        function() spec.sleep(3 * SLOW) end,
        function()
          uring.sleep(0)
          uring.wrap(spec.sleep)(3 * SLOW)
          error { mine = true }
        end,
        function()
          pcall(uring.sleep, 60)
          spec.sleep(3 * SLOW)
          uring.sleep(60)
        end,
        function()
          spec.sleep(3 * SLOW)
          coroutine.yield()
        end
      } do
        uring.sleep(0)
        pcall(uring.scope, function()
          local task = uring.spawn(main)
          uring.sleep(0)
          if i == 3 then task:cancel() end
          task:join()
        end)
        places[i] = ("spec/watchdog_spec.lua:%d"):format(line + 21)
      end
    end, function(task, _, traceback)
      if not traceback:find("and has ended", 1, true) then return end
      log[#log + 1] = task:status()
      assert.same({}, { select(2, table.unpack(uring.tasks())) })
      local text, place = traceback:match(
        "^(task %d+%.%d has run for %S+ s without waiting %(and has ended%))"
        .. "\n\t%(a task spawned at (%S+)%)$")
      assert.truthy(text, traceback)
      places[#places + 1] = place
    end)
    assert.same({ "done", "failed", "cancelled", "failed" }, log)
    for i = 1, 8, 2 do assert.equal(places[i], places[i + 1]) end
  end)

  it("has no place for one that has ended and that no line has spawned",
    function()
      local told = watched(function()
        local loop = uring.loop()
        coroutine.wrap(loop.spawn)(loop, spec.sleep, 3 * SLOW)
        uring.sleep(0)
      end)
      local n, text = of(told, "and has ended")
      assert.equal(1, n)
      assert.truthy(text:find "%(and has ended%)\n\t%(a task spawned at %?%)$",
        text)
    end)

  it("looks through uring.wrap where a task has stopped in it", function()
    local told = watched(function()
      uring.wrap(function()
        local function deepest()
          spec.sleep(3 * SLOW)
          uring.sleep(0)
        end
        deepest()
      end)()
    end)
    assert.equal(1, #told)
    assert.truthy(told[1].traceback:find("in upvalue 'deepest'", 1, true)
      or told[1].traceback:find("in local 'deepest'", 1, true),
      told[1].traceback)
    assert.truthy(told[1].traceback:find "\n\t%(a task spawned at %S+%)$")
  end)

  it("looks into coroutines, plain and wrapped", function()
    for _, wrap in ipairs { coroutine.wrap, uring.wrap } do
      local told = watched(function(all)
        wrap(function()
          busy_until(function() return #all > 0 end)
        end)()
      end)
      assert.equal(1, #told)
    end
  end)

  it("names a task that swallows its cancellation", function()
    local told = watched(function(all)
      local t = uring.spawn { name = "glutton", main = function()
        repeat pcall(uring.sleep, 60) until #all > 0
      end }
      uring.sleep(0)
      t:cancel()
      t:join()
    end)
    assert.equal(1, #told)
    assert.truthy(told[1].traceback:find("'glutton' has run for", 1, true))
    assert.truthy(told[1].traceback:find("although it was cancelled: does it "
      .. "catch uring.cancelled?", 1, true))
  end)

  it("names a task that does so in shielded turns, once", function()
    local stop
    local told = watched(function(all)
      local function swallow()
        repeat
          pcall(uring.sleep, 60)
          uring.shield(60, uring.sleep, 0)
        until stop
      end
      local one = uring.spawn { name = "glutton", main = swallow }
      local other = uring.spawn(function() uring.timeout(0.001, swallow) end)
      uring.sleep(0)
      one:cancel()
      busy_turns(function() return of(all, "has gone on") == 2 end)
      local more = uring.now() + 3 * SLOW
      while uring.now() < more do uring.sleep(0) end
      stop = true
      assert.same({ true, "done" }, { one:join(), one:status() })
      assert.is_true(other:join())
    end)
    local n, text = of(told, "has gone on")
    assert.equal(2, n)
    assert.truthy(told[1].seconds >= SLOW)
    assert.truthy(text:find("'glutton' has gone on for %S+ s, although it was "
      .. "cancelled: does it catch uring.cancelled%? %(it has just stopped "
      .. "there%)"), text)
    assert.truthy(text:find("in function <spec/watchdog_spec.lua:", 1, true),
      text)
  end)

  it("takes no task that cleans up, or whose timeout is over, for one that "
    .. "swallows its cancellation", function()
    assert.equal(0, (of(watched(function()
      local t = uring.spawn(function()
        local _ <close> = helper.finally(function()
          uring.shield(60, function()
            for _ = 1, 6 do uring.sleep(SLOW / 2) end
          end)
          pcall(uring.sleep, 60)
        end)
        uring.sleep(60)
      end)
      uring.sleep(0)
      t:cancel()
      for _ = 1, 10 do uring.timeout(SLOW / 4, uring.sleep, 60) end
      t:join()
    end), "has gone on")))
  end)

  it("names a task that never waits, whatever hook there is", function()
    local told = watched(function(all)
      local t = uring.spawn(function()
        debug.sethook(function() end, "", 100)
        repeat pcall(uring.sleep, 60) until #all > 0
        debug.sethook()
      end)
      uring.sleep(0)
      t:cancel()
      t:join()
    end)
    local n, text = of(told, "has run for")
    assert.equal(1, n)
    assert.truthy(text:find("although it was cancelled: does it catch "
      .. "uring.cancelled? uring.pcall lets it through", 1, true), text)
  end)

  it("does not name a task that waits", function()
    assert.same({}, watched(function()
      for _ = 1, 5 do uring.sleep(SLOW) end
      uring.spawn(uring.sleep, 3 * SLOW):join()
    end))
  end)

  it("leaves a hook of the program alone", function()
    local hooked = 0
    local told = watched(function()
      debug.sethook(function() hooked = hooked + 1 end, "", 100)
      local stop = uring.now() + 3 * SLOW
      while uring.now() < stop do end
      local f, mask, count = debug.gethook()
      assert.same({ "function", "", 100 }, { type(f), mask, count })
      uring.sleep(0)
      assert.equal(f, (debug.gethook()))
      debug.sethook()
    end)
    -- then it is found when it has stopped
    assert.equal(1, #told)
    assert.truthy(hooked > 0)
    assert.truthy(told[1].traceback:find("just stopped", 1, true))
  end)

  it("raises an error of on_slow in the task, which it can end", function()
    local why = helper.raises("enough", uring.run, {
      slow = SLOW, on_slow = function() error "enough" end,
      main = function()
        while true do end
      end,
    })
    assert.truthy(why:find("spec/watchdog_spec.lua", 1, true))
    -- if the task has stopped, it is the run's
    local cleaned
    helper.raises("enough", uring.run, {
      slow = SLOW, on_slow = function() error "enough" end,
      main = function()
        local _ <close> = setmetatable({}, { __close = function(_, err)
          cleaned = err == uring.cancelled
        end })
        spec.sleep(3 * SLOW)
        uring.sleep(60)
      end,
    })
    assert.is_true(cleaned)
    uring.run(function() uring.sleep(0) end)
  end)

  it("has a function that cannot wait, but may call all else", function()
    local words, tasks = {}, nil
    watched(function(all)
      busy_until(function() return #all > 0 end)
      uring.sleep(0)
      spec.sleep(2 * SLOW)
      uring.sleep(0)
    end, function()
      words[#words + 1] = select(2, pcall(uring.sleep, 0))
      tasks = #uring.tasks()
      uring.channel(1):try_send(1)
      assert.truthy(uring.tree():find("'main'", 1, true))
    end)
    assert.equal(2, #words)
    assert.truthy(words[1]:find("cannot wait here", 1, true), words[1])
    assert.truthy(words[2]:find("under uring.run", 1, true), words[2])
    assert.equal(1, tasks)
  end)

  it("can cancel the task that it names", function()
    local ok, err
    uring.run { slow = SLOW, on_slow = function(task) task:cancel "slow" end,
      main = function()
        uring.scope(function(scope)
          local t = scope:spawn(function()
            local me = uring.current()
            ok, err = pcall(function()
              while true do
                if me:reason() then uring.sleep(0) end
              end
            end)
            err = { err, me:reason() }
          end)
          t:join()
        end)
      end }
    assert.is_false(ok)
    assert.same({ uring.cancelled, "slow" }, err)
  end)

  it("is for this run alone", function()
    local told = watched(function() end)
    uring.run(function()
      local stop = uring.now() + 3 * SLOW
      while uring.now() < stop do end
    end)
    uring.run(function() spec.sleep(3 * SLOW) end)
    assert.same({}, told)
    -- nor does one that was refused leave it behind
    helper.raises("'main' must be a function", uring.run, { slow = SLOW,
      on_slow = function() error "told" end })
    uring.run(function() spec.sleep(3 * SLOW) end)
    -- a coroutine that outlives the run
    local f
    watched(function()
      f = coroutine.wrap(function()
        coroutine.yield()
        local stop = uring.now() + 3 * SLOW
        while uring.now() < stop do end
      end)
      f()
    end)
    f()
    assert.same({}, told)
  end)

  it("has a bound and a function, or is refused", function()
    for _, bad in ipairs { 0, -1, 0 / 0, "1", true, {} } do
      helper.raises("'slow' must be seconds, more than 0", uring.run,
        { main = print, slow = bad, on_slow = print })
    end
    for _, bad in ipairs { 1, "x", {} } do
      helper.raises("'on_slow' must be a function", uring.run,
        { main = print, slow = 1, on_slow = bad })
    end
    helper.raises("'on_slow' must be a function", uring.run,
      { main = print, slow = 1 })
    helper.raises("did you mean 'slow'", uring.run,
      { main = print, slo = 1, on_slow = print })
  end)

  it("without a bound is told only of a task that ignores its cancellation",
    function()
      local names = {}
      uring.run {
        on_slow = function(task) names[#names + 1] = task.name end,
        main = function()
          spec.sleep(0.01)
          local task = uring.spawn { name = "deaf", main = function()
            local began = uring.now()
            repeat pcall(uring.sleep, 0) until #names > 0
              or uring.now() > began + 30
          end }
          uring.sleep(0)
          task:cancel()
          task:join()
        end,
      }
      assert.same({ "deaf" }, names)
      uring.run { main = uring.now, slow = math.huge, on_slow = print }
    end)

  it("of uring.loop is for every run that does not set its own", function()
    helper.apart(function()
      local loop, run = require "uring".loop, require "uring".run
      local sleep = require "uring_spec".sleep
      local log = {}
      local function say(word)
        return function() log[#log + 1] = word end
      end
      local function main() sleep(0.03) end
      assert(loop { slow = 0.01, on_slow = say "loop" })
      run(main)
      run { main = main, slow = 0.01, on_slow = say "run" }
      run { main = main, slow = 5, on_slow = say "never" }
      run(main)
      assert(table.concat(log, " ") == "loop run loop",
        table.concat(log, " "))
    end)
  end)
end)

-- These take as long as a task may go on that is cancelled: a second.
describe("without a watchdog", function()
  local before = [[
    warn "@on"
    local uring = require "uring"
    local function during(f)
      local limit = uring.now() + 1.2
      while uring.now() < limit do f() end
    end
    local function cancelled(main, name)
      local t = uring.spawn { main = main, name = name }
      uring.sleep(0)
      t:cancel()
      return t
    end
  ]]

  it("a task that swallows its cancellation is warned of, once", function()
    local output = helper.script_ok(before .. [[
      uring.run(function()
        local function wait() uring.sleep(60) end
        cancelled(function()
          during(function() pcall(wait) end)
        end, "never"):join()
        -- and one that is not, meanwhile
        uring.spawn(during, function() uring.timeout(0.05, wait) end)
        cancelled(function()
          during(function()
            pcall(wait)
            uring.shield(60, uring.sleep, 0.01)
          end)
        end, "now_and_then"):join()
      end)]])
    for _, name in ipairs { "never", "now_and_then" } do
      local words = ("uring: task %%d '%s' has gone on for 1%%.%%d+ s, "
        .. "although it was cancelled: does it catch uring.cancelled%%? "
        .. "uring.pcall lets it through"):format(name)
      local from, to = output:find(words)
      assert.truthy(from, output)
      assert.is_nil(output:find(words, to))
    end
    assert.is_nil(output:find("%d s, .*%d s, .*%d s, "), output)
    -- (5.4 says 'function', 5.5 'global')
    assert.truthy(output:find("in %a+ 'pcall'"), output)
  end)

  it("a task that cleans up is not warned of", function()
    assert.equal("", helper.script_ok(before .. [[
      uring.run(function()
        cancelled(function()
          pcall(uring.sleep, 60)
          pcall(uring.sleep, 60)
          uring.shield(60, uring.sleep, 1.1)
        end)
        during(function()
          uring.scope(function(scope)
            scope:cancel()
            pcall(uring.sleep, 60)
          end)
        end)
      end)]]))
  end)
end)

describe("uring.pcall", function()
  it("is pcall", function()
    local f = function(...) return ... end
    assert.same({ n = 4, true, 1, nil, 3 },
      table.pack(uring.pcall(f, 1, nil, 3)))
    local value = {}
    assert.same({ n = 2, false, value }, table.pack(uring.pcall(error, value)))
    -- (what an error of nil becomes is for each Lua to say)
    assert.same(table.pack(pcall(error)), table.pack(uring.pcall(error)))
    assert.is_false((uring.pcall(5)))
    helper.raises("bad argument #1 to 'pcall'", uring.pcall)
    assert.is_false((pcall(uring.pcall, error, uring.cancelled)))
  end)

  it("lets a cancelled task end, whatever its loop catches", function()
    helper.run(function()
      local n = 0
      local t = uring.spawn(function()
        while true do
          uring.pcall(function()
            n = n + 1
            if n % 2 == 0 then error "caught" end
            uring.sleep(n > 10 and 60 or 0)
          end)
        end
      end)
      uring.sleep(0)
      repeat uring.sleep(0) until n > 10
      t:cancel()
      assert.equal("the task was cancelled", select(2, t:join()))
      assert.equal(11, n)
      assert.same({ n = 3, nil, "timed out", uring.errno.ETIME },
        table.pack(uring.timeout(0.001, uring.pcall, uring.sleep, 60)))
    end)
  end)
end)
