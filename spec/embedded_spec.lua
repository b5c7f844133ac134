-- luaopen_uring: the whole library by one symbol, in states that have no
-- package library, no file system, no string library; and scripts that change
-- what they find in their globals.

-- (what runs in another state has its own `uring` and `open`)
-- luacheck: ignore 431

local helper = require "helper"
local shortage = require "shortage"
local spec = require "uring_spec"
local uring = require "uring"

local ring_it = helper.needs_ring(it)

local module = assert(package.searchpath("uring.core", package.cpath))
local open = assert(package.loadlib(module, "luaopen_uring"))

-- f, which has no upvalues, in a state with the base library and the global
-- `uring`: what it returns.
local function bare(f, ...)
  local results = table.pack(spec.state(open, string.dump(f), ...))
  if not results[1] then error(results[2], 2) end
  return table.unpack(results, 2, results.n)
end

-- Uses tasks, events, sockets and what is written in Lua. It has no upvalues,
-- and calls base functions that it was given: pcall, tostring, error, assert.
local function use(uring, pcall, tostring, error, assert)
  local function raises(f, ...)
    local _, line = pcall(function() error "" end) local ok, why = pcall(f,
      ...)  -- (called on the line that `line` names)
    if ok then error "no error was raised" end
    return tostring(why), line
  end
  local function mistake(words, f, ...)
    local why, line = raises(f, ...)
    assert(why == line .. words, why)
  end
  local ring <close> = assert(uring.ring())
  assert(ring:queue(uring.sqe():prep_nop()))
  assert(ring:wait_cqe(60))
  uring.run(function()
    local channel, semaphore = uring.channel(), uring.semaphore(1)
    local sender = uring.spawn(function() assert(channel:send(1, 2)) end)
    local a, b = channel:receive()
    assert(a == 1 and b == 2)
    assert(sender:join())
    assert(semaphore:acquire())
    assert(tostring(uring.after(1)) == "uring.Event (after 1)")
    assert(tostring(uring.event { name = "f", main = uring.sleep })
      == "uring.Event (call of f)")
    assert(uring.tree())
    local file <close> = assert(uring.open("/proc/self/stat", "rb"))
    assert(file:pread(5, 0) and file:seek "cur")
    mistake("bad argument #1 to 'pread' (integer from 1 to 2147483647 "
      .. "expected, got 0)", file.pread, file, 0, 0)
    mistake("bad argument #1 to 'seek' (uring.Stream expected, got number)",
      file.seek, 5)
    assert(uring.fs.stat("/").kind == "directory")
    assert(uring.select { t = uring.after(0), c = channel:receiving() }
      == "t")
    assert(uring.select { call = uring.event(uring.sleep, 0) } == "call")
    assert(uring.select({ c = channel:receiving() }, 0) == nil)
    raises(uring.select, { e = uring.event(raises, uring.sleep, 0) })
    assert(uring.scope(function(s)
      s:spawn(uring.sleep, 0)
      return 7
    end) == 7)
    local none, message = uring.timeout(0, uring.sleep, 60)
    assert(none == nil and message == "timed out", message)
    assert(uring.shield(1, function() return 3 end) == 3)
    assert(not uring.pcall(error, "x"))
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local server = uring.spawn(function()
      local conn <close> = assert(listener:accept(60))
      assert(conn:send(assert(conn:recv(10))))
    end)
    local conn <close> = assert(uring.tcp.connect(listener:getsockname(), 60))
    assert(conn:send "hello")
    assert(conn:recv(10, 60) == "hello")
    assert(server:join())
  end)
  mistake("bad argument #1 to 'event' (function or table expected, got "
    .. "number)", uring.event, 5)
  mistake("bad argument #1 to 'event' (unknown option 'nothing': the options "
    .. "are try, block, cancel)", uring.event, { nothing = pcall })
  mistake("bad argument #1 to 'event' (unknown option 'more': the options "
    .. "are main, name)", uring.event, { main = pcall, more = 1 })
  mistake("bad argument #1 to 'event' (option 'main' must be a function, got "
    .. "number)", uring.event, { main = 1 })
  raises(uring.tcp.connect, 5)
  mistake("bad argument #2 to 'listen' (integer from 0 to 2147483647 "
    .. "expected, got -1)", uring.tcp.listen, "127.0.0.1:0", -1)
  mistake("bad argument #1 to 'connect' (path of a unix socket expected, got "
    .. "127.0.0.1:1)", uring.unix.connect, uring.sockaddr "127.0.0.1:1")
  raises(uring.after, -1)
  return true
end

