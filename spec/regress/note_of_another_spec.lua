-- An error that had passed a timeout in one task, and was caught there, lent
-- its traceback to the same value raised by another.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("a failure's traceback", function()
  it("is not that of another task's failure with the same message", function()
    local function first() error("the same", 0) end
    local function second() error("the same", 0) end
    local scope
    pcall(uring.run, function()
      pcall(uring.timeout, 1, function() first() return 1 end)
      uring.scope(function(s)
        scope = s
        s:spawn(function() second() return 2 end)
      end)
    end)
    local traceback = scope:failures()[1].traceback
    assert.truthy(traceback:find("'second'", 1, true), traceback)
    assert.falsy(traceback:find("'first'", 1, true), traceback)
  end)
end)
