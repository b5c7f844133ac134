-- Lines: who waits in order for the same thing, where whoever comes from the
-- other side completes both sides at once: channels, semaphores.
--
-- A place in a line is a node, linked both ways; the line is a node itself.
-- The node of a choice is { waiter=, event=, … }; who waits for one thing
-- alone is waiter and node in one. Whoever comes takes the `first` who can
-- still be completed, and does so by assignments alone (`hand`): the node has
-- left its line then and has its values, and the waiter is `over`. So whoever
-- stands in a line has nobody to meet, and nothing is lost when he leaves it.
--
-- A waiter that was handed something has it when its task runs. If that is
-- cancelled before, it goes back to where it came from, the node's `home`: it
-- is put on `home.returned`, by the waiter itself when that ends, or by
-- whoever comes before (`recall`). `event:settle()` then finds a new place for
-- it.
--
-- An event here has its `line`; and its `home`, if what it was handed can go
-- back. What cannot was done: the wait ends as if the task had run before it
-- was cancelled.
--
-- What can never happen, whatever error strikes where: a waiter is left out of
-- its line with nothing in hand; a value is lost, or there twice. So all that
-- can fail, which is every call and whatever allocates, comes before the first
-- change; and a change that takes several assignments calls nothing.

local core = require("uring.core").public

local tasks <const> = require "uring.core"
local choose <const>, revoked <const> = tasks.choose, tasks.next_revoked
local park <const>, turn <const>, now <const> =
  tasks.park, tasks.turn, core.now
local setmetatable <const>, unpack <const> = setmetatable, table.unpack
local select <const>, error <const>, pcall <const> = select, error, pcall
local type <const>, HUGE <const> = type, math.huge
local ETIME <const> = core.errno.ETIME


-- ---- lines ----------------------------------------------------------------

local function line()
  local head = {}
  head.next, head.prev = head, head
  return head
end

-- The event e of a choice gets a place; and leaves it. (What was handed
-- something has left it before.)
local function join(e, waiter)
  local node = { waiter = waiter, event = e, next = false, prev = false,
    value = false, n = 0, place = 0, home = false, final = not e.home }
  waiter[e] = node
  local head = e.line
  local last = head.prev  -- (what was allocated may have run finalizers)
  node.next, node.prev = head, last
  last.next, head.prev = node, node
  return nil, true
end

local function part(e, waiter)
  local node = waiter[e]
  if type(node) == "table" and waiter.chosen ~= node then
    local next, prev = node.next, node.prev
    prev.next, next.prev = next, prev
    node.next, node.prev = node, node
  end
end

-- The first who can be completed, and will be: its task has been woken. Who
-- cannot take anything any more has left. Not the one who comes: a task may
-- choose between both sides of a channel.
local function first(head, comer)
  local node = head.next
  while node ~= head do
    local next, waiter = node.next, node.waiter
    if waiter ~= comer then
      if not waiter.over and choose(waiter.task) then return node end
      local prev = node.prev
      prev.next, next.prev = next, prev
      node.next, node.prev = node, node
    end
    node = next
  end
  return false
end

-- That node is handed n values: the one that `value` is, or those in it. They
-- go back to `home`, where that is given, if its task does not take them.
local function hand(node, value, n, place, home)
  local waiter, next, prev = node.waiter, node.next, node.prev
  prev.next, next.prev = next, prev
  node.value, node.n, node.place, node.home = value, n, place, home
  waiter.over, waiter.chosen = true, node
  if home then home.handed = home.handed + 1 end  -- guard: nothing was called
end


-- ---- what goes back -------------------------------------------------------

-- A task's pointer -> its waiter, while that is in lines.
local waiting <const> = {}

-- What tasks have in hand that were cancelled since goes back: before they
-- run, so that whoever comes sees all as it is.
local function recall()
  local pointer = revoked()
  while pointer do
    local waiter = waiting[pointer]
    local node = waiter and waiter.chosen
    local home = node and not waiter.returned and node.home
    if home then
      node.next, home.returned, home.restless = home.returned, node, true
      home.handed, waiter.returned = home.handed - 1, true
    end
    pointer = revoked()
  end
end


-- ---- one alone ------------------------------------------------------------

-- Who waits for one event of the library's own and nothing else. It is used
-- again when it is over.
local Lone = {}
Lone.__index = Lone
local idle, idling = false, 0
local KEPT <const> = 256

local function new_lone()
  local lone = setmetatable({ over = true, taken = false, returned = false,
    chosen = false, event = false, home = false, task = false, value = false,
    n = 0, place = 0, next = false, prev = false, waiter = false }, Lone)
  lone.next, lone.prev, lone.waiter = lone, lone, lone
  return lone
end

-- guard: it calls nothing before all is in order, for memory may be short
function Lone:__close(err)
  local home = self.home
  waiting[self.task] = nil
  if not self.chosen then
    local next, prev = self.next, self.prev
    prev.next, next.prev = next, prev
  elseif home and self.taken and err == nil then
    home.handed = home.handed - 1
  elseif home and not self.returned then
    self.next, home.returned, home.restless = home.returned, self, true
    home.handed, self.returned = home.handed - 1, true
  end
  self.over = true
  local event, returned = self.event, self.returned
  if not returned then
    self.value, self.event, self.prev = false, false, self
    if idling < KEPT then
      self.next, idle, idling = idle, self, idling + 1
    end
  else
    pcall(event.settle, event)
  end
end

-- (They are taken only when there is room to return them.)
local function keep(waiter, ...)
  select("#", ...)
  waiter.taken = true
  return ...
end

local function unused(task, event)
  local lone = idle
  if lone then idle, idling = lone.next, idling - 1
  else lone = new_lone() end
  lone.next, lone.prev = lone, lone
  lone.event, lone.task, lone.home = event, task, false
  lone.chosen, lone.taken, lone.returned = false, false, false
  return lone
end

-- Wait in the event's line: the values that it is handed, or nil, "timed out",
-- ETIME. `task` is what `enter` has given. (With a variable more the stack of
-- a task that does nothing else would not be of the smallest size.)
local function alone(task, event, timeout)
  local at = timeout and timeout < HUGE and now() + timeout or nil
  local waiter <close> = unused(task, event)
  waiting[task] = waiter
  do
    local head = event.line
    local last = head.prev
    waiter.next, waiter.prev = head, last
    last.next, head.prev, waiter.over = waiter, waiter, false
  end
  local stopped = timeout and timeout <= 0 and turn()
  while not waiter.over do
    if stopped then error(core.cancelled, 0) end
    if at and now() >= at then return nil, "timed out", ETIME end
    stopped = park("for", event, at, true)
  end
  if waiter.returned or stopped and event.home then
    error(core.cancelled, 0)
  end
  if waiter.n == 1 then
    waiter.taken = true
    return waiter.value
  end
  return keep(waiter, unpack(waiter.value, 1, waiter.n))
end

return {
  line = line, join = join, part = part, first = first, hand = hand,
  recall = recall, waiting = waiting, alone = alone, keep = keep,
}
