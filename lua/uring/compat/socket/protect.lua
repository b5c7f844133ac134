-- protect: LuaSocket's exceptions, socket.newtry and socket.protect. They are
-- told from other errors, such as uring.cancelled, which go on.

local error <const>, pcall <const>, select <const> = error, pcall, select
local setmetatable <const>, getmetatable <const> = setmetatable, getmetatable
local raise_at_caller <const> = require("uring.core").raise_at_caller
local math_type <const> = math.type

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
  if math_type(n) ~= "integer" or n < 0 then
    raise_at_caller "bad argument #1 to 'skip' (integer from 0 expected)"
  end
  return select(n + 1, ...)
end

return { newtry = newtry, protect = protect, skip = skip }
