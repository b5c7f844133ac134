-- Provided buffers: groups, leases, and whose each buffer is.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"

local ring_it = helper.needs_ring(it)
local E = uring.errno
local one, take = hand.one, hand.take

local function it(name, f)
  ring_it(name, function()
    helper.needs("buf_ring", "recv_multishot", "recvmsg_multishot")
    f()
  end)
end

local function after()
  hand.close()
  sockets.close()
end

-- The counts of a group, which must add up; `out` is how many are leased.
local function adds_up(group, out)
  local s = group:stats()
  if out then assert.equal(out, s.leased) end
  assert.equal(s.entries, (s.available or 0) + s.kernel + s.leased)
  assert.truthy(s.kernel >= 0 and s.leased >= 0)
  return s
end

-- All buffers are at home.
local function all_home(group)
  local s = adds_up(group, 0)
  assert.equal(s.entries, s.available or s.kernel)
end

local function multishot(fd, group)
  return uring.sqe():prep_recv_multishot(fd):set_buf_group(group:bgid())
end

-- A group, a stream and a multishot receive on it: ring, group, from, op, to.
local function armed(options, type)
  local ring = hand.ring()
  local group = assert(ring:buf_ring(options))
  local a, b = sockets.pair(type or uring.SOCK_STREAM)
  local op = ring:queue(multishot(b, group))
  ring:submit()
  return ring, group, a, op, b
end

local function more(flags)
  return flags & uring.IORING_CQE_F_MORE ~= 0
end


describe("ring:buf_ring", function()
  after_each(after)

  it("makes a group of so many buffers of that size", function()
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 8, size = 100, bgid = 7 })
    assert.equal(7, group:bgid())
    assert.equal("uring.BufRing (group 7, 8 buffers of 100 bytes)",
      tostring(group))
    local s = adds_up(group, 0)
    assert.same({ 7, 8, 100 }, { s.bgid, s.entries, s.size })
    for _, entries in ipairs { 1, 2, 32768 } do
      local other = assert(ring:buf_ring { entries = entries, size = 1 })
      assert.equal(entries, other:stats().entries)
      all_home(other)
    end
    assert.same({ 64, 4096 }, { ring:buf_ring {}:stats().entries,
      ring:buf_ring {}:stats().size })
  end)

  it("picks a number that is free", function()
    local ring = hand.ring()
    local named = assert(ring:buf_ring { bgid = 1 })
    local first, second = ring:buf_ring {}, ring:buf_ring {}
    assert.same({ 0, 2 }, { first:bgid(), second:bgid() })
    named:close()
    assert.equal(1, ring:buf_ring {}:bgid())
    assert.equal(65535, ring:buf_ring { bgid = 65535 }:bgid())
    assert.equal(0, hand.ring():buf_ring {}:bgid())
  end)

  it("refuses a number twice, until the first is closed", function()
    local ring = hand.ring()
    local group = assert(ring:buf_ring { bgid = 5 })
    local other, why, errno = ring:buf_ring { bgid = 5 }
    assert.same({ nil, E.EEXIST }, { other, errno })
    assert.truthy(why:find(("ring (fd %d) has a group 5 already"):format(
      ring:fd()), 1, true), why)
    helper.collect()  -- what was refused takes nothing with it
    all_home(group)
    assert.is_true(group:close())
    assert.is_true(group:close())
    assert(ring:buf_ring { bgid = 5 })
  end)

  it("refuses what no group can have", function()
    local ring = hand.ring()
    for _, case in ipairs {
      { "'entries' must be an integer from 1 to 32768", entries = 0 },
      { "'entries' must be an integer from 1 to 32768", entries = 65536 },
      { "'entries' must be an integer", entries = "8" },
      { "'entries' must be a power of two", entries = 3 },
      { "'entries' must be a power of two", entries = 32767 },
      { "'size' must be an integer from 1 to", size = 0 },
      { "'size' must be an integer from 1 to", size = 1 << 31 },
      { "'size' must be an integer", size = 1.5 },
      { "'bgid' must be an integer from 0 to 65535", bgid = -1 },
      { "'bgid' must be an integer from 0 to 65535", bgid = 65536 },
      { "'flags' must be an integer", flags = true },
      { "IOU_PBUF_RING_INC only", flags = uring.IOU_PBUF_RING_MMAP },
      { "IOU_PBUF_RING_INC only", flags = 1 << 31 },
      { "'min_left' must be an integer from 0 to 4096", min_left = -1,
        flags = uring.IOU_PBUF_RING_INC },
      { "'min_left' must be an integer from 0 to 512", min_left = 513,
        size = 512, flags = uring.IOU_PBUF_RING_INC },
      { "'min_left' is for groups with IOU_PBUF_RING_INC", min_left = 1 },
      { "unknown option 'entrys': did you mean 'entries'?", entrys = 1 },
    } do
      local words = table.remove(case, 1)
      helper.raises(words, ring.buf_ring, ring, case)
    end
    helper.raises("table expected", ring.buf_ring, ring)
    helper.raises("table expected", ring.buf_ring, ring, 5)
    helper.raises("uring.Ring expected", ring.buf_ring, {}, {})
    ring:close()
    helper.raises("closed ring", ring.buf_ring, ring, {})
  end)

  it("says that there is no memory", function()
    local ring = hand.ring()
    local group, why, errno = ring:buf_ring { entries = 32768,
      size = 0x7fffffff }
    if group then group:close()  -- where memory is promised without end
    else
      assert.equal(E.ENOMEM, errno)
      assert.truthy(why:find("32768 buffers of 2147483647 bytes", 1, true),
        why)
    end
  end)

  it("says since when the kernel fills buffers by parts", function()
    if helper.has "buf_ring_inc" then return end
    local group, why, errno = hand.ring():buf_ring {
      flags = uring.IOU_PBUF_RING_INC }
    assert.same({ nil, E.EINVAL }, { group, errno })
    assert.truthy(why:find("needs Linux 6.12", 1, true), why)
  end)

  it("says since when the kernel tells where it is", function()
    if helper.has "buf_ring_status" then return end
    local group = hand.ring():buf_ring {}
    for _, method in ipairs { "head", "available" } do
      local n, why, errno = group[method](group)
      assert.same({ nil, E.EINVAL }, { n, errno })
      assert.truthy(why:find("needs Linux 6.8", 1, true), why)
    end
    assert.is_nil(group:stats().available)
  end)
