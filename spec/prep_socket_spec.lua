-- Sockets at liburing's level: made, bound, connected, accepted and closed.
-- (For sending and receiving see prep_send_spec and prep_recv_spec.)

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"
local wrong = require "wrong"

local it = helper.needs_ring(it)
local E = uring.errno
local one, take, fixed, has = hand.one, hand.take, hand.fixed, hand.has
local INET, UNIX = uring.AF_INET, uring.AF_UNIX
local STREAM, DGRAM = uring.SOCK_STREAM, uring.SOCK_DGRAM
local MORE = uring.IORING_CQE_F_MORE
local ALLOC = uring.IORING_FILE_INDEX_ALLOC
local client, after = sockets.client, sockets.after
local needs_op = hand.needs_op
local sqe = uring.sqe
local refuses = wrong.refuses
local fd_kind, flags_kind, int_kind, address_kind =
  wrong.fd, wrong.flags, wrong.int, wrong.address

-- The descriptor's flags, as the kernel shows them.
local function cloexec(fd)
  local info = helper.content("/proc/self/fdinfo/" .. fd)
  return has(tonumber(info:match "flags:%s*(%d+)", 8), uring.O_CLOEXEC)
end

local slot_kind = { words = "expected", bad = { -1, 0.5, "1", {}, 1 << 31,
  1 << 32 } }


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
      -- both are sockets without a peer
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

  it("waits in the kernel until a client connects", function()
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

  it("closes a connection that was not taken", function()
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
