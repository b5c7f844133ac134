-- The loop watches rings that are not its own.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local nop <const> = helper.nop

after_each(helper.idle_loop)

describe("a ring that is not the loop's", function()
  it("of any kind wakes the loop", function()
    for _, options in ipairs { {}, { flags = 0 },
        { flags = uring.IORING_SETUP_COOP_TASKRUN },
        { flags = uring.IORING_SETUP_SQPOLL },
        { flags = uring.IORING_SETUP_CQE32 } } do
      uring.run(function()
        local ring <close> = assert(uring.ring(options))
        assert.same({ 0, 0 }, { ring:await(nop()) })
        assert.equal(E.ETIME, select(3, ring:await(
          uring.sqe():prep_timeout(0.005))))
        local later = spec.send_later(0.02, ring:fd(), 11, 22)
        assert.same({ 22, 11, 0 }, { ring:receive(5 * helper.slow) })
        assert.is_true((later:join()))
      end)
    end
  end)

  -- (Without it the loop would find out at the end of its nap.)
  it("wakes it by a poll on the loop's own", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      local own = uring.loop():ring()
      local before = own:stats().submitted
      for _ = 1, 3 do ring:await(uring.sqe():prep_timeout(0.001)) end
      assert.is_true(own:stats().submitted > before)
    end)
  end)

  it("and the loop's own ring are woken by another thread", function()
    uring.run(function()
      local own = uring.loop():ring()
      local later = spec.send_later(0.02, own:fd(), 11, 22)
      assert.same({ 22, 11, 0 }, { own:receive(5 * helper.slow) })
      assert.is_true((later:join()))
    end)
  end)

  it("belongs to the loop while a task waits on it", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      local t = uring.spawn(function() return ring:receive(5) end)
      uring.sleep(0)
      helper.raises("driven by the loop", ring.wait_cqe, ring, 0)
      helper.raises("driven by the loop", ring.peek_cqe, ring)
      local fd = spec.eventfd()
      helper.raises("eventfd of its own", ring.register_eventfd, ring, fd)
      uring.await(uring.sqe():prep_msg_ring(ring, 1, 2))
      assert(t:join(5))
      ring:queue(nop())
      assert(ring:wait_cqe(5))
      assert(ring:register_eventfd(fd))
      assert.equal(E.EBUSY, select(3, ring:receive(0)))
      assert(ring:unregister_eventfd())
      assert.equal(E.ETIME, select(3, ring:receive(0)))
      spec.close(fd)
    end)
  end)

  it("is refused if it is IOPOLL, and while it is disabled", function()
    uring.run(function()
      local poll <close> = assert(uring.ring {
        flags = uring.IORING_SETUP_IOPOLL })
      helper.raises("driven by hand only", poll.await, poll, nop())
      local off <close> = assert(uring.ring {
        flags = uring.IORING_SETUP_R_DISABLED })
      assert.equal(E.EBADFD, select(3, off:await(nop())))
      assert(off:enable_rings())
      assert.same({ 0, 0 }, { off:await(nop()) })
    end)
  end)

  it("is watched through thousands of messages", function()
    uring.run(function()
      local ring <close> = assert(uring.ring { entries = 2, cq_entries = 4 })
      local t = uring.spawn(function()
        for i = 1, 3000 do
          local _, data = assert(ring:receive(5 * helper.slow))
          assert.equal(i, data)
        end
      end)
      local sqe = uring.sqe()
      for i = 1, 3000 do
        uring.await(sqe:prep_msg_ring(ring, 1, i))
      end
      assert(t:join(5 * helper.slow))
    end)
  end)

  it("leaves nothing behind when it is closed", function()
    helper.keeps_fds(function()
      for _ = 1, 10 do
        uring.run(function()
          local ring <close> = assert(uring.ring())
          ring:await(nop())
        end)
      end
    end)
  end)
end)
