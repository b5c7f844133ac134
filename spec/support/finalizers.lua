-- Calls of all that the library has, with a finalizer that runs in the middle
-- of each: in its first allocation, its second, …, and closes, cancels or uses
-- whatever there is. See spec/finalizer_spec.lua.
--
-- Nothing may crash or hang; what a call then gives or raises is its own
-- matter.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local SHORT <const> = 0.005  -- a wait that may be for nothing

local nop <const> = helper.nop

-- A poll of the pipe of this world.
local function poll(w)
  return uring.sqe():prep_poll_add(w.read, uring.POLLIN)
end


-- ---- a world --------------------------------------------------------------

-- Tasks that wait for whatever can be waited for.
local function add_tasks(w)
  w.tasks, w.coroutines = {}, {}
  local function task(f, ...)
    local i = #w.tasks + 1
    w.tasks[i] = uring.spawn({ name = "waiter " .. i, main = function(...)
      w.coroutines[i] = coroutine.running()
      return f(...)
    end }, ...)
  end
  local looped, own = w.looped, uring.channel()
  task(looped.await, looped, poll(w))
  task(looped.await_chain, looped, { poll(w), nop() })
  task(looped.receive, looped)
  task(w.e.recv, w.e, 5)
  task(w.e.recv, w.e, 6, 60)
  task(w.f.send, w.f, ("x"):rep(1 << 20), 60)
  task(w.g.receive, w.g)
  task(function() for _ in w.g:messages() do w.g:recv() end end)
  task(w.tasks[1].join, w.tasks[1])
  task(uring.scope, function(scope)
    w.scope = scope
    scope:spawn(uring.sleep, 60)
    scope:daemon(uring.sleep, 60)
  end)
  task(uring.select, { ring = looped:receiving(), socket = w.e:receiving(),
    task = w.tasks[1]:joining(), request = looped:awaiting(poll(w)),
    sending = w.f:sending "x", call = uring.event(uring.sleep, 60),
    accept = w.listener:accepting(), channel = own:receiving() })
  task(uring.wrap(function()
    w.inner = coroutine.running()
    uring.sleep(60)
  end))
  task(function() uring.wrap(function() w.g:recv(7) end)() end)
  task(own.receive, own)
  task(uring.timeout, 60, uring.sleep, 60)
  task(function()
    local op = looped:queue(poll(w))
    op:await()
  end)
  for _ = 1, 4 do uring.sleep(0) end
end

-- One of every object, for the calls; see below for what each is for.
local function new_world()
  local w = {}
  w.ring = assert(uring.ring { entries = 16 })
  w.looped = assert(uring.ring { entries = 16 })
  w.a, w.b = assert(uring.socketpair())
  w.c, w.d = assert(uring.socketpair(uring.SOCK_DGRAM))
  w.e, w.f = assert(uring.socketpair())
  w.g, w.h = assert(uring.socketpair(uring.SOCK_SEQPACKET))
  w.listener = assert(uring.unix.listen("@uring-final-" .. spec.getpid(), 8))
  local to = w.listener:getsockname().path
  w.client = assert(uring.unix.connect(to))
  w.other_client = assert(uring.unix.connect(to))
  w.buffer = uring.buffer "hello there"
  w.read, w.write = spec.pipe()
  w.fd = assert(uring.fd(spec.dup(w.write)))
  w.file = assert(io.open "/dev/null")
  w.own_file = assert(io.open "/proc/self/cmdline")
  w.address = uring.sockaddr "127.0.0.1:80"
  w.sqe, w.channel, w.semaphore = nop(), uring.channel(1), uring.semaphore(1)
  w.box = assert(uring.mailbox { capacity = 1 })
  w.to = w.box:address()
  assert(w.to:try_send { "first" })
  -- a group with a completion that was not taken, and a msghdr with control
  w.group = assert(w.ring:buf_ring { entries = 4, size = 16 })
  w.msg = uring.msghdr { controllen = 256, namelen = 64,
    iov = { uring.buffer(8) } }
  assert(w.ring:queue(uring.sqe():prep_sendmsg(w.c, uring.msghdr {
    iov = { "x" }, control = { fds = { w.file } } })))
  assert(w.ring:queue(uring.sqe():prep_recvmsg(w.d, w.msg)))
  assert(w.ring:queue(uring.sqe():prep_send(w.a, "hello")))
  for _ = 1, 3 do assert(w.ring:wait_cqe(5 * helper.slow)) end
  assert(w.ring:queue(
    uring.sqe():prep_recv(w.b):set_buf_group(w.group:bgid())))
  local _
  _, w.res, w.flags = assert(w.ring:wait_cqe(5 * helper.slow))
  w.op = assert(w.ring:queue(poll(w)))
  assert(w.c:send "datagram" and w.d:send "another" and w.a:send "stream")
  add_tasks(w)
  return w
