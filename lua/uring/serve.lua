-- serve: listener:serve, a task for each connection; and uring.map, a task for
-- each of some items.
--
-- The tasks of connections are in no scope of the server's task: a cancel of
-- that one first lets them end, and cancels them only after `grace`.
--
-- Invariant: when serve has ended, however, no task of its connections runs,
-- and all connections are closed.

local public = require("uring.core").public
local scopes = require("uring.scope").public
local argument <const> = require "uring.argument"

local core <const> = require "uring.core"
local Socket <const> = core.Socket
local check_function <const>, spawn_into <const>, note <const> =
  core.check_function, core.spawn_into, core.note
local bad_argument <const>, check_options <const>, problem_of <const> =
  argument.bad_argument, argument.check_options, argument.problem_of
local check_integer <const>, text_of <const> =
  argument.check_integer, argument.text_of
local error <const>, type <const>, next <const> = error, type, next
local rawequal <const> = rawequal
local pcall <const>, xpcall <const> = pcall, xpcall
local getmetatable <const>, setmetatable <const> = getmetatable, setmetatable
local min <const>, tointeger <const> = math.min, math.tointeger
local format <const> = string.format
local E <const> = public.errno

local GRACE <const> = 5        -- seconds, if none are given
local LAST_WORDS <const> = 2   -- for tasks that were cancelled
local PAUSE <const> = 0.1      -- where no descriptor can be had

-- What accept may say without that the listener is at its end.
local PASSING <const> = { [E.EMFILE] = PAUSE, [E.ENFILE] = PAUSE,
  [E.ENOMEM] = PAUSE, [E.ENOBUFS] = PAUSE, [E.ECONNABORTED] = 0,
  [E.EPROTO] = 0, [E.EINTR] = 0, [E.ENETDOWN] = PAUSE, [E.EPERM] = 0,
  [E.EHOSTUNREACH] = 0, [E.ENETUNREACH] = 0, [E.ETIMEDOUT] = 0 }

local Server <const> = {}
Server.__index = Server

-- ---- a connection ---------------------------------------------------------

-- What is told of the first error, whatever raised it: f, or a task that it
-- has spawned. (One that raises here is counted by `connection`.)
local function report(server, first, peer)
  if server.on_error then
    server.on_error(first.error, format("%s\n%s", text_of(first.error),
      first.traceback), peer)
  end
  server.failed = server.failed + 1
end

-- The task of a connection. (f has a scope: what it spawns ends before the
-- task does, and fails with it. Without memory there may be none.)
local function handle(server, conn, peer)
  local c <close> = conn
  local scope
  local ok, why = pcall(scopes.scope, function(s)
    scope = s
    local f <close> = c
    server.f(f, peer)
  end)
  if ok or rawequal(why, public.cancelled) then return end
  report(server, scope and scope:failures()[1]
    or { error = why, traceback = "" }, peer)
end

-- The same, and what is left to the server when it has ended.
local Place <const> = {}

function Place:__close()
  local server = self.server
  if server.places then server.places:release() end
  if not server.running[self] then return end  -- (it found no memory)
  server.running[self] = nil
  server.count = server.count - 1
  if server.count == 0 then server.idle:release() end
end

-- (What goes wrong outside of f, in on_error or for want of memory, is counted
-- as well, once. It is not raised: no scope is there to take it.)
local function connection(place, conn, peer)
  local p <close> = place
  local ok, why = pcall(handle, p.server, conn, peer)
  if not ok and not rawequal(why, public.cancelled) then
    p.server.failed = p.server.failed + 1
  end
end

function Server:start(conn, peer)
  local place = setmetatable({ server = self }, Place)
  if self.count == 0 then self.idle:try_acquire() end
  self.running[place] = public.loop():spawn(connection, place, conn, peer)
  self.count = self.count + 1
end


-- ---- the server -----------------------------------------------------------

-- Wait until no connection is left.
function Server:wait()
  if self.count > 0 then
    self.idle:acquire()
    self.idle:release()
  end
end

-- However it ends: at first they may end by themselves.
function Server:stop()
  scopes.timeout(self.grace, self.wait, self)
  for _, task in next, self.running do task:cancel "the server ends" end
  scopes.timeout(LAST_WORDS, self.wait, self)
end

function Server:__close()
  if self.count > 0 then
    scopes.shield(self.grace + 2 * LAST_WORDS, self.stop, self)
  end
end

-- Until the listener is closed.
function Server:accept(listener)
  while true do
    if self.places then self.places:acquire() end
    -- (it waits elsewhere, too, and the number may be closed without it)
    if problem_of(listener.fileno, listener) then return true end
    local conn, peer, errno = listener:accept()
    if conn then
      self:start(conn, peer)
    elseif self.places then
      self.places:release()
    end
    if not conn then
      if errno == E.EBADF then return true end
      local pause = PASSING[errno]
      if not pause then return nil, peer, errno end
      public.sleep(pause)
    end
  end
end

local OPTIONS <const> = { { "max", "integer", 1, 0x7fffffff },
  { "on_error", "function" }, { "grace", "seconds" } }

local function check_listener(self)
  if getmetatable(self) ~= "uring.Socket" then
    bad_argument(1, "serve", "uring.Socket expected, got %s", type(self))
  end
  local problem = problem_of(self.fileno, self)
  if problem then bad_argument(1, "serve", "%s", problem) end
end

function Socket:serve(f, options)
  check_listener(self)
  check_function(f, 1, "serve")
  options = check_options(options, 2, "serve", OPTIONS)
  local server <close> = setmetatable({ f = f, failed = 0,
    running = {}, count = 0,  -- (next() would pass all that have ended)
    on_error = options.on_error, grace = options.grace or GRACE,
    places = options.max and public.semaphore(options.max),
    idle = public.semaphore(1) }, Server)
  local ok, message, errno = server:accept(self)
  if not ok then return nil, message, errno end
  server:wait()
  return true, server.failed
end


-- ---- map ------------------------------------------------------------------

-- How many items there are. (A __len may give anything.)
local function count_items(items)
  if type(items) ~= "table" then
    bad_argument(2, "map", "table expected, got %s", type(items))
  end
  local n = #items
  n = type(n) == "number" and tointeger(n)
  if not n then bad_argument(2, "map", "its length must be an integer") end
  return n
end

-- (A protected call keeps this file's lines out of f's errors.)
local function result_or_raise(ok, result)
  if not ok then error(result, 0) end
  return result
end

local function map(n, items, f)
  n = check_integer(n, 1, "map", 1)
  local count <const> = count_items(items)
  check_function(f, 3, "map")
  core.enter "uring.map"
  local results, taken = { n = count }, 0
  local function work()
    while taken < count do
      taken = taken + 1
      local i = taken
      results[i] = result_or_raise(xpcall(f, note, items[i], i))
    end
  end
  scopes.scope(function(scope)
    for _ = 1, min(n, count) do spawn_into(scope, work) end
  end)
  return results
end

return { public = { map = map } }
