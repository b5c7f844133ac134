-- For specs of what the whole process has: each test leaves no descriptor.
--
--     local clean = require "clean"
--     before_each(clean.begin(function() ... end))  -- what all tests make
--     after_each(clean.finish(function() ... end))  -- other things to check

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"

local clean = {}
local before

local function collected()
  collectgarbage()
  collectgarbage()
  return spec.fds()
end

-- A hook that counts them, after `first` where there is io_uring.
function clean.begin(first)
  return function()
    helper.make_doorbell()
    if helper.probe.available then first() end
    before = collected()
  end
end

-- A hook that closes what helper and net have opened, calls `check`, and
-- compares; with `later` until the numbers agree.
function clean.finish(check, later)
  return function()
    net.close()
    helper.clean()
    helper.idle_loop()
    if not later then collected() end
    check()
    if later then
      helper.eventually(function() return collected() == before end)
    else
      assert(before == spec.fds(), ("%d descriptors before, %d after"):format(
        before, spec.fds()))
    end
  end
end

return clean
