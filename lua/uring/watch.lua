-- watch: the objects of uring.fs.watch. The kernel's queue of changes
-- (inotify) is a stream, which gives one record after another. Here they
-- become events.
--
-- Invariant: a record is taken whole or not at all, so that no task reads the
-- middle of one. When the watched file is gone the stream is closed: then no
-- task waits any more.

local public = require("uring.core").public

local after <const> = require("uring.event").public.after

local core <const> = require "uring.core"
local argument <const> = require "uring.argument"
local bad_argument <const>, problem_of <const>, check_loop <const> =
  argument.bad_argument, argument.problem_of, argument.check_loop
local watch_new <const>, open_stream <const> =
  core.watch_new, core.open_stream
local read_record <const>, reading_record <const> =
  core.stream_read_record, core.stream_reading_record
local error <const>, type <const> = error, type
local getmetatable <const>, setmetatable <const> = getmetatable, setmetatable
local format <const>, unpack <const> = string.format, string.unpack
local find <const> = string.find
local ipairs <const> = ipairs
local E <const> = public.errno

-- The bits of inotify(7), with what they are here.
local KINDS <const> = {
  { 0x100, { kind = "create" } },               -- IN_CREATE
  { 0x2, { kind = "modify" } },                 -- IN_MODIFY
  { 0x200 | 0x400 | 0x2000, { kind = "delete" } },
                                    -- IN_DELETE, IN_DELETE_SELF, IN_UNMOUNT
  { 0x40 | 0x800, { kind = "move", moved = "from" } },
                                    -- IN_MOVED_FROM, IN_MOVE_SELF
  { 0x80, { kind = "move", moved = "to" } },    -- IN_MOVED_TO
  { 0x4000, { kind = "overflow" } },            -- IN_Q_OVERFLOW
}
local IGNORED <const>, ISDIR <const> = 0x8000, 0x40000000

local Watch <const> = { __name = "uring.Watch" }
Watch.__index = Watch

local function check_self(self, name, open)
  if getmetatable(self) ~= Watch then
    bad_argument(1, name, "uring.Watch expected, got %s", type(self))
  elseif open and self.closed then
    bad_argument(1, name, "attempt to use a closed watch")
  elseif open and not self.gone then
    -- (a request may have closed its number, and it may be a parent's)
    local problem = problem_of(self.stream.fileno, self.stream)
    if problem then bad_argument(1, name, "%s", problem) end
  end
end

local function gone(self)
  return nil, format("watch '%s': it is not there any more (ENOENT)",
    self.path), E.ENOENT
end

-- The event of a record; or nil, message, errno of a read that has failed.
local function event_of(self, record, message, errno)
  if not record then
    if self.gone then return gone(self) end
    return nil, message, errno
  end
  local _, mask, cookie, size, at = unpack("=i4I4I4I4", record)
  if mask & IGNORED ~= 0 then
    self.gone = true
    self.stream:close()
    return gone(self)
  end
  local event = { name = size > 0 and unpack("z", record, at) or nil,
    directory = mask & ISDIR ~= 0 or nil,
    cookie = cookie ~= 0 and cookie or nil }
  for _, kind in ipairs(KINDS) do
    if mask & kind[1] ~= 0 then
      event.kind, event.moved = kind[2].kind, kind[2].moved
    end
  end
  return event
end

-- (`fd` was opened with O_PATH.)
local function watch(fd, path)
  local inotify, message, errno = watch_new(fd, path)
  if not inotify then return nil, message, errno end
  return setmetatable({ path = path, gone = false, closed = false,
    stream = open_stream(inotify, path) }, Watch)
end

function Watch:receive(seconds)
  check_self(self, "receive", true)
  core.check_timeout(seconds, 1, "receive")
  if self.gone then return gone(self) end
  return event_of(self, read_record(self.stream, seconds))
end

function Watch:receiving()
  check_self(self, "receiving", true)
  if self.gone then
    return after(0):wrap(function() return gone(self) end)
  end
  return reading_record(self.stream):wrap(function(...)
    return event_of(self, ...)
  end)
end

local function step(self)
  check_loop(self, Watch, "messages")
  if self.closed or self.gone then return nil end
  local problem = problem_of(self.stream.fileno, self.stream)
  if problem then  -- (its number was closed, or it is a parent's)
    if find(problem, "closed", 1, true) then return nil end
    error(problem, 2)
  end
  local event, message, errno = event_of(self, read_record(self.stream))
  if event or errno == E.EBADF or errno == E.ENOENT then return event end
  error(message, 2)
end

function Watch:messages()
  check_self(self, "messages", true)
  return step, self, nil, self
end

function Watch:close()
  check_self(self, "close")
  self.closed = true
  self.stream:close()
  return true
end

Watch.__close = Watch.close

function Watch:__tostring()
  return format("uring.Watch ('%s'%s)", self.path, self.closed and ", closed"
    or self.gone and ", gone" or "")
end


return { watch = watch }  -- for fs.lua
