-- fs_place: where a path of uring.fs leads, for the functions of fs.lua,
-- fs_tree.lua and fs_copy.lua. Each is written once, for a place: false, where
-- the process itself looks paths up, or a root. Beneath a root a path is first
-- opened, by openat2(2) with RESOLVE_BENEATH, or the folder that has its last
-- name; then all is done to that descriptor. So there is no time between
-- a check of a path and its use.
--
-- Invariant: a descriptor that was opened here is closed before the call ends,
-- or is the caller's.

local public = require("uring.core").public
local files = require "uring.file"

local core <const> = require "uring.core"
local request <const> = core.file_request
local open_fd <const>, stat_at <const> = files.open_fd, files.stat_at
local error <const>, pcall <const> = error, pcall
local setmetatable <const> = setmetatable
local format <const>, match <const>, sub <const> =
  string.format, string.match, string.sub
local E <const> = public.errno
local CWD <const> = public.AT_FDCWD
local O_PATH <const>, O_NOFOLLOW <const>, O_DIRECTORY <const> =
  public.O_PATH, public.O_NOFOLLOW, public.O_DIRECTORY

local SYMLINK_NOFOLLOW <const> = 0x100   -- AT_SYMLINK_NOFOLLOW


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

-- The table of its properties, for the function of this name.
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

return { named = named, open = open, split = split, parent = parent,
  on_name = on_name, stat = stat, HERE = HERE, NOT_A_FOLDER = NOT_A_FOLDER,
  SYMLINK_NOFOLLOW = SYMLINK_NOFOLLOW }
