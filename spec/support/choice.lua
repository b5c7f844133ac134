-- Events for specs of choices: one as another library might have it, one
-- that is ready at once; and what makes others ready.
--
--     local choice = require "choice"
--
--     local s = choice.signal()
--     s.raise()
--     assert(uring.select { s = s.event } == "s")

local assert = require "luassert"
local helper = require "helper"
local uring = require "uring"

local choice = {}
local E = uring.errno

-- An event of another library, as it would write it: a flag that may
-- be raised, and stays so until a task takes it. It counts its calls.
function choice.signal()
  local self = { raised = false, blocks = 0, cancels = 0, waiters = {} }
  function self.raise()
    self.raised = true
    for waiter in pairs(self.waiters) do waiter:wake() end
  end
  self.event = uring.event {
    try = function()
      if self.broken then error "the signal is broken" end
      if self.raised then
        self.raised = false
        return true, "raised"
      end
    end,
    block = function(_, waiter)
      assert(not self.waiters[waiter], "blocked twice")
      self.waiters[waiter] = true
      self.blocks = self.blocks + 1
    end,
    cancel = function(_, waiter)
      assert(self.waiters[waiter], "cancelled without a block, or twice")
      self.waiters[waiter] = nil
      self.cancels = self.cancels + 1
    end,
  }
  return self
end

-- A message to that ring; when this is over it has come.
function choice.message(ring, n)
  assert(uring.await(uring.sqe():prep_msg_ring(ring, n, n)))
end

-- Every ready task runs, and what has completed is taken, some times.
function choice.turns(n)
  helper.turns(n or 5)
end

-- An event that is ready at once, with these values.
function choice.ready(...)
  local values = table.pack(true, ...)
  return uring.event {
    try = function() return table.unpack(values, 1, values.n) end,
    block = function() end,
    cancel = function() end,
  }
end

-- These are the results of a wait whose time was over.
function choice.timed_out(...)
  assert.same({ n = 3, nil, "timed out", E.ETIME }, table.pack(...))
end

return choice
