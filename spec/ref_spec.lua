-- Targets of messages: rings that are closed meanwhile, references to rings,
-- and rings of other states and processes.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local message, nop, msg = hand.message, hand.nop, hand.msg

describe("a target that is closed", function()
  after_each(hand.close)

  it("is refused before the kernel is asked", function()
    local a, b = hand.ring(), hand.ring()
    local ref = b:ref()
    local sqe = msg(ref, 1, 2)
    b:close()
    assert.is_true(ref:closed())
    local op, why, errno = a:queue(sqe)
    assert.same({ nil, E.EPIPE }, { op, errno })
    assert.truthy(why:find("the target ring is closed", 1, true))
    -- nothing of a chain is queued either
    assert.equal(E.EPIPE, (select(3, a:queue(nop(1), sqe))))
    assert.equal(0, a:stats().submitted)
    assert.equal(E.EPIPE, (select(3, a:queue(msg(ref, 1, 2)))))
    local fd = uring.sqe():prep_msg_ring_fd_alloc(ref, 0, 0)
    assert.equal(E.EPIPE, (select(3, a:queue(fd))))
    if helper.has "sync_msg" then
      local ok
      ok, why, errno = uring.register_sync_msg(sqe)
      assert.same({ nil, E.EPIPE }, { ok, errno })
      assert.truthy(why:find("the target ring is closed", 1, true))
    end
    helper.raises("closed ring", sqe.prep_msg_ring, sqe, b, 1, 2)
    hand.nothing(a)
  end)

  it("is refused when it was closed between queue and submit", function()
    local a, b = hand.ring(), hand.ring()
    a:queue(msg(b:ref(), 1, 2):set_data64(8), nop(9))
    b:close()
    assert.same({ [8] = -E.EPIPE, [9] = -E.ECANCELED }, hand.some(a, 2))
  end)

  it("by another thread meanwhile is refused at the submit", function()
    local a = hand.ring()
    local t = spec.thread [[
      local uring, spec = require "uring", require "uring_spec"
      local ring = assert(uring.ring())
      spec.put("ref", ring:ref())
      spec.take "queued"
      assert(ring:close())
    ]]
    local ref = spec.take "ref"
    assert.is_false(ref:closed())
    a:queue(msg(ref, 1, 2):set_data64(1))
    a:queue(nop(2))
    a:queue(uring.sqe():prep_msg_ring_fd(ref, 0, 0, 0):set_data64(3))
    spec.put("queued", true)
    assert.same({ true }, { t:join() })
    assert.is_true(ref:closed())
    a:submit()
    assert.same({ -E.EPIPE, 0, -E.EPIPE }, hand.some(a, 3))
  end)

  it("gives an error to the task that awaits the message", function()
    local a, b = hand.ring(), hand.ring()
    local ref = b:ref()
    b:close()
    uring.run(function()
      local res, why, errno = a:await(msg(ref, 1, 2))
      assert.same({ nil, E.EPIPE }, { res, errno })
      assert.truthy(why:find("the target ring is closed", 1, true))
    end)
  end)

  it("never lends its number to another ring", function()
    local a = hand.ring()
    helper.keeps_fds(function()
      local b = assert(uring.ring())
      local sqe = msg(b, 1, 2)
      assert(a:queue(msg(b, 1, 3)))
      b:close()
      local others = {}
      for i = 1, 8 do others[i] = hand.ring { entries = 1, flags = 0 } end
      assert.equal(E.EPIPE, (select(3, a:queue(sqe))))
      a:submit()
      assert.equal(-E.EPIPE, (select(2, hand.take(a))))
      for _, ring in ipairs(others) do
        hand.nothing(ring)
        assert.not_equal(sqe.fd, ring:fd())
        ring:close()
      end
    end)
  end)

  it("by its number has got the messages to it, and no other ring has",
    function()
      local a, b = hand.ring(), hand.ring { flags = 0 }
      local fd = b:fd()
      assert(a:queue(msg(fd, 1, 2)))
      b:close()
      local others = {}
      for i = 1, 8 do
        others[i] = hand.ring { entries = 1, flags = 0 }
        fd = fd ~= others[i]:fd() and fd
      end
      assert.is_false(fd)  -- one of them has the number now
      assert.equal(0, (select(2, hand.take(a))))
      for _, ring in ipairs(others) do hand.nothing(ring) end
    end)
end)

