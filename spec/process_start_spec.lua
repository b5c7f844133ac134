-- How children are started: by helper threads, which hold up no task; a start
-- that is cancelled is undone; from several tasks, states and threads at once.

local clean = require "clean"
local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local patience <const> = net.patience
local process <const> = uring.process
local file_job <const> = require("uring.core").file_job
local long <const> = os.getenv "URING_CHILDREN"  -- (make soak)

-- Every test leaves no child, no zombie and no descriptor. (What was not
-- waited for is reaped by a helper thread.)
before_each(clean.begin(function()  -- (the loop, and its doorbell)
  uring.run(function() assert(process { "true" }):wait() end)
end))

after_each(clean.finish(function()
  helper.eventually(function() return not spec.children() end, 20)
end, true))

-- Give all four threads of the lane something to do until `free` is called:
-- copying from a pipe that has nothing in it.
local function busy_helpers()
  local null <close> = assert(uring.open("/dev/null", "w"))
  local tasks, pipes = {}, {}
  for i = 1, 4 do
    local r, w = helper.pipe()
    pipes[i], tasks[i] = w, uring.spawn(file_job, "copy", r, null, 1)
  end
  helper.turns()
  return function()
    for i = 1, 4 do
      spec.write(pipes[i], "x")
      assert(tasks[i]:join(patience))
    end
  end
end

describe("the start of a child", function()
  it("holds up no other task", function()
    net.run(function()
      local free = busy_helpers()
      local task = helper.started(process, { "true" })
      for _ = 1, 20 do uring.sleep(0.001) end
      assert.equal("waiting", task:status())
      free()
      local _, p = task:join(patience)
      assert.same({ "exit", 0 }, { p:wait(patience) })
    end)
  end)

  it("that is cancelled or timed out leaves nothing", function()
    net.run(function()
      local free = busy_helpers()
      local path = helper.tmpname()
      os.remove(path)
      local during = spec.fds()
      local touch = { "touch", path, stdin = "pipe", stdout = "pipe" }
      local _, message, errno = uring.timeout(0.01, process, touch)
      assert.same({ "timed out", E.ETIME }, { message, errno })
      local task = helper.started(process, touch)
      task:cancel()
      _, message, errno = task:join(patience)
      assert.equal(E.ECANCELED, errno, message)
      uring.scope(function(s)
        s:spawn(process, touch)
        helper.turns()
        s:cancel()
      end)
      -- (the thread lets go of what has not begun at once)
      assert.equal(during, spec.fds())
      free()
      assert.same({ "exit", 0 }, { assert(process { "true" }):wait(patience) })
      assert.is_nil(io.open(path))
    end)
  end)

  it("that is left when it is done, but not yet known, leaves nothing",
    function()
      net.run(function()
        local path = helper.file ""
        local task = helper.started(process,
          { "sh", "-c", "echo $$ >" .. path .. "; exec sleep 1000" })
        -- (the loop does not turn meanwhile)
        local began = uring.now()
        repeat
          assert(uring.now() - began < patience)
        until helper.content(path) ~= "" and uring.now() - began > 0.05
        task:cancel()
        local _, message, errno = task:join(patience)
        assert.equal(E.ECANCELED, errno, message)
      end)
    end)

  it("that is left when it is done is undone when its scope has ended",
    function()
      net.run(function()
        for i = 1, 30 do
          local task = helper.started(uring.scope, function()
            process { "sleep", "1000", group = i % 2 == 0 }
          end)
          local began = uring.now()  -- (the loop does not turn meanwhile)
          repeat until uring.now() - began > 0.005
          task:cancel()
          task:join(patience)
          assert.is_false(spec.children())
        end
      end)
    end)

  it("that is left at any moment leaves nothing", function()
    net.run(function()
      local n = { begun = 0, left = 0 }
      for i = 1, long and 5000 or 300 do
        local p = uring.timeout(i % 50 * 0.0001, process,
          { "sleep", "1000", stdout = "pipe", group = i % 2 == 0, grace = 5 })
        if p then
          n.begun = n.begun + 1
          p:close()
        else
          n.left = n.left + 1
        end
      end
      assert.is_true(n.left > 0)
    end)
  end)

  it("that is left while its state closes leaves nothing", function()
    for i = 1, long and 1000 or 60 do
      local ok, why = spec.state([[
        local i, slow = ...
        local uring = require "uring"
        local loop = assert(uring.loop())
        for n = 1, 6 do
          loop:spawn(function()
            local p = uring.process { "sleep", "1000", stdin = "pipe",
              group = n % 2 == 0 }
            if p then p:wait() end
          end)
        end
        local limit = uring.now() + i % 20 * 0.0003
        repeat loop:step { gc = false } until uring.now() >= limit
        if i % 3 == 0 then loop:close(1) end]], i)
      assert.is_true(ok, why)
    end
  end)

  it("is left alone by a forked child whose state closes", function()
    helper.script_ok [[
      local helper = require "helper"
      local spec = require "uring_spec"
      local uring = require "uring"
      uring.run(function()
        local path = helper.file ""
        local task = helper.started(uring.process,
          { "sh", "-c", "echo x >" .. path .. "; exec sleep 1000" })
        -- (the loop does not turn meanwhile: it is done, and not yet known)
        local began = uring.now()
        repeat
        until helper.content(path) ~= "" and uring.now() - began > 0.05
        local pid = spec.fork()
        if pid == 0 then os.exit(true, true) end
        assert(spec.wait(pid) == 0)
        local _, p = assert(task:join(20 * helper.slow))
        local kind, _, errno = p:wait(0.05)
        assert(kind == nil and errno == uring.errno.ETIME, kind)
        assert(p:kill("KILL") and p:wait() == "signal")
      end)]]
  end)

  it("works after a fork, in both processes, with starts in flight", function()
    local status, out = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
      local function some()
        for _ = 1, 4 do
          local p = assert(uring.process { "true" })
          assert(p:wait(20) == "exit")
        end
      end
      local pid
      uring.run(function()
        for _ = 1, 8 do uring.spawn(some) end
        uring.sleep(0.001)
        pid = spec.fork()
        if pid == 0 then spec._exit(0) end
        assert(spec.wait(pid) == 0)
        for _ = 1, 8 do uring.spawn(some) end
      end)
      pid = spec.fork()
      uring.run(function() for _ = 1, 4 do uring.spawn(some) end end)
      if pid == 0 then spec._exit(0) end
      assert(spec.wait(pid) == 0)]]
    assert.equal(0, status, out)
  end)

  it("takes what was there when it was asked for", function()
    net.run(function()
      local free = busy_helpers()
      local path = helper.tmpname()
      local file = assert(io.open(path, "w"))
      local args = { "sh", "-c", "echo $A; echo $0 $1", "zero", "one",
        stdout = file, env = { A = "an a", PATH = "/bin:/usr/bin" } }
      local task = helper.started(process, args)
      args[5], args.env.A = "two", "another"
      file:close()
      local other = assert(io.open("/dev/null", "w"))  -- (in its number)
      free()
      local _, p = task:join(patience)
      assert.same({ "exit", 0 }, { p:wait(patience) })
      other:close()
      assert.equal("an a\nzero one\n", helper.content(path))
    end)
  end)

  -- (A thread that has been idle for ten seconds ends, without a child.)
  if long then it("does not end a child with the thread that has started it",
  function()
    net.run(function()
      local p <close> = assert(process { "setpriv", "--pdeathsig", "KILL",
        "sleep", "1000" })
      local _, _, errno = p:wait(12)
      assert.equal(E.ETIME, errno)
    end)
  end) end
