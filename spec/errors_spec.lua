-- What can happen at run time is nil, message, errno; the message says what
-- was tried, what the kernel answered, and what to do about it. What a
-- program does wrong raises.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

-- nil, message, errno [, flags]: exactly these, with the error's name in it.
local function failed(errno, n, ...)
  local got = table.pack(...)
  assert.equal(n, got.n)
  assert.is_nil(got[1])
  assert.is_string(got[2])
  assert.equal(errno, got[3])
  if n == 4 then assert.equal(0, got[4]) end
  return got[2]
end

local function name_of(errno)
  for name, number in pairs(E) do
    if number == errno then return name end
  end
end

describe("an error at run time", function()
  it("names a descriptor only where the request has one", function()
    for said, sqe in pairs {
      ["socket: "] = uring.sqe():prep_socket(0xfff, 1, 0),
      ["getxattr '/no/such': "] = uring.sqe():prep_getxattr("user.x",
        uring.buffer(1), "/no/such"),
      ["waitid: "] = uring.sqe():prep_waitid(1, 1 << 22, uring.buffer(128), 4),
      ["remove_buffers: "] = uring.sqe():prep_remove_buffers(4, 999),
      ["read on fd 65535: "] = uring.sqe():prep_read(65535, uring.buffer(1)),
    } do
      local opcode = said:match "[%a_]+"
      if helper.probe.ops[opcode] ~= false then
        helper.run(function()
          local res, message = uring.await(sqe)
          assert.is_nil(res)
          assert.equal(said, message:sub(1, #said))
        end)
      end
    end
  end)

  after_each(hand.close)

  it("of a call is nil, message, errno", function()
    local off = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    local ring, closed = hand.ring(), hand.ring()
    local sqe = uring.sqe():prep_msg_ring(closed, 1, 2)
    off:queue(hand.nop())
    closed:close()
    for _, try in ipairs {
        { E.EINVAL, uring.ring, { flags = 1 << 30 } },
        { E.EBADFD, off.submit, off },
        { E.EBADFD, off.wait_cqe, off, 0 },
        { E.EBADFD, off.submit_and_wait, off, 1, 0 },
        { E.EPIPE, ring.queue, ring, sqe },
        { E.ENXIO, ring.unregister_files, ring },
        { E.ENXIO, ring.unregister_eventfd, ring },
        { E.EBADF, ring.register_files, ring, { 9999 } },
        { E.EBADF, ring.register_eventfd, ring, 9999 },
        { E.ENXIO, ring.register_files_update, ring, 0, { -1 } },
        { E.EBADFD, ring.enable_rings, ring },
        { E.EBADF, uring.fd(9999).close, uring.fd(9998) } } do
      local errno = try[1]
      local why = failed(errno, 3, try[2](table.unpack(try, 3)))
      assert.truthy(why:find(("(%s)"):format(name_of(errno)), 1, true), why)
    end
    helper.collect()
  end)

  it("is 'timed out' of a wait that ends, and EAGAIN of a peek", function()
    local ring = hand.ring()
    assert.equal("timed out", failed(E.ETIME, 3, ring:wait_cqe(0)))
    assert.equal("timed out", failed(E.ETIME, 3,
      ring:submit_and_wait(1, 0)))
    failed(E.EAGAIN, 3, ring:peek_cqe())
  end)

  it("of a completion has its flags as well", function()
    local ring = hand.ring()
    uring.run(function()
      local why = failed(E.EBADF, 4, ring:await(uring.sqe():prep_close(9999)))
      assert.truthy(why:find("close on fd 9999: ", 1, true), why)
      assert.truthy(why:find("(EBADF)", 1, true), why)
      assert.equal("timed out", failed(E.ETIME, 3,
        ring:await(uring.sqe():prep_timeout(3600), 0.001)))
    end)
  end)

  it("in a completion taken by hand is the kernel's number", function()
    local ring = hand.ring()
    assert.equal(-E.EBADF, (hand.one(ring, uring.sqe():prep_close(9999))))
  end)

  it("names what the kernel lacks, and not only EINVAL", function()
    local ring = hand.ring()
    local sqes = {
      msg_ring_cqe_flags = uring.sqe():prep_msg_ring_cqe_flags(hand.ring(),
        1, 2, 0, 0x100),
      fixed_fd_install = uring.sqe():prep_fixed_fd_install(0),
    }
    uring.run(function()
      for name, sqe in pairs(sqes) do
        if not helper.has(name) then
          local why = failed(E.EINVAL, 4, ring:await(sqe))
          assert.truthy(why:find(helper.probe.features[name].note, 1, true),
            why)
        end
      end
    end)
  end)

  it("of a socket names the cure", function()
    local any = "127.0.0.1:0"
    helper.run(function()
      local udp <close> = assert(uring.udp.bind(any))
      local tcp <close> = assert(uring.socket(uring.AF_INET,
        uring.SOCK_STREAM))
      local function fails(errno, words, ...)
        local _, why, got = ...
        assert.equal(errno, got)
        assert.truthy(why:find(words, 1, true), why)
      end
      fails(E.EINVAL, "listen() comes first",
        uring.await(uring.sqe():prep_accept(tcp)))
      fails(E.EINVAL, "listen() comes first", tcp:accept())
      fails(E.EMSGSIZE, "65507", udp:sendto(("x"):rep(65508),
        udp:getsockname()))
      fails(E.EMSGSIZE, "65507", uring.await(uring.sqe():prep_sendto(udp,
        ("x"):rep(65508), nil, 0, udp:getsockname())))
      fails(E.EAFNOSUPPORT, "another family", udp:sendto("x", "[::1]:1"))
      fails(E.EACCES, "SO_BROADCAST", udp:sendto("x", "127.255.255.255:9"))
      fails(E.EACCES, "SO_BROADCAST", udp:sendmsg { data = "x",
        name = "127.255.255.255:9" })
      fails(E.EACCES, "SO_BROADCAST", udp:connect "127.255.255.255:9")
      fails(E.EDESTADDRREQ, "give an address", udp:send "x")
      fails(E.EAFNOSUPPORT, "another family", tcp:connect "[::1]:1")
      fails(E.ENOTCONN, "connect the socket first",
        uring.await(uring.sqe():prep_recv(tcp, uring.buffer(1))))
      assert(udp:sendto("x", udp:getsockname()))
      for _, sqe in ipairs { uring.sqe():prep_recv(udp),
          uring.sqe():prep_recvmsg_multishot(udp, uring.msghdr {}) } do
        fails(E.ENOBUFS, "its group has no buffer left",
          uring.loop():ring():queue(sqe:set_buf_group(99)):await())
      end
      if helper.probe.ops.bind then
        local function bind(address)
          return uring.await(uring.sqe():prep_bind(tcp, address))
        end
        fails(E.EADDRNOTAVAIL, "no interface", bind "192.0.2.1:0")
        local other <close> = assert(uring.tcp.listen(any))
        fails(E.EADDRINUSE, "another socket has this address",
          bind(other:getsockname()))
        fails(E.EAFNOSUPPORT, "another family", bind "[::1]:0")
        assert.equal(0, (bind(any)))
        fails(E.EINVAL, "has an address already", bind(any))
      end
    end)
  end)

  it("names the path or the address of the request", function()
    local function says(words, ...)
      local key, why = ...
      if key ~= nil then why = select(3, ...) end  -- (of a choice)
      if why:sub(1, #words) ~= words then
        error(("%q does not begin with %q"):format(why, words), 2)
      end
    end
    helper.run(function()
      local ring = hand.ring()
      local sqe, CWD = uring.sqe(), uring.AT_FDCWD
      local words = "openat '/no/such file': No such file or directory"
      local function open() return sqe:prep_openat(CWD, "/no/such file") end
      says(words, uring.await(open()))
      says(words, uring.await(open(), 60, "more"))
      says(words, ring:await(open()))
      says(words, ring:queue(open()):await())
      says(words, uring.select { ring:awaiting(open()) })
      says("openat '/no/such file': ", uring.await(sqe:prep_openat_direct(CWD,
        "/no/such file", 0, 0, 0)))
      helper.raises(words, function()
        for _ in ring:queue(open()):completions() do error "it came" end
      end)
      -- the SQE may be another's before there is a result
      local op = ring:queue(open())
      local event = ring:awaiting(open())
      sqe:prep_openat(CWD, "/other")
      says(words, op:await())
      says("openat '/other': ", uring.select { event })
      local task = uring.spawn(uring.await, open())
      uring.spawn(function() sqe:prep_nop() end)
      says(words, select(2, task:join()))

      local tcp <close> = assert(uring.socket(uring.AF_INET,
        uring.SOCK_STREAM))
      local unix <close> = assert(uring.socket(uring.AF_UNIX,
        uring.SOCK_DGRAM))
      local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
      local address = listener:getsockname()
      local closed <close> = assert(uring.socket(uring.AF_INET,
        uring.SOCK_STREAM))
      assert(closed:bind "127.0.0.1:0")
      local refuses, none = closed:getsockname(), "unix:/no/such file"
      local on = (" on fd %d: "):format(tcp:fileno())
      says(("connect to %s"):format(refuses) .. on,
        uring.await(sqe:prep_connect(tcp, refuses)))
      says("connect to " .. none, ring:await(sqe:prep_connect(unix, none)))
      says("send to " .. none, uring.await(sqe:prep_sendto(unix, "x", 1, 0,
        none)))
      says("send on fd", uring.await(sqe:prep_send(unix, "x"), nil, "more"))
      says("sendmsg to " .. none, uring.await(sqe:prep_sendmsg(unix,
        uring.msghdr { iov = { "x" }, name = none })))
      says(("connect to %s: "):format(refuses), uring.tcp.connect(refuses))
      says("connect to " .. none, uring.unix.connect(none))
      says("send to " .. none, unix:sendto("x", none))
      says("sendmsg to " .. none, unix:sendmsg { data = "x", name = none })
      says("sendmsg to " .. none, unix:sendmsg { { data = "x",
        name = uring.sockaddr(none) } })
      says(("bind socket (fd %d) to %s: "):format(tcp:fileno(), address),
        tcp:bind(address))
      if helper.probe.ops.bind then
        says(("bind to %s"):format(address) .. on,
          uring.await(sqe:prep_bind(tcp, address)))
      end
      local a <close> = assert(uring.socket(uring.AF_INET, uring.SOCK_STREAM))
      local b <close> = assert(uring.socket(uring.AF_INET, uring.SOCK_STREAM))
      a:setsockopt("SO_REUSEADDR", true)
      b:setsockopt("SO_REUSEADDR", true)
      local name = assert(a:bind "127.0.0.1:0"):getsockname()
      assert(assert(b:bind(name)):listen())
      says(("listen on socket (fd %d) at %s: "):format(a:fileno(), name),
        a:listen())
    end)
  end)

  it("is nil, message, errno where no descriptor is left", function()
    assert.equal("", helper.script_ok [[
      local uring = require "uring"
      local E = uring.errno
      local kept = {}
      local function exhaust()
        while true do
          local file = io.open "/dev/null"
          if not file then return end
          kept[#kept + 1] = file
        end
      end
      local function failed(what, f, ...)
        local ok, value, why, errno = pcall(f, ...)
        assert(ok and value == nil and errno == E.EMFILE, what .. ": "
          .. tostring(ok and why or value))
        assert(why:find("(EMFILE)", 1, true), what .. ": " .. why)
        assert(why:find(what, 1, true), what .. ": " .. why)
      end
      local function calls()
        failed("ring", uring.ring)
        failed("socket", uring.socket, uring.AF_INET, uring.SOCK_STREAM)
        failed("socketpair", uring.socketpair)
        failed("listen at 127.0.0.1:0: socket(", uring.tcp.listen,
          "127.0.0.1:0")
        failed("bind to 127.0.0.1:9: socket(", uring.udp.bind, "127.0.0.1:9")
      end
      local ran
      exhaust()
      calls()
      failed("ring", uring.loop)
      failed("ring", uring.loop, { entries = 8 })
      local ok, why = pcall(uring.run, function() ran = true end)
      assert(not ok and why:find "EMFILE" and not ran)
      for i = 1, 8 do table.remove(kept):close() end
      local ring = assert(uring.ring())
      local listener = assert(uring.tcp.listen "127.0.0.1:0")
      assert(uring.run(function()
        uring.sleep(0)
        return true
      end))
      exhaust()
      calls()
      assert(uring.sqe():prep_msg_ring(ring, 1, 2))  -- (these take none)
      assert(uring.sqe():prep_poll_add(ring, uring.POLLIN))
      assert(ring:ref())
      failed("queue", ring.queue, ring, uring.sqe():prep_read(kept[1],
        uring.buffer(1)))
      failed("msghdr", uring.msghdr, { iov = { "x" },
        control = { fds = { listener } } })
      uring.run(function()
        calls()
        failed("openat '/dev/null'", uring.await, uring.sqe():prep_openat(
          uring.AT_FDCWD, "/dev/null"))
        local address = listener:getsockname()
        failed(("connect to %s: socket("):format(address), uring.tcp.connect,
          address)
      end)]])
  end)

  it("of a ring whose number other code has closed says so", function()
    helper.apart(function()
      -- luacheck: ignore 431
      local uring = require "uring"
      local spec = require "uring_spec"
      local ring = assert(uring.ring())
      spec.close(ring:fd())
      for _, call in ipairs { ring.submit, ring.wait_cqe } do
        local _, why, errno = call(ring)
        assert(errno == uring.errno.EBADF and why:find("its number was closed",
          1, true), why)
      end
      local fd = ring:fd()
      local file = assert(io.open "/dev/null")  -- (it has the number now)
      local _, why, errno = ring:submit()
      assert(errno == uring.errno.EOPNOTSUPP and why:find(
        "its number was closed", 1, true), why .. fd .. tostring(file))
      local function check(...)
        local message = select(2, ...)
        assert(message and message:find("its number was closed", 1, true),
          message)
      end
      check(ring:register_files_sparse(4))
      check(ring:register_files { 0 })
      check(ring:register_iowq_max_workers(1, 1))
      check(ring:buf_ring { entries = 1, size = 16, bgid = 1 })
      uring.run(function()
        check(ring:await(uring.sqe():prep_nop()))
        check(ring:receive(0.01))
      end)
      os.exit(true, false)
    end)
  end)

  it("is not believed where a message forges it", function()
    local ring = hand.ring()
    local from = assert(spec.sender())
    for _, res in ipairs { -E.EBADF, -0x80000000, 0x7fffffff } do
      assert(from:send(ring:fd(), 5, res))
      assert.same({ res, 5, 0 }, { hand.message(ring) })
    end
    from:close()
  end)
end)

describe("a programmer's mistake", function()
  after_each(hand.close)

  it("raises, and names the argument and what was expected", function()
    local ring = hand.ring()
    local sqe = uring.sqe()
    for words, call in pairs {
        ["bad argument #1 to 'queue' (uring.Sqe expected"] =
          function() ring:queue(5) end,
        ["bad argument #2 to 'queue' (uring.Sqe expected"] =
          function() ring:queue(hand.nop(), 5) end,
        ["bad argument #1 to 'wait_cqe' (seconds expected, got string)"] =
          function() ring:wait_cqe "1" end,
        ["bad argument #1 to 'prep_msg_ring' (ring expected"] =
          function() sqe:prep_msg_ring(nil, 1, 2) end,
        ["bad argument #2 to 'prep_msg_ring' (integer from -2147483648 to "
            .. "4294967295 expected, got no value)"] =
          function() sqe:prep_msg_ring(ring) end,
        ["bad argument #3 to 'prep_msg_ring' (integer from"] =
          function() sqe:prep_msg_ring(ring, 1, "2") end,
        ["bad argument #1 to 'buffer' (size or string expected"] =
          function() uring.buffer {} end,
        ["bad argument #1 to 'fd' (integer from 0 to 2147483647 expected, "
            .. "got nil)"] =
          function() uring.fd(nil) end,
        ["bad argument #1 to 'register_sync_msg' (uring.Sqe expected"] =
          function() uring.register_sync_msg(5) end,
        ["(uring.Ring expected, got uring.Sqe)"] =
          function() ring.submit(sqe) end } do
      helper.raises(words, call)
    end
    assert.equal(0, ring:stats().submitted)
    assert.equal(0, (hand.one(ring, hand.nop())))
  end)

  it("names the class of what it got", function()
    helper.run(function()
      local c = uring.channel()
      local r, w = uring.pipe()
      for words, call in pairs {
          ["integer from 0 to 2147483647 expected, got uring.Channel"] =
            function() uring.fd(c) end,
          ["seconds expected, got uring.Channel"] =
            function() uring.sleep(c) end,
          ["function expected, got uring.Channel"] =
            function() uring.spawn(c) end,
          ["path expected, got uring.Channel"] =
            function() uring.open(c) end,
          ["path expected, got nil"] = function() uring.open(nil) end,
          ["path expected, without zero bytes"] =
            function() uring.open "a\0b" end,
          ["integer from 1 to 32768, got uring.Channel"] =
            function() uring.ring { entries = c } end,
          ["option 'recursive' must be a boolean, got uring.Channel"] =
            function() uring.fs.remove("/no", { recursive = c }) end,
          ["table expected, got uring.Channel"] =
            function() uring.ring(c) end,
          ["), got uring.Channel"] = function() uring.tcp.listen(c) end,
          ["size or string expected, got uring.Channel"] =
            function() uring.buffer(c) end,
          ["string, buffer or lease expected, got uring.Channel"] =
            function() uring.sqe():prep_send(1, c) end,
          ["a file), got uring.Channel"] =
            function() uring.sqe():prep_recv(c, uring.buffer(1)) end,
          ["a count of bytes expected, got uring.Channel"] =
            function() r:read(c) end,
          ["string or number expected, got uring.Channel"] =
            function() w:write(c) end,
          ["such as \"TERM\", got uring.Channel"] =
            function() uring.signals(c) end,
          ["functions; got uring.Channel"] = function() uring.stream(c) end,
          ["function or table expected, got uring.Channel"] =
            function() uring.worker(c) end,
          ["event expected at [1], got uring.Channel: "] =
            function() uring.select { c } end,
          ["integer from 1 expected, got uring.Channel"] =
            function() uring.map(c, {}, print) end,
          ["string expected, got uring.Event"] =
            function() uring.fs.write("/no", c:receiving()) end } do
        helper.raises(words, call)
      end
      r:close()
      w:close()
    end)
  end)

  it("raises on a closed object", function()
    local ring, buffer = hand.ring(), uring.buffer(1)
    local fd = uring.fd(spec.eventfd())
    ring:close()
    buffer:close()
    fd:close()
    helper.raises("attempt to use a closed ring", ring.submit, ring)
    helper.raises("attempt to use a closed buffer", buffer.string, buffer)
    helper.raises("attempt to use a closed descriptor", fd.fileno, fd)
  end)

  it("does not change the object", function()
    local ring = hand.ring()
    assert.is_false(pcall(function() ring.new = 1 end))
    assert.is_nil(ring.new)
    for class, object in pairs { ["uring.Ring"] = ring,
        ["uring.Sqe"] = uring.sqe(), ["uring.Buffer"] = uring.buffer(0),
        ["uring.Ref"] = ring:ref(),
        ["uring.Operation"] = ring:queue(hand.nop()) } do
      assert.equal(class, getmetatable(object))
      assert.is_false(pcall(setmetatable, object, {}))
    end
  end)
end)
