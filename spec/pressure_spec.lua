-- Objects that are dropped, and what hangs on them where the collector does
-- not see it. Each test is a process of its own: a collector with nothing else
-- to do, and few descriptors.

local helper = require "helper"
local spec = require "uring_spec"

local it = helper.needs_ring(it)

after_each(helper.clean)

local MODES <const> = { "incremental", "generational" }

-- What the scripts have: makers of objects, by name, and `peak`, how many of
-- those that `make` answers were there at a time when it was called n times.
-- The last eight are kept, so that they grow old.
local BEGIN <const> = [[
  local uring = require "uring"
  local MEGABYTE <const> = 1 << 20

  local make = {}

  function make.buffer() return uring.buffer(MEGABYTE) end

  function make.resized() return uring.buffer(1):resize(MEGABYTE) end

  local s = ("x"):rep(MEGABYTE // 4)
  function make.sqe()
    return uring.sqe():prep_write(1, s), uring.sqe():prep_send(1, s),
      uring.sqe():prep_write(1, s), uring.sqe():prep_send(1, s)
  end

  function make.msghdr() return uring.msghdr { iov = { s, s, s, s } } end

  function make.group()
    local ring <close> = assert(uring.ring { entries = 1 })
    return assert(ring:buf_ring { entries = 16, size = MEGABYTE // 16 })
  end

  -- The group is closed, and its memory is there as long as this is.
  function make.lease()
    local ring <close> = assert(uring.ring { entries = 4 })
    local group <close> = assert(ring:buf_ring { entries = 1,
      size = MEGABYTE })
    local a, b = assert(uring.socketpair())
    assert(a:send "x" == 1)
    ring:queue(uring.sqe():prep_recv(b, nil, 10):set_buf_group(
      group:bgid()))
    local _, res, flags = assert(ring:wait_cqe(20))
    a:close()
    b:close()
    return assert(group:lease(res, flags))
  end

  function make.ring() return assert(uring.ring()) end

  function make.socket()
    return assert(uring.socket(uring.AF_INET, uring.SOCK_DGRAM))
  end

  function make.pair() return assert(uring.socketpair()) end

  function make.fd()
    local socket = assert(uring.socketpair())
    return uring.msghdr { control = { fds = { socket } } }
  end

  local listener
  function make.accepted()
    listener = listener or assert(uring.tcp.listen "127.0.0.1:0")
    local client = assert(uring.tcp.connect(listener:getsockname()))
    return assert(listener:accept(20)), client
  end

  function make.received()
    local a, b = assert(uring.socketpair())
    assert(a:sendmsg { data = "x", control = { fds = { 0, 0 } } })
    local _, _, info = assert(b:receive(1, 20))
    a:close()
    b:close()
    return table.unpack(info.control.fds, 1, 2)
  end

  -- Mailboxes with messages that were not received.
  local function mailbox(...)
    local m = uring.mailbox { bytes = 2 * MEGABYTE, capacity = 2 }
    assert(m:address():send(...))
    return m
  end

  function make.message() return mailbox(s, s, s, s) end

  function make.kept()
    local m = mailbox(s, s, s, s)
    m:close(true)
    return m
  end

  function make.waited()
    local m = mailbox(1)
    local a = m:address()
    assert(a:send(2))
    local task = uring.spawn(a.send, a, s, s, s, s)
    uring.sleep(0)
    assert(m:receive() == 1)
    assert(task:join())
    return m
  end

  local worker, sent
  function make.others()
    local m = uring.mailbox { bytes = 2 * MEGABYTE }
    sent = sent or uring.mailbox()
    worker = worker or uring.worker(function(s, sent)
      for a in uring.inbox():messages() do
        a:send(s:sub(1, 8192))
        a:send(s, s, s, s)
        sent:send(true)
      end
    end, s, sent)
    assert(worker:send(m:address()))
    assert(sent:receive(20))
    assert(#m:receive() == 8192)
    return m
  end

  function make.sent() return mailbox(assert(uring.socketpair())) end

  local function peak(make, n)
    local last, now, most = {}, 0, 0
    local gone = { __gc = function(each) now = now - #each end }
    for i = 1, n do
      last[i % 8] = setmetatable(table.pack(make()), gone)
      now = now + #last[i % 8]
      most = math.max(most, now)
      local junk = {}
      for k = 1, 20 do junk[k] = {} end
    end
    return most
  end

  local alive = {}
  for i = 1, tonumber(arg[2]) do alive[i] = { i } end
  collectgarbage(arg[1])
]]

-- Runs `code` with 128 descriptors at the most; what it has written.
local function script(code, mode, alive)
  local name = helper.file(BEGIN .. code)
  local status, output = spec.execute(60 * helper.slow, "/bin/sh", "-c",
    [[ulimit -n 128 && exec "$(readlink "/proc/$PPID/exe")" "$0" "$@"]],
    name, mode, tostring(alive or 0))
  assert(status == 0, output)
  return output
end

describe("garbage", function()
  for _, mode in ipairs(MODES) do
    for name, each in pairs { buffer = 1, resized = 1, group = 1, lease = 1,
      msghdr = 1, sqe = 4 } do
      it(("does not pile up, a megabyte each: %s, %s"):format(name, mode),
        function()
          local n = name == "lease" and 200 or 120
          local most = tonumber(script(([[
            uring.run(function() print(peak(make.%s, %d)) end)]]):format(
            name, n), mode))
          assert(most <= 100 * each, most .. " were there at a time")
        end)
    end

    -- Few mailboxes, as such, are worth a collection beside so much.
    for _, name in ipairs { "message", "kept", "waited", "others" } do
      it(("does not pile up in mailboxes: %s, %s"):format(name, mode),
        function()
          local most = tonumber(script(([[
            uring.run(function() print(peak(make.%s, 200)) end)]]):format(
            name), mode, 200000))
          assert(most <= 160, most .. " were there at a time")
        end)
    end

    for _, name in ipairs { "ring", "socket", "pair", "fd", "accepted",
      "received", "sent" } do
      it(("leaves descriptors for others: %s, %s"):format(name, mode),
        function()
          script(([[
            uring.run(function() peak(make.%s, 400) end)]]):format(name), mode)
        end)
    end
  end

  -- Lua's own bytes are many here, and few of them are new.
  it("leaves descriptors for others beside many live objects", function()
    script([[uring.run(function() peak(make.accepted, 400) end)]],
      "incremental", 200000)
  end)

  it("piles up where the collector was stopped", function()
    assert.equal(96, tonumber(script([[
      collectgarbage "stop"
      print(peak(make.buffer, 96))]], "incremental")))
  end)
end)

describe("a live object", function()
  -- How many cycles the collector makes beside 100,000 tables.
  local CYCLES <const> = [[
    local cycles = 0
    local function count() cycles = cycles + 1 end
    local function watch()
      setmetatable({}, { __gc = function() count() watch() end })
    end
    watch()
    local n, size = %d, 65536
    local all = {}
    for i = 1, n do
      %s
    end
    count = function() end
    print(cycles)]]

  local function cycles(n, code)
    return tonumber(script(CYCLES:format(n, code), "incremental", 100000))
  end

  it("is traversed as often as Lua memory of its size", function()
    local make <const> = "all[i] = uring.buffer(size)"
    local once, twice = cycles(1000, make), cycles(2000, make)
    assert(once < 40, once .. " cycles")
    assert(twice <= 2 * once + 4, once .. " cycles, then " .. twice)
  end)

  it("costs no collections if it is closed as fast as it is made", function()
    local made = cycles(2000, [[
      local b <close> = uring.buffer(size)
      local s <close> = uring.socket(uring.AF_INET, uring.SOCK_DGRAM)]])
    assert(made <= 2, made .. " cycles")
  end)
end)
