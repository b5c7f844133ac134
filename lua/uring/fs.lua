-- fs: uring.fs, the file system, and the same beneath a folder that nothing
-- leads out of, uring.fs.root. What needs one request is here; folders are in
-- fs_tree.lua, whole files in fs_copy.lua, and where a path leads is found by
-- fs_place.lua. The requests are in csrc/os/file.c, what has to be done by
-- a helper thread in csrc/os/file_job.c.
--
-- Each function takes a place first: false, or a root. fs has it without that,
-- and a root has it as a method.

local public = require("uring.core").public
local files = require "uring.file"
local place = require "uring.fs_place"
local trees = require "uring.fs_tree"
local copies = require "uring.fs_copy"
local watches = require "uring.watch"
local argument = require "uring.argument"

local core <const> = require "uring.core"
local request <const>, job <const> = core.file_request, core.file_job
local named <const>, open <const>, stat <const> =
  place.named, place.open, place.stat
local parent <const>, NOT_A_FOLDER <const> = place.parent, place.NOT_A_FOLDER
local stat_at <const>, check_path <const> = files.stat_at, core.check_path
local bad_argument <const>, check_integer <const> =
  argument.bad_argument, argument.check_integer
local type <const>, next <const> = type, next
local getmetatable <const>, setmetatable <const> = getmetatable, setmetatable
local format <const>, sub <const> = string.format, string.sub
local E <const> = public.errno
local O_PATH <const>, O_NOFOLLOW <const>, O_DIRECTORY <const> =
  public.O_PATH, public.O_NOFOLLOW, public.O_DIRECTORY

local SYMLINK_NOFOLLOW <const> = place.SYMLINK_NOFOLLOW


-- ---- one request ----------------------------------------------------------

local functions <const> = {}

function functions.stat(at, path)
  check_path(path, 1, "stat")
  return stat(at, "stat", path, 0)
end

function functions.lstat(at, path)
  check_path(path, 1, "lstat")
  return stat(at, "lstat", path, SYMLINK_NOFOLLOW)
end

-- rename and link: a request on the last names of two paths.
local function on_two_names(at, op, from, to)
  local folder, name, last = parent(at, op, from)
  if not folder then return nil, name, last end
  local _ <close> = last
  local other, new, last_other = parent(at, op, to)
  if not other then return nil, new, last_other end
  local _ <close> = last_other
  if at and op == "rename" and sub(to, -1) == "/" then  -- (a folder alone)
    local found = stat_at(folder, name, SYMLINK_NOFOLLOW)
    if found and found.kind ~= "directory" then
      return nil, format("rename '%s' to '%s': %s", from, to,
        NOT_A_FOLDER[1]), NOT_A_FOLDER[2]
    end
  end
  local ok, message, errno = request(op, folder, name, new, 0, nil, nil, other)
  if not ok then
    return nil, named(op, format("%s' to '%s", name, new),
      format("%s' to '%s", from, to), message), errno
  end
  return true
end

function functions.rename(at, from, to)
  check_path(from, 1, "rename")
  check_path(to, 2, "rename")
  return on_two_names(at, "rename", from, to)
end

function functions.link(at, from, to)
  check_path(from, 1, "link")
  check_path(to, 2, "link")
  return on_two_names(at, "link", from, to)
end

function functions.symlink(at, target, path)
  check_path(target, 1, "symlink")
  check_path(path, 2, "symlink")
  local folder, name, last = parent(at, "symlink", path)
  if not folder then return nil, name, last end
  local _ <close> = last
  local ok, message, errno = request("symlink", folder, target, name)
  if not ok then
    return nil, named("symlink", format("%s' to '%s", target, name),
      format("%s' to '%s", target, path), message), errno
  end
  return true
end

function functions.readlink(at, path)
  check_path(path, 1, "readlink")
  local fd <close>, message, errno = open(at, path, O_PATH | O_NOFOLLOW)
  if not fd then
    return nil, named("open", path, path, message), errno
  end
  return core.file_readlink(fd, path)
end

function functions.chmod(at, path, mode)
  check_path(path, 1, "chmod")
  mode = check_integer(mode, 2, "chmod", 0, 4095)
  local fd <close>, message, errno = open(at, path, O_PATH)
  if not fd then return nil, named("open", path, path, message), errno end
  local ok
  ok, message, errno = job("chmod", fd, nil, mode)
  if ok then return true end
  message = named("chmod", "", path, message)
  if errno == E.EOPNOTSUPP then message = message .. " (without /proc)" end
  return nil, message, errno
end

-- What happens in a folder, or to a file. (The path is looked up once, so that
-- beneath a root it is the place that was opened that is watched.)
function functions.watch(at, path)
  check_path(path, 1, "watch")
  local fd <close>, message, errno = open(at, path, O_PATH)
  if not fd then return nil, named("open", path, path, message), errno end
  return watches.watch(fd, path)
end


-- ---- of the process, and of a root ---------------------------------------

local function check_root(self, name)
  if getmetatable(self) ~= "uring.Root" or type(self) ~= "table" then
    bad_argument(1, name, "uring.Root expected, got %s", core.typename(self))
  end
  if not self.folder then
    bad_argument(1, name, "attempt to use a closed root")
  end
end

local Root <const> = {}
Root.__index = Root
Root.__name = "uring.Root"

local fs <const> = {}

for _, others in next, { trees, copies } do
  for name, f in next, others do functions[name] = f end
end

-- (Tail calls: errors are raised at the caller.)
for name, f in next, functions do
  fs[name] = function(...) return f(false, ...) end
  Root[name] = function(self, ...)
    check_root(self, name)
    return f(self, ...)
  end
end

function Root:open(path, mode, timeout)
  check_root(self, "open")
  return files.open_at("open_beneath", self.folder, path, mode, timeout)
end

function fs.root(path)
  check_path(path, 1, "root")
  local folder, message, errno = open(false, path, O_PATH | O_DIRECTORY)
  if not folder then return nil, message, errno end
  return setmetatable({ folder = folder, path = path }, Root)
end

function Root:close()
  if self.folder then self.folder:close() end
  self.folder = nil
  return true
end

Root.__close = Root.close

function Root:__tostring()
  return self.folder and format("uring.Root (%s)", self.path)
    or "uring.Root (closed)"
end

Root.__metatable = "uring.Root"

return { public = { fs = fs } }
