-- argument: errors of functions in C about an argument, told as those of the
-- public function that has called them with more arguments.

local tasks <const> = require "uring.core"
local error <const>, type <const> = error, type
local format <const>, match <const> = string.format, string.match
local tointeger <const> = math.tointeger

-- The argument's number, and what is wrong with it; nil: it is another error.
local function parse(problem)
  if type(problem) ~= "string" then return nil end
  local n, text = match(problem, "^.-bad argument #(%d+) to '.-' %((.*)%)$")
  return n and tointeger(n), text
end

-- Raise `problem`. An argument has its number less `shift` in the public
-- function `name`; but the first is the same.
local function raise_as(name, shift, problem)
  local n, text = parse(problem)
  if not n then error(problem, 0) end
  tasks.raise_at_caller(format("bad argument #%d to '%s' (%s)",
    n > 1 and n - shift or n, name, text))
end

return { parse = parse, raise_as = raise_as }
