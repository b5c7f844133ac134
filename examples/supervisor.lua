-- Keep programs running: what ends is started again.
--
--     tools/env.sh plain lua5.4 examples/supervisor.lua COMMAND...
--     tools/env.sh plain lua5.4 examples/supervisor.lua 'sleep 3' 'sleep 5'
--
-- Each COMMAND is run by a shell. It is started again when it has ended: after
-- a tenth of a second, and twice as long each time (at most 10 seconds) if it
-- ran for less than 10. INT (Ctrl-C) and TERM end all of them, with TERM and 2
-- seconds to follow it. A second signal does not wait for that.

local uring = require "uring"

local SHORTEST <const>, LONGEST <const>, WELL <const> = 0.1, 10, 10

-- The shells. (To kill one that has ended does nothing.)
local shells = setmetatable({}, { __mode = "k" })

local function say(...)
  print(string.format(...))
  io.stdout:flush()
end

-- One run of a command: how many seconds it took.
local function run_once(command)
  local began = uring.now()
  local shell, message = uring.process { "/bin/sh", "-c", command,
    stdin = "null", group = true }
  if not shell then
    say("%s", message)
    return 0
  end
  local _ <close> = shell
  shells[shell] = true
  say("%s: started, pid %d", command, shell.pid)
  say("%s: ended, %s %d", command, assert(shell:wait()))
  return uring.now() - began
end

local function keep(command)
  local pause = SHORTEST
  while true do
    local lasted = run_once(command)
    uring.sleep(pause)
    pause = lasted >= WELL and SHORTEST or math.min(2 * pause, LONGEST)
  end
end

local function supervise(commands)
  local signals = assert(uring.signals("INT", "TERM"))
  local all
  uring.daemon(function()
    local name = signals:receive()
    say("%s: the end", name)
    all:cancel(name)
    signals:receive()
    for shell in pairs(shells) do shell:kill "KILL" end
  end)
  uring.scope(function(scope)
    all = scope
    for _, command in ipairs(commands) do
      scope:spawn({ main = keep, name = command }, command)
    end
  end)
end


if not arg[1] then
  io.stderr:write("usage: tools/env.sh plain lua5.4 "
    .. "examples/supervisor.lua COMMAND...\n")
  os.exit(2)
end

uring.run(supervise, { table.unpack(arg) })
