-- A kernel that has no memory, is interrupted, takes half of what it is
-- given, or never ends; and a malloc that fails. See spec/c/sys_fault.c. Each
-- test is a process of its own, with the module in which faults are built.

local helper = require "helper"

local it = helper.needs_ring(it)

-- Runs in each of those processes, before the test: its globals. (A test has
-- no upvalues; T has all that helper has.)
local function tools()
  local helper = require "helper"  -- luacheck: ignore
  local uring = require "uring"
  local file = package.searchpath("uring.core", package.cpath)
  local fault = assert(package.loadlib(file, "luaopen_uring_fault"))()
  local T = setmetatable({ fault = fault, E = uring.errno },
    { __index = helper })

  function T.nop(n)
    return uring.sqe():prep_nop():set_data64(n)
  end

  -- Queues nops from..to on a ring; retries while the kernel has no room.
  function T.queue(ring, from, to)
    local refused = 0
    for i = from, to do
      while true do
        local op, message, errno = ring:queue(T.nop(i))
        if op then break end
        assert(errno == T.E.EAGAIN or errno == T.E.EBUSY
               or errno == T.E.ENOMEM, message)
        refused = refused + 1
        assert(refused < 1000, "refused for ever")
      end
    end
    return refused
  end

  -- Submits until that goes well; how often it did not.
  function T.submit(ring)
    for refused = 0, 1000 do
      local n, message, errno = ring:submit()
      if n then return refused end
      assert(math.type(errno) == "integer", message)
    end
    error "refused for ever"
  end

  -- Completions 1..n come once each, in whatever order, and nothing else.
  function T.all_come(ring, n)
    local seen = {}
    for _ = 1, n do
      local data, res, _, kind = assert(ring:wait_cqe(5 * helper.slow))
      assert(kind == "completion" and res == 0)
      assert(not seen[data], "twice")
      seen[data] = true
    end
    for i = 1, n do assert(seen[i], "never") end
    T.nothing(ring)
    local stats = helper.lawful(ring)
    assert(stats.submitted == n and stats.completed == n)
    assert(stats.stale == 0 and stats.messages == 0)
  end

  function T.nothing(ring)
    local data, _, errno = ring:peek_cqe()
    assert(data == nil and errno == T.E.EAGAIN)
  end

  function T.equal(expected, got)
    if expected ~= got then
      error(("%s expected, not %s"):format(expected, got), 2)
    end
  end

  _G.T, _G.uring = T, uring
  _G.spec = require "uring_spec"
end

local prelude = ([[
package.cpath = %q .. "/?.so;" .. package.cpath
load(%q)()
]]):format(os.getenv "URING_FAULT_DIR" or "build/fault", string.dump(tools))

-- luacheck: globals T uring spec
local function faulty(name, f)
  it(name, function() helper.apart(f, prelude) end)
end


