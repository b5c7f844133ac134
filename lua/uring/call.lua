-- call: mailbox:serve, which answers what address:call asks.
-- (csrc/worker/mail_call.h: calls, and their answers.)
--
-- A call is a message that begins with the slot for its answer. What becomes
-- of a call follows from that:
--
--   - The slot goes without an answer, because the called mailbox was closed,
--     its state has ended, or the handler was cancelled, alone or with the
--     task that serves: the caller gets EPIPE.
--   - One that is in the mailbox when serve ends stays there, in its order,
--     for what takes it next.
--   - A caller that gives up is told by the slot: the handler is cancelled.
--   - A receive that is not serve's answers that it does not serve (in C:
--     csrc/worker/mailbox_receive.c).
--
-- A handler runs in the task that serves, in a cancel scope of its own.

local public = require("uring.core").public
local scopes = require("uring.scope").public
local argument <const> = require "uring.argument"

local core <const> = require "uring.core"
local Mailbox <const>, receive_call <const> = core.Mailbox, core.receive_call
local check_open <const>, traceback <const>, is_callable <const> =
  core.check_open_mailbox, core.traceback, core.is_callable
local spawn <const>, cancelled <const> = public.spawn, public.cancelled
local error <const>, type <const> = error, type
local pcall <const>, xpcall <const> = pcall, xpcall
local rawequal <const> = rawequal
local setmetatable <const> = setmetatable
local format <const> = string.format
local E <const> = public.errno
local bad_argument <const>, check_options <const>, raise_as <const> =
  argument.bad_argument, argument.check_options, argument.raise_as
local refusal <const>, text_of <const> = argument.refusal, argument.text_of

local Server <const> = {}
Server.__index = Server

-- Answer with the outcome of a handler. One that was cancelled, with its
-- caller or with its server, has none.
local function answer(slot, trace, ok, ...)
  if ok then
    local may, sent, why = pcall(slot.answer, slot, true, ...)
    if not may then
      slot:answer(false, refusal(sent, 3) or text_of(sent))
    elseif sent == nil then
      slot:answer(false, "the results of the call cannot be sent: " .. why)
    end
  elseif not rawequal(..., cancelled)
      and not pcall(slot.answer, slot, false, ..., trace.of) then
    slot:answer(false, text_of(...), trace.of)
  end
end

-- The handler of this name, or nil: what cannot be called is none. (The table
-- may have an __index, which may raise.)
local function find_handler(handlers, name)
  local f = name ~= nil and handlers[name]
  if is_callable(f) then return f end
end

function Server:perform(slot, name, ...)
  local trace = {}
  local function noted(e)
    if not rawequal(e, cancelled) then trace.of = traceback(nil, 2) end
    return e
  end
  local found, f = xpcall(find_handler, noted, self.handlers, name)
  if not found then return answer(slot, trace, false, f) end
  if not f then
    slot:answer(false, format("call: the server has no handler '%s'",
      text_of(name)))
    return
  end
  local scope <close> = slot:attend()
  if not scope then return end  -- (its caller has gone)
  answer(slot, trace, xpcall(f, noted, ...))
end

-- Answer a call, also where there is no memory to perform it.
function Server:call(unanswered, ...)
  local slot <close> = unanswered
  local ok, why = pcall(self.perform, self, slot, ...)
  if ok then return end
  if not rawequal(why, cancelled) then
    pcall(slot.answer, slot, false, text_of(why))
  end
  error(why, 0)
end

-- A message: nothing waits for an answer.
function Server:message(name, ...)
  local f = find_handler(self.handlers, name)
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
    local why, errno = ...
    if errno ~= E.EPIPE and errno ~= E.EBADF then error(why, 0) end
    return false
  elseif not self.on_error then
    self:message(...)
  else
    local trace
    local ok, why = xpcall(self.message, function(e)
      if not rawequal(e, cancelled) then trace = traceback(text_of(e), 2) end
      return e
    end, self, ...)
    if not ok then
      if rawequal(why, cancelled) then error(why, 0) end
      self.on_error(why, trace)
    end
  end
  return true
end

function Server:run()
  while self:take(receive_call(self.mailbox)) do end
end

local OPTIONS <const> = { { "tasks", "integer", 1, 65536 },
  { "on_error", "function" } }

function Mailbox:serve(handlers, options)
  local ok, problem = pcall(check_open, self)
  if not ok then raise_as("serve", 0, problem) end
  if type(handlers) ~= "table" then
    bad_argument(1, "serve", "a table of handlers expected, got %s",
      core.typename(handlers))
  end
  options = check_options(options, 2, "serve", OPTIONS)
  local server = setmetatable({ mailbox = self, handlers = handlers,
    on_error = options.on_error }, Server)
  scopes.scope(function()
    for _ = 2, options.tasks or 1 do spawn(server.run, server) end
    server:run()
  end)
  return true
end

return { public = {} }
