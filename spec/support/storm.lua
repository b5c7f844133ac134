-- What storms share: random choices, and rounds that go on for some seconds.
--
-- URING_SEED repeats one; URING_SOAK is for how many seconds it goes on.
--
--     storm.rounds(1, function() … storm.pick { "a", "b" } … end)

local helper = require "helper"
local uring = require "uring"

local storm = {}
local seed = tonumber(os.getenv "URING_SEED") or os.time()

-- One of a list, at random.
function storm.pick(list) return list[math.random(#list)] end

-- Runs f again and again for so many seconds, or as many as are asked for;
-- three times at least, and then `last`. No descriptor may be left. The error
-- of a round names the seed.
function storm.rounds(seconds, f, last)
  local limit = uring.now() + (tonumber(os.getenv "URING_SOAK") or seconds)
  local rounds = 0
  math.randomseed(seed)
  helper.keeps_fds(function()
    repeat
      rounds = rounds + 1
      local ok, why = xpcall(f, debug.traceback)
      if not ok then
        error(("URING_SEED=%d, round %d: %s"):format(seed, rounds, why), 0)
      end
    until uring.now() > limit and rounds >= 3
    helper.collect()
    if last then last() end
  end)
end

return storm
