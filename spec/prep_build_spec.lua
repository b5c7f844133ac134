-- The rows that preps are made of: what each puts into an SQE, which is what
-- liburing's own prep of the name does; and what they share.

local helper = require "helper"
local uring = require "uring"

local needs_ring = helper.needs_ring(it)

local FIELDS <const> = { "opcode", "flags", "ioprio", "fd", "off", "len",
  "rw_flags", "user_data", "buf_index", "buf_group", "personality",
  "file_index", "addr3", "addr" }

-- The fields of an SQE that are not 0 (fd: not -1), nor hidden.
local function fields(sqe)
  local found = {}
  for _, field in ipairs(FIELDS) do
    local usual = field == "fd" and -1 or 0
    found[field] = sqe[field] ~= usual and sqe[field] or nil
  end
  return found
end

local buffer = uring.buffer(10)
local out = uring.msghdr { iov = { "hello" } }
local into = uring.msghdr { iov = { uring.buffer(10) }, namelen = 128 }
local ANY <const> = uring.IORING_FILE_INDEX_ALLOC
local CLOEXEC <const> = 0x80000     -- O_CLOEXEC, SOCK_CLOEXEC
local CMSG_CLOEXEC <const> = 0x40000000
local FIXED_FILE <const>, BUFFER_SELECT <const> = 1, 32

