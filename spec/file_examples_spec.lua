-- examples/copy.lua and examples/tail.lua, as they are started.

local helper = require "helper"
local net = require "net"
local program = require "program"
local uring = require "uring"

local it = helper.needs_ring(it)
local fs = uring.fs
local patience <const> = 4 * net.patience
local start <const> = program.example

local folder

before_each(function()
  if not helper.probe.available then return end
  net.run(function() folder = assert(fs.mkdtemp "/tmp/uring.XXXXXX") end)
end)

after_each(function()
  if not helper.probe.available then return end
  net.close()
  os.execute("chmod -R u+rwx " .. folder .. "; rm -rf " .. folder)
  helper.idle_loop()
end)

-- Its status, and what it has written.
local function run(...)
  local out, err, kind, code = assert(start(...):communicate(nil,
    { timeout = patience }))
  assert.equal("exit", kind, err)
  return code, out, err
end

-- path below the folder -> its kind and what is in it, but for directories.
local function tree(top)
  local found = {}
  for path, kind in fs.walk(top) do
    local content = kind
    if kind == "file" then content = "file " .. assert(fs.read(path)) end
    if kind == "link" then content = "link " .. assert(fs.readlink(path)) end
    found[path:sub(#top + 2)] = content
  end
  return found
end

describe("examples/copy.lua", function()
  it("copies a tree, and all in it is equal", function()
    net.run(function()
      local from, to = folder .. "/from", folder .. "/some/to"
      assert(fs.mkdir(from .. "/a/b", { parents = true }))
      assert(fs.mkdir(from .. "/empty"))
      for i = 1, 40 do
        assert(fs.write(("%s/a/%d"):format(from, i), ("x"):rep(i * 1000)))
      end
      assert(fs.write(from .. "/a/b/two\nlines \xff", "\0\r\n"))
      assert(fs.write(from .. "/a/run", "#!/bin/true"))
      assert(fs.chmod(from .. "/a/run", 493))
      assert(fs.symlink("/etc", from .. "/out"))
      local code, out, err = run("copy", from, to, "4")
      err = err:gsub("%d+ files, [%d.]+ MB\n", "")  -- (progress)
      assert.same({ 0, "43 files, 820014 bytes\n", "" }, { code, out, err })
      assert.same(tree(from), tree(to))
      assert.equal(493, fs.stat(to .. "/a/run").mode)
    end)
  end)

  it("tells what it cannot copy, and copies the rest", function()
    net.run(function()
      local from, to = folder .. "/from", folder .. "/to"
      assert(fs.mkdir(from))
      assert(fs.write(from .. "/one", "1"))
      assert(os.execute("mkfifo " .. from .. "/fifo"))
      local code, out, err = run("copy", from .. "/", to)
      assert.same({ 1, "1 files, 1 bytes\n" }, { code, out })
      assert(err:find("fifo': a fifo", 1, true), err)
      assert.same({ one = "file 1" }, tree(to))
      code, out, err = run("copy", folder .. "/none", to)
      assert(code == 1 and err:find("/none", 1, true), out .. err)
    end)
  end)

  it("tells why a link or a folder cannot be made", function()
    net.run(function()
      local from, to = folder .. "/from", folder .. "/to"
      assert(fs.mkdir(from .. "/folder", { parents = true }))
      assert(fs.symlink("x", from .. "/link"))
      assert(fs.write(from .. "/one", "1"))
      assert(fs.mkdir(to))
      assert(fs.write(to .. "/folder", "in its way"))
      assert(fs.write(to .. "/link", "in its way"))
      local code, out, err = run("copy", from, to)
      assert.same({ 1, "1 files, 1 bytes\n" }, { code, out }, err)
      assert(err:find(to .. "/folder': File exists", 1, true), err)
      assert(err:find(to .. "/link': File exists", 1, true), err)
    end)
  end)

  it("does not copy a folder into itself", function()
    net.run(function()
      assert(fs.write(folder .. "/one", "1"))
      for _, to in ipairs { folder, folder .. "/to", folder .. "//to/" } do
        local code, _, err = run("copy", folder .. "/", to)
        assert.equal(2, code, err)
        assert(err:find("is in", 1, true), err)
      end
      assert.same({ one = "file 1" }, tree(folder))
      local link = folder .. ".link"
      assert(fs.symlink(folder, link))
      assert(fs.mkdir(folder .. "/sub"))
      for from, to in pairs { [folder .. "/."] = folder .. "/to",
        [folder .. "/sub/.."] = folder .. "/sub/new/to",
        [link .. "/."] = folder .. "/sub",
        [folder] = link .. "/sub/../to" } do
        local code, _, err = run("copy", from, to)
        assert.equal(2, code, err)
      end
      os.remove(link)
      assert.same({ one = "file 1", sub = "directory" }, tree(folder))
      local code = run("copy", folder .. "/one", folder .. "/onetwo")
      assert.equal(1, code)  -- (no folder, and told as such)
    end)
  end)

  it("takes time in proportion to the length of a path", function()
    net.run(function()
      local code = run("copy", ("/"):rep(125000) .. "x", folder .. "/to")
      assert.equal(1, code)
    end)
  end)

  it("says how it is used", function()
    net.run(function()
      for _, words in ipairs { {}, { "a" }, { "a", "b", "0" } } do
        local code, _, err = run("copy", table.unpack(words))
        assert.equal(2, code)
        assert(err:find("usage", 1, true))
      end
    end)
  end)
end)

describe("examples/tail.lua", function()
  local function say(path, words)
    local file <close> = assert(io.open(path, "a"))
    assert(file:write(words))
  end

  -- It watches from some moment on: write dots until it has printed one.
  local function settle(p, path)
    repeat say(path, ".") until p.stdout:read(1, 0.02)
  end

  -- (Others of those may still come.)
  local function expect(p, words)
    local got = assert(p.stdout:read_until(words, 65536, patience))
    assert.equal(words, (got:gsub("%.", "")))
  end

  it("prints what is added, through rotations and cuts", function()
    net.run(function()
      local path = folder .. "/log"
      say(path, "old\n")
      local p <close> = start("tail", path)
      settle(p, path)
      say(path, "one\n")
      expect(p, "one\n")
      -- what the old file still gets before the new one comes is printed
      assert(fs.rename(path, path .. ".1"))
      say(path .. ".1", "last\n")
      say(path, "first\n")
      expect(p, "last\nfirst\n")
      assert(fs.write(path, ""))            -- cut short
      say(path, "x\n")
      expect(p, "x\n")
      assert(fs.remove(path))
      say(path, "new\n")
      expect(p, "new\n")
      assert(fs.write(path .. ".new", "moved here\n"))
      assert(fs.rename(path .. ".new", path))
      expect(p, "moved here\n")
      assert(p:kill "TERM")
      assert.same({ "exit", 0 }, { p:wait(patience) })
      assert.equal("", p.stderr:read "a")
    end)
  end)

  it("waits for a file that is not there yet", function()
    net.run(function()
      local p <close> = start("tail", folder .. "/later")
      settle(p, folder .. "/later")
      say(folder .. "/later", "here\n")
      expect(p, "here\n")
      assert(p:kill "INT")
      assert.same({ "exit", 0 }, { p:wait(patience) })
    end)
  end)

  it("takes time in proportion to the length of a path", function()
    net.run(function()
      local code = run("tail", ("x"):rep(125000) .. "/y")
      assert.equal(1, code)
    end)
  end)

  it("says what it cannot do", function()
    net.run(function()
      local code, _, err = run("tail", folder .. "/none/log")
      assert.equal(1, code)
      assert(err:find(folder .. "/none", 1, true), err)
      assert.equal(2, (run("tail")))
    end)
  end)
end)
