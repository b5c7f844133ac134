-- fs: uring.fs, the file system, and the same beneath a folder that nothing
-- leads out of, uring.fs.root. The requests are in csrc/os/file.c, what has to
-- be done by a helper thread in csrc/os/file_job.c.
--
-- Each function is written once, for a place: false, where the process itself
-- looks paths up, or a root. Beneath a root a path is first opened, by
-- openat2(2) with RESOLVE_BENEATH, or the folder that has its last name; then
-- all is done to that descriptor. So there is no time between a check of
-- a path and its use.
--
-- Invariant: a descriptor that was opened here is closed before the call ends,
-- or is a stream's; a temporary file is renamed or removed.

local public = require("uring.core").public
local files = require "uring.file"
local scopes = require("uring.scope").public
local watches = require "uring.watch"
local argument = require "uring.argument"

local core <const> = require "uring.core"
local request <const>, job <const> = core.file_request, core.file_job
local random <const> = core.file_random
local open_fd <const>, stat_at <const> = files.open_fd, files.stat_at
local check_path <const> = core.check_path
local bad_argument <const>, check_options <const>, check_integer <const> =
  argument.bad_argument, argument.check_options, argument.check_integer
local check_loop <const> = argument.check_loop
local error <const>, pcall <const> = error, pcall
local type <const>, next <const> = type, next
local getmetatable <const>, setmetatable <const> = getmetatable, setmetatable
local format <const>, find <const>, match <const>, sub <const> =
  string.format, string.find, string.match, string.sub
local E <const> = public.errno
local CWD <const> = public.AT_FDCWD
local O_PATH <const>, O_NOFOLLOW <const>, O_DIRECTORY <const> =
  public.O_PATH, public.O_NOFOLLOW, public.O_DIRECTORY

local SYMLINK_NOFOLLOW <const> = 0x100   -- AT_SYMLINK_NOFOLLOW
local REMOVEDIR <const> = 0x200          -- AT_REMOVEDIR
local PIECE <const> = 16 << 20           -- of a copy, in one job
local CHUNK <const> = 65536              -- of a copy by reads

local CREATE_NEW <const> = public.O_WRONLY | public.O_CREAT | public.O_EXCL


-- ---- places ---------------------------------------------------------------

local Root <const> = {}
Root.__index = Root
Root.__name = "uring.Root"

