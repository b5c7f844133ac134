-- Sends at liburing's level, with and without a copy.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"
local wrong = require "wrong"

local it = helper.needs_ring(it)
local E = uring.errno
local one, take, fixed, has = hand.one, hand.take, hand.fixed, hand.has
local MORE, NOTIF = uring.IORING_CQE_F_MORE, uring.IORING_CQE_F_NOTIF
local connection, after = sockets.connection, sockets.after
local sqe = uring.sqe
local refuses, integer, part = wrong.refuses, wrong.integer, wrong.integer
local fd_kind, flags_kind, int_kind, address_kind =
  wrong.fd, wrong.flags, wrong.int, wrong.address

local bytes_kind = { words = "string, buffer or lease expected",
  bad = { 5, true, {}, uring.sqe() } }


describe("send", function()
  after_each(after)

  it("takes strings, buffers and parts of them", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    local buffer = uring.buffer "0123456789"
    for _, case in ipairs {
      { "hello", { "hello" } }, { "hel", { "hello", 3 } },
      { "lo", { "hello", nil, 0, 3 } }, { "l", { "hello", 1, 0, 2 } },
      { "\0\255", { "\0\255" } },
      { "0123456789", { buffer } }, { "89", { buffer, nil, nil, 8 } },
      { "345", { buffer, 3, 0, 3 } },
    } do
      assert.equal(#case[1], (one(ring, sqe():prep_send(a,
        table.unpack(case[2], 1, 4)))))
      assert.equal(case[1], sockets.read(b))
    end
    assert.equal(0, (one(ring, sqe():prep_send(a, ""))))
    assert.equal(0, (one(ring, sqe():prep_send(a, buffer, nil, 0, 10))))
  end)

  it("minds its flags, and its slot", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    assert(ring:register_files { a, b })
    assert.equal(5, (one(ring, fixed(sqe():prep_send(0, "fixed")))))
    local buffer = uring.buffer(10)
    assert.equal(5, (one(ring, fixed(sqe():prep_recv(1, buffer)))))
    assert.equal("fixed", buffer:string(1, 5))
    local full = 0
    repeat
      local n = one(ring, sqe():prep_send(a, ("x"):rep(65536), nil,
        uring.MSG_DONTWAIT))
      full = full + math.max(n, 0)
    until n < 65536 and n <= 0
    assert.truthy(full > 0)
    assert.equal(-E.EAGAIN, (one(ring, sqe():prep_send(a, "x", nil,
      uring.MSG_DONTWAIT))))
  end)

  it("goes to an address", function()
    local ring = hand.ring()
    for _, host in ipairs { "127.0.0.1", "::1" } do
      local to, address = sockets.udp(host)
      local from = sockets.udp(host)
      assert.equal(5, (one(ring, sqe():prep_sendto(from, "hello", nil, 0,
        address))))
      assert.equal("hello", sockets.read(to))
      assert.equal(2, (one(ring, sqe():prep_sendto(from,
        uring.buffer "hello", 2, 0, tostring(address), 3))))
      assert.equal("lo", sockets.read(to))
      assert.equal(5, (one(ring, sqe():prep_send(from, "again")
        :prep_send_set_addr(address))))
      assert.equal("again", sockets.read(to))
      -- a second address takes the first's place
      local s = sqe():prep_send(from, "other"):set_data64(7)
        :prep_send_set_addr "127.0.0.1:1":prep_send_set_addr(address)
      helper.collect()
      local res, data = one(ring, s)
      assert.same({ 5, 7 }, { res, data })
      assert.equal("other", sockets.read(to))
      assert.equal(0, (one(ring, sqe():prep_sendto(from, "", nil, 0,
        address))))
      assert.equal("", sockets.read(to))
    end
    local from = sockets.udp()
    assert.equal(-E.EDESTADDRREQ, (one(ring, sqe():prep_send(from, "x"))))
  end)

  it("does not show where its memory is", function()
    for _, s in ipairs { sqe():prep_sendto(0, "x", nil, 0, "127.0.0.1:1"),
        sqe():prep_send(0, "x"):prep_send_set_addr "127.0.0.1:1" } do
      assert.is_nil(s.addr)
      assert.is_nil(s.off)
      assert.truthy(tostring(s):find(" off=0 ", 1, true))
    end
    assert.is_nil(sqe():prep_connect(0, "127.0.0.1:1").addr)
  end)

  it("of messages minds both forms", function()
    local ring = hand.ring()
    local to, address = sockets.udp()
    local from = sockets.udp()
    local msg = uring.msghdr { name = address, iov = { "ab", "cd" } }
    local s = sqe():prep_sendmsg(from, msg)
    for _ = 1, 3 do
      assert.equal(4, (one(ring, s)))
      assert.equal("abcd", sockets.read(to))
    end
    assert(ring:register_files { from })
    assert.equal(4, (one(ring, fixed(sqe():prep_sendmsg(0, msg)))))
    assert.equal("abcd", sockets.read(to))
    assert.equal(-E.EOPNOTSUPP, (one(ring, sqe():prep_sendmsg(from, msg,
      uring.MSG_OOB))))
  end)

  it("takes its bytes for no array of addresses", function()
    local VECTORIZED <const> = 1 << 5
    local bytes, s = uring.buffer(16), sqe()
    s:prep_send(0, "bytes"):set_ioprio(1)
    helper.raises("array of addresses", s.set_ioprio, s, VECTORIZED | 1)
    assert.equal(1, s.ioprio)
    s:prep_send_zc(0, bytes)
    helper.raises("array of addresses", s.set_ioprio, s, VECTORIZED)
    for _, method in ipairs { "prep_send_zc", "prep_send_zc_fixed" } do
      helper.raises("array of addresses", s[method], s, 0, bytes, 1, 0,
        VECTORIZED, 0)
    end
  end)

  it("refuses arguments that are none", function()
    refuses("prep_send", { 0, "abc" }, { fd_kind, bytes_kind, part(3),
      flags_kind, part(3) })
    refuses("prep_sendto", { 0, "abc", 3, 0, "127.0.0.1:1" }, { fd_kind,
      bytes_kind, part(3), flags_kind, address_kind, part(3) })
    local zc_bytes = { words = "expected", bad = { 5, true, {} } }
    for _, method in ipairs { "prep_send_zc" } do
      refuses(method, { 0, uring.buffer "abc" }, { fd_kind, zc_bytes,
        part(3), flags_kind, integer(65535), part(3) })
    end
    refuses("prep_send_bundle", { 0 }, { fd_kind, int_kind, flags_kind })
    local msg = { words = "uring.Msghdr expected", bad = { 5, "x", {},
      true } }
    for _, method in ipairs { "prep_sendmsg", "prep_sendmsg_zc",
        "prep_recvmsg", "prep_recvmsg_multishot" } do
      refuses(method, { 0, uring.msghdr {} }, { fd_kind, msg, flags_kind })
    end
    local s = sqe()
    helper.raises("prepare a send first", s.prep_send_set_addr, s,
      "127.0.0.1:1")
    s:prep_recv(0, uring.buffer(1))
    helper.raises("prepare a send first", s.prep_send_set_addr, s,
      "127.0.0.1:1")
    s:prep_send(0, "x")
    helper.raises("address expected", s.prep_send_set_addr, s, 5)
    helper.raises("address expected", s.prep_send_set_addr, s)
    helper.raises("string, buffer or lease expected", s.prep_send, s, 0)
    helper.raises("zero copy takes a buffer or a lease", s.prep_send_zc, s,
      0, "string")
    local closed = uring.buffer(1)
    closed:close()
    for _, method in ipairs { "prep_send", "prep_send_zc", "prep_recv" } do
      helper.raises("closed buffer", s[method], s, 0, closed)
    end
  end)
