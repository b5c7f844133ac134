-- uring: io_uring's messages in Lua. The C core is uring.core. What is policy
-- rather than mechanism is written in Lua, in uring/*.lua, and joined here.
--
-- Each module under uring keeps its public functions in a field `public`, so
-- that this table alone has them at its top level: Lua names a function in a
-- traceback after any table of package.loaded that has it.

local core = require "uring.core"
local uring = core.public --[[@as uring]]

core.set_lua_dir()

local function join(module)
  for name, value in pairs(module.public) do uring[name] = value end
end

join(require "uring.socket")
join(require "uring.scope")
join(require "uring.resolve")
join(require "uring.event")
join(require "uring.select")
join(require "uring.time")
join(require "uring.tree")
join(require "uring.sandbox")
join(require "uring.call")
join(require "uring.file")
join(require "uring.stream")
join(require "uring.process")
join(require "uring.worker")
join(require "uring.pool")
join(require "uring.signals")
join(require "uring.fs")
join(require "uring.serve")
join(require "uring.compat")
require("uring.file").standard(uring)

return uring
