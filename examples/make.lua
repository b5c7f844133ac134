-- Run commands side by side, as make -j does.
--
--     tools/env.sh plain lua5.4 examples/make.lua LIMIT COMMAND...
--     tools/env.sh plain lua5.4 examples/make.lua 2 'sleep 1; echo a' 'echo b'
--
-- At most LIMIT commands run at once, each by a shell. What a command has
-- written is printed when it has ended, so outputs do not mix. The first
-- command that fails ends the others, and no more are started; the status is
-- then 1. So does Ctrl-C.

local uring = require "uring"


-- The command's output is printed; if it fails that is an error.
local function build(command)
  local shell <close> = assert(uring.process { "/bin/sh", "-c", command,
    stdin = "null", stdout = "pipe", stderr = "stdout", group = true })
  local out, _, kind, code = assert(shell:communicate())
  io.write("== ", command, "\n", out)
  if kind ~= "exit" or code ~= 0 then
    error(("%s: %s %d"):format(command, kind, code), 0)
  end
end

-- An error in one of its tasks cancels a scope, and with the tasks their
-- commands end.
local function build_all(limit, commands)
  local slots = uring.semaphore(limit)
  uring.scope(function(scope)
    for _, command in ipairs(commands) do
      slots:acquire()
      scope:spawn { name = command, main = function()
        build(command)
        slots:release()
      end }
    end
  end)
end


local limit = math.tointeger(tonumber(arg[1]))
if not limit or limit < 1 or not arg[2] then
  io.stderr:write("usage: tools/env.sh plain lua5.4 "
    .. "examples/make.lua LIMIT COMMAND...\n")
  os.exit(2)
end

local ok, message = pcall(uring.run, build_all, limit,
  table.move(arg, 2, #arg, 1, {}))
if not ok then
  io.stderr:write(tostring(message):match "[^\n]*", "\n")
  os.exit(1)
end
