-- Message headers and control messages, as sendmsg and recvmsg use them; what
-- recvmsg_multishot puts into a buffer.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one = hand.one

local function after()
  hand.close()
  sockets.close()
end

local function send(ring, fd, options, flags)
  return (one(ring, uring.sqe():prep_sendmsg(fd, uring.msghdr(options),
    flags)))
end

local function recv(ring, fd, msg, flags)
  return (one(ring, uring.sqe():prep_recvmsg(fd, msg, flags)))
end

-- Room for one message: a buffer and its header.
local function room(size, namelen, controllen)
  local buffer = uring.buffer(size)
  return uring.msghdr { iov = { buffer }, namelen = namelen,
    controllen = controllen }, buffer
end

-- A datagram socket, and one to send to it from.
local function udp_pair(host)
  local to, address = sockets.udp(host)
  local from, source = sockets.udp(host)
  return to, address, from, source
end


describe("a msghdr", function()
  after_each(after)

  it("says what it is", function()
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

  it("knows nothing before the first message", function()
    local msg = uring.msghdr { namelen = 128, controllen = 100 }
    assert.is_nil(msg:name())
    assert.same({}, msg:control())
    assert.equal(0, msg:flags())
    assert.same({}, uring.msghdr {}:control())
  end)

  it("refuses what belongs into none", function()
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

  it("sends to a name, and knows who has sent", function()
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

  it("tells no name where none was told", function()
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

  it("tells datagrams that were cut from those that fit", function()
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

  it("is as good as new each time, its SQE as well", function()
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

  it("is refused with an SQE when it was closed meanwhile", function()
    local ring = hand.ring()
    local _, b = sockets.pair()
    local msg = room(10)
    local sqe = uring.sqe():prep_recvmsg(b, msg)
    msg:close()
    helper.raises("prepare it again", ring.queue, ring, sqe)
  end)
end)


describe("control messages", function()
  after_each(after)

  -- What one end of a unix socket has sent, received with this much room.
  local function passed(control, controllen, type)
    local ring = hand.ring()
    local a, b = sockets.pair(type or uring.SOCK_DGRAM)
    local msg, buffer = room(10, 0, controllen or 256)
    assert.equal(1, send(ring, a, { iov = { "x" }, control = control }))
    assert.equal(1, recv(ring, b, msg))
    assert.equal("x", buffer:string(1, 1))
    return msg
  end

  it("pass descriptors on, which are closed in programs executed",
    function()
      for _, type in ipairs { uring.SOCK_DGRAM, uring.SOCK_STREAM,
          uring.SOCK_SEQPACKET } do
        helper.keeps_fds(function()
          local r, w = spec.pipe()
          local file <close> = assert(io.open("/dev/null"))
          local own <close> = uring.fd(w)
          local control = passed({ fds = { r, own, file } }, 256, type)
            :control()
          spec.close(r)
          own:close()
          assert.same({ "fds" }, { next(control), next(control, "fds") })
          local fds = control.fds
          assert.equal(3, #fds)
          assert.equal(5, spec.write(fds[2]:fileno(), "hello"))
          assert.equal("hello", spec.read(fds[1]:fileno()))
          assert.equal("", spec.read(fds[3]:fileno()))
          for _, fd in ipairs(fds) do
            local info = helper.content("/proc/self/fdinfo/" .. fd:fileno())
            local flags = tonumber(info:match "flags:%s*(%d+)", 8)
            assert.truthy(flags & uring.O_CLOEXEC ~= 0)
          end
          fds[1]:close()
          sockets.close()
          hand.close()
        end)
      end
    end)

  it("send what the descriptors were when the msghdr was made", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    helper.keeps_fds(function()
      local r, w = spec.pipe()
      local message = uring.msghdr { iov = { "x" }, control = { fds = { w } } }
      spec.close(w)
      for _ = 1, 2 do  -- and as often as one likes
        assert.equal(1, (one(ring, uring.sqe():prep_sendmsg(a, message))))
        local msg = room(1, 0, 100)
        recv(ring, b, msg)
        spec.write(msg:control().fds[1]:fileno(), "abc")
        assert.equal("abc", spec.read(r))
      end
      message:close()
      helper.collect()
      assert.equal("", spec.read(r))  -- nobody has the other end any more
      spec.close(r)
    end)
  end)

  it("give a descriptor once, and close what nobody asked for", function()
    helper.keeps_fds(function()
      local r, w = spec.pipe()
      spec.close(w)
      local msg = passed { fds = { r, r, r } }
      local fds = msg:control().fds
      assert.same({}, msg:control())
      msg:close()
      assert.equal("", spec.read(fds[3]:fileno()))

      passed { fds = { r, r } }  -- collected
      passed { fds = { r, r } }:close()
      do local _ <close> = passed { fds = { r } } end
      spec.close(r)
      sockets.close()
      hand.close()
    end)
  end)

  it("close the descriptors of the message before", function()
    local ring = hand.ring()
    local a, b = sockets.pair(uring.SOCK_DGRAM)
    local msg = room(10, 0, 256)
    local sqe = uring.sqe():prep_recvmsg(b, msg)
    helper.keeps_fds(function()
      for i = 0, 20 do
        local fds = {}
        for k = 1, i % 4 do fds[k] = a end
        send(ring, a, { iov = { "x" }, control = { fds = fds } })
        one(ring, sqe)
        if i % 5 == 0 then
          assert.equal(i % 4, #(msg:control().fds or {}))
        end
      end
      -- a request that fails, or is cancelled, has none
      send(ring, a, { iov = { "x" }, control = { fds = { a, b } } })
      one(ring, sqe)
      assert.equal(-E.EAGAIN, recv(ring, b, msg, uring.MSG_DONTWAIT))
      assert.same({}, msg:control())
      send(ring, a, { iov = { "x" }, control = { fds = { a, b } } })
      one(ring, sqe)
      ring:queue(sqe):cancel()
      assert.equal(-E.ECANCELED, (select(2, hand.take(ring))))
      assert.same({}, msg:control())
    end)
  end)

  it("leak none of a control that is cut", function()
    helper.keeps_fds(function()
      local r, w = spec.pipe()
      spec.close(w)
      for controllen = 0, 64 do
        local msg = passed({ fds = { r, r, r, r, r } }, controllen)
        local fits = math.max(0, (controllen - 16) // 4)
        assert.equal(fits < 5 and uring.MSG_CTRUNC or 0,
          msg:flags() & uring.MSG_CTRUNC)
        if controllen % 2 == 0 then
          local fds = msg:control().fds or {}
          assert.equal(math.min(5, fits), #fds)
          for _, fd in ipairs(fds) do
            assert.equal("", spec.read(fd:fileno()))
          end
        end
        msg:close()
        sockets.close()
        hand.close()
      end
      spec.close(r)
    end)
  end)

  it("pass as many as the kernel takes", function()
    helper.keeps_fds(function()
      local r, w = spec.pipe()
      local all = {}
      for i = 1, 253 do all[i] = i % 2 == 0 and r or w end
      assert.equal(253, #passed({ fds = all }, 2048):control().fds)
      spec.close(r)
      spec.close(w)
      sockets.close()
      hand.close()
    end)
  end)

  it("say which descriptor cannot be sent, and leave none open", function()
    helper.keeps_fds(function()
      local r, w = spec.pipe()
      local closed = uring.fd(spec.dup(r))
      closed:close()
      helper.raises("closed descriptor", uring.msghdr,
        { control = { fds = { r, closed } } })
      for _, fds in ipairs { { r, w, 9999 }, { r, -1 } } do
        local msg, message, errno = uring.msghdr { control = { fds = fds } }
        assert.same({ nil, E.EBADF }, { msg, errno })
        assert.truthy(message:find("a dup of a descriptor", 1, true))
      end
      spec.close(r)
      spec.close(w)
    end)
  end)

  it("tell who sends", function()
    local ring = hand.ring()
    local a, b = sockets.pair(uring.SOCK_DGRAM)
    sockets.set(b, uring.SOL_SOCKET, uring.SO_PASSCRED, 1)
    local msg = room(10, 0, 256)
    send(ring, a, { iov = { "x" } })
    recv(ring, b, msg)
    local kernels = msg:control().creds
    assert.equal(spec.getpid(), kernels.pid)
    for _, creds in ipairs { {}, { pid = spec.getpid() }, kernels } do
      assert.equal(1, send(ring, a, { iov = { "x" },
        control = { creds = creds } }))
      assert.equal(1, recv(ring, b, msg))
      assert.same({ creds = kernels }, msg:control())
    end
    -- together with others
    helper.keeps_fds(function()
      send(ring, a, { iov = { "x" }, control = { creds = {}, fds = { a } } })
      recv(ring, b, msg)
      local control = msg:control()
      assert.same(kernels, control.creds)
      assert.equal(1, #control.fds)
      control.fds[1]:close()
    end)
    assert.equal(-E.EPERM, helper.content("/proc/self/status")
      :match "CapEff:%s*0+\n" and send(ring, a, { iov = { "x" },
        control = { creds = { pid = 1 } } }) or -E.EPERM)
  end)

  it("tell which address a datagram was sent to", function()
    local ring = hand.ring()
    local to = select(2, sockets.udp())
    local any, address = sockets.udp "0.0.0.0"
    local from = sockets.udp()
    sockets.set(any, uring.SOL_IP, uring.IP_PKTINFO, 1)
    local msg = room(10, 16, 256)
    for _, host in ipairs { "127.0.0.1", "127.0.0.2", "127.1.2.3" } do
      send(ring, from, { name = uring.sockaddr(host, address.port),
        iov = { "x" } })
      assert.equal(1, recv(ring, any, msg))
      local info = msg:control().pktinfo
      assert.equal(uring.sockaddr(host, 0), info.addr)
      assert.truthy(info.ifindex > 0)
      -- the answer leaves from there
      assert.equal(1, send(ring, any, { name = msg:name(), iov = { "y" },
        control = { pktinfo = { addr = info.addr } } }))
      local answer = room(10, 16)
      assert.equal(1, recv(ring, from, answer))
      assert.equal(uring.sockaddr(host, address.port), answer:name())
      assert.equal(1, send(ring, any, { name = to, iov = { "y" },
        control = { pktinfo = info } }))
    end
  end)

  it("tell it of IPv6 as well", function()
    local ring = hand.ring()
    local to, address, from = udp_pair "::1"
    sockets.set(to, uring.SOL_IPV6, uring.IPV6_RECVPKTINFO, 1)
    local msg = room(10, 28, 256)
    assert.equal(1, send(ring, from, { name = address, iov = { "x" },
      control = { pktinfo = { addr = "[::1]:0" } } }))
    assert.equal(1, recv(ring, to, msg))
    local info = msg:control().pktinfo
    assert.equal(uring.sockaddr("::1", 0), info.addr)
    assert.truthy(info.ifindex > 0)
    assert.equal(1, send(ring, to, { name = msg:name(), iov = { "y" },
      control = { pktinfo = info } }))
    assert.equal(1, recv(ring, from, (room(10))))
  end)

  it("tell the address and port that it was sent to at first", function()
    local ring = hand.ring()
    local msg = room(10, 28, 256)
    for _, host in ipairs { "127.0.0.1", "::1" } do
      local to, address, from = udp_pair(host)
      if host == "::1" then
        sockets.set(to, uring.SOL_IPV6, uring.IPV6_RECVORIGDSTADDR, 1)
      else
        sockets.set(to, uring.SOL_IP, uring.IP_RECVORIGDSTADDR, 1)
      end
      send(ring, from, { name = address, iov = { "x" } })
      assert.equal(1, recv(ring, to, msg))
      assert.same({ origdst = address }, msg:control())
    end
  end)

  it("are raw where they have no name here", function()
    local ring = hand.ring()
    local to, address, from = udp_pair()
    sockets.set(to, uring.SOL_IP, uring.IP_RECVTTL, 1)
    sockets.set(to, uring.SOL_IP, uring.IP_RECVTOS, 1)
    sockets.set(to, uring.SOL_IP, uring.IP_PKTINFO, 1)
    local msg = room(10, 16, 256)
    assert.equal(1, send(ring, from, { name = address, iov = { "x" },
      control = { { uring.SOL_IP, uring.IP_TTL, string.pack("i4", 9) },
        { uring.SOL_IP, uring.IP_TOS, string.pack("i4", 16) } } }))
    assert.equal(1, recv(ring, to, msg))
    local control = msg:control()
    assert.equal("127.0.0.1", control.pktinfo.addr.host)
    control.pktinfo = nil
    table.sort(control, function(a, b) return a[2] > b[2] end)
    assert.same({ { uring.SOL_IP, uring.IP_TTL, string.pack("i4", 9) },
      { uring.SOL_IP, uring.IP_TOS, "\16" } }, control)
    -- what the kernel does not take is its own to refuse
    assert.equal(-E.EINVAL, send(ring, from, { name = address,
      iov = { "x" }, control = { { uring.SOL_IP, 999, "abcd" } } }))
  end)
end)


-- What recvmsg_multishot would have put into a buffer.
local function filled(out)
  return string.pack("=I4I4I4I4", out.namelen or #(out.name or ""),
    out.controllen or #(out.control or ""),
    out.payloadlen or #(out.payload or ""), out.flags or 0)
    .. (out.name or "") .. (out.control or "") .. (out.payload or "")
end

local function cmsg(level, type, data, len)
  return string.pack("=I8i4i4", len or 16 + #data, level, type) .. data
    .. ("\0"):rep(-#data % 8)
end

describe("uring.recvmsg_out", function()
  local empty = uring.msghdr {}
  local name = string.pack("=I2>I2", uring.AF_INET, 53) .. "\127\0\0\1"
    .. ("\0"):rep(8)

  it("takes a message apart", function()
    local control = cmsg(uring.SOL_IP, uring.IP_TTL, "\9\0\0\0")
    local text = filled { name = name, control = control,
      payload = "hello", flags = uring.MSG_EOR }
    local msg = uring.msghdr { namelen = 16, controllen = #control }
    local expected = { name = uring.sockaddr "127.0.0.1:53",
      control = { { uring.SOL_IP, uring.IP_TTL, "\9\0\0\0" } },
      payload = "hello", payloadlen = 5, flags = uring.MSG_EOR,
      truncated = { name = false, control = false, payload = false } }
    assert.same(expected, uring.recvmsg_out(text, msg))
    assert.same(expected, uring.recvmsg_out(uring.buffer(text), msg))
    -- only so much of it
    assert.same(expected, uring.recvmsg_out(text .. "more", msg, #text))
    expected.payload, expected.truncated.payload = "hell", true
    assert.same(expected, uring.recvmsg_out(text, msg, #text - 1))
    for _, len in ipairs { -1, #text + 1, 0.5, "5" } do
      helper.raises(("integer from 0 to %d"):format(#text),
        uring.recvmsg_out, text, msg, len)
    end
  end)

  it("takes anything with bytes, and a msghdr", function()
    for _, what in ipairs { 5, {}, true, empty } do
      helper.raises("string, buffer or lease expected", uring.recvmsg_out,
        what, empty)
    end
    for _, what in ipairs { 5, {}, true, "x" } do
      helper.raises("uring.Msghdr expected", uring.recvmsg_out, "", what)
    end
  end)

  it("says that it is too short at every size that is", function()
    local msg = uring.msghdr { namelen = 16, controllen = 24 }
    local text = filled { name = name, control = ("\0"):rep(24),
      payload = "ab" }
    for size = 0, 16 + 16 + 24 - 1 do
      for _, short in ipairs { text:sub(1, size),
          uring.buffer(text:sub(1, size)) } do
        local out, why, errno = uring.recvmsg_out(short, msg)
        assert.same({ nil, E.EBADMSG }, { out, errno })
        assert.truthy(why:find(size .. " bytes are too short", 1, true), why)
      end
    end
    for size = 16 + 16 + 24, #text do
      local out = assert(uring.recvmsg_out(text:sub(1, size), msg))
      assert.equal(("ab"):sub(1, size - 56), out.payload)
      assert.equal(size < #text, out.truncated.payload)
    end
  end)

  it("tells apart what was cut", function()
    local function truncated(out, namelen, controllen)
      return uring.recvmsg_out(filled(out), uring.msghdr {
        namelen = namelen, controllen = controllen }).truncated
    end
    assert.same({ name = true, control = false, payload = false },
      truncated({ name = name:sub(1, 4), namelen = 16 }, 4, 0))
    assert.same({ name = false, control = true, payload = false },
      truncated({ control = ("\0"):rep(8), flags = uring.MSG_CTRUNC }, 0, 8))
    assert.same({ name = false, control = false, payload = true },
      truncated({ payload = "x", flags = uring.MSG_TRUNC }, 0, 0))
    assert.same({ name = false, control = false, payload = true },
      truncated({ payload = "x", payloadlen = 2 }, 0, 0))
    assert.same({ name = false, control = false, payload = false },
      truncated({ payload = "x" }, 0, 0))
  end)

  it("believes no length", function()
    local msg = uring.msghdr { namelen = 16, controllen = 24 }
    local control = cmsg(9, 9, "12345678")
    for _, n in ipairs { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff } do
      local out = uring.recvmsg_out(filled { name = name, namelen = n,
        control = control, controllen = n, payload = "abc",
        payloadlen = n }, msg)
      assert.equal(("abc"):sub(1, n), out.payload)
      assert.equal(n, out.payloadlen)
      assert.same(n > 1 and { { 9, 9, "12345678" } } or {}, out.control)
      assert.equal(n > 16, out.truncated.name)
    end
    -- nor one within the control messages
    for _, len in ipairs { 0, 1, 15, -1, math.mininteger } do
      local out = uring.recvmsg_out(filled {
        control = cmsg(9, 9, "12345678", len) },
        uring.msghdr { controllen = 24 })
      assert.same((len < 0) and { { 9, 9, "12345678" } } or {}, out.control)
    end
    for len, data in pairs { [16] = "", [17] = "1", [20] = "1234",
        [24] = "12345678", [25] = "12345678", [math.maxinteger] =
        "12345678", [0xffffffff] = "12345678" } do
      local out = uring.recvmsg_out(filled {
        control = cmsg(9, 9, "12345678", len) },
        uring.msghdr { controllen = 24 })
      assert.same({ { 9, 9, data } }, out.control)
    end
  end)

  it("has control messages that are too small for their name as they are",
    function()
      for _, kind in ipairs { { uring.SOL_SOCKET, uring.SCM_CREDENTIALS, 12 },
          { uring.SOL_IP, uring.IP_PKTINFO, 12 },
          { uring.SOL_IPV6, uring.IPV6_PKTINFO, 20 },
          { uring.SOL_IP, uring.IP_ORIGDSTADDR, 16 } } do
        for size = 0, kind[3] - 1 do
          local control = cmsg(kind[1], kind[2], ("\1"):rep(size))
          local out = uring.recvmsg_out(filled { control = control },
            uring.msghdr { controllen = #control })
          assert.same({ { kind[1], kind[2], ("\1"):rep(size) } },
            out.control)
        end
        local control = cmsg(kind[1], kind[2], ("\1"):rep(kind[3]))
        local out = uring.recvmsg_out(filled { control = control },
          uring.msghdr { controllen = #control })
        assert.is_nil(out.control[1])
        assert.truthy(next(out.control))
      end
    end)

  it("owns no descriptor that a string names", function()
    helper.keeps_fds(function()
      local r, w = spec.pipe()
      local data = string.pack("=i4i4", r, w)
      local control = cmsg(uring.SOL_SOCKET, uring.SCM_RIGHTS, data)
      local out = uring.recvmsg_out(filled { control = control },
        uring.msghdr { controllen = #control })
      assert.same({ { uring.SOL_SOCKET, uring.SCM_RIGHTS, data } },
        out.control)
      out = nil  -- luacheck: ignore
      helper.collect()
      assert.equal(1, spec.write(w, "x"))
      spec.close(r)
      spec.close(w)
    end)
  end)

  it("survives any bytes at all", function()
    local state = 88172645463325252
    local function random(below)
      state = state ~ state << 13
      state = state ~ state >> 7
      state = state ~ state << 17
      return (state >> 1) % below
    end
    local msgs = {}
    for i = 1, 40 do
      msgs[i] = { random(129), random(3) * random(100) }
      msgs[i][3] = uring.msghdr { namelen = msgs[i][1],
        controllen = msgs[i][2] }
    end
    for _ = 1, 1500 do
      local msg = msgs[1 + random(#msgs)]
      local namelen, controllen = msg[1], msg[2]
      local bytes = {}
      for i = 1, random(300) do
        -- small numbers, where lengths are, and any
        bytes[i] = string.char(random(2) == 0 and random(256)
          or random(5) * random(2))
      end
      local text = table.concat(bytes)
      local left = #text - 16 - namelen - controllen
      local out, _, errno = uring.recvmsg_out(text, msg[3])
      if left < 0 then
        assert.same({ nil, E.EBADMSG }, { out, errno })
      else
        local full = string.unpack("=I4", text, 9)
        assert.equal(full, out.payloadlen)
        assert.equal(text:sub(17 + namelen + controllen)
          :sub(1, full), out.payload)
        tostring(out.name)
      end
    end
  end)
end)
