-- A storm: receives, breaks, timeouts, cancelled tasks, closed coroutines,
-- leases and collections at random, on sockets that are sent to all the time.
-- All that was sent arrives, once and in order, and nothing is kept.
--
-- See spec/support/storm.lua for how one is repeated, or goes on for long.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local storm = require "storm"
local uring = require "uring"

local it = helper.needs_ring(it)

local random, pick = math.random, storm.pick

-- Few, for there is a pool for each.
local SIZES = { 64, 300, 4096 }

-- How a wait may end that is none's fault.
local function expected(why, errno)
  return errno == uring.errno.ETIME or why == nil
end


-- Who sends is no task, so that nothing ends it: it writes what the kernel
-- takes whenever it is called.

local function stream_sender(fd, total)
  local rest, sent = net.bytes(total, random(1 << 30)), 0
  local all = rest
  return {
    all = all,
    step = function()
      if sent == total then return false end
      local n = spec.write(fd, all:sub(sent + 1, sent + random(5000)))
      if n and n > 0 then sent = sent + n end
      return true
    end,
    check = function(got)
      local whole = {}
      for i, g in ipairs(got) do whole[i] = g.payload end
      whole = table.concat(whole)
      assert(whole == all:sub(1, #whole), "the stream is not what was sent")
      return #whole == total
    end,
  }
end

local function packet_sender(fd, total)
  local sent = {}
  return {
    step = function()
      if #sent == total then return false end
      for _ = 1, random(8) do
        local payload = #sent + 1 .. ":" .. net.bytes(random(0, 500), #sent)
        local n = spec.write(fd, payload)
        if not n or n < 0 then break end
        sent[#sent + 1] = payload
        if #sent == total then break end
      end
      return true
    end,
    check = function(got)
      for i, g in ipairs(got) do
        -- (an earlier wait, which had less room, may have cut it)
        local all, n = sent[i] or "", #g.payload
        if g.payload ~= all:sub(1, n) or n > g.max
          or n < math.min(#all, g.max, SIZES[1]) then
          error(("packet %d is %q, %d of %d bytes"):format(i,
            g.payload:sub(1, 10), n, #all), 0)
        end
      end
      return #got == total
    end,
  }
end


-- What a task may do to receive. Each puts what it got into `got` as soon as
-- it has it.

local function take(got, leases, value, max)
  local g = { payload = value, max = max }
  if type(value) ~= "string" then
    g.payload = value:string()
    g.lease = value
    leases[#leases + 1] = value
  end
  got[#got + 1] = g
end

local function timeout()
  return pick { 0, 0.0001, 0.001, 60 }
end

local function one(socket, got, leases)
  local max = random(600)
  local name = pick { "receive", "recv", "recvfrom" }
  local payload, why, errno = socket[name](socket, max, timeout())
  if payload then return take(got, leases, payload, max) end
  assert(expected(why, errno), why)
end

local function many(socket, got, leases)
  local options = { size = pick(SIZES), count = pick { 1, 5, 128 },
    lease = random(3) == 1 }
  local name = pick { "messages", "chunks" }
  local left = random(0, 20)
  for payload in socket[name](socket, options) do
    take(got, leases, payload, options.size)
    if left == 0 then break end
    left = left - 1
    if random(5) == 1 then uring.sleep(0) end
  end
end

local function recycle(leases)
  while #leases > random(0, 40) do
    table.remove(leases, random(#leases)):release()
  end
  if random(10) == 1 then collectgarbage() end
end

local function receiver(socket, got, leases)
  while true do
    pick { one, many } (socket, got, leases)
    recycle(leases)
    uring.sleep(0)
  end
end


-- Some turns in which every task receives; then it ends as it may.
local function act(socket, sender, got, leases)
  local message = helper.raises("", uring.run, function()
    local threads = {}
    for i = 1, random(3) do
      uring.spawn(function()
        threads[i] = coroutine.running()
        receiver(socket, got, leases)
      end)
    end
    for _ = 1, random(40) do
      sender.step()
      uring.sleep(random(10) == 1 and 0.0002 or 0)
      if random(60) == 1 then
        local co = table.remove(threads)
        if co and coroutine.status(co) == "suspended" then
          coroutine.close(co)
        end
      end
    end
    error "the storm is over"
  end)
  assert(message:find("the storm is over", 1, true)
    or message:find("ended from outside", 1, true), message)
end

-- What is left, in one way or another, until all has come.
local function finish(socket, sender, got, leases, done)
  net.run(function()
    local feeder = uring.spawn(function()
      while sender.step() do uring.sleep(0.0001) end
      done()
    end)
    while not sender.check(got) do
      local n = #got
      if random(2) == 1 then
        local payload, why = socket:recv(600, 2 * net.patience)
        assert(payload, why or "the end came too early")
        take(got, leases, payload, 600)
      else
        local payload = net.first(socket:messages { size = pick(SIZES) })
        assert(payload, "the end came too early")
        take(got, leases, payload, 4096)
      end
      assert(#got == n + 1)
    end
    assert(feeder:join())
  end)
end

local function storm_of(type)
  local a, b = uring.socketpair(type)
  local streams = type == uring.SOCK_STREAM
  local got, leases = {}, {}
  local fd = a:fileno()
  spec.nonblock(fd)
  local sender = (streams and stream_sender or packet_sender)(fd,
    streams and random(100000) or random(300))
  for _ = 1, random(8) do
    act(b, sender, got, leases)
    if streams then sender.check(got) end
  end
  -- sometimes it is closed with all that is in it
  if random(4) > 1 then
    finish(b, sender, got, leases, function()
      if streams then a:shutdown "write" end
    end)
    if streams then
      net.run(function()
        local out = table.pack(b:receive(nil, net.patience))
        assert(out.n == 1 and out[1] == nil)
      end)
    end
  else
    sender.check(got)
  end
  for _, g in ipairs(got) do
    if g.lease and random(2) == 1 then
      g.lease:release()
    end
  end
  if random(2) == 1 then b:close() end
  a:close()
end

-- The same with connections: each that was made is accepted once.
local function storm_of_connections()
  local listener = assert(uring.tcp.listen "127.0.0.1:0")
  local address = listener:getsockname()
  local made, clients, accepted = {}, {}, {}
  local n = 0
  local function keep(conn, peer)
    if peer then
      peer = tostring(peer)
      assert(not accepted[peer], "it was accepted twice")
      accepted[peer] = true
    end
    if random(2) == 1 then conn:close() end
  end
  local function serve()
    while true do
      if random(2) == 1 then
        local conn, peer, errno = listener:accept(timeout())
        if conn then keep(conn, peer)
        else assert(expected(peer, errno), peer) end
      else
        local left = random(0, 5)
        for conn, peer in listener:connections() do
          keep(conn, peer)
          if left == 0 then break end
          left = left - 1
        end
      end
    end
  end
  for _ = 1, random(4) do
    helper.raises("the storm is over", uring.run, function()
      for _ = 1, random(3) do uring.spawn(serve) end
      for _ = 1, random(15) do
        local client = uring.tcp.connect(address)
        n = n + 1
        made[tostring(client:getsockname())] = true
        clients[n] = client
        uring.sleep(0)
      end
      error "the storm is over"
    end)
  end
  if random(3) > 1 then
    net.run(function()
      while true do
        local conn, peer = listener:accept(0)
        if not conn then break end
        keep(conn, peer)
      end
    end)
    for name in pairs(made) do
      assert(accepted[name], "a connection was lost")
    end
  end
  listener:close()
  for _, client in ipairs(clients) do client:close() end
end

it("a storm of sockets loses nothing, and keeps nothing", function()
  helper.needs("recvmsg_multishot", "recv_multishot", "accept_multishot")
  local kinds = {
    function() storm_of(uring.SOCK_STREAM) end,
    function() storm_of(uring.SOCK_DGRAM) end,
    storm_of_connections,
  }
  net.run(function() end)  -- (makes the loop's ring)
  storm.rounds(1, function() pick(kinds)() end, function()
    net.run(function()
      for _, size in ipairs(SIZES) do net.whole(size) end
    end)
  end)
  net.close()
end)
