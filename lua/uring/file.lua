-- file: uring.open, and the methods of files; uring.stdin, stdout and stderr.
-- The requests are in csrc/os/file.c, reads and writes in csrc/os/stream_*.c.
--
-- Invariant: a descriptor that was opened is a stream's, or is closed before
-- the call ends.

local public = require("uring.core").public
local scopes = require("uring.scope").public
local argument = require "uring.argument"

local core <const> = require "uring.core"
local request <const> = core.file_request
local open_stream <const>, open_cached <const> =
  core.open_stream, core.open_cached
local stat_of <const>, stat_open <const> =
  core.file_stat, core.file_stat_open
local is_flushed <const>, is_seekable <const> =
  core.is_flushed, core.is_seekable
local fifo_came <const>, spawn_into <const> =
  core.file_fifo_came, core.spawn_into
local check_timeout <const>, check_path <const> =
  core.check_timeout, core.check_path
local bad_argument <const>, problem_of <const>, check_integer <const> =
  argument.bad_argument, argument.problem_of, argument.check_integer
local is_closed <const> = argument.is_closed
local Stream <const> = core.Stream
local type <const>, next <const> = type, next
local getmetatable <const>, setmetatable <const> =
  getmetatable, setmetatable
local format <const> = string.format
local tointeger <const> = math.tointeger
local max <const>, huge <const> = math.max, math.huge
local now <const> = public.now
local pack <const>, unpack <const> = table.pack, table.unpack
local EAGAIN <const>, EINVAL <const> = public.errno.EAGAIN, public.errno.EINVAL
local ESPIPE <const>, ETIME <const> = public.errno.ESPIPE, public.errno.ETIME
local EBADF <const>, ECANCELED <const> =
  public.errno.EBADF, public.errno.ECANCELED

local STATX_SIZE <const> = 256
local MOST <const> = 0x7fffffff       -- bytes of a request
local WAITING <const>, CACHED <const> = 1, 2  -- OPEN_… in csrc/os/file.c

local MODES <const> = {}
for mode, flags in next, {
  r = public.O_RDONLY,
  w = public.O_WRONLY | public.O_CREAT | public.O_TRUNC,
  a = public.O_WRONLY | public.O_CREAT | public.O_APPEND,
  ["r+"] = public.O_RDWR,
  ["w+"] = public.O_RDWR | public.O_CREAT | public.O_TRUNC,
  ["a+"] = public.O_RDWR | public.O_CREAT | public.O_APPEND,
} do
  MODES[mode], MODES[mode .. "b"] = flags, flags
end

local function mode_flags(mode)
  local flags = MODES[mode]
  if not flags then
    bad_argument(2, "open", 'mode "r", "w", "a", "r+", "w+" or "a+" expected, '
      .. 'perhaps with "b" behind it')
  end
  return flags
end

-- In the order of `push_stat` in csrc/os/file.c; or nil, message, errno.
local function stat_table(kind, size, mode, nlink, uid, gid, ino, blocks,
    atime, mtime, ctime, btime)
  if not kind then return nil, size, mode end
  return { kind = kind, size = size, mode = mode, nlink = nlink, uid = uid,
    gid = gid, ino = ino, blocks = blocks, atime = atime, mtime = mtime,
    ctime = ctime, btime = btime }
end

-- The table of a path's properties, from this folder; without a path those of
-- the descriptor itself.
local function stat_at(fd, path, flags)
  if not path then return stat_table(stat_open(fd)) end
  local buffer <close> = public.buffer(STATX_SIZE)
  local ok, message, errno = request("stat", fd, path, nil, flags, nil, nil,
    buffer)
  if not ok then return nil, message, errno end
  return stat_table(stat_of(buffer))
end

-- The deadline of a call with this timeout; and what is left of it.
local function deadline_of(timeout)
  return timeout and now() + timeout or huge
end

local function left(deadline)
  return deadline < huge and max(deadline - now(), 0) or nil
end

-- Is it a root's folder, and the root closed (also before this call)?
local function is_closed_root(kind, folder)
  return kind == "open_beneath" and (not folder or is_closed(folder))
end

local function root_closed(path)
  return nil, format("open '%s': the root was closed: Bad file descriptor "
    .. "(EBADF)", path), EBADF
end

local TRIES <const> = 100

-- Open it, by the request of this kind: a uring.fd; or nil, message, errno.
-- Beneath a root a path with ".." gives EAGAIN where anything, anywhere, was
-- renamed while the kernel resolved it: then it is tried again (openat2(2)).
local function open_fd(kind, folder, path, flags, how, timeout)
  local fd, message, errno
  local tries = kind == "open_beneath" and how ~= CACHED and TRIES or 1
  repeat
    if is_closed_root(kind, folder) then return root_closed(path) end
    fd, message, errno = request(kind, folder, path, nil, flags, how, timeout)
    tries = tries - 1
  until fd or errno ~= EAGAIN or tries == 0
  if errno == ECANCELED and is_closed_root(kind, folder) then
    return root_closed(path)
  end
  return fd, message, errno
