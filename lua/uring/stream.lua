-- stream: the calls of a stream over functions, which is uring.stream{ read=,
-- write=, close= }. What that is is in csrc/os/stream_calls.c, which calls the
-- methods of Calls.
--
-- A call has a task of its own, in no scope of those that use the stream: it
-- goes on when the read that began it has ended.
--
-- Invariants: a task that ends has told the stream so, by a to-be-closed
-- variable. None of them fails: nothing waits for it that could be told.

local public = require("uring.core").public
local shield <const> = require("uring.scope").public.shield

local core <const> = require "uring.core"
local read_ended <const>, read_over <const> = core.read_ended, core.read_over
local next_write <const>, wrote <const> = core.next_write, core.wrote
local write_over <const> = core.write_over
local traceback <const>, note_as <const> = core.traceback, core.note_as
local error <const>, type <const>, rawequal <const> = error, type, rawequal
local pcall <const>, xpcall <const> = pcall, xpcall
local setmetatable <const> = setmetatable
local format <const>, tostring <const> = string.format, tostring
local math_type <const>, tointeger <const> = math.type, math.tointeger
local E <const> = public.errno

local MOST <const> = 65536     -- that `read` is asked for
local PATIENCE <const> = 1     -- seconds that a cancelled call may take to end
local CLOSING <const> = 5      -- ... and `close`, in a cancelled task

local Calls <const> = {}
Calls.__index = Calls

-- A call's task, which has just begun: a finalizer may have closed the stream
-- in the middle of that.
local function begun(calls, task)
  if calls.finished then task:cancel "the stream was closed" end
  return task
end

local function errno_of(errno)
  return math_type(errno) == "integer" and errno or E.EIO
end


-- ---- reads ----------------------------------------------------------------

-- Bytes, nil at the end, or nil, message, errno; false: none came in time.
local function perform_read(read, timeout)
  while true do
    local bytes, message, errno = read(MOST, timeout)
    if type(bytes) == "string" then
      if bytes ~= "" then return bytes end
      public.sleep(0)  -- (it has made no bytes of what it read: again)
    elseif bytes then
      error(format("the stream's function 'read' returned a %s: string or nil "
        .. "expected", type(bytes)), 0)
    elseif message == nil then
      return nil
    elseif errno == E.ETIME and timeout then
      return false
    else
      return nil, message, errno_of(errno)
    end
  end
end

-- A stream that may be collected while its call goes on.
local Weak <const> = {
  __mode = "v",
  __close = function(of)
    if of[1] then read_over(of[1]) end
  end,
}

local function told_read(calls, ok, bytes, message, errno)
  local stream = calls.of[1]
  if not stream or bytes == false and ok
    or not ok and rawequal(bytes, public.cancelled) then
    return
  end
  if not ok then message = calls.read_trace end
  read_ended(stream, ok, bytes, message, errno)
end

local function read_call(calls, timeout)
  told_read(calls, xpcall(perform_read, calls.note_read, calls.read, timeout))
end

-- (Where there was no memory to call it the read that waits tries again.)
local function read_task(calls, timeout)
  local _ <close> = calls.of
  pcall(read_call, calls, timeout)
end

function Calls:start_read(timeout)
  self.reading = begun(self, public.loop():spawn({ main = read_task,
    name = "a stream's read" }, self, timeout))
end


-- ---- writes ---------------------------------------------------------------

-- How many bytes it took; or nil, message, errno, and how many before that.
local function perform_write(write, bytes)
  local n, message, errno, sent = write(bytes)
  if n and type(n) ~= "number" then return #bytes end
  local told = n or sent or 0
  local count = math_type(told) and tointeger(told)
  if not count or count > #bytes or count < (n and 1 or 0) then
    error(format("the stream's function 'write' took %s of %d bytes",
      tostring(told), #bytes), 0)
  end
  if n then return count end
  return nil, message or "the stream's function 'write' failed",
    errno_of(errno), count
end

local function told_write(calls, stream, ok, n, message, errno, sent)
  if ok then wrote(stream, true, n, message, errno, sent)
  elseif rawequal(n, public.cancelled) then
    wrote(stream, true, nil, "the write was cancelled", E.ECANCELED)
  else wrote(stream, false, n, calls.write_trace) end
end

local Writing <const> = {
  __close = function(writing) write_over(writing.stream) end,
}

local function write_calls(calls, stream)
  for bytes in next_write, stream do
    told_write(calls, stream, xpcall(perform_write, calls.note_write,
      calls.write, bytes))
  end
end

local function write_task(calls, writing)
  local w <close> = writing
  local ok, why = pcall(write_calls, calls, w.stream)
  if not ok then wrote(w.stream, true, nil, why, E.ENOMEM) end
end

function Calls:start_write(stream)
  self.writing = begun(self, public.loop():spawn({ main = write_task,
    name = "a stream's write" }, self,
    setmetatable({ stream = stream }, Writing)))
end


-- ---- the end --------------------------------------------------------------

-- What a call has raised is raised in the task that uses the stream.
function Calls.raise(_, value, trace)
  if trace then note_as(value, trace) end
  error(value, 0)
end

local function end_task(task, waits)
  if not task or rawequal(task, public.current()) then return end
  task:cancel "the stream was closed"
  if waits then shield(2 * PATIENCE, task.join, task, PATIENCE) end
end

function Calls:finish(waits, raised, trace)
  self.finished = true
  end_task(self.reading, waits)
  end_task(self.writing, waits)
  local ok, message, errno
  if not self.close then ok = true
  elseif waits then ok, message, errno = shield(CLOSING, self.close)
  else ok, message, errno = self.close() end
  if raised ~= nil then self:raise(raised, trace) end
  return ok, message, errno
end

function Calls:drop()
  if self.reading then self.reading:cancel "the stream was collected" end
end

-- (The handlers return the value unchanged: to-be-closed variables get it.)
core.keep_calls(function(read, write, close, stream)
  local calls = setmetatable({ of = setmetatable({ stream }, Weak),
    read = read, write = write, close = close }, Calls)
  function calls.note_read(value)
    if not rawequal(value, public.cancelled) then
      calls.read_trace = traceback(nil, 2)
    end
    return value
  end
  function calls.note_write(value)
    if not rawequal(value, public.cancelled) then
      calls.write_trace = traceback(nil, 2)
    end
    return value
  end
  return calls
end)

return { public = {} }
