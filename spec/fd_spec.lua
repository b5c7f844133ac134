-- Descriptors: uring.fd, what else names one, what a close ends, and the owner
-- of a number.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local ring_it = helper.needs_ring(it)
local E = uring.errno
local take = hand.take

local function open(number)
  local _, all = spec.fds()
  return all[number] ~= nil
end

local function read(fd, buffer, data)
  return uring.sqe():prep_read(fd, buffer):set_data64(data or 0)
end

-- A first member that lets the others start later.
local function later()
  return uring.sqe():prep_timeout(0.01):set_data64(-1)
    :set_flags(uring.IOSQE_IO_HARDLINK)
end

describe("uring.fd", function()
  it("owns a number, and closes it once", function()
    local r, w = spec.pipe()
    local fd = uring.fd(r)
    assert.equal(r, fd:fileno())
    assert.equal(("uring.Fd (%d)"):format(r), tostring(fd))
    assert.is_true(fd:close())
    assert.is_false(open(r))
    assert.equal("uring.Fd (closed)", tostring(fd))
    local again = spec.dup(w)  -- has the same number now
    assert.equal(r, again)
    assert.is_true(fd:close())
    assert.is_true(open(again))
    for _, method in ipairs { "fileno", "release" } do
      helper.raises("closed descriptor", fd[method], fd)
    end
    spec.close(again)
    spec.close(w)
  end)

  it("closes its number when it is collected or its scope ends", function()
    local r, w = spec.pipe()
    uring.fd(r)
    helper.collect()
    assert.is_false(open(r))
    do local _ <close> = uring.fd(w) end
    assert.is_false(open(w))
  end)

  it("gives the number back by release", function()
    local r, w = spec.pipe()
    do
      local fd = uring.fd(r)
      assert.equal(r, fd:release())
      assert.equal("uring.Fd (closed)", tostring(fd))
      assert.is_true(fd:close())
    end
    helper.collect()
    assert.is_true(open(r))
    spec.close(r)
    spec.close(w)
  end)

  it("says why a close has failed", function()
    local fd = uring.fd(999)
    local ok, why, errno = fd:close()
    assert.same({ nil, E.EBADF }, { ok, errno })
    assert.truthy(why:find("close: ", 1, true))
    assert.is_true(fd:close())
  end)

  it("takes numbers that can be descriptors", function()
    for _, n in ipairs { -1, 1 << 31, 0.5, 0 / 0, "0", true, {} } do
      helper.raises("integer from 0 to 2147483647", uring.fd, n)
    end
    helper.raises("integer from 0 to 2147483647", uring.fd)
    for _, self in ipairs { 1, {}, uring.buffer(1) } do
      helper.raises("uring.Fd expected", uring.fd(999).fileno, self)
    end
    helper.collect()
  end)
end)

describe("a descriptor", function()
  after_each(function()
    hand.close()
    helper.clean()
  end)

  ring_it("is named by a number, a uring.fd, a file or a ring", function()
    local ring, other = hand.ring(), hand.ring()
    local r, w = spec.pipe()
    local fd <close> = uring.fd(r)
    local file <close> = assert(io.open(helper.file "content"))
    local buffer = uring.buffer(7)
    spec.write(w, "abc")
    assert.equal(1, (hand.one(ring, uring.sqe():prep_read(r, buffer, 1))))
    assert.equal(2, (hand.one(ring, uring.sqe():prep_read(fd, buffer, 2))))
    assert.equal(7, (hand.one(ring, uring.sqe():prep_read(file, buffer))))
    assert.equal("content", buffer:string())
    assert.equal(0, (hand.one(ring, uring.sqe():prep_cancel_fd(fd,
      uring.IORING_ASYNC_CANCEL_ALL))))
    -- a plain ring's is readable when something has completed there
    local plain = hand.ring { flags = 0 }
    ring:queue(uring.sqe():prep_poll_add(plain, uring.POLLIN):set_data64(4))
    hand.nothing(ring)
    plain:queue(hand.nop())
    plain:submit()
    local data, res = take(ring)
    assert.equal(4, data)
    assert.truthy(res & uring.POLLIN ~= 0)
    local op = ring:queue(uring.sqe():prep_poll_add(other, uring.POLLIN))
    op:cancel()
    assert.equal(-E.ECANCELED, (select(2, take(ring))))
    spec.close(w)
  end)

  ring_it("is not named by anything else", function()
    local sqe = uring.sqe()
    for _, what in ipairs { "0", {}, print, uring.buffer(1), sqe, true } do
      helper.raises("descriptor expected (an integer, a uring.fd, a socket, "
        .. "a stream, a ring or a file), got", sqe.prep_poll_add, sqe, what, 1)
    end
    for _, what in ipairs { 0.5, 1 << 31, -(1 << 31) - 1, 0 / 0 } do
      helper.raises("descriptor expected, got another number",
        sqe.prep_poll_add, sqe, what, 1)
    end
    assert.equal(-E.EBADF, (hand.one(hand.ring(),
      sqe:prep_poll_add(-1, 1))))
  end)
end)

