-- Every public function and method, found in the module itself, is called
-- with all that does not belong there: it raises, and says which argument and
-- what was expected; and everything works on as before.
--
-- spec/support/bad_input has the list of functions (public.lua, to which a new
-- one is added), the values that they are tried with, and the calls.

local calls = require "bad_input.calls"
local helper = require "helper"
local listed = require "bad_input.public"
local uring = require "uring"
local values = require "bad_input.values"

local it = helper.needs_ring(it)

local public, found, good = listed.functions, calls.found, values.good

setup(function()
  if helper.probe.available then values.fill() end
end)

teardown(values.close)

describe("the list of public functions", function()
  it("has them all, and no other", function()
    for class, functions in pairs(found) do
      local here = assert(public[class], "no such class here: " .. class)
      for name in pairs(functions) do
        assert(here[name], ("%s.%s is not in bad_input/public.lua"):format(
          class, name))
      end
      for name in pairs(here) do
        assert(functions[name], ("%s.%s is no more"):format(class, name))
      end
    end
    for class in pairs(public) do assert(found[class], class) end
  end)
end)

for class, functions in pairs(public) do
  describe(class, function()
    for name, kinds in pairs(functions) do
      it(("%s refuses wrong arguments"):format(name), function()
        calls.try(class, name, kinds)
      end)
    end

    it("has metamethods that refuse other objects", function()
      if class == "uring" then return end
      calls.try_metamethods(class)
    end)
  end)
end

describe("a function that waits", function()
  -- name of a function -> does its docstring say that it waits?
  local function told()
    local waits, rule = {}, false
    for line in helper.content "lua/uring/meta.lua":gmatch "([^\n]*)\n" do
      rule = rule or line == "---@async"
      local name = line:match "^function ([%w_.:]+)%("
      if name then
        name = name:gsub("^(%u%a+):", "uring.%1.")
        waits[name] = rule
      end
      if not line:find "^%-%-%-" then rule = false end
    end
    return waits
  end

  -- Does it? Outside a task a wait says so; a loop's does at its first step.
  local function does_wait(f, ...)
    local ok, first, state = pcall(f, ...)
    if ok and type(first) == "function" then
      ok, first = pcall(first, state)
    end
    return not ok
      and tostring(first):find("only a task can wait", 1, true) ~= nil
  end

  -- These are not called here: pool and interpreter are needed further on (and
  -- uring.address waits only with a timeout, uring.resolve only for a name).
  local spared = { address = true, resolve = true, close = true,
    release = true, fd = true, run = true, wrap = true, shutdown = true,
    queue = true, push = true, register_sync_msg = true,
    join = true }  -- (this task has ended, so its join need not wait)

  it("says so in its docstring, and no other does", function()
    local waits, found_some = told(), 0
    local function compare(name, f, ...)
      local does = does_wait(f, ...)
      assert.equal(does, waits[name], name)
      if does then found_some = found_some + 1 end
    end
    for class, functions in pairs(public) do
      for name, kinds in pairs(functions) do
        -- (a shield begins in a cancelled task too: its wait is none)
        if not spared[name] and class ~= "uring.Sqe" and name ~= "shield" then
          local args = calls.arguments(class, kinds)
          compare(calls.full_name(class, name), found[class][name],
            table.unpack(args, 1, args.n))
        end
      end
    end
    for _, family in ipairs { "tcp", "udp", "unix" } do
      for name, f in pairs(uring[family]) do
        compare(("uring.%s.%s"):format(family, name), f,
          family == "unix" and "unix:@nobody/there" or "127.0.0.1:1")
      end
    end
    assert.truthy(found_some > 20, found_some)
  end)
end)

describe("an array argument of", function()
  for method, args in pairs {
    register_files = {}, register_files_update = { 0 }, await_chain = {},
  } do
    it(method .. " is named itself, not the place of an element", function()
      values.fill()
      calls.begin()
      uring.run(function()
        for _, entry in ipairs(values.pool) do
          local what, value = entry[1], entry[2]
          local right
          if method == "await_chain" then right = listed.sqe.accepts(value)
          else right = listed.fd.accepts(value) or value == false end
          if not right then
            local all = { good.ring, table.unpack(args) }
            all[#all + 1] = { value }
            all.n = #all
            calls.refused("uring.Ring", method, all, all.n,
              "{ " .. what .. " }")
          end
        end
      end)
      calls.complain()
    end)
  end
end)

describe("an sqe or operation of a closed ring", function()
  it("gives nil, message, errno, or says that it is closed", function()
    uring.run(function()
      local closed = good.op_of_closed
      assert.equal("done", closed:status())
      assert.is_true(closed:cancel())
      local nothing, message, errno = closed:await(0)
      assert.is_nil(nothing)
      assert.is_string(message)
      assert.equal(uring.errno.ESRCH, errno)
      for _ in closed:completions() do error "there are none" end
      local late = uring.ring { entries = 1 }
      local message_sqe = uring.sqe():prep_msg_ring(late, 1, 2)
      late:close()
      local n, text, err = good.ring:queue(message_sqe)
      assert.is_nil(n)
      assert.is_string(text)
      assert.equal(uring.errno.EPIPE, err)
    end)
    calls.works(good.ring)
  end)
end)
