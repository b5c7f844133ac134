-- Sockets at liburing's level: made, connected, sent to, received from.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, take = hand.one, hand.take

local INET, UNIX = uring.AF_INET, uring.AF_UNIX
local STREAM, DGRAM = uring.SOCK_STREAM, uring.SOCK_DGRAM
local MORE, NOTIF = uring.IORING_CQE_F_MORE, uring.IORING_CQE_F_NOTIF
local ALLOC = uring.IORING_FILE_INDEX_ALLOC

local function after()
  hand.close()
  sockets.close()
end

local function sqe()
  return uring.sqe()
end

local function fixed(s)
  return s:set_flags(uring.IOSQE_FIXED_FILE)
end

local function has(flags, bit)
  return flags & bit ~= 0
end

-- Skips a test where the kernel does not know this opcode.
local function needs_op(name, since)
  helper.needs_ring()
  if not helper.probe.ops[name] then
    helper.skip("%s needs Linux %s (this is %s)", name, since,
      helper.probe.kernel)
  end
end

-- The descriptor's flags, as the kernel shows them.
local function cloexec(fd)
  local info = helper.content("/proc/self/fdinfo/" .. fd)
  return has(tonumber(info:match "flags:%s*(%d+)", 8), uring.O_CLOEXEC)
end

local client, connection = sockets.client, sockets.connection

