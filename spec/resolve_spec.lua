-- resolve: uring.resolve, and names where one connects, listens or binds.
--
-- Most tests run in a network namespace of their own, with /etc/hosts and
-- /etc/resolv.conf of their own, so that names are what a test says.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local ring_it = helper.needs_ring(it)
local eai = uring.eai

after_each(net.close)
after_each(helper.clean)

-- Threads of this process, but for those of the kernel's own that work for a
-- ring.
local function threads()
  local n = 0
  local list <close> = assert(io.popen(
    ("cat /proc/%d/task/*/comm"):format(spec.getpid())))
  for name in list:lines() do
    if not name:find "^iou%-" then n = n + 1 end
  end
  return n
end

local ENTER <const> = [[
set -e
ip link set lo up
mount --bind "$1" /etc/hosts
mount --bind "$2" /etc/resolv.conf
mount --bind "$3" /etc/nsswitch.conf
exec "$4" "$5"
]]

local BEGIN <const> = [[
local uring = require "uring"
local helper = require "helper"
local spec = require "uring_spec"
local E, eai = uring.errno, uring.eai
local patience <const> = 5 * helper.slow
local function threads()
  local n = 0
  for name in assert(io.popen("cat /proc/" .. spec.getpid()
      .. "/task/*/comm")):lines() do
    if not name:find "^iou%-" then n = n + 1 end
  end
  return n
end
]]

