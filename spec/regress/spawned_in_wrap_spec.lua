-- Of an error in a scope inside a wrapped function it was told where the task
-- was spawned, by what lay at the bottom of the wrong coroutine: the first
-- local variables of the wrapped function.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("a failure in a wrapped function", function()
  it("says where its task was spawned", function()
    local line = debug.getinfo(1, "l").currentline + 3
    local scope
    uring.run(function()
      uring.spawn(function()
        local f = uring.wrap(function(_, _)
          uring.scope(function(s)
            scope = s
            error "mine"
          end)
        end)
        pcall(f, function() end, 4711)
      end)
    end)
    local at = scope:failures()[1].spawned_at
    assert.truthy(at:find(("spawned_in_wrap_spec.lua:%d"):format(line), 1,
      true), at)
  end)
end)
