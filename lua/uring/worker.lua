-- worker: uring.worker, threads with a Lua state, a loop and an inbox of their
-- own. The C side is in csrc/worker/worker.c for the state that starts one,
-- and in csrc/worker/worker_state.c for the worker's own state.
--
-- Each worker has a daemon of the scope that started it, its attendant, which
-- waits for its end. A daemon is cancelled when its scope ends. Then the
-- attendant becomes one of the scope's tasks: it closes the worker's address,
-- and waits on. If the scope is cancelled it cancels the worker, and waits. An
-- error of the worker that was told to none is kept until its scope ends, and
-- raised there.
--
-- A worker's state calls `boot`, with an array that says what to run, and with
-- the arguments.
--
-- Invariant: the thread of a worker has ended when its scope has.

local public = require("uring.core").public
local scopes <const> = require("uring.scope").public
local argument <const> = require "uring.argument"

local core <const> = require "uring.core"
local shield <const>, phase <const> = scopes.shield, core.worker_phase
local note <const>, cancelled <const> = core.note, public.cancelled
local run <const>, loop <const> = public.run, public.loop
local error <const>, pcall <const>, type <const> = error, pcall, type
local next <const>, tostring <const>, rawequal <const> =
  next, tostring, rawequal
local ipairs <const> = ipairs
local assert <const> = assert
local setmetatable <const>, xpcall <const> = setmetatable, xpcall
local format <const>, find <const> = string.format, string.find
local refusal <const>, raise_as <const> = argument.refusal, argument.raise_as
local bad_argument <const>, check_options <const> =
  argument.bad_argument, argument.check_options
local pack <const>, unpack <const> = table.pack, table.unpack
local E <const> = public.errno

-- csrc/worker/worker_join.h and worker_thread.h
local DONE <const>, FAILED <const>, CANCELLED <const> = 1, 2, 3
local NEW <const>, RUNS <const> = 0, 1
local LARGE <const> = 1 << 30
local FDS <const> = 16     -- that an inbox may hold, if it is not told

-- Handles of the workers that this state has started, and that run.
local running <const> = setmetatable({}, { __mode = "k" })


-- ---- options --------------------------------------------------------------

local INBOX <const> = { { "capacity", "integer", 1, LARGE },
  { "bytes", "integer", 256, LARGE }, { "fds", "integer", 0, 1 << 16 } }
local RING <const> = { { "entries", "integer", 1, 32768 },
  { "cq_entries", "integer", 1, 65536 },
  { "flags", "integer", 0, 0xffffffff } }
local OPTIONS <const> = { { "main", "function" }, { "module", "string" },
  { "file", "string" }, { "name", "string" }, { "ring", "table" },
  { "memory", "integer", 1, 1 << 50 }, { "cancel", "any" },
  { "inbox", "table" } }
local POOL_OPTIONS <const> = { { "workers", "integer", 0, 4096 },
  unpack(OPTIONS, 1, 7) }

-- The code of a function, and what its upvalues are.
local function dump(f, call)
  local upvalues, name, kind = core.worker_upvalues(f)
  if not upvalues then
    bad_argument(1, call, "worker function uses upvalue '%s': %s", name,
      kind == "function" and "it is a function: require it, or put it inside"
      or name == "_ENV" and "it is not the global table"
      or "pass it as an argument")
  end
  local code = core.worker_dump(f)
  if not code then
    bad_argument(1, call, "a function of Lua expected, got one of C: name the "
      .. "module that has it, { module = }")
  end
  return code, upvalues
end

-- What the worker runs: a word, and what belongs to it.
local function read_main(options, call)
  local main, module, file = options.main, options.module, options.file
  local given = (main and 1 or 0) + (module and 1 or 0) + (file and 1 or 0)
  if given ~= 1 then
    bad_argument(1, call, "one of the options 'main', 'module' and 'file' "
      .. "expected")
  end
  if main then return "code", dump(main, call) end
  if module then return "module", module, {} end
  return "file", file, {}
end

