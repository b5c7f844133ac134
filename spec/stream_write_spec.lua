-- Writes of sockets and pipes go through a buffer: in order, each whole, and
-- before anything else of their stream; and errors are told.

local faults = require "faults"
local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local patience <const> = net.patience

after_each(function()
  net.close()
  helper.idle_loop()
end)

local sinks = {
  ["a socket"] = function()
    local a, b = net.pair()
    return a, b
  end,
  ["a pipe"] = function()
    local r, w = assert(uring.pipe())
    net.keep(r, w)
    return w, r
  end,
}

-- Reads it all in another task, slowly.
local function reader(r)
  r:limit(math.huge)
  return uring.spawn(function() return r:read("a", patience) end)
end

for name, open in pairs(sinks) do
  describe("of " .. name .. ", write", function()
    it("takes strings and numbers, and gives the stream", function()
      net.run(function()
        local w, r = open()
        assert.equal(w, w:write("one", 2, " ", 2.5, ""))
        assert.equal(w, w:write())
        assert.equal(w, w:flush(patience))
        assert.equal("one2 2.5", r:read(8, patience))
      end)
    end)

    it("goes without a flush when its task waits", function()
      net.run(function()
        local w, r = open()
        w:write "ping\n"
        assert.equal("ping", r:read("l", patience))
        for i = 1, 3 do
          w:write(i)
          w:write "\n"
          assert.equal(tostring(i), r:read("l", patience))
        end
      end)
    end)

    it("waits when its buffer is full, and all comes, in order", function()
      net.run(function()
        local w, r = open()
        local parts = {}
        for i = 1, 300 do parts[i] = ("%06d"):format(i):rep(i * 7) end
        local whole = table.concat(parts)
        local got = reader(r)
        for i = 1, 300 do assert(w:write(parts[i])) end
        assert(w:close())
        local _, text = got:join(patience)
        assert.equal(#whole, #text)
        assert.is_true(whole == text)
      end)
    end)

    it("is one unit: bytes of two tasks do not mix", function()
      net.run(function()
        local w, r = open()
        local tasks = {}
        for i = 1, 5 do
          tasks[i] = uring.spawn(function()
            for _ = 1, 4 do
              assert(w:write(("%d"):format(i):rep(70000), ",", i, "\n"))
            end
          end)
        end
        local got = reader(r)
        for i = 1, 5 do assert(tasks[i]:join(patience)) end
        w:close()
        local _, text = got:join(patience)
        local n = 0
        for digits, digit in text:gmatch "(%d+),(%d)\n" do
          assert.is_true(digits == digit:rep(70000))
          n = n + 1
        end
        assert.equal(20, n)
      end)
    end)

    it("is one unit also while a writer's turn and room come together",
      function()
        net.run(function()
          local w, r = open()
          local tasks = {}
          for i, letter in ipairs { "a", "b" } do
            tasks[i] = uring.spawn(function()
              for _ = 1, 5 do assert(w:write(letter:rep(300000), "\n")) end
            end)
          end
          r:limit(math.huge)
          local lines = uring.spawn(function()
            for _ = 1, 10 do
              local line = assert(r:read(300001, patience))
              assert.truthy(line:find "^a+\n$" or line:find "^b+\n$")
            end
          end)
          for i = 1, 2 do assert(tasks[i]:join(patience)) end
          assert(lines:join(patience))
        end)
      end)

    it("gives EBADF to every task that waits where it is closed", function()
      net.run(function()
        local w = open()
        local tasks = {}
        for i, call in ipairs { { "write", ("x"):rep(1 << 20) },
          { "write", "y" }, { "flush" } } do
          tasks[i] = uring.spawn(w[call[1]], w, call[2])
        end
        net.turns()
        -- (in a cancelled task, where it lingers for less)
        assert.equal(E.ETIME, (select(3, uring.timeout(0.001, w.close, w))))
        for i = 1, 3 do
          local _, ok, message, errno = tasks[i]:join(patience)
          assert.is_nil(ok)
          assert.equal(E.EBADF, errno, message)
        end
      end)
    end)

    it("raises for what is neither, and takes none of it", function()
      net.run(function()
        local w, r = open()
        for _, bad in ipairs { {}, true, print } do
          assert.has_error(function() w:write("x", bad) end)
        end
        assert.has_error(function() w:write(nil) end)
        w:close()
        assert.equal("", r:read("a", patience))
        assert.has_error(function() w:write "x" end)
        assert.has_error(function() w:flush() end)
      end)
    end)

    it("outside a task names uring.run", function()
      local w
      net.run(function() w = open() end)
      local ok, message = pcall(w.write, w, "x")
      assert.is_false(ok)
      assert.truthy(message:find "uring.run", message)
    end)

    it("tells once that there is no reader, and raises no SIGPIPE", function()
      net.run(function()
        local w, r = open()
        r:close()
        w:write "lost"
        local v, message, errno = w:flush(patience)
        assert.same({ nil, E.EPIPE }, { v, errno })
        assert.truthy(message:find "write to", message)
        assert.equal(w, w:flush(patience))
        w:write "lost too"
        local _, text, err, unsent = w:close()
        assert.same({ E.EPIPE, 8 }, { err, unsent })
        assert.truthy(text:find "8 bytes were not written", text)
        assert.is_true(w:close())
      end)
    end)

    it("tells a task that waits for a full buffer", function()
      net.run(function()
        local w, r = open()
        local task = uring.spawn(w.write, w, ("x"):rep(1 << 20))
        net.turns()
        assert.same({ nil, "timed out", E.ETIME }, { w:flush(0.01) })
        r:close()
        local _, v, _, errno = task:join(patience)
        assert.same({ nil, E.EPIPE }, { v, errno })
      end)
    end)

    it("that is cancelled leaves what it has written", function()
      net.run(function()
        local w, r = open()
        local task = uring.spawn(w.write, w, ("x"):rep(1 << 20))
        net.turns()
        task:cancel()
        task:join()
        w:limit(1)
        local got = reader(r)
        assert(w:flush(patience))
        assert(w:write "end")
        w:close()
        local _, text = got:join(patience)
        assert.truthy(text:find "^x+end$")
        assert.truthy(#text < 1 << 20)
      end)
    end)

    it("goes when it is closed, and by a close in a cancelled task",
      function()
        net.run(function()
          local w, r = open()
          local got = reader(r)
          local text = ("y"):rep(100000)
          local task = uring.spawn(function()
            local _ <close> = helper.finally(function() w:close() end)
            w:write(text)
            uring.sleep(60)
          end)
          net.turns(1)
          task:cancel()
          local _, all = got:join(patience)
          assert.equal(#text, #all)
        end)
      end)

    it("is tried once when it is collected, and the rest is counted",
      function()
        net.run(function()
          local before = uring.loop():stats().unflushed
          local a, b = uring.pipe()
          if name == "a socket" then
            a:close()
            b:close()
            b, a = assert(uring.socketpair())
          end
          net.keep(a)
          b:write(("z"):rep(65000))
          b = nil  -- luacheck: ignore
          helper.collect()
          assert.equal(("z"):rep(65000), a:read("a", patience))
          assert.equal(before, uring.loop():stats().unflushed)
        end)
      end)
  end)
end

describe("of a pipe that is full, write", function()
  it("is counted where it is collected and could not go", function()
    net.run(function()
      local r, w = uring.pipe()
      net.keep(r)
      assert(w:write(("x"):rep(65536)))
      assert(w:flush(patience))
      local before = uring.loop():stats().unflushed
      w:write(("y"):rep(1000))
      net.turns()
      w = nil  -- luacheck: ignore
      helper.collect()
      assert.equal(before + 1000, uring.loop():stats().unflushed)
    end)
  end)
end)

describe("a socket that its peer does not read", function()
  it("says at its close how much has not gone, though some was on its way",
    function()
      net.run(function()
        for _, cancelled in ipairs { false, true } do
          local a, b = net.pair()
          assert(a:setsockopt("SO_SNDBUF", 4096))
          local bytes = ("0123456789"):rep(10000)
          local writer = uring.spawn(a.write, a, bytes)
          helper.turns(5)
          assert.equal("done", writer:status())
          local ok, errno, unsent, _
          local function close() ok, _, errno, unsent = a:close() end
          if cancelled then
            local closer = uring.spawn(function()
              uring.current():cancel()
              close()
            end)
            assert.equal(1, #b:read(1))
            closer:join()
          else  -- (where it cannot wait)
            string.gsub("x", "x", close)
          end
          assert.same({ nil, E.ETIME }, { ok, errno })
          local got = b:read "a"
          local n = #got + (cancelled and 1 or 0)
          assert.is_true(n > 0)
          assert.equal(#bytes, n + unsent)
        end
      end)
    end)
end)

describe("what was written to a socket goes before", function()
  local function after(name, f)
    it(name, function()
      net.run(function()
        local a, b = net.pair()
        local got = reader(b)
        local head = ("h"):rep(60000)
        a:write(head)
        f(a)
        a:close()
        local _, text = got:join(patience)
        assert.equal(head .. "tail", text)
      end)
    end)
  end
  after("a send", function(a) assert.equal(4, a:send("tail", patience)) end)
  after("a sendmsg", function(a)
    assert.equal(4, a:sendmsg({ data = "tail" }, patience))
  end)
  after("an event of sending", function(a)
    assert.same({ "s", 4 },
      { uring.select({ s = a:sending "tail" }, patience) })
  end)
  after("a shutdown", function(a)
    a:write "tail"
    assert.is_true(a:shutdown "write")
  end)
end)

describe("a write to a pipe", function()
  it("does not end the process by SIGPIPE", function()
    local status = helper.script [[
      local uring = require "uring"
      uring.run(function()
        for _, size in ipairs { 1, 60000, 1 << 20 } do
          local r, w = assert(uring.pipe())
          local t = uring.spawn(w.write, w, ("x"):rep(size))
          uring.sleep(0.01)
          r:close()
          t:join()
          w:write "x"
          assert(select(3, w:flush()) == uring.errno.EPIPE)
          w:close()
        end
        local r, w = uring.pipe()
        r:close()
        w:write "x"
        w = nil
        collectgarbage()
      end)
      os.exit(7)
    ]]
    assert.equal(7, status)
  end)

  it("does not end it by what C's library writes for it, either", function()
    local status = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
      uring.run(function()
        local r, w = assert(uring.pipe())
        spec.close(1)
        assert(spec.dup(w:fileno()) == 1)
        r:close()
        io.stdout:setvbuf "full"
        for _ = 1, 2 do
          io.write "x"
          uring.stdout:write "y"
          uring.stdout:flush()
          io.write "x"
          uring.process { "true" }:wait()
          io.write "x"
          uring.stream(io.stdout):close()
        end
      end)
      os.exit(7)
    ]]
    assert.equal(7, status)
  end)

  it("waits where the pipe does not block", function()
    net.run(function()
      local r, w = assert(uring.pipe())
      net.keep(r, w)
      spec.nonblock(w:fileno(), true)
      spec.nonblock(r:fileno(), true)
      local got = reader(r)
      for _ = 1, 30 do assert(w:write(("n"):rep(10000))) end
      w:close()
      local _, text = got:join(patience)
      assert.equal(300000, #text)
    end)
  end)
end)


describe("a write that its file refuses", function()
  -- (Without RWF_NOSIGNAL the writes to pipes go through threads of the
  -- kernel's.)
  it("slows no writes to pipes down", function()
    helper.needs "rwf_nosignal"
    helper.apart(function()
      -- luacheck: globals T, no redefined
      local spec = require "uring_spec"
      local uring, E = require "uring", T.E
      local function workers()
        local list <close> = assert(io.popen(("cat /proc/%d/task/*/comm")
          :format(spec.getpid())))
        local _, n = list:read("a"):gsub("iou%-wrk", "")
        return n
      end
      uring.run(function()
        for _, err in ipairs { E.EINVAL, E.EOPNOTSUPP } do
          local null, before = assert(uring.open("/dev/null", "r+")), workers()
          for _ = 1, 2 do T.fault.refuse(23, err) end
          assert(null:write "x")
          local ok, why, errno = null:flush()
          assert(ok == nil and errno == err, why)
          assert(null:write "x")  -- (it is refused once more, or not at all)
          null:flush()
          local r, w = assert(uring.pipe())
          assert(w:write "x" and w:flush())
          assert(r:read(1) == "x")
          T.equal(before, workers())
          r:close()
          w:close()
        end
      end)
    end, faults.prelude)
  end)
end)


-- (At RLIMIT_NPROC the kernel cancels what needs a thread of its own: writes
-- that extend a file, and before Linux 6.18 all to a pipe.)
describe("a write for which the kernel has no thread", function()
  it("goes without one, and tells its errors", function()
    helper.needs_linux(6, 10)  -- (to make a request fail)
    helper.apart(function()
      -- luacheck: globals T, no redefined
      local uring, E = require "uring", T.E
      local function refuse() T.fault.refuse(23, E.ECANCELED) end
      local bytes = {}
      for i = 1, 60000 do bytes[i] = ("%05d"):format(i) end
      bytes = table.concat(bytes)
      uring.run(function()
        local ring = uring.loop():ring()
        local r, w = assert(uring.pipe())
        local before = ring:stats().submitted
        for _ = 1, 30 do refuse() end
        assert(w:write "hello\n" and w:flush())
        assert(r:read "L" == "hello\n")
        -- more than the pipe takes, by tasks that wait for room, and for all
        local got = uring.spawn(function() return r:read(#bytes) end)
        local flusher
        for i = 1, #bytes, 10000 do
          assert(w:write(bytes:sub(i, i + 9999)))
          flusher = flusher or uring.spawn(w.flush, w)
        end
        assert(w:flush())
        assert(select(2, assert(got:join())) == bytes)
        assert(flusher:join())
        assert(ring:stats().submitted - before < 30)
        r:close()
        assert(w:write "x")
        local ok, why, errno = w:flush()
        assert(ok == nil and errno == E.EPIPE, why)
      end)
      uring.run(function()
        local f = assert(uring.open("/dev/full", "w"))
        assert(f:write "x")
        local ok, why, errno = f:flush()
        assert(ok == nil and errno == E.ENOSPC, why)
        assert(f:close())
      end)
    end, faults.prelude)
  end)
end)


describe("what was written to a standard stream", function()
  it("is out after the run, also if signals are handled meanwhile", function()
    local lua = helper.content "/proc/self/cmdline":match "^%Z+"
    local script = helper.file(([[
      package.path, package.cpath = %q, %q
      local uring = require "uring"
      require "uring_spec".itimer(0.005)
      uring.run(function()
        assert(uring.stdout:write(("x"):rep(100000)))
        io.stderr:write "ready"
      end)
    ]]):format(package.path, package.cpath))
    net.run(function()
      local process <close> = assert(uring.process { lua, script,
        stdout = "pipe", stderr = "pipe" })
      assert.equal("ready", process.stderr:read(5, patience))
      -- (it waits for room: that is more than a pipe takes)
      assert.is_nil(process:wait(0.1))
      assert.equal(100000, #assert(process.stdout:read("a", patience)))
    end)
  end)
end)
