-- Messages, flags and an open file travel between two rings.
--
--     tools/env.sh plain lua5.4 examples/demo.lua [FILE]
--
-- A ring is a pair of queues that a program shares with the kernel: requests
-- go in, completions come out. Other rings can post messages into the queue of
-- completions. The two tasks here communicate by such messages only.
--
-- The librarian opens FILE as a direct descriptor, which exists only in the
-- table of its ring, and sends it to the reader's ring. The reader reads it
-- there, sends its counts back, and goes on until it receives a stop message.

local uring = require "uring"

local path = arg[1] or arg[0]
local CHUNK = 65536
local FILE, STOP = 1, 2               -- the kinds of messages to the reader
local KINDS = { "bytes", "lines", "words" }
local FLAG = 0x100                    -- the flags of a count: FLAG << kind

local function give_up(status, ...)
  io.stderr:write(table.concat { ... }, "\n")
  os.exit(status)
end

local probe = uring.probe()
local features = probe.features
if not probe.available then
  give_up(77, "io_uring does not work here: ", probe.reason)
elseif not features.msg_ring_fd_alloc.works then
  give_up(77, "a ring of this kernel cannot send an open file to another: ",
    features.msg_ring_fd_alloc.note, " (this is ", probe.kernel, ")")
end
local has_flags = features.msg_ring_cqe_flags.works
local has_sync = features.sync_msg.works

local function say(who, ...)
  print(("%-9s  %s"):format(who, string.format(...)))
end

local function lines_in(text)
  local n, at = 0, 0
  repeat
    at = text:find("\n", at + 1, true)
    if at then n = n + 1 end
  until not at
  return n
end

local function words_in(text)
  local n = 0
  for _ in text:gmatch "%S+" do n = n + 1 end
  return n
end

-- How many bytes, lines and words the file in this slot has.
local function count(ring, slot)
  local buffer = uring.buffer(CHUNK)
  local bytes, lines, words = 0, 0, 0
  local inside = false  -- did the last chunk end within a word?
  while true do
    local read = uring.sqe():prep_read(slot, buffer, CHUNK, bytes)
    read:set_flags(uring.IOSQE_FIXED_FILE)  -- a slot, no ordinary number
    local n, why = ring:await(read)
    if not n then error(("cannot read %s: %s"):format(path, why), 0) end
    if n == 0 then return { bytes, lines, words } end
    local text = buffer:string(1, n)
    bytes = bytes + n
    lines = lines + lines_in(text)
    words = words + words_in(text)
    if inside and text:find "^%S" then words = words - 1 end
    inside = text:find "%S$" ~= nil
  end
end

-- A message carries 32 bits (its len), 64 bits (its data) and, from Linux
-- 6.3 on, flags. The count needs the 64 bits; the flags say which count it is,
-- or the len where there are no flags.
local function send_count(from, to, kind, value)
  local sqe = uring.sqe()
  if has_flags then
    sqe:prep_msg_ring_cqe_flags(to, 0, value, 0, FLAG << kind)
  else
    sqe:prep_msg_ring(to, kind, value)
  end
  assert(from:await(sqe))
end

local function reader(desk, library)
  for len, data in desk:messages() do
    if data == FILE then
      -- the len of a file's message is the slot that the kernel put it in
      say("reader", "<- an open file, now in slot %d of the reader's ring",
        len)
      local counts = count(desk, len)
      assert(desk:await(uring.sqe():prep_close_direct(len)))
      say("reader", "-> what was counted in it, in %d messages", #counts)
      for kind, value in ipairs(counts) do
        send_count(desk, library, kind, value)
      end
    elseif data == STOP then
      say("reader", "<- stop")
      return
    end
  end
end

local function librarian(library, desk)
  local open = uring.sqe():prep_openat_direct(uring.AT_FDCWD, path,
    uring.O_RDONLY, 0, 0)
  local ok, why = library:await(open)
  if not ok then error(("cannot open %s: %s"):format(path, why), 0) end
  say("librarian", "opened %s: slot 0 of the librarian's ring", path)

  say("librarian", "-> the open file, whose own copy is closed then")
  local send = uring.sqe():prep_msg_ring_fd_alloc(desk, 0, FILE)
  assert(library:await(send))
  assert(library:await(uring.sqe():prep_close_direct(0)))

  for _ = 1, #KINDS do
    local len, data, flags = assert(library:receive())
    local kind = len
    for k = 1, #KINDS do if flags == FLAG << k then kind = k end end
    say("librarian", "<- len %d, data %d, flags 0x%x: %d %s", len, data,
      flags, data, KINDS[kind])
  end
end

local function stop(library, desk)
  local sqe = uring.sqe():prep_msg_ring(desk, 0, STOP)
  if has_sync then
    say("main", "-> stop, sent from no ring at all")
    assert(uring.register_sync_msg(sqe))
  else
    say("librarian", "-> stop")
    assert(library:await(sqe))
  end
end

local function main()
  local library, desk = assert(uring.ring()), assert(uring.ring())
  assert(library:register_files_sparse(1))  -- room for one open file each
  assert(desk:register_files_sparse(1))
  local reading = uring.spawn({ main = reader, name = "reader" }, desk,
    library)
  librarian(library, desk)
  stop(library, desk)
  assert(reading:join())
  library:close()
  desk:close()
end

print(("Linux %s, liburing %s: two rings, and a task at each"):format(
  probe.kernel, probe.liburing.built))
local missing = {}
if not has_flags then missing[#missing + 1] = "message flags (Linux 6.3)" end
if not has_sync then missing[#missing + 1] = "sync messages (Linux 6.13)" end
if #missing > 0 then
  print("this kernel lacks " .. table.concat(missing, " and ")
    .. ": done by plain messages instead")
end

local ok, why = pcall(uring.run, main)
if not ok then
  -- a traceback is for programmers; for a misspelt file name the first line
  -- is enough
  io.stdout:flush()
  give_up(1, (tostring(why):match "^[^\n]*"))
end
