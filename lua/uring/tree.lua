-- All tasks as a text: each below the one whose scope it is in.

local core = require("uring.core").public

local DEEPEST <const> = 40  -- further in nothing more is seen by it

local function line(t)
  local words = { t.id, t.waits and "waits" or t.state }
  if t.cancelled then words[#words + 1] = "(cancelled)" end
  if t.daemon then words[#words + 1] = "(daemon)" end
  if t.waits then
    words[#words + 1] = ("%s, since %.1f s"):format(t.waits, t.seconds)
  end
  if t.file then
    words[#words + 1] = ("at %s:%d"):format(t.file, t.line)
  end
  return table.concat(words, " ")
end

local function tree()
  local children, lines = {}, {}
  for _, t in ipairs(core.tasks()) do
    local parent = t.parent or false
    children[parent] = children[parent] or {}
    table.insert(children[parent], t)
  end
  -- (no recursion: scopes may lie in one another as deep as they like)
  local open, places = { children[false] or {} }, { 0 }
  while open[1] do
    local depth = #open
    places[depth] = places[depth] + 1
    local t = open[depth][places[depth]]
    if t then
      lines[#lines + 1] = ("  "):rep(math.min(depth - 1, DEEPEST)) .. line(t)
      open[depth + 1], places[depth + 1] = children[t.task] or {}, 0
    else
      open[depth] = nil
    end
  end
  return table.concat(lines, "\n")
end

return { public = { tree = tree } }