end

local SOCKETS <const> = { "a", "b", "c", "d", "e", "f", "g", "h", "client",
  "other_client", "listener" }

local function wait_for_end(task, problem)
  assert(uring.shield(60, task.join, task, 30 * helper.slow)
    or task:status() ~= "waiting", problem)
end

-- Closes all of it; every task must end.
local function end_world(w)
  for _, task in ipairs(w.tasks) do task:cancel() end
  for _, task in ipairs(w.tasks) do
    wait_for_end(task, "a task does not end")
  end
  for _, name in ipairs(SOCKETS) do w[name]:close() end
  w.box:close()
  local s <const> = w.box:stats()
  assert(s.accepted == s.received + s.undelivered)
  w.fd:close()
  w.ring:close()
  w.looped:close()
  w.file:close()
  spec.close(w.read)
  spec.close(w.write)
end


-- ---- what a finalizer does ------------------------------------------------

local deeds = {}

-- Calls a method, which may raise.
local function try(object, method, ...) pcall(object[method], object, ...) end

-- Closes every object.
function deeds.close(w)
  for _, name in ipairs(SOCKETS) do w[name]:close() end
  for _, name in ipairs { "ring", "looped", "buffer", "fd", "msg", "group",
      "channel", "box", "to" } do
    try(w[name], "close")
  end
  if w.lease then w.lease:release() end
end

-- Sends away every object that moves; none of the messages is received.
function deeds.send_away(w)
  local box = assert(uring.mailbox { fds = 64 })
  local to <close> = box:address()
  for _, name in ipairs(SOCKETS) do try(to, "try_send", w[name]) end
  try(to, "try_send", w.buffer)
  try(to, "try_send", w.fd)
  box:close()
end

-- Closes the coroutines of all tasks.
function deeds.end_coroutines(w)
  for i, co in pairs(w.coroutines) do
    if coroutine.status(co) == "suspended" then coroutine.close(co) end
    w.coroutines[i] = nil
  end
  if w.inner and coroutine.status(w.inner) == "suspended" then
    coroutine.close(w.inner)
  end
end

-- Both.
function deeds.end_all(w)
  deeds.end_coroutines(w)
  deeds.close(w)
end

-- Cancels every task, the one that calls too, the scope and the operation.
function deeds.cancel(w)
  w.caller:cancel "by a finalizer"
  for _, task in ipairs(w.tasks) do task:cancel "by a finalizer" end
  if w.scope then w.scope:cancel() end
  w.op:cancel()
end

-- A waiter as uring.select has them, which chooses nothing.
local function new_waiter()
  return setmetatable({}, { __index = { choose = function() end } })
end

-- An event's functions may be called by any code.
local function use_event(event)
  local waiter = new_waiter()
  try(event, "try")
  try(event, "block", waiter)
  try(event, "try", waiter)
  try(event, "cancel", waiter)
end

