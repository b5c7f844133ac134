-- Constants: their values; that a name which is not there is a mistake; and
-- that nothing is offered that nothing takes.

local helper = require "helper"
local uring = require "uring"

local E = uring.errno

-- for name, value in constants() do
local function constants()
  return coroutine.wrap(function()
    for name, value in pairs(uring) do
      if name:match "^%u" then coroutine.yield(name, value) end
    end
  end)
end

describe("constants", function()
  it("keep their names in C, and their values", function()
    for name, value in pairs { IORING_SETUP_IOPOLL = 1,
        IORING_SETUP_SQPOLL = 2, IORING_SETUP_CQSIZE = 8,
        IORING_SETUP_R_DISABLED = 64, IORING_SETUP_SUBMIT_ALL = 128,
        IORING_SETUP_COOP_TASKRUN = 256, IORING_SETUP_TASKRUN_FLAG = 512,
        IORING_SETUP_SQE128 = 1024, IORING_SETUP_CQE32 = 2048,
        IORING_SETUP_SINGLE_ISSUER = 4096,
        IORING_SETUP_DEFER_TASKRUN = 8192, IOSQE_FIXED_FILE = 1,
        IOSQE_IO_DRAIN = 2, IOSQE_IO_LINK = 4, IOSQE_IO_HARDLINK = 8,
        IOSQE_ASYNC = 16, IOSQE_BUFFER_SELECT = 32,
        IOSQE_CQE_SKIP_SUCCESS = 64, IORING_MSG_RING_CQE_SKIP = 1,
        IORING_MSG_RING_FLAGS_PASS = 2, IORING_CQE_F_BUFFER = 1,
        IORING_CQE_F_MORE = 2, IORING_CQE_F_SOCK_NONEMPTY = 4,
        IORING_CQE_F_NOTIF = 8, IORING_CQE_F_BUF_MORE = 16,
        IORING_CQE_F_SKIP = 32, IORING_CQE_F_32 = 1 << 15,
        IORING_FILE_INDEX_ALLOC = 0xffffffff, IORING_OP_NOP = 0,
        IORING_OP_MSG_RING = 40, AT_FDCWD = -100, O_RDONLY = 0,
        O_WRONLY = 1, O_RDWR = 2, O_CREAT = 64, POLLIN = 1, POLLOUT = 4,
        MSG_TRUNC = 0x20, MSG_CTRUNC = 8 } do
      assert.equal(value, uring[name], name)
    end
  end)

  it("are integers", function()
    local n = 0
    for name, value in constants() do
      n = n + 1
      assert.equal("integer", math.type(value), name)
    end
    assert.truthy(n > 300)
  end)

  it("have the numbers of errors, by name", function()
    for name, value in pairs { EPERM = 1, ENOENT = 2, EINTR = 4, EBADF = 9,
        EAGAIN = 11, EWOULDBLOCK = 11, ENFILE = 23, EPIPE = 32, ETIME = 62,
        EOVERFLOW = 75, EBADFD = 77, ENOTSUP = 95, EOPNOTSUPP = 95,
        ECANCELED = 125, EOWNERDEAD = 130 } do
      assert.equal(value, E[name], name)
    end
    for name, value in pairs(E) do
      assert.truthy(name:match "^E[%u%d]+$")
      assert.equal("integer", math.type(value), name)
      assert.truthy(value > 0 and value < 200)
    end
  end)
end)

