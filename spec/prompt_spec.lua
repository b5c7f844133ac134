-- Tasks that are spawned outside a task, as at a prompt: they go on with each
-- uring.run.

local helper = require "helper"
local hosts = require "hosts"

local it = helper.needs_ring(it)
local prompt = hosts.tests(it)

-- luacheck: globals uring spec H loop

describe("uring.spawn outside a task", function()
  prompt("makes a task that goes on with each run", function()
    local n = 0
    local task = uring.spawn(function(by)
      for _ = 1, 100 do
        n = n + by
        uring.sleep(0)
      end
      return n
    end, 2)
    H.equal("new", task:status())
    H.equal(5, uring.run(function() return 5 end))
    local first = n
    assert(first >= 2 and first < 20, first)
    uring.run(function() uring.sleep(0) uring.sleep(0) end)
    assert(n > first and n < 200, n)
    uring.run(function() task:join() end)
    local ok, sum = task:join()
    assert(ok and sum == 200)
  end)

  prompt("lets a server and its client be tried", function()
    local listener = assert(uring.tcp.listen "127.0.0.1:0")
    local server = uring.spawn(function()
      for conn in listener:connections() do
        uring.spawn(function()
          local c <close> = conn
          for bytes in c:chunks() do assert(c:send(bytes:upper())) end
        end)
      end
    end)
    for _, word in ipairs { "one", "two", "three" } do
      local got = uring.run(function()
        local conn <close> = assert(uring.tcp.connect(listener:getsockname()))
        assert(conn:send(word))
        return (conn:receive())
      end)
      H.equal(word:upper(), got)
      H.equal("waiting", server:status())
    end
    server:cancel()
    H.settle()
    H.equal("cancelled", server:status())
    H.settle()
    H.idle_loop()
  end)

  prompt("goes on by steps after a run, and the other way round", function()
    local count = H.busy(loop)
    loop:step { max = 3 }
    H.equal(3, count.n)
    uring.run(function() uring.sleep(0) end)
    local n = count.n
    assert(n > 3)
    loop:step { max = 4 }
    H.equal(n + 4, count.n)
    count.task:cancel()
    uring.run(function() uring.sleep(0) end)
    H.equal("cancelled", count.task:status())
  end)

  prompt("has its error raised at the end of a run that went well", function()
    local done
    local task = uring.spawn(error, { "mine" })
    local ok, why = pcall(uring.run, function()
      uring.sleep(0.001)
      done = true
    end)
    assert(not ok and why[1] == "mine" and done)
    H.equal("failed", task:status())
    H.equal("mine", select(2, task:join())[1])
    -- a run that fails raises its own, and leaves the other to the next
    uring.spawn(error, "later", 0)
    H.raises("main's", uring.run, function()
      uring.sleep(0)
      error "main's"
    end)
    H.raises("later", uring.run, function() end)
    H.equal(1, uring.run(function() return 1 end))
  end)

  prompt("is not a task of the run: Ctrl-C and deadlocks spare it", function()
    local channel = uring.channel()
    local task = uring.spawn(function() return channel:receive() end)
    H.raises("deadlock", uring.run, function() uring.channel():receive() end)
    H.equal("waiting", task:status())
    uring.run(function() assert(channel:send(3)) end)
    uring.run(function() uring.sleep(0) end)
    H.equal(3, select(2, task:join()))
  end)

  prompt("begins at once with nothing but a function", function()
    H.raises("function expected", uring.spawn)
    H.raises("function expected", uring.spawn, 1)
    H.raises("did you mean 'main'?", uring.spawn, { mian = print })
    H.raises("in a task", uring.daemon, print)
    H.equal(0, #uring.tasks())
  end)

  prompt("works in a finalizer", function()
    local task
    setmetatable({}, { __gc = function()
      task = uring.spawn(function() return 9 end)
    end })
    H.collect()
    H.equal("new", task:status())
    uring.run(function() uring.sleep(0) end)
    H.equal(9, select(2, task:join()))
  end)

  prompt("begins although finalizers close the loop meanwhile", function()
    local armed, inside, refused = true, false, 0
    local function arm()
      setmetatable({}, { __gc = function()
        if not armed then return end
        arm()
        if inside then
          H.raises("inside a run", loop.close, loop)
          refused = refused + 1
        end
      end })
    end
    warn "@on"
    collectgarbage "stop"
    collectgarbage("incremental", 10, 1000, 30)
    arm()
    local function f() end
    local spawn = loop.spawn
    collectgarbage "restart"
    for _ = 1, 50 do
      inside = true
      spawn(loop, f)
      inside = false
    end
    armed = false
    assert(refused > 0)
    H.settle()
    H.equal(0, loop:stats().tasks)
  end, helper.needs_eager_collector)

  prompt("leaves nothing behind where memory is short", function()
    for n = 1, 40 do
      local ok, why = spec.state([[
        local n = ...
        local uring = require "uring"
        local function f() end
        uring.spawn(f)
        uring.run(f)
        refuse(n, 2)
        local ok, why = pcall(uring.spawn, f)
        refuse()
        assert(ok or tostring(why):find "memory", why)
        uring.run(function() uring.sleep(0) end)
        assert(#uring.tasks() == 0)
        assert(uring.loop():close())]], n)
      assert(ok, why)
    end
  end)
end)

describe("uring.tasks outside a task", function()
  prompt("is not disturbed by finalizers that step", function()
    collectgarbage("incremental", 1, 1000)
    local stepped = 0
    local function arm()
      setmetatable({}, { __gc = function()
        if pcall(loop.step, loop) then stepped = stepped + 1 end
        arm()
      end })
    end
    arm()
    for _ = 1, 30 do
      for _ = 1, 10 do uring.spawn(uring.sleep, 0) end
      for _, task in ipairs(uring.tasks()) do assert(task.spawned_at) end
    end
    assert(stepped > 0)
  end, helper.needs_eager_collector)
end)

describe("task:join outside a task", function()
  prompt("is for tasks that have ended alone", function()
    local task = uring.spawn(uring.sleep, 0.001)
    H.raises("only a task can wait", task.join, task)
    H.raises("seconds", task.join, task, -1)
    uring.run(function() task:join() end)
    H.equal(true, task:join())
    H.equal(true, task:join(0))
  end)
end)
