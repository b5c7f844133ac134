-- Channels: values from task to task of one state, first in, first out.
--
-- A channel holds up to `capacity` of them; with 0 a sender waits until a
-- receiver has what it sends. Who finds nothing to do stands in a line of its
-- kind, and whoever comes from the other side completes the first of it there
-- and then, both at once. So whoever stands in a line has nobody to meet, and
-- nothing is lost when he leaves it.

local core = require "uring.core"
local choice = require "uring.select"
local event = require "uring.event"

local enter <const> = core._tasks.enter
local alone <const>, check_timeout <const> =
  choice.alone, choice.check_timeout
local LONG <const>, SHOWN <const> = 20, 8  -- of a string, and how many values
local EPIPE <const>, EAGAIN <const> = core.errno.EPIPE, core.errno.EAGAIN


-- ---- lines ----------------------------------------------------------------

-- Who waits, in order: a list of { waiter=, event= } linked both ways, its
-- head being itself a link. Who waits for nothing else is in it himself.
local function line()
  local head = {}
  head.next, head.prev = head, head
  return head
end

local function stand(head, node)
  node.next, node.prev = head, head.prev
  head.prev.next, head.prev = node, node
end

local function leave(node)
  local next, prev = node.next, node.prev
  prev.next, next.prev = next, prev
  node.next, node.prev = node, node
end

local function join(head, waiter, e)
  local node = waiter
  if not waiter.event then
    node = { waiter = waiter, event = e }
    waiter[e] = node
  end
  stand(head, node)
  return nil, true
end

local function part(e, waiter)
  leave(waiter.event and waiter or waiter[e])
end

-- The first of them who can still be completed, with these values, is; but
-- not the one who comes: a task may choose between both sides of a channel.
local function complete(head, comer, ...)
  local node = head.next
  while node ~= head do
    local next = node.next
    local waiter = node.waiter or node
    if waiter ~= comer then
      leave(node)
      if waiter:choose(node.event, ...) then return node end
    end
    node = next
  end
end


-- ---- values ---------------------------------------------------------------

-- A queue of what was sent: single values as they are, several as a table
-- whose place is noted. Whatever goes through has a place in it, also what is
-- handed to a task that waits: should that be cancelled before it can take it,
-- it goes where it was. So there may be gaps.
local Channel = {}
Channel.__index = Channel
Channel.__name = "uring.Channel"

local function put(self, at, n, first, ...)
  if n == 1 then self.values[at] = first
  else
    self.values[at] = table.pack(first, ...)
    self.several[at] = true
  end
end

local function push(self, n, ...)
  local last = self.last + 1
  self.last = last
  self.count = self.count + 1
  put(self, last, n, ...)
end

local function pop(self)
  local values, first = self.values, self.first
  local value = values[first]
  while value == nil do
    first = first + 1
    value = values[first]
  end
  values[first] = nil
  self.first = first + 1
  self.count = self.count - 1
  if self.several[first] then
    self.several[first] = nil
    return table.unpack(value, 1, value.n)
  end
  return value
end

local function sent(sending)
  if sending.n == 1 then return sending[1] end
  return table.unpack(sending, 1, sending.n)
end

-- There is room in the queue: the first who waits to send is through.
local function admit(self)
  if self.count < self.capacity then
    local node = complete(self.senders, nil, true)
    if node then push(self, node.event.n, sent(node.event)) end
  end
end

-- To the first who waits to receive. Until he has taken it he is among those
-- to whom something was handed.
local function hand(self, place, comer, ...)
  local node = complete(self.receivers, comer, ...)
  if node then
    node.place = place
    stand(self.handed, node)
  end
  return node
end

local function returned(self, comer, node, first, ...)
  if first == nil then return end
  local place = node.place
  leave(node)
  if self.count > 0 or not hand(self, place, comer, first, ...) then
    if place < self.first then self.first = place end
    self.count = self.count + 1
    put(self, place, select("#", ...) + 1, first, ...)
  end
end

-- Whoever comes finds what was handed to tasks that were cancelled since, and
-- will not take it: to the next in the line, or back to its place.
local function recall(self, comer)
  local handed = self.handed
  local node = handed.next
  while node ~= handed do
    local next = node.next
    returned(self, comer, node, (node.waiter or node):recall())
    node = next
  end
