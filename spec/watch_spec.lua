-- uring.fs.watch: what happens in a directory or to a file, as messages.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local fs, E = uring.fs, uring.errno
local patience <const> = net.patience

local folder

before_each(function()
  if not helper.probe.available then return end
  net.run(function() folder = assert(fs.mkdtemp "/tmp/uring.XXXXXX") end)
end)

after_each(function()
  if not helper.probe.available then return end
  net.run(function() fs.remove(folder, { recursive = true }) end)
  helper.no_tasks()
end)

-- The next event, as a text: "move to one".
local function said(watch)
  local event, message = watch:receive(patience)
  if not event then return message end
  local words = { event.kind }
  words[#words + 1] = event.moved
  words[#words + 1] = event.directory and "directory" or nil
  words[#words + 1] = event.name
  return table.concat(words, " ")
end

local function expect(watch, ...)
  for _, words in ipairs { ... } do assert.equal(words, said(watch)) end
end

describe("uring.fs.watch", function()
  it("tells what happens in a directory", function()
    net.run(function()
      local watch <close> = assert(fs.watch(folder))
      assert.equal(("uring.Watch ('%s')"):format(folder), tostring(watch))
      assert(fs.write(folder .. "/one", "bytes"))
      expect(watch, "create one", "modify one")
      assert(fs.remove(folder .. "/one"))
      assert(fs.mkdir(folder .. "/sub"))
      assert(fs.remove(folder .. "/sub"))
      expect(watch, "delete one", "create directory sub",
        "delete directory sub")
      local _, message, errno = watch:receive(0)
      assert.same({ "timed out", E.ETIME }, { message, errno })
    end)
  end)

  it("tells both names of a move, with a cookie that joins them", function()
    net.run(function()
      assert(fs.mkdir(folder .. "/sub"))
      assert(fs.write(folder .. "/old", ""))
      local watch <close> = assert(fs.watch(folder))
      assert(fs.rename(folder .. "/old", folder .. "/new"))
      local from = assert(watch:receive(patience))
      local to = assert(watch:receive(patience))
      assert.same({ kind = "move", moved = "from", name = "old",
        cookie = to.cookie }, from)
      assert.same({ kind = "move", moved = "to", name = "new",
        cookie = from.cookie }, to)
      assert(fs.rename(folder .. "/new", folder .. "/sub/out"))
      assert(fs.rename(folder .. "/sub/out", folder .. "/in"))
      expect(watch, "move from new", "move to in")
    end)
  end)

  it("tells what happens to a file, without a name", function()
    net.run(function()
      local path = folder .. "/file"
      assert(fs.write(path, ""))
      local watch <close> = assert(fs.watch(path))
      assert(fs.write(path, "new"))
      assert.same({ kind = "modify" }, watch:receive(patience))
      assert(fs.rename(path, path .. "2"))
      assert.same({ kind = "move", moved = "from" }, watch:receive(patience))
    end)
  end)

  it("ends when what is watched is gone", function()
    net.run(function()
      local path = folder .. "/sub"
      assert(fs.mkdir(path))
      local watch <close> = assert(fs.watch(path))
      local waiting = helper.started(function()
        local kinds = {}
        for event in watch:messages() do kinds[#kinds + 1] = event.kind end
        return table.concat(kinds, " ")
      end)
      assert(fs.remove(path))
      assert.same({ true, "delete" }, { waiting:join(patience) })
    end)
  end)

  it("says so to every task that waits or comes later", function()
    net.run(function()
      local path = folder .. "/sub"
      assert(fs.mkdir(path))
      local watch <close> = assert(fs.watch(path))
      local tasks = {}
      for i = 1, 4 do tasks[i] = helper.started(watch.receive, watch) end
      assert(fs.remove(path))
      local ended, deleted = 0, 0
      for _, task in ipairs(tasks) do
        local _, event, message, errno = task:join(patience)
        if event then
          deleted = deleted + 1
        else
          assert.equal(E.ENOENT, errno)
          assert(message:find("not there any more", 1, true), message)
          ended = ended + 1
        end
      end
      assert.same({ 1, 3 }, { deleted, ended })
      assert.equal(E.ENOENT, (select(3, watch:receive(patience))))
      assert.equal(E.ENOENT, (select(4, uring.select { watch:receiving() })))
      for _ in watch:messages() do error "an event" end
    end)
  end)

  it("keeps what comes between two receives, and loses nothing to "
      .. "timeouts, selects and cancelled tasks", function()
    net.run(function()
      local watch <close> = assert(fs.watch(folder))
      local function leave(i)  -- a wait that ends with nothing
        if i % 3 == 0 then
          helper.started(watch.receive, watch):cancel()
        elseif i % 3 == 1 then
          assert.is_nil(watch:receive(0.0001))
        else
          assert.equal("t", (uring.select { w = watch:receiving(),
            t = uring.after(0.0001) }))
        end
      end
      for i = 1, 60, 2 do
        leave(i)
        assert(fs.mkdir(folder .. "/" .. i))
        assert(fs.mkdir(folder .. "/" .. i + 1))
        helper.started(watch.receive, watch, 0):cancel()  -- (it has run)
        assert.equal(tostring(i + 1), watch:receive(patience).name)
      end
    end)
  end)

  it("is an event in a select", function()
    net.run(function()
      local watch <close> = assert(fs.watch(folder))
      assert.equal("t", (uring.select { w = watch:receiving(),
        t = uring.after(0.001) }))
      local task = helper.started(uring.select, { w = watch:receiving() },
        patience)
      assert(fs.mkdir(folder .. "/sub"))
      local _, key, event = assert(task:join(patience))
      assert.equal("w", key)
      assert.equal("sub", event.name)
    end)
  end)

  it("tells when its queue was too short", function()
    local most = tonumber(helper.content
      "/proc/sys/fs/inotify/max_queued_events")
    if most > 100000 then helper.skip("the queue has %d places", most) end
    net.run(function()
      local watch <close> = assert(fs.watch(folder))
      local name = folder .. "/x"
      for _ = 1, most // 2 + 2 do  -- (equal ones in a row would be one)
        assert(io.open(name, "w")):close()
        os.remove(name)
      end
      local last, count
      repeat
        local event = assert(watch:receive(patience))
        last, count = event.kind, (count or 0) + 1
      until last == "overflow" or count > 2 * most
      assert.equal("overflow", last)
      assert(fs.mkdir(folder .. "/after"))
      local event
      repeat event = assert(watch:receive(patience))
      until event.name ~= "x" and event.kind ~= "overflow"
      assert.equal("after", event.name)
    end)
  end)

  it("gives names of any bytes", function()
    net.run(function()
      local watch <close> = assert(fs.watch(folder))
      for _, name in ipairs { "two\nlines", "\xff\xfe", ("n"):rep(255) } do
        assert(fs.mkdir(folder .. "/" .. name))
        assert.equal(name, watch:receive(patience).name)
      end
    end)
  end)

  it("works beneath a root, and not outside of it", function()
    net.run(function()
      assert(fs.mkdir(folder .. "/root"))
      assert(fs.symlink("..", folder .. "/root/out"))
      local root <close> = assert(fs.root(folder .. "/root"))
      local watch <close> = assert(root:watch ".")
      assert(root:mkdir "sub")
      expect(watch, "create directory sub")
      for _, path in ipairs { "out", "..", "/tmp" } do
        local none, message, errno = root:watch(path)
        assert.is_nil(none)
        assert.equal(E.EXDEV, errno)
        assert(message:find(path, 1, true), message)
      end
    end)
  end)

  it("is closed by the end of its block and by leaving its loop", function()
    helper.keeps_fds(function()
      net.run(function()
        local kept
        do
          local watch <close> = assert(fs.watch(folder))
          kept = watch
        end
        helper.raises("attempt to use a closed watch", kept.receive, kept)
        assert.equal(("uring.Watch ('%s', closed)"):format(folder),
          tostring(kept))
        local watch = assert(fs.watch(folder))
        assert(fs.mkdir(folder .. "/sub"))
        assert.equal("sub", helper.first(watch:messages()).name)
        helper.raises("closed watch", watch.receiving, watch)
        assert.is_true(watch:close())
      end)
    end)
  end)

  it("ends the waits of other tasks when it is closed", function()
    net.run(function()
      local watch = assert(fs.watch(folder))
      local waits = helper.started(watch.receive, watch)
      local loops = helper.started(function()
        for _ in watch:messages() do error "an event" end
        return "ended"
      end)
      watch:close()
      local _, none, _, errno = waits:join(patience)
      assert.is_nil(none)
      assert.equal(E.EBADF, errno)
      assert.same({ true, "ended" }, { loops:join(patience) })
    end)
  end)

  -- A number that the program has found in /proc, say.
  it("ends where a request closes its number", function()
    net.run(function()
      local _, before = spec.fds()
      local watch = assert(fs.watch(folder))
      local _, fds = spec.fds()
      local number
      for fd, what in pairs(fds) do
        if what ~= before[fd] and what:find "inotify" then number = fd end
      end
      local step, state = watch:messages()
      assert(uring.await(uring.sqe():prep_close(number)))
      helper.mistake("bad argument #1 to 'receive' (attempt to use a closed",
        watch.receive, watch)
      helper.mistake("'receiving' (attempt to use a closed", watch.receiving,
        watch)
      assert.is_nil(step(state))
      watch:close()
    end)
  end)

  it("is its process's, and says so in a forked child", function()
    net.run(function()
      local watch <close> = assert(fs.watch(folder))
      local step, state = watch:messages()
      helper.in_child(function()
        uring.run(function()
          local words = "belongs to another process"
          helper.mistake("bad argument #1 to 'receive' (this stream " .. words,
            watch.receive, watch)
          helper.mistake("'receiving' (this stream " .. words,
            watch.receiving, watch)
          helper.mistake(words, step, state)
        end)
      end)
    end)
  end)

  it("says what it cannot watch", function()
    net.run(function()
      local none, message, errno = fs.watch(folder .. "/none")
      assert.is_nil(none)
      assert.equal(E.ENOENT, errno)
      assert(message:find(folder .. "/none", 1, true), message)
      helper.mistake("path expected", fs.watch)
      local watch <close> = assert(fs.watch(folder))
      helper.mistake("uring.Watch expected, got table", watch.receive, {})
      helper.mistake("bad argument #1 to 'receive'", watch.receive, watch,
        "soon")
    end)
  end)
end)
