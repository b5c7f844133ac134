-- tree: uring.tree(), all tasks as a text, each below the task whose scope it
-- is in. It only reads uring.tasks().

local core = require("uring.core").public

local DEEPEST <const> = 40  -- the greatest indentation

local function describe(t)
  local parts = { t.id, t.waits and "waits" or t.state }
  if t.cancelled then parts[#parts + 1] = "(cancelled)" end
  if t.daemon then parts[#parts + 1] = "(daemon)" end
  if t.waits then
    parts[#parts + 1] = ("%s, since %.1f s"):format(t.waits, t.seconds)
  end
  if t.file then
    parts[#parts + 1] = ("at %s:%d"):format(t.file, t.line)
  end
  return table.concat(parts, " ")
end

local function tree()
  local children, lines = {}, {}
  for _, t in ipairs(core.tasks()) do
    local parent = t.parent or false
    children[parent] = children[parent] or {}
    table.insert(children[parent], t)
  end
  -- (no recursion: scopes may be nested to any depth)
  local open, places = { children[false] or {} }, { 0 }
  while open[1] do
    local depth = #open
    places[depth] = places[depth] + 1
    local t = open[depth][places[depth]]
    if t then
      lines[#lines + 1] = ("  "):rep(math.min(depth - 1, DEEPEST))
        .. describe(t)
      open[depth + 1], places[depth + 1] = children[t.task] or {}, 0
    else
      open[depth] = nil
    end
  end
  return table.concat(lines, "\n")
end

return { public = { tree = tree } }
