-- fs: files are written, replaced and copied.

local folders = require "folders"
local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local fs = uring.fs
local E = uring.errno
local fails <const> = helper.refused
local names <const>, within <const> = folders.names, folders.within

after_each(folders.clean)

describe("the file system", function()
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
end)
