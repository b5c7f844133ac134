-- What is in a message and is no plain value: addresses and references are
-- counted for it, buffers and descriptors move with it; what was not sent is
-- as before, and what was not received is let go of.

local helper = require "helper"
local mailboxes = require "mailboxes"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local pair <const>, failed <const> = mailboxes.pair, mailboxes.failed

after_each(helper.clean)

describe("an address in a message", function()
  it("is one more sender until it is closed or collected", function()
    helper.run(function()
      local box, to = pair()
      local other = uring.mailbox()
      assert(to:send { other, other:address() })
      assert.equal(3, other:stats().senders)
      helper.collect()  -- (the address)
      assert.equal(2, other:stats().senders)
      local got = box:receive()
      assert.equal(2, other:stats().senders)
      assert(got[1]:send "first")
      assert(got[2]:send "second")
      got[1]:close()
      got = nil  -- luacheck: ignore 311
      helper.collect()
      assert.equal("first", other:receive())
      assert.equal("second", other:receive())
      failed(E.EPIPE, "no sender is left", other:receive())
    end)
  end)

  it("makes a request that can be answered", function()
    helper.run(function()
      local jobs, to = pair()
      uring.spawn(function()
        for reply, n in jobs:messages() do
          reply:send(n * n)
          reply:close()
        end
      end)
      local answers = uring.mailbox()
      assert(to:send(answers, 7))
      assert.equal(49, answers:receive())
      failed(E.EPIPE, "no sender is left", answers:receive())
      to:close()
    end)
  end)

  it("that was not sent leaves no trace", function()
    helper.run(function()
      local box, to = pair { capacity = 1 }
      local fresh = uring.mailbox()
      assert(to:send(0))
      failed(E.EAGAIN, "full", to:try_send(fresh))
      assert.is_false(pcall(to.send, to, { fresh, print }))
      failed(E.EMSGSIZE, "takes", to:send(fresh, ("x"):rep(1 << 20)))
      assert.equal(0, fresh:stats().senders)
      local task = helper.started(to.send, to, fresh)
      assert.equal(1, fresh:stats().senders)
      task:cancel()
      task:join()
      assert.equal(0, fresh:stats().senders)
      failed(E.ETIME, "timed out", fresh:receive(0.001))  -- it never had one
      box:close()
    end)
  end)

  it("that was not received is no sender any more", function()
    helper.run(function()
      local box, to = pair { capacity = 1 }
      local other, waits = uring.mailbox(), uring.mailbox()
      assert(to:send(other))
      local task = helper.started(to.send, to, waits)
      box:close()
      failed(E.EPIPE, "closed", select(2, task:join()))
      failed(E.EPIPE, "no sender is left", other:receive())
      assert.equal(0, waits:stats().senders)
    end)
  end)

  it("may be of the mailbox that it is in", function()
    helper.run(function()
      local box, to = pair()
      assert(to:send(box))
      to:close()
      local own = box:receive()
      assert(own:send(own, "again"))
      own:close()
      own = box:receive()
      own:close()
      failed(E.EPIPE, "no sender is left", box:receive())
      assert(box:address():try_send(box))
      box:close()
    end)
  end)

  it("goes with each message of an event", function()
    helper.run(function()
      local box, to = pair { capacity = 2 }
      local other = uring.mailbox()
      local sending = to:sending(other, ("x"):rep(100))
      assert.equal(1, other:stats().senders)
      for _ = 1, 2 do assert.equal("s", (uring.select({ s = sending }, 1))) end
      assert.is_nil((uring.select({ s = sending }, 0.001)))
      assert.equal(3, other:stats().senders)
      sending = nil  -- luacheck: ignore 311
      helper.collect()
      assert.equal(2, other:stats().senders)
      box:close()
      assert.equal(0, other:stats().senders)
    end)
  end)
end)

describe("a reference to a ring in a message", function()
  it("is the same ring's", function()
    helper.run(function()
      local box, to = pair()
      local ring <close> = assert(uring.ring { entries = 8 })
      assert(to:send { ref = ring:ref() })
      local ref = box:receive().ref
      assert.equal(ring:ref(), ref)
      assert(uring.await(uring.sqe():prep_msg_ring(ref, 5, 6, 0)))
      assert.same({ 5, 6, 0 }, { ring:receive(5) })
      assert(to:send(ref))
      ring:close()
      assert.is_true(box:receive():closed())
      local ok, message = pcall(to.send, to, ring)
      assert.is_false(ok)
      assert.truthy(message:find("a ring: send ring:ref()", 1, true))
    end)
  end)
end)

