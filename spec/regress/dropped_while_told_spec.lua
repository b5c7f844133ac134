-- What waits for something of a mailbox is told of it on the loop's ready
-- list. If it is dropped, and collected, before the loop takes that list, its
-- record there must not lead to it any more. (Without that ASAN sees it.)

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(helper.clean)

-- A task that waits in f is ended from outside when it has been told.
local function ends_when_told(f, tell)
  helper.fails("ended from outside", function()
    local _, co = helper.started(f)
    tell()
    coroutine.close(co)
    helper.collect()
    helper.turns(3)
    helper.forever()
  end)
end

describe("dropped, when it was just told,", function()
  it("a monitor is not woken", function()
    helper.run(function()
      local box = uring.mailbox()
      local address = box:address()
      uring.select({ address:monitor() }, 0.001)
      box:close()
      helper.collect()
      helper.turns(3)
    end)
  end)

  it("a send that waits is not woken", function()
    local box = uring.mailbox { capacity = 1 }
    local address = box:address()
    assert(address:try_send(1))
    ends_when_told(function() address:send(2) end, function()
      assert.equal(1, box:receive(0))
    end)
  end)

  it("a wait for a name is not woken", function()
    local box
    ends_when_told(function() uring.address("a name", 10) end, function()
      box = assert(uring.mailbox { name = "a name" })
    end)
    box:close()
  end)
end)
