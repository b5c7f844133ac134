-- A malloc that fails, at each of its calls in turn; see
-- spec/support/faults.lua.

local faults = require "faults"
local helper = require "helper"
local execute = require("uring_spec").execute

local it = helper.needs_ring(it)
local prelude = faults.prelude
local faulty = faults.tests(it)

-- luacheck: globals T uring spec


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

  short("recvmsg_out, which lets go of the bytes", function()
    local msg = uring.msghdr { namelen = 16 }
    local header = string.pack("=I4I4I4I4", 16, 0, 5, 0)
      .. string.pack("=I2>I2I4=I8", 2, 53, 0x7f000001, 0)
    local function held() return uring.loop():stats().memory end
    local at_first = held()
    local tried = each_shortage(T.fault.alloc, function()
      local buffer <close> = uring.buffer(header .. "hello")
      T.equal("hello", uring.recvmsg_out(buffer, msg).payload)
    end)
    assert(tried > 4, tried)
    T.collect()
    T.equal(at_first, held())
  end)

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

  short("completions are taken when there is memory again", function()
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

  short("a host's descriptor, which is made when there is memory again",
    function()
      local loop = assert(uring.loop())
      for n = 1, 100 do
        T.fault.malloc(n, 1)
        local fd, message, errno = loop:fd()
        if T.fault.malloc() < n then
          T.equal("number", type(fd))
          break
        end
        T.equal(nil, fd)
        T.equal(T.E.ENOMEM, errno, message)
      end
      loop:spawn(uring.sleep, 0)
      T.equal(true, spec.ready(assert(loop:fd()), 5 * T.slow))
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
      local next, reader, _, closer = b:messages { fds = true,
        lease = true }
      local closing <close> = closer  -- luacheck: ignore
      local lease, info, calls
      local function step()
        lease, _, info = next(reader)
        calls = refuse()
      end
      assert(a:sendmsg { data = tostring(n), control = { fds = { file } } })
      -- (for what completes there is memory when one has)
      assert(uring.await(uring.sqe():prep_nop()) == 0)
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

  short("mailbox:serve raises that it cannot wait", function()
    uring.run(function()
      local box <close> = uring.mailbox()
      T.fault.malloc(1, 1 << 30)
      local ok, why = pcall(box.serve, box, {})
      T.fault.malloc()
      assert(not ok and why:find("no doorbell", 1, true), why)
      local server = uring.spawn(box.serve, box, {})
      local to <close> = box:address()
      uring.sleep(0)
      to:close()
      assert(server:join(5 * T.slow))
    end)
  end)

  -- (A task that was woken for an item has a turn, until it has taken it.)
  short("a receive that fails passes the message on", function()
    local long = ("x"):rep(100000)
    local function received(box, after, others)
      local to <close> = box:address()
      local first = uring.spawn(function()
        local ok, why = pcall(box.receive, box)
        T.fault.alloc()
        assert(not ok and why:find "memory", why)
        return after()
      end)
      T.turns()
      local second = others and uring.spawn(box.receive, box)
      T.turns()
      assert(to:send(long))
      T.fault.alloc(1, 1 << 40)
      for _ = 1, 3 do uring.sleep(0) end
      return first, second
    end
    uring.run(function()
      local box <close> = uring.mailbox()
      local other <close> = uring.mailbox()
      local to <close> = other:address()
      local function nothing() end
      local function send() assert(to:send(1)) end  -- (which need not wait)
      for _, after in ipairs { nothing, send } do
        local _, second = received(box, after, true)
        T.equal(long, select(2, assert(second:join(10 * T.slow))))
      end
      -- the next waiter is its own select's event
      local first = received(box, function()
        return select(2, uring.select { box:receiving() })
      end)
      local ok, value = first:join(10 * T.slow)
      if not ok then first:cancel() end
      T.equal(long, ok and value)
    end)
  end)
end)


-- (before Linux 6.13 a doorbell is one)
describe("without descriptors", function()
  it("what needs a doorbell says so, and goes on with one", function()
    local path = helper.file(faults.prelude .. [[
      local E = uring.errno
      T.fault.inject { fn = "register", err = E.EINVAL, opcode = 31,
        count = 1 << 30 }
      local function check(what, no, why, errno)
        local text = what .. ": no doorbell for the loop: "
        assert(no == nil and why:find(text, 1, true)
          and why:find("EMFILE", 1, true), why)
        assert(errno == E.EMFILE, errno)
      end
      uring.run(function()
        local box <close> = uring.mailbox { capacity = 1 }
        local to <close> = box:address()
        assert(to:try_send(1))
        local held, file = {}
        repeat
          file = io.open "/dev/null"
          held[#held + 1] = file
        until not file
        check("sending", select(2, uring.select { sent = to:sending(2) }))
        check("send", to:send(2))
        check("worker", uring.worker(function() end))
        -- a worker, which needs some more, says the same of its own
        local failed = {}
        for _ = 1, 12 do
          table.remove(held):close()
          local worker, why = uring.worker(function() end)
          local ended, message = true
          if worker then ended, message = worker:join() end
          why = why or not ended and message
          if why then failed[#failed + 1] = why end
        end
        for _, open in ipairs(held) do open:close() end
        assert(#failed > 1 and #failed < 12, #failed)
        for _, why in ipairs(failed) do
          assert(tostring(why):find("EMFILE", 1, true)
            or tostring(why):find("Too many open files", 1, true), why)
        end
        assert(box:receive() == 1)
        assert(to:send(2) and box:receive() == 2)
      end)]])
    local status, output = execute(60 * helper.slow, "/bin/sh", "-c",
      [[ulimit -n 128 && exec "$(readlink "/proc/$PPID/exe")" "$0"]], path)
    assert(status == 0, output)
  end)
end)


-- (the kernel locks the pages of a list of buffers: RLIMIT_MEMLOCK)
describe("without provided buffers", function()
  -- luacheck: globals T uring
  faulty("sockets receive into memory of their own", function()
    T.fault.inject { fn = "register", err = T.E.ENOMEM, opcode = 22,
      count = 1 << 30 }
    uring.run(function()
      for name, kind in pairs { chunks = uring.SOCK_STREAM,
          messages = uring.SOCK_DGRAM } do
        for _, lease in ipairs { false, true } do
          local a, b = assert(uring.socketpair(uring.AF_UNIX, kind))
          local sender = uring.spawn(function()
            for i = 1, 5 do assert(a:send(("x"):rep(i * 3000))) end
          end)
          local n = 0
          for data in b[name](b, { lease = lease }) do
            n = n + #data
            if lease then data:release() end
            if n >= 45000 then break end
          end
          T.equal(45000, n)
          assert(sender:join())
          a:close()
          b:close()
        end
      end
      local group, why, errno = uring.loop():ring():buf_ring {}
      assert(group == nil and errno == T.E.ENOMEM, why)
      assert(why:find("ulimit -l", 1, true), why)
    end)
  end)
end)
