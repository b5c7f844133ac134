-- Sends on unix datagram sockets whose receiver is full: each datagram arrives
-- whole and once, and in order for each that sends. (The kernel sends an empty
-- one in the place of what a request had to try twice.)

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(net.close)

local SENDERS <const>, EACH <const> = 20, 10

local function receiver()
  local socket = net.keep(assert(uring.unix.bind "unix:"))
  return socket, (socket:getsockname())
end

local function unconnected()
  return net.keep(assert(uring.socket(uring.AF_UNIX, uring.SOCK_DGRAM)))
end

local function connected(to)
  local socket = unconnected()
  assert(socket:connect(to))
  return socket
end

-- So long, of which sender, and its how manieth.
local function datagram(k, i, size)
  local head = ("%d %d "):format(k, i)
  return head .. ("x"):rep(size - #head)
end

-- SENDERS tasks send to one receiver, which reads when they are stuck. `open`
-- answers the k-th sender's socket, `send` sends a datagram of it.
local function flood(size, open, send)
  net.run(function()
    local to, address = receiver()
    local tasks, next = {}, {}
    for k = 1, SENDERS do
      local socket = open(address, k)
      next[k] = 1
      tasks[k] = uring.spawn(function()
        for i = 1, EACH do
          local data = datagram(k, i, size)
          local n, why = send(socket, data, address)
          if n ~= #data then
            error(("%d of %d: %s %s"):format(k, i, n, why))
          end
        end
      end)
    end
    net.turns(10)
    for _ = 1, SENDERS * EACH do
      local data, _, info = assert(to:receive(size + 1, net.patience))
      local k, i = data:match "^(%d+) (%d+) x*$"
      k = tonumber(k)
      assert(#data == size, #data .. " bytes have come")
      assert(tonumber(i) == next[k], "it is out of order")
      next[k] = next[k] + 1
      for _, fd in ipairs(info.control.fds or {}) do fd:close() end
    end
    net.fails(E.ETIME, to:recv(size, 0))
    for _, task in ipairs(tasks) do assert(task:join(net.patience)) end
  end)
end

local function send(socket, data) return socket:send(data) end

local function sendto(socket, data, address)
  return socket:sendto(data, address)
end

local function sendmsg(socket, data)
  return socket:sendmsg { data = data, control = { fds = { 0 } } }
end

local function sendmsg_to(socket, data, address)
  return socket:sendmsg { iov = { data:sub(1, 3), uring.buffer(data:sub(4)) },
    name = address }
end

local function sending(socket, data)
  local _, n, why = uring.select { it = socket:sending(data) }
  return n, why
end

local function array(socket, data, address)
  local plain = { data = data, name = address }
  local n, why = socket:sendmsg { plain }
  return n == 1 and #data, why
end

describe("datagrams to a full unix socket come whole and in order", function()
  for _, size in ipairs { 10, 8000 } do
    local function test(what, open, by)
      it(("%s, of %d bytes"):format(what, size), function()
        local before = helper.fds()
        flood(size, open, by)
        net.close()
        assert(helper.fds() <= before + 2, "descriptors are left")
      end)
    end

    test("by send", connected, send)
    test("by sendmsg with descriptors", connected, sendmsg)
    test("by the event", connected, sending)
    test("by sendto", unconnected, sendto)
    test("by sendmsg with a name", unconnected, sendmsg_to)
    test("by an array", unconnected, array)

    local one
    local function shared()
      if not one or tostring(one):find "closed" then one = unconnected() end
      return one
    end
    test("by tasks that share a socket", shared, sendto)

    local elsewhere
    local function otherwise(_, k)
      if k == 1 then
        elsewhere = select(2, receiver())
        local fill = connected(elsewhere)
        repeat until not fill:send("x", 0)
      end
      return connected(elsewhere)
    end
    test("by sendto of sockets connected to another, full one",
      otherwise, sendto)
  end

  -- The receiver is connected to the sender: then the sender's own buffer
  -- alone can be full.
  it("where the receiver is connected to the sender", function()
    net.run(function()
      local server, address = receiver()
      local clients = {}
      for k = 1, 4 do
        local client = net.keep(assert(uring.unix.bind "unix:"))
        assert(client:connect(address))
        clients[k] = client
      end
      local data = ("x"):rep(30000)
      local tasks = {}
      for k, client in ipairs(clients) do
        local name = client:getsockname()
        tasks[k] = uring.spawn(function()
          for i = 1, EACH do
            assert(server:sendto(data .. i, name) == #(data .. i))
          end
        end)
      end
      net.turns(10)
      for _, client in ipairs(clients) do
        tasks[#tasks + 1] = uring.spawn(function()
          for i = 1, EACH do
            assert.equal(data .. i, client:recv(#data + 9, net.patience))
          end
        end)
      end
      for _, task in ipairs(tasks) do assert(task:join(net.patience)) end
    end)
  end)

  it("as packets of a seqpacket socket", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_SEQPACKET)
      local data = ("x"):rep(20000)
      local task = uring.spawn(function()
        for i = 1, 50 do assert(a:send(data .. i) == #(data .. i)) end
      end)
      net.turns(10)
      for i = 1, 50 do
        assert.equal(data .. i, b:recv(#data + 9, net.patience))
      end
      assert(task:join(net.patience))
    end)
  end)
end)

describe("a send that waits for space at a unix socket", function()
  -- f gets each kind of socket whose send waits, by a function.
  local function each(f)
    for _, open in ipairs { connected, unconnected } do
      net.run(function()
        local to, address = receiver()
        local socket = open(address)
        local function go(data, timeout)
          if open == connected then return socket:send(data, timeout) end
          return socket:sendto(data, address, timeout)
        end
        local full = 0
        while go(("%d"):format(full), 0) do full = full + 1 end
        local before = helper.fds()
        f(go, socket, to)
        local function read()
          for i = 1, full do
            assert.equal(("%d"):format(i - 1), to:recv(100, net.patience))
          end
          net.fails(E.ETIME, to:recv(100, 0))
        end
        if not tostring(to):find "closed" then read() end
        net.turns()
        assert(helper.fds() <= before, "descriptors are left")
      end)
      net.close()
    end
  end

  it("has a timeout, and then has sent nothing", function()
    each(function(go)
      local ok, why, errno, sent = go("late", 0.01)
      assert.same({ nil, "timed out", E.ETIME, 0 }, { ok, why, errno, sent })
    end)
  end)

  it("can be cancelled", function()
    each(function(go)
      local task = helper.started(go, "late")
      assert(task:cancel())
      net.fails(E.ECANCELED, task:join(net.patience))
    end)
  end)

  it("ends when its coroutine is closed", function()
    each(function(go)
      helper.raises("ended from outside", uring.scope, function()
        local _, co = helper.started(go, "late")
        coroutine.close(co)
      end)
      net.turns()
    end)
  end)

  it("ends when the socket is closed", function()
    each(function(go, socket)
      local task = helper.started(go, "late")
      assert(socket:close())
      local ok, _, _, errno = task:join(net.patience)
      assert(ok and select(4, task:join()) == E.EBADF, errno)
    end)
  end)

  it("is refused when the receiver has gone", function()
    each(function(go, _, to)
      local task = helper.started(go, "late")
      assert(to:close())
      local _, n, _, errno = task:join(net.patience)
      assert(n == nil and errno == E.ECONNREFUSED, errno)
    end)
  end)

  it("does not wait where its flags say so", function()
    net.run(function()
      local _, address = receiver()
      local socket = connected(address)
      repeat until not socket:send("x", 0)
      net.fails(E.EAGAIN, socket:sendmsg { data = "x",
        flags = uring.MSG_DONTWAIT })
    end)
  end)
end)

describe("a send that always finds room at a unix socket", function()
  it("lets other tasks have their turns", function()
    net.run(function()
      local a, b = net.pair(uring.SOCK_DGRAM)
      local seen = 0
      uring.daemon(function()
        while true do
          uring.sleep(0)
          seen = seen + 1
        end
      end)
      for _ = 1, 1000 do
        assert(a:send "x")
        assert(spec.read(b:fileno(), 10) == "x")
      end
      assert(seen > 5, seen .. " turns")
    end)
  end)
end)
