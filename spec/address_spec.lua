-- Addresses: sending that waits, in line, in selects and from other threads;
-- descriptors that move; names.

local faults = require "faults"
local helper = require "helper"
local mailboxes = require "mailboxes"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)
local E = uring.errno

local pair <const>, failed <const> = mailboxes.pair, mailboxes.failed

-- All that a mailbox has.
local function rest(box)
  local all = {}
  while true do
    local v = box:try_receive()
    if v == nil then return all end
    all[#all + 1] = v
  end
end

describe("an address", function()
  it("waits for space, in the order of the calls", function()
    helper.run(function()
      local box, address = pair { capacity = 2 }
      local done = {}
      for i = 1, 6 do
        uring.spawn(function()
          assert(address:send(i, ("x"):rep(i * 200)))
          done[#done + 1] = i
        end)
      end
      helper.turns()
      assert.same({ 1, 2 }, done)
      assert.equal(4, box:stats().waiting)
      failed(E.EAGAIN, "full", address:try_send(7))
      for i = 1, 6 do assert.equal(i, (box:receive())) end
      helper.turns()
      assert.same({ 1, 2, 3, 4, 5, 6 }, done)
    end)
  end)

  it("that waits is served before a later try_send", function()
    helper.run(function()
      local box, address = pair { capacity = 10, bytes = 1000 }
      assert(address:try_send(("a"):rep(600)))
      local large = helper.started(address.send, address, ("b"):rep(500))
      failed(E.EAGAIN, "full", address:try_send "c")
      box:receive()
      assert(address:try_send "c")
      assert.is_true(large:join())
      assert.same({ ("b"):rep(500), "c" }, rest(box))
    end)
  end)

  it("whose wait is over has sent nothing, and serves those behind",
    function()
      helper.run(function()
        local box, address = pair { capacity = 10, bytes = 1000 }
        assert(address:try_send(("a"):rep(600)))
        local small
        uring.spawn(function()
          uring.sleep(0)
          small = address:send "c"
        end)
        failed(E.ETIME, "timed out", uring.timeout(0.01, address.send,
          address, ("b"):rep(500)))
        helper.turns()
        assert.is_true(small)
        assert.same({ ("a"):rep(600), "c" }, rest(box))
      end)
    end)

  it("whose message was accepted returns true, though it is cancelled",
    function()
      helper.run(function()
        local box, address = pair { capacity = 1 }
        assert(address:try_send(1))
        local result, later
        local task = helper.started(function()
          result = address:send(2)
          later = pcall(uring.sleep, 0)
        end)
        assert.equal(1, box:try_receive())  -- which hands 2 over
        task:cancel()
        task:join()
        assert.is_true(result)
        assert.is_false(later)
        assert.equal(2, box:try_receive())
      end)
    end)

  it("that is cancelled in line has sent nothing", function()
    helper.run(function()
      local box, address = pair { capacity = 1 }
      assert(address:try_send(1))
      local task = helper.started(address.send, address, 2)
      task:cancel()
      failed(E.ECANCELED, "cancel", task:join())
      assert.same({ 1 }, rest(box))
      assert.equal(0, box:stats().waiting)
    end)
  end)

  it("that a finalizer cancels before it is in line has sent nothing",
    function()
      helper.needs_eager_collector()
      helper.run(function()
        local box = uring.mailbox { capacity = 1 }
        local to = box:address()
        assert(to:try_send(0))
        local n, all = 0, true
        while all do
          n = n + 1
          local sender
          sender = uring.spawn(function()
            all = helper.in_allocation(n, function() sender:cancel() end,
              to.send, to, { n })
          end)
          uring.sleep(0)
          sender:cancel()  -- (where it makes not as many)
          assert(sender:join(5 * helper.slow))
        end
        assert(n > 1 and box:stats().accepted == 1)
        box:close()
      end)
    end)

  it("is told when the mailbox closes", function()
    helper.run(function()
      local box, address = pair { capacity = 1 }
      assert(address:try_send(1))
      local results = {}
      for i = 1, 3 do
        uring.spawn(function() results[i] = table.pack(address:send(i)) end)
      end
      helper.turns()
      box:close()
      helper.turns()
      for i = 1, 3 do
        failed(E.EPIPE, "the mailbox is closed",
          table.unpack(results[i], 1, 3))
      end
    end)
  end)

  -- luacheck: globals T
  -- (The reader, a worker, closes its inbox at each allocation of the send, or
  -- at last when that waits.)
  faulty("is refused if the mailbox closes before it has begun to wait",
    function()
      -- luacheck: ignore uring spec
      local uring, spec = require "uring", require "uring_spec"
      local function reader(go, gone, over)
        local function wait(fd)
          assert(uring.await(uring.sqe():prep_read(fd, uring.buffer(1))))
        end
        wait(go)
        uring.inbox():close()
        spec.write(gone, "x")
        wait(over)
      end
      local ways = {
        function(worker) return worker:send(2) end,
        function(worker)
          return select(2, uring.select { worker:sending(2) })
        end,
      }
      for _, way in ipairs(ways) do
        local n, made = 0, nil
        repeat
          n = n + 1
          uring.run(function()
            local heard, go = spec.pipe()
            local told, gone = spec.pipe()
            local over, finish = spec.pipe()
            local worker = assert(uring.worker({ main = reader,
              inbox = { capacity = 1 } }, heard, gone, over))
            assert(worker:send(1))
            uring.spawn(function()
              T.turns()
              spec.write(go, "x")
            end)
            T.fault.pause(n, go, told)
            local ok, sent, message, errno = uring.timeout(10 * T.slow,
              function() return true, way(worker) end)
            made = T.fault.malloc()
            assert(ok, sent)
            assert(sent == nil and errno == T.E.EPIPE, message)
            spec.write(finish, "x")
            assert(worker:join())
            for _, fd in ipairs { heard, go, told, gone, over, finish } do
              spec.close(fd)
            end
          end)
        until made < n
        assert(n > 2, n)
      end
    end)

  it("outlives its mailbox, and works once closed no more", function()
    helper.run(function()
      local box, address = pair()
      box:close()
      box = nil  -- luacheck: ignore
      helper.collect()
      failed(E.EPIPE, "closed", address:send(1))
      assert.is_true(address:close())
      assert.is_true(address:close())
      helper.raises("closed address", address.send, address, 1)
      assert.equal("uring.Address (closed)", tostring(address))
    end)
  end)

  it("that is closed ends what waits through it, but what was accepted",
    function()
      helper.run(function()
        local box, address = pair { capacity = 1 }
        local other <close> = box:address()
        assert(address:try_send(0))
        local first = helper.started(address.send, address, 1)
        local send = helper.started(address.send, address, 2)
        local choice = helper.started(uring.select,
          { address:sending(3) })
        local last = helper.started(other.send, other, 4)
        local over = address:monitor()
        assert.equal(0, box:try_receive())  -- which accepts 1
        local event = address:sending(5)
        address:close()
        assert.is_true(select(2, first:join()))
        failed(E.EBADF, "the address was closed", select(2, send:join()))
        failed(E.EBADF, "the address was closed", select(3, choice:join()))
        failed(E.EBADF, "the address was closed",
          select(2, uring.select { event }))
        for i = 1, 4, 3 do assert.equal(i, (box:receive())) end
        assert.is_true(select(2, last:join()))
        assert.equal(0, box:stats().waiting)
        box:close()
        assert.same({ 1, true }, { uring.select({ over }, 5) })
      end)
    end)

  it("has monitors that are all ready as soon as the mailbox is closed",
    function()
      helper.run(function()
        for _ = 1, 100 do
          local worker = assert(uring.worker(function()
            uring.inbox():receive()
          end))
          local monitors = {}
          for i = 1, 100 do monitors[i] = worker:monitor() end
          failed(E.ETIME, "timed out", uring.select(monitors, 0))
          worker:send "end"
          -- (the worker's thread may still be telling the others)
          repeat until monitors[1]:try()
          assert.is_true((monitors[100]:try()))
          assert(worker:join(30))
        end
      end)
    end)

  it("keeps those alive that wait through it", function()
    helper.run(function()
      local box = uring.mailbox { capacity = 1 }
      local event = box:address():sending "kept"
      helper.collect()
      assert.same({ 1, true }, { uring.select { event } })
      assert.equal("kept", box:receive())
      event = nil  -- luacheck: ignore
      helper.collect()
      failed(E.EPIPE, "no sender", box:receive())
    end)
  end)

  it("sends an address, and values after it, in a select", function()
    helper.run(function()
      local box, address = pair()
      local event = address:sending(address, ("x"):rep(100), 1.5, true)
      for _ = 1, 2 do
        assert.same({ 1, true }, { uring.select { event } })
        local got = table.pack(box:receive())
        assert.same({ ("x"):rep(100), 1.5, true }, { table.unpack(got, 2) })
        assert(got[1]:close())
      end
    end)
  end)

  it("sends in a select only if it is chosen", function()
    helper.run(function()
      local box, address = pair { capacity = 1 }
      local other, to_other = pair()
      local sending = address:sending("e", 1)
      assert.same({ "s", true }, { uring.select({ s = sending }, 1) })
      assert.is_nil((uring.select({ s = sending }, 0.001)))
      -- another event wins while it waits
      uring.spawn(function() to_other:send "won" end)
      assert.equal("o", (uring.select({ s = sending,
        o = other:receiving() }, 5)))
      assert.same({ "e" }, rest(box))
      -- and it wins when there is room
      assert(address:try_send(0))
      uring.spawn(function() box:receive() end)
      assert.equal("s", (uring.select({ s = sending,
        o = other:receiving() }, 5)))
      assert.same({ "e" }, rest(box))
      assert.equal(0, box:stats().waiting)
      assert(address:try_send(0))
      uring.spawn(function() box:close() end)
      local key, value, _, errno = uring.select({ s = sending }, 5)
      assert.same({ "s", nil, E.EPIPE }, { key, value, errno })
    end)
  end)

  it("sends what selects wait to send in the order in which they began",
    function()
      helper.run(function()
        local box, address = pair { capacity = 1 }
        assert(address:try_send(0))
        for i = 1, 4 do uring.spawn(uring.select, { address:sending(i) }) end
        uring.sleep(0)
        for i = 5, 6 do uring.spawn(address.send, address, i) end
        uring.sleep(0)
        for i = 7, 8 do uring.spawn(uring.select, { address:sending(i) }) end
        uring.sleep(0)
        for i = 0, 8 do assert.equal(i, (box:receive())) end
      end)
    end)

  it("lets selects that wait again and again take turns", function()
    helper.run(function()
      local box, address = pair { capacity = 1 }
      assert(address:try_send(0))
      local count = { 0, 0, 0 }
      for i = 1, 3 do
        uring.daemon(function()
          while true do
            uring.select { address:sending(i) }
            count[i] = count[i] + 1
          end
        end)
      end
      uring.sleep(0)
      for _ = 1, 300 do box:receive() end
      for i = 1, 3 do
        assert(count[i] >= 99 and count[i] <= 101, table.concat(count, " "))
      end
    end)
  end)

  it("passes the turn of a select on, if that chooses otherwise", function()
    helper.run(function()
      local box, address = pair { capacity = 1 }
      local other, to_other = pair()
      assert(address:try_send(0))
      local chosen
      uring.spawn(function()
        chosen = uring.select { s = address:sending(1),
          o = other:receiving():wrap(function() uring.sleep(0) end) }
      end)
      uring.sleep(0)
      local sent = helper.started(address.send, address, 2)
      assert(to_other:send "o")
      assert.equal(0, (box:receive()))
      helper.turns()
      if chosen == "s" then assert.equal(1, (box:receive())) end
      assert.is_true(sent:join())
      assert.equal(2, (box:receive()))
      assert.equal(0, box:stats().waiting)
    end)
  end)

  it("says in a select that the message counts too much", function()
    helper.run(function()
      local box, address = pair { bytes = 1000 }
      local sending = address:sending(("x"):rep(1000))
      for _ = 1, 2 do
        local key, value, why, errno = uring.select({ s = sending }, 5)
        assert.same({ "s", nil, E.EMSGSIZE }, { key, value, errno })
        assert.truthy(why:find("counts as more than the mailbox takes", 1,
          true))
      end
      sending = nil  -- luacheck: ignore 311
      helper.collect()
      assert.same({ 0, 0 }, { box:stats().accepted, box:stats().waiting })
    end)
  end)

  it("says so to an event of the program that has not tried it", function()
    helper.run(function()
      local box, address = pair { bytes = 1000 }
      local event = address:sending(("x"):rep(1000))
      local around = {
        try = function(_, waiter)
          if waiter then return event:try(waiter) end
        end,
        block = function(_, waiter) return event:block(waiter) end,
        cancel = function(_, waiter) return event:cancel(waiter) end,
      }
      failed(E.EMSGSIZE, "counts as more", select(2, uring.select({ around },
        5)))
      assert.same({ 0, 0 }, { box:stats().accepted, box:stats().waiting })
    end)
  end)

  it("may be in the selects of several tasks", function()
    helper.run(function()
      local box, address = pair { capacity = 1 }
      assert(address:try_send(0))
      local sending = address:sending(("x"):rep(1000))
      local n = 0
      for _ = 1, 4 do
        uring.spawn(function()
          assert(uring.select({ s = sending }, 5) == "s")
          n = n + 1
        end)
      end
      for _ = 1, 5 do
        assert(box:receive(5))
        helper.turns()
      end
      assert.equal(4, n)
      assert.equal(0, box:stats().messages)
    end)
  end)

  it("moves descriptors", function()
    helper.run(function()
      local box, address = pair { fds = 2 }
      local out, into = helper.pipe()
      local a, b = uring.fd(out), uring.fd(into)
      local number = a:fileno()
      assert(address:send("ends", { a, b }))
      helper.raises("was sent away", a.fileno, a)
      failed(E.EAGAIN, "full", address:try_send(uring.fd(spec.open
        and spec.open "/dev/null" or helper.pipe())))
      local word, ends = box:receive()
      assert.equal("ends", word)
      assert.equal(number, ends[1]:fileno())
      assert(uring.await(uring.sqe():prep_write(ends[2], "through")))
      local buffer = uring.buffer(7)
      assert.equal(7, uring.await(uring.sqe():prep_read(ends[1], buffer)))
      helper.raises("the same descriptor twice", address.send, address,
        ends[1], ends[1])
      helper.raises("a descriptor that was sent away", address.send, address,
        a)
      ends[1]:close()
      ends[2]:close()
    end)
  end)

  it("lends descriptors to a message that waits, and takes them back",
    function()
      helper.run(function()
        local box, address = pair { capacity = 1 }
        local out, into = helper.pipe()
        local a = uring.fd(out)
        local _ <close> = uring.fd(into)
        assert(address:try_send(0))
        local task = helper.started(address.send, address, { a })
        helper.raises("on its way", a.fileno, a)
        helper.raises("on its way", a.close, a)
        helper.raises("cannot send [1]: a descriptor that is on its way",
          address.send, address, { a })
        task:cancel()
        task:join()
        assert.equal(out, a:fileno())
        spec.write(into, "x")
        assert.equal("x", spec.read(out, 9))  -- (it is the same file still)
        task = helper.started(address.send, address, { a })
        assert.equal(0, box:receive())
        assert.is_true(task:join())
        helper.raises("was sent away", a.fileno, a)
        local moved = box:receive()
        assert.equal(out, moved[1]:fileno())
        moved[1]:close()
      end)
    end)

  it("has given a descriptor away as soon as its message was accepted",
    function()
      helper.run(function()
        local done = uring.mailbox()
        local reader = assert(uring.worker({ inbox = { capacity = 1 },
          main = function(to)
            local library = require "uring"
            local inbox = library.inbox()
            while inbox:stats().waiting == 0 do library.sleep(0) end
            inbox:receive()
            local fd = inbox:receive()
            to:send(fd:fileno(), fd:close())
          end }, done))
        local n = spec.eventfd()
        local fd = assert(uring.fd(n))
        assert(reader:send "the first")
        local sent = uring.spawn(function() return reader:send(fd) end)
        while tostring(fd):find "%d" do uring.sleep(0) end
        local number
        repeat number = done:try_receive() until number  -- (no task runs)
        assert.equal(n, number)
        local others = {}
        repeat
          number = spec.eventfd()
          others[#others + 1] = number ~= n and number or nil
        until number == n
        local again = assert(uring.fd(n))
        for _, other in ipairs(others) do spec.close(other) end
        assert.same({ true, true }, { sent:join() })
        helper.raises("sent away", fd.fileno, fd)
        assert.equal(n, again:fileno())
        assert(again:close())
      end)
    end)

  it("submits the requests that name a descriptor before it is sent",
    function()
      helper.run(function()
        local ring <close> = assert(uring.ring { entries = 4 })
        local out, into = helper.pipe()
        local moved = uring.fd(into)
        assert(ring:queue(uring.sqe():prep_write(moved, "x")))
        local worker = assert(uring.worker(function()
          require("uring").inbox():receive()[1]:close()
        end))
        assert(worker:send { moved })
        assert(worker:join())
        assert.equal("x", spec.read(out, 9))
      end)
    end)

  it("whose message is not delivered closes its descriptors", function()
    helper.keeps_fds(function()
      helper.run(function()
        local box, address = pair { capacity = 1 }
        local out, into = helper.pipe()
        assert(address:send(uring.fd(out)))
        helper.started(address.send, address, { uring.fd(into) })
        box:close()
        helper.turns()
        helper.collect()
      end)
    end)
  end)
end)

describe("a name", function()
  it("finds a mailbox, once at a time", function()
    helper.run(function()
      local box = assert(uring.mailbox { name = "jobs" })
      failed(E.EEXIST, "has this name already",
        uring.mailbox { name = "jobs" })
      local address = assert(uring.address "jobs")
      assert(address:send(1))
      assert.equal(1, box:receive())
      address:close()
      failed(E.ETIME, "timed out", box:receive(0.001))  -- another may come
      box:close()
      failed(E.ENOENT, "no mailbox has this name", uring.address "jobs")
      do local _ = assert(uring.mailbox { name = "jobs" }) end
      helper.collect()
      assert(uring.mailbox { name = "jobs" }):close()
    end)
  end)

  it("can be waited for", function()
    helper.run(function()
      failed(E.ETIME, "timed out", uring.address("late", 0.001))
      local found
      local task = helper.started(function()
        found = uring.address("late", 5)
      end)
      local other <close> = assert(uring.mailbox { name = "other" })
      helper.turns()
      assert.is_nil(found)
      local box <close> = assert(uring.mailbox { name = "late" })
      task:join()
      assert(found:send "here")
      assert.equal("here", box:receive())
      assert.is_nil((other:try_receive()))
      task = helper.started(uring.address, "never", 5)
      task:cancel()
      failed(E.ECANCELED, "cancel", task:join())
    end)
    helper.raises("uring.run", uring.address, "late", 5)
  end)

  it("is of its realm", function()
    local box <close> = assert(uring.mailbox { name = "realm" })
    local ok, why = spec.state [[
      local uring = require "uring"
      uring.loop { realm = "another" }
      assert(select(3, uring.address "realm") == uring.errno.ENOENT)
      local own <close> = assert(uring.mailbox { name = "realm" })
      local to <close> = assert(uring.address "realm")
      assert(not pcall(uring.loop, { realm = "" }))
    ]]
    assert(ok, why)
    ok, why = spec.state [[
      local uring = require "uring"
      uring.loop { realm = false }
      local _, message, errno = uring.address "realm"
      assert(errno == uring.errno.EPERM, message)
      assert(select(3, uring.mailbox { name = "x" }) == uring.errno.EPERM)
      assert(uring.mailbox()):close()
    ]]
    assert(ok, why)
    ok, why = spec.state [[
      local uring = require "uring"
      for _, realm in ipairs { true, 1, ("x"):rep(256), "a\0b" } do
        local ok, message = pcall(uring.loop, { realm = realm })
        assert(not ok and message:find "'realm' must be a string", message)
      end
      local to <close> = assert(uring.address "realm")
      assert(to:try_send "from another state")
    ]]
    assert(ok, why)
    assert.equal("from another state", box:try_receive())
  end)
end)

describe("states in other threads", function()
  local sender = [[
    local uring = require "uring"
    local name, first, n = ...
    uring.run(function()
      local to <close> = assert(uring.address(name, 30))
      local waits = 0
      for i = first, first + n - 1 do
        if i % 3 == 0 then assert(to:send(i, ("x"):rep(i %% 700)))
        elseif i % 3 == 1 then
          if not to:try_send(i) then
            waits = waits + 1
            assert(to:send(i))
          end
        else
          assert(uring.select({ to = to:sending(i, { i }) }, 30) == "to")
        end
        if i % 97 == 0 then uring.sleep(0) end
      end
    end)
  ]]
  sender = sender:gsub("%%%%", "%%")

  it("send to one mailbox, and lose nothing", function()
    local n = (tonumber(os.getenv "URING_SOAK") or 1) > 1 and 100000 or 2000
    for _, capacity in ipairs { 1, 16, 1024 } do
      helper.run(function()
        local box <close> = assert(uring.mailbox { name = "threads",
          capacity = capacity })
        local threads, last, count = {}, {}, 0
        for t = 1, 4 do
          threads[t] = spec.thread(sender, "threads", t * 1000000, n)
          last[t] = t * 1000000 - 1
        end
        while count < 4 * n do
          local i = assert(box:receive(30 * helper.slow))
          local t = i // 1000000
          assert.equal(last[t] + 1, i)  -- of each sender in order
          last[t] = i
          count = count + 1
        end
        for _, thread in ipairs(threads) do
          local ok, why = thread:join()
          assert(ok, why)
        end
        local s = box:stats()
        assert.equal(4 * n, s.received)
        assert.equal(0, s.messages + s.waiting + s.senders)
      end)
    end
  end)

  it("wake a loop that sleeps", function()
    helper.run(function()
      local box <close> = assert(uring.mailbox { name = "sleeper" })
      local thread = spec.thread([[
        local uring = require "uring"
        uring.run(function()
          local to <close> = assert(uring.address("sleeper", 30))
          for i = 1, 50 do
            uring.sleep(0.002)
            assert(to:send(i, uring.now()))
          end
        end)
      ]])
      local worst = 0
      for i = 1, 50 do
        local got, sent = box:receive(30)
        assert.equal(i, got)
        worst = math.max(worst, uring.now() - sent)
      end
      assert(thread:join())
      -- (an idle loop would look by itself after 0.05 s)
      assert(worst < 0.04 * helper.slow, worst)
    end)
  end)

  it("that end withdraw what waits, and no longer send", function()
    helper.run(function()
      local box = assert(uring.mailbox { name = "leaver", capacity = 1 })
      local ok, why = spec.thread([[
        local uring = require "uring"
        local to = assert(uring.address "leaver")
        uring.run(function()
          assert(to:send(1))
          local kept = uring.spawn(function() to:send(2) end)
          uring.sleep(0.01)
          kept:cancel()
        end)
        left = to  -- and the state ends
      ]]):join()
      assert(ok, why)
      local s = box:stats()
      assert.equal(0, s.waiting + s.senders)
      assert.equal(1, box:receive())
      box:close()
    end)
  end)

  it("that are told that a mailbox has closed", function()
    local box = assert(uring.mailbox { name = "closer", capacity = 1 })
    assert(box:address():try_send(0))
    local thread = spec.thread([[
      local uring = require "uring"
      return uring.run(function()
        local to <close> = assert(uring.address("closer", 30))
        local _, _, errno = to:send(1)
        return errno
      end)
    ]])
    helper.eventually(function() return box:stats().waiting == 1 end)
    assert.same({ true, 1 }, { box:close() })
    assert.same({ true, E.EPIPE }, { thread:join() })
  end)
end)
