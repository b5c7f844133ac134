-- A socket's end: by close, while tasks wait for it, or by the collector, also
-- in the middle of a call; and what goes with it.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local cancelled = net.cancelled

after_each(net.close)
after_each(helper.clean)

-- Lua 5.5 has another word for it.
local function tune(name, value)
  if _VERSION == "Lua 5.4" then return collectgarbage("set" .. name, value) end
  return collectgarbage("param", name, value)
end

describe("giving a socket away", function()
  it("leaves the descriptor open for its new owner", function()
    local a, b = net.pair()
    local number = b:fileno()
    net.run(function()
      assert(b:write "written")
      assert(b:flush())
      assert(a:write "hello\n")
      assert.equal("hello", b:read("l", net.patience))
      assert.equal(number, b:release())
      assert.equal("uring.Socket (closed)", tostring(b))
      assert.is_true(b:close())
      helper.raises("closed socket", b.release, b)
      helper.collect()
      assert.equal(5, spec.write(number, "still"))
      assert.equal("written", a:read(7, net.patience))
      assert.equal("still", a:read(5, net.patience))
      -- and it may be a socket's again
      local again <close> = assert(uring.socket(uring.fd(number)))
      assert.equal(number, again:fileno())
    end)
  end)

  it("says EBUSY where something would be lost, and it stays a socket",
    function()
      net.run(function()
        local a, b = net.pair()
        local function busy(words)
          local message = net.fails(E.EBUSY, b:release())
          assert.truthy(message:find(words, 1, true), message)
        end
        a:write "line\nmore"
        assert.equal("line", b:read("l", net.patience))
        busy "not read"
        assert.equal("more", b:recv(nil, net.patience))
        b:write "x"
        busy "flush"
        assert.equal("x", a:read(1, net.patience))
        assert(b:flush())
        local task = helper.started(b.recv, b)
        busy "under way"
        a:send "for it"
        assert.same({ true, "for it" }, { task:join(net.patience) })
        -- a select's receive that was not chosen, and what it has brought
        assert.equal("t", (uring.select { r = b:receiving(),
          t = uring.after(0.001) }))
        busy "under way"
        a:send "late"
        net.turns()
        busy "not read"
        assert.equal("late", b:recv(nil, net.patience))
        a:close()
        b:write "lost"
        net.fails(E.EPIPE, b:flush())
        spec.close(assert(b:release()))
      end)
    end)

  it("tells an error of what was written, once", function()
    net.run(function()
      local a, b = net.pair()
      a:close()
      b:write "lost"
      net.turns()
      net.fails(E.EPIPE, b:release())
      spec.close(assert(b:release()))
    end)
  end)
end)

describe("closing a socket", function()
  -- Every wait of one task, and what it gives when another task closes.
  local waits = {
    receive = function(s) return s:receive() end,
    recv = function(s) return s:recv(1, 60) end,
    recvfrom = function(s) return s:recvfrom() end,
    recvmsg = function(s) return s:recvmsg() end,
    messages = function(s)
      for _ in s:messages() do error "none came" end
      return nil, "ended", E.EBADF
    end,
    chunks = function(s)
      for _ in s:chunks { lease = true } do error "none came" end
      return nil, "ended", E.EBADF
    end,
    send = function(s)
      return s:send(("x"):rep(10000000))
    end,
    sendmsg = function(s)
      return s:sendmsg { { data = ("x"):rep(10000000) }, { data = "y" } }
    end,
  }

  for name, wait in pairs(waits) do
    it("ends a wait of another task: " .. name, function()
      net.run(function()
        for _, pair in ipairs { net.tcp, net.pair } do
          local a, b = pair()
          local first = uring.spawn(wait, b)
          local second = uring.spawn(wait, b)
          net.turns(5)
          b:close()
          assert.equal(E.EBADF, select(4, first:join(net.patience)))
          assert.equal(E.EBADF, select(4, second:join(net.patience)))
          -- the peer learns of it at once
          while true do
            local part, why, errno = a:recv(nil, net.patience)
            assert.not_equal("timed out", why)
            if not part then
              assert.truthy(why == nil or errno == E.ECONNRESET, why)
              break
            end
          end
        end
      end)
    end)
  end

  it("ends accept, and connect", function()
    net.run(function()
      local listener = net.listener()
      local task = uring.spawn(function() return listener:accept() end)
      local other = uring.spawn(function() return listener:accept(60) end)
      net.turns()
      listener:close()
      assert.equal(E.EBADF, select(4, task:join(net.patience)))
      assert.equal(E.EBADF, select(4, other:join(net.patience)))
    end)
  end)

  it("may be done by the collector, where its task was cancelled", function()
    for _, wait in pairs(waits) do
      local x, y = uring.socketpair()
      cancelled(function() wait(y) end)
      y = nil
      helper.collect()
      net.run(function()
        while true do
          local part, why = x:recv(nil, net.patience)
          assert.not_equal("timed out", why)
          if not part then break end
        end
        x:close()
      end)
    end
  end)
end)

