-- What a request is about is kept for its words before it is queued, and that
-- may run a finalizer: the ring may be closed then, or the task cancelled.

local helper = require "helper"

local it = helper.needs_ring(it)

-- Runs `call` in a task, with a finalizer that runs `finalizer` in the call's
-- first allocation; what it said.
local function script(call, finalizer)
  return helper.script_ok(([[
    local uring = require "uring"
    local ring = assert(uring.ring { entries = 16 })
    local open = uring.sqe():prep_openat(uring.AT_FDCWD,
      "/no/such/file/and/a/name/that/is/no/short/string")
    local ran
    local function call(connect) return %s end
    uring.run(function()
      -- a listener whose queue is full does not answer
      local name = "unix:@uring-finalizer-" .. require "uring_spec".getpid()
        .. "-a-name-that-is-no-short-string"
      local listener = assert(uring.unix.listen(name, 0))
      local client = assert(uring.unix.connect(name))
      local s <close> = assert(uring.socket(uring.AF_UNIX, uring.SOCK_STREAM))
      local connect = uring.sqe():prep_connect(s, name)
      local t = uring.spawn(function()
        local me = uring.current()
        collectgarbage()
        collectgarbage()
        collectgarbage "stop"
        collectgarbage("incremental", 100, 1000, 30)
        setmetatable({}, { __gc = function() ran = true %s end })
        collectgarbage "restart"
        local _, why = pcall(call, connect)
        return why
      end)
      local _, why = t:join(10)
      assert(ran, "no finalizer has run")
      io.write(tostring(why))
    end)]]):format(call, finalizer))
end

describe("a finalizer in an await", function()
  it("may close the ring", function()
    helper.needs_eager_collector()
    for _, call in ipairs { "ring:await(open)", "ring:queue(open)" } do
      assert.matches("attempt to use a closed ring",
        script(call, "ring:close()"))
    end
  end)

  it("may cancel the task", function()
    helper.needs_eager_collector()
    assert.equal("uring.cancelled", script("uring.await(connect)",
      "me:cancel()"))
  end)
end)
