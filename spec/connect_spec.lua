-- connect: how it is refused, gives up in time, or is cancelled.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(net.close)
after_each(helper.clean)

describe("connect", function()
  it("is refused where there is no listener", function()
    net.run(function()
      local listener = net.listener()
      local address = listener:getsockname()
      listener:close()
      local message = net.fails(E.ECONNREFUSED, uring.tcp.connect(address))
      assert.truthy(message:find("connect", 1, true))
      local s = net.keep(assert(uring.socket(uring.AF_INET,
        uring.SOCK_STREAM)))
      assert.equal(3, select("#", s:connect(address)))
      net.fails(E.ENOENT, uring.unix.connect "/no/such/path")
      net.fails(E.ECONNREFUSED, uring.unix.connect "@no-such-name")
      net.fails(E.EISCONN, (select(2, net.tcp())):connect(address))
      net.fails(E.EAFNOSUPPORT, s:connect "unix:@uring-spec-of-some-length")
    end)
  end)

  it("gives up in time", function()
    net.run(function()
      -- a listener whose queue is full does not answer
      local name = "@uring-spec-full-" .. spec.getpid()
      local listener = net.keep(assert(uring.unix.listen(name, 0)))
      local clients = {}
      local errno
      for i = 1, 10 do
        local client, _, why = uring.unix.connect(name, 0.01)
        errno = why
        if not client then break end
        clients[i] = net.keep(client)
      end
      assert.equal(E.ETIME, errno)
      -- and a task that waits gets it in the end
      local waiting = uring.spawn(function()
        return uring.unix.connect(name)
      end)
      net.turns()
      for _ = 1, #clients + 1 do
        net.keep((assert(listener:accept(net.patience))))
      end
      local ok, client = waiting:join(net.patience)
      assert.truthy(ok and client)
      net.keep(client)
    end)
  end)

  it("ends when its task is cancelled, or its socket closed", function()
    helper.keeps_fds(function()
      local name = "@uring-spec-busy-" .. spec.getpid()
      local listener, s
      local clients = {}
      net.run(function()
        listener = assert(uring.unix.listen(name, 0))
        repeat
          clients[#clients + 1] = uring.unix.connect(name,
            0.01 * helper.slow)
        until #clients < 10
        while true do
          local c = uring.unix.connect(name, 0.01 * helper.slow)
          if not c then break end
          clients[#clients + 1] = c
        end
        s = assert(uring.socket(uring.AF_UNIX, uring.SOCK_STREAM))
        local task = uring.spawn(function()
          return s:connect("unix:" .. name)
        end)
        net.turns()
        s:close()
        assert.equal(E.EBADF, select(4, task:join(net.patience)))
      end)
      helper.raises("boom", uring.run, function()
        uring.spawn(function() uring.unix.connect(name) end)
        net.turns()
        error "boom"
      end)
      for _, c in ipairs(clients) do c:close() end
      listener:close()
    end)
  end)
end)
