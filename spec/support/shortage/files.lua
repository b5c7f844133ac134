-- Files, streams, processes, watches and signals.

local checks = require "shortage.checks"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local patience <const> = checks.patience
local must <const> = checks.must
local gives <const> = checks.gives
local first <const> = helper.first
local ETIME <const> = uring.errno.ETIME

local programs = {}

programs["the file system"] = function()
  local fs = uring.fs
  local made
  local _ <close> = helper.finally(function()
    if made then os.execute("rm -rf " .. made) end
  end)
  uring.run(function()
    local d = assert(fs.mkdtemp "/tmp/shortage.XXXXXX")
    made = d
    assert(fs.mkdir(d .. "/a", { parents = true }))
    assert(fs.write(d .. "/f", "x"))
    assert(fs.write(d .. "/f", "xy", { atomic = true }))
    local data = assert(fs.read(d .. "/f"))
    assert(data == "xy")
    assert(fs.copy(d .. "/f", d .. "/g"))
    assert(fs.link(d .. "/g", d .. "/h"))
    assert(fs.rename(d .. "/h", d .. "/i"))
    assert(fs.symlink("g", d .. "/l"))
    assert(fs.readlink(d .. "/l"))
    assert(fs.lstat(d .. "/l"))
    assert(fs.chmod(d .. "/g", 384))
    assert(fs.stat(d .. "/g"))
    for name, kind in fs.dir(d) do assert(name and kind) end
    for _, kind, message in fs.walk(d) do assert(kind, message) end
    local root <close> = assert(fs.root(d))
    assert(root:rename("g", "a/g"))
    assert(root:stat "a/g")
    local file <close> = assert(root:open "a/g")
    assert(file:read "a")
    assert(fs.remove(d, { recursive = true }))
  end)
end

programs["streams"] = function()
  uring.run(function()
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local server = uring.spawn(function()
      local conn <close> = first(listener:connections())
      local data = assert(conn:recv(100, patience))
      assert(conn:send(data .. "!"))
    end)
    local client <close> = assert(uring.tcp.connect(listener:getsockname(),
      patience))
    assert(client:try_send "hello")
    local got = assert(client:recv(100, patience))
    assert(server:join())
    assert(got == "hello!", got)
    local a, b = assert(uring.socketpair())
    local _ <close> = a
    local _ <close> = b
    local sender = uring.spawn(function()
      return assert(b:send(("x"):rep(70000), patience))
    end)
    local n = #(a:try_receive(10) or "")
    for chunk in a:chunks { size = 4096 } do
      n = n + #chunk
      if n == 70000 then break end
    end
    must(sender:join())
  end)
end

programs["a stream over functions"] = function()
  -- (A call whose task could not even begin, for want of memory, is told by
  -- the next run, for it is in no scope; the read has waited for its time.)
  pcall(uring.run, function() end)
  uring.run(function()
    local a, b = assert(uring.socketpair())
    local _ <close> = b
    local s <close> = assert(uring.stream {
      read = function(max, timeout) return a:recv(max, timeout) end,
      write = function(bytes, timeout) return a:send(bytes, timeout) end,
      close = function() return a:close() end,
    })
    local _ <close> = a
    assert(b:send "one\ntwo")
    local line = assert(s:read("l", helper.slow))
    assert(line == "one", line)
    local key, value, message = uring.select({ s = s:reading(3) }, helper.slow)
    if not value then error(message, 0) end
    assert(key == "s" and value == "two")
    assert(s:write("x", 1))
    assert(s:flush(helper.slow))
    line = assert(b:recv(10, helper.slow))
    assert(line == "x1", line)
    local _, why, errno = s:read("l", 0)
    assert(errno == ETIME, why)
    assert(s:write(("y"):rep(100)))
    local ok
    ok, why, errno = s:close()
    if errno == ETIME then error("ENOMEM of the write's task", 0) end
    assert(ok, why)
  end)
end

