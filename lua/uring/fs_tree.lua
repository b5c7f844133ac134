-- fs_tree: the part of uring.fs that reads folders, walks through trees, and
-- makes and removes them. The functions are for a place, as fs_place.lua says.
--
-- Invariant: a folder that was opened here is closed before the call ends, or
-- when its loop does.

local public = require("uring.core").public
local files = require "uring.file"
local place = require "uring.fs_place"
local argument = require "uring.argument"

local core <const> = require "uring.core"
local request <const>, job <const> = core.file_request, core.file_job
local random <const> = core.file_random
local named <const>, open <const>, stat <const> =
  place.named, place.open, place.stat
local parent <const>, on_name <const> = place.parent, place.on_name
local stat_at <const>, check_path <const> = files.stat_at, core.check_path
local bad_argument <const>, check_options <const>, check_loop <const> =
  argument.bad_argument, argument.check_options, argument.check_loop
local error <const>, setmetatable <const> = error, setmetatable
local format <const>, find <const>, match <const> =
  string.format, string.find, string.match
local E <const> = public.errno
local O_NOFOLLOW <const>, O_DIRECTORY <const> =
  public.O_NOFOLLOW, public.O_DIRECTORY

local SYMLINK_NOFOLLOW <const> = place.SYMLINK_NOFOLLOW
local REMOVEDIR <const> = 0x200          -- AT_REMOVEDIR

local functions <const> = {}


-- ---- make -----------------------------------------------------------------

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


-- ---- read -----------------------------------------------------------------

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

return functions
