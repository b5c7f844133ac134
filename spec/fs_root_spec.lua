-- fs.root: the same functions, beneath a folder that is not left.

local faults = require "faults"
local folders = require "folders"
local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local fs = uring.fs
local E = uring.errno
local fails <const> = helper.refused
local names <const>, within <const> = folders.names, folders.within

after_each(folders.clean)

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
