-- Workers: threads with a Lua state, a loop and an inbox of their own. What
-- they are called with, what they are given and what they give back.

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
        ["option 'name' must have no zero byte"] = { main = f, name = "a\0b" },
        ["option 'file' must have no zero byte"] = { file = "a.lua\0b" },
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

  it("says that its own limit is why it has no memory", function()
    helper.run(function()
      local function grow()
        local t = {}
        for i = 1, 1 << 30 do t[i] = ("x"):rep(1000) .. i end
        return t
      end
      for _, memory in ipairs { 1, 100000, 4 << 20 } do
        fails_with("not enough memory: the worker's state has reached its "
          .. "limit, the option 'memory'\n", worker { memory = memory,
          main = grow })
      end
      fails_with("mine\n", worker { memory = 4 << 20, main = function()
        pcall(string.rep, "x", 8 << 20)
        error("mine", 0)
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