end


-- ---- both sides -----------------------------------------------------------

local function closed(what)
  return true, nil, what .. ": the channel is closed", EPIPE
end

-- true and the results; or nothing, where it has to wait.
local function try_send(self, comer, n, ...)
  if self.handed.next ~= self.handed then recall(self, nil) end
  if self.closed then return closed "send" end
  if self.count == 0 then
    local place = self.last + 1
    if hand(self, place, comer, ...) then
      self.first, self.last = place + 1, place
      return true, true
    end
  end
  if self.count < self.capacity then
    push(self, n, ...)
    return true, true
  end
end

local function received(self, ...)
  admit(self)
  return true, ...
end

local function try_receive(self, comer)
  if self.handed.next ~= self.handed then recall(self, comer) end
  if self.count > 0 then return received(self, pop(self)) end
  local node = complete(self.senders, comer, true)
  if node then return true, sent(node.event) end
  if self.closed then return closed "receive" end
end

local Receiving = event.class {}

function Receiving:try(waiter) return try_receive(self.channel, waiter) end

function Receiving:block(waiter)
  return join(self.channel.receivers, waiter, self)
end

Receiving.cancel = part

function Receiving:back() recall(self.channel, nil) end

function Receiving:__tostring()
  return ("uring.Event (receiving of %s)"):format(self.channel)
end

-- What is sent are its elements.
local Sending = event.class {}

function Sending:try(waiter)
  return try_send(self.channel, waiter, self.n, table.unpack(self, 1, self.n))
end

function Sending:block(waiter)
  return join(self.channel.senders, waiter, self)
end

Sending.cancel = part

