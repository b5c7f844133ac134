-- uring.process: what is started, with which streams, and how it ended.

local children = require "children"
local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local patience <const> = net.patience
local process <const> = uring.process
local sh <const>, gone <const> = children.sh, children.gone

children.leave_none(before_each, after_each)

describe("uring.process", function()
  it("runs a program with its arguments, and tells how it ended", function()
    net.run(function()
      local p <close> = assert(process { "/bin/sh", "-c",
        "printf '<%s>' \"$@\"; exit 7", "sh", "a b", "", 3, stdout = "pipe" })
      assert.equal("<a b><><3>", p.stdout:read "a")
      assert.same({ "exit", 7 }, { p:wait(patience) })
      assert.same({ "exit", 7 }, { p:wait(0) })
      assert.equal("integer", math.type(p.pid))
      assert.truthy(tostring(p):find "uring.Process %(/bin/sh, pid %d+, ended")
    end)
  end)

  it("tells the signal that ended it", function()
    net.run(function()
      assert.same({ "signal", 9 }, { sh "kill -9 $$":wait(patience) })
    end)
  end)

  it("finds a program in PATH, which is the parent's", function()
    net.run(function()
      local p = assert(process { "true", env = { PATH = "/nowhere" } })
      assert.same({ "exit", 0 }, { p:wait(patience) })
    end)
  end)

  it("says whether the program or the directory was not found", function()
    net.run(function()
      local p, message, errno = process { "uring-no-such-program" }
      assert.is_nil(p)
      assert.equal(E.ENOENT, errno)
      assert.truthy(message:find("'uring-no-such-program': not in PATH", 1,
        true), message)
      p, message, errno = process { "true", cwd = "/uring-no-such-directory",
        stdin = "pipe", stdout = "pipe" }
      assert.is_nil(p)
      assert.equal(E.ENOENT, errno)
      assert.truthy(message:find("directory '/uring-no-such-directory'", 1,
        true), message)
      p, message, errno = process { helper.file "no program" }
      assert.is_nil(p)
      assert.equal(E.EACCES, errno)
      assert.truthy(message:find("Permission denied", 1, true), message)
    end)
  end)

  it("starts in cwd, with env and nothing else of the parent's", function()
    net.run(function()
      local p = assert(process { "/usr/bin/env", cwd = "/", stdout = "pipe",
        env = { A = "1", B = "x=y", C = "" } })
      assert.equal("A=1\nB=x=y\nC=\n", (p:communicate()))
      assert.equal("/\n", (sh("pwd", { cwd = "/", stdout = "pipe" })
        :communicate()))
    end)
  end)

  it("gives it files, sockets, numbers, null and its own stdout", function()
    net.run(function()
      local path = helper.tmpname()
      local input <close> = assert(io.open(helper.file "from a file"))
      local output <close> = assert(uring.open(path, "w"))
      local p = sh("cat; echo ' err' >&2", { stdin = input, stdout = output,
        stderr = "stdout" })
      assert.equal("exit", (p:wait(patience)))
      assert.equal("from a file err\n", assert(uring.open(path)):read "a")
      local a, b = net.pair()
      p = sh("cat; echo to a socket >&2", { stdin = "null",
        stdout = a:fileno(), stderr = a })
      assert.equal("exit", (p:wait(patience)))
      assert.equal("to a socket", b:read("l", patience))
    end)
  end)

  it("says which descriptor it cannot give it", function()
    net.run(function()
      local p, message, errno = process { "true", stdin = "pipe",
        stderr = 99999 }
      assert.is_nil(p)
      assert.equal(E.EBADF, errno)
      assert.truthy(message:find("process 'true': its stderr, fd 99999: ", 1,
        true), message)
    end)
  end)

  it("puts descriptors in each other's places", function()
    net.run(function()
      local out = sh("echo out; echo err >&2", { stdout = 2, stderr = 1 })
      assert.same({ "exit", 0 }, { out:wait(patience) })
    end)
  end)

  it("takes a stream as it is by then, written and read", function()
    net.run(function()
      local path = helper.file ""
      for _ = 1, 50 do
        local file <close> = assert(uring.open(path, "w+"))
        file:write "before\n"
        assert.same({ "exit", 0 },
          { sh("echo the child", { stdout = file }):wait(patience) })
        file:write "behind\n"
        file:seek "set"
        assert.equal("before\nthe child\nbehind\n", file:read "a")
      end
      local file <close> = assert(uring.open(path))
      assert.equal("before", file:read())
      assert.equal("the child\nbehind\n",
        (sh("cat", { stdin = file, stdout = "pipe" }):communicate()))
      local r, w = assert(uring.pipe())
      w:write "before\n"
      assert(sh("echo the child", { stdout = w }):wait(patience))
      w:close()
      assert.equal("before\nthe child\n", r:read "a")
      r:close()
    end)
  end)

  it("takes a Lua file as it is by then, too", function()
    net.run(function()
      local path = helper.file ""
      local written <close> = assert(io.open(path, "w"))
      written:write "before\n"
      assert(sh("echo the child", { stdout = written }):wait(patience))
      written:write "behind\n"
      written:close()
      local file <close> = assert(io.open(path))
      assert.equal("before", file:read())
      assert.equal("the child\nbehind\n",
        (sh("cat", { stdin = file, stdout = "pipe" }):communicate()))
    end)
  end)

  it("writes behind what is buffered for the program's output", function()
    for _, stdout in ipairs { "nil", "1", "io.stdout", "uring.stdout" } do
      assert.equal("before\nthe child\nbehind\n", helper.script_ok(([[
        local uring = require "uring"
        io.stdout:setvbuf "full"
        uring.run(function()
          io.write "before\n"
          assert(uring.process { "/bin/echo", "the child",
            stdout = %s }):wait()
          io.write "behind\n"
        end)]]):format(stdout)), stdout)
    end
  end)

  it("takes sockets of any kind, and one that listens", function()
    net.run(function()
      for _, kind in ipairs { "STREAM", "DGRAM", "SEQPACKET" } do
        local x, y = assert(uring.socketpair(uring["SOCK_" .. kind]))
        assert(sh("echo the child", { stdout = x }):wait(patience))
        assert.equal("the child\n", y:receive(100, patience), kind)
        x:close()
        y:close()
      end
      local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
      assert.same({ "exit", 0 },
        { sh("true", { stdin = listener }):wait(patience) })
    end)
  end)

  it("fails where one is closed while another is flushed", function()
    net.run(function()
      local function null() return assert(uring.open "/dev/null") end
      for _, closed in ipairs { "stdin", "stderr" } do
        for _, what in ipairs { null(), uring.fd(spec.dup(null():fileno())) }
        do
          local x, y = uring.socketpair(uring.SOCK_STREAM)
          while x:try_send(("x"):rep(1000)) do end
          assert(x:write "more")
          local starting = helper.started(process, { "true", stdout = x,
            [closed] = what })
          what:close()
          uring.daemon(function() while y:recv() do end end)
          local ok, p, message, errno = starting:join(patience)
          assert.same({ true, nil, E.EBADF }, { ok, p, errno }, message)
          assert.truthy(message:find("process 'true': ", 1, true), message)
          x:close()
          y:close()
        end
      end
    end)
  end)

  it("leaks no descriptor into it, close-on-exec or not", function()
    net.run(function()
      local leaky <close> = assert(io.open "/dev/null")
      local listing = {}
      uring.scope(function(scope)
        for i = 1, 8 do
          scope:spawn(function()
            local p = sh("ls /proc/self/fd", { stdin = "pipe",
              stdout = "pipe", stderr = "pipe" })
            listing[i] = p:communicate()
          end)
        end
      end)
      assert.truthy(leaky)
      -- (3 is the directory that ls reads)
      for i = 1, 8 do assert.equal("0\n1\n2\n3\n", listing[i]) end
    end)
  end)

  it("starts it with no signal blocked or caught, and SIGPIPE", function()
    net.run(function()
      spec.signal(13, "ignore")
      spec.signal(10, "ignore")
      local _ <close> = helper.finally(function()
        spec.signal(13, "default")
        spec.signal(10, "default")
      end)
      -- (without a sanitizer that is preloaded)
      local status = sh("exec cat /proc/self/status", { stdout = "pipe",
        env = { PATH = "/usr/bin:/bin" } }):communicate()
      assert.equal("0000000000000000", status:match "SigBlk:%s*(%x+)")
      assert.equal("0000000000000000", status:match "SigCgt:%s*(%x+)")
      local ignored = tonumber(status:match "SigIgn:%s*(%x+)", 16)
      assert.equal(0, ignored & 1 << 12)
      assert.equal(1 << 9, ignored & 1 << 9)
    end)
  end)

end)


