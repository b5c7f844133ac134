-- select: uring.select after it has tried its events, and none was ready: it
-- blocks on all, and tries them again after each wakeup. (The tries are
-- csrc/task/select.c.) event.lua describes the protocol of events and waiters.
--
-- Invariants: every event that was blocked on is cancelled, whatever fails. An
-- event that another task has chosen for the select is the one that it
-- returns.

local public = require("uring.core").public
local protocol = require "uring.event"

local core <const> = require "uring.core"
local park <const>, turn <const>, wake <const>, now <const> =
  core.park, core.turn, core.wake, public.now
local raise_at_caller <const>, decline <const>, attempt <const> =
  core.raise_at_caller, core.decline, core.attempt
local bad_argument <const> = require("uring.argument").bad_argument
local missing_method <const> = protocol.missing_method
local wrapped <const> = protocol.wrapped
local cannot_raise <const> = protocol.cannot_raise
local type <const>, getmetatable <const> = type, getmetatable
local error <const>, pcall <const> = error, pcall
local ipairs <const>, rawequal <const> = ipairs, rawequal
local tostring <const>, setmetatable <const> = tostring, setmetatable
local format <const>, HUGE <const> = string.format, math.huge
local ETIME <const> = public.errno.ETIME


-- ---- waiters --------------------------------------------------------------

