-- Every kind of ring that messages come to, for specs of messages.
--
--     local kinds = require "kinds"
--
--     kinds.each(function(name, make)
--       it("goes to " .. name, function()
--         local ring = make { entries = 4 }
--         ...
--       end)
--     end)

local hand = require "hand"
local helper = require "helper"
local uring = require "uring"

local kinds = {}

-- A name, its options, and what the kernel must have for it.
local all = {
  { "the default", nil },
  { "a plain", { flags = 0 } },
  { "an IOPOLL", { flags = uring.IORING_SETUP_IOPOLL } },
  { "an SQPOLL", { flags = uring.IORING_SETUP_SQPOLL } },
  { "a CQE32", { flags = uring.IORING_SETUP_CQE32 } },
  { "an SQE128", { flags = uring.IORING_SETUP_SQE128 } },
  { "a COOP_TASKRUN", { flags = uring.IORING_SETUP_COOP_TASKRUN } },
  { "a SINGLE_ISSUER", { flags = uring.IORING_SETUP_SINGLE_ISSUER } },
  { "a DEFER_TASKRUN without TASKRUN_FLAG",
    { flags = uring.IORING_SETUP_SINGLE_ISSUER
        | uring.IORING_SETUP_DEFER_TASKRUN } },
  { "a CQE_MIXED", { flags = uring.IORING_SETUP_CQE_MIXED }, "cqe_mixed" },
}

-- Those of them that this kernel can make.
function kinds.possible()
  local some = {}
  for _, kind in ipairs(all) do
    if not kind[3] or helper.has(kind[3]) then some[#some + 1] = kind end
  end
  return some
end

-- f(name, make) for each; make(options) skips the test where it cannot.
function kinds.each(f)
  for _, kind in ipairs(all) do
    local name, options, feature = table.unpack(kind, 1, 3)
    f(name .. " ring", function(more)
      if feature then helper.needs(feature) end
      local both = {}
      for k, v in pairs(options or {}) do both[k] = v end
      for k, v in pairs(more or {}) do both[k] = v end
      return hand.ring(both)
    end)
  end
end

return kinds
