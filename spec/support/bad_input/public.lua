-- All public functions, and what each of them takes. See
-- spec/bad_input_spec.lua.

local uring = require "uring"
local values = require "bad_input.values"

local good = values.good
local int32, uint32 = 0x7fffffff, 0xffffffff

-- Kinds of arguments: a good one, and which values are right.

-- A kind of argument: what makes a good one, and what tells those that are.
local function kind(sample, accepts)
  return { good = sample, accepts = accepts }
end

-- The same, or nil.
local function optional(k)
  return { good = k.good, optional = true, names = k.names,
    accepts = function(v) return v == nil or k.accepts(v) end }
end

-- An integer, or a float that is one, from min to max.
local function integer(min, max, sample)
  return kind(function() return sample or min end, function(v)
    local n = math.type(v) and math.tointeger(v)
    return n and n >= min and n <= max
  end)
end

-- One of the objects of these names.
local function object(name, ...)
  local names = { name, ... }
  return kind(function() return good[name] end, function(v)
    for _, n in ipairs(names) do
      if v == good[n] then return true end
    end
  end)
end

local bits32 = integer(0, uint32)
local bits64 = integer(math.mininteger, math.maxinteger)
local flags = optional(bits32)
local seconds = kind(function() return 0 end, function(v)
  return math.type(v) and v >= 0
end)
local path = kind(function() return "/dev/null" end, function(v)
  return type(v) == "string" and not v:find "\0"
end)
local any_string = kind(function() return "ab" end, function(v)
  return type(v) == "string"
end)
local callable = kind(function() return print end, function(v)
  return type(v) == "function"
end)
local lua_function = kind(function() return function() end end, function(v)
  return type(v) == "function" and pcall(string.dump, v)
end)
local main = { good = callable.good, accepts = callable.accepts,
  names = { main = callable, name = any_string } }
-- (one that is a float is none where Lua code looks)
local natural = kind(function() return 0 end, function(v)
  return math.type(v) == "integer" and v >= 0
end)
local positive = kind(function() return 1 end, function(v)
  return math.type(v) == "integer" and v > 0
end)
local no_nan = kind(function() return 0 end, function(v)
  return math.type(v) and v == v
end)
local no_nil = kind(function() return 1 end, function(v) return v ~= nil end)
local function can_be_sent(v)
  return type(v) == "boolean" or type(v) == "string" or math.type(v)
    or v == good.fd or v == good.mailbox or v == good.sender
    or v == good.worker or v == good.ref
    or type(v) == "table" and next(v) == nil and not getmetatable(v)
end
local sendable = kind(function() return 1 end, function(v)
  return can_be_sent(v) or v == good.buffer or v == good.socket
end)
local sendable_by_event = kind(function() return 1 end, can_be_sent)
local name = kind(function() return "a name" end, function(v)
  return type(v) == "string" and #v > 0 and #v < 256 and not v:find "\0"
end)
local number_of_fd = integer(-int32 - 1, int32, 0)
local fd = kind(number_of_fd.good, function(v)
  return number_of_fd.accepts(v) or v == good.fd or v == good.ring
    or v == io.stdout or v == good.socket
    or v ~= nil and v == good.stream
end)
local streamed = kind(function() return good.stream end, function(v)
  return v == good.stream or v == good.socket or v == io.stdout
    or integer(0, int32).accepts(v) or v == good.fd
end)
-- (and tables of functions: spec/stream_calls_spec.lua)
local counted = integer(0, math.maxinteger)
local format = kind(function() return "l" end, function(v)
  return v == nil or counted.accepts(v)
end)
local line_format = kind(function() return "l" end, function(v)
  return v == nil or counted.accepts(v) and v > 0
end)
local not_empty = kind(function() return "x" end, function(v)
  return type(v) == "string" and v ~= ""
end)
local limit = kind(function() return 1 end, function(v)
  return v == nil or v == math.huge or counted.accepts(v) and v > 0
end)
local written = kind(any_string.good, function(v)
  return type(v) == "string" or math.type(v) ~= nil
end)
local whence = kind(function() return "set" end, function(v)
  return v == "set"
end)
local mode = kind(function() return "r" end, function(v) return v == "r" end)
local target = kind(function() return good.ring end, function(v)
  return number_of_fd.accepts(v) or v == good.ring or v == good.ref
end)
local slot = integer(0, int32)
local any_slot = kind(slot.good, function(v)
  return slot.accepts(v) or v == uint32
end)
local cqe_flags = kind(bits32.good, function(v)
  return bits32.accepts(v) and v & 0x8020 == 0
end)
local sqe = object "sqe"
local op = object("op", "op_of_closed")
local buffer = object "buffer"
local msghdr = object "msghdr"
local bytes = kind(any_string.good, function(v)
  return any_string.accepts(v) or v == good.buffer
    or v ~= nil and v == good.lease
end)
local address = kind(function() return good.address end, function(v)
  return v == good.address or v == "unix:x"
end)
local small = integer(0, 65535)
local kernels_int = integer(0, int32)
local result = integer(-int32 - 1, int32, 1)
local bytes_part = optional(integer(0, 2))
local array = kind(function() return {} end, function() return false end)
local part = optional(integer(0, 8))
local offset = optional(integer(-1, math.maxinteger))
local file_mode = optional(integer(0, 4095))
local second = kind(number_of_fd.good, function(v)
  return v ~= io.stdout and fd.accepts(v)
end)
local uncopied = kind(buffer.good, function(v)
  return v ~= nil and (v == good.buffer or v == good.lease)
end)
local buffers = kind(function() return { good.buffer } end, array.accepts)
local tags = kind(function() return { 0 } end, array.accepts)
local files = kind(function() return { false } end, array.accepts)
local large_buffer = kind(function() return uring.buffer(256) end,
  array.accepts)
