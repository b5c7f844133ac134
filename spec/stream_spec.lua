-- uring.stream, of descriptors and of Lua's files; and the standard streams.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
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

describe("uring.stream", function()
  it("owns a number, and takes over a uring.fd", function()
    net.run(function()
      local r, w = spec.pipe()
      local reader = net.keep(assert(uring.stream(r)))
      local writer = net.keep(assert(uring.stream(uring.fd(w))))
      assert.equal(w, writer:fileno())
      writer:write "x\n"
      assert.equal("x", reader:read("l", patience))
      assert.equal(E.EEXIST, select(3, uring.stream(r)))
      assert.equal(E.EEXIST, select(3, uring.fd(r)))
      assert.is_true(reader:close())
      assert.equal(E.EBADF, select(3, uring.stream(r)))
    end)
  end)

  it("borrows a Lua file", function()
    net.run(function()
      local path = helper.tmpname()
      local file <close> = assert(io.open(path, "w"))
      file:write "one "
      local stream = assert(uring.stream(file))
      stream:write "two "
      assert.is_true(stream:close())
      file:write "three"
      file:flush()
      assert.equal("one two three", content(path))
    end)
  end)

  it("gives back what it has read ahead of a file", function()
    net.run(function()
      local path = helper.tmpname()
      assert(uring.fs.write(path, "one\ntwo\nthree\nfour\n"))
      local file <close> = assert(io.open(path))
      assert.equal("one", file:read())
      local stream = assert(uring.stream(file))
      assert.equal("two", stream:read())
      assert.is_true(stream:close())
      assert.equal("three", file:read())
      stream = assert(uring.stream(file))
      assert.equal(1, #stream:read(1))
      stream = nil  -- luacheck: ignore
      helper.collect()
      assert.equal("our", file:read())
    end)
  end)

  it("gives back what a read has left that was cancelled", function()
    net.run(function()
      local path = helper.tmpname()
      assert(uring.fs.write(path, "one\ntwo\n"))
      local file <close> = assert(io.open(path))
      local stream = assert(uring.stream(file))
      local read
      local task = uring.spawn(function() read = stream:read() end)
      uring.sleep(0)
      task:cancel()
      task:join()
      assert.is_true(stream:close())
      assert.equal(read and "two" or "one", file:read())
    end)
  end)

  it("leaves the position where others have moved it meanwhile", function()
    net.run(function()
      local path = helper.tmpname()
      local one = ("1"):rep(100)
      assert(uring.fs.write(path, one .. "\ntwo\nthree\n"))
      for _, close in ipairs { true, false } do
        local file <close> = assert(io.open(path))
        file:setvbuf "no"
        local stream = assert(uring.stream(file))
        assert.equal(one, stream:read())
        assert.equal(105, file:seek("set", 105))
        if close then assert.is_true(stream:close()) end
        stream = nil  -- luacheck: ignore
        helper.collect()
        assert.equal("three", file:read())
      end
    end)
  end)

  it("is what has streams' methods already", function()
    net.run(function()
      local a = net.pair()
      assert.equal(a, uring.stream(a))
      local r, w = uring.pipe()
      net.keep(r, w)
      assert.equal(r, uring.stream(r))
      for _, bad in ipairs { "1", {}, true, 1.5, -1 } do
        assert.has_error(function() uring.stream(bad) end)
      end
      assert.has_error(function() uring.stream() end)
    end)
  end)

  it("names a descriptor for requests", function()
    net.run(function()
      local r, w = uring.pipe()
      net.keep(r, w)
      assert.equal(1, uring.await(uring.sqe():prep_write(w, "x")))
      assert.equal("x", r:read(1, patience))
    end)
  end)
end)

describe("the standard streams", function()
  it("are flushed and closed, wherever they lead", function()
    local status, output = helper.script [[
      local uring = require "uring"
      uring.run(function()
        uring.stderr:write "x"
        assert(uring.stderr:flush(5))
        assert(uring.stdout:write(("y"):rep(300000)))
        assert(uring.stdout:flush(5))
        assert(uring.stdout:close())
      end)
    ]]
    assert.equal(0, status)
    assert.equal(300001, #output)
  end)

  it("leave to the next program what was not read of a file", function()
    net.run(function()
      local path = helper.tmpname()
      assert(uring.fs.write(path, "one\ntwo\nthree\n"))
      local file <close> = assert(uring.open(path))
      local shell <close> = assert(uring.process { "sh", "-c",
        '"$0" -e "$1"; cat', assert(uring.fs.readlink "/proc/self/exe"), [[
          local uring = require "uring"
          print(uring.run(function() return uring.stdin:read() end))
        ]], stdin = file, stdout = "pipe" })
      assert.equal("one\ntwo\nthree\n", shell.stdout:read("a", patience))
    end)
  end)

  it("that the program was started without give EBADF", function()
    local out = helper.tmpname()
    local code = helper.file [[
      local uring = require "uring"
      uring.run(function()
        local _, _, input = uring.stdin:read("l", 5)
        uring.stdout:write "x"
        local _, _, output = uring.stdout:flush(5)
        io.stderr:write(tostring(input), " ", tostring(output))
      end)
    ]]
    net.run(function()
      for closed, expected in pairs { ["<&-"] = "^9 nil$",
        [">&-"] = "^nil 9$", ["<&- >&-"] = "^9 9$" } do
        local shell <close> = assert(uring.process { "sh", "-c",
          ('exec "$0" "$1" %s 2>%s'):format(closed, out),
          assert(uring.fs.readlink "/proc/self/exe"), code, stdin = "null",
          stdout = "null" })
        shell:wait(patience)
        assert.truthy(content(out):find(expected), content(out))
      end
    end)
  end)

  it("are read and written, in order with print's", function()
    local output = helper.script_ok [[
      local uring = require "uring"
      io.stdout:setvbuf "full"
      uring.run(function()
        io.write "first\n"
        uring.stdout:write "second\n"
        io.write "third\n"
        uring.stdout:write("four", "th\n")
        assert(uring.stdin:read("a", 5) == "")
        uring.stderr:write "err\n"
      end)
      uring.run(function()
        assert(uring.stdout == uring.stdout)
        uring.stdout:write(("x"):rep(200000), "\n")
        uring.stdout:close()
      end)
      print "last"
    ]]
    assert.equal("first\nsecond\nthird\nfourth\n",
      output:gsub("err\n", ""):gsub("x+\nlast\n$", ""))
    assert.truthy(output:find(("x"):rep(200000) .. "\nlast\n", 1, true))
  end)

  it("give a terminal each line at once", function()
    local quiet = "ASAN_OPTIONS=detect_leaks=0 "  -- (script(1) itself leaks)
    local works = quiet .. "script -q -e -c true /dev/null >/dev/null 2>&1"
    if not os.execute(works) then
      helper.skip "needs script(1), and /dev/pts"
    end
    local seen = helper.tmpname()
    local program = helper.file(([[
      local uring = require "uring"
      uring.run(function()
        uring.stdout:write "a line\n"
        -- without a wait in which the loop would write it
        local limit = os.time() + 60
        repeat
          local file <close> = assert(io.open(%q))
          assert(os.time() < limit, "it is not there")
        until file:read "a":find "a line"
        uring.stdout:write "the end"
      end)
    ]]):format(seen))
    assert.truthy(os.execute(
      (quiet .. "script -q -f -e -c '/proc/%d/exe %s' %s > /dev/null"):format(
        spec.getpid(), program, seen)))
    assert.truthy(content(seen):find "the end")
  end)

  local function needs_terminals()
    local other, this = spec.pty()
    if not other then helper.skip "needs a file system of terminals" end
    spec.close(other)
    spec.close(this)
  end

  it("hold up no other task where a terminal has no room", function()
    needs_terminals()
    uring.loop()
    local function fill(this, text)
      local writer = assert(uring.stream(this))
      local began = os.time()
      uring.run(function()
        local writing = uring.spawn(function()
          while writer:write(text) do uring.sleep(0) end
        end)
        uring.sleep(0.2)
        assert.equal("waiting", writing:status())
        writing:cancel()
        net.fails(E.ECANCELED, writing:join(net.patience))
        uring.timeout(0.1, writer.close, writer)  -- (or it would linger)
      end)
      assert.is_true(os.time() - began < net.patience)
    end
    for text, side in pairs { [("a line\n"):rep(100)] = "this",
      [("x"):rep(60000)] = "this", [("a line\n"):rep(99)] = "the other" } do
      local other, this = spec.pty()
      local before = spec.fds()
      if side == "the other" then this, other = other, this end
      local reader = uring.fd(other)
      fill(this, text)
      reader:close()
      net.close()  -- (the write that was cancelled has ended)
      assert.equal(before - 2, spec.fds())
    end
  end)

  it("write to what their number names, and keep no terminal", function()
    needs_terminals()
    helper.script_ok [[
      local spec = require "uring_spec"
      local uring = require "uring"
      local other, this = spec.pty()
      local function name(fd)
        spec.close(1)
        assert(spec.dup(fd) == 1)
        spec.close(fd)
      end
      local function write(text)
        uring.run(function() uring.stdout:write(text) end)
      end
      name(this)
      write "a line\n"
      assert(spec.read(other) == "a line\r\n")
      local reader, writer = spec.pipe()
      name(writer)
      assert(spec.ready(other), "the terminal is open")
      write "another line\n"
      assert(spec.ready(reader) and spec.read(reader) == "another line\n")
    ]]
  end)

  it("are written at the end to a terminal that may not be opened", function()
    needs_terminals()
    helper.script_ok [[
      local spec = require "uring_spec"
      local reader, writer = spec.pty()
      local child = spec.fork()
      if child == 0 then
        spec.close(1)
        assert(spec.dup(reader) == 1)  -- (that side cannot be opened anew)
        local uring = require "uring"
        uring.run(function()
          uring.stdout:write "a line\n"
          os.exit(0, true)
        end)
      end
      assert(spec.wait(child) == 0)
      assert(spec.ready(writer) and spec.read(writer) == "a line\n")
    ]]
  end)

  it("stay as they are for others: blocking, and open", function()
    local output = helper.script_ok [[
      local uring = require "uring"
      uring.run(function()
        uring.stdin:read("l", 0.001)
        uring.stdout:write "out\n"
        uring.stderr:write "err\n"
        for _, name in ipairs { "stdin", "stdout", "stderr" } do
          assert(uring[name]:close())
        end
      end)
      for i = 0, 2 do
        local file <close> = assert(io.open("/proc/self/fdinfo/" .. i))
        local flags = tonumber(file:read "a":match "flags:%s*(%d+)", 8)
        assert(flags & uring.O_NONBLOCK == 0, i)
      end
      print "print goes on"
    ]]
    assert.truthy(output:find "print goes on")
  end)

  it("keep what print writes to the same file meanwhile", function()
    local out = helper.tmpname()
    local script = helper.file [[
      local uring = require "uring"
      uring.run(function()
        for i = 1, 300 do
          uring.stdout:write("ours ", i, (" "):rep(8000), "\n")
          uring.sleep(0)
          print("print's", i)
        end
      end)
    ]]
    assert.truthy(os.execute(("%s %s > %s"):format(
      "/proc/" .. spec.getpid() .. "/exe", script, out)))
    local _, ours = content(out):gsub("ours %d+ +\n", "")
    local _, others = content(out):gsub("print's\t%d+\n", "")
    assert.same({ 300, 300 }, { ours, others })
  end)

  it("are flushed when run ends, into a file and into a slow pipe",
    function()
      for _, sink in ipairs { "cat", "(sleep 0.1; cat)" } do
        local out = helper.tmpname()
        local script = helper.file [[
          local uring = require "uring"
          uring.run(function()
            for i = 1, 3000 do
              uring.stdout:write(("%06d"):format(i), ("y"):rep(50), "\n")
            end
          end)
          os.exit(0, false)
        ]]
        assert.truthy(os.execute(("%s %s | %s > %s"):format(
          "/proc/" .. spec.getpid() .. "/exe", script, sink, out)))
        assert.equal(3000 * 57, #content(out))
        assert.truthy(os.execute(("%s %s > %s"):format(
          "/proc/" .. spec.getpid() .. "/exe", script, out)))
        assert.equal(3000 * 57, #content(out))
      end
    end)
end)
