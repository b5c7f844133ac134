-- Message headers, as sendmsg and recvmsg use them by hand. (For control
-- messages see msghdr_control_spec.)

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one = hand.one
local after, room, udp_pair = sockets.after, sockets.room, sockets.udp_pair
local send, recv = sockets.sendmsg, sockets.recvmsg


describe("a msghdr", function()
  after_each(after)

  it("shows its parts as a string", function()
    local msg = uring.msghdr { name = "127.0.0.1:53", iov = { "a", "b" } }
    assert.equal("uring.Msghdr (2 parts, name 16, control 0)", tostring(msg))
    assert.equal("uring.Msghdr (0 parts, name 28, control 64)",
      tostring(uring.msghdr { namelen = 28, controllen = 64 }))
    assert.is_true(msg:close())
    assert.is_true(msg:close())
    assert.equal("uring.Msghdr (closed)", tostring(msg))
    for _, method in ipairs { "name", "control", "flags" } do
      helper.raises("closed msghdr", msg[method], msg)
    end
    helper.raises("closed msghdr", uring.recvmsg_out, "", msg)
    local sqe = uring.sqe()
    for _, prep in ipairs { "prep_sendmsg", "prep_sendmsg_zc",
        "prep_recvmsg", "prep_recvmsg_multishot" } do
      helper.raises("closed msghdr", sqe[prep], sqe, 0, msg)
    end
  end)

  it("has neither name nor control before the first message", function()
    local msg = uring.msghdr { namelen = 128, controllen = 100 }
    assert.is_nil(msg:name())
    assert.same({}, msg:control())
    assert.equal(0, msg:flags())
    assert.same({}, uring.msghdr {}:control())
  end)

  it("refuses fields that no msghdr has", function()
    for _, case in ipairs {
      { "option 'iov' must be an array", iov = "abc" },
      { "string, buffer or lease expected, got number", iov = { 5 } },
      { "string, buffer or lease expected, got nil", iov = { {} } },
      { "(option 'iov' has an array { bytes, offset, length } whose offset "
        .. "is no integer from 0 to 3)", iov = { { "abc", 4 } } },
      { "length is no integer from 0 to 1", iov = { { "abc", 2, 2 } } },
      { "offset is no integer from 0 to 3", iov = { "x", { "abc", "1" } } },
      { "at most 1024 parts", iov = table.pack(("x"):rep(1025):byte(1, -1)) },
      { "address expected", name = 5 },
      { "address expected, got 'localhost:1'", name = "localhost:1" },
      { "'namelen' must be an integer from 0 to 128", namelen = 129 },
      { "'namelen' must be an integer from 0 to 128", namelen = -1 },
      { "'namelen' is less than", name = "127.0.0.1:1", namelen = 15 },
      { "'controllen' must be an integer from 0 to 20480",
        controllen = 20481 },
      { "'controllen' must be an integer", controllen = "10" },
      { "'flags' must be an integer", flags = 0.5 },
      { "one of them", control = {}, controllen = 10 },
      { "control: table expected", control = 5 },
      { "control: unknown name 'fd'", control = { fd = {} } },
      { "control: names or an array expected", control = { [true] = 1 } },
      { "control: fds must be a table", control = { fds = 1 } },
      { "descriptor expected", control = { fds = { "1" } } },
      { "descriptor expected", control = { fds = { 0, {} } } },
      { "two integers and a string", control = { { 1 << 32, 1, "x" } } },
      { "two integers and a string", control = { { 1, -1 << 33, "x" } } },
      { "control: creds must be a table", control = { creds = true } },
      { "control: creds.pid must be an integer",
        control = { creds = { pid = "1" } } },
      { "control: creds.uid must be an integer",
        control = { creds = { uid = 1 << 32 } } },
      { "control: pktinfo must be a table", control = { pktinfo = 1 } },
      { "address expected", control = { pktinfo = {} } },
      { "must be of IPv4 or IPv6",
        control = { pktinfo = { addr = "unix:/x" } } },
      { "pktinfo.ifindex must be an integer",
        control = { pktinfo = { addr = "1.2.3.4:0", ifindex = {} } } },
      { "{ level, type, data }", control = { 5 } },
      { "two integers and a string", control = { { 1, 2 } } },
      { "two integers and a string", control = { { 1, 2.5, "" } } },
      { "two integers and a string", control = { { 1, 2, 3 } } },
      { "too much of it", control = { { 1, 2, ("x"):rep(20480) } } },
      -- nor what it would not be asked for
      { "control: creds: unknown name 'pidd'",
        control = { creds = { pidd = 1 } } },
      { "control: creds: 1 values at integer keys, and its array has 0",
        control = { creds = { 1 } } },
      { "control: pktinfo: unknown name 'ifidx'",
        control = { pktinfo = { addr = "1.2.3.4:0", ifidx = 3 } } },
      { "control: 1 values at integer keys, and its array has 0",
        control = { [2] = { 1, 2, "x" } } },
      { "control: 2 values at integer keys, and its array has 1",
        control = { { 1, 2, "x" }, [0] = { 1, 2, "x" } } },
      { "control: unknown name 'fds", control = { ["fds\0x"] = {} } },
      { "control: fds: unknown name 'x'", control = { fds = { x = 0 } } },
      { "control: fds: 1 values at integer keys, and its array has 0",
        control = { fds = { [0] = 0 } } },
      { "control: { level, type, data }: unknown name 'x'",
        control = { { 1, 2, "", x = 1 } } },
      { "control: { level, type, data }: 4 values at integer keys",
        control = { { 1, 2, "", 4 } } },
      { "option 'iov': an array of 1 has no 'x'", iov = { "a", x = 3 } },
      { "option 'iov': an array of 3 has no 'foo'",
        iov = { { "abc", 0, 2, foo = 1 } } },
      { "option 'iov': an array of 3 has no '4'",
        iov = { { "abc", 0, 2, 9 } } },
    } do
      local words = table.remove(case, 1)
      helper.raises(words, uring.msghdr, case)
    end
    local many = {}
    for i = 1, 254 do many[i] = 0 end
    helper.raises("at most 253 fds", uring.msghdr,
      { control = { fds = many } })
    helper.raises("unknown option 'names': did you mean 'name'?",
      uring.msghdr, { names = "127.0.0.1:1" })
  end)

  it("is for sending or for receiving", function()
    local sqe = uring.sqe()
    local strings = uring.msghdr { iov = { "abc" } }
    local control = uring.msghdr { control = { creds = {} } }
    local both = uring.msghdr { controllen = 10 }
    for _, prep in ipairs { "prep_recvmsg", "prep_recvmsg_multishot" } do
      helper.raises("strings in its iov", sqe[prep], sqe, 0, strings)
      helper.raises("'control' to be sent", sqe[prep], sqe, 0, control)
    end
    for _, prep in ipairs { "prep_sendmsg", "prep_sendmsg_zc" } do
      helper.raises("has 'controllen', room for receiving", sqe[prep], sqe,
        0, both)
    end
  end)

  it("sends strings, buffers and parts of them in one piece", function()
    local ring = hand.ring()
    local a, b = sockets.pair(uring.SOCK_DGRAM)
    local buffer = uring.buffer "0123456789"
    local iov = { "abc", buffer, { buffer, 2, 3 }, "", { buffer, 8 },
      { "string", 1, 2 }, { buffer, 10 }, "\0" }
    assert.equal(21, send(ring, a, { iov = iov }))
    assert.equal("abc0123456789234" .. "89" .. "tr" .. "\0",
      sockets.read(b))
    -- a buffer is read when it is sent, a string has been copied
    local msg = uring.msghdr { iov = { "abc", buffer } }
    buffer:write(0, "X")
    one(ring, uring.sqe():prep_sendmsg(a, msg))
    assert.equal("abcX123456789", sockets.read(b))
    assert.equal(0, send(ring, a, {}))
    assert.equal("", sockets.read(b))
    local parts = {}
    for i = 1, 1024 do parts[i] = tostring(i) end
    assert.equal(#table.concat(parts), send(ring, a, { iov = parts }))
    assert.equal(table.concat(parts), sockets.read(b))
  end)

  it("receives into several buffers and parts of them", function()
    local ring = hand.ring()
    local a, b = sockets.pair(uring.SOCK_DGRAM)
    local x, y, z = uring.buffer "...", uring.buffer "......",
      uring.buffer "..."
    local msg = uring.msghdr { iov = { x, { y, 1, 2 }, { y, 4 }, z } }
    sockets.write(a, "abcdefgh")
    assert.equal(8, recv(ring, b, msg))
    assert.same({ "abc", ".de.fg", "h.." },
      { x:string(), y:string(), z:string() })
    sockets.write(a, "0123456789+")
    assert.equal(10, recv(ring, b, msg))
    assert.equal(uring.MSG_TRUNC, msg:flags() & uring.MSG_TRUNC)
    assert.same({ "012", ".34.56", "789" },
      { x:string(), y:string(), z:string() })
  end)

  it("sends to a name, and has the sender's name", function()
    local ring = hand.ring()
    for _, host in ipairs { "127.0.0.1", "::1" } do
      local to, address, from, source = udp_pair(host)
      assert.equal(5, send(ring, from, { name = address,
        iov = { "hello" } }))
      assert.equal(5, send(ring, from, { name = tostring(address),
        iov = { "again" } }))
      local msg, buffer = room(10, 128)
      for _, text in ipairs { "hello", "again" } do
        assert.equal(5, recv(ring, to, msg))
        assert.equal(text, buffer:string(1, 5))
        assert.equal(source, msg:name())
      end
      local short = room(10, 4)  -- of a name that is cut the rest is lost
      send(ring, from, { name = address, iov = { "hello" } })
      assert.equal(5, recv(ring, to, short))
      assert.equal(("family %d, 4 bytes"):format(address.family),
        tostring(short:name()))
      assert.is_nil(short:name().host)
    end
  end)

  it("has no name where the kernel has told none", function()
    local ring = hand.ring()
    local to, address, from, source = udp_pair()
    local a, b = sockets.pair(uring.SOCK_STREAM)
    local msg = room(10, 128)
    send(ring, from, { name = address, iov = { "x" } })
    assert.equal(1, recv(ring, to, msg))
    assert.equal(source, msg:name())
    sockets.write(a, "x")
    assert.equal(1, recv(ring, b, msg))
    assert.is_nil(msg:name())
    send(ring, from, { name = address, iov = { "x" } })
    assert.equal(1, recv(ring, to, msg))
    assert.equal(source, msg:name())
    -- nor the one before, where a request fails
    assert.equal(-E.EAGAIN, recv(ring, b, msg, uring.MSG_DONTWAIT))
    assert.is_nil(msg:name())
    assert.same({}, msg:control())
  end)

  it("tells datagrams that were cut from those that were not", function()
    local ring = hand.ring()
    local to, address, from = udp_pair()
    for _, case in ipairs { { 0, 10 }, { 1, 10 }, { 10, 10 }, { 11, 10 },
        { 65507, 65507 }, { 65507, 65506 }, { 1, 0 }, { 0, 0 } } do
      local size, space = case[1], case[2]
      local text = ("0123456789"):rep(size // 10 + 1):sub(1, size)
      assert.equal(size, send(ring, from, { name = address,
        iov = { text } }))
      local msg, buffer = room(space, 16)
      assert.equal(math.min(size, space), recv(ring, to, msg))
      assert.equal(text:sub(1, space), buffer:string(1, math.min(size,
        space)))
      assert.equal(size > space and uring.MSG_TRUNC or 0,
        msg:flags() & uring.MSG_TRUNC)
    end
    assert.equal(-E.EMSGSIZE, send(ring, from, { name = address,
      iov = { ("x"):rep(65508) } }))
    -- with MSG_TRUNC the whole length is told
    send(ring, from, { name = address, iov = { ("x"):rep(100) } })
    assert.equal(100, recv(ring, to, room(10), uring.MSG_TRUNC))
  end)

  it("may be used again and again, with its SQE", function()
    local ring = hand.ring()
    local v4, address4, from4, source4 = udp_pair()
    local v6, address6, from6, source6 = udp_pair "::1"
    local msg, buffer = room(100, 28, 64)
    local sqe4 = uring.sqe():prep_recvmsg(v4, msg)
    local sqe6 = uring.sqe():prep_recvmsg(v6, msg)
    for i = 1, 60 do
      -- names and control messages of all lengths follow one another
      local six, told = i % 2 == 0, i % 3 == 0
      local from, address = from4, address4
      if six then from, address = from6, address6 end
      sockets.set(v4, uring.SOL_IP, uring.IP_PKTINFO, told and 1 or 0)
      sockets.set(v6, uring.SOL_IPV6, uring.IPV6_RECVPKTINFO,
        told and 1 or 0)
      send(ring, from, { name = address, iov = { tostring(i) } })
      local n = one(ring, six and sqe6 or sqe4)
      assert.equal(tostring(i), buffer:string(1, n))
      assert.equal(six and source6 or source4, msg:name())
      local info = msg:control().pktinfo
      assert.equal(told, info ~= nil)
      if told then assert.equal(address.host, info.addr.host) end
      assert.equal(0, msg:flags() & uring.MSG_CTRUNC)
    end
  end)

  it("holds all its memory while it is in flight", function()
    local ring = hand.ring()
    local a, b = sockets.pair(uring.SOCK_DGRAM)
    local x, y = uring.buffer(2), uring.buffer(10)
    local msg = uring.msghdr { iov = { x, { y, 1, 4 } }, namelen = 28,
      controllen = 64 }
    ring:queue(uring.sqe():prep_recvmsg(b, msg))
    for _ = 1, 2 do  -- before and after the submit
      helper.raises("cannot close a msghdr that is in use", msg.close, msg)
      for _, method in ipairs { "name", "control", "flags" } do
        helper.raises("this msghdr is in use", msg[method], msg)
      end
      for _, buffer in ipairs { x, y } do
        helper.raises("cannot close a buffer that is in use", buffer.close,
          buffer)
        helper.raises("cannot resize a buffer that is in use",
          buffer.resize, buffer, 100)
      end
      ring:submit()
    end
    sockets.write(a, "abcde")
    assert.equal(5, (select(2, hand.take(ring))))
    assert.equal("ab\0cde", x:string() .. y:string(1, 4))
    assert.is_true(x:close())
    assert.is_true(y:close())
    assert.is_true(msg:close())
  end)

  it("keeps its memory when it is collected", function()
    local ring = hand.ring()
    local a, b = sockets.pair(uring.SOCK_DGRAM)
    helper.keeps_fds(function()
      do
        ring:queue(uring.sqe():prep_recvmsg(b, (room(1000, 128, 200))))
        ring:submit()
      end
      helper.collect()
      local junk = {}  -- in its place
      for i = 1, 100 do junk[i] = uring.msghdr { namelen = 10 } end
      for i = 1, 100 do junk[#junk + 1] = uring.buffer(1000 + i) end
      assert.equal(3, send(ring, a, { iov = { "abc" },
        control = { fds = { a } } }) == 3 and select(2, hand.take(ring)))
      for i = 1, 100 do
        assert.equal("uring.Msghdr (0 parts, name 10, control 0)",
          tostring(junk[i]))
        assert.equal(("\0"):rep(1000 + i), junk[100 + i]:string())
      end
    end)
  end)

  it("is refused with its SQE when it was closed meanwhile", function()
    local ring = hand.ring()
    local _, b = sockets.pair()
    local msg = room(10)
    local sqe = uring.sqe():prep_recvmsg(b, msg)
    msg:close()
    helper.raises("prepare it again", ring.queue, ring, sqe)
  end)
end)