local how = kind(function() return { flags = 0 } end, function(v)
  return type(v) == "table" and next(v) == nil
end)
local futex_place = optional(kind(slot.good, function(v)
  return slot.accepts(v) and (v == 0 or v == 4)
end))
local poll_flags = optional(kind(slot.good, function(v)
  return slot.accepts(v) and v & ~11 == 0
end))
local boolean = kind(function() return true end, function(v)
  return type(v) == "boolean"
end)
local option_name = kind(function() return "SO_TYPE" end, function(v)
  return math.type(v) == "integer"  -- (a level: its number comes behind)
end)
local option_value = kind(function() return 1 end, function(v)
  return type(v) == "boolean" or any_string.accepts(v)
    or integer(-int32 - 1, uint32).accepts(v)
end)
local direction = kind(function() return "both" end, function()
  return false
end)
local at_most = optional(integer(0, int32))

-- A table of options: name -> kind of its value.
local function options(names)
  return { names = names, good = function() return {} end,
    accepts = function(v) return type(v) == "table" and v ~= uring end }
end

local events = kind(function() return {} end, function(v)
  return type(v) == "table" and next(v) == nil
end)
local any_table = kind(function() return {} end, function(v)
  return type(v) == "table"
end)

local ring_options = {
  entries = integer(1, 32768), cq_entries = integer(1, 65536),
  flags = bits32, sq_thread_cpu = slot, sq_thread_idle = slot,
  attach_wq = object "ring",
}

-- What each function takes: an array of kinds, and with
--   outside = true      it is called outside a task;
--   closed = true       it works on a closed object as well.
-- A new public function is added here.

local none = {}