-- Uses every object, and makes others.
function deeds.use(w)
  pcall(uring.run, print)
  pcall(uring.loop, { entries = 8 })
  pcall(uring.spawn, uring.sleep, 0)
  if w.scope then try(w.scope, "spawn", uring.sleep, 0) end
  pcall(uring.tree)
  for _, s in ipairs { w.a, w.b, w.c, w.d, w.e, w.g } do
    pcall(function()
      use_event(s:receiving())
      use_event(s:sending "by a finalizer")
      s:setsockopt("SO_RCVBUF", 10000)
    end)
  end
  pcall(function() use_event(w.listener:accepting()) end)
  pcall(function() use_event(w.looped:receiving()) end)
  pcall(function() use_event(w.looped:awaiting(nop())) end)
  use_event(w.tasks[1]:joining())
  use_event(w.channel:receiving())
  try(w.ring, "peek_cqe")
  try(w.ring, "queue", nop())
  try(w.ring, "submit")
  try(w.channel, "try_send", 1)
  try(w.channel, "try_receive")
  try(w.to, "try_send", { 2 }, w.to)
  try(w.box, "try_receive")
  pcall(function()
    use_event(w.box:receiving())
    use_event(w.to:sending { 3 })
    use_event(w.to:monitor())
  end)
  try(w.sqe, "prep_read", 0, w.buffer)
  try(w.buffer, "resize", 1 << 16)
  try(w.group, "lease", w.res, w.flags)
  try(w.msg, "control")
  try(w.a, "shutdown", "read")
  try(w.c, "shutdown", "read")
end

-- The arrangement that a block is about to make is taken back.
function deeds.take_back(w)
  for event in pairs(w.waiter or {}) do
    if type(event) == "userdata" then
      try(event, "cancel", w.waiter)
      w.waiter[event] = nil
    end
  end
end


-- ---- calls ----------------------------------------------------------------

local first <const> = helper.first

