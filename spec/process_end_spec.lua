-- How children end: with their scope, by close, by signals, whatever else the
-- program does with its children.

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

-- Let the loop turn until f answers something true, and answer that.
local function settled(f)
  local limit = uring.now() + patience
  while uring.now() < limit do
    local answer = f()
    if answer then return answer end
    uring.sleep(0.001)
  end
  error("it did not happen in time", 2)
end

describe("a process at its scope's end", function()
  it("gets TERM", function()
    local p
    net.run(function()
      uring.scope(function() p = sh "exec sleep 20" end)
      assert.same({ "signal", 15 }, { p:wait(0) })
    end)
    assert.truthy(gone(p.pid))
  end)

  it("gets KILL after its grace, if it ignores TERM", function()
    net.run(function()
      local p
      uring.scope(function()
        p = sh("trap '' TERM; echo on; while :; do sleep 0.05; done",
          { grace = 0.02, stdout = "pipe" })
        p.stdout:read("l", patience)
      end)
      assert.same({ "signal", 9 }, { p:wait(0) })
    end)
  end)

  it("is ended at once when it is stopped", function()
    net.run(function()
      local p
      local began = uring.now()
      uring.scope(function()
        p = sh("echo on; kill -STOP $$; exec sleep 20", { grace = 60,
          stdout = "pipe" })
        p.stdout:read("l", patience)
      end)
      assert.same({ "signal", 15 }, { p:wait(0) })
      assert.is_true(uring.now() - began < 30)
    end)
  end)

  it("is ended when its scope is cancelled, or fails", function()
    net.run(function()
      local p, q
      uring.scope(function(s)
        p = sh "exec sleep 20"
        s:cancel()
      end)
      assert.same({ "signal", 15 }, { p:wait(0) })
      helper.raises("oops", uring.scope, function()
        q = sh "exec sleep 20"
        error "oops"
      end)
      assert.same({ "signal", 15 }, { q:wait(0) })
    end)
  end)

  it("does not wait for what is left of a group", function()
    net.run(function()
      local grandchild
      uring.scope(function()
        local p = sh("trap 'exit 0' TERM; (trap '' TERM; while :; do sleep 1;"
          .. " done) & echo $!; wait", { group = true, stdout = "pipe" })
        grandchild = math.tointeger(p.stdout:read("l", patience))
      end)
      helper.eventually(function()
        local file = io.open(("/proc/%d/stat"):format(grandchild))
        local state = file and (file:read "a" or ""):match "%) (%a)"
        if file then file:close() end
        return state == nil or state == "Z"
      end)
    end)
  end)

  it("is not started in a scope that was cancelled", function()
    net.run(function()
      local p, message, errno
      uring.scope(function(s)
        s:spawn(function()
          uring.shield(patience, function()
            s:cancel()
            p, message, errno = process { "sleep", "20", stdin = "pipe" }
          end)
        end)
      end)
      if p then assert.equal("signal", (p:wait(0))) else
        assert.equal(E.ECANCELED, errno, message)
      end
    end)
  end)
end)


describe("process:close", function()
  it("ends it, and tells how it ended", function()
    net.run(function()
      local p = sh("exec sleep 20", { stdin = "pipe", stdout = "pipe" })
      assert.same({ "signal", 15 }, { p:close() })
      assert.same({ "signal", 15 }, { p:close() })
      helper.raises("closed stream", p.stdin.write, p.stdin, "x")
      local q
      do
        local r <close> = sh "exec sleep 20"
        q = r
      end
      assert.same({ "signal", 15 }, { q:wait(0) })
    end)
  end)

  it("is done in a task that was cancelled, too", function()
    net.run(function()
      local q
      local task = uring.spawn(function()
        local r <close> = sh "exec sleep 20"
        q = r
        helper.forever()
      end)
      settled(function() return q end)
      task:cancel()
      task:join()
      assert.same({ "signal", 15 }, { q:wait(0) })
    end)
  end)
end)


