-- The constants in lua/uring/meta.lua are those of csrc/lua/constants.c.
--
--     lua5.4 tools/constants.lua [FILE]              (this is: make constants)
--     lua5.4 tools/constants.lua --check [FILE]
--
-- Writes one `---@field` line for each constant into FILE (meta.lua), between
-- the two marker lines; with --check it only compares, and fails where FILE is
-- out of date. The groups are those of the C file: a comment begins one.

local SOURCE <const> = "csrc/lua/constants.c"
local FIRST <const> = "-- constants: written by `make constants`\n"
local LAST <const> = "-- constants: end\n"
local COUNT <const> = 300  -- at least: that none are found is no success

local check = arg[1] == "--check"
local path = arg[check and 2 or 1] or "lua/uring/meta.lua"

local function give_up(...)
  io.stderr:write("constants: ", string.format(...), "\n")
  os.exit(1)
end

local function content(name)
  local file <close> = io.open(name) or give_up("cannot read %s", name)
  return file:read "a"
end

-- The lines that belong between the markers.
local function block()
  local list = content(SOURCE):match "constants%[%] = (%b{});"
    or give_up("%s has no list of constants", SOURCE)
  local lines, n, last = {}, 0, 0
  local function group(text)
    for title in text:gmatch "/%*%s*(.-)%s*%*/" do
      lines[#lines + 1] = ("\n-- %s\n---@class uring"):format(title)
    end
  end
  for from, name, after in list:gmatch "()C%(([%u%d_]+)%)()" do
    group(list:sub(last, from - 1))
    lines[#lines + 1] = ("---@field %s integer"):format(name)
    n, last = n + 1, after
  end
  if n < COUNT then give_up("only %d constants in %s", n, SOURCE) end
  return table.concat(lines, "\n") .. "\n\n"
end

local text = content(path)
local _, from = text:find(FIRST, 1, true)
local to = text:find(LAST, from, true)
if not from or not to then
  give_up("%s lacks the marker lines:\n%s%s", path, FIRST, LAST)
end
local renewed = text:sub(1, from) .. block() .. text:sub(to)

if check then
  if renewed ~= text then
    give_up("%s differs from %s: run `make constants`", path, SOURCE)
  end
elseif renewed ~= text then
  local file <close> = assert(io.open(path, "w"))
  file:write(renewed)
end
