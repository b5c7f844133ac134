-- The results of an ended task lay on its coroutine, which scripts can close
-- or resume: joining it then read below the stack.

local helper = require "helper"

local it = helper.needs_ring(it)

-- In a process of its own: what went wrong here ended it.
local function survives(body)
  return helper.script_ok([[
    local uring = require "uring"
    local co
    ]] .. body .. [[ io.write "survived" ]])
end

describe("a task that ended", function()
  for _, how in ipairs { "close", "resume" } do
    it(("keeps its results when its coroutine is met by %s"):format(how),
      function()
        assert.equal("survived", survives(([[
          uring.run(function()
            local task = uring.spawn(function()
              co = coroutine.running()
              return 1, 2, 3
            end)
            task:join()
            pcall(coroutine.%s, co)
            collectgarbage()
            local result = table.pack(pcall(task.join, task))
            assert(result[1] == false or result[2] == nil
              or result.n == 5 and result[5] == 3)
          end)]]):format(how)))
      end)

    it(("keeps its error when its coroutine is met by %s"):format(how),
      function()
        assert.equal("survived", survives(([[
          local ok, message = pcall(uring.run, function()
            uring.spawn(function()
              co = coroutine.running()
              error "the first"
            end)
            local ok, message = pcall(uring.sleep, 1)
            pcall(coroutine.%s, co)
            collectgarbage()
            error(message, 0)
          end)
          assert(not ok)]]):format(how)))
      end)
  end
end)
