-- Leases of provided buffers, and buffers that are not taken: which owner each
-- has, and when it goes back to its group.

local groups = require "groups"
local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"

local it = groups.needs(it)
local E = uring.errno
local one, take = hand.one, hand.take
local adds_up, all_home, multishot, armed, more =
  groups.adds_up, groups.all_home, groups.multishot, groups.armed, groups.more
local after = sockets.after


describe("a lease", function()
  after_each(after)

  it("gives its buffer back when it is collected or closed", function()
    local ring, group, a = armed { entries = 4, size = 8 }
    local function come()
      sockets.write(a, "x")
      local _, res, flags = take(ring)
      return assert(group:lease(res, flags))
    end
    come()
    adds_up(group)
    helper.collect()
    all_home(group)
    do
      local lease <close> = come()
      assert.equal("x", lease:string())
      adds_up(group, 1)
    end
    all_home(group)
    come():close()
    all_home(group)
    -- of a group that was collected itself
    local lease = come()
    local bgid = group:bgid()
    group = nil
    helper.collect()
    assert.equal("x", lease:string())
    lease:release()
    local again, _, errno = ring:buf_ring { bgid = bgid }
    assert.same({ nil, E.EEXIST }, { again, errno })
  end)

  it("outlives its group", function()
    local ring, group, a, op = armed { entries = 4, size = 8 }
    sockets.write(a, "one")
    local _, res, flags = take(ring)
    local lease = group:lease(res, flags)
    op:cancel()
    assert.equal(-E.ECANCELED, (select(2, take(ring))))
    assert.is_true(group:close())
    helper.collect()
    assert.equal("one", lease:string())
    assert(ring:buf_ring { bgid = 0, entries = 4, size = 8 })
    assert.equal("one", lease:string())
    lease:release()
    all_home(ring:buf_ring {})
  end)

  it("outlives its ring", function()
    local ring, group, a = armed { entries = 4, size = 8 }
    sockets.write(a, "one")
    local _, res, flags = take(ring)
    local lease = group:lease(res, flags)
    sockets.write(a, "two")
    _, res, flags = take(ring)
    assert.is_true(ring:close())
    helper.collect()
    assert.equal("one", lease:string())
    assert.equal("two", group:string(res, flags))  -- what was not yet taken
    adds_up(group, 1)
    lease:release()
    adds_up(group, 0)
    local head, _, errno = group:head()
    assert.same({ nil, E.EBADF }, { head, errno })
    assert.is_true(group:close())
  end)

  it("is held by the request that sends it", function()
    local ring, group, a = armed { entries = 4, size = 8 }
    local c, d = sockets.pair()
    sockets.write(a, "hello")
    local _, res, flags = take(ring)
    local lease = group:lease(res, flags)
    local send = uring.sqe():prep_send(c, lease, 3, 0, 1)
    -- it has not started: a timeout is before it
    ring:queue(uring.sqe():prep_timeout(0.005)
      :set_flags(uring.IOSQE_IO_HARDLINK), send)
    ring:submit()
    lease:release()
    send:prep_nop()
    helper.collect()
    adds_up(group, 1)
    hand.some(ring, 1)
    take(ring)
    assert.equal("ell", sockets.read(d))
    all_home(group)
  end)

  it("is held by an sqe and by a msghdr that name it", function()
    local ring, group, a = armed { entries = 4, size = 8 }
    local c, d = sockets.pair()
    sockets.write(a, "hello")
    local _, res, flags = take(ring)
    local lease = group:lease(res, flags)
    local sqe = uring.sqe():prep_sendmsg(c, uring.msghdr {
      iov = { lease, " ", { lease, 1, 3 } } })
    local plain = uring.sqe():prep_write(c, lease)
    lease:release()
    helper.collect()
    adds_up(group, 1)
    assert.equal(9, (one(ring, sqe)))
    assert.equal("hello ell", sockets.read(d))
    sqe:prep_nop()
    helper.collect()
    adds_up(group, 1)
    assert.equal(5, (one(ring, plain)))
    assert.equal("hello", sockets.read(d))
    plain:prep_nop()
    all_home(group)
  end)

  it("of recvmsg has the message, and owns its descriptors", function()
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 4, size = 200 })
    local a, b = sockets.pair(uring.SOCK_DGRAM)
    local msg = uring.msghdr { controllen = 64 }
    helper.keeps_fds(function()
      local op = ring:queue(uring.sqe():prep_recvmsg_multishot(b, msg)
        :set_buf_group(group:bgid()))
      ring:submit()
      ring:queue(uring.sqe():prep_sendmsg(a, uring.msghdr { iov = { "x" },
        control = { fds = { a, b } } }):set_data64(1))
      local lease
      for _ = 1, 2 do
        local data, res, flags = take(ring)
        if data == 0 then lease = group:lease(res, flags) end
      end
      local out = uring.recvmsg_out(lease, msg)
      assert.equal("x", out.payload)
      assert.equal(2, #out.control.fds)
      assert.truthy(out.control.fds[2]:fileno() > 2)
      -- once
      assert.same({}, uring.recvmsg_out(lease, msg).control)
      op:cancel()
      take(ring)
    end)
  end)