describe("a uring.fd", function()
  after_each(hand.close)

  ring_it("is kept by an sqe that names it", function()
    local ring = hand.ring()
    local r, w = spec.pipe()
    local sqe = uring.sqe():prep_write(uring.fd(w), "x")
    helper.collect()
    assert.is_true(open(w))
    for _ = 1, 2 do assert.equal(1, (hand.one(ring, sqe))) end
    sqe:prep_nop()  -- and no longer
    helper.collect()
    assert.is_false(open(w))
    spec.close(r)
  end)
end)

describe("closing a descriptor", function()
  local ring, buffer

  before_each(function()
    if not helper.probe.available then return end
    ring, buffer = hand.ring(), uring.buffer(10)
  end)

  after_each(hand.close)

  -- (by sockets: older kernels read a pipe in a worker, which a close ends)
  ring_it("first submits the requests that name it", function()
    local r, w = spec.socketpair(uring.SOCK_STREAM)
    spec.write(w, "abc")
    local fd = uring.fd(r)
    ring:queue(read(fd, buffer, 1))
    assert.is_true(fd:close())
    assert.is_false(open(r))
    assert.same({ 1, 3, 0 }, { take(ring) })
    spec.close(w)
  end)

  ring_it("first submits the requests that name its number", function()
    local r, w = spec.socketpair(uring.SOCK_STREAM)
    spec.write(w, "abc")
    local fd = uring.fd(r)
    ring:queue(read(r, buffer, 1))
    fd:close()
    local r2, w2 = spec.socketpair(uring.SOCK_STREAM)  -- of its number
    assert.equal(r, r2)
    spec.write(w2, "wrong")
    assert.same({ 1, 3, 0 }, { take(ring) })
    assert.equal("abc", buffer:string(1, 3))
    for _, n in ipairs { w, r2, w2 } do spec.close(n) end
  end)

  ring_it("first submits those that named it before it had an owner",
    function()
      local other, peer = spec.pipe()
      local set <close> = uring.fd(spec.epoll(other))
      for _, name in ipairs {
        function(n) return read(n, buffer, 1) end,
        function(n)  -- (as its second descriptor)
          return uring.sqe():prep_epoll_ctl(set, n, uring.EPOLL_CTL_ADD,
            uring.EPOLLIN):set_data64(1)
        end,
      } do
        local r, w = spec.pipe()
        spec.write(w, "abc")
        ring:queue(name(r))
        assert.is_true(uring.fd(r):close())
        local data, res = take(ring)
        assert.equal(1, data)
        assert.is_true(res >= 0, res)
        spec.close(w)
      end
      spec.close(other)
      spec.close(peer)
    end)

  ring_it("first submits on all rings, also when it is released or collected",
    function()
      local rings = { ring, hand.ring(), hand.ring { flags = 0 } }
      for i, ending in ipairs { function(fd) fd:close() end,
          function(fd) spec.close(fd:release()) end,
          function() helper.collect() end } do
        local r, w = spec.socketpair(uring.SOCK_STREAM)
        spec.write(w, "abc")
        do
          local fd = uring.fd(r)
          for _, one in ipairs(rings) do
            one:queue(uring.sqe():prep_read(r, uring.buffer(1))
              :set_data64(i))
          end
          ending(fd)
        end
        helper.collect()
        assert.is_false(open(r))
        for _, one in ipairs(rings) do
          assert.same({ i, 1, 0 }, { take(one) })
        end
        spec.close(w)
      end
    end)

  ring_it("ends the requests in flight", function()
    local r, w = spec.pipe()
    local fd = uring.fd(r)
    ring:queue(read(fd, buffer, 1))
    ring:submit()
    fd:close()
    assert.same({ 1, -E.ECANCELED, 0 }, { take(ring) })
    assert.equal(0, ring:stats().in_flight)
    spec.close(w)
  end)

  ring_it("ends what was queued after a later one has ended", function()
    local a, b = spec.socketpair(uring.SOCK_STREAM)
    local fd = uring.fd(a)
    local function recv(data)
      return uring.sqe():prep_recv(fd, uring.buffer(1)):set_data64(data)
    end
    ring:queue(recv(1))
    assert.equal(1, hand.one(ring, uring.sqe():prep_send(fd, "x")))
    ring:queue(recv(2))
    ring:submit()
    fd:close()
    assert.same({ -E.ECANCELED, -E.ECANCELED }, hand.some(ring, 2))
    spec.close(b)
  end)

  ring_it("ends members of chains that have not started", function()
    for _, closing in ipairs { 1, 2 } do
      local r, w = spec.pipe()
      local fd = uring.fd(r)
      local first = uring.sqe():prep_timeout(3600):set_data64(-1)
        :set_flags(closing == 1 and uring.IOSQE_IO_HARDLINK or 0)
      ring:queue(first, read(fd, buffer, 1),
        uring.sqe():prep_timeout(3600):set_data64(-2))
      assert.is_true(fd:close())
      assert.equal("uring.Fd (closed)", tostring(fd))
      assert.is_false(open(r))
      assert.same({ [-1] = -E.ECANCELED, [1] = -E.ECANCELED,
        [-2] = -E.ECANCELED }, hand.some(ring, 3))
      spec.close(w)
    end
  end)

  ring_it("leaves requests and number where it is collected", function()
    local r, w = spec.pipe()
    do
      local owner = uring.fd(w)
      ring:queue(later(), uring.sqe():prep_write(owner, "x"):set_data64(1))
      owner = nil  -- luacheck: ignore
    end
    helper.collect()
    assert.is_true(open(w))
    assert.same({ -1, -E.ETIME, 0 }, { take(ring) })
    assert.same({ 1, 1, 0 }, { take(ring) })
    helper.collect()
    assert.is_false(open(w))
    spec.close(r)
  end)

  ring_it("ends the requests that an io-wq worker has", function()
    local r, w = spec.pipe()
    local fd = uring.fd(r)
    ring:queue(read(fd, buffer, 1):set_flags(uring.IOSQE_ASYNC))
    fd:close()
    assert.same({ 1, -E.ECANCELED, 0 }, { take(ring) })
    assert.is_false(open(r))
    spec.close(w)
  end)

  -- No cancel finds what waits behind a drain.
  ring_it("lets no request that starts later have this file or another's",
    function()
      -- (before, what waits behind a drain has its file already)
      helper.needs_linux(6, 10)
      local gate, opener = spec.pipe()
      local r, w = spec.pipe()
      local fd = uring.fd(w)
      ring:queue(uring.sqe():prep_read(gate, buffer):set_data64(-1))
      ring:queue(hand.nop(-2):set_flags(uring.IOSQE_IO_DRAIN))
      ring:queue(uring.sqe():prep_write(fd, "x"):set_data64(1))
      ring:queue(uring.sqe():prep_write(w, "y"):set_data64(2))
      assert.is_true(fd:close())
      assert.equal("", spec.read(r))  -- no end to write to is open
      local r2, w2 = spec.pipe()
      assert.not_equal(w, r2)
      assert.not_equal(w, w2)
      spec.write(opener, "x")
      assert.same({ [-1] = 1, [-2] = 0, [1] = -E.ECANCELED,
        [2] = -E.ECANCELED }, hand.some(ring, 4))
      assert.is_false(open(w))
      for _, n in ipairs { r, r2, w2, gate, opener } do spec.close(n) end
    end)

  ring_it("gives the number back when the ring that still needs it closes",
    function()
      local inner = assert(uring.ring())
      local gate, opener = spec.pipe()
      local r, w = spec.pipe()
      local fd = uring.fd(r)
      inner:queue(read(gate, buffer))
      inner:queue(hand.nop():set_flags(uring.IOSQE_IO_DRAIN))
      inner:queue(read(fd, uring.buffer(1)))
      fd:close()
      assert.is_true(open(r))
      inner:close()
      assert.is_false(open(r))
      for _, n in ipairs { w, gate, opener } do spec.close(n) end
    end)

  ring_it("ends the requests that cannot be submitted", function()
    local off = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    local r, w = spec.pipe()
    local fd = uring.fd(r)
    off:queue(read(fd, buffer, 1))
    fd:close()
    assert.is_false(open(r))
    local r2, w2 = spec.pipe()
    assert.equal(r, r2)
    spec.write(w2, "wrong")
    assert(off:enable_rings())
    assert.same({ 1, -E.ECANCELED, 0 }, { take(off) })
    for _, n in ipairs { w, r2, w2 } do spec.close(n) end
  end)

  ring_it("ends the requests on all rings of its state", function()
    local rings = { ring, hand.ring { flags = 0 },
      hand.ring { flags = uring.IORING_SETUP_SQPOLL } }
    local r, w = spec.pipe()
    local fd = uring.fd(r)
    for i, one in ipairs(rings) do
      one:queue(read(fd, uring.buffer(3), i))
      one:submit()
    end
    fd:close()
    for i, one in ipairs(rings) do
      assert.same({ i, -E.ECANCELED, 0 }, { take(one) })
    end
    assert.is_false(open(r))
    spec.close(w)
  end)

  ring_it("leaves the requests that name the file by other numbers", function()
    local r, w = spec.pipe()
    local number = spec.dup(r)
    local fd, copy <close> = uring.fd(r), uring.fd(spec.dup(r))
    assert(ring:register_files { fd })
    ring:queue(read(copy, uring.buffer(1), 1))
    ring:queue(read(number, uring.buffer(1), 2))
    ring:queue(hand.fixed(read(0, uring.buffer(1), 3)))
    fd:close()
    hand.nothing(ring)
    spec.write(w, "abc")
    assert.same({ 1, 1, 1 }, hand.some(ring, 3))
    spec.close(number)
    spec.close(w)
  end)

  ring_it("leaves the request on a slot of the same number", function()
    local r, w = spec.pipe()
    local fd = uring.fd(spec.eventfd())
    assert(ring:register_files_sparse(fd:fileno() + 1))
    assert(ring:register_files_update(fd:fileno(), { r }))
    ring:queue(hand.fixed(read(fd:fileno(), uring.buffer(1), 1)))
    fd:close()
    hand.nothing(ring)
    spec.write(w, "a")
    assert.same({ 1, 1, 0 }, { take(ring) })
    spec.close(r)
    spec.close(w)
  end)
end)