describe("process{…}", function()
  it("raises for mistakes, and names the option", function()
    net.run(function()
      for words, options in pairs {
        ["the program expected, at index 1"] = {},
        ["the program is empty"] = { "" },
        ["argument 1 has a zero byte"] = { "true", "a\0b" },
        ["argument 2 must be a string, got table"] = { "true", "a", {} },
        ["unknown option 'stdot'"] = { "true", stdot = "pipe" },
        ["an array of 1 has no '4'"] = { "true", [4] = "x" },
        ["option 'stdin' must be \"inherit\""] = { "true", stdin = "stdout" },
        ["option 'stderr' must be \"inherit\", \"null\", \"pipe\", \"stdout\""]
          = { "true", stderr = "pip" },
        ["option 'stdout' must be a descriptor, got -1"]
          = { "true", stdout = -1 },
        ["option 'stdout' must be a descriptor, got -2"]
          = { "true", stdout = -2.0 },
        ["option 'stdin': descriptor expected"] = { "true", stdin = {} },
        ["option 'cwd' is empty"] = { "true", cwd = "" },
        ["option 'env' must be a table"] = { "true", env = "A=1" },
        ["the name 'A=B' in 'env' has a '='"]
          = { "true", env = { ["A=B"] = "" } },
        ["'A' in 'env' has a zero byte"] = { "true", env = { A = "\0" } },
        ["option 'grace' must be seconds"] = { "true", grace = -1 },
        ["option 'group' must be a boolean"] = { "true", group = 1 },
      } do
        helper.mistake(words, process, options)
      end
      -- the length of a table with a hole is Lua's choice
      for hole, options in pairs { { "true", nil, "a" },
          [3] = { "true", "a", "b", nil, "c", "d" } } do
        helper.mistake(#options > hole
          and ("argument %d must be a string, got nil"):format(hole)
          or ("an array of %d has no "):format(#options), process, options)
      end
      helper.raises("table expected, got string: { program, arguments... }",
        process, "true")
      local closed = assert(io.open "/dev/null")
      closed:close()
      helper.raises("closed file", process, { "true", stdin = closed })
    end)
    helper.raises("uring.run", process, { "true" })
  end)
end)


describe("process:wait", function()
  it("times out, can be waited for by many, and is an event", function()
    net.run(function()
      local p = sh("read line", { stdin = "pipe" })
      local _, message, errno = p:wait(0.001)
      assert.same({ "timed out", E.ETIME }, { message, errno })
      local ends, waiting = {}, {}
      for i = 1, 3 do
        waiting[i] = uring.spawn(function() ends[i] = { p:wait(patience) } end)
      end
      uring.sleep(0)
      p.stdin:close()
      local name, kind, code = uring.select({ ended = p:waiting() }, patience)
      assert.same({ "ended", "exit", 1 }, { name, kind, code })
      for i = 1, 3 do waiting[i]:join() end
      assert.same({ { "exit", 1 }, { "exit", 1 }, { "exit", 1 } }, ends)
    end)
  end)

  it("says that the host has taken the status", function()
    for _, how in ipairs { "ignore", "reap" } do
      local status, out = helper.script(([[
        local uring = require "uring"
        local spec = require "uring_spec"
        local how = %q
        if how == "ignore" then spec.signal(17, "ignore") end
        uring.run(function()
          local p = assert(uring.process { "/bin/true" })
          if how == "reap" then spec.wait(-1) end
          local _, message, errno = p:wait(10)
          print(errno == uring.errno.ECHILD, message)
          print(p:kill())
        end)]]):format(how))
      assert.equal(0, status, out)
      assert.truthy(out:find("true\twait for process: its exit status was "
        .. "taken", 1, true), out)
      assert.truthy(out:find("ESRCH", 1, true), out)
    end
  end)
end)


describe("process:kill", function()
  it("sends a signal by its name, and TERM without one", function()
    net.run(function()
      local p = sh "kill -STOP $$; exec sleep 20"
      assert.is_true(p:kill "CONT")
      local q = sh("trap 'echo got; exit 5' USR1; echo on; while :; do sleep "
        .. "0.01; done", { stdout = "pipe" })
      assert.equal("on", q.stdout:read("l", patience))
      assert.is_true(q:kill "USR1")
      assert.same({ "exit", 5 }, { q:wait(patience) })
      local r = sh "exec sleep 20"
      assert.is_true(r:kill())
      assert.same({ "signal", 15 }, { r:wait(patience) })
      local ok, message, errno = r:kill()
      assert.is_nil(ok)
      assert.equal(E.ESRCH, errno)
      assert.truthy(message:find(("kill process %d"):format(r.pid), 1, true))
      helper.raises("no signal 'TRM': did you mean 'TERM'?", r.kill, r, "TRM")
      helper.raises("names are without SIG, as 'TERM'", r.kill, r, "SIGTERM")
      helper.raises("name of a signal expected", r.kill, r, 15)
      p:close()
    end)
  end)

  it("reaches all of a group", function()
    net.run(function()
      local p = sh("sleep 20 & echo $!; wait", { group = true,
        stdout = "pipe" })
      local grandchild = math.tointeger(p.stdout:read("l", patience))
      assert.is_true(p:kill "KILL")
      assert.same({ "signal", 9 }, { p:wait(patience) })
      helper.eventually(function()
        -- (its new parent may leave it a zombie for a while)
        local file = io.open(("/proc/%d/stat"):format(grandchild))
        local state = file and (file:read "a" or ""):match "%) (%a)"
        if file then file:close() end
        return gone(grandchild) or state == "Z"
      end)
    end)
  end)
end)
