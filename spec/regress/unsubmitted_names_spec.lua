-- A close, and a release, submit what names the descriptor. A request that the
-- kernel refused at once ended that submit, and a ring that may not be entered
-- yet took none: what stayed in the queue went to another file.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(function()
  hand.close()
  helper.clean()
end)

-- The kernel refuses it when it looks at it first.
local function refused()
  return uring.sqe():prep_poll_add(0, uring.POLLIN):set_ioprio(7)
    :set_data64(1)
end

-- A ring with a receive in its queue, behind some that are refused; the
-- number was given up, and is another file's. What the receive gave.
local function given_up(ring, refusals, name, give_up)
  local x, peer = spec.socketpair(uring.SOCK_STREAM)
  local fd = uring.fd(x)
  for _ = 1, refusals do ring:queue(refused()) end
  ring:queue(uring.sqe():prep_recv(name(fd), uring.buffer(10))
    :set_data64(2))
  give_up(fd)
  local a, b = spec.socketpair(uring.SOCK_STREAM)
  assert.equal(x, a)
  spec.write(b, "another's")
  if refusals == 0 then assert(ring:enable_rings()) end
  for _ = 1, refusals do hand.take(ring) end
  spec.close(peer)
  local data, res = hand.take(ring)
  assert.equal(2, data)
  assert(spec.ready(a, 0), "it has read another's")
  assert.equal("another's", spec.read(a))
  spec.close(a)
  spec.close(b)
  return res
end

local function itself(fd) return fd end
local function number(fd) return fd:fileno() end
local function close(fd) fd:close() end
local function release(fd) spec.close(fd:release()) end

describe("behind requests that are refused, a queued request", function()
  it("ends with the close of its descriptor", function()
    assert.equal(-uring.errno.ECANCELED,
      given_up(hand.ring { flags = 0 }, 3, itself, close))
  end)

  it("ends with the close, too, if it names the number", function()
    assert.equal(-uring.errno.ECANCELED,
      given_up(hand.ring { flags = 0 }, 3, number, close))
  end)

  it("is submitted before a release", function()
    for _, name in ipairs { itself, number } do
      assert.equal(0, given_up(hand.ring { flags = 0 }, 3, name, release))
    end
  end)
end)

describe("on a ring that is not enabled, a queued request", function()
  for name, give_up in pairs { close = close, release = release } do
    it("ends with the " .. name .. " of its descriptor", function()
      assert.equal(-uring.errno.ECANCELED, given_up(hand.ring {
        flags = uring.IORING_SETUP_R_DISABLED }, 0, itself, give_up))
    end)
  end
end)
