-- fs: paths are looked at, made, walked and removed.

local faults = require "faults"
local folders = require "folders"
local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local fs = uring.fs
local E = uring.errno
local fails <const> = helper.refused
local names <const>, within <const> = folders.names, folders.within

after_each(folders.clean)

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
