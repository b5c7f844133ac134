-- socket:try_receive and socket:try_send: they never wait, and work outside of
-- tasks.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local patience <const> = net.patience

after_each(function()
  net.close()
  helper.idle_loop()
end)

local function nothing(...)
  local message = net.fails(E.EAGAIN, ...)
  assert.truthy(message:find "socket %(fd", message)
end

-- Tries until something has come. (In a task or outside.)
local function eventually(f, ...)
  local limit = os.time() + patience + 1
  repeat
    local got = table.pack(f(...))
    if got[1] ~= nil or got[3] ~= E.EAGAIN then
      return table.unpack(got, 1, got.n)
    end
  until os.time() > limit
  error("it did not happen in time", 2)
end

describe("try_receive", function()
  it("gives what receive gives, outside of tasks", function()
    local a, b = net.pair()
    nothing(b:try_receive())
    assert.equal(5, a:try_send "hello")
    local data, from, info = b:try_receive(3)
    assert.same({ "hel", nil, "table" }, { data, from, type(info) })
    assert.equal("lo", (b:try_receive()))
    assert.equal("", (b:try_receive(0)))
    nothing(b:try_receive())
    a:close()
    assert.same({ n = 1 }, table.pack(b:try_receive()))
  end)

  it("takes what a request has received on a ring that tells no task work",
    function()
      helper.script_ok [[
        local uring = require "uring"
        uring.loop { flags = uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN }
        uring.run(function()
          local a, b = assert(uring.socketpair())
          assert(not uring.select({ b:receiving() }, 0.001))
          assert(a:try_send "hello" == 5)
          assert(b:try_receive() == "hello")
        end)
      ]]
    end)

  it("gives datagrams with their senders, and descriptors", function()
    local a, to = net.udp()
    local b = net.udp()
    nothing(a:try_receive())
    net.run(function()
      assert(b:sendto("one", to))
      assert(b:sendto("two!", to))
    end)
    local data, from, info = eventually(a.try_receive, a)
    assert.same({ "one", b:getsockname(), false },
      { data, from, info.truncated })
    data, from, info = a:try_receive(2)
    assert.same({ "tw", b:getsockname(), true },
      { data, from, info.truncated })
    nothing(a:try_receive())
    local x, y = net.pair(uring.SOCK_DGRAM)
    helper.keeps_fds(function()
      local file <close> = assert(io.open "/dev/null")
      net.run(function()
        assert(x:sendmsg { data = "d", control = { fds = { file } } })
      end)
      data, from, info = y:try_receive()
      assert.same({ "d", nil }, { data, from })
      info.control.fds[1]:close()
    end)
  end)

  it("takes the store first, and what a receive was in flight for",
    function()
      local a, b = net.pair()
      net.run(function()
        a:write "line\nrest"
        assert.equal("line", b:read("l", patience))
        assert.equal("rest", (b:try_receive()))
        net.fails(E.ETIME, b:recv(nil, 0.001))
        -- a select's receive stays in flight
        assert.equal("t", (uring.select { s = b:receiving(),
          t = uring.after(0.001) }))
        assert(a:send "late")
        assert.equal("late", (eventually(b.try_receive, b)))
        net.fails(E.ETIME, b:recv(nil, 0.001))
        assert(a:send "x")
      end)
      assert.equal("x", (eventually(b.try_receive, b)))
    end)

  it("leaves to a waiting task what is its", function()
    net.run(function()
      local a, b = net.pair()
      local task = uring.spawn(b.recv, b, 10, patience)
      net.turns()
      nothing(b:try_receive())
      spec.write(a:fileno(), "for it")
      nothing(b:try_receive())
      assert.same({ true, "for it" }, { task:join(patience) })
      local listener = net.listener()
      local accepts = uring.spawn(listener.accept, listener, patience)
      net.turns()
      net.fails(E.EINVAL, listener:try_receive())
      accepts:cancel()
    end)
  end)

  it("takes nothing of what a receive is about to give", function()
    net.run(function()
      local a, b = net.pair()
      local _ <close> = helper.finally(function()
        collectgarbage("incremental", 200, 100, 13)
        collectgarbage "restart"
      end)
      -- the collector runs in the next allocation, which is the string's
      collectgarbage("incremental", 1, 1000, 30)
      local tried, refused = 0, 0
      for i = 1, 20 do
        local text = ("%03d"):format(i):rep(400)
        assert(a:send(text))
        assert(b:peek(#text, patience))
        collectgarbage()
        collectgarbage "stop"
        setmetatable({}, { __gc = function()
          tried = tried + 1
          if select(3, b:try_receive()) == E.EAGAIN then
            refused = refused + 1
          end
        end })
        collectgarbage "restart"
        local got = b:recv(nil, patience)
        collectgarbage()
        assert.is_true(got == text)
      end
      assert.same({ 20, 20 }, { tried, refused })
    end)
  end)

  it("tells errors, and the end after a shutdown", function()
    local a = net.udp()
    assert.is_true(a:shutdown "read")
    assert.same({ n = 1 }, table.pack(a:try_receive()))
    local s = net.keep(assert(uring.socket(uring.AF_INET,
      uring.SOCK_STREAM)))
    net.fails(E.ENOTCONN, s:try_receive())
    s:close()
    assert.has_error(function() s:try_receive() end)
    assert.has_error(function() a:try_receive(-1) end)
  end)
end)

describe("try_send", function()
  it("sends what there is room for, and says how much", function()
    local a, b = net.pair()
    local sent = 0
    local chunk <const> = ("x"):rep(100000)
    while true do
      local n, message, errno = a:try_send(chunk)
      if not n then
        nothing(n, message, errno)
        break
      end
      assert.truthy(n <= #chunk)
      sent = sent + n
    end
    assert.truthy(sent > 0)
    local got = 0
    while got < sent do got = got + #assert(b:try_receive()) end
    assert.equal(3, a:try_send(uring.buffer "buf"))
    assert.equal("buf", (b:try_receive()))
    b:close()
    local message = net.fails(E.EPIPE, a:try_send "x")
    assert.truthy(message:find "send on socket", message)
    a:close()
    assert.has_error(function() a:try_send "x" end)
    assert.has_error(function() net.udp():try_send(1) end)
  end)

  it("goes after what was written or is being sent", function()
    net.run(function()
      local a, b = net.pair()
      a:write "first "
      assert.equal(6, eventually(a.try_send, a, "second"))
      assert.equal("first second", b:read(12, patience))
      net.fill(a)
      local task = uring.spawn(a.send, a, "sent ", patience)
      net.turns()
      nothing(a:try_send "tried")
      uring.spawn(function()
        b:limit(math.huge)
        b:read_until("sent ", 1 << 30, patience)
      end)
      assert(task:join(patience))
      assert.equal(5, a:try_send "tried")
    end)
  end)

  it("sends datagrams, of any family", function()
    net.run(function()
      local a, b = net.udp_pair()
      assert.equal(2, b:try_send "up")
      assert.equal("up", (a:recv(nil, patience)))
      net.fails(E.EDESTADDRREQ, a:try_send "x")
      local x, y = net.pair(uring.SOCK_DGRAM)
      local n = 0
      while x:try_send "datagram" do n = n + 1 end
      for _ = 1, n do assert.equal("datagram", (y:try_receive())) end
      nothing(y:try_receive())
    end)
  end)
end)