-- A waiter is one task's select. It has the events that were blocked on, and
-- by event what that stores in it (of a C event, the select waiter).
local Waiter = {}
Waiter.__index = Waiter
Waiter.__metatable = false  -- (programs' events get waiters)

function Waiter:wake() wake(self.task) end

local function cancel(event, waiter) return event:cancel(waiter) end

local wait

-- Wait for the ends of all that was started. A select that has chosen no event
-- does so: after uring.timeout(seconds, f), nothing that f started may run. (A
-- select that has chosen one returns it at once.)
local function wait_for_ends(endings)
  if #endings == 0 then return end
  local ok, shield = pcall(core.shield, HUGE)
  if not ok then return end  -- (nothing can wait while a coroutine is closed)
  local _ <close> = shield
  for _, ending in ipairs(endings) do
    if not ending:try() then wait({ ending }, { 1 }, { ending }, 1) end
  end
end

-- Cancel all events that were blocked on, however the select ends, and though
-- one's cancel raises. The library's own cannot raise, and are called without
-- a pcall: that takes no more memory than their `try` did. Otherwise, without
-- memory, the value that was taken would be lost.
function Waiter:__close(err)
  local ok, message = true, nil
  for n = self.n, 1, -1 do
    local event, ending = self.blocked[n], nil
    local class = getmetatable(event)
    self.n = n - 1
    if cannot_raise[class] then
      ending = event:cancel(self)
    else
      local done, what = pcall(cancel, event, self)
      if done then ending = what else ok, message = false, what end
    end
    -- (a select that has chosen an event does not wait for ends)
    if ending and not self.won and missing_method(ending) == nil then
      self[#self + 1] = ending
    end
  end
  if err ~= nil then wait_for_ends(self) end
  if not ok then error(message, 0) end
end


-- ---- waiting --------------------------------------------------------------

local function unwrapped(event)
  return getmetatable(event) == wrapped and event.event or event
end

-- The first time later than `past` of those that `block` has returned.
local function next_time(waiter, past)
  local first
  for i = 1, waiter.n do
    local time = waiter.times[i]
    if time and time > past and (not first or time < first) then
      first = time
    end
  end
  return first
end

-- The event was chosen by another task. A program's own event around that may
-- refuse it: then all are tried.
local function try_chosen(keys, list, n, waiter, event, key, ready, ...)
  if ready then return event, key, ... end
  decline()
  return attempt(keys, list, n, waiter)
end

-- After a wait: try them again. If another task has chosen an event, which is
-- the one that was blocked on as the `chosen`-th, that one first: it succeeds.
local function try_again(keys, list, n, waiter, was_cancelled, chosen)
  if not chosen then
    if was_cancelled then error(public.cancelled, 0) end
    return attempt(keys, list, n, waiter)
  end
  local event = waiter.blocked[chosen]
  for i = 1, n do
    if rawequal(unwrapped(list[i]), event) then
      return try_chosen(keys, list, n, waiter, list[i], keys[i],
        list[i]:try(waiter))
    end
  end
  return try_chosen(keys, list, n, waiter)
end

-- All events were tried. Park, until the time `at` to try again at the latest.
local function park_and_retry(keys, list, n, events, waiter, deadline, at,
                              inside, event, ...)
  if event then
    waiter.won = true
    return event, ...
  end
  if deadline and now() >= deadline then return nil, waiter end
  local again = at
  if deadline and (not at or deadline < at) then again = deadline end
  local was_cancelled, _, chosen =
    park("in uring.select", events, again, inside)
  if at then
    local time = now()  -- (before the try, which sees what is ready by now)
    if time >= at then at = next_time(waiter, time) end
  end
  return park_and_retry(keys, list, n, events, waiter, deadline, at, inside,
    try_again(keys, list, n, waiter, was_cancelled, chosen))
end

-- With a timeout of 0: try again after a turn, and after further turns as long
-- as the task was notified in the last; a bounded number, since wakeups may be
-- spurious.
local TURNS <const> = 16

local function poll_turns(keys, list, n, waiter, turns, event, ...)
  if event then
    waiter.won = true
    return event, ...
  end
  if turns == 0 then return nil, waiter end
  local was_cancelled, was_notified, chosen = turn()
  return poll_turns(keys, list, n, waiter, was_notified and turns - 1 or 0,
    try_again(keys, list, n, waiter, was_cancelled, chosen))
end

local function raise_bad_time(again)
  raise_at_caller(format("an event's block has returned %s: expected is "
    .. "nothing, or the uring.now() at which to try again",
    again ~= again and "NaN" or "a " .. type(again)))
end

-- Wait until an event is ready: the event, its key, and its values; or nil and
-- the waiter after the timeout.
function wait(events, keys, list, n, timeout)
  local deadline = timeout and timeout < HUGE and now() + timeout or nil
  local waiter <close> = setmetatable({
    task = public.current(), blocked = {}, n = 0, won = false,
  }, Waiter)
  local at, inside = nil, true
  for i = 1, n do
    local event = unwrapped(list[i])
    if waiter[event] == nil then  -- (it may be in the select twice)
      waiter[event] = true
      local blocked = waiter.n + 1
      waiter.blocked[blocked] = event  -- (before: it may find no memory)
      local again, only = event:block(waiter)
      waiter.n = blocked
      if again then
        if type(again) ~= "number" or again ~= again then
          raise_bad_time(again)
        end
        waiter.times = waiter.times or {}
        waiter.times[blocked] = again
        if not at or again < at then at = again end
      end
      if not only then inside = false
      elseif only == "mailbox" then inside = inside and only
      end
    end
  end
  if timeout and timeout <= 0 then
    return poll_turns(keys, list, n, waiter, TURNS)
  end
  return park_and_retry(keys, list, n, events, waiter, deadline, at, inside,
    attempt(keys, list, n, waiter))
end

-- For the C function: the function that the values are for, or nil; the event,
-- its key, and its values.
local function results(event, key, ...)
  if event == nil then
    wait_for_ends(key)
    return nil, nil, nil, "timed out", ETIME
  end
  return getmetatable(event) == wrapped and event.after or nil, event, key, ...
end

local function wait_for_results(...) return results(wait(...)) end


-- ---- what is no event -----------------------------------------------------

-- Raise if this is an event, and not a table of events.
local function check_not_event(events)
  if missing_method(events) == nil then
    bad_argument(1, "select",
      "table of events expected, got an event: uring.select{ event }")
  end
end

-- Raise unless the value is an event, or, without a key, unless `events` may
-- be a table of events. Called for what has no `is_event`.
local function refuse(events, key, event)
  if key == nil then
    check_not_event(events)
    if type(events) == "table" then return end
    bad_argument(1, "select", "table of events expected, got %s",
      core.typename(events))
  end
  local name = missing_method(event)
  if name == nil then return end
  check_not_event(events)
  if name then
    bad_argument(1, "select", "the event at [%s] has no method '%s': it takes "
      .. "try, block and cancel", tostring(key), name)
  end
  bad_argument(1, "select", "event expected at [%s], got %s: x:receiving(), "
    .. "task:joining() and their like make events", tostring(key),
    core.typename(event))
end

return {
  public = {
    select = core.new_select(refuse, protocol.Wrapped, wait_for_results),
  },
}
