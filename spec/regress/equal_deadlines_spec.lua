-- Of waits whose deadlines are equal the last that had begun could end first:
-- the heap of deadlines had no order among equals.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(helper.idle_loop)

-- n tasks wait until one time, and each fifth is cancelled before. In which
-- order the others ended, and have begun; nil where the time came too early.
local function ended(n, seconds)
  local t = uring.now() + seconds
  local order, expected, tasks = {}, {}, {}
  for i = 1, n do
    tasks[i] = uring.spawn(function()
      -- (they differ in when they were set, and in what else they wait for)
      if i % 3 == 0 then uring.select({ uring.at(t) }, 60)
      elseif i % 3 == 1 then uring.select { uring.at(t + 60), uring.at(t) }
      else uring.select { uring.at(t), uring.channel():receiving() }
      end
      order[#order + 1] = i
    end)
    if i % 7 == 0 then uring.sleep(0) end
  end
  uring.sleep(0)
  for i = 1, n do
    if i % 5 == 4 then tasks[i]:cancel()
    else expected[#expected + 1] = i end
  end
  local early = uring.now() < t
  for i = 1, n do tasks[i]:join() end
  if early then return order, expected end
end

describe("of equal deadlines", function()
  it("the one that was set first ends first, whatever else was set and "
    .. "cancelled meanwhile", function()
    helper.run(function()
      for _, n in ipairs { 2, 5, 100 } do
        local seconds = 0.01
        repeat
          local order, expected = ended(n, seconds)
          if order then assert.same(expected, order) end
          seconds = seconds * 2
        until order
      end
    end)
  end)
end)
