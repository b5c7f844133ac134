-- Compilers, for specs of programs in C that use include/uring_lua.h.
--
--     local program = c_host.build("host.c")

local helper = require "helper"
local spec = require "uring_spec"

local c_host = {}

c_host.HEADER = "include/uring_lua.h"

local function exists(name)
  local file = io.open(name)
  if file then file:close() end
  return file ~= nil
end

-- In a test: skip it where there is no such compiler, or no header.
function c_host.needs(compiler)
  if not exists(compiler) or not exists(c_host.HEADER) then
    helper.skip("needs %s and the sources", compiler)
  end
end

-- A compiler must go well: its output. (A sanitizer that is preloaded is for
-- the module alone.)
function c_host.compile(...)
  local status, output = spec.execute(120 * helper.slow, "/usr/bin/env", "-u",
    "LD_PRELOAD", ...)
  if status ~= 0 then error(output, 2) end
  return output
end

-- What pkg-config says of Lua, as words; `otherwise` where there is none.
function c_host.flags(otherwise, ...)
  local words = {}
  local said = spec.execute(10, "/usr/bin/pkg-config", "--version") == 0
    and c_host.compile("/usr/bin/pkg-config", ...) or otherwise
  for word in said:gmatch "%S+" do words[#words + 1] = word end
  return words
end

-- Builds a host of these sources: the program's name.
function c_host.build(...)
  c_host.needs "/usr/bin/cc"
  local name = helper.tmpname()
  local command = { "/usr/bin/cc", "-O1", "-g", "-std=c11", "-Wall",
    "-Wextra", "-Werror", "-Iinclude", "-o", name }
  local function add(words)
    table.move(words, 1, #words, #command + 1, command)
  end
  add { ... }
  add(c_host.flags("-l" .. helper.lua, "--cflags", "--libs",
    helper.lua))
  add { "-lm", "-pthread" }
  c_host.compile(table.unpack(command))
  return name
end

return c_host
