-- A forked child has copies of its parent's rings, and must not use them.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local words = "belongs to another process"

local nop <const> = helper.nop

local in_child <const> = helper.in_child

-- The same, by a task of the parent's whose loop runs on meanwhile.
local function in_child_of_task(f)
  local pid = spec.fork()
  if pid == 0 then
    local ok, message = xpcall(f, debug.traceback)
    if not ok then io.stderr:write("in the child: ", message, "\n") end
    spec._exit(ok and 0 or 1)
  end
  return pid
end

local function equal(expected, got)
  if expected ~= got then
    error(("%s expected, not %s"):format(expected, got), 2)
  end
end

describe("in a forked child", function()
  it("the rings of its parent say that they are the parent's", function()
    local ring <close> = assert(uring.ring {})
    local op = ring:queue(nop(1))
    local sqe = nop(2)
    in_child(function()
      for _, call in ipairs {
        { "queue", sqe }, { "submit" }, { "submit_and_wait", 0 },
        { "wait_cqe", 0 }, { "peek_cqe" }, { "ref" }, { "fd" }, { "flags" },
        { "features" }, { "close" }, { "register_files_sparse", 2 },
        { "register_eventfd", 0 }, { "enable_rings" }
      } do
        helper.raises(words, ring[call[1]], ring, call[2])
      end
      helper.raises(words, op.cancel, op)
      helper.raises(words, function()
        uring.sqe():prep_msg_ring(ring, 1, 2, 0)
      end)
      uring.run(function()
        helper.raises(words, ring.await, ring, sqe)
        helper.raises(words, ring.await_chain, ring, { sqe })
        helper.raises(words, ring.receive, ring, 0)
        helper.raises(words, op.await, op, 0)
      end)
      tostring(ring)
      tostring(op)
    end)
    assert.equal(1, (ring:wait_cqe(1)))
    helper.lawful(ring)
  end)

  it("new rings are its own", function()
    local old <close> = assert(uring.ring {})
    in_child(function()
      local ring <close> = assert(uring.ring {})
      ring:queue(nop(7), nop(8))
      equal(7, (ring:wait_cqe(1)))
      equal(8, (ring:wait_cqe(1)))
      helper.lawful(ring)
    end)
    old:queue(nop(9))
    assert.equal(9, (old:wait_cqe(1)))
  end)

  it("the same is true of a ring of the child in its own child", function()
    in_child(function()
      local ring = assert(uring.ring {})
      in_child(function()
        helper.raises(words, ring.submit, ring)
        equal(5, uring.run(function() return 5 end))
      end)
      ring:queue(nop(1))
      equal(1, (ring:wait_cqe(1)))
    end)
  end)

  it("a run starts afresh", function()
    assert.equal(1, uring.run(function() return 1 end))
    in_child(function()
      for round = 1, 2 do
        local a, b = uring.run(function()
          assert(uring.await(nop(1)))
          uring.sleep(0.001)
          local task = uring.spawn(function() return round end)
          return select(2, task:join()), select("#", uring.await(nop(2)))
        end)
        equal(round, a)
        equal(2, b)
      end
    end)
    assert.equal(2, uring.run(function() return 2 end))
  end)

  it("of a task a run starts afresh, and the task is its parent's",
    function()
      local r, w = spec.pipe()
      local status, got, after
      uring.run(function()
        local buffer = uring.buffer(10)
        local reader = uring.spawn(function()
          return uring.await(uring.sqe():prep_read(r, buffer, 10, 0))
        end)
        local sleeper = uring.spawn(function() uring.sleep(0.01) end)
        uring.sleep(0)
        uring.sleep(0)
        local pid = in_child_of_task(function()
          helper.raises(words, uring.sleep, 0)
          helper.raises(words, uring.await, nop(1))
          helper.raises("uring.run", uring.spawn, print)
          helper.raises(words, reader.join, reader)
          helper.raises(words, reader.cancel, reader)
          helper.raises(words, reader.joining, reader)
          local ring = assert(uring.ring {})
          local sum = uring.run(function()
            local sum = 0
            uring.scope(function()
              for i = 1, 10 do
                uring.spawn(function()
                  uring.sleep(0.0001 * i)
                  assert(ring:await(nop(1)))
                  sum = sum + i
                end)
              end
            end)
            assert(uring.await(nop(1)))
            return sum
          end)
          equal(55, sum)
          equal(3, uring.run(function() return 3 end))
        end)
        assert(sleeper:join())
        status = spec.wait(pid)
        spec.write(w, "parent")
        got = select(2, reader:join())
        after = select(2, uring.spawn(function()
          return (uring.await(nop(1)))
        end):join())
      end)
      assert.equal(0, status)
      assert.equal(6, got)
      assert.equal(0, after)
      spec.close(r)
      spec.close(w)
    end)

  it("of a task that returns in place of ending an error says so", function()
    local status, output = helper.script([[
      local uring, spec = require "uring", require "uring_spec"
      local child
      uring.run(function()
        uring.spawn(function() uring.sleep(0) end)
        local pid = spec.fork()
        if pid > 0 then assert(spec.wait(pid) == 1) end
      end)
      print "parent"
    ]])
    assert.equal(0, status)
    assert(output:find("forked child", 1, true), output)
    assert.equal(1, select(2, output:gsub("parent\n", "")))
  end)

  it("the same is so in a step, where the child had a loop of its own",
    function()
      local status, output = helper.script([[
        local uring, spec = require "uring", require "uring_spec"
        local loop, pid = uring.loop()
        loop:spawn(function()
          pid = spec.fork()
          if pid == 0 then uring.run(uring.sleep, 0.001) end
        end)
        local ok, why = pcall(loop.step, loop)
        if pid == 0 then
          assert(not ok and why:find("forked child", 1, true), why)
          uring.run(uring.sleep, 0)
          spec._exit(7)
        end
        assert(spec.wait(pid) == 7)
      ]])
      assert.equal(0, status, output)
    end)

  it("what its parent's streams and sockets have buffered is not written",
    function()
      uring.run(function()
        local r, w = assert(uring.pipe())
        local a, b = assert(uring.socketpair())
        assert(w:write "once")
        assert(a:write "once")
        in_child(function()
          w, a = nil, nil
          helper.collect()
        end)
        assert(w:close())
        assert(a:close())
        assert.equal("once", r:read "a")
        assert.equal("once", b:read "a")
        r:close()
        b:close()
      end)
    end)

  it("events of its parent's sockets send nothing, and take nothing",
    function()
      uring.run(function()
        for _, kind in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
          local a, b = assert(uring.socketpair(kind))
          local sending, receiving = a:sending "a child's", b:receiving()
          assert(a:send "data")
          in_child(function()
            uring.run(function()
              helper.raises(words, uring.select, { sending }, 0)
              helper.raises(words, uring.select, { receiving }, 0)
            end)
          end)
          assert.equal("data", b:receive())
          assert.equal(E.EAGAIN, select(3, b:try_receive()))
          a:close()
          b:close()
        end
      end)
    end)

  it("events of its parent's rings take no messages", function()
    uring.run(function()
      local a <close>, b = assert(uring.ring {}), assert(uring.ring {})
      local event = b:receiving()
      a:queue(uring.sqe():prep_msg_ring(b, 1, 11, 0),
        uring.sqe():prep_msg_ring(b, 2, 22, 0))
      assert(a:submit())
      assert.equal(1, (b:receive()))  -- (the other has come by then, too)
      in_child(function()
        uring.run(function()
          helper.raises(words, uring.select, { event }, 0)
        end)
      end)
      assert.same({ 1, 2, 22, 0 }, { uring.select({ event }) })
      b:close()
    end)
  end)

  it("iterators over its parent's sockets say so", function()
    uring.run(function()
      local a, b = assert(uring.socketpair())
      for _, name in ipairs { "chunks", "messages", "connections" } do
        local step, state = a[name](a)
        in_child(function() helper.raises(words, step, state) end)
      end
      assert(b:send "data")
      assert.equal("data", a:receive())
      a:close()
      b:close()
    end)
  end)

  it("garbage of its parent closes nothing", function()
    local ring, parents = assert(uring.ring {}), assert(uring.ring {})
    local ref = ring:ref()
    parents:queue(nop(1))
    parents:submit()
    local number = ring:fd()
    in_child(function()
      spec.close(number)
      local r, w = spec.pipe()  -- one of them gets the number
      assert(r == number or w == number)
      ring, ref = nil, nil
      helper.collect()
      spec.write(w, "x")
      equal("x", spec.read(r, 1))
    end)
    assert.equal(1, (parents:wait_cqe(1)))
    assert(ring:close())
    assert(parents:close())
    assert(ref:closed())
  end)

  it("leases of its parent outlive their socket and its buffers", function()
    local a, b = assert(uring.socketpair(uring.SOCK_DGRAM))
    local lease
    uring.run(function()
      assert(a:send "abc")
      local receive = b:messages { lease = true }
      lease = receive()
    end)
    in_child(function()
      b:close()
      b = nil
      helper.collect()
      equal("abc", lease:string())
      lease:release()
    end)
    a:close()
    b:close()
    assert.equal("abc", lease:string())
  end)

  -- Any process may ask something of such a ring.
  it("closing its parent's socket takes no buffers from its ring", function()
    helper.script_ok [[
      local uring, spec = require "uring", require "uring_spec"
      uring.loop { flags = 0 }
      local a, b = assert(uring.socketpair(uring.SOCK_DGRAM))
      uring.run(function()
        local receive = b:messages { lease = true }
        a:send "one"
        assert(receive():string() == "one")
        local pid = spec.fork()
        if pid == 0 then
          b:close()
          spec._exit(0)
        end
        assert(spec.wait(pid) == 0)
        a:send "two"
        local task = uring.spawn(receive)
        local ok, lease = task:join(10)
        assert(ok, lease)
        assert(lease:string() == "two")
      end)]]
  end)

  it("uring.loop lifts no bound that its parent has set", function()
    helper.script_ok [[
      local helper = require "helper"
      local uring = require "uring"
      uring.loop { memory = 1 << 20, realm = false }
      helper.in_child(function()
        for name, value in pairs { memory = 1 << 40, realm = "",
            close_timeout = 60 } do
          helper.raises(("option '%s' cannot be set in a forked child")
            :format(name), uring.loop, { [name] = value })
        end
        local loop = assert(uring.loop { entries = 8 })
        assert(loop:stats().memory_limit == 1 << 20)
        assert(select(3, uring.mailbox { name = "a name" })
          == uring.errno.EPERM)
      end)]]
  end)

  -- The child's own loop closes the ring of its parent's.
  it("garbage of its parent is collected, however many descriptors it has",
    function()
      helper.script_ok [[
        local uring, spec = require "uring", require "uring_spec"
        for i = 1, 40 do _G[i] = uring.fd(spec.dup(0)) end
        uring.run(function() end)
        local pid = spec.fork()
        if pid == 0 then
          uring.run(function() uring.sleep(0) end)
          os.exit(0, true)
        end
        assert(spec.wait(pid) == 0)]]
    end)

  -- It has other files under all numbers of its parent's when it ends.
  it("lua_close closes nothing of its parent", function()
    local output = helper.script_ok([[
      local uring, spec = require "uring", require "uring_spec"
      local mine = {}
      -- finalized last, for it is the first
      _G.last = setmetatable({}, { __gc = function()
        local _, fds = spec.fds()
        for fd in pairs(mine) do
          if fds[fd] ~= "/dev/null" then print("closed", fd) end
        end
      end })
      local null = spec.dup(0)
      local _, others = spec.fds()
      local ring, other = uring.ring {}, uring.ring { flags = 0 }
      _G.refs = { ring:ref(), other:ref() }
      local r, w = spec.pipe()
      uring.run(function()
        uring.spawn(function() ring:receive(0.001) end)
        uring.spawn(function()
          other:await(uring.sqe():prep_poll_add(r, uring.POLLIN), 0.001)
        end)
      end)
      ring:queue(uring.sqe():prep_read(r, uring.buffer(10), 10, 0))
      ring:submit()
      local _, fds = spec.fds()
      local pid = spec.fork()
      if pid == 0 then
        for fd in pairs(fds) do
          if not others[fd] then
            spec.close(fd)
            mine[fd] = true
          end
        end
        local n = 0
        for _ in pairs(mine) do n = n + 1 end
        for _ = 1, n do spec.dup(null) end
        os.exit(0, true)
      end
      assert(spec.wait(pid) == 0)
      spec.write(w, "hello")
      assert(select(2, ring:wait_cqe(5)) == 5)
    ]])
    assert.equal("", output)
  end)

  -- (what is freed too early only ASAN tells, or a crash)
  it("its parent's loop ends after the rings that it has watched", function()
    assert.equal("", helper.script_ok [[
      local uring, spec = require "uring", require "uring_spec"
      local nop, rings = uring.sqe():prep_nop(), {}
      for i = 1, 3 do rings[i] = assert(uring.ring { entries = 4 }) end
      local function use()
        for i = 1, 3 do assert(rings[i]:await(nop) == 0) end
      end
      uring.run(use)
      assert(uring.loop():fd())
      local pid = spec.fork()
      if pid == 0 then
        rings = nil
        for _ = 1, 3 do collectgarbage() end
        os.exit(0, true)
      end
      assert(spec.wait(pid) == 0)
      uring.run(use)
    ]])
  end)

  it("tells that a process is its parent's at the line of the call",
    function()
      helper.run(function()
        local p <close> = assert(uring.process { "sleep", "20" })
        in_child(function()
          helper.mistake("this process belongs to another one", p.kill, p)
        end)
      end)
    end)
end)