programs["pipes and files"] = function()
  local name = os.tmpname()
  uring.run(function()
    local from, to = uring.pipe()
    local _ <close> = assert(from, to)
    assert(to:write(("x"):rep(5000), "\n"))
    assert(to:close())
    assert(#assert(from:read "a") == 5001)
    local file <close> = assert(uring.open(name, "w+"))
    assert(file:write "one\ntwo\n")
    assert(file:flush())
    assert(file:sync())
    assert(assert(file:stat()).size == 8)
    gives(4, file:seek("set", 4))
    gives("two", file:limit(100):read "l")
    assert(file:pwrite("O", 0))
    gives("One", file:pread(3, 0))
    assert(file:truncate(4))
    gives(0, file:seek "set")
    gives("O", file:peek(1))
    assert(file:unread "a")
    gives("aOn", file:read_until "n")
    gives("e", select(2, uring.select { file:reading "l" }))
    for _ in file:lines() do error "it ended" end
    assert(file:fileno() >= 0)
    local again <close> = assert(uring.stream(assert(io.open(name))))
    gives("One\n", again:read "a")
  end)
  os.remove(name)
end

programs["a process"] = function()
  uring.run(function()
    local p <close> = assert(uring.process { "/bin/cat", stdin = "pipe",
      stdout = "pipe", env = { A = "1" }, cwd = "/" })
    local out, kind = assert(p:communicate("hello", { max = 100,
      timeout = patience }))
    assert(out == "hello" and kind == "" and tostring(p))
    assert(p:wait(patience) == "exit")
    local _, ended = assert(uring.select({ p:waiting() }, patience))
    assert(ended == "exit" and not p:kill "TERM")
    local q = assert(uring.process { "/bin/sleep", "20" })
    assert(q:kill "KILL")
    assert(q:close())
  end)
end

programs["watches"] = function()
  uring.run(function()
    local d = assert(uring.fs.mkdtemp "/tmp/uring.XXXXXX")
    local _ <close> = helper.finally(function()
      os.remove(d .. "/a")
      os.remove(d)
    end)
    local watch <close> = assert(uring.fs.watch(d))
    assert(uring.fs.write(d .. "/a", "text"))
    local event = assert(watch:receive(patience))
    assert(event.kind == "create" and tostring(watch))
    assert(uring.select({ watch:receiving() }, patience))
    assert(uring.fs.remove(d .. "/a"))
    assert(first(watch:messages()).kind == "delete")
  end)
end

programs["signals"] = function()
  uring.run(function()
    local signals <close> = assert(uring.signals "USR1")
    spec.kill(spec.getpid(), 10)
    assert(signals:receive(patience) == "USR1" and tostring(signals))
    spec.kill(spec.getpid(), 10)
    assert(uring.select({ signals:receiving() }, patience))
    spec.kill(spec.getpid(), 10)
    assert(first(signals:messages()) == "USR1")
  end)
end

programs["beneath a root"] = function()
  local fs = uring.fs
  local name = os.tmpname()
  os.remove(name)
  local made = { "/a/b", "/a/f", "/a/g", "/a/h", "/a/i", "/a/s", "/a", "" }
  for i, path in ipairs(made) do made[i] = name .. path end
  local _ <close> = helper.finally(function()
    for i = 1, #made do os.remove(made[i]) end
  end)
  uring.run(function()
    assert(fs.mkdir(name))
    local root <close> = assert(fs.root(name))
    assert(root:mkdir("a/b", { parents = true, mode = 448 }))
    assert(root:write("a/f", ("y"):rep(5000)))
    gives(5000, #assert(root:read "a/f"))
    local _, why, errno = root:read("a/f", 10)
    if errno ~= uring.errno.EMSGSIZE then error(why, 0) end
    assert(root:write("a/g", "text"))
    assert(root:link("a/g", "a/h"))
    assert(root:symlink("g", "a/s"))
    gives("g", root:readlink "a/s")
    assert(assert(root:lstat "a/s").kind == "link")
    assert(root:chmod("a/g", 384))
    local n = 0
    for _ in root:dir "a" do n = n + 1 end
    for _, kind, message in root:walk "." do
      assert(kind, message)
      n = n + 1
    end
    assert(n == 11)
    first(root:walk ".")
    assert(root:rename("a/g", "a/i"))
    assert(root:remove("a", { recursive = true }))
  end)
end

return programs
