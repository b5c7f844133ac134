-- A socket that gives leases has buffers of its own. At the end of a state the
-- loop's ring went first, and the socket wrote into what was freed.

local helper = require "helper"

local it = helper.needs_ring(it)

after_each(helper.clean)

describe("a socket that gives leases and is never closed", function()
  for what, code in pairs {
    ["that has received nothing"] = "",
    ["whose lease is there still"] = [[a:send "x" uring.sleep(0.01)]],
  } do
    it("ends with its state: one " .. what, function()
      assert.equal("well", helper.script_ok(([[
        local uring = require "uring"
        a, b = uring.socketpair()
        uring.run(function()
          uring.daemon(function()
            for lease in b:chunks { lease = true } do kept = lease end
          end)
          uring.sleep(0.01)
          %s
        end)
        io.write "well"]]):format(code)))
    end)
  end
end)
