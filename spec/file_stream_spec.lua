-- Files: read, written, sought and truncated; and by position.

local faults = require "faults"
local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local content <const> = helper.content
local patience <const> = net.patience

after_each(function()
  net.close()
  helper.clean()
  helper.idle_loop()
end)

describe("a file", function()
  it("gives lines and formats as io does, whatever its size", function()
    net.run(function()
      for _, n in ipairs { 0, 1, 4095, 4096, 65536, 300001 } do
        local path = helper.file(("line\n"):rep(n // 5) .. ("x"):rep(n % 5))
        local file <close> = assert(uring.open(path))
        local lines = io.lines(path)
        for line in file:lines() do assert.equal(lines(), line) end
        assert.is_nil(lines())
        file:seek "set"
        assert.equal(content(path), file:read "a")
      end
    end)
  end)

  it("seeks from where it was read", function()
    net.run(function()
      local file <close> = assert(uring.open(helper.file "one\ntwo\nthree"))
      assert.equal("one", file:read())
      assert.equal(4, file:seek())
      assert.equal(8, file:seek("cur", 4))
      assert.equal("three", file:read())
      assert.equal(13, file:seek "end")
      assert.equal(10, file:seek("end", -3))
      assert.equal("ree", file:read())
      local v, message, errno = file:seek("set", -1)
      assert.same({ nil, E.EINVAL }, { v, errno })
      assert.truthy(message:find "seek in '", message)
      file:seek "set"
      assert.equal(1, #file:read(1))  -- (more was read ahead)
      for _, far in ipairs { math.mininteger, math.maxinteger } do
        assert.equal(E.EINVAL, (select(3, file:seek("cur", far))))
      end
      assert.equal(1, file:seek())
      assert.has_error(function() file:seek "start" end)
      assert.has_error(function() file:seek("set", 1.5) end)
      local r, w = uring.pipe()
      net.keep(r, w)
      assert.equal(E.ESPIPE, select(3, r:seek()))
    end)
  end)

  it("is written where it was read", function()
    net.run(function()
      local path = helper.file "one\ntwo\nthree\n"
      local file <close> = assert(uring.open(path, "r+"))
      assert.equal("one", file:read())
      file:write "TWO\n"
      assert(file:flush())
      assert.equal("three", file:read())
      assert.equal("one\nTWO\nthree\n", content(path))
    end)
  end)

  it("is written where it was read, also after reads that were cancelled",
    function()
      net.run(function()
        local path = helper.file(("0123456789"):rep(20000))
        local file <close> = assert(uring.open(path, "r+"))
        local expected = content(path)
        for n = 1, 3 do
          assert.equal(10 * n, file:seek("set", 10 * n))
          local read
          local task = uring.spawn(function() read = file:read(100000) end)
          uring.sleep(0)
          task:cancel()
          task:join()
          local at = 10 * n + (read and #read or 0)
          local bytes = ("abc"):rep(n * n * 10000)
          assert.equal(file, file:write(bytes, n))
          assert.equal(at + #bytes + 1, file:seek())
          expected = expected:sub(1, at) .. bytes .. n
            .. expected:sub(at + #bytes + 2)
          assert.is_true(expected == content(path), "the content")
        end
      end)
    end)

  it("is written where it was read, when the task that reads is woken but has "
    .. "not run yet", function()
      net.run(function()
        for turns = 1, 5 do  -- (in one of them the read has just ended)
          local path = helper.file "0123456789"
          local file <close> = assert(uring.open(path, "r+"))
          local reader = uring.spawn(function() return file:read(3) end)
          for _ = 1, turns do uring.sleep(0) end
          assert(file:write "abc")
          assert(file:flush())
          assert.equal("012", select(2, assert(reader:join())))
          assert.equal("012abc6789", content(path))
        end
        -- one that finds what it asks for in what was read ahead
        local path = helper.file "0123456789"
        local file <close> = assert(uring.open(path, "r+"))
        local first = uring.spawn(function()
          local bytes = file:read(3)
          assert(file:write "abc")
          return bytes
        end)
        local second = uring.spawn(function() return file:read(3) end)
        assert.equal("012", select(2, assert(first:join())))
        assert.equal("345", select(2, assert(second:join())))
        assert.equal(9, file:seek())
        assert.equal("012345abc9", content(path))
      end)
    end)

  it("is read and written by position", function()
    net.run(function()
      local path = helper.file "0123456789"
      local file <close> = assert(uring.open(path, "r+"))
      assert.equal("345", file:pread(3, 3))
      assert.equal("89", file:pread(10, 8))
      assert.is_nil(file:pread(1, 10))
      assert.equal(file, file:pwrite("ab", 1))
      assert.equal("0ab3456789", file:read "a")
      file:write "!"
      assert.equal("!", file:pread(1, 10))
      for _, call in ipairs { { 0, 0 }, { 1, -1 }, { "1", 0 }, { 1 } } do
        assert.has_error(function() file:pread(call[1], call[2]) end)
      end
      assert.has_error(function() file:pwrite(1, 0) end)
      local only <close> = assert(uring.open(path))
      local v, message, errno = only:pwrite("x", 0)
      assert.same({ nil, E.EBADF }, { v, errno })
      assert.truthy(message:find(path, 1, true), message)
    end)
  end)

  it("has a size, and may be made another", function()
    net.run(function()
      local path = helper.tmpname()
      local file <close> = assert(uring.open(path, "w+"))
      file:write(("x"):rep(100))
      local stat = assert(file:stat())
      assert.same({ "file", 100 }, { stat.kind, stat.size })
      assert.truthy(math.abs(stat.mtime - os.time()) < 60)
      assert.equal(file, file:truncate(10))
      assert.equal(file, file:sync())
      assert.equal(10, #content(path))
      assert.has_error(function() file:truncate(-1) end)
    end)
  end)

  it("may have more than 4 GiB", function()
    net.run(function()
      local path = helper.tmpname()
      local file <close> = assert(uring.open(path, "w+"))
      local far = (5 << 30) + 3
      assert(file:truncate(far))
      assert.equal(far, file:seek "end")
      file:write "far\n"
      assert.equal(far + 4, file:stat().size)
      assert.equal("far\n", file:pread(10, far))
      assert.equal(far, file:seek("set", far))
      assert.equal("far", file:read())
    end)
  end)

  it("may be one of /proc, or a device", function()
    net.run(function()
      local status <close> = assert(uring.open "/proc/self/status")
      local n = 0
      for line in status:lines() do
        n = n + (line:find "^Pid:" and 1 or 0)
      end
      assert.equal(1, n)
      local zero <close> = assert(uring.open "/dev/zero")
      assert.equal(("\0"):rep(100000), zero:read(100000, patience))
      local null <close> = assert(uring.open("/dev/null", "r+"))
      assert(null:write "x":flush())
      assert.is_nil(null:read())
      local full <close> = assert(uring.open("/dev/full", "w"))
      full:write "x"
      assert.equal(E.ENOSPC, select(3, full:flush()))
    end)
  end)

  it("takes counts and positions that are floats without a fraction",
    function()
      net.run(function()
        local path = helper.file "0123456789"
        local file <close> = assert(uring.open(path, "r+"))
        assert.equal("234", file:pread(3.0, 2.0))
        assert(file:pwrite("AB", 4.0))
        assert(file:truncate(8.0))
        assert.equal("0123AB67", uring.fs.read(path, 1e6))
        assert(uring.fs.chmod(path, 384.0))
        assert.same({ 2, 4, n = 2 }, uring.map(2.0, { 1, 2 }, function(x)
          return 2 * x
        end))
        uring.tcp.listen("127.0.0.1:0", 5.0):close()
        assert.equal(80, uring.resolve("127.0.0.1", 80.0)[1].port)
        helper.mistake("bad argument #1 to 'pread' (integer from 1 to "
          .. "2147483647 expected, got 8589934592)", file.pread, file, 1 << 33,
          0)
        helper.mistake("bad argument #2 to 'pread' (integer from 0 expected, "
          .. "got 0.5)", file.pread, file, 1, 0.5)
        helper.mistake("bad argument #2 to 'read' (integer from 1 expected, "
          .. "got string)", uring.fs.read, path, "5")
      end)
    end)

  it("has no position to wait for where it is a pipe", function()
    net.run(function()
      local r, w = assert(uring.pipe())
      local reading = helper.started(r.read, r)
      local at, message, errno = uring.timeout(patience, r.seek, r)
      assert.same({ nil, E.ESPIPE }, { at, errno }, message)
      -- one that is full, with as much again in the buffer
      for _ = 1, 16 do w:write(("x"):rep(4096)) end
      reading:cancel()
      reading:join()
      local writing = helper.started(w.write, w, ("x"):rep(1 << 18))
      at, message, errno = uring.timeout(patience, w.seek, w, "set", 0)
      assert.same({ nil, E.ESPIPE }, { at, errno }, message)
      assert.equal("fifo", uring.timeout(patience, w.stat, w).kind)
      at, message, errno = uring.timeout(patience, w.truncate, w, 0)
      assert.same({ nil, E.EINVAL }, { at, errno }, message)
      writing:cancel()
      r:close()
    end)
  end)

  it("names the file that cannot be truncated", function()
    net.run(function()
      local path = helper.file "text"
      local file <close> = assert(uring.open(path))
      local ok, message, errno = file:truncate(0)
      assert.same({ nil, E.EINVAL }, { ok, errno })
      assert.truthy(message:find(path, 1, true), message)
    end)
  end)

  it("may be closed while it is truncated", function()
    net.run(function()
      for i = 1, 40 do
        local r <close>, w = assert(uring.pipe())
        local truncating = uring.spawn(w.truncate, w, 0)
        helper.turns(1 + i % 3)
        w:close()
        local ended, ok, message, errno = truncating:join(patience)
        assert.is_true(ended, ok)
        assert.is_nil(ok)
        assert.truthy(errno == E.EINVAL or errno == E.EBADF, message)
        assert(r)
      end
    end)
  end)

  it("to write gives no lines, and a loop over them raises", function()
    net.run(function()
      local path = helper.file "a line\n"
      local file <close> = assert(uring.open(path, "a"))
      helper.raises(path, function()
        for _ in file:lines() do end  -- luacheck: ignore
      end)
      local r, w = assert(uring.pipe())
      helper.raises("Bad file descriptor", function()
        for _ in w:lines("L", { timeout = patience }) do end  -- luacheck: ignore
      end)
      r:close()
      w:close()
    end)
  end)
end)

describe("a read or a write by position", function()
  it("is refused where there are none, and takes and writes nothing",
    function()
      net.run(function()
        local r, w = assert(uring.pipe())
        net.keep(r, w)
        assert(w:write "left")
        assert(w:flush())
        for _, stream in ipairs { r, w } do
          for _, result in ipairs { { stream:pread(4, 0, 0) },
            { stream:pwrite("x", 0, 0) } } do
            assert.equal(E.ESPIPE, result[3], result[2])
            assert.truthy(result[2]:find(tostring(stream), 1, true))
          end
        end
        assert.equal("left", r:read(4))
        r:close()
        assert.equal(E.ESPIPE, select(3, w:pwrite("no signal", 0)))
      end)
    end)

  it("has one time for all that it does", function()
    net.run(function()
      local path = helper.file "0123456789"
      local f = assert(uring.open(path, "r+"))
      net.keep(f)
      assert.equal("345", f:pread(3, 3, patience))
      assert.equal(f, f:pwrite("xyz", 3, patience))
      assert.equal("xyz", f:pread(3, 3, patience))
      assert.equal(7, f:seek("set", 7.0))
      assert.equal("789", f:read "a")
      helper.raises("integer expected", f.seek, f, "set", 7.5)
      assert.equal(1, select("#", f:sync()))
      assert.equal(1, select("#", f:truncate(2)))
    end)
  end)

  it("gives EBADF where another task closes the file meanwhile", function()
    net.run(function()
      for name, argument in pairs { sync = 0, truncate = 3, pwrite = "abc",
          pread = 3, stat = 0, seek = "end" } do
        for turns = 0, 4 do
          local f = assert(uring.open(helper.tmpname(), "w+"))
          assert(f:write(("x"):rep(1 << 18)))
          local task = uring.spawn(function()
            if name == "sync" or name == "stat" then return f[name](f) end
            return f[name](f, argument, 0)
          end)
          helper.turns(turns)
          f:close()
          local ok, result, message, errno = task:join(patience)
          assert.is_true(ok, result)
          if not result then assert.equal(E.EBADF, errno, message) end
        end
      end
    end)
    helper.clean()
  end)

  -- The write and the close of its number complete in one turn.
  it("gives EBADF where a request closes the number as it flushes", function()
    net.run(function()
      local socket, peer = net.pair()
      local CALLS <const> = {
        sync = function(f) return f:sync() end,
        truncate = function(f) return f:truncate(3) end,
        pwrite = function(f) return f:pwrite("abc", 0) end,
        pread = function(f) return f:pread(3, 0) end,
        stat = function(f) return f:stat() end,
        seek = function(f) return f:seek("end") end,
        sendfile = function(f) return socket:sendfile(f) end,
        process = function(f) return uring.process { "true", stdin = f } end,
      }
      local function attempt(name, call)
        local f = assert(uring.open(helper.tmpname(), "w+"))
        assert(f:write "some")
        local task = uring.spawn(call, f)
        uring.sleep(0)
        local op = uring.loop():ring():queue(
          uring.sqe():prep_close(f:fileno()))
        local ok, result, message, errno = task:join(patience)
        assert(ok, ("%s: %s"):format(name, result))
        op:await()
        f:close()
        return result, message, errno
      end
      for name, call in pairs(CALLS) do
        local result, message, errno
        for _ = 1, 1000 do  -- (where the write has completed before: again)
          result, message, errno = attempt(name, call)
          if result == nil then break end
        end
        assert.is_nil(result, name)
        assert.equal(E.EBADF, errno, message)
      end
      peer:close()
    end)
    helper.clean()
  end)
end)

-- (At RLIMIT_NPROC the kernel cancels what needs a thread of its own.)
describe("a read for which the kernel has no thread", function()
  it("goes without one; a sync says what it lacks", function()
    helper.needs_linux(6, 10)  -- (to make a request fail)
    helper.apart(function(path)
      -- luacheck: globals T, no redefined
      local uring, E = require "uring", T.E
      uring.run(function()
        local file <close> = assert(uring.open(path, "r+"))
        for _ = 1, 11 do T.fault.refuse(3, E.ECANCELED) end
        local ok, why, errno = file:sync()
        assert(ok == nil and errno == E.ECANCELED, why)
        assert(why:find("RLIMIT_NPROC", 1, true), why)
        for _ = 1, 30 do T.fault.refuse(22, E.ECANCELED) end
        local before = uring.loop():ring():stats().submitted
        assert(file:read(2) == "ab" and file:seek() == 2)
        assert(file:read "a" == "cdef" and file:read(1) == nil)
        assert(uring.loop():ring():stats().submitted - before < 10)
        assert(file:seek("set", 4) == 4 and file:write "EF" and file:flush())
        assert(file:seek("set", 0) == 0 and file:read "a" == "abcdEF")
      end)
    end, faults.prelude, helper.file "abcdef")
  end)
end)