describe("a child's end", function()
  -- in each of the ways that there are
  for _, way in ipairs {
    "os.exit(0)", "os.exit(0, true)", "spec._exit(0)",
    "error 'on purpose'", "spec.kill(spec.getpid(), 9)",
    "collectgarbage() os.exit(0, true)",
    "uring.run(function() uring.sleep(0) os.exit(0, true) end)",
    "uring.run(function() uring.sleep(0) end)"
  } do
    it("by " .. way .. " disturbs nothing", function()
      local output = helper.script_ok([[
        local uring, spec = require "uring", require "uring_spec"
        local r, w = spec.pipe()
        local silent = spec.pipe()
        local ring = uring.ring {}
        local plain = uring.ring { flags = 0 }  -- any process could enter it
        local buffer = uring.buffer(100)
        local nop = uring.sqe():prep_nop()
        ring:queue(uring.sqe():prep_read(r, buffer, 100, 0))
        ring:queue(uring.sqe():prep_poll_multishot(silent, uring.POLLIN))
        local poll = plain:queue(
          uring.sqe():prep_poll_add(silent, uring.POLLIN))
        ring:submit()
        plain:submit()
        ring:queue(nop)  -- not yet submitted, and never by the child
        plain:queue(nop)
        local got
        uring.run(function()
          local task = uring.spawn(function()
            return uring.loop():ring():receive(20)
          end)
          uring.spawn(function() uring.await(nop) end)
          local pid = spec.fork()
          if pid == 0 then ]] .. way .. [[ end
          spec.wait(pid)
          local s = uring.sqe():prep_msg_ring(uring.loop():ring(), 4, 5, 0)
          assert(uring.await(s))
          got = select(2, task:join())
        end)
        if not got then return end  -- a child that ran to its end
        assert(got == 4)
        spec.write(w, "hello")
        for _ = 1, 2 do
          local _, _, _, kind = ring:wait_cqe(20)
          assert(kind == "completion")
        end
        assert(buffer:string(1, 5) == "hello")
        assert(plain:wait_cqe(20) and not plain:peek_cqe())
        assert(poll:status() == "in flight")
        for _, r in ipairs { ring, plain } do
          assert(r:close())
          local s = r:stats()
          assert(s.in_flight == 0 and s.leaked == 0 and s.stale == 0)
        end
        io.write "parent"
      ]])
      -- the child's own words may stand before it
      assert(output:find "parent$", output)
      assert(not output:find("Sanitizer", 1, true), output)
    end)
  end
end)


