-- uring: io_uring's messages in Lua. The C core is uring.core; what is policy
-- rather than mechanism is written in Lua, in uring/*.lua, and joined here.

local uring = require "uring.core" --[[@as uring]]

uring._tasks.home()

local function join(part)
  for name, value in pairs(part) do uring[name] = value end
end

join(require "uring.socket")
join(require "uring.scope")
join(require("uring.event").public)
join(require("uring.select").public)
join(require "uring.channel")
join(require "uring.semaphore")
join(require "uring.tree")

return uring
