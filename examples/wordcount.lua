-- Count the words of all files in a directory, by a pool of workers: as many
-- as `wc -w` counts (of text; LC_ALL=C).
--
--     tools/env.sh plain lua5.4 examples/wordcount.lua DIR [WORKERS]
--     make demo DIR=doc
--
-- This state walks the tree and adds up; each worker, a thread with a Lua
-- state and a ring of its own, reads whole files. With 0 workers all of it is
-- done here, by the same code. While it runs a line on stderr tells how far it
-- is.

local uring = require "uring"


-- ---- in the workers --------------------------------------------------------

-- The words of a file, its bytes, and nil; or nil and why it cannot be read.
-- (A function for a worker uses nothing but its arguments, modules, globals.)
local function count(path)
  local file <close>, message = uring.open(path, "rb")
  if not file then return nil, message end
  local words, bytes = 0, 0
  local counted = false  -- the word that may go on in the next piece
  while true do
    local piece, why = file:read(1 << 16)
    if not piece and why then return nil, why end
    if not piece then return words, bytes end
    local from = counted and (piece:find "%s" or #piece + 1) or 1
    -- a word has a character that can be seen
    local _, n = piece:sub(from):gsub("%g%S*", "")
    -- (from its end: looked for at each place it would take too long)
    local space = piece:match "^.*()%s"
    if space then counted = piece:find("%g", space) ~= nil
    else counted = counted or n > 0 end
    words, bytes = words + n, bytes + #piece
  end
end


-- ---- here ------------------------------------------------------------------

-- An iterator over the paths of all files below a directory. What cannot be
-- read is told to `failed`.
local function files(directory, failed)
  local next_entry, walk, _, closer = uring.fs.walk(directory)
  return function()
    while true do
      local path, kind, message = next_entry(walk)
      if not path then return end
      if kind == "file" then return path end
      if not kind then failed(message) end
    end
  end, closer
end

-- Prints a line over the last one, ten times a second.
local function progress()
  local last = uring.now()
  return function(format, ...)
    if uring.now() - last < 0.1 then return end
    last = uring.now()
    io.stderr:write("\r", format:format(...), "\27[K")
  end
end

local function main(directory, workers)
  local total, bytes, done, missing = 0, 0, 0, 0
  local function failed(message)
    missing = missing + 1
    io.stderr:write("\r", message, "\27[K\n")
  end
  local began <const> = uring.now()
  local show <const> = progress()
  local paths <const>, walk = files(directory, failed)
  local _ <close> = walk
  local pool <close> = assert(uring.pool { workers = workers, main = count,
    name = "count" })
  for _, words, n in pool:map(paths) do
    if words then total, bytes, done = total + words, bytes + n, done + 1
    else failed(n) end
    show("%d files, %d words", done, total)
  end
  io.stderr:write "\r\27[K"
  print(("%d words in %d files, %d bytes, by %d workers in %.2f s"):format(
    total, done, bytes, workers, uring.now() - began))
  return missing == 0
end

local directory, workers = arg[1], math.tointeger(tonumber(arg[2] or 2))
if not directory or not workers then
  io.stderr:write("usage: tools/env.sh plain lua5.4 "
    .. "examples/wordcount.lua DIR [WORKERS]\n")
  os.exit(2)
end
local probe <const> = uring.probe()
if not probe.available then
  print("io_uring is not available here: " .. probe.reason)
  os.exit(77)
end
os.exit(uring.run(main, directory, workers) and 0 or 1, true)
