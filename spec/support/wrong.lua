-- Wrong arguments, for specs of the prep_ methods that must refuse them.
--
--     local wrong = require "wrong"
--
--     wrong.refuses("prep_listen", { 0, 5 }, { wrong.fd, wrong.int })

local assert = require "luassert"
local helper = require "helper"
local uring = require "uring"

local wrong = {}

-- Calls method with each wrong value at the place of each argument; `good`
-- has what is right, `kinds` what must be said of each.
function wrong.refuses(method, good, kinds)
  local s = uring.sqe():prep_nop():set_data64(77)
  for i, kind in ipairs(kinds) do
    for _, bad in ipairs(kind.bad) do
      local args = table.move(good, 1, #good, 1, {})
      args[i] = bad
      local why = helper.raises(kind.words, s[method], s,
        table.unpack(args, 1, math.max(i, #good)))
      assert.truthy(why:find(("bad argument #%d"):format(i + 1), 1, true),
        why)
      assert.equal(77, s.user_data)  -- it is what it was before
    end
  end
  helper.raises("uring.Sqe expected", s[method], {}, table.unpack(good))
end

-- An integer from 0 to max, as a kind of argument.
function wrong.integer(max)
  return { words = ("integer from 0 to %d expected"):format(max),
    bad = { -1, 0.5, "1", true, {}, max + 1, 0 / 0 } }
end

wrong.flags, wrong.int = wrong.integer(0xffffffff), wrong.integer(0x7fffffff)
wrong.fd = { words = "descriptor expected",
  bad = { "0", true, {}, 0.5, 1 << 31, uring.errno } }
wrong.address = { words = "address expected",
  bad = { 5, true, {}, "localhost:1", "1.2.3.4", "" } }

return wrong
