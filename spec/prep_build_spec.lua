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
local OTHERS <const> = { prep_poll_remove = true, prep_timeout_remove = true,
  prep_timeout_update = true, prep_send_set_addr = true }

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
