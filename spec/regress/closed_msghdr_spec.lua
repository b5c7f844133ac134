-- A closed msghdr kept its descriptors, those that it was to send and those
-- that had come and were not taken, for as long as an SQE that was prepared
-- with it was alive; and at the end of its scope it could still send them.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local function close(m) m:close() end
local function leave(m) local _ <close> = m end

describe("a closed msghdr", function()
  after_each(sockets.after)

  for name, ending in pairs { close = close, ["<close>"] = leave } do
    it("by " .. name .. " has no parts to send any more", function()
      local ring, a, b = hand.ring(), sockets.pair(uring.SOCK_DGRAM)
      local r, w = spec.pipe()
      local m = uring.msghdr { iov = { "x" }, control = { fds = { w } } }
      local sqe = uring.sqe():prep_sendmsg(a, m)
      spec.close(w)
      assert.is_false(spec.ready(r, 0))
      ending(m)
      assert.equal("", spec.read(r))
      helper.raises("was closed or resized after it was prepared: prepare it "
        .. "again", ring.queue, ring, sqe)
      helper.raises("closed msghdr", m.flags, m)
      assert.is_false(spec.ready(b:fileno(), 0))
      spec.close(r)
    end)

    it("by " .. name .. " has no received data any more", function()
      local ring, a, b = hand.ring(), sockets.pair(uring.SOCK_DGRAM)
      local r, w = spec.pipe()
      local m = sockets.room(10, 0, 256)
      local sqe = uring.sqe():prep_recvmsg(b, m)
      sockets.sendmsg(ring, a, { iov = { "x" }, control = { fds = { w } } })
      helper.collect()  -- the sender's
      spec.close(w)
      assert.equal(1, (hand.one(ring, sqe)))
      assert.is_false(spec.ready(r, 0))
      ending(m)
      assert.equal("", spec.read(r))
      helper.raises("prepare it again", ring.queue, ring, sqe)
      spec.close(r)
    end)
  end

  it("that is in flight keeps its parts until that has ended", function()
    local ring, a, b = hand.ring(), sockets.pair(uring.SOCK_DGRAM)
    local gate, opener = spec.pipe()
    local r, w = spec.pipe()
    do
      local m <close> = uring.msghdr { iov = { "x" },
        control = { fds = { w } } }
      ring:queue(uring.sqe():prep_read(gate, uring.buffer(1)):set_data64(1),
        uring.sqe():prep_sendmsg(a, m):set_data64(2))
      ring:submit()
      helper.raises("in use", m.close, m)
    end
    spec.close(w)
    spec.write(opener, "x")
    assert.same({ 1, 1 }, hand.some(ring, 2))
    local got = sockets.room(10, 0, 256)
    assert.equal(1, sockets.recvmsg(ring, b, got))
    local fd = got:control().fds[1]
    spec.write(fd:fileno(), "sent")
    assert.equal("sent", spec.read(r))
    fd:close()
    assert.equal("", spec.read(r))
    for _, n in ipairs { r, gate, opener } do spec.close(n) end
  end)

  it("that is in flight keeps no data that is received later", function()
    local ring, a, b = hand.ring(), sockets.pair(uring.SOCK_DGRAM)
    local r, w = spec.pipe()
    local sqe
    do
      local m <close> = sockets.room(10, 0, 256)
      sqe = uring.sqe():prep_recvmsg(b, m):set_data64(1)
      ring:queue(sqe)
      ring:submit()
    end
    local sender = hand.ring()
    sockets.sendmsg(sender, a, { iov = { "x" }, control = { fds = { w } } })
    helper.collect()
    spec.close(w)
    assert.same({ 1, 1, 0 }, { hand.take(ring) })
    assert.equal("", spec.read(r))
    assert.truthy(sqe)
    spec.close(r)
  end)
end)

it("a msghdr refuses a ring as a descriptor to be sent", function()
  local ring = hand.ring()
  helper.raises("a ring cannot be sent", uring.msghdr,
    { control = { fds = { 0, ring } } })
  assert.equal(E.EBADF, (select(3, uring.msghdr {
    control = { fds = { 99999 } } })))
  hand.close()
end)
