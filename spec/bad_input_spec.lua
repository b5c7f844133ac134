-- Every public function and method, found in the module itself, is called
-- with whatever does not belong there: it raises, and says which argument and
-- what was expected; and everything works on as before.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

local int32, uint32 = 0x7fffffff, 0xffffffff
local nan = 0 / 0


-- What the calls are tried with. Objects are made once, when a ring can be.

local pool       -- { { name, value } … }
local good = {}  -- name -> an object of each class, and one closed

-- A group of provided buffers, and leases of two of them.
local function fill_group()
  local a, b = spec.socketpair(uring.SOCK_STREAM)
  good.group = good.ring:buf_ring { entries = 2, size = 8 }
  good.closed_group = good.ring:buf_ring { entries = 2 }
  good.closed_group:close()
  for _, name in ipairs { "lease", "closed_lease" } do
    spec.write(a, "12345678")
    good.ring:queue(uring.sqe():prep_recv(b)
      :set_buf_group(good.group:bgid()))
    local _, res, bits = good.ring:wait_cqe(5 * helper.slow)
    good[name] = assert(good.group:lease(res, bits))
  end
  good.closed_lease:release()
  spec.close(a)
  spec.close(b)
end

-- Sockets on which nothing waits for long: nobody is at the other end, and a
-- name is taken.
local function fill_sockets()
  local peer
  good.socket, peer = assert(uring.socketpair())
  peer:close()
  good.closed_socket = peer
  assert(good.socket:bind("unix:@uring-bad-input-" .. spec.getpid()))
  good.reader = select(2, good.socket:messages())
end

local function fill_channels()
  good.channel, good.closed_channel = uring.channel(1), uring.channel(1)
  good.channel:try_send "it is full"
  good.closed_channel:close()
  good.semaphore = uring.semaphore(0)
  good.event = good.ring:receiving()
  uring.run(uring.scope, function(scope) good.ended_scope = scope end)
  good.scope = {}  -- see in_its_place
end

