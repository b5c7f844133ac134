-- All names of liburing 2.15 are here, or doc/liburing.md says why not.

local helper = require "helper"
local uring = require "uring"

-- The preps and what is registered, without io_uring_.
local NAMES <const> = [[
buf_ring_add buf_ring_advance buf_ring_available buf_ring_cq_advance
buf_ring_head buf_ring_init buf_ring_mask clone_buffers clone_buffers_offset
close_ring_fd cq_eventfd_enabled cq_eventfd_toggle enable_rings free_buf_ring
prep_accept prep_accept_direct prep_bind prep_cancel prep_cancel64
prep_cancel_fd prep_close prep_close_direct prep_cmd_discard
prep_cmd_getsockname prep_cmd_sock prep_cmd_zone_reset_all prep_connect
prep_epoll_ctl prep_epoll_wait prep_fadvise prep_fadvise64 prep_fallocate
prep_fgetxattr prep_files_update prep_fixed_fd_install prep_fsetxattr
prep_fsync prep_ftruncate prep_futex_wait prep_futex_waitv prep_futex_wake
prep_getxattr prep_link prep_link_timeout prep_linkat prep_listen
prep_madvise prep_madvise64 prep_mkdir prep_mkdirat prep_msg_ring
prep_msg_ring_cqe_flags prep_msg_ring_fd prep_msg_ring_fd_alloc
prep_multishot_accept prep_multishot_accept_direct prep_nop prep_nop128
prep_open prep_open_direct prep_openat prep_openat2 prep_openat2_direct
prep_openat_direct prep_pipe prep_pipe_direct prep_poll_add
prep_poll_multishot prep_poll_remove prep_poll_update prep_provide_buffers
prep_read prep_read_fixed prep_read_multishot prep_readv prep_readv2
prep_readv_fixed prep_recv prep_recv_multishot prep_recvmsg
prep_recvmsg_multishot prep_remove_buffers prep_rename prep_renameat prep_rw
prep_send prep_send_bundle prep_send_set_addr prep_send_zc prep_send_zc_fixed
prep_sendmsg prep_sendmsg_zc prep_sendmsg_zc_fixed prep_sendto prep_setxattr
prep_shutdown prep_socket prep_socket_direct prep_socket_direct_alloc
prep_splice prep_statx prep_symlink prep_symlinkat prep_sync_file_range
prep_tee prep_timeout prep_timeout_remove prep_timeout_update prep_unlink
prep_unlinkat prep_uring_cmd prep_uring_cmd128 prep_waitid prep_write
prep_write_fixed prep_writev prep_writev2 prep_writev_fixed
register_bpf_filter register_bpf_filter_task register_buf_ring
register_buffers register_buffers_sparse register_buffers_tags
register_buffers_update_tag register_clock register_eventfd
register_eventfd_async register_file_alloc_range register_files
register_files_sparse register_files_tags register_files_update
register_files_update_tag register_ifq register_iowq_aff
register_iowq_max_workers register_napi register_personality register_probe
register_query register_region register_restrictions register_ring_fd
register_sync_cancel register_sync_msg register_wait_reg register_zcrx_ctrl
resize_rings set_iowait setup_buf_ring submit_and_wait
submit_and_wait_min_timeout submit_and_wait_reg submit_and_wait_timeout
unregister_buf_ring unregister_buffers unregister_eventfd unregister_files
unregister_iowq_aff unregister_napi unregister_personality unregister_ring_fd
wait_cqes wait_cqes_min_timeout
]]

describe("doc/liburing.md", function()
  local page = helper.content "doc/liburing.md"

  -- The names that a table has in its first column.
  local function column(title)
    local names = {}
    local section = page:match("\n## " .. title .. "\n(.-)\n\n\n")
      or page:match("\n## " .. title .. "\n(.*)$")
    for first in section:gmatch "\n| ([^|]+) |" do
      for name in first:gmatch "`([%w_]+%*?)`" do names[name] = true end
    end
    return names
  end

  it("has what is not a method, and nothing else", function()
    local elsewhere, left_out = column "Other names", column "What is left out"
    local sqe, ring = package.loaded["uring.Sqe"], package.loaded["uring.Ring"]
    local n = 0
    for name in NAMES:gmatch "[%w_]+" do
      local here = sqe[name] or ring[name] or rawget(uring, name)
      local told = elsewhere[name] or left_out[name]
        or name:find "^buf_ring_" and elsewhere["buf_ring_*"]
      assert(here or told, name .. " is neither here nor left out")
      assert(not (here and left_out[name]), name .. " is here")
      n = n + 1
    end
    assert(n > 160, n)
    for name in pairs(left_out) do
      assert(NAMES:find("%f[%w_]" .. name .. "%f[^%w_]"), name)
    end
  end)
end)
