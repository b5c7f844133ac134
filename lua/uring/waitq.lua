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
local choose <const>, next_revoked <const> = tasks.choose, tasks.next_revoked
local park <const>, turn <const>, now <const> =
  tasks.park, tasks.turn, core.now
local setmetatable <const>, unpack <const> = setmetatable, table.unpack
local select <const>, error <const>, pcall <const> = select, error, pcall
local type <const>, HUGE <const> = type, math.huge
local ETIME <const> = core.errno.ETIME


-- ---- lines ----------------------------------------------------------------

local function new()
  local queue = {}
  queue.next, queue.prev = queue, queue
  return queue
end

-- The event e of a choice gets a place; and leaves it. (What was handed
-- something has left it before.)
local function enqueue(e, waiter)
  local node = { waiter = waiter, event = e, next = false, prev = false,
    value = false, n = 0, seq = 0, source = false, final = not e.source }
  waiter[e] = node
  local queue = e.queue
  local last = queue.prev  -- (what was allocated may have run finalizers)
  node.next, node.prev = queue, last
  last.next, queue.prev = node, node
  return nil, true
end

local function dequeue(e, waiter)
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
local function wake_first(queue, own)
  local node = queue.next
  while node ~= queue do
    local next, waiter = node.next, node.waiter
    if waiter ~= own then
      if not waiter.done and choose(waiter.task) then return node end
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
local function deliver(node, value, n, seq, source)
  local waiter, next, prev = node.waiter, node.next, node.prev
  prev.next, next.prev = next, prev
  node.value, node.n, node.seq, node.source = value, n, seq, source
  waiter.done, waiter.chosen = true, node
  if source then source.untaken = source.untaken + 1 end  -- guard: no calls
end


-- ---- what goes back -------------------------------------------------------

-- A task's pointer -> its waiter, while that is in lines.
local waiters <const> = {}

-- What tasks have in hand that were cancelled since goes back: before they
-- run, so that whoever comes sees all as it is.
local function revoke()
  local pointer = next_revoked()
  while pointer do
    local waiter = waiters[pointer]
    local node = waiter and waiter.chosen
    local source = node and not waiter.revoked and node.source
    if source then
      node.next, source.undelivered, source.unsettled =
        source.undelivered, node, true
      source.untaken, waiter.revoked = source.untaken - 1, true
    end
    pointer = next_revoked()
  end
end


-- ---- one alone ------------------------------------------------------------

-- Who waits for one event of the library's own and nothing else. It is used
-- again when it is over.
local SingleWaiter = {}
SingleWaiter.__index = SingleWaiter
local free, nfree = false, 0
local MAX_FREE <const> = 256

local function new_waiter()
  local waiter = setmetatable({ done = true, taken = false, revoked = false,
    chosen = false, event = false, source = false, task = false, value = false,
    n = 0, seq = 0, next = false, prev = false, waiter = false }, SingleWaiter)
  waiter.next, waiter.prev, waiter.waiter = waiter, waiter, waiter
  return waiter
end

-- guard: it calls nothing before all is in order, for memory may be short
function SingleWaiter:__close(err)
  local source = self.source
  waiters[self.task] = nil
  if not self.chosen then
    local next, prev = self.next, self.prev
    prev.next, next.prev = next, prev
  elseif source and self.taken and err == nil then
    source.untaken = source.untaken - 1
  elseif source and not self.revoked then
    self.next, source.undelivered, source.unsettled =
      source.undelivered, self, true
    source.untaken, self.revoked = source.untaken - 1, true
  end
  self.done = true
  local event, revoked = self.event, self.revoked
  if not revoked then
    self.value, self.event, self.prev = false, false, self
    if nfree < MAX_FREE then
      self.next, free, nfree = free, self, nfree + 1
    end
  else
    pcall(event.settle, event)
  end
end

-- (They are taken only when there is room to return them.)
local function mark_taken(waiter, ...)
  select("#", ...)
  waiter.taken = true
  return ...
end

local function get_waiter(task, event)
  local waiter = free
  if waiter then free, nfree = waiter.next, nfree - 1
  else waiter = new_waiter() end
  waiter.next, waiter.prev = waiter, waiter
  waiter.event, waiter.task, waiter.source = event, task, false
  waiter.chosen, waiter.taken, waiter.revoked = false, false, false
  return waiter
end

-- Wait in the event's line: the values that it is handed, or nil, "timed out",
-- ETIME. `task` is what `enter` has given. (With a variable more the stack of
-- a task that does nothing else would not be of the smallest size.)
local function wait(task, event, timeout)
  local at = timeout and timeout < HUGE and now() + timeout or nil
  local waiter <close> = get_waiter(task, event)
  waiters[task] = waiter
  do
    local queue = event.queue
    local last = queue.prev
    waiter.next, waiter.prev = queue, last
    last.next, queue.prev, waiter.done = waiter, waiter, false
  end
  local was_cancelled = timeout and timeout <= 0 and turn()
  while not waiter.done do
    if was_cancelled then error(core.cancelled, 0) end
    if at and now() >= at then return nil, "timed out", ETIME end
    was_cancelled = park("for", event, at, true)
  end
  if waiter.revoked or was_cancelled and event.source then
    error(core.cancelled, 0)
  end
  if waiter.n == 1 then
    waiter.taken = true
    return waiter.value
  end
  return mark_taken(waiter, unpack(waiter.value, 1, waiter.n))
end

return {
  new = new, enqueue = enqueue, dequeue = dequeue, wake_first = wake_first,
  deliver = deliver, revoke = revoke, waiters = waiters, wait = wait,
  mark_taken = mark_taken,
}