local function fill_pool()
  if pool then return end
  good.ring = assert(uring.ring { entries = 8 })
  good.closed_ring = assert(uring.ring { entries = 2 })
  good.sqe = uring.sqe():prep_msg_ring(good.ring, 0x10, 0x1234)
  good.buffer = uring.buffer(8)
  good.closed_buffer = uring.buffer(8)
  good.fd = uring.fd(spec.eventfd())
  good.closed_fd = uring.fd(spec.eventfd())
  good.ref = good.ring:ref()
  good.loop = uring.loop()
  good.address = uring.sockaddr("127.0.0.1", 53)
  good.msghdr = uring.msghdr {}
  good.closed_msghdr = uring.msghdr {}
  fill_group()
  fill_sockets()
  fill_channels()
  good.closed_file = assert(io.tmpfile())
  good.op = good.ring:queue(uring.sqe():prep_nop())
  good.op_of_closed = good.closed_ring:queue(uring.sqe():prep_nop())
  good.ring:wait_cqe(1)
  uring.run(function() good.task = uring.spawn(function() end) end)
  good.closed_ring:close()
  good.closed_buffer:close()
  good.closed_msghdr:close()
  good.closed_fd:close()
  good.closed_file:close()
  pool = {
    { "true", true }, { "false", false },
    { "0", 0 }, { "1", 1 }, { "-1", -1 }, { "0.5", 0.5 }, { "-0.5", -0.5 },
    { "2^31 - 1", int32 }, { "2^31", int32 + 1 }, { "-2^31", -int32 - 1 },
    { "-2^31 - 1", -int32 - 2 }, { "2^32 - 1", uint32 },
    { "2^32", uint32 + 1 }, { "-2^32", -uint32 - 1 }, { "2.0^32", 2.0^32 },
    { "2^63 - 1", math.maxinteger }, { "-2^63", math.mininteger },
    { "2.0^63", 2.0^63 }, { "-2.0^63", -2.0^63 }, { "2.0^64", 2.0^64 },
    { "1e300", 1e300 }, { "nan", nan }, { "inf", math.huge },
    { "-inf", -math.huge },
    { "'10'", "10" }, { "'0x10'", "0x10" }, { "''", "" },
    { "'a\\0b'", "a\0b" }, { "'unix:x'", "unix:x" },
    { "a table", {} }, { "the module", uring },
    { "a function", function() end }, { "print", print },
    { "a coroutine", coroutine.create(print) },
    { "io.stdout", io.stdout }, { "cancelled", uring.cancelled },
    { "an unprepared sqe", uring.sqe() },
  }
  for name, object in pairs(good) do
    pool[#pool + 1] = { name, object }
  end
  table.sort(pool, function(a, b) return a[1] < b[1] end)
end


-- Kinds of arguments: a good one, and which values are right.

local function kind(sample, accepts)
  return { good = sample, accepts = accepts }
end

local function optional(k)
  return { good = k.good, optional = true, names = k.names,
    accepts = function(v) return v == nil or k.accepts(v) end }
end

local function integer(min, max, sample)
  return kind(function() return sample or min end, function(v)
    local n = math.type(v) and math.tointeger(v)
    return n and n >= min and n <= max
  end)
end

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
local main = { good = callable.good, accepts = callable.accepts,
  names = { main = callable, name = any_string } }
-- (one that is a float is none where Lua code looks)
local natural = kind(function() return 0 end, function(v)
  return math.type(v) == "integer" and v >= 0
end)
local no_nan = kind(function() return 0 end, function(v)
  return math.type(v) and v == v
end)
local no_nil = kind(function() return 1 end, function(v) return v ~= nil end)
local number_of_fd = integer(-int32 - 1, int32, 0)
local fd = kind(number_of_fd.good, function(v)
  return number_of_fd.accepts(v) or v == good.fd or v == good.ring
    or v == io.stdout or v == good.socket
end)
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
-- Whoever adds a public function adds it here.

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
    probe = none,
    run = { { good = main.good, accepts = main.accepts, names = {
      main = callable, name = any_string, on_slow = callable,
      slow = kind(nil, function() return false end),  -- not without on_slow
    } }, outside = true },
    spawn = { main }, daemon = { main }, current = none,
    scope = { callable }, timeout = { seconds, callable },
    shield = { seconds, callable }, wrap = { callable },
    pcall = { kind(callable.good, function() return true end) },
    select = { events, optional(seconds) },
    event = { main }, after = { no_nan }, at = { no_nan }, now = none,
    channel = { optional(natural) }, semaphore = { natural },
    tasks = none, tree = none,
    sleep = { seconds },
    await = { sqe, optional(seconds) },
    loop = { optional(options { entries = ring_options.entries,
      cq_entries = ring_options.cq_entries, flags = bits32,
      slow = kind(nil, function() return false end), on_slow = callable }) },
  },
  ["uring.Ring"] = {
    queue = { sqe },
    submit = none,
    submit_and_wait = { optional(integer(0, 64)), optional(seconds) },
    wait_cqe = { optional(seconds) },
    peek_cqe = none,
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
    prep_openat = { fd, path, flags, optional(integer(0, 4095)) },
    prep_openat_direct = { fd, path, flags, optional(integer(0, 4095)),
      any_slot },
    prep_read = { fd, buffer, part,
      optional(integer(-1, math.maxinteger)), part },
    prep_write = { fd, bytes, bytes_part,
      optional(integer(-1, math.maxinteger)), bytes_part },
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
    prep_send_zc = { fd, kind(buffer.good, function(v)
      return v ~= nil and (v == good.buffer or v == good.lease)
    end), part, flags, optional(small), part },
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
    getsockname = none, getpeername = none, fileno = none,
    setsockopt = { option_name, option_value },
    getsockopt = { option_name },
    send = { bytes, optional(seconds) },
    sendto = { bytes, address, optional(seconds) },
    sendmsg = { any_table, optional(seconds) },
    receive = { at_most, optional(seconds) },
    recvmsg = { at_most, optional(seconds) },
    recv = { at_most, optional(seconds) },
    recvfrom = { at_most, optional(seconds) },
    accept = { optional(seconds) },
    receiving = { at_most }, accepting = none, sending = { bytes },
    messages = { optional(options { size = integer(1, 1 << 20),
      count = integer(1, 128), lease = boolean }) },
    chunks = { optional(options { size = integer(1, 1 << 20),
      count = integer(1, 128), lease = boolean }) },
    connections = none,
    stats = { closed = true },
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
  ["uring.Loop"] = { ring = none },
}

