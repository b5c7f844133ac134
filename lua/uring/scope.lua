-- scope: uring.scope, uring.timeout and uring.shield, calls that bound what
-- happens inside them; and uring.pcall, which does not catch a cancellation.
-- Which tasks are cancelled is in csrc/task/cancel_scope.c.
--
-- Invariant: the cancel scope is closed however the body ends: it is a
-- to-be-closed variable.

local public = require("uring.core").public

local core <const> = require "uring.core"
local check_seconds <const>, check_function <const> =
  core.check_seconds, core.check_function
local bad_argument <const> = require("uring.argument").bad_argument
local error <const>, rawequal <const>, select <const> =
  error, rawequal, select
local pcall <const>, xpcall <const> = pcall, xpcall
local ETIME <const> = public.errno.ETIME
local ECANCELED <const> = public.errno.ECANCELED

-- The results of the scope's body, after its tasks have ended.
local function finish_scope(scope, ok, ...)
  local cancelled, message = core.finish(scope, ok, (...))
  if cancelled then return nil, message, ECANCELED end
  return ...
end

local function scope(f, ...)
  check_function(f, 1, "scope")
  local s <close> = core.scope()
  return finish_scope(s, xpcall(f, core.note, s, ...))
end

local function finish_timeout(cancel_scope, ok, ...)
  local expired = core.end_scope(cancel_scope)
  if ok then return ... end
  if expired and rawequal(..., public.cancelled) then
    return nil, "timed out", ETIME
  end
  error((...), 0)
end

local function timeout(seconds, f, ...)
  check_seconds(seconds, 1, "timeout")
  check_function(f, 2, "timeout")
  local cancel_scope <close> = core.timeout(seconds)
  return finish_timeout(cancel_scope, xpcall(f, core.note, ...))
end

local function results_or_raise(ok, ...)
  if ok then return ... end
  error((...), 0)
end

-- (A protected call keeps this file's lines out of error positions, but takes
-- C stack, and nested shields would take too much of that.)
local function shield(seconds, f, ...)
  check_seconds(seconds, 1, "shield")
  check_function(f, 2, "shield")
  local _ <close>, in_c = core.shield(seconds, f)
  if in_c then return results_or_raise(xpcall(f, core.note, ...)) end
  return f(...)
end

local function reraise_cancelled(ok, ...)
  if not ok and rawequal(..., public.cancelled) then error((...), 0) end
  return ok, ...
end

-- pcall, but a cancellation is raised again.
local function scope_pcall(...)
  if select("#", ...) == 0 then bad_argument(1, "pcall", "value expected") end
  return reraise_cancelled(pcall(...))
end

return {
  public = { scope = scope, timeout = timeout, shield = shield,
    pcall = scope_pcall },
}