end)


describe("buffers that are not taken", function()
  after_each(after)

  it("go back with an operation that was dropped", function()
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 4, size = 8 })
    local a, b = sockets.pair()
    uring.run(function()
      uring.spawn(function()
        local op = ring:queue(multishot(b, group))
        assert(op:await(hand.patience))
        -- and ends, with the operation in flight and results not taken
      end)
      uring.sleep(0)
      sockets.write(a, "12345678abcdefgh")
      local limit = uring.sqe():prep_timeout(0.001)
      for _ = 1, 2000 * helper.slow do
        helper.collect()
        if ring:stats().in_flight == 0 then break end
        uring.await(limit)
      end
    end)
    assert.equal(0, helper.lawful(ring).in_flight)
    -- but for the one that was awaited, which is the program's own
    local s = adds_up(group, 0)
    assert.truthy((s.available or 3) >= 3)
  end)

  it("go back when their await was cancelled or timed out", function()
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 4, size = 8 })
    local a, b = sockets.pair()
    uring.run(function()
      local sqe = uring.sqe():prep_recv(b):set_buf_group(group:bgid())
      for _ = 1, 20 do
        local res, _, errno = ring:await(sqe, 0)
        if not res then assert.equal(E.ETIME, errno) end
        all_home(group)
      end
      sockets.write(a, "12345678")
      local res, flags = ring:await(sqe)
      assert.equal("12345678", group:string(res, flags))
    end)
    all_home(group)
  end)

  it("go back when their ring is closed", function()
    local ring, group, a = armed { entries = 4, size = 4 }
    sockets.write(a, "aaaabbbbcccc")
    local _, res, flags = take(ring)
    local lease = group:lease(res, flags)
    ring:submit_and_wait(2, hand.patience)
    assert.is_true(ring:close())
    adds_up(group, 1)
    assert.equal("aaaa", lease:string())
    lease:release()
    adds_up(group, 0)
  end)

  it("are still the group's when a cancel ends the receive", function()
    local ring, group, a, op = armed { entries = 4, size = 4 }
    sockets.write(a, "aaaabb")
    op:cancel()
    local last
    local text = ""
    repeat
      local _, res, flags = take(ring)
      last = res
      if flags & uring.IORING_CQE_F_BUFFER ~= 0 then
        text = text .. group:string(res, flags)
      end
    until not more(flags)
    assert.equal(-E.ECANCELED, last)
    assert.equal(("aaaabb"):sub(1, #text), text)
    all_home(group)
  end)

  it("stay in memory when their group is closed while a request has one",
    function()
      local ring = hand.ring()
      local a, b = sockets.pair()
      local group = assert(ring:buf_ring { entries = 1, size = 8 })
      local op = ring:queue(uring.sqe():prep_recv(b, nil, 8,
        uring.MSG_WAITALL):set_buf_group(group:bgid()))
      sockets.write(a, "1234")
      ring:submit()
      hand.nothing(ring)  -- it has half of what it waits for
      assert.is_true(group:close())
      group = nil  -- luacheck: ignore
      helper.collect()
      sockets.write(a, "5678")
      assert.equal(8, (select(2, take(ring))))
      assert.equal("done", op:status())
    end)

  it("are no longer picked when their group is closed", function()
    local ring, group, a, op = armed { entries = 4, size = 8 }
    assert.is_true(group:close())
    helper.collect()
    sockets.write(a, "hello")
    assert.equal(-E.ENOBUFS, (select(2, take(ring))))
    assert.equal("done", op:status())
  end)
end)
