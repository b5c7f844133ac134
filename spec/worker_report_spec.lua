-- What is told of workers: that one goes on although it was cancelled, and
-- what it warns of.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(helper.clean)

-- A worker that catches every cancel, until it gets a message.
local function deaf(name)
  return assert(uring.worker { name = name, main = function()
    repeat pcall(uring.sleep, 60) until uring.inbox():try_receive()
    return "it ended"
  end })
end

-- For on_slow: a busy machine makes tasks slow as well.
local function of_workers(f)
  return function(worker, ...)
    if tostring(worker):find "^uring.Worker" then f(worker, ...) end
  end
end

describe("a worker that ignores its cancel", function()
  it("is reported to on_slow, once, while it is joined", function()
    local told = {}
    uring.run { slow = 0.03,
      on_slow = of_workers(function(worker, seconds, report)
        told[#told + 1] = { worker, seconds, report }
        worker:address():try_send "stop"
      end),
      main = function()
        local w = deaf "deaf"
        assert.is_true(w:cancel())
        assert.same({ true, "it ended" }, { w:join(20 * helper.slow) })
        assert.equal(1, #told)
        assert.equal(w, told[1][1])
        assert(told[1][2] >= 0.03)
        assert.truthy(told[1][3]:find("^worker 'deaf' has gone on for "))
        assert.truthy(told[1][3]:find("(the worker was started there)", 1,
          true))
      end }
    assert.equal(1, #told)
  end)

  it("is not reported once it has ended, however late its scope looks",
    function()
      helper.script_ok [[
        local uring = require "uring"
        local reports = {}
        local function on_slow(what) reports[#reports + 1] = tostring(what) end
        uring.run { slow = 0.01, on_slow = on_slow, main = function()
          local w = assert(uring.worker(function() uring.sleep(60) end))
          w:cancel()
          repeat until w:status() == "cancelled"
          local late = uring.now() + 0.05
          repeat until uring.now() > late
        end }
        local what = table.concat(reports, ", ")
        assert(not what:find "uring.Worker", what)]]
    end)

  it("is reported when its scope was cancelled, and holds that", function()
    local told = 0
    uring.run { slow = 0.03,
      on_slow = of_workers(function(worker)
        told = told + 1
        worker:address():try_send "stop"
      end),
      main = function()
        assert.equal(uring.errno.ETIME, select(3, uring.timeout(0.01,
          uring.scope, function() deaf "deaf" end)))
        assert.equal(1, told)
      end }
  end)

  it("is not reported if it ends before that", function()
    uring.run { slow = 5 * helper.slow, on_slow = of_workers(error),
      main = function()
        local w = assert(uring.worker(function() uring.sleep(60) end))
        w:cancel()
        w:join()
      end }
  end)

  it("ends with an error of on_slow, which its scope raises", function()
    helper.raises("enough", uring.run, { slow = 0.03,
      on_slow = of_workers(function(worker)
        worker:address():try_send "stop"
        error "enough"
      end),
      main = function() deaf("deaf"):cancel() end })
  end)

  it("is told by a warning after a second, without on_slow", function()
    local output = helper.script_ok [[
      local uring = require "uring"
      warn "@on"
      uring.run(function()
        local box = uring.mailbox { name = "stop" }
        local w = uring.worker { name = "deaf", main = function()
          local to = uring.address "stop"
          local from = uring.now()
          to:try_send(from)
          repeat pcall(uring.sleep, 60) until uring.now() - from > 1.5
        end }
        box:receive()
        w:cancel()
        w:join()
      end)
    ]]
    assert.truthy(output:find("uring: worker 'deaf' has gone on for 1.", 1,
      true), output)
    assert.equal(1, select(2, output:gsub("uring: worker", "")), output)
    -- (and by the worker's own watchdog, as a warning of the worker)
    assert.truthy(output:find("worker 'deaf': uring: task 1 'deaf' has gone",
      1, true), output)
  end)
end)

describe("a warning of a worker", function()
  it("is one of the state that started it, if that shows any", function()
    local code = [[
      local uring = require "uring"
      %s
      uring.run(function()
        uring.worker { name = "mill", main = function()
          warn("one ", "and ", "two")
          warn "@off"
          warn "not this"
          warn "@on"
          warn "@what"
          warn("long ", ("x"):rep(2000))
          setmetatable({}, { __gc = function() error "in a finalizer" end })
        end }
      end)
      print "the end"
    ]]
    local output = helper.script_ok(code:format "warn '@on'")
    assert.truthy(output:find("Lua warning: worker 'mill': one and two\n", 1,
      true), output)
    assert.falsy(output:find("not this", 1, true))
    assert.truthy(output:find(("worker 'mill': long %s\n"):format(
      ("x"):rep(995)), 1, true), output)
    assert.truthy(output:find("worker 'mill': error in __gc", 1, true)
      or output:find("worker 'mill': error in  __gc", 1, true), output)
    assert.equal("the end\n", helper.script_ok(code:format ""))
  end)

  it("is counted, where too many wait for that state", function()
    local output = helper.script_ok [[
      local uring = require "uring"
      warn "@on"
      uring.run(function()
        uring.worker { name = "mill", main = function()
          for i = 1, 1000 do warn(("number %05d"):format(i)) end
        end }
        local from = uring.now()
        while #uring.workers() > 0 and uring.now() - from < 60 do end
      end)
    ]]
    local shown = select(2, output:gsub("worker 'mill': number", ""))
    local lost = tonumber(output:match "(%d+) warnings were lost") or 0
    assert.equal(1000, shown + lost)
    assert(shown >= 600, shown)
  end)

  it("is told of a worker that is waited for while its state closes",
    function()
      local output = helper.script_ok [[
        local uring = require "uring"
        warn "@on"
        local loop = uring.loop()
        loop:spawn(function()
          uring.worker { name = "mill", main = function()
            warn "early"
            local _ <close> = setmetatable({}, { __close = function()
              warn "late"
            end })
            uring.sleep(60)
          end }
          uring.sleep(60)
        end)
        while #uring.workers() == 0 do loop:step() end
      ]]
      assert.truthy(output:find("worker 'mill': late", 1, true), output)
    end)
end)
