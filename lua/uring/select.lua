-- uring.select, the choice: which of several events comes first. What events
-- and waiters owe each other is told in event.lua; in line.lua what is behind
-- those events that two sides complete at once.

local core = require("uring.core").public
local lines = require "uring.line"
local protocol = require "uring.event"

local tasks <const> = require "uring.core"
local enter <const>, park <const>, turn <const>, wake <const>, now <const> =
  tasks.enter, tasks.park, tasks.turn, tasks.wake, core.now
local is_cancelled <const> = tasks.is_cancelled
local raise_at_caller <const> = tasks.raise_at_caller
local waiting <const>, keep <const> = lines.waiting, lines.keep
local missing <const>, Wrapped <const> = protocol.missing, protocol.Wrapped
local plain <const> = protocol.plain
local select <const>, unpack <const> = select, table.unpack
local type <const>, rawget <const>, getmetatable <const> =
  type, rawget, getmetatable
local ETIME <const> = core.errno.ETIME


plain[lines.part] = true


-- ---- waiters --------------------------------------------------------------

-- The arrangements of one task for one choice. For C events their ears are
-- in it, by event.
local Waiter = {}
Waiter.__index = Waiter

function Waiter:wake() wake(self.task) end

-- (A task that has ended, or that its cancellation is about to reach, takes
-- nothing any more; nor does one of the parent's in a forked child.)
function Waiter:choose(event, ...)
  local n, kind = select("#", ...), type(event)
  local value
  if n == 1 then value = ... else value = { ... } end
  local back = (kind == "table" or kind == "userdata") and event.back
  local node = { event = event, value = value, n = n, home = false,
    back = back, final = not back }
  -- guard: all that can fail has been done, and finalizers may have run
  if self.over or not wake(self.task) then return false end
  self.over, self.chosen = true, node
  return true
end

local function recalled(waiter, ...)
  waiter.returned = true
  return ...
end

-- For whoever has chosen it: its values, once, if its task will not take them
-- any more; or nothing.
function Waiter:recall()
  local node = self.chosen
  if not node or node.waiter or self.taken or self.returned  -- (one's own)
      or not (self.closing or is_cancelled(self.task)) then return end
  if node.n == 1 then return recalled(self, node.value) end
  return recalled(self, unpack(node.value, 1, node.n))
end

-- The task goes on, cancelled or not: was its waiter chosen, and with what?
-- What cannot go back was done, and whoever waited is told so.
local function is_chosen(waiter, stopped)
  local node = waiter.chosen
  if (stopped or waiter.returned) and not (node and node.final) then
    error(core.cancelled, 0)
  end
  return node
end

-- What it was given and has not taken goes back.
local function give_back(self)
  local node = self.chosen
  if node.home and self.returned then
    node.event:settle()
  elseif node.back and not self.returned then  -- (else it was done)
    if node.n == 1 then node.event:back(node.value)
    else node.event:back(unpack(node.value, 1, node.n)) end
  end
end

local function cancel(event, waiter) return event:cancel(waiter) end

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
    if not ending:try() then
      wait(endings.me, { ending }, { 1 }, { ending }, 1)
    end
  end
end

-- Every arrangement is taken back, by whatever it ends, and though another
-- one's cancel fails. The library's own do not: they are called as they are,
-- and so need no more memory, for the calls themselves, than their try did;
-- or what was taken would be lost where there is none.
function Waiter:__close(err)
  local node = self.chosen
  local home = node and not self.returned and node.home
  waiting[self.me], self.over = nil, true
  if home and self.taken and err == nil then home.handed = home.handed - 1
  elseif home then  -- guard: or it is lost, where memory is short
    node.next, home.returned, home.restless = home.returned, node, true
    home.handed, self.returned = home.handed - 1, true
  end
  local ok, message = true, nil
  self.closing = true
  if node and (self.returned or not self.taken) then
    ok, message = pcall(give_back, self)
  end
  for n = self.n, 1, -1 do
    local event, ending = self.blocked[n], nil
    local class = getmetatable(event)
    self.n = n - 1
    if class == "uring.Event" or type(class) == "table"
        and plain[rawget(class, "cancel")] then
      ending = event:cancel(self)
    else
      local done, what = pcall(cancel, event, self)
      if done then ending = what else ok, message = false, what end
    end
    -- (who has something goes on with it, whatever has not ended)
    if ending and not self.won and missing(ending) == nil then
      self[#self + 1] = ending
    end
  end
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
    raise_at_caller("bad argument #1 to 'select' (table of events expected, got an "
      .. "event: uring.select{ event })")
  end
end

-- None of the library's own: is it an event?
local function check_event(events, key, event)
  local name = missing(event)
  if name == nil then return end
  refuse_bare(events)
  if name then
    raise_at_caller(("bad argument #1 to 'select' (the event at [%s] has no method "
      .. "'%s': it takes try, block and cancel)"):format(tostring(key), name))
  end
  raise_at_caller(("bad argument #1 to 'select' (event expected at [%s], got %s: "
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

local function unwrapped(event)
  return getmetatable(event) == Wrapped and event.event or event
end

-- What the waiter was given by the other side.
local function taken(keys, list, n, waiter)
  local node = waiter.chosen
  if waiter.returned then error(core.cancelled, 0) end
  for i = 1, n do
    if rawequal(unwrapped(list[i]), node.event) then
      if node.n == 1 then
        waiter.taken = true
        return list[i], keys[i], node.value
      end
      return keep(waiter, list[i], keys[i], unpack(node.value, 1, node.n))
    end
  end
  raise_at_caller "an event has chosen one that is not in the choice"
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
  if event then
    waiter.won = true
    return event, ...
  end
  if waiter.chosen then return taken(keys, list, n, waiter) end  -- (by a try)
  if deadline and now() >= deadline then return nil, waiter end
  local again = at
  if deadline and (not at or deadline < at) then again = deadline end
  local stopped = park("in uring.select", events, again, inside)
  if is_chosen(waiter, stopped) then
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
  if event then
    waiter.won = true
    return event, ...
  end
  if waiter.chosen then return taken(keys, list, n, waiter) end  -- (by a try)
  if turns == 0 then return nil, waiter end
  local stopped, was_called = turn()
  if is_chosen(waiter, stopped) then
    return taken(keys, list, n, waiter)
  end
  return polled(keys, list, n, waiter, was_called and turns - 1 or 0,
    attempt(keys, list, n, waiter))
end

local function refuse_time(again)
  raise_at_caller(("an event's block has returned a %s: expected is nothing, or the "
    .. "uring.now() at which to try again"):format(type(again)))
end

-- Wait until one of them is ready: the event, its key, and its values; or nil,
-- and the waiter, when the time is over.
function wait(me, events, keys, list, n, timeout)
  local deadline = timeout and timeout < math.huge and now() + timeout or nil
  local waiter <close> = setmetatable({
    me = me, task = core.current(), blocked = {}, n = 0, over = false,
    chosen = false, taken = false, returned = false, closing = false,
    won = false,
  }, Waiter)
  waiting[me] = waiter
  local at, inside = nil, true
  for i = 1, n do
    local event = unwrapped(list[i])
    if waiter[event] == nil then  -- (it may be in the choice twice)
      waiter[event] = true
      local blocked = waiter.n + 1
      waiter.blocked[blocked] = event  -- (before: it may find no memory)
      local again, only = event:block(waiter)
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

local function passed_on(key, ok, ...)
  if ok then return key, ... end
  error((...), 0)
end

-- Without the event. (What the user's function raises is not told with the
-- name and the line that it has here: hence a protected call.)
local function won(event, key, ...)
  if event == nil then
    outlast(key)
    return nil, "timed out", ETIME
  end
  if getmetatable(event) == Wrapped then
    return passed_on(key, xpcall(event.after, tasks.note, ...))
  end
  return key, ...
end

local function settled(me, events, keys, list, n, timeout, event, ...)
  if not event then return won(wait(me, events, keys, list, n, timeout)) end
  for i = 1, n do keys[i], list[i] = nil, nil end  -- (they keep nothing)
  spare_keys, spare_list = keys, list
  return won(event, ...)
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
  local me = enter("uring.select")
  local keys, list, n = gather(events)
  return settled(me, events, keys, list, n, timeout,
    attempt(keys, list, n, nil))
end

return {
  -- for channels and their like
  check_timeout = check_timeout,
  -- for everybody
  public = { select = choose },
}