local calls = {
  ["uring.tasks"] = function() uring.tasks() end,
  ["uring.tree"] = function() uring.tree() end,
  ["uring.probe"] = function() uring.probe() end,
  ["uring.ring"] = function(w) uring.ring { attach_wq = w.ring } end,
  ["ring:queue"] = function(w) w.ring:queue(w.sqe, w.sqe) end,
  ["ring:queue of many"] = function(w)
    local many = {}
    for i = 1, 12 do many[i] = w.sqe end
    w.ring:queue(table.unpack(many))
  end,
  ["ring:wait_cqe"] = function(w) w.ring:wait_cqe(0) end,
  ["ring:cqes"] = function(w)
    w.ring:push(w.sqe)
    for _ in w.ring:cqes() do w.channel:try_receive() end
  end,
  ["ring:submit_and_wait"] = function(w) w.ring:submit_and_wait(0, SHORT) end,
  ["ring:ref"] = function(w) w.ring:ref() end,
  ["a look at a ring"] = function(w)
    w.ring:stats()
    w.ring:flags()
    return tostring(w.ring)
  end,
  ["ring:receive"] = function(w) w.ring:receive(0) end,
  ["ring:await"] = function(w) w.ring:await(w.sqe, SHORT) end,
  ["uring.await"] = function(w) uring.await(poll(w), 0) end,
  ["ring:await_chain"] = function(w)
    w.ring:await_chain({ w.sqe, w.sqe, w.sqe }, SHORT)
  end,
  ["operation:await"] = function(w) w.op:await(0) end,
  ["operation:completions"] = function(w)
    w.op:cancel()
    return first(w.op:completions())
  end,
  ["a look at an operation"] = function(w)
    return w.op:status(), tostring(w.op)
  end,
  ["ring:register_files"] = function(w)
    w.ring:register_files { 0, w.fd }
    w.ring:register_files_update(0, { w.fd })
  end,
  ["ring:register_sync_cancel"] = function(w)
    w.ring:register_sync_cancel { fd = w.fd, timeout = SHORT }
    w.ring:register_sync_cancel { op = w.op, timeout = SHORT }
  end,
  ["uring.register_sync_msg"] = function(w)
    uring.register_sync_msg(uring.sqe():prep_msg_ring(w.looped, 1, 2))
  end,
  ["preps"] = function(w)
    w.sqe:prep_msg_ring(w.ring, 1, 2)
    w.sqe:prep_read(w.fd, w.buffer)
    w.sqe:prep_sendto(w.c, w.buffer, 3, 0, w.address)
    w.sqe:prep_sendmsg(w.c, uring.msghdr { name = w.address,
      iov = { w.buffer, { w.buffer, 1, 2 }, "text" },
      control = { fds = { w.fd }, creds = {} } })
    w.sqe:prep_openat(w.fd, "x")
    w.sqe:prep_connect(w.a, w.address)
    w.sqe:prep_timeout(1)
    return tostring(w.sqe), w.sqe.addr
  end,
  ["a buffer"] = function(w)
    w.buffer:resize(100)
    return w.buffer:string(1, 5), tostring(w.buffer),
      uring.buffer(w.buffer:string())
  end,
  ["a msghdr"] = function(w)
    w.msg:name()
    w.msg:flags()
    w.msg:control()
    return tostring(w.msg)
  end,
  ["uring.recvmsg_out"] = function(w)
    w.buffer = uring.buffer(string.pack("=I4I4I4I4", 16, 0, 5, 0)
      .. ("y"):rep(100))
    w.msg = uring.msghdr { namelen = 16 }
    uring.recvmsg_out(w.buffer, w.msg)
  end,
  ["group:lease"] = function(w)
    w.lease = w.group:lease(w.res, w.flags)
    return w.lease:string(), tostring(w.lease)
  end,
  ["group:string"] = function(w) w.group:string(w.res, w.flags) end,
  ["group:bundle"] = function(w) w.group:bundle(w.res, w.flags) end,
  ["a look at a group"] = function(w)
    w.group:stats()
    w.group:available()
    return tostring(w.group)
  end,
  ["ring:buf_ring"] = function(w)
    w.ring:buf_ring { entries = 8, size = 8 }
  end,
  ["a descriptor"] = function(w)
    local number = tostring(w.fd) and w.fd:release()
    if number then spec.close(number) end
  end,
  ["socket:recv"] = function(w)
    w.b:recv(3, SHORT)
    w.b:recv(3, SHORT)
  end,
  ["socket:receive"] = function(w) w.d:receive(3, SHORT) end,
  ["socket:try_receive"] = function(w) w.c:try_receive(100) end,
  ["socket:try_send"] = function(w) w.a:try_send("x") end,
  ["a socket in a message"] = function(w)
    local box <close> = assert(uring.mailbox())
    local to <close> = box:address()
    assert(to:send { w.b })
    w.b = box:receive()[1]
    w.b:recv(3, SHORT)
    to:send(w.listener)
    uring.scope(function(scope)
      scope:spawn(to.send, to, w.d)
      w.listener = box:receive()
      w.d = box:receive()
    end)
    w.d:receive(3, SHORT)
  end,
  ["a stream over functions"] = function(w)
    local s <close> = assert(uring.stream {
      read = function(max, timeout) return w.a:recv(max, timeout) end,
      write = function(bytes) return w.b:send(bytes, SHORT) end,
      close = function() return w.d:close() end,
    })
    s:write "written"
    s:read("l", SHORT)
    s:flush(SHORT)
    uring.select({ s:reading(1) }, SHORT)
  end,
  ["socket:recvfrom"] = function(w) w.c:recvfrom(100, SHORT) end,
  ["socket:accept"] = function(w)
    local connection = w.listener:accept(SHORT)
    connection:close()
  end,
  ["socket:connections"] = function(w)
    first(w.listener:connections()):close()
  end,
  ["socket:messages"] = function(w) first(w.d:messages()) end,
  ["socket:messages, leased"] = function(w)
    w.lease = first(w.d:messages { lease = true })
    w.lease:string()
  end,
  ["socket:chunks"] = function(w) first(w.b:chunks { size = 4 }) end,
  ["socket:chunks, leased"] = function(w)
    w.lease = first(w.b:chunks { size = 4, lease = true })
  end,
  ["socket:send"] = function(w)
    w.a:send("abc", SHORT)
    w.a:send(w.buffer, SHORT)
  end,
  ["socket:send of much"] = function(w)
    w.b:send(("x"):rep(1 << 20), SHORT)
  end,
  ["socket:sendfile"] = function(w)
    w.a:write "head"
    w.a:sendfile(w.own_file, 0, nil, SHORT)
    w.b:sendfile(w.own_file, 1, 2, SHORT)
  end,
  ["socket:sendto"] = function(w)
    w.c:sendto("x", "unix:@uring-nowhere", SHORT)
  end,
  ["socket:sendmsg"] = function(w)
    w.c:sendmsg({ data = w.buffer, control = { fds = { w.fd } } }, SHORT)
  end,
  ["socket:sendmsg of many"] = function(w)
    w.c:sendmsg({ { data = "x" }, { iov = { "x", w.buffer } },
      { data = w.buffer, control = { fds = { w.fd } } } }, SHORT)
  end,
  ["socket:connect"] = function(w)
    local s <close> = uring.socket(uring.AF_UNIX, uring.SOCK_STREAM)
    s:connect(w.listener:getsockname(), SHORT)
  end,
  ["a look at a socket"] = function(w)
    w.listener:getsockname()
    w.client:getpeername()
    w.a:setsockopt("SO_SNDBUF", 1 << 14)
    return tostring(w.a), w.a:stats(), w.a:getsockopt "SO_RCVBUF"
  end,
  ["socket:shutdown"] = function(w) w.a:shutdown "both" end,
  ["makers of sockets"] = function(w)
    local a <close>, b = uring.socketpair()
    local _ <close> = b
    local _ <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local fd = uring.fd(spec.dup(w.e:fileno()))
    local _ <close> = uring.socket(fd)
    return tostring(a)
  end,
  ["uring.select"] = function(w)
    uring.select({ w.b:receiving(), w.d:receiving(), w.listener:accepting(),
      w.channel:receiving(), w.ring:receiving(), w.ring:awaiting(poll(w)),
      w.a:sending "x", w.tasks[1]:joining(), uring.event(uring.sleep, 60) },
      SHORT)
  end,
  ["uring.select that waits"] = function(w)
    uring.select({ w.e:receiving(), w.looped:receiving(),
      w.channel:receiving(), w.looped:awaiting(poll(w)),
      w.tasks[1]:joining(), uring.event(uring.sleep, 60) }, SHORT)
  end,
  ["task:join"] = function(w) w.tasks[1]:join(SHORT) end,
  ["a look at a task"] = function(w)
    local t = w.tasks[1]
    return tostring(t), t:reason(), t:status(), t.name, uring.current()
  end,
  ["a channel"] = function(w)
    w.channel:send(1, 2)
    w.channel:receive(SHORT)
    w.channel:receive(SHORT)
  end,
  ["mailbox:receive"] = function(w)
    w.box:receive(SHORT)
    w.box:receive(SHORT)
  end,
  ["address:try_send"] = function(w)
    w.box:try_receive()
    w.to:try_send({ w.to, { w.buffer } }, w.a)
  end,
  ["address:send"] = function(w)
    uring.timeout(SHORT, w.to.send, w.to, { w.to, { w.buffer } }, w.a)
  end,
  ["address:sending"] = function(w)
    uring.select({ w.to:sending { w.to }, w.to:monitor() }, SHORT)
  end,
  ["address:call"] = function(w)
    uring.timeout(SHORT, w.to.call, w.to, "f", { w.buffer })
  end,
  ["mailbox:serve"] = function(w)
    uring.timeout(SHORT, w.box.serve, w.box, { f = print })
  end,
  ["uring.mailbox"] = function(w)
    local box <close> = assert(uring.mailbox { name = "finalizers" })
    return uring.address "finalizers", box:stats(), tostring(w.to)
  end,
  ["a semaphore"] = function(w)
    local _ <close> = w.semaphore:acquire(SHORT)
  end,
  ["uring.spawn"] = function()
    uring.spawn({ main = print, name = "n" }):cancel()
    local task = uring.spawn(function(...) return ... end, 1, 2, 3)
    task:join(SHORT)
  end,
  ["uring.scope"] = function(w)
    uring.scope(function(scope)
      w.scope = scope
      scope:spawn(uring.sleep, 0)
      scope:daemon(uring.sleep, 60)
      return scope:failures(), tostring(scope)
    end)
  end,
  ["a scope that fails"] = function(w)
    uring.scope(function(scope)
      w.scope = scope
      scope:spawn(function() error "on purpose" end)
      uring.sleep(60)
    end)
  end,
  ["scope:spawn"] = function(w)
    w.scope:spawn { main = function() end, name = "x" }
  end,
  ["uring.timeout"] = function() uring.timeout(SHORT, uring.sleep, 60) end,
  ["uring.shield"] = function() uring.shield(SHORT, uring.sleep, 0) end,
  ["uring.wrap"] = function(w)
    local f = uring.wrap(function()
      w.inner = coroutine.running()
      uring.sleep(0)
      coroutine.yield(1)
    end)
    f()
    f()
  end,
}

