-- fs: the file system, and the same beneath a root.

local faults = require "faults"
local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local fs = uring.fs
local E = uring.errno
local fails <const> = helper.refused

local made = {}

after_each(function()
  net.close()
  helper.clean()
  for i, path in ipairs(made) do
    assert(os.execute("chmod -R u+rwx " .. path .. "; rm -rf " .. path))
    made[i] = nil
  end
end)

local function folder()
  local path = assert(fs.mkdtemp "/tmp/uring-fs.XXXXXX")
  made[#made + 1] = path
  return path
end

-- f(path of an empty folder), in a task; no descriptor stays open.
local function within(f)
  net.run(function()
    local path = folder()
    -- (before Linux 6.13 the first job opens an eventfd, the loop's doorbell)
    assert(fs.chmod(path, tonumber("700", 8)))
    helper.collect()
    local before = helper.fds()
    f(path)
    -- (a helper thread may be at work still for a task that has left)
    helper.eventually(function()
      uring.sleep(0)
      helper.collect()
      return helper.fds() == before
    end, 5)
  end)
end

local function names(iterate, ...)
  local found = {}
  for name, kind in iterate(...) do
    found[#found + 1] = ("%s %s"):format(name, kind)
  end
  table.sort(found)
  return found
end


describe("the file system", function()
  it("is looked at and changed by paths", function()
    within(function(d)
      assert(fs.write(d .. "/f", "hello"))
      assert.equal("hello", fs.read(d .. "/f"))
      assert(fs.symlink("f", d .. "/l"))
      assert.equal("f", fs.readlink(d .. "/l"))
      assert.equal("link", fs.lstat(d .. "/l").kind)
      local info = fs.stat(d .. "/l")
      assert.same({ "file", 5 }, { info.kind, info.size })
      assert(fs.link(d .. "/f", d .. "/h"))
      assert.equal(2, fs.stat(d .. "/h").nlink)
      assert(fs.rename(d .. "/h", d .. "/g"))
      assert(fs.chmod(d .. "/l", 256))          -- what the link leads to
      assert.equal(256, fs.stat(d .. "/g").mode)
      assert(fs.mkdir(d .. "/sub", { mode = 448 }))
      assert.same({ "f file", "g file", "l link", "sub directory" },
        names(fs.dir, d))
      assert(fs.remove(d .. "/sub"))
      assert(fs.remove(d .. "/l"))
      assert.same({ "f file", "g file" }, names(fs.dir, d))
    end)
  end)

  it("has the path in every error", function()
    within(function(d)
      local no, file = d .. "/no", d .. "/file"
      assert(fs.write(file, ""))
      fails(E.ENOENT, ("stat '%s'"):format(no), fs.stat(no))
      fails(E.ENOENT, ("'%s'"):format(no), fs.lstat(no))
      fails(E.ENOENT, ("'%s'"):format(no), fs.read(no))
      fails(E.ENOENT, ("'%s'"):format(no), fs.readlink(no))
      fails(E.EINVAL, ("readlink '%s'"):format(file), fs.readlink(file))
      fails(E.ENOENT, ("'%s'"):format(no), fs.chmod(no, 0))
      fails(E.ENOENT, ("remove '%s'"):format(no), fs.remove(no))
      fails(E.ENOENT, ("remove '%s'"):format(no), fs.remove(no,
        { recursive = true }))
      fails(E.ENOENT, ("rename '%s' to '%s'"):format(no, file),
        fs.rename(no, file))
      fails(E.ENOENT, ("link '%s' to '%s2'"):format(no, file),
        fs.link(no, file .. "2"))
      fails(E.EEXIST, ("symlink 'x' to '%s'"):format(file),
        fs.symlink("x", file))
      fails(E.EEXIST, ("mkdir '%s'"):format(file), fs.mkdir(file))
      fails(E.ENOTDIR, file .. "/x", fs.mkdir(file .. "/x/y",
        { parents = true }))
      fails(E.ENOENT, no, fs.write(no .. "/x", "data"))
      fails(E.ENOENT, no, fs.write(no .. "/x", "data", { atomic = true }))
      fails(E.EISDIR, ("'%s'"):format(d), fs.read(d))
      fails(E.EISDIR, ("'%s/'"):format(d), fs.write(d .. "/", "",
        { atomic = true }))
      fails(E.EISDIR, ("copy '%s'"):format(d), fs.copy(d, no))
      fails(E.ENOENT, ("'%s'"):format(no), fs.copy(no, file))
      fails(E.ENOENT, no, fs.mkdtemp(no .. "/XXXXXX"))
      helper.raises(("open '%s'"):format(no), fs.dir, no)
      helper.raises("Not a directory", fs.dir, file)
      fails(E.ENOENT, ("'%s'"):format(no), fs.root(no))
      fails(E.ENOTDIR, ("'%s'"):format(file), fs.root(file))
    end)
  end)

  it("ends a loop over a folder that is closed meanwhile", function()
    within(function(d)
      for i = 1, 3 do assert(fs.mkdir(d .. "/" .. i)) end
      for _, iterate in ipairs { fs.dir, fs.walk } do
        for turns = 0, 12 do
          local step, reading, _, closer = iterate(d)
          local loop = uring.spawn(function()
            while step(reading) do uring.sleep(0) end
            return true
          end)
          helper.turns(turns)
          getmetatable(closer).__close(closer)
          assert.same({ true, true }, { loop:join(5) })
          assert.is_nil((step(reading)))
        end
      end
    end)
  end)

  it("refuses mistakes, and says which argument", function()
    within(function(d)
      for _, name in ipairs { "stat", "lstat", "mkdir", "remove", "rename",
        "link", "symlink", "readlink", "chmod", "dir", "walk", "copy", "read",
        "write", "mkdtemp", "root" } do
        for _, bad in ipairs { 5, true, {}, "a\0b" } do
          helper.raises(("bad argument #1 to '%s' (path expected"):format(
            name), fs[name], bad)
        end
      end
      helper.raises("#2 to 'rename'", fs.rename, d)
      helper.raises("unknown option 'parent'", fs.mkdir, d,
        { parent = true })
      helper.raises("option 'recursive' must be a boolean", fs.remove, d,
        { recursive = 1 })
      helper.raises("#2 to 'chmod'", fs.chmod, d, 4096)
      helper.raises("#2 to 'mkdir'", fs.mkdir, d, { mode = 0.5 })
      helper.raises("#2 to 'write' (string", fs.write, d, 5)
      helper.raises("#2 to 'read'", fs.read, d, 0)
      helper.raises("ends with XXXXXX", fs.mkdtemp, d)
      local f = function() fs.stat() end
      helper.raises(("fs_spec.lua:%d: bad argument #1 to 'stat'"):format(
        debug.getinfo(f, "S").linedefined), f)
    end)
    helper.raises("uring.run", fs.stat, "/")
  end)

  it("makes the folders that a folder is in", function()
    within(function(d)
      local deep = d .. ("/a"):rep(50)
      assert(fs.mkdir(deep, { parents = true }))
      assert(fs.mkdir(deep, { parents = true }))
      assert(fs.mkdir(d .. "//b//c/", { parents = true }))
      assert.equal("directory", fs.stat(deep).kind)
      assert.equal("directory", fs.stat(d .. "/b/c").kind)
      fails(E.ENOENT, "mkdir", fs.mkdir(d .. "/x/y"))
    end)
  end)

  it("has folders of any size, and names of any bytes", function()
    within(function(d)
      local expected = {}
      for i = 1, 3000 do
        local name = ("%d-%s"):format(i, ("x"):rep(i % 200))
        io.open(d .. "/" .. name, "w"):close()
        expected[i] = name .. " file"
      end
      for _, name in ipairs { "a\nb", "\xff\xfe", " ", "-rf", "'" } do
        assert(fs.write(d .. "/" .. name, name))
        assert.equal(name, fs.read(d .. "/" .. name))
        expected[#expected + 1] = name .. " file"
      end
      table.sort(expected)
      assert.same(expected, names(fs.dir, d))
      assert.equal(#expected, #names(fs.walk, d))
      assert(fs.mkdir(d .. "/sub"))
      assert(fs.rename(d .. "/a\nb", d .. "/sub/a\nb"))
      for name in fs.dir(d) do
        assert(fs.remove(d .. "/" .. name, { recursive = true }))
      end
      assert.same({}, names(fs.dir, d))
    end)
  end)

  it("is walked from above, follows no link, and tells what it may not read",
    function()
      within(function(d)
        assert(fs.mkdir(d .. "/a/b", { parents = true }))
        assert(fs.write(d .. "/a/b/f", ""))
        assert(fs.symlink("..", d .. "/a/up"))
        assert(fs.symlink("/etc", d .. "/etc"))
        assert.same({ d .. "/a directory", d .. "/a/b directory",
          d .. "/a/b/f file", d .. "/a/up link", d .. "/etc link" },
          names(fs.walk, d))
        local seen = {}
        for path, kind, message, errno in fs.walk(d .. "/none") do
          seen[#seen + 1] = { path, kind or "nil", message, errno }
        end
        assert.equal(1, #seen)
        assert.same({ d .. "/none", "nil" }, { seen[1][1], seen[1][2] })
        assert.equal(E.ENOENT, seen[1][4])
        -- a folder that is a link when it would be read
        seen = {}
        for path, kind, message, errno in fs.walk(d .. "/a") do
          seen[#seen + 1] = path
          if path:find "/b$" and kind then
            assert(fs.rename(path, d .. "/moved"))
            assert(fs.symlink("/etc", path))
          elseif not kind then
            assert.truthy(errno == E.ENOTDIR or errno == E.ELOOP, message)
            assert.equal(d .. "/a/b", path)
          end
        end
        assert.equal(3, #seen)
        assert.truthy(helper.first(fs.walk(d)))  -- leaves nothing open
      end)
    end)

  it("removes a tree, and nothing that links in it lead to", function()
    within(function(d)
      assert(fs.mkdir(d .. "/kept"))
      assert(fs.write(d .. "/kept/f", "x"))
      assert(fs.mkdir(d .. "/tree" .. ("/a"):rep(60), { parents = true }))
      for i = 1, 200 do assert(fs.write(d .. "/tree/a/" .. i, "")) end
      assert(fs.symlink(d .. "/kept", d .. "/tree/a/l"))
      assert(fs.symlink("../../kept", d .. "/tree/a/a/l"))
      fails(E.ENOTEMPTY, ("remove '%s/tree'"):format(d), fs.remove(d
        .. "/tree"))
      assert(fs.remove(d .. "/tree", { recursive = true }))
      assert.same({ "kept directory" }, names(fs.dir, d))
      assert(fs.symlink("kept", d .. "/l"))
      assert(fs.remove(d .. "/l", { recursive = true }))
      assert.equal("x", fs.read(d .. "/kept/f"))
    end)
  end)

  it("removes no folder by the '..' of one that is in it", function()
    within(function(d)
      assert(fs.mkdir(d .. "/a/b", { parents = true }))
      assert(fs.write(d .. "/kept", "x"))
      for _, path in ipairs { "/a/..", "/a/b/../..//", "/a/." } do
        fails(E.EINVAL, d .. path, fs.remove(d .. path, { recursive = true }))
      end
      fails(E.ENOTEMPTY, d .. "/a/..", fs.remove(d .. "/a/.."))
      assert.same({ "a directory", "kept file" }, names(fs.dir, d))
      assert.same({ "b directory" }, names(fs.dir, d .. "/a"))
      assert(fs.write(d .. "/a/b..", "x"))
      assert(fs.remove(d .. "/a/b..", { recursive = true }))
    end)
  end)

  it("removes no more while a rival swaps folders and links", function()
    within(function(d)
      assert(fs.mkdir(d .. "/kept"))
      for i = 1, 20 do assert(fs.write(d .. "/kept/" .. i, "x")) end
      for _ = 1, 20 do
        for i = 1, 10 do
          assert(fs.mkdir(("%s/tree/%d/sub"):format(d, i),
            { parents = true }))
        end
        local rival = uring.spawn(function()
          for i = 1, 10 do
            local at = ("%s/tree/%d"):format(d, i)
            fs.rename(at, d .. "/aside")
            fs.symlink(d .. "/kept", at)
            fs.remove(d .. "/aside", { recursive = true })
          end
        end)
        fs.remove(d .. "/tree", { recursive = true })
        rival:join()
        fs.remove(d .. "/tree", { recursive = true })
        fs.remove(d .. "/aside", { recursive = true })
      end
      assert.equal(20, #names(fs.dir, d .. "/kept"))
    end)
  end)

  it("replaces a file at once, or leaves it as it was", function()
    within(function(d)
      local f = d .. "/f"
      assert(fs.write(f, "old"))
      assert(fs.chmod(f, 416))
      assert(fs.write(f, "new", { atomic = true }))
      assert.equal("new", fs.read(f))
      assert.equal(416, fs.stat(f).mode)
      -- a reader sees one of them whole
      local big = { ("a"):rep(300000), ("b"):rep(300000) }
      assert(fs.write(f, big[1]))
      local writer = uring.spawn(function()
        for i = 1, 20 do
          assert(fs.write(f, big[i % 2 + 1], { atomic = true }))
        end
      end)
      repeat
        local got = assert(fs.read(f))
        assert.truthy(got == big[1] or got == big[2])
      until writer:status() == "done"
      -- one that is cancelled leaves neither a part nor a temporary file
      for i = 0, 30 do
        uring.timeout(i / 20000, fs.write, f, "never mind", { atomic = true })
        local got = assert(fs.read(f))
        assert.truthy(#got == 300000 or got == "never mind")
      end
      assert.same({ "f file" }, names(fs.dir, d))
      fails(E.EMSGSIZE, f .. "': it has more than 5 bytes", fs.read(f, 5))
    end)
  end)

  it("copies files: bytes, mode, and what has no size", function()
    within(function(d)
      local bytes = ("0123456789abcdef"):rep(300000)
      assert(fs.write(d .. "/f", bytes))
      assert(fs.chmod(d .. "/f", 488))
      assert.equal(#bytes, fs.copy(d .. "/f", d .. "/g"))
      assert.equal(bytes, fs.read(d .. "/g"))
      assert.equal(488, fs.stat(d .. "/g").mode)
      assert.equal(0, fs.copy("/dev/null", d .. "/g"))
      assert.equal("", fs.read(d .. "/g"))
      assert.truthy(fs.copy("/proc/self/status", d .. "/g") > 100)
      assert.truthy(fs.read(d .. "/g"):find "^Name:")
      fails(E.ENOENT, d .. "/none", fs.copy(d .. "/f", d .. "/none/g"))
      for i = 0, 10 do
        uring.timeout(i / 2000, fs.copy, d .. "/f", d .. "/h")
        local got = fs.read(d .. "/h")
        assert.truthy(got == nil or got == bytes)
      end
      fs.remove(d .. "/h")
      assert.same({ "f file", "g file" }, names(fs.dir, d))
    end)
  end)

  it("tries again where the kernel has no thread for a request, or says so",
    function()
      helper.needs_linux(6, 10)  -- (to make a request fail)
      helper.apart(function()
        -- luacheck: globals T
        local uring = require "uring"  -- luacheck: ignore
        local fs = uring.fs  -- luacheck: ignore
        local opcodes = { mkdir = 37, remove = 36, stat = 21, read = 28 }
        local function refused(n, name, path)  -- so many times
          for _ = 1, n do T.fault.refuse(opcodes[name], T.E.ECANCELED) end
          return fs[name](path)
        end
        uring.run(function()
          for name in pairs(opcodes) do
            local ok, why, errno = refused(11, name, "/tmp/none")
            assert(ok == nil and errno == T.E.ECANCELED, why)
            assert(why:find("'/tmp/none' (", 1, true)
              and why:find("RLIMIT_NPROC", 1, true), why)
          end
          local d = assert(fs.mkdtemp "/tmp/uring-fs.XXXXXX")
          assert(refused(10, "mkdir", d .. "/sub"))
          assert(refused(10, "stat", d .. "/sub"))
          assert(refused(10, "remove", d .. "/sub"))
          assert(fs.remove(d))
        end)
      end, faults.prelude)
    end)

  it("copies holes as holes", function()
    within(function(d)
      local other <const> = fs.mkdtemp "/dev/shm/uring.XXXXXX"
      local function compare(size)
        -- (the bytes for another file system are read and written)
        for _, to in ipairs { d, other } do
          local copy = to .. "/g"
          assert.equal(size, fs.copy(d .. "/f", copy))
          assert(os.execute(("cmp %s/f %s"):format(d, copy)))
          local more = fs.stat(copy).blocks - fs.stat(d .. "/f").blocks
          assert(fs.remove(copy))
          assert.truthy(more <= 64, more)
        end
      end
      local file <close> = assert(uring.open(d .. "/f", "w"))
      compare(0)
      assert(file:truncate(1000000))  -- nothing else
      compare(1000000)
      for i = 1, 40, 3 do             -- small ones and large ones, and bytes
        assert(file:pwrite(("x"):rep(1000 * i), i * 300000))
      end
      compare(12040000)
      assert(file:pwrite("far", 64 << 20))
      compare((64 << 20) + 3)
      assert(file:truncate(100 << 20))
      compare(100 << 20)
      if other then assert(fs.remove(other)) end
    end)
  end)

  it("copies what may wait for ever, and holds up nothing else", function()
    within(function(d)
      local fifo = d .. "/fifo"
      assert(os.execute("mkfifo " .. fifo))
      local writer = assert(uring.open(fifo, "r+"))
      for i = 1, 5 do
        local got, message = uring.timeout(0.02, fs.copy, fifo,
          d .. "/" .. i)
        assert.same({ nil, "timed out" }, { got, message })
      end
      assert.same({ "fifo fifo" },
        uring.timeout(net.patience, names, fs.dir, d))
      local copied = uring.spawn(fs.copy, fifo, d .. "/copy")
      helper.turns()
      local text = ("0123456789"):rep(20000)
      assert(writer:write(text))
      assert(writer:close())
      assert.same({ true, #text }, { copied:join(net.patience) })
      assert.equal(text, fs.read(d .. "/copy"))
    end)
  end)

  it("replaces files and links alone", function()
    within(function(d)
      local fifo = d .. "/fifo"
      assert(os.execute("mkfifo " .. fifo))
      assert(fs.write(d .. "/f", "new"))
      fails(E.EINVAL, fifo, fs.write(fifo, "x", { atomic = true }))
      fails(E.EINVAL, fifo, fs.copy(d .. "/f", fifo))
      fails(E.EISDIR, d, fs.copy(d .. "/f", d))
      assert.equal("fifo", fs.stat(fifo).kind)
      assert(fs.symlink("f", d .. "/link"))
      assert(fs.write(d .. "/link", "x", { atomic = true }))
      assert.equal("file", fs.lstat(d .. "/link").kind)
      assert.same({ "f file", "fifo fifo", "link file" }, names(fs.dir, d))
      -- with the mode of the file that the link leads to, and of nothing else
      local plain = fs.stat(d .. "/f").mode
      assert(fs.write(d .. "/mine", ""))
      assert(fs.chmod(d .. "/mine", 384))
      assert(fs.mkdir(d .. "/sub"))
      assert(fs.chmod(d .. "/sub", 1023))
      for target, mode in pairs { mine = 384, sub = plain, fifo = plain,
        none = plain } do
        local link = d .. "/to " .. target
        assert(fs.symlink(target, link))
        assert(fs.write(link, "x", { atomic = true }))
        assert.equal(mode, fs.lstat(link).mode)
      end
    end)
  end)

  it("is changed by a task of which a cancel leaves nothing open", function()
    within(function(d)
      assert(fs.mkdir(d .. "/a/b", { parents = true }))
      for i = 0, 60 do
        uring.timeout(i / 20000, function()
          for _ = 1, 3 do
            for path in fs.walk(d) do fs.chmod(path, 448) end
            fs.readlink(d)
            fs.stat(d .. "/a")
          end
        end)
      end
      helper.collect()
    end)
  end)
end)


describe("a root", function()
  local function rooted(f)
    within(function(d)
      assert(fs.mkdir(d .. "/in/sub", { parents = true }))
      assert(fs.write(d .. "/secret", "secret"))
      assert(fs.write(d .. "/in/f", "inside"))
      local root <close> = assert(fs.root(d .. "/in"))
      f(root, d)
    end)
  end

  it("has the same functions", function()
    rooted(function(root, d)
      assert.equal("inside", root:read "f")
      assert.equal(6, root:stat("f").size)
      assert(root:write("sub/g", "g"))
      assert(root:write("sub/g", "gg", { atomic = true }))
      assert(root:symlink("g", "sub/l"))
      assert.equal("link", root:lstat("sub/l").kind)
      assert.equal("g", root:readlink "sub/l")
      assert.equal("gg", root:read "sub/l")
      assert(root:link("f", "sub/h"))
      assert(root:rename("sub/h", "h"))
      assert(root:chmod("h", 256))
      assert.equal(256, root:stat("f").mode)
      assert.equal(2, root:copy("sub/g", "sub/c"))
      assert(root:mkdir("a/b", { parents = true }))
      local temp = assert(root:mkdtemp "a/XXXXXX")
      assert.equal("directory", root:stat(temp).kind)
      assert.same({ "c file", "g file", "l link" }, names(root.dir, root,
        "sub"))
      assert.same({ "sub/c file", "sub/g file", "sub/l link" },
        names(root.walk, root, "sub"))
      local file <close> = assert(root:open("f", "r"))
      assert.equal("insid", file:read(5))
      assert(root:remove("a", { recursive = true }))
      fails(E.ENOTDIR, "h/", root:remove "h/")
      fails(E.ENOTDIR, "h/", root:rename("h/", "g"))
      fails(E.ENOTDIR, "h/", root:link("h/", "g"))
      assert(root:mkdir "empty/")
      assert(root:remove "empty/")
      assert(root:remove "h")
      assert.same({ "f file", "sub directory" }, names(fs.dir, d .. "/in"))
      assert.truthy(tostring(root):find("/in", 1, true))
      assert(root:close())
      assert.equal("uring.Root (closed)", tostring(root))
      helper.raises("closed root", root.stat, root, "f")
      helper.raises("uring.Root expected", root.stat, "f", "f")
      assert(root:close())
    end)
  end)

  it("takes a slash behind a name as the process's own paths do", function()
    rooted(function(root, d)
      assert(root:mkdir "folder")
      assert(root:symlink("folder", "link"))
      local inner = d .. "/in/"
      local function same(errno, name, from, to, options)
        local path = name == "symlink" and from or inner .. from
        local other = name == "write" and to or inner .. to
        local ok, message, err = fs[name](path, other, options)
        assert.same({ nil, errno }, { ok, err }, message)
        fails(errno, to and name ~= "write" and to or from,
          root[name](root, from, to, options))
      end
      for _, new in ipairs { "new/", "folder/new//" } do
        same(E.ENOTDIR, "rename", "f", new)
        same(E.ENOENT, "link", "f", new)
        same(E.ENOENT, "symlink", "x", new)
        same(E.EISDIR, "copy", "f", new)
        same(E.EISDIR, "write", new, "x", { atomic = true })
        assert.is_nil(root:lstat((new:gsub("/+$", ""))))
      end
      assert(root:rename("folder/", "moved/"))
      assert(root:rename("moved", "folder"))
      for _, there in ipairs { "link/", "folder/.", "." } do
        assert(fs.mkdir(inner .. there, { parents = true }))
        assert(root:mkdir(there, { parents = true }))
      end
      fails(E.EINVAL, "..", root:mkdir("..", { parents = true }))
      fails(E.ENOTDIR, "f/", root:mkdir("f/", { parents = true }))
    end)
  end)

  it("keeps no descriptor of a call that is cancelled", function()
    rooted(function(root)
      assert(root:mkdir "folder")
      helper.collect()
      collectgarbage "stop"
      local before = spec.fds()
      for _, call in ipairs { { "link", "f", "new/" }, { "remove", "folder/" },
        { "rename", "folder/", "moved/" }, { "write", "new/", "x",
          { atomic = true } }, { "copy", "f", "new" } } do
        for turns = 0, 8 do
          local task = uring.spawn(root[call[1]], root, table.unpack(call, 2))
          helper.turns(turns)
          task:cancel()
          task:join()
        end
      end
      -- (a thread that copies may hold one for a moment)
      local ok, why = pcall(net.eventually, function()
        return spec.fds() == before
      end)
      collectgarbage "restart"
      assert(ok, why)
    end)
  end)

  it("takes time for a path in proportion to its length", function()
    rooted(function(root, d)
      local long, began = ("a"):rep(100000), os.clock()
      for _, path in ipairs { long, long .. "/b", long .. "/b/",
        ("a/"):rep(50000) .. "b", "b" .. ("/"):rep(100000) } do
        for _, options in ipairs { {}, { atomic = true } } do
          assert.is_nil((root:write(path, "x", options)))
          assert.is_nil((fs.write(d .. "/" .. path, "x", options)))
        end
        assert.is_nil((root:remove(path)))
        assert.is_nil((root:rename("f", path)))
        assert.is_nil((fs.copy(d .. "/in/f", d .. "/" .. path)))
      end
      assert(os.clock() - began < 5 * helper.slow, "it took too long")
    end)
  end)

  it("is not left, whatever the path", function()
    rooted(function(root, d)
      assert(fs.symlink("../secret", d .. "/in/out"))
      assert(fs.symlink(d, d .. "/in/up"))
      assert(fs.symlink("/", d .. "/in/top"))
      assert(fs.symlink("loop", d .. "/in/loop"))
      for _, path in ipairs { "../secret", "sub/../../secret", "/etc/passwd",
        d .. "/secret", "out", "up/secret", "top/etc/passwd", "./../secret",
        "sub/../../in/f", "..//secret" } do
        fails(E.EXDEV, path, root:read(path))
        fails(E.EXDEV, path, root:stat(path))
        fails(E.EXDEV, path, root:open(path))
        fails(E.EXDEV, path, root:write(path, "spoiled"))
        fails(E.EXDEV, path, root:chmod(path, 0))
        fails(E.EXDEV, path, root:copy(path, "copied"))
      end
      for _, path in ipairs { "../x", "/tmp/x", "up/x", "top/tmp/x",
        "sub/../../x", d .. "/x" } do
        fails(E.EXDEV, path, root:mkdir(path))
        fails(E.EXDEV, path, root:remove(path))
        fails(E.EXDEV, path, root:remove(path, { recursive = true }))
        fails(E.EXDEV, path, root:rename("f", path))
        fails(E.EXDEV, path, root:rename(path, "x"))
        fails(E.EXDEV, path, root:link("f", path))
        fails(E.EXDEV, path, root:link(path, "x"))
        fails(E.EXDEV, path, root:symlink("f", path))
        fails(E.EXDEV, path, root:readlink(path))
        fails(E.EXDEV, path, root:lstat(path))
        fails(E.EXDEV, path, root:write(path, "x", { atomic = true }))
        fails(E.EXDEV, path, root:copy("f", path))
        fails(E.EXDEV, path, root:mkdtemp(path .. "XXXXXX"))
        helper.raises("EXDEV", root.dir, root, path)
        for _, kind, _, errno in root:walk(path) do
          assert.is_nil(kind)
          assert.equal(E.EXDEV, errno)
        end
      end
      fails(E.ELOOP, "loop", root:read "loop")
      for _, path in ipairs { "..", ".", "sub/..", "/" } do
        fails(E.EINVAL, path, root:mkdir(path))
        fails(E.EINVAL, path, root:remove(path, { recursive = true }))
      end
      fails(E.ENOENT, "''", root:mkdir "")
      assert(root:remove("out"))             -- the link, not what it is of
      assert.equal("secret", fs.read(d .. "/secret"))
      assert.equal("inside", root:read "f")
    end)
  end)

  it("is not left through a folder that a rival makes a link", function()
    rooted(function(root, d)
      assert(fs.mkdir(d .. "/outside"))
      assert(fs.write(d .. "/outside/f", "secret"))
      assert(fs.write(d .. "/in/sub/f", "inside"))
      assert(fs.symlink("../outside", d .. "/in/link"))
      local rival = uring.spawn(function()
        for _ = 1, 200 do
          assert(fs.rename(d .. "/in/sub", d .. "/in/aside"))
          assert(fs.rename(d .. "/in/link", d .. "/in/sub"))
          assert(fs.rename(d .. "/in/sub", d .. "/in/link"))
          assert(fs.rename(d .. "/in/aside", d .. "/in/sub"))
        end
      end)
      local read = 0
      repeat
        local got, message, errno = root:read "sub/f"
        if got then
          read = read + 1
          assert.equal("inside", got)
        else
          assert.truthy(errno == E.EXDEV or errno == E.ENOENT, message)
        end
        root:write("sub/new", "x")
      until rival:status() == "done"
      assert.truthy(read > 0)
      assert.same({ "f file" }, names(fs.dir, d .. "/outside"))
    end)
  end)

  -- luacheck: globals T
  local function through_renames()
    local OPENAT2 <const> = 28
    local uring = require "uring"  -- luacheck: ignore
    uring.run(function()
      local d = assert(uring.fs.mkdtemp "/tmp/uring-fs.XXXXXX")
      assert(uring.fs.mkdir(d .. "/sub"))
      assert(uring.fs.write(d .. "/f", "inside"))
      local root <close> = assert(uring.fs.root(d))
      local open_cached <const> = require "uring.core".open_cached
      local function renamed(n, f, ...)  -- elsewhere, so many times
        -- (a task that has not waited for long opens by a request)
        for _ = 1, 64 do open_cached(uring.AT_FDCWD, "/none", 0, false) end
        for _ = 1, n do T.fault.refuse(OPENAT2, T.E.EAGAIN) end
        return f(root, ...)
      end
      local path = "sub/../f"
      T.equal(6, assert(renamed(20, root.stat, path)).size)
      T.equal("inside", renamed(20, root.read, path))
      assert(renamed(20, root.rename, "sub/../f", "g"))
      assert(renamed(20, root.open, "sub/../g", "r+", 0)):close()
      assert(uring.fs.remove(d, { recursive = true }))
    end)
  end

  it("takes paths with '..' while others rename files", function()
    helper.needs_linux(6, 10)  -- (to make a request fail)
    helper.apart(through_renames, faults.prelude)
  end)

  it("that is closed ends what goes on beneath it", function()
    rooted(function(root, d)
      assert(fs.write(d .. "/in/f", ("x"):rep(1 << 20)))
      for turns = 1, 60 do
        local other = assert(fs.root(d .. "/in"))
        local copy = uring.spawn(other.copy, other, "f", "sub/g")
        local paths = names(function()
          local next_of_walk, walk, _, closer = other:walk "."
          uring.spawn(function()
            helper.turns(turns // 4)
            other:close()
          end)
          return next_of_walk, walk, nil, closer
        end)
        assert.truthy(#paths >= 1)
        local ended, ok, message, errno = copy:join(5)
        assert.is_true(ended, ok)
        assert.truthy(ok == 1 << 20 or errno == E.EBADF, message)
      end
      assert.is_nil(root:stat "none")
    end)
  end)

  it("that is closed opens nothing of the current directory", function()
    net.run(function()
      local open_cached = require "uring.core".open_cached
      assert(open_cached(uring.AT_FDCWD, "README.md", 0, true)):close()
      assert.is_nil((open_cached(nil, "README.md", 0, true)))
    end)
  end)

  it("that is closed ends an open that waits beneath it", function()
    rooted(function(_, d)
      assert(os.execute(("mkfifo '%s/in/fifo'"):format(d)))
      for _, mode in ipairs { "r", "w" } do
        for turns = 1, 12 do
          local other = assert(fs.root(d .. "/in"))
          local opening = uring.spawn(other.open, other, "fifo", mode)
          helper.turns(turns)
          other:close()
          local ended, file, message, errno = opening:join(net.patience)
          assert.same({ true, nil, E.EBADF }, { ended, file, errno })
          assert.truthy(message:find("'fifo': the root was closed", 1, true),
            message)
        end
      end
    end)
  end)

  it("stays the folder that it was, wherever that is moved", function()
    rooted(function(root, d)
      assert(fs.rename(d .. "/in", d .. "/moved"))
      assert(fs.mkdir(d .. "/in"))
      assert.equal("inside", root:read "f")
      assert(root:write("g", "g"))
      assert.equal("g", fs.read(d .. "/moved/g"))
    end)
  end)
end)
