-- Calls: each is answered, refused, or told that no answer will come. The end
-- of a mailbox is told to its monitors, and what it had can be taken.

local faults = require "faults"
local helper = require "helper"
local mailboxes = require "mailboxes"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)
local E = uring.errno

local pair <const>, failed <const> = mailboxes.pair, mailboxes.failed

-- f(address, mailbox, server) in a task, beside a server of these handlers.
local function with_server(handlers, options, f)
  helper.run(function()
    local box <close> = uring.mailbox()
    local to <close> = box:address()
    local server = uring.spawn(box.serve, box, handlers, options)
    f(to, box, server)
    to:close()
    assert.same({ true, true }, { server:join(5) })
  end)
end

describe("a worker", function()
  it("is called, and its end is told", function()
    uring.run(function()
      local worker = assert(uring.worker(function()
        require "uring".inbox():serve {
          add = function(a, b) return a + b end,
          fail = function() error { code = 7 } end,
        }
      end))
      assert.equal(5, worker:call("add", 2, 3))
      local ok, why = pcall(worker.call, worker, "fail")
      assert.is_false(ok)
      assert.same({ code = 7 }, why)
      local over = worker:monitor()
      worker:close()
      assert.equal(1, (uring.select({ over }, 10 * helper.slow)))
      assert.is_true((worker:join(10 * helper.slow)))
    end)
  end)
end)

