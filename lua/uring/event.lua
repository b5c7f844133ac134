-- event: events, which are waits that start only when select.lua blocks on
-- them. Here are the protocol, uring.event, uring.after, uring.at, and
-- event:wrap. (csrc/task/event.c: the events of C objects.)
--
-- An event is an object with three methods, of the library or of the program:
--
--   event:try(waiter)     If the event is ready, takes its values and returns
--                         true and the values. Else returns nothing, and has
--                         changed nothing. `waiter` is nil before `block`.
--   event:block(waiter)   Arranges that waiter:wake() is called when it may be
--                         worth trying again. May return the uring.now() at
--                         which to try again in any case; and as a second
--                         value true, if only tasks of this state can make it
--                         ready.
--   event:cancel(waiter)  Undoes `block`. Called once for each `block` that
--                         did not raise, whichever event was chosen and
--                         however the select ended. May return an event that
--                         is ready when what `block` started has ended.
--
-- None of them may wait. An event that a select has twice is blocked on once.
--
-- A select tries all its events in random order. If none is ready it blocks on
-- all, and tries them again after each wakeup. So an event that was not chosen
-- has taken nothing. `waiter:wake()` may be called at any time, and may be
-- spurious. The field of a waiter whose key is an event belongs to that event.
--
-- Invariant: an event that was blocked on is cancelled, whatever fails.

local public = require("uring.core").public
local argument <const> = require "uring.argument"

local core <const> = require "uring.core"
local now <const> = public.now
local bad_argument <const>, check_options <const> =
  argument.bad_argument, argument.check_options
local traceback <const>, is_callable <const> =
  core.traceback, core.is_callable
local error <const>, pcall <const>, xpcall <const> = error, pcall, xpcall
local type <const>, ipairs <const> = type, ipairs
local tostring <const>, rawequal <const> = tostring, rawequal
local setmetatable <const> = setmetatable
local rawget <const> = rawget
local format <const> = string.format
local pack <const>, unpack <const> = table.pack, table.unpack
local ECANCELED <const> = public.errno.ECANCELED


local METHODS <const> = { "try", "block", "cancel" }

-- nil for an event; false for a value that is no object; else the name of a
-- method that it lacks.
local function missing_method(event)
  local kind = type(event)
  if kind ~= "userdata" and kind ~= "table" or event.try == nil then
    return false
  end
  for _, name in ipairs(METHODS) do
    if not is_callable(event[name]) then return name end
  end
end


-- The methods of all events, those of C too. An object with `is_event` is
-- known to have the three methods.
local Event = core.Event
Event.is_event = true

-- Make a class of events of this table of methods. A script does not get that
-- as the metatable, but an empty function, by which select.lua knows the
-- class: or it could change what the selects of others do.
local function class(methods, token)
  methods.__index = methods
  methods.__name = "uring.Event"
  methods.__metatable = token
  methods.wrap, methods.is_event = Event.wrap, true
  return methods
end

-- An event whose values are passed through a function of the program's.
local function wrapped() end
local Wrapped = class({}, wrapped)

-- The same event, with the results of f(values), called after it was chosen.
function Event:wrap(f)
  core.check_function(f, 1, "wrap")
  return setmetatable({ event = self, after = f }, Wrapped)
end

function Wrapped:try(waiter) return self.event:try(waiter) end
function Wrapped:block(waiter) return self.event:block(waiter) end
function Wrapped:cancel(waiter) return self.event:cancel(waiter) end

function Wrapped:wrap(f)
  core.check_function(f, 1, "wrap")
  local first = self.after
  return Event.wrap(self.event, function(...) return f(first(...)) end)
end

function Wrapped:__tostring() return tostring(self.event) end

-- A time: `seconds` after the select begins, or `time` on uring.now().
local function timer() end
local Timer = class({}, timer)

function Timer:try(waiter)
  if self.seconds == 0 then return true end  -- (also before `block`)
  local time = self.time or waiter and waiter[self]
  return time and now() >= time
end

function Timer:block(waiter)
  local time = self.time or now() + self.seconds
  waiter[self] = time
  return time
end

function Timer.cancel() end

