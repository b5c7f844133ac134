-- Every request, once: most in a table, some of which an older kernel lacks.

local checks = require "shortage.checks"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local patience <const> = checks.patience
local r <const> = checks.r
local w <const> = checks.w
local owner <const> = checks.owner
local gives <const> = checks.gives

local programs = {}

-- The results of a request, which may be an error; of many the last.
local function result(ring, sqe)
  assert(ring:queue(sqe))
  local _, res, flags
  repeat
    _, res, flags = assert(ring:wait_cqe(patience))
  until flags & uring.IORING_CQE_F_MORE == 0
  return res
end

-- Makes one request after another: an older kernel may not know them.
local function does(ring, ...)
  for i = 1, select("#", ...) do result(ring, (select(i, ...))) end
end

programs["requests of files"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local sqe = uring.sqe
  local name = os.tmpname()
  local file <close> = assert(io.open(name, "w+"))
  os.remove(name)
  local a, b = uring.buffer "abcd", uring.buffer(4)
  local to, from = assert(uring.socketpair())
  local _ <close> = to
  local _ <close> = from
  assert(ring:register_buffers { a, b })
  spec.write(w, "xy")
  does(ring, sqe():prep_write_fixed(file, a, 4, 0, 0),
    sqe():prep_read_fixed(file, b, 4, 0, 1),
    sqe():prep_writev_fixed(file, { a }, 0, 0, 0),
    sqe():prep_readv_fixed(file, { b }, 0, 0, 1),
    sqe():prep_writev2(file, { "x", a }, 0, 0),
    sqe():prep_readv2(file, { a, b }, 0, 0),
    sqe():prep_fsync(file, uring.IORING_FSYNC_DATASYNC),
    sqe():prep_sync_file_range(file, 0, 0, 0),
    sqe():prep_fallocate(file, 0, 0, 8), sqe():prep_ftruncate(file, 2),
    sqe():prep_fadvise(file, 0, 0), sqe():prep_fadvise64(file, 0, 0),
    sqe():prep_fsetxattr(file, "user.a", "value"),
    sqe():prep_fgetxattr(file, "user.a", b),
    sqe():prep_write(file, "x"):set_rw_flags(0):set_personality(0),
    sqe():prep_tee(r, w, 2), sqe():prep_splice(r, nil, to, nil, 2))
end

programs["requests of paths"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local sqe, here = uring.sqe, uring.AT_FDCWD
  local name = os.tmpname()
  os.remove(name)
  local a, b = name .. "/a", name .. "/b"
  local _ <close> = helper.finally(function()
    os.remove(a)
    os.remove(b)
    os.remove(name)
  end)
  local buffer = uring.buffer(256)
  assert(ring:register_files_sparse(3))
  does(ring, sqe():prep_mkdir(name, 448), sqe():prep_mkdirat(here, a, 448),
    sqe():prep_statx(here, name, 0, uring.STATX_BASIC_STATS, buffer),
    sqe():prep_setxattr("user.a", "value", name),
    sqe():prep_getxattr("user.a", buffer, name),
    sqe():prep_unlink(a, uring.AT_REMOVEDIR), sqe():prep_symlink("x", a),
    sqe():prep_link(a, b), sqe():prep_unlinkat(here, b),
    sqe():prep_linkat(here, a, here, b), sqe():prep_unlink(b),
    sqe():prep_renameat(here, a, here, b),
    sqe():prep_symlinkat("x", here, a),
    sqe():prep_open_direct("/dev/null", 0, 0, 0),
    sqe():prep_openat_direct(here, "/dev/null", 0, 0, 1),
    sqe():prep_openat2_direct(here, "/dev/null", {}, 2),
    sqe():prep_close_direct(0))
  for _, request in ipairs { sqe():prep_open("/dev/null", 0),
      sqe():prep_openat2(here, "/dev/null", { resolve = 0 }),
      sqe():prep_fixed_fd_install(1) } do
    local fd = result(ring, request)
    if fd >= 0 then spec.close(fd) end
  end
end

programs["requests of sockets"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local sqe, stream = uring.sqe, uring.SOCK_STREAM
  local made = owner(result, ring, sqe():prep_socket(uring.AF_INET, stream))
  local _ <close> = made
  assert(ring:register_files_sparse(3))
  does(ring, sqe():prep_socket_direct(uring.AF_INET, stream, 0, 0),
    sqe():prep_socket_direct_alloc(uring.AF_INET, stream),
    sqe():prep_bind(made, "127.0.0.1:0"), sqe():prep_listen(made, 4),
    sqe():prep_cmd_sock(uring.SOCKET_URING_OP_SETSOCKOPT, made,
      uring.SOL_SOCKET, uring.SO_REUSEADDR, "\1\0\0\0"))
  uring.run(function()
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local to = listener:getsockname()
    local a <close> = assert(uring.socket(uring.AF_INET, stream))
    does(ring, sqe():prep_connect(a, to))
    local b = owner(result, ring, sqe():prep_accept(listener))
    local _ <close> = b
    local c <close> = assert(uring.tcp.connect(to, patience))
    does(ring, sqe():prep_accept_direct(listener, 0, 2))
    local d <close> = assert(uring.tcp.connect(to, patience))
    local accepts = assert(ring:queue(sqe():prep_multishot_accept(listener)))
    local _, fd = assert(ring:wait_cqe(patience))
    spec.close(fd)
    assert(ring:queue(sqe():prep_cancel(accepts)))
    for _ = 1, 2 do assert(ring:wait_cqe(patience)) end
    does(ring, sqe():prep_cancel_fd(listener),
      sqe():prep_send_zc(a, uring.buffer "hello"))
    local group <close> = assert(ring:buf_ring { entries = 4, size = 8 })
    assert(ring:queue(
      sqe():prep_recv_multishot(b):set_buf_group(group:bgid())))
    local _, res, flags = assert(ring:wait_cqe(patience))
    gives("hello", group:string(res, flags))
    assert(ring:queue(sqe():prep_shutdown(a, uring.SHUT_RDWR)))
    for _ = 1, 2 do assert(ring:wait_cqe(patience)) end
    assert(c and d)
  end)
end

programs["requests of datagrams"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local sqe = uring.sqe
  local a <close> = assert(uring.udp.bind "127.0.0.1:0")
  local b <close> = assert(uring.udp.bind "127.0.0.1:0")
  local to, buffer = b:getsockname(), uring.buffer "fixed"
  local message <const> = uring.msghdr { iov = { buffer }, name = to }
  assert(ring:register_buffers { buffer })
  does(ring, sqe():prep_sendto(a, "hello", nil, nil, to),
    sqe():prep_send_zc(a, buffer):prep_send_set_addr(to),
    sqe():prep_send_zc_fixed(a, buffer, 5, 0, 0, 0):prep_send_set_addr(to),
    sqe():prep_sendmsg_zc(a, message),
    sqe():prep_sendmsg_zc_fixed(a, message, 0, 0))
  local group <close> = assert(ring:buf_ring { entries = 4, size = 256 })
  local into = uring.msghdr { namelen = 28, controllen = 64 }
  assert(ring:queue(
    sqe():prep_recvmsg_multishot(b, into):set_buf_group(group:bgid())))
  local _, res, flags = assert(ring:wait_cqe(patience))
  local lease <close> = assert(group:lease(res, flags))
  local out = assert(uring.recvmsg_out(lease, into))
  assert(out.payload == "hello" and out.name == a:getsockname())
end

programs["requests that wait, and of messages"] = function()
  local ring <close> = assert(uring.ring { entries = 16 })
  local other <close> = assert(uring.ring { entries = 8 })
  local sqe, all, u32 = uring.sqe, 0xffffffff, uring.FUTEX2_SIZE_U32
  local word, buffer = uring.buffer "\0\0\0\0", uring.buffer(128)
  assert(ring:register_files { r })
  assert(other:register_files_sparse(2))
  does(ring, sqe():prep_msg_ring_cqe_flags(other, 1, 2,
      uring.IORING_MSG_RING_FLAGS_PASS, 0),
    sqe():prep_msg_ring_fd(other, 0, 0, 3),
    sqe():prep_msg_ring_fd_alloc(other, 0, 3),
    sqe():prep_waitid(uring.P_PID, 1, buffer, uring.WEXITED),
    sqe():prep_provide_buffers(buffer, 32, 4, 7),
    sqe():prep_remove_buffers(4, 7))
  assert(ring:queue(sqe():prep_futex_wait(word, 0, all, u32)))
  local timeout = assert(ring:queue(sqe():prep_timeout(60)))
  local poll = assert(ring:queue(
    sqe():prep_poll_multishot(r, uring.POLLIN)))
  assert(ring:submit())
  assert(ring:queue(sqe():prep_futex_wake(word, 1, all, u32)))
  assert(ring:queue(sqe():prep_timeout_update(50, timeout),
    sqe():prep_timeout_remove(timeout),
    sqe():prep_poll_update(poll, uring.POLLIN, uring.IORING_POLL_ADD_MULTI),
    sqe():prep_poll_remove(poll)))
  for _ = 1, 8 do assert(ring:wait_cqe(patience)) end
  assert(ring:queue(sqe():prep_timeout(60):set_flags(uring.IOSQE_IO_LINK),
    sqe():prep_link_timeout(0)))
  for _ = 1, 2 do assert(ring:wait_cqe(patience)) end
  local group <close> = assert(ring:buf_ring { entries = 4, size = 4 })
  spec.write(w, "data")
  assert(ring:queue(sqe():prep_read_multishot(r, nil, -1, group:bgid())))
  assert(ring:wait_cqe(patience))
end

return programs
