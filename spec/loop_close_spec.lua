-- loop:close ends all tasks, in a bounded time, and closes what the loop has.

local helper = require "helper"
local hosts = require "hosts"

local hosted = hosts.tests(helper.needs_ring(it))

-- luacheck: globals loop uring H

describe("loop:close", function()
  hosted("ends all tasks, what they are to close included", function()
    local log = {}
    for i = 1, 3 do
      loop:spawn(function()
        local _ <close> = H.finally(function()
          uring.shield(1, uring.sleep, 0.001)
          log[#log + 1] = i
        end)
        uring.spawn(function()
          local _ <close> = H.finally(function() log[#log + 1] = -i end)
          uring.sleep(60)
        end)
        uring.sleep(60)
      end)
    end
    loop:spawn(print)  -- has not begun
    H.settle { max = 3 }
    H.equal(true, loop:close())
    H.equal(6, #log)
    H.equal(true, loop:close())
    H.equal("uring.Loop (closed)", tostring(loop))
    H.raises("closed loop", loop.step, loop)
    H.raises("closed loop", loop.fd, loop)
    H.raises("closed loop", loop.timeout, loop)
    H.raises("closed loop", loop.spawn, loop, print)
    H.raises("loop was closed", uring.run, print)
    H.raises("loop was closed", uring.spawn, print)
    assert(uring.ring())
  end)

  hosted("keeps to its bound", function()
    local closed
    local task = loop:spawn(function()
      local _ <close> = H.finally(function() closed = true end)
      uring.shield(math.huge, uring.sleep, 60)
    end)
    H.settle()
    local began = uring.now()
    local ok, why, errno = loop:close(0.05)
    assert(ok == nil and errno == uring.errno.ETIME)
    assert(why:find "1 of its tasks did not end in time", why)
    assert(uring.now() - began < 1 * H.slow)
    assert(closed)
    H.equal("cancelled", task:status())
  end)

  hosted("closes all descriptors, and raises an error of a task", function()
    local before = H.fds()
    do
      loop:fd()
      local ring = assert(uring.ring())
      loop:spawn(function() ring:receive() end)
      loop:spawn(function() loop:ring():receive() end)
      loop:spawn(function()
        local _ <close> = H.finally(function() error "late" end)
        uring.sleep(60)
      end)
      loop:step()
      H.raises("late", loop.close, loop)
      assert(loop:close())
      ring:close()
    end
    H.equal(before - 1, H.fds())  -- (its ring)
  end)

  hosted("is what a to-be-closed variable does", function()
    local task
    do
      local l <close> = loop
      task = l:spawn(uring.sleep, 60)
      l:step()
    end
    H.equal("cancelled", task:status())
    H.equal("uring.Loop (closed)", tostring(loop))
  end)
end)