describe("children", function()
  it("that are stopped and continued have not ended", function()
    net.run(function()
      local p = sh("read line; exit 6", { stdin = "pipe", grace = math.huge })
      for _ = 1, 3 do
        assert.is_true(p:kill "STOP")
        local _, _, errno = p:wait(0.01)
        assert.equal(E.ETIME, errno)
        assert.is_true(p:kill "CONT")
        _, _, errno = p:wait(0.01)
        assert.equal(E.ETIME, errno)
      end
      assert.is_true(p:kill "STOP")
      p.stdin:close()
      local _, _, errno = p:wait(0.01)
      assert.equal(E.ETIME, errno)
      assert.is_true(p:kill "CONT")
      assert.same({ "exit", 6 }, { p:wait(patience) })
    end)
  end)

  it("that close their output and live on can be waited for", function()
    net.run(function()
      local p = sh("exec >&-; read line; exit 4", { stdin = "pipe",
        stdout = "pipe" })
      assert.equal("", p.stdout:read("a", patience))
      p.stdin:close()
      assert.same({ "exit", 4 }, { p:wait(patience) })
    end)
  end)

  it("that leave a grandchild with the pipe can be waited for", function()
    net.run(function()
      local p = sh("exec 3<&0; (read line <&3; echo late) & exit 3",
        { stdin = "pipe", stdout = "pipe" })
      assert.same({ "exit", 3 }, { p:wait(patience) })
      local _, _, errno = p.stdout:read("a", 0.001)
      assert.equal(E.ETIME, errno)
      p.stdin:close()
      p.stdout:close()
    end)
  end)

  it("that are many leave nothing", function()
    local n = tonumber(os.getenv "URING_CHILDREN") or 300
    uring.run(function()
      for _ = 1, 10 do
        uring.spawn(function()
          for i = 1, n // 10 do
            local p = assert(process { "/bin/sh", "-c", "exit " .. i % 100 })
            assert(select(2, p:wait(6 * patience)) == i % 100)
          end
        end)
      end
    end)
  end)

  it("are ended when the state is closed", function()
    local status, out = helper.script [[
      local uring = require "uring"
      local pids = {}
      local loop = assert(uring.loop())
      loop:spawn(function()
        for i = 1, 3 do
          local p = assert(uring.process { "/bin/sh", "-c",
            "trap '' TERM; echo on; while :; do sleep 0.05; done",
            stdout = "pipe" })
          p.stdout:read "l"
          print(p.pid)
        end
        pids[1] = true
        uring.sleep(60)
      end)
      while not pids[1] do loop:step() end
      assert(loop:stats())]]
    assert.equal(0, status, out)
    local n = 0
    for pid in out:gmatch "%d+" do
      n = n + 1
      assert.truthy(gone(math.tointeger(pid)))
    end
    assert.equal(3, n)
  end)

  it("are ended in a bounded time by lua_close, whatever they do", function()
    local began = uring.now()
    for i = 1, 3 do
      local ok, why = spec.state([[
        local i = ...
        local uring = require "uring"
        local ready = 0
        local loop = assert(uring.loop { close_timeout = 0.05 })
        for _, script in ipairs {
          "echo on; exec sleep 1000",
          "trap '' TERM; echo on; while :; do sleep 0.05; done",
          "echo on; kill -STOP $$; exec sleep 1000",
          "exec 2>&1; echo on; exec >&- 2>&-; exec sleep 1000",
          "echo on",
        } do
          loop:spawn(function()
            local p = assert(uring.process { "/bin/sh", "-c", script,
              stdin = "pipe", stdout = "pipe", group = i == 2 })
            p.stdout:read "l"
            ready = ready + 1
            p:wait()
            uring.sleep(1000)
          end)
        end
        while ready < 5 do loop:step() end
        -- a thread that closes its state abruptly; or in order, before
        if i == 3 then loop:close(0.05) end]], i)
      assert.is_true(ok, why)
      helper.eventually(function() return not spec.children() end)
    end
    assert.is_true(uring.now() - began < 10 * helper.slow)
  end)

  it("are left alone in a forked child", function()
    net.run(function()
      local p <close> = sh "exec sleep 20"
      local pid = spec.fork()
      if pid == 0 then
        local ok, message = pcall(p.kill, p)
        spec._exit(not ok and message:find "belongs to another" and 0 or 1)
      end
      assert.equal(0, (spec.wait(pid)))
      local _, _, errno = p:wait(0)
      assert.equal(E.ETIME, errno)
    end)
  end)

  it("are of a forked child neither waited for nor closed", function()
    net.run(function()
      local p <close> = sh "exec sleep 20"
      local event = p:waiting()
      helper.in_child(function()
        uring.run(function()
          local function fails(kind, message, errno)
            assert.is_nil(kind)
            assert.equal("string", type(message))
            assert.equal("integer", math.type(errno))
          end
          fails(p:wait())
          fails(select(2, uring.select { event }))
          fails(select(2, uring.select { p:waiting() }))
          fails(p:close())
        end)
      end)
      local _, _, errno = p:wait(0)
      assert.equal(E.ETIME, errno)
    end)
  end)

  it("are not started where a stream for them is closed meanwhile",
    function()
      helper.keeps_fds(function()
        net.run(function()
          for turns = 0, 6 do
            -- (what was written is flushed; the child starts in a later turn)
            local file = assert(uring.open(helper.tmpname(), "w"))
            assert(file:write "x")
            local task = uring.spawn(uring.process, { "true", stdin = "pipe",
              stdout = file })
            helper.turns(turns)
            file:close()
            local ok, child, message, errno = task:join()
            assert.is_true(ok, child)
            if child then child:close()
            else assert.equal(E.EBADF, errno, message) end
          end
        end)
      end)
      helper.clean()
    end)
end)
