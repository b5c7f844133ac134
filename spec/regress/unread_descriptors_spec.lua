-- Descriptors that came with a message into a provided buffer stayed open when
-- the buffer was not taken apart.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

-- n messages with two descriptors each come to a multishot; f does the rest.
local function received(n, f)
  helper.needs "recvmsg_multishot"
  uring.loop()  -- whose ring is made once
  helper.keeps_fds(function()
    local a, b = assert(uring.socketpair(uring.SOCK_DGRAM))
    local ring <close> = assert(uring.ring { entries = 8 })
    local group = assert(ring:buf_ring { entries = 8, size = 256 })
    local op = ring:queue(uring.sqe():prep_recvmsg_multishot(b,
      uring.msghdr { controllen = 64 }):set_buf_group(group:bgid()))
    assert(ring:submit())
    uring.run(function()
      for _ = 1, n do
        assert(a:sendmsg { data = "x", control = { fds = { a, b } } })
      end
    end)
    f(ring, group, op)
    a:close()
    b:close()
  end)
end

describe("descriptors that were received and not read are closed", function()
  it("when a lease ends", function()
    received(3, function(ring, group)
      for i = 1, 3 do
        local _, res, flags = assert(ring:wait_cqe(5 * helper.slow))
        local lease = assert(group:lease(res, flags))
        if i > 1 then lease:release() end  -- the first is collected
      end
    end)
  end)

  it("when a string is made of the buffer", function()
    received(1, function(ring, group)
      local _, res, flags = assert(ring:wait_cqe(5 * helper.slow))
      assert(group:string(res, flags))
    end)
  end)

  it("when their ring is closed", function()
    received(2, function(ring)
      assert(ring:submit_and_wait(2, 5 * helper.slow))
    end)
  end)

  it("while those that were read stay open", function()
    received(1, function(ring, group)
      local _, res, flags = assert(ring:wait_cqe(5 * helper.slow))
      local lease = assert(group:lease(res, flags))
      local out = assert(uring.recvmsg_out(lease,
        uring.msghdr { controllen = 64 }))
      lease:release()
      assert.equal(2, #out.control.fds)
      for _, fd in ipairs(out.control.fds) do
        assert.equal("string", type(uring.socket(fd):getsockopt "SO_PEERCRED"))
      end
    end)
  end)
end)
