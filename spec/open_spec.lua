-- uring.open: its modes, its errors, and what it waits for.

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

describe("uring.open", function()
  it("takes io.open's modes", function()
    net.run(function()
      local path = helper.file "old\n"
      local function with(mode, f)
        local file <close> = assert(uring.open(path, mode))
        return f(file)
      end
      assert.equal("old", with(nil, function(f) return f:read() end))
      assert.equal("old", with("rb", function(f) return f:read() end))
      with("a", function(f) f:write "new\n" end)
      assert.equal("old\nnew\n", content(path))
      with("r+", function(f) f:write "OLD" end)
      assert.equal("OLD\nnew\n", content(path))
      with("a+b", function(f)
        assert.equal("OLD", f:read())
        f:write "end"
      end)
      assert.equal("OLD\nnew\nend", content(path))
      with("w+", function(f)
        f:write "fresh"
        assert.equal(0, f:seek "set")
        assert.equal("fresh", f:read "a")
      end)
      with("w", function(f) f:write(1, 2) end)
      assert.equal("12", content(path))
    end)
  end)

  it("begins at the end where it only appends, as io.open does", function()
    net.run(function()
      for _, mode in ipairs { "a", "ab", "a+", "r+" } do
        local path = helper.file "0123456789"
        local theirs <close> = assert(io.open(path, mode))
        local ours <close> = assert(uring.open(path, mode))
        assert.equal(theirs:seek(), ours:seek(), mode)
      end
      local path = helper.file "0123456789"
      local file <close> = assert(uring.open(path, "a"))
      file:write "abc"
      assert.equal(13, file:seek())
      -- a position behind the end, at which the next write happens to end
      for _, mode in ipairs { "a", "a+" } do
        local f <close> = assert(uring.open(path, mode))
        local size = f:seek("end")
        assert.equal(size + 3, f:seek("end", 3))
        assert(f:write "xyz":flush())
        assert.equal(size + 3, f:seek())
      end
    end)
  end)

  it("names the path in its errors, and in those of the file", function()
    net.run(function()
      local file, message, errno = uring.open "/nonexistent/file"
      assert.same({ nil, E.ENOENT }, { file, errno })
      assert.truthy(message:find("'/nonexistent/file'", 1, true), message)
      local folder <close> = assert(uring.open "/tmp")
      local _, text, err = folder:read(10, patience)
      assert.equal(E.EISDIR, err)
      assert.truthy(text:find("'/tmp'", 1, true), text)
      local path = helper.file "x"
      local f <close> = assert(uring.open(path))
      f:write "no"
      _, text, err = f:flush()
      assert.equal(E.EBADF, err)
      assert.truthy(text:find(path, 1, true), text)
      assert.equal(("uring.Stream ('%s', fd %d)"):format(path, f:fileno()),
        tostring(f))
      local r, w = assert(uring.pipe())
      net.keep(r, w)
      assert.equal(("uring.Stream (fd %d)"):format(w:fileno()), tostring(w))
    end)
  end)

  it("raises for what is no mode or path", function()
    net.run(function()
      for _, bad in ipairs { "", "x", "rw", "r++", "br", 1, true } do
        assert.has_error(function() uring.open("x", bad) end)
      end
      assert.has_error(function() uring.open(nil) end)
      assert.has_error(function() uring.open "a\0b" end)
      assert.has_error(function() uring.open("x", "r", "1") end)
    end)
    assert.has_error(function() uring.open "x" end)
  end)

  it("leaks nothing when it is cancelled", function()
    local path = helper.file "x"
    helper.keeps_fds(function()
      net.run(function()
        for _ = 1, 50 do
          local task = uring.spawn(uring.open, path)
          uring.sleep(0)
          task:cancel()
          task:join()
        end
      end)
      helper.collect()
    end)
  end)

  it("waits for the other end of a FIFO, as open(2) does", function()
    net.run(function()
      local path = helper.tmpname()
      os.remove(path)
      assert.truthy(os.execute("mkfifo " .. path))
      assert.same({ nil, "timed out", E.ETIME },
        { uring.open(path, "r", 0.01) })
      assert.same({ nil, "timed out", E.ETIME },
        { uring.open(path, "w", 0.01) })
      -- (without time it is not opened, so that its writer sees no reader)
      assert.same({ nil, "timed out", E.ETIME }, { uring.open(path, "r", 0) })
      net.fails(E.ENXIO, uring.open(path, "w", 0))
      local task = uring.spawn(uring.open, path, "r")
      uring.sleep(0.01)
      task:cancel()
      task:join()
      task = uring.spawn(uring.open, path, "r", patience)
      local w <close> = assert(uring.open(path, "w", patience))
      local _, r = task:join(patience)
      net.keep(r)
      w:write "through\n"
      assert.equal("through", r:read("l", patience))
    end)
  end)

  it("opens what is no FIFO with a timeout of 0, as ever", function()
    net.run(function()
      local name = helper.file "text"
      local file <close> = assert(uring.open(name, "a+", 0))
      assert.equal("text", file:pread(4, 0))
      file:write " and more"
      assert(file:flush())
      assert.equal(13, file:stat().size)
      local dir <close> = assert(uring.open("/", "r", 0))
      assert.equal("directory", dir:stat().kind)
    end)
  end)

  -- (/proc and /sys look up each path anew, as a disk does at first)
  it("opens so what is not in memory yet, and leaves no O_NONBLOCK", function()
    net.run(function()
      for _, path in ipairs { "/proc/self/status", helper.file "text" } do
        local file <close> = assert(uring.open(path, "r", 0))
        assert.truthy(file:read "L")
        local info = assert(uring.fs.read("/proc/self/fdinfo/"
          .. file:fileno()))
        local flags = tonumber(info:match "flags:%s+(%d+)", 8)
        assert.equal(0, flags & uring.O_NONBLOCK)
        assert.truthy(flags & uring.O_CLOEXEC ~= 0)
      end
    end)
  end)

  it("lets others run, however often it is called in a row", function()
    net.run(function()
      local path = helper.file "text"
      local turns, done = 0, false
      uring.spawn(function()
        while not done do
          turns = turns + 1
          uring.sleep(0)
        end
      end)
      for _ = 1, 1000 do assert(uring.open(path)):close() end
      done = true
      assert.is_true(turns >= 10, turns)
    end)
  end)

  it("names uring.unix.connect for a socket's path", function()
    net.run(function()
      local path = helper.tmpname()
      os.remove(path)
      net.keep(assert(uring.unix.listen(path)))
      local file, message, errno = uring.open(path, "r", patience)
      assert.same({ nil, E.ENXIO }, { file, errno })
      assert.truthy(message:find("uring.unix.connect", 1, true), message)
    end)
  end)
end)
