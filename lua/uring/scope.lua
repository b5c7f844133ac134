-- Scopes, timeouts and shields: calls that bound what happens inside them.
-- Their regions, and who is cancelled when, are csrc/region.

local core = require "uring.core"

local tasks <const> = core._tasks
local ETIME <const> = core.errno.ETIME
local ECANCELED <const> = core.errno.ECANCELED

local function check_function(f, n, name)
  if type(f) ~= "function" then
    error(("bad argument #%d to '%s' (function expected, got %s)"):format(n,
      name, f == nil and "no value" or type(f)), 3)
  end
end

-- What became of the scope's body; first its tasks must end.
local function ended(scope, ok, ...)
  local cancelled, message = tasks.finish(scope, ok, (...))
  if cancelled then return nil, message, ECANCELED end
  return ...
end

local function scope(f, ...)
  check_function(f, 1, "scope")
  local s <close> = tasks.scope()
  return ended(s, xpcall(f, tasks.note, s, ...))
end

local function left(region, ok, ...)
  local expired = tasks.leave(region)
  if ok then return ... end
  if expired and rawequal(..., core.cancelled) then
    return nil, "timed out", ETIME
  end
  error((...), 0)
end

local function timeout(seconds, f, ...)
  check_function(f, 2, "timeout")
  local region <close> = tasks.timeout(seconds)
  return left(region, xpcall(f, tasks.note, ...))
end

local function shield(seconds, f, ...)
  check_function(f, 2, "shield")
  local _ <close> = tasks.shield(seconds)
  return f(...)
end

return { scope = scope, timeout = timeout, shield = shield }
