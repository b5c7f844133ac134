-- uring: io_uring's messages in Lua. The C core is uring.core; what is policy
-- rather than mechanism is written in Lua, in uring/*.lua, and joined here.

local uring = require "uring.core" --[[@as uring]]

for _, part in ipairs { "socket", "scope" } do
  for name, value in pairs(require("uring." .. part)) do
    uring[name] = value
  end
end

return uring
