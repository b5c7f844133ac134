-- A chain that is cancelled after a silent member of it has opened a file: its
-- result, of which nothing was ever said, was taken for descriptor 0.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

it("a cancelled chain closes no descriptor that it does not know", function()
  assert.equal("open", helper.script_ok [[
    local uring = require "uring"
    uring.run(function()
      local ring = uring.loop():ring()
      local task = uring.spawn(function()
        ring:await_chain {
          uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null",
            uring.O_RDONLY, 0):set_flags(uring.IOSQE_CQE_SKIP_SUCCESS),
          uring.sqe():prep_timeout(60),
        }
      end)
      for _ = 1, 10 do uring.sleep(0.001) end
      task:cancel()
      task:join()
    end)
    local stdin <close> = assert(io.open "/proc/self/fd/0")
    io.write "open"]])
end)

it("a cancelled chain closes the files that it has opened", function()
  uring.loop()  -- whose ring is made once
  helper.keeps_fds(function()
    uring.run(function()
      local ring = uring.loop():ring()
      local before = ring:stats().completed
      local task = uring.spawn(function()
        ring:await_chain {
          uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null",
            uring.O_RDONLY, 0),
          uring.sqe():prep_timeout(60),
        }
      end)
      helper.eventually(function()
        uring.sleep(0)
        return ring:stats().completed > before
      end)
      task:cancel()
      task:join()
    end)
  end)
end)
