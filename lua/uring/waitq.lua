-- waitq: the wait queues of channels and semaphores, first come, first served.
--
-- Of two tasks that meet there, the second to arrive completes both waits: it
-- delivers a value to the first waiter in the other side's queue.
--
-- A queue is a circular list of nodes, doubly linked; its head is one of them.
-- A select has a node { waiter=, event=, … } for each event that it blocks on.
-- A task that waits for one event alone has a SingleWaiter, which is its own
-- node.
--
-- `wake_first` returns the first node whose waiter can take a value; the task
-- is ready then. `deliver` takes the node out of the queue and stores the
-- values in it, by assignments alone; the waiter is `done`. So a waiter that
-- is still in a queue was given nothing, and can leave at any time.
--
-- The task takes the values when it runs. If it is cancelled before, they are
-- revoked: the node is put on the list `undelivered` of its `source`, the
-- channel or semaphore that the values came from. The waiter does so when it
-- ends, unless a call on a channel or semaphore has done so before (`revoke`).
-- Then `event:settle()` puts them back, and delivers what it can to others.
-- `source.untaken` counts the deliveries that were neither taken nor revoked;
-- `source.unsettled` says that there is something to settle.
--
-- An event has a `queue`, and a `source` if its values can be put back. What
-- a sender is given cannot: the wait ends as if the task had run before it was
-- cancelled.
--
-- Invariants, whatever fails: a waiter is in its queue until a value is
-- delivered to it, its wait ends or its task can take nothing; and no value is
-- lost or duplicated. So everything that can fail, which is each call and each
-- allocation, is done before the first change; and a change of several
-- assignments calls nothing.

local core = require("uring.core").public

local tasks <const> = require "uring.core"
local choose <const>, next_revoked <const> = tasks.choose, tasks.next_revoked
local park <const>, turn <const>, now <const> =
  tasks.park, tasks.turn, core.now
local setmetatable <const>, unpack <const> = setmetatable, table.unpack
local select <const>, error <const>, pcall <const> = select, error, pcall
local type <const>, HUGE <const> = type, math.huge
local ETIME <const> = core.errno.ETIME


-- ---- queues ---------------------------------------------------------------

-- A new queue.
local function new()
  local queue = {}
  queue.next, queue.prev = queue, queue
  return queue
end

-- The `block` and the `cancel` of an event in a select: put a node into the
-- event's queue; take it out, unless `deliver` has. `final`: the values cannot
-- be put back.
local function enqueue(e, waiter)
  local node = { waiter = waiter, event = e, next = false, prev = false,
    value = false, n = 0, seq = 0, source = false, final = not e.source }
  waiter[e] = node
  local queue = e.queue
  local last = queue.prev  -- (not before: the allocation may run finalizers)
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

-- Wake the first task in the queue that can take a value, and return its node;
-- or false. Waiters that cannot are taken out. `own` is the caller's waiter,
-- which is passed over: a select may be in both queues of a channel.
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

-- Deliver n values to the node: `value`, or if n is not 1 those in the table
-- `value`. If its task does not take them they are put back to `source`,
-- unless that is false.
local function deliver(node, value, n, seq, source)
  local waiter, next, prev = node.waiter, node.next, node.prev
  prev.next, next.prev = next, prev
  node.value, node.n, node.seq, node.source = value, n, seq, source
  waiter.done, waiter.chosen = true, node
  if source then source.untaken = source.untaken + 1 end  -- guard: no calls
end


-- ---- revoked values -------------------------------------------------------

-- A task's pointer -> its waiter, during the wait.
local waiters <const> = {}

-- Revoke the values of all tasks that were cancelled before they took them. So
-- the caller does not depend on whether those tasks have run since.
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


-- ---- waiting for one event ------------------------------------------------

-- The waiter of a task that waits for one event of a channel or a semaphore,
-- and the waiter's node in one table. Unused ones are kept in a free list.
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

-- guard: the first call comes after all changes, because it may find no memory
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

-- The values are taken once they are sure to be returned. The call of `select`
-- raises if the stack has no space for them.
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

-- Wait in the event's queue: the values that are delivered; or nil,
-- "timed out", ETIME. `task` is what `enter` has returned. (One more variable
-- here, and the stack of a task that does nothing else has to grow.)
local function wait(task, event, timeout)
  local deadline = timeout and timeout < HUGE and now() + timeout or nil
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
    if deadline and now() >= deadline then
      return nil, "timed out", ETIME
    end
    was_cancelled = park("for", event, deadline, true)
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
