-- Messages, flags and an open file travel between two rings.
--
--     lua5.4 examples/demo.lua [FILE]
--
-- The librarian opens FILE as a direct descriptor, one that exists only in
-- its ring, and hands it to the reader's ring. The reader reads it there,
-- sends what it counted back as messages, and goes on until it is told to
-- stop. Nothing but messages between rings passes from one to the other.

local uring = require "uring"

local path = arg[1] or arg[0]
local CHUNK = 65536
local FILE, COUNT, STOP = 1, 2, 3     -- a message's data: what it is
local KINDS = { "bytes", "lines", "words" }
local FLAG = 0x100                    -- a count's flags: FLAG << its kind

local probe = uring.probe()
if not probe.available then
  io.stderr:write("io_uring does not work here: ", probe.reason, "\n")
  os.exit(77)
end
local has_flags = probe.features.msg_ring_cqe_flags.works
local has_sync = probe.features.sync_msg.works

local function say(who, ...)
  print(("%-9s  %s"):format(who, string.format(...)))
end

-- What is in the file in this slot of the ring: bytes, lines, words.
local function count(ring, slot)
  local buffer = uring.buffer(CHUNK)
  local counts = { 0, 0, 0 }
  local inside = false  -- did the last chunk end within a word?
  while true do
    local read = uring.sqe():prep_read(slot, buffer, CHUNK, counts[1])
    read:set_flags(uring.IOSQE_FIXED_FILE)
    local n, why = ring:await(read)
    if not n then error(("cannot read %s: %s"):format(path, why), 0) end
    if n == 0 then return counts end
    local text = buffer:string(1, n)
    local _, lines = text:gsub("\n", "")
    local _, words = text:gsub("%S+", "")
    if inside and text:find "^%S" then words = words - 1 end
    inside = text:find "%S$" ~= nil
    counts[1] = counts[1] + n
    counts[2] = counts[2] + lines
    counts[3] = counts[3] + words
  end
end

-- One count to another ring. Its kind travels as the flags of the message
-- where the kernel has that, else in the upper half of the data.
local function send_count(from, to, kind, value)
  local sqe = uring.sqe()
  if has_flags then
    sqe:prep_msg_ring_cqe_flags(to, value, COUNT, 0, FLAG << kind)
  else
    sqe:prep_msg_ring(to, value, COUNT | kind << 32)
  end
  assert(from:await(sqe))
end

local function reader(desk, library)
  for len, data in desk:messages() do
    if data == FILE then
      -- the message of a file says in which slot the kernel has put it
      say("reader", "<- an open file, now in slot %d of my ring", len)
      for kind, value in ipairs(count(desk, len)) do
        send_count(desk, library, kind, value)
      end
      assert(desk:await(uring.sqe():prep_close_direct(len)))
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
  say("librarian", "opened %s: slot 0 of my ring, no number anywhere", path)

  local send = uring.sqe():prep_msg_ring_fd_alloc(desk, 0, FILE)
  assert(library:await(send))
  assert(library:await(uring.sqe():prep_close_direct(0)))
  say("librarian", "-> sent it to the reader's ring, and closed mine")

  for _ = 1, #KINDS do
    local len, data, flags = assert(library:receive(10))
    local kind = data >> 32
    for k = 1, #KINDS do if flags == FLAG << k then kind = k end end
    say("librarian", "<- len %d, data 0x%x, flags 0x%x: %s", len, data,
      flags, KINDS[kind])
  end
end

local function stop(library, desk)
  local sqe = uring.sqe():prep_msg_ring(desk, 0, STOP)
  if has_sync then
    say("main", "-> stop, from no ring at all (register_sync_msg)")
    assert(uring.register_sync_msg(sqe))
  else
    say("main", "-> stop")
    assert(library:await(sqe))
  end
end

local function main()
  local library, desk = assert(uring.ring()), assert(uring.ring())
  assert(library:register_files_sparse(1))
  assert(desk:register_files_sparse(1))
  local reading = uring.spawn({ main = reader, name = "reader" }, desk,
    library)
  librarian(library, desk)
  stop(library, desk)
  assert(reading:join())
  library:close()
  desk:close()
end

print(("Linux %s, liburing %s"):format(probe.kernel, probe.liburing.built))
local missing = {}
if not has_flags then missing[#missing + 1] = "message flags (Linux 6.3)" end
if not has_sync then missing[#missing + 1] = "sync messages (Linux 6.13)" end
if #missing > 0 then
  print("not in this kernel, done with plain messages instead: "
    .. table.concat(missing, ", "))
end

local ok, why = pcall(uring.run, main)
if not ok then
  -- a traceback is for programmers; whoever misspelt a file's name wants
  -- its first line
  io.stderr:write(tostring(why):match "^[^\n]*", "\n")
  os.exit(1)
end
