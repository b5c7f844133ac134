-- An event that a program has made may hand on to another's functions as it
-- likes: also to `block` before any `try`. For a socket that no task had used
-- this read a ring that was not there; and what failed then was not reported.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(function()
  net.close()
  helper.no_tasks()
end)

-- An event that blocks on `inner` first, and tries it only after that.
local function gated(inner)
  local open = false
  return uring.event {
    try = function(_, waiter)
      if open then return inner:try(waiter) end
    end,
    block = function(_, waiter)
      open = true
      return inner:block(waiter)
    end,
    cancel = function(_, waiter) return inner:cancel(waiter) end,
  }
end

local function chosen(inner, soon)
  return net.run(function()
    if soon then uring.spawn(soon) end
    local key, value, message, errno = uring.select({ k = gated(inner) },
      net.patience)
    assert.equal("k", key)
    return value, message, errno
  end)
end

describe("an event that is blocked on before it was tried", function()
  it("may be a socket's data, that is there or comes", function()
    local a, b = net.pair()
    assert.equal("x", (chosen(a:receiving(), function()
      uring.sleep(0)
      b:send "x"
    end)))
    b = select(2, net.pair())
    assert.equal(nil, (chosen(b:receiving(), function()
      uring.sleep(0)
      b:close()
    end)))
    local c, d = net.pair(uring.SOCK_DGRAM)
    net.run(function() d:send "y" end)
    assert.equal("y", (chosen(c:receiving(1))))
  end)

  it("may be a connection", function()
    local listener = net.listener()
    local connection = chosen(listener:accepting(), function()
      uring.sleep(0)
      net.keep(assert(uring.tcp.connect(listener:getsockname())))
    end)
    net.keep(connection)
    assert.equal("uring.Socket", getmetatable(connection))
  end)

  it("may be room to send", function()
    local a = net.pair()
    assert.equal(2, (chosen(a:sending "xy")))
  end)

  it("may be a message, a request or a task", function()
    local ring <close> = assert(uring.ring { entries = 4 })
    uring.register_sync_msg(uring.sqe():prep_msg_ring(ring, 5, 7))
    assert.equal(uring.probe().features.sync_msg.works and 5 or 6,
      (chosen(ring:receiving(), function()
        uring.await(uring.sqe():prep_msg_ring(ring, 6, 7))
      end)))
    assert.equal(0, (chosen(ring:awaiting(uring.sqe():prep_nop()))))
    assert.equal("done", select(2, net.run(function()
      local task = uring.spawn(function() return "done" end)
      local _, ok, value = uring.select({ gated(task:joining()) },
        net.patience)
      return ok, value
    end)))
  end)

  it("ends with an error when its object is closed", function()
    local a, b = net.pair()
    local listener = net.listener()
    local ring = assert(uring.ring { entries = 4 })
    local events = { a:receiving(), b:sending "x", listener:accepting(),
      ring:receiving(), ring:awaiting(uring.sqe():prep_nop()) }
    a:close()
    b:close()
    listener:close()
    ring:close()
    for i, event in ipairs(events) do
      local value, message, errno = chosen(event)
      assert.equal(nil, value)
      assert.truthy(message:find("closed", 1, true), i .. message)
      assert.equal(uring.errno.EBADF, errno)
    end
  end)
end)
