-- process: uring.process, child processes that belong to a scope. The C side
-- is in csrc/os/process.c, and the start in csrc/os/child_job.c.
--
-- Each child has a daemon of its scope, which starts it, waits for its end and
-- reaps it. A daemon is cancelled when its scope ends: then it ends the child
-- first. So what waits for a child waits for its daemon. A caller that leaves
-- before the child runs cancels the daemon.
--
-- Invariants: a child is started by its daemon alone, after that has begun to
-- run: one that is cancelled before has none, and one that is cancelled
-- meanwhile waits until C has undone the start. When the daemon has ended its
-- child is reaped.

local public = require("uring.core").public
local scope_module <const> = require("uring.scope").public
local select <const> = require("uring.select").public.select
local argument <const> = require "uring.argument"

local core <const> = require "uring.core"
local bad_argument <const>, check_options <const> =
  argument.bad_argument, argument.check_options
local problem_of <const>, parse_problem <const> =
  argument.problem_of, argument.parse_problem
local is_closed <const> = argument.is_closed
local scope <const>, shield <const> = scope_module.scope, scope_module.shield
local timeout <const> = scope_module.timeout
local check_timeout <const>, spawn_into <const> =
  core.check_timeout, core.spawn_into
local kill <const>, limit_all <const> =
  core.child_kill, core.stream_limit_all
local is_flushed <const>, is_seekable <const> =
  core.is_flushed, core.is_seekable
local await <const>, sqe <const> = public.await, public.sqe
local POLLIN <const> = public.POLLIN
local EBADF <const>, ECANCELED <const>, EPIPE <const> = public.errno.EBADF,
  public.errno.ECANCELED, public.errno.EPIPE
local error <const>, pcall <const>, type <const> = error, pcall, type
local next <const>, ipairs <const> = next, ipairs
local setmetatable <const>, getmetatable <const> = setmetatable, getmetatable
local tostring <const>, rawequal <const> = tostring, rawequal
local math_type <const>, MAXINTEGER <const> = math.type, math.maxinteger
local format <const>, find <const>, gmatch <const> = string.format,
  string.find, string.gmatch
local sort <const> = table.sort

local GRACE <const> = 2          -- seconds, from TERM to KILL
local AFTER_KILL <const> = 5     -- seconds: more is the kernel's fault
local NULL <const>, STDOUT <const> = -1, -2  -- csrc/os/spawn.h

local OPTIONS <const> = { array = true, { "cwd", "any" }, { "env", "table" },
  { "stdin", "any" }, { "stdout", "any" }, { "stderr", "any" },
  { "group", "boolean" }, { "grace", "seconds" } }
local EXCHANGE <const> = { { "max", "integer", 1, MAXINTEGER },
  { "timeout", "seconds" } }
local STREAMS <const> = { "stdin", "stdout", "stderr" }


-- ---- options --------------------------------------------------------------

local function bad(...) bad_argument(1, "process", ...) end

local function check_string(value, what, least)
  if type(value) ~= "string" then
    bad("%s must be a string, got %s", what, core.typename(value))
  end
  if find(value, "\0", 1, true) then bad("%s has a zero byte", what) end
  if #value < least then bad("%s is empty", what) end
  return value
end

