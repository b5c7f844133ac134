-- Sockets that listen: accept, and what becomes of connections that are not
-- taken.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local cancelled = net.cancelled

after_each(net.close)
after_each(helper.clean)

describe("accept", function()
  it("gives the connection and its peer, in time", function()
    net.run(function()
      local listener = net.listener()
      assert.same({ n = 3, nil, "timed out", E.ETIME },
        table.pack(listener:accept(0)))
      net.fails(E.ETIME, listener:accept(0.001))
      local a = net.keep(assert(uring.tcp.connect(listener:getsockname())))
      local b, peer = listener:accept(net.patience)
      net.keep(b)
      assert.equal(a:getsockname(), peer)
      assert.equal(uring.SOCK_STREAM, b:getsockopt "SO_TYPE")
    end)
  end)

  it("serves several tasks, and several kinds of waits", function()
    net.run(function()
      local listener = net.listener()
      local peers = {}
      for i = 1, 6 do
        uring.spawn(function()
          if i % 2 == 0 then
            while true do
              local conn, peer, errno = listener:accept()
              if not conn then
                assert.equal(E.EBADF, errno, peer)
                return
              end
              peers[tostring(peer)] = true
              conn:close()
            end
          end
          for conn, peer in listener:connections() do
            peers[tostring(peer)] = true
            conn:close()
          end
        end)
      end
      for _ = 1, 100 do
        local a = assert(uring.tcp.connect(listener:getsockname()))
        local name = tostring(a:getsockname())
        for _ = 1, 10000 do
          if peers[name] then break end
          uring.sleep(0)
        end
        assert.truthy(peers[name])
        a:close()
      end
      listener:close()
    end)
  end)

  it("loses no connection to break, timeouts or cancelled tasks", function()
    local listener = net.listener()
    local address = listener:getsockname()
    local clients, accepted = {}, 0
    local function connect(n)
      for _ = 1, n do
        clients[#clients + 1] = net.keep(assert(uring.tcp.connect(address)))
      end
    end
    net.run(function()
      for _ = 1, 5 do
        connect(3)
        net.keep((net.first(listener:connections())))
        accepted = accepted + 1
        connect(2)
      end
      local conn = listener:accept(0)
      if conn then accepted = accepted + 1 net.keep(conn) end
    end)
    cancelled(function()
      for conn in listener:connections() do
        accepted = accepted + 1
        net.keep(conn)
        uring.sleep(60)
      end
    end, function() connect(4) end)
    net.run(function()
      while accepted < #clients do
        net.keep((assert(listener:accept(net.patience))))
        accepted = accepted + 1
      end
      net.fails(E.ETIME, listener:accept(0))
    end)
  end)

  it("closes connections that no task has taken with its socket", function()
    helper.keeps_fds(function()
      for way = 1, 4 do
        net.run(function()
          local listener = assert(uring.tcp.listen "127.0.0.1:0")
          local clients = {}
          local function connect()
            for _ = 1, 5 do
              clients[#clients + 1] = assert(uring.tcp.connect(
                listener:getsockname()))
            end
          end
          if way > 2 then
            uring.spawn(function()
              for conn in listener:connections() do
                conn:close()
                uring.sleep(0.01)
              end
            end)
            net.turns()
          end
          connect()
          if way == 1 then listener:accept(0) end
          if way == 2 then net.first(listener:connections()):close() end
          connect()
          listener:close()
          for _, c in ipairs(clients) do c:close() end
        end)
      end
    end)
  end)

  it("goes on when there are descriptors again", function()
    local output = helper.file ""
    local script = helper.file(([[
      local uring = require "uring"
      local spec = require "uring_spec"
      uring.run(function()
        local listener = assert(uring.tcp.listen "127.0.0.1:0")
        local address = listener:getsockname()
        local clients, accepted = {}, 0
        local kept, full = {}, {}
        for i = 1, 6 do
          clients[i] = assert(uring.tcp.connect(address))
        end
        while true do
          local fd = spec.dup(0)
          if not fd or fd < 0 then break end
          full[#full + 1] = fd
        end
        assert(#full > 0)
        -- accept says so, and loses no connection by it
        local conn, message, errno = listener:accept(5)
        assert(conn == nil and errno == uring.errno.EMFILE, message)
        local task = uring.spawn(function()
          for c in listener:connections() do
            accepted = accepted + 1
            kept[accepted] = c
            if accepted == 6 then return end
          end
        end)
        local before = uring.loop():ring():stats().submitted
        uring.sleep(0.25)
        assert(accepted == 0)
        -- it does not ask again and again
        assert(uring.loop():ring():stats().submitted - before < 20)
        for _, fd in ipairs(full) do spec.close(fd) end
        assert(task:join(20))
        for i = 1, 6 do clients[i]:close() kept[i]:close() end
      end)
      local file = io.open(%q, "w")
      file:write "well"
      file:close()
    ]]):format(output))
    local status, said = spec.execute(30 * helper.slow, "/bin/sh", "-c",
      [[ulimit -n 60 && exec "$(readlink "/proc/$PPID/exe")" "$0"]], script)
    assert.equal("well", helper.content(output), said)
    assert.equal(0, status)
  end)

  -- Nothing grows with the number of connections.
  it("serves ten thousand connections, and keeps nothing", function()
    local rounds = tonumber(os.getenv "URING_CONNECTIONS") or 10000
    local function memory()
      helper.collect()
      return collectgarbage "count" * 1024, helper.resident()
    end
    local function serve(n)
      net.run(function()
        local listener = assert(uring.tcp.listen "127.0.0.1:0")
        local address = listener:getsockname()
        local server = uring.spawn(function()
          for conn in listener:connections() do
            uring.spawn(function()
              local s <close> = conn
              for part in s:chunks { size = 256 } do
                assert(s:send(part))
              end
            end)
          end
        end)
        local left, clients = n, {}
        for i = 1, 20 do
          clients[i] = uring.spawn(function()
            while left > 0 do
              left = left - 1
              local s <close> = assert(uring.tcp.connect(address))
              s:setsockopt("SO_LINGER", string.pack("i4i4", 1, 0))
              assert(s:send "abc")
              assert.equal("abc", s:recv(3, net.patience))
              s:shutdown "write"
              assert.is_nil((s:recv(3, net.patience)))
            end
          end)
        end
        for i = 1, 20 do assert(clients[i]:join()) end
        listener:close()
        server:join()
      end)
    end
    serve(1000)
    local fds, lua, rss = helper.fds(), memory()
    serve(rounds)
    local lua_after, rss_after = memory()
    assert.equal(fds, helper.fds())
    assert.truthy(lua_after - lua < 200000, lua_after - lua)
    -- (other things of the process may take some, 10^4 times 100 bytes not)
    if not (os.getenv "LD_PRELOAD" or ""):find "asan" then
      -- (but once the collector may have left holes)
      if rss_after - rss >= 1000000 then
        rss = rss_after
        serve(rounds)
        rss_after = select(2, memory())
      end
      assert.truthy(rss_after - rss < 1000000, rss_after - rss)
    end
  end)
end)
