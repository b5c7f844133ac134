-- sandbox: uring.sandbox, the part of the library for a script that is not
-- trusted: tasks, time and channels, and addresses of the mailboxes that the
-- host names.
--
-- Invariant: nothing that can be reached from it gives a ring, a descriptor,
-- a name, the loop, or a table that the library itself uses. The functions are
-- the library's own, and have no tables but their upvalues. Objects hide their
-- metatables: those of C by a string, those of Lua (event.lua, select.lua) by
-- a value that is good for nothing.

local public = require("uring.core").public
local scopes <const> = require("uring.scope").public
local argument <const> = require "uring.argument"

local core <const> = require "uring.core"
local address_of <const> = core.address_of
local bad_argument <const>, check_options <const> =
  argument.bad_argument, argument.check_options
local type <const>, next <const>, tostring <const> = type, next, tostring

local FUNCTIONS <const> = {
  spawn = public.spawn, scope = scopes.scope, timeout = scopes.timeout,
  shield = scopes.shield, sleep = public.sleep, now = public.now,
  select = require("uring.select").public.select,
  channel = public.channel, semaphore = public.semaphore,
}

local OPTIONS <const> = { { "mailboxes", "table" } }

-- Addresses of the script's own: those that it closes are not the host's.
local function sandbox(options)
  options = check_options(options, 1, "sandbox", OPTIONS)
  local addresses, made = {}, {}
  for name, mailbox in next, options.mailboxes or {} do
    local address = address_of(mailbox)
    if not address then
      bad_argument(1, "sandbox", "mailboxes[%s]: an open mailbox or address "
        .. "expected, got %s", tostring(name),
        type(mailbox) == "userdata" and tostring(mailbox) or type(mailbox))
    end
    addresses[name] = address
  end
  for name, f in next, FUNCTIONS do made[name] = f end
  made.mailboxes = addresses
  return made
end

return { public = { sandbox = sandbox } }
