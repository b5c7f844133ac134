-- Channels: messages from task to task of one state, first in, first out. The
-- message of a `send` is one value or several.
--
-- A channel buffers up to `capacity` messages; with 0 a sender waits until
-- a receiver takes its message. A task that cannot send or receive at once
-- waits in the queue `senders` or `receivers`, and the next task on the other
-- side completes both waits (waitq.lua).
--
-- Each message has a sequence number, also one that is delivered at once. The
-- buffered messages are in `values`, from number `first` to `last`. Messages
-- that were revoked, because the receiving task was cancelled before it took
-- them, are in `heap`: a pairing heap, by number, of the nodes that they were
-- delivered to. There `prev` is a node's first child and `next` its sibling.
-- `count` is the number of both.
--
-- Invariant: no message is lost, duplicated or overtaken, whatever fails.

local core = require("uring.core").public
local event = require "uring.event"
local waitq = require "uring.waitq"

local enter <const> = require("uring.core").enter
local check_timeout <const> = require("uring.core").check_timeout
local wake_first <const>, deliver <const>, revoke <const>, wait <const> =
  waitq.wake_first, waitq.deliver, waitq.revoke, waitq.wait
local select <const>, type <const>, error <const>, unpack <const> =
  select, type, error, table.unpack
local tostring <const>, setmetatable <const> = tostring, setmetatable
local min <const>, tointeger <const>, concat <const> =
  math.min, math.tointeger, table.concat
local LONG <const>, SHOWN <const> = 20, 8  -- bytes of a string; values
local EPIPE <const>, EAGAIN <const> = core.errno.EPIPE, core.errno.EAGAIN
local CANNOT_SEND <const> = "send: the channel is closed"
local CANNOT_RECEIVE <const> = "receive: the channel is closed"
local REFUSED <const> = { nil, CANNOT_SEND, EPIPE }
local ENDED <const> = { nil, CANNOT_RECEIVE, EPIPE }

local Channel = {}
Channel.__index = Channel
Channel.__name = "uring.Channel"


-- ---- messages -------------------------------------------------------------

-- A message is n and `value`: the one value, or a table of the n values. For
-- a buffered message `sizes` has n, if that is not 1.

-- Take the first message: it is returned, and delivered to the node `receiver`
-- if there is one. The node `sender` is a waiting sender, or false. If the
-- channel has no message, the sender's is taken. Otherwise `peek` has stored
-- that behind the last, and it counts from now on. In both cases the sender's
-- wait ends.
-- guard: it calls nothing, so that all of this happens or nothing
local function take(self, sender, receiver)
  local heap, at = self.heap, self.first
  local value, n, seq
  -- (since `peek` finalizers may have run)
  if sender and sender.waiter.done then sender = false end
  if self.count == 0 then
    if not sender then return nil end
    value, n = sender.event.value, sender.event.n
  elseif heap and (at > self.last or heap.seq < at) then
    value, n, seq = heap.value, heap.n, heap.seq
    -- remove the root: merge its children in pairs, then merge the pairs
    local rest, twos, top = heap.prev, false, false
    while rest do
      local a, b = rest, rest.next
      rest = b and b.next
      if b then
        if b.seq < a.seq then a, b = b, a end
        b.next, a.prev = a.prev, b
      end
      a.next, twos = twos, a
    end
    while twos do
      local a = twos
      twos = a.next
      if top then
        if top.seq < a.seq then a, top = top, a end
        top.next, a.prev = a.prev, top
      end
      top = a
    end
    self.heap, heap.value = top, false
  else
    value, n, seq = self.values[at], self.sizes[at] or 1, at
    self.values[at], self.sizes[at] = nil, nil
    self.first = at + 1
  end
  if self.count > 0 then
    if sender then self.last = self.last + 1
    else self.count = self.count - 1 end
  end
  local node = sender
  if node then
    local next, prev = node.next, node.prev
    prev.next, next.prev = next, prev
    node.value, node.n = true, 1
    node.waiter.done, node.waiter.chosen = true, node
  end
  node = receiver
  if node then
    local next, prev = node.next, node.prev
    prev.next, next.prev = next, prev
    node.value, node.n, node.seq, node.source = value, n, seq, self
    node.waiter.done, node.waiter.chosen = true, node
    self.untaken = self.untaken + 1
  end
  return value
end

