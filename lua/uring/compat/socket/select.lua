-- select: LuaSocket's select, of whatever has `getfd` and perhaps `dirty`.
--
-- All are asked whether they are ready. Where none is, the task waits for any
-- of them, and asks them again: so all that are ready are told.

local uring = require "uring"
local argument = require "uring.compat.socket.argument"

local raise_at_caller <const> = require("uring.core").raise_at_caller
local now <const>, await <const>, choose <const> =
  uring.now, uring.await, uring.select
local ipairs <const>, type <const> = ipairs, type
local huge <const>, math_type <const> = math.huge, math.type
local READ <const>, WRITE <const> = uring.POLLIN, uring.POLLOUT
local EBADF <const>, ETIME <const> = uring.errno.EBADF, uring.errno.ETIME

-- A poll of this object; nil where it has no descriptor. (A close of ours ends
-- it, so that it does not hold the socket open.)
local function poll_of(x, mask)
  local fd = x.getfd and x:getfd()
  if not math_type(fd) or fd < 0 then return nil end
  return uring.sqe():prep_poll_add(fd // 1 | 0, mask)
end

local function is_ready(x, mask)
  local poll = poll_of(x, mask)
  if not poll then return false end
  if mask == READ and x.dirty and x:dirty() then return true end
  local events, message, errno = await(poll, 0)
  if events then return true end
  if errno == EBADF then raise_at_caller("select failed: " .. message) end
  return errno ~= ETIME
end

-- Those of a list that are ready; each is also the key of its place.
local function ready_of(list, mask)
  local ready = {}
  for _, x in ipairs(list) do
    if is_ready(x, mask) then
      ready[#ready + 1] = x
      ready[x] = #ready
    end
  end
  return ready
end

-- Wait until one of them may be ready, or the time has come.
local function wait(lists, time)
  local ring, events = nil, {}
  for mask, list in ipairs(lists) do
    for _, x in ipairs(list) do
      local poll = poll_of(x, mask == 1 and READ or WRITE)
      if poll then
        ring = ring or uring.loop():ring()
        events[#events + 1] = ring:awaiting(poll)
      end
    end
  end
  if time then events[#events + 1] = uring.at(time)
  elseif #events == 0 then
    raise_at_caller "select: there is nothing to wait for, and no timeout"
  end
  choose(events)
end

local function check_list(list, arg)
  if list == nil then return {} end
  if type(list) == "table" then return list end
  return argument.expected("table", list, arg, "select")
end

local function select(readers, writers, timeout)
  readers, writers = check_list(readers, 1), check_list(writers, 2)
  timeout = argument.number_of(timeout, 3, "select", -1)
  local time = timeout >= 0 and timeout < huge and now() + timeout or nil
  while true do
    local readable = ready_of(readers, READ)
    local writable = ready_of(writers, WRITE)
    if #readable > 0 or #writable > 0 then return readable, writable end
    if time and now() >= time then return readable, writable, "timeout" end
    wait({ readers, writers }, time)
  end
end

return { select = select }
