-- Waits by hand on the loop's ring, while all that has completed there is
-- a socket's own, came back at once with a completion that was none.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

describe("by hand, the completion of a socket's receive", function()
  local a, b, ring

  before_each(function()
    if not helper.probe.available then return end
    a, b = assert(uring.socketpair(uring.SOCK_DGRAM))
    ring = uring.loop():ring()
    -- a request of b's goes on after its task has gone, and completes
    uring.run(function()
      uring.spawn(function() uring.timeout(0, b.receive, b) end)
      uring.select({ b:receiving(), uring.after(0) })
      a:send "one"
    end)
  end)

  after_each(function()
    if a then
      a:close()
      b:close()
    end
  end)

  it("is no completion for wait_cqe", function()
    local data, message, errno = ring:wait_cqe(0.01)
    assert.same({ n = 3, nil, message, E.ETIME },
      table.pack(data, message, errno))
  end)

  it("is no completion for peek_cqe", function()
    assert.same({ n = 3, nil, "no completion is there yet", E.EAGAIN },
      table.pack(ring:peek_cqe()))
  end)

  it("does not end submit_and_wait", function()
    local n, message, errno = ring:submit_and_wait(1, 0.01)
    assert.same({ n = 3, nil, message, E.ETIME },
      table.pack(n, message, errno))
  end)

  it("stays the socket's beside completions that are taken by hand", function()
    assert(ring:queue(uring.sqe():prep_nop():set_data64(7)))
    assert.same({ 7, 0, 0, "completion" }, { ring:wait_cqe(5) })
    uring.run(function() assert.equal("one", (b:receive(10, 5))) end)
  end)
end)
