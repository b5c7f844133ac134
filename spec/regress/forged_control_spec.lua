-- recvmsg_out took over the descriptors that bytes name which no recvmsg had
-- written: their sender chose which of the program's were closed.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("descriptors in bytes that a peer has sent", function()
  after_each(function()
    hand.close()
    sockets.close()
  end)

  -- As recvmsg_multishot would write it, with this one.
  local function forged(fd)
    return string.pack("=I4I4I4I4", 0, 20, 0, 0)
      .. string.pack("=I8i4i4i4i4", 20, uring.SOL_SOCKET, uring.SCM_RIGHTS,
        fd, 0)
  end

  local function stay_raw(bytes, msg, fd)
    local control = uring.recvmsg_out(bytes, msg).control
    assert.is_nil(control.fds)
    assert.same({ uring.SOL_SOCKET, uring.SCM_RIGHTS,
      string.pack("=i4", fd) }, control[1])
  end

  it("are not taken for descriptors of the process", function()
    helper.keeps_fds(function()
      local ring = hand.ring()
      local group = assert(ring:buf_ring { entries = 4, size = 100 })
      local a, b = sockets.pair()
      local r, w = spec.pipe()
      local msg = uring.msghdr { controllen = 24 }
      sockets.write(a, forged(w))
      ring:queue(uring.sqe():prep_recv(b):set_buf_group(group:bgid()))
      local _, res, flags = ring:wait_cqe(hand.patience)
      local lease = assert(group:lease(res, flags))
      stay_raw(lease, msg, w)
      stay_raw(uring.buffer(forged(w)), msg, w)
      stay_raw(forged(w), msg, w)
      lease:release()
      helper.collect()
      assert.equal(1, spec.write(w, "x"))
      spec.close(r)
      spec.close(w)
      hand.close()
      sockets.close()
    end)
  end)

  it("are not taken for such where a msghdr's sizes are not the message's",
    function()
      helper.needs "recvmsg_multishot"
      helper.keeps_fds(function()
        local ring = hand.ring()
        local group = assert(ring:buf_ring { entries = 4, size = 200 })
        local a, b = sockets.pair(uring.SOCK_DGRAM)
        local r, w = spec.pipe()
        ring:queue(uring.sqe():prep_recvmsg_multishot(b, uring.msghdr {
          namelen = 16, controllen = 32 }):set_buf_group(group:bgid()))
        ring:submit()
        sockets.write(a, string.pack("=I8i4i4i4i4", 20, uring.SOL_SOCKET,
          uring.SCM_RIGHTS, w, 0):rep(4))
        local _, res, flags = ring:wait_cqe(hand.patience)
        local lease = assert(group:lease(res, flags))
        for _, controllen in ipairs { 48, 56, 72, 96 } do
          local out = uring.recvmsg_out(lease,
            uring.msghdr { controllen = controllen })
          assert.is_nil(out.control.fds)
        end
        lease:release()
        assert.equal(1, spec.write(w, "x"))
        spec.close(r)
        spec.close(w)
        hand.close()
        sockets.close()
      end)
    end)
end)
