-- pool: uring.pool, workers that call one function for many items.
--
-- Items have numbers that are never used twice. Each is sent to the worker
-- that has the fewest, at most AHEAD to each; so all of a mailbox of replies
-- fits in it, and a worker never waits for room there. The task in the loop
-- over pool:map takes an item from the iterator whenever there is room for
-- one, and then waits for a reply.
--
-- Without workers the function is called in this state, and its values pass
-- through a mailbox all the same: what cannot travel is refused, what is
-- copied is a copy.
--
-- A pool belongs to the scope that has made it: its workers do, and a daemon
-- that closes it.

local public = require("uring.core").public
local shield <const> = require("uring.scope").public.shield
local workers <const> = require "uring.worker"
local argument <const> = require "uring.argument"

local core <const> = require "uring.core"
local error <const>, pcall <const>, xpcall <const> = error, pcall, xpcall
local type <const>, next <const>, ipairs <const> = type, next, ipairs
local select <const> = select
local setmetatable <const>, getmetatable <const> = setmetatable, getmetatable
local format <const> = string.format
local pack <const>, unpack <const> = table.pack, table.unpack

local bad_argument <const>, check_options <const> =
  argument.bad_argument, argument.check_options
local check_loop <const> = argument.check_loop
local refusal <const>, text <const> = argument.refusal, workers.text
local cancelled <const>, EPIPE <const> = public.cancelled, public.errno.EPIPE
local max <const>, min <const> = math.max, math.min
local AHEAD <const> = 2    -- items that a worker has: one to begin with next
local FDS <const> = 1024   -- that are on their way to a worker, or from all
local BYTES <const> = 1 << 30  -- their number bounds them, but for:

