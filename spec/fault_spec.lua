-- A kernel that has no memory, is interrupted, takes half of what it is
-- given, or never ends: rings by hand, made and closed. Each test is a
-- process of its own; see spec/support/faults.lua.

local faults = require "faults"
local helper = require "helper"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)

-- luacheck: globals T uring spec


describe("by hand, when io_uring_enter fails,", function()
  faulty("a submit is refused, and nothing is lost or done twice", function()
    for _, name in ipairs { "EAGAIN", "EBUSY", "ENOMEM" } do
      for _, after in ipairs { false, true } do
        local ring <close> = assert(uring.ring { entries = 8 })
        T.queue(ring, 1, 8)
        T.fault.inject { fn = "enter", err = T.E[name], count = 3,
                         after = after }
        local n, message, errno = ring:submit()
        T.equal(nil, n)
        T.equal(T.E[name], errno)
        assert(message:find(name, 1, true), message)
        T.submit(ring)
        T.equal(0, T.fault.clear().enter)
        T.all_come(ring, 8)
      end
    end
  end)

  faulty("the message says what to do", function()
    local ring <close> = assert(uring.ring { entries = 8 })
    T.queue(ring, 1, 1)
    local function says(name, words)
      T.fault.inject { fn = "enter", err = T.E[name] }
      local _, message, errno = ring:submit()
      T.equal(T.E[name], errno)
      assert(message:find(words, 1, true), message)
    end
    says("EAGAIN", "submit again later")
    says("EBUSY", "take completions")
    says("EBADR", "dropped completions")
    T.all_come(ring, 1)
  end)

  faulty("EINTR is not passed on to the caller", function()
    for _, after in ipairs { false, true } do
      local ring <close> = assert(uring.ring { entries = 8 })
      T.queue(ring, 1, 8)
      T.fault.inject { fn = "enter", err = T.E.EINTR, count = 500,
                       after = after }
      assert(ring:submit())
      T.equal(after and 1 or 0, T.fault.clear().enter)
      T.all_come(ring, 8)
    end
  end)

  faulty("EINTR does not keep registered files registered", function()
    local UNREGISTER_FILES = 3
    local ring <close> = assert(uring.ring { entries = 8 })
    local r, w = spec.pipe()
    assert(ring:register_files { r })
    T.fault.inject { fn = "register", opcode = UNREGISTER_FILES,
                     err = T.E.EINTR, count = 3 }
    assert(ring:unregister_files())
    T.equal(0, T.fault.clear().register)
    spec.close(r) spec.close(w)
  end)

  faulty("EINTR does not end a wait before its time", function()
    local ring <close> = assert(uring.ring {})
    local r, w = spec.pipe()
    ring:queue(uring.sqe():prep_poll_add(r, uring.POLLIN):set_data64(5))
    T.fault.inject { fn = "enter", err = T.E.EINTR, count = 200 }
    local writer = spec.write_later(0.02, w)
    T.equal(5, (assert(ring:wait_cqe(5 * T.slow))))
    assert(writer:join())
    T.fault.inject { fn = "enter", err = T.E.EINTR, count = 200 }
    local _, _, errno = ring:wait_cqe(0.01)
    T.equal(T.E.ETIME, errno)
    T.equal(0, T.fault.clear().enter)
    spec.close(r) spec.close(w)
  end)

  faulty("a full SQ is emptied in spite of an error", function()
    for _, name in ipairs { "EAGAIN", "EBUSY", "ENOMEM", "EINTR" } do
      for _, after in ipairs { false, true } do
        local ring <close> = assert(uring.ring { entries = 4 })
        for skip = 0, 4 do
          T.fault.inject { fn = "enter", err = T.E[name], count = 2,
                           skip = skip, after = after }
        end
        T.queue(ring, 1, 64)
        T.submit(ring)
        T.fault.clear()
        T.all_come(ring, 64)
      end
    end
  end)

  faulty("completions that are in the way are taken", function()
    for _, name in ipairs { "EAGAIN", "EBUSY" } do
      local ring <close> = assert(uring.ring { entries = 4 })
      T.queue(ring, 1, 4)
      T.submit(ring)
      T.queue(ring, 5, 8)
      T.fault.inject { fn = "enter", err = T.E[name] }
      assert(ring:queue(T.nop(9)))
      T.equal(0, T.fault.clear().enter)
      T.all_come(ring, 9)
    end
  end)

  faulty("a refused queue leaves nothing behind", function()
    local ring <close> = assert(uring.ring { entries = 4 })
    T.queue(ring, 1, 4)
    local a, b = T.nop(5), T.nop(6)
    for _ = 1, 10 do
      T.fault.inject { fn = "enter", err = T.E.EAGAIN }
      local op, _, errno = ring:queue(a, b)
      T.equal(nil, op)
      T.equal(T.E.EAGAIN, errno)
      T.equal(4, T.lawful(ring).submitted)
    end
    assert(ring:queue(a, b))
    T.all_come(ring, 6)
  end)

  faulty("a short submit is continued", function()
    for take = 1, 3 do
      local ring <close> = assert(uring.ring { entries = 16 })
      T.queue(ring, 1, 16)
      T.fault.inject { fn = "enter", take = take, count = 4 }
      T.equal(16, (assert(ring:submit())))
      T.equal(0, T.fault.clear().enter)
      T.all_come(ring, 16)
    end
  end)

  faulty("a wait submits what a short submit left", function()
    local ring <close> = assert(uring.ring { entries = 16 })
    T.queue(ring, 1, 16)
    T.fault.inject { fn = "enter", take = 1, count = 20 }
    T.all_come(ring, 16)
    T.fault.clear()
  end)

  faulty("peek_cqe and submit_and_wait bear an error", function()
    local ring <close> = assert(uring.ring { entries = 8 })
    for i, name in ipairs { "EINTR", "EAGAIN", "EBUSY" } do
      T.queue(ring, i, i)
      T.fault.inject { fn = "enter", err = T.E[name] }
      local _, message, errno = ring:peek_cqe()
      assert(message and (errno == T.E.EAGAIN or errno == T.E.EBUSY))
      T.eventually(function()
        local data = ring:peek_cqe()
        return data and T.equal(i, data) == nil
      end)
    end
    T.queue(ring, 4, 8)
    T.fault.inject { fn = "enter", err = T.E.EINTR, count = 7 }
    T.fault.inject { fn = "enter", err = T.E.EAGAIN, skip = 1 }
    repeat local n, _, errno = ring:submit_and_wait(5, 5 * T.slow)
      assert(n or errno == T.E.EAGAIN)
    until n
    local sum = 0
    for _ = 1, 5 do sum = sum + assert(ring:peek_cqe()) end
    T.equal(4 + 5 + 6 + 7 + 8, sum)
    T.nothing(ring)
  end)

  faulty("a cancel that finds no room is submitted later", function()
    for _, name in ipairs { "EAGAIN", "EBUSY" } do
      for queued = 0, 4, 4 do  -- the SQ has room for it, and none
        local ring <close> = assert(uring.ring { entries = 4 })
        local r, w = spec.pipe()
        local op = ring:queue(
          uring.sqe():prep_poll_add(r, uring.POLLIN):set_data64(9))
        assert(ring:submit())
        T.queue(ring, 1, queued)
        T.fault.inject { fn = "enter", err = T.E[name], count = 3 }
        T.equal(true, (op:cancel()))
        local results = {}
        for _ = 0, queued do
          local data, res
          repeat data, res = ring:wait_cqe(5 * T.slow)
            assert(data or res:find(name, 1, true), res)
          until data
          results[data] = res
        end
        T.equal(-T.E.ECANCELED, results[9])
        T.equal(0, T.fault.clear().enter)
        T.lawful(ring)
        spec.close(r) spec.close(w)
      end
    end
  end)

  -- The SQ is full when the cancels are sent, and what is taken to make room
  -- is the end of the first that was to be cancelled.
  faulty("a cancel is submitted though the one before it has ended", function()
    local ring <close> = assert(uring.ring { entries = 4, flags = 0 })
    local ends, polls = {}, {}
    for i = 1, 2 do
      local r, w = spec.pipe()
      ends[2 * i - 1], ends[2 * i] = r, w
      polls[i] = ring:queue(uring.sqe():prep_poll_add(r, uring.POLLIN)
        :set_data64(i))
    end
    assert(ring:submit())
    T.queue(ring, 3, 6)
    T.fault.inject { fn = "enter", err = T.E.EBUSY, count = 1000 }
    for i = 1, 2 do T.equal(true, (polls[i]:cancel())) end
    T.fault.clear()
    spec.write(ends[2], "x")
    T.fault.inject { fn = "enter", err = T.E.EBUSY }
    assert(ring:submit())
    T.equal(0, T.fault.clear().enter)
    local results = {}
    for _ = 1, 6 do
      local data, res = assert(ring:wait_cqe(5 * T.slow))
      results[data] = res
    end
    T.equal(uring.POLLIN, results[1])
    T.equal(-T.E.ECANCELED, results[2])
    T.lawful(ring)
    for _, fd in ipairs(ends) do spec.close(fd) end
  end)
end)


