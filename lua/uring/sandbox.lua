-- sandbox: uring.sandbox, the part of the library for a script that is not
-- trusted: tasks, time and channels, and addresses of the mailboxes that the
-- host names.
--
-- Invariant: nothing that can be reached from it gives a ring, a descriptor,
-- a name, the loop, or a table that the library itself uses. The functions are
-- the library's own, and have no tables but their upvalues. Objects hide their
-- metatables: those of C by a string, those of Lua (event.lua, select.lua) by
-- a value that is good for nothing.

local core = require("uring.core").public
local scopes <const> = require("uring.scope").public

local tasks <const> = require "uring.core"
local address_of <const> = tasks.address_of
local error <const>, type <const>, next <const> = error, type, next
local tostring <const> = tostring
local format <const> = string.format

local FUNCTIONS <const> = {
  spawn = core.spawn, scope = scopes.scope, timeout = scopes.timeout,
  shield = scopes.shield, sleep = core.sleep, now = core.now,
  select = require("uring.select").public.select,
  channel = core.channel, semaphore = core.semaphore,
}

local function check_options(options)
  if options == nil then return {} end
  if type(options) ~= "table" then
    error("bad argument #1 to 'sandbox' (table expected, got "
      .. type(options) .. ")", 3)
  end
  for name in next, options do
    if name ~= "mailboxes" then
      error(format("bad argument #1 to 'sandbox' (unknown option '%s'; there "
        .. "is mailboxes)", tostring(name)), 3)
    end
  end
  local mailboxes = options.mailboxes
  if mailboxes ~= nil and type(mailboxes) ~= "table" then
    error("bad argument #1 to 'sandbox' (option 'mailboxes' must be a table)",
      3)
  end
  return mailboxes or {}
end

-- Addresses of the script's own: those that it closes are not the host's.
local function sandbox(options)
  local mailboxes, addresses, made = check_options(options), {}, {}
  for name, mailbox in next, mailboxes do
    local address = address_of(mailbox)
    if not address then
      error(format("bad argument #1 to 'sandbox' (mailboxes[%s]: an open "
        .. "mailbox or address expected, got %s)", tostring(name),
        type(mailbox) == "userdata" and tostring(mailbox) or type(mailbox)), 2)
    end
    addresses[name] = address
  end
  for name, f in next, FUNCTIONS do made[name] = f end
  made.mailboxes = addresses
  return made
end

return { public = { sandbox = sandbox } }
