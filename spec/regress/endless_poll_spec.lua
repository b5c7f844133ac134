-- A poll went on as long as its task was woken, be it for nothing.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("uring.select with timeout 0", function()
  it("ends although its task is woken in every turn", function()
    helper.run(function()
      local waiter
      local event = {
        try = function() end,
        block = function(_, w) waiter = w end,
        cancel = function() end,
      }
      local turns, over = 0, false
      uring.daemon(function()
        repeat
          turns = turns + 1
          if waiter then waiter:wake() end
          uring.sleep(0)
        until turns == 1000
        over = true
      end)
      assert.is_nil((uring.select({ event }, 0)))
      assert.is_false(over, "it went on as long as it was woken")
    end)
  end)
end)
