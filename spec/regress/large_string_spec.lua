-- A large string was copied whole before the first byte of it went, which kept
-- all other tasks waiting, its own timeout among what came late. It goes in
-- pieces; and no other task's bytes come between these.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local MIB = 1 << 20

local function connected()
  local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
  local a = net.keep(assert(uring.tcp.connect(listener:getsockname())))
  return a, net.keep((assert(listener:accept(net.patience))))
end

describe("a large string", function()
  after_each(net.close)

  -- What a program takes in memory at most, in MiB, while CALL runs.
  local function grown(call, pair)
    return tonumber(helper.script_ok((([[
      local uring = require "uring"
      local function peak()
        local status <close> = io.open "/proc/self/status"
        return tonumber(status:read "a":match "VmHWM:%s*(%d+)") // 1024
      end
      local s = ("x"):rep(48 << 20)
      local before
      uring.run(function()
        local a, b = assert(uring.socketpair(PAIR))
        collectgarbage()
        local reset <close> = io.open("/proc/self/clear_refs", "w")
        reset:write "5"  -- the peak is what it takes now
        reset:flush()
        before = peak()
        CALL
        b:close()
      end)
      io.write(peak() - before)]]):gsub("%f[%u]%u%u%u%u%f[%U]", {
        CALL = call, PAIR = pair or "" }))))
  end

  for name, call in pairs {
    send = "a:send(s, 0.05)",
    sendmsg = "a:sendmsg({ data = s }, 0.05)",
    ["sendmsg, of several"] = "a:sendmsg({ iov = { s, { s, 9 } } }, 0.05)",
    ["sendmsg, in an array"] = "a:sendmsg({ {}, { data = s } }, 0.05)",
  } do
    it("is copied a piece at a time by " .. name, function()
      local size = grown(call)
      assert(size < 24, ("%d MiB for 48"):format(size))
    end)
  end

  for name, call in pairs {
    send = "a:send(s)",
    sendmsg = "a:sendmsg { data = s }",
    ["sendmsg, in an array"] = "a:sendmsg { { data = s, flags = 0 } }",
  } do
    it("is not copied for a datagram that is too long, by " .. name, function()
      local size = grown(([[
        local sent, message, errno = %s
        assert(errno == uring.errno.EMSGSIZE, message)]]):format(call),
        "uring.SOCK_DGRAM")
      assert(size < 24, ("%d MiB for 48"):format(size))
    end)
  end

  it("arrives whole, with no bytes of other tasks in between", function()
    net.run(function()
      local a, b = connected()
      local sizes = { 3 * MIB, 2 * MIB + 1, MIB, 5, 2 * MIB, 100000 }
      local ways = {
        function(s) return a:send(s) end,
        function(s) return a:sendmsg { data = s } end,
        function(s)
          return a:sendmsg { iov = { s:sub(1, 3), { s, 3 } } }
        end,
        function(s) return a:sendmsg { { data = s } } == 1 and #s end,
      }
      uring.scope(function(scope)
        local left, runs, last, n = 0, {}, nil, 0
        for _, way in ipairs(ways) do
          for _, size in ipairs(sizes) do
            local digit = ("%c"):format(65 + n)
            left, n = left + size, n + 1
            scope:spawn(function()
              assert.equal(size, way(digit:rep(size)))
            end)
          end
        end
        while left > 0 do
          local data = assert(b:recv(nil, net.patience))
          left = left - #data
          local at = 1
          while at <= #data do
            local digit = data:byte(at)
            local run = #data:match("^" .. string.char(digit) .. "+", at)
            at = at + run
            if digit == last then run = run + table.remove(runs).n end
            runs[#runs + 1] = { digit = digit, n = run }
            last = digit
          end
        end
        assert.equal(n, #runs)
        for _, run in ipairs(runs) do
          assert.equal(sizes[(run.digit - 65) % #sizes + 1], run.n)
        end
      end)
    end)
  end)

  it("has its control messages once, at its beginning", function()
    net.run(function()
      local a, b = assert(uring.socketpair())
      net.keep(a)
      net.keep(b)
      local sender = uring.spawn(a.sendmsg, a, {
        iov = { ("x"):rep(MIB + 5), ("y"):rep(MIB) },
        control = { fds = { a } } })
      local got, fds = 0, 0
      while got < 2 * MIB + 5 do
        local data, _, info = assert(b:receive(net.patience))
        local control = info and info.control
        fds = fds + (control and control.fds and #control.fds or 0)
        assert(fds == 1, got)
        got = got + #data
      end
      assert.same({ true, 2 * MIB + 5 }, { sender:join() })
    end)
  end)

  it("that is cut short by its timeout says how much went", function()
    net.run(function()
      local a, b = connected()
      local s = ("x"):rep(64 * MIB)
      local nothing, _, errno, sent, of_next = a:sendmsg(
        { { data = "abc" }, { iov = { s, s } } }, 0.05)
      assert.same({ nil, E.ETIME, 1 }, { nothing, errno, sent })
      a:close()
      local got = 0
      for data in b:chunks() do got = got + #data end
      assert.equal(3 + of_next, got)
    end)
  end)

  it("that is made smaller meanwhile is refused", function()
    net.run(function()
      local a, b = connected()
      local message = { data = ("x"):rep(64 * MIB) }
      local task = uring.spawn(pcall, a.sendmsg, a, message)
      uring.sleep(0)
      message.data = "x"
      local next = uring.spawn(a.send, a, "y")
      local data
      repeat data = b:recv(nil, net.patience) until data:find "y"
      local _, ok, why = task:join()
      assert.is_false(ok)
      assert.truthy(why:find("it was made smaller meanwhile", 1, true), why)
      assert.same({ true, 1 }, { next:join() })
    end)
  end)

  -- How the sender may end, while the peer has read some of it.
  local ends = {
    ["its timeout"] = function() end,
    ["a cancel"] = function(task) task:cancel() end,
    ["the end of its coroutine"] = function(_, of)
      coroutine.close(of.co)
    end,
  }
  for name, finish in pairs(ends) do
    it("that is cut short by " .. name .. " leaves the turn to the next",
    function()
      net.run(function()
        for _, turns in ipairs { 0, 1, 2, 4, 8 } do
          local a, b = connected()
          local of = {}
          local limit = name == "its timeout" and 0.002 * turns or nil
          local first = uring.spawn(pcall, uring.scope, function(scope)
            scope:spawn(function()
              of.co = coroutine.running()
              return a:send(("x"):rep(4 * MIB), limit)
            end)
          end)
          uring.sleep(0)
          uring.sleep(0)
          local second = uring.spawn(a.send, a, "y", net.patience)
          for _ = 1, turns do
            b:recv(nil, 0.001)
            uring.sleep(0)
          end
          if of.co and coroutine.status(of.co) == "suspended" then
            finish(first, of)
          end
          local seen
          while not seen do
            local data = assert(b:recv(nil, net.patience))
            seen = data:find("y", 1, true)
          end
          first:join()
          assert.same({ true, 1 }, { second:join() })
          a:close()
          b:close()
        end
      end)
    end)
  end

  it("that was cut short goes before what waited, its task's next after it",
    function()
      net.run(function()
        local a, b = connected()
        local large, over = ("x"):rep(64 * MIB), false
        uring.scope(function(scope)
          scope:spawn(function()
            local _, _, errno = a:send(large, 0.05)
            over = true
            assert.equal(E.ETIME, errno)
            assert.equal(3, a:send "own")
            a:close()
          end)
          scope:spawn(function() assert.equal(6, a:send "other ") end)
          while not over do uring.sleep(0.01) end
          local last = ""
          for data in b:chunks() do last = (last .. data):sub(-9) end
          assert.equal("other own", last)
        end)
      end)
    end)

  it("that the socket's close cuts short says how much went", function()
    net.run(function()
      local a, b = connected()
      assert(a:setsockopt("SO_SNDBUF", 100000))
      assert(b:setsockopt("SO_RCVBUF", 100000))
      local task = uring.spawn(a.send, a, ("x"):rep(4 * MIB))
      for _ = 1, 3 do assert(b:recv(nil, net.patience)) end
      a:close()
      local ok, sent, _, errno, went = task:join()
      assert.same({ true, nil, E.EBADF }, { ok, sent, errno })
      assert(went < 4 * MIB)
    end)
  end)
end)