-- The options of this call, "worker" or "pool".
local function read_options(options, call, fields)
  options = check_options(options, 1, call, fields)
  if options.cancel ~= nil and options.cancel ~= "hook" then
    bad_argument(1, call, "option 'cancel' must be \"hook\"")
  end
  for _, field in ipairs { "name", "module", "file" } do  -- C's strings
    if options[field] and find(options[field], "\0", 1, true) then
      bad_argument(1, call, "option '%s' must have no zero byte", field)
    end
  end
  options.inbox = check_options(options.inbox, 1, call, INBOX, "inbox")
  options.ring = check_options(options.ring, 1, call, RING, "ring")
  return options
end

-- What a worker's state is told: what it runs, and as what.
local function describe(options, kind, what, upvalues)
  local ring = options.ring
  local path, cpath, realm, spin = core.worker_inherit()
  return { kind, what, upvalues, path, cpath, realm, spin,
    options.memory or 0, ring.entries or 0, ring.cq_entries or 0,
    ring.flags or -1, options.name or false }
end


-- ---- the attendant --------------------------------------------------------

-- Once it was asked to wait for the end of a worker it does, whatever fails:
-- what is called here needs no memory, or under pcall.

local function cancel_with_reason(handle)
  local reason = public.current():reason()
  handle:cancel(reason and tostring(reason))
end

local function cancel(handle)
  if not pcall(cancel_with_reason, handle) then handle:cancel() end
end

-- Wait for its end, and tell meanwhile what there is to tell of it. As
-- worker_attend.
local function attend_to_end(handle)
  while true do
    local status, why = core.worker_attend(handle)
    if status ~= "news" then return status, why end
    core.worker_tell(handle)
  end
end

-- The same in a cancelled task. Returns the first error of what it tells.
local function outlast(handle)
  local ok, why = true, nil
  while core.worker_outlast(handle) do
    local told, problem = pcall(core.worker_tell, handle)
    if ok and not told then ok, why = told, problem end
  end
  return ok, why
end

-- Abandoned, as at a second Ctrl-C, the worker is cancelled.
local Guard <const> = {}
Guard.__index = Guard

function Guard:__close()
  if phase(self.handle) == RUNS then
    self.handle:cancel "its scope was abandoned"
  end
end

-- It has failed, and no task was told yet. When its scope ends, by a cancel
-- too: why, if it is so still. (A join ends this. What one has failed for
-- after the cancel is not asked: its scope may have closed what it used.)
local function keep_failure(handle)
  local never <const> = public.channel()
  core.worker_keep(handle)
  pcall(never.receive, never)
  core.stay()
  return core.worker_failure(handle)
end

-- The function of its daemon.
local function attend(guard)
  local _ <close> = guard
  local handle, stayed = guard.handle, false
  guard.attended = true
  local ok, status, why = pcall(attend_to_end, handle)
  if phase(handle) == NEW then return end  -- (it could not be started)
  -- (what interrupted it may have come after the worker's end: it is asked
  -- all the same why it failed)
  if not ok and core.stay() then
    stayed = true
    handle:close()
    ok, status, why = pcall(attend_to_end, handle)
  end
  if phase(handle) == RUNS then
    cancel(handle)
    local told, problem = outlast(handle)
    if not told then ok, status = told, problem end
  end
  running[handle] = nil
  if not ok then error(status, 0) end
  if why and not stayed then why = keep_failure(handle) end
  if why then error(why, 0) end
end

local function new_handle(options)
  local inbox = options.inbox
  return core.worker_new(options.name, inbox.capacity or 1024,
    inbox.bytes or 0, inbox.fds or FDS, options.memory or 0,
    options.cancel == "hook",
    core.traceback("(the worker was started there)", 3))
end

-- Its attendant, which has begun: one that is cancelled before never does.
local function new_attendant(guard, name)
  local task = core.daemon({ main = attend, name = name }, guard)
  shield(1, public.sleep, 0)
  return guard.attended and task
end

