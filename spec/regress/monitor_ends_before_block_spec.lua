-- A mailbox that ends when a select over its monitor has looked at it, and has
-- not blocked yet: what block returned was taken for a failure's three values.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("an event that need not wait when it blocks", function()
  it("is chosen by the next try, with what it gave", function()
    helper.run(function()
      local mailbox = assert(uring.mailbox())
      local event <const> = mailbox:address():monitor()
      local waiter = {}
      assert.is_nil((event:try(waiter)))
      mailbox:close()
      event:block(waiter)
      helper.collect()
      local chosen = table.pack(event:try(waiter))
      assert.is_true(chosen[chosen.n])
      assert.is_nil((event:try({})))  -- (it fires once)
    end)
  end)
end)
