-- Control messages of message headers: descriptors that are passed on, the
-- sending process, and addresses. (Of tasks' sockets: see control_spec.)

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one = hand.one
local after, room, udp_pair = sockets.after, sockets.room, sockets.udp_pair
local send, recv = sockets.sendmsg, sockets.recvmsg


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

  it("pass descriptors on, which are closed on exec",
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

  it("send the files of the time when the msghdr was made", function()
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
      assert.equal("", spec.read(r))  -- the other end is closed
      spec.close(r)
    end)
  end)

  it("give a descriptor once, and close those not asked for", function()
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

  it("leak no descriptor of a control that is cut", function()
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

  it("tell which process sends", function()
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

  it("tell which address an IPv6 datagram was sent to", function()
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

  it("tell the original address and port of a datagram", function()
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
