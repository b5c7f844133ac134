-- argument: errors of arguments, with the line of the library's caller. Those
-- of option tables are found by C (csrc/lua/options.c); those of functions in
-- C are told as of the public function that has called them with more
-- arguments. And the text of any error.

local core <const> = require "uring.core"
local read_options <const>, raise_at_caller <const> =
  core.read_options, core.raise_at_caller
local error <const>, pcall <const>, type <const> = error, pcall, type
local getmetatable <const>, tostring <const> = getmetatable, tostring
local format <const>, match <const> = string.format, string.match
local tointeger <const> = math.tointeger

-- Argument n of the public function `name` is wrong.
local function bad_argument(n, name, problem, ...)
  raise_at_caller(format("bad argument #%d to '%s' (%s)", n, name,
    format(problem, ...)))
end

-- The options in that argument, or in its option `within`: a plain table,
-- copied without metamethods. `fields` has what is known, each
-- { name, type [, least, most] }: a type of Lua's, "integer", "seconds" or
-- "any"; with `array` the table has values at 1, 2... as well.
local function check_options(options, n, name, fields, within)
  local checked, problem = read_options(options, fields)
  if checked then return checked end
  if within then problem = format("option '%s': %s", within, problem) end
  bad_argument(n, name, "%s", problem)
end

-- A loop's iterator was called: with the loop's state, as `for` does?
local function check_loop(state, metatable, name)
  if getmetatable(state) ~= metatable then
    bad_argument(1, "for iterator",
      "the state of the loop expected, got %s: call '%s' in a for loop",
      core.typename(state), name)
  end
end

-- The integer in that argument, which may be a float without a fraction. It
-- has no bound without `most`.
local function check_integer(value, n, name, least, most)
  local integer = type(value) == "number" and tointeger(value)
  if integer and integer >= least and integer <= (most or integer) then
    return integer
  end
  bad_argument(n, name, "integer from %d%s expected, got %s", least,
    most and format(" to %d", most) or "",
    type(value) == "number" and value or core.typename(value))
end

-- The argument's number, and what is wrong with it; nil: it is another error.
local function parse_problem(problem)
  if type(problem) ~= "string" then return nil end
  local n, text = match(problem, "^.-bad argument #(%d+) to '.-' %((.*)%)$")
  return n and tointeger(n), text
end

-- Why values could not be sent, of which the first was argument `first`:
-- "result #1: cannot send a function"; nil: it is another error.
local function refusal(problem, first, what)
  local n, text = parse_problem(problem)
  return n and format("%s #%d: %s", what or "result", n - first + 1, text)
end

-- What a check in C finds wrong with a value; nil: nothing. (Without memory it
-- has found nothing out.)
local function problem_of(check, value)
  local ok, problem = pcall(check, value)
  if ok then return nil end
  if problem == "not enough memory" then error(problem, 0) end
  local _, text = parse_problem(problem)
  return text or problem
end

-- Is this object with a descriptor closed, or its number without it?
local function is_closed(object)
  return problem_of(object.fileno, object) ~= nil
end

-- The text of an error, whatever that is.
local function text_of(value)
  if type(value) == "string" then return value end  -- (needs no memory)
  local ok, text = pcall(tostring, value)
  return ok and text or "an error of type " .. type(value)
end

-- Raise `problem`. An argument has its number less `shift` in the public
-- function `name`; but the first is the same.
local function raise_as(name, shift, problem)
  local n, text = parse_problem(problem)
  if not n then error(problem, 0) end
  bad_argument(n > 1 and n - shift or n, name, "%s", text)
end

return { bad_argument = bad_argument, check_options = check_options,
  check_integer = check_integer, check_loop = check_loop,
  parse_problem = parse_problem, refusal = refusal, problem_of = problem_of,
  is_closed = is_closed, text_of = text_of, raise_as = raise_as }
