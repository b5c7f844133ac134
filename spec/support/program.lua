-- Programs of others that specs need, and examples that run beside a spec.
--
--     local server = program.start("examples/echo.lua", "127.0.0.1:0")
--     local line = server:line()
--     program.run("dig", "@127.0.0.1")
--     program.command("lighttpd", "-D", "-f", "lighttpd.conf")
--     after_each(program.stop)

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local program = {}
program.__index = program

-- Which package has it, where it is Debian's.
local PACKAGES = { dig = "bind9-dnsutils",
  ["/usr/bin/prosody"] = "prosody",
  ["/usr/lib/lighttpd/mod_magnet.so"] = "lighttpd-modules-lua" }
local SIGINT, SIGKILL = 2, 9

-- Is this program, or file, missing?
function program.missing(name)
  return not os.execute(("command -v %s >/dev/null || test -e %s"):format(name,
    name))
end

-- In a test: skip it where that is so.
function program.needs(name)
  if program.missing(name) then
    helper.skip("needs %s (Debian: %s)", name, PACKAGES[name] or name)
  end
end

-- Runs it to its end: status and output. What is preloaded into the
-- interpreter is nothing to it.
function program.run(...)
  return spec.execute(30 * helper.slow, "/usr/bin/env", "-u", "LD_PRELOAD",
    ...)
end

-- These words, as a shell reads them.
local function quoted(words)
  local out = {}
  for i, word in ipairs(words) do
    out[i] = "'" .. word:gsub("'", [['\'']]) .. "'"
  end
  return table.concat(out, " ")
end

local running = {}

-- Starts a command, with room for many descriptors where that is allowed.
-- Whatever this process preloads it preloads as well.
function program.command(...)
  local words = { ... }
  local command = "ulimit -n 4096 2>/dev/null; echo $$; exec "
    .. quoted(words) .. " 2>&1"
  local self = setmetatable({ output = assert(io.popen(command)) }, program)
  self.pid = self.output:read "n"
  self.output:read "l"
  running[#running + 1] = self
  return self
end

-- Starts a Lua file in an interpreter like this one.
function program.start(...)
  return program.command(("/proc/%d/exe"):format(spec.getpid()), ...)
end

-- Starts an example, by its name, in an interpreter like this one: a
-- uring.process.
function program.example(name, ...)
  local lua = assert(io.open "/proc/self/cmdline"):read "a":match "^%Z+"
  return assert(uring.process { lua, "examples/" .. name .. ".lua",
    stdin = "null", stdout = "pipe", stderr = "pipe", ... })
end

-- The next line of its output; an error where it has ended.
function program:line()
  return self.output:read "l" or error("it has ended", 2)
end

-- The time of a processor that it has taken, without that of the kernel.
-- (utime of proc(5), in hundredths of a second)
function program:seconds()
  local stat <close> = assert(io.open(("/proc/%d/stat"):format(self.pid)))
  local utime = stat:read "a":match("%) %u" .. (" %S+"):rep(10) .. " (%d+)")
  return tonumber(utime) / 100
end

-- Ends it as Ctrl-C does, or by another signal: status, and what else it has
-- said.
function program:interrupt(signal)
  for i, other in ipairs(running) do
    if other == self then table.remove(running, i) end
  end
  spec.kill(self.pid, signal or SIGINT)
  local rest = self.output:read "a"
  local _, _, status = self.output:close()
  return status, rest
end

-- Ends all that are running.
function program.stop()
  for i = #running, 1, -1 do
    spec.kill(running[i].pid, SIGKILL)
    running[i].output:close()
    running[i] = nil
  end
end

return program
