-- The documents tell the truth: every Lua snippet runs, and prints what its
-- `-->` comments say, one for each line that is printed; `...` there stands
-- for anything. A snippet goes on where the one before it ended, unless it
-- begins anew by requiring the module. Those of README.md are typed into an
-- interpreter line by line, as their reader does it; the others are scripts.

local certificates = require "certificates"
local helper = require "helper"
local program = require "program"
local spec = require "uring_spec"
local uring = require "uring"
local needs_ring = helper.needs_ring(it)

local META = "lua/uring/meta.lua"
local PAGES = {
  "README.md", "CONTRIBUTING.md", "doc/guide.md", "doc/comparison.md",
  "doc/embedding.md", "doc/internals.md", "doc/liburing.md",
  "doc/luasocket.md",
}
local TYPED = { ["README.md"] = true }

-- A session that has one of these words needs a kernel that has the feature.
local NEEDS = {
  prep_msg_ring_cqe_flags = "msg_ring_cqe_flags",
  register_sync_msg = "sync_msg",
  prep_fixed_fd_install = "fixed_fd_install",
}

-- Examples that are servers, and the specs that start them.
local SERVERS = { dns = "dns_spec", echo = "echo_spec",
  httpd = "httpd_spec", https = "https_spec", tcp_echo = "doc_spec" }