describe("a child may send to its parent's ring", function()
  local function sends(to, wait)
    local pid = spec.fork()
    if pid > 0 then return pid end
    local ok, message = xpcall(function()
      if wait then spec.sleep(wait) end
      local ring = assert(uring.ring {})
      ring:queue(uring.sqe():prep_msg_ring(to, 11, 12, 0))
      local _, res = assert(ring:wait_cqe(5 * helper.slow))
      equal(0, res)
      if helper.has "sync_msg" then
        assert(uring.register_sync_msg(
          uring.sqe():prep_msg_ring(to, 13, 14, 0)))
      end
    end, debug.traceback)
    if not ok then io.stderr:write("in the child: ", message, "\n") end
    spec._exit(ok and 0 or 1)
  end

  it("by its number", function()
    local ring <close> = assert(uring.ring {})
    local pid = sends(ring:fd())
    assert.same({ 12, 11, 0, "message" },
      { ring:wait_cqe(10 * helper.slow) })
    assert.equal(0, (spec.wait(pid)))
    if helper.has "sync_msg" then
      assert.same({ 14, 13, 0, "message" }, { ring:wait_cqe(1) })
    end
  end)

  it("by reference, while it sleeps in its loop", function()
    local other <close> = assert(uring.ring {})
    uring.run(function()
      for _, ring in ipairs { uring.loop():ring(), other } do
        local pid
        local receiver = uring.spawn(function()
          return ring:receive(10 * helper.slow)
        end)
        pid = sends(ring:ref(), 0.01)
        local _, len, data = receiver:join()
        assert.equal(11, len)
        assert.equal(12, data)
        assert.equal(0, (spec.wait(pid)))
        if helper.has "sync_msg" then
          assert.equal(13, (ring:receive(1)))
        end
      end
    end)
  end)

  it("that was closed before the fork, and gets an error", function()
    local ring = assert(uring.ring {})
    local ref = ring:ref()
    ring:close()
    in_child(function()
      local mine = assert(uring.ring {})
      local op, _, errno = mine:queue(
        uring.sqe():prep_msg_ring(ref, 1, 2, 0))
      equal(nil, op)
      equal(E.EPIPE, errno)
    end)
  end)
end)


