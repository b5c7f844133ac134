-- uring.run: the program around tasks: its results, how it ends, deadlock.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

local nop <const> = helper.nop

local fails <const> = helper.fails

after_each(helper.idle_loop)

describe("uring.run", function()
  it("gives main its arguments and returns its results", function()
    assert.same({ n = 4, 1, nil, 3, nil }, table.pack(uring.run(
      function(...) return ... end, 1, nil, 3, nil)))
    assert.equal(0, select("#", uring.run(function() end)))
    assert.equal(7, uring.run({ main = function(x) return x end,
      name = "m" }, 7))
  end)

  it("ends when all its tasks have", function()
    local log = {}
    uring.run(function()
      uring.spawn(function()
        uring.sleep(0.02)
        log[#log + 1] = "child"
      end)
      log[#log + 1] = "main"
    end)
    assert.same({ "main", "child" }, log)
  end)

  it("is not for tasks, and refuses values that are no function", function()
    fails("inside a task", function() uring.run(function() end) end)
    helper.raises("function expected", uring.run)
    helper.raises("function expected", uring.run, 1)
    helper.raises("did you mean 'main'?", uring.run, { mian = print })
    helper.raises("'main' must be a function", uring.run, { name = "x" })
    helper.raises("'name' must be a string", uring.run,
      { main = print, name = {} })
  end)

  it("works in a coroutine of the program", function()
    local f = coroutine.wrap(function()
      return uring.run(function() uring.sleep(0.001) return "in" end)
    end)
    assert.equal("in", f())
  end)

  it("is named in the error of a wait outside a task", function()
    local ring <close> = assert(uring.ring())
    for _, f in ipairs { uring.sleep, uring.await } do
      helper.raises("uring.run", f, f == uring.sleep and 0 or nop())
    end
    helper.raises("uring.run", uring.daemon, function() end)
    helper.raises("uring.run", ring.receive, ring)
    helper.raises("uring.run", ring.await, ring, nop())
    helper.raises("uring.run", ring.await_chain, ring, { nop() })
    local op = ring:queue(nop())
    helper.raises("uring.run", op.await, op)
    assert(ring:wait_cqe(5))
  end)

  it("takes what has completed beside a task that is always ready, on a ring "
    .. "that tells no task work", function()
    helper.script_ok [[
      local uring = require "uring"
      uring.loop { flags = uring.IORING_SETUP_SINGLE_ISSUER
        | uring.IORING_SETUP_DEFER_TASKRUN }
      uring.run(function()
        local a, b = assert(uring.socketpair())
        local receiving = uring.spawn(b.receive, b)
        uring.sleep(0.001)
        assert(a:try_send "hello" == 5)
        for _ = 1, 1000 do uring.sleep(0) end
        assert(receiving:status() == "done")
      end)
    ]]
  end)
end)

describe("a deadlock", function()
  it("is an error that says which task waits for which, and where", function()
    local why = fails("deadlock", function()
      local a, b
      a = uring.spawn { name = "anna", main = function() b:join() end }
      b = uring.spawn(function() a:join() end)
      a:join()
    end)
    assert.truthy(why:find("task %d+ 'anna' waits for task %d+ to end at "
      .. "spec/run_spec.lua:%d+"))
  end)

  it("does not hide the error that came before it", function()
    fails("first", function()
      local channel = uring.channel()
      uring.spawn(function()
        uring.shield(math.huge, channel.receive, channel)
      end)
      uring.sleep(0)
      uring.sleep(0)
      error "first"
    end)
  end)

  it("is not seen in waits for messages, time or operations", function()
    uring.run(function()
      local ring <close> = assert(uring.ring())
      local t = uring.spawn(function() return ring:receive() end)
      local later = spec.send_later(0.02, ring:fd(), 1, 2)
      assert.same({ true, 2, 1, 0 }, { t:join() })
      later:join()
    end)
  end)

  -- Tasks have waited for each other before, and do not any more. The program
  -- then waits for an event that is not the library's, for ever.
  it("is not seen after waits for other tasks that are over", function()
    local status, output = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
      uring.run(function()
        local channel = uring.channel()
        for i = 1, 3 do
          local t = uring.spawn(channel.receive, channel)
          for _ = 1, 3 do uring.sleep(0) end
          assert(channel:send(i))
          assert(t:join())
        end
        spec.interrupt(0.01)
        local function nothing() end
        uring.select { uring.event { try = nothing, block = nothing,
          cancel = nothing } }
      end)]]
    assert.equal(1, status)
    assert.truthy(output:find("interrupted!", 1, true), output)
  end)

  it("is not made by a task that joins itself, which is refused", function()
    fails("cannot join itself", function()
      local t
      t = uring.spawn(function() t:join() end)
    end)
  end)
end)

describe("Ctrl-C", function()
  local script = [[
    local uring = require "uring"
    local spec = require "uring_spec"
    local function soon() spec.interrupt(0.001) end
    %s
  ]]

  it("ends a script in any wait, with a traceback", function()
    for _, wait in ipairs {
      "uring.run(function() soon() uring.sleep(60) end)",
      "uring.run(function() soon() uring.loop():ring():receive() end)",
      "local ring = uring.ring() soon() ring:wait_cqe()",
      [[uring.run(function()
          local _ <close> = setmetatable({}, { __close = function()
            io.write "cleaned up\n"
          end })
          soon()
          uring.sleep(60)
        end)]],
    } do
      local status, out = helper.script(script:format(wait))
      assert.equal(1, status)
      assert.truthy(out:find("interrupted!", 1, true), out)
      assert.truthy(out:find("stack traceback", 1, true), out)
      if wait:find "cleaned" then assert.truthy(out:find "cleaned up") end
    end
  end)

  it("is noticed as soon as a task that computed waits", function()
    local status, out = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
      local main = coroutine.running()
      uring.run(function()
        for i = 1, 100 do
          uring.spawn(function()
            print("task", i)
            if i == 1 then
              spec.interrupt(0.001)
              repeat until debug.gethook(main)
            end
          end)
        end
      end)]]
    assert.equal(1, status)
    assert.truthy(out:find("interrupted!", 1, true), out)
    assert.truthy(out:find("task\t1\n", 1, true), out)
    assert.is_nil(out:find("task\t2\n", 1, true))
  end)
end)
