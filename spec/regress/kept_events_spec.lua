-- The events and keys of the last choice were kept, where one was ready.

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("a choice", function()
  it("that is over keeps neither its events nor its keys", function()
    helper.run(function()
      local kept = setmetatable({}, { __mode = "k" })
      local function choose(capacity)
        local events = {}
        for _ = 1, 5 do
          local channel, key = uring.channel(1), {}
          if capacity > 0 then channel:send(1) end
          kept[key], kept[channel] = true, true
          events[key] = channel:receiving()
        end
        uring.select(events, 0)
      end
      for _, capacity in ipairs { 1, 0 } do
        choose(capacity)
        helper.collect()
        assert.is_nil(next(kept))
      end
    end)
  end)
end)
