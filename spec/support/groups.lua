-- Groups of provided buffers by hand, for specs: one that a multishot receive
-- picks from, and a look at its counts.
--
--     local groups = require "groups"
--     local it = groups.needs(it)
--     after_each(sockets.after)
--
--     local ring, group, from = groups.armed { entries = 4, size = 64 }

local assert = require "luassert"
local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"

local groups = {}

-- Given `it`, answers one whose tests are skipped where there are none.
function groups.needs(it)
  local ring_it = helper.needs_ring(it)
  return function(name, f)
    ring_it(name, function()
      helper.needs("buf_ring", "recv_multishot", "recvmsg_multishot")
      f()
    end)
  end
end

-- The counts of a group, which must add up; `out` is how many are leased.
function groups.adds_up(group, out)
  local s = group:stats()
  if out then assert.equal(out, s.leased) end
  assert.equal(s.entries, (s.available or 0) + s.kernel + s.leased)
  assert.truthy(s.kernel >= 0 and s.leased >= 0)
  return s
end

-- All buffers are at home.
function groups.all_home(group)
  local s = groups.adds_up(group, 0)
  assert.equal(s.entries, s.available or s.kernel)
end

-- A multishot receive that picks from the group.
function groups.multishot(fd, group)
  return uring.sqe():prep_recv_multishot(fd):set_buf_group(group:bgid())
end

-- A group, a stream and a multishot receive on it: ring, group, from, op, to.
function groups.armed(options, type)
  local ring = hand.ring()
  local group = assert(ring:buf_ring(options))
  local a, b = sockets.pair(type or uring.SOCK_STREAM)
  local op = ring:queue(groups.multishot(b, group))
  ring:submit()
  return ring, group, a, op, b
end

-- Do a completion's flags say that more will follow?
function groups.more(flags)
  return flags & uring.IORING_CQE_F_MORE ~= 0
end

return groups