-- Objects of the classes, and closed ones.
local selves = {
  ["uring.Ring"] = { "ring", "closed_ring" },
  ["uring.Sqe"] = { "sqe" },
  ["uring.Operation"] = { "op" },
  ["uring.Buffer"] = { "buffer", "closed_buffer" },
  ["uring.Fd"] = { "fd", "closed_fd" },
  ["uring.BufRing"] = { "group", "closed_group" },
  ["uring.Lease"] = { "lease", "closed_lease" },
  ["uring.Msghdr"] = { "msghdr", "closed_msghdr" },
  ["uring.Sockaddr"] = { "address" },
  ["uring.Socket"] = { "socket", "closed_socket" },
  ["uring.Reader"] = { "reader" },
  ["uring.Ref"] = { "ref" },
  ["uring.Task"] = { "task" },
  ["uring.Loop"] = { "loop" },
  ["uring.Scope"] = { "scope", "ended_scope" },
  ["uring.Event"] = { "event" },
  ["uring.Channel"] = { "channel", "closed_channel" },
  ["uring.Semaphore"] = { "semaphore" },
}

-- Methods in Lua cannot see how they were called, and count their arguments as
-- a call with a colon does.
local in_lua = { ["uring.Channel"] = true, ["uring.Semaphore"] = true }

-- Classes that no program can get hold of.
local private = {
  ["uring.CancelScope"] = true, ["uring.SelectWaiter"] = true, ["uring.Wrapped"] = true,
}

-- What is known to be poor: function -> complaints about it, as patterns. Each
-- must still be true: whoever mends one takes it out.
local poor = {
  -- the object that the event is of is counted
  ["uring.Event.block"] = {
    "names another argument: .*argument #3 to 'block'" },
  -- anything will do as self
  ["uring.Event.wrap"] = { "with self = .* was accepted",
    "names another argument: .*argument #1 to 'wrap'" },
  ["uring.Task.__index"] = { "" },
}

-- The module's own lists: name of a class (or "uring") -> functions.

local function methods_of(meta)
  local index = meta.__index
  if type(index) == "function" then
    index = select(2, debug.getupvalue(index, 2))
  end
  return index or {}
end

local metas = {}  -- name of a class -> its metatable

local function enumerate()
  local found = { uring = {} }
  for name, value in pairs(uring) do
    if type(value) == "function" and not name:find "^_" then
      found.uring[name] = value
    end
  end
  for name, meta in pairs(debug.getregistry()) do
    if type(name) == "string" and name:find "^uring%."
        and not private[name] then
      metas[name] = meta
    end
  end
  metas["uring.Channel"] = getmetatable(uring.channel())
  metas["uring.Semaphore"] = getmetatable(uring.semaphore(1))
  for name, meta in pairs(metas) do
    found[name] = {}
    for method, value in pairs(methods_of(meta)) do
      if type(value) == "function" and not method:find "^_" then
        found[name][method] = value
      end
    end
  end
  return found
end

local found = enumerate()

-- Calls name of its class or of the module so that messages can name it.
local callers = {}

local function caller(name)
  callers[name] = callers[name] or assert(load(
    ("local t, n, args = ... return t.%s(table.unpack(args, 1, n))")
      :format(name):gsub("return (.*)$", "return table.pack(%1)"), name))
  return callers[name]
