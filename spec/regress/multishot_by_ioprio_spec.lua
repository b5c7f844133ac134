-- A multishot that was made by set_ioprio was not known as one: awaited, it
-- lost all its results but the last, with the descriptors and buffers that
-- came with them; and one that set_ioprio had made a single shot was refused.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"

local it = helper.needs_ring(it)
local RECV, ACCEPT = uring.IORING_RECV_MULTISHOT,
  uring.IORING_ACCEPT_MULTISHOT

local function sqe()
  return uring.sqe()
end

describe("a multishot by set_ioprio", function()
  after_each(function()
    hand.close()
    sockets.close()
  end)

  it("is not for an await", function()
    local listener = sockets.listener()
    local a, b = sockets.pair()
    local ring = hand.ring()
    sockets.write(a, "x")
    helper.run(function()
      for _, s in ipairs {
        sqe():prep_accept(listener):set_ioprio(ACCEPT),
        sqe():prep_recv(b, nil):set_buf_group(1):set_ioprio(RECV),
        sqe():prep_recvmsg(b, uring.msghdr {}):set_ioprio(RECV),
        sqe():prep_send(b, "x"):set_ioprio(uring.IORING_RECVSEND_BUNDLE),
      } do
        helper.raises("queue", uring.await, s, 0.2)
        helper.raises("queue", ring.await, ring, s, 0.2)
        helper.raises("queue", ring.await_chain, ring, { s }, 0.2)
        helper.raises("queue", ring.awaiting, ring, s)
      end
    end)
  end)

  it("is a single request again when the bit is cleared", function()
    helper.needs "recv_multishot"
    local a, b = sockets.pair()
    local listener, address = sockets.listener()
    local ring = hand.ring()
    helper.run(function()
      local group = assert(ring:buf_ring { entries = 4, size = 100 })
      sockets.write(a, "one")
      local res, flags = ring:await(sqe():prep_recv_multishot(b)
        :set_buf_group(group:bgid()):set_ioprio(0), hand.patience)
      assert.equal("one", group:string(res, flags))
      local client <close> = assert(uring.tcp.connect(address))
      assert.truthy(client)
      local fd = assert(ring:await(sqe():prep_multishot_accept(listener)
        :set_ioprio(0), hand.patience))
      uring.fd(fd):close()
    end)
  end)

  it("goes on after its first completion", function()
    helper.needs "recv_multishot"
    local a, b = sockets.pair(uring.SOCK_DGRAM)
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 4, size = 200 })
    local msg = uring.msghdr {}
    local op = assert(ring:queue(sqe():prep_recvmsg(b, msg)
      :set_flags(uring.IOSQE_BUFFER_SELECT):set_buf_group(group:bgid())
      :set_ioprio(RECV)))
    for _, text in ipairs { "one", "two" } do
      sockets.write(a, text)
      local _, res, flags = hand.take(ring)
      assert.is_true(flags & uring.IORING_CQE_F_MORE ~= 0)
      local lease <close> = assert(group:lease(res, flags))
      assert.equal(text, assert(uring.recvmsg_out(lease, msg)).payload)
    end
    assert(op:cancel())
    hand.take(ring)
  end)
end)
