-- Iterators over what a socket receives: messages() and chunks(), their
-- leases, and how they end.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(net.close)
after_each(helper.clean)

describe("messages", function()
  it("gives payload, sender and info of each, in order", function()
    helper.needs "recvmsg_multishot"
    net.run(function()
      local b, address = net.udp()
      local a, name = net.udp()
      uring.spawn(function()
        for i = 1, 1000 do
          a:sendto(tostring(i), address)
          if i % 50 == 0 then net.turns(4) end
        end
      end)
      local n = 0
      for payload, from, info in b:messages() do
        n = n + 1
        assert(payload == tostring(n) and from == name and info.flags == 0)
        if n == 1000 then break end
      end
      assert.equal(1000, n)
    end)
  end)

  it("cuts datagrams that are longer than its size, and says so", function()
    net.run(function()
      local b, a = net.udp_pair()
      for _, size in ipairs { 0, 1, 99, 100, 101, 1000, 65507 } do
        a:send(net.bytes(size))
      end
      a:send "end"
      local n = 0
      for payload, _, info in b:messages { size = 100 } do
        if payload == "end" then break end
        n = n + 1
        assert.equal(#payload == 100 and n ~= 4, info.truncated)
        assert.truthy(#payload <= 100)
      end
      assert.equal(7, n)
      for _, size in ipairs { 65506, 65507 } do
        a:send(net.bytes(size))
        assert.truthy(net.bytes(size) == net.first(b:messages()))
      end
    end)
  end)

  it("goes on after empty datagrams", function()
    net.run(function()
      for _, name in ipairs { "messages", "chunks" } do
        local b, a = net.udp_pair()
        uring.spawn(function()
          for i = 1, 200 do
            a:send ""
            if i % 3 == 0 then a:send "x" end
            net.turns(1)
          end
          a:send "end"
        end)
        local empty, full = 0, 0
        for payload in b[name](b) do
          if payload == "end" then break end
          if payload == "" then empty = empty + 1 else full = full + 1 end
        end
        assert.same({ 200, 66 }, { empty, full })
      end
    end)
  end)

  it("gives leases of its own buffers, and goes on without them", function()
    net.run(function()
      local b, a = net.udp_pair()
      local kept = {}
      local task = uring.spawn(function()
        for lease, from, info in b:messages { lease = true, size = 100 } do
          assert(from and info)
          if lease:string() == "end" then return end
          kept[#kept + 1] = lease
        end
      end)
      -- as many as there are buffers: then it waits for one
      local sent = 0
      repeat
        local before = #kept
        a:send(tostring(sent + 1))
        sent = sent + 1
        net.turns(6)
      until #kept == before or sent > 5000
      assert.truthy(sent < 5000)
      for i = 1, #kept do
        assert.equal(tostring(i), kept[i]:string())
        assert.equal(#tostring(i), #kept[i])
      end
      -- another socket's buffers are others
      local d, c = net.udp_pair()
      c:send "x"
      assert.equal("x", (net.first(d:messages())))
      local n = #kept
      for i = 1, n do kept[i]:release() end
      a:send "end"
      assert(task:join(net.patience))
      assert.equal(sent, #kept)
      for i = n + 1, sent do
        assert.equal(tostring(i), kept[i]:string())
        kept[i]:release()
      end
      helper.raises("released", kept[1].string, kept[1])
    end)
  end)

  it("gives leases that outlive socket and iterator", function()
    local lease, b, a
    net.run(function()
      b, a = net.udp_pair()
      a:send "abc"
      lease = net.first(b:messages { lease = true })
      b:close()
    end)
    b = nil
    helper.collect()
    assert.equal("abc", lease:string())
    net.run(function()
      local c, d = net.pair()
      assert.equal(3, c:send(lease))
      lease:release()
      assert.equal("abc", d:recv())
    end)
  end)

  it("takes its own buffers from the ring when it is closed", function()
    local ring = uring.loop():ring()
    local function taken()
      local n = 0
      for bgid = 65500, 65535 do
        local group = ring:buf_ring { entries = 1, size = 1, bgid = bgid }
        if group then group:close() else n = n + 1 end
      end
      return n
    end
    local before = taken()
    net.run(function()
      local b, a = net.udp_pair()
      a:send "abc"
      local lease = net.first(b:messages { lease = true })
      assert.equal(before + 1, taken())
      b:close()
      assert.equal(before, taken())
      lease:release()
    end)
  end)

  it("gives leases of parts, each its own", function()
    net.run(function()
      local a, b = net.pair()
      local held = {}
      local function part(n)
        a:send(("%4d%4d"):format(n, -n))
        for lease in b:chunks { lease = true, size = 4 } do
          held[#held + 1] = lease
          if #held % 2 == 0 then break end
        end
      end
      part(1)
      held[1]:release()
      for n = 2, 300 do  -- more than there are buffers
        part(n)
        assert.equal(("%4d"):format(n), held[3]:string())
        assert.equal(("%4d"):format(-n), held[4]:string())
        table.remove(held, n % 2 + 3):release()
        table.remove(held):release()
      end
      assert.equal("  -1", held[2]:string())
      held[2]:release()
    end)
  end)

  it("gives leases of data that another wait has left", function()
    net.run(function()
      local a, b = net.tcp()
      a:send "abcdef"
      assert.equal("ab", b:recv(2))
      a:shutdown "write"
      local got = {}
      for lease in b:chunks { lease = true } do
        got[#got + 1] = lease:string()
        lease:release()
      end
      assert.same({ "cdef" }, got)
      local d, c = net.udp_pair()
      assert.equal(E.ETIME, select(3, d:receive(nil, 0)))
      c:send ""
      c:send "x"
      for _, expected in ipairs { "", "x" } do
        assert.equal(expected, net.first(d:messages { lease = true })
          :string())
      end
    end)
  end)

  it("hides from single receives that it had no buffer", function()
    net.run(function()
      local b, a = net.udp_pair()
      local kept = {}
      b:setsockopt("SO_RCVBUF", 1 << 20)  -- (none of them may be dropped)
      uring.spawn(function()
        for lease in b:messages { lease = true, size = 100 } do
          kept[#kept + 1] = lease
        end
      end)
      net.turns()
      for i = 1, 300 do
        a:send(tostring(i))
        if i % 16 == 0 then net.turns(2) end
      end
      local got = {}
      while #got + #kept < 300 do  -- (each may go to either of the two)
        local payload, why, errno = b:recv(nil, 0.05)
        got[#got + 1] = payload
        assert.truthy(payload or errno == E.ETIME, why)
      end
      for _, lease in ipairs(kept) do
        got[#got + 1] = lease:string()
        lease:release()
      end
      assert.equal(300, #got)
      b:close()
    end)
  end)

  -- The same as a router says it, forged.
  it("goes on after other ICMP errors of other datagrams", function()
    local said = { [2] = E.ENOPROTOOPT, [3] = E.ECONNREFUSED,
      [6] = E.ENETUNREACH, [7] = E.EHOSTDOWN, [8] = E.ENONET,
      [9] = E.ENETUNREACH, [10] = E.EHOSTUNREACH, [13] = E.EHOSTUNREACH }
    net.run(function()
      local icmp, message, errno = uring.socket(uring.AF_INET,
        uring.SOCK_RAW, 1)
      if errno == E.EPERM then helper.skip "needs root" end
      net.keep(assert(icmp, message))
      local other, address = net.udp()
      local s = net.keep(assert(uring.udp.connect(address)))
      local from = s:getsockname()
      local function forge(code)
        local host = "\127\0\0\1"
        local old = string.pack(">BBHHHBBH", 0x45, 0, 29, 0, 0, 64, 17, 0)
          .. host .. host .. string.pack(">HHHH", from.port, address.port, 9,
          0) .. "x"
        local function packet(sum)
          return string.pack(">BBHI4", 3, code, sum, 0) .. old
        end
        local sum, data = 0, packet(0)
        if #data % 2 == 1 then data = data .. "\0" end
        for i = 1, #data, 2 do sum = sum + string.unpack(">H", data, i) end
        while sum > 0xffff do sum = (sum & 0xffff) + (sum >> 16) end
        assert(icmp:sendto(packet(~sum & 0xffff), "127.0.0.1:0"))
      end
      for code, expected in pairs(said) do
        forge(code)
        net.fails(expected, s:receive(nil, net.patience))
      end
      local got = {}
      local task = uring.spawn(function()
        for payload in s:messages() do got[#got + 1] = payload end
        return "ended"
      end)
      net.turns()
      for code in pairs(said) do
        forge(code)
        net.turns()
        other:sendto(tostring(code), from)
        helper.eventually(function()
          uring.sleep(0)
          return got[#got] == tostring(code)
        end)
      end
      s:close()
      assert.same({ true, "ended" }, { task:join(net.patience) })
    end)
  end)

  it("goes on after ICMP errors of other datagrams", function()
    net.run(function()
      local gone, port = net.udp()
      gone:close()
      local s = net.keep(assert(uring.udp.connect(port)))
      s:send "x"
      net.fails(E.ECONNREFUSED, s:receive(nil, net.patience))
      local got = {}
      local task = uring.spawn(function()
        for payload in s:messages() do got[#got + 1] = payload end
        return "ended"
      end)
      for _ = 1, 10 do
        s:send "x"
        net.turns()
      end
      local back = net.keep(assert(uring.udp.bind(port)))
      back:sendto("abc", s:getsockname())
      for _ = 1, 1000 do
        if got[1] then break end
        uring.sleep(0.001)
      end
      assert.same({ "abc" }, got)
      s:close()
      assert.same({ true, "ended" }, { task:join(net.patience) })
    end)
  end)

  it("ends when its socket is closed, in this task or another", function()
    net.run(function()
      for _, name in ipairs { "messages", "chunks", "connections" } do
        local s = name == "connections" and net.listener() or net.udp()
        local tasks = {}
        for i = 1, 3 do
          tasks[i] = uring.spawn(function()
            for _ in s[name](s) do error "none came" end
            return "ended"
          end)
        end
        net.turns()
        s:close()
        for i = 1, 3 do
          assert.same({ true, "ended" }, { tasks[i]:join(net.patience) })
        end
        local b, a = net.udp_pair()
        a:send "x"
        a:send "y"
        local n = 0
        for _ in b:messages() do
          n = n + 1
          b:close()
        end
        assert.equal(1, n)
      end
    end)
  end)

  it("raises errors that are no end", function()
    net.run(function()
      local s = net.keep(assert(uring.socket(uring.AF_INET,
        uring.SOCK_STREAM)))
      for _, name in ipairs { "messages", "chunks" } do
        helper.raises("ENOTCONN", function()
          for _ in s[name](s) do error "none came" end
        end)
      end
      helper.raises("EINVAL", function()
        for _ in s:connections() do error "none came" end
      end)
    end)
  end)
end)

describe("chunks", function()
  it("gives a stream in order, to its end", function()
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair } do
        for _, options in ipairs { {}, { size = 1 }, { size = 1000 },
            { count = 1 }, { lease = true }, { lease = true, count = 2 },
            { lease = true, size = 1500 } } do
          local a, b = pair()
          local sent = net.bytes(options.size == 1 and 3000 or 300000)
          uring.spawn(function()
            a:send(sent)
            a:shutdown "write"
          end)
          local parts = {}
          for part in b:chunks(options) do
            assert.truthy(#part <= (options.size or 16384))
            if options.lease then
              parts[#parts + 1] = part:string()
              part:release()
            else
              parts[#parts + 1] = part
            end
          end
          assert.truthy(sent == table.concat(parts))
          assert.same({ n = 1 }, table.pack(b:receive()))
        end
      end
    end)
  end)
end)