local function read_args(options)
  local args, last = {}, 0
  for key in next, options do  -- (# would end at a nil: it is an error)
    if math_type(key) == "integer" and key > last then last = key end
  end
  for i = 1, last do
    local value = options[i]
    if math_type(value) then value = tostring(value) end
    args[i] = check_string(value, i == 1 and "the program"
      or format("argument %d", i - 1), i == 1 and 1 or 0)
  end
  if not args[1] then bad("the program expected, at index 1") end
  return args
end

local function read_env(env)
  if env == nil then return end
  local list = {}
  for name, value in next, env do
    check_string(name, "a name in 'env'", 1)
    if find(name, "=", 1, true) then
      bad("the name '%s' in 'env' has a '='", name)
    end
    if math_type(value) then value = tostring(value) end
    check_string(value, format("'%s' in 'env'", name), 0)
    list[#list + 1] = name .. "=" .. value
  end
  sort(list)
  return list
end

-- (Its message names the option, and not an argument of an inner function.)
local function check_descriptor(value, name)
  if math_type(value) and value < 0 then
    bad("option '%s' must be a descriptor, got %s", name, value)
  end
  local problem = problem_of(core.check_fd, value)
  if problem then bad("option '%s': %s", name, problem) end
end

local WORDS <const> = { inherit = true, null = true, pipe = true }

local function check_stream(value, name)
  if value == nil or WORDS[value] then return end
  if value == "stdout" and name == "stderr" then return end
  if type(value) == "string" then
    bad("option '%s' must be \"inherit\", \"null\", \"pipe\"%s or a "
      .. "descriptor, got '%s'", name,
      name == "stderr" and ", \"stdout\"" or "", value)
  end
  check_descriptor(value, name)
end

-- The options, the arguments, and the environment.
local function read_options(given)
  if type(given) == "string" then
    bad_argument(1, "process", "table expected, got string: { program, "
      .. "arguments... }, or { '/bin/sh', '-c', command }")
  end
  local options = check_options(given, 1, "process", OPTIONS)
  local args = read_args(options)
  if options.cwd ~= nil then check_string(options.cwd, "option 'cwd'", 1) end
  for _, name in ipairs(STREAMS) do check_stream(options[name], name) end
  return options, args, read_env(options.env)
end

-- Where the program may be.
local function search(program)
  if find(program, "/", 1, true) then return { program } end
  local paths = {}
  for folder in gmatch(core.search_path() .. ":", "([^:]*):") do
    paths[#paths + 1] = (folder == "" and "." or folder) .. "/" .. program
  end
  return paths
end


-- ---- the daemon -----------------------------------------------------------

-- Wait until it has ended: true, or false after that many seconds.
local function wait_end(child, seconds)
  local done, message, errno = await(sqe():prep_poll_add(child, POLLIN),
    seconds)
  if done then return true end
  if errno == public.errno.ETIME then return false end
  error(message, 0)
end

local function close_streams(self)
  for _, name in ipairs(STREAMS) do
    local stream = self[name]
    if stream then stream:close() end
  end
end

-- The scope ends, and the child with it.
local function stop(self)
  local child = self.child
  kill(child, "TERM")
  kill(child, "CONT")  -- (stopped it would not see it)
  timeout(self.grace, close_streams, self)
  if not wait_end(child, self.grace) then
    kill(child, "KILL")
    wait_end(child)
  end
end

-- The start was left: there is no child, or it was killed.
local function undo(child)
  if core.child_undone(nil, child) then wait_end(child) end
end

local function closed(streams)
  for _, stream in next, streams do stream:close() end
end

-- A stream that it was to get and that another task has closed since it was
-- asked for: message and errno.
local function lost_stream(start)
  for i, name in ipairs(STREAMS) do
    if not math_type(start[i]) and problem_of(core.check_fd, start[i]) then
      return { format("process '%s': its %s was closed: Bad file descriptor "
        .. "(EBADF)", start.args[1], name), EBADF }
    end
  end
end

-- The function of its daemon. The caller waits until `begun` is closed, or the
-- daemon has ended.
local function attend(self, start)
  local child <close> = self.child  -- (whatever fails below, it is ended)
  local checked, failure = pcall(lost_stream, start)
  if not checked or failure then
    start[checked and "failure" or "problem"] = failure
    return closed(start.ends)
  end
  local ok, started, message, errno = pcall(core.child_start, nil, child,
    start.paths, start.args, start.env, start.cwd, start.group, start[1],
    start[2], start[3])
  closed(start.ends)
  if not (ok and started) then
    if ok then start.failure = { message, errno }
    elseif not rawequal(started, public.cancelled) then
      start.problem = started
    else shield(self.grace + AFTER_KILL, undo, child) end
    return
  end
  self.started = true
  start.begun:close()
  local ended, problem = pcall(wait_end, child)
  if not ended then shield(self.grace * 2 + AFTER_KILL, stop, self) end
  self.kind, self.code, self.errno = core.child_reap(child, not ended)
  if not ended and not rawequal(problem, public.cancelled) then
    error(problem, 0)
  end
end


-- ---- the object -----------------------------------------------------------

local Process = { __name = "uring.Process" }
Process.__index = Process

local function check_self(self, name)
  if getmetatable(self) ~= Process then
    bad_argument(1, name, "uring.Process expected, got %s",
      core.typename(self))
  end
end

-- For a stream of the child's: what it gets, and the end of a pipe that the
-- parent has.
local function descriptor(value, i, ends)
  if value == nil or value == "inherit" then return i - 1 end
  if value == "null" then return NULL end
  if value == "stdout" then return STDOUT end
  if value ~= "pipe" then return value end
  local r, w, errno = public.pipe()
  if not r then return nil, w, errno end
  local own, other = r, w
  if i == 1 then own, other = w, r end
  ends[#ends + 1] = other
  return other, own
end

-- A stream that the child is given: what was written there goes first, for two
-- that write to a file at once may write to the same place. Of a file that was
-- read the child gets the rest. (A socket of messages has nothing written.)
local function hand_over(value)
  local kind = getmetatable(value)
  if kind ~= "uring.Stream" and kind ~= "uring.Socket" then
    core.flush_file(value)
    return true
  end
  -- (it may be closed while another one is flushed)
  local problem = problem_of(core.check_fd, value)
  if problem then return nil, problem, EBADF end
  if kind == "uring.Socket" then
    if value:getsockopt "SO_TYPE" ~= public.SOCK_STREAM then return true end
    return value:flush()
  end
  local ok, message, errno
  if is_seekable(value) then ok, message, errno = value:seek()
  else ok, message, errno = value:flush() end
  if is_flushed(value) and value:fileno() == 1 then core.flush_print() end
  return ok, message, errno
end

-- Make its pipes.
local function make_streams(self, options, start)
  for i, name in ipairs(STREAMS) do
    local fd, own, errno = descriptor(options[name], i, start.ends)
    if fd == nil then return nil, own, errno end
    start[i], self[name] = fd, own
  end
  return true
end

-- The caller leaves, by whatever way, and has no object.
local function leave(self, start)
  if self.task then self.task:cancel("its start was not waited for") end
  closed(start.ends)
  close_streams(self)
end

local function not_started(start)
  local problem <const>, failure <const> = start.problem, start.failure
  if problem then
    -- (a descriptor of another object, which was closed meanwhile)
    local n, text = parse_problem(problem)
    if not n then error(problem, 0) end
    return nil, format("process '%s': %s", start.args[1], text), EBADF
  end
  if failure then return nil, failure[1], failure[2] end
  return nil, format("process '%s': its scope was cancelled", start.args[1]),
    ECANCELED
end

local function process(given)
  local options, args, env = read_options(given)
  core.enter "uring.process"
  for _, name in ipairs(STREAMS) do
    local ok, message, errno = hand_over(options[name])
    if not ok then
      return nil, format("process '%s': %s", args[1], message), errno
    end
  end
  local start = { args = args, env = env, paths = search(args[1]),
    cwd = options.cwd, group = options.group, ends = {},
    begun = public.channel() }
  local self = setmetatable({ child = core.child_new(), started = false,
    program = args[1], grace = options.grace or GRACE }, Process)
  local _ <close> = setmetatable({}, { __close = function()
    if not self.pid then leave(self, start) end
  end })
  local ok, message, errno = make_streams(self, options, start)
  if not ok then return nil, message, errno end
  if start[2] == 1 or start[3] == 1 then core.flush_print() end
  self.task = core.daemon({ main = attend, name = args[1] }, self, start)
  select { start.begun:receiving(), self.task:joining() }
  if not self.started then return not_started(start) end
  self.pid = core.child_pid(self.child)
  return self
end

-- `ok` and so on are what the join of its daemon has given.
local function result(self, ok, message, errno)
  if self.kind then return self.kind, self.code end
  if not ok then return nil, message, errno end
  return nil, self.code, self.errno
end

function Process:wait(seconds)
  check_self(self, "wait")
  check_timeout(seconds, 1, "wait")
  return result(self, self.task:join(seconds))
end

function Process:waiting()
  check_self(self, "waiting")
  return self.task:joining():wrap(function(...) return result(self, ...) end)
end

function Process:kill(name)
  check_self(self, "kill")
  if name == nil then name = "TERM" end
  local problem = problem_of(core.check_signal, name)
  if problem then bad_argument(1, "kill", "%s", problem) end
  return kill(self.child, name)
end

function Process:close()
  check_self(self, "close")
  self.task:cancel("the process was closed")
  local ok, message, errno = true, nil, nil
  if public.current() then
    ok, message, errno =
      shield(self.grace * 2 + 2 * AFTER_KILL, self.task.join, self.task)
  end
  close_streams(self)
  return result(self, ok, message, errno)
end

Process.__close = Process.close

function Process:__tostring()
  return format("uring.Process (%s, pid %d%s)", self.program, self.pid,
    self.task:status() == "done" and ", ended" or "")
end


-- ---- communicate ----------------------------------------------------------

-- The first that fails ends the others.
local function failed(s, got, message, errno)
  got.failure = got.failure or { message, errno }
  s:cancel(message)
end

-- Another task has closed it since the call began.
local function was_closed(s, got, stream)
  if not is_closed(stream) then return false end
  failed(s, got, "the stream was closed: Bad file descriptor (EBADF)", EBADF)
  return true
end

local function feed(s, got, stream, input)
  if input then
    if was_closed(s, got, stream) then return end
    local ok, message, errno = stream:write(input)
    if ok then ok, message, errno = stream:flush() end
    if not ok and errno ~= EPIPE then
      return failed(s, got, message, errno)
    end
  end
  stream:close()
end

-- All of one output, into `got`.
local function collect(s, got, name, stream)
  if was_closed(s, got, stream) then return end
  local bytes, message, errno = stream:read "a"
  if bytes then got[name] = bytes
  else failed(s, got, message, errno) end
end

-- Bound the reads of a stream until the value that is returned is closed.
local function limit(stream, max)
  if not (stream and max) then return end
  local before = limit_all(stream, max)
  return setmetatable({}, {
    __close = function()
      if not is_closed(stream) then limit_all(stream, before) end
    end
  })
end

local function exchange(self, got, input)
  return scope(function(s)
    if self.stdin then spawn_into(s, feed, s, got, self.stdin, input) end
    for i = 2, 3 do
      local name = STREAMS[i]
      if self[name] then spawn_into(s, collect, s, got, name, self[name]) end
    end
  end)
end

local function check_communicate(self, input, options)
  local name = "communicate"
  if input ~= nil and type(input) ~= "string" then
    bad_argument(1, name, "string expected, got %s", core.typename(input))
  end
  if input and not self.stdin then
    bad_argument(1, name, "the process was started without stdin = \"pipe\"")
  end
  for i, of in ipairs(STREAMS) do
    local stream = self[of]
    if stream and (i > 1 or input) and is_closed(stream) then
      bad_argument(1, name, "its %s is closed", of)
    end
  end
  return check_options(options, 2, name, EXCHANGE)
end

-- What the outputs of a process have given. Unless that becomes a result, for
-- a failure or because the task is cancelled, it is to be read again.
local Got <const> = {}

function Got:__close()
  for i = 2, 3 do
    local bytes, stream = self[STREAMS[i]], self.process[STREAMS[i]]
    if not self.ended and bytes and bytes ~= "" and not is_closed(stream) then
      stream:unread(bytes)
    end
  end
end

function Process:communicate(input, options)
  check_self(self, "communicate")
  options = check_communicate(self, input, options)
  local got <close> = setmetatable({ process = self, ended = false }, Got)
  local _ <close> = limit(self.stdout, options.max)
  local _ <close> = limit(self.stderr, options.max)
  local function work()
    exchange(self, got, input)
    if got.failure then return nil, got.failure[1], got.failure[2] end
    return self:wait()
  end
  local kind, code, errno
  if options.timeout then kind, code, errno = timeout(options.timeout, work)
  else kind, code, errno = work() end
  if not kind then return nil, code, errno end
  got.ended = true
  return got.stdout or "", got.stderr or "", kind, code
end


return { public = { process = process } }
