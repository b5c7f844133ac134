-- The demo on files of all kinds, on kernels that lack some of it, and where
-- io_uring is forbidden.

local helper = require "helper"
local spec = require "uring_spec"
local needs_ring = helper.needs_ring(it)

local includes <const> = helper.includes
local DEMO = "examples/demo.lua"
local LIMIT = 30 * helper.slow

-- Its status and its output. `before` is code that runs first.
local function demo(file, before)
  local words = { "-e", before or "", DEMO, file }
  return spec.execute(LIMIT, "/proc/self/exe", table.unpack(words))
end

-- The demo must go well, and count this. Answers its output.
local function counts(bytes, lines, words, file, before)
  local status, output = demo(file, before)
  assert.same({ 0, output }, { status, output })
  local found = {}
  for n, what in output:gmatch ": (%d+) (%a+)\n" do
    found[what] = math.tointeger(n)
  end
  assert.same({ bytes = bytes, lines = lines, words = words }, found)
  return output
end

-- Code after which uring.probe() denies these features.
local function without(...)
  local code = [[
    local uring = require "uring"
    local probe = uring.probe()
    uring.probe = function() return probe end
  ]]
  for _, name in ipairs { ... } do
    code = code .. ([[
      probe.features.%s.works = false
      probe.features.%s.note = "needs Linux 9.9"
    ]]):format(name, name)
  end
  return code
end

describe("the demo", function()
  after_each(helper.clean)

  needs_ring("counts what is in a file", function()
    local output = counts(14, 2, 3, helper.file "one two\nthree\n")
    includes("opened /", output)
    includes("in slot 0 of the reader's ring", output)
    includes("reader     <- stop\n", output)
  end)

  needs_ring("counts itself where no file is given", function()
    local source = helper.content(DEMO)
    local _, lines = source:gsub("\n", "")
    local _, words = source:gsub("%S+", "")
    counts(#source, lines, words)
  end)

  needs_ring("counts an empty file", function()
    counts(0, 0, 0, helper.file "")
  end)

  needs_ring("counts a file without an end of line", function()
    counts(3, 0, 1, helper.file "end")
  end)

  needs_ring("counts zero bytes and bytes that are no text", function()
    counts(9, 1, 3, helper.file "\0\255\n\254 \1\0\128\r")
  end)

  needs_ring("counts a file of many chunks, words across them", function()
    local text = ("0123456789 abcdef\n"):rep(40000)
    counts(#text, 40000, 80000, helper.file(text))
    -- one word that is a chunk and a half, and one that begins a chunk
    counts(65536 * 2 + 2, 0, 2,
      helper.file(("x"):rep(65536 * 2 - 1) .. " yy"))
    counts(65536 + 1, 0, 2, helper.file(("x"):rep(65535) .. " y"))
  end)

  needs_ring("says what cannot be opened, and why", function()
    local name = helper.tmpname()
    os.remove(name)
    local status, output = demo(name)
    assert.equal(1, status)
    includes("cannot open " .. name, output)
    includes("No such file or directory (ENOENT)", output)
    includes("ENOENT)\n", output)
    assert.is_nil(output:find("traceback", 1, true))
  end)

  needs_ring("says what cannot be read, and why", function()
    local status, output = demo "/proc/self"
    assert.equal(1, status)
    includes("cannot read /proc/self", output)
    includes("(EISDIR)\n", output)
    assert.is_nil(output:find("traceback", 1, true))
  end)

  needs_ring("uses what this kernel has", function()
    local output = counts(2, 1, 1, helper.file "x\n")
    local plain = output:find("done by plain messages instead", 1, true)
    local all = helper.has "msg_ring_cqe_flags" and helper.has "sync_msg"
    assert.equal(all, plain == nil)
    assert.equal(helper.has "msg_ring_cqe_flags",
      output:find("flags 0x200: 2 bytes", 1, true) ~= nil)
    assert.equal(helper.has "sync_msg",
      output:find("from no ring at all", 1, true) ~= nil)
  end)

  needs_ring("does without flags and sync messages", function()
    local output = counts(4, 1, 2, helper.file "x y\n",
      without("msg_ring_cqe_flags", "sync_msg"))
    includes("this kernel lacks message flags (Linux 6.3) and sync messages "
      .. "(Linux 6.13): done by plain messages instead\n", output)
    includes("flags 0x0: 4 bytes\n", output)
    includes("librarian  -> stop\n", output)
  end)

  needs_ring("gives up with 77 where a file cannot be sent", function()
    local status, output = demo(DEMO, without "msg_ring_fd_alloc")
    assert.equal(77, status)
    includes("needs Linux 9.9 (this is " .. helper.probe.kernel, output)
  end)

  it("gives up with 77 where io_uring is refused, and says why", function()
    if helper.probe.available then
      helper.skip "io_uring is not refused here"
    end
    local status, output = demo(DEMO)
    assert.equal(77, status)
    includes("io_uring does not work here: " .. helper.probe.reason, output)
  end)

  -- A filter that answers io_uring_setup with EPERM, as containers do.
  local SECCOMP = [[
import ctypes, os, struct, sys
setup, arch = 425, os.uname().machine
audit = {"x86_64": 0xc000003e, "aarch64": 0xc00000b7}[arch]
code = b"".join(struct.pack("HBBI", *i) for i in (
  (0x20, 0, 0, 4), (0x15, 0, 3, audit),     # another architecture: allow
  (0x20, 0, 0, 0), (0x15, 0, 1, setup),
  (0x06, 0, 0, 0x00050001),                 # errno 1, EPERM
  (0x06, 0, 0, 0x7fff0000)))                # allow
memory = ctypes.create_string_buffer(code)
class Program(ctypes.Structure):
  _fields_ = [("n", ctypes.c_ushort), ("code", ctypes.c_void_p)]
program = Program(len(code) // 8, ctypes.addressof(memory))
libc = ctypes.CDLL(None)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program)):
  sys.exit(99)
os.execv(sys.argv[1], ["lua"] + sys.argv[2:])
]]

  it("gives up with 77 in a container that forbids it", function()
    local status, output = spec.execute(LIMIT, "/usr/bin/env", "python3",
      "-c", SECCOMP, ("/proc/%d/exe"):format(spec.getpid()), DEMO)
    if status == 127 then helper.skip "needs python3" end
    if status == 99 then helper.skip "needs a kernel with seccomp filters" end
    assert.same({ 77, output }, { status, output })
    includes("io_uring does not work here: ", output)
    if helper.probe.available then
      includes("a seccomp filter forbids", output)
      includes("--security-opt seccomp=unconfined", output)
    end
  end)
end)
