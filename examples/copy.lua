-- Copy a tree.
--
--     tools/env.sh plain lua5.4 examples/copy.lua FROM TO [LIMIT]
--     tools/env.sh plain lua5.4 examples/copy.lua doc /tmp/doc-copy 8
--
-- Files are copied by LIMIT tasks at once (16); a link stays a link. Progress
-- is told twice a second. What cannot be copied is told, the rest is copied
-- all the same, and the status is then 1. Each file appears under
-- its name when it is whole.

local uring = require "uring"
local fs = uring.fs

local function say(...) uring.stderr:write(string.format(...), "\n") end

-- Copy one entry of the tree: its size; or nil and why not.
local function copy_entry(path, kind, target)
  if kind == "file" then return fs.copy(path, target) end
  if kind == "link" then
    local to, message = fs.readlink(path)
    if not to then return nil, message end
    local ok
    ok, message = fs.symlink(to, target)
    return ok and 0, message
  end
  return nil, ("copy '%s': a %s"):format(path, kind)
end

local function progress(sum)
  for _ in uring.every(0.5) do
    say("%d files, %.1f MB", sum.files, sum.bytes / 1e6)
  end
end

-- Is `to`, or the part of it that exists, the directory `from` or below it?
-- (By what they are: a path may lead there by links, "." and "..".)
local function is_in(to, from)
  local top, at = fs.stat(from), fs.stat(to)
  while not at and to ~= "." and to ~= "/" do
    to = to:match "^(.*[^/])/+[^/]+/*$" or to:match "^/" or "."
    at = fs.stat(to)
  end
  local below
  while top and at and not (below and at.ino == below.ino
      and at.dev == below.dev) do
    if at.ino == top.ino and at.dev == top.dev then return true end
    to, below = to .. "/..", at
    at = fs.stat(to)
  end
  return false
end

-- A walk does not go on before one of LIMIT tasks is free: so a tree of any
-- size takes the memory of so many files.
local function copy_tree(from, to, limit)
  local sum = { files = 0, bytes = 0, failed = 0 }
  local slots = uring.semaphore(limit)
  uring.daemon(progress, sum)

  local function count(bytes, message)
    if bytes then
      sum.files, sum.bytes = sum.files + 1, sum.bytes + bytes
    else
      sum.failed = sum.failed + 1
      say("%s", message)
    end
  end

  assert(fs.mkdir(to, { parents = true }))
  uring.scope(function(scope)
    for path, kind, message in fs.walk(from) do
      local target = to .. path:sub(#from + 1)
      if kind == "directory" then
        local made, why = fs.mkdir(target, { parents = true })
        if not made then count(nil, why) end
      elseif kind then
        slots:acquire()
        scope:spawn(function()
          count(copy_entry(path, kind, target))
          slots:release()
        end)
      else
        count(nil, message)  -- (what may not be read)
      end
    end
  end)
  return sum
end


local from, to, limit = arg[1], arg[2], math.tointeger(arg[3] or 16)
if not to or not limit or limit < 1 then
  io.stderr:write("usage: tools/env.sh plain lua5.4 "
    .. "examples/copy.lua FROM TO [LIMIT]\n")
  os.exit(2)
end

from = from:match "^(.*[^/])/*$" or from:sub(1, 1)
local sum = uring.run(function()
  return not is_in(to, from) and copy_tree(from, to, limit)
end)
if not sum then
  io.stderr:write("'", to, "' is in '", from, "': the copy would not end\n")
  os.exit(2)
end
print(("%d files, %d bytes"):format(sum.files, sum.bytes))
os.exit(sum.failed == 0 and 0 or 1)
