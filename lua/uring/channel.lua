-- Channels: values from task to task of one state, first in, first out.
--
-- A channel holds up to `capacity` of them; with 0 a sender waits until a
-- receiver has what it sends. Who finds nothing to do stands in a line of its
-- kind, and whoever comes from the other side completes the first of it there
-- and then, both at once (waitq.lua).
--
-- Each value has a place in the order, also one that is handed to a task at
-- once. Those that are kept lie in `values`, at their places from `first` to
-- `last`. Those that were handed to a task which was cancelled before it could
-- take them have come back: they are a pairing heap, `back`, of the nodes that
-- they were handed to, by their places. `count` is of both.

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
local LONG <const>, SHOWN <const> = 20, 8  -- of a string, and how many values
local EPIPE <const>, EAGAIN <const> = core.errno.EPIPE, core.errno.EAGAIN
local CANNOT_SEND <const> = "send: the channel is closed"
local CANNOT_RECEIVE <const> = "receive: the channel is closed"
local REFUSED <const> = { nil, CANNOT_SEND, EPIPE }
local ENDED <const> = { nil, CANNOT_RECEIVE, EPIPE }

local Channel = {}
Channel.__index = Channel
Channel.__name = "uring.Channel"


-- ---- values ---------------------------------------------------------------

-- `n` values are the one that `value` is, or those in it; for places in the
-- queue that hold several `several` has n.

-- The first value that is kept goes out: to `receiver`, or to who has come. If
-- nothing is kept it is that of `sender`, who is through then; else what the
-- sender sends lies ready behind the last, and is kept from now on.
-- guard: it calls nothing, so that all of this happens or nothing
local function take(self, sender, receiver)
  local heap, at = self.heap, self.first
  local value, n, seq
  -- (where a finalizer has come between)
  if sender and sender.waiter.done then sender = false end
  if self.count == 0 then
    if not sender then return nil end
    value, n = sender.event.value, sender.event.n
  elseif heap and (at > self.last or heap.seq < at) then
    value, n, seq = heap.value, heap.n, heap.seq
    -- without its top: the children (`prev`, and on by `next`) two by two, and
    -- then all of those
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

-- What has come back is put where it was in the order.
-- guard: as above
local function restore(self)
  local node = self.undelivered
  while node do
    local next, top = node.next, self.heap
    if node.seq > 0 then  -- (else it was told of the end)
      self.count = self.count + 1
      node.prev, node.next = false, false
      if top and top.seq < node.seq then top, node = node, top end
      if top then top.next, node.prev = node.prev, top end
      self.heap = node
    end
    self.undelivered, node = next, next
  end
end

-- What is kept goes to those who wait for it, and who waits at a channel that
-- is closed is told so. If it fails it is done when somebody comes.
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

-- Is it accepted? nil: it has to wait; false: the channel is closed.
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

-- How many values can be received and what they are, and the sender who is
-- through then; or nil. `take` takes them.
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

-- (They are taken only when there is room to return them.)
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

-- What can be read at a glance of a value; a string's beginning.
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

-- For who was called by the function that the user has called.
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

-- What has been sent can still be received; who waits to send is refused.
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

-- The integer, if it is one and could be meant.
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
