-- Preps: a malloc that fails, and a kernel that lacks what they ask for; see
-- spec/support/faults.lua.

local faults = require "faults"
local helper = require "helper"

local faulty = faults.tests(it)

-- luacheck: globals T uring

describe("a prep", function()
  faulty("that finds no memory leaves the sqe as it was", function()
    local sqe, buffer = uring.sqe(), uring.buffer(10)
    for _, call in ipairs { { "write", 0, "hello" }, { "openat", 0, "x" },
        { "timeout", 1 }, { "connect", 0, "127.0.0.1:1" },
        { "sendto", 0, "hello", nil, 0, "127.0.0.1:1" },
        { "sendto", 0, buffer, nil, 0, "127.0.0.1:1" } } do
      local prep = sqe["prep_" .. call[1]]
      sqe:prep_read(5, buffer, 7, 3)
      local before = tostring(sqe)
      T.fault.malloc(1)
      local ok, message = pcall(prep, sqe, table.unpack(call, 2, 6))
      T.fault.malloc()
      assert(not ok and message:find("not enough memory for %d+ bytes"),
        message)
      T.equal(before, tostring(sqe))
      prep(sqe, table.unpack(call, 2, 6))
    end
    sqe:prep_nop()
    buffer:resize(20)
    buffer:close()
  end)
end)


-- (a request is made to fail by a NOP that does)
describe("what asks for more than the kernel has", function()
  local function failing(name, f)
    it(name, function()
      helper.needs_linux(6, 10)
      helper.apart(f, faults.old)
    end)
  end

  failing("names the first kernel with it, of flags as of opcodes", function()
    local c, E = uring, T.E
    local a, b = assert(uring.socketpair())
    local _ <close>, buffer = a, uring.buffer(64)
    local _ <close>, message = b, uring.msghdr { iov = { "x" } }
    local function sqe(name, ...)
      local q = uring.sqe()
      return q["prep_" .. name](q, ...)
    end
    local MANY = c.IORING_RECV_MULTISHOT
    local asked = {
      { "6.3", sqe("msg_ring", 0, 1, 2, c.IORING_MSG_RING_FLAGS_PASS) },
      { "6.3", sqe("msg_ring_cqe_flags", 0, 1, 2, 0, 4) },
      { "6.4", sqe("timeout", 60, 0, c.IORING_TIMEOUT_MULTISHOT) },
      { "6.6", sqe("cancel", nil, c.IORING_ASYNC_CANCEL_OP) },
      { "6.6", sqe("cancel_fd", a, c.IORING_ASYNC_CANCEL_OP) },
      { "6.6", sqe("cancel", nil, c.IORING_ASYNC_CANCEL_ANY
        | c.IORING_ASYNC_CANCEL_USERDATA) },
      { "6.7", sqe("cmd_sock", c.SOCKET_URING_OP_SIOCINQ, a), E.EOPNOTSUPP },
      { "6.9", sqe("ftruncate", 0, 1) },
      { "6.2", sqe("send_zc", a, buffer, 8, 0,
        c.IORING_SEND_ZC_REPORT_USAGE) },
      { "6.15", sqe("sendmsg_zc_fixed", a, uring.msghdr { iov = { buffer } },
        0, 0) },
      { "6.10", sqe("send_bundle", a):set_buf_group(1) },
      { "6.10", sqe("recv_multishot", a):set_buf_group(1)
        :set_ioprio(MANY | c.IORING_RECVSEND_BUNDLE) },
      { "6.17", sqe("recv_multishot", a):set_buf_group(1):set_optlen(9) },
      { "6.10", sqe("accept", a):set_ioprio(c.IORING_ACCEPT_POLL_FIRST) },
      { "6.10", sqe("accept", a):set_ioprio(c.IORING_ACCEPT_DONTWAIT) },
      { "6.14", sqe("writev2", a, { buffer }, 0, c.RWF_DONTCACHE),
        E.EOPNOTSUPP },
      { "6.9", sqe("readv2", a, { buffer }, 0, c.RWF_NOAPPEND), E.EOPNOTSUPP },
      { "6.18", sqe("write", a, "x"):set_rw_flags(c.RWF_NOSIGNAL),
        E.EOPNOTSUPP },
      -- what every kernel has is what it was
      { nil, sqe("send_zc", a, buffer, 8) },
      { nil, sqe("sendmsg", a, message) },
      { nil, sqe("accept", a):set_ioprio(c.IORING_ACCEPT_POLL_FIRST)
        :set_ioprio(0) },
      { nil, sqe("write", a, "x"):set_rw_flags(c.RWF_NOSIGNAL)
        :set_rw_flags(0) },
      { nil, sqe("recv_multishot", a):set_buf_group(1):set_optlen(9)
        :set_optlen(0) },
    }
    uring.run(function()
      local ring = uring.loop():ring()
      for i, row in ipairs(asked) do
        local since, q, errno = row[1], row[2], row[3] or E.EINVAL
        T.fault.refuse(q.opcode, errno)
        local op = assert(ring:queue(q))
        local res, why, code = op:await(60)
        assert(res == nil and code == errno, why)
        local needs = since and ("needs Linux %s (this is 6.1)"):format(since)
        if why:match "needs.*" ~= needs then
          error(("%d: %s expected: %s"):format(i, needs, why))
        end
      end
    end)
  end)

  it("is IOU_PBUF_RING_INC before 6.12, and else min_left", function()
    helper.needs_ring()
    local function refused(why, with)
      T.fault.inject { fn = "register", err = T.E.EINVAL, opcode = 22 }
      local group, message, errno = uring.ring():buf_ring {
        flags = uring.IOU_PBUF_RING_INC, min_left = with and 9 or nil }
      assert(group == nil and errno == T.E.EINVAL)
      assert(message:find(why, 1, true), message)
    end
    for release, why in pairs { ["6.1.0"] = "needs Linux 6.12",
        ["6.12.0"] = "takes no min_left" } do
      helper.apart(refused, (faults.old:gsub("6%.1%.0", release)), why, "with")
    end
    helper.apart(refused, faults.old, "needs Linux 6.12")
  end)

  failing("says so of register_sync_cancel, too", function()
    local ring = assert(uring.ring())
    for _, flags in ipairs { uring.IORING_ASYNC_CANCEL_OP,
        uring.IORING_ASYNC_CANCEL_USERDATA } do
      T.fault.inject { fn = "register", err = T.E.EINVAL, opcode = 24 }
      local n, why, errno = ring:register_sync_cancel {
        flags = flags | uring.IORING_ASYNC_CANCEL_ANY }
      assert(n == nil and errno == T.E.EINVAL)
      assert(why:find("needs Linux 6.6", 1, true), why)
    end
  end)
end)
