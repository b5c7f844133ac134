-- Events: waits that do nothing until they are chosen; and the choice.
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
-- `event` is chosen with. If the task is cancelled before it could take them,
-- `event:back(...)` gets them back; an event without it has been chosen all
-- the same, and it is the task's next wait that raises. What a waiter has
-- under an event as its key is that event's own.

local core = require "uring.core"

local tasks <const> = core._tasks
local enter <const>, park <const>, turn <const>, wake <const>, now <const> =
  tasks.enter, tasks.park, tasks.turn, tasks.wake, tasks.now
local cancelled <const>, refuse <const> = tasks.cancelled, tasks.refuse
local select <const> = select
-- (a host may have left out the debug library)
local traceback <const> = debug and debug.traceback or function() end
local ETIME <const>, ECANCELED <const> =
  core.errno.ETIME, core.errno.ECANCELED


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


-- ---- waiters --------------------------------------------------------------

-- The arrangements of one task for one choice. For C events their ears are
-- in it, by event.
local Waiter = {}
Waiter.__index = Waiter

function Waiter:wake() wake(self.task) end

-- (A task that has ended, or that its cancellation is about to reach, takes
-- nothing any more; nor does one of the parent's in a forked child.)
function Waiter:choose(event, ...)
  if self.over or not wake(self.task) then return false end
  self.over = true
  self.chosen, self.values = event, table.pack(...)
  return true
end

-- For whoever has chosen it: its values, once, if its task will not take them
-- any more; or nothing.
function Waiter:recall()
  if self.taken or not (self.closing or cancelled(self.task)) then return end
  self.taken = true
  return table.unpack(self.values, 1, self.values.n)
end

-- The task goes on, cancelled or not: was its waiter chosen, and with what?
-- What cannot go back was done, and whoever waited is told so.
local function is_chosen(waiter, event, stopped)
  if (stopped or waiter.taken) and not (event and not event.back) then
    error(core.cancelled, 0)
  end
  return event
end

local function take_back(self)
  local event = self.chosen
  self.chosen = nil
  if event and not self.taken and event.back then
    event:back(table.unpack(self.values, 1, self.values.n))
  end
  while self.n > 0 do
    local n = self.n
    self.n = n - 1
    local ending = self.blocked[n]:cancel(self)
    if ending and missing(ending) == nil then self[#self + 1] = ending end
  end
end

local wait

-- What was begun has ended before a choice that has chosen nothing does: when
-- uring.timeout(seconds, f) is over nothing of f's shall be under way. (Who
-- has something goes on with it, and is not held up by what resists.)
local function outlast(endings)
  if #endings == 0 then return end
  local ok, shield = pcall(tasks.shield, math.huge)
  if not ok then return end  -- (in a coroutine that is closed nothing waits)
  local _ <close> = shield
  for _, ending in ipairs(endings) do
    if not ending:try() then wait({ ending }, { 1 }, { ending }, 1) end
  end
end

-- Every arrangement is taken back, by whatever it ends, and though another
-- one's cancel fails.
function Waiter:__close(err)
  self.over, self.closing = true, true
  local ok, message = pcall(take_back, self)
  while self.n > 0 do pcall(take_back, self) end
  if err ~= nil then outlast(self) end
  if not ok then error(message, 0) end
end


-- ---- choosing -------------------------------------------------------------

-- xorshift; the program's own math.random is left alone.
local seed = 88172645463325252
local function random(n)
  seed = seed ~ (seed << 13)
  seed = seed ~ (seed >> 7)
  seed = seed ~ (seed << 17)
  return (seed >> 1) % n
end

-- The events of a choice are a list of keys and one of the events at them, as
-- they were when it began.
local attempt

local function attempted(keys, list, n, waiter, event, key, ready, ...)
  if ready then return event, key, ... end
  return attempt(keys, list, n, waiter)
end

-- The first that is ready, its key, and its values; or nil. Each is picked at
-- random among the n that are left.
function attempt(keys, list, n, waiter)
  if n == 0 then return nil end
  if n > 1 then
    local i = random(n) + 1
    keys[i], keys[n] = keys[n], keys[i]
    list[i], list[n] = list[n], list[i]
  end
  local event = list[n]
  return attempted(keys, list, n - 1, waiter, event, keys[n],
    event:try(waiter))
end

local spare_keys, spare_list  -- when no other choice is using them

local function refuse_bare(events)
  if missing(events) == nil then
    refuse("bad argument #1 to 'select' (table of events expected, got an "
      .. "event: uring.select{ event })")
  end
end

-- None of the library's own: is it an event?
local function check_event(events, key, event)
  local name = missing(event)
  if name == nil then return end
  refuse_bare(events)
  if name then
    refuse(("bad argument #1 to 'select' (the event at [%s] has no method "
      .. "'%s': it takes try, block and cancel)"):format(tostring(key), name))
  end
  refuse(("bad argument #1 to 'select' (event expected at [%s], got %s: "
    .. "x:receiving(), task:joining() and their like make events)")
    :format(tostring(key), type(event)))
end

local function gather(events)
  local keys, list, n = spare_keys or {}, spare_list or {}, 0
  spare_keys, spare_list = nil, nil
  for key, event in next, events do
    local kind = type(event)
    if kind ~= "userdata" and kind ~= "table" or not event.is_event then
      check_event(events, key, event)
    end
    n = n + 1
    keys[n], list[n] = key, event
  end
  if n == 0 then refuse_bare(events) end
  return keys, list, n
end

-- An event whose values go through functions of the user's.
local Wrapped = {}

local function unwrapped(event)
  return getmetatable(event) == Wrapped and event.event or event
end

-- What the waiter was given by the other side.
local function taken(keys, list, n, waiter)
  if waiter.taken then error(core.cancelled, 0) end  -- (it was recalled)
  waiter.taken = true
  for i = 1, n do
    if rawequal(unwrapped(list[i]), waiter.chosen) then
      return list[i], keys[i],
        table.unpack(waiter.values, 1, waiter.values.n)
    end
  end
  refuse "an event has chosen one that is not in the choice"
end

-- The first of the times that events have named which is later than `past`.
local function soonest(waiter, past)
  local first
  for i = 1, waiter.n do
    local time = waiter.times[i]
    if time and time > past and (not first or time < first) then
      first = time
    end
  end
  return first
end

-- All were tried; `at` is when to do so again in any case.
local function tried_again(keys, list, n, events, waiter, deadline, at, inside,
                           event, ...)
  if event then return event, ... end
  if waiter.chosen then return taken(keys, list, n, waiter) end  -- (by a try)
  if deadline and now() >= deadline then return nil, waiter end
  local again = at
  if deadline and (not at or deadline < at) then again = deadline end
  local stopped = park("in uring.select", events, again, inside)
  if is_chosen(waiter, waiter.chosen, stopped) then
    return taken(keys, list, n, waiter)
  end
  if at then
    local time = now()  -- (before they are tried: who is ready now is seen)
    if time >= at then at = soonest(waiter, time) end
  end
  return tried_again(keys, list, n, events, waiter, deadline, at, inside,
    attempt(keys, list, n, waiter))
end

-- A poll: what is there after a turn, and after another as long as something
-- has come of the last; but wakes may come for nothing.
local TURNS <const> = 16

local function polled(keys, list, n, waiter, turns, event, ...)
  if event then return event, ... end
  if waiter.chosen then return taken(keys, list, n, waiter) end  -- (by a try)
  if turns == 0 then return nil, waiter end
  local stopped, was_called = turn()
  if is_chosen(waiter, waiter.chosen, stopped) then
    return taken(keys, list, n, waiter)
  end
  return polled(keys, list, n, waiter, was_called and turns - 1 or 0,
    attempt(keys, list, n, waiter))
end

local function refuse_time(again)
  refuse(("an event's block has returned a %s: expected is nothing, or the "
    .. "uring.now() at which to try again"):format(type(again)))
end

-- Wait until one of them is ready: the event, its key, and its values; or nil,
-- and the waiter, when the time is over.
function wait(events, keys, list, n, timeout)
  local deadline = timeout and timeout < math.huge and now() + timeout or nil
  local waiter <close> = setmetatable({
    task = core.current(), blocked = {}, n = 0,
  }, Waiter)
  local at, inside = nil, true
  for i = 1, n do
    local event = unwrapped(list[i])
    if waiter[event] == nil then  -- (it may be in the choice twice)
      waiter[event] = true
      local again, only = event:block(waiter)
      local blocked = waiter.n + 1
      waiter.blocked[blocked] = event
      waiter.n = blocked
      if again then
        if type(again) ~= "number" then refuse_time(again) end
        waiter.times = waiter.times or {}
        waiter.times[blocked] = again
        if not at or again < at then at = again end
      end
      inside = inside and only
      if waiter.chosen then return taken(keys, list, n, waiter) end
    end
  end
  if timeout and timeout <= 0 then
    return polled(keys, list, n, waiter, TURNS)
  end
  return tried_again(keys, list, n, events, waiter, deadline, at, inside,
    attempt(keys, list, n, waiter))
end

-- Without the event.
local function won(event, key, ...)
  if event == nil then
    outlast(key)
    return nil, "timed out", ETIME
  end
  if getmetatable(event) == Wrapped then return key, event.after(...) end
  return key, ...
end

local function settled(events, keys, list, n, timeout, event, ...)
  if not event then return won(wait(events, keys, list, n, timeout)) end
  for i = 1, n do keys[i], list[i] = nil, nil end  -- (they keep nothing)
  spare_keys, spare_list = keys, list
  return won(event, ...)
end


-- ---- one alone ------------------------------------------------------------

-- Who waits for one of the library's own events and nothing else is both
-- waiter and place in its line (so it knows its `event`), and is used again
-- when it is over.
local Lone = {}
Lone.__index = Lone
local idle, idling = nil, 0
local KEPT <const> = 256

local function kept(waiter)
  local n = waiter.n
  if n == 1 then return waiter.value end
  return table.unpack(waiter.value, 1, n)
end

function Lone:choose(_, ...)
  if self.over or not wake(self.task) then return false end
  self.over = true
  local n = select("#", ...)
  self.n = n
  if n == 1 then self.value = ... else self.value = { ... } end
  return true
end

function Lone:recall()
  if self.taken or not (self.closing or cancelled(self.task)) then return end
  self.taken = true
  return kept(self)
end

function Lone:__close()
  local event = self.event
  if self.over and not self.taken and event.back then
    self.closing = true
    event:back(kept(self))
    self.closing = false
  end
  event:cancel(self)
  self.over, self.taken, self.value, self.event = false, false, nil, nil
  if idling < KEPT then
    idling = idling + 1
    self.next, idle = idle, self
  end
end

-- `task` is what `enter` has given.
local function alone(task, event, timeout)
  local at = timeout and timeout < math.huge and now() + timeout or nil
  local unused = idle
  if unused then
    idle, idling = unused.next, idling - 1
  else unused = setmetatable({ over = false, taken = false, n = 0 }, Lone) end
  local waiter <close> = unused
  waiter.event, waiter.task = event, task
  event:block(waiter)
  local stopped = timeout and timeout <= 0 and turn()
  while not is_chosen(waiter, waiter.over and event, stopped) do
    if at and now() >= at then return nil, "timed out", ETIME end
    stopped = park("for", event, at, true)
  end
  waiter.taken = true
  return kept(waiter)
end

local function check_timeout(timeout, n, name)
  if timeout ~= nil and (type(timeout) ~= "number" or timeout ~= timeout
      or timeout < 0) then
    error(("bad argument #%d to '%s' (seconds expected, 0 or more, got %s)")
      :format(n, name, type(timeout) == "number" and timeout
      or type(timeout)), 3)
  end
end

local function choose(events, timeout)
  if type(events) ~= "table" then
    refuse_bare(events)
    error("bad argument #1 to 'select' (table of events expected, got "
      .. type(events) .. ")", 2)
  end
  check_timeout(timeout, 2, "select")
  enter("uring.select")
  local keys, list, n = gather(events)
  return settled(events, keys, list, n, timeout,
    attempt(keys, list, n, nil))
end


-- ---- events ---------------------------------------------------------------

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

Timer.cancel = function() end

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

function Call:block(waiter)
  -- (it is who chooses that keeps the scope open, or does not)
  local call = {}
  call.task = tasks.daemon({ main = perform, name = self.name }, call, self.f,
    table.unpack(self, 1, self.n))
  call.ended = call.task:joining()
  waiter[self] = call
  return call.ended:block(waiter)
end

function Call:cancel(waiter)
  local call = waiter[self]
  call.ended:cancel(waiter)
  call.lost = true
  call.task:cancel("another event was chosen")
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
  -- for channels and their like
  class = class, alone = alone, check_timeout = check_timeout,
  -- for everybody
  public = {
    select = choose, event = event, after = after, at = at, now = now,
  },
}