end)


describe("zero copy", function()
  after_each(after)

  -- The result, and the notification that the memory is free again.
  local function both(ring, s)
    local op = ring:queue(s)
    local data, res, flags = take(ring)
    if not has(flags, MORE) then return res, op end
    assert.is_false(has(flags, NOTIF))
    local data2, notif, flags2 = take(ring)
    assert.equal(data, data2)
    assert.is_true(has(flags2, NOTIF))
    assert.is_false(has(flags2, MORE))
    assert.equal("done", op:status())
    return res, op, notif
  end

  it("completes twice", function()
    helper.needs "send_zc"
    local ring = hand.ring()
    local a, b = connection(ring)
    local buffer = uring.buffer "0123456789"
    local res, _, notif = both(ring, sqe():prep_send_zc(a, buffer))
    assert.same({ 10, 0 }, { res, notif })
    assert.equal("0123456789", sockets.read(b))
    assert.equal(3, (both(ring, sqe():prep_send_zc(a, buffer, 3, 0, 0, 5))))
    assert.equal("567", sockets.read(b))
    assert.equal(-E.EBADF, (both(ring, sqe():prep_send_zc(9999, buffer))))
    local u = sockets.pair()
    assert.equal(-E.EOPNOTSUPP, (both(ring, sqe():prep_send_zc(u, buffer))))
    assert.is_true(buffer:close())
  end)

  it("goes to an address", function()
    helper.needs "send_zc"
    local ring = hand.ring()
    local to, address = sockets.udp()
    local from = sockets.udp()
    assert.equal(5, (both(ring, sqe():prep_send_zc(from,
      uring.buffer "hello"):prep_send_set_addr(address))))
    assert.equal("hello", sockets.read(to))
  end)

  it("tells whether it was copied after all", function()
    helper.needs "send_zc_report_usage"
    local ring = hand.ring()
    local a, b = connection(ring)
    local res, _, notif = both(ring, sqe():prep_send_zc(a,
      uring.buffer(1000), nil, 0, uring.IORING_SEND_ZC_REPORT_USAGE))
    assert.equal(1000, res)
    -- by the loopback everything is copied
    assert.equal(uring.IORING_NOTIF_USAGE_ZC_COPIED, notif)
    assert.equal(1000, #sockets.read(b))
    helper.run(function()
      local function send()
        return ring:queue(sqe():prep_send_zc(a, uring.buffer(1000), nil, 0,
          uring.IORING_SEND_ZC_REPORT_USAGE))
      end
      local op = send()
      assert.equal(1000, (op:await(hand.patience)))
      assert.same({ uring.IORING_NOTIF_USAGE_ZC_COPIED, NOTIF },
        { op:await(hand.patience) })
      local results = {}
      for n in send():completions() do results[#results + 1] = n end
      assert.same({ 1000, uring.IORING_NOTIF_USAGE_ZC_COPIED }, results)
    end)
  end)

  it("of messages completes twice as well", function()
    helper.needs "sendmsg_zc"
    local ring = hand.ring()
    local a, b = connection(ring)
    local x, y = uring.buffer "one ", uring.buffer "two"
    local msg = uring.msghdr { iov = { x, y, { x, 0, 1 } } }
    assert.equal(8, (both(ring, sqe():prep_sendmsg_zc(a, msg))))
    assert.equal("one twoo", sockets.read(b))
    for _, what in ipairs { msg, x, y } do assert.is_true(what:close()) end
    -- an error has a notification, too
    local u = sockets.pair()
    assert.equal(-E.EOPNOTSUPP, (both(ring, sqe():prep_sendmsg_zc(u,
      uring.msghdr { iov = { uring.buffer "x" } }))))
  end)

  it("keeps its memory until the notification", function()
    helper.needs("send_zc", "sendmsg_zc")
    -- as much as a peer that does not read has no room for
    for _, method in ipairs { "prep_send_zc", "prep_sendmsg_zc" } do
      local ring = hand.ring()
      local a, b = connection(ring, 32768)
      sockets.set(a, uring.SOL_SOCKET, uring.SO_SNDBUF, 1 << 20)
      local text = {}
      for i = 1, 40000 do text[i] = ("%8d"):format(i) end
      text = table.concat(text)
      local buffer = uring.buffer(text)
      local msg = uring.msghdr { iov = { buffer } }
      local s = sqe()
      local op = ring:queue(s[method](s, a,
        method == "prep_send_zc" and buffer or msg))
      local _, res, flags = take(ring)
      assert.truthy(res > 0)
      assert.is_true(has(flags, MORE))
      hand.nothing(ring)
      assert.equal("in flight", op:status())
      helper.raises("cannot close a buffer that is in use", buffer.close,
        buffer)
      helper.raises("cannot resize a buffer that is in use", buffer.resize,
        buffer, 1)
      if method == "prep_sendmsg_zc" then
        helper.raises("cannot close a msghdr that is in use", msg.close, msg)
      end
      s, msg, buffer = nil, nil, nil  -- luacheck: ignore
      helper.collect()
      local junk = {}  -- in its place
      for i = 1, 4 do junk[i] = uring.buffer(("#"):rep(#text)) end
      assert.equal(4, #junk)
      local got, n = {}, 0
      while n < res do
        got[#got + 1] = sockets.read(b, 65536)
        n = n + #got[#got]
      end
      assert.is_true(text:sub(1, res) == table.concat(got))
      local _, _, notif = take(ring)
      assert.is_true(has(notif, NOTIF))
      assert.equal("done", op:status())
      sockets.close()
    end
  end)

  it("is not for an await", function()
    helper.needs("send_zc", "sendmsg_zc")
    local a = sockets.udp()
    uring.run(function()
      helper.raises("queue", uring.await, sqe():prep_send_zc(a,
        uring.buffer(1)))
      helper.raises("queue", uring.await, sqe():prep_sendmsg_zc(a,
        uring.msghdr {}))
    end)
  end)
end)