describe("a name that is not there", function()
  local function get(name) return uring[name] end

  it("raises where it is a constant's, and says which was meant", function()
    for wrong, right in pairs { O_RDNLY = "O_RDONLY", O_RDONLYY = "O_RDONLY",
        MSG_NOSIG = "MSG_NOSIGNAL", IOSQE_IOLINK = "IOSQE_IO_LINK",
        IORING_SETUP_SINGLE_ISUER = "IORING_SETUP_SINGLE_ISSUER",
        SO_REUSADDR = "SO_REUSEADDR", AF_INET4 = "AF_INET" } do
      helper.raises(("no constant %s: did you mean %s?"):format(wrong, right),
        get, wrong)
    end
    for _, wrong in ipairs { "PR_SET_NAME", "FOO", "X", ("X"):rep(1000) } do
      local why = helper.raises("no constant " .. wrong, get, wrong)
      assert.is_nil(why:find "did you mean")
    end
  end)

  it("raises at the line of its caller", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local _, why = pcall(function() return (uring.O_RDNLY) end)
    assert.truthy(why:find(("constants_spec.lua:%d: no constant O_RDNLY")
      :format(line), 1, true), why)
  end)

  it("raises among the numbers of errors", function()
    local function errno(name) return uring.errno[name] end
    helper.raises("no constant EAGIAN: did you mean EAGAIN?", errno,
      "EAGIAN")
    helper.raises("no constant EFOO", errno, "EFOO")
  end)

  it("raises where it is nearly that of something else", function()
    for wrong, right in pairs { canceled = "cancelled", Run = "run",
        sokcet = "socket", o_rdonly = "O_RDONLY", time_out = "timeout" } do
      helper.raises(("did you mean %s?"):format(right), get, wrong)
    end
    assert.is_nil(uring.something_else)
    assert.is_nil(uring[1])
    assert.is_nil(uring.errno[11])
  end)

  it("raises in the core's own table, too", function()
    local core = require("uring.core").public
    helper.raises("did you mean O_RDONLY?", function()
      return core.O_RDNLY
    end)
  end)

  it("may be asked for by rawget, and be given", function()
    assert.is_nil(rawget(uring, "O_RDNLY"))
    uring.O_RDNLY = 5
    assert.equal(5, uring.O_RDNLY)
    uring.O_RDNLY = nil
  end)
end)

-- A family of constants, and which functions take one or give one.
local FAMILIES = {
  { "^IORING_OP_", "Sqe:prep_cancel", "Ring:register_sync_cancel" },
  { "^IORING_SETUP_", "ring", "Ring:flags" },
  { "^IORING_FEAT_", "Ring:features" },
  { "^IOSQE_", "Sqe:set_flags" },
  { "^IORING_CQE_", "Ring:wait_cqe", "Sqe:prep_msg_ring_cqe_flags" },
  { "^IORING_FILE_INDEX_ALLOC$", "Sqe:prep_openat_direct" },
  { "^IORING_MSG_RING_", "Sqe:prep_msg_ring" },
  { "^IORING_ASYNC_CANCEL_", "Sqe:prep_cancel", "Ring:register_sync_cancel" },
  { "^IORING_TIMEOUT_", "Sqe:prep_timeout" },
  { "^IORING_RECVSEND_", "Sqe:set_ioprio" },
  { "^IORING_RECV_MULTISHOT$", "Sqe:set_ioprio" },
  { "^IORING_ACCEPT_", "Sqe:set_ioprio" },
  { "^IORING_SEND_ZC_REPORT_USAGE$", "Sqe:prep_send_zc" },
  { "^IORING_NOTIF_USAGE_ZC_COPIED$", "Operation:completions" },
  { "^IORING_FIXED_FD_NO_CLOEXEC$", "Sqe:prep_fixed_fd_install" },
  { "^IORING_REGISTER_FILES_SKIP$", "Ring:register_files_update" },
  { "^IORING_REGISTER_[SD]", "Ring:clone_buffers_offset" },
  { "^IORING_RESTRICTION_", "Ring:register_restrictions" },
  { "^CLOCK_", "Ring:register_clock" },
  { "^IOU_PBUF_RING_INC$", "Ring:buf_ring" },
  { "^AF_", "socket", "sockaddr" },
  { "^SOCK_", "socket", "Sqe:prep_accept" },
  { "^IPPROTO_", "socket", "Socket:setsockopt" },
  { "^SHUT_", "Sqe:prep_shutdown" },
  { "^SOMAXCONN$", "Socket:listen" },
  { "^MSG_", "Sqe:prep_send", "Sqe:prep_recv", "Msghdr:flags" },
  { "^SOL_", "Socket:setsockopt", "msghdr" },
  { "^SCM_", "msghdr" },
  { "^SO_", "Socket:setsockopt", "msghdr" },
  { "^IP_", "Socket:setsockopt", "msghdr" },
  { "^IPV6_", "Socket:setsockopt", "msghdr" },
  { "^TCP_", "Socket:setsockopt" },
  { "^UDP_", "Socket:setsockopt", "msghdr" },
  { "^AT_FDCWD$", "Sqe:prep_openat" },
  { "^AT_[EN]", "Sqe:prep_statx" },
  { "^AT_STATX_", "Sqe:prep_statx" },
  { "^AT_REMOVEDIR$", "Sqe:prep_unlinkat" },
  { "^AT_SYMLINK_", "Sqe:prep_linkat", "Sqe:prep_statx" },
  { "^STATX_", "Sqe:prep_statx" },
  { "^RENAME_", "Sqe:prep_renameat" },
  { "^RESOLVE_", "Sqe:prep_openat2" },
  { "^XATTR_", "Sqe:prep_setxattr" },
  { "^IORING_FSYNC_", "Sqe:prep_fsync" },
  { "^SYNC_FILE_RANGE_", "Sqe:prep_sync_file_range" },
  { "^FALLOC_FL_", "Sqe:prep_fallocate" },
  { "^POSIX_FADV_", "Sqe:prep_fadvise" },
  { "^SPLICE_F_", "Sqe:prep_splice", "Sqe:prep_tee" },
  { "^FUTEX2_", "Sqe:prep_futex_wait" },
  { "^P_[AP]", "Sqe:prep_waitid" },
  { "^W[ENSC]", "Sqe:prep_waitid" },
  { "^SOCKET_URING_OP_", "Sqe:prep_cmd_sock" },
  { "^IORING_POLL_", "Sqe:prep_poll_update" },
  { "^EPOLL_CTL_", "Sqe:prep_epoll_ctl" },
  { "^EPOLL[IPOHR]", "Sqe:prep_epoll_ctl" },
  { "^EPOLLERR$", "Sqe:prep_epoll_ctl" },
  { "^EPOLLET$", "Sqe:prep_epoll_ctl" },
  { "^EPOLLWAKEUP$", "Sqe:prep_epoll_ctl" },
  { "^O_", "Sqe:prep_openat" },
  { "^S_I[SRWX]", "Sqe:prep_openat" },
  { "^RWF_", "Sqe:set_rw_flags" },
  { "^POLL", "Sqe:prep_poll_add" },
  { "^EPOLLEXCLUSIVE$", "Sqe:prep_poll_add" },
}