describe("address:call", function()
  it("gives the handler's results", function()
    with_server({
      add = function(a, b) return a + b end,
      nothing = function() end,
      echo = function(...) return ... end,
      [7] = function(t) return t.x end,
    }, nil, function(to)
      assert.equal(3, to:call("add", 1, 2))
      assert.equal(0, select("#", to:call "nothing"))
      assert.same({ n = 4, nil, "a", nil, nil },
        table.pack(to:call("echo", nil, "a", nil, nil)))
      assert.equal("seven", to:call(7, { x = "seven" }))
      local buffer = to:call("echo", uring.buffer "moved twice")
      assert.equal("moved twice", buffer:string())
    end)
  end)

  it("raises the handler's error, with the server's traceback", function()
    local value = { code = 5 }
    local strange = setmetatable({}, { __tostring = function()
      return "strange"
    end })
    with_server({
      text = function() error "in the handler" end,
      value = function() error(value) end,
      strange = function() error(strange) end,
      unsendable = function() return 1, print end,
      data = "no function", object = setmetatable({}, {}),
      callable = setmetatable({}, { __metatable = {},
        __call = function(_, x) return x end }),
    }, nil, function(to)
      local ok, e = pcall(to.call, to, "text")
      assert.is_false(ok)
      assert.truthy(e:find("call_spec.lua:%d+: in the handler\n"), e)
      assert.truthy(e:find("(in the server) stack traceback:", 1, true), e)
      ok, e = pcall(to.call, to, "value")
      assert.is_false(ok)
      assert.same(value, e)
      ok, e = pcall(to.call, to, "strange")
      assert.is_false(ok)
      assert.truthy(e:find "^strange\n", e)
      local _, why = pcall(to.call, to, "unsendable")
      assert.equal("result #2: cannot send a function", why)
      helper.raises("no handler 'unknown'", to.call, to, "unknown")
      helper.raises("no handler 'data'", to.call, to, "data")
      helper.raises("no handler 'object'", to.call, to, "object")
      assert.equal(7, to:call("callable", 7))
      helper.raises("cannot send .f: a function", to.call, to, "text",
        { f = print })
    end)
  end)

  it("is answered although the mailbox is full, and all others too",
    function()
      helper.run(function()
        local box <close> = uring.mailbox { capacity = 1 }
        local to <close> = box:address()
        local sum, calls = 0, {}
        for i = 1, 20 do
          calls[i] = uring.spawn(function()
            local twice = to:call("double", i)
            sum = sum + twice
          end)
        end
        helper.turns()
        assert.equal(1, box:stats().messages)
        uring.spawn(box.serve, box, { double = function(n) return 2 * n end })
        for i = 1, 20 do assert(calls[i]:join(5)) end
        assert.equal(420, sum)
        to:close()
      end)
    end)

  it("may have no values, also where it waits for space", function()
    helper.run(function()
      local box <close> = uring.mailbox { capacity = 1 }
      local to <close> = box:address()
      assert(to:try_send("text"))
      local call = uring.spawn(pcall, to.call, to)
      helper.turns()
      assert.equal(1, box:stats().waiting)
      assert.equal("text", box:receive())
      local server = uring.spawn(box.serve, box, {})
      local _, ok, why = call:join(5)
      assert.is_false(ok)
      assert.truthy(why:find("no handler 'nil'", 1, true), why)
      to:close()
      assert(server:join(5))
    end)
  end)

  it("gives EPIPE when the mailbox closes with the call in it", function()
    helper.run(function()
      local box, to = pair()
      local queued = helper.started(to.call, to, "never")
      assert.equal(1, box:stats().messages)
      box:close()
      failed(E.EPIPE, "before it answered", select(2, queued:join(5)))
      failed(E.EPIPE, "call: the mailbox is closed", to:call "never")
    end)
  end)

  it("gives EPIPE when the server ends while it serves", function()
    helper.run(function()
      local box <close> = uring.mailbox()
      local to <close> = box:address()
      local server = helper.started(box.serve, box, { wait = function()
        uring.sleep(60)
      end })
      local call = helper.started(to.call, to, "wait")
      helper.turns()
      server:cancel()
      server:join(5)
      failed(E.EPIPE, "its handler was cancelled", select(2, call:join(5)))
    end)
  end)

  it("gives EPIPE when its handler raises that it was cancelled", function()
    with_server({ stop = function() error(uring.cancelled) end }, nil,
      function(to)
        failed(E.EPIPE, "its handler was cancelled", to:call "stop")
      end)
  end)

  it("stays in the mailbox, in its order, when the server ends", function()
    helper.run(function()
      local box <close> = uring.mailbox()
      local to = box:address()
      local order = {}
      local function note(i)
        order[#order + 1] = i
        return i
      end
      local server = helper.started(box.serve, box, { wait = function()
        uring.sleep(60)
      end })
      helper.started(to.call, to, "wait")
      helper.turns()
      local first = helper.started(to.call, to, "note", 1)
      assert(to:send("note", 2))
      local last = helper.started(to.call, to, "note", 3)
      server:cancel()
      server:join(5)
      assert.equal(3, box:stats().messages)
      uring.spawn(box.serve, box, { note = note })
      assert.same({ true, 1 }, { first:join(5) })
      assert.same({ true, 3 }, { last:join(5) })
      assert.same({ 1, 2, 3 }, order)
      to:close()
    end)
  end)

  it("that times out or is cancelled cancels its handler, and no other",
    function()
      local began, reasons = 0, {}
      with_server({ wait = function()
        began = began + 1
        local ok, why = pcall(uring.sleep, 60)
        assert(not ok and why == uring.cancelled)
        reasons[#reasons + 1] = uring.current():reason()
        error(why, 0)
      end, quick = function() return "quick" end }, nil, function(to)
        local call = helper.started(uring.timeout, 0.02, to.call, to, "wait")
        helper.turns()
        assert.equal(1, began)
        failed(E.ETIME, "timed out", select(2, call:join(5)))
        assert.equal("quick", to:call "quick")
        call = helper.started(to.call, to, "wait")
        helper.turns()
        call:cancel()
        failed(E.ECANCELED, "cancelled", call:join(5))
        assert.equal("quick", to:call "quick")
        assert.equal(2, began)
        assert.same({ "its caller has gone", "its caller has gone" }, reasons)
      end)
    end)

  it("is not performed if its caller has gone before", function()
    helper.run(function()
      local box, to = pair()
      local names = {}
      local calls = {}
      for i = 1, 3 do calls[i] = helper.started(to.call, to, "note", i) end
      calls[2]:cancel()
      calls[2]:join(5)
      local server = helper.started(box.serve, box, { note = function(i)
        names[#names + 1] = i
        return i
      end })
      assert.same({ true, 1 }, { calls[1]:join(5) })
      assert.same({ true, 3 }, { calls[3]:join(5) })
      assert.same({ 1, 3 }, names)
      to:close()
      assert(server:join(5))
      local s = box:stats()
      assert.same({ 3, 3 }, { s.accepted, s.received })
    end)
  end)

  it("is performed by a handler that ends although its caller has gone",
    function()
      local ended
      with_server({ wait = function()
        uring.shield(5, function()
          pcall(uring.sleep, 0.01)
          ended = true
        end)
        return uring.buffer "for nobody"
      end, quick = function() return "quick" end }, nil, function(to)
        local call = helper.started(to.call, to, "wait")
        helper.turns()
        call:cancel()
        assert.equal("quick", to:call "quick")
        assert.is_true(ended)
      end)
    end)

  -- luacheck: globals T
  faulty("closes the descriptor in an answer for which there is no memory",
    function()
      -- luacheck: ignore uring spec
      local uring, spec = require "uring", require "uring_spec"
      uring.run(function()
        local box <close> = uring.mailbox()
        local to <close> = box:address()
        local moved
        uring.daemon(function()
          local handlers = { f = function() return moved, { "x" } end }
          repeat until uring.pcall(box.serve, box, handlers)
        end)
        T.turns()
        T.collect()
        local fds, n, refused, made = T.fds(), 0, 0
        repeat
          n = n + 1
          moved = uring.fd(spec.dup(1))
          T.fault.alloc(n, 2)  -- (Lua asks twice)
          local ok, fd = pcall(to.call, to, "f")
          made = T.fault.alloc()
          if ok and fd then fd:close() else refused = refused + 1 end
          pcall(moved.close, moved)  -- (if it was not sent)
          fd, moved = nil, nil  -- luacheck: ignore
          T.collect()
          T.equal(fds, T.fds())
        until made < n
        assert(refused > 5, refused)
      end)
    end)

  it("gives a descriptor back that its answer could not carry away",
    function()
      helper.keeps_fds(function()
        local kept
        with_server({ wait = function(fd)
          kept = fd
          uring.shield(5, pcall, uring.sleep, 0.01)
          return fd
        end, quick = function() return "quick" end }, nil, function(to)
          local out, into = helper.pipe()
          into = uring.fd(into)
          into:close()
          local call = helper.started(to.call, to, "wait", uring.fd(out))
          helper.turns()
          call:cancel()
          assert.equal("quick", to:call "quick")
          assert.equal(out, kept:fileno())
          kept:close()
        end)
      end)
    end)

  -- The order in which tasks run in one turn: what was linked for the other
  -- side in that turn is served only after it.
  for _, first in ipairs { "server", "caller" } do
    it(("may end by both sides in a turn, the %s first"):format(first),
      function()
        helper.run(function()
          local box, to = pair()
          local go, collect = uring.channel(1), uring.channel(1)
          local server = helper.started(box.serve, box, { wait = function()
            go:receive()
          end })
          local call = helper.started(to.call, to, "wait")
          local collector = helper.started(function()
            collect:receive()
            helper.collect()
          end)
          helper.turns()
          if first == "server" then go:send(true) end
          call:cancel()
          if first == "caller" then go:send(true) end
          collect:send(true)
          assert(collector:join(5))
          failed(E.ECANCELED, "cancelled", call:join(5))
          to:close()
          assert(server:join(5))
        end)
      end)
  end

  it("leaves nothing, answered or left", function()
    with_server({ wait = function() uring.sleep(60) end,
      text = function() return ("x"):rep(5000), { 1 } end,
    }, { tasks = 3 }, function(to, box)
      local function some(n)
        for _ = 1, n do
          local call = helper.started(to.call, to, "wait")
          helper.turns(math.random(0, 3))
          call:cancel()
          call:join()
          assert.equal(5000, #to:call "text")
        end
        helper.collect()
        return uring.loop():stats().memory, collectgarbage "count"
      end
      local memory, kib = some(20)
      local after, kib_after = some(200)
      assert.equal(memory, after)
      assert(kib_after - kib < 40, kib_after - kib)
      assert.equal(1, box:stats().senders)
    end)
  end)

  it("counts its answer before, where memory is bounded", function()
    helper.script_ok [[
      local uring = require "uring"
      local E = uring.errno
      uring.loop { memory = 1 << 20 }
      uring.run(function()
        local box = uring.mailbox()
        local to = box:address()
        box:receive(0.0001)  -- (the loop's doorbell counts, too)
        local before = uring.loop():stats().memory
        local calls, refused = {}, 0
        for i = 1, 30 do
          calls[i] = uring.spawn(function()
            local ok, why, errno = to:call("size", i * 4000)
            if not ok then
              assert(errno == E.ENOMEM and why:find "65536 bytes", why)
              refused = refused + 1
            end
            return ok
          end)
        end
        for _ = 1, 3 do uring.sleep(0) end
        assert(refused > 10 and refused < 30, refused)
        assert(uring.loop():stats().memory > before + 65536 * (29 - refused))
        local server = uring.spawn(box.serve, box, {
          size = function(n) return ("x"):rep(n) end })
        for _, call in ipairs(calls) do
          local ok, text = call:join()
          assert(not ok or not text or #text % 4000 == 0)
        end
        local ok, why = pcall(to.call, to, "size", 70000)
        assert(not ok and why:find "more than 65536 bytes", why)
        assert(#to:call("size", 60000) == 60000)
        calls = nil  -- (on 5.5 a large string has its message's memory)
        collectgarbage()
        collectgarbage()
        assert(uring.loop():stats().memory <= before + 4096)
        to:close()
        assert(server:join())
      end)
    ]]
  end)

  it("is answered with an error where it is received, and passed over",
    function()
      helper.run(function()
        local box, to = pair()
        local call = uring.spawn(function()
          return pcall(to.call, to, "x")
        end)
        helper.turns()
        to:send "plain"
        assert.equal("plain", box:receive())
        local _, ok, e = call:join(5)
        assert.is_false(ok)
        assert.truthy(e:find("is not served", 1, true), e)
        call = uring.spawn(function() return pcall(to.call, to, "x") end)
        helper.turns()
        failed(E.EAGAIN, "no message", box:try_receive())
        assert.is_false((select(2, call:join(5))))
        local s = box:stats()
        assert.equal(s.accepted, s.received)
      end)
    end)
end)

describe("mailbox:serve", function()
  it("serves as many calls at a time as it has tasks", function()
    for tasks = 1, 3 do
      local now, most = 0, 0
      with_server({ f = function()
        now = now + 1
        most = math.max(most, now)
        uring.sleep(0.001)
        now = now - 1
      end }, { tasks = tasks }, function(to)
        local calls = {}
        for i = 1, 6 do calls[i] = uring.spawn(to.call, to, "f") end
        for i = 1, 6 do assert(calls[i]:join(5)) end
      end)
      assert.equal(tasks, most)
    end
  end)

  it("gives plain messages to the handlers as well", function()
    local got, errors = {}, {}
    with_server({ note = function(...) got[#got + 1] = { ... } end,
      fail = function() error "told" end,
    }, { on_error = function(e, trace)
      errors[#errors + 1] = { e, trace }
    end }, function(to)
      to:send("note", 1, 2)
      to:send "fail"
      to:send "unknown"
      to:call "note"
    end)
    assert.same({ { 1, 2 }, {} }, got)
    assert.truthy(errors[1][1]:find "told")
    assert.truthy(errors[1][2]:find("stack traceback", 1, true))
    assert.truthy(errors[2][1]:find "no handler 'unknown'")
    helper.run(function()
      local box, to = pair()
      to:send "unknown"
      helper.raises("no handler 'unknown'", box.serve, box, {})
      box:close()
    end)
  end)

  it("goes on though the table of handlers raises for a name", function()
    local handlers = setmetatable({ f = function() return 1 end }, {
      __index = function(_, name) error("no such thing: " .. name) end })
    with_server(handlers, nil, function(to)
      helper.raises("no such thing: g", to.call, to, "g")
      assert.equal(1, to:call "f")
    end)
  end)

  it("refuses what it does not know", function()
    helper.run(function()
      local box <close> = uring.mailbox()
      helper.raises("#1 to 'serve' (a table of handlers expected, got nil",
        box.serve, box)
      helper.raises("unknown option 'task'", box.serve, box, {}, { task = 1 })
      helper.raises("'tasks' must be an integer from 1", box.serve, box, {},
        { tasks = 0 })
      helper.raises("'on_error' must be a function", box.serve, box, {},
        { on_error = 1 })
    end)
  end)

  it("answers calls of other threads", function()
    helper.run(function()
      local box <close> = assert(uring.mailbox { name = "server" })
      local done, threads = uring.channel(3), {}
      local server = uring.spawn(box.serve, box, {
        add = function(a, b) return a + b end,
        done = function() done:send(true) end,
      }, { tasks = 2 })
      for i = 1, 3 do
        threads[i] = spec.thread [[
          local uring = require "uring"
          uring.run(function()
            local to <close> = assert(uring.address("server", 30))
            for i = 1, 200 do assert(to:call("add", i, i) == 2 * i) end
            to:call "done"
          end)
        ]]
      end
      for _ = 1, 3 do assert(done:receive(30 * helper.slow)) end
      for i = 1, 3 do assert(threads[i]:join()) end
      server:cancel()
      server:join(5)
    end)
  end)
end)

describe("a monitor", function()
  it("is ready when the mailbox has closed, once", function()
    helper.run(function()
      local box, to = pair()
      local monitor = to:monitor()
      assert.is_nil((uring.select({ m = monitor }, 0.001)))
      local other = to:monitor()
      uring.spawn(function() box:close() end)
      assert.same({ "m", true }, { uring.select({ m = monitor }, 5) })
      assert.is_nil((uring.select({ m = monitor }, 0.001)))
      assert.same({ "m", true }, { uring.select({ m = other }, 5) })
      assert.same({ "m", true }, { uring.select({ m = to:monitor() }, 5) })
    end)
  end)

  it("does not keep a mailbox, nor is it a sender", function()
    helper.run(function()
      local box, to = pair()
      local monitor = to:monitor()
      assert.is_nil((uring.select({ m = monitor }, 0.001)))
      to:close()
      failed(E.EPIPE, "no sender", box:receive())
      box = nil  -- luacheck: ignore 311
      uring.spawn(helper.collect)
      assert.same({ "m", true }, { uring.select({ m = monitor }, 5) })
    end)
  end)

  it("is told that a thread has ended", function()
    helper.run(function()
      local hello <close> = assert(uring.mailbox { name = "hello" })
      local thread = spec.thread [[
        local uring = require "uring"
        uring.run(function()
          local box = uring.mailbox()
          local hello <close> = assert(uring.address "hello")
          hello:send(box)
          kept = box
          box:receive()
        end)
      ]]
      local to = hello:receive(30)
      local monitor = to:monitor()
      assert.is_nil((uring.select({ m = monitor }, 0.001)))
      assert(to:send "end")
      assert.same({ "m", true }, { uring.select({ m = monitor }, 30) })
      assert(thread:join())
    end)
  end)

  it("may be dropped in any order", function()
    helper.run(function()
      for _ = 1, 20 do
        local box, to = pair()
        for _ = 1, 5 do
          uring.select({ m = to:monitor() }, 0)
          helper.turns()
        end
        if math.random(2) == 1 then helper.collect() end
        box:close()
      end
      helper.collect()
    end)
  end)
end)

describe("undelivered messages", function()
  it("can be taken by the closer", function()
    helper.keeps_fds(function()
      helper.run(function()
        local box, to = pair()
        local out, into = helper.pipe()
        assert(to:send(1))
        for i = 2, 4 do assert(to:send(i, { i })) end
        assert(to:send(uring.fd(out), uring.fd(into)))
        assert(to:send(("x"):rep(5000)))
        assert.equal(1, box:receive())
        helper.raises("the mailbox is open", box.undelivered, box)
        assert.same({ true, 5 }, { box:close(true) })
        failed(E.EPIPE, "closed", to:send(9))
        local n = 1
        for i, t in box:undelivered() do
          n = n + 1
          assert.same({ n, { n } }, { i, t })
          if n == 4 then break end
        end
        local next_one, of = box:undelivered()
        local a, b = next_one(of)
        assert.equal(out, a:fileno())
        a:close()
        b:close()
        local s = box:stats()
        assert.same({ 6, 1, 5, 0 }, { s.accepted, s.received, s.undelivered,
          s.messages })
        assert.same({ true, 0 }, { box:close() })  -- the rest is dropped
        for _ in box:undelivered() do error "there is none" end
      end)
    end)
  end)

  it("are no calls: their callers get EPIPE at the close", function()
    helper.keeps_fds(function()
      helper.run(function()
        local box, to = pair()
        local calls = {}
        for i = 1, 300 do  -- (in several chunks of the queue, and outside)
          local moved, other = i, nil
          if i % 30 == 0 then moved, other = uring.socketpair() end
          if other then other:close() end
          calls[i] = uring.spawn(to.call, to, ("x"):rep(i % 7 * 100), moved)
          uring.sleep(0)
          assert(to:send(i))
        end
        assert.same({ true, 600 }, { box:close(true) })
        for i = 1, 300 do
          local ok, result, _, errno = calls[i]:join(10)
          assert.same({ true, nil, E.EPIPE }, { ok, result, errno })
        end
        local n = 0
        for i in box:undelivered() do
          n = n + 1
          assert.equal(n, i)
        end
        assert.equal(300, n)
      end)
    end)
  end)

  it("are let go of with the mailbox", function()
    helper.keeps_fds(function()
      helper.run(function()
        local box, to = pair()
        local other = uring.mailbox()
        local out, into = helper.pipe()
        assert(to:send(other, uring.fd(out), uring.fd(into)))
        box:close(true)
        assert.equal(1, other:stats().senders)
        box = nil  -- luacheck: ignore 311
        helper.collect()
        assert.equal(0, other:stats().senders)
      end)
    end)
  end)
end)
