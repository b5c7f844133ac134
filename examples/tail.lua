-- Print what is added to a file, as tail -F does.
--
--     tools/env.sh plain lua5.4 examples/tail.lua FILE
--     tools/env.sh plain lua5.4 examples/tail.lua /var/log/syslog
--
-- It begins at the end of the file. When the file is moved away and another
-- comes in its place, as logs are rotated, it goes on with that one; when the
-- file is cut short, from its beginning. It may also come later. INT (Ctrl-C)
-- and TERM end it.

local uring = require "uring"

-- Print the rest of a file.
local function print_rest(file)
  local size = assert(file:stat()).size
  if size < file:seek() then file:seek "set" end  -- it was cut short
  for bytes in file:lines(65536) do uring.stdout:write(bytes) end
end

-- The file with that name, or nil if there is none (any more, or yet).
local function open(path)
  local file, message, errno = uring.open(path)
  assert(file or errno == uring.errno.ENOENT, message)
  return file
end

-- The directory is watched before the file is opened: so nothing is missed.
local function follow(path)
  local folder = path:match "^.*/" or ""
  local name = path:sub(#folder + 1)
  local watch <close> =
    assert(uring.fs.watch(folder == "" and "." or folder))
  local file = open(path)
  if file then file:seek "end" end
  for event in watch:messages() do
    if event.name == name or event.kind == "overflow" then
      if file then print_rest(file) end
      if event.kind ~= "modify" then  -- perhaps it is another file now
        local new = open(path)
        if new and file and new:stat().ino == file:stat().ino then
          new:close()
        elseif new then
          if file then  -- what it got before the new one was there
            print_rest(file)
            file:close()
          end
          file = new
          print_rest(file)
        end
      end
    end
  end
end


if not (arg[1] and arg[1]:find "[^/]$") then
  io.stderr:write("usage: tools/env.sh plain lua5.4 "
    .. "examples/tail.lua FILE\n")
  os.exit(2)
end

uring.run(function()
  local stop <close> = assert(uring.signals("INT", "TERM"))
  local task = uring.daemon(follow, arg[1])
  uring.select { stop:receiving(), task:joining() }
end)