describe("making a ring", function()
  faulty("fails with a message and an error number", function()
    T.keeps_fds(function()
      for _, name in ipairs { "ENOMEM", "EMFILE", "ENFILE", "EPERM",
                              "ENOSYS", "EFAULT" } do
        T.fault.inject { fn = "setup", err = T.E[name] }
        local ring, message, errno = uring.ring {}
        T.equal(nil, ring)
        T.equal(T.E[name], errno)
        assert(message:find(name, 1, true), message)
        if name == "EFAULT" then  -- of which nothing more is known
          T.equal("cannot make a ring: Bad address (EFAULT)", message)
        end
      end
    end)
  end)

  faulty("drops one setup flag after the other", function()
    local last
    for refusals = 1, 4 do
      T.fault.inject { fn = "setup", err = T.E.EINVAL, count = refusals }
      local ring <close> = assert(uring.ring {})
      local flags = ring:flags()
      assert(flags ~= last)
      T.equal(0, flags & uring.IORING_SETUP_DEFER_TASKRUN)
      last = flags
      T.queue(ring, 1, 5)
      T.all_come(ring, 5)
    end
    T.fault.inject { fn = "setup", err = T.E.EINVAL, count = 5 }
    local ring, _, errno = uring.ring {}
    T.equal(nil, ring)
    T.equal(T.E.EINVAL, errno)
  end)

  faulty("with explicit flags drops none of them", function()
    T.fault.inject { fn = "setup", err = T.E.EINVAL }
    local ring, _, errno = uring.ring { flags = 0 }
    T.equal(nil, ring)
    T.equal(T.E.EINVAL, errno)
  end)

  faulty("for the loop may fail, and succeeds the next time", function()
    T.fault.inject { fn = "setup", err = T.E.ENOMEM }
    local loop, why, errno = uring.loop()
    assert(loop == nil and errno == T.E.ENOMEM and why:find "ENOMEM", why)
    T.fault.inject { fn = "setup", err = T.E.ENOMEM }
    T.raises("ENOMEM", uring.run, function() end)
    T.equal(3, uring.run(function() return 3 end))
  end)
end)


