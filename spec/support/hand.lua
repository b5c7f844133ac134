-- Rings by hand, for specs: rings that are closed after the test, with their
-- books looked at; completions and messages taken one by one.
--
--     local hand = require "hand"
--     after_each(hand.close)
--
--     local ring = hand.ring { entries = 4 }
--     assert.equal(0, hand.one(ring, hand.nop()))

local helper = require "helper"
local uring = require "uring"

local hand = {}
local rings = {}
local E = uring.errno

-- How long something may take that comes at once.
hand.patience = 10 * helper.slow

-- To be closed by hand.close.
function hand.keep(ring)
  rings[#rings + 1] = ring
  return ring
end

-- A ring that hand.close closes.
function hand.ring(options)
  return hand.keep(assert(uring.ring(options)))
end

-- Closes what hand.ring and hand.keep were given. After each test all that
-- was submitted must have completed, be silent, or be in flight; after each
-- close nothing is in flight, and no memory was left to the kernel.
function hand.close()
  local all = rings
  rings = {}
  for _, ring in ipairs(all) do helper.lawful(ring) end
  for _, ring in ipairs(all) do
    assert(ring:close())
    local stats = helper.lawful(ring)
    assert(stats.in_flight == 0, "in flight on a closed ring")
    assert(stats.leaked == 0, "memory was left to the kernel")
  end
end

hand.nop = helper.nop

-- Comes when these seconds are over.
function hand.timeout(seconds, data)
  return uring.sqe():prep_timeout(seconds):set_data64(data or 0)
end

-- An SQE that fails.
function hand.bad(data)
  return uring.sqe():prep_close(9999):set_data64(data or 0)
end

-- A message to a ring, to be queued on another.
function hand.msg(...)
  return uring.sqe():prep_msg_ring(...)
end

-- The same SQE, whose descriptor is a slot of the ring's table.
function hand.fixed(sqe)
  return sqe:set_flags(uring.IOSQE_FIXED_FILE)
end

-- Whether a completion's flags have this one.
function hand.has(flags, bit)
  return flags & bit ~= 0
end

-- What comes next, which must be a completion: data, res, flags.
function hand.take(ring)
  local data, res, flags, kind = ring:wait_cqe(hand.patience)
  if not data then error(res, 2) end
  if kind ~= "completion" then error("this is a message", 2) end
  return data, res, flags
end

-- What comes next, which must be a message: len (signed), data, flags.
function hand.message(ring)
  local data, res, flags, kind = ring:wait_cqe(hand.patience)
  if not data then error(res, 2) end
  if kind ~= "message" then error("this is a completion", 2) end
  return res, data, flags
end

-- One SQE from its queueing to its completion: res, data, flags.
function hand.one(ring, sqe)
  assert(ring:queue(sqe))
  local data, res, flags = hand.take(ring)
  return res, data, flags
end

-- The next n completions, in whatever order: data -> res.
function hand.some(ring, n)
  local got = {}
  for _ = 1, n do
    local data, res = hand.take(ring)
    assert(got[data] == nil, "two completions have the same data")
    got[data] = res
  end
  return got
end

-- What the file in a slot of the ring's table gives to a read at `offset` (0):
-- a string, or the negative error number.
function hand.content(ring, slot, offset)
  local buffer = uring.buffer(100)
  local n = hand.one(ring, hand.fixed(uring.sqe():prep_read(slot, buffer, nil,
    offset or 0)))
  return n >= 0 and buffer:string(1, n) or n
end

-- An awaited SQE that the kernel must refuse with this error, whose message
-- says `words`. (In a task.)
function hand.await_fails(ring, words, errno, sqe)
  local res, why, err, flags = ring:await(sqe)
  assert(res == nil and err == errno and flags == 0, why)
  if not why:find(words, 1, true) then
    error(("the error does not say %q:\n%s"):format(words, why), 2)
  end
end

-- Skips a test where the kernel does not know this opcode.
function hand.needs_op(name, since)
  helper.needs_ring()
  if not helper.probe.ops[name] then
    helper.skip("%s needs Linux %s (this is %s)", name, since,
      helper.probe.kernel)
  end
end

-- Nothing has come: a request that comes back has gone by it.
function hand.nothing(ring)
  assert(hand.one(ring, hand.nop(-77)) == 0)
  local data, _, errno = ring:peek_cqe()
  if data or errno ~= E.EAGAIN then error("something has come", 2) end
end

return hand
