-- All tasks as a text: each below the one whose scope it is in.

local core = require "uring.core"

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
  local function add(parent, indent)
    for _, t in ipairs(children[parent] or {}) do
      lines[#lines + 1] = indent .. line(t)
      add(t.task, indent .. "  ")
    end
  end
  add(false, "")
  return table.concat(lines, "\n")
end

return { tree = tree }
