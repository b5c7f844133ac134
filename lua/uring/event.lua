-- Events: waits that do nothing until they are chosen (by select.lua).
--
-- An event is an object with three methods, whoever has written it:
--
--   event:try(waiter)     takes what is there, and returns true and the
--                         values; or returns nothing, and has done nothing.
--                         `waiter` is nil before the event was blocked on.
--   event:block(waiter)   arranges for waiter:wake() to be called when it may
--                         be worth trying again. May return the uring.now()
--                         at which to try again in any case; and, second, true
--                         if only tasks of this state can make it ready.
--   event:cancel(waiter)  takes that arrangement back. Called once for each
--                         block that did not raise, whatever was chosen and
--                         however it ended. May return an event: that what
--                         block had begun has ended.
--
-- None of them may wait. An event that a choice has twice is blocked on once.
-- A choice tries all events, in a random order; if none is ready it blocks on
-- all, and tries again whenever it was woken. So a loser has taken nothing. A
-- waiter knows: `waiter:wake()`, which may be called at any time and for
-- nothing; and `waiter:choose(event, ...)` for events that two sides complete
-- at once: true if it was still open, and then these are the values that
-- `event` is chosen with. (If that raises, for want of memory, nothing has
-- happened.) If the task is cancelled before it could take them,
-- `event:back(...)` gets them back; an event without it has been chosen all
-- the same, and it is the task's next wait that raises. What a waiter has
-- under an event as its key is that event's own.

local core = require("uring.core").public

local tasks <const> = require "uring.core"
local now <const> = core.now
-- (a host may have left out the debug library)
local traceback <const> = debug and debug.traceback or function() end
local ECANCELED <const> = core.errno.ECANCELED


local METHODS <const> = { "try", "block", "cancel" }

local function is_callable(f)
  return type(f) == "function"
    or type(f) ~= "string" and getmetatable(f) ~= nil
end

-- nil if it is an event; false if it is nothing of the kind; or the name of
-- the method that it has not.
local function missing(event)
  local kind = type(event)
  if kind ~= "userdata" and kind ~= "table" or event.try == nil then
    return false
  end
  for _, name in ipairs(METHODS) do
    if not is_callable(event[name]) then return name end
  end
end


-- What all events can do, C's too; who has `is_event` is known to have all
-- three methods.
local Event = tasks.Event
Event.is_event = true

local function check_function(f)
  if type(f) ~= "function" then
    error("bad argument #1 to 'wrap' (function expected, got " .. type(f)
      .. ")", 3)
  end
end

-- An event whose values go through functions of the user's.
local Wrapped = {}

-- The same event, whose values are what f makes of them, after the choice.
function Event:wrap(f)
  check_function(f)
  return setmetatable({ event = self, after = f }, Wrapped)
end

Wrapped.__index = Wrapped
Wrapped.__name = "uring.Event"
Wrapped.is_event = true

function Wrapped:try(waiter) return self.event:try(waiter) end
function Wrapped:block(waiter) return self.event:block(waiter) end
function Wrapped:cancel(waiter) return self.event:cancel(waiter) end

function Wrapped:wrap(f)
  check_function(f)
  local first = self.after
  return Event.wrap(self.event, function(...) return f(first(...)) end)
end

-- A class of events.
local function class(methods)
  methods.__index = methods
  methods.__name = "uring.Event"
  methods.wrap, methods.is_event = Event.wrap, true
  return methods
end

function Wrapped:__tostring() return tostring(self.event) end

-- A time: `seconds` after the choice begins, or `time` on uring.now().
local Timer = class {}

function Timer:try(waiter)
  if self.seconds == 0 then return true end  -- (without a wait to count from)
  local time = self.time or waiter and waiter[self]
  return time and now() >= time
end

function Timer:block(waiter)
  local time = self.time or now() + self.seconds
  waiter[self] = time
  return time
end

local function nothing() end

Timer.cancel = nothing