-- Finalizers may run whenever memory is taken, and may close the very socket
-- whose method is running.
it("a socket may be closed by a finalizer inside its call", function()
  local mode = collectgarbage "incremental"
  local pause, step = tune("pause", 0), tune("stepmul", 1000)
  local ok, why = pcall(net.run, function()
    for i = 1, 150 do
      local a, b = uring.socketpair(uring.SOCK_DGRAM)
      local way = i % 5
      for _ = 1, 3 do a:send("abc", 0) end
      setmetatable({}, { __gc = function() a:close() b:close() end })
      for _ = 1, 30 do
        local done, err = pcall(function()
          if way == 0 then
            b:receive(nil, 0)
          elseif way == 1 then
            net.first(b:messages { lease = true })
          elseif way == 2 then
            net.first(b:messages { size = 100 + i })
          elseif way == 3 then
            a:sendmsg({ data = "x", control = { fds = { 0 } } }, 0)
          else
            a:sendmsg({ { data = "x" }, { data = "y" } }, 0)
          end
          if way < 3 then a:send("abc", 0) else b:recv(nil, 0) end
        end)
        if not done then
          assert(tostring(err):find("closed", 1, true), err)
          break
        end
      end
      a:close()
      b:close()
    end
  end)
  tune("pause", pause)
  tune("stepmul", step)
  collectgarbage(mode)
  assert(ok, why)
end)

-- What is first allocated in the call sets it off, and then the number is
-- another's.
for _, lease in ipairs { "false", "true" } do
  it("a socket asks nothing of a number that a finalizer has closed, "
    .. "lease = " .. lease, function()
      helper.needs_eager_collector()
      helper.script_ok(([[
        local uring = require "uring"
        local a, b = uring.socketpair(uring.SOCK_DGRAM)
        local number = b:fileno()
        local lease = %s
        local mine, other
        uring.run(function()
          local receive = b:messages { size = 3000, lease = lease }
          setmetatable({}, { __gc = function()
            b:close()
            mine, other = uring.socketpair(uring.SOCK_DGRAM)
          end })
          collectgarbage "stop"
          collectgarbage("incremental", 100, 1000, 30)
          collectgarbage "restart"
          assert(receive() == nil)
          assert(mine:fileno() == number)
          other:send "x"
          assert(mine:recv(10, 5) == "x")
          -- the ring has no buffers of its
          assert(not lease
            or uring.loop():ring():buf_ring { bgid = 65535 })
        end)]]):format(lease))
    end)
end

it("a socket sends nothing to a number that a finalizer has closed",
  function()
    helper.needs_eager_collector()
    helper.script_ok [[
      local uring = require "uring"
      local a, b = uring.socketpair(uring.SOCK_DGRAM)
      local number = a:fileno()
      local message = { data = "x" }
      local mine, other
      uring.run(function()
        setmetatable({}, { __gc = function()
          a:close()
          mine, other = uring.socketpair(uring.SOCK_DGRAM)
        end })
        collectgarbage "stop"
        collectgarbage("incremental", 100, 1000, 30)
        collectgarbage "restart"
        local sent, _, errno = a:sendmsg(message)
        assert(sent == nil and errno == uring.errno.EBADF)
        assert(mine:fileno() == number)
        mine:send "y"
        assert(other:recv(10, 5) == "y")
      end)]]
  end)

it("a socket loses no received data when a finalizer closes it", function()
  helper.needs_eager_collector()
  helper.script_ok [[
    local uring = require "uring"
    local spec = require "uring_spec"
    local a, b = uring.socketpair(uring.SOCK_DGRAM)
    local closed
    uring.run(function()
      local receive = b:messages { lease = true }
      spec.write(a:fileno(), "one")
      assert(receive():string() == "one")
      spec.write(a:fileno(), "two")
      uring.sleep(0)
      setmetatable({}, { __gc = function()
        b:close()
        closed = true
      end })
      collectgarbage "stop"
      collectgarbage("incremental", 100, 1000, 30)
      collectgarbage "restart"
      local lease = receive()
      assert(closed and lease:string() == "two")
    end)]]
end)

it("a socket may be collected before its requests have ended", function()
  helper.script_ok [[
    local uring = require "uring"
    uring.run(function()
      local a, b = uring.socketpair(uring.SOCK_DGRAM)
      uring.select({ b:receiving(10) }, 0)  -- the request stays
      b:close()
      b = nil
      collectgarbage()
      collectgarbage()
      for _ = 1, 3 do uring.sleep(0) end
    end)]]
end)

it("a closed socket closes the descriptors that were not read", function()
  net.run(function()
    local a, b = net.pair()
    local before = helper.fds()
    uring.select({ b:receiving(10) }, 0)  -- the request stays
    assert(a:sendmsg { data = "xy", control = { fds = { a } } })
    assert.equal("x", b:recv(1, net.patience))
    assert.equal(before + 1, helper.fds())
    b:close()
    assert.equal(before - 1, helper.fds())
    a:close()
  end)
end)

describe("a socket that a uring.fd has owned", function()
  it("is the new object's alone", function()
    helper.keeps_fds(function()
      local a, b = assert(uring.socketpair())
      uring.run(function()
        local text = "an open socket"
        assert(a:sendmsg { data = "x", control = { fds = { a } } })
        local _, _, info = assert(b:receive())
        local fd = info.control.fds[1]
        local number = fd:fileno()
        local copy <close> = assert(uring.socket(fd))
        assert.equal(number, copy:fileno())
        helper.raises("closed descriptor", fd.fileno, fd)
        helper.raises("closed descriptor", uring.socket, fd)
        assert(copy:send(text))
        assert.equal(text, b:recv())
      end)
      a:close()
      b:close()
    end)
  end)

  it("works as any other socket", function()
    local fd <close> = uring.fd(spec.eventfd())
    local sock, message, errno = uring.socket(fd)
    assert.same({ nil, uring.errno.ENOTSOCK }, { sock, errno })
    assert.truthy(message:find("socket: descriptor", 1, true))
    assert.equal("number", type(fd:fileno()))
  end)
end)
