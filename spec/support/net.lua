-- Sockets of tasks, for specs: tasks that are not waited for for ever, pairs
-- of connected sockets that are closed after the test, and a look at the loop
-- when they are.
--
--     local net = require "net"
--     after_each(net.close)
--
--     net.run(function()
--       local a, b = net.tcp()
--       ...
--     end)

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local net = {}
local open = {}

-- How long a wait may take that ends at once.
net.patience = 5 * helper.slow

-- uring.run(f), but a task that never ends is an error.
function net.run(f, times)
  local results
  uring.run(function()
    local task = uring.spawn { main = f, name = "test" }
    results = table.pack(task:join((times or 6) * net.patience))
    if results[2] == "timed out" then error("it hangs", 0) end
  end)
  return table.unpack(results, 2, results.n)
end

-- To be closed after the test.
function net.keep(...)
  for _, socket in ipairs { ... } do open[#open + 1] = socket end
  return ...
end

-- Closes them all; nothing may stay in flight on the loop's ring.
function net.close()
  if not helper.probe.available then return end
  for _ = 1, #open do
    local socket = table.remove(open)
    socket:close()
  end
  net.run(function()
    local limit = os.time() + net.patience + 1
    while helper.in_flight() > 0 do
      assert(os.time() <= limit, "a request stays in flight")
      uring.sleep(0.001)
    end
  end)
end

-- A listener of TCP, on a free port.
function net.listener(host, backlog)
  return net.keep(assert(uring.tcp.listen(host or "127.0.0.1:0", backlog)))
end

-- Two ends of a connection: the one that connects, and the accepted. (In a
-- task.)
function net.tcp()
  local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
  local a = net.keep(assert(uring.tcp.connect(listener:getsockname())))
  local b = net.keep((assert(listener:accept(net.patience))))
  return a, b
end

-- Two connected unix sockets.
function net.pair(type)
  return net.keep(assert(uring.socketpair(type)))
end

-- Connects, and keeps that, until the listener's queue is full. (In a task;
-- where it is slow one may be out of time before that.)
function net.crowd(connect, address)
  local seconds = 0.01
  while true do
    local client, message, errno = connect(address, seconds * helper.slow)
    if client then net.keep(client)
    else
      assert(errno == uring.errno.ETIME, message)
      if seconds > 0.1 then return end
    end
    seconds = client and 0.01 or 0.2
  end
end

-- Bound to a free port, and its address.
function net.udp(host)
  local socket = net.keep(assert(uring.udp.bind(host or "127.0.0.1:0")))
  return socket, (socket:getsockname())
end

-- Two UDP sockets; the second is connected to the first. (In a task.)
function net.udp_pair()
  local a, address = net.udp()
  return a, (net.keep(assert(uring.udp.connect(address))))
end

net.first = helper.first

-- A wait that must fail, and how: the errno, or the second of its values.
function net.fails(errno, ...)
  local ok, message, got = ...
  if ok ~= nil or got ~= errno then
    error(("nil, …, %s expected, not %s, %s, %s"):format(errno, ok, message,
      got), 2)
  end
  return message
end

-- A run whose first task fails while `f` runs in another one: f's task is
-- cancelled in whatever it waits for.
function net.cancelled(f, before)
  helper.raises("boom", uring.run, function()
    uring.spawn(f)
    net.turns()
    if before then before() end
    error "boom"
  end)
end

net.turns = helper.turns

-- Gives the loop its turns until f answers something true, and answers that.
-- (In a task.)
function net.eventually(f)
  local limit = uring.now() + net.patience
  repeat
    local answer = f()
    if answer then return answer end
    uring.sleep(0.001)
  until uring.now() > limit
  error("it did not happen in time", 2)
end

-- All buffers of the pool that messages{ size = size } of unix sockets picks
-- from must be there: two sockets that are not read keep 200 of the 256
-- without being told that there is none. (In a task.)
function net.whole(size)
  local ends = {}
  for i = 1, 2 do
    local a, b = uring.socketpair(uring.SOCK_DGRAM)
    local next, reader = b:messages { size = size }
    spec.write(a:fileno(), "0")
    assert(next(reader) == "0")
    ends[i] = { a = a, b = b, next = next, reader = reader }
  end
  local before = uring.loop():ring():stats().cqes
  for i = 1, 100 do
    for _, e in ipairs(ends) do spec.write(e.a:fileno(), tostring(i)) end
    uring.sleep(0)
  end
  local kept = uring.loop():ring():stats().cqes - before
  for i = 1, 100 do
    for _, e in ipairs(ends) do assert(e.next(e.reader) == tostring(i)) end
  end
  for _, e in ipairs(ends) do
    e.a:close()
    e.b:close()
  end
  if kept ~= 200 then
    error(("buffers of %d bytes are missing: 200 were wanted, %d came"):format(
      size, kept), 2)
  end
end

-- All that comes on a stream until its end.
function net.read_all(socket)
  local parts = {}
  for part in socket:chunks() do parts[#parts + 1] = part end
  return table.concat(parts)
end

-- Fills what the kernel keeps for a stream; how much that was.
function net.fill(socket)
  local n = 0
  while true do
    local ok, why, errno, sent = socket:send(("x"):rep(100000), 0)
    n = n + (ok or sent)
    if not ok then
      net.fails(uring.errno.ETIME, ok, why, errno)
      if sent == 0 then return n end
    end
  end
end

local WORDS = "<" .. ("i8"):rep(64)

-- Pseudo-random bytes that tell their place.
function net.bytes(n, seed)
  local parts, words, x = {}, {}, seed or 1
  for i = 1, (n + 511) // 512 do
    for k = 1, 64 do
      x = x * 6364136223846793005 + 1442695040888963407
      words[k] = x ~ (x >> 29)
    end
    parts[i] = string.pack(WORDS, table.unpack(words))
  end
  return table.concat(parts):sub(1, n)
end

return net
