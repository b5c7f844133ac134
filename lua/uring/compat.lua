-- compat: uring.compat, the interfaces of other libraries. Each is loaded when
-- it is first used, and uring.compat.socket is what
-- require "uring.compat.socket" gives.

local error <const>, tostring <const> = error, tostring
local rawset <const>, require <const> = rawset, require
local format <const> = string.format

local compat <const> = setmetatable({}, {
  __index = function(t, name)
    if name ~= "socket" then
      error(format("no interface '%s' in uring.compat: there is 'socket'",
        tostring(name)), 2)
    end
    local module = require "uring.compat.socket"
    rawset(t, name, module)
    return module
  end,
})

return { public = { compat = compat } }
