-- Mailboxes: what is sent arrives once, in order and whole; what ends the
-- waiting; what is left when one is closed.

local helper = require "helper"
local mailboxes = require "mailboxes"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local pair <const>, failed <const> = mailboxes.pair, mailboxes.failed

-- Accepted is received, undelivered, or still there.
local function adds_up(box)
  local s = box:stats()
  assert.equal(s.accepted, s.received + s.undelivered + s.messages)
  return s
end

describe("a mailbox", function()
  it("receives what was sent, in order", function()
    helper.run(function()
      local box, address = pair()
      for i = 1, 1000 do assert(address:send(i, -i)) end
      for i = 1, 1000 do
        local a, b = box:receive()
        assert.equal(i, a)
        assert.equal(-i, b)
      end
      assert.equal(0, adds_up(box).messages)
    end)
  end)

  it("carries nil, booleans, numbers, strings and arrays", function()
    helper.run(function()
      local box, address = pair()
      local values = { n = 12, false, nil, true, math.mininteger, 0.1, 1.0,
        "", "a\0b", ("x"):rep(100000), {}, { 1, { "a", { false, 2.5 } } },
        nil }
      assert(address:send(table.unpack(values, 1, values.n)))
      local got = table.pack(box:receive())
      assert.same(values, got)
      assert.equal("float", math.type(got[6]))
      local all = {}
      for i = 1, 255 do all[i] = i end
      assert(address:send(table.unpack(all)))
      assert.same(all, { box:receive() })
    end)
  end)

  it("refuses what cannot travel, and says where it is", function()
    helper.run(function()
      local box, address = pair()
      local function refused(words, ...)
        local ok, message = pcall(address.send, address, ...)
        assert.is_false(ok)
        assert.truthy(message:find(words, 1, true), message)
        ok, message = pcall(address.try_send, address, ...)
        assert.is_false(ok)
        assert.truthy(message:find(words, 1, true), message)
      end
      refused "the first value of a message must not be nil"
      refused("the first value of a message must not be nil", nil, 1)
      refused("#3 ", 1, print)
      refused("cannot send a function", print)
      refused("cannot send a thread", coroutine.create(print))
      refused("cannot send a userdata", io.stdout)
      refused("cannot send [3][1]: a function", { 1, 2, { print } })
      refused("cannot send [1]: a table with a metatable",
        { setmetatable({}, {}) })
      local many = {}
      for i = 1, 256 do many[i] = i end
      refused("at most 255 values", table.unpack(many))
      assert.equal(0, box:stats().accepted)
    end)
  end)

  it("takes as many messages, and as many bytes, as it may", function()
    helper.run(function()
      local box, address = pair { capacity = 3 }
      for i = 1, 3 do assert(address:try_send(i)) end
      failed(E.EAGAIN, "try_send: the mailbox is full", address:try_send(4))
      assert.equal(1, box:receive())
      assert(address:try_send(4))
      failed(E.EAGAIN, "full", address:try_send(5))
      address = select(2, pair { bytes = 1000 })
      assert(address:try_send(("x"):rep(900)))  -- counts as 984
      failed(E.EAGAIN, "full", address:try_send(1))
      failed(E.EMSGSIZE, "more than the mailbox takes",
        address:try_send(("x"):rep(1000)))
      failed(E.EMSGSIZE, "more than the mailbox takes",
        address:send(("x"):rep(1000)))
      local shared = { 1, 2, 3, 4, 5, 6, 7, 8 }
      for _ = 1, 6 do
        shared = { shared, shared, shared, shared, shared, shared, shared }
      end
      failed(E.EMSGSIZE, "more than the mailbox takes",
        address:try_send(shared))
    end)
  end)

  it("knows the most that it ever had", function()
    helper.run(function()
      local box, address = pair()
      local function most()
        local s = box:stats()
        return { s.high_water, s.high_water_bytes }
      end
      assert.same({ 0, 0 }, most())
      for round = 1, 3 do
        for i = 1, 5 do assert(address:try_send(i)) end  -- each counts as 80
        for _ = 1, 5 do assert(box:receive()) end
        assert.same({ 5, 400 }, most(), round)
      end
      assert(address:try_send(("x"):rep(800)))  -- counts as 880
      assert.same({ 5, 880 }, most())
      for i = 1, 6 do assert(address:try_send(i)) end
      assert.same({ 7, 880 + 480 }, most())
      for _ = 1, 7 do assert(box:receive()) end
      assert(address:try_send(1))
      box:close()
      assert.same({ 7, 880 + 480 }, most())
    end)
  end)

  it("wakes a task that waits, and each of several once", function()
    helper.run(function()
      local box, address = pair()
      local got = {}
      for i = 1, 3 do
        uring.spawn(function()
          local v = box:receive()
          got[#got + 1] = { i, v }
        end)
      end
      helper.turns()
      assert(address:try_send "a")
      assert(address:try_send "b")
      assert(address:try_send "c")
      helper.turns()
      assert.same({ { 1, "a" }, { 2, "b" }, { 3, "c" } }, got)
    end)
  end)

  it("gives a message to the next when its task was cancelled", function()
    helper.run(function()
      local box, address = pair()
      local got
      local first = helper.started(box.receive, box)
      uring.spawn(function() got = box:receive() end)
      helper.turns()
      assert(address:try_send "kept")
      first:cancel()
      helper.turns()
      assert.equal("kept", got)
    end)
  end)

  it("that another call has emptied lets the waiter wait on", function()
    helper.run(function()
      local box, address = pair()
      local got
      uring.spawn(function() got = box:receive() end)
      helper.turns()
      assert(address:try_send(1))
      failed(E.EAGAIN, "no message", box:try_receive())  -- it has its turn
      helper.turns()
      assert.equal(1, got)
      assert(address:try_send(2))
      assert.equal(2, box:try_receive())
      failed(E.EAGAIN, "no message", box:try_receive())
    end)
  end)

  it("times out, and has lost nothing", function()
    helper.run(function()
      local box, address = pair()
      failed(E.ETIME, "timed out", box:receive(0.001))
      failed(E.ETIME, "timed out", box:receive(0))
      assert(address:send(1))
      assert.equal(1, box:receive(0))
    end)
  end)

  it("is an event of a select", function()
    helper.run(function()
      local box, address = pair()
      local other = uring.mailbox()
      assert(address:send("v", 2))
      local key, v, n = uring.select({ box = box:receiving(),
        other = other:receiving() }, 1)
      assert.same({ "box", "v", 2 }, { key, v, n })
      assert.is_nil((uring.select({ box = box:receiving() }, 0.001)))
      uring.spawn(function() address:send "later" end)
      assert.equal("later", select(2, uring.select({ b = box:receiving(),
        o = other:receiving() }, 5)))
      assert.equal(0, box:stats().messages)
    end)
  end)

  it("ends its loop when no sender is left, and begins again with one",
    function()
      helper.run(function()
        local box, address = pair()
        local second = box:address()
        local n = 0
        uring.spawn(function()
          address:send(1)
          address:close()
          uring.sleep(0)
          second:send(2)
          second:close()
        end)
        for v in box:messages() do n = n + v end
        assert.equal(3, n)
        failed(E.EPIPE, "no sender is left", box:receive())
        failed(E.EPIPE, "no sender is left", box:try_receive())
        assert.equal("b", (uring.select({ b = box:receiving() }, 1)))
        address = box:address()
        failed(E.ETIME, "timed out", box:receive(0.001))
        assert(address:send(3))
        assert.equal(3, box:receive())
      end)
    end)

  it("that never had a sender waits", function()
    helper.run(function()
      failed(E.ETIME, "timed out", uring.mailbox():receive(0.001))
    end)
  end)

  it("counts an address until it is collected", function()
    helper.run(function()
      local box = uring.mailbox()
      do local _ = box:address() end
      local waiting = uring.spawn(function() return box:receive() end)
      helper.turns()
      helper.collect()
      local ok, value, message = waiting:join(5)
      assert.is_true(ok)
      assert.is_nil(value)
      assert.truthy(message:find("no sender", 1, true))
    end)
  end)

  it("tells at its close how many messages were not delivered", function()
    helper.run(function()
      local box, address = pair()
      for i = 1, 5 do assert(address:send(i, ("x"):rep(i * 200))) end
      assert.equal(1, (box:receive()))
      assert.same({ true, 4 }, { box:close() })
      assert.same({ true, 0 }, { box:close() })
      failed(E.EPIPE, "the mailbox is closed", address:send(6))
      failed(E.EPIPE, "the mailbox is closed", address:try_send(6))
      assert.equal(4, adds_up(box).undelivered)
      helper.raises("closed mailbox", box.receive, box)
      helper.raises("closed mailbox", box.address, box)
    end)
  end)

  it("that is closed ends all waits at it", function()
    helper.run(function()
      local box = uring.mailbox()
      local results = {}
      for i = 1, 2 do
        uring.spawn(function() results[i] = table.pack(box:receive()) end)
      end
      local ended
      uring.spawn(function()
        for _ in box:messages() do error "none was sent" end
        ended = true
      end)
      helper.turns()
      box:close()
      helper.turns()
      for i = 1, 2 do
        failed(E.EBADF, "the mailbox is closed",
          table.unpack(results[i], 1, results[i].n))
      end
      assert.is_true(ended)
    end)
  end)

  it("works outside of tasks where nothing waits", function()
    local box, address = pair { capacity = 1 }
    failed(E.EAGAIN, "no message", box:try_receive())
    assert(address:try_send(1))
    failed(E.EAGAIN, "full", address:try_send(2))
    assert.equal(1, box:try_receive())
    helper.raises("uring.run", box.receive, box)
    helper.raises("uring.run", address.send, address, 1)
    box:close()
  end)

  it("has options, and refuses others", function()
    helper.raises("unknown option 'capasity': did you mean 'capacity'?",
      uring.mailbox, { capasity = 1 })
    helper.raises("'capacity' must be an integer from 1",
      uring.mailbox, { capacity = 0 })
    helper.raises("option 'name' must be a string, got number",
      uring.mailbox, { name = 1 })
    helper.raises("must have 1 to 255 bytes", uring.mailbox, { name = "" })
    helper.raises("1 to 255 bytes", uring.mailbox, { name = "a\0b" })
  end)

  it("is described where a task waits for it", function()
    helper.run(function()
      local box <close> = uring.mailbox { name = "described", capacity = 1 }
      local address = box:address()
      assert.equal("uring.Mailbox ('described')", tostring(box))
      local receiver = helper.started(box.receive, box)
      local found = ""
      for _, task in ipairs(uring.tasks()) do
        found = found .. (task.waits or "") .. "\n"
      end
      assert.truthy(found:find("to receive from mailbox 'described'", 1,
        true), found)
      address:send(1)
      receiver:join()
      address:send(1)
      local sender = helper.started(address.send, address, 2)
      found = ""
      for _, task in ipairs(uring.tasks()) do
        found = found .. (task.waits or "") .. "\n"
      end
      assert.truthy(found:find("for space in a mailbox", 1, true), found)
      box:receive()
      sender:join()
    end)
  end)

  it("survives finalizers that receive, close and send while it decodes",
    function()
      helper.needs_eager_collector()
      helper.apart(function()
        local uring = require "uring"  -- luacheck: ignore 431
        local function adds_up(box)  -- luacheck: ignore 431
          local s = box:stats()
          assert(s.accepted == s.received + s.undelivered + s.messages)
        end
        for what = 1, 3 do
          local box = uring.mailbox()
          local address = box:address()
          for i = 1, 40 do
            assert(address:try_send(i, { ("s"):rep(i), { i } },
              ("t"):rep(i * 20)))
          end
          local taken = {}
          local function take()
            local i, t, s = box:try_receive()
            if not i then return false end
            assert(what == 2 or #t[1] == i and t[2][1] == i and #s == i * 20)
            taken[#taken + 1] = i
            return true
          end
          local function finalizer()
            if what == 1 then pcall(take)
            elseif what == 2 then address:try_send(1, "more")
            elseif #taken > 20 then box:close() end
          end
          collectgarbage("incremental", 10, 1000, 30)  -- whole cycles
          while #taken < 40 do
            collectgarbage "stop"
            for _ = 1, 7 do setmetatable({}, { __gc = finalizer }) end
            collectgarbage "restart"
            local ok, more = pcall(take)
            if not ok then
              assert(tostring(more):find "closed mailbox", more)
              break
            elseif not more then break end
          end
          if what == 1 then
            table.sort(taken)
            for i = 1, 40 do assert(taken[i] == i) end
          end
          adds_up(box)
          box:close()
          adds_up(box)
        end
      end)
    end)

  it("keeps the message that memory was refused for", function()
    local ok, problem = spec.state([[
      local uring = require "uring"
      local refuse = refuse
      local box = uring.mailbox()
      local address = box:address()
      for n = 1, 3 do
        local text = ("x"):rep(300 + n)  -- (a long string, made anew)
        assert(address:try_send(n, { text, { n } }))
        text = nil
        for at = 1, 40 do
          refuse(at, 1000000)
          local ok, v, t = pcall(box.try_receive, box)
          refuse()
          if ok then
            assert(v == n and #t[1] == 300 + n and t[2][1] == n)
            break
          end
          assert(box:stats().messages == 1)
        end
        assert(box:stats().messages == 0)
      end
      address:close()
      box:close()
    ]])
    assert(ok, problem)
  end)

  it("is closed where a finalizer brings it back, with its events", function()
    helper.run(function()
      local box, address = pair()
      local back = {}
      local function collected(name, thing)
        setmetatable({}, { __gc = function() back[name] = thing end })
      end
      collected("box", (uring.mailbox()))
      collected("receiving", uring.mailbox():receiving())
      collected("sending", address:sending(("x"):rep(5000)))
      collected("monitor", address:monitor())
      helper.collect()
      helper.raises("a closed mailbox", back.box.stats, back.box)
      failed(E.EBADF, "is closed", select(2, uring.select({ back.receiving },
        0)))
      for _, name in ipairs { "sending", "monitor" } do
        local event <const> = back[name]
        helper.raises("a closed address", uring.select, { event }, 0)
        helper.raises("a closed address", event.block, event, { n = 0 })
      end
      box:close()
    end)
  end)

  it("stays its parent's in a forked child", function()
    local box, address = pair { name = "of a parent" }
    assert(address:try_send(1))
    helper.in_child(function()
      assert(not pcall(box.try_receive, box))
      assert(not pcall(address.try_send, address, 1))
      local _, _, errno = uring.address "of a parent"
      assert(errno == E.ENOENT)
      local own = assert(uring.mailbox { name = "of a parent" })
      local its = assert(uring.address "of a parent")
      uring.run(function()
        assert(its:send(5))
        assert(own:receive() == 5)
      end)
      own:close()
    end)
    assert.equal(1, box:try_receive())
    box:close()
  end)

  it("has no events in a forked child", function()
    helper.run(function()
      local box, address = pair { capacity = 1 }
      local worker = uring.worker(function()
        require "uring".inbox():receive()
      end)
      assert(address:send(1))
      local events = { box:receiving(), address:sending(2), address:monitor(),
        worker:joining() }
      helper.in_child(function()
        uring.run(function()
          for _, event in ipairs(events) do
            helper.raises("belongs to another process", uring.select,
              { event }, 0)
          end
        end)
      end)
      assert.same({ 1, 0 }, { box:stats().messages, box:stats().waiting })
      assert.equal(1, box:receive())
      box:close()
      worker:close()
      assert(worker:join(30))
    end)
  end)

  -- (that is what ASAN tells)
  it("leaves no memory to a forked child", function()
    helper.apart(function()
      local spec = require "uring_spec"  -- luacheck: ignore
      local uring = require "uring"  -- luacheck: ignore
      local box = uring.mailbox()
      local address = box:address()
      uring.run(function()
        assert(not box:receive(0.001))
        for i = 1, 200 do assert(address:send { i, "many" }) end
        assert(box:receive())
      end)
      local pid = spec.fork()
      if pid == 0 then os.exit(0, true) end
      assert(spec.wait(pid) == 0)
      uring.run(function() assert(box:receive()[1] == 2) end)
    end)
  end)

  it("may have taken a message that a forked child has to let go", function()
    helper.apart(function()
      local spec = require "uring_spec"  -- luacheck: ignore
      -- (the child's state closes, and its process ends without more ado)
      local last = setmetatable({}, { __gc = function(object)
        if object.is_childs then spec._exit(0) end
      end })
      local uring = require "uring"  -- luacheck: ignore
      uring.run(function()
        local box <close> = uring.mailbox { capacity = 1 }
        local address = box:address()
        assert(address:send(1))
        local tasks = { uring.spawn(address.send, address, 2),
          uring.spawn(address.send, address, 3, uring.buffer(10)) }
        uring.sleep(0)
        assert(box:try_receive() == 1)
        assert(box:try_receive() == 2)  -- (and no sender has run since)
        local pid = spec.fork()
        if pid == 0 then
          last.is_childs = true
          os.exit(false, true)
        end
        assert(spec.wait(pid) == 0)
        assert(box:receive() == 3)
        for _, task in ipairs(tasks) do assert(task:join()) end
      end)
    end)
  end)
end)
