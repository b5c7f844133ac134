-- signals: uring.signals, the signals of the process as messages. The handler
-- is in csrc/os/signals.c.
--
-- A daemon of the scope waits for them, and sends them into a channel, from
-- which tasks receive. What the channel has no room for stays counted in C.
--
-- Invariant: the daemon owns the C listener. However it ends, the disposition
-- that was there before is put back.

local public = require("uring.core").public
local shield <const> = require("uring.scope").public.shield
local argument <const> = require "uring.argument"

local core <const> = require "uring.core"
local bad_argument <const>, problem_of <const> =
  argument.bad_argument, argument.problem_of
local await <const>, sqe <const> = public.await, public.sqe
local POLLIN <const>, ECANCELED <const> = public.POLLIN, public.errno.ECANCELED
local EPIPE <const>, EBADF <const> = public.errno.EPIPE, public.errno.EBADF
local error <const>, type <const> = error, type
local setmetatable <const>, getmetatable <const> = setmetatable, getmetatable
local select <const> = select
local format <const> = string.format
local concat <const>, unpack <const> = table.concat, table.unpack

local take <const> = core.listener_take
local CAPACITY <const> = 16

-- A task's status: its scope has ended, and it with that.
local ENDED <const> = { done = true, failed = true, cancelled = true }

local function check_names(names, n)
  if n == 0 then bad_argument(1, "signals", "name of a signal expected") end
  for i = 1, n do
    local problem = problem_of(core.check_listenable, names[i])
    if problem then bad_argument(i, "signals", "%s", problem) end
  end
end

-- The function of its daemon.
local function pump(self)
  local _ <close> = self.channel
  local listener <close> = self.listener
  self.started = true
  local poll = sqe()
  local function next_name()
    if not self.closed then return take(listener) end
  end
  while true do
    for name in next_name do self.channel:send(name) end
    if self.closed then return end
    local events, message = await(poll:prep_poll_add(core.listener_fileno(
      listener), POLLIN))
    if not events then error(message, 0) end
  end
end


local Signals = { __name = "uring.Signals" }
Signals.__index = Signals

local function check_self(self, name, open)
  if getmetatable(self) ~= Signals then
    bad_argument(1, name, "uring.Signals expected, got %s", type(self))
  elseif open and self.closed then
    bad_argument(1, name, "attempt to use closed signals")
  end
end

-- (The channel ends with the signals, and its users know of no channel.)
local function received(name, message, errno)
  if name then return name end
  if errno ~= EPIPE then return nil, message, errno end
  return nil, "the signals were closed", EBADF
end

local function signals(...)
  local names = { ... }
  check_names(names, select("#", ...))
  core.enter "uring.signals"
  local listener, message, errno = core.listen(unpack(names))
  if not listener then return nil, message, errno end
  local self = setmetatable({ listener = listener, started = false,
    closed = false,
    channel = public.channel(CAPACITY), names = concat(names, ", ") }, Signals)
  self.task = core.daemon({ main = pump, name = self.names }, self)
  -- (it begins in this turn, unless it is cancelled)
  shield(1, public.sleep, 0)
  if self.started then return self end
  core.listener_close(listener)
  return nil, "signals: the task was cancelled", ECANCELED
end

function Signals:receive(seconds)
  check_self(self, "receive", true)
  core.check_timeout(seconds, 1, "receive")
  return received(self.channel:receive(seconds))
end

function Signals:receiving()
  check_self(self, "receiving", true)
  return self.channel:receiving():wrap(received)
end

-- (Leaving the loop closes them: the next Ctrl-C is the program's end.)
function Signals:messages()
  check_self(self, "messages", true)
  local step, state, control = self.channel:messages()
  return step, state, control, self
end

function Signals:close()
  check_self(self, "close")
  self.closed = true  -- (its daemon may be about to take one)
  core.listener_close(self.listener)
  self.channel:close()
  self.task:cancel("the signals were closed")
  return true
end

Signals.__close = Signals.close

function Signals:__tostring()
  return format("uring.Signals (%s%s)",
    (self.closed or ENDED[self.task:status()]) and "closed, " or "",
    self.names)
end


return { public = { signals = signals } }
