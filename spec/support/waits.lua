-- Every way to wait, for specs that end waits in every way.
--
--     local w = waits["channel receive"]()   -- in a task
--     w.wait()           what a task waits with
--     w.fire()           what it waits for comes, without a wait of its own
--     w.after(fired)     nothing was lost: the next to ask has it
--     w.close()
--
-- `w.result(...)` looks at what the wait has given, where it went well;
-- `w.final`: what was received cannot go back;
-- `w.brief` is set beforehand where time alone is to end it.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local waits = {}

local PATIENCE <const> = 5

local turns <const> = helper.turns

-- Completes a wait for a pipe to be readable.
local function pipe(w)
  w.r, w.w = spec.pipe()
  function w.fire() spec.write(w.w, "x") end
  function w.after(fired)
    if not fired then w.fire() end
    assert(spec.read(w.r, 10) == "x")
  end
  function w.close()
    spec.close(w.r)
    spec.close(w.w)
  end
  return w
end

-- A poll of that pipe.
local function poll(w) return uring.sqe():prep_poll_add(w.r, uring.POLLIN) end

waits["await"] = function()
  local w = pipe {}
  function w.wait() return uring.await(poll(w)) end
  function w.result(res) assert(res == uring.POLLIN) end
  return w
end

waits["await on another ring"] = function()
  local w = pipe { ring = assert(uring.ring()) }
  local close = w.close
  function w.wait() return w.ring:await(poll(w)) end
  function w.result(res) assert(res == uring.POLLIN) end
  function w.close()
    local stats = w.ring:stats()
    assert(stats.in_flight == 0)
    w.ring:close()
    close()
  end
  return w
end

waits["await_chain"] = function()
  local w = pipe {}
  function w.wait()
    return uring.loop():ring():await_chain { poll(w), uring.sqe():prep_nop() }
  end
  function w.result(out) assert(out[1][1] == uring.POLLIN) end
  return w
end

waits["sleep"] = function()
  local w = {}
  function w.wait()
    return uring.sleep(w.brief and 0.01 * helper.slow or 20)
  end
  function w.fire() spec.sleep(0.012 * helper.slow) end
  function w.after() end
  w.result, w.close = w.after, w.after
  return w
end

-- Completes a wait for a message to this ring.
local function message(w, ring)
  w.ring = ring
  function w.fire()
    w.sent = uring.loop():ring():queue(uring.sqe():prep_msg_ring(ring, 5, 7))
  end
  function w.after(fired)
    if not fired then w.fire() end
    w.result(ring:receive(PATIENCE))
    assert(ring:receive(0) == nil)
  end
  function w.result(len, data) assert(len == 5 and data == 7) end
  function w.close()
    if w.sent then assert(w.sent:await(PATIENCE) == 0) end
    if ring ~= uring.loop():ring() then ring:close() end
  end
  return w
end

waits["ring receive"] = function()
  local w = message({}, assert(uring.ring()))
  function w.wait() return w.ring:receive() end
  return w
end

waits["receive of the loop's ring"] = function()
  local w = message({}, uring.loop():ring())
  function w.wait() return w.ring:receive() end
  return w
end

waits["ring messages"] = function()
  local w = message({}, assert(uring.ring()))
  function w.wait() return net.first(w.ring:messages()) end
  return w
end

waits["operation await"] = function()
  local w = pipe {}
  w.op = uring.loop():ring():queue(poll(w))
  local after = w.after
  function w.wait() return w.op:await() end
  function w.result(res) assert(res == uring.POLLIN) end
  function w.after(fired, taken)
    if not fired then w.fire() end
    if not taken then assert(w.op:await(PATIENCE) == uring.POLLIN) end
    after(true)
  end
  return w
end

