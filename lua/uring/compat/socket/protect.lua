-- protect: LuaSocket's exceptions, socket.newtry and socket.protect. They are
-- told from other errors, such as uring.cancelled, which go on.

local error <const>, pcall <const>, select <const> = error, pcall, select
local setmetatable <const>, getmetatable <const> = setmetatable, getmetatable
local integer_of <const> = require("uring.compat.socket.argument").integer_of
local max <const> = math.max

-- By this function an exception is known.
local function exception() end
local Exception <const> = { __metatable = exception }

local function newtry(finalizer)
  return function(...)
    if ... then return ... end
    if finalizer then finalizer() end
    error(setmetatable({ (select(2, ...)) }, Exception), 0)
  end
end

local function results(ok, ...)
  if ok then return ... end
  local why = ...
  if getmetatable(why) == exception then return nil, why[1] end
  error(why, 0)
end

local function protect(f)
  return function(...) return results(pcall(f, ...)) end
end

local function skip(n, ...)
  return select(max(integer_of(n, 1, "skip"), 0) + 1, ...)
end

return { newtry = newtry, protect = protect, skip = skip }
