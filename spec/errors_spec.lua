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
  after_each(hand.close)

  it("of a call is three values", function()
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

  it("of a wait that ends is 'timed out'; of a peek is EAGAIN", function()
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

  it("by hand is the kernel's number", function()
    local ring = hand.ring()
    assert.equal(-E.EBADF, (hand.one(ring, uring.sqe():prep_close(9999))))
  end)

  it("names what the kernel lacks, not EINVAL alone", function()
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

  it("of a socket says what to do about it", function()
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
      fails(E.EDESTADDRREQ, "give an address", udp:send "x")
      fails(E.EAFNOSUPPORT, "another family", tcp:connect "[::1]:1")
      fails(E.ENOTCONN, "connect the socket first",
        uring.await(uring.sqe():prep_recv(tcp, uring.buffer(1))))
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

  it("forged by a message is not taken for one", function()
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

  it("raises, and names argument and expectation", function()
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

  it("raises where an object is closed", function()
    local ring, buffer = hand.ring(), uring.buffer(1)
    local fd = uring.fd(spec.eventfd())
    ring:close()
    buffer:close()
    fd:close()
    helper.raises("attempt to use a closed ring", ring.submit, ring)
    helper.raises("attempt to use a closed buffer", buffer.string, buffer)
    helper.raises("attempt to use a closed descriptor", fd.fileno, fd)
  end)

  it("does not change what it was made on", function()
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