end

-- To create or to cut off takes a thread of the kernel's anyhow.
local NEVER_CACHED <const> = public.O_CREAT | public.O_TRUNC

-- Open it without waiting for a FIFO's other end. The first try of a request
-- does not wait, and there is no other for a path that is in memory. One that
-- has to be read from a disk is opened by a thread, which would wait.
local function open_now(kind, folder, path, flags)
  local fd, message, errno
  if flags & NEVER_CACHED == 0 then
    fd, message, errno = open_fd(kind, folder, path, flags, CACHED)
    if fd or errno ~= EAGAIN then return fd, message, errno end
  end
  fd, message, errno = open_fd(kind, folder, path, flags | public.O_NONBLOCK)
  if fd then core.clear_nonblock(fd, flags) end
  return fd, message, errno
end

-- Open with these flags waits for a FIFO's other end by itself, or need not.
local NEVER_INLINE <const> = NEVER_CACHED | public.O_RDWR

-- The first try has opened a FIFO to read, though it may have no writer. Wait
-- for one as open(2) does: by a second open, which a thread of the kernel's
-- does. It does not see a writer that came and went before it; a poll of the
-- first does. (What can be read may be what an earlier writer has left for
-- another reader, and behind that the kernel tells of no end.) The arguments
-- are those of `open_fd`. When this returns nothing is left in the kernel that
-- a writer could take for a reader.
local function wait_for_writer(stream, ...)
  local all <const> = pack(...)
  return scopes.scope(function(scope)
    local opening <const> = spawn_into(scope, function()
      local other, message, errno = open_fd(unpack(all, 1, all.n))
      if not other then return nil, message, errno end
      return other:close()
    end)
    local polling <const> = spawn_into(scope, function()
      public.await(public.sqe():prep_poll_add(stream, public.POLLHUP))
      opening:cancel()
    end)
    local _, came, message, errno = opening:join()
    polling:cancel()
    return came, message, errno
  end)
end

-- A FIFO waits for its other end, as open(2) does. The first try does not:
-- it opens a FIFO to read that has no writer. That is the stream in the end:
-- a writer that has seen it may have written already. Without time it opens no
-- FIFO. The arguments are those of `open_waiting`.
local function open_fifo(stream, kind, folder, path, flags, deadline)
  local opened = false
  local _ <close> = setmetatable({}, { __close = function()
    if not opened then stream:close() end
  end })
  if deadline == 0 then return nil, "timed out", ETIME end
  local came, message, errno = wait_for_writer(stream, kind, folder, path,
    flags, WAITING, left(deadline))
  -- (looked at last: the next thing is the close)
  if not came and not fifo_came(stream) then return nil, message, errno end
  opened = true
  return stream
end

-- `kind` and `folder` are those of the request that opens what the kernel has
-- not in memory.
local function open_waiting(kind, folder, path, flags, timeout)
  local deadline <const> = timeout == 0 and 0 or deadline_of(timeout)
  local stream, fifo
  if flags & NEVER_CACHED == 0 then
    stream, fifo = open_cached(folder, path, flags, kind == "open_beneath")
  end
  if not stream then
    local fd, message, errno
    if deadline == 0 then
      fd, message, errno = open_now(kind, folder, path, flags)
    else
      fd, message, errno = open_fd(kind, folder, path, flags, nil, timeout)
    end
    if not fd then return nil, message, errno end
    stream, fifo = open_stream(fd, path, flags)
  end
  if not fifo or deadline ~= 0 and flags & NEVER_INLINE ~= 0 then
    return stream
  end
  return open_fifo(stream, kind, folder, path, flags, deadline)
end

-- uring.open, and the same beneath a root. (Tail-called: errors are raised at
-- the caller of its caller.)
local function open_at(kind, folder, path, mode, timeout)
  check_path(path, 1, "open")
  if mode == nil then mode = "r" end
  local flags = mode_flags(mode)
  check_timeout(timeout, 3, "open")
  return open_waiting(kind, folder, path, flags, timeout)
end

local function open(path, mode, timeout)
  return open_at("open", public.AT_FDCWD, path, mode, timeout)
end


-- ---- the methods of files -------------------------------------------------

local function check_self(self, name)
  if is_flushed(self) then return end  -- (then it is open)
  if getmetatable(self) ~= "uring.Stream" then
    bad_argument(1, name, "uring.Stream expected, got %s", core.typename(self))
  end
  local problem = problem_of(self.fileno, self)  -- (not if it is closed)
  if problem then bad_argument(1, name, "%s", problem) end
end

local function closed()
  return nil, "the stream was closed: Bad file descriptor (EBADF)", EBADF
end

