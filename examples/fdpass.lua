-- One process accepts connections and passes them, open, to worker processes
-- that serve them: descriptors go over unix sockets (SCM_RIGHTS, unix(7)).
--
--     tools/env.sh plain lua5.4 examples/fdpass.lua [ADDRESS [WORKERS]]
--     socat - TCP:127.0.0.1:7778
--
-- Each worker is a process with a loop of its own, so that all CPUs are used,
-- and accepting never waits for serving. A connection in a message is a new
-- descriptor of the same open socket: the sender closes its own, which does
-- not end the connection.

local uring = require "uring"

local WORKER = "--worker"

-- The process and the user at the other end.
local function peer_of(sock)
  return string.unpack("=i4I4", assert(sock:getsockopt "SO_PEERCRED"))
end

local function myself()
  local a, b = assert(uring.socketpair())
  local pid, uid = peer_of(a)  -- (both ends are ours)
  a:close()
  b:close()
  return pid, uid
end


-- ---- a worker --------------------------------------------------------------

-- Echoes until either side closes.
local function serve(connection, peer, me)
  local sock <close> = assert(uring.socket(connection))
  local ok = sock:send(("process %d serves %s\n"):format(me, peer))
  while ok do
    local data = sock:recv()
    if not data then return end
    ok = sock:send(data)
  end
end

local function worker(address)
  local me = myself()
  local door = assert(uring.unix.connect(address))
  -- Bytes that came with descriptors are never mixed with others: each
  -- message that was sent is one that is received.
  for peer, _, info in door:messages { fds = true, size = 256 } do
    for _, fd in ipairs(info.control.fds or {}) do
      uring.spawn(serve, fd, peer, me)
    end
  end
end


-- ---- the process that accepts ----------------------------------------------

local function quoted(word)
  return "'" .. word:gsub("'", [['\'']]) .. "'"
end

-- Another interpreter with this file; it ends when its channel is closed.
local function start_worker(door)
  local first = 0
  while arg[first - 1] do first = first - 1 end
  local command = { "exec" }
  for i = first, 0 do command[#command + 1] = quoted(arg[i]) end
  command[#command + 1] = WORKER
  command[#command + 1] = quoted(tostring(door:getsockname()))
  local process = assert(io.popen(table.concat(command, " "), "w"))
  local _, user = myself()
  repeat  -- any process may connect to an abstract address
    local channel = assert(door:accept(10))
    local pid, uid = peer_of(channel)
    if uid == user then
      print("worker process " .. pid)
      return { channel = channel, process = process }
    end
    channel:close()
  until false
end

local function accept(address, n)
  local door = assert(uring.unix.listen "unix:")  -- a name that is free
  local workers = {}
  for i = 1, n do workers[i] = start_worker(door) end
  door:close()

  local listener = assert(uring.tcp.listen(address))
  print("listening on " .. tostring(listener:getsockname()))
  io.stdout:flush()
  local turn = 0
  for conn, peer in listener:connections() do
    local sent
    while not sent do
      assert(workers[1], "there is no worker any more")
      turn = turn % #workers + 1
      sent = workers[turn].channel:sendmsg {
        data = tostring(peer), control = { fds = { conn } },
      }
      if not sent then table.remove(workers, turn).channel:close() end
    end
    conn:close()
  end
end

local ok, why
if arg[1] == WORKER then
  ok, why = pcall(uring.run, worker, arg[2])
else
  ok, why = pcall(uring.run, accept, arg[1] or "127.0.0.1:7778",
    tonumber(arg[2]) or 2)
end
if not ok then
  io.stderr:write(tostring(why):match "^[^\n]*", "\n")
  os.exit(1)
end
