-- What specs of mailboxes and addresses share.
--
--     local mailboxes = require "mailboxes"
--
--     local box, address = mailboxes.pair { capacity = 1 }

local assert = require "luassert"
local uring = require "uring"

local mailboxes = {}

-- A mailbox and an address of it.
function mailboxes.pair(options)
  local box = assert(uring.mailbox(options))
  return box, box:address()
end

-- These are the results of a call that failed so.
function mailboxes.failed(errno, words, ...)
  local value, message, got = ...
  assert.is_nil(value)
  assert.equal(errno, got, message)
  assert.truthy(message:find(words, 1, true), message)
end

return mailboxes