-- What can be read at a glance of a value; a string's beginning.
local function brief(value)
  local kind = type(value)
  if kind == "string" then
    local quoted = ("%q"):format(#value > LONG and value:sub(1, LONG) or value)
    return quoted:gsub("\\\n", "\\n") .. (#value > LONG and "…" or "")
  end
  if kind == "number" or kind == "boolean" or kind == "nil" then
    return tostring(value)
  end
  return kind
end

function Sending:__tostring()
  local words = {}
  for i = 1, math.min(self.n, SHOWN) do words[i] = brief(self[i]) end
  if self.n > SHOWN then words[SHOWN + 1] = "…" end
  return ("uring.Event (sending of %s: %s)"):format(self.channel,
    table.concat(words, ", "))
end


-- ---- the class ------------------------------------------------------------

-- For who was called by the function that the user has called.
local function refuse(self, class, name)
  error(("bad argument #1 to '%s' (%s expected, got %s)"):format(name,
    class.__name, type(self)), 4)
end

local function check(self, name)
  if type(self) ~= "table" or self.senders == nil then
    refuse(self, Channel, name)
  end
end

local function refuse_nil(name)
  error(("bad argument #1 to '%s' (a value other than nil expected: nil "
    .. "would end the receiver's loop)"):format(name), 3)
end

local function ready_or(task, e, timeout, ready, ...)
  if ready then return ... end
  return alone(task, e, timeout)
end

local function new_sending(self, ...)
  local e = table.pack(...)
  e.channel = self
  return setmetatable(e, Sending)
end

function Channel:send(...)
  check(self, "send")
  local n = select("#", ...)
  if (...) == nil then refuse_nil "send" end
  local task = enter("channel:send")
  local ready, ok, message, errno = try_send(self, nil, n, ...)
  if not ready then return alone(task, new_sending(self, ...)) end
  if ok then return true end
  return nil, message, errno
end

function Channel:receive(timeout)
  check(self, "receive")
  check_timeout(timeout, 1, "receive")
  local task = enter("channel:receive")
  return ready_or(task, self.event, timeout, try_receive(self, nil))
end

function Channel:try_send(...)
  check(self, "try_send")
  local n = select("#", ...)
  if (...) == nil then refuse_nil "try_send" end
  local ready, ok, message, errno = try_send(self, nil, n, ...)
  if not ready then return nil, "send: the channel is full", EAGAIN end
  if ok then return true end
  return nil, message, errno
end

local function at_once(ready, ...)
  if ready then return ... end
  return nil, "receive: the channel is empty", EAGAIN
end

function Channel:try_receive()
  check(self, "try_receive")
  return at_once(try_receive(self, nil))
end

function Channel:receiving()
  check(self, "receiving")
  return self.event
end

function Channel:sending(...)
  check(self, "sending")
  if (...) == nil then refuse_nil "sending" end
  return new_sending(self, ...)
end

local function step(first, message, errno, ...)
  if first == nil then
    if errno == EPIPE then return nil end
    error(message, 3)
  end
  return first, message, errno, ...
end

local function next_message(self)
  local task = enter("channel:messages")
  return step(ready_or(task, self.event, nil, try_receive(self, nil)))
end

-- for value, ... in channel:messages() do: until it is closed and empty
function Channel:messages()
  check(self, "messages")
  return next_message, self
end

-- What has been sent can still be received; who waits to send is refused.
function Channel:close()
  check(self, "close")
  if not self.closed then
    recall(self, nil)
    self.closed = true
    local message = ": the channel is closed"
    while complete(self.senders, nil, nil, "send" .. message, EPIPE) do end
    while complete(self.receivers, nil, nil, "receive" .. message, EPIPE) do
    end
  end
  return true
end

Channel.__close = Channel.close

function Channel:__len()
  recall(self, nil)
  return self.count
end

function Channel:__tostring()
  return ("uring.Channel (%s%d of %d)"):format(
    self.closed and "closed, " or "", #self, self.capacity)
end

-- The integer, if it is one and could be meant.
local function whole(n)
  n = type(n) == "number" and math.tointeger(n)
  return n and n >= 0 and n < 1 << 31 and n
end

local function channel(capacity)
  capacity = whole(capacity == nil and 0 or capacity)
  if not capacity then
    error("bad argument #1 to 'channel' (capacity expected: 0, for a "
      .. "rendezvous, or a positive integer)", 2)
  end
  local self = setmetatable({
    capacity = capacity, closed = false, first = 1, last = 0, count = 0,
    values = {}, several = {},
    senders = line(), receivers = line(), handed = line(),
  }, Channel)
  self.event = setmetatable({ channel = self }, Receiving)
  return self
end


-- ---- semaphores -----------------------------------------------------------

-- So many may go on at once. Each release lets the first who waits acquire.
local Semaphore = {}
Semaphore.__index = Semaphore
Semaphore.__name = "uring.Semaphore"

local function try_acquire(self)
  if self.n > 0 then
    self.n = self.n - 1
    return true, self
  end
end

local function give(self)
  if not complete(self.waiting, nil, self) then self.n = self.n + 1 end
end

local Acquiring = event.class {}

function Acquiring:try() return try_acquire(self.semaphore) end

function Acquiring:block(waiter)
  return join(self.semaphore.waiting, waiter, self)
end

function Acquiring:back() give(self.semaphore) end

Acquiring.cancel = part

function Acquiring:__tostring()
  return ("uring.Event (acquiring of %s)"):format(self.semaphore)
end

local function check_semaphore(self, name)
  if getmetatable(self) ~= Semaphore then
    refuse(self, Semaphore, name)
  end
end

function Semaphore:acquire(timeout)
  check_semaphore(self, "acquire")
  check_timeout(timeout, 1, "acquire")
  local task = enter("semaphore:acquire")
  return ready_or(task, self.event, timeout, try_acquire(self))
end

function Semaphore:try_acquire()
  check_semaphore(self, "try_acquire")
  if try_acquire(self) then return self end
  return nil, "acquire: the semaphore is taken", EAGAIN
end

function Semaphore:acquiring()
  check_semaphore(self, "acquiring")
  return self.event
end

function Semaphore:release()
  check_semaphore(self, "release")
  give(self)
end

-- Whoever has acquired it gets it, and may let its block's end release it:
--     local _ <close> = semaphore:acquire()
Semaphore.__close = Semaphore.release

-- How many could acquire now.
function Semaphore:__len() return self.n end

function Semaphore:__tostring()
  return ("uring.Semaphore (%d)"):format(self.n)
end

local function semaphore(n)
  n = whole(n)
  if not n then
    error("bad argument #1 to 'semaphore' (integer expected, 0 or more)", 2)
  end
  local self = setmetatable({ n = n, waiting = line() }, Semaphore)
  self.event = setmetatable({ semaphore = self }, Acquiring)
  return self
end

return { channel = channel, semaphore = semaphore }
