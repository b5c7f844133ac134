-- Control messages that sockets of tasks receive: addresses, credentials,
-- pidfds and descriptors. (By hand: see msghdr_control_spec.)

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local cancelled = net.cancelled

after_each(net.close)
after_each(helper.clean)

describe("control messages", function()
  it("tell the address a datagram was sent to, and the interface", function()
    net.run(function()
      local b, address = net.udp()
      local a = net.udp()
      b:setsockopt("IP_PKTINFO", true)
      a:sendto("x", address)
      local _, _, info = b:receive()
      assert.equal("127.0.0.1", info.control.pktinfo.addr.host)
      assert.truthy(info.control.pktinfo.ifindex > 0)
      a:sendto("x", address)
      _, _, info = net.first(b:messages())
      assert.equal("127.0.0.1", info.control.pktinfo.addr.host)
      -- the answer leaves from there
      assert.equal(1, b:sendmsg { data = "y", name = a:getsockname(),
        control = { pktinfo = info.control.pktinfo } })
      assert.same({ "y", address }, { a:recvfrom() })
    end)
  end)

  it("tell the same of IPv6", function()
    net.run(function()
      local b, why = uring.udp.bind "[::1]:0"
      if not b then helper.skip("no IPv6 here: %s", why) end
      net.keep(b)
      b:setsockopt("IPV6_RECVPKTINFO", true)
      b:setsockopt("IPV6_RECVHOPLIMIT", true)
      local a = net.keep(assert(uring.udp.connect(b:getsockname())))
      a:send "x"
      local _, _, info = b:receive()
      assert.equal("::1", info.control.pktinfo.addr.host)
      assert.equal(uring.IPPROTO_IPV6, info.control[1][1])
    end)
  end)

  it("that have no names here are given as raw bytes", function()
    net.run(function()
      local b, a = net.udp_pair()
      for _, name in ipairs { "SO_TIMESTAMP", "IP_RECVTTL", "IP_RECVTOS",
          "IP_PKTINFO" } do
        assert(b:setsockopt(name, true))
      end
      for _, receive in ipairs {
        function() return b:receive() end,
        function() return net.first(b:messages()) end
      } do
        a:send "x"
        local _, _, info = receive()
        assert.is_false(info.truncated)
        assert.equal(0, info.flags & uring.MSG_CTRUNC)
        local control = info.control
        assert.truthy(control.pktinfo)
        assert.equal(3, #control)
        for _, c in ipairs(control) do
          if c[1] == uring.SOL_SOCKET then
            local seconds = string.unpack("i8", c[3])
            assert.truthy(math.abs(seconds - os.time()) < 1000)
          end
        end
      end
      -- a datagram that has none is told so, whatever the last one had
      b:setsockopt("SO_TIMESTAMP", false)
      b:setsockopt("IP_RECVTTL", false)
      b:setsockopt("IP_RECVTOS", false)
      b:setsockopt("IP_PKTINFO", false)
      a:send "x"
      local _, _, info = b:receive()
      assert.same({}, info.control)
    end)
  end)

  it("say which process has sent, where that is asked for", function()
    net.run(function()
      for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
        local a, b = net.pair(type)
        assert(b:setsockopt("SO_PASSCRED", true))
        a:send "x"
        local _, _, info = b:receive()
        assert.equal(spec.getpid(), info.control.creds.pid)
        a:send "x"
        _, _, info = net.first(b:messages())
        assert.equal(spec.getpid(), info.control.creds.pid)
      end
    end)
  end)
end)

describe("pidfds of senders", function()
  local function pair(type)
    local a, b = net.pair(type)
    if not b:setsockopt("SO_PASSPIDFD", true) then
      pending "needs SO_PASSPIDFD (Linux 6.5)"
    end
    return a, b
  end

  it("arrive as descriptors of processes", function()
    helper.keeps_fds(function()
      net.run(function()
        for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
          local a, b = pair(type)
          for _, receive in ipairs {
            function() return 1, b:receive() end,
            function() return 1, net.first(b:messages { fds = true }) end,
            function() return 0, net.first(b:messages()) end,
          } do
            assert(a:sendmsg { data = "x", control = { fds = { a } } })
            local n, _, _, info = receive()
            local control = info.control
            assert.equal(n, #(control.fds or {}))
            assert.is_nil(control[1])
            assert.equal(spec.getpid(), tonumber(helper.content(
              "/proc/self/fdinfo/" .. control.pidfd:fileno())
              :match "\nPid:%s*(%d+)"))
          end
        end
      end)
      net.close()
    end)
  end)

  it("have room beside everything else that a message can bring", function()
    net.run(function()
      local a, b = pair(uring.SOCK_DGRAM)
      assert(b:setsockopt("SO_PASSCRED", true))
      assert(b:setsockopt("SO_TIMESTAMP", true))
      local fds = {}
      for i = 1, 253 do fds[i] = a end
      assert(a:sendmsg { data = "x", control = { fds = fds } })
      local _, _, info = b:receive()
      assert.equal(0, info.flags)
      assert.equal(253, #info.control.fds)
      assert.equal(spec.getpid(), info.control.creds.pid)
      assert.truthy(info.control.pidfd)
      assert.equal(uring.SCM_TIMESTAMP, info.control[1][2])
      for _, fd in ipairs(info.control.fds) do fd:close() end
    end)
  end)

  it("are closed where they are not read", function()
    for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
      helper.keeps_fds(function()
        net.run(function()
          local a, b = pair(type)
          for _, way in ipairs { b.recv, b.recvfrom, b.receive } do
            a:send "x"
            way(b)
          end
          for _ = 1, 3 do a:send "x" end
          net.first(b:messages())
          net.turns(5)
        end)
        net.close()
      end)
    end
  end)
end)

describe("descriptors in messages", function()
  local function send(a, n)
    local file <close> = assert(io.open "/proc/self/cmdline")
    local fds = {}
    for i = 1, n or 1 do fds[i] = file end
    assert(a:sendmsg { data = "x", control = { fds = fds } })
  end

  it("arrive open, and close themselves", function()
    helper.keeps_fds(function()
      net.run(function()
        for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
          local a, b = uring.socketpair(type)
          for _, receive in ipairs {
            function() return b:receive() end,
            function() return net.first(b:messages { fds = true }) end,
          } do
            for _, n in ipairs { 1, 3, 253 } do
              helper.collect()  -- or there may be too many
              send(a, n)
              local payload, _, info = receive()
              assert.same({ "x", n }, { payload, #info.control.fds })
              local fd = info.control.fds[n]
              local buffer = uring.buffer(4)
              assert.equal(4, (uring.await(uring.sqe():prep_read(fd,
                buffer))))
              local flags = helper.content("/proc/self/fdinfo/"
                .. fd:fileno()):match "flags:%s*(%d+)"
              assert.truthy(tonumber(flags, 8) & uring.O_CLOEXEC ~= 0)
            end
          end
          a:close()
          b:close()
        end
      end)
    end)
  end)

  it("that are not read are closed", function()
    for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
      for name, way in pairs {
        recv = function(b) b:recv() end,
        recvfrom = function(b) b:recvfrom() end,
        receive = function(b) b:receive() end,
        chunks = function(b) net.first(b:chunks()) end,
        timeout = function(b)
          -- it arrives when no task waits any more
          while b:receive(nil, 0) do end
        end,
        messages = function(b) net.first(b:messages()) end,
        asked = function(b) net.first(b:messages { fds = true }) end,
        taken = function(b)
          -- a request that has room for them, and a loop that wants none
          uring.spawn(function() b:receive(nil, 0.001) end)
          for i = 1, 4 do assert(i > 3 or net.first(b:messages())) end
        end,
        parked = function(b)
          uring.spawn(function() net.first(b:messages()) end)
          net.turns(5)
        end,
        leases = function(b)
          uring.spawn(function() net.first(b:messages { lease = true }) end)
          net.turns(5)
        end,
        dropped = function(b)
          uring.spawn(function()
            net.first(b:messages { fds = true, lease = true })
          end)
          net.turns(5)
        end,
        nothing = function() end,
      } do
        local ok, why = pcall(helper.keeps_fds, function()
          net.run(function()
            local a, b = uring.socketpair(type)
            for _ = 1, 5 do send(a, 3) end
            way(b)
            for _ = 1, 3 do send(a, 2) end
            net.turns(5)
            b:close()
            a:close()
          end)
        end)
        if not ok then error(("%s: %s"):format(name, why), 0) end
      end
    end
  end)

  it("are closed where their socket is collected in a wait", function()
    helper.keeps_fds(function()
      for i = 1, 3 do
        local a, b = uring.socketpair(uring.SOCK_DGRAM)
        local function wait()
          if i == 1 then b:receive() end
          for _ in b:messages { lease = i == 3 } do uring.sleep(60) end
        end
        cancelled(wait, function() for _ = 1, 4 do send(a, 2) end end)
      end
    end)
  end)

  -- So that a peer cannot make this process run out of them.
  it("that were not asked for never become the socket's own", function()
    net.run(function()
      for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM,
          uring.SOCK_SEQPACKET or 5 } do
        local a, b = net.pair(type)
        local most, n = 0, 0
        local function count() most = math.max(most, helper.fds()) end
        local before = helper.fds()
        local reader = uring.spawn(function()
          for _, _, info in b:messages() do
            count()
            assert(info.control.fds == nil and info.control_truncated)
            n = n + 1
            if n == 20 then return end
          end
        end)
        net.turns()
        for _ = 1, 20 do
          send(a, 200)
          count()
          if type == uring.SOCK_STREAM then net.turns(2) end
        end
        assert(reader:join(net.patience))
        -- (the sender has dups of what it sends)
        assert(most <= before + 210, most - before)
      end
    end)
  end)

  it("leave room for the control messages that options bring", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local seen, n = {}, 0
      local reader = uring.spawn(function()
        for _, _, info in b:messages() do
          n = n + 1
          seen[n] = info.control
          assert(info.control.fds == nil and info.control_truncated)
          if n == 3 then return end
        end
      end)
      for i, option in ipairs { "SO_RCVBUF", "SO_PASSCRED", "SO_TIMESTAMP" } do
        assert(b:setsockopt(option, i == 1 and 100000 or true))
        net.turns()
        send(a, 3)
        helper.eventually(function()
          uring.sleep(0)
          return n == i
        end)
      end
      assert(reader:join(net.patience))
      assert.same({}, seen[1])
      for i = 2, 3 do assert.equal(spec.getpid(), seen[i].creds.pid) end
      assert.equal(uring.SCM_TIMESTAMP, seen[3][1][2])
    end)
  end)

  it("come with each message to the tasks that ask for them", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      for i = 1, 5 do send(a, i) end
      local before, n = helper.fds(), 0
      for _, _, info in b:messages { fds = true } do
        n = n + 1
        assert.equal(n, #info.control.fds)
        assert.equal(before + n, helper.fds())
        for _, fd in ipairs(info.control.fds) do fd:close() end
        if n == 5 then break end
      end
    end)
  end)

  it("are given by loops over messages only", function()
    net.run(function()
      local _, b = net.pair()
      helper.raises("option 'fds' must be", b.messages, b, { fds = 1 })
      helper.raises("'fds'", b.chunks, b, { fds = true })
    end)
  end)
end)