-- Functions that are a class's cancel and fail at nothing, nor call another.
-- (Of C's events all are so.)
local plain = { [nothing] = true }

function Timer:__tostring()
  return ("uring.Event (%s %g)"):format(self.time and "at" or "after",
    self.time or self.seconds)
end

local function check_number(n, what)
  if type(n) ~= "number" or n ~= n then
    error(("bad argument #1 to '%s' (seconds expected, got %s)"):format(what,
      type(n)), 3)
  end
end

local function after(seconds)
  check_number(seconds, "after")
  if seconds < 0 then
    error("bad argument #1 to 'after' (seconds expected, 0 or more)", 2)
  end
  return setmetatable({ seconds = seconds }, Timer)
end

local function at(time)
  check_number(time, "at")
  return setmetatable({ time = time }, Timer)
end

-- Any other wait: a task for each choice, cancelled if it loses.
local Call = class {}

-- What f has raised goes on, and is told with f's traceback.
local function raise(call, value)
  if call.traceback then tasks.note_as(value, call.traceback) end
  error(value, 0)
end

local function called(call, ready, ended, ok, ...)
  if not ready then return end
  if ended and ok then return true, ... end
  -- f's own error is the choice's; a task that was cancelled is a failure
  if not ended or rawequal((...), core.cancelled) then
    return true, nil, "the task was cancelled", ECANCELED
  end
  raise(call, (...))
end

-- The task of a call. What f raises when it has lost is told by nobody, and
-- so its scope's error.
local function performed(call, ok, ...)
  if call.lost and not ok then raise(call, (...)) end
  return ok, ...
end

local function perform(call, f, ...)
  return performed(call, xpcall(f, function(value)
    call.traceback = traceback(nil, 2)
    return value
  end, ...))
end

function Call:try(waiter)
  local call = waiter and waiter[self]
  if type(call) == "table" then
    return called(call, call.ended:try(waiter))
  end
end

local function listen(call, waiter)
  call.ended = call.task:joining()
  return call.ended:block(waiter)
end

-- (why is only kept if there is memory for it)
local function lose(call)
  call.lost = true
  if not pcall(call.task.cancel, call.task, "another event was chosen") then
    call.task:cancel()
  end
end

function Call:block(waiter)
  local call = { task = false, ended = false, lost = false, traceback = false }
  waiter[self] = call
  -- (it is who chooses that keeps the scope open, or does not)
  call.task = tasks.daemon({ main = perform, name = self.name }, call, self.f,
    table.unpack(self, 1, self.n))
  local ok, again, inside = pcall(listen, call, waiter)
  if ok then return again, inside end
  lose(call)  -- (a block that raises has begun nothing)
  error(again, 0)
end

function Call:cancel(waiter)
  local call = waiter[self]
  call.ended:cancel(waiter)
  lose(call)
  return call.ended
end

function Call:__tostring()
  return ("uring.Event (call of %s)"):format(self.name or tostring(self.f))
end

local function check_option(name, value, kind)
  if type(value) ~= kind then
    error(("bad argument #1 to 'event' (option '%s' must be a %s)"):format(
      name, kind), 4)
  end
end

-- One by somebody else, with these methods.
local Foreign = class {}

local function foreign(methods)
  for name, f in next, methods do
    if name ~= "try" and name ~= "block" and name ~= "cancel"
        and name ~= "back" then
      error(("bad argument #1 to 'event' (unknown option '%s'; they are "
        .. "try, block, cancel, back; or main, name)")
        :format(tostring(name)), 3)
    end
    check_option(name, f, "function")
  end
  if not (methods.try and methods.block and methods.cancel) then
    error("bad argument #1 to 'event' (options try, block and cancel "
      .. "expected, or main)", 3)
  end
  return setmetatable({ try = methods.try, block = methods.block,
    cancel = methods.cancel, back = methods.back }, Foreign)
end

-- { main=, name= }
local function named(options)
  for name, value in next, options do
    if name == "main" then check_option(name, value, "function")
    elseif name == "name" then check_option(name, value, "string")
    else
      error(("bad argument #1 to 'event' (unknown option '%s'; they are "
        .. "main, name; or try, block, cancel, back)")
        :format(tostring(name)), 3)
    end
  end
  return options.main, options.name
end

local function event(f, ...)
  local name
  if type(f) == "table" then
    if f.main == nil then
      local e = foreign(f)  -- (no tail call: its errors count levels)
      return e
    end
    f, name = named(f)
  end
  if type(f) ~= "function" then
    error("bad argument #1 to 'event' (function or table expected, got "
      .. type(f) .. ")", 2)
  end
  local call = table.pack(...)
  call.f, call.name = f, name
  return setmetatable(call, Call)
end

return {
  -- for choices, channels and their like
  class = class, missing = missing, Wrapped = Wrapped, plain = plain,
  -- for everybody
  public = { event = event, after = after, at = at },
}
