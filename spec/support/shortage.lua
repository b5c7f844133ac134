-- Programs that use all of the library's objects, and what runs them again and
-- again with memory refused at each place in turn: see spec/shortage_spec.lua.
--
-- A program that was refused memory fails, and says so; it leaves nothing
-- open, and runs as ever when there is memory again.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local patience = 5 * helper.slow
local ETIME <const> = uring.errno.ETIME

-- A pipe; what a program leaves in it is taken out afterwards.
local r, w = spec.pipe()

local nop <const> = helper.nop

-- What assert(f(...)) is for a task's results: true, f's | nil, error.
local function must(ok, value, message, ...)
  if not ok then error(value, 0) end
  if not value then error(message, 0) end
  return value, message, ...
end

-- The error that f raises says `words`, or is raised.
local function fails(words, f, ...)
  local ok, why = pcall(f, ...)
  if ok then error("no error was raised: " .. words, 0) end
  if not tostring(why):find(words, 1, true) then error(why, 0) end
end

local first <const> = helper.first

local programs = {}

programs["a ring by hand"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local buffer = uring.buffer("hello")
  local op = assert(ring:queue(
    uring.sqe():prep_write(w, buffer, 5, 0):set_data64(1)))
  assert(ring:queue(nop(2), nop(3)))
  assert(ring:queue(uring.sqe():prep_read(r, buffer)))
  assert(ring:ref())
  for _ = 1, 4 do assert(ring:wait_cqe(patience)) end
  ring:stats()
  ring:flags()
  assert(tostring(op) and tostring(ring) and tostring(buffer))
  assert(ring:register_files { r, w })
  assert(ring:register_files_update(0, { w }))
  assert(ring:unregister_files())
  assert(ring:queue(
    uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null", 0)))
  local _, fd = assert(ring:wait_cqe(patience))
  spec.close(fd)
  assert(ring:close())
end

-- A uring.fd of the number that make(...) gives, which is closed if there is
-- none. (The first call leaves Lua's memory for the second, deeper one.)
local function owner(make, ...)
  pcall(uring.fd, -1)
  local number = make(...)
  local ok, fd, message = pcall(uring.fd, number)
  if ok and fd then return fd end
  spec.close(number)
  error(ok and message or fd, 0)
end

programs["a descriptor"] = function()
  local fd = owner(spec.dup, w)
  local ring <close> = assert(uring.ring { entries = 8 })
  local _ <close> = fd
  assert(ring:queue(uring.sqe():prep_write(fd, "x")))
  assert(ring:submit_and_wait(1, patience))
  assert(ring:wait_cqe(patience))
  assert(tostring(fd))
end

programs["provided buffers"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local a, b = assert(uring.socketpair())
  local _ <close> = a
  local _ <close> = b
  local group = assert(ring:buf_ring { entries = 4, size = 4 })
  assert(ring:queue(uring.sqe():prep_send(a, "hello")))
  assert(ring:wait_cqe(patience))
  local function received()
    assert(ring:queue(
      uring.sqe():prep_recv(b):set_buf_group(group:bgid())))
    local _, res, flags = assert(ring:wait_cqe(patience))
    return res, flags
  end
  local lease = assert(group:lease(received()))
  assert(lease:string() == "hell" and tostring(lease))
  group:stats()
  group:available()
  lease:release()
  local rest = assert(group:string(received()))
  assert(rest == "o")
  assert(group:close())
end

programs["message headers"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local a, b = assert(uring.socketpair(uring.SOCK_DGRAM))
  local _ <close> = a
  local _ <close> = b
  local file <close> = assert(io.open "/dev/null")
  local out <close> = uring.msghdr { iov = { "hello", uring.buffer "x" },
    control = { fds = { file }, creds = {} } }
  assert(ring:queue(uring.sqe():prep_sendmsg(a, out)))
  local into <close> = uring.msghdr { controllen = 256, namelen = 128,
    iov = { uring.buffer(16) } }
  assert(ring:queue(uring.sqe():prep_recvmsg(b, into)))
  for _ = 1, 2 do
    local _, res = assert(ring:wait_cqe(patience))
    assert(res == 6)
  end
  into:name()
  into:flags()
  into:control().fds[1]:close()
end

programs["tasks"] = function()
  local n = uring.run(function()
    local buffer = uring.buffer(4)
    local reader = uring.spawn { name = "reader", main = function()
      return assert(uring.await(uring.sqe():prep_read(r, buffer, 4, 0)))
    end }
    local sleeper = uring.spawn(function()
      uring.sleep(0.0001)
      return 1, 2, 3
    end)
    assert(#uring.tasks() == 3 and uring.tree())
    assert(uring.await(nop(), patience))
    assert(select("#", sleeper:join()) == 4)
    spec.write(w, "data")
    local got = must(reader:join(patience))
    assert(tostring(reader))
    return got
  end)
  assert(n == 4)
end

programs["options of a run"] = function()
  local got = uring.run { name = "m", slow = 1000, on_slow = print,
    main = function(...)
      uring.sleep(0)
      return ...
    end }
  assert(got == nil)
  uring.probe()
end

programs["scopes"] = function()
  uring.run(function()
    uring.scope(function(s)
      s:spawn(uring.sleep, 0)
      s:daemon(uring.sleep, 60)
      uring.root():daemon(uring.sleep, 60)
      uring.scope(function(inner)
        inner:spawn(uring.sleep, 60)
        inner:cancel "why"
      end)
    end)
    local ok, why = uring.timeout(0, uring.sleep, 60)
    assert(not ok and why == "timed out", why)
    uring.shield(1, uring.sleep, 0)
    local task = uring.spawn(function()
      local _ <close> = helper.finally(function()
        uring.shield(1, uring.sleep, 0)
      end)
      uring.sleep(60)
    end)
    uring.sleep(0)
    task:cancel "because"
    task:reason()
    task:join()
    fails("mine", uring.scope, function(s)
      s:spawn(function() error "mine" end)
      uring.sleep(60)
    end)
  end)
end

programs["a scope whose coroutine is closed"] = function()
  fails("ended from outside", uring.run, function()
    local co
    local task = uring.spawn(function()
      co = coroutine.running()
      uring.scope(function(s)
        s:spawn(uring.sleep, 60)
        uring.sleep(60)
      end)
    end)
    uring.sleep(0)
    uring.sleep(0)
    coroutine.close(co)
    task:join()
  end)
end

programs["a deadlock"] = function()
  fails("deadlock", uring.run, function()
    local c = uring.channel()
    uring.spawn(function() c:receive() end)
    uring.spawn(function() uring.select { c:receiving() } end)
    c:receive()
  end)
end

programs["wrapped functions"] = function()
  uring.run(function()
    local f = uring.wrap(function()
      for i = 1, 2 do
        uring.sleep(0)
        coroutine.yield(i)
      end
      return "end"
    end)
    assert(f() == 1 and f() == 2 and f() == "end")
    fails("own", uring.wrap(function()
      uring.sleep(0)
      error "own"
    end))
  end)
end

programs["messages and operations"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  uring.run(function()
    local receiver = uring.spawn(function()
      local len, data = assert(ring:receive(patience))
      assert(len == 5 and data == 7)
    end)
    local chooser = uring.spawn(function()
      local key, len, message = uring.select({ m = ring:receiving(),
        t = uring.after(60) }, patience)
      if not len then error(message, 0) end
      assert(key == "m" and len == 5)
    end)
    for _ = 1, 2 do
      assert(uring.await(uring.sqe():prep_msg_ring(ring, 5, 7, 0)))
    end
    assert(receiver:join())
    assert(chooser:join())
    local a = assert(ring:queue(uring.sqe():prep_timeout(0)))
    local b = assert(ring:queue(nop()))
    local _, message, errno = a:await(patience)
    assert(errno == ETIME, message)
    for res in b:completions() do assert(res == 0) end
  end)
end

programs["chains"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  uring.run(function()
    local results = assert(ring:await_chain({
      nop():set_flags(uring.IOSQE_CQE_SKIP_SUCCESS),
      uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null", 0), nop(),
    }, patience))
    spec.close(results[2][1])
    local _, message, errno = uring.timeout(0, ring.await_chain, ring,
      { uring.sqe():prep_timeout(60), nop() })
    assert(errno == ETIME, message)
  end)
end

programs["choices"] = function()
  uring.run(function()
    local ring <close> = assert(uring.ring { entries = 8 })
    local a, b = assert(uring.socketpair())
    local _ <close> = a
    local _ <close> = b
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local channel = uring.channel()
    local other = uring.spawn(uring.sleep, 60)
    local all = {
      ring = ring:receiving(), socket = a:receiving(),
      accept = listener:accepting(), channel = channel:receiving(),
      call = uring.event(uring.sleep, 60), time = uring.after(60),
      await = ring:awaiting(uring.sqe():prep_timeout(60)),
      join = other:joining(),
      wrapped = uring.channel():receiving():wrap(print),
      own = uring.event { try = function() end, block = function() end,
        cancel = function() end },
    }
    local function choose(events, timeout)
      local key, value, message = uring.select(events, timeout)
      if key and not value then error(message, 0) end
      return key, value
    end
    assert(choose(all, 0) == nil)
    local task = uring.spawn(function()
      uring.sleep(0)
      assert(b:send "x")
    end)
    assert(choose(all, patience) == "socket")
    task:join()
    assert(choose { s = a:sending "yy", c = channel:receiving() } == "s")
    task = uring.spawn(function() assert(channel:send("a", "b")) end)
    assert(choose({ c = channel:receiving(), call = all.call }) == "c")
    assert(task:join())
    other:cancel()
    local key = uring.select({ j = other:joining() }, patience)
    assert(key == "j")
  end)
end

programs["the file system"] = function()
  local fs = uring.fs
  local made
  local _ <close> = helper.finally(function()
    if made then os.execute("rm -rf " .. made) end
  end)
  uring.run(function()
    local d = assert(fs.mkdtemp "/tmp/shortage.XXXXXX")
    made = d
    assert(fs.mkdir(d .. "/a", { parents = true }))
    assert(fs.write(d .. "/f", "x"))
    assert(fs.write(d .. "/f", "xy", { atomic = true }))
    local data = assert(fs.read(d .. "/f"))
    assert(data == "xy")
    assert(fs.copy(d .. "/f", d .. "/g"))
    assert(fs.link(d .. "/g", d .. "/h"))
    assert(fs.rename(d .. "/h", d .. "/i"))
    assert(fs.symlink("g", d .. "/l"))
    assert(fs.readlink(d .. "/l"))
    assert(fs.lstat(d .. "/l"))
    assert(fs.chmod(d .. "/g", 384))
    assert(fs.stat(d .. "/g"))
    for name, kind in fs.dir(d) do assert(name and kind) end
    for _, kind, message in fs.walk(d) do assert(kind, message) end
    local root <close> = assert(fs.root(d))
    assert(root:rename("g", "a/g"))
    assert(root:stat "a/g")
    local file <close> = assert(root:open "a/g")
    assert(file:read "a")
    assert(fs.remove(d, { recursive = true }))
  end)
end

programs["a server"] = function()
  -- (a connection's task without memory for itself is told by a run's end)
  local ok, why = true, nil
  local function note(...)
    if not (...) then ok, why = false, select(2, ...) end
  end
  note(pcall(uring.run, function()
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local server = uring.spawn(function()
      return listener:serve(function(conn)
        assert(conn:write(assert(conn:read("l", patience)), "!"))
      end, { max = 2, grace = 0 })
    end)
    local got = uring.map(2, { "a", "b" }, function(text)
      local client <close> = assert(uring.tcp.connect(listener:getsockname(),
        patience))
      assert(client:write(text, "\n"))
      -- (of a connection that fails this is an error too)
      return client:read("a", patience) or ""
    end)
    listener:close()
    local ended, served, message = server:join(patience)
    if not (ended and served) then error(message or served, 0) end
    if got[1] ~= "a!" then error("ENOMEM of a connection", 0) end
  end))
  for _ = 1, 9 do note(pcall(uring.run, uring.sleep, 0)) end
  if not ok then error(why, 0) end
end

programs["names"] = function()
  uring.run(function()
    assert(uring.resolve("127.0.0.1", 80))
    local addresses, message, code = uring.resolve("localhost", 80, patience)
    if not addresses then
      assert(code == uring.eai.NONAME or code == uring.eai.AGAIN, message)
      return
    end
    assert(tostring(addresses[1]))
    local listener <close> = assert(uring.tcp.listen "localhost:0")
    local port = listener:getsockname().port
    local client <close> = assert(uring.tcp.connect("localhost:" .. port,
      patience))
    local server <close> = assert(uring.udp.bind "localhost:0")
    port = server:getsockname().port
    local udp <close> = assert(uring.udp.connect("localhost:" .. port,
      patience))
    assert(udp:send "x" and client:getpeername())
  end)
end

programs["streams"] = function()
  uring.run(function()
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local server = uring.spawn(function()
      local conn <close> = first(listener:connections())
      local data = assert(conn:recv(100, patience))
      assert(conn:send(data .. "!"))
    end)
    local client <close> = assert(uring.tcp.connect(listener:getsockname(),
      patience))
    assert(client:try_send "hello")
    local got = assert(client:recv(100, patience))
    assert(server:join())
    assert(got == "hello!", got)
    local a, b = assert(uring.socketpair())
    local _ <close> = a
    local _ <close> = b
    local sender = uring.spawn(function()
      return assert(b:send(("x"):rep(70000), patience))
    end)
    local n = #(a:try_receive(10) or "")
    for chunk in a:chunks { size = 4096 } do
      n = n + #chunk
      if n == 70000 then break end
    end
    must(sender:join())
  end)
end

programs["a stream over functions"] = function()
  -- (A call whose task could not even begin, for want of memory, is told by
  -- the next run, for it is in no scope; the read has waited for its time.)
  pcall(uring.run, function() end)
  uring.run(function()
    local a, b = assert(uring.socketpair())
    local _ <close> = b
    local s <close> = assert(uring.stream {
      read = function(max, timeout) return a:recv(max, timeout) end,
      write = function(bytes, timeout) return a:send(bytes, timeout) end,
      close = function() return a:close() end,
    })
    local _ <close> = a
    assert(b:send "one\ntwo")
    local line = assert(s:read("l", helper.slow))
    assert(line == "one", line)
    local key, value, message = uring.select({ s = s:reading(3) }, helper.slow)
    if not value then error(message, 0) end
    assert(key == "s" and value == "two")
    assert(s:write("x", 1))
    assert(s:flush(helper.slow))
    line = assert(b:recv(10, helper.slow))
    assert(line == "x1", line)
    local _, why, errno = s:read("l", 0)
    assert(errno == ETIME, why)
    assert(s:write(("y"):rep(100)))
    local ok
    ok, why, errno = s:close()
    if errno == ETIME then error("ENOMEM of the write's task", 0) end
    assert(ok, why)
  end)
end

programs["datagrams"] = function()
  uring.run(function()
    local a <close> = assert(uring.udp.bind "127.0.0.1:0")
    local b <close> = assert(uring.udp.bind "127.0.0.1:0")
    local to = b:getsockname()
    local message = { data = "hello", name = to }
    assert(a:sendto("hello", to))
    assert(a:sendto("hello", tostring(to)))
    assert(a:sendmsg(message))
    assert(a:sendmsg { message, message })
    local payload, from = assert(b:receive(100, patience))
    assert(payload == "hello" and from == a:getsockname())
    assert(first(b:messages()) == "hello")
    first(b:messages { lease = true }):release()
    assert(tostring(a) and a:stats())
    local x, y = assert(uring.socketpair(uring.SOCK_DGRAM))
    local _ <close> = x
    local _ <close> = y
    local file <close> = assert(io.open "/dev/null")
    assert(x:sendmsg { data = "d", control = { fds = { file } } })
    local data, _, info = assert(y:receive(10, patience))
    assert(data == "d")
    info.control.fds[1]:close()
  end)
end

-- Each of these raises in one task what it was about to take, and the other
-- must have it.

programs["two tasks that wait for the same data"] = function()
  uring.run(function()
    local a, b = assert(uring.socketpair())
    local _ <close> = a
    local _ <close> = b
    local got, errors = "", {}
    local function one()
      local ok, data, message = pcall(b.recv, b, 1, patience)
      if ok and data then got = got .. data
      elseif ok then error(message, 0)
      else errors[#errors + 1] = data end
    end
    local tasks = { uring.spawn(one), uring.spawn(one) }
    uring.sleep(0)
    assert(a:send "xy")
    for i = 1, 2 do assert(tasks[i]:join(patience)) end
    if errors[1] then error(errors[1], 0) end
    assert(got == "xy")
  end)
end

programs["two tasks that accept"] = function()
  uring.run(function()
    local listener <close> = assert(
      uring.unix.listen("@uring-short-" .. spec.getpid(), 4))
    local to = listener:getsockname()
    local function one()
      local conn = assert(listener:accept(patience))
      conn:close()
    end
    local tasks = { uring.spawn(one), uring.spawn(one) }
    uring.sleep(0)
    local a <close> = assert(uring.unix.connect(to.path))
    local b <close> = assert(uring.unix.connect(to.path))
    assert(a and b)
    for i = 1, 2 do assert(tasks[i]:join(patience)) end
  end)
end

programs["steps"] = function()
  local loop, done = assert(uring.loop()), false
  assert(loop:spawn(function()
    local task = uring.spawn(uring.sleep, 0)
    assert(task:join())
    assert(uring.await(uring.sqe():prep_nop()))
    done = true
  end))
  assert(loop:fd())
  while not done do
    loop:step { max = 10, gc = true }
    assert(loop:timeout() >= 0)
  end
end

-- What a call has given; or its error is raised.
local function gives(expected, value, why)
  if value == nil then error(why, 0) end
  assert(value == expected, value)
end

programs["buffered sockets"] = function()
  local a, b = assert(uring.socketpair())
  local _ <close> = a
  local _ <close> = b
  uring.run(function()
    assert(a:write("one\ntwo\n", 3, "\nkey: value\r\n\r\nrest\n"))
    assert(a:flush(patience))
    assert(b:limit(1000) == b)
    gives("one", b:read("l", patience))
    gives("two", b:peek(3, patience))
    gives("two\n", b:read "L")
    assert(b:unread "12 ")
    gives(12, b:read "n")
    gives(3, b:read "n")
    gives("", b:read "l")
    gives("key: value\r\n\r\n", b:read_until("\r\n\r\n", 100, patience))
    gives("rest", select(2, uring.select { b:reading "l" }))
    assert(a:write "last\n")
    assert(a:close())
    for line in b:lines() do assert(line == "last") end
  end)
end

programs["a file sent by a socket"] = function()
  local a, b = assert(uring.socketpair())
  local _ <close> = a
  local _ <close> = b
  uring.run(function()
    local name = os.tmpname()
    local file <close> = assert(uring.open(name, "w+"))
    os.remove(name)
    assert(a:write "head ")
    assert(file:write "body")
    gives(4, a:sendfile(file, 0, nil, patience))
    gives("head body", b:read(9, patience))
    gives(2, a:sendfile(file:fileno(), 1, 2))
    gives("od", b:read(2, patience))
  end)
end

programs["pipes and files"] = function()
  local name = os.tmpname()
  uring.run(function()
    local from, to = uring.pipe()
    local _ <close> = assert(from, to)
    assert(to:write(("x"):rep(5000), "\n"))
    assert(to:close())
    assert(#assert(from:read "a") == 5001)
    local file <close> = assert(uring.open(name, "w+"))
    assert(file:write "one\ntwo\n")
    assert(file:flush())
    assert(file:sync())
    assert(assert(file:stat()).size == 8)
    gives(4, file:seek("set", 4))
    gives("two", file:limit(100):read "l")
    assert(file:pwrite("O", 0))
    gives("One", file:pread(3, 0))
    assert(file:truncate(4))
    gives(0, file:seek "set")
    gives("O", file:peek(1))
    assert(file:unread "a")
    gives("aOn", file:read_until "n")
    gives("e", select(2, uring.select { file:reading "l" }))
    for _ in file:lines() do error "it ended" end
    assert(file:fileno() >= 0)
    local again <close> = assert(uring.stream(assert(io.open(name))))
    gives("One\n", again:read "a")
  end)
  os.remove(name)
end

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

programs["small calls"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local address = uring.sockaddr("127.0.0.1", 0)
  local udp = assert(uring.socket(uring.AF_INET, uring.SOCK_DGRAM))
  local _ <close> = udp
  assert(udp:bind(address))
  local msg = uring.sqe():prep_msg_ring(ring, 1, 2)
  if helper.has "sync_msg" then
    assert(uring.register_sync_msg(msg))
    assert(ring:wait_cqe(patience))
  else
    fails("6.13", assert, uring.register_sync_msg(msg))
  end
  local none, why = uring.recvmsg_out(uring.buffer(8),
    uring.msghdr { namelen = 128 })
  assert(not none and why:find "too short", why)
  uring.run(function()
    assert(uring.current() and uring.loop():stats().memory > 0)
    local semaphore = uring.semaphore(0)
    local other = uring.daemon(function() semaphore:release() end)
    assert(semaphore:acquire(patience))
    assert(not semaphore:try_acquire())
    semaphore:release()
    assert(uring.select { semaphore:acquiring() })
    local c = uring.channel(1)
    assert(c:try_send "a" and uring.select({ c:sending "b" }, 0) == nil)
    assert(c:try_receive() == "a" and c:close())
    for _ in c:messages() do error "it is closed" end
    assert(other:join())
    assert(uring.select { t = uring.at(uring.now()) } == "t")
    assert(uring.pcall(uring.sleep, 0))
  end)
end

-- A result that older kernels cannot give, or the function itself.
local function perhaps(value, message)
  if not value and not message:find "needs Linux" then error(message, 0) end
  return value
end

programs["the rest of a ring"] = function()
  local ring <close> = assert(uring.ring { entries = 8,
    flags = uring.IORING_SETUP_R_DISABLED })
  assert(ring:enable_rings())
  assert(ring:fd() and ring:features())
  assert(ring:peek_cqe() == nil)
  local event = owner(spec.eventfd)
  local _ <close> = event
  assert(ring:register_eventfd(event))
  assert(ring:unregister_eventfd())
  assert(ring:register_files_sparse(4))
  assert(ring:register_file_alloc_range(0, 2))
  local read = assert(ring:queue(uring.sqe():prep_timeout(60):set_ioprio(0)))
  assert(ring:submit())
  assert(read:status() and read:cancel())
  assert(ring:wait_cqe(patience))
  ring:register_sync_cancel { flags = uring.IORING_ASYNC_CANCEL_ANY }
  uring.run(function()
    assert(ring:await(nop(), patience))
    assert(ring:await(uring.sqe():prep_msg_ring(ring, 1, 2)))
    assert(first(ring:messages()) == 1)
    local ended = uring.spawn(uring.sleep, 0):joining()
    assert(uring.select { ended:wrap(function() return true end) } == 1)
    local task = uring.spawn(uring.sleep, 0)
    assert(task:status() and uring.loop():ring())
    uring.scope(function(scope) assert(#scope:failures() == 0) end)
  end)
end

programs["what a ring has registered"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local other <close> = assert(uring.ring { entries = 8 })
  local a, b = uring.buffer(8), uring.buffer(8)
  assert(ring:register_buffers { a, false })
  assert(assert(ring:register_buffers_update_tag(1, { b }, { 0 })) == 1)
  perhaps(other:clone_buffers(ring))
  other:unregister_buffers()
  perhaps(other:clone_buffers_offset(ring, 0, 1, 1))
  assert(ring:unregister_buffers())
  assert(ring:register_buffers_sparse(2))
  assert(ring:unregister_buffers())
  assert(ring:register_buffers_tags({ a }, { 0 }))
  assert(ring:register_files_tags({ r, false }, { 0, 0 }))
  assert(assert(ring:register_files_update_tag(0, { w }, { 0 })) == 1)
  assert(ring:unregister_files())
  local event = owner(spec.eventfd)
  local _ <close> = event
  assert(ring:register_eventfd_async(event))
  assert(ring:cq_eventfd_toggle(true))
  assert(ring:unregister_eventfd())
  assert(ring:unregister_personality(assert(ring:register_personality())))
  assert(ring:register_iowq_aff { 0 })
  assert(ring:unregister_iowq_aff())
  assert(ring:register_iowq_max_workers())
  perhaps(ring:register_napi(0))
  perhaps(ring:unregister_napi())
  perhaps(ring:register_clock(uring.CLOCK_MONOTONIC))
  perhaps(ring:set_iowait(true))
  local quiet <close> = assert(uring.ring { entries = 8,
    flags = uring.IORING_SETUP_R_DISABLED })
  assert(quiet:register_restrictions { { 1, 0 } })
  assert(ring:push(uring.sqe():prep_writev(w, { "x", b })))
  perhaps(ring:submit_and_wait_min_timeout(1, patience, 0))
  assert(ring:submit_and_wait(1, patience))
  assert(first(ring:cqes()))
  assert(ring:queue(uring.sqe():prep_readv(r, { a, b })))
  assert(ring:wait_cqe(patience))
  assert(ring:queue(uring.sqe():prep_rename("/no/such/a", "/no/such/b")))
  assert(ring:wait_cqe(patience))
end

programs["the rest of memory and descriptors"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local buffer = uring.buffer(4)
  buffer:write(0, "abcd"):resize(2)
  assert(buffer:string() == "ab" and buffer:close())
  assert(uring.msghdr { iov = { "x" } }:close())
  assert(not ring:ref():closed())
  local a, b = assert(uring.socketpair())
  local _ <close> = a
  local _ <close> = b
  local group <close> = assert(ring:buf_ring { entries = 4, size = 4 })
  perhaps(group:head())
  assert(a:fileno())
  assert(a:getsockopt "SO_TYPE")
  assert(a:getpeername())
  assert(ring:queue(uring.sqe():prep_send(a, "hello")))
  assert(ring:wait_cqe(patience))
  assert(ring:queue(uring.sqe():prep_recv(b):set_buf_group(group:bgid())))
  local _, res, flags = assert(ring:wait_cqe(patience))
  for _, lease in ipairs(assert(group:bundle(res, flags))) do
    lease:close()
  end
  uring.run(function()
    assert(b:recvfrom(1, patience))
    assert(a:sendmsg { data = "m" })
    assert(b:recvmsg(1, patience))
    assert(a:shutdown "write")
  end)
  local fd = owner(spec.dup, w)
  local _ <close> = fd
  assert(fd:fileno())
  spec.close(fd:release())
  spec.close(assert(a:release()))
end

programs["a process"] = function()
  uring.run(function()
    local p <close> = assert(uring.process { "/bin/cat", stdin = "pipe",
      stdout = "pipe", env = { A = "1" }, cwd = "/" })
    local out, kind = assert(p:communicate("hello", { max = 100,
      timeout = patience }))
    assert(out == "hello" and kind == "" and tostring(p))
    assert(p:wait(patience) == "exit")
    local _, ended = assert(uring.select({ p:waiting() }, patience))
    assert(ended == "exit" and not p:kill "TERM")
    local q = assert(uring.process { "/bin/sleep", "20" })
    assert(q:kill "KILL")
    assert(q:close())
  end)
end

programs["times"] = function()
  uring.run(function()
    local now = uring.time()
    uring.scope(function(scope)
      for i = 1, 3 do
        scope:spawn(function()
          uring.select({ uring.at_time(now + i / 1000) }, patience)
        end)
      end
      local ticks <close> = uring.every(0.001)
      assert(ticks:receive(patience) and tostring(ticks))
      assert(uring.select({ ticks:receiving() }, patience))
      assert(first(ticks:messages()))
    end)
  end)
end

programs["watches"] = function()
  uring.run(function()
    local d = assert(uring.fs.mkdtemp "/tmp/uring.XXXXXX")
    local _ <close> = helper.finally(function()
      os.remove(d .. "/a")
      os.remove(d)
    end)
    local watch <close> = assert(uring.fs.watch(d))
    assert(uring.fs.write(d .. "/a", "text"))
    local event = assert(watch:receive(patience))
    assert(event.kind == "create" and tostring(watch))
    assert(uring.select({ watch:receiving() }, patience))
    assert(uring.fs.remove(d .. "/a"))
    assert(first(watch:messages()).kind == "delete")
  end)
end

programs["signals"] = function()
  uring.run(function()
    local signals <close> = assert(uring.signals "USR1")
    spec.kill(spec.getpid(), 10)
    assert(signals:receive(patience) == "USR1" and tostring(signals))
    spec.kill(spec.getpid(), 10)
    assert(uring.select({ signals:receiving() }, patience))
    spec.kill(spec.getpid(), 10)
    assert(first(signals:messages()) == "USR1")
  end)
end

programs["LuaSocket's interface"] = function()
  local socket = uring.compat.socket
  uring.run(function()
    local listener = assert(socket.bind("127.0.0.1", 0))
    local ip, port = listener:getsockname()
    local client = assert(socket.tcp())
    assert(client:settimeout(patience))
    assert(client:connect(ip, port))
    assert(client:setoption("tcp-nodelay", true))
    assert(client:getoption "linger")
    local readable = socket.select({ listener }, { client }, patience)
    assert(readable[listener])
    local conn = assert(listener:accept())
    conn:settimeout(patience)
    assert(client:send "line\r\n12345rest")
    assert(assert(conn:receive()) == "line")
    assert(assert(conn:receive(5)) == "12345")
    assert(conn:getpeername())
    assert(conn:dirty() and conn:getstats())
    conn:setstats(0, 0, 0)
    client:shutdown "send"
    assert(assert(conn:receive("*a", "the ")) == "the rest")
    owner(function()
      local number = conn:getfd()
      conn:setfd(-1)
      return number
    end):close()
    local a, b = assert(socket.udp4()), assert(socket.udp4())
    assert(a:setsockname("127.0.0.1", 0))
    a:settimeout(patience)
    ip, port = a:getsockname()
    assert(b:sendto("one", ip, port))
    assert(a:receivefrom())
    assert(b:setpeername(ip, port))
    assert(b:send "two")
    assert(a:receive())
    assert(b:setpeername "*")
    assert(socket.dns.toip "127.0.0.1")
    local f = socket.protect(function() socket.try(nil, "why") end)
    local _, why = f()
    assert(why == "why", why)
  end)
end

-- The results of a request, which may be an error; of many the last.
local function result(ring, sqe)
  assert(ring:queue(sqe))
  local _, res, flags
  repeat
    _, res, flags = assert(ring:wait_cqe(patience))
  until flags & uring.IORING_CQE_F_MORE == 0
  return res
end

-- Makes one request after another: an older kernel may not know them.
local function does(ring, ...)
  for i = 1, select("#", ...) do result(ring, (select(i, ...))) end
end

programs["requests of files"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local sqe = uring.sqe
  local name = os.tmpname()
  local file <close> = assert(io.open(name, "w+"))
  os.remove(name)
  local a, b = uring.buffer "abcd", uring.buffer(4)
  local to, from = assert(uring.socketpair())
  local _ <close> = to
  local _ <close> = from
  assert(ring:register_buffers { a, b })
  spec.write(w, "xy")
  does(ring, sqe():prep_write_fixed(file, a, 4, 0, 0),
    sqe():prep_read_fixed(file, b, 4, 0, 1),
    sqe():prep_writev_fixed(file, { a }, 0, 0, 0),
    sqe():prep_readv_fixed(file, { b }, 0, 0, 1),
    sqe():prep_writev2(file, { "x", a }, 0, 0),
    sqe():prep_readv2(file, { a, b }, 0, 0),
    sqe():prep_fsync(file, uring.IORING_FSYNC_DATASYNC),
    sqe():prep_sync_file_range(file, 0, 0, 0),
    sqe():prep_fallocate(file, 0, 0, 8), sqe():prep_ftruncate(file, 2),
    sqe():prep_fadvise(file, 0, 0), sqe():prep_fadvise64(file, 0, 0),
    sqe():prep_fsetxattr(file, "user.a", "value"),
    sqe():prep_fgetxattr(file, "user.a", b),
    sqe():prep_write(file, "x"):set_rw_flags(0):set_personality(0),
    sqe():prep_tee(r, w, 2), sqe():prep_splice(r, nil, to, nil, 2))
end

programs["requests of paths"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local sqe, here = uring.sqe, uring.AT_FDCWD
  local name = os.tmpname()
  os.remove(name)
  local a, b = name .. "/a", name .. "/b"
  local _ <close> = helper.finally(function()
    os.remove(a)
    os.remove(b)
    os.remove(name)
  end)
  local buffer = uring.buffer(256)
  assert(ring:register_files_sparse(3))
  does(ring, sqe():prep_mkdir(name, 448), sqe():prep_mkdirat(here, a, 448),
    sqe():prep_statx(here, name, 0, uring.STATX_BASIC_STATS, buffer),
    sqe():prep_setxattr("user.a", "value", name),
    sqe():prep_getxattr("user.a", buffer, name),
    sqe():prep_unlink(a, uring.AT_REMOVEDIR), sqe():prep_symlink("x", a),
    sqe():prep_link(a, b), sqe():prep_unlinkat(here, b),
    sqe():prep_linkat(here, a, here, b), sqe():prep_unlink(b),
    sqe():prep_renameat(here, a, here, b),
    sqe():prep_symlinkat("x", here, a),
    sqe():prep_open_direct("/dev/null", 0, 0, 0),
    sqe():prep_openat_direct(here, "/dev/null", 0, 0, 1),
    sqe():prep_openat2_direct(here, "/dev/null", {}, 2),
    sqe():prep_close_direct(0))
  for _, request in ipairs { sqe():prep_open("/dev/null", 0),
      sqe():prep_openat2(here, "/dev/null", { resolve = 0 }),
      sqe():prep_fixed_fd_install(1) } do
    local fd = result(ring, request)
    if fd >= 0 then spec.close(fd) end
  end
end

programs["requests of sockets"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local sqe, stream = uring.sqe, uring.SOCK_STREAM
  local made = owner(result, ring, sqe():prep_socket(uring.AF_INET, stream))
  local _ <close> = made
  assert(ring:register_files_sparse(3))
  does(ring, sqe():prep_socket_direct(uring.AF_INET, stream, 0, 0),
    sqe():prep_socket_direct_alloc(uring.AF_INET, stream),
    sqe():prep_bind(made, "127.0.0.1:0"), sqe():prep_listen(made, 4),
    sqe():prep_cmd_sock(uring.SOCKET_URING_OP_SETSOCKOPT, made,
      uring.SOL_SOCKET, uring.SO_REUSEADDR, "\1\0\0\0"))
  uring.run(function()
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local to = listener:getsockname()
    local a <close> = assert(uring.socket(uring.AF_INET, stream))
    does(ring, sqe():prep_connect(a, to))
    local b = owner(result, ring, sqe():prep_accept(listener))
    local _ <close> = b
    local c <close> = assert(uring.tcp.connect(to, patience))
    does(ring, sqe():prep_accept_direct(listener, 0, 2))
    local d <close> = assert(uring.tcp.connect(to, patience))
    local accepts = assert(ring:queue(sqe():prep_multishot_accept(listener)))
    local _, fd = assert(ring:wait_cqe(patience))
    spec.close(fd)
    assert(ring:queue(sqe():prep_cancel(accepts)))
    for _ = 1, 2 do assert(ring:wait_cqe(patience)) end
    does(ring, sqe():prep_cancel_fd(listener),
      sqe():prep_send_zc(a, uring.buffer "hello"))
    local group <close> = assert(ring:buf_ring { entries = 4, size = 8 })
    assert(ring:queue(
      sqe():prep_recv_multishot(b):set_buf_group(group:bgid())))
    local _, res, flags = assert(ring:wait_cqe(patience))
    gives("hello", group:string(res, flags))
    assert(ring:queue(sqe():prep_shutdown(a, uring.SHUT_RDWR)))
    for _ = 1, 2 do assert(ring:wait_cqe(patience)) end
    assert(c and d)
  end)
end

programs["requests of datagrams"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local sqe = uring.sqe
  local a <close> = assert(uring.udp.bind "127.0.0.1:0")
  local b <close> = assert(uring.udp.bind "127.0.0.1:0")
  local to, buffer = b:getsockname(), uring.buffer "fixed"
  local message <const> = uring.msghdr { iov = { buffer }, name = to }
  assert(ring:register_buffers { buffer })
  does(ring, sqe():prep_sendto(a, "hello", nil, nil, to),
    sqe():prep_send_zc(a, buffer):prep_send_set_addr(to),
    sqe():prep_send_zc_fixed(a, buffer, 5, 0, 0, 0):prep_send_set_addr(to),
    sqe():prep_sendmsg_zc(a, message),
    sqe():prep_sendmsg_zc_fixed(a, message, 0, 0))
  local group <close> = assert(ring:buf_ring { entries = 4, size = 256 })
  local into = uring.msghdr { namelen = 28, controllen = 64 }
  assert(ring:queue(
    sqe():prep_recvmsg_multishot(b, into):set_buf_group(group:bgid())))
  local _, res, flags = assert(ring:wait_cqe(patience))
  local lease <close> = assert(group:lease(res, flags))
  local out = assert(uring.recvmsg_out(lease, into))
  assert(out.payload == "hello" and out.name == a:getsockname())
end

programs["requests that wait, and of messages"] = function()
  local ring <close> = assert(uring.ring { entries = 16 })
  local other <close> = assert(uring.ring { entries = 8 })
  local sqe, all, u32 = uring.sqe, 0xffffffff, uring.FUTEX2_SIZE_U32
  local word, buffer = uring.buffer "\0\0\0\0", uring.buffer(128)
  assert(ring:register_files { r })
  assert(other:register_files_sparse(2))
  does(ring, sqe():prep_msg_ring_cqe_flags(other, 1, 2,
      uring.IORING_MSG_RING_FLAGS_PASS, 0),
    sqe():prep_msg_ring_fd(other, 0, 0, 3),
    sqe():prep_msg_ring_fd_alloc(other, 0, 3),
    sqe():prep_waitid(uring.P_PID, 1, buffer, uring.WEXITED),
    sqe():prep_provide_buffers(buffer, 32, 4, 7),
    sqe():prep_remove_buffers(4, 7))
  assert(ring:queue(sqe():prep_futex_wait(word, 0, all, u32)))
  local timeout = assert(ring:queue(sqe():prep_timeout(60)))
  local poll = assert(ring:queue(
    sqe():prep_poll_multishot(r, uring.POLLIN)))
  assert(ring:submit())
  assert(ring:queue(sqe():prep_futex_wake(word, 1, all, u32)))
  assert(ring:queue(sqe():prep_timeout_update(50, timeout),
    sqe():prep_timeout_remove(timeout),
    sqe():prep_poll_update(poll, uring.POLLIN, uring.IORING_POLL_ADD_MULTI),
    sqe():prep_poll_remove(poll)))
  for _ = 1, 8 do assert(ring:wait_cqe(patience)) end
  assert(ring:queue(sqe():prep_timeout(60):set_flags(uring.IOSQE_IO_LINK),
    sqe():prep_link_timeout(0)))
  for _ = 1, 2 do assert(ring:wait_cqe(patience)) end
  local group <close> = assert(ring:buf_ring { entries = 4, size = 4 })
  spec.write(w, "data")
  assert(ring:queue(sqe():prep_read_multishot(r, nil, -1, group:bgid())))
  assert(ring:wait_cqe(patience))
end

programs["beneath a root"] = function()
  local fs = uring.fs
  local name = os.tmpname()
  os.remove(name)
  local made = { "/a/b", "/a/f", "/a/g", "/a/h", "/a/i", "/a/s", "/a", "" }
  for i, path in ipairs(made) do made[i] = name .. path end
  local _ <close> = helper.finally(function()
    for i = 1, #made do os.remove(made[i]) end
  end)
  uring.run(function()
    assert(fs.mkdir(name))
    local root <close> = assert(fs.root(name))
    assert(root:mkdir("a/b", { parents = true, mode = 448 }))
    assert(root:write("a/f", ("y"):rep(5000)))
    gives(5000, #assert(root:read "a/f"))
    local _, why, errno = root:read("a/f", 10)
    if errno ~= uring.errno.EMSGSIZE then error(why, 0) end
    assert(root:write("a/g", "text"))
    assert(root:link("a/g", "a/h"))
    assert(root:symlink("g", "a/s"))
    gives("g", root:readlink "a/s")
    assert(assert(root:lstat "a/s").kind == "link")
    assert(root:chmod("a/g", 384))
    local n = 0
    for _ in root:dir "a" do n = n + 1 end
    for _, kind, message in root:walk "." do
      assert(kind, message)
      n = n + 1
    end
    assert(n == 11)
    first(root:walk ".")
    assert(root:rename("a/g", "a/i"))
    assert(root:remove("a", { recursive = true }))
  end)
end


-- ---- the sweep ------------------------------------------------------------

-- Does the error say that there is no memory?
local function says_so(why)
  why = tostring(why)
  return why:find("memory", 1, true) or why:find("ENOMEM", 1, true)
end

-- Takes out what a program has left in the pipe.
local function empty_pipe()
  if spec.ready(r) then spec.read(r, 65536) end
end

-- How many descriptors are open once the loop is idle.
local function descriptors()
  helper.collect()
  helper.eventually(function()
    uring.run(uring.sleep, 0)
    return pcall(helper.idle_loop)
  end)
  return spec.fds()
end

-- How many objects the state keeps for their finalizers. Once nothing is left
-- alive these are the ones that Lua could not finalize for want of memory: the
-- state ends them when it closes.
local function kept()
  local n = 0
  for key, state in pairs(debug.getregistry()) do
    if type(key) == "userdata" and type(state) == "userdata" then
      for i = 1, 255 do
        local value, is_there = debug.getuservalue(state, i)
        if not is_there then break end
        if type(value) == "table" and type(next(value)) == "userdata" then
          for _ in pairs(value) do n = n + 1 end
        end
      end
    end
  end
  return n
end

-- f, with the n-th request for memory refused and some more after it; true
-- when it has asked less often than that. `refuse(n, failing)` begins, and
-- refuse() ends that and says how often it was asked.
local function once(f, refuse, n, failing)
  refuse(n, failing)
  local ok, why = pcall(f)
  local asked = refuse()
  -- (what runs without memory could not tell of tasks that are in no scope)
  for _ = 1, ok and 0 or 9 do pcall(uring.run, uring.sleep, 0) end
  empty_pipe()
  if not ok and not says_so(why) then
    error(("refused the %d-th: %s"):format(n, why), 0)
  end
  return asked < n
end

local shortage = { all = os.getenv "URING_SWEEP" ~= nil }

-- In how many requests in a row memory is refused. Lua itself asks twice.
local RUNS = shortage.all and { 1, 2, 3, 4, 5, 6, 1 << 30 } or { 2, 1 << 30 }

-- Calls f(n, failing) for places where memory may be refused until it answers
-- true; for all of them, or for one in `stride`. How many there were.
function shortage.places(stride, f)
  local tried = 0
  if shortage.all then stride = 1 end
  for i, failing in ipairs(RUNS) do
    local n = 1 + i * 3 % stride
    while not f(n, failing) do
      n, tried = n + stride, tried + 1
      assert(n < 100000, "it never ends")
    end
  end
  return tried
end

-- In a process with the faulty module (spec/support/faults.lua), whose `T`
-- this is.
function shortage.sweep(name, T, stride)
  local f = programs[name]
  f()
  f()
  empty_pipe()
  for _, refuse in ipairs { T.fault.malloc, T.fault.alloc } do
    local before, kept_before = descriptors(), kept()
    shortage.places(stride or 11, function(n, failing)
      local done = once(f, refuse, n, failing)
      f()
      empty_pipe()
      assert(#uring.tasks() == 0, "tasks are left")
      return done
    end)
    local after = descriptors()
    local lost = kept() - kept_before
    assert(after >= before and after - before <= lost, ("%d descriptors "
      .. "before, %d after, %d finalizers lost"):format(before, after, lost))
  end
end

-- Runs one of the programs.
function shortage.run(name)
  programs[name]()
  empty_pipe()
end

shortage.names = {}
for name in pairs(programs) do
  shortage.names[#shortage.names + 1] = name
end
table.sort(shortage.names)

return shortage