-- Calls method with each wrong value at the place of each argument; `good`
-- has what is right, `kinds` what must be said of each.
local function refuses(method, good, kinds)
  local s = sqe():prep_nop():set_data64(77)
  for i, kind in ipairs(kinds) do
    for _, bad in ipairs(kind.bad) do
      local args = table.move(good, 1, #good, 1, {})
      args[i] = bad
      local why = helper.raises(kind.words, s[method], s,
        table.unpack(args, 1, math.max(i, #good)))
      assert.truthy(why:find(("bad argument #%d"):format(i + 1), 1, true),
        why)
      assert.equal(77, s.user_data)  -- it is what it was before
    end
  end
  helper.raises("uring.Sqe expected", s[method], {}, table.unpack(good))
end

local fd_kind = { words = "descriptor expected",
  bad = { "0", true, {}, 0.5, 1 << 31, uring.errno } }
local function integer(max)
  return { words = ("integer from 0 to %d expected"):format(max),
    bad = { -1, 0.5, "1", true, {}, max + 1, 0 / 0 } }
end
local flags_kind, int_kind = integer(0xffffffff), integer(0x7fffffff)
local slot_kind = { words = "expected", bad = { -1, 0.5, "1", {}, 1 << 31,
  1 << 32 } }
local address_kind = { words = "address expected",
  bad = { 5, true, {}, "localhost:1", "1.2.3.4", "" } }
local bytes_kind = { words = "string, buffer or lease expected",
  bad = { 5, true, {}, uring.sqe() } }
local function part(max)
  return integer(max)
end


describe("sockets", function()
  after_each(after)

  it("are made, and closed in programs that are executed", function()
    local ring = hand.ring()
    helper.keeps_fds(function()
      for _, case in ipairs { { INET, STREAM }, { INET, DGRAM, 0 },
          { UNIX, STREAM, 0, 0 }, { UNIX, uring.SOCK_SEQPACKET },
          { INET, DGRAM | uring.SOCK_NONBLOCK, uring.IPPROTO_UDP } } do
        local fd = one(ring, sqe():prep_socket(table.unpack(case)))
        assert.truthy(fd > 2)
        assert.is_true(cloexec(fd))
        spec.close(fd)
      end
    end)
    assert.equal(-E.EAFNOSUPPORT, (one(ring, sqe():prep_socket(9999,
      STREAM))))
    assert.equal(-E.EPROTONOSUPPORT, (one(ring, sqe():prep_socket(INET,
      STREAM, uring.IPPROTO_UDP))))
    assert.equal(-E.EINVAL, (one(ring, sqe():prep_socket(INET, STREAM, 0,
      1))))
  end)

  it("are made in the ring's own table", function()
    local ring = hand.ring()
    assert.equal(-E.ENXIO, (one(ring, sqe():prep_socket_direct(UNIX, STREAM,
      0, 0))))
    assert(ring:register_files_sparse(2))
    helper.keeps_fds(function()
      assert.equal(0, (one(ring, sqe():prep_socket_direct(UNIX, DGRAM, 0,
        1))))
      assert.equal(0, (one(ring, sqe():prep_socket_direct_alloc(UNIX,
        DGRAM))))
      assert.equal(-E.ENFILE, (one(ring, sqe():prep_socket_direct(UNIX,
        DGRAM, 0, ALLOC))))
      assert.equal(-E.EINVAL, (one(ring, sqe():prep_socket_direct(UNIX,
        DGRAM, 0, 2))))
      -- both are sockets that nobody is connected to
      for slot = 0, 1 do
        assert.equal(-E.ENOTCONN, (one(ring, fixed(sqe():prep_send(slot,
          "x")))))
      end
      assert(ring:unregister_files())
    end)
  end)

  it("are bound, and listen", function()
    needs_op("bind", "6.11")
    needs_op("listen", "6.11")
    local ring = hand.ring()
    local name = ("unix:@uring spec %d"):format(spec.getpid())
    local listener = sockets.keep((one(ring, sqe():prep_socket(UNIX,
      STREAM))))
    assert.equal(-E.EINVAL, (one(ring, sqe():prep_listen(listener))))
    assert.equal(0, (one(ring, sqe():prep_bind(listener, name))))
    assert.equal(-E.EINVAL, (one(ring, sqe():prep_bind(listener, name))))
    assert.equal(0, (one(ring, sqe():prep_listen(listener))))
    assert.equal(0, (one(ring, sqe():prep_listen(listener, 5))))
    local other = sockets.keep((one(ring, sqe():prep_socket(UNIX, STREAM))))
    assert.equal(-E.EADDRINUSE, (one(ring, sqe():prep_bind(other, name))))
    local a = client(ring, uring.sockaddr(name))
    local b = sockets.keep((one(ring, sqe():prep_accept(listener))))
    sockets.write(a, "hello")
    assert.equal("hello", sockets.read(b))
    -- an address of TCP, and its own slot
    assert(ring:register_files_sparse(1))
    one(ring, sqe():prep_socket_direct(INET, STREAM, 0, 0))
    assert.equal(0, (one(ring, fixed(sqe():prep_bind(0, "127.0.0.1:0")))))
    assert.equal(0, (one(ring, fixed(sqe():prep_listen(0)))))
    assert.equal(-E.EAFNOSUPPORT, (one(ring, sqe():prep_bind(
      sockets.keep((one(ring, sqe():prep_socket(INET, STREAM)))), name))))
  end)

  it("say since when they are bound by a ring", function()
    if helper.probe.ops.bind then helper.skip "they are here" end
    local ring = hand.ring()
    local a = sockets.pair()
    uring.run(function()
      for method, arg in pairs { prep_bind = "unix:@x", prep_listen = 5 } do
        local s = sqe()
        local res, why, errno = ring:await(s[method](s, a, arg))
        assert.same({ nil, E.EINVAL }, { res, errno })
        assert.truthy(why:find("needs Linux 6.11", 1, true), why)
      end
    end)
  end)

  it("are connected, over IPv4, IPv6 and by name", function()
    local ring = hand.ring()
    for _, host in ipairs { "127.0.0.1", "::1" } do
      local listener, address = sockets.listener(host)
      for _, to in ipairs { address, tostring(address) } do
        local fd = one(ring, sqe():prep_socket(address.family, STREAM))
        local a <close> = uring.fd(fd)
        assert.equal(0, (one(ring, sqe():prep_connect(a, to))))
        local b <close> = uring.fd((one(ring, sqe():prep_accept(listener))))
        assert.is_true(cloexec(b:fileno()))
        sockets.write(b, "hello")
        assert.equal("hello", sockets.read(a))
        assert.equal(-E.EISCONN, (one(ring, sqe():prep_connect(a, to))))
      end
      listener:close()
      local late = sockets.keep((one(ring, sqe():prep_socket(
        address.family, STREAM))))
      assert.equal(-E.ECONNREFUSED, (one(ring, sqe():prep_connect(late,
        address))))
    end
    local u = sockets.keep((one(ring, sqe():prep_socket(UNIX, STREAM))))
    assert.equal(-E.ENOENT, (one(ring, sqe():prep_connect(u,
      "unix:/no/such"))))
    assert.equal(-E.EAFNOSUPPORT, (one(ring, sqe():prep_connect(
      sockets.udp(), "unix:/no/such/thing/here"))))
  end)

  it("keep the address that they are connected to", function()
    local ring = hand.ring()
    local listener, address = sockets.listener()
    local a = sockets.keep((one(ring, sqe():prep_socket(INET, STREAM))))
    ring:queue(sqe():prep_timeout(0.002)
      :set_flags(uring.IOSQE_IO_HARDLINK), sqe():prep_connect(a,
      tostring(address)))
    helper.collect()
    local junk = {}  -- in its place
    for i = 1, 100 do junk[i] = uring.buffer(("x"):rep(128)) end
    assert.equal(100, #junk)
    assert.equal(-E.ETIME, (select(2, take(ring))))
    assert.equal(0, (select(2, take(ring))))
    sockets.keep((one(ring, sqe():prep_accept(listener))))
  end)

  it("are shut down on one side or both", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    sockets.write(a, "last")
    assert.equal(0, (one(ring, sqe():prep_shutdown(a, uring.SHUT_WR))))
    assert.equal("last", sockets.read(b))
    assert.equal("", sockets.read(b))
    assert.equal(-E.EPIPE, (one(ring, sqe():prep_send(a, "x", nil,
      uring.MSG_NOSIGNAL))))
    sockets.write(b, "back")
    assert.equal("back", sockets.read(a))
    assert.equal(0, (one(ring, sqe():prep_shutdown(b, uring.SHUT_RDWR))))
    assert.equal("", sockets.read(a))
    assert.equal(-E.EINVAL, (one(ring, sqe():prep_shutdown(b, 3))))
    assert.equal(-E.ENOTSOCK, (one(ring, sqe():prep_shutdown(0, 0))))
  end)

  it("refuse arguments that are none", function()
    refuses("prep_socket", { INET, STREAM }, { int_kind, int_kind, int_kind,
      flags_kind })
    refuses("prep_socket_direct", { INET, STREAM, 0, 0 }, { int_kind,
      int_kind, int_kind, slot_kind, flags_kind })
    refuses("prep_socket_direct_alloc", { INET, STREAM }, { int_kind,
      int_kind, int_kind, flags_kind })
    refuses("prep_bind", { 0, "unix:x" }, { fd_kind, address_kind })
    refuses("prep_connect", { 0, "unix:x" }, { fd_kind, address_kind })
    refuses("prep_listen", { 0 }, { fd_kind, int_kind })
    refuses("prep_shutdown", { 0, 0 }, { fd_kind, int_kind })
    refuses("prep_accept", { 0 }, { fd_kind, flags_kind })
    refuses("prep_accept_direct", { 0, 0, 0 }, { fd_kind, flags_kind,
      slot_kind })
    refuses("prep_multishot_accept", { 0 }, { fd_kind, flags_kind })
    refuses("prep_multishot_accept_direct", { 0 }, { fd_kind, flags_kind })
    local s = sqe()
    helper.raises("integer from", s.prep_shutdown, s, 0)
    helper.raises("integer from", s.prep_accept_direct, s, 0, 0)
    helper.raises("address expected", s.prep_connect, s, 0)
  end)
end)


describe("accept", function()
  after_each(after)

  it("gives one connection after another", function()
    local ring = hand.ring()
    local listener, address = sockets.listener()
    helper.keeps_fds(function()
      for _ = 1, 3 do
        local a <close> = uring.fd((one(ring, sqe():prep_socket(INET,
          STREAM))))
        one(ring, sqe():prep_connect(a, address))
        local b <close> = uring.fd((one(ring, sqe():prep_accept(listener,
          uring.SOCK_NONBLOCK))))
        assert.is_true(cloexec(b:fileno()))
        assert.is_nil((spec.read(b:fileno())))  -- it does not block
      end
    end)
  end)

  it("waits in the kernel until somebody comes", function()
    local ring = hand.ring()
    local listener, address = sockets.listener()
    ring:queue(sqe():prep_accept(listener):set_data64(1))
    ring:submit()
    hand.nothing(ring)
    local a = sockets.keep((one(ring, sqe():prep_socket(INET, STREAM))))
    ring:queue(sqe():prep_connect(a, address):set_data64(2))
    local got = hand.some(ring, 2)
    assert.equal(0, got[2])
    sockets.keep(got[1])
  end)

  it("puts connections into slots", function()
    local ring = hand.ring()
    assert(ring:register_files_sparse(2))
    local listener, address = sockets.listener()
    helper.keeps_fds(function()
      local clients = {}
      for i, slot in ipairs { 1, ALLOC } do
        clients[i] = uring.fd((one(ring, sqe():prep_socket(INET, STREAM))))
        one(ring, sqe():prep_connect(clients[i], address))
        assert.equal(0, (one(ring, sqe():prep_accept_direct(listener, 0,
          slot))))
      end
      for i, slot in ipairs { 1, 0 } do
        assert.equal(2, (one(ring, fixed(sqe():prep_send(slot, "hi")))))
        assert.equal("hi", sockets.read(clients[i]))
        clients[i]:close()
      end
      ring:unregister_files()
    end)
  end)

  it("by one request gives them all", function()
    helper.needs "accept_multishot"
    local ring = hand.ring()
    local listener, address = sockets.listener()
    helper.keeps_fds(function()
      local op = ring:queue(sqe():prep_multishot_accept(listener)
        :set_data64(1))
      ring:submit()
      for i = 1, 5 do
        local a <close> = uring.fd((one(ring, sqe():prep_socket(INET,
          STREAM))))
        ring:queue(sqe():prep_connect(a, address):set_data64(2))
        local connected = false
        local b
        while not (connected and b) do
          local data, res, flags = take(ring)
          if data == 2 then connected = res == 0
          else
            assert.is_true(has(flags, MORE))
            b = uring.fd(res)
          end
        end
        assert.is_true(cloexec(b:fileno()))
        sockets.write(b, tostring(i))
        assert.equal(tostring(i), sockets.read(a))
        b:close()
      end
      op:cancel()
      assert.same({ 1, -E.ECANCELED, 0 }, { take(ring) })
    end)
  end)

  it("by one request fills all slots", function()
    helper.needs "accept_multishot"
    local ring = hand.ring()
    assert(ring:register_files_sparse(3))
    local listener, address = sockets.listener()
    local slots = {}
    for _ = 1, 4 do client(ring, address) end
    ring:queue(sqe():prep_multishot_accept_direct(listener))
    for i = 1, 3 do
      local _, res, flags = take(ring)
      assert.is_true(has(flags, MORE))
      slots[i] = res
    end
    table.sort(slots)
    assert.same({ 0, 1, 2 }, slots)
    local _, res, flags = take(ring)  -- no slot is left
    assert.same({ -E.ENFILE, 0 }, { res, flags })
  end)

  it("closes what nobody wants", function()
    local listener, address = sockets.listener()
    local hand_ring = hand.ring()
    local clients = {}
    for i = 1, 3 do
      local fd = one(hand_ring, sqe():prep_socket(INET, STREAM))
      clients[i] = sockets.keep(fd)
      one(hand_ring, sqe():prep_connect(fd, address))
    end
    helper.keeps_fds(function()
      -- results that were not taken when their ring was closed
      local ring = uring.ring()
      ring:queue(sqe():prep_accept(listener))
      ring:queue(sqe():prep_socket(INET, STREAM))
      ring:submit_and_wait(2, hand.patience)
      ring:close()
    end)
    helper.needs "accept_multishot"
    helper.keeps_fds(function()
      local ring = uring.ring()
      ring:queue(sqe():prep_multishot_accept(listener))
      ring:submit_and_wait(2, hand.patience)
      ring:close()
    end)
    for i = 1, 3 do assert.equal("", sockets.read(clients[i])) end
  end)

  it("closes what a task did not stay for", function()
    local listener, address = sockets.listener()
    local ring = uring.loop():ring()
    helper.keeps_fds(function()
      uring.run(function()
        ring:queue(sqe():prep_accept(listener))
        ring:submit()
        local a <close> = uring.fd((assert(uring.await(sqe():prep_socket(
          INET, STREAM)))))
        helper.collect()
        assert(uring.await(sqe():prep_connect(a, address)))
        -- the accept runs on, and its connection is closed
        assert.equal(0, (uring.await(sqe():prep_recv(a, uring.buffer(1)))))
      end)
    end)
  end)
end)


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

  it("shows nobody where its memory is", function()
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


describe("legacy groups", function()
  after_each(after)

  local function provide(ring, ...)
    return (one(ring, sqe():prep_provide_buffers(...)))
  end

  it("are provided, picked from and removed", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    local memory = uring.buffer(4 * 5)
    assert.equal(0, provide(ring, memory, 4, 5, 9, 100))
    sockets.write(a, "aaaabbbbcc")
    for _ = 1, 3 do
      local res, _, flags = one(ring, sqe():prep_recv(b, nil, 4)
        :set_buf_group(9))
      local bid = (flags >> uring.IORING_CQE_BUFFER_SHIFT) - 100
      assert.truthy(bid >= 0 and bid < 5)
      local text = memory:string(bid * 4 + 1, bid * 4 + res)
      assert.truthy(("aaaa bbbb cc"):find(text, 1, true))
    end
    assert.equal(2, (one(ring, sqe():prep_remove_buffers(5, 9))))
    sockets.write(a, "x")
    assert.equal(-E.ENOBUFS, (one(ring, sqe():prep_recv(b, nil, 4)
      :set_buf_group(9))))
    assert.equal(-E.ENOENT, (one(ring, sqe():prep_remove_buffers(5,
      1000))))
    assert.equal(0, provide(ring, memory, 4, 5, 9))
    assert.equal(1, (one(ring, sqe():prep_recv(b, nil, 4):set_buf_group(
      9))))
  end)

  it("keep their memory until the ring is closed", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    local memory = uring.buffer(8)
    assert.equal(0, provide(ring, memory, 8, 1, 9))
    helper.raises("cannot close a buffer that is in use", memory.close,
      memory)
    helper.raises("cannot resize a buffer that is in use", memory.resize,
      memory, 100)
    do local _ = uring.buffer(8) end
    -- collected it is the kernel's still
    assert.equal(0, provide(ring, uring.buffer(1000), 1000, 1, 10))
    helper.collect()
    local junk = {}  -- in its place
    for i = 1, 100 do junk[i] = uring.buffer(1000) end
    sockets.write(a, ("x"):rep(1000))
    assert.equal(1000, (one(ring, sqe():prep_recv(b, nil, 1000)
      :set_buf_group(10))))
    for i = 1, 100 do assert.equal(("\0"):rep(1000), junk[i]:string()) end
    ring:close()
    assert.is_true(memory:close())
  end)

  it("keep nothing that the kernel has not taken", function()
    local ring = hand.ring()
    local first, second, third = uring.buffer(8), uring.buffer(8),
      uring.buffer(8)
    assert.equal(0, provide(ring, first, 8, 1, 9))
    -- numbers of buffers beyond the last
    assert.truthy(provide(ring, second, 1, 2, 9, 65535) < 0)
    assert.equal(0, provide(ring, third, 8, 1, 10))
    assert.is_true(second:close())
    for _, memory in ipairs { first, third } do
      helper.raises("cannot close a buffer that is in use", memory.close,
        memory)
    end
    -- nor what it has never seen, of a chain that was cut off
    second = uring.buffer(8)
    ring:queue(sqe():prep_close(9999):set_flags(uring.IOSQE_IO_LINK),
      sqe():prep_provide_buffers(second, 8, 1, 11):set_data64(1))
    assert.equal(-E.ECANCELED, hand.some(ring, 2)[1])
    assert.is_true(second:close())
    ring:close()
    assert.is_true(first:close())
    assert.is_true(third:close())
  end)

  it("serve multishots until they are empty", function()
    helper.needs "recv_multishot"
    local ring = hand.ring()
    local a, b = sockets.pair()
    local memory = uring.buffer(8)
    assert.equal(0, provide(ring, memory, 4, 2, 9))
    ring:queue(sqe():prep_recv_multishot(b):set_buf_group(9))
    sockets.write(a, "aaaabbbbcccc")
    local results = {}
    for i = 1, 3 do results[i] = select(2, take(ring)) end
    assert.same({ 4, 4, -E.ENOBUFS }, results)
    assert.equal("cccc", sockets.read(b))
  end)

  it("do not share a number with others", function()
    helper.needs "buf_ring"
    local ring = hand.ring()
    local memory = uring.buffer(8)
    assert.equal(0, provide(ring, memory, 4, 2, 9))
    local group, _, errno = ring:buf_ring { bgid = 9 }
    assert.same({ nil, E.EEXIST }, { group, errno })
    assert(ring:buf_ring { bgid = 10 })
    local res = provide(ring, memory, 4, 2, 10)
    assert.truthy(res == -E.EINVAL or res == -E.EEXIST, res)
  end)

  it("refuse arguments that are none", function()
    local memory = uring.buffer(8)
    local function from_one(max)
      return { words = ("integer from 1 to %d expected"):format(max),
        bad = { 0, -1, 0.5, "1", {}, max + 1 } }
    end
    refuses("prep_provide_buffers", { memory, 4, 2, 0 }, {
      { words = "uring.Buffer expected", bad = { 5, "12345678", {} } },
      from_one(0x7fffffff), from_one(65535), integer(65535),
      integer(65535) })
    refuses("prep_remove_buffers", { 1, 0 }, { from_one(65535),
      integer(65535) })
    local s = sqe()
    helper.raises("a buffer of 8 bytes has no room for 3 times 4",
      s.prep_provide_buffers, s, memory, 4, 3, 0)
    helper.raises("has no room for 65535 times 2147483647",
      s.prep_provide_buffers, s, memory, 0x7fffffff, 65535, 0)
  end)
end)


describe("a bundle's send", function()
  after_each(after)

  it("takes what a legacy group has", function()
    helper.needs "bundles"
    local ring = hand.ring()
    local a, b = sockets.pair()
    local memory = uring.buffer "hello"
    assert.equal(0, (one(ring, sqe():prep_provide_buffers(memory, 5, 1,
      9))))
    local res, _, flags = one(ring, sqe():prep_send_bundle(a)
      :set_buf_group(9))
    assert.equal(5, res)
    assert.is_true(has(flags, uring.IORING_CQE_F_BUFFER))
    assert.equal("hello", sockets.read(b))
    assert.equal(-E.ENOBUFS, (one(ring, sqe():prep_send_bundle(a)
      :set_buf_group(9))))
  end)
end)


describe("a socket that is closed", function()
  after_each(after)

  it("gets first what was queued for it", function()
    local ring = hand.ring()
    local a, b = spec.socketpair(STREAM)
    local own = uring.fd(a)
    sockets.keep(b)
    ring:queue(sqe():prep_send(own, "last words"))
    own:close()
    assert.equal(10, (select(2, take(ring))))
    assert.equal("last words", spec.read(b))
    assert.equal("", spec.read(b))
  end)

  it("is refused with an SQE that names it", function()
    local ring = hand.ring()
    local a = sockets.pair()
    local s = sqe():prep_recv(a, uring.buffer(1))
    a:close()
    helper.raises("prepare it again", ring.queue, ring, s)
  end)
end)
