-- call: address:call, a request and its reply, and mailbox:serve, which
-- answers requests.
--
-- A call is a message that begins with an address of a mailbox for the reply.
-- That is the call's own, and has space for one reply: so a reply never waits,
-- and one that is too large is refused with an error to the caller. What
-- becomes of a call follows from it:
--
--   - The message has a sender to the reply's mailbox. When that goes without
--     a reply, because the called mailbox was closed or its state has ended,
--     the caller's receive gives EPIPE.
--   - A caller that gives up closes the reply's mailbox. The server monitors
--     that, and cancels the handler.
--   - A receive that is not serve's answers that it does not serve (in C:
--     csrc/worker/mailbox.c).
--
-- A reply is true and results; or false, an error value, and the traceback in
-- the server.

local core = require("uring.core").public
local scopes = require("uring.scope").public
local choose <const> = require("uring.select").public.select

local tasks <const> = require "uring.core"
local Address <const>, Mailbox <const>, Worker <const> =
  tasks.Address, tasks.Mailbox, tasks.Worker
local monitor <const>, status <const> = Address.monitor, Worker.status
local send_call <const>, receive_call <const> =
  tasks.send_call, tasks.receive_call
local check_open <const>, traceback <const> =
  tasks.check_open_mailbox, tasks.traceback
local mailbox <const>, spawn <const> = core.mailbox, core.spawn
local error <const>, type <const>, next <const> = error, type, next
local pcall <const>, xpcall <const> = pcall, xpcall
local tostring <const>, rawequal <const> = tostring, rawequal
local setmetatable <const> = setmetatable
local format <const> = string.format
local raise_as <const> = require("uring.argument").raise_as
local tointeger <const> = math.tointeger
local EPIPE <const> = core.errno.EPIPE

local REPLY <const> = { capacity = 1, fds = 1024 }


-- ---- the caller -----------------------------------------------------------

local function finish(ok, value, last)
  if ok == nil and last == EPIPE then
    return nil, "call: the mailbox that was called was closed, or its state "
      .. "has ended, before it answered", EPIPE
  elseif type(value) == "string" then
    error(last and value .. "\n(in the server) " .. last or value, 0)
  end
  error(value, 0)
end

local function results(ok, ...)
  if ok then return ... end
  return finish(ok, ...)
end

function Address:call(...)
  local box <close>, why, number = mailbox(REPLY)
  if not box then return nil, why, number end
  local ok, sent, message, errno = pcall(send_call, self, box, ...)
  if not ok then raise_as("call", 2, sent) end
  if not sent then return nil, message, errno end
  return results(box:receive())
end

-- (Methods of an address take a worker too, for the address of its inbox.)

local function check_worker(worker, name)
  local ok, problem = pcall(status, worker)
  if not ok then raise_as(name, 0, problem) end
end

function Worker:call(...)
  check_worker(self, "call")
  return Address.call(self, ...)
end

function Worker:monitor()
  check_worker(self, "monitor")
  local ok, event = pcall(monitor, self)
  if not ok then raise_as("monitor", 0, event) end
  return event
end


-- ---- the server -----------------------------------------------------------

local Server <const> = {}
Server.__index = Server

local function text_of(value)
  local ok, text = pcall(tostring, value)
  return ok and text or "an error of type " .. type(value)
end

-- Answer with the outcome of a handler.
local function answer(to, trace, ok, ...)
  if ok then
    local may, sent, why, errno = pcall(to.try_send, to, true, ...)
    if not may then why = sent end
    if not may or not sent and errno ~= EPIPE then
      to:try_send(false, "the results of the call cannot be sent: " .. why)
    end
  elseif not rawequal(..., core.cancelled)
      and not pcall(to.try_send, to, false, ..., trace.of) then
    to:try_send(false, text_of(...), trace.of)
  end
end

function Server:perform(to, name, ...)
  local f = name ~= nil and self.handlers[name]
  if not f then
    to:try_send(false, format("call: the server has no handler '%s'",
      text_of(name)))
    return
  end
  local trace = {}
  answer(to, trace, xpcall(f, function(e)
    trace.of = traceback(nil, 2)
    return e
  end, ...))
end

-- Perform a call; if its caller goes, cancel the handler.
function Server:attend(to, ...)
  local task = spawn(self.perform, self, to, ...)
  if choose { ended = task:joining(), gone = to:monitor() } == "gone" then
    task:cancel "its caller has gone"
    task:join()
  end
end

-- Answer a call, also where there is no memory to perform it.
function Server:call(reply, ...)
  local to <close> = reply
  local ok, why = pcall(self.attend, self, to, ...)
  if ok then return end
  if not rawequal(why, core.cancelled) then
    pcall(to.try_send, to, false, text_of(why))
  end
  error(why, 0)
end

-- A message that no one waits for an answer to.
function Server:message(name, ...)
  local f = self.handlers[name]
  if not f then
    error(format("serve: a message was sent, and there is no handler '%s'",
      text_of(name)), 0)
  end
  f(...)
end

-- The next one: false at the end.
function Server:take(is_call, ...)
  if is_call then
    self:call(...)
  elseif is_call == nil then
    return false
  elseif not self.on_error then
    self:message(...)
  else
    local trace
    local ok, why = xpcall(self.message, function(e)
      trace = traceback(text_of(e), 2)
      return e
    end, self, ...)
    if not ok then
      if rawequal(why, core.cancelled) then error(why, 0) end
      self.on_error(why, trace)
    end
  end
  return true
end

function Server:run()
  while self:take(receive_call(self.mailbox)) do end
end

local MOST_TASKS <const> = 65536
local OPTIONS <const> = { tasks = true, on_error = true }

local function bad(arg, what)
  tasks.raise_at_caller(format("bad argument #%d to 'serve' (%s)", arg, what))
end

local function check_options(options)
  if options == nil then return {} end
  if type(options) ~= "table" then
    bad(2, "a table of options expected, got " .. type(options))
  end
  for name in next, options do
    if not OPTIONS[name] then
      bad(2, format("unknown option '%s' (tasks, on_error)", tostring(name)))
    end
  end
  local n = options.tasks
  if n ~= nil and not (type(n) == "number" and tointeger(n) and n >= 1
      and n <= MOST_TASKS) then
    bad(2, format("option 'tasks' must be an integer from 1 to %d",
      MOST_TASKS))
  end
  return options
end

function Mailbox:serve(handlers, options)
  local ok, problem = pcall(check_open, self)
  if not ok then raise_as("serve", 0, problem) end
  if type(handlers) ~= "table" then
    bad(1, "a table of handlers expected, got " .. type(handlers))
  end
  options = check_options(options)
  local on_error = options.on_error
  if on_error ~= nil and type(on_error) ~= "function" then
    bad(2, "option 'on_error' must be a function")
  end
  local server = setmetatable({ mailbox = self, handlers = handlers,
    on_error = on_error }, Server)
  scopes.scope(function()
    for _ = 2, options.tasks or 1 do spawn(server.run, server) end
    server:run()
  end)
  return true
end

return { public = {} }
