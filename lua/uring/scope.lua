-- Scopes, timeouts and shields: calls that bound what happens inside them.
-- Their regions, and who is cancelled when, are csrc/region. And pcall, as it
-- suits a task that may be cancelled.

local core = require("uring.core").public

local tasks <const> = require "uring.core"
local type <const>, error <const>, rawequal <const> = type, error, rawequal
local pcall <const>, xpcall <const> = pcall, xpcall
local ETIME <const> = core.errno.ETIME
local ECANCELED <const> = core.errno.ECANCELED

local function check_call(seconds, f, name)
  if type(seconds) ~= "number" or seconds < 0 or seconds ~= seconds then
    error(("bad argument #1 to '%s' (seconds expected, 0 or more, got %s)")
      :format(name, type(seconds) == "number" and seconds or type(seconds)),
      3)
  end
  if type(f) ~= "function" then
    error(("bad argument #2 to '%s' (function expected, got %s)"):format(name,
      f == nil and "no value" or type(f)), 3)
  end
end

-- What became of the scope's body; first its tasks must end.
local function ended(scope, ok, ...)
  local cancelled, message = tasks.finish(scope, ok, (...))
  if cancelled then return nil, message, ECANCELED end
  return ...
end

local function scope(f, ...)
  if type(f) ~= "function" then
    error("bad argument #1 to 'scope' (function expected, got "
      .. (f == nil and "no value" or type(f)) .. ")", 2)
  end
  local s <close> = tasks.scope()
  return ended(s, xpcall(f, tasks.note, s, ...))
end

local function left(region, ok, ...)
  local expired = tasks.end_scope(region)
  if ok then return ... end
  if expired and rawequal(..., core.cancelled) then
    return nil, "timed out", ETIME
  end
  error((...), 0)
end

local function timeout(seconds, f, ...)
  check_call(seconds, f, "timeout")
  local region <close> = tasks.timeout(seconds)
  return left(region, xpcall(f, tasks.note, ...))
end

local function passed_on(ok, ...)
  if ok then return ... end
  error((...), 0)
end

-- (A call that is protected tells no line of this file, but takes C stack, of
-- which a shield in a shield in a shield would take too much.)
local function shield(seconds, f, ...)
  check_call(seconds, f, "shield")
  local _ <close>, in_c = tasks.shield(seconds, f)
  if in_c then return passed_on(xpcall(f, tasks.note, ...)) end
  return f(...)
end

local function caught(ok, ...)
  if not ok and rawequal(..., core.cancelled) then error((...), 0) end
  return ok, ...
end

-- pcall, but that a task is cancelled is not for catching.
local function protected(...) return caught(pcall(...)) end

return {
  public = { scope = scope, timeout = timeout, shield = shield,
    pcall = protected },
}
