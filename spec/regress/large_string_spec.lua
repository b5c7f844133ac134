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

  it("is copied a piece at a time", function()
    local grown = tonumber(helper.script_ok [[
      local uring = require "uring"
      local function peak()
        local status <close> = io.open "/proc/self/status"
        return tonumber(status:read "a":match "VmHWM:%s*(%d+)") // 1024
      end
      local s = ("x"):rep(96 << 20)
      local before
      uring.run(function()
        local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
        local a = assert(uring.tcp.connect(listener:getsockname()))
        before = peak()
        a:send(s, 0.05)
      end)
      io.write(peak() - before)]])
    assert(grown < 48, ("%d MiB for 96"):format(grown))
  end)

  it("arrives whole, and nothing of others' comes between", function()
    net.run(function()
      local a, b = connected()
      local sizes = { 3 * MIB, 2 * MIB + 1, MIB, 5, 2 * MIB, 100000 }
      uring.scope(function(scope)
        for i, n in ipairs(sizes) do
          scope:spawn(function()
            assert.equal(n, a:send(tostring(i):rep(n)))
          end)
        end
        local left, runs, last = 0, {}, nil
        for _, n in ipairs(sizes) do left = left + n end
        while left > 0 do
          local data = assert(b:recv(nil, net.patience))
          left = left - #data
          local at = 1
          while at <= #data do
            local digit = data:sub(at, at)
            local n = #data:match("^" .. digit .. "+", at)
            at = at + n
            if digit == last then n = n + table.remove(runs).n end
            runs[#runs + 1] = { digit = digit, n = n }
            last = digit
          end
        end
        assert.equal(#sizes, #runs)
        for _, run in ipairs(runs) do
          assert.equal(sizes[tonumber(run.digit)], run.n)
        end
      end)
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

  it("that the socket's close cuts short says how much went", function()
    net.run(function()
      local a, b = connected()
      local task = uring.spawn(a.send, a, ("x"):rep(4 * MIB))
      for _ = 1, 3 do assert(b:recv(nil, net.patience)) end
      a:close()
      local ok, sent, _, errno, went = task:join()
      assert.same({ true, nil, E.EBADF }, { ok, sent, errno })
      assert(went < 4 * MIB)
    end)
  end)
end)