describe("a buffer in a message", function()
  it("moves, without a copy", function()
    helper.run(function()
      local box, to = pair()
      local buffer = uring.buffer "its bytes"
      assert(to:send { at = { buffer } })
      helper.raises("sent away", buffer.string, buffer)
      helper.raises("sent away", buffer.resize, buffer, 1)
      helper.raises("sent away", to.send, to, buffer)
      assert.equal("uring.Buffer (sent away)", tostring(buffer))
      local got = box:receive().at[1]
      assert.equal("its bytes", got:string())
      got:resize(20)
      assert(to:send(got))
      local again = box:receive()
      assert.equal(20, #again)
      assert.is_true(again:close())
      assert.is_true(buffer:close())
      helper.raises("a closed buffer", to.send, to, again)
    end)
  end)

  it("counts in full", function()
    helper.run(function()
      local box, to = pair { bytes = 1000 }
      local buffer = uring.buffer(900)
      assert(to:send(buffer))
      assert.equal(32 + 48 + 904, box:stats().bytes)
      local large = uring.buffer(1000)
      failed(E.EMSGSIZE, "takes", to:send(large))
      assert.equal(1000, #large)
      failed(E.EAGAIN, "full", to:try_send(uring.buffer(20)))
    end)
  end)

  it("moves although SQEs name it, and these are refused then", function()
    helper.run(function()
      local box, to = pair()
      local r, w = helper.pipe()
      local buffer = uring.buffer(8)
      local bytes = { buffer }
      local sqes = {
        uring.sqe():prep_read(r, buffer), uring.sqe():prep_readv(r, bytes),
        uring.sqe():prep_recvmsg(r, uring.msghdr { iov = bytes }),
        uring.sqe():prep_sendmsg(r, uring.msghdr { iov = { "x", buffer } }),
        uring.sqe():prep_write(w, buffer)
      }
      spec.write(w, "its data")
      assert.equal(8, (uring.await(sqes[1])))
      assert(to:send(buffer))
      for round = 1, 2 do
        for _, sqe in ipairs(sqes) do
          helper.raises("a buffer of this sqe was sent away", uring.await,
            sqe, 1)
        end
        if round == 1 then  -- its reader's requests are its own
          buffer = box:receive()
          assert.equal("its data", buffer:string())
          spec.write(w, "and more")
          sqes[1]:prep_read(r, buffer)
          assert.equal(8, (uring.await(sqes[1])))
          assert.equal("and more", buffer:string())
          assert(to:send(buffer))
        end
      end
    end)
  end)

  it("that was not sent is its SQEs' again", function()
    helper.run(function()
      local box, to = pair { capacity = 1 }
      local r, w = helper.pipe()
      local buffer = uring.buffer(2)
      local sqe = uring.sqe():prep_read(r, buffer)
      local function works()
        spec.write(w, "ok")
        assert.equal(2, (uring.await(sqe)))
        assert.equal("ok", buffer:string())
        buffer:write(0, "..")
      end
      helper.raises("a function", to.send, to, { buffer, print })
      works()
      assert(to:send(0))
      failed(E.EAGAIN, "full", to:try_send(buffer))
      works()
      local task = helper.started(to.send, to, buffer)
      helper.raises("a buffer of this sqe was sent away", uring.await, sqe,
        1)
      task:cancel()
      task:join()
      works()
      task = helper.started(to.send, to, buffer)
      box:close()
      failed(E.EPIPE, "closed", select(2, task:join()))
      works()
    end)
  end)

  it("cannot move while requests or rings use it, nor twice", function()
    helper.run(function()
      local box, to = pair()
      local r, w = helper.pipe()
      local buffer = uring.buffer(8)
      for _, sqe in ipairs { uring.sqe():prep_read(r, buffer),
        uring.sqe():prep_readv(r, { buffer }) } do
        local task = helper.started(uring.await, sqe)
        helper.raises("a request in flight uses", to.send, to, buffer)
        spec.write(w, "x")
        task:join()
      end
      local ring <close> = assert(uring.ring())
      assert(ring:register_buffers { uring.buffer(1), buffer })
      helper.raises("registered with a ring", to.send, to, buffer)
      assert(ring:unregister_buffers())
      helper.raises("the same buffer twice", to.send, to, buffer, buffer)
      helper.raises("by an event", to.sending, to, buffer)
      assert.equal(8, #buffer)
      assert.equal(0, box:stats().accepted)
      local many = {}
      for i = 1, 65 do many[i] = uring.buffer(1) end
      helper.raises("more than 64 buffers", to.send, to, many)
      assert.equal(1, #many[1])
    end)
  end)

  -- (A sender that still reads it then does so of freed memory, for ASAN.)
  it("may be freed at once by its reader, in another thread", function()
    helper.run(function()
      local w = assert(uring.worker(function()
        for b in uring.inbox():messages() do b:close() end
      end))
      for _ = 1, 20000 do w:try_send(uring.buffer(64)) end
      w:close()
      assert(w:join())
    end)
  end)

  it("is on its way while the message waits, and then as it was", function()
    helper.run(function()
      local box, to = pair { capacity = 1 }
      local a, b = uring.buffer "a", uring.buffer "b"
      assert(to:send(0))
      local task = helper.started(to.send, to, a, { b })
      for _, buffer in ipairs { a, b } do
        helper.raises("on its way", buffer.string, buffer)
        helper.raises("on its way", buffer.close, buffer)
        helper.raises("on its way", to.send, to, buffer)
        assert.equal("uring.Buffer (on its way)", tostring(buffer))
      end
      task:cancel()
      task:join()
      assert.equal("a", a:string())
      assert.equal("b", b:string())
      assert.equal("timed out", select(2, uring.timeout(0.001, to.send, to,
        a)))
      assert.equal(1, #a)
      task = helper.started(to.send, to, a, { b })
      assert.equal(0, box:receive())
      assert.is_true(task:join())
      helper.raises("sent away", a.string, a)
      local x, y = box:receive()
      assert.equal("ab", x:string() .. y[1]:string())
      assert(to:send(x))  -- nothing of its sender holds it
    end)
  end)

  it("may be collected while it is on its way", function()
    helper.run(function()
      for _, cancel in ipairs { true, false } do
        local box, to = pair { capacity = 1 }
        local held = { uring.buffer "collected" }
        assert(to:send(0))
        local task = helper.started(to.send, to, held)
        held[1] = nil
        helper.collect()
        if cancel then
          task:cancel()
          task:join()
        else
          box:receive()
          task:join()
          assert.equal("collected", box:receive()[1]:string())
        end
        box:close()
      end
    end)
  end)

  it("is freed with a message that is not received", function()
    helper.run(function()
      local box, to = pair { capacity = 1 }
      local late = uring.buffer "late"
      assert(to:send(uring.buffer(100000)))
      local task = helper.started(to.send, to, late)
      box:close()
      task:join()
      assert.equal("late", late:string())
    end)
  end)
end)
