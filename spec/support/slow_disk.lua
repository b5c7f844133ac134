-- A file system that is slow: a FUSE server of a few files, which answers
-- reads, and names that begin with "slow", only after a while.
--
--     lua5.4 slow_disk.lua FOLDER SECONDS COMMAND...
--
-- It mounts itself there, runs the command, and ends with its status. (To be
-- started by unshare -rm, so that the mount is gone with it.)

local uring = require "uring"

local folder, seconds = arg[1], tonumber(arg[2])

local SIZE <const> = 1 << 18
local ENOENT <const>, ENOSYS <const> = 2, 38
local ROOT <const> = 1
local CONTENT <const> = ("0123456789"):rep(1000)

-- The root has any file that is asked for: their nodes by name, and what was
-- written to them by node.
local nodes, names, written = {}, {}, {}

local function node_of(name)
  if not nodes[name] then
    names[#names + 1] = name
    nodes[name] = ROOT + #names
  end
  return nodes[name]
end

local function attributes(node)
  local is_root = node == ROOT
  return string.pack("=I8I8I8I8I8I8I4I4I4I4I4I4I4I4I4I4", node,
    is_root and 0 or #(written[node] or CONTENT), 0, 0, 0, 0, 0, 0, 0,
    is_root and 16877 or 33188, 1, 0, 0, 0, 4096, 0)
end

local function wait_if(slow) if slow then uring.sleep(seconds) end end

local function opened() return string.pack("=I8I4I4", 0, 0, 0) end
local function nothing() return "" end

-- By the number of the request: its answer, or a negative errno.
local requests = {
  [1] = function(_, body)              -- LOOKUP
    local name = string.unpack("z", body)
    wait_if(name:find "^slow")
    if name:find "^none" then return -ENOENT end
    local node = node_of(name)
    return string.pack("=I8I8I8I8I4I4", node, 0, 0, 0, 0, 0)
      .. attributes(node)
  end,
  [3] = function(node)                 -- GETATTR
    return string.pack("=I8I4I4", 0, 0, 0) .. attributes(node)
  end,
  [14] = opened, [27] = opened,        -- OPEN, OPENDIR
  [4] = function(node, body)           -- SETATTR
    local valid, _, _, size = string.unpack("=I4I4I8I8", body)
    if valid & 8 ~= 0 then
      local old = written[node] or CONTENT
      written[node] = old:sub(1, size) .. ("\0"):rep(size - #old)
    end
    return string.pack("=I8I4I4", 0, 0, 0) .. attributes(node)
  end,
  [16] = function(node, body)          -- WRITE
    local _, from, size = string.unpack("=I8I8I4", body)
    local old = written[node] or CONTENT
    wait_if(true)
    written[node] = old:sub(1, from) .. ("\0"):rep(from - #old)
      .. body:sub(41, 40 + size) .. old:sub(from + size + 1)
    return string.pack("=I4I4", size, 0)
  end,
  [15] = function(node, body)          -- READ
    local _, from, size = string.unpack("=I8I8I4", body)
    wait_if(true)
    return (written[node] or CONTENT):sub(from + 1, from + size)
  end,
  [26] = function(_, body)             -- INIT: 7.31, FUSE_ASYNC_READ
    local _, _, ahead = string.unpack("=I4I4I4", body)
    return string.pack("=I4I4I4I4I2I2I4I4I2I2I4", 7, 31, ahead, 1, 64, 48,
      65536, 1, 0, 0, 0) .. ("\0"):rep(28)
  end,
  [28] = function(_, body)             -- READDIR
    local _, from = string.unpack("=I8I8", body)
    wait_if(true)
    if from > 0 then return "" end
    return string.pack("=I8I8I4I4", 2, 1, 4, 8) .. "file\0\0\0\0"
  end,
  [18] = nothing, [25] = nothing, [29] = nothing,  -- RELEASE, FLUSH, …
}
local UNANSWERED <const> = { [2] = true, [36] = true, [42] = true }

local function answer(device, kind, unique, node, body)
  local result = requests[kind] and requests[kind](node, body) or -ENOSYS
  local errno = 0
  if type(result) == "number" then errno, result = result, "" end
  local bytes = string.pack("=I4i4I8", 16 + #result, errno, unique) .. result
  uring.await(uring.sqe():prep_write(device, bytes, #bytes))
end

local function serve(device)
  local buffer = uring.buffer(SIZE)
  local sqe = uring.sqe()
  while true do
    local n = uring.await(sqe:prep_read(device, buffer, SIZE))
    if not n then break end
    local _, kind, unique, node, at = string.unpack("=I4I4I8I8",
      buffer:string(1, n))
    if not UNANSWERED[kind] then
      uring.spawn(answer, device, kind, unique, node,
        buffer:string(at + 16, n))
    end
  end
end

-- (The device's number is inherited: Lua's files are not close-on-exec.)
local device = assert(io.open("/dev/fuse", "r+"))
local number = uring.sqe():prep_poll_add(device, uring.POLLIN).fd
local mounted = os.execute(("mount -i -t fuse -o fd=%d,rootmode=40000,"
  .. "user_id=0,group_id=0 none '%s'"):format(number, folder))
if not mounted then os.exit(77) end

local _, code = uring.run(function()
  uring.daemon(serve, device)
  local command <close> = assert(uring.process { table.unpack(arg, 3) })
  return command:wait()
end)
os.exit(code)