-- Put the revoked messages into the heap.
-- guard: as above
local function restore(self)
  local node = self.undelivered
  while node do
    local next, top = node.next, self.heap
    if node.seq > 0 then  -- (0: not a message, but ENDED)
      self.count = self.count + 1
      node.prev, node.next = false, false
      if top and top.seq < node.seq then top, node = node, top end
      if top then top.next, node.prev = node.prev, top end
      self.heap = node
    end
    self.undelivered, node = next, next
  end
end

-- Put the revoked messages back, deliver messages to waiting receivers, and
-- end the waits at a closed channel. If this raises, the channel stays
-- `unsettled`, and the next call does the rest.
local function settle(self)
  revoke()
  if not self.unsettled then return end
  restore(self)
  while self.count > 0 do
    local node = wake_first(self.receivers, nil)
    if not node then break end
    take(self, false, node)
  end
  if self.closed then
    local node = wake_first(self.senders, nil)
    while node do
      deliver(node, REFUSED, 3, 0, false)
      node = wake_first(self.senders, nil)
    end
    node = wake_first(self.receivers, nil)
    while node do
      deliver(node, ENDED, 3, 0, false)
      node = wake_first(self.receivers, nil)
    end
  end
  self.unsettled = false
end


-- ---- both sides -----------------------------------------------------------

-- Send without waiting: true; nil if the task has to wait; false if the
-- channel is closed. `own` is the waiter of the calling select, or nil.
local function try_send(self, own, value, n)
  if self.unsettled or self.untaken > 0 then settle(self) end
  if self.closed then return false end
  local seq = self.last + 1
  if self.count == 0 then
    local node = wake_first(self.receivers, own)
    if node then
      deliver(node, value, n, seq, self)
      self.first, self.last = seq + 1, seq
      return true
    end
  end
  if self.count < self.capacity then
    self.sizes[seq] = n ~= 1 and n or nil
    self.values[seq] = value
    self.count, self.last = self.count + 1, seq
    return true
  end
end

-- The first message, which `take` takes: n, `value`, and the node of the
-- sender whose wait ends then; or nil.
local function peek(self, own)
  if self.unsettled or self.untaken > 0 then settle(self) end
  local count, sender = self.count, false
  if count <= self.capacity and self.senders.next ~= self.senders then
    sender = wake_first(self.senders, own)
    local e, seq = sender and sender.event, self.last + 1
    if not sender then
      if count == 0 then return nil end
    elseif count == 0 then
      return e.n, e.value, sender
    else
      self.sizes[seq] = e.n ~= 1 and e.n or nil
      self.values[seq] = e.value
    end
  elseif count == 0 then return nil end
  local heap, at = self.heap, self.first
  if heap and (at > self.last or heap.seq < at) then
    return heap.n, heap.value, sender
  end
  return self.sizes[at] or 1, self.values[at], sender
end

-- The values are taken once they are sure to be returned. The call of `select`
-- raises if the stack has no space for them.
local function take_several(self, sender, ...)
  select("#", ...)
  take(self, sender, false)
  return ...
end

local Receiving = event.class {}

function Receiving:try(waiter)
  local c = self.source
  local n, value, sender = peek(c, waiter)
  if n == 1 then return true, take(c, sender, false)
  elseif n then return true, take_several(c, sender, unpack(value, 1, n)) end
  if c.closed then return true, nil, CANNOT_RECEIVE, EPIPE end
end

Receiving.block, Receiving.cancel = waitq.enqueue, waitq.dequeue

function Receiving:settle() settle(self.source) end

function Receiving:__tostring()
  return ("uring.Event (receiving of %s)"):format(self.source)
end

local Sending = event.class {}

function Sending:try(waiter)
  local ok = try_send(self.channel, waiter, self.value, self.n)
  if ok then return true, true end
  if ok == false then return true, nil, CANNOT_SEND, EPIPE end
end

Sending.block, Sending.cancel = waitq.enqueue, waitq.dequeue

-- A value in a few characters: the beginning of a string, the type of an
-- object.
local function describe_value(value)
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
  local words, n = {}, self.n
  for i = 1, min(n, SHOWN) do
    words[i] = describe_value(n == 1 and self.value or n > 1 and self.value[i])
  end
  if n > SHOWN then words[SHOWN + 1] = "…" end
  return ("uring.Event (sending of %s: %s)"):format(self.channel,
    concat(words, ", "))