end)

describe("children that are started at once", function()
  local code = [[
    local tasks, rounds, slow = ...
    local uring = require "uring"
    local leaky = assert(io.open "/dev/null")
    uring.run(function()
      for i = 1, tasks do
        uring.spawn(function()
          for n = 1, rounds do
            local p = assert(uring.process { "ls", "/proc/self/fd",
              stdin = "pipe", stdout = "pipe",
              stderr = n % 2 == 0 and "null" or leaky })
            local out, err, kind, status = p:communicate(nil,
              { timeout = 60 * slow })
            -- (3 is the directory that ls reads)
            assert(out == "0\n1\n2\n3\n", out)
            assert(kind == "exit" and status == 0)
          end
        end)
      end
    end)
    leaky:close()]]

  it("from several tasks and threads get their own descriptors alone",
  function()
    local threads = {}
    for i = 1, 4 do
      threads[i] = spec.thread(code, 8, long and 100 or 3, helper.slow)
    end
    for i = 1, 4 do
      local ok, why = threads[i]:join()
      assert.is_true(ok, why)
    end
  end)

  it("are signalled and reaped by their own state alone", function()
    local threads = {}
    for i = 1, 4 do
      threads[i] = spec.thread([[
        local rounds, slow = ...
        local uring = require "uring"
        uring.run(function()
          local decoy = assert(uring.process { "sleep", "1000" })
          for i = 1, 8 do
            uring.spawn(function()
              for n = 1, rounds do
                local p = assert(uring.process { "sh", "-c",
                  n % 2 == 0 and "exit 3" or "exec sleep 1000", group = true })
                while n % 2 == 0 and p:kill "CONT" do uring.sleep(0) end
                assert(n % 2 == 0 or p:kill "USR1")
                local kind, code = p:wait(60 * slow)
                if n % 2 == 0 then assert(kind == "exit" and code == 3)
                else assert(kind == "signal" and code == 10, code) end
              end
            end)
          end
          uring.sleep(0.1)
          assert(decoy:wait(0) == nil)
        end)]], long and 100 or 4, helper.slow)
    end
    for i = 1, 4 do
      local ok, why = threads[i]:join()
      assert.is_true(ok, why)
    end
  end)
end)

describe("a process that got the number of an ended child", function()
  local last <const> = "/proc/sys/kernel/ns_last_pid"

  -- A child of this one with this number; or the test is skipped.
  local function with_number(pid)
    for _ = 1, 200 do
      local file = io.open(last, "w")
      if not file then break end
      file:write(pid - 1)
      if not file:close() then break end
      local got = spec.fork()
      if got == 0 then
        spec.sleep(1000)
        spec._exit(0)
      end
      if got == pid then return pid end
      spec.kill(got, 9)
      spec.wait(got)
    end
    helper.skip "the number of a process cannot be chosen here"
  end

  for _, group in ipairs { false, true } do
    it("is not signalled" .. (group and " as a group" or ""), function()
      net.run(function()
        -- reaped by this module; and by the host, before it
        for _, host in ipairs { false, true } do
          local p = assert(process { "sh", "-c", "read line", stdin = "pipe",
            group = group })
          if host then
            p.stdin:close()
            assert.equal(1, (spec.wait(p.pid)))
          else
            p.stdin:close()
            assert.equal("exit", (p:wait(patience)))
          end
          local decoy = with_number(p.pid)
          local _ <close> = helper.finally(function()
            spec.kill(decoy, 9)
            spec.wait(decoy)
          end)
          local ok, _, errno = p:kill "KILL"
          assert.is_nil(ok)
          assert.equal(E.ESRCH, errno)
          p:close()
          spec.sleep(0.01)
          assert.is_true(spec.kill(decoy, 0))
          local stat = helper.content(("/proc/%d/stat"):format(decoy))
          assert.truthy(stat:find "%) [SR] ", stat)
        end
      end)
    end)
  end
end)
