-- The script of a zone. An actor has a mailbox with a name. It answers the
-- players' datagrams, greets other actors when nothing has come for a while,
-- and counts all that it sends and receives.
--
-- The host gives the zone's number, how many zones and actors there are, and
-- the address of what sends answers to players. It calls what is returned
-- after all tasks have ended, for the counts.

local uring = require "uring"

local zone <const>, zones <const>, actors <const>, answers <const> = ...

local random <const> = math.random

local received, sent, answered, refused, timeouts = 0, 0, 0, 0, 0
local mailboxes = {}
local addresses = {}          -- of actors that were met

local function address_of(actor)
  local address = addresses[actor]
  if address then return address end
  address = uring.address("actor " .. actor)
  addresses[actor] = address
  return address
end

-- The other one may be busy, or away, as its zone is loaded again: then it has
-- a new mailbox with the old name.
local function tell(actor, ...)
  for _ = 1, 2 do
    local address = address_of(actor)
    if not address then break end
    local ok, _, errno = uring.timeout(0.05, address.send, address, ...)
    if ok then
      sent = sent + 1
      return
    end
    if errno ~= uring.errno.EPIPE then break end
    addresses[actor] = nil
  end
  refused = refused + 1
end

local on = {}

function on.datagram(_, player, text)
  if uring.timeout(0.5, answers.send, answers, player, text) then
    answered = answered + 1
  end
end

function on.greeting(id, from)
  tell(from, "nod", id)
end

function on.nod() end

local function live(id, mailbox)
  while true do
    local kind, a, b = mailbox:receive(0.1 + 0.2 * random())
    if kind then
      received = received + 1
      on[kind](id, a, b)
    else
      timeouts = timeouts + 1
      uring.sleep(0.05 * random())
      local other = random(actors)
      if other ~= id then tell(other, "greeting", id) end
    end
  end
end

for id = zone, actors, zones do
  local mailbox = assert(uring.mailbox{ name = "actor " .. id, capacity = 64,
    bytes = 8192 })
  mailboxes[#mailboxes + 1] = mailbox
  uring.spawn(live, id, mailbox)
end

return function()
  local undelivered = 0
  for _, mailbox in ipairs(mailboxes) do
    local _, n = mailbox:close()
    undelivered = undelivered + n
  end
  return received, undelivered, sent, answered, refused, timeouts
end