local public = {
  ["uring"] = {
    ring = { optional(options(ring_options)) },
    sqe = none,
    buffer = { kind(function() return 1 end, function(v)
      return any_string.accepts(v) or integer(0, 1 << 40).accepts(v)
    end) },
    fd = { slot },
    register_sync_msg = { sqe },
    sockaddr = { address, optional(integer(0, 65535)) },
    msghdr = { optional(options { name = address, namelen = integer(0, 128),
      controllen = integer(0, 20480), flags = kernels_int,
      control = any_table, iov = any_table }) },
    recvmsg_out = { bytes, msghdr, bytes_part },
    socket = { kind(kernels_int.good, function(v)
      return kernels_int.accepts(v) or v == good.fd
    end), kernels_int, optional(kernels_int) },
    socketpair = { optional(kernels_int) },
    pipe = none, stream = { streamed },
    open = { path, optional(mode), optional(seconds) },
    process = { kind(function() return { "/bin/true" } end, function()
      return false
    end) },
    signals = { kind(function() return "USR1" end, function() return false
    end) },
    map = { integer(1, math.maxinteger), any_table, callable },
    resolve = { kind(function() return "127.0.0.1" end, path.accepts),
      optional(kind(function() return 80 end, function(v)
        return path.accepts(v) or math.type(v) == "integer" and v >= 0
          and v <= 65535
      end)), optional(seconds) },
    probe = none,
    run = { { good = main.good, accepts = main.accepts, names = {
      main = callable, name = any_string, on_slow = callable,
      slow = kind(nil, function() return false end),  -- not without on_slow
    } }, outside = true },
    spawn = { main }, daemon = { main }, current = none, root = none,
    scope = { callable }, timeout = { seconds, callable },
    shield = { seconds, callable }, wrap = { callable },
    pcall = { kind(callable.good, function() return true end) },
    select = { events, optional(seconds) },
    event = { main }, after = { no_nan }, at = { no_nan }, now = none,
    at_time = { no_nan }, time = none,
    every = { kind(function() return 1 end, function(v)
      return math.type(v) and v > 0 and v < math.huge
    end) },
    channel = { optional(natural) }, semaphore = { natural },
    mailbox = { optional(options { name = name, capacity = integer(1, 1 << 30),
      bytes = integer(256, 1 << 30), fds = integer(0, 65536) }) },
    address = { name, optional(seconds) },
    inbox = none, workers = none,
    pool = { kind(function()
      return { workers = 0, main = function() end }
    end, function() return false end) },
    worker = { { good = lua_function.good, accepts = lua_function.accepts,
      names = { main = lua_function, name = any_string,
        memory = integer(1, 1 << 50), inbox = optional(options {
          capacity = integer(1, 1 << 30), bytes = integer(256, 1 << 30) }),
        ring = optional(options { entries = ring_options.entries,
          cq_entries = ring_options.cq_entries, flags = bits32 }) } } },
    sandbox = { optional(options { mailboxes = optional(events) }) },
    tasks = none, tree = none,
    sleep = { seconds },
    await = { sqe, optional(seconds) },
    loop = { optional(options { entries = ring_options.entries,
      cq_entries = ring_options.cq_entries, flags = bits32,
      slow = kind(nil, function() return false end), on_slow = callable,
      realm = kind(function() return "" end, function(v)
        return v == false or v == "" or name.accepts(v)
      end) }) },
  },
  ["uring.Ring"] = {
    queue = { sqe }, push = { sqe },
    submit = none,
    submit_and_wait = { optional(integer(0, 64)), optional(seconds) },
    wait_cqe = { optional(seconds) },
    peek_cqe = none, cqes = none,
    fd = none, ref = none, flags = none, features = none,
    stats = { closed = true },
    close = { closed = true },
    register_files = { array },
    register_files_sparse = { integer(1, 1 << 20) },
    register_files_update = { slot, array },
    register_file_alloc_range = { slot, slot },
    unregister_files = none,
    register_eventfd = { fd },
    unregister_eventfd = none,
    register_files_tags = { files, tags },
    register_files_update_tag = { slot, files, tags },
    register_eventfd_async = { fd }, cq_eventfd_toggle = { boolean },
    register_buffers = { buffers }, register_buffers_tags = { buffers, tags },
    register_buffers_sparse = { integer(1, 1 << 14) },
    register_buffers_update_tag = { integer(0, 1 << 14), buffers, tags },
    unregister_buffers = none, clone_buffers = { object "ring" },
    clone_buffers_offset = { object "ring", integer(0, 1 << 14),
      integer(0, 1 << 14), integer(0, 1 << 14), flags },
    register_personality = none, unregister_personality = { small },
    register_restrictions = { array },
    register_iowq_aff = { array }, unregister_iowq_aff = none,
    register_iowq_max_workers = { optional(slot), optional(slot) },
    register_napi = { bits32, optional(boolean) }, unregister_napi = none,
    register_clock = { slot }, set_iowait = { boolean },
    submit_and_wait_min_timeout = { integer(1, 64), optional(seconds),
      seconds },
    register_sync_cancel = { options { op = op, fd = fd,
      opcode = integer(0, 255), flags = bits32, timeout = seconds } },
    enable_rings = none,
    await = { sqe, optional(seconds) },
    await_chain = { array, optional(seconds) },
    receive = { optional(seconds) },
    messages = none,
    awaiting = { sqe }, receiving = none,
    buf_ring = { options { entries = kind(nil, function(v)
      return v == 1
    end), size = integer(1, int32), bgid = small,
      flags = kind(nil, function(v)
        return v == 0 or v == uring.IOU_PBUF_RING_INC
      end), min_left = bits32 } },
  },
  ["uring.Sqe"] = {
    prep_msg_ring = { target, integer(-int32 - 1, uint32, 1),
      optional(bits64), flags },
    prep_msg_ring_cqe_flags = { target, integer(-int32 - 1, uint32, 1),
      optional(bits64), flags, cqe_flags },
    prep_msg_ring_fd = { target, slot, any_slot, optional(bits64), flags },
    prep_msg_ring_fd_alloc = { target, slot, optional(bits64), flags },
    prep_nop = none,
    prep_openat = { fd, path, flags, file_mode },
    prep_openat_direct = { fd, path, flags, file_mode, any_slot },
    prep_read = { fd, buffer, part, offset, part },
    prep_write = { fd, bytes, bytes_part, offset, bytes_part },
    prep_readv = { fd, buffers, offset }, prep_readv2 = { fd, buffers, offset,
      flags },
    prep_writev = { fd, buffers, offset }, prep_writev2 = { fd, buffers,
      offset, flags },
    prep_read_fixed = { fd, buffer, part, offset, small, part },
    prep_write_fixed = { fd, uncopied, part, offset, small, part },
    prep_readv_fixed = { fd, buffers, offset, flags, small },
    prep_writev_fixed = { fd, buffers, offset, flags, small },
    prep_read_multishot = { fd, optional(slot), offset, small },
    prep_fsync = { fd, flags }, prep_ftruncate = { fd, counted },
    prep_sync_file_range = { fd, bits32, counted, flags },
    prep_fallocate = { fd, bits32, counted, counted },
    prep_fadvise = { fd, counted, bits32, flags },
    prep_fadvise64 = { fd, counted, counted, flags },
    prep_splice = { second, offset, fd, offset, bits32, flags },
    prep_tee = { second, fd, bits32, flags },
    prep_epoll_ctl = { fd, second, bits32, flags, optional(bits64) },
    prep_epoll_wait = { fd, large_buffer, integer(1, 21), flags },
    prep_open = { path, flags, file_mode },
    prep_open_direct = { path, flags, file_mode, any_slot },
    prep_openat2 = { fd, path, how },
    prep_openat2_direct = { fd, path, how, any_slot },
    prep_statx = { fd, path, flags, bits32, large_buffer },
    prep_rename = { path, path },
    prep_renameat = { fd, path, second, path, flags },
    prep_unlink = { path, flags }, prep_unlinkat = { fd, path, flags },
    prep_mkdir = { path, file_mode }, prep_mkdirat = { fd, path, file_mode },
    prep_symlink = { path, path }, prep_symlinkat = { path, fd, path },
    prep_link = { path, path, flags },
    prep_linkat = { fd, path, second, path, flags },
    prep_getxattr = { path, buffer, path, part },
    prep_setxattr = { path, bytes, path, flags, bytes_part },
    prep_fgetxattr = { fd, path, buffer, part },
    prep_fsetxattr = { fd, path, bytes, flags, bytes_part },
    prep_link_timeout = { seconds, flags },
    prep_poll_update = { op, bits32, poll_flags },
    prep_futex_wait = { buffer, optional(bits64), optional(bits64), bits32,
      flags, futex_place },
    prep_futex_wake = { buffer, optional(bits64), optional(bits64), bits32,
      flags, futex_place },
    prep_waitid = { bits32, slot, optional(large_buffer), bits32, flags },
    prep_send_zc_fixed = { fd, uncopied, part, flags, optional(small), small,
      part },
    prep_sendmsg_zc_fixed = { fd, msghdr, flags, small },
    prep_cmd_sock = { integer(0, 3), fd, flags, flags,
      optional(kind(buffer.good, bytes.accepts)), part },
    prep_close = { number_of_fd },
    prep_close_direct = { slot },
    prep_fixed_fd_install = { slot, flags },
    prep_timeout = { seconds, optional(bits32), flags },
    prep_poll_add = { fd, bits32 },
    prep_poll_multishot = { fd, bits32 },
    prep_cancel = { op, flags },
    prep_cancel_fd = { fd, flags },
    prep_poll_remove = { op },
    prep_timeout_remove = { op, flags },
    prep_timeout_update = { seconds, op, flags },
    prep_socket = { kernels_int, kernels_int, optional(kernels_int), flags },
    prep_socket_direct = { kernels_int, kernels_int, optional(kernels_int),
      any_slot, flags },
    prep_socket_direct_alloc = { kernels_int, kernels_int,
      optional(kernels_int), flags },
    prep_accept = { fd, flags },
    prep_accept_direct = { fd, flags, any_slot },
    prep_multishot_accept = { fd, flags },
    prep_multishot_accept_direct = { fd, flags },
    prep_connect = { fd, address },
    prep_bind = { fd, address },
    prep_listen = { fd, optional(kernels_int) },
    prep_shutdown = { fd, kernels_int },
    prep_send = { fd, bytes, bytes_part, flags, bytes_part },
    prep_send_bundle = { fd, optional(kernels_int), flags },
    prep_sendto = { fd, bytes, bytes_part, flags, address, bytes_part },
    prep_send_zc = { fd, uncopied, part, flags, optional(small), part },
    prep_send_set_addr = { address },
    prep_sendmsg = { fd, msghdr, flags },
    prep_sendmsg_zc = { fd, msghdr, flags },
    prep_recv = { fd, optional(buffer), part, flags, part },
    prep_recv_multishot = { fd, kind(function() end, function(v)
      return v == nil
    end), optional(kernels_int), flags },
    prep_recvmsg = { fd, msghdr, flags },
    prep_recvmsg_multishot = { fd, msghdr, flags },
    prep_provide_buffers = { buffer, integer(1, 8), integer(1, 8), small,
      optional(small) },
    prep_remove_buffers = { integer(1, 65535), small },
    set_flags = { integer(0, 127) },
    set_data64 = { bits64 },
    set_ioprio = { integer(0, 65535) },
    set_rw_flags = { bits32 },
    set_personality = { integer(0, 65535) },
    set_buf_group = { integer(0, 65535) },
    set_buf_index = { integer(0, 65535) },
    set_optlen = { bits32 },
  },
  ["uring.Operation"] = {
    await = { optional(seconds) },
    cancel = none, completions = none, status = none,
  },
  ["uring.Buffer"] = {
    string = { optional(bits64), optional(bits64) },
    write = { integer(0, 8), any_string },
    resize = { integer(0, 1 << 40) },
    close = { closed = true },
  },
  ["uring.Fd"] = {
    fileno = none,
    release = none,
    close = { closed = true },
  },
  ["uring.BufRing"] = {
    lease = { result, flags }, string = { result, flags },
    bundle = { result, flags },
    head = none, available = none, stats = none, bgid = none,
    close = { closed = true },
  },
  ["uring.Lease"] = {
    string = { optional(bits64), optional(bits64) },
    release = { closed = true },
    close = { closed = true },
  },
  ["uring.Msghdr"] = {
    name = none, control = none, flags = none,
    close = { closed = true },
  },
  ["uring.Sockaddr"] = {},
  ["uring.Socket"] = {
    bind = { address }, listen = { optional(kernels_int) },
    connect = { address, optional(seconds) },
    shutdown = { direction },
    getsockname = none, getpeername = none, fileno = none, release = none,
    setsockopt = { option_name, option_value },
    getsockopt = { option_name },
    send = { bytes, optional(seconds) },
    sendto = { bytes, address, optional(seconds) },
    sendmsg = { any_table, optional(seconds) },
    sendfile = { fd, optional(integer(0, math.maxinteger)),
      optional(integer(0, math.maxinteger)), optional(seconds) },
    receive = { at_most, optional(seconds) },
    recvmsg = { at_most, optional(seconds) },
    recv = { at_most, optional(seconds) },
    recvfrom = { at_most, optional(seconds) },
    accept = { optional(seconds) },
    receiving = { at_most }, accepting = none, sending = { bytes },
    try_receive = { at_most }, try_send = { bytes },
    messages = { optional(options { size = integer(1, 1 << 20),
      count = integer(1, 128), lease = boolean, timeout = seconds }) },
    chunks = { optional(options { size = integer(1, 1 << 20),
      count = integer(1, 128), lease = boolean, timeout = seconds }) },
    connections = { optional(options { timeout = seconds }) },
    serve = { callable, optional(options { max = positive, grace = seconds,
      on_error = callable }) },
    read = { format, optional(seconds) }, reading = { format },
    lines = { line_format, optional(options { timeout = seconds,
      max = integer(1, math.maxinteger) }) },
    read_until = { not_empty, optional(integer(1, math.maxinteger)),
      optional(seconds) },
    peek = { integer(1, math.maxinteger), optional(seconds) },
    unread = { any_string }, limit = { limit },
    write = { optional(written) }, flush = { optional(seconds) },
    stats = { closed = true },
    close = { closed = true },
  },
  ["uring.Stream"] = {
    read = { format, optional(seconds) }, reading = { format },
    lines = { line_format, optional(options { timeout = seconds,
      max = integer(1, math.maxinteger) }) },
    read_until = { not_empty, optional(integer(1, math.maxinteger)),
      optional(seconds) },
    peek = { integer(1, math.maxinteger), optional(seconds) },
    unread = { any_string }, limit = { limit },
    write = { optional(written) }, flush = { optional(seconds) },
    seek = { optional(whence), optional(kind(function() return 0 end,
      function(v) return math.type(v) and math.tointeger(v) end)) },
    pread = { integer(1, int32), counted, optional(seconds) },
    pwrite = { any_string, counted, optional(seconds) },
    truncate = { counted },
    sync = none, stat = none, fileno = none,
    close = { closed = true },
  },
  ["uring.Reader"] = {},
  ["uring.Ref"] = { closed = none },
  ["uring.Task"] = {
    join = { optional(seconds) },
    joining = none, cancel = none, status = none, reason = none,
  },
  ["uring.Scope"] = {
    spawn = { main }, daemon = { main },
    cancel = { closed = true }, failures = { closed = true },
  },
  ["uring.Event"] = {
    try = none, block = { any_table }, cancel = none, wrap = { callable },
  },
  ["uring.Channel"] = {
    send = { no_nil, closed = true }, try_send = { no_nil, closed = true },
    sending = { no_nil, closed = true },
    receive = { optional(seconds), closed = true },
    try_receive = { closed = true }, receiving = { closed = true },
    messages = { closed = true }, close = { closed = true },
  },
  ["uring.Semaphore"] = {
    acquire = { optional(seconds) }, try_acquire = none, acquiring = none,
    release = none,
  },
  ["uring.Loop"] = {
    ring = none, spawn = { main }, fd = none, timeout = none, stats = none,
    step = { optional(options { max = optional(integer(1, 0x7fffffff)),
      seconds = optional(seconds), gc = optional(boolean) }) },
    close = { optional(seconds) },
  },
  ["uring.Mailbox"] = {
    receive = { optional(seconds) }, try_receive = none, receiving = none,
    messages = none, address = none, stats = { closed = true },
    close = { optional(boolean), closed = true },
    undelivered = { closed = true },
    serve = { any_table, optional(options { tasks = integer(1, 65536),
      on_error = optional(callable) }) },
  },
  ["uring.Worker"] = {
    send = { sendable }, try_send = { sendable },
    sending = { sendable_by_event },
    call = { optional(sendable) }, monitor = none,
    close = { closed = true }, address = { closed = true },
    stats = { closed = true }, status = { closed = true },
    join = { optional(seconds), closed = true }, joining = { closed = true },
    cancel = { optional(any_string), closed = true },
  },
  ["uring.Address"] = {
    send = { sendable }, try_send = { sendable },
    sending = { sendable_by_event },
    call = { optional(sendable) }, monitor = none,
    close = { closed = true },
  },
}

return { functions = public, sqe = sqe, fd = fd }
