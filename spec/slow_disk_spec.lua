-- A slow disk holds up the task that reads from it, and no other; a wait for
-- it ends when it is to.

local helper = require "helper"
local spec = require "uring_spec"

local it = helper.needs_ring(it)

after_each(helper.clean)

-- Runs a function without upvalues, given the folder of a disk that takes so
-- many seconds for each read. (spec/support/slow_disk.lua)
local function on_slow_disk(seconds, f)
  local lua = assert(io.popen(("readlink /proc/%d/exe"):format(
    spec.getpid()))):read "l"
  local folder = assert(io.popen "mktemp -d"):read "l"
  local _ <close> = helper.finally(function() os.remove(folder) end)
  local path = helper.file(("require 'uring'.run(load(%q), ...)"):format(
    string.dump(f)))
  local function run(...)
    return spec.execute(60 * helper.slow, "/usr/bin/env", "unshare", "-rm",
      lua, "spec/support/slow_disk.lua", folder, tostring(seconds), ...)
  end
  if run("true") ~= 0 then
    helper.skip "needs unshare(1), mount(8) and FUSE"
  end
  local status, output = run(lua, path, folder)
  assert.equal(0, status, output)
end

-- luacheck: no redefined (what runs in another process has no upvalues)

describe("a slow disk", function()
  it("holds up no other task", function()
    on_slow_disk(1, function(folder)
      local uring = require "uring"
      local names, first = {}, nil
      for i = 1, 20 do names[i] = ("%s/%d"):format(folder, i) end
      uring.spawn(function()
        uring.sleep(0.01)
        first = first or "the sleeper"
      end)
      local began = uring.now()
      local all = uring.map(20, names, function(name)
        local bytes = assert(uring.fs.read(name))
        first = first or "a reader"
        return bytes
      end)
      local took = uring.now() - began
      for i = 1, 20 do assert(#all[i] == 10000) end
      assert(first == "the sleeper")
      assert(took < 15, took)  -- (one after another they take 20)
    end)
  end)

  it("is read and written piece behind piece", function()
    on_slow_disk(0, function(folder)
      local uring = require "uring"
      local content = ("0123456789"):rep(1000)
      local file <close> = assert(uring.open(folder .. "/file", "r+"))
      assert(file:read(3) == "012")
      assert(file:seek() == 3)
      assert(file:read(10) == "3456789012")
      assert(file:read "a" == content:sub(14))
      assert(file:seek() == 10000)
      assert(file:seek("set", 5000) == 5000)
      local bytes = ("abcdefg"):rep(30000)
      assert(file:write(bytes, "end"):flush())
      assert(file:seek() == 215003)
      assert(file:seek("set", 4999) == 4999)
      assert(file:read "a" == "9" .. bytes .. "end")
      assert(uring.fs.write(folder .. "/new", bytes))
      assert(uring.fs.read(folder .. "/new") == bytes)
    end)
  end)

  it("keeps no task longer than its timeout, and loses nothing", function()
    on_slow_disk(1, function(folder)
      local uring = require "uring"
      local E = uring.errno
      local file <close> = assert(uring.open(folder .. "/file"))
      local order = {}
      local task = uring.spawn(function()
        local _, _, errno = file:read("a", 0.01)
        order[#order + 1] = "timed out"
        assert(errno == E.ETIME)
        local bytes = assert(file:read "a")
        assert(#bytes == 10000, #bytes)
        order[#order + 1] = "read"
      end)
      uring.sleep(0.5)
      order[#order + 1] = "half"
      assert(task:join())
      order = table.concat(order, ", ")
      assert(order == "timed out, half, read", order)
    end)
  end)

  it("is written where it was read, when a read that was cancelled has ended",
    function()
      on_slow_disk(0.3, function(folder)
        local uring = require "uring"
        local file <close> = assert(uring.open(folder .. "/file", "r+"))
        assert(select(3, file:read(10, 0.01)) == uring.errno.ETIME)
        local order = {}
        local writers = {}
        for i = 1, 3 do
          writers[i] = uring.spawn(function()
            assert(file:write("<" .. i .. ">"))
            order[#order + 1] = i
          end)
        end
        local last = uring.spawn(file.write, file, "not this")
        uring.sleep(0.05)
        last:cancel()
        for i = 1, 3 do assert(writers[i]:join()) end
        assert(file:seek() == 9)
        assert(table.concat(order) == "123")
        assert(file:seek "set" == 0)
        assert(file:read(12) == "<1><2><3>901")
      end)
    end)

  it("is sent from, and a send that ends early tells why",
    function()
      on_slow_disk(0.3, function(folder)
        local uring = require "uring"
        local E = uring.errno
        local content = ("0123456789"):rep(1000)
        local a, b = assert(uring.socketpair())
        local file = assert(uring.open(folder .. "/file"))
        a:write "head "
        assert(a:sendfile(file, 3) == 9997)
        assert(b:read(10002) == "head " .. content:sub(4))
        file:close()
        for i, which in ipairs { "socket", "file", "timeout", "cancel" } do
          local other <close> = assert(uring.open(folder .. "/" .. i))
          local sending = uring.spawn(function()
            return table.pack(a:sendfile(other, 0, nil,
              which == "timeout" and 0.05 or 60))
          end)
          local after = uring.spawn(function() return a:send "end" end)
          uring.sleep(0.05)
          assert(sending:status() == "waiting", which)
          if which == "cancel" then sending:cancel()
          elseif which == "socket" then a:close()
          elseif which == "file" then other:close() end
          local ok, r = sending:join()
          assert((ok == true) == (which ~= "cancel"), which)
          if ok then
            assert(r[1] == nil and r[4] == 0)
            assert(r[3] == (which == "timeout" and E.ETIME or E.EBADF), r[2])
            if which ~= "timeout" then
              assert(r[2]:find(which == "socket" and "which was closed"
                or "the file was closed", 1, true), r[2])
            end
          end
          -- the next in line sends
          assert(after:join())
          assert(b:read(3) == (which ~= "socket" and "end" or nil))
          if which == "socket" then a, b = assert(uring.socketpair()) end
        end
      end)
    end)

  it("is sent from by a number, and not what has that after a close",
    function()
      on_slow_disk(0.3, function(folder)
        local uring = require "uring"
        local E = uring.errno
        local a, b = assert(uring.socketpair())
        assert(a:setsockopt("SO_SNDBUF", 10000))
        local file = assert(uring.open(folder .. "/large", "r+"))
        assert(file:truncate(100000))
        local number = file:fileno()
        local sending = uring.spawn(function()
          return table.pack(a:sendfile(number))
        end)
        uring.sleep(0.05)
        assert(file:close())  -- (the read goes on, and has the number)
        local others = {}
        repeat
          uring.sleep(0.01)
          others[#others + 1] = assert(io.open("/proc/self/exe"))
          local has = uring.sqe():prep_poll_add(others[#others], 1).fd
        until has == number or sending:status() == "done"
        b:limit(math.huge)
        local got = uring.spawn(b.read, b, "a")
        local _, r = assert(sending:join())
        assert(a:close())
        local _, text = got:join()
        assert(r[1] == nil and r[3] == E.EBADF, r[2])
        assert(r[2]:find("the file was closed", 1, true), r[2])
        assert(#text == r[4] and not text:find "[^%d\0]")
      end)
    end)

  it("may answer when the file is closed and collected", function()
    on_slow_disk(0.3, function(folder)
      local uring = require "uring"
      local function read()
        local file <close> = assert(uring.open(folder .. "/file"))
        return select(3, file:read(10, 0.05))
      end
      assert(read() == uring.errno.ETIME)
      collectgarbage()
      collectgarbage()
      uring.sleep(0.6)
    end)
  end)

  it("is read by helper threads that a task leaves at once", function()
    on_slow_disk(1, function(folder)
      local uring = require "uring"
      local done = false
      uring.spawn(function()
        local entry, reading, _, open <close> = uring.fs.dir(folder)
        uring.timeout(0.2, function()
          entry(reading)
          error "it was not slow"
        end)
        done = open ~= nil
      end)
      uring.sleep(0.6)
      assert(done)
      -- (the thread ends its job when the wait for it is gone)
      collectgarbage()
      collectgarbage()
      local n = 0
      for name, kind in uring.fs.walk(folder) do
        assert(name == folder .. "/file" and kind == "file")
        n = n + 1
      end
      assert(n == 1)
    end)
  end)

  it("may be slow to find a name, for which others do not wait", function()
    on_slow_disk(0.5, function(folder)
      local uring = require "uring"
      local E = uring.errno
      local order = {}
      local slow = uring.spawn(function()
        assert(uring.fs.stat(folder .. "/slow").size == 10000)
        order[#order + 1] = "slow"
      end)
      local none, message, errno = uring.fs.stat(folder .. "/none")
      assert(none == nil and errno == E.ENOENT, message)
      order[#order + 1] = "none"
      slow:join()
      order = table.concat(order, ", ")
      assert(order == "none, slow", order)
      local longest, last = 0, uring.now()
      local ticker = uring.daemon(function()
        while true do
          uring.sleep(0.01)
          longest, last = math.max(longest, uring.now() - last), uring.now()
        end
      end)
      assert(uring.open(folder .. "/slow3")):close()
      uring.sleep(0.02)
      ticker:cancel()
      assert(longest < 0.4, longest)
      -- (a request that is cancelled ends when the kernel has finished)
      uring.timeout(0.01, uring.fs.stat, folder .. "/slow2")
    end)
  end)
end)
