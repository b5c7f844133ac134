-- uring.run was called in the middle of uring.run's own beginning: by a
-- metamethod of its options, or by a finalizer in one of its allocations. The
-- inner one took the scope away in which the outer one was about to begin.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(helper.no_tasks)

describe("uring.run", function()
  it("reads its options as they are, without metamethods", function()
    local options = setmetatable({ main = function(x) return x end }, {
      __index = function(_, name)
        uring.run(function() end)
        return name == "name" and "another" or 1
      end,
    })
    assert.equal(7, uring.run(options, 7))
    helper.raises("option 'main' must be a function", uring.run,
      setmetatable({}, { __index = { main = print } }))
    local event = uring.event(setmetatable({ main = function() end },
      { __index = function() pcall(uring.run, print) end }))
    uring.run(function() uring.select { event } end)
  end)

  it("begins although finalizers call it, too", function()
    helper.needs_eager_collector()
    assert.equal("survived", helper.script_ok [[
      local uring = require "uring"
      local done, refused, inner = 0, 0, 0
      local armed = true
      local function arm()
        setmetatable({}, { __gc = function()
          if not armed then return end
          arm()
          local ok, why = pcall(uring.run, function() inner = inner + 1 end)
          if not ok then
            refused = refused + 1
            assert(why:find("running already", 1, true), why)
          end
        end })
      end
      collectgarbage "stop"
      collectgarbage("incremental", 10, 1000, 30)
      arm()
      collectgarbage "restart"
      for i = 1, 20 do
        assert(uring.run(function(...) return ... end, i) == i)
        local n = uring.run({ main = function(...) return ... end,
          name = "x" .. i, slow = 1000, on_slow = print }, i)
        assert(n == i)
        done = done + 1
      end
      armed = false
      assert(done == 20 and refused > 0 and inner > 0)
      io.write "survived"]])
  end)

  it("that could not begin leaves nothing behind", function()
    helper.raises("option 'slow' must be seconds", uring.run,
      { main = print, slow = 0, on_slow = print })
    helper.raises("option 'name' must be a string", uring.run,
      { main = print, name = 1 })
    helper.raises("function expected", uring.run, 1)
    assert.equal(7, uring.run(function() return 7 end))
  end)
end)

describe("uring.loop", function()
  it("that refuses its options has made no loop", function()
    assert.equal("made", helper.script_ok [[
      local uring = require "uring"
      local ok, why = pcall(uring.loop, { slow = -1, on_slow = print })
      assert(not ok and why:find("option 'slow'", 1, true), why)
      assert(uring.loop { entries = 8, slow = 1, on_slow = print })
      assert(uring.loop():ring():stats().sq_entries == 8)
      io.write "made"]])
  end)

  it("makes one loop though finalizers call it meanwhile", function()
    helper.needs_eager_collector()
    assert.equal("one", helper.script_ok [[
      local uring = require "uring"
      local inner
      collectgarbage "stop"
      collectgarbage("incremental", 10, 1000, 30)
      local meta = { __gc = function() inner = uring.loop() end }
      setmetatable({}, meta)
      collectgarbage "restart"
      local outer = uring.loop()
      assert(inner == outer and inner == uring.loop())
      local ring = inner:ring()
      inner, outer = nil, nil
      collectgarbage()
      assert(uring.run(function()
        return uring.loop():ring() == ring
          and uring.await(uring.sqe():prep_nop())
      end) == 0)
      io.write "one"]])
  end)

  it("refuses its options if a finalizer has made it meanwhile", function()
    helper.needs_eager_collector()
    local code = [[
      local uring = require "uring"
      local n, made = ...
      local function arm()
        setmetatable({}, { __gc = function()
          n = n - 1
          if n == 0 then made = uring.loop() else arm() end
        end })
      end
      local options = { entries = 16 }
      collectgarbage "stop"
      collectgarbage("incremental", 10, 1000, 30)
      arm()
      collectgarbage "restart"
      local ok, why = pcall(uring.loop, options)
      collectgarbage("incremental", 200, 100)
      if made == nil then return "unused" end
      assert(not ok and why:find("was made already", 1, true), why)
      assert(uring.loop() == made)
      return "refused"]]
    local n = 0
    repeat
      n = n + 1
      local ok, what = spec.state(code, n)
      assert.is_true(ok, what)
    until what == "unused"
    assert.is_true(n > 5, n)
  end)
end)
