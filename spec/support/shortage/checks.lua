-- What the programs of this folder share.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local checks = { patience = 5 * helper.slow }

-- A pipe; what a program leaves in it is taken out afterwards.
checks.r, checks.w = spec.pipe()

-- What assert(f(...)) is for a task's results: true, f's | nil, error.
function checks.must(ok, value, message, ...)
  if not ok then error(value, 0) end
  if not value then error(message, 0) end
  return value, message, ...
end

-- The error that f raises says `words`, or is raised.
function checks.fails(words, f, ...)
  local ok, why = pcall(f, ...)
  if ok then error("no error was raised: " .. words, 0) end
  if not tostring(why):find(words, 1, true) then error(why, 0) end
end

-- A uring.fd of the number that make(...) gives, which is closed if there is
-- none. (The first call leaves Lua's memory for the second, deeper one.)
function checks.owner(make, ...)
  pcall(uring.fd, -1)
  local number = make(...)
  local ok, fd, message = pcall(uring.fd, number)
  if ok and fd then return fd end
  spec.close(number)
  error(ok and message or fd, 0)
end

-- What a call has given; or its error is raised.
function checks.gives(expected, value, why)
  if value == nil then error(why, 0) end
  assert(value == expected, value)
end

return checks