describe("the constants", function()
  it("have a function that takes each of them", function()
    local used = {}
    for name in constants() do
      local family
      for _, f in ipairs(FAMILIES) do
        if name:find(f[1]) then
          assert.is_nil(family, name .. " is of two families")
          family = f
        end
      end
      assert(family, name .. ": which call takes it?")
      used[family] = true
    end
    local meta = helper.content "lua/uring/meta.lua"
    for _, family in ipairs(FAMILIES) do
      assert(used[family], family[1] .. ": there is none")
      for i = 2, #family do
        local taker = family[i]:find ":" and family[i] or "uring." .. family[i]
        assert(meta:find("\nfunction " .. taker .. "(", 1, true),
          taker .. " is no function")
      end
    end
  end)

  -- Every request with arguments that it takes.
  local function requests()
    local buffer, fd, address = uring.buffer(8), 0, "127.0.0.1:1"
    local message = uring.msghdr {}
    return {
      accept = { fd }, accept_direct = { fd, 0, 1 },
      multishot_accept = { fd }, multishot_accept_direct = { fd },
      bind = { fd, address }, connect = { fd, address },
      cancel = { nil, uring.IORING_ASYNC_CANCEL_ANY }, cancel_fd = { fd },
      close = { fd }, close_direct = { 0 }, fixed_fd_install = { 0 },
      listen = { fd }, shutdown = { fd, 0 }, nop = {},
      msg_ring = { fd, 0, 0 }, msg_ring_cqe_flags = { fd, 0, 0, 0, 0 },
      msg_ring_fd = { fd, 0, 0, 0 }, msg_ring_fd_alloc = { fd, 0, 0 },
      openat = { fd, "x" }, openat_direct = { fd, "x", 0, 0, 0 },
      poll_add = { fd, 1 }, poll_multishot = { fd, 1 },
      provide_buffers = { buffer, 8, 1, 0 }, remove_buffers = { 1, 0 },
      read = { fd, buffer }, write = { fd, "x" },
      recv = { fd, buffer }, recv_multishot = { fd },
      recvmsg = { fd, message }, recvmsg_multishot = { fd, message },
      send = { fd, "x" }, send_bundle = { fd }, send_zc = { fd, buffer },
      sendto = { fd, "x", 1, 0, address }, sendmsg = { fd, message },
      sendmsg_zc = { fd, message }, socket = { 1, 1 },
      socket_direct = { 1, 1, 0, 0 }, socket_direct_alloc = { 1, 1 },
      timeout = { 1 }, link_timeout = { 1 },
      readv = { fd, { buffer } }, readv2 = { fd, { buffer } },
      writev = { fd, { "x" } }, writev2 = { fd, { "x" } },
      read_fixed = { fd, buffer, 1, 0, 0 },
      write_fixed = { fd, buffer, 1, 0, 0 },
      readv_fixed = { fd, { buffer }, 0, 0, 0 },
      writev_fixed = { fd, { buffer }, 0, 0, 0 },
      read_multishot = { fd, 0, 0, 0 }, fsync = { fd },
      sync_file_range = { fd, 0, 0 }, fallocate = { fd, 0, 0, 1 },
      ftruncate = { fd, 0 }, fadvise = { fd, 0, 0, 0 },
      fadvise64 = { fd, 0, 0, 0 }, splice = { fd, 0, fd, 0, 1 },
      tee = { fd, fd, 1 }, epoll_ctl = { fd, fd, 1 },
      epoll_wait = { fd, uring.buffer(16), 1 },
      open = { "x" }, open_direct = { "x", 0, 0, 0 },
      openat2 = { fd, "x", {} }, openat2_direct = { fd, "x", {}, 0 },
      statx = { fd, "x", 0, 0, uring.buffer(256) },
      rename = { "x", "y" }, renameat = { fd, "x", fd, "y" },
      unlink = { "x" }, unlinkat = { fd, "x" }, mkdir = { "x" },
      mkdirat = { fd, "x" }, symlink = { "x", "y" },
      symlinkat = { "x", fd, "y" }, link = { "x", "y" },
      linkat = { fd, "x", fd, "y" }, getxattr = { "x", buffer, "y" },
      setxattr = { "x", "v", "y" }, fgetxattr = { fd, "x", buffer },
      fsetxattr = { fd, "x", "v" }, futex_wait = { buffer, 0, 0, 130 },
      futex_wake = { buffer, 0, 0, 130 }, waitid = { 0, 0, nil, 4 },
      send_zc_fixed = { fd, buffer, 1, 0, 0, 0 },
      sendmsg_zc_fixed = { fd, message, 0, 0 }, cmd_sock = { 0, fd },
    }
  end

  it("have an opcode for every request, and no other", function()
    -- (what these name is an operation, or another request)
    local opcodes, given = { poll_remove = uring.IORING_OP_POLL_REMOVE,
      poll_update = uring.IORING_OP_POLL_REMOVE,
      timeout_remove = uring.IORING_OP_TIMEOUT_REMOVE,
      timeout_update = uring.IORING_OP_TIMEOUT_REMOVE,
      send_set_addr = uring.IORING_OP_SEND }, requests()
    for line in helper.content "lua/uring/meta.lua":gmatch "[^\n]+" do
      local name = line:match "^function Sqe:prep_([%w_]+)%("
      if name and not opcodes[name] then
        local sqe = uring.sqe()
        assert(given[name], name .. ": with which arguments?")
        sqe["prep_" .. name](sqe, table.unpack(given[name], 1, 7))
        opcodes[name] = sqe.opcode
      end
    end
    local made = {}
    for _, opcode in pairs(opcodes) do made[opcode] = true end
    for name, value in constants() do
      if name:find "^IORING_OP_" then
        assert(made[value], name .. " is of no request")
        made[value] = nil
      end
    end
    assert.same({}, made)
  end)
end)