-- The message of a failed request, with the path that the caller gave.
local function named(op, from, path, message)
  local prefix = format("%s '%s'", op, from)
  if sub(message, 1, #prefix) == prefix then
    message = sub(message, #prefix + 1)
  else
    message = match(message, ":.*$") or message
  end
  return format("%s '%s'%s", op, path, message)
end

-- Open it: a uring.fd, or nil, message, errno
local function open(at, path, flags)
  if not at then return request("open", CWD, path, nil, flags) end
  return open_fd("open_beneath", at.folder, path, flags)
end

-- Not a folder of its own: closing it does nothing.
local HERE <const> = setmetatable({}, { __close = function() end })

-- What a request would say of a name that is not there, with a slash behind
-- it; the others make a folder of that name, or fail by themselves.
local NO_FOLDER <const> = {
  link = { "No such file or directory (ENOENT)", E.ENOENT },
  symlink = { "No such file or directory (ENOENT)", E.ENOENT },
  write = { "Is a directory (EISDIR)", E.EISDIR },
  copy = { "Is a directory (EISDIR)", E.EISDIR },
}
local NOT_A_FOLDER <const> = { "Not a directory (ENOTDIR)", E.ENOTDIR }

-- What is before the path's last name, and that name; nil if it ends with
-- a slash. (Paths of others may be long: it does not try each beginning.)
local function split(path)
  local folder, name = match(path, "^(.*/)([^/]+)$")
  if folder then return folder, name end
  if match(path, "^[^/]+$") then return "", path end
end

-- The folder of the path's last name, and that name. The folder is what
-- a request takes, and what is to be closed after it.
local function parent(at, op, path)
  if not at then return CWD, path, HERE end
  local folder, name = split(match(path, "^(.*[^/])/*$") or "")
  if not folder or name == "." or name == ".." then
    local errno = path == "" and E.ENOENT or E.EINVAL
    return nil, format("%s '%s': no name of a file beneath the root (%s)", op,
      path, errno == E.ENOENT and "ENOENT" or "EINVAL"), errno
  end
  local fd, message, errno = open(at, folder == "" and "." or folder,
    O_PATH | O_DIRECTORY)
  if not fd then
    return nil, named("open", folder == "" and "." or folder, path, message),
      errno
  end
  -- (a request would follow a link whose name has a slash behind it)
  if sub(path, -1) == "/" then
    local ok, found = pcall(stat_at, fd, name, SYMLINK_NOFOLLOW)
    if not ok then
      fd:close()
      error(found, 0)
    end
    local failure = NO_FOLDER[op]
    if found then failure = found.kind ~= "directory" and NOT_A_FOLDER end
    if failure then
      fd:close()
      return nil, format("%s '%s': %s", op, path, failure[1]), failure[2]
    end
  end
  return fd, name, fd
end

-- request(op, ...) on the last name of the path.
local function on_name(at, op, path, ...)
  local folder, name, last = parent(at, op, path)
  if not folder then return nil, name, last end
  local _ <close> = last
  local ok, message, errno = request(op, folder, name, ...)
  if not ok then return nil, named(op, name, path, message), errno end
  return true
end


-- ---- one request ----------------------------------------------------------

local functions <const> = {}

local function stat(at, name, path, flags)
  if not at then return stat_at(CWD, path, flags) end
  local fd <close>, message, errno = open(at, path,
    O_PATH | (flags ~= 0 and O_NOFOLLOW or 0))
  if not fd then return nil, named("open", path, path, message), errno end
  local found
  found, message, errno = stat_at(fd)
  if not found then return nil, named(name, "", path, message), errno end
  return found
end

function functions.stat(at, path)
  check_path(path, 1, "stat")
  return stat(at, "stat", path, 0)
end

function functions.lstat(at, path)
  check_path(path, 1, "lstat")
  return stat(at, "lstat", path, SYMLINK_NOFOLLOW)
end

function functions.open(at, path, mode, timeout)
  return files.open_at("open_beneath", at.folder, path, mode, timeout)
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


-- ---- folders --------------------------------------------------------------

-- Make it, and first those that it is in.
local function make_all(at, path, mode)
  local ok, message, errno = on_name(at, "mkdir", path, nil, mode)
  if ok then return true end
  -- (beneath a root "." is no name, and a link with a slash behind it none)
  if errno == E.EEXIST or at and (errno == E.EINVAL or errno == E.ENOTDIR)
  then
    local found = stat(at, "stat", path, 0)
    if found and found.kind == "directory" then return true end
  end
  local above = errno == E.ENOENT and match(path, "^(.*[^/])/+[^/]+/*$")
  if not above then return nil, message, errno end
  ok, message, errno = make_all(at, above, 511)
  if not ok then return nil, message, errno end
  ok, message, errno = on_name(at, "mkdir", path, nil, mode)
  if ok or errno == E.EEXIST then return true end  -- (a rival was quicker)
  return nil, message, errno
end

local MKDIR <const> = { { "parents", "boolean" },
  { "mode", "integer", 0, 4095 } }

function functions.mkdir(at, path, options)
  check_path(path, 1, "mkdir")
  options = check_options(options, 2, "mkdir", MKDIR)
  local mode = options.mode or 511
  if options.parents then return make_all(at, path, mode) end
  return on_name(at, "mkdir", path, nil, mode)
end

function functions.mkdtemp(at, template)
  check_path(template, 1, "mkdtemp")
  local stem = match(template, "^(.*)XXXXXX$")
  if not stem then
    bad_argument(1, "mkdtemp", "a path that ends with XXXXXX expected")
  end
  for _ = 1, 100 do
    local path = stem .. random()
    local ok, message, errno = on_name(at, "mkdir", path, nil, 448)
    if ok then return path end
    if errno ~= E.EEXIST then return nil, message, errno end
  end
  return nil, format("mkdtemp '%s': all names are taken (EEXIST)", template),
    E.EEXIST
end

local OPEN_FOLDER <const> = public.O_RDONLY | O_DIRECTORY

-- A folder that is read: it gives its next name and kind; nil at its end; or
-- nil, message, errno.
local Reading <const> = {}
Reading.__index = Reading

function Reading:__close()
  self.closed = true
  self.fd:close()
end

local function read_folder(fd, path)
  return setmetatable({ fd = fd, path = path, list = {}, at = 1,
    closed = false }, Reading)
end

-- The kind of an entry for which the file system has not said it.
local function kind_in(fd, name)
  local found = stat_at(fd, name, SYMLINK_NOFOLLOW)
  return found and found.kind or "unknown"
end

-- (It may be closed while it waits, too: that is its end.)
function Reading:next()
  if self.closed then return nil end
  while not self.list[self.at] do
    local list, message, errno = job("dir", self.fd)
    if self.closed then return nil end
    if list == nil then
      return nil, named("dir", "", self.path, message), errno
    end
    if not list then return nil end
    self.list, self.at = list, 1
  end
  local name, kind = self.list[self.at], self.list[self.at + 1]
  self.at = self.at + 2
  return name, kind or kind_in(self.fd, name)
end

local function next_entry(reading)
  check_loop(reading, Reading, "dir")
  local name, kind, errno = reading:next()
  if not name and errno then error(kind, 2) end
  return name, kind
end

function functions.dir(at, path)
  check_path(path, 1, "dir")
  local fd, message = open(at, path, OPEN_FOLDER)
  if not fd then error(message, 2) end
  local reading = read_folder(fd, path)
  return next_entry, reading, nil, reading
end

local function join(folder, name)
  return find(folder, "/$") and folder .. name or folder .. "/" .. name
end

-- Open a folder in another one, unless it is a link by now.
local function open_in(folder, name, path)
  local fd, message, errno = request("open", folder, name, nil,
    OPEN_FOLDER | O_NOFOLLOW)
  if not fd then return nil, named("open", name, path, message), errno end
  return fd
end

-- The folders that are being read, from the first to the innermost.
local Walk <const> = {}

function Walk:__close()
  self.closed = true
  for i = #self, 1, -1 do
    self[i]:__close()
    self[i] = nil
  end
end

-- Go down into the folder that was given last.
local function descend(walk)
  local path, name = walk.down, walk.name
  walk.down = nil
  local fd, message, errno
  if walk[1] then fd, message, errno = open_in(walk[#walk].fd, name, path)
  else fd, message, errno = open(walk.at, path, OPEN_FOLDER) end
  if walk.closed then  -- (meanwhile)
    if fd then fd:close() end
    return
  end
  if not fd then return path, nil, message, errno end
  walk[#walk + 1] = read_folder(fd, path)
end

local function next_of_walk(walk)
  check_loop(walk, Walk, "walk")
  if walk.down and not walk.closed then
    local path, kind, message, errno = descend(walk)
    if path then return path, kind, message, errno end
  end
  while walk[1] do
    local inner = walk[#walk]
    local name, kind, errno = inner:next()
    if name then
      local path = join(inner.path, name)
      if kind == "directory" then walk.down, walk.name = path, name end
      return path, kind
    end
    walk[#walk] = nil
    inner:__close()
    if errno then return inner.path, nil, kind, errno end
  end
end

function functions.walk(at, path)
  check_path(path, 1, "walk")
  local walk = setmetatable({ at = at, down = path, closed = false }, Walk)
  return next_of_walk, walk, nil, walk
end

-- What happens in a folder, or to a file. (The path is looked up once, so that
-- beneath a root it is the place that was opened that is watched.)
function functions.watch(at, path)
  check_path(path, 1, "watch")
  local fd <close>, message, errno = open(at, path, O_PATH)
  if not fd then return nil, named("open", path, path, message), errno end
  return watches.watch(fd, path)
end


-- ---- remove ---------------------------------------------------------------

local function unlink(folder, name, path)
  local ok, message, errno = request("remove", folder, name, nil, 0)
  if not ok and errno == E.EISDIR then
    ok, message, errno = request("remove", folder, name, nil, REMOVEDIR)
  end
  if ok then return true end
  return nil, named("remove", name, path, message), errno
end

-- Empty the folder that is being read last, and go down where that needs it.
-- Names that are read while others are removed may be left out, so each folder
-- is read again until it could be removed.
local function remove_all(walk, folder, name, path)
  local ok, message, errno = unlink(folder, name, path)
  if ok or errno ~= E.ENOTEMPTY and errno ~= E.EEXIST then
    return ok, message, errno
  end
  local fd
  fd, message, errno = open_in(folder, name, path)
  if not fd then return nil, message, errno end
  walk[1] = read_folder(fd, path)
  walk[1].name = name
  while walk[1] do
    local inner = walk[#walk]
    local entry, why, code = inner:next()
    if entry then
      local whole = join(inner.path, entry)
      ok, message, errno = unlink(inner.fd, entry, whole)
      if not ok and (errno == E.ENOTEMPTY or errno == E.EEXIST) then
        fd, message, errno = open_in(inner.fd, entry, whole)
        if fd then
          walk[#walk + 1] = read_folder(fd, whole)
          walk[#walk].name = entry
          ok = true
        end
      end
      if not ok and errno ~= E.ENOENT then return nil, message, errno end
    elseif code then
      return nil, why, code
    else
      walk[#walk] = nil
      inner:__close()
      local above = walk[1] and walk[#walk].fd or folder
      ok, message, errno = unlink(above, inner.name, inner.path)
      if not ok and (errno == E.ENOTEMPTY or errno == E.EEXIST) then
        fd, message, errno = open_in(above, inner.name, inner.path)
        if not fd then return nil, message, errno end
        walk[#walk + 1] = read_folder(fd, inner.path)
        walk[#walk].name = inner.name
      elseif not ok and errno ~= E.ENOENT then
        return nil, message, errno
      end
    end
  end
  return true
end

local REMOVE <const> = { { "recursive", "boolean" } }

function functions.remove(at, path, options)
  check_path(path, 1, "remove")
  options = check_options(options, 2, "remove", REMOVE)
  local folder, name, last = parent(at, "remove", path)
  if not folder then return nil, name, last end
  local _ <close> = last
  if not options.recursive then return unlink(folder, name, path) end
  -- (with what is in it its own name would go, and it stay, empty)
  if find(path, "^%.%./*$") or find(path, "/%.%./*$") then
    return nil, format("remove '%s': give its own name, not one that ends "
      .. "with '..' (EINVAL)", path), E.EINVAL
  end
  local walk <close> = setmetatable({}, Walk)
  return remove_all(walk, folder, name, path)
end


-- ---- contents -------------------------------------------------------------

local function open_stream(at, path, mode)
  if at then return files.open_at("open_beneath", at.folder, path, mode) end
  return files.public.open(path, mode)
end

function functions.read(at, path, max)
  check_path(path, 1, "read")
  if max ~= nil then max = check_integer(max, 2, "read", 1) end
  local file <close>, message, errno = open_stream(at, path, "r")
  if not file then return nil, message, errno end
  if not max then return file:read "a" end
  local bytes, why, code = file:limit(max):read "a"
  if bytes then return bytes end
  if code == E.EMSGSIZE then  -- (the stream's own says what can be read still)
    why = format("read '%s': it has more than %d bytes: Message too long "
      .. "(EMSGSIZE)", path, max)
  end
  return nil, why, code
end

-- A new file beside the one that is to be replaced. It is renamed to that
-- name by `done`, or removed at the end.
local Temporary <const> = {}
Temporary.__index = Temporary

function Temporary:__close()
  if self.stream then self.stream:close() end
  if self.temp then
    scopes.shield(1, request, "remove", self.folder, self.temp, nil, 0)
  end
  if self.last and self.last ~= HERE then self.last:close() end
end

-- (It is closed from before it is begun.)
local function temporary() return setmetatable({}, Temporary) end

-- Make the file: true, or nil, message, errno.
function Temporary:begin(at, op, path)
  local folder, name, last = parent(at, op, path)
  if not folder then return nil, name, last end
  self.folder, self.name, self.last = folder, name, last
  self.op, self.path = op, path
  -- (beside it: a rename does not go to another file system)
  local above, own = split(name)
  local old = own and stat_at(folder, name, SYMLINK_NOFOLLOW)
  if not own or old and old.kind == "directory" then
    return nil, format("%s '%s': Is a directory (EISDIR)", op, path), E.EISDIR
  end
  if old and old.kind ~= "file" and old.kind ~= "link" then
    return nil, format("%s '%s': it is no file but a %s, which is not "
      .. "replaced: open it, and write (EINVAL)", op, path, old.kind), E.EINVAL
  end
  local temp, fd, message, errno
  repeat
    temp = format("%s.%s.%s", above, sub(own, 1, 200), random())
    self.temp = temp
    -- (a request that is cancelled may make the file all the same, later)
    fd, message, errno = scopes.shield(5, request, "open", folder, temp, nil,
      CREATE_NEW | O_NOFOLLOW)
  until fd or errno ~= E.EEXIST
  if not fd then
    self.temp = nil
    return nil, named("open", temp, path, message), errno
  end
  self.stream, self.old = core.open_stream(fd, path), old
  return true
end

-- It has the mode of the file that it replaces, if there is one. (A link may
-- lead to something else.)
function Temporary:done(mode)
  local stream = self.stream
  if mode then
    local ok, message, errno = job("chmod", stream, nil, mode)
    if not ok then
      return nil, named(self.op, "", self.path, message), errno
    end
  end
  local ok, message, errno = stream:sync()
  if not ok then return nil, message, errno end
  self.stream = nil
  ok, message, errno = stream:close()
  if not ok then return nil, message, errno end
  ok, message, errno = request("rename", self.folder, self.temp, self.name, 0)
  if not ok then
    return nil, named("rename", format("%s' to '%s", self.temp, self.name),
      self.path, message), errno
  end
  self.temp = nil
  return true
end

local function write_atomic(at, path, data)
  local t <close> = temporary()
  local ok, message, errno = t:begin(at, "write", path)
  if not ok then return nil, message, errno end
  local old = t.old
  if old and old.kind == "link" then old = stat(at, "stat", path, 0) end
  ok, message, errno = t.stream:write(data)
  if not ok then return nil, message, errno end
  return t:done(old and old.kind == "file" and old.mode)
end

local WRITE <const> = { { "atomic", "boolean" } }

function functions.write(at, path, data, options)
  check_path(path, 1, "write")
  if type(data) ~= "string" then
    bad_argument(2, "write", "string expected, got %s", core.typename(data))
  end
  options = check_options(options, 3, "write", WRITE)
  if options.atomic then return write_atomic(at, path, data) end
  local file <close>, message, errno = open_stream(at, path, "w")
  if not file then return nil, message, errno end
  local ok
  ok, message, errno = file:write(data)
  -- (a close waits for five seconds only)
  if ok then ok, message, errno = file:flush() end
  if not ok then return nil, message, errno end
  ok, message, errno = file:close()
  if not ok then return nil, message, errno end
  return true
end

-- Copy it piece by piece: how many bytes. A file that has a size is copied by
-- a helper thread, which the kernel may save the reading and writing.
local function copy_file(from, to, paths)
  local total = 0
  while true do
    local n, message, errno = job("copy", from, to, PIECE)
    if not n then return nil, named("copy", "", paths, message), errno end
    if n == 0 then return total end
    total = total + n
  end
end

-- The same by requests, which a task can leave. All that may wait for another
-- process (a FIFO, a terminal, files of /proc) would hold up the thread.
local function copy_bytes(from, to)
  local total = 0
  while true do
    local bytes, message, errno = from:read(CHUNK)
    if not bytes and errno then return nil, message, errno end
    if not bytes then return total end
    total = total + #bytes
    local ok
    ok, message, errno = to:write(bytes)
    if not ok then return nil, message, errno end
  end
end

function functions.copy(at, from, to)
  check_path(from, 1, "copy")
  check_path(to, 2, "copy")
  local source <close>, message, errno = open_stream(at, from, "r")
  if not source then return nil, message, errno end
  local info
  info, message, errno = source:stat()
  if not info then return nil, message, errno end
  if info.kind == "directory" then
    return nil, format("copy '%s': Is a directory (EISDIR)", from), E.EISDIR
  end
  local t <close> = temporary()
  local ok
  ok, message, errno = t:begin(at, "copy", to)
  if not ok then return nil, message, errno end
  local n
  if info.kind == "file" and info.size > 0 then
    n, message, errno = copy_file(source, t.stream,
      format("%s' to '%s", from, to))
  else
    n, message, errno = copy_bytes(source, t.stream)
  end
  if not n then return nil, message, errno end
  ok, message, errno = t:done(info.mode & 511)
  if not ok then return nil, message, errno end
  return n
end


-- ---- both -----------------------------------------------------------------

local function check_root(self, name)
  if getmetatable(self) ~= "uring.Root" or type(self) ~= "table" then
    bad_argument(1, name, "uring.Root expected, got %s", core.typename(self))
  end
  if not self.folder then
    bad_argument(1, name, "attempt to use a closed root")
  end
end

local fs <const> = {}

-- (Tail calls: errors are raised at the caller.)
for name, f in next, functions do
  if name ~= "open" then
    fs[name] = function(...) return f(false, ...) end
  end
  Root[name] = function(self, ...)
    check_root(self, name)
    return f(self, ...)
  end
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
