-- The tables of the module: what is public is in one of them, and what only
-- the library's own Lua files may call is in another.

local helper = require "helper"
local uring = require "uring"

local ring_it = helper.needs_ring(it)

-- Where package.loaded has this function as luaL_traceback looks for it: a
-- module's field.
local function names_of(f)
  local names = {}
  for module, fields in pairs(package.loaded) do
    if type(fields) == "table" then
      for name, value in next, fields do
        if rawequal(value, f) then
          names[#names + 1] = ("%s.%s"):format(module, name)
        end
      end
    end
  end
  return names
end

describe("the module's tables", function()
  it("have each public function under one name, for tracebacks", function()
    local n = 0
    for name, value in next, uring do
      if type(value) == "function" then
        n = n + 1
        assert.same({ "uring." .. name }, names_of(value))
      end
    end
    assert(n > 20, n)
  end)

  it("keep what only the library's Lua files call out of the public one",
    function()
      assert.is_nil(rawget(uring, "_tasks"))
      local core = require "uring.core"
      assert.equal(uring, core.public)
      for name, value in next, core do
        for public, other in next, uring do
          assert.is_false(rawequal(value, other), name .. ", " .. public)
        end
      end
    end)

  ring_it("name uring.run in a traceback", function()
    local _, text = xpcall(uring.run, debug.traceback)
    assert.truthy(text:find("'uring.run'", 1, true), text)
  end)
end)
