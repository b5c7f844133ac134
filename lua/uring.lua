-- uring: io_uring's messages in Lua. The C core is uring.core; what is policy
-- rather than mechanism is written in Lua, in uring/*.lua, and joined here.

return require "uring.core" --[[@as uring]]
