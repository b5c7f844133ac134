-- The documents tell the truth: every Lua snippet runs, and prints what its
-- `-->` comments say. A snippet goes on where the one before it ended, unless
-- it begins anew with `local uring = require "uring"`.

local helper = require "helper"
local it = helper.needs_ring(it)

local function read(name)
  local file <close> = assert(io.open(name))
  return file:read "a"
end

-- The snippets of a document, joined to scripts.
local function scripts(name)
  local found, line = {}, 1
  local text = read(name)
  for before, code in text:gmatch "(.-)\n```lua\n(.-)\n```" do
    local _, n = before:gsub("\n", "")
    line = line + n + 2
    if code:find '^local uring = require "uring"' or #found == 0 then
      found[#found + 1] = { line = line, code = code }
    else
      found[#found].code = found[#found].code .. "\n" .. code
    end
    _, n = code:gsub("\n", "")
    line = line + n + 1
  end
  return found
end

local function run(name, script)
  local printed, expected = {}, {}
  for words in script.code:gmatch "%-%-> ([^\n]*)" do
    expected[#expected + 1] = words
  end
  local env = setmetatable({
    print = function(...)
      local t = table.pack(...)
      for i = 1, t.n do t[i] = tostring(t[i]) end
      printed[#printed + 1] = table.concat(t, "\t")
    end,
  }, { __index = _G })
  local chunk = assert(load(script.code, ("=%s:%d"):format(name,
    script.line), "t", env))
  chunk()
  assert.same(expected, printed)
end

for _, name in ipairs { "README.md", "doc/guide.md", "doc/internals.md" } do
  describe(name, function()
    local all = scripts(name)
    for _, script in ipairs(all) do
      it(("line %d runs and prints what it says"):format(script.line),
        function()
          for feature in script.code:gmatch "features%.([%w_]+)%.works" do
            helper.needs(feature)
          end
          run(name, script)
          helper.collect()
        end)
    end
  end)
end
