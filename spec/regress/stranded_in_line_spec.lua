-- Of two tasks that wait for the data of one socket the first is woken when
-- some has come. Where it then failed to take it, for want of memory, the data
-- stayed there, and the second slept on beside it.

local faults = require "faults"
local helper = require "helper"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)

-- luacheck: globals T uring

describe("a task that waits for a socket", function()
  faulty("goes on when the task before it fails", function()
    local net = require "net"
    local listener = assert(uring.tcp.listen "127.0.0.1:0")
    local long = ("x"):rep(100)
    -- what is waited for, what brings it, and is it that?
    local kinds = {
      recv = { function(s) return s.a:recv(100) end,
        function(s) s.b:send(long) end, function(x) return x == long end },
      receive = { function(s) return s.c:receive() end,
        function(s) s.d:send(long) end, function(x) return x == long end },
      messages = { function(s)
        local next, reader, _, closer = s.c:messages()
        local _ <close> = closer
        return next(reader)
      end, function(s) s.d:send(long) end, function(x) return x == long end },
      accept = { function() return listener:accept() end,
        function(s)
          s.e = assert(uring.tcp.connect(listener:getsockname()))
        end, function(x) return x:close() end },
    }
    local failures = 0
    for name, kind in pairs(kinds) do
      local wait, bring, right = kind[1], kind[2], kind[3]
      local function trial(n)
        local s = {}
        s.a, s.b = assert(uring.socketpair())
        s.c, s.d = assert(uring.socketpair(uring.SOCK_DGRAM))
        local why, got
        local first = uring.spawn(function()
          local ok, value = pcall(wait, s)
          T.fault.alloc()
          if ok then got = value else why = value end
        end)
        local second = uring.spawn(function() got = wait(s) end)
        uring.sleep(0)
        bring(s)
        T.fault.alloc(n, 1 << 30)
        first:join()
        T.fault.alloc()
        if why then
          assert(why:find("memory", 1, true), why)
          failures = failures + 1
          assert(second:join(net.patience), name .. ": it is stranded")
        end
        assert(right(got), name)
        second:cancel()
        second:join()
        for _, socket in pairs(s) do socket:close() end
        return why
      end
      net.run(function()
        local n = 1
        while trial(n) do n = n + 1 end
      end)
    end
    assert(failures >= 4, failures)
    listener:close()
  end)
end)