-- What an event of another library may do with another.
for name, make in pairs {
  ["socket:receiving"] = function(w) return w.e:receiving() end,
  ["socket:receiving of datagrams"] = function(w) return w.d:receiving() end,
  ["socket:accepting"] = function(w) return w.listener:accepting() end,
  ["socket:sending"] = function(w) return w.a:sending "x" end,
  ["socket:sending where another sends"] = function(w)
    return w.f:sending "x"
  end,
  ["ring:receiving"] = function(w) return w.looped:receiving() end,
  ["ring:awaiting"] = function(w) return w.looped:awaiting(poll(w)) end,
  ["task:joining"] = function(w) return w.tasks[1]:joining() end,
  ["mailbox:receiving"] = function(w) return w.box:receiving() end,
  ["address:sending that waits"] = function(w) return w.to:sending(1) end,
  ["address:monitor"] = function(w) return w.to:monitor() end,
} do
  calls[name] = function(w)
    local event = make(w)
    w.waiter = new_waiter()
    event:block(w.waiter)
    event:try(w.waiter)
    event:try(w.waiter)
    event:cancel(w.waiter)
  end
end


-- ---- trials ---------------------------------------------------------------

-- One call with a finalizer in its n-th allocation that does one deed.
local function trial(call, deed, n)
  local done, ended
  -- (what is left of a task whose coroutine was closed is an error)
  local ok, why = pcall(uring.run, function()
    local w = new_world()
    w.caller = uring.spawn(function()
      done = helper.in_allocation(n, function() deeds[deed](w) end,
        calls[call], w)
    end)
    wait_for_end(w.caller, "the call does not end")
    end_world(w)
    ended = true
  end)
  assert(ok or ended or tostring(why):find "ended from outside",
    why)
  return done
end

local finalizers = { calls = {}, deeds = {} }
for name in pairs(calls) do
  finalizers.calls[#finalizers.calls + 1] = name
end
for name in pairs(deeds) do
  finalizers.deeds[#finalizers.deeds + 1] = name
end
table.sort(finalizers.calls)
table.sort(finalizers.deeds)

-- This deed in the n-th allocation of this call; and where none is given in
-- each that it makes, one after another.
function finalizers.run(call, deed, n)
  if n then return trial(call, deed, n) end
  n = 1
  while trial(call, deed, n) do n = n + 1 end
end

return finalizers
