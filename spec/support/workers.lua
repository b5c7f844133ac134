-- What specs of workers have in common.

local helper = require "helper"
local uring = require "uring"

local workers = {}

-- The threads of this process.
local function threads()
  return tonumber(helper.content("/proc/self/status"):match "Threads:%s*(%d+)")
end

-- A busted `it`: what f leaves running, or open, is an error. (A thread that
-- was joined may still be in the list for a moment; helper threads of the
-- library stay.)
function workers.tidy(it)
  local ring_it <const> = helper.needs_ring(it)
  return function(title, f)
    ring_it(title, function()
      local before = threads()
      uring.run(function() uring.loop() end)
      helper.keeps_fds(f)
      assert(#uring.workers() == 0, "a worker was left")
      helper.eventually(function() return threads() <= before end, 10)
    end)
  end
end

function workers.new(...) return assert(uring.worker(...)) end

-- The worker fails, and says these words.
function workers.fails_with(words, w)
  local ok, why, errno = w:join()
  assert(ok == nil and errno == nil, why)
  assert(why:find(words, 1, true), why)
end

return workers
