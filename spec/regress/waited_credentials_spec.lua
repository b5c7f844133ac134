-- A receive that had to wait on a unix stream with SO_PASSCRED gave what its
-- first try had found, which was nothing: a sender of pid 0 and uid 0; and its
-- descriptors stayed open and unknown.

local hand = require "hand"
local helper = require "helper"
local net = require "net"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(net.close)
after_each(sockets.after)

local function pair()
  local a, b = net.pair()
  assert(b:setsockopt("SO_PASSCRED", true))
  return a, b
end

local function send(a, fds)
  assert(a:sendmsg({ data = "x", control = { fds = fds } }, net.patience))
end

-- It is from this process, and brings n descriptors.
local function check(control, n)
  assert(control.creds, "no credentials")
  assert.equal(spec.getpid(), control.creds.pid)
  assert.equal(n, control.fds and #control.fds or 0)
  for _, fd in ipairs(control.fds or {}) do fd:close() end
end

-- What a task has received that was waiting when it was sent.
local function waited(b, a, fds, f, ...)
  local task = uring.spawn(f, b, ...)
  net.turns()
  send(a, fds)
  local _, data, _, info = assert(task:join(net.patience))
  assert.equal("x", data)
  return info
end

describe("a receive from a unix stream that had to wait", function()
  it("names the sending process, and brings the descriptors", function()
    net.run(function()
      local a, b = pair()
      local before = helper.fds()
      for n = 0, 2 do
        local info = waited(b, a, n > 0 and { 0, 0 } or nil, b.receive)
        check(info.control, n > 0 and 2 or 0)
        assert.equal(before, helper.fds())
      end
    end)
  end)

  it("has room for as many descriptors as one message has", function()
    net.run(function()
      local a, b = pair()
      local all = {}
      for i = 1, 253 do all[i] = 0 end
      local info = waited(b, a, all, b.receive)
      assert(not info.control_truncated)
      check(info.control, 253)
    end)
  end)

  it("names the process as an event, and after data before", function()
    net.run(function()
      local a, b = pair()
      local function choose(socket)
        return select(2, uring.select { it = socket:receiving() })
      end
      check(waited(b, a, { 0 }, choose).control, 1)
      send(a, { 0 })
      local _, _, info = assert(b:receive(10, net.patience))
      check(info.control, 1)
    end)
  end)

  it("names the process on a socket that was a descriptor", function()
    net.run(function()
      local one, two = sockets.pair()
      assert(spec.setsockopt(two:fileno(), uring.SOL_SOCKET, uring.SO_PASSCRED,
        1))
      local a, b = net.keep(uring.socket(one), uring.socket(two))
      check(waited(b, a, { 0 }, b.receive).control, 1)
    end)
  end)

  it("ends where its own side was shut down", function()
    net.run(function()
      local a, b = pair()
      send(a)
      assert(b:shutdown "read")
      assert.equal("x", (b:receive(10, net.patience)))
      assert.is_nil((b:receive(10, net.patience)))
      local c, d = pair()
      local task = uring.spawn(d.receive, d)
      net.turns()
      assert(d:shutdown "read")
      assert.same({ true }, { task:join(net.patience) })
      assert(c:close())
    end)
  end)
end)

-- Here the request is as it was told to be, and tries more than once.
describe("a recvmsg by hand that had to wait on a unix stream", function()
  local function received(flags)
    local ring = hand.ring()
    local a, b = sockets.pair()
    sockets.set(b, uring.SOL_SOCKET, uring.SO_PASSCRED, 1)
    local msg = sockets.room(10, 0, 256)
    local sqe = uring.sqe():prep_recvmsg(b, msg)
    if flags then sqe:set_ioprio(flags) end
    ring:queue(sqe)
    ring:submit()
    local _, _, errno = ring:wait_cqe(0)
    assert.equal(uring.errno.ETIME, errno)
    local other = hand.ring()
    assert.equal(1, sockets.sendmsg(other, a, { iov = { "x" },
      control = { fds = { 0, 0 } } }))
    local _, res = ring:wait_cqe(net.patience)
    assert.equal(1, res)
    return msg
  end

  it("has the result of its last try", function()
    check(received():control(), 2)
    check(received(uring.IORING_RECVSEND_POLL_FIRST):control(), 2)
  end)

  it("keeps no descriptor that is not read", function()
    local msg = received()
    local before = helper.fds()
    msg:close()
    helper.collect()
    assert(helper.fds() <= before - 2)
  end)

  it("names no sender when it has failed", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    sockets.set(b, uring.SOL_SOCKET, uring.SO_PASSCRED, 1)
    local msg = sockets.room(10, 0, 256)
    local op = ring:queue(uring.sqe():prep_recvmsg(b, msg))
    ring:submit()
    ring:wait_cqe(0)
    op:cancel()
    local _, res = ring:wait_cqe(net.patience)
    assert.equal(-uring.errno.ECANCELED, res)
    assert.same({}, msg:control())
    assert(a:close())
  end)
end)