-- Completes a wait for a value of a channel.
local function receiving(w, capacity)
  w.channel = uring.channel(capacity)
  function w.fire() assert(w.channel:try_send(7)) end
  function w.result(v) assert(v == 7) end
  function w.after(fired)
    assert((fired and 1 or 0) == #w.channel)
    if fired then assert(w.channel:receive(PATIENCE) == 7) end
    assert(not w.channel:try_receive())
  end
  function w.close() w.channel:close() end
  return w
end

for _, capacity in ipairs { 0, 2 } do
  waits["channel receive, " .. capacity] = function()
    local w = receiving({}, capacity)
    function w.wait() return w.channel:receive() end
    -- (without a partner a rendezvous takes nothing)
    return w
  end

  waits["channel send, " .. capacity] = function()
    local w = { channel = uring.channel(capacity), final = true }
    for i = 1, capacity do w.channel:send(i) end
    function w.wait() return w.channel:send(7) end
    function w.result(ok) assert(ok) end
    function w.fire()
      assert(w.channel:try_receive() == (capacity > 0 and 1 or 7))
    end
    function w.after(fired)
      for i = fired and 2 or 1, capacity do
        assert(w.channel:try_receive() == i)
      end
      -- what was accepted is there, and nothing else
      if fired and capacity > 0 then assert(w.channel:try_receive() == 7) end
      assert(not w.channel:try_receive())
    end
    function w.close() w.channel:close() end
    return w
  end
end

waits["semaphore"] = function()
  local w = { semaphore = uring.semaphore(0) }
  function w.wait() return w.semaphore:acquire() end
  function w.result(ok) assert(ok) end
  function w.fire() w.semaphore:release() end
  function w.after(fired)
    assert(#w.semaphore == (fired and 1 or 0))
    assert((w.semaphore:try_acquire() ~= nil) == fired)
  end
  function w.close() end
  return w
end

waits["join"] = function(scope)
  local w = { gate = uring.channel() }
  w.task = scope:spawn(function() return w.gate:receive() end)
  turns()
  function w.wait() return w.task:join() end
  function w.result(ok, v) assert(ok and v == 7) end
  function w.fire() assert(w.gate:try_send(7)) end
  function w.after(fired)
    if not fired then w.fire() end
    w.result(w.task:join(PATIENCE))
  end
  function w.close() end
  return w
end

waits["select"] = function()
  local w = receiving({ ring = assert(uring.ring()) }, 1)
  local semaphore = uring.semaphore(0)
  function w.wait()
    return select(2, uring.select { w.channel:receiving(),
      w.ring:receiving(), semaphore:acquiring(), uring.after(20),
      w.ring:awaiting(uring.sqe():prep_timeout(20)),
      uring.event(uring.sleep, 20) })
  end
  function w.close()
    turns()
    w.ring:close()
  end
  return w
end

waits["select of a ring's messages"] = function()
  local w = message({}, assert(uring.ring()))
  function w.wait()
    return select(2, uring.select { w.ring:receiving(), uring.after(20) })
  end
  return w
end

-- Completes a wait for data of a socket of this type.
local function socket(w, type)
  w.a, w.b = assert(uring.socketpair(type))
  function w.fire() spec.write(w.a:fileno(), "x") end
  function w.result(data) assert(data == "x", data) end
  function w.after(fired)
    if not fired then w.fire() end
    assert(w.b:recv(10, PATIENCE) == "x")
  end
  function w.close()
    w.a:close()
    w.b:close()
  end
  return w
end

for name, type in pairs { stream = "SOCK_STREAM", datagram = "SOCK_DGRAM" } do
  waits["socket receive, " .. name] = function()
    local w = socket({}, uring[type])
    function w.wait() return w.b:recv(10) end
    return w
  end

  waits["socket messages, " .. name] = function()
    local w = socket({}, uring[type])
    local iterate = name == "stream" and "chunks" or "messages"
    function w.wait() return net.first(w.b[iterate](w.b, { size = 64 })) end
    return w
  end
end

-- A wait for space in a full socket of this type. Each of its messages is
-- a byte: it is full of y, and a z is sent by send(w), and later by again(w).
local function full_socket(type, size, send, again)
  local w = { final = true }
  w.a, w.b = assert(uring.socketpair(type))
  spec.nonblock(w.b:fileno())
  local n = 0
  -- (full is what the kernel says, and not what takes long)
  while uring.await(uring.sqe():prep_send(w.a, "y", nil, uring.MSG_DONTWAIT))
  do n = n + 1 end
  local function drain()
    local sent = 0
    while true do
      local data = spec.read(w.b:fileno(), size)
      if data ~= "y" and data ~= "z" then break end
      if data == "y" then n = n - 1 else sent = sent + 1 end
    end
    return sent
  end
  function w.wait() return send(w) end
  function w.result(sent) assert(sent == 1) end
  function w.fire() w.early = drain() end
  function w.after(fired, taken)
    local sent = (w.early or 0) + drain()
    assert(n == 0, "one was lost")
    if taken then assert(sent == 1, "it was not sent, or twice")
    elseif not fired then assert(sent == 0, "it was sent all the same")
    else assert(sent <= 1, "it was sent twice") end
    -- and the next goes through
    assert(again(w) == 1 and drain() == 1)
  end
  function w.close()
    w.a:close()
    w.b:close()
    if w.file then w.file:close() end
  end
  return w
end

waits["socket send"] = function()
  return full_socket(uring.SOCK_DGRAM, 10,
    function(w) return w.a:send "z" end,
    function(w) return w.a:send("z", PATIENCE) end)
end

waits["socket sendfile"] = function()
  local w = full_socket(uring.SOCK_STREAM, 1,
    function(w) return w.a:sendfile(w.file) end,
    function(w) return w.a:sendfile(w.file, 0, 1, PATIENCE) end)
  w.file = assert(uring.open(helper.file "z"))
  return w
end

waits["accept"] = function(scope)
  local w = { listener = assert(uring.tcp.listen "127.0.0.1:0") }
  function w.fire()
    scope:spawn(function()
      w.client = assert(uring.tcp.connect(w.listener:getsockname(), PATIENCE))
    end)
  end
  function w.wait() return w.listener:accept() end
  function w.result(conn) assert(conn):close() end
  function w.after(fired)
    if not fired then w.fire() end
    w.result(w.listener:accept(PATIENCE))
    assert(not w.listener:accept(0))
  end
  function w.close()
    if w.client then w.client:close() end
    w.listener:close()
  end
  return w
end

-- Here a connection that comes too late is closed: its peer sees it.
waits["await of an accept"] = function(scope)
  local w = waits["accept"](scope)
  function w.wait()
    return uring.await(uring.sqe():prep_accept(w.listener))
  end
  function w.result(fd) spec.close(fd) end
  function w.after(fired)
    if not fired then return end
    -- (a task cancelled in time has left it where it was)
    local conn = w.listener:accept(0)
    if conn then conn:close() end
    assert(w.client:recv(10, PATIENCE) == nil)
  end
  return w
end

return waits
