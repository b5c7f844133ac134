-- The loop and its sockets on a kernel that refuses; see
-- spec/support/faults.lua.

local faults = require "faults"
local helper = require "helper"

local it = helper.needs_ring(it)
local prelude = faults.prelude
local faulty = faults.tests(it)

-- luacheck: globals T uring spec


describe("in the loop, when io_uring_enter fails,", function()
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

  faulty("an await that completes twice keeps the last result", function()
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

  faulty("a full SQ keeps no task from its await", function()
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

  faulty("an await that cannot be queued leaves nothing behind", function()
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

  faulty("a number that is another ring's by now ends the run", function()
    uring.run(uring.sleep, 0)
    local number = uring.loop():ring():fd()
    spec.close(number)
    local other = assert(uring.ring())
    T.equal(number, other:fd())
    T.raises("its number was closed", uring.run, uring.await, T.nop(1), 0.01)
    assert(other:queue(T.nop(2)))
    T.equal(2, (other:wait_cqe(5)))
  end)

  faulty("an error that cannot pass ends the run, and says why", function()
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

  faulty("refusals of another ring do not stop the loop", function()
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
      net.first(listener:connections()):close()
      client:close()
      T.equal(0, listener:stats().failed_accepts)  -- and so has not waited
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
