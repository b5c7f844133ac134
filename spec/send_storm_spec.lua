-- A storm of sends: strings and buffers of all sizes, with a copy and without,
-- timeouts, cancelled tasks and closed coroutines at random, to a reader of
-- random speed. What a send said it sent was sent, in one piece and no more
-- than that, and a buffer whose send has returned may be used again.
--
-- See spec/support/storm.lua for how one is repeated, or goes on for long.

local helper = require "helper"
local net = require "net"
local storm = require "storm"
local uring = require "uring"

local it = helper.needs_ring(it)

local random, pick = math.random, storm.pick

local SENDS = 250  -- each has a byte of its own

local function size() return random(pick { 10, 3000, 60000, 300000 }) end

local function connection()
  local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
  if random(2) == 1 then
    assert(listener:setsockopt("SO_RCVBUF", 16384))
    assert(listener:setsockopt("TCP_MAXSEG", 1000))
  end
  local a = net.keep(assert(uring.tcp.connect(listener:getsockname())))
  local b = net.keep((assert(listener:accept(net.patience))))
  if random(2) == 1 then assert(a:setsockopt("SO_SNDBUF", 1 << 20)) end
  return a, b
end

-- One send. What came of it goes into `sends`, where it is: cancelled, it is
-- not known.
local function send_one(socket, sends)
  local n = #sends + 1
  local data = string.char(n):rep(size())
  local record = { size = #data }
  sends[n] = record
  local timeout = pick { nil, 0.0001, 0.001, 0.01, net.patience }
  local buffer = random(3) > 1 and uring.buffer(data) or nil
  if random(2) == 1 then assert(socket:setsockopt("SO_ZEROCOPY", true)) end
  local sent, message, errno, part
  if buffer and random(3) == 1 then
    local half = random(0, #data)
    sent, message, errno, part = socket:sendmsg({
      iov = { data:sub(1, half), uring.buffer(data:sub(half + 1)) }
    }, timeout)
    buffer = nil
  else
    sent, message, errno, part = socket:send(buffer or data, timeout)
  end
  record.sent = sent or part
  if sent then
    assert(sent == #data, sent)
    -- a request that still reads it would read this
    if buffer then buffer:write(0, ("\xff"):rep(#data)) end
  else
    assert(errno == uring.errno.ETIME or message:find("only", 1, true),
      message)
  end
end

-- The runs of equal bytes in what was read.
local function runs(parts)
  local list = {}
  for _, part in ipairs(parts) do
    local at = 1
    while at <= #part do
      local byte = part:sub(at, at)
      local _, to = part:find("^" .. (byte:find "%w" and byte or "%" .. byte)
        .. "+", at)
      local last = list[#list]
      if last and last.byte == byte then last.n = last.n + to - at + 1
      else list[#list + 1] = { byte = byte, n = to - at + 1 } end
      at = to + 1
    end
  end
  return list
end

local function check(sends, parts)
  local came = {}
  for _, run in ipairs(runs(parts)) do
    local id = run.byte:byte()
    local record = sends[id]
    assert(record, "what was written into a buffer later has gone")
    assert(not came[id], "a send was divided")
    came[id] = run.n
    assert(run.n <= record.size)
  end
  for id, record in ipairs(sends) do
    if record.sent and record.sent ~= (came[id] or 0) then
      error(("send %d of %d bytes: %d were said to be sent, %d came")
        :format(id, record.size, record.sent, came[id] or 0), 0)
    end
  end
end

local function read_all(socket, parts)
  local slow = random(2) == 1
  while true do
    local part = socket:recv(pick { 100, 5000, 65536 }, 3 * net.patience)
    if not part then break end
    parts[#parts + 1] = part
    if slow and random(20) == 1 then uring.sleep(0.001) end
  end
end

-- Until a connection has had all its sends, tasks come and go; then the reader
-- has what was sent.
local function storm_of_sends()
  local sends, parts = {}, {}
  local a, b = connection()
  local reader = uring.spawn(read_all, b, parts)
  local all = random(SENDS)
  local function sender()
    while #sends < all do
      send_one(a, sends)
      if random(4) == 1 then uring.sleep(0) end
    end
  end
  while #sends < all do
    uring.scope(function(scope)
      local tasks = {}
      for i = 1, random(4) do tasks[i] = scope:spawn(sender) end
      for _ = 1, random(0, 10) do
        uring.sleep(pick { 0, 0.0002, 0.002 })
        pick(tasks):cancel()
        if random(5) == 1 then collectgarbage() end
        tasks[random(#tasks)] = scope:spawn(sender)
      end
      if random(2) == 1 then scope:cancel() end
    end)
  end
  if random(2) == 1 then assert(a:shutdown "write") else assert(a:close()) end
  assert(reader:join(6 * net.patience))
  check(sends, parts)
end

it("a storm of sends loses no byte, and divides no message", function()
  net.run(function() end)  -- (makes the loop's ring)
  storm.rounds(1, function()
    net.run(storm_of_sends)
    net.close()
  end)
end)
