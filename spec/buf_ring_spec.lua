-- Provided buffers: groups, what they give, and groups whose buffers are
-- filled by parts. (For leases see lease_spec.)

local groups = require "groups"
local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"

local it = groups.needs(it)
local E = uring.errno
local one, take = hand.one, hand.take
local adds_up, all_home, multishot, armed, more =
  groups.adds_up, groups.all_home, groups.multishot, groups.armed, groups.more
local after = sockets.after


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

  it("refuses sizes and numbers that no group can have", function()
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
      { "IOU_PBUF_RING_INC only", flags = 1 },
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

  it("names the first kernel that fills buffers by parts", function()
    if helper.has "buf_ring_inc" then return end
    local group, why, errno = hand.ring():buf_ring {
      flags = uring.IOU_PBUF_RING_INC }
    assert.same({ nil, E.EINVAL }, { group, errno })
    assert.truthy(why:find("needs Linux 6.12", 1, true), why)
  end)

  it("names the first kernel that tells the head of a group", function()
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

  it("gives received data as a lease or a string", function()
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

  it("tells the head and how many buffers are available", function()
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

  it("gives nothing for a completion that is not its own", function()
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

  it("refuses values that are no result or no flags", function()
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

  it("that does not exist is empty, too", function()
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

  it("whose buffers are smaller than the header fails with EFAULT", function()
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
  end)

  it("is refused where a stream's message has no room for its header",
    function()
      helper.needs "buf_ring_inc"
      local ring = hand.ring()
      local _, b = sockets.pair()
      local function queue(group)
        return ring:queue(uring.sqe():prep_recvmsg_multishot(b, uring.msghdr {
          controllen = 64 }):set_buf_group(group:bgid()))
      end
      local group = assert(ring:buf_ring { flags = INC })
      helper.raises("needs a min_left of more than 80", queue, group)
      local less = ring:buf_ring { flags = INC, min_left = 80 }
      local least = ring:buf_ring { flags = INC, min_left = 81 }
      if not least then return end  -- (not every kernel has it)
      helper.raises("needs a min_left of more than 80", queue, less)
      assert(queue(least))
    end)

  it("serves a single recvmsg of a stream, which has no header",
    function()
      helper.needs "buf_ring_inc"
      local ring = hand.ring()
      local group = assert(ring:buf_ring { flags = INC })
      local a, b = sockets.pair()
      local msg = uring.msghdr { iov = { uring.buffer(64) }, controllen = 64 }
      for _, text in ipairs { "one", "two" } do
        ring:queue(uring.sqe():prep_recvmsg(b, msg)
          :set_flags(uring.IOSQE_BUFFER_SELECT):set_buf_group(group:bgid()))
        sockets.write(a, text)
        local _, res, flags = ring:wait_cqe(hand.patience)
        assert.equal(text, group:string(res, flags))
      end
    end)
end)