describe("a reference", function()
  after_each(hand.close)

  it("is equal to others of its ring, and says whether it is open",
    function()
      local a, b = hand.ring(), hand.ring()
      local ref = a:ref()
      assert.is_true(ref == a:ref())
      assert.is_false(ref == b:ref())
      assert.is_false(ref:closed())
      assert.truthy(tostring(ref):match "^uring.Ref %(fd %d+%)$")
      a:close()
      assert.is_true(ref:closed())
      assert.equal("uring.Ref (closed)", tostring(ref))
    end)

  it("keeps no memory of a ring that is gone", function()
    local ring = assert(uring.ring())
    local before = helper.fds()
    local ref = ring:ref()
    local sqe, poll = msg(ref, 1, 2), uring.sqe():prep_poll_add(ring, 1)
    assert.equal(ring:fd(), sqe.fd)
    ring:close()
    assert.equal(before - 1, helper.fds())
    assert.equal(-1, sqe.fd)
    assert.is_true(ref:closed())
    helper.raises("was closed after it was prepared", hand.ring().queue,
      hand.ring(), poll)
  end)

  it("does not keep a ring from being collected", function()
    local ref
    do ref = assert(uring.ring()):ref() end
    helper.collect()
    assert.is_true(ref:closed())
  end)
end)

describe("messages across states and processes", function()
  after_each(hand.close)

  it("come by reference from another state's thread, into a sleep",
    function()
      local ring = hand.ring()
      local t = spec.thread([[
        local uring, ref = require "uring", ...
        local own = assert(uring.ring())
        assert(own:queue(uring.sqe():prep_msg_ring(ref, 3, 4)))
        assert(own:submit())
        assert(own:wait_cqe(5))
        own:close()
        return "sent"
      ]], ring:ref())
      assert.same({ 3, 4, 0 }, { message(ring) })
      assert.same({ true, "sent" }, { t:join() })
    end)

  it("come in the order of their sender, from many threads at once",
    function()
      local ring = hand.ring { entries = 4, cq_entries = 16 }
      local threads, last, n = {}, {}, 0
      for i = 1, 4 do
        last[i] = 0
        threads[i] = spec.thread([[
          local uring, ref, i = require "uring", ...
          local own <close> = assert(uring.ring())
          for k = 1, 100 do
            assert(own:queue(uring.sqe():prep_msg_ring(ref, i, k)))
          end
          assert(own:submit())
          for _ = 1, 100 do assert(select(2, own:wait_cqe(60)) == 0) end
        ]], ring:ref(), i)
      end
      while n < 400 do
        local i, k = message(ring)
        assert.equal(last[i] + 1, k)
        last[i], n = k, n + 1
      end
      for i = 1, 4 do assert.same({ true }, { threads[i]:join() }) end
      hand.nothing(ring)
    end)

  it("are refused in the other state once the ring is closed here", function()
    local ring = hand.ring()
    local ref = ring:ref()
    ring:close()
    local t = spec.thread([[
      local uring, ref = require "uring", ...
      local own <close> = assert(uring.ring())
      local op, why, errno = own:queue(uring.sqe():prep_msg_ring(ref, 3, 4))
      return op == nil, errno
    ]], ref)
    assert.same({ true, true, E.EPIPE }, { t:join() })
  end)

  it("come from a child that has collected its copy of the ring", function()
    local ring = assert(uring.ring())
    local ref = ring:ref()
    assert.equal(0, (helper.child(function()
      ring = nil
      helper.collect()
      local own = assert(uring.ring())
      assert(own:queue(msg(ref, 5, 6)))
      assert(select(2, own:wait_cqe(hand.patience)) == 0)
    end)))
    assert.same({ 5, 6, 0 }, { message(ring) })
    ring:close()
  end)

  it("come from a child process, by reference and by number", function()
    local ring = hand.ring()
    local ref, fd = ring:ref(), ring:fd()
    assert.equal(0, (helper.child(function()
      local own = assert(uring.ring())
      for i, target in ipairs { ref, fd } do
        assert(own:queue(msg(target, i, 9)))
        assert(select(2, own:wait_cqe(hand.patience)) == 0)
      end
      if helper.has "sync_msg" then
        assert(uring.register_sync_msg(msg(ref, 3, 9)))
      end
      helper.raises("belongs to another process", function()
        msg(ring, 4, 9)
      end)
    end)))
    for i = 1, helper.has "sync_msg" and 3 or 2 do
      assert.same({ i, 9, 0 }, { message(ring) })
    end
    hand.nothing(ring)
  end)
end)
