-- A gateway: one task accepts connections and hands them to workers, threads
-- that answer HTTP on them.
--
--     tools/env.sh plain lua5.4 examples/gateway.lua [ADDRESS [WORKERS [HOW
--       [MOST]]]]
--     curl http://127.0.0.1:7779/
--
-- HOW is "hand": a connection is accepted into a slot of this ring, and goes
-- from there into a slot of a worker's ring, in turn, by a message between the
-- rings. It never has a number. The gateway has a reference to each worker's
-- ring, so what it sends after the worker's end fails, and goes to no other
-- ring. Or "share": each worker has a listener of its own for the same port
-- (SO_REUSEPORT), and the kernel chooses.
--
-- What is handed over is spread evenly, and can go to a worker that is known
-- to be idle; what is shared costs no message. A worker has at most MOST
-- handed connections (4096), and so has the gateway that are on their way. The
-- address is printed.

local uring = require "uring"

local HEAD <const> = 8192   -- bytes of a request


-- ---- the workers -----------------------------------------------------------

-- Serves the connections that come as messages to its ring.
local function serve_handed(name, most, longest, reply)
  local FIXED <const> = uring.IOSQE_FIXED_FILE
  local ring <const> = uring.loop():ring()

  local function answer(slot)
    local buffer <const> = uring.buffer(4096)
    local rest = ""
    while true do
      local n = uring.await(
        uring.sqe():prep_recv(slot, buffer):set_flags(FIXED))
      if not n or n == 0 then break end
      rest = rest .. buffer:string(1, n)
      local _, requests = rest:gsub("\r\n\r\n", "")
      rest = rest:match "^.*\r\n\r\n(.*)" or rest
      if requests > 0 and not uring.await(uring.sqe():prep_send(slot,
          reply:rep(requests), nil, uring.MSG_WAITALL):set_flags(FIXED)) then
        break
      end
      if #rest > longest then break end
    end
    uring.await(uring.sqe():prep_close_direct(slot))
  end

  assert(ring:register_files_sparse(most))
  local gateway <close> = assert(uring.address(name))
  gateway:send(ring:ref())
  -- (the message's len is the slot that the kernel has chosen)
  for slot in ring:messages() do uring.spawn(answer, slot) end
end

-- Serves the connections of a listener of its own.
local function serve_shared(name, address, longest, reply)
  local function answer(conn)
    local c <close> = conn
    while c:read_until("\r\n\r\n", longest) do
      if not c:send(reply) then return end
    end
  end

  local listener <close> = assert(uring.socket(uring.AF_INET,
    uring.SOCK_STREAM))
  assert(listener:setsockopt("SO_REUSEPORT", 1))
  assert(listener:bind(address))
  assert(listener:listen(1024))
  local gateway <close> = assert(uring.address(name))
  gateway:send(tostring(listener:getsockname()))
  for conn in listener:connections() do
    uring.spawn(uring.pcall, answer, conn)
  end
end


-- ---- the gateway -----------------------------------------------------------

local REPLY <const> = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"
local NAME <const> = "gateway"

-- Accepts into slots of this ring, and hands on in turn, until the kernel ends
-- the accepting: where more have come at once than there are slots, or where
-- memory is short.
local function hand(ring, listener, targets)
  local turn = 0
  local accepting <const> = assert(ring:queue(
    uring.sqe():prep_multishot_accept_direct(listener)))
  while true do
    local slot, why, errno = accepting:await()
    if not slot then
      if errno == uring.errno.ESRCH then return end  -- (it has just ended)
      io.stderr:write(why, "\n")
      return uring.sleep(0.01)
    end
    turn = turn % #targets + 1
    local ok, message = ring:await(
      uring.sqe():prep_msg_ring_fd_alloc(targets[turn], slot, 0))
    -- (a worker with no slot left: its connection is closed)
    if not ok then io.stderr:write(message, "\n") end
    ring:await(uring.sqe():prep_close_direct(slot))
  end
end

-- What this worker sends when it serves. Where it ends before that its error
-- is raised here.
local function start_worker(started, i, main, ...)
  local worker = assert(uring.worker({ main = main, name = "worker " .. i },
    NAME, ...))
  local key, what, message = uring.select({ started = started:receiving(),
    ended = worker:joining() }, 10)
  if key ~= "started" then error(key and message or what, 0) end
  return what
end

local function start_handing(address, workers, most, started)
  local ring <const> = uring.loop():ring()
  local targets = {}
  for i = 1, workers do
    targets[i] = start_worker(started, i, serve_handed, most, HEAD, REPLY)
  end
  assert(ring:register_files_sparse(most))
  local listener <close> = assert(uring.tcp.listen(address))
  print(listener:getsockname())
  io.stdout:flush()
  while true do hand(ring, listener, targets) end
end

local function start_sharing(address, workers, started)
  for i = 1, workers do
    -- (the address has a port, if that was 0)
    address = start_worker(started, i, serve_shared, address, HEAD, REPLY)
  end
  print(address)
  io.stdout:flush()
end

local function main(address, workers, how, most)
  local started <close> = assert(uring.mailbox { name = NAME })
  if how == "hand" then start_handing(address, workers, most, started)
  else start_sharing(address, workers, started) end
end

local how <const> = arg[3] or "hand"
if how ~= "hand" and how ~= "share" then
  io.stderr:write "HOW is hand or share\n"
  os.exit(2)
end
local ok, why = pcall(uring.run, main, arg[1] or "127.0.0.1:7779",
  math.tointeger(tonumber(arg[2])) or 2, how,
  math.tointeger(tonumber(arg[4])) or 4096)
if not ok then
  io.stderr:write(tostring(why):match "^[^\n]*", "\n")
  os.exit(1)
end
