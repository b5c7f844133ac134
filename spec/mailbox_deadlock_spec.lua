-- Deadlocks at mailboxes: told where no other thread can send, or end what is
-- waited for; and never told where one can.

local helper = require "helper"
local mailboxes = require "mailboxes"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local pair <const>, failed <const> = mailboxes.pair, mailboxes.failed

-- The loop asks after its first nap of 0.05 s, and then after longer ones.
-- What other threads do in these specs they do after LATER: it has asked by
-- then.
local LATER <const> = 0.2

after_each(helper.no_tasks)

-- A run of f raises a deadlock, which says `words`.
local function told(words, f, ...)
  local args = table.pack(...)
  local why = helper.raises("deadlock", uring.run, function()
    f(table.unpack(args, 1, args.n))
  end)
  assert.truthy(why:find(words, 1, true), why)
  return why
end

local function full()
  local box, address = pair { capacity = 1 }
  assert(address:try_send(0))
  return box, address
end

describe("a deadlock at a mailbox", function()
  it("is a receive where there is no sender but the state itself", function()
    local why = told("to receive from a mailbox (capacity 7)", function()
      uring.mailbox { capacity = 7 }:receive()
    end)
    assert.truthy(why:find("spec/mailbox_deadlock_spec.lua:%d+"), why)
    told("to receive from a mailbox", function()
      local box, address = pair()
      box:receive()
      address:close()
    end)
    told("to receive from a mailbox", function()  -- its address is garbage
      local box = pair()
      box:receive()
    end)
    told("to receive from a mailbox", function()
      local box, address = pair()
      for _ in box:messages() do address:close() end
    end)
  end)

  it("is one where other addresses were, here and in messages", function()
    told("to receive from a mailbox", function()
      local box, address = pair()
      assert(address:send(1, address))
      local _, other = box:receive()
      other:close()
      assert(address:send(2, box))
      assert.equal(2, (box:receive()))
      box:receive()
    end)
  end)

  it("is a send to a mailbox that is full", function()
    told("for space in a mailbox, to send to it", function()
      local _, address = full()
      address:send(1)
    end)
    told("in uring.select", function()
      local box, address = full()
      uring.select { address:sending(1), address:sending(2) }
      box:close()
    end)
  end)

  it("is a call that no other thread answers", function()
    local why = told("for the answer to a call", function()
      local box, address = pair()
      address:call("unserved")
      box:close()
    end)
    assert.is_nil(why:find("fd -1", 1, true), why)
    told("for the answer to a call", function()
      local box, address = pair()
      uring.spawn(function()
        box:serve { wait = function() uring.channel():receive() end }
      end)
      address:call "wait"
    end)
    told("to send to it", function()
      local _, address = full()
      address:call "unserved"
    end)
  end)

  it("is a monitor of the state's own mailbox", function()
    told("in uring.select", function()
      local box, address = pair()
      uring.select { address:monitor() }
      box:close()
    end)
  end)

  it("is a choice, where all events are such", function()
    told("in uring.select", function()
      local box, address = pair()
      uring.select { box:receiving(), uring.channel():receiving(),
        address:monitor() }
    end)
  end)

  it("lists all tasks, whatever of the state they wait for", function()
    local why = told("'reader' waits to receive from a mailbox", function()
      local box, address = pair()
      local channel = uring.channel()
      local reader = uring.spawn { name = "reader", main = function()
        channel:send(box:receive())
      end }
      uring.spawn { name = "joiner", main = function() reader:join() end }
      uring.spawn { name = "server", main = function()
        uring.mailbox():serve {}
      end }
      channel:receive()
      address:close()
    end)
    for _, name in ipairs { "joiner", "server" } do
      assert.truthy(why:find("'" .. name .. "' waits", 1, true), why)
    end
  end)

  it("is told once other threads cannot send any more", function()
    told("to receive from a mailbox", function()
      local box, address = pair()
      local worker = assert(uring.worker(function(to)
        assert(to:send "from the worker")
      end, address))
      assert.equal("from the worker", (box:receive()))
      assert(worker:join())
      box:receive()
    end)
  end)

  it("leaves the state as it was", function()
    local box, address = pair()
    told("to receive", function() box:receive() end)
    told("to receive", function()
      uring.shield(math.huge, box.receive, box)
    end)
    assert(address:try_send(5))
    helper.run(function() assert.equal(5, (box:receive())) end)
    box:close()
    address:close()
  end)

  it("is told of a forked child's own", function()
    local box, address = pair()
    helper.in_child(function()
      local ok, why = pcall(uring.run, function()
        local own = uring.mailbox()
        own:receive()
      end)
      assert(not ok and why:find "deadlock", why)
    end)
    assert(address:try_send(1))
    assert.equal(1, box:try_receive())
    address:close()
    box:close()
  end)
end)


