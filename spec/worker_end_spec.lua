-- How workers end: by their function, an error, a cancel, their scope, the
-- state that has started them; and who is told.

local helper = require "helper"
local mailboxes = require "mailboxes"
local spec = require "uring_spec"
local uring = require "uring"
local workers = require "workers"

local it = workers.tidy(it)
local E = uring.errno
local worker <const> = workers.new

local failed <const>, fails_with <const> =
  mailboxes.failed, workers.fails_with

after_each(helper.clean)

describe("the end of a worker", function()
  it("is told to its joiner: an error with both tracebacks", function()
    helper.run(function()
      local w = worker(function()
        local function inner() error "oops" end
        inner()
      end)
      local begins = "stack traceback:\n\t%[C%]: in function 'error'\n"
      local ok, why = w:join()
      assert.is_nil(ok)
      assert.truthy(why:find("^[^\n]*worker_end_spec.lua:%d+: oops\n"
        .. begins), why)
      assert.truthy(why:find("'inner'", 1, true), why)
      assert.truthy(why:find("the worker was started there", 1, true), why)
      assert.equal("failed", w:status())
      ok, why = worker(function()
        local function inner() error { 1 } end
        inner()
      end):join()
      assert.is_nil(ok)
      assert.truthy(why:find("^%(error object: table: [^\n]*%)\n"
        .. begins), why)
      assert.truthy(why:find("'inner'", 1, true), why)
      assert.equal(2, select(2, why:gsub("stack traceback", "")), why)
      fails_with("error object: table", worker(function()
        uring.spawn(error, { 1 })
      end))
      fails_with("result #2: cannot send a function",
        worker(function() return 1, print end))
    end)
  end)

  it("is raised at the end of its scope, if no task was told", function()
    helper.fails("worker_end_spec", function()
      uring.scope(function()
        worker(function() error "early" end)
        uring.sleep(0.05)
      end)
    end)
    helper.fails("late", function()
      worker(function() error "late" end)
    end)
    -- and if it ends in the last turn of its scope
    helper.fails("last", function()
      uring.scope(function()
        local w = worker(function() error "last" end)
        repeat until w:status() == "failed"
      end)
    end)
    helper.run(function()
      uring.scope(function()
        local w = worker(function() error "told" end)
        assert.truthy(select(2, w:join()):find "told")
      end)
    end)
  end)

  it("is raised by its scope if that was cancelled since", function()
    local function fails() error "early" end
    -- its scope's task knows that it has failed
    local function is_known(name)
      for _, task in ipairs(uring.tasks()) do
        if task.name == name then return task.waits:find "Channel" end
      end
    end
    helper.fails("early", function()
      uring.scope(function(scope)
        worker { name = "early", main = fails }
        while not is_known "early" do uring.sleep(0.001) end
        scope:cancel()
      end)
    end)
    helper.run(function()
      failed(E.ECANCELED, "cancelled", uring.scope(function(scope)
        fails_with("early", worker(fails))  -- (told)
        scope:cancel()
      end))
      -- what one fails for because its scope was cancelled is no news
      failed(E.ECANCELED, "cancelled", uring.scope(function(scope)
        local box = uring.mailbox()
        local w = worker(function(to)
          while true do assert(to:send "more") end
        end, box)
        box:receive()
        scope:cancel()
        box:close()
        repeat until w:status() == "failed"
      end))
    end)
  end)

  it("leaves no task once it was told, whatever it was", function()
    helper.run(function()
      local before = #uring.tasks()
      for _, early in ipairs { true, false } do
        for _ = 1, 3 do
          local w = worker(function() error "oops" end)
          if not early then
            helper.eventually(function() return w:status() == "failed" end)
            uring.sleep(0)
          end
          fails_with("oops", w)
          w = worker(function() error "oops" end)
          local _, ok = uring.select { w:joining() }
          assert.is_nil(ok)
        end
      end
      for _ = 1, 3 do uring.sleep(0) end
      assert.equal(before, #uring.tasks())
    end)
  end)

  it("comes before its scope's, whose address its inbox loses", function()
    helper.run(function()
      local results = {}
      local w
      uring.scope(function()
        w = worker(function()
          local n = 0
          for _ in uring.inbox():messages() do n = n + 1 end
          return n
        end)
        for i = 1, 10 do w:send(i) end
      end)
      assert.equal("done", w:status())
      results[1], results[2] = w:join()
      assert.same({ true, 10 }, results)
      failed(E.EPIPE, "closed", w:address():try_send(1))
    end)
  end)

  it("raises the cancel of a task that starts one", function()
    for turns = 0, 3 do
      helper.run(function()
        local started, raised
        helper.raises("enough", uring.scope, function(scope)
          scope:spawn(function()
            local ok, why = pcall(function()
              started = table.pack(worker(function() uring.sleep(10) end))
              uring.sleep(10)
            end)
            raised = not ok and why
          end)
          for _ = 1, turns do uring.sleep(0) end
          error "enough"
        end)
        -- (a task that was cancelled before it began does nothing)
        if raised then assert.equal(uring.cancelled, raised) end
        assert(started == nil or started[1], started and started[2])
      end)
    end
  end)

  it("comes with the cancel of its scope", function()
    helper.run(function()
      local w
      failed(E.ETIME, "timed out", uring.timeout(0.05, uring.scope, function()
        w = worker(helper.forever)
        uring.sleep(100)
      end))
      assert.equal("cancelled", w:status())
      failed(E.ECANCELED, "the worker was cancelled", w:join())
      -- and while the scope waits for it
      failed(E.ETIME, "timed out", uring.timeout(0.05, uring.scope, function()
        w = worker(function() uring.sleep(100) end)
      end))
      assert.equal("cancelled", w:status())
    end)
  end)

  it("cancels no worker of a scope around it", function()
    helper.run(function()
      local outer = worker(function() return (uring.inbox():receive()) end)
      uring.scope(function()
        worker(function() uring.sleep(0.01) end)
      end)
      assert.equal("running", outer:status())
      outer:send(5)
      assert.same({ true, 5 }, { outer:join() })
    end)
  end)

  it("comes by a cancel, at its next wait", function()
    helper.run(function()
      local w = worker(function()
        local closed <close> = setmetatable({}, { __close = function()
          uring.shield(1, uring.sleep, 0.001)
        end })
        local task = uring.spawn(uring.sleep, 100)
        local ok, why = pcall(task.join, task)
        return ok, why == uring.cancelled, uring.current():reason(), closed
          and true
      end)
      uring.sleep(0.01)
      assert.is_true(w:cancel "enough\0 now")
      assert.is_false(w:cancel())
      assert.same({ true, false, true, "enough\0 now", true }, { w:join() })
      assert.is_false(w:cancel())
    end)
  end)

  it("comes by a cancel before it has begun", function()
    helper.run(function()
      for _ = 1, 20 do
        local w = worker(function() uring.sleep(100) end)
        assert.is_true(w:cancel())
        failed(E.ECANCELED, "cancelled", w:join())
      end
    end)
  end)

  it("comes by a cancel with a hook where it never waits, and its <close> "
    .. "variables run", function()
    helper.run(function()
      local box = uring.mailbox { name = "hooked" }
      local w = worker { cancel = "hook", main = function()
        local to <close> = assert(uring.address "hooked")
        local closed <close> = setmetatable({}, { __close = function()
          for i = 1, 1000000 do local _ = i end
          assert(to:try_send "closed")
        end })
        to:send "begun"
        local n = closed and 0
        while n < math.huge do n = n + 1 end
      end }
      assert.equal("begun", box:receive())
      w:cancel()
      failed(E.ECANCELED, "cancelled", w:join())
      assert.equal("closed", (box:receive(0)))
      box:close()
    end)
  end)

  it("comes by a hook soon, too, where functions of C take long", function()
    helper.run(function()
      local w = worker { cancel = "hook", main = function()
        local sleep = require("uring_spec").sleep
        while true do sleep(0.002) end
      end }
      uring.sleep(0.01)
      w:cancel()
      failed(E.ECANCELED, "cancelled", w:join(2.5 * helper.slow))
    end)
  end)

  it("comes by a hook in a coroutine, and not under a shield", function()
    helper.run(function()
      local w = worker { cancel = "hook", main = function()
        uring.shield(60, function()
          for i = 1, 3000000 do local _ = i end
        end)
        local ok, why = coroutine.resume(coroutine.create(function()
          while true do local _ = 1 end
        end))
        return ok, why == uring.cancelled
      end }
      uring.sleep(0.01)
      w:cancel()
      assert.same({ true, false, true }, { w:join() })
    end)
  end)

  it("comes by a hook in any task, whatever scope that is in", function()
    helper.run(function()
      local box = uring.mailbox()
      for _, kind in ipairs { "scope", "nested", "map", "detached" } do
        local w = worker({ cancel = "hook", main = function(to, how)
          local function busy()
            to:send "begun"
            while true do local _ = 1 end
          end
          local function scope() uring.spawn(busy) end
          if how == "scope" then uring.scope(scope)
          elseif how == "map" then uring.map(2, { 1 }, busy)
          elseif how == "nested" then
            uring.scope(function()
              uring.spawn(uring.timeout, 1000, uring.scope, scope)
            end)
          else
            uring.loop():spawn(busy)
            uring.sleep(1000)
          end
        end }, box, kind)
        assert.equal("begun", box:receive())
        w:cancel()
        failed(E.ECANCELED, "cancelled", w:join())
      end
    end)
  end)

  it("comes by a hook under a shield whose time is over", function()
    helper.run(function()
      for _, how in ipairs { "here", "in a task" } do
        local w = worker({ cancel = "hook", main = function(kind)
          local function busy()
            local stop <const> = uring.now() + 3
            while uring.now() < stop do local _ = 1 end
          end
          if kind == "here" then uring.shield(0.1, busy)
          else
            uring.shield(0.1, uring.scope, function() uring.spawn(busy) end)
          end
          return "whole"
        end }, how)
        uring.sleep(0.01)
        w:cancel()
        failed(E.ECANCELED, "cancelled", w:join())
      end
    end)
  end)

  it("leaves a shield alone, and the scopes in it", function()
    helper.run(function()
      local box = uring.mailbox()
      local w = worker({ cancel = "hook", main = function(to)
        uring.shield(1000, uring.scope, function()
          uring.spawn(function()
            to:send "begun"
            uring.inbox():receive()  -- its cancel has come when this has
            for i = 1, 200000 do local _ = i end
            to:send "whole"
          end)
        end)
        uring.sleep(1000)
      end }, box)
      assert.equal("begun", box:receive())
      w:cancel()
      w:send(1)
      assert.equal("whole", box:receive())
      failed(E.ECANCELED, "cancelled", w:join())
    end)
  end)

  it("disturbs no <close> variable by its hook, however the cancel came",
     function()
    helper.run(function()
      local box = uring.mailbox()
      for _, how in ipairs { "wait", "task", "coroutine", "shield" } do
        local w = worker({ cancel = "hook", main = function(to, kind)
          local function closing()
            return setmetatable({}, { __close = function()
              if kind == "shield" then uring.shield(10, uring.sleep, 0) end
              for i = 1, 200000 do local _ = i end
              to:try_send "closed"
            end })
          end
          local function wait()
            local _ <close> = closing()
            uring.sleep(1000)
          end
          if kind == "task" then
            uring.spawn(wait)
            uring.sleep(0)
            to:send "begun"
            while true do local _ = 1 end
          end
          to:send "begun"
          if kind == "coroutine" then
            local _ <close> = closing()
            coroutine.wrap(function()
              while true do local _ = 1 end
            end)()
          end
          wait()
        end }, box, how)
        assert.equal("begun", box:receive())
        w:cancel()
        failed(E.ECANCELED, "cancelled", w:join())
        assert.equal("closed", (box:receive(0)))
      end
    end)
  end)

  it("closes its inbox: what was not read is undelivered", function()
    helper.run(function()
      local w = worker(function() uring.inbox():receive() end)
      for i = 1, 10 do assert(w:send(i)) end
      assert(w:join())
      failed(E.EPIPE, "closed", w:try_send(1))
      local s = w:stats()
      assert.equal(s.accepted, s.received + s.undelivered)
      assert.equal(0, s.messages)
    end)
  end)

  it("refuses a sender that waits for room", function()
    helper.run(function()
      local w = worker { inbox = { capacity = 1 }, main = function()
        uring.sleep(0.05)
      end }
      assert(w:send(1))
      failed(E.EPIPE, "closed", w:send(2))
    end)
  end)
end)


describe("a state that closes", function()
  -- f in a state of its own, which is closed at once after that: what pcall
  -- gives.
  local function in_state(f, ...)
    return spec.state(string.dump(f), ...)
  end

  it("ends its workers, those of workers too, in any order", function()
    local ok, why = in_state(function()
      local library = require "uring"
      -- its tasks are where they wait when it closes
      local loop = library.loop()
      loop:spawn(function()
        for _ = 1, 3 do
          assert(library.worker(function()
            library.worker(function() library.sleep(100) end)
            library.inbox():receive()
          end))
        end
        error "out"
      end)
      loop:spawn(function()
        local kept = {}
        for i = 1, 3 do
          kept[i] = library.worker(function() library.sleep(100) end)
        end
        library.sleep(#kept * 100)
      end)
      for _ = 1, 50 do pcall(loop.step, loop) end
    end)
    assert.is_true(ok, why)
  end)

  it("leaves a worker that would not go to itself, and counts it", function()
    local before = select(2, uring.workers())
    local ok, why = in_state(function()
      local library = require "uring"
      local loop = library.loop()
      loop:spawn(function()
        assert(library.worker(function()
          require "uring_spec".sleep(2)
        end))
        library.sleep(100)
      end)
      for _ = 1, 10 do loop:step() end
      require "uring_spec".sleep(0.2)
    end)
    assert.is_true(ok, why)
    assert.equal(before + 1, select(2, uring.workers()))
    helper.eventually(function()
      return select(2, uring.workers()) == before
    end, 20)
  end)
end)


describe("a forked child", function()
  it("has none of its parent's workers", function()
    helper.run(function()
      local box <close> = uring.mailbox()
      local w = worker(function(to)
        to:send "ready"
        return (uring.inbox():receive())
      end, box)
      -- (a thread that allocates while the process forks leaves ASAN's child
      -- with a lock that is never freed)
      assert(box:receive())
      uring.sleep(0.02 * helper.slow)
      helper.in_child(function()
        for _, name in ipairs { "join", "cancel", "send", "try_send",
          "joining", "status", "address" } do
          helper.raises("belongs to another process", w[name], w, "x")
        end
        tostring(w)
        helper.run(function()
          assert.same({ true, 3 }, { worker(function() return 3 end):join() })
        end)
        w = nil
        helper.collect()
      end)
      w:send(1)
      assert.same({ true, 1 }, { w:join() })
    end)
  end)
end)