-- A number has one owner, or the second close is a stranger's.
describe("the owner of a number", function()
  after_each(hand.close)

  it("is one uring.fd, until it is closed, released or collected", function()
    local r, w = spec.pipe()
    local fd = uring.fd(r)
    local second, message, errno = uring.fd(r)
    assert.same({ nil, E.EEXIST }, { second, errno })
    assert.truthy(message:find(("uring.fd(%d)"):format(r), 1, true))
    assert.equal(r, fd:release())
    fd = assert(uring.fd(r))
    fd:close()
    assert(uring.fd(spec.dup(w))):close()  -- (mostly the same number)
    do
      local _ = uring.fd(w)
      assert.is_nil((uring.fd(w)))
    end
    helper.collect()
    assert.is_false(open(w))
  end)

  ring_it("is a ring, a socket, or the object that has received it",
    function()
      local ring = hand.ring()
      assert.is_nil((uring.fd(ring:fd())))
      uring.run(function()
        local a <close>, b = assert(uring.socketpair())
        local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
        local near <close> = assert(uring.tcp.connect(listener:getsockname()))
        local far <close> = assert(listener:accept(hand.patience))
        assert(a:sendmsg { data = "x", control = { fds = { ring and a } } })
        local _, _, info = b:receive()
        local fd <close> = info.control.fds[1]
        for _, one in ipairs { a, b, listener, near, far, fd } do
          assert.equal(E.EEXIST, (select(3, uring.fd(one:fileno()))))
        end
        local adopted <close> = assert(uring.socket(fd))
        assert.equal(E.EEXIST, (select(3, uring.fd(adopted:fileno()))))
        b:close()
      end)
    end)

  ring_it("is the new owner, where other code has closed it", function()
    local ring = hand.ring()
    local path = helper.file "x"
    local stale = uring.fd(spec.eventfd())
    local number = stale:fileno()
    assert.equal(0, (hand.one(ring, uring.sqe():prep_close(number))))
    local again = hand.one(ring, uring.sqe():prep_openat(uring.AT_FDCWD,
      path))
    assert.equal(number, again)
    local fd <close> = assert(uring.fd(again))
    helper.raises("closed descriptor", stale.fileno, stale)
    stale:close()
    assert.is_true(open(number))
    assert.equal(number, fd:fileno())
    helper.clean()
  end)

  ring_it("is retired by a request that closes the number", function()
    local ring = hand.ring()
    local fd = uring.fd(spec.eventfd())
    local number = fd:fileno()
    local close = uring.sqe():prep_close(number)
    assert.equal(0, (hand.one(ring, close)))
    helper.raises("closed descriptor", fd.fileno, fd)
    local again = spec.eventfd()
    assert.equal(number, again)
    assert.is_true(fd:close())
    assert.is_true(open(again))
    -- one that is under way when its owner is closed closes nothing else
    fd = uring.fd(again)
    assert(ring:queue(uring.sqe():prep_close(number)))
    assert.is_true(fd:close())
    again = spec.eventfd()
    ring:wait_cqe(hand.patience)
    assert.is_true(open(again))
    spec.close(again)
  end)

  -- Ways to wait on a socket or stream whose request then ends, or comes only
  -- when another task's has: the object, the wait, and what ends that request.
  local function two(kind, wait, first)
    local x, y = uring.socketpair(kind)
    return x, wait, function() y:send("x") end, first, y
  end
  local function full(wait, first, kind)
    local x, y = uring.socketpair(kind or uring.SOCK_STREAM)
    while x:try_send(("x"):rep(1000)) do end
    return x, wait, function()
      uring.daemon(function() while y:receive() do end end)
    end, first, y
  end
  local function send(x) return x:send(("x"):rep(3 << 20)) end
  local function receive(x) return x:receive(9) end
  local function chosen(event) return select(2, uring.select { event }) end

  local WAITS <const> = {
    receive = function()
      return two(uring.SOCK_STREAM, receive, receive)
    end,
    receiving = function()
      return two(uring.SOCK_STREAM, function(x)
        return chosen(x:receiving())
      end, receive)
    end,
    datagrams = function()
      return two(uring.SOCK_DGRAM, receive, receive)
    end,
    accept = function()
      local x = assert(uring.tcp.listen("127.0.0.1:0"))
      local where = x:getsockname()
      return x, x.accept, function() assert(uring.tcp.connect(where)) end,
        x.accept
    end,
    read = function()
      return two(uring.SOCK_STREAM, function(x) return x:read("l") end)
    end,
    reading = function()
      return two(uring.SOCK_STREAM, function(x)
        return chosen(x:reading("l"))
      end)
    end,
    fifo = function()
      local path = helper.tmpname()
      os.remove(path)
      assert(os.execute("mkfifo " .. path))
      local x = assert(uring.open(path, "r+"))
      local w = assert(uring.open(path, "w"))
      os.remove(path)
      return x, function() return x:read("l") end,
        function() assert(w:write("x"):flush()) end
    end,
    send = function() return full(send) end,
    ["send of a datagram"] = function()
      return full(function(x) return x:send("x") end, nil, uring.SOCK_DGRAM)
    end,
    ["send, after another"] = function() return full(send, send) end,
    sending = function()
      return full(function(x) return chosen(x:sending("x")) end)
    end,
    flush = function()
      return full(function(x)
        x:write(("x"):rep(65536), ("x"):rep(65536))
        return x:flush()
      end)
    end,
    shutdown = function()
      return full(function(x)
        x:write "y"
        return x:shutdown "write"
      end)
    end,
    sendfile = function()
      local file = assert(io.open("/proc/self/exe", "rb"))
      return full(function(x) return x:sendfile(file) end, send)
    end,
  }

  for name, make in pairs(WAITS) do
    ring_it("is retired while tasks wait: " .. name, function()
      helper.run(function()
        local x, wait, wake, first, peer = make()
        if first then helper.started(first, x) end
        local task = helper.started(wait, x)
        local other = uring.fd(spec.dup(x:fileno()))
        assert(uring.await(uring.sqe():prep_close(x:fileno())))
        local again = spec.eventfd()  -- has its number
        wake()
        local ok, result, message, errno = task:join(5 * helper.slow)
        assert.is_true(ok, result)
        assert.same({ nil, E.EBADF }, { result, errno }, message)
        x:close()
        assert.is_true(open(again))
        spec.close(again)
        other:close()
        if peer then peer:close() end
      end)
      helper.clean()
    end)
  end

  ring_it("is retired, and the iterators over it end", function()
    helper.run(function()
      for _, method in ipairs { "lines", "messages", "chunks" } do
        local x, y = uring.socketpair(uring.SOCK_STREAM)
        local task = helper.started(function()
          local got = ""
          for data in x[method](x) do got = got .. data end
          return got
        end)
        assert(uring.await(uring.sqe():prep_close(x:fileno())))
        y:send("a\nb")
        local ok, got = task:join(5 * helper.slow)
        assert.is_true(ok, got)
        assert.equal("a", got:sub(1, 1))
        x:close()
        y:close()
      end
    end)
    helper.clean()
  end)

  ring_it("is retired, which ends a loop that waits for the rest of a line",
    function()
      helper.run(function()
        local x, y = uring.socketpair(uring.SOCK_STREAM)
        local r, w = assert(uring.pipe())
        for _, ends in ipairs { { x, y }, { r, w } } do
          local task = helper.started(function()
            local lines = 0
            for _ in ends[1]:lines() do lines = lines + 1 end
            return lines
          end)
          assert(uring.await(uring.sqe():prep_close(ends[1]:fileno())))
          ends[2]:write "no whole line"
          local ok, got = task:join(5 * helper.slow)
          assert.is_true(ok, got)
          assert.equal(0, got)
          ends[1]:close()
          ends[2]:close()
        end
      end)
      helper.clean()
    end)

  ring_it("is retired before a seek, which moves no other file", function()
    helper.run(function()
      local file = assert(uring.open(helper.file(("x"):rep(1 << 17))))
      local other = assert(uring.open(helper.file "other"))
      local number = file:fileno()
      local reader = uring.spawn(file.read, file, 1 << 16)
      local seek = uring.spawn(file.seek, file, "set", 3)
      local again
      uring.spawn(function()  -- (in the turn in which they began)
        assert(uring.await(uring.sqe():prep_close(number)))
        again = uring.fd(spec.dup(other:fileno()))  -- has its number
      end):join()
      reader:join()
      local ok, at, message, errno = seek:join(5 * helper.slow)
      assert.is_true(ok, at)
      assert.same({ nil, E.EBADF }, { at, errno }, message)
      assert.equal(0, other:seek())
      file:close()
      again:close()
      other:close()
    end)
    helper.clean()
  end)

  ring_it("is the loop, of the descriptor that a host polls", function()
    helper.apart(function()  -- (which has it from then on)
      local u = require "uring"
      local number = assert(u.loop():fd())
      local fd, message, errno = u.fd(number)
      assert(fd == nil and errno == u.errno.EEXIST)
      assert(message:find("the loop owns", 1, true))
      local _, all = require "uring_spec".fds()
      assert(all[number])
    end)
  end)

  ring_it("becomes a socket that takes a uring.fd over, with its requests",
    function()
      local ring = hand.ring()
      local x, y = spec.socketpair(uring.SOCK_STREAM)
      local fd = uring.fd(x)
      local sqe = uring.sqe():prep_recv(fd, uring.buffer(1)):set_data64(1)
      ring:queue(sqe)
      local socket = assert(uring.socket(fd))
      ring:queue(sqe)
      hand.nothing(ring)
      socket:close()
      assert.equal(-E.ECANCELED, (select(2, take(ring))))
      assert.equal(-E.ECANCELED, (select(2, take(ring))))
      spec.close(y)
    end)
end)