-- The snippets of a document in one language, each with its first line.
local function snippets(name, language)
  local found, current, n = {}, nil, 0
  for line in helper.content(name):gmatch "([^\n]*)\n" do
    n = n + 1
    if current and line == "```" then
      current.code = table.concat(current, "\n")
      current = nil
    elseif current then
      current[#current + 1] = line
    elseif line == "```" .. language then
      current = { line = n + 1 }
      found[#found + 1] = current
    end
  end
  assert(not current, "a snippet of " .. name .. " does not end")
  return found
end

-- The snippets joined to sessions; lines keep their numbers.
local function sessions(name)
  local found = {}
  for _, snippet in ipairs(snippets(name, "lua")) do
    local last = found[#found]
    if not last or snippet.code:find '^[local ]*uring = require "uring"' then
      last = { line = snippet.line, code = "", at = snippet.line }
      found[#found + 1] = last
    end
    last.code = last.code .. ("\n"):rep(snippet.line - last.at)
      .. snippet.code .. "\n"
    last.at = snippet.line + #snippet + 1
  end
  return found
end

-- What lua5.4 does with lines that are typed.
local function type_in(session, name, env)
  local lines, n = session.code:gmatch "([^\n]*)\n", session.line - 1
  for line in lines do
    n = n + 1
    local chunk = "@" .. name
    local before = ("\n"):rep(n - 1)
    local f = load(before .. "return " .. line, chunk, "t", env)
    if not f then
      local message
      local text = line
      repeat
        f, message = load(before .. text, chunk, "t", env)
        if not f then
          assert(message:find "<eof>", message)
          text = text .. "\n" .. assert(lines(), message)
          n = n + 1
        end
      until f
    end
    local results = table.pack(f())
    if results.n > 0 then env.print(table.unpack(results, 1, results.n)) end
  end
end

-- The headings of a document as the anchors that GitHub makes of them, also as
-- keys; and those of its chapters alone.
local function anchors(name)
  local text = ("\n" .. helper.content(name)):gsub("\n```.-\n```", "\n")
  local found, chapters = {}, {}
  for level, heading in text:gmatch "\n(##+) ([^\n]*)" do
    local anchor = heading:lower():gsub("[^%w%-_ ]", ""):gsub(" ", "-")
    found[anchor] = true
    if level == "##" then chapters[#chapters + 1] = anchor end
  end
  return found, chapters
end

local function plain(text)
  return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""))
end

-- Does a printed line say what is expected?
local function agrees(expected, printed)
  local pattern = expected:gsub("%p", "%%%0"):gsub("%%%.%%%.%%%.", ".*")
  return printed:find("^" .. pattern .. "$") ~= nil
end

-- Programs that a snippet starts are not searched for leaks.
local function quiet_children(code)
  if os.getenv "LD_PRELOAD" and code:find("uring.process", 1, true) then
    return (code:gsub("stdin = \"pipe\"",
      "env = { PATH = os.getenv 'PATH' }, %0"))
  end
  return code
end

local function run(name, session)
  local expected, printed = {}, {}
  for words in session.code:gmatch "%-%-> ([^\n]*)" do
    expected[#expected + 1] = plain(words)
  end
  local env = setmetatable({
    print = function(...)
      local t = table.pack(...)
      for i = 1, t.n do t[i] = tostring(t[i]) end
      for line in (table.concat(t, " ") .. "\n"):gmatch "([^\n]*)\n" do
        printed[#printed + 1] = plain(line)
      end
    end,
  }, { __index = _G })
  if TYPED[name] then
    type_in(session, name, env)
  else
    local code = ("\n"):rep(session.line - 1)
      .. quiet_children(session.code)
    assert(load(code, "@" .. name, "t", env))()
  end
  for i, words in ipairs(expected) do  -- what agrees is shown as such
    local line = printed[i]
    if line and agrees(words, line) then expected[i] = line end
  end
  assert.same(expected, printed)
end

for _, name in ipairs(PAGES) do
  describe(name, function()
    for _, session in ipairs(sessions(name)) do
      needs_ring(("line %d runs and prints what it says"):format(session.line),
        function()
          for word, feature in pairs(NEEDS) do
            if session.code:find(word, 1, true) then helper.needs(feature) end
          end
          if session.code:find("examples/tls", 1, true) then
            certificates.needs()
          end
          if session.code:find('require "socket.', 1, true)
              and not package.searchpath("socket.http", package.path) then
            helper.skip "needs LuaSocket (Debian: lua-socket)"
          end
          run(name, session)
          -- (`install` of a later one comes before LuaSocket is loaded)
          package.loaded["socket"], package.loaded["socket.core"] = nil, nil
          helper.collect()
        end)
    end

    for _, snippet in ipairs(snippets(name, "sh")) do
      it(("line %d finds the module in a fresh clone"):format(snippet.line),
        function()
          for line in (snippet.code .. "\n"):gmatch "([^\n]*)\n" do
            local before = line:match "^(.-)lua5%.4"
            assert(not before or before == "tools/env.sh plain ", line)
          end
        end)
      for command in snippet.code:gmatch "lua5%.4 (examples/[^\n]*)" do
        if command:find "&$" then
          local server = command:match "^examples/([%w_]+)"
          it(("lua5.4 %s is started by a spec"):format(command), function()
            local text = helper.content("spec/" .. SERVERS[server] .. ".lua")
            assert(text:find('"examples/' .. server .. '.lua"', 1, true))
          end)
          break
        end
        needs_ring("lua5.4 " .. command .. " works", function()
          local words = {}
          for word in command:gsub("#.*", ""):gmatch "%S+" do
            words[#words + 1] = word
          end
          local status, output = spec.execute(60 * helper.slow,
            "/proc/self/exe", table.unpack(words))
          assert.same({ 0, output }, { status, output })
        end)
      end
      for path in snippet.code:gmatch "%f[%w.][%w./]*%.sh" do
        it(path .. " is there", function() helper.content(path) end)
      end
      for targets in snippet.code:gmatch "%./bootstrap ([%l -]+)" do
        it("./bootstrap " .. plain(targets) .. " is a target", function()
          for target in targets:gmatch "%l[%l-]*" do
            assert(helper.content "Makefile":find("\n" .. target .. ":", 1,
              true), target)
          end
        end)
      end
      for targets in snippet.code:gmatch "make ([%a -]+)" do
        it("make " .. plain(targets) .. " is a target", function()
          local makefile = helper.content "Makefile"
          for target in targets:gmatch "[%l-]+" do
            assert(makefile:find("\n" .. target .. ":", 1, true), target)
          end
        end)
      end
    end

    it("points only at files that are there", function()
      local text = helper.content(name)
      local dir = name:match "^.*/" or ""
      for link in text:gmatch "%]%(([^)#:]+)[^):]*%)" do
        helper.content(dir .. link)
      end
      for path in text:gmatch "`(%l+/[%w_/]+%.%l+)`" do
        if not path:find "^build/" and not path:find "^uring/" then
          helper.content(path)
        end
      end
    end)

    it("links to headings that are there, and lists all chapters", function()
      local text, dir = helper.content(name), name:match "^.*/" or ""
      for page, anchor in text:gmatch "%]%(([^)#:]*)#([%w_-]+)%)" do
        if page == "" or page:find "%.md$" then
          local there = anchors(page == "" and name or dir .. page)
          assert(there[anchor], page .. "#" .. anchor)
        end
      end
      local listed = {}
      for anchor in text:gmatch "\n%- %[[^%]]*%]%(#([%w_-]+)%)" do
        listed[#listed + 1] = anchor
      end
      if #listed > 0 then
        assert.same(select(2, anchors(name)), listed)
      end
    end)
  end)
end

describe("README.md", function()
  after_each(program.stop)

  local ECHO = "examples/tcp_echo.lua"

  it("shows " .. ECHO .. " as it is", function()
    local shown = snippets("README.md", "lua " .. ECHO)
    assert.equal(1, #shown)
    local file = helper.content(ECHO)
    assert.equal(shown[1].code .. "\n", file:match "\n\n(.*)$")
    local _, lines = (shown[1].code .. "\n"):gsub("%S[^\n]*\n", "")
    assert(lines <= 10, lines)
  end)

  -- Starts it: its address, and a function that connects.
  local function start()
    local free <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local address = free:getsockname()
    free:close()
    program.start(ECHO, tostring(address))
    return address, function()
      return helper.eventually(function()
        return uring.run(uring.tcp.connect, address, 1)
      end)
    end
  end

  needs_ring("shows an echo server that answers", function()
    local _, connect = start()
    local a, b = connect(), connect()
    uring.run(function()
      assert(a:setsockopt("SO_LINGER", string.pack("i4i4", 1, 0)))
      a:close()                          -- by a reset: b is still served
      for _, word in ipairs { "hello", "again" } do
        b:send(word)
        assert.equal(word, b:recv(nil, 5 * helper.slow))
      end
      b:shutdown "write"
      assert.is_nil(b:recv(nil, 5 * helper.slow))
    end)
    b:close()
  end)

  needs_ring("says how to ask it", function()
    program.needs "bash"
    local address, connect = start()
    connect():close()
    local command = helper.content "README.md":match "\nbash %-c '(.-)'\n"
    local status, output = program.run("bash", "-c",
      (command:gsub("7777", tostring(address.port))))
    assert.same({ 0, "hello\n" }, { status, output })
  end)

  it("says how to install what it has", function()
    local text = helper.content "README.md"
    assert(text:find("\nsudo luarocks --lua-version 5.4 make\n", 1, true))
    helper.content "rockspec/uring-scm-1.rockspec"
    assert(helper.content ".luarc.json":find('"lua/uring/meta.lua"', 1, true))
  end)
end)

describe("every example", function()
  -- (a module opens with a program that uses it)
  local used_by = { ["examples/tls.lua"] = "examples/https.lua" }
  local list <close> = assert(io.popen "ls examples/*.lua")
  local n = 0
  for path in list:lines() do
    n = n + 1
    it(("opens with how it is run: %s"):format(path), function()
      local head = helper.content(path):match "^(%-%-.-)\n\n"
      assert(head:find("\n--     tools/env.sh plain lua5.4 "
        .. (used_by[path] or path), 1, true))
      assert.is_nil(head:find "     lua5%.4")
    end)
  end
  assert(n > 4, n)
end)

describe("doc/internals.md", function()
  it("has every module in the box of its folder, and no other", function()
    local drawn, folder = {}, nil
    local drawing = helper.content "doc/internals.md":match "\n```\n(.-)```"
    for line in drawing:gmatch "[^\n]+" do
      folder = line:match "^  | (%l+)" or line:find "^  |" and folder
      if folder then  -- (the third column)
        for module in line:sub(28):gmatch "[%w_]+" do
          drawn[#drawn + 1] = folder .. "/" .. module
        end
      end
    end
    local there, seen = {}, {}
    local list <close> = assert(io.popen "ls csrc/*/*.[ch]")
    for file in list:lines() do
      local module = file:match "^csrc/(.*)%.[ch]$"
      if not seen[module] then there[#there + 1] = module end
      seen[module] = true
    end
    table.sort(drawn)
    table.sort(there)
    assert(#there > 140, #there)
    assert.same(there, drawn)
  end)

  -- The picture of cancel scopes, with a timeout of so many seconds. When all
  -- wait `act(tasks, scope A)` is called. Answers which tasks were cancelled
  -- first, and how three ended, whose shield lasts until those are known.
  local function cancelled(seconds, act)
    local tasks, gate, first, last = {}, uring.channel(), {}, nil
    local function task(name, f)
      tasks[name] = uring.spawn { name = name, main = f }
    end
    local function main()
      uring.scope(function(A)
        tasks.A = A
        task("one", function() uring.sleep(100) end)
        task("two", function()
          uring.timeout(seconds, uring.scope, function()
            task("three", function()
              uring.shield(100, gate.receive, gate)
              uring.sleep(100)
            end)
            uring.sleep(100)
          end)
        end)
        uring.sleep(100)
      end)
    end
    uring.run(function()
      task("main", main)
      while not tasks.three or tasks.three:status() ~= "waiting" do
        uring.sleep(0)
      end
      act(tasks, tasks.A)
      repeat
        for _, t in ipairs(uring.tasks()) do
          if t.cancelled then first[#first + 1] = t.name end
        end
        uring.sleep(0.001)
      until first[1]
      gate:send "the shield ends"
      tasks.three:join()
      last = tasks.three:status()
      tasks.A:cancel()
    end)
    table.sort(first)
    return table.concat(first, " "), last
  end

  needs_ring("tells which task is cancelled when", function()
    local text = helper.content "doc/internals.md"
    for row, answer in pairs {
      ["A is cancelled"] = { "main one two", 100, function(_, A)
        A:cancel()
      end },
      ["the timeout is over"] = { "two", 0.01, function() end },
      ["two is cancelled"] = { "two", 100, function(tasks)
        tasks.two:cancel()
      end },
    } do
      assert(text:find("| " .. row, 1, true), row)
      assert.same({ answer[1], "cancelled" },
        { cancelled(answer[2], answer[3]) }, row)
    end
  end)
end)


describe(META, function()
  -- class -> name -> true, "uring" for the module's own functions
  local function described()
    local found = { uring = {} }
    local class
    for line in helper.content(META):gmatch "([^\n]*)\n" do
      class = line:match "^%-%-%-@class (uring[%w.]*)" or class
      local variable = line:match "^local (%a+) = {}"
      if variable then
        found[variable] = found[variable] or {}
        if variable ~= "uring" then
          assert.equal("uring." .. variable, class)
        end
      end
      local of, name = line:match "^function (%a+)[.:]([%w_]+)%("
      if of then
        assert(not found[of][name], of .. "." .. name .. " is there twice")
        found[of][name] = true
      end
    end
    return found
  end

  -- The methods of a class; those that begin with "_" are private.
  local function methods_of(class)
    local methods = class.__index
    if type(methods) == "function" then  -- its fields are not methods
      methods = select(2, debug.getupvalue(methods, 2))
    end
    local found = {}
    for method, value in pairs(methods) do
      if type(value) == "function" and not method:find "^_" then
        found[method] = true
      end
    end
    return found
  end

  -- Classes that no program can get hold of.
  local PRIVATE = {
    CancelScope = true, SelectWaiter = true, Wrapped = true,
    WaitingSend = true, Sending = true, Calling = true, ServedCall = true,
    NameWait = true, Child = true,
    Listener = true, JobWait = true, WallTimer = true, Monitor = true }

  -- The same of the module itself.
  local function real()
    local found = { uring = {} }
    for name, value in pairs(uring) do
      if type(value) == "function" and not name:find "^_" then
        found.uring[name] = true
      end
    end
    for key, class in pairs(debug.getregistry()) do
      local name = type(key) == "string" and key:match "^uring%.(%u%a*)$"
      if name and not PRIVATE[name] then found[name] = methods_of(class) end
    end
    found.Root = { open = true, close = true }  -- and those of uring.fs
    for name in pairs(uring.fs) do
      if name ~= "root" then found.Root[name] = true end
    end
    return found
  end

  -- A waiter, as an event is given one; and what uring.tasks() said then.
  local function waiter()
    local given, tasks
    uring.run { name = "selecting", main = function()
      uring.spawn(function()
        tasks = uring.tasks()
        given:wake()
      end)
      uring.select({ uring.event {
        try = function() return tasks end,
        block = function(_, w) given = w end,
        cancel = function() end,
      } }, 60)
    end }
    return given, tasks
  end

  -- name -> type of the module's fields
  local function fields()
    local found, class = {}, nil
    for line in helper.content(META):gmatch "([^\n]*)\n" do
      class = line:match "^%-%-%-@class ([%w.]+)" or class
      local name, kind = line:match "^%-%-%-@field ([%w_]+) (%g+)"
      if name and class == "uring" then
        assert(not found[name], name .. " is there twice")
        found[name] = kind
      end
    end
    return found
  end

  it("is Lua that does no harm", function()
    assert.equal("table", type(dofile(META)))
  end)

  it("has every function and method, and no other", function()
    local found = described()
    -- (objects in Lua: there is none without a ring)
    found.Waiter, found.Process, found.Signals = nil, nil, nil
    found.Ticks, found.Watch, found.Pool = nil, nil, nil
    assert.same(real(), found)
  end)

  needs_ring("has every method of a waiter", function()
    assert.same(methods_of(debug.getmetatable(waiter())), described().Waiter)
  end)

  it("has every method of ticks", function()
    assert.same(methods_of(getmetatable(uring.every(1))), described().Ticks)
  end)

  needs_ring("has every method of processes, signals and watches", function()
    local process, signals, watch
    uring.run(function()
      watch = assert(uring.fs.watch "/tmp")
      process = assert(uring.process { "true" })
      signals = assert(uring.signals "USR1")
    end)
    local found = described()
    assert.same(methods_of(getmetatable(process)), found.Process)
    assert.same(methods_of(getmetatable(signals)), found.Signals)
    assert.same(methods_of(getmetatable(watch)), found.Watch)
    watch:close()
  end)

  needs_ring("has events in Lua as it has those in C", function()
    local events = {
      uring.after(1), uring.at(1), uring.at_time(1),
      uring.every(1):receiving(), uring.channel():receiving(),
      uring.channel():sending(1), uring.semaphore(1):acquiring(),
      uring.event(print),
    }
    for _, event in ipairs(events) do
      for name in pairs(described().Event) do
        assert(event[name], tostring(event) .. ": " .. name)
      end
    end
  end)

  it("has every constant and value, and no other", function()
    local found = fields()
    for name, value in pairs(uring) do
      if type(value) ~= "function" and not name:find "^_" then
        assert(found[name], name .. " is missing")
        assert.equal(math.type(value) == "integer", found[name] == "integer")
      end
    end
    -- some are missing here because the C library is older than they are
    local source = helper.content "csrc/lua/constants.c"
    for name in pairs(found) do
      assert(rawget(uring, name) or name:find "^std%l+$"  -- (made on demand)
        or source:find("C(" .. name .. ")", 1, true), name)
    end
  end)

  -- Status and output of tools/constants.lua.
  local function constants(...)
    return spec.execute(30 * helper.slow, "/proc/self/exe",
      "tools/constants.lua", ...)
  end

  it("has the C file's constants: else run `make constants`", function()
    assert.same({ 0, "" }, { constants "--check" })
  end)

  it("is renewed by `make constants`", function()
    local made = helper.content(META)
    local short = made:gsub("%-%-%-@field AF_INET integer\n", "")
    assert.not_equal(made, short)
    local file = helper.file(short)
    local status, output = constants("--check", file)
    assert.equal(1, status)
    assert(output:find("run `make constants`", 1, true), output)
    assert.same({ 0, "" }, { constants(file) })
    assert.equal(made, helper.content(file))
    helper.clean()
    assert(helper.content "Makefile":find "\nconstants:[^\n]*\n[^\n]*"
      .. "tools/constants%.lua")
  end)

  it("explains what a wait does at one place", function()
    local text = helper.content(META)
    local _, waits = text:gsub("\n%-%-%-@async\n", "")
    assert(waits > 30, waits)
    assert(text:find("\n-- * A function with `---@async` waits", 1, true))
    local _, n = text:gsub("a wait raises `uring.cancelled`", "")
    assert.equal(1, n)
    assert.is_nil(text:find("\n--- Waits:", 1, true))
  end)

  it("has each class and alias once", function()
    local seen = {}
    for line in helper.content(META):gmatch "([^\n]*)\n" do
      local name = line:match "^%-%-%-@class ([%w_.]+)"
        or line:match "^%-%-%-@alias ([%w_.]+)"
      if name and name ~= "uring" then  -- (whose fields stand in parts)
        assert(not seen[name], name)
        seen[name] = true
      end
    end
  end)

  it("has every argument's type", function()
    local params = {}
    local text = helper.content(META)  -- (a long list has two lines)
    text = text:gsub("(\nfunction [^\n]*,)\n%s+", "%1 ")
    for line in text:gmatch "([^\n]*)\n" do
      local param = line:match "^%-%-%-@param ([%w_.]+)"
      if param then params[#params + 1] = param end
      local list = line:match "^function [%w_.:]+%((.*)%) end$"
      if list then
        assert.equal(list, table.concat(params, ", "), line)
        params = {}
      elseif not line:find "^%-%-%-" then
        assert.equal(0, #params, line)
      end
    end
  end)

  it("names the man page of what is the kernel's", function()
    local above = {}
    for line in helper.content(META):gmatch "([^\n]*)\n" do
      local name = line:match "^function ([%w_.:]+)"
      if name then
        local class = name:match "^uring%.(%w+)%." or name:match "^(%w+):"
        local object = name:find ":fileno$" or name == "Socket:stats"
          or name:find ":release$"
          or name == "Socket:unread" or name == "Socket:limit"
        if (" Sqe Socket Msghdr BufRing Lease tcp udp unix "):find(
            " " .. (class or "-") .. " ", 1, true) and not object then
          assert(table.concat(above, " "):find "%([%w_]+%(%d%)", name)
        end
      end
      above[#above + 1] = line
      if not line:find "^%-%-%-" then above = {} end
    end
  end)

  it("has every field of an SQE, of stats and of a probe", function()
    local text = helper.content(META)
    local function class(name)
      local body = assert(text:match("%-%-%-@class uring%." .. name
        .. "\n(.-)\n\n"))
      local found = {}
      for field in body:gmatch "%-%-%-@field ([%w_]+)" do
        found[field] = true
      end
      return found
    end
    local sqe = uring.sqe():prep_nop()
    for field in pairs(class "Sqe") do assert(sqe[field], field) end
    local probe = uring.probe()
    for field in pairs(probe) do assert(class("Probe")[field], field) end
    for _, feature in pairs(probe.features) do
      for field in pairs(feature) do assert(class("Feature")[field], field) end
    end
    helper.needs_ring()
    local ring <close> = assert(uring.ring())
    local stats = class "Stats"
    for field in pairs(ring:stats()) do assert(stats[field], field) end
    for field in pairs(stats) do assert(ring:stats()[field], field) end
    local _, tasks = waiter()
    local info, seen = class "TaskInfo", {}
    for _, task in ipairs(tasks) do
      for field in pairs(task) do
        assert(info[field], field)
        seen[field] = true
      end
    end
    seen.parent = true  -- (they are run's own)
    assert.same(info, seen)
  end)
end)