-- Flush, in a call that goes on after that: it may have waited, and a request
-- have closed the number meanwhile.
local function flush_first(self, timeout)
  local ok, message, errno = self:flush(timeout)
  if not ok then return nil, message, errno end
  if not is_flushed(self) and is_closed(self) then return closed() end
  return true
end

-- What was written is in the file. (What a pipe has no room for yet changes
-- nothing of what it is asked.)
local function flush_file(self)
  if not is_seekable(self) then return true end
  return flush_first(self)
end

local WHENCE <const> = { set = 0, cur = 1, ["end"] = 2 }

function Stream:seek(whence, offset)
  check_self(self, "seek")
  if whence == nil then whence = "cur" end
  if offset == nil then offset = 0 end
  local from = WHENCE[whence]
  if not from then
    bad_argument(1, "seek", '"set", "cur" or "end" expected')
  end
  offset = type(offset) == "number" and tointeger(offset)
  if not offset then bad_argument(2, "seek", "integer expected") end
  local ok, message, errno = flush_file(self)
  if not ok then return nil, message, errno end
  return core.file_seek(self, from, offset)
end

-- The result of a request that names no path: an error names the stream. (A
-- close cancels the request: then the error is that it was closed.)
local function named(self, result, message, errno)
  if result then return result end
  if errno == ETIME then return nil, message, errno end
  if errno == ECANCELED and is_closed(self) then return closed() end
  return nil, format("%s: %s", self, message), errno
end

-- Begin a read or a write by position: the deadline; or nil, message, errno.
-- (The kernel ignores the position where there is none, and a write to what
-- has no reader would kill the process.)
local function begin_at(self, name, timeout)
  if not is_seekable(self) then
    return nil, format("%s: %s: Illegal seek (ESPIPE)", self, name), ESPIPE
  end
  local deadline <const> = deadline_of(timeout)
  local ok, message, errno = flush_first(self, timeout)
  if not ok then return nil, message, errno end
  return deadline
end

function Stream:pread(count, offset, timeout)
  check_self(self, "pread")
  count = check_integer(count, 1, "pread", 1, MOST)
  offset = check_integer(offset, 2, "pread", 0)
  check_timeout(timeout, 3, "pread")
  local deadline, failure, code = begin_at(self, "pread", timeout)
  if not deadline then return nil, failure, code end
  local buffer <close> = public.buffer(count)
  local n, message, errno = public.await(public.sqe():prep_read(self, buffer,
    count, offset), left(deadline))
  if not n then return named(self, nil, message, errno) end
  if n == 0 then return nil end
  return buffer:string(1, n)
end

function Stream:pwrite(bytes, offset, timeout)
  check_self(self, "pwrite")
  if type(bytes) ~= "string" then
    bad_argument(1, "pwrite", "string expected, got %s", core.typename(bytes))
  end
  offset = check_integer(offset, 2, "pwrite", 0)
  check_timeout(timeout, 3, "pwrite")
  local deadline, failure, code = begin_at(self, "pwrite", timeout)
  if not deadline then return nil, failure, code end
  local done, sqe = 0, public.sqe()
  while done < #bytes do
    local n, message, errno = public.await(sqe:prep_write(self, bytes,
      #bytes - done, offset + done, done), left(deadline))
    if not n then return named(self, nil, message, errno) end
    done = done + n
  end
  return self
end

-- A request on it, when what was written has gone.
local function after(flush, self, name, ...)
  local ok, message, errno = flush(self)
  if not ok then return nil, message, errno end
  local res
  res, message, errno = request(name, self, ...)
  if not res then return named(self, nil, message, errno) end
  return self
end

function Stream:sync()
  check_self(self, "sync")
  return after(flush_first, self, "sync")
end

function Stream:truncate(size)
  check_self(self, "truncate")
  size = check_integer(size, 1, "truncate", 0)
  local ok, message, errno = after(flush_file, self, "truncate", nil, nil,
    size)
  if ok then return ok end
  if errno ~= EINVAL then return nil, message, errno end
  if is_closed(self) then return closed() end
  ok, message, errno = core.file_truncate(self, size)  -- (before Linux 6.9)
  if ok then return self end
  return named(self, nil, message, errno)
end

function Stream:stat()
  check_self(self, "stat")
  local ok, message, errno = flush_file(self)
  if not ok then return nil, message, errno end
  return named(self, stat_at(self))
end


-- ---- the standard streams -------------------------------------------------

local STANDARD <const> = { stdin = 0, stdout = 1, stderr = 2 }

-- They are made when they are first asked for, so that a state that does not
-- use them has none.
local function standard(uring)
  local function make(name)
    return core.standard_stream(STANDARD[name], name)
  end
  getmetatable(uring).made = { stdin = make, stdout = make, stderr = make }
end

return {
  public = { open = open },
  standard = standard,  -- for uring.lua
  -- for fs.lua and its parts
  open_at = open_at, open_fd = open_fd, stat_at = stat_at,
}
