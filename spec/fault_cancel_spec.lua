-- Cancels that come too early, or whose signal to an io-wq worker is lost:
-- they are sent again, after pauses; see spec/support/faults.lua.

local faults = require "faults"
local helper = require "helper"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)

-- luacheck: globals T uring spec

describe("a cancel that is lost for 50 ms", function()
  faulty("is sent a few times, until it ends the request", function()
    local fifo = T.tmpname()
    os.remove(fifo)
    assert(os.execute("mkfifo " .. fifo))
    uring.run(function()
      T.fault.lose(0.05)
      local file, message, errno = uring.open(fifo, "w", 0.001)
      assert(file == nil and errno == T.E.ETIME, message)
      local sent = T.fault.lose(0)
      assert(sent >= 1 and sent <= 20, sent .. " cancels")
    end)
    T.lawful(uring.loop():ring())
    os.remove(fifo)
  end)

  faulty("ends it on any ring, whatever drives that", function()
    local fifo = T.tmpname()
    os.remove(fifo)
    assert(os.execute("mkfifo " .. fifo))
    local function opening()
      return uring.sqe():prep_openat(uring.AT_FDCWD, fifo, uring.O_WRONLY)
        :set_flags(uring.IOSQE_ASYNC)
    end
    -- by hand
    local ring = assert(uring.ring())
    local op = assert(ring:queue(opening()))
    ring:submit()
    spec.sleep(0.01)
    T.fault.lose(0.05)
    op:cancel()
    local _, res = assert(ring:wait_cqe(5 * T.slow))
    assert(res == -T.E.ECANCELED or res == -T.E.EINTR, res)
    local sent = T.fault.lose(0)
    assert(sent >= 1 and sent <= 20, sent .. " cancels")
    -- beside the loop's
    uring.run(function()
      T.fault.lose(0.05)
      local _, message, errno = ring:await(opening(), 0.001)
      assert(errno == T.E.ETIME, message)
      sent = T.fault.lose(0)
      assert(sent >= 1 and sent <= 20, sent .. " cancels")
    end)
    -- a host's, which sleeps until the loop's descriptor says that it must not
    local loop = uring.loop()
    local task = loop:spawn(uring.open, fifo, "w", 0.001)
    local fd, steps = loop:fd(), 0
    T.fault.lose(0.05)
    while task:status() ~= "done" and steps < 1000 do
      assert(spec.ready(fd, 5 * T.slow), "the host is not woken")
      loop:step()
      steps = steps + 1
    end
    assert(task:status() == "done", task:status())
    sent = T.fault.lose(0)
    assert(sent >= 1 and sent <= 20, sent .. " cancels")
    T.lawful(ring)
    ring:close()
    os.remove(fifo)
  end)

  -- (no timeout ends behind a request with IO_DRAIN that has not begun)
  faulty("is sent again before a request with IO_DRAIN too", function()
    local fifo = T.tmpname()
    os.remove(fifo)
    assert(os.execute("mkfifo " .. fifo))
    local ring = assert(uring.ring())
    local op = assert(ring:queue(uring.sqe():prep_openat(uring.AT_FDCWD, fifo,
      uring.O_WRONLY):set_flags(uring.IOSQE_ASYNC):set_data64(1)))
    assert(ring:queue(T.nop(2):set_flags(uring.IOSQE_IO_DRAIN)))
    ring:submit()
    spec.sleep(0.01)
    T.fault.inject { fn = "register", opcode = 24, err = T.E.EALREADY,
                     count = 2 }
    local before = T.fault.calls "register"
    op:cancel()
    local data, res = assert(ring:wait_cqe(5 * T.slow))
    T.equal(1, data)
    assert(res == -T.E.ECANCELED or res == -T.E.EINTR, res)
    T.equal(2, (assert(ring:wait_cqe(5 * T.slow))))
    local sent = T.fault.calls "register" - before
    assert(sent >= 3 and sent <= 10, sent .. " cancels")
    T.lawful(ring)
    ring:close()
    os.remove(fifo)
  end)

  faulty("is sent again on a ring that refuses timeouts", function()
    local fifo = T.tmpname()
    os.remove(fifo)
    assert(os.execute("mkfifo " .. fifo))
    local ring = assert(uring.ring())
    local op = assert(ring:queue(uring.sqe():prep_openat(uring.AT_FDCWD, fifo,
      uring.O_WRONLY):set_flags(uring.IOSQE_ASYNC)))
    ring:submit()
    spec.sleep(0.01)
    T.fault.refuse(11, T.E.EINVAL)
    T.fault.lose(0.05)
    op:cancel()
    local _, res = assert(ring:wait_cqe(5 * T.slow))
    assert(res == -T.E.ECANCELED or res == -T.E.EINTR, res)
    local sent = T.fault.lose(0)
    assert(sent >= 1 and sent <= 10, sent .. " cancels")
    ring:close()
    os.remove(fifo)
  end)

  faulty("holds up no close", function()
    local fifo = T.tmpname()
    os.remove(fifo)
    assert(os.execute("mkfifo " .. fifo))
    for _, flags in ipairs { 0, uring.IORING_SETUP_SQPOLL } do
      local ring = assert(uring.ring { flags = flags })
      local op = assert(ring:queue(uring.sqe():prep_openat(uring.AT_FDCWD,
        fifo, uring.O_WRONLY):set_flags(uring.IOSQE_ASYNC)))
      ring:submit()
      spec.sleep(0.01)
      T.fault.lose(0.05)
      op:cancel()
      for _ = 1, 5 do ring:peek_cqe() spec.sleep(0.001) end
      local cpu = os.clock()
      assert(ring:close())
      assert(os.clock() - cpu < 0.2 * T.slow, "a busy loop")
      T.fault.lose(0)
    end
    os.remove(fifo)
  end)
end)

describe("a cancel", function()
  faulty("waits where there is no memory for its request", function()
    local ring = uring.ring { entries = 8 }
    local r = uring.fd((spec.pipe()))
    for flying = 1, 300 do  -- (so many fill the table of operations once)
      local op
      repeat
        op = assert(ring:queue(uring.sqe():prep_poll_add(r, uring.POLLIN)))
      until ring:stats().in_flight == flying
      assert(ring:submit())
      T.fault.malloc(1, 1 << 30)
      pcall(op.cancel, op)
      T.fault.malloc()
      local _, res = assert(ring:wait_cqe(5 * T.slow))
      T.equal(-T.E.ECANCELED, res)
    end
  end)
end)
