-- Mailboxes, workers, pools, and what their messages own.

local checks = require "shortage.checks"
local uring = require "uring"

local patience <const> = checks.patience
local fails <const> = checks.fails
local gives <const> = checks.gives

local programs = {}

programs["mailboxes"] = function()
  local mailbox = assert(uring.mailbox { name = "shortage", capacity = 1 })
  local _ <close> = mailbox
  local address = assert(uring.address "shortage")
  local shared = { x = 1 }
  assert(address:try_send(1, { "a", { true }, shared, [shared] = shared },
    ("x"):rep(5000), uring.buffer "moves", mailbox))
  assert(not address:try_send(2))
  assert(mailbox:stats().accepted == 1)
  assert(mailbox:try_receive() == 1)
  uring.run(function()
    local other <close> = mailbox:address()
    local sandbox = uring.sandbox { mailboxes = { mine = mailbox } }
    sandbox.mailboxes.mine:close()
    local sender = uring.spawn(function()
      assert(address:send "a")
      assert(address:send "b")
      return uring.select { s = other:sending "c" }
    end)
    assert(mailbox:receive(patience) == "a")
    assert(select(2, uring.select { mailbox:receiving() }) == "b")
    local next_message, of = mailbox:messages()
    assert(next_message(of) == "c")
    assert(sender:join())
  end)
  local served = assert(uring.mailbox())
  local to = served:address()
  uring.run(function()
    local server = uring.spawn(served.serve, served,
      { id = function(...) return ... end })
    local answer, why, errno = to:call("id", 1)
    -- (without memory for the answer its caller sees the server's end)
    assert(answer == 1 or errno == uring.errno.EPIPE, why)
    server:cancel()
    server:join()
  end)
  assert(to:try_send(2))
  local monitor = to:monitor()
  assert(served:close(true))
  for v in served:undelivered() do assert(v == 2) end
  uring.run(function() assert(uring.select { monitor }) end)
  assert(address:close())
  assert(mailbox:close())
end

programs["a name that comes later"] = function()
  uring.run(function()
    local sender = uring.spawn(function()
      local to <close> = assert(uring.address("shortage later", patience))
      assert(to:send "x")
    end)
    uring.sleep(0)
    local mailbox <close> = assert(uring.mailbox { name = "shortage later" })
    if mailbox:receive(patience) ~= "x" then
      sender:cancel()
      error(select(2, sender:join()), 0)
    end
    assert(sender:join())
  end)
end

-- What is raised has these words; or its caller saw the server's end.
local function refused(words, why)
  why = tostring(why)
  if not why:find(words, 1, true) and not why:find "EPIPE" then
    error(why, 0)
  end
end

programs["calls that fail, are left, and give buffers"] = function()
  local mailbox <close> = assert(uring.mailbox())
  local to <close> = mailbox:address()
  uring.run(function()
    local server = uring.spawn(mailbox.serve, mailbox, {
      fail = function() error "on purpose" end,
      wait = function() uring.sleep(patience) end,
      swap = function(buffer) return uring.buffer "x", buffer end })
    local _, raised, closed = pcall(to.call, to, "fail")
    refused("on purpose", closed or raised)
    refused("timed out", select(2, uring.timeout(0.001, to.call, to, "wait")))
    local x, why = to:call("swap", uring.buffer "y")
    if not x then refused("EPIPE", why) end
    server:cancel()
    server:join()
  end)
end

-- Begins the event's request, which finds nothing yet.
local function armed(event)
  local key, _, why = uring.select({ event }, 0)
  if key then error(why, 0) end
end

-- What has arrived, and what was written, is where the socket is.
programs["sockets in messages"] = function()
  local mailbox = assert(uring.mailbox { capacity = 1 })
  local _ <close> = mailbox
  local to <close> = mailbox:address()
  uring.run(function()
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local b <close> = assert(uring.tcp.connect(listener:getsockname()))
    local a <close> = assert(listener:accept(patience))
    assert(b:send "line\nrest")
    gives("line", a:read("l", patience))
    gives("r", select(2, uring.select({ a:receiving(1) }, patience)))
    assert(a:write "written")
    assert(to:send(a))
    local sender = uring.spawn(function()
      local held <close> = assert(uring.socketpair())
      assert(to:send(held))
    end)
    uring.sleep(0)
    local c <close> = assert(mailbox:receive(patience))
    gives("est", c:read(3, patience))
    gives("written", b:recv(7, patience))
    assert(sender:join())
    assert(mailbox:receive(patience)):close()
    local x <close> = assert(uring.udp.bind "127.0.0.1:0")
    local y <close> = assert(uring.udp.connect(x:getsockname()))
    armed(x:receiving())
    assert(y:send "one" and y:send "two")
    assert(to:send(x))
    local z <close> = assert(mailbox:receive(patience))
    gives("one", z:recv(10, patience))
    gives("two", z:recv(10, patience))
    local idle <close> = assert(uring.tcp.listen "127.0.0.1:0")
    armed(idle:accepting())
    local d <close> = assert(uring.tcp.connect(idle:getsockname()))
    assert(to:send(idle))
    local e <close> = assert(mailbox:receive(patience))
    local f <close> = assert(e:accept(patience))
    assert(d:send "hello")
    gives("hello", f:recv(10, patience))
  end)
end

-- (Memory is refused to this state's thread alone.)
programs["workers"] = function()
  local function echo(...)
    for v in require "uring".inbox():messages() do
      if v == "end" then return ... end
    end
    error "closed"
  end
  -- (With a limit, which it shares, the worker itself may have failed.)
  local function holds(worker, ok)
    if ok then return end
    local _, why = worker:join(patience)
    error(why, 0)
  end
  uring.run(function()
    local worker = assert(uring.worker(echo, 1, { "x" }))
    assert(tostring(worker) and worker.name == nil)
    holds(worker, worker:status() == "running")
    -- (those of a run that was abandoned may still be there)
    holds(worker, #uring.workers() >= 1)
    assert(worker:stats().accepted == 0)
    local address <close> = worker:address()
    holds(worker, address:try_send "a" and worker:send "b"
      and worker:try_send "c")
    assert(uring.select { worker:sending "end" })
    local _, ok, n = assert(uring.select({ worker:joining() }, patience))
    holds(worker, ok and n == 1)
    local cancelled <close> = assert(uring.worker({ name = "c", main = echo }))
    assert(cancelled:cancel "enough")
    local _, why, errno = cancelled:join(patience)
    if errno ~= uring.errno.ECANCELED then error(why, 0) end
    local served <close> = assert(uring.worker(function()
      require "uring".inbox():serve { id = function(...) return ... end }
    end))
    local id, problem, code = served:call("id", 2)
    assert(id == 2 or code == uring.errno.EPIPE, problem)
    local over = served:monitor()
    served:close()
    assert(uring.select({ over }, patience))
    local failing = assert(uring.worker(echo))
    assert(failing:close())
    _, why = failing:join(patience)
    if not why:find "closed" then error(why, 0) end
    fails("only a worker has an inbox", uring.inbox)
  end)
end

programs["a pool"] = function()
  for n = 0, 2 do
    uring.run(function()
      local pool <close> = assert(uring.pool { workers = n, name = "pool",
        main = function(i) return i * i, { "x" } end })
      local sum = 0
      for _, square in pool:map({ 1, 2, 3 }, { ordered = true }) do
        sum = sum + square
      end
      assert(sum == 14 and tostring(pool))
    end)
  end
end

programs["a pool that fails"] = function()
  uring.run(function()
    local pool <close> = assert(uring.pool { workers = 1, main = function(i)
      if i == 2 then error("two", 0) end
      return require "uring".buffer "x"
    end })
    fails("two", function()
      for _, buffer in pool:map { 1, 2, 3 } do assert(#buffer == 1) end
    end)
  end)
end

return programs