end)


describe("a group", function()
  after_each(after)

  it("gives what has come as a lease or a string", function()
    local ring, group, a = armed { entries = 4, size = 8 }
    sockets.write(a, "hello")
    local _, res, flags = take(ring)
    adds_up(group, 0)
    assert.equal("hello", group:string(res, flags))
    all_home(group)
    sockets.write(a, "12345678")
    _, res, flags = take(ring)
    local lease = group:lease(res, flags)
    adds_up(group, 1)
    assert.equal(("uring.Lease (buffer %d of group 0, 8 bytes)"):format(
      flags >> uring.IORING_CQE_BUFFER_SHIFT), tostring(lease))
    assert.equal(8, #lease)
    assert.same({ "12345678", "345", "8", "" }, { lease:string(),
      lease:string(3, 5), lease:string(-1), lease:string(9) })
    assert.is_nil(lease:release())
    assert.is_nil(lease:release())
    all_home(group)
    assert.equal("uring.Lease (released)", tostring(lease))
    helper.raises("a lease that was released", lease.string, lease)
    helper.raises("a lease that was released", function() return #lease end)
  end)

  it("tells the head and how many are available", function()
    helper.needs "buf_ring_status"
    local ring, group, a, _, b = armed { entries = 4, size = 8 }
    assert.same({ 0, 4 }, { group:head(), group:available() })
    local leases = {}
    for i = 1, 3 do
      sockets.write(a, "x")
      local _, res, flags = take(ring)
      assert.same({ i, 4 - i }, { group:head(), group:available() })
      local s = adds_up(group, i - 1)
      assert.same({ 1, 4 - i }, { s.kernel, s.available })
      leases[i] = group:lease(res, flags)
      assert.equal(0, adds_up(group, i).kernel)
    end
    for i = 1, 3 do
      leases[i]:release()
      assert.same({ 3, 1 + i }, { group:head(), group:available() })
    end
    -- beyond 65535 it begins anew
    local piece = ("x"):rep(8 * 1000)
    local n = 3
    while n < 65538 do
      sockets.write(a, piece:sub(1, 8 * (65538 - n)))
      for _ = n + 1, math.min(n + 1000, 65538) do
        local _, res, flags = take(ring)
        if res == -E.ENOBUFS then
          ring:queue(multishot(b, group))
          _, res, flags = take(ring)
        end
        group:lease(res, flags):release()
        n = n + 1
      end
    end
    assert.same({ 2, 4 }, { group:head(), group:available() })
  end)

  it("gives a completion once", function()
    local ring, group, a = armed { entries = 4, size = 8 }
    sockets.write(a, "hello")
    local _, res, flags = take(ring)
    local lease = group:lease(res, flags)
    local function refused()
      for _, method in ipairs { "lease", "string", "bundle" } do
        local got, why, errno = group[method](group, res, flags)
        assert.same({ nil, E.EINVAL }, { got, errno })
        assert.truthy(why:find("this completion was taken before", 1, true),
          why)
      end
    end
    refused()
    adds_up(group, 1)
    lease:release()
    all_home(group)
    refused()  -- at home it is the kernel's to fill
    all_home(group)
    -- until it has been filled again
    for i = 1, 8 do
      sockets.write(a, tostring(i))
      _, res, flags = take(ring)
      assert.equal(tostring(i), group:string(res, flags))
      refused()
      all_home(group)
    end
  end)

  it("gives nothing for what is no completion of its", function()
    local ring, group, a = armed { entries = 4, size = 8 }
    local buffer = uring.IORING_CQE_F_BUFFER
    for _, flags in ipairs { buffer, buffer | 3 << 16, buffer | 4 << 16,
        buffer | 65535 << 16, 0xffffffff } do
      for _, method in ipairs { "lease", "string", "bundle" } do
        local got, _, errno = group[method](group, 5, flags)
        assert.same({ nil, E.EINVAL }, { got, errno })
      end
    end
    for _, flags in ipairs { 0, uring.IORING_CQE_F_MORE, 1 << 16 } do
      local got, why, errno = group:lease(5, flags)
      assert.same({ nil, E.EINVAL }, { got, errno })
      assert.truthy(why:find("the flags name no buffer", 1, true), why)
    end
    -- nor for a completion that another group has had
    local other = assert(ring:buf_ring { entries = 4, size = 8 })
    sockets.write(a, "hello")
    local _, res, flags = take(ring)
    assert.is_nil((other:lease(res, flags)))
    assert.equal("hello", group:string(res, flags))
    all_home(group)
    all_home(other)
  end)

  it("refuses what is no result and no flags", function()
    local group = hand.ring():buf_ring {}
    for _, method in ipairs { "lease", "string", "bundle" } do
      local f = group[method]
      for _, bad in ipairs { 0.5, "1", {}, 1 << 31, -(1 << 31) - 1 } do
        helper.raises("integer from -2147483648 to 2147483647", f, group,
          bad, 1)
      end
      for _, bad in ipairs { 0.5, "1", {}, 1 << 32, -1 } do
        helper.raises("integer from 0 to 4294967295", f, group, 1, bad)
      end
      helper.raises("uring.BufRing expected", f, {}, 1, 1)
    end
    group:close()
    assert.equal("uring.BufRing (closed)", tostring(group))
    for _, method in ipairs { "lease", "string", "bundle", "stats", "head",
        "available", "bgid" } do
      helper.raises("closed buf_ring", group[method], group, 1, 1)
    end
  end)

  it("that is empty ends a multishot, which is armed again", function()
    local ring, group, a, op, b = armed { entries = 2, size = 4 }
    sockets.write(a, "aaaabbbbcccc")
    local leases = {}
    for i = 1, 2 do
      local _, res, flags = take(ring)
      assert.truthy(more(flags))
      leases[i] = group:lease(res, flags)
    end
    local _, res, flags = take(ring)
    assert.same({ -E.ENOBUFS, 0 }, { res, flags })
    assert.equal("done", op:status())
    assert.equal("aaaabbbb", leases[1]:string() .. leases[2]:string())
    leases[1]:release()
    ring:queue(multishot(b, group))
    _, res, flags = take(ring)
    assert.equal("cccc", group:string(res, flags))
  end)

  it("that nobody has is empty, too", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    sockets.write(a, "x")
    for _, sqe in ipairs { uring.sqe():prep_recv(b),
        uring.sqe():prep_recv_multishot(b),
        uring.sqe():prep_recvmsg_multishot(b, uring.msghdr {}) } do
      assert.equal(-E.ENOBUFS, (one(ring, sqe:set_buf_group(99))))
    end
    local group = ring:buf_ring { bgid = 99 }
    local sqe = multishot(b, group)
    group:close()
    assert.equal(-E.ENOBUFS, (one(ring, sqe)))
    assert.equal("x", sockets.read(b))
  end)

  it("whose buffers are smaller than the header faults", function()
    local ring = hand.ring()
    local to, address = sockets.udp()
    local from = sockets.udp()
    local msg = uring.msghdr { namelen = 16, controllen = 24 }
    for _, size in ipairs { 17, 55, 57, 58 } do
      local group = assert(ring:buf_ring { entries = 2, size = size })
      local op = ring:queue(uring.sqe():prep_recvmsg_multishot(to, msg)
        :set_buf_group(group:bgid()))
      ring:submit()
      ring:queue(uring.sqe():prep_sendto(from, "hello", nil, 0, address)
        :set_data64(1))
      local got = {}
      for _ = 1, 2 do
        local data, res, flags = take(ring)
        got[data] = { res, flags }
      end
      assert.equal(5, got[1][1])
      local res, flags = got[0][1], got[0][2]
      if size < 56 then
        assert.equal(-E.EFAULT, res)
        if flags & uring.IORING_CQE_F_BUFFER ~= 0 then
          group:lease(res, flags):release()
        end
        -- what it was sent for is still there
        assert(spec.ready(to:fileno(), 0))
        assert.equal("hello", sockets.read(to))
      else
        local lease = group:lease(res, flags)
        local out = uring.recvmsg_out(lease, msg)
        assert.equal(("hello"):sub(1, size - 56), out.payload)
        assert.is_true(out.truncated.payload)
        lease:release()
        op:cancel()
        if more(flags) then take(ring) end
      end
      all_home(group)
      group:close()
    end
  end)
end)


describe("a lease", function()
  after_each(after)

  it("goes home when it is collected, or leaves its scope", function()
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

  it("is held by what sends it", function()
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

  it("of recvmsg has what was sent, and owns its descriptors", function()
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


describe("buffers that nobody takes", function()
  after_each(after)

  it("go home with an operation that was dropped", function()
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

  it("go home when their await was cancelled or timed out", function()
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

  it("go home when their ring is closed", function()
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

  it("are the group's still when a cancel ends the receiving", function()
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

  it("stay in memory when their group is closed, for what picked one",
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

  it("are no longer asked for when their group is closed", function()
    local ring, group, a, op = armed { entries = 4, size = 8 }
    assert.is_true(group:close())
    helper.collect()
    sockets.write(a, "hello")
    assert.equal(-E.ENOBUFS, (select(2, take(ring))))
    assert.equal("done", op:status())
  end)
end)


describe("IOU_PBUF_RING_INC", function()
  after_each(after)

  local INC = uring.IOU_PBUF_RING_INC

  it("fills one buffer by parts", function()
    helper.needs "buf_ring_inc"
    local ring, group, a = armed { entries = 2, size = 64, flags = INC }
    local leases, text = {}, ""
    for i = 1, 6 do
      local s = ("%d"):format(i):rep(9 + i)
      sockets.write(a, s)
      local _, res, flags = take(ring)
      local lease = assert(group:lease(res, flags))
      leases[#leases + 1] = lease
      text = text .. s
      -- the end of a buffer cuts a part in two
      if res < #s then
        assert.equal(0, flags & uring.IORING_CQE_F_BUF_MORE)
        _, res, flags = take(ring)
        leases[#leases + 1] = assert(group:lease(res, flags))
      end
      adds_up(group)
    end
    local got = {}
    for i, lease in ipairs(leases) do got[i] = lease:string() end
    assert.equal(text, table.concat(got))
    assert.equal(1, group:stats().leased)  -- the second is not yet full
    for i = #leases, 1, -1 do leases[i]:release() end
    adds_up(group, 0)
    -- full to the last byte it goes home, and is filled from its start
    local rest = 2 * 64 - #text
    sockets.write(a, ("z"):rep(rest))
    local _, res, flags = take(ring)
    assert.equal(rest, res)
    assert.equal(0, flags & uring.IORING_CQE_F_BUF_MORE)
    assert.equal(("z"):rep(rest), group:string(res, flags))
    all_home(group)
    sockets.write(a, "again")
    _, res, flags = take(ring)
    assert.equal("again", group:string(res, flags))
  end)

  it("is refused where it would cut datagrams", function()
    helper.needs "buf_ring_inc"
    local ring = hand.ring()
    local group = assert(ring:buf_ring { flags = INC })
    local to = sockets.udp()
    local a = sockets.pair(uring.SOCK_SEQPACKET)
    for _, fd in ipairs { to, a } do
      for _, sqe in ipairs { uring.sqe():prep_recv(fd),
          uring.sqe():prep_recv_multishot(fd),
          uring.sqe():prep_read(fd, uring.buffer(1))
            :set_flags(uring.IOSQE_BUFFER_SELECT),
          uring.sqe():prep_recvmsg_multishot(fd, uring.msghdr {}) } do
        helper.raises("would cut datagrams off", ring.queue, ring,
          sqe:set_buf_group(group:bgid()))
      end
    end
    -- what is left is less than what comes before a message
    local least = ring:buf_ring { flags = INC, min_left = 16 + 28 + 64 }
    if least then  -- (not every kernel has it)
      helper.raises("would cut datagrams off", ring.queue, ring,
        uring.sqe():prep_recvmsg_multishot(to, uring.msghdr { namelen = 28,
          controllen = 64 }):set_buf_group(least:bgid()))
    end
  end)
end)


describe("a bundle", function()
  after_each(after)

  it("is received into buffers that follow one another", function()
    helper.needs "bundles"
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 8, size = 10 })
    -- (unix sockets tell how much there is in newer kernels)
    local a, b = sockets.connection(ring)
    local function receive(n)
      local text = ("0123456789abcdefghij"):rep(4):sub(1, n)
      sockets.write(a, text)
      local op = ring:queue(multishot(b, group)
        :set_ioprio(uring.IORING_RECV_MULTISHOT
          | uring.IORING_RECVSEND_BUNDLE))
      local leases, got, most = {}, {}, 0
      local goes_on
      while #table.concat(got) < n do
        local _, res, flags = take(ring)
        goes_on = more(flags)  -- it need not where it took all there are
        local all = assert(group:bundle(res, flags))
        assert.equal((res + 9) // 10, #all)
        most = math.max(most, #all)
        for _, lease in ipairs(all) do
          leases[#leases + 1] = lease
          got[#got + 1] = lease:string()
        end
      end
      assert.equal(text, table.concat(got))
      adds_up(group, #leases)
      op:cancel()
      if goes_on then take(ring) end
      return leases, most
    end
    local most = 0
    for _, n in ipairs { 1, 10, 11, 35, 80, 79 } do
      local leases, n_most = receive(n)
      most = math.max(most, n_most)
      for _, lease in ipairs(leases) do lease:release() end
      all_home(group)
    end
    assert.truthy(most > 1)
    -- the order of going home is the order of being filled
    local order = { 3, 1, 4, 2, 8, 6, 5, 7 }
    for _ = 1, 5 do
      local leases = receive(80)
      for i = 1, 8 do leases[order[i]]:release() end
    end
    all_home(group)
    receive(25)  -- collected
    helper.collect()
    all_home(group)
  end)

  it("is sent from the buffers that a group has", function()
    helper.needs "bundles"
    local ring, group, a, op = armed { entries = 4, size = 4 }
    local c, d = sockets.pair()
    sockets.write(a, "oneatwoa3333")
    for _ = 1, 3 do
      local _, res, flags = take(ring)
      group:lease(res, flags):release()
    end
    op:cancel()
    take(ring)
    -- the first that went home are behind the one never used
    local res, _, flags = one(ring, uring.sqe():prep_send_bundle(c)
      :set_buf_group(group:bgid()))
    assert.equal(16, res)
    assert.equal("\0\0\0\0oneatwoa3333", sockets.read(d))
    if helper.has "buf_ring_status" then
      assert.equal(4, adds_up(group, 0).kernel)
    end
    local leases = group:bundle(res, flags)
    assert.equal(4, #leases)
    adds_up(group, 4)
    for _, lease in ipairs(leases) do lease:release() end
    all_home(group)
  end)

  it("that nobody takes goes home whole", function()
    helper.needs "bundles"
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 8, size = 10 })
    local a, b = sockets.pair()
    sockets.write(a, ("x"):rep(45))
    ring:queue(uring.sqe():prep_recv(b):set_buf_group(group:bgid())
      :set_ioprio(uring.IORING_RECVSEND_BUNDLE))
    ring:submit_and_wait(1, hand.patience)
    ring:close()
    adds_up(group, 0)
  end)
end)


describe("random lives of buffers", function()
  after_each(after)

  local function random_of(seed)
    local state = seed
    return function(below)
      state = state ~ state << 13
      state = state ~ state >> 7
      state = state ~ state << 17
      return (state >> 1) % below
    end
  end

  -- Adler's sum, with where it is
  local function checksum()
    local a, b, n = 1, 0, 0
    return function(s)
      for i = 1, #s do
        a = (a + s:byte(i)) % 65521
        b = (b + a) % 65521
      end
      n = n + #s
      return b << 16 | a, n
    end
  end

  -- Sends and receives at random, takes as leases or strings, keeps some,
  -- drops some, cancels and arms again. What is received is what was sent.
  local function live(options, seed, steps)
    local random = random_of(seed)
    local ring = hand.ring()
    local group = assert(ring:buf_ring(options))
    local a, b = sockets.pair()
    local nonblock = uring.MSG_DONTWAIT
    local sent, received = checksum(), checksum()
    local kept, waiting, op = {}, 0, nil
    local function completion(data, res, flags)
      if data > 0 then  -- a send; there was room for it
        assert.equal(data, res)
        return
      end
      if flags & uring.IORING_CQE_F_BUFFER ~= 0 then
        if random(2) == 0 then
          received(assert(group:string(res, flags)))
        else
          local lease = assert(group:lease(res, flags))
          local text = lease:string()
          received(text)
          kept[#kept + 1] = { lease, text }
        end
      else
        assert(res == -E.ENOBUFS or res == -E.ECANCELED, res)
      end
      if not more(flags) then op = nil end
    end
    local function reap(patience)
      local data, res, flags = ring:wait_cqe(patience)
      if data then completion(data, res, flags) end
      return data
    end
    local function give_back(i)
      local lease, text = table.unpack(kept[i])
      assert.equal(text, lease:string())  -- nobody wrote into it
      if random(4) > 0 then lease:release() end  -- or leaves it as garbage
      kept[i] = kept[#kept]
      kept[#kept] = nil
    end
    for _ = 1, steps do
      local what = random(10)
      if what < 4 and waiting < 16384 then
        local n = 1 + random(options.size * 3)
        local text = string.char(random(256)):rep(n // 2)
          .. tostring(random(1 << 40)):rep(n)
        text = text:sub(1, n)
        ring:queue(uring.sqe():prep_send(a, text, nil, nonblock)
          :set_data64(n))
        ring:submit()
        sent(text)
        waiting = waiting + n
      elseif what < 6 then
        if not op then
          op = ring:queue(multishot(b, group):set_data64(0))
          ring:submit()
        end
      elseif what == 6 then
        if op and random(4) == 0 then op:cancel() end
      elseif what == 7 then
        if #kept > 0 then give_back(1 + random(#kept)) end
      elseif what == 8 and random(20) == 0 then
        helper.collect()
      else
        while reap(0) do end
        waiting = select(2, sent "") - select(2, received "")
      end
      adds_up(group)
    end
    -- to the last byte
    local limit = 100000
    while select(2, received "") < select(2, sent "") do
      while #kept > 0 do give_back(1) end
      helper.collect()
      if not op then
        op = ring:queue(multishot(b, group):set_data64(0))
      end
      assert(reap(hand.patience))
      limit = limit - 1
      assert(limit > 0)
    end
    assert.same({ sent "" }, { received "" })
    if op then
      op:cancel()
      while op do assert(reap(hand.patience)) end
    end
    while #kept > 0 do give_back(1) end
    helper.collect()
    adds_up(group, 0)
    return group
  end

  it("add up at every step, and lose nothing", function()
    for seed = 1, 3 do
      all_home(live({ entries = 8, size = 50 }, seed * 7919, 1500))
      after()
    end
  end)

  it("add up as well where they are filled by parts", function()
    helper.needs "buf_ring_inc"
    for seed = 1, 3 do
      live({ entries = 4, size = 200, flags = uring.IOU_PBUF_RING_INC },
        seed * 104729, 1500)
      after()
    end
  end)
end)