end


-- ---- the class ------------------------------------------------------------

-- (The error is at the caller of the method that calls this.)
local function check(self, name)
  if type(self) ~= "table" or self.senders == nil then
    error(("bad argument #1 to '%s' (uring.Channel expected, got %s)"):format(
      name, type(self)), 3)
  end
end

local function refuse_nil(name)
  error(("bad argument #1 to '%s' (a value other than nil expected: nil "
    .. "would end the receiver's loop)"):format(name), 3)
end

local function new_sending(self, value, n)
  return setmetatable({ channel = self, queue = self.senders, value = value,
    n = n }, Sending)
end

function Channel:send(...)
  check(self, "send")
  local n, value = select("#", ...), (...)
  if value == nil then refuse_nil "send" end
  if n > 1 then value = { ... } end
  local task = enter("channel:send")
  local ok = try_send(self, nil, value, n)
  if ok then return true end
  if ok == false then return nil, CANNOT_SEND, EPIPE end
  return wait(task, new_sending(self, value, n))
end

function Channel:try_send(...)
  check(self, "try_send")
  local n, value = select("#", ...), (...)
  if value == nil then refuse_nil "try_send" end
  if n > 1 then value = { ... } end
  local ok = try_send(self, nil, value, n)
  if ok then return true end
  if ok == false then return nil, CANNOT_SEND, EPIPE end
  return nil, "send: the channel is full", EAGAIN
end

function Channel:receive(timeout)
  check(self, "receive")
  check_timeout(timeout, 1, "receive")
  local task = enter("channel:receive")
  local n, value, sender = peek(self, nil)
  if n == 1 then return take(self, sender, false)
  elseif n then return take_several(self, sender, unpack(value, 1, n)) end
  if self.closed then return nil, CANNOT_RECEIVE, EPIPE end
  return wait(task, self.event, timeout)
end

function Channel:try_receive()
  check(self, "try_receive")
  local n, value, sender = peek(self, nil)
  if n == 1 then return take(self, sender, false)
  elseif n then return take_several(self, sender, unpack(value, 1, n)) end
  if self.closed then return nil, CANNOT_RECEIVE, EPIPE end
  return nil, "receive: the channel is empty", EAGAIN
end

function Channel:receiving()
  check(self, "receiving")
  return self.event
end

function Channel:sending(...)
  check(self, "sending")
  local n, value = select("#", ...), (...)
  if value == nil then refuse_nil "sending" end
  if n > 1 then value = { ... } end
  return new_sending(self, value, n)
end

local function next_message(self)
  local task = enter("channel:messages")
  local n, value, sender = peek(self, nil)
  if n == 1 then return take(self, sender, false)
  elseif n then return take_several(self, sender, unpack(value, 1, n)) end
  if self.closed then return nil end
  return wait(task, self.event)
end

-- for value, ... in channel:messages() do: until it is closed and empty
function Channel:messages()
  check(self, "messages")
  return next_message, self
end

-- Buffered messages can still be received; a task that waits to send gets
-- EPIPE.
function Channel:close()
  check(self, "close")
  self.closed, self.unsettled = true, true
  settle(self)
  return true
end

Channel.__close = Channel.close

function Channel:__len()
  check(self, "__len")
  settle(self)
  return self.count
end

function Channel:__tostring()
  check(self, "__tostring")
  return ("uring.Channel (%s%d of %d)"):format(
    self.closed and "closed, " or "", #self, self.capacity)
end

-- n as an integer if it can be a capacity; else nil or false.
local function to_capacity(n)
  n = type(n) == "number" and tointeger(n)
  return n and n >= 0 and n < 1 << 31 and n
end

local function channel(capacity)
  capacity = to_capacity(capacity == nil and 0 or capacity)
  if not capacity then
    error("bad argument #1 to 'channel' (capacity expected: 0, for a "
      .. "rendezvous, or a positive integer)", 2)
  end
  local self = setmetatable({
    capacity = capacity, closed = false, first = 1, last = 0, count = 0,
    values = {}, sizes = {}, heap = false, undelivered = false,
    unsettled = false, untaken = 0, senders = waitq.new(),
    receivers = waitq.new(),
  }, Channel)
  self.event = setmetatable({ source = self, queue = self.receivers },
    Receiving)
  return self
end

return { public = { channel = channel } }