-- Each name, opcode, the fields that are to be found, and the arguments.
-- (A ring makes what names an operation: see below.)
local WIRE <const> = {
  { "nop", "NOP", {} },
  { "timeout", "TIMEOUT", { len = 1, off = 2, rw_flags = 4 }, 1.5, 2, 4 },
  { "timeout", "TIMEOUT", { len = 1 }, 0 },
  { "poll_add", "POLL_ADD", { fd = 3, rw_flags = 5 }, 3, 5 },
  { "poll_multishot", "POLL_ADD", { fd = 3, rw_flags = 5, len = 1 }, 3, 5 },
  { "cancel", "ASYNC_CANCEL", { rw_flags = 4 }, nil, 4 },
  { "cancel", "ASYNC_CANCEL", { rw_flags = 32, len = 7 }, nil, 32, 7 },
  { "cancel_fd", "ASYNC_CANCEL", { fd = 3, rw_flags = 3 }, 3, 1 },

  { "openat", "OPENAT", { fd = 3, rw_flags = CLOEXEC | 1, len = 420 }, 3, "x",
    1, 420 },
  { "openat", "OPENAT", { fd = -100, rw_flags = CLOEXEC }, -100, "x" },
  { "openat_direct", "OPENAT", { fd = 3, rw_flags = 1, file_index = 6 }, 3,
    "x", CLOEXEC | 1, 0, 5 },
  { "openat_direct", "OPENAT", { fd = 3, rw_flags = 1, len = 1,
    file_index = ANY }, 3, "x", 1, 1, ANY },
  { "read", "READ", { fd = 3, len = 4, off = 5 }, 3, buffer, 4, 5, 6 },
  { "read", "READ", { fd = 3, len = 10, off = -1 }, 3, buffer },
  { "write", "WRITE", { fd = 3, len = 4, off = 5 }, 3, "hello", 4, 5, 1 },
  { "write", "WRITE", { fd = 3, len = 10, off = -1 }, 3, buffer },
  { "readv", "READV", { fd = 3, len = 2, off = 5 }, 3, { buffer, buffer },
    5 },
  { "readv2", "READV", { fd = 3, len = 1, off = -1, rw_flags = 8 }, 3,
    { buffer }, nil, 8 },
  { "writev", "WRITEV", { fd = 3, len = 2, off = 5 }, 3, { buffer, "x" }, 5 },
  { "writev2", "WRITEV", { fd = 3, len = 1, rw_flags = 2 }, 3,
    { "x" }, 0, 2 },
  { "read_fixed", "READ_FIXED", { fd = 3, len = 4, off = 5, buf_index = 6,
    buf_group = 6 }, 3, buffer, 4, 5, 6, 1 },
  { "write_fixed", "WRITE_FIXED", { fd = 3, len = 4, off = 5, buf_index = 6,
    buf_group = 6 }, 3, buffer, 4, 5, 6, 1 },
  { "readv_fixed", "READV_FIXED", { fd = 3, len = 1, off = 5, rw_flags = 8,
    buf_index = 6, buf_group = 6 }, 3, { buffer }, 5, 8, 6 },
  { "writev_fixed", "WRITEV_FIXED", { fd = 3, len = 1, off = 5, rw_flags = 2,
    buf_index = 6, buf_group = 6 }, 3, { buffer }, 5, 2, 6 },
  { "read_multishot", "READ_MULTISHOT", { fd = 3, len = 4, off = -1,
    buf_group = 7, buf_index = 7, flags = BUFFER_SELECT }, 3, 4, -1, 7 },
  { "fsync", "FSYNC", { fd = 3, rw_flags = 1 }, 3, 1 },
  { "sync_file_range", "SYNC_FILE_RANGE", { fd = 3, len = 4, off = 5,
    rw_flags = 2 }, 3, 4, 5, 2 },
  { "fallocate", "FALLOCATE", { fd = 3, len = 1, off = 5, addr = 6 }, 3, 1, 5,
    6 },
  { "ftruncate", "FTRUNCATE", { fd = 3, off = 5 }, 3, 5 },
  { "fadvise", "FADVISE", { fd = 3, off = 5, len = 6, rw_flags = 4 }, 3, 5, 6,
    4 },
  { "fadvise64", "FADVISE", { fd = 3, off = 5, addr = 6, rw_flags = 4 }, 3, 5,
    6, 4 },
  { "splice", "SPLICE", { fd = 4, off = 6, len = 7, rw_flags = 1, addr = 5,
    file_index = 3 }, 3, 5, 4, 6, 7, 1 },
  { "tee", "TEE", { fd = 4, len = 7, rw_flags = 2, file_index = 3 }, 3, 4, 7,
    2 },
  { "epoll_ctl", "EPOLL_CTL", { fd = 3, len = 1, off = 4 }, 3, 4, 1, 1, 5 },
  { "epoll_wait", "EPOLL_WAIT", { fd = 3, len = 2, rw_flags = 1 }, 3,
    uring.buffer(32), 2, 1 },

  { "open", "OPENAT", { fd = -100, rw_flags = CLOEXEC | 1, len = 420 }, "x", 1,
    420 },
  { "open_direct", "OPENAT", { fd = -100, rw_flags = 1, len = 1,
    file_index = 6 }, "x", CLOEXEC | 1, 1, 5 },
  { "openat2", "OPENAT2", { fd = 3, len = 24 }, 3, "x", { flags = 1 } },
  { "openat2_direct", "OPENAT2", { fd = 3, len = 24, file_index = 6 }, 3, "x",
    {}, 5 },
  { "statx", "STATX", { fd = 3, len = 0x7ff, rw_flags = 0x100 }, 3, "x", 0x100,
    0x7ff, uring.buffer(256) },
  { "rename", "RENAMEAT", { fd = -100, len = 0xffffff9c }, "x", "y" },
  { "renameat", "RENAMEAT", { fd = 3, len = 4, rw_flags = 1 }, 3, "x", 4, "y",
    1 },
  { "unlink", "UNLINKAT", { fd = -100, rw_flags = 0x200 }, "x", 0x200 },
  { "unlinkat", "UNLINKAT", { fd = 3, rw_flags = 0x200 }, 3, "x", 0x200 },
  { "mkdir", "MKDIRAT", { fd = -100, len = 448 }, "x", 448 },
  { "mkdirat", "MKDIRAT", { fd = 3, len = 448 }, 3, "x", 448 },
  { "symlink", "SYMLINKAT", { fd = -100 }, "x", "y" },
  { "symlinkat", "SYMLINKAT", { fd = 3 }, "x", 3, "y" },
  { "link", "LINKAT", { fd = -100, len = 0xffffff9c, rw_flags = 0x400 }, "x",
    "y", 0x400 },
  { "linkat", "LINKAT", { fd = 3, len = 4, rw_flags = 0x400 }, 3, "x", 4, "y",
    0x400 },
  { "getxattr", "GETXATTR", { fd = 0, len = 10 }, "user.x", buffer, "y" },
  { "setxattr", "SETXATTR", { fd = 0, len = 3, rw_flags = 1 }, "user.x",
    "hello", "y", 1, 3 },
  { "fgetxattr", "FGETXATTR", { fd = 3, len = 4 }, 3, "user.x", buffer, 4 },
  { "fsetxattr", "FSETXATTR", { fd = 3, len = 5, rw_flags = 1 }, 3, "user.x",
    "hello", 1 },

  { "link_timeout", "LINK_TIMEOUT", { len = 1, rw_flags = 1 }, 1.5, 1 },
  { "futex_wait", "FUTEX_WAIT", { fd = 130, off = 5, addr3 = -1 },
    uring.buffer(8), 5, -1, 130, 0, 4 },
  { "futex_wake", "FUTEX_WAKE", { fd = 130, off = 1, addr3 = 0xffffffff },
    uring.buffer(8), 1, 0xffffffff, 130 },
  { "waitid", "WAITID", { fd = 7, len = 1, file_index = 4 }, 1, 7,
    uring.buffer(128), 4 },
  { "waitid", "WAITID", { fd = 7, len = 3, file_index = 4 }, 3, 7, nil, 4 },

  { "close", "CLOSE", { fd = 3 }, 3 },
  { "close_direct", "CLOSE", { fd = 0, file_index = 4 }, 3 },
  { "fixed_fd_install", "FIXED_FD_INSTALL", { fd = 3, flags = FIXED_FILE,
    rw_flags = 1 }, 3, 1 },

  { "msg_ring", "MSG_RING", { fd = 3, len = 0xffffffff, off = 4,
    rw_flags = 1 }, 3, -1, 4, 1 },
  { "msg_ring_cqe_flags", "MSG_RING", { fd = 3, len = 2, off = 4,
    rw_flags = 3, file_index = 5 }, 3, 2, 4, 1, 5 },
  { "msg_ring_fd", "MSG_RING", { fd = 3, addr = 1, addr3 = 2, file_index = 5,
    off = 6, rw_flags = 1 }, 3, 2, 4, 6, 1 },
  { "msg_ring_fd", "MSG_RING", { fd = 3, addr = 1, addr3 = 2,
    file_index = ANY }, 3, 2, ANY },
  { "msg_ring_fd_alloc", "MSG_RING", { fd = 3, addr = 1, addr3 = 2,
    file_index = ANY, off = 6, rw_flags = 1 }, 3, 2, 6, 1 },

  { "socket", "SOCKET", { fd = 2, off = CLOEXEC | 1, len = 6, rw_flags = 4 },
    2, 1, 6, 4 },
  { "socket_direct", "SOCKET", { fd = 2, off = 1, len = 6, file_index = 8,
    rw_flags = 4 }, 2, 1, 6, 7, 4 },
  { "socket_direct_alloc", "SOCKET", { fd = 2, off = 1, len = 6,
    file_index = ANY, rw_flags = 4 }, 2, 1, 6, 4 },
  { "accept", "ACCEPT", { fd = 3, rw_flags = CLOEXEC | 4 }, 3, 4 },
  { "accept_direct", "ACCEPT", { fd = 3, rw_flags = 4, file_index = 6 }, 3, 4,
    5 },
  { "multishot_accept", "ACCEPT", { fd = 3, rw_flags = CLOEXEC | 4,
    ioprio = 1 }, 3, 4 },
  { "multishot_accept_direct", "ACCEPT", { fd = 3, rw_flags = 4, ioprio = 1,
    file_index = ANY }, 3, 4 },
  { "connect", "CONNECT", { fd = 3, off = 16 }, 3, "127.0.0.1:1" },
  { "bind", "BIND", { fd = 3, off = 28 }, 3, "[::1]:1" },
  { "listen", "LISTEN", { fd = 3, len = 5 }, 3, 5 },
  { "shutdown", "SHUTDOWN", { fd = 3, len = 1 }, 3, 1 },

  { "send", "SEND", { fd = 3, len = 4, rw_flags = 2 }, 3, "hello", 4, 2, 1 },
  { "send", "SEND", { fd = 3, len = 10 }, 3, buffer },
  { "send_bundle", "SEND", { fd = 3, len = 4, rw_flags = 2, ioprio = 16,
    flags = BUFFER_SELECT }, 3, 4, 2 },
  -- (the address's length is in the lower half of file_index)
  { "sendto", "SEND", { fd = 3, len = 4, rw_flags = 2, file_index = 16 }, 3,
    "hello", 4, 2, "127.0.0.1:1", 1 },
  { "sendto", "SEND", { fd = 3, len = 10, file_index = 28 }, 3, buffer, nil,
    nil, "[::1]:1" },
  { "send_zc", "SEND_ZC", { fd = 3, len = 4, rw_flags = 2, ioprio = 8 }, 3,
    buffer, 4, 2, 8, 6 },
  { "send_zc_fixed", "SEND_ZC", { fd = 3, len = 4, rw_flags = 2, ioprio = 12,
    buf_index = 6, buf_group = 6 }, 3, buffer, 4, 2, 8, 6, 1 },
  { "sendmsg_zc_fixed", "SENDMSG_ZC", { fd = 3, len = 1, rw_flags = 2,
    ioprio = 4, buf_index = 6, buf_group = 6 }, 3, out, 2, 6 },
  { "cmd_sock", "URING_CMD", { fd = 3, off = 1 }, 1, 3 },
  { "cmd_sock", "URING_CMD", { fd = 3, off = 2, file_index = 10 }, 2, 3, 1, 8,
    buffer },
  { "cmd_sock", "URING_CMD", { fd = 3, off = 3, file_index = 4 }, 3, 3, 1, 8,
    "hello", 4 },
  { "sendmsg", "SENDMSG", { fd = 3, len = 1, rw_flags = 2 }, 3, out, 2 },
  { "sendmsg_zc", "SENDMSG_ZC", { fd = 3, len = 1, rw_flags = 2 }, 3, out,
    2 },
  { "recv", "RECV", { fd = 3, len = 4, rw_flags = 2 }, 3, buffer, 4, 2, 6 },
  { "recv", "RECV", { fd = 3, len = 4, rw_flags = 2,
    flags = BUFFER_SELECT }, 3, nil, 4, 2 },
  { "recv_multishot", "RECV", { fd = 3, rw_flags = 2, ioprio = 2,
    flags = BUFFER_SELECT }, 3, nil, 0, 2 },
  { "recvmsg", "RECVMSG", { fd = 3, len = 1,
    rw_flags = CMSG_CLOEXEC | 2 }, 3, into, 2 },
  { "recvmsg_multishot", "RECVMSG", { fd = 3, len = 1,
    rw_flags = CMSG_CLOEXEC | 2, ioprio = 2, flags = BUFFER_SELECT }, 3, into,
    2 },
  { "provide_buffers", "PROVIDE_BUFFERS", { fd = 2, len = 5, off = 1,
    buf_group = 7, buf_index = 7 }, buffer, 5, 2, 7, 1 },
  { "remove_buffers", "REMOVE_BUFFERS", { fd = 2, buf_group = 7,
    buf_index = 7 }, 2, 7 },
}

-- Those that name an operation, and the one that changes what another made.
local OTHERS <const> = { prep_poll_remove = true, prep_poll_update = true,
  prep_timeout_remove = true, prep_timeout_update = true,
  prep_send_set_addr = true }

describe("a prep", function()
  for _, row in ipairs(WIRE) do
    local name, opcode, expected = "prep_" .. row[1], row[2], row[3]
    it(name .. " puts its arguments where liburing's does", function()
      local want = { opcode = uring["IORING_OP_" .. opcode] }
      if want.opcode == 0 then want.opcode = nil end
      for field, value in pairs(expected) do want[field] = value end
      local sqe = uring.sqe()
      local most = 3
      for i in pairs(row) do most = math.max(most, i) end
      assert.equal(sqe, sqe[name](sqe, table.unpack(row, 4, most)))
      assert.same(want, fields(sqe))
      -- the same again, over another request
      sqe:prep_msg_ring_cqe_flags(9, 8, 7, 6, 5):set_ioprio(1)
      sqe[name](sqe, table.unpack(row, 4, most))
      assert.same(want, fields(sqe))
    end)
  end

  needs_ring("that names an operation has its flags, and no address of ours",
    function()
      local ring <close> = assert(uring.ring { entries = 4 })
      local op = assert(ring:queue(uring.sqe():prep_timeout(10)))
      local sqe = uring.sqe()
      local function is(opcode, flags)
        assert.equal(uring["IORING_OP_" .. opcode], sqe.opcode)
        assert.same({ -1, 0, flags }, { sqe.fd, sqe.len, sqe.rw_flags })
      end
      sqe:prep_cancel(op, 1)
      is("ASYNC_CANCEL", 1)
      sqe:prep_poll_remove(op)
      is("POLL_REMOVE", 0)
      sqe:prep_poll_update(op, 0x7)
      assert.equal(uring.IORING_OP_POLL_REMOVE, sqe.opcode)
      assert.same({ 2, 7 }, { sqe.len, sqe.rw_flags })
      sqe:prep_timeout_remove(op, 4)
      is("TIMEOUT_REMOVE", 4)
      assert.equal(0, sqe.off)
      sqe:prep_timeout_update(1, op, 4)
      is("TIMEOUT_REMOVE", 6)
      assert.is_nil(sqe.off)
      assert.truthy(tostring(sqe):find("off=0", 1, true))
    end)

  it("has a row in this file", function()
    local rows, n = {}, 0
    for _, row in ipairs(WIRE) do rows["prep_" .. row[1]] = true end
    for name in pairs(package.loaded["uring.Sqe"]) do
      if name:find "^prep_" then
        n = n + 1
        assert(rows[name] or OTHERS[name], name)
      end
    end
    assert(n > 40, n)
  end)

  it("names the first of several wrong arguments", function()
    local sqe = uring.sqe()
    for argument, call in pairs {
      [2] = { "send", {}, {}, -1, -1, {}, -1 },
      [3] = { "sendto", 0, {}, -1, -1, {}, -1 },
      [4] = { "send_zc", 0, buffer, -1, -1, -1, 0 },
      [5] = { "read", 0, buffer, 1, -2 },
      [6] = { "sendto", 0, "x", 1, 0, 5 },
    } do
      helper.raises("#" .. argument .. " to", sqe["prep_" .. call[1]], sqe,
        table.unpack(call, 2, 7))
    end
  end)

  it("shows no address that a send goes to", function()
    local sqe = uring.sqe()
    for _, bytes in ipairs { "hello", buffer } do
      sqe:prep_sendto(0, bytes, nil, 0, "127.0.0.1:1")
      assert.is_nil(sqe.off)
      assert.is_nil(sqe.addr)
      sqe:prep_send(0, bytes)
      assert.equal(0, sqe.off)
      sqe:prep_send_set_addr "127.0.0.1:1"
      assert.is_nil(sqe.off)
    end
    assert.equal(0, sqe:prep_nop().off)
  end)
end)