describe("luaopen_uring", function()
  it("makes what require makes", function()
    local embedded = open()
    for name, value in next, uring do
      assert.equal(type(value), type(embedded[name]), name)
    end
    for name in next, embedded do assert.truthy(uring[name] ~= nil, name) end
    assert.equal(uring.cancelled, embedded.cancelled)
  end)

  it("has the text of each installed Lua file, to the byte", function()
    local binary = helper.content(module)
    local file = package.searchpath("uring", package.path)
    local _, list = spec.execute(10 * helper.slow, "/bin/sh", "-c",
      [[find "$1" "${1%.lua}" -name "*.lua"]], "sh", file)
    local n = 0
    for name in list:gmatch "[^\n]+" do
      -- (but for meta.lua, which nothing loads)
      if not name:find "/meta%.lua$" then
        assert.truthy(binary:find(helper.content(name), 1, true), name)
        n = n + 1
      end
    end
    assert(n >= 20, list)
  end)

  ring_it("works in the state of the installed files, on the same objects",
    function()
      local embedded = open()
      local ring <close> = assert(embedded.ring())
      assert(ring:queue(uring.sqe():prep_nop()))
      assert(ring:wait_cqe(1))
      uring.run(function()
        local channel = embedded.channel()
        uring.spawn(function() channel:send(4) end)
        local key, n = uring.select { c = channel:receiving() }
        assert.same({ "c", 4 }, { key, n })
      end)
      -- errors of both name the caller's line
      helper.mistake("function expected", uring.scope, 1)
      helper.mistake("function expected", embedded.scope, 1)
      local events = { t = uring.after(0) }
      helper.mistake("only a task can wait", uring.select, events)
      helper.mistake("only a task can wait", embedded.select, events)
      -- and where a task waits is said of the program
      uring.run(function()
        local here = embedded.spawn { name = "here", main = function()
          embedded.select { t = embedded.after(60) }
        end }
        uring.sleep(0)
        local found
        for _, task in ipairs(uring.tasks()) do
          if task.name == "here" then found = task end
        end
        assert.truthy(found.file:find "embedded_spec", found.file)
        here:cancel()
      end)
    end)

  ring_it("needs no library but the base", function()
    assert.truthy(bare(function(uses)
      local known = { _G = 1, _VERSION = 1, assert = 1, collectgarbage = 1,
        dofile = 1, error = 1, getmetatable = 1, ipairs = 1, load = 1,
        loadfile = 1, next = 1, pairs = 1, pcall = 1, print = 1,
        rawequal = 1, rawget = 1, rawlen = 1, rawset = 1, require = false,
        select = 1, setmetatable = 1, tonumber = 1, tostring = 1, type = 1,
        uring = 1, warn = 1, xpcall = 1, refuse = 1 }
      for name in next, _G do assert(known[name], name) end
      assert(getmetatable "" == nil, "strings have got methods")
      load(uses)(_G.uring, pcall, tostring, error, assert)
      assert(getmetatable "" == nil)
      return true
    end, string.dump(use)))
  end)

  ring_it("gives each task's errors their traceback without `debug`",
    function()
      local text = bare(function()
        local uring = _G.uring
        local _, why = pcall(uring.run, function()
          uring.select { e = uring.event(function() error "mine" end) }
        end)
        return why
      end)
      assert.truthy(text:find("mine", 1, true))
      assert.truthy(text:find("stack traceback:", 1, true), text)
    end)

  it("names the function that a state without the base library lacks",
    function()
      local ok, why = pcall(bare, function() end)
      assert.truthy(ok, why)
      ok, why = spec.state(string.dump(function(file)
        local open = package.loadlib(file, "luaopen_uring")
        pcall, xpcall = nil, nil  -- luacheck: ignore
        open()
      end), module)
      assert.is_false(ok)
      assert.truthy(why:find("function 'pcall' of the base library", 1, true),
        why)
    end)

  it("leaves a metatable of strings as it was, that of others too",
    function()
      assert.truthy(select(2, assert(spec.state(string.dump(function(file)
        local open = package.loadlib(file, "luaopen_uring")
        local string_methods = getmetatable ""
        open()
        assert(getmetatable "" == string_methods)
        assert(string_methods.__index == string)
        debug.setmetatable("", { __index = function() return 5 end })
        open()
        return (("x").anything == 5)
      end), module))))
    end)

  it("is not in package.loaded, unless the host puts it there", function()
    assert.truthy(bare(function()
      return _G.uring ~= nil
    end))
    assert.equal("", helper.script_ok(([[
      local open = package.loadlib(%q, "luaopen_uring")
      local before = {}
      for name in pairs(package.loaded) do before[name] = true end
      open()
      for name, value in pairs(package.loaded) do
        assert(before[name] or name:find "^uring%%.%%u", name)
      end
      package.path = ""
      package.preload.uring = open
      assert(require "uring".ring and require "uring" == require "uring")
    ]]):format(module)))
  end)

  it("is found by require in a single file, uring.so", function()
    local dir = helper.tmpname()
    os.remove(dir)
    local status, output = spec.execute(10 * helper.slow, "/bin/mkdir", dir)
    assert.equal(0, status, output)
    local copy <close> = assert(io.open(dir .. "/uring.so", "wb"))
    copy:write(helper.content(module))
    copy:close()
    local text = helper.script_ok(([[
      package.path, package.cpath = "", %q
      local uring = require "uring"
      assert(uring.scope and uring.select and require "uring.core")
      print(select(2, pcall(uring.scope, 1)))
    ]]):format(dir .. "/?.so"))
    os.remove(dir .. "/uring.so")
    os.remove(dir)
    assert.truthy(text:find("function expected", 1, true), text)
  end)

  it("fails for want of memory alone, and is whole when called again",
    function()
      local code = string.dump(function(file, n, failing)
        -- luacheck: globals refuse
        local open = package.loadlib(file, "luaopen_uring")
        local strings = getmetatable ""
        refuse(n, failing)
        local ok, why = pcall(open)
        local asked = refuse()
        assert(getmetatable "" == strings and string.rep == ("").rep)
        if not ok then
          assert(tostring(why):find "memory", why)
          assert(package.loaded.uring == nil)
        end
        local uring = open()
        for _, name in ipairs { "ring", "run", "scope", "select", "channel",
            "semaphore", "tcp", "tree", "event" } do
          assert(uring[name], name)
        end
        return asked
      end)
      local tried = shortage.places(97, function(n, failing)
        local ok, asked = spec.state(code, module, n, failing)
        if not ok then
          error(("refused the %d-th of %d: %s"):format(n, failing, asked), 0)
        end
        return asked < n
      end)
      assert(tried > 40, tried)
    end)
end)


