-- Receives at liburing's level: once or by multishot, into buffers of one's
-- own or of a group's.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"
local wrong = require "wrong"

local it = helper.needs_ring(it)
local E = uring.errno
local one, take, fixed, has = hand.one, hand.take, hand.fixed, hand.has
local MORE = uring.IORING_CQE_F_MORE
local connection, after = sockets.connection, sockets.after
local sqe = uring.sqe
local refuses, part = wrong.refuses, wrong.integer
local fd_kind, flags_kind, int_kind = wrong.fd, wrong.flags, wrong.int


describe("recv", function()
  after_each(after)

  it("fills a buffer, or a part of it", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    local buffer = uring.buffer ".........."
    for _, case in ipairs {
      { {}, "hello.....", 5 }, { { 3 }, "hel.......", 3 },
      { { nil, 0, 7 }, ".......hel", 3 }, { { 2, 0, 4 }, "....he....", 2 },
      { { 0 }, "..........", 0 }, { { nil, 0, 10 }, "..........", 0 },
    } do
      buffer:write(0, "..........")
      sockets.write(a, "hello")
      assert.equal(case[3], (one(ring, sqe():prep_recv(b, buffer,
        table.unpack(case[1], 1, 3)))))
      assert.equal(case[2], buffer:string())
      if case[3] < 5 then sockets.read(b) end
    end
    sockets.write(a, "peek")
    for _ = 1, 2 do
      assert.equal(4, (one(ring, sqe():prep_recv(b, buffer, nil,
        uring.MSG_PEEK))))
    end
    assert.equal("peek", sockets.read(b))
    assert.equal(-E.EAGAIN, (one(ring, sqe():prep_recv(b, buffer, nil,
      uring.MSG_DONTWAIT))))
    a:close()
    assert.equal(0, (one(ring, sqe():prep_recv(b, buffer))))
  end)

  it("waits for all of it, or polls first, where that is asked", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    local buffer = uring.buffer(6)
    sockets.write(a, "abc")
    ring:queue(sqe():prep_recv(b, buffer, nil, uring.MSG_WAITALL))
    ring:submit()
    hand.nothing(ring)
    sockets.write(a, "def")
    assert.equal(6, (select(2, take(ring))))
    assert.equal("abcdef", buffer:string())
    local s = sqe():prep_recv(b, buffer)
      :set_ioprio(uring.IORING_RECVSEND_POLL_FIRST)
    sockets.write(a, "poll")
    assert.equal(4, (one(ring, s)))
    assert.equal(4, (one(ring, sqe():prep_send(a, "send")
      :set_ioprio(uring.IORING_RECVSEND_POLL_FIRST))))
    assert.equal("send", sockets.read(b))
    assert.equal(-E.EINVAL, (one(ring, sqe():prep_recv(b, buffer)
      :set_ioprio(1 << 15))))
  end)

  it("tells whether there is more", function()
    local ring = hand.ring()
    local a, b = connection(ring)  -- (unix sockets tell in newer kernels)
    sockets.write(a, "0123456789")
    local buffer = uring.buffer(4)
    local told = {}
    for i = 1, 3 do
      local _, _, flags = one(ring, sqe():prep_recv(b, buffer))
      told[i] = has(flags, uring.IORING_CQE_F_SOCK_NONEMPTY)
    end
    assert.same({ true, true, false }, told)
  end)

  it("lets the kernel pick a buffer", function()
    helper.needs "buf_ring"
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 4, size = 8 })
    local a, b = sockets.pair()
    sockets.write(a, "0123456789")
    for _, text in ipairs { "01234567", "89" } do
      local res, _, flags = one(ring, sqe():prep_recv(b)
        :set_buf_group(group:bgid()))
      assert.is_false(has(flags, MORE))
      assert.equal(text, group:string(res, flags))
    end
    sockets.write(a, "0123")
    local res, _, flags = one(ring, sqe():prep_recv(b, nil, 3)
      :set_buf_group(group:bgid()))
    assert.equal("012", group:string(res, flags))
    -- and into the buffer of a plain request by its flag alone
    assert(ring:register_files { b })
    res, _, flags = one(ring, sqe():prep_recv(0)
      :set_flags(uring.IOSQE_FIXED_FILE | uring.IOSQE_BUFFER_SELECT)
      :set_buf_group(group:bgid()))
    assert.equal("3", group:string(res, flags))
  end)

  it("by one request receives until the end", function()
    helper.needs "recv_multishot"
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 8, size = 8 })
    local a, b = sockets.pair()
    local op = ring:queue(sqe():prep_recv_multishot(b)
      :set_buf_group(group:bgid()):set_data64(5))
    for _, text in ipairs { "one", "two", "three" } do
      sockets.write(a, text)
      local data, res, flags = take(ring)
      assert.equal(5, data)
      assert.is_true(has(flags, MORE))
      assert.is_true(has(flags, uring.IORING_CQE_F_BUFFER))
      assert.equal(text, group:string(res, flags))
      assert.equal("in flight", op:status())
    end
    a:close()
    local _, res, flags = take(ring)
    assert.equal(0, res)
    assert.is_false(has(flags, MORE))
    if has(flags, uring.IORING_CQE_F_BUFFER) then
      assert.equal("", group:string(res, flags))
    end
    assert.equal("done", op:status())
    assert.equal(0, group:stats().leased)
  end)

  it("of messages has names, control messages and payload", function()
    local ring = hand.ring()
    local to, address = sockets.udp()
    local from, source = sockets.udp()
    sockets.set(to, uring.SOL_IP, uring.IP_PKTINFO, 1)
    assert(ring:register_files { to })
    local buffer = uring.buffer(10)
    local msg = uring.msghdr { namelen = 16, controllen = 64,
      iov = { buffer } }
    for i, s in ipairs { sqe():prep_recvmsg(to, msg),
        fixed(sqe():prep_recvmsg(0, msg)) } do
      one(ring, sqe():prep_sendto(from, tostring(i), nil, 0, address))
      assert.equal(1, (one(ring, s)))
      assert.equal(tostring(i), buffer:string(1, 1))
      assert.equal(source, msg:name())
      assert.equal("127.0.0.1", msg:control().pktinfo.addr.host)
    end
  end)

  it("of messages by one request goes on and on", function()
    helper.needs "recvmsg_multishot"
    local ring = hand.ring()
    local to, address = sockets.udp()
    local from, source = sockets.udp()
    sockets.set(to, uring.SOL_IP, uring.IP_PKTINFO, 1)
    local group = assert(ring:buf_ring { entries = 4, size = 80 + 10 })
    local msg = uring.msghdr { namelen = 16, controllen = 48 }
    local again = sqe():prep_recvmsg_multishot(to, msg)
      :set_buf_group(group:bgid()):set_data64(1)
    local op = ring:queue(again)
    -- a datagram of 0, 1, exactly the room, one more, and much more
    for _, size in ipairs { 1, 9, 10, 0, 11, 65507, 10, 1, 0, 10 } do
      local text = ("0123456789"):rep(size // 10 + 1):sub(1, size)
      ring:queue(sqe():prep_sendto(from, text, nil, 0, address)
        :set_data64(2))
      local got = {}
      for _ = 1, 2 do
        local data, res, flags = take(ring)
        got[data] = { res, flags }
      end
      assert.equal(size, got[2][1])
      local res, flags = table.unpack(got[1])
      local lease <close> = assert(group:lease(res, flags))
      local out = assert(uring.recvmsg_out(lease, msg))
      assert.equal(text:sub(1, 10), out.payload)
      assert.same({ name = false, control = false, payload = size > 10 },
        out.truncated)
      assert.equal(source, out.name)
      assert.equal(uring.sockaddr("127.0.0.1", 0),
        out.control.pktinfo.addr)
      if not has(flags, MORE) then  -- an empty one ends it
        assert.equal(0, size)
        assert.equal("done", op:status())
        op = ring:queue(again)
      end
    end
    helper.raises("in use", msg.close, msg)
    op:cancel()
    assert.same({ 1, -E.ECANCELED, 0 }, { take(ring) })
    assert.is_true(msg:close())
    assert.equal(0, group:stats().leased)
  end)

  it("of messages tells the whole length where that is asked", function()
    helper.needs "recvmsg_multishot"
    local ring = hand.ring()
    local to, address = sockets.udp()
    local from = sockets.udp()
    local group = assert(ring:buf_ring { entries = 4, size = 16 + 10 })
    local msg = uring.msghdr {}
    local op = ring:queue(sqe():prep_recvmsg_multishot(to, msg,
      uring.MSG_TRUNC):set_buf_group(group:bgid()):set_data64(1))
    ring:submit()
    ring:queue(sqe():prep_sendto(from, ("x"):rep(1000), nil, 0, address)
      :set_data64(2))
    for _ = 1, 2 do
      local data, res, flags = take(ring)
      if data == 1 then
        local text = group:string(res, flags)
        local out = uring.recvmsg_out(text, msg)
        assert.same({ 10, 1000 }, { #out.payload, out.payloadlen })
        assert.is_true(out.truncated.payload)
      end
    end
    op:cancel()
    take(ring)
  end)

  it("refuses arguments that are none", function()
    local room = { words = "uring.Buffer expected",
      bad = { 5, "string", true, {} } }
    refuses("prep_recv", { 0, uring.buffer(3) }, { fd_kind, room, part(3),
      flags_kind, part(3) })
    refuses("prep_recv_multishot", { 0 }, { fd_kind, { words =
      "nil expected", bad = { uring.buffer(3), 5, "x" } }, int_kind,
      flags_kind })
    local s = sqe()
    helper.raises("integer from", s.prep_recv, s, 0, nil, -1)
    helper.raises("integer from", s.prep_recv, s, 0, nil, 1 << 31)
  end)
end)