-- Where memory is bounded a quarter of it is for all mailboxes of `n` workers.
local function mailbox_bytes(n)
  local limit = public.loop():stats().memory_limit
  return limit and min(BYTES, max(256, limit // 4 // (n + 1))) or BYTES
end

local Pool <const> = { __name = "uring.Pool" }
Pool.__index = Pool


-- ---- in a worker ----------------------------------------------------------

local function with_traceback(e)
  return core.traceback(text(e), 2)
end

-- Send what main has returned for an item, or why it has failed. False: the
-- pool is closed.
local function reply(to, id, ok, ...)
  local sent, result, why, errno = pcall(to.send, to, id, ok, ...)
  if sent and (result or errno == EPIPE) then return result end
  if sent then  -- (too large)
    why = format("the %s cannot be sent: %s", ok and "results" or "error", why)
  else
    why = refusal(result, 4) or text(result)
  end
  return to:send(id, false, why)
end

workers.set_serve(function(main, replies)
  local to <close> = replies
  local function answer(id, ...)
    return reply(to, id, xpcall(main, with_traceback, ...))
  end
  local inbox <const> = public.inbox()
  while true do
    local item = pack(inbox:receive())
    if item[1] == nil or not answer(unpack(item, 1, item.n)) then return end
  end
end)


-- ---- the pool -------------------------------------------------------------

-- The function of its daemon: until its scope ends, or the pool is closed.
local function attend(pool)
  local ok, why = pcall(pool.over.receive, pool.over)
  pool:close()
  if not ok and why ~= cancelled then error(why, 0) end  -- (memory, perhaps)
end

-- The daemon of a worker: one that ends before its pool has failed. (Its error
-- is its scope's, unless the loop raises it.)
local function watch(pool, worker)
  local status, why = workers.attend_to_end(worker)
  if not pool.own then return end
  pool.dead = { worker = worker, why = why or status }
  pool.own:send(0)  -- (replies may wait for space, too)
end

local function start_workers(pool, options, spec, bytes)
  for i = 1, pool.n do
    local worker, message, errno = workers.start("pool", {
      name = options.name and format("%s %d", options.name, i),
      ring = options.ring, memory = options.memory, cancel = options.cancel,
      inbox = { capacity = AHEAD, bytes = bytes, fds = FDS } }, spec, pool.own)
    if not worker then
      pool:close()
      for _, other in ipairs(pool.workers) do other:join() end
      return nil, message, errno  -- (that, whatever those have failed for)
    end
    pool.workers[i] = worker
    pool.has[worker] = 0
    core.daemon({ main = watch, name = "watch " .. i }, pool, worker)
  end
  return pool
end

local function new_pool(given)
  local n, options, spec, load, what, upvalues = workers.read_pool(given)
  core.enter "uring.pool"
  local bytes = mailbox_bytes(n)
  local replies, message, errno = public.mailbox {
    capacity = n * (AHEAD + 1) + 1, bytes = bytes, fds = FDS }
  if not replies then return nil, message, errno end
  local self = setmetatable({ n = n, replies = replies, workers = {},
    has = {}, of = {}, last = 0, in_flight = 0, own = replies:address(),
    over = public.channel(),
    main = n == 0 and load(what, upvalues) }, Pool)
  core.daemon({ main = attend, name = options.name }, self)
  -- (it begins in this turn, unless it is cancelled)
  shield(1, public.sleep, 0)
  return start_workers(self, options, spec, bytes)
end

local function check_pool(self, name)
  if getmetatable(self) ~= Pool then
    bad_argument(1, name, "uring.Pool expected, got %s", type(self))
  end
end

function Pool:close()
  check_pool(self, "close")
  self.closed = true
  if self.own then self.own:close() end
  self.own = nil
  for _, worker in ipairs(self.workers) do worker:close() end
  self.replies:close()
  self.over:close()
  return true
end

Pool.__close = Pool.close

function Pool:__tostring()
  return format("uring.Pool (%d workers%s)", self.n,
    self.closed and ", closed" or "")
end


-- ---- pool:map -------------------------------------------------------------

-- One loop over pool:map.
local Map <const> = {}
Map.__index = Map

function Map:__close()
  if self.pool.mapping == self then self.pool.mapping = nil end
end

-- The values of an item, by number among the arguments of send.
local function refuse(problem)
  error("pool:map: an item cannot be sent: "
    .. (refusal(problem, 3, "value") or text(problem)), 0)
end

-- A worker has ended, and its items with it.
local function raise_dead(dead)
  dead.worker:join(0)  -- (it is told)
  error("a worker of the pool has ended: " .. dead.why, 0)
end

-- The worker ends, and is asked why.
local function failed_to_send(worker, message)
  local _, why = worker:join(1)
  error("a worker of the pool has ended: " .. (why or message), 0)
end

local function least_busy(pool)
  local best
  for _, worker in ipairs(pool.workers) do
    if not best or pool.has[worker] < pool.has[best] then best = worker end
  end
  return best
end

-- What has the method that `reply` needs, and cannot wait. (A refusal counts
-- arguments as a call without a colon does.)
local function here(pool)
  local own <const> = pool.own
  local send <const> = own.try_send
  return { send = function(_, ...)
    local sent, why, errno = send(own, ...)
    return sent, why, errno
  end }
end

-- Call main here, with a copy of the item, and post its reply.
local function call_here(pool, id, ...)
  local to <const> = here(pool)
  local sent, why = to.send(to, id, ...)
  if sent then
    sent, why = reply(to, id, xpcall(pool.main, with_traceback,
      select(2, pool.replies:try_receive())))
  end
  if not sent then error(why, 0) end
end

local function check_open(pool)
  if pool.closed then
    core.raise_at_caller "pool:map: the pool is closed"
  end
end

-- Send an item: false if that was the last.
function Map:put(...)
  local pool <const> = self.pool
  if (...) == nil then return false end
  check_open(pool)
  local id <const> = pool.last + 1
  local worker <const> = least_busy(pool)
  local ok, problem, message, errno
  if worker then
    ok, problem, message, errno = pcall(worker.send, worker, id, ...)
    if not (ok and problem) then check_open(pool) end
    if not ok then refuse(problem) end
    if not problem and errno ~= EPIPE then refuse(message) end
    if not problem then failed_to_send(worker, message) end
    pool.has[worker] = pool.has[worker] + 1
    pool.of[id] = worker
  else
    ok, problem = pcall(call_here, pool, id, ...)
    if not ok then check_open(pool) end
    if not ok then refuse(problem) end
  end
  pool.last = id
  pool.in_flight = pool.in_flight + 1
  self.waiting = self.waiting + 1
  return true
end

-- Take a reply in. Of a loop that was left its values are dropped.
function Map:take(id, ok, ...)
  local pool <const> = self.pool
  if not id then return check_open(pool) end
  if id == 0 then
    pool.broken = true
    raise_dead(pool.dead)
  end
  local worker <const> = pool.of[id]
  if worker then
    pool.of[id] = nil
    pool.has[worker] = pool.has[worker] - 1
  end
  pool.in_flight = pool.in_flight - 1
  if id <= self.before then return end
  self.waiting = self.waiting - 1
  self.ready[id] = pack(ok, ...)
end

-- The number of the item whose results are given next, if they are there.
function Map:ready_id()
  if not self.ordered then return (next(self.ready)) end
  return self.ready[self.given + 1] and self.given + 1
end

function Map:has_room()
  local pool <const> = self.pool
  local most <const> = pool.n > 0 and pool.n * AHEAD or 1
  return not self.over and pool.in_flight < most
    and (not self.ordered or pool.last - self.given < 2 * most)
end

function Map:give(id)
  local results <const> = self.ready[id]
  self.ready[id] = nil
  self.given = id
  if not results[1] then error(results[2], 0) end
  return id - self.before, unpack(results, 2, results.n)
end

local function next_results(self)
  check_loop(self, Map, "map")
  local pool <const> = self.pool
  if pool.mapping ~= self then return end
  if pool.broken then raise_dead(pool.dead) end
  while true do
    while self:has_room() do
      if not self:put(self.iterator()) then self.over = true end
    end
    local id = self:ready_id()
    if id then return self:give(id) end
    if self.over and self.waiting == 0 then
      return self:__close()  -- (whatever drives it: no `for` need close it)
    end
    check_open(pool)
    self:take(pool.replies:receive())
  end
end

-- An iterator over an array.
local function each(array)
  local i = 0
  return function()
    i = i + 1
    return array[i]
  end
end

local MAP_OPTIONS <const> = { { "ordered", "boolean" } }

function Pool:map(items, options)
  check_pool(self, "map")
  if type(items) == "table" then items = each(items) end
  if type(items) ~= "function" then
    bad_argument(1, "map", "function or table expected, got %s", type(items))
  end
  options = check_options(options, 2, "map", MAP_OPTIONS)
  if self.closed then bad_argument(1, "map", "the pool is closed") end
  if self.mapping then
    bad_argument(1, "map", "another loop maps with this pool")
  end
  local map = setmetatable({ pool = self, iterator = items, ready = {},
    ordered = options.ordered, before = self.last, given = self.last,
    over = false, waiting = 0 }, Map)
  self.mapping = map
  return next_results, map, nil, map
end

return { public = { pool = new_pool } }