describe("closing", function()
  faulty("bears the errors that submits bear", function()
    for _, name in ipairs { "EINTR", "EAGAIN", "EBUSY", "ENOMEM" } do
      for skip = 0, 3 do
        T.keeps_fds(function()
          local ring = assert(uring.ring {})
          local r, w = spec.pipe()
          local buffer = uring.buffer(10)
          ring:queue(uring.sqe():prep_read(r, buffer, 10, 0))
          ring:queue(uring.sqe():prep_poll_multishot(r, uring.POLLIN))
          ring:submit()
          T.fault.inject { fn = "enter", err = T.E[name], skip = skip,
                           count = 4 }
          assert(ring:close())
          T.fault.clear()
          T.equal(0, T.lawful(ring).leaked)
          assert(buffer:close())  -- not in use
          spec.close(r) spec.close(w)
        end)
      end
    end
  end)

  faulty("cancels one by one where the kernel cannot all at once", function()
    local SYNC_CANCEL = 24
    local ring = assert(uring.ring {})
    local r, w = spec.pipe()
    for _ = 1, 20 do
      ring:queue(uring.sqe():prep_poll_add(r, uring.POLLIN))
    end
    T.fault.inject { fn = "register", opcode = SYNC_CANCEL,
                     err = T.E.EINVAL, count = 1000 }
    local calls = T.fault.calls "register"
    assert(ring:close())
    assert(T.fault.calls "register" > calls, "it was not asked")
    T.fault.clear()
    T.equal(0, T.lawful(ring).leaked)
    spec.close(r) spec.close(w)
  end)

  -- The kernel will not let go, and goes on writing.
  faulty("leaks on purpose memory that the kernel may write to", function()
    -- this kind of ring works at any return from the kernel
    local ring = assert(uring.ring { flags = 0 })
    local r, w = spec.pipe()
    local size = 5000
    local buffer = uring.buffer(size)
    ring:queue(uring.sqe():prep_read(r, buffer, size, 0))
    ring:queue(uring.sqe():prep_timeout(1000))
    ring:submit()
    T.fault.withhold(ring:fd())
    local t0 = os.time()
    local ok, message, errno = ring:close()
    assert(os.time() - t0 <= 5 * T.slow, "it is bounded")
    T.equal(nil, ok)
    T.equal(T.E.EBUSY, errno)
    assert(message:find("kept for ever", 1, true), message)
    local stats = T.lawful(ring)
    assert(stats.leaked >= 1, "leaked is counted")
    T.equal(0, stats.in_flight)
    assert(T.fault.buried() >= 1)
    T.equal(true, ring:close())  -- the second time there is nothing to do

    buffer = nil  -- luacheck: ignore
    T.collect()
    local pattern, others = ("p"):rep(size), {}
    for i = 1, 50 do others[i] = uring.buffer(pattern) end
    spec.write(w, ("K"):rep(size))
    T.eventually(function() return not spec.ready(r, 0) end)
    for i = 1, 50 do T.equal(pattern, others[i]:string()) end
    T.equal(1, T.fault.exit())
    spec.close(r) spec.close(w)
  end)

  faulty("leaks the buffers of a group that a request may still pick from",
    function()
      local ring = assert(uring.ring { flags = 0 })
      local size = 4096
      local group = assert(ring:buf_ring { entries = 4, size = size })
      local a, b = assert(uring.socketpair())
      ring:queue(uring.sqe():prep_recv(b):set_buf_group(group:bgid()))
      ring:submit()
      T.fault.withhold(ring:fd())
      T.equal(T.E.EBUSY, (select(3, ring:close())))
      T.equal(1, T.lawful(ring).leaked)
      group = nil  -- luacheck: ignore
      T.collect()
      local pattern, others = ("p"):rep(4 * size), {}
      for i = 1, 20 do others[i] = uring.buffer(pattern) end
      spec.write(a:fileno(), ("K"):rep(size))
      T.eventually(function() return not spec.ready(b:fileno(), 0) end)
      for i = 1, 20 do T.equal(pattern, others[i]:string()) end
      T.equal(1, T.fault.exit())
      a:close()
      b:close()
    end)

  faulty("by a finalizer and by lua_close leaks in the same way", function()
    local function leave(keep)
      local ring = assert(uring.ring {})
      local r = spec.pipe()
      ring:queue(uring.sqe():prep_read(r, uring.buffer(10), 10, 0))
      ring:submit()
      return keep and ring
    end
    T.fault.withhold(true)
    leave()
    T.collect()
    assert(T.fault.buried() >= 1)
    T.kept = leave(true)  -- this one is lua_close's
  end)

  faulty("does not leak SQEs that were never submitted, silent ones too",
    function()
      local ring = assert(uring.ring {})
      for i = 1, 5 do
        ring:queue(T.nop(i):set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
      end
      T.fault.inject { fn = "enter", err = T.E.EAGAIN, count = 1 << 20 }
      ring:close()
      T.fault.clear()
      local stats = T.lawful(ring)
      T.equal(0, stats.leaked)
      T.equal(5, stats.completed)  -- as if they had been cancelled
    end)
end)