-- The classes whose `cancel` cannot raise and calls no other function.
local cannot_raise = { ["uring.Event"] = true, [timer] = true }

function Timer:__tostring()
  return format("uring.Event (%s %g)", self.time and "at" or "after",
    self.time or self.seconds)
end

local function after(seconds)
  core.check_seconds(seconds, 1, "after")
  return setmetatable({ seconds = seconds }, Timer)
end

local function at(time)
  core.check_time(time, 1, "at")
  return setmetatable({ time = time }, Timer)
end

-- A call of a function: a task for each select, cancelled if it is not chosen.
local Call = class({}, function() end)

-- Raise what f has raised, with the traceback of there.
local function raise(call, value)
  if call.traceback then core.note_as(value, call.traceback) end
  error(value, 0)
end

local function called(call, ready, ended, ok, ...)
  if not ready then return end
  if ended and ok then return true, ... end
  -- an error of f is raised by the select; a cancelled task is a failed call
  if not ended or rawequal((...), public.cancelled) then
    return true, nil, "the task was cancelled", ECANCELED
  end
  raise(call, (...))
end

-- The function of a call's task. After the call has lost, no select raises
-- what f raises, so the task does.
local function performed(call, ok, ...)
  if call.lost and not ok then raise(call, (...)) end
  return ok, ...
end

local function perform(call, f, ...)
  return performed(call, xpcall(f, function(value)
    if not rawequal(value, public.cancelled) then
      call.traceback = traceback(nil, 2)
    end
    return value
  end, ...))
end

function Call:try(waiter)
  local call = waiter and waiter[self]
  if type(call) == "table" then
    return called(call, call.ended:try(waiter))
  end
end

local function block_on_end(call, waiter)
  call.ended = call.task:joining()
  return call.ended:block(waiter)
end

-- (without memory for the reason it is cancelled without one)
local function cancel_call(call)
  call.lost = true
  if not pcall(call.task.cancel, call.task, "another event was chosen") then
    call.task:cancel()
  end
end

function Call:block(waiter)
  local blocked = waiter[self]
  if type(blocked) == "table" and blocked.ended then
    -- (another event has blocked on this)
    return blocked.ended:block(waiter)
  end
  local call = { task = false, ended = false, lost = false, traceback = false }
  waiter[self] = call
  -- (a daemon: the task that selects keeps the scope open, or does not)
  call.task = core.daemon({ main = perform, name = self.name }, call, self.f,
    unpack(self, 1, self.n))
  local ok, again, is_local = pcall(block_on_end, call, waiter)
  if ok then return again, is_local end
  cancel_call(call)  -- (a block that raises must leave nothing behind)
  error(again, 0)
end

function Call:cancel(waiter)
  local call = waiter[self]
  if type(call) ~= "table" then return end  -- (it has not blocked on this)
  call.ended:cancel(waiter)
  cancel_call(call)
  return call.ended
end

function Call:__tostring()
  return format("uring.Event (call of %s)", self.name or tostring(self.f))
end

-- An event of the program's, with these methods.
local Foreign = class({}, function() end)

local FOREIGN <const> = { { "try", "function" }, { "block", "function" },
  { "cancel", "function" } }
local CALL <const> = { { "main", "function" }, { "name", "string" } }

local function new_foreign(methods)
  methods = check_options(methods, 1, "event", FOREIGN)
  if not (methods.try and methods.block and methods.cancel) then
    bad_argument(1, "event", "options try, block and cancel expected, or main")
  end
  return setmetatable(methods, Foreign)
end

local function event(f, ...)
  local name
  if type(f) == "table" then
    if rawget(f, "main") == nil then return new_foreign(f) end
    local options = check_options(f, 1, "event", CALL)
    f, name = options.main, options.name
  elseif type(f) ~= "function" then
    bad_argument(1, "event", "function or table expected, got %s",
      core.typename(f))
  end
  local call = pack(...)
  call.f, call.name = f, name
  return setmetatable(call, Call)
end

return {
  -- for select.lua and time.lua
  missing_method = missing_method, wrapped = wrapped, Wrapped = Wrapped,
  cannot_raise = cannot_raise,
  class = class,
  public = { event = event, after = after, at = at },
}
