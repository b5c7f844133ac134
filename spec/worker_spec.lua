-- Workers: threads with a Lua state, a loop and an inbox of their own. What
-- they are called with, what they give back, how they end, and the waits for
-- that.

local helper = require "helper"
local mailboxes = require "mailboxes"
local spec = require "uring_spec"
local uring = require "uring"

local ring_it = helper.needs_ring(it)
local E = uring.errno

local failed <const> = mailboxes.failed

-- The threads of this process.
local function threads()
  return tonumber(helper.content("/proc/self/status"):match "Threads:%s*(%d+)")
end

-- What f leaves running, or open, is an error. (A thread that was joined may
-- still be in the list for a moment; helper threads of the library stay.)
local function it(title, f)
  ring_it(title, function()
    local before = threads()
    uring.run(function() uring.loop() end)
    helper.keeps_fds(f)
    assert.equal(0, #uring.workers())
    helper.eventually(function() return threads() <= before end, 10)
  end)
end

after_each(helper.clean)

-- The worker fails, and says these words.
local function fails_with(words, w)
  local ok, why, errno = w:join()
  assert.is_nil(ok)
  assert.is_nil(errno)
  assert.truthy(why:find(words, 1, true), why)
end

local function worker(...) return assert(uring.worker(...)) end

describe("a worker", function()
  it("is called with its arguments, and joined with its results", function()
    helper.run(function()
      local w = worker(function(...) return select("#", ...), ... end,
        1, nil, "x", { 1, { 2.5 } }, false, nil)
      assert.same({ true, 6, 1, nil, "x", { 1, { 2.5 } }, false, nil, n = 8 },
        table.pack(w:join()))
      assert.equal("done", w:status())
      assert.same({ true, 6, 1, nil, "x", { 1, { 2.5 } }, false, nil, n = 8 },
        table.pack(w:join(0)))
      assert.same({ true, n = 1 }, table.pack(worker(function() end):join()))
    end)
  end)

  it("may be joined by several tasks, by a select, and with a timeout",
    function()
      helper.run(function()
        local w = worker { name = "sum", main = function()
          local sum = 0
          for n in uring.inbox():messages() do sum = sum + n end
          return sum
        end }
        assert.equal("sum", w.name)
        assert.equal("running", w:status())
        assert.truthy(tostring(w):find "'sum', running")
        failed(E.ETIME, "timed out", w:join(0))
        local one = uring.spawn(w.join, w)
        local two = uring.spawn(uring.select, { w = w:joining() })
        for i = 1, 1000 do assert(w:send(i)) end
        assert(w:close())
        assert.same({ true, true, 500500 }, { one:join() })
        assert.same({ true, "w", true, 500500 }, { two:join() })
      end)
    end)

  it("receives in its inbox, from this state and from others", function()
    helper.run(function()
      local answers = uring.mailbox { name = "answers" }
      local w = worker({ main = function(name)
        local to <close> = assert(uring.address(name))
        for i, text in uring.inbox():messages() do to:send(-i, text) end
      end, inbox = { capacity = 4 } }, "answers")
      local address <close> = w:address()
      uring.spawn(function()
        for i = 1, 100 do address:send(i, ("x"):rep(i)) end
        address:close()
        w:close()
      end)
      local n = 0
      for i, text in answers:messages() do
        n = n + 1
        assert.equal(-n, i)
        assert.equal(n, #text)
        if n == 100 then break end
      end
      assert(w:join())
      local s = w:stats()
      assert.equal(100, s.accepted)
      assert.equal(100, s.received)
      answers:close()
    end)
  end)

  it("gets descriptors, and gives them back", function()
    helper.run(function()
      local r, w = spec.pipe()
      local reader <close> = uring.fd(r)
      local writer <close> = uring.fd(w)
      local thread = worker(function(fd)
        local _ <close> = fd
        assert(uring.await(uring.sqe():prep_write(fd, "hello")) == 5)
        return uring.fd(assert(uring.await(
          uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null", 0))))
      end, writer)
      assert.is_true(pcall(writer.close, writer))  -- (it is not its own)
      local ok, file = thread:join()
      assert.is_true(ok)
      local _ <close> = file
      local buffer = uring.buffer(10)
      assert.equal(5, uring.await(uring.sqe():prep_read(reader, buffer)))
      assert.equal(0, uring.await(uring.sqe():prep_read(reader, buffer)))
    end)
  end)

  it("gets as many descriptors in a message as its inbox may hold", function()
    helper.run(function()
      local w <close> = worker { inbox = { fds = 40 }, main = function()
        local all = uring.inbox():receive()
        local n = #all
        for i = 1, n do all[i]:close() end
        return n
      end }
      local all = {}
      for i = 1, 41 do
        local one, other = uring.socketpair()
        all[i] = one
        other:close()
      end
      failed(E.EMSGSIZE, "40 descriptors", w:send(all))
      all[41]:close()
      all[41] = nil
      assert(w:send(all))
      assert.same({ true, 40 }, { w:join() })
    end)
  end)

  it("has the library, the paths and the realm of its parent", function()
    helper.run(function()
      local path = package.path
      local w = worker(function()
        return package.path, package.cpath, package.loaded.uring == uring,
          type(require "uring_spec".sleep), _VERSION
      end)
      assert.same({ true, path, package.cpath, true, "function", _VERSION },
        { w:join() })
    end)
  end)

  it("requires modules that its function has as upvalues", function()
    helper.run(function()
      local text <const> = string
      local w = worker(function(s)
        return text.upper(s), uring.now() > 0, text == string
      end, "x")
      assert.same({ true, "X", true, true }, { w:join() })
    end)
  end)

  it("requires modules that are functions or userdata, too", function()
    helper.run(function()
      local path = package.path
      finally(function() package.path = path end)
      for code, kind in pairs { ["return io.stdout"] = "userdata",
          ["return function(...) return ... end"] = "function" } do
        package.path = path .. ";" .. helper.file(code)
        local module <const> = require("a " .. kind)
        local w = worker(function() return type(module) end)
        assert.same({ true, kind }, { w:join() })
      end
    end)
  end)

  it("has no environment but the global table", function()
    helper.run(function()
      local own = { x = 1 }
      helper.mistake("worker function uses upvalue '_ENV': it is not the "
        .. "global table", uring.worker, load("return x", "=", "t", own))
      -- (one that may look up the globals stands for them)
      local w = worker(load("return x, string ~= nil", "=", "t",
        setmetatable(own, { __index = _G })))
      assert.same({ true, nil, true }, { w:join() })
    end)
  end)

  it("refuses other upvalues, and functions of C", function()
    helper.run(function()
      local log = {}
      helper.mistake("bad argument #1 to 'worker' (worker function uses "
        .. "upvalue 'log': pass it as an argument)", uring.worker,
        function() return log end)
      local function inner() end
      helper.mistake("worker function uses upvalue 'inner': it is a function: "
        .. "require it, or put it inside", uring.worker,
        function() return inner() end)
      helper.mistake("bad argument #1 to 'worker' (a function of Lua "
        .. "expected",
        uring.worker, print)
    end)
  end)

  it("refuses arguments that cannot travel, by their number", function()
    helper.run(function()
      helper.mistake("bad argument #3 to 'worker' (cannot send [1]: "
        .. "a function)", uring.worker, function() end, 1, { print })
      helper.mistake("bad argument #2 to 'worker' (cannot send", uring.worker,
        function() end, coroutine.create(print))
    end)
  end)

  it("says that its arguments or results are too large", function()
    helper.run(function()
      local half = 600 << 20  -- (of memory that is never touched)
      local given, one, other = pcall(function()
        return uring.buffer(half), uring.buffer(half)
      end)
      if not given then helper.skip("%s", one) end
      local _, why, errno = uring.worker(function() end, one, other)
      one, other = nil, nil  -- luacheck: ignore
      assert.equal(E.EMSGSIZE, errno)
      assert.truthy(why:find("its arguments count as more than", 1, true), why)
      collectgarbage()
      fails_with("the results count as more than", worker(function(size)
        return uring.buffer(size), uring.buffer(size)
      end, half))
    end)
  end)

  it("refuses options that it does not know, or that are wrong", function()
    helper.run(function()
      local function f() end
      for words, options in pairs {
        ["unknown option 'mian'"] = { mian = f },
        ["one of the options"] = {},
        ["one of the options 'main', "] = { main = f, module = "x" },
        ["option 'main' must be a function"] = { main = 1 },
        ["option 'name' must be a string"] = { main = f, name = 1 },
        ["option 'inbox': option 'capacity' must be an integer from 1"] = {
          main = f, inbox = { capacity = 0 } },
        ["option 'inbox': unknown option 'cap': the options are capacity, "
          .. "bytes"] = { main = f, inbox = { cap = 1 } },
        ["option 'ring': option 'entries'"] = { main = f,
          ring = { entries = 0 } },
        ["option 'memory'"] = { main = f, memory = "x" },
        ["option 'cancel' must be \"hook\""] = { main = f, cancel = true },
      } do
        helper.mistake(words, uring.worker, options)
      end
      helper.mistake("function or table expected, got number", uring.worker, 1)
    end)
  end)

  it("runs a file, or a module", function()
    helper.run(function()
      local name = helper.file "local n = ... return n, uring, n * 2"
      local w = worker({ file = name }, 21)
      assert.same({ true, 21, nil, 42 }, { w:join() })
      local of_module = worker({ module = "worker_module" }, 5)
      assert.same({ true, "main", 5 }, { of_module:join() })
      for words, options in pairs {
        ["module 'worker_modul' not found"] = { module = "worker_modul" },
        ["neither a function nor a table"] = { module = "string" },
        ["cannot open /nowhere.lua"] = { file = "/nowhere.lua" },
      } do
        fails_with(words, worker(options))
      end
    end)
  end)

  it("has its loop's and its memory's options", function()
    helper.run(function()
      local w = worker { ring = { entries = 8, cq_entries = 32, flags = 0 },
        main = function()
          return uring.loop():ring():flags() & uring.IORING_SETUP_DEFER_TASKRUN
        end }
      assert.same({ true, 0 }, { w:join() })
      fails_with("not enough memory", worker { memory = 4 << 20,
        main = function()
        local t = {}
        for i = 1, 1 << 30 do t[i] = ("x"):rep(1000) .. i end
        return t
      end })
    end)
  end)

  it("lets go of its arguments, though its state cannot be made", function()
    helper.run(function()
      for _, memory in ipairs { 1000, 100000 } do
        local box <close> = uring.mailbox()
        local near <close>, far = uring.socketpair()
        local w = worker({ memory = memory, main = function() end }, box, far)
        assert.is_true(uring.timeout(30, function()
          for _ in box:messages() do end
          return near:recv() == nil
        end))
        fails_with("not enough memory", w)
      end
    end)
  end)

  it("may run a long function", function()
    helper.run(function()
      local lines = {}
      for i = 1, 2000 do lines[i] = ("t[%d] = 'text %d'"):format(i, i) end
      local main = assert(load("local t = {}\n" .. table.concat(lines, "\n")
        .. "\nreturn #t, t[2000]"))
      assert.same({ true, 2000, "text 2000" }, { worker(main):join() })
    end)
  end)

  it("keeps its results from finalizers while they are received", function()
    helper.needs_eager_collector()
    -- (in a small state, whose collector comes often)
    local ok, calls, lost, n = assert(spec.state [[
      local uring = require "uring"
      return uring.run(function()
        local w = assert(uring.worker(function()
          local t = {}
          for i = 1, 10000 do t[i] = { "x" .. i } end
          return t
        end))
        local calls, failed, over = 0, 0, false
        local function garbage()
          setmetatable({}, { __gc = function()
            calls = calls + 1
            local ok, status = pcall(w.status, w)
            if ok and status == "failed" then failed = failed + 1 end
            if not over then garbage() end
          end })
        end
        garbage()
        collectgarbage("incremental", 1, 1000)
        while #uring.workers() > 0 do uring.sleep(0.001) end
        local n = #select(2, w:join())
        over = true
        return calls, failed, n
      end)]])
    assert.same({ true, 0, 10000 }, { ok, lost, n })
    assert(calls > 0)
  end)

  it("keeps them from finalizers that ask for them first", function()
    helper.needs_eager_collector()
    -- (in a small state, whose collector comes often)
    local ok, lost = assert(spec.state [[
      local uring = require "uring"
      collectgarbage("incremental", 1, 1000)
      return uring.run(function()
        local lost = 0
        for _ = 1, 20 do
          local w = uring.worker(function() return 1, 2, 3, 4, 5, 6 end)
          local told = false
          local function garbage()
            setmetatable({}, { __gc = function()
              told = told or w:status() ~= "running"
              if not told then garbage() end
            end })
          end
          garbage()
          if select("#", w:join()) ~= 7 then lost = lost + 1 end
          told = true
        end
        return lost
      end)]])
    assert.same({ true, 0 }, { ok, lost })
  end)

  it("keeps them until there is memory to receive them", function()
    local ok, problem = assert(spec.state [[
      local uring = require "uring"
      return uring.run(function()
        for n = 1, 1000 do
          local w
          pcall(uring.scope, function()
            w = uring.worker(function() return 1, 2, 3, 4, 5, 6 end)
            refuse(n, 2)
          end)
          local asked = refuse()
          local results = table.pack(w:join())
          if results.n ~= 7 then return n .. ": " .. results[2] end
          if asked < n then return end
        end
      end)]])
    assert.same({ true }, { ok, problem })
  end)

  it("is told of a mistake in its own state: names and inboxes", function()
    helper.raises("only a worker has an inbox", uring.inbox)
    helper.mistake("uring.worker waits, and only a task can wait",
      uring.worker, function() end)
  end)
end)


describe("the end of a worker", function()
  it("is told to its joiner: an error with both tracebacks", function()
    helper.run(function()
      local w = worker(function()
        local function inner() error "oops" end
        inner()
      end)
      local ok, why = w:join()
      assert.is_nil(ok)
      assert.truthy(why:find "^[^\n]*worker_spec.lua:%d+: oops\n", why)
      assert.truthy(why:find("'inner'", 1, true), why)
      assert.truthy(why:find("the worker was started there", 1, true), why)
      assert.equal("failed", w:status())
      ok, why = worker(function()
        local function inner() error { 1 } end
        inner()
      end):join()
      assert.is_nil(ok)
      assert.truthy(why:find "^%(error object: table: [^\n]*%)\n", why)
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
    helper.fails("worker_spec", function()
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
      assert.is_true(w:cancel "enough")
      assert.is_false(w:cancel())
      assert.same({ true, false, true, "enough", true }, { w:join() })
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
