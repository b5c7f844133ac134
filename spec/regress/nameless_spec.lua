-- An error in a function that was not called by Lua code, but by uring.run,
-- uring.spawn or pcall, said "bad argument #1 to '?'".

local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

-- name -> function, for each of the module and each method of its C classes
local function functions()
  local found = {}
  for name, value in pairs(uring) do
    if type(value) == "function" then found[name] = value end
  end
  for key, class in pairs(debug.getregistry()) do
    local name = type(key) == "string" and key:match "^uring%.(%u%a*)$"
    local methods = name and class.__index
    if type(methods) == "function" then
      methods = select(2, debug.getupvalue(methods, 2))
    end
    for method, f in pairs(methods or {}) do
      if type(f) == "function" and debug.getinfo(f, "S").what == "C" then
        found[name .. "." .. method] = f
      end
    end
  end
  return found
end

describe("the error of a wrong argument", function()
  it("has the function's name, whatever has called the function", function()
    local n = 0
    for name, f in pairs(functions()) do
      local ok, why = pcall(f, 0 / 0)
      if not ok and tostring(why):find "bad argument" then
        local said = why:match "bad argument #1 to '([^']*)'"
        assert.truthy(said and said:gsub("^uring%.", ""):gsub("^core%.", "")
          == name, name .. ": " .. why)
        n = n + 1
      end
    end
    assert.truthy(n > 100)
  end)

  it("is the same for every way to call a function in a task", function()
    local listener = assert(uring.tcp.listen "127.0.0.1:0")
    listener:close()
    local accept = listener.accept
    local words = "bad argument #1 to 'uring.Socket.accept' (attempt to use a "
      .. "closed socket)"
    helper.raises(words, uring.run, accept, listener)
    for _, call in ipairs {
      function() uring.spawn(accept, listener):join() end,
      function() uring.timeout(1, accept, listener) end,
      function() uring.shield(1, accept, listener) end,
      function() uring.wrap(accept)(listener) end,
      function() uring.select { uring.event(accept, listener) } end,
      function()
        uring.select { uring.event(function() return listener end)
          :wrap(accept) }
      end,
      function() assert(pcall(accept, listener)) end,
    } do
      helper.raises(words, uring.run, call)
    end
  end)

  it("is the same after a new require", function()
    assert.equal("", helper.script_ok [[
      local uring = require "uring"
      for name in pairs(package.loaded) do
        if name:find "^uring" then package.loaded[name] = nil end
      end
      uring = require "uring"
      local _, why = pcall(uring.buffer(1).close, 1)
      assert(why:find("to 'uring.Buffer.close'", 1, true), why)]])
  end)
end)