describe("no deadlock is told", function()
  -- In a thread with a state of its own: `code` has `to`, an address of `box`
  -- that came in a message, and LATER. Then f runs.
  local function with_thread(box, code, f)
    local thread = spec.thread(([[
      local uring = require "uring"
      local LATER <const> = %s
      uring.run(function()
        local courier <close> = assert(uring.mailbox { name = "courier" })
        local to = select(2, courier:receive())
        courier:close()
        %s
      end)
    ]]):format(LATER, code))
    local courier <close> = assert(uring.address("courier", 30))
    assert(courier:send("to", box))
    courier:close()
    f()
    local ok, why = thread:join()
    assert(ok, why)
  end

  it("while another thread has an address", function()
    helper.run(function()
      local box <close> = assert(uring.mailbox())
      with_thread(box, [[
        uring.sleep(LATER)
        assert(to:send "late")
        uring.sleep(LATER)
        to:close()
      ]], function()
        assert.equal("late", (box:receive()))
        failed(E.EPIPE, "no sender is left", box:receive())
      end)
    end)
  end)

  it("while another thread has a send to make", function()
    helper.run(function()
      local box <close>, address = pair()
      with_thread(box, [[
        local event = to:sending "late"
        uring.sleep(LATER)
        assert(uring.select { event })
        to:close()
      ]], function()
        assert.equal("late", (box:receive()))
      end)
      address:close()
    end)
  end)

  it("while another thread's send waits, which it may withdraw", function()
    helper.run(function()
      local box <close>, address = pair { bytes = 1000 }
      assert(address:send(("x"):rep(600)))
      with_thread(box, [[
        uring.timeout(LATER * 2, to.send, to, ("y"):rep(600))
        to:close()
      ]], function()
        helper.eventually(function() return box:stats().waiting == 1 end)
        assert(address:send "small")
      end)
    end)
  end)

  it("while another thread has a call to answer, or its own to end", function()
    helper.run(function()
      local thread = spec.thread(([[
        local uring = require "uring"
        local LATER <const> = %s
        uring.run(function()
          local own <close> = assert(uring.mailbox { name = "server" })
          uring.spawn(function()
            own:serve { late = function() uring.sleep(LATER) return 5 end }
          end)
          uring.sleep(2 * LATER)
          own:close()
        end)
      ]]):format(LATER))
      local server <close> = assert(uring.address("server", 30))
      assert.equal(5, (server:call "late"))
      assert.is_true((select(2, uring.select { server:monitor() })))
      local ok, why = thread:join()
      assert(ok, why)
    end)
  end)

  it("while a worker is alive, nor in it", function()
    helper.run(function()
      local box <close>, address = pair()
      local worker = assert(uring.worker(function(to, later)
        local first = uring.inbox():receive()
        uring.spawn(function() uring.mailbox():receive() end)
        uring.sleep(later)
        assert(to:send(first))
        to:close()
        uring.channel(1):send(1)
        uring.inbox():receive()
        uring.current():cancel()
      end, address, LATER))
      local silent = assert(uring.worker(function()
        uring.mailbox():receive()
      end))
      address:close()
      uring.sleep(LATER)
      assert(worker:send "first")
      assert.equal("first", (box:receive()))
      failed(E.EPIPE, "no sender is left", box:receive())
      uring.sleep(LATER)
      for _, w in ipairs { worker, silent } do
        assert.equal("running", w:status())
        w:cancel()
        failed(E.ECANCELED, "cancelled", w:join())
      end
    end)
  end)

  it("of a mailbox with a name, nor of a wait for one", function()
    helper.run(function()
      local box <close> = assert(uring.mailbox { name = "late" })
      local thread = spec.thread(([[
        local uring = require "uring"
        uring.run(function()
          uring.sleep(%s)
          local to <close> = assert(uring.address "late")
          assert(to:send "found")
          local box <close> = assert(uring.mailbox { name = "later" })
          assert(box:receive())
        end)
      ]]):format(LATER))
      assert.equal("found", (box:receive()))
      local later <close> = assert(uring.address("later", math.huge))
      assert(later:send(true))
      assert(thread:join())
    end)
  end)

  it("of a wait with a timeout", function()
    helper.run(function()
      local box <close>, address = pair()
      failed(E.ETIME, "timed out", box:receive(LATER))
      failed(E.ETIME, "timed out", uring.timeout(LATER, address.call, address,
        1))
      failed(E.ETIME, "timed out", uring.select({ box:receiving() }, LATER))
    end)
  end)

  it("while a ring may be sent messages", function()
    helper.run(function()
      local box <close>, address = pair()
      local ring <close> = assert(uring.ring())
      local later = spec.send_later(LATER, ring:fd(), 1, 2)
      assert.equal("m", (uring.select { m = ring:receiving(),
        b = box:receiving(), d = address:monitor() }))
      later:join()
    end)
  end)

  -- (That a hook ends the wait is not the library's to know.)
  it("while a task waits for an event that is not the library's", function()
    local status, output = helper.script(([[
      local uring = require "uring"
      local spec = require "uring_spec"
      local function nothing() end
      local event = uring.event { try = nothing, block = nothing,
        cancel = nothing }
      uring.run(function()
        local box <close> = uring.mailbox()
        uring.spawn(function() uring.select { event, box:receiving() } end)
        spec.interrupt(%s)
        box:receive()
      end)]]):format(LATER))
    assert.equal(1, status)
    assert.truthy(output:find("interrupted!", 1, true), output)
  end)

  it("by a step", function()
    local box, address = pair()
    local loop, got = uring.loop()
    loop:spawn(function() got = box:receive() end)
    local ends = uring.now() + LATER
    while uring.now() < ends do
      loop:step()
      spec.sleep(0.01)
    end
    assert(address:try_send(3))
    loop:step()
    assert.equal(3, got)
    address:close()
    box:close()
  end)
end)
