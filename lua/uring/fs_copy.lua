-- fs_copy: the part of uring.fs that reads, writes and copies whole files. The
-- functions are for a place, as fs_place.lua says.
--
-- Invariant: a temporary file is renamed or removed. What it replaces is there
-- as a whole, until that.

local public = require("uring.core").public
local files = require "uring.file"
local place = require "uring.fs_place"
local scopes = require("uring.scope").public
local argument = require "uring.argument"

local core <const> = require "uring.core"
local request <const>, job <const> = core.file_request, core.file_job
local random <const> = core.file_random
local named <const>, split <const>, parent <const>, stat <const> =
  place.named, place.split, place.parent, place.stat
local stat_at <const>, check_path <const> = files.stat_at, core.check_path
local bad_argument <const>, check_options <const>, check_integer <const> =
  argument.bad_argument, argument.check_options, argument.check_integer
local type <const>, setmetatable <const> = type, setmetatable
local format <const>, sub <const> = string.format, string.sub
local E <const>, HERE <const> = public.errno, place.HERE
local O_NOFOLLOW <const>, SYMLINK_NOFOLLOW <const> =
  public.O_NOFOLLOW, place.SYMLINK_NOFOLLOW

local PIECE <const> = 16 << 20           -- of a copy, in one job
local CHUNK <const> = 65536              -- of a copy by reads

local CREATE_NEW <const> = public.O_WRONLY | public.O_CREAT | public.O_EXCL

local functions <const> = {}


-- ---- read -----------------------------------------------------------------

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


-- ---- a temporary file -----------------------------------------------------

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


-- ---- write ----------------------------------------------------------------

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


-- ---- copy -----------------------------------------------------------------

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

return functions
