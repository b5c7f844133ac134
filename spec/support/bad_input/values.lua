-- The values that public functions are tried with: of every Lua type, numbers
-- at every bound, and an object of each class, open and closed. See
-- spec/bad_input_spec.lua.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local int32, uint32 = 0x7fffffff, 0xffffffff
local nan = 0 / 0

local pool = {}  -- { { name, value } … }
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

-- Sockets on which nothing waits for long: the other end is closed, and a name
-- is taken.
local function fill_sockets()
  local peer
  good.socket, peer = assert(uring.socketpair())
  peer:close()
  good.closed_socket = peer
  assert(good.socket:bind("unix:@uring-bad-input-" .. spec.getpid()))
  good.reader = select(2, good.socket:messages())
  good.stream = assert(uring.stream(uring.fd(spec.eventfd())))
  good.closed_stream = assert(uring.stream(uring.fd(spec.eventfd())))
  good.closed_stream:close()
end

-- Channels and a semaphore on which nothing is there to be had.
local function fill_channels()
  good.channel, good.closed_channel = uring.channel(1), uring.channel(1)
  good.channel:try_send "it is full"
  good.closed_channel:close()
  good.semaphore = uring.semaphore(0)
  good.event = good.ring:receiving()
  good.mailbox, good.closed_mailbox = uring.mailbox { capacity = 1, fds = 0 },
    uring.mailbox()
  good.sender, good.closed_sender = good.mailbox:address(),
    good.mailbox:address()
  good.sender:try_send "it is full"
  good.closed_sender:close()
  good.closed_mailbox:close()
  uring.run(uring.scope, function(scope) good.ended_scope = scope end)
  good.scope = {}  -- see calls.in_its_place
end

-- A worker whose inbox is full. The task that has it is ended by `close`.
local owner

local function fill_workers()
  owner = uring.spawn(function()
    good.closed_worker = assert(uring.worker(function() end))
    good.closed_worker:close()
    good.worker = assert(uring.worker { inbox = { capacity = 1 },
      main = function() uring.sleep(1000) end })
    good.worker:try_send "it is full"
    uring.sleep(1000)
  end)
  uring.run(function()
    helper.eventually(function() return uring.sleep(0) or good.worker end)
  end)
end

-- Makes the objects, once. (There must be io_uring.)
local function fill()
  if #pool > 0 then return end
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
  fill_workers()
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
  for _, entry in ipairs {
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
  } do pool[#pool + 1] = entry end
  for name, object in pairs(good) do
    pool[#pool + 1] = { name, object }
  end
  table.sort(pool, function(a, b) return a[1] < b[1] end)
end

-- Closes what the collector would close later.
local function close()
  if #pool == 0 then return end
  owner:cancel()
  uring.run(owner.join, owner)
  good.ring:close()
  good.fd:close()
end

return { pool = pool, good = good, fill = fill, close = close }
