-- argument: arguments as LuaSocket takes them: a number may be a string, and
-- the other way round. Errors are at the caller of the public function.

local raise_at_caller <const> = require("uring.core").raise_at_caller
local type <const>, tonumber <const>, tostring <const> =
  type, tonumber, tostring
local format <const>, find <const> = string.format, string.find

local function bad(arg, name, what)
  return raise_at_caller(format("bad argument #%d to '%s' (%s)", arg, name,
    what))
end

local function expected(kind, value, arg, name)
  return bad(arg, name, format("%s expected, got %s", kind, type(value)))
end

local function string_of(value, arg, name)
  if type(value) == "string" then return value end
  if type(value) == "number" then return tostring(value) end
  return expected("string", value, arg, name)
end

-- A host or a service.
local function name_of(value, arg, name)
  local text = string_of(value, arg, name)
  if find(text, "\0", 1, true) then
    return bad(arg, name, "string without zero bytes expected")
  end
  return text
end

local function number_of(value, arg, name, otherwise)
  if value == nil and otherwise then return otherwise end
  return tonumber(value) or expected("number", value, arg, name)
end

-- The same without what is behind the point.
local function integer_of(value, arg, name, otherwise)
  local n = number_of(value, arg, name, otherwise)
  if n ~= n or n <= -2^53 or n >= 2^53 then
    return bad(arg, name, "number has no integer representation")
  end
  return n // 1 | 0
end

return { bad = bad, expected = expected, string_of = string_of,
  name_of = name_of, number_of = number_of, integer_of = integer_of }