describe("the descriptors of rings in a forked child", function()
  local function rings()
    local n = 0
    for _, what in pairs(select(2, spec.fds())) do
      if what:find("[io_uring]", 1, true) then n = n + 1 end
    end
    return n
  end

  it("are closed with its parent's loop, when it begins its own", function()
    -- (helper threads ring a doorbell, which counts the ring)
    uring.run(function() for _ in uring.fs.dir "spec/c" do end end)
    helper.collect()
    local before, ref = rings(), uring.loop():ring():ref()
    in_child(function()
      equal(before, rings())
      uring.run(uring.sleep, 0)
      equal(before + 1, rings())  -- `ref` names the other one
      ref = nil
      in_child(function()
        helper.collect()
        uring.run(uring.sleep, 0)
        equal(before + 1, rings())
      end)
    end)
    helper.in_child(function()
      ref = nil
      helper.collect()
      uring.run(uring.sleep, 0)
      equal(before, rings())
    end)
    assert.equal(before, rings())
    assert(ref)
  end)

  it("are closed with its parent's loop, though a mailbox has waited there",
    function()
      local box <close> = uring.mailbox()
      uring.run(function()
        assert(not box:receive(0.001))
        assert(not uring.select({ box:address():monitor() }, 0.001))
      end)
      helper.collect()  -- (references to the loop's ring)
      local before = rings()
      in_child(function()
        uring.run(uring.sleep, 0)
        equal(before, rings())
      end)
      uring.run(function() assert(not box:receive(0.001)) end)
    end)

  it("are closed with the objects", function()
    assert.equal("", helper.script_ok [[
      local uring, spec = require "uring", require "uring_spec"
      local ring = assert(uring.ring())
      local number = ring:fd()
      local pid = spec.fork()
      if pid > 0 then os.exit(spec.wait(pid) == 0) end
      ring = nil
      collectgarbage()
      collectgarbage()
      for fd in pairs(select(2, spec.fds())) do assert(fd ~= number) end
      spec._exit(0)
    ]])
  end)

  it("are left alone if the number is another file's by then", function()
    local ring = assert(uring.ring())
    local number = ring:fd()
    in_child(function()
      local r, w = spec.pipe()
      -- as a daemon does that closes all it has inherited
      spec.close(number)
      equal(number, spec.dup(r))
      ring = nil  -- luacheck: ignore
      helper.collect()
      spec.write(w, "x")
      equal("x", (spec.read(number, 1)))
    end)
    in_child(function()
      -- a ring of its own with that number is another one, too
      spec.close(number)
      local own = assert(uring.ring())
      equal(number, own:fd())
      ring = nil  -- luacheck: ignore
      helper.collect()
      own:queue(nop(1))
      equal(1, (own:wait_cqe(1)))
    end)
    ring:close()
  end)
end)
