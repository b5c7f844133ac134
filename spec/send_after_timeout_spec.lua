-- A task keeps a mark of a wait that ended by its timeout. A send that needs
-- no wait of its own must not take that mark for its own timeout.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("a send after a wait that has timed out", function()
  after_each(net.close)

  it("sends the rest of what a stream took in part at once", function()
    net.run(function()
      for _, pair in ipairs { net.tcp, net.pair } do
        local a, b = pair()
        a:setsockopt("SO_SNDBUF", 4096)
        local text = net.bytes(60000)
        local reader = uring.spawn(net.read_all, b)
        for _ = 1, 20 do
          uring.sleep(0.001)
          assert.equal(#text, (assert(a:send(text))))
        end
        a:shutdown "write"
        assert.equal(text:rep(20), (select(2, reader:join())))
      end
    end)
  end)

  it("tells the kernel's error, and not that wait's", function()
    local output = helper.script_ok [[
      local spec = require "uring_spec"
      local uring = require "uring"
      local E = uring.errno
      uring.run(function()
        local stream = assert(uring.socketpair(uring.SOCK_STREAM))
        local datagrams = assert(uring.socketpair(uring.SOCK_DGRAM))
        local function fails(socket, method, what)
          uring.sleep(0.001)
          local n, why, errno = socket[method](socket, what)
          assert(n == nil and errno == E.ECANCELED, why)
        end
        if not spec.forbid("sendto", E.ECANCELED) then
          io.write "no filters"
          return
        end
        assert(spec.forbid("sendmsg", E.ECANCELED))
        fails(stream, "send", "x")
        fails(datagrams, "send", "x")
        fails(datagrams, "sendmsg", { data = "x" })
      end)]]
    if output == "no filters" then
      helper.skip "needs a kernel with seccomp filters"
    end
  end)
end)
