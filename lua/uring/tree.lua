-- tree: uring.tree(), all tasks as a text, each below the task whose scope it
-- is in. It only reads uring.tasks().

local public = require("uring.core").public

local ipairs <const>, min <const> = ipairs, math.min
local format <const>, rep <const> = string.format, string.rep
local concat <const>, insert <const> = table.concat, table.insert

local DEEPEST <const> = 40  -- the greatest indentation

local function describe(t)
  local parts = { t.id, t.waits and "waits" or t.state }
  if t.cancelled then parts[#parts + 1] = "(cancelled)" end
  if t.daemon then parts[#parts + 1] = "(daemon)" end
  if t.waits then
    parts[#parts + 1] = format("%s, since %.1f s", t.waits, t.seconds)
  end
  if t.file then
    parts[#parts + 1] = format("at %s:%d", t.file, t.line)
  end
  return concat(parts, " ")
end

local function tree()
  local children, lines = {}, {}
  for _, t in ipairs(public.tasks()) do
    local parent = t.parent or false
    children[parent] = children[parent] or {}
    insert(children[parent], t)
  end
  -- (no recursion: scopes may be nested to any depth)
  local open, places = { children[false] or {} }, { 0 }
  while open[1] do
    local depth = #open
    places[depth] = places[depth] + 1
    local t = open[depth][places[depth]]
    if t then
      lines[#lines + 1] = rep("  ", min(depth - 1, DEEPEST))
        .. describe(t)
      open[depth + 1], places[depth + 1] = children[t.task] or {}, 0
    else
      open[depth] = nil
    end
  end
  return concat(lines, "\n")
end

return { public = { tree = tree } }
