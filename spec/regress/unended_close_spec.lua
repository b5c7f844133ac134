-- A close that cannot end its operations, because the kernel may not be
-- entered for the ring any more, crashed in some cases, and waited in others.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

-- What pins memory, a descriptor, both, and buffers of the library's own, on
-- several rings: under way when its state closes.
local UNDER_WAY = [[
  local uring = require "uring"
  local spec = require "uring_spec"
  local kept = {}
  local function keep(x) kept[#kept + 1] = x return x end
  local r = keep(uring.fd((spec.pipe())))
  for _, options in ipairs { {}, { flags = 0 } } do
    for _ = 1, 4 do
      local ring = keep(assert(uring.ring(options)))
      local a, b = uring.socketpair()
      keep(a) keep(b)
      keep(ring:queue(uring.sqe():prep_read(r, uring.buffer(100))))
      keep(ring:queue(uring.sqe():prep_poll_add(r, uring.POLLIN)))
      keep(ring:queue(uring.sqe():prep_recv(a, uring.buffer(100))))
      keep(ring:queue(uring.sqe():prep_timeout(1000)))
      local header = uring.msghdr { iov = { uring.buffer(10) } }
      keep(ring:queue(uring.sqe():prep_recvmsg(b, header)))
      ring:submit()
    end
  end
  uring.run(function()
    local a, b = keep(uring.socketpair()), keep((uring.socketpair()))
    uring.spawn(function() uring.timeout(0.001, function()
      for _ in a:chunks() do end
    end) end)
    uring.spawn(function() b:receive(1, 0.001) end)
    keep(uring.loop():ring():queue(uring.sqe():prep_recv(b, uring.buffer(9))))
  end)
  KEPT = kept
]]

-- One bound holds for all its rings: it is a tenth of a second.
local BOUND = 0.2 * helper.slow

describe("lua_close", function()
  it("by another thread than the rings' does not wait for them", function()
    local seconds, ok, err = spec.outlived(UNDER_WAY)
    assert(ok, err)
    assert(seconds < BOUND, ("it took %.3f s"):format(seconds))
  end)

  it("keeps what a request may still fill, also from a group", function()
    local output = helper.script_ok [[
      local uring = require "uring"
      local ring = uring.ring { entries = 8 }
      local group = assert(ring:buf_ring { entries = 4, size = 64 })
      local a, b = uring.socketpair()
      assert(ring:queue(uring.sqe():prep_recv(a)
        :set_buf_group(group:bgid())))
      assert(ring:submit())
      if not require "uring_spec".forbid("io_uring_enter", uring.errno.EPERM)
      then
        io.write "no filters"
        os.exit(0)
      end
      ring:close()
      io.write(ring:stats().leaked)
      os.exit(0)
    ]]
    if output == "no filters" then
      helper.skip "needs a kernel with seccomp filters"
    end
    assert.equal("1", output)
  end)

  for _, name in ipairs { "EPERM", "ENOSYS", "EACCES" } do
    it("does not wait where io_uring_enter is forbidden: " .. name, function()
      local output = helper.script_ok(UNDER_WAY .. ([[
        if not spec.forbid("io_uring_enter", uring.errno.%s) then
          io.write "no filters"
          os.exit(0)
        end
        local t0 = uring.now()
        io.write(("%%.6f"):format(t0))
        os.exit(0, true)
      ]]):format(name))
      if output == "no filters" then
        helper.skip "needs a kernel with seccomp filters"
      end
      local took = uring.now() - tonumber(output)
      assert(took < BOUND + 0.5 * helper.slow, ("it took %.3f s"):format(took))
    end)
  end

  it("cancels where io_uring_register is forbidden", function()
    local output = helper.script_ok(UNDER_WAY .. [[
      if not spec.forbid("io_uring_register", uring.errno.EPERM) then
        io.write "no filters"
        os.exit(0)
      end
      for _, object in ipairs(kept) do
        if tostring(object):find "Ring" then
          object:close()
          local stats = object:stats()
          io.write(stats.leaked, stats.in_flight, " ")
        end
      end
      os.exit(0)
    ]])
    if output == "no filters" then
      helper.skip "needs a kernel with seccomp filters"
    end
    assert.equal(("00 "):rep(8), output)
  end)

  it("has one bound for all rings, however many do not end", function()
    -- io-wq reads of a FIFO that nothing writes to: slow to let go
    local t0 = uring.now()
    helper.script_ok [[
      local uring = require "uring"
      local spec = require "uring_spec"
      KEPT = {}
      for i = 1, 20 do
        local ring = assert(uring.ring())
        local r = uring.fd((spec.pipe()))
        ring:queue(uring.sqe():prep_read(r, uring.buffer(100))
          :set_flags(uring.IOSQE_ASYNC))
        ring:submit()
        KEPT[i] = { ring, r }
      end
      os.exit(0, true)]]
    assert(uring.now() - t0 < 2 * helper.slow)
  end)
end)

describe("close", function()
  it("of a ring with many polls is linear in their number", function()
    local r, w = spec.pipe()
    local function took(n)
      local best = math.huge
      for _ = 1, 3 do
        local ring = assert(uring.ring { entries = 4096 })
        local sqe = uring.sqe():prep_poll_add(r, uring.POLLIN)
        for _ = 1, n do assert(ring:queue(sqe)) end
        assert(ring:submit())
        local t0 = os.clock()
        assert(ring:close())
        best = math.min(best, os.clock() - t0)
        assert.equal(0, helper.lawful(ring).leaked)
      end
      return best
    end
    took(1000)
    local a, c = took(2500), took(10000)
    assert(c < 10 * a + 0.02, ("%.3f s, 4 times as many: %.3f s"):format(a, c))
    spec.close(r)
    spec.close(w)
  end)
end)