end

local function call(class, name, args)
  return pcall(caller(name), found[class], args.n, args)
end


-- The same ring works on: a NOP, and a message to itself.
local function works(ring)
  ring:queue(uring.sqe():prep_nop():set_data64(7))
  ring:queue(uring.sqe():prep_msg_ring(ring, 1, 2):set_data64(8))
  local seen = {}
  for _ = 1, 3 do
    local data, res, _, what = ring:wait_cqe(5 * helper.slow)
    seen[#seen + 1] = ("%s %s %s"):format(what, data, res)
  end
  table.sort(seen)
  local all = table.concat(seen, ", ")
  if all ~= "completion 7 0, completion 8 0, message 2 1" then
    error("the ring does not work on: " .. all, 2)
  end
end

local function content(request)
  return table.concat({ tostring(request), tostring(request.len),
    tostring(request.off), tostring(request.fd), tostring(request.flags),
    tostring(request.user_data), tostring(request.ioprio),
    tostring(request.personality), tostring(request.buf_group) }, " ")
end

-- Good arguments, self included.
local function arguments(class, kinds)
  local args, first = { n = 0 }, 0
  if class ~= "uring" then
    args[1] = good[selves[class][1]]
    first = 1
  end
  for i, k in ipairs(kinds) do args[first + i] = k.good() end
  args.n = first + #kinds
  return args, first
end

local words = { "expected", "must", "closed", "unknown option", "path",
  "option", "what to cancel", "nothing is prepared", "file slot",
  "has ended", "in use", "released", "takes", "no room", "neither",
  "too long" }

local complaints

-- Is this complaint known? (class is left out where name has it)
local function is_known(full_name, complaint)
  for i, pattern in ipairs(poor[full_name] or none) do
    if complaint:find(pattern) then
      poor[full_name].seen = poor[full_name].seen or {}
      poor[full_name].seen[i] = true
      return true
    end
  end
end

local function full_name(class, name)
  return class == "uring" and "uring." .. name or class .. "." .. name
end

local function check_poor(name)
  for i, pattern in ipairs(poor[name] or none) do
    local seen = poor[name].seen
    assert(seen and seen[i], name .. " is poor no more: " .. pattern)
  end
end

-- This call must raise, with argument number and expectation.
local function refused(class, name, args, number, what)
  local before = content(good.sqe)
  local ok, message = call(class, name, args)
  message = tostring(message)
  if in_lua[class] and number > 1 then number = number - 1 end
  local said = false
  for _, word in ipairs(words) do
    said = said or message:find(word, 1, true)
  end
  local complaint
  if ok then
    complaint = "was accepted"
  elseif not said then
    complaint = "says no expectation: " .. message
  elseif not message:find(("bad argument #%d to '%s'"):format(number, name),
      1, true) then
    complaint = "names another argument: " .. message
  elseif message:find "lua/uring/%l+%.lua:%d" then
    complaint = "tells a line of the library's: " .. message
  end
  if content(good.sqe) ~= before then
    complaint = "changed the sqe: " .. content(good.sqe)
    good.sqe:prep_msg_ring(good.ring, 0x10, 0x1234)
  end
  works(good.ring)
  if complaint then
    complaint = ("%s.%s with %s %s"):format(class, name, what, complaint)
    if not is_known(full_name(class, name), complaint) then
      complaints[#complaints + 1] = complaint
    end
  end
end

local function complain()
  if #complaints == 0 then return end
  error(("%d complaints:\n%s"):format(#complaints,
    table.concat(complaints, "\n", 1, math.min(#complaints, 12))), 0)
end

local function replaced(args, i, v)
  local copy = table.move(args, 1, args.n, 1, { n = args.n })
  copy[i] = v
  return copy
end

-- One function with each argument in turn replaced by each wrong value.
local function try_arguments(class, name, kinds)
  local args, first = arguments(class, kinds)
  for i, k in ipairs(kinds) do
    local at = first + i
    for _, entry in ipairs(pool) do
      local what, value = entry[1], entry[2]
      if not k.accepts(value) then
        refused(class, name, replaced(args, at, value), at, what)
      end
    end
    if not k.accepts(nil) then
      local less = replaced(args, at, nil)
      refused(class, name, less, at, "nil")
      less.n = at - 1
      refused(class, name, less, at, "no argument")
    end
    for option, value_kind in pairs(k.names or none) do
      refused(class, name, replaced(args, at, { [option .. "s"] = 1 }), at,
        "a misspelt option")
      for _, entry in ipairs(pool) do
        if not value_kind.accepts(entry[2]) then
          refused(class, name, replaced(args, at, { [option] = entry[2] }),
            at, ("%s = %s"):format(option, entry[1]))
        end
      end
    end
    if k.names then
      for _, key in ipairs { 1, 1.5, true, print, "entries\0", "" } do
        refused(class, name, replaced(args, at, { [key] = 1 }), at,
          "an option's name that is " .. tostring(key))
      end
    end
  end
end

-- One method with each other thing in its object's place.
local function try_selves(class, name, kinds)
  local mine = selves[class]
  local args = arguments(class, kinds)
  for _, entry in ipairs(pool) do
    local what, value = entry[1], entry[2]
    local own = false
    for _, known in ipairs(mine) do own = own or what == known end
    if class == "uring.Operation" then
      own = own or what == "op_of_closed"
    elseif class == "uring.Sqe" then
      own = own or what == "an unprepared sqe"
    end
    local closed = mine[2] == what and not kinds.closed
    if not own or closed then
      refused(class, name, replaced(args, 1, value), 1,
        "self = " .. what)
    end
  end
  refused(class, name, replaced(args, 1, nil), 1, "self = nil")
  refused(class, name, { n = 0 }, 1, "nothing at all")
end

-- A scope is there only while its function runs.
local function with_scope(f, scope)
  for _, entry in ipairs(pool) do
    if entry[1] == "scope" then entry[2] = scope end
  end
  good.scope = scope
  f()
end

local function in_its_place(kinds, f)
  if kinds.outside then f()
  else uring.run(uring.scope, function(scope) with_scope(f, scope) end) end
end

setup(function()
  if helper.probe.available then fill_pool() end
end)

teardown(function()
  if not pool then return end
  good.ring:close()
  good.fd:close()
end)

describe("the list of public functions", function()
  it("has them all, and no other", function()
    for class, functions in pairs(found) do
      local listed = assert(public[class], "no such class here: " .. class)
      for name in pairs(functions) do
        assert(listed[name], ("%s.%s is not in this spec"):format(class,
          name))
      end
      for name in pairs(listed) do
        assert(functions[name], ("%s.%s is no more"):format(class, name))
      end
    end
    for class in pairs(public) do assert(found[class], class) end
  end)
end)

for class, functions in pairs(public) do
  describe(class, function()
    for name, kinds in pairs(functions) do
      it(("%s refuses what does not belong there"):format(name), function()
        complaints = {}
        in_its_place(kinds, function()
          try_arguments(class, name, kinds)
          if class ~= "uring" then try_selves(class, name, kinds) end
        end)
        complain()
        check_poor(full_name(class, name))
      end)
    end

    it("has metamethods that take nothing else", function()
      if class == "uring" then return end
      complaints = {}
      for name, f in pairs(metas[class]) do
        local full = full_name(class, name)
        if type(f) == "function" and name:find "^__" and name ~= "__eq"
        then
          for _, entry in ipairs(pool) do
            local own = false
            for object_name, o in pairs(good) do
              own = own or o == entry[2]
                and debug.getmetatable(o) == debug.getmetatable(
                  good[selves[class][1]]) and object_name
            end
            if not own and entry[1] ~= "an unprepared sqe"
                and pcall(f, entry[2]) and not is_known(full, "") then
              complaints[#complaints + 1] = name .. " " .. entry[1]
            end
          end
          if pcall(f) and not is_known(full, "") then
            complaints[#complaints + 1] = name
          end
          check_poor(full)
        end
      end
      complain()
      works(good.ring)
    end)
  end)
end

describe("what waits", function()
  -- name of a function -> is it marked as one that waits?
  local function told()
    local waits, rule = {}, false
    for line in helper.content "lua/uring/meta.lua":gmatch "([^\n]*)\n" do
      rule = rule or line == "---@async"
      local name = line:match "^function ([%w_.:]+)%("
      if name then
        name = name:gsub("^(%u%a+):", "uring.%1.")
        waits[name] = rule
      end
      if not line:find "^%-%-%-" then rule = false end
    end
    return waits
  end

  -- Does it? Outside a task a wait says so; a loop's does at its first step.
  local function does_wait(f, ...)
    local ok, first, state = pcall(f, ...)
    if ok and type(first) == "function" then
      ok, first = pcall(first, state)
    end
    return not ok
      and tostring(first):find("only a task can wait", 1, true) ~= nil
  end

  -- These are not called here: pool and interpreter are needed further on.
  local spared = { close = true, release = true, fd = true, run = true,
    wrap = true, shutdown = true, queue = true, register_sync_msg = true }

  it("says so in its docstring, and nothing else does", function()
    local waits, found_some = told(), 0
    local function compare(name, f, ...)
      local does = does_wait(f, ...)
      assert.equal(does, waits[name], name)
      if does then found_some = found_some + 1 end
    end
    for class, functions in pairs(public) do
      for name, kinds in pairs(functions) do
        -- (a shield begins in a cancelled task too: its wait is none)
        if not spared[name] and class ~= "uring.Sqe" and name ~= "shield" then
          local args = arguments(class, kinds)
          compare(full_name(class, name), found[class][name],
            table.unpack(args, 1, args.n))
        end
      end
    end
    for _, family in ipairs { "tcp", "udp", "unix" } do
      for name, f in pairs(uring[family]) do
        compare(("uring.%s.%s"):format(family, name), f,
          family == "unix" and "unix:@nobody/there" or "127.0.0.1:1")
      end
    end
    assert.truthy(found_some > 20, found_some)
  end)
end)

describe("arrays", function()
  for method, args in pairs {
    register_files = {}, register_files_update = { 0 }, await_chain = {},
  } do
    it(method .. " names its argument, not an element's place", function()
      fill_pool()
      complaints = {}
      uring.run(function()
        for _, entry in ipairs(pool) do
          local what, value = entry[1], entry[2]
          local right
          if method == "await_chain" then right = sqe.accepts(value)
          else right = fd.accepts(value) or value == false end
          if not right then
            local all = { good.ring, table.unpack(args) }
            all[#all + 1] = { value }
            all.n = #all
            refused("uring.Ring", method, all, all.n, "{ " .. what .. " }")
          end
        end
      end)
      complain()
    end)
  end
end)

describe("what an sqe or operation of a closed ring can do", function()
  it("is nil, message, errno, or to say that it is closed", function()
    uring.run(function()
      local closed = good.op_of_closed
      assert.equal("done", closed:status())
      assert.is_true(closed:cancel())
      local nothing, message, errno = closed:await(0)
      assert.is_nil(nothing)
      assert.is_string(message)
      assert.equal(uring.errno.ESRCH, errno)
      for _ in closed:completions() do error "there are none" end
      local late = uring.ring { entries = 1 }
      local message_sqe = uring.sqe():prep_msg_ring(late, 1, 2)
      late:close()
      local n, text, err = good.ring:queue(message_sqe)
      assert.is_nil(n)
      assert.is_string(text)
      assert.equal(uring.errno.EPIPE, err)
    end)
    works(good.ring)
  end)
end)