-- What a script of no good sense does to the libraries: their tables, and its
-- globals.
local function spoil()
  local function broken() error "a function of the script was called" end
  for _, name in ipairs { "math", "table", "string", "debug", "coroutine" } do
    local library = _G[name]
    if library then
      for key in next, library do library[key] = broken end
    end
  end
  local rawset, next = rawset, next
  local names = {}
  for name in next, _G do names[#names + 1] = name end
  for i = 1, #names do
    if names[i] ~= "_G" then rawset(_G, names[i], broken) end
  end
end

describe("a script that overwrites its globals", function()
  ring_it("breaks no function of the embedded library", function()
    assert.truthy(bare(function(uses, spoils)
      local u, f, s = _G.uring, load(uses), load(spoils)
      local pcall, tostring, error, assert = pcall, tostring, error, assert
      s()
      return f(u, pcall, tostring, error, assert)
    end, string.dump(use), string.dump(spoil)))
  end)

  ring_it("breaks none either that was loaded from files", function()
    assert.equal("", helper.script_ok(([[
      local uring, f, s = require "uring", load(%q), load(%q)
      local pcall, tostring, error, assert = pcall, tostring, error, assert
      s()
      f(uring, pcall, tostring, error, assert)
    ]]):format(string.dump(use), string.dump(spoil))))
  end)

  ring_it("breaks none if it did so before: they are fresh", function()
    assert.equal("", helper.script_ok(([[
      local open = package.loadlib(%q, "luaopen_uring")
      for _, name in ipairs { "math", "table", "string", "debug" } do
        local library = _G[name]
        for key in next, library do library[key] = nil end
      end
      local f = load(%q)
      f(open(), pcall, tostring, error, assert)
    ]]):format(module, string.dump(use))))
  end)
end)


describe("a strict table of globals", function()
  local function strict()
    local rawset, error, tostring = rawset, error, tostring
    setmetatable(_G, {
      __index = function(_, name)
        error("undeclared global: " .. tostring(name), 2)
      end,
      __newindex = function(_, name)
        error("new global: " .. tostring(name), 2)
      end,
      __metatable = false,
    })
    return rawset
  end

  ring_it("is no hindrance to the embedded library", function()
    assert.truthy(bare(function(uses)
      return load(uses)(_G.uring, pcall, tostring, error, assert)
    end, string.dump(use)))
    assert.equal("", helper.script_ok(([[
      local open = package.loadlib(%q, "luaopen_uring")
      debug, math, string, table = nil
      load(%q)()
      load(%q)(open(), pcall, tostring, error, assert)
    ]]):format(module, string.dump(strict), string.dump(use))))
  end)

  ring_it("is none to the files", function()
    assert.equal("", helper.script_ok(([[
      debug = nil
      load(%q)()
      load(%q)(require "uring", pcall, tostring, error, assert)
    ]]):format(string.dump(strict), string.dump(use))))
  end)
end)
