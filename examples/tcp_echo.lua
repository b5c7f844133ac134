-- A TCP echo server in ten lines; examples/echo.lua is the one to build on.
--
--     tools/env.sh plain lua5.4 examples/tcp_echo.lua [ADDRESS]
--     socat - TCP:127.0.0.1:7777
--
-- (tools/env.sh finds the module in build/. Where the module is installed,
-- lua5.4 alone will do; so in all examples.)

local uring = require "uring"

local function echo(accepted)
  local conn <close> = accepted  -- closed whatever ends this task
  for data in conn:chunks() do assert(conn:send(data)) end
end

uring.run(function()
  local server = assert(uring.tcp.listen(arg[1] or "127.0.0.1:7777"))
  -- pcall: an error of one connection does not end the others
  for conn in server:connections() do uring.spawn(uring.pcall, echo, conn) end
end)
