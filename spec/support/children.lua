-- What specs of child processes have in common.

local clean = require "clean"
local spec = require "uring_spec"
local uring = require "uring"

local children = {}

-- With busted's functions: every test leaves no child, no zombie and no
-- descriptor.
function children.leave_none(before_each, after_each)
  before_each(clean.begin(function()  -- (the loop, and its doorbell)
    uring.run(function() assert(uring.process { "true" }):wait() end)
  end))
  after_each(clean.finish(function()
    assert(spec.children() == false, "a child was left")
  end))
end

function children.sh(script, options)
  options = options or {}
  options[1], options[2], options[3] = "/bin/sh", "-c", script
  return assert(uring.process(options))
end

-- The process of this number does not exist. (It is not a child of this one.)
function children.gone(pid)
  return select(3, spec.kill(pid, 0)) == uring.errno.ESRCH
end

return children
