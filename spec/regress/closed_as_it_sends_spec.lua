-- A finalizer closes the socket while a message for it is prepared, and its
-- number becomes another's. The message went there.

local helper = require "helper"

local it = helper.needs_ring(it)

describe("a socket that a finalizer closes as it sends", function()
  it("sends nothing to the next with its number", function()
    helper.needs_eager_collector()
    assert.equal("true 9", helper.script_ok [[
      local uring = require "uring"
      local armed, socket, at, turn, others = false, nil, 0, 0, nil
      local function arm()
        setmetatable({}, { __gc = function()
          if armed then
            turn = turn + 1
            if turn == at then
              socket:close()
              others = { uring.socketpair(uring.SOCK_STREAM) }
            end
          end
          arm()
        end })
      end
      local said, closed = {}, 0
      uring.run(function()
        collectgarbage("incremental", 10, 1000, 10)
        for _ = 1, 7 do arm() end
        for i = 1, 200 do
          local a, b = uring.socketpair(uring.SOCK_STREAM)
          local message = { data = ("x"):rep(100) }
          socket, at, turn, others = a, i % 4 + 1, 0, nil
          armed = true
          local ok, n, _, errno = pcall(a.sendmsg, a, message, 60)
          armed = false
          if others then
            closed = closed + 1
            said[tostring(ok) .. " " .. tostring(n or errno)] = true
            for _, other in ipairs(others) do
              assert(not other:try_receive(1), "it has got the message")
              other:close()
            end
          end
          a:close()
          b:close()
        end
      end)
      assert(closed > 10, closed)
      io.write(next(said), next(said, (next(said))) or "")]])
  end)
end)