describe("by hand, when the kernel refuses", function()
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

  faulty("the words say what to do", function()
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

  faulty("EINTR is nobody's business", function()
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

  faulty("a full SQ is emptied in spite of it", function()
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

  faulty("and where completions are in the way, they are taken", function()
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

  faulty("a short submit is gone on with", function()
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

  faulty("peek_cqe and submit_and_wait bear it", function()
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

  faulty("a cancel that finds no room goes later", function()
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
end)


describe("in the loop, when the kernel refuses", function()
  -- 30 tasks with three awaits each, under these faults
  faulty("every await ends once, with its own result", function()
    local path = T.file "0123456789"
    local file = assert(io.open(path))
    local function task(i)
      local buffer = uring.buffer(1)
      for round = 0, 2 do
        local at = (i + round) % 10
        T.equal(1, (assert(uring.await(
          uring.sqe():prep_read(file, buffer, 1, at)))))
        T.equal(tostring(at), buffer:string())
      end
      return i
    end
    local function main()
      local tasks, sum = {}, 0
      for i = 1, 30 do tasks[i] = uring.spawn(task, i) end
      for _, t in ipairs(tasks) do
        local ok, i = t:join()
        assert(ok, i)
        sum = sum + i
      end
      return sum
    end
    for _, name in ipairs { "EAGAIN", "EBUSY", "ENOMEM", "EINTR" } do
      for _, after in ipairs { false, true } do
        for skip = 0, 3 do
          T.fault.inject { fn = "enter", err = T.E[name], skip = skip,
                           count = 3, after = after }
        end
        T.equal(465, uring.run(main))
        T.fault.clear()
        local ring = uring.loop():ring()
        T.equal(0, T.lawful(ring).in_flight)
        T.equal(0, ring:stats().stale)
      end
    end
    for take = 1, 3 do
      T.fault.inject { fn = "enter", take = take, count = 40 }
      T.equal(465, uring.run(main))
      T.fault.clear()
    end
    file:close()
    T.clean()
  end)

  faulty("an await that is told more than once keeps the last", function()
    local ring = assert(uring.ring())
    local function open()
      return uring.sqe():prep_openat(uring.AT_FDCWD, "/", uring.O_RDONLY)
    end
    uring.run(function()
      assert(ring:await(uring.sqe():prep_nop()))
      local before = T.fds()
      T.fault.again(ring:fd())
      local fd = uring.fd((assert(ring:await(open()))))
      T.equal(1, ring:stats().disposed)
      T.equal(before + 1, T.fds())
      T.fault.again(ring:fd())
      local results = assert(ring:await_chain { open() })
      T.equal(2, ring:stats().disposed)
      T.equal(before + 2, T.fds())
      uring.fd(results[1][1]):close()
      fd:close()
    end)
    T.lawful(ring)
    ring:close()
  end)

  faulty("a storm of EINTR neither shortens nor breaks waits", function()
    local r, w = spec.pipe()
    T.fault.inject { fn = "enter", err = T.E.EINTR, count = 2000 }
    uring.run(function()
      local poll = uring.spawn(function()
        return uring.await(uring.sqe():prep_poll_add(r, uring.POLLIN))
      end)
      local t0 = os.clock()
      uring.sleep(0.02)
      assert(os.clock() - t0 < 10 * T.slow)
      spec.write(w, "x")
      local ok, events = poll:join()
      assert(ok and events & uring.POLLIN ~= 0)
    end)
    spec.close(r) spec.close(w)
  end)

  faulty("a full SQ in a task", function()
    uring.loop { entries = 4 }
    uring.run(function()
      local ring = uring.loop():ring()
      T.fault.inject { fn = "enter", err = T.E.EINTR, count = 5 }
      T.fault.inject { fn = "enter", err = T.E.EBUSY, count = 5 }
      T.fault.inject { fn = "enter", err = T.E.EAGAIN, count = 5 }
      local ops = {}
      for i = 1, 50 do
        repeat
          local op, message, errno = ring:queue(T.nop(i))
          assert(op or errno == T.E.EBUSY or errno == T.E.EAGAIN, message)
          ops[i] = op
        until op
      end
      for i = 1, 50 do T.equal(0, (assert(ops[i]:await(5)))) end
    end)
    T.equal(0, T.fault.clear().enter)
    T.lawful(uring.loop():ring())
  end)

  faulty("an await that cannot be queued says so, and is nowhere", function()
    uring.loop { entries = 2 }
    uring.run(function()
      local ring = uring.loop():ring()
      ring:queue(T.nop(1))
      ring:queue(T.nop(2))
      T.fault.inject { fn = "enter", err = T.E.EAGAIN }
      local res, message, errno = uring.await(T.nop(3))
      T.equal(nil, res)
      assert(message:find("EAGAIN", 1, true), message)
      T.equal(T.E.EAGAIN, errno)
      T.equal(0, (assert(uring.await(T.nop(4)))))
    end)
    T.equal(3, T.lawful(uring.loop():ring()).completed)
  end)

  faulty("what can never go well ends the run, and says why", function()
    local r, w = spec.pipe()
    local closed
    T.fault.inject { fn = "enter", err = T.E.EBADR }
    local message = T.raises("the loop cannot go on", uring.run,
      function()
        local _ <close> = setmetatable({}, {
          __close = function() closed = true end
        })
        uring.sleep(0)
        uring.await(uring.sqe():prep_poll_add(r, uring.POLLIN))
      end)
    assert(message:find("EBADR", 1, true), message)
    assert(closed)
    T.fault.clear()
    T.equal(7, uring.run(function()  -- and the next one goes well
      assert(uring.await(T.nop(1)))
      return 7
    end))
    T.equal(0, T.lawful(uring.loop():ring()).in_flight)
    spec.close(r) spec.close(w)
  end)

  faulty("another ring's refusals do not stop it", function()
    local other = assert(uring.ring { entries = 4 })
    for _, name in ipairs { "EAGAIN", "EBUSY", "ENOMEM", "EINTR" } do
      for skip = 0, 6 do
        T.fault.inject { fn = "enter", err = T.E[name], skip = skip,
                         count = 2 }
        uring.run(function()
          local a = uring.spawn(function()
            return assert(other:await(T.nop(1), 5 * T.slow))
          end)
          local b = uring.spawn(function()
            return assert(uring.await(T.nop(2), 5 * T.slow))
          end)
          assert(a:join())
          assert(b:join())
        end)
        T.fault.clear()
      end
    end
    T.equal(28, T.lawful(other).completed)
    assert(other:close())
  end)

  faulty("a ring that cannot be watched says so", function()
    local EVENTFD = 4
    local other = assert(uring.ring {})
    uring.run(function()
      T.fault.inject { fn = "register", opcode = EVENTFD, err = T.E.ENOMEM }
      local ok, res, message, errno = pcall(other.await, other, T.nop(1))
      if ok then
        T.equal(nil, res)
        T.equal(T.E.ENOMEM, errno)
      else
        message = res
      end
      assert(message:find("ENOMEM", 1, true), message)
      T.equal(0, (assert(other:await(T.nop(2)))))
    end)
    assert(other:close())
  end)
end)


describe("connections() whose accepts fail", function()
  -- (a request is made to fail by a NOP that does)
  local major, minor = helper.probe.kernel:match "^(%d+)%.(%d+)"
  local function failing(name, f)
    it(name, function()
      if tonumber(major) * 1000 + tonumber(minor) < 6010 then
        helper.skip("needs Linux 6.10 (this is %s)", helper.probe.kernel)
      end
      helper.apart(f, prelude)
    end)
  end

  failing("go on at once when it was one connection's own", function()
    local net = require "net"
    uring.run(function()
      local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
      local names = { "ECONNABORTED", "EPROTO", "ENETDOWN", "ENOPROTOOPT",
        "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH",
        "EPERM" }
      for _, name in ipairs(names) do
        T.fault.refuse(13, T.E[name])  -- IORING_OP_ACCEPT
      end
      local client <close> = assert(uring.tcp.connect(listener:getsockname()))
      local began = uring.now()
      net.first(listener:connections()):close()
      client:close()
      assert(uring.now() - began < 0.09, "it has waited")
      T.equal(0, listener:stats().failed_accepts)
      -- a single accept tells
      T.fault.refuse(13, T.E.ECONNABORTED)
      local conn, message, errno = listener:accept(5)
      assert(conn == nil and errno == T.E.ECONNABORTED, message)
    end)
  end)

  failing("count and wait when the machine is short of something", function()
    local net = require "net"
    uring.run(function()
      for _, name in ipairs { "ENFILE", "ENOBUFS", "ENOMEM", "EMFILE" } do
        local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
        local client <close> = assert(uring.tcp.connect(
          listener:getsockname()))
        T.fault.refuse(13, T.E[name])
        local conn, message, errno = listener:accept(5)
        assert(conn == nil and errno == T.E[name], message)
        T.fault.refuse(13, T.E[name])
        local began = uring.now()
        net.first(listener:connections()):close()
        client:close()
        local waited = uring.now() - began
        assert(waited >= 0.09, waited)
        T.equal(1, listener:stats().failed_accepts)
      end
    end)
  end)

  failing("raise what is an error of the listener's", function()
    uring.run(function()
      local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
      T.fault.refuse(13, T.E.EINVAL)
      local ok, message = pcall(function()
        for _ in listener:connections() do error "none was to come" end
      end)
      assert(not ok and message:find("EINVAL", 1, true), message)
    end)
  end)
end)

describe("making a ring", function()
  faulty("fails with words and a number", function()
    T.keeps_fds(function()
      for _, name in ipairs { "ENOMEM", "EMFILE", "ENFILE", "EPERM",
                              "ENOSYS" } do
        T.fault.inject { fn = "setup", err = T.E[name] }
        local ring, message, errno = uring.ring {}
        T.equal(nil, ring)
        T.equal(T.E[name], errno)
        assert(message:find(name, 1, true), message)
      end
    end)
  end)

  faulty("gives up one wish after the other", function()
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

  faulty("that were given flags exactly gives up none", function()
    T.fault.inject { fn = "setup", err = T.E.EINVAL }
    local ring, _, errno = uring.ring { flags = 0 }
    T.equal(nil, ring)
    T.equal(T.E.EINVAL, errno)
  end)

  faulty("for the loop fails, and succeeds the next time", function()
    T.fault.inject { fn = "setup", err = T.E.ENOMEM }
    T.raises("ENOMEM", uring.run, function() end)
    T.equal(3, uring.run(function() return 3 end))
  end)
end)


describe("closing", function()
  faulty("bears what submits bear", function()
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
          assert(buffer:close())  -- nobody holds it
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
  faulty("leaks on purpose what the kernel may still write to", function()
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
    assert(os.time() - t0 <= 5, "it is bounded")
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

  faulty("in silence, and the SQEs that never left are not leaked",
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
      T.equal(5, stats.silent)
    end)
end)


-- The n-th allocation fails, for every n there is; alone, or all from there.
describe("without memory", function()
  -- Runs f again and again: with its first allocation refused, with its
  -- second, … until it meets none. (Lua asks twice before it gives up.)
  local function shortages()
    -- luacheck: globals each_shortage
    local function each(refuse, failing, f)
      for n = 1, 2000 do
        refuse(n, failing)
        local ok, message = pcall(f)
        local calls = refuse()
        if calls < n then
          assert(ok, message)
          return n - 1
        end
        if n % 50 == 0 then collectgarbage() end
      end
      error "it never ends"
    end

    function _G.each_shortage(refuse, f)
      return math.max(each(refuse, 1 << 30, f), each(refuse, 2, f))
    end
  end

  local before = prelude .. ("load(%q)()"):format(string.dump(shortages))

  local function short(name, f)
    it(name, function() helper.apart(f, before) end)
  end

  -- luacheck: globals each_shortage

  short("a ring by hand", function()
    local r, w = spec.pipe()
    for _, refuse in ipairs { T.fault.malloc, T.fault.alloc } do
      T.collect()
      local fds = T.fds()
      local tried = each_shortage(refuse, function()
        local ring <close> = assert(uring.ring { entries = 4 })
        local buffer = uring.buffer("hello")
        local a = assert(ring:queue(
          uring.sqe():prep_write(w, buffer, 5, 0):set_data64(1)))
        assert(ring:queue(
          uring.sqe():prep_write(w, "world", 5, 0):set_data64(2)))
        assert(ring:queue(T.nop(3), T.nop(4)))
        assert(ring:ref())
        local n, refused = 0, 0
        while n < 4 do
          local data, message = ring:wait_cqe(5 * T.slow)
          if data then n = n + 1 else refused = refused + 1 end
          assert(refused < 3 and (data or message:find("ENOMEM", 1, true)),
            message)
        end
        T.equal("done", a:status())
        T.lawful(ring)
        assert(ring:close())
      end)
      assert(tried > 3, tried)
      spec.read(r, 65536)
      T.collect()
      T.equal(fds, T.fds())
    end
    T.equal(0, T.fault.buried())
    spec.close(r) spec.close(w)
  end)

  short("what has come is taken when there is memory again", function()
    local ring <close> = assert(uring.ring { entries = 64 })
    T.queue(ring, 1, 300)
    T.submit(ring)
    for n = 1, 20 do
      T.fault.malloc(n, 1)
      ring:submit_and_wait(300, 1)
      T.fault.malloc()
    end
    T.all_come(ring, 300)
  end)

  short("tasks", function()
    local r, w = spec.pipe()
    assert(uring.run(function() return 1 end))
    local other = assert(uring.ring {})
    for _, refuse in ipairs { T.fault.malloc, T.fault.alloc } do
      T.collect()
      local tried = each_shortage(refuse, function()
        local n = uring.run(function()
          local buffer = uring.buffer(4)
          local reader = uring.spawn(function()
            return assert(uring.await(uring.sqe():prep_read(r, buffer, 4,
              0)))
          end)
          local sleeper = uring.spawn(function() uring.sleep(0.0001) end)
          local foreign = uring.spawn(function()
            assert(other:await(T.nop(1), 5 * T.slow))
          end)
          assert(uring.await(T.nop(2), 5 * T.slow))
          assert(sleeper:join())
          assert(foreign:join())
          spec.write(w, "data")
          local ok, got = reader:join()
          assert(ok)
          return got
        end)
        T.equal(4, n)
      end)
      assert(tried > 3, tried)
      T.equal(0, T.lawful(other).in_flight)
      local stats = T.lawful(uring.loop():ring())
      T.equal(stats.internal, stats.in_flight)
    end
    T.equal(5, uring.run(function()
      assert(uring.await(T.nop(1)))
      return 5
    end))
    assert(other:close())
    T.equal(0, T.fault.buried())
    spec.close(r) spec.close(w)
  end)

  short("a task that yields, which fails in any case", function()
    local bare, told = 0, 0
    for _, failing in ipairs { 1 << 30, 2 } do
      local n, calls = 0
      repeat
        n = n + 1
        local ok, why = pcall(uring.run, function()
          T.fault.alloc(n, failing)
          coroutine.yield()
        end)
        calls = T.fault.alloc()
        assert(not ok)
        if why:find("stack traceback", 1, true) then told = told + 1
        elseif why:find("coroutine.yield", 1, true) then bare = bare + 1
        else assert(why:find("not enough memory", 1, true), why) end
      until calls < n
      assert(n > 3, n)
    end
    assert(bare > 0 and told > 0)
  end)

  short("messages", function()
    local ring <close> = assert(uring.ring { entries = 8 })
    local got = 0
    local tried = each_shortage(T.fault.alloc, function()
      uring.run(function()
        local receiver = uring.spawn(function()
          local len, data = assert(ring:receive(5 * T.slow))
          T.equal(5, len)
          T.equal(7, data)
        end)
        assert(uring.await(uring.sqe():prep_msg_ring(ring, 5, 7, 0)))
        assert(receiver:join())
        got = got + 1
      end)
    end)
    assert(tried > 3 and got >= 1)
    T.lawful(ring)
  end)

  faulty("a lease loses nothing of what came with it", function()
    local net = require "net"
    local a, b = assert(uring.socketpair(uring.SOCK_DGRAM))
    local file <close> = assert(io.open "LICENSE")
    local failures = 0
    local function received(n, refuse, failing)
      local next, reader, _, closer = b:messages { lease = true }
      local closing <close> = closer  -- luacheck: ignore
      local lease, info, calls
      local function step()
        lease, _, info = next(reader)
        calls = refuse()
      end
      assert(a:sendmsg { data = tostring(n), control = { fds = { file } } })
      refuse(n, failing)
      if not pcall(step) then
        failures = failures + 1
        refuse()  -- and now there is memory again
        step()
        calls = n
      end
      T.equal(tostring(n), lease:string())
      T.equal(1, #info.control.fds)
      info.control.fds[1]:close()
      lease:release()
      return calls < n
    end
    local function all(refuse, failing)
      assert(received(1 << 30, refuse, failing))
      T.collect()
      local fds, n = T.fds(), 0
      repeat n = n + 1 until received(n, refuse, failing)
      assert(n > 1, n)
      T.collect()
      T.equal(fds, T.fds())
    end
    net.run(function()
      all(T.fault.malloc, 1)
      all(T.fault.alloc, 2)
    end)
    assert(failures > 4, failures)
    a:close() b:close()
  end)
end)
