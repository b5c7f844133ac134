-- Requests that an io-wq worker starts: it looks their descriptor up when it
-- gets to them, perhaps long after the submit.

local faults = require "faults"
local helper = require "helper"

local it = helper.needs_ring(it)

-- A thread has as many workers as its first ring has entries. (Reads and
-- writes have others.) The only one here opens a FIFO, until something opens
-- the other end, and the request waits for it. Its descriptor is closed
-- meanwhile, and the cancel that the close asks for finds no room in the
-- kernel. The number must stay taken, or the request would be one on the file
-- that has it next.
local SCRIPT = [[
  local uring = require "uring"
  local spec = require "uring_spec"
  local ring = assert(uring.ring { entries = 1 })
  local top, patience = ...
  local function open(path)
    assert(ring:queue(uring.sqe():prep_openat(uring.AT_FDCWD, path)))
    local _, number = assert(ring:wait_cqe(tonumber(patience)))
    return assert(uring.fd(number))
  end
  local fd, sqe, stranger, went_wrong = request(open, top)
  assert(ring:queue(uring.sqe():prep_openat(uring.AT_FDCWD, top .. "/fifo")
    :set_flags(uring.IOSQE_ASYNC)))
  assert(ring:submit())
  assert(ring:queue(sqe))
  assert(ring:submit())
  -- (task work gives it to the worker)
  local left = ring:peek_cqe() and 1 or 2
  fault.inject { fn = "enter", err = uring.errno.EBUSY, count = 1000 }
  fd:close()
  fault.clear()
  stranger()
  assert(io.open(top .. "/fifo", "w")):close()
  -- (entering the kernel would send the cancel: the worker comes first)
  spec.sleep(0.05)
  for _ = 1, left do assert(ring:wait_cqe(tonumber(patience))) end
  assert(not went_wrong(), "it has gone to another file")
]]

describe("a closed descriptor whose request waits for a worker", function()
  local top

  before_each(function()
    top = os.tmpname()
    os.remove(top)
    assert(os.execute(("mkdir %s && mkfifo %s/fifo"):format(top, top)))
  end)
  after_each(function() os.execute("rm -r " .. top) end)

  it("leaves the request no other socket to shut down", function()
    helper.script_ok(faults.path .. [[
      local function request()
        local uring, spec = require "uring", require "uring_spec"
        local fd = uring.fd((spec.socketpair(uring.SOCK_STREAM)))
        local _, peer
        return fd, uring.sqe():prep_shutdown(fd, uring.SHUT_RDWR)
            :set_flags(uring.IOSQE_ASYNC),
          function() _, peer = spec.socketpair(uring.SOCK_STREAM) end,
          function() return spec.ready(peer) end
      end
    ]] .. SCRIPT, top, tostring(5 * helper.slow))
  end)

  it("leaves the request no other directory to open in", function()
    assert(os.execute(("cd %s && mkdir right wrong"):format(top)))
    helper.script_ok(faults.path .. [[
      local function request(open, top)
        local uring = require "uring"
        local fd, other = open(top .. "/right"), nil
        return fd, uring.sqe():prep_openat(fd, "f",
            uring.O_CREAT | uring.O_WRONLY, tonumber("600", 8)),
          function() other = assert(io.open(top .. "/wrong")) end,
          function()
            local file <close> = io.open(top .. "/wrong/f")
            return file and other
          end
      end
    ]] .. SCRIPT, top, tostring(5 * helper.slow))
  end)
end)
