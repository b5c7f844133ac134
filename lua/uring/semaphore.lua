-- Semaphores: a number of units that tasks acquire and release. `count` of
-- them are free. A release delivers its unit to the first waiter; the unit is
-- put back if that task is cancelled before it runs (waitq.lua).
--
-- Invariant: no unit is lost or duplicated, whatever fails.

local core = require("uring.core").public
local event = require "uring.event"
local waitq = require "uring.waitq"

local enter <const> = require("uring.core").enter
local check_timeout <const> = require("uring.core").check_timeout
local wake_first <const>, deliver <const>, revoke <const>, wait <const> =
  waitq.wake_first, waitq.deliver, waitq.revoke, waitq.wait
local type <const>, error <const>, tointeger <const> =
  type, error, math.tointeger
local getmetatable <const>, setmetatable <const> = getmetatable, setmetatable
local EAGAIN <const> = core.errno.EAGAIN

local Semaphore = {}
Semaphore.__index = Semaphore
Semaphore.__name = "uring.Semaphore"

-- Put the revoked units back.
-- guard: it calls nothing, so that each unit is put back once
local function restore(self)
  local node = self.undelivered
  while node do
    self.count, self.undelivered = self.count + 1, node.next
    node = node.next
  end
end

-- Put the revoked units back, and deliver free units to the waiters. If this
-- raises, the semaphore stays `unsettled`, and the next call does the rest.
local function settle(self)
  revoke()
  if not self.unsettled then return end
  restore(self)
  while self.count > 0 do
    local node = wake_first(self.event.queue, nil)
    if not node then break end
    deliver(node, self, 1, 0, self)
    self.count = self.count - 1
  end
  self.unsettled = false
end

local function try_acquire(self)
  if self.unsettled or self.untaken > 0 then settle(self) end
  if self.count > 0 then
    self.count = self.count - 1
    return true, self
  end
end

local Acquiring = event.class {}

function Acquiring:try() return try_acquire(self.source) end

Acquiring.block, Acquiring.cancel = waitq.enqueue, waitq.dequeue

function Acquiring:settle() settle(self.source) end

function Acquiring:__tostring()
  return ("uring.Event (acquiring of %s)"):format(self.source)
end

-- (The error is at the caller of the method that calls this.)
local function check(self, name)
  if getmetatable(self) ~= Semaphore then
    error(("bad argument #1 to '%s' (uring.Semaphore expected, got %s)")
      :format(name, type(self)), 3)
  end
end

function Semaphore:acquire(timeout)
  check(self, "acquire")
  check_timeout(timeout, 1, "acquire")
  local task = enter("semaphore:acquire")
  if try_acquire(self) then return self end
  return wait(task, self.event, timeout)
end

function Semaphore:try_acquire()
  check(self, "try_acquire")
  if try_acquire(self) then return self end
  return nil, "acquire: the semaphore is taken", EAGAIN
end

function Semaphore:acquiring()
  check(self, "acquiring")
  return self.event
end

function Semaphore:release()
  check(self, "release")
  if self.unsettled or self.untaken > 0 then settle(self) end
  local node = wake_first(self.event.queue, nil)
  if node then deliver(node, self, 1, 0, self)
  else self.count = self.count + 1
  end
end

-- `acquire` returns the semaphore, so that the end of a block can release it:
--     local _ <close> = semaphore:acquire()
Semaphore.__close = Semaphore.release

-- The number of free units.
function Semaphore:__len()
  check(self, "__len")
  settle(self)
  return self.count
end

function Semaphore:__tostring()
  check(self, "__tostring")
  return ("uring.Semaphore (%d)"):format(#self)
end

local function semaphore(n)
  local count = type(n) == "number" and tointeger(n)
  if not count or count < 0 or count >= 1 << 31 then
    error("bad argument #1 to 'semaphore' (integer expected, 0 or more)", 2)
  end
  local self = setmetatable({ count = count, undelivered = false,
    unsettled = false, untaken = 0, event = false }, Semaphore)
  self.event = setmetatable({ source = self, queue = waitq.new() }, Acquiring)
  return self
end

return { public = { semaphore = semaphore } }