-- Start a worker, for this call: its handle, or nil, message, errno.
local function start(call, options, spec, ...)
  local handle, why, code = new_handle(options)
  if not handle then return nil, why, code end
  local guard = setmetatable({ handle = handle, attended = false }, Guard)
  local attendant = new_attendant(guard, options.name)
  if not attendant then
    core.enter "uring.worker"  -- (raises in a task that is cancelled by now)
    return nil, "worker: the task was cancelled", E.ECANCELED
  end
  running[handle] = true
  local ok, started, message, errno = pcall(core.worker_start, handle, spec,
    ...)
  if ok and started then return handle end
  attendant:cancel()
  -- (one that cannot travel has its number among the caller's arguments)
  if not ok then raise_as(call, 1, started) end
  return nil, message, errno
end

local function worker(options, ...)
  if type(options) == "function" then options = { main = options } end
  if type(options) ~= "table" then
    bad_argument(1, "worker", "function or table expected, got %s",
      core.typename(options))
  end
  options = read_options(options, "worker", OPTIONS)
  local spec = describe(options, read_main(options, "worker"))
  core.enter "uring.worker"
  local handle, message, errno = start("worker", options, spec, ...)
  return handle, message, errno  -- (no tail call: errors name this one)
end

-- Handles of the workers that run; and how many threads of this process have
-- outlived their states.
local function workers()
  local list = {}
  for handle in next, running do
    if phase(handle) == RUNS then list[#list + 1] = handle end
  end
  return list, core.workers_left()
end


-- ---- in the worker's state ------------------------------------------------

local LOAD <const> = { code = core.worker_load_code,
  module = core.worker_load_module, file = core.worker_load_file }

-- The options of its loop.
local function make_loop(realm, spin, memory, entries, cq_entries, flags)
  return loop { realm = realm, spin = spin,
    memory = memory > 0 and memory or nil,
    entries = entries > 0 and entries or nil,
    cq_entries = cq_entries > 0 and cq_entries or nil,
    flags = flags >= 0 and flags or nil }
end

local function text(value)
  return type(value) == "string" and value
    or format("(error object: %s)", tostring(value))
end

local function post_results(values)
  local ok, problem = pcall(core.worker_post, DONE,
    unpack(values, 1, values.n))
  if not ok then
    core.worker_post(FAILED, refusal(problem, 2) or text(problem))
  end
end

local function perform(results, load, what, upvalues, serve, ...)
  core.worker_listen()
  local f = load(what, upvalues)
  if serve then serve(f, ...)
  else results.values = pack(f(...)) end
end

-- What is raised is a text here already, with the traceback of there.
local function noted(e)
  if type(e) ~= "string" and not rawequal(e, cancelled) then e = text(e) end
  return note(e, 2)
end

local function main(...)
  local ok, problem = xpcall(perform, noted, ...)
  if not ok then error(problem, 0) end
end

local pool_serve  -- lua/uring/pool.lua's

local function boot(spec, ...)
  local kind, what, upvalues, path, cpath, realm, spin, memory, entries,
    cq_entries, flags, name = unpack(spec)
  core.worker_set_paths(path, cpath)
  assert(make_loop(realm, spin, memory, entries, cq_entries, flags))
  core.worker_hook()
  local results = {}
  local ok, problem = xpcall(run, function(e)
    return type(e) == "string" and e or core.traceback(text(e), 2)
  end, { main = main, name = name or nil }, results, LOAD[kind], what,
    upvalues, spec[13] and pool_serve, ...)
  if not ok then core.worker_post(FAILED, problem)
  elseif results.values then post_results(results.values)
  else core.worker_post(CANCELLED) end
end

core.worker_set_boot(boot)

-- For lua/uring/pool.lua: how many workers a pool has, its options, and what
-- its workers are told; and what those do with the function that was loaded.
local function read_pool(options)
  options = read_options(options, "pool", POOL_OPTIONS)
  local kind, what, upvalues = read_main(options, "pool")
  local n = options.workers
  if not n then bad_argument(1, "pool", "option 'workers' expected") end
  local spec = describe(options, kind, what, upvalues)
  spec[13] = true
  return n, options, spec, LOAD[kind], what, upvalues
end

return {
  read_pool = read_pool, start = start, attend_to_end = attend_to_end,
  text = text,
  set_serve = function(f) pool_serve = f end,
  public = { worker = worker, workers = workers },
}