-- Runs this code where only the names in `hosts` are known; all others are
-- asked for from 127.0.0.1:53.
local function apart(hosts, code)
  helper.needs_ring()
  local namespace = { "/usr/bin/env", "unshare", "-rnm", "sh", "-c" }
  if spec.execute(30 * helper.slow, "/usr/bin/env", "unshare", "-rnm", "sh",
      "-c", "ip link set lo up && mount --bind /etc/hosts /etc/hosts") ~= 0
  then
    helper.skip "needs unshare(1), ip(8) and user namespaces"
  end
  namespace[#namespace + 1] = ENTER
  for _, text in ipairs { "sh", helper.file(hosts),
    helper.file "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n",
    helper.file "hosts: files dns\nservices: files\n", "" } do
    namespace[#namespace + 1] = text
  end
  local lua = assert(io.popen("readlink /proc/" .. spec.getpid() .. "/exe"))
  namespace[#namespace] = lua:read "l"
  lua:close()
  namespace[#namespace + 1] = helper.file(BEGIN .. code)
  local status, output = spec.execute(60 * helper.slow,
    table.unpack(namespace))
  assert.equal(0, status, output)
  return output
end


describe("resolve", function()
  ring_it("reads numbers itself, outside of tasks too", function()
    local before = threads()
    assert.same({ "127.0.0.1:80", "[::1]:53", "10.1.2.3:0", "[fe80::1%1]:9" },
      { tostring(uring.resolve("127.0.0.1", 80)[1]),
        tostring(uring.resolve("::1", "53")[1]),
        tostring(uring.resolve("10.1.2.3")[1]),
        tostring(uring.resolve("fe80::1%1", 9)[1]) })
    assert.equal(before, threads())
  end)

  ring_it("waits for a name, as only a task can", function()
    helper.raises("uring.run", uring.resolve, "localhost", 80)
    helper.raises("uring.run", uring.tcp.connect, "localhost:80")
    helper.raises("uring.run", uring.tcp.listen, "localhost:80")
    helper.raises("uring.run", uring.udp.bind, "localhost:80")
    helper.raises("uring.run", uring.udp.connect, "localhost:80")
  end)

  ring_it("says what is wrong with its arguments", function()
    helper.raises("#1 to 'resolve' (name of a host", uring.resolve)
    helper.raises("#1 to 'resolve' (name of a host", uring.resolve, "a\0b")
    helper.raises("#2 to 'resolve' (port from 0", uring.resolve, "a", 65536)
    helper.raises("#2 to 'resolve' (port from 0", uring.resolve, "a", {})
    for _, digits in ipairs { "65536", "99999", " -1", "+70000",
      "4294967376", "99999999999999999999" } do
      helper.raises("#2 to 'resolve' (port from 0", uring.resolve,
        "127.0.0.1", digits)
    end
    helper.raises("#3 to 'resolve' (seconds", uring.resolve, "a", 1, "x")
    helper.raises("no code EAI_NAME", function() return eai.NAME end)
    assert.truthy(eai.NONAME < 0)
  end)

  ring_it("takes '*' for no name, and not for this host", function()
    helper.raises("0.0.0.0 and [::] mean any", uring.tcp.listen, "*:0")
    net.run(function()
      net.fails(eai.NONAME, uring.resolve("*", 80))
    end)
  end)

  ring_it("fails with the resolver's own code", function()
    net.run(function()
      local ok, message, code = uring.resolve("localhost", "no-such-service")
      assert.same({ nil, eai.SERVICE }, { ok, code })
      assert.truthy(message:find("resolve 'localhost', service 'no-such-s",
        1, true), message)
      ok, message, code = uring.resolve(("x"):rep(300), 80)
      assert.same({ nil, eai.NONAME }, { ok, code })
      assert.truthy(message:find("EAI_NONAME", 1, true), message)
    end)
  end)

  it("gives each address once, in the order of the resolver", function()
    apart("127.0.0.1 one.test\n127.0.0.1 two.test\n127.0.0.2 two.test\n", [[
      uring.run(function()
        local one = assert(uring.resolve("one.test", "http", patience))
        assert(#one == 1 and tostring(one[1]) == "127.0.0.1:80")
        local two = assert(uring.resolve("two.test", 5))
        assert(#two == 2 and two[1].port == 5)
        assert(uring.sockaddr("127.0.0.2", 5) == two[1]
          or uring.sockaddr("127.0.0.2", 5) == two[2])
        local none, message = uring.resolve("one.test:80", nil, patience)
        assert(not none and message:find("its port, is argument #2", 1, true),
          message)
      end)
    ]])
  end)
end)


-- A name server that never answers.
local SILENT <const> = [[
local silent <close> = assert(uring.udp.bind "127.0.0.1:53")
]]

describe("a resolver that hangs", function()
  it("holds nothing up: not the loop, not the task that left, not the end",
    function()
      apart("127.0.0.1 known.test\n", SILENT .. [[
        local began = uring.now()
        uring.run(function()
          local ok, message, code = uring.resolve("a.test", 80, patience / 50)
          assert(not ok and message == "timed out" and code == E.ETIME)
          local task = uring.spawn(uring.resolve, "b.test", 80)
          for _ = 1, 10 do uring.sleep(0.005) end  -- (the loop goes on)
          local left = uring.now()
          task:cancel()
          assert(select(3, task:join()) == E.ECANCELED)
          assert(uring.now() - left < 1)
          ok, message, code = uring.tcp.connect("c.test:80", 0.1)
          assert(not ok and message == "timed out" and code == E.ETIME)
          ok, message, code = uring.udp.connect("c.test:80", 0.1)
          assert(not ok and code == E.ETIME, message)
          assert(uring.resolve("known.test", 80, patience))
          assert(uring.open("/dev/null", "r", patience)):close()
        end)
        assert(uring.now() - began < 20)
      ]])
    end)

  it("has eight threads at most, and refuses more than its queue has",
    function()
      apart("127.0.0.1 known.test\n", SILENT .. [[
        uring.run(function()
          local before, tasks = threads(), {}
          local refused = 0
          for i = 1, 1200 do
            tasks[i] = uring.spawn(function()
              local ok, message, code = uring.resolve("a" .. i .. ".test", 80)
              assert(not ok and code == E.EAGAIN, message)
              assert(message:find("no helper thread is free", 1, true),
                message)
              refused = refused + 1
            end)
          end
          helper.eventually(function()
            uring.sleep(0.01)
            return threads() == before + 8
          end)
          -- (up to eight may have begun when the last came)
          assert(refused >= 1200 - 1024 - 8 and refused <= 1200 - 1024,
            refused)
          for _, task in ipairs(tasks) do task:cancel() end
          for _, task in ipairs(tasks) do task:join() end
          assert(threads() == before + 8)
          -- those that had not begun have left the queue
          local ok, message, code = uring.resolve("more.test", 80, 0.05)
          assert(not ok and code == E.ETIME, message)
        end)
      ]])
    end)

  it("is left behind by a state that closes, and by a forked child", function()
    apart("", SILENT .. [[
      assert(spec.state(string.dump(function()
        local uring = require "uring"
        uring.run(function()
          assert(not uring.resolve("state.test", 80, 0.05))
        end)
      end)))
      uring.run(function()
        assert(not uring.resolve("a.test", 80, 0.05))
      end)
      assert(helper.child(function()
        uring.run(function()
          assert(#assert(uring.resolve("127.0.0.1", 1)) == 1)
          assert(uring.resolve("b.test", 80, 0.05) == nil)
        end)
      end) == 0)
    ]])
  end)
end)


describe("a name", function()
  ring_it("is taken where one connects, listens and binds", function()
    net.run(function()
      local listener = net.keep(assert(uring.tcp.listen("localhost:0")))
      local port = listener:getsockname().port
      local client = net.keep(assert(uring.tcp.connect(
        ("localhost:%d"):format(port), net.patience)))
      assert.equal(port, client:getpeername().port)
      local server = net.keep(assert(uring.udp.bind "localhost:0"))
      client = net.keep(assert(uring.udp.connect(
        ("localhost:%d"):format(server:getsockname().port))))
      assert(client:send "x")
      assert.equal("x", (server:receive(nil, net.patience)))
    end)
  end)

  ring_it("is refused elsewhere, and the error says what looks it up",
    function()
      helper.raises("uring.resolve looks up", uring.sockaddr, "localhost:80")
      local s = net.keep(assert(uring.socket(uring.AF_INET,
        uring.SOCK_STREAM)))
      helper.raises("uring.resolve looks up", s.bind, s, "localhost:80")
      for _, bad in ipairs { "localhost:65536", "localhost:123456",
        "local host:80", "localhost", "a:b:c", "localhost:", ":80", "*:80",
        "[localhost:80", "a\0b:80" } do
        helper.raises("address expected", uring.tcp.connect, bad)
      end
    end)

  it("is tried by each of its addresses, and the error lists them", function()
    apart("::1 both.test\n127.0.0.1 both.test\n", [[
      uring.run(function()
        -- nothing listens at either
        local ok, message, code = uring.tcp.connect("both.test:9", patience)
        assert(not ok and code == E.ECONNREFUSED)
        assert(message:find("connect to 'both.test:9': ", 1, true) == 1)
        assert(message:find("connect to [::1]:9: Connection refused", 1, true),
          message)
        assert(message:find("connect to 127.0.0.1:9: Connection refused", 1,
          true), message)
        -- one of them does, whichever it is
        for _, at in ipairs { "127.0.0.1:0", "[::1]:0" } do
          local listener <close> = assert(uring.tcp.listen(at))
          local port = listener:getsockname().port
          local before = helper.fds()
          local s = assert(uring.tcp.connect("both.test:" .. port, patience))
          assert(s:getpeername() == listener:getsockname())
          s:close()
          assert(helper.fds() == before)
        end
        local taken <close> = assert(uring.udp.bind "[::1]:0")
        local port = taken:getsockname().port
        local other <close> = assert(uring.udp.bind("127.0.0.1:" .. port))
        ok, message, code = uring.udp.bind("both.test:" .. port)
        assert(not ok and code == E.EADDRINUSE)
        assert(message:find("bind to 'both.test:", 1, true), message)
        assert(message:find("[::1]", 1, true)
          and message:find("127.0.0.1", 1, true), message)
      end)
    ]])
  end)

  it("whose first address is silent is tried by the next as well", function()
    -- (packets to 10.0.0.1 are dropped, so that connects hang)
    apart("10.0.0.1 slow.test\n127.0.0.1 slow.test\n10.0.0.1 dead.test\n"
      .. "10.0.0.2 dead.test\n", [[
      assert(os.execute "ip link add d0 type dummy 2>/dev/null && ip link \z
        set d0 up && ip addr add 10.0.0.9/24 dev d0" or os.exit(0))
      uring.run(function()
        local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
        local port = listener:getsockname().port
        local before = helper.fds()
        local s = assert(uring.tcp.connect("slow.test:" .. port, patience))
        assert(tostring(s:getpeername()) == "127.0.0.1:" .. port)
        s:close()
        assert(helper.fds() == before, "a socket that lost is open")
        local began = uring.now()
        local ok, message, code = uring.tcp.connect("dead.test:80", 0.6)
        assert(not ok and message == "timed out" and code == E.ETIME)
        assert(uring.now() - began < patience)
        assert(helper.fds() == before)
        local task = uring.spawn(uring.tcp.connect, "dead.test:80")
        uring.sleep(0.4)
        task:cancel()
        task:join()
        assert(helper.fds() == before and helper.in_flight() <= 2)
      end)
    ]])
  end)
end)
