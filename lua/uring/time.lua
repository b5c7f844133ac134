-- time: uring.at_time, an event of the wall clock, and uring.every, ticks that
-- do not drift. (csrc/task/wall_timer.c: what the kernel is asked for.
-- uring.after and uring.at are in event.lua.)
--
-- Ticks are times that are computed, and nothing runs for them: the n-th comes
-- n periods after the first moment, by uring.now(), however late those before
-- it were received.
--
-- Invariant: a tick is received by every task that waits for it; one that no
-- task waits for is kept, and the last of several is.

local public = require("uring.core").public
local protocol = require "uring.event"
local choose <const> = require("uring.select").public.select

local core <const> = require "uring.core"
local argument <const> = require "uring.argument"
local bad_argument <const>, check_loop <const> =
  argument.bad_argument, argument.check_loop
local now <const>, time <const> = public.now, public.time
local class <const>, cannot_raise <const> =
  protocol.class, protocol.cannot_raise
local wall_timer <const>, wall_timer_again <const>, wall_timer_close <const> =
  core.wall_timer, core.wall_timer_again, core.wall_timer_close
local type <const>, next <const> = type, next
local getmetatable <const>, setmetatable <const> = getmetatable, setmetatable
local format <const>, floor <const>, max <const> =
  string.format, math.floor, math.max
local HUGE <const> = math.huge
local EBADF <const> = public.errno.EBADF


-- ---- the wall clock -------------------------------------------------------

local function wall() end
local WallTime <const> = class({}, wall)

function WallTime:try(waiter)
  if time() >= self.time then return true end
  local timer = waiter and waiter[self]
  if type(timer) == "userdata" then wall_timer_again(timer) end
end

function WallTime:block(waiter) waiter[self] = wall_timer(self.time) end

function WallTime:cancel(waiter) wall_timer_close(waiter[self]) end

cannot_raise[wall] = true

function WallTime:__tostring()
  return format("uring.Event (at_time %.6f)", self.time)
end

local function at_time(t)
  core.check_time(t, 1, "at_time")
  return setmetatable({ time = t }, WallTime)
end


-- ---- ticks ----------------------------------------------------------------

local function ticking() end
local Ticking <const> = class({}, ticking)

local function time_of(ticks, n) return ticks.start + n * ticks.period end

-- Times are rounded: a host that steps by the period means to meet each tick.
local ROUNDING <const> = 1e-6

-- The number of the last tick that has come, if that is not below `least`. (It
-- has at the time that `block` has returned: none tries again later.)
local function come(ticks, least)
  local t = now() + ROUNDING
  if t < time_of(ticks, least) then return nil end
  return max(least, floor((t - ticks.start) / ticks.period))
end

function Ticking:try(waiter)
  local ticks = self.ticks
  if not ticks.open then return true, nil, "the ticks were closed", EBADF end
  local least = waiter and waiter[self]
  local n = come(ticks, type(least) == "number" and least or ticks.taken + 1)
  if not n then return end
  ticks.taken = max(ticks.taken, n)
  return true, n
end

-- (It waits for this one, also if another task then receives it first.)
function Ticking:block(waiter)
  local ticks = self.ticks
  local n = ticks.taken + 1
  waiter[self] = n
  ticks.waiters[waiter] = true
  return time_of(ticks, n)
end

function Ticking:cancel(waiter) self.ticks.waiters[waiter] = nil end

cannot_raise[ticking] = true

function Ticking:__tostring()
  return format("uring.Event (every %g)", self.ticks.period)
end

local Ticks <const> = { __name = "uring.Ticks" }
Ticks.__index = Ticks

local function check_self(self, name, open)
  if getmetatable(self) ~= Ticks then
    bad_argument(1, name, "uring.Ticks expected, got %s", core.typename(self))
  elseif open and not self.open then
    bad_argument(1, name, "attempt to use closed ticks")
  end
end

local function every(seconds)
  core.check_seconds(seconds, 1, "every")
  if seconds < 1e-9 or seconds == HUGE then  -- (the clock has nanoseconds)
    bad_argument(1, "every", "seconds above 0 expected, and a finite number")
  end
  local self = setmetatable({ period = seconds, start = now(), taken = 0,
    waiters = {}, open = true }, Ticks)
  self.event = setmetatable({ ticks = self }, Ticking)
  return self
end

local function received(key, ...)
  if key == nil then return nil, ... end
  return ...
end

function Ticks:receive(seconds)
  check_self(self, "receive", true)
  core.check_timeout(seconds, 1, "receive")
  return received(choose({ self.event }, seconds))
end

function Ticks:receiving()
  check_self(self, "receiving", true)
  return self.event
end

-- The step of a loop: nil when they are closed.
local function step(self)
  check_loop(self, Ticks, "messages")
  if not self.open then return nil end
  return (received(choose { self.event }))
end

function Ticks:messages()
  check_self(self, "messages", true)
  return step, self, nil, self
end

function Ticks:__call()
  check_self(self, "call")
  return step(self)
end

function Ticks:close()
  check_self(self, "close")
  self.open = false
  for waiter in next, self.waiters do waiter:wake() end
  return true
end

Ticks.__close = Ticks.close

function Ticks:__tostring()
  return format("uring.Ticks (%severy %g s)", self.open and "" or "closed, ",
    self.period)
end


return { public = { at_time = at_time, every = every } }
