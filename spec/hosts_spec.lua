-- Programs that embed Lua, linked in each way that there is: all of them can
-- use the library. (The programs are spec/c/host.c; doc/embedding.md has what
-- their authors have to know.)

local helper = require "helper"
local spec = require "uring_spec"

local module = assert(package.searchpath("uring.core", package.cpath))
local build = module:match "^(.*)/uring/core%.so$"
local archive = build and build .. "/liburing_lua.a"
local lua = helper.lua
local lib = "lib" .. lua
-- What opens the standard libraries; 5.5 has a macro with the old name.
local OPENER <const> = _VERSION == "Lua 5.4" and "luaL_openlibs"
  or "luaL_openselectedlibs"

local function exists(name)
  local file = io.open(name)
  if file then file:close() end
  return file ~= nil
end

-- A program must go well: its output. (A sanitizer that is preloaded is for
-- this process alone.)
local function execute(...)
  local status, output = spec.execute(120 * helper.slow, "/usr/bin/env", "-u",
    "LD_PRELOAD", ...)
  if status ~= 0 then
    error(("status %d of %s:\n%s"):format(status, table.concat({ ... }, " "),
      output), 2)
  end
  return output
end

local dir

-- In a test: skip it where no host can be built.
local function needs_compiler()
  if not exists "/usr/bin/cc" or not exists "spec/c/host.c" then
    helper.skip("needs /usr/bin/cc and the sources")
  end
  if build and build:find "asan" then
    helper.skip("needs a module that is not instrumented")
  end
end

-- In a test: where the compiler finds a library, or the test is skipped.
local function library(name)
  local path = execute("/usr/bin/cc", "-print-file-name=" .. name)
  path = path:match "^(/.*)\n$"
  if not path then helper.skip("needs %s", name) end
  return path
end

-- Builds spec/c/host.c, or another source: the program's name.
local function build_host(name, source, ...)
  local out = dir .. "/" .. name
  local flags = spec.execute(10, "/usr/bin/pkg-config", "--version") == 0
    and execute("/usr/bin/pkg-config", "--cflags", lua) or ""
  local command = { "/usr/bin/cc", "-O1", "-std=gnu11", "-D_GNU_SOURCE" }
  for flag in flags:gmatch "%S+" do command[#command + 1] = flag end
  for _, flag in ipairs { "-o", out, source, ... } do
    command[#command + 1] = flag
  end
  command[#command + 1] = "-lm"
  command[#command + 1] = "-ldl"
  execute(table.unpack(command))
  return out
end

local function host(name, ...)
  return build_host(name, "spec/c/host.c", ...)
end

-- What each of them runs: it fails, waits, and leaves requests in flight.
local SCRIPT <const> = [[
  local uring = require "uring"
  local ok, why = pcall(uring.scope, 1)
  assert(not ok and why:find "function expected", why)
  if uring.probe().available then
    assert(uring.run(function()
      local channel = uring.channel()
      uring.spawn(function() channel:send "x" end)
      local key, value = uring.select { c = channel:receiving() }
      local fine, message = pcall(uring.scope, function(s)
        s:spawn(error, "mine")
        uring.sleep(60)
      end)
      assert(not fine and message:find "mine", message)
      assert(select(2, uring.timeout(0.001, uring.sleep, 60)) == "timed out")
      local fed = assert(uring.worker(function(n)
        return uring.inbox():receive() + n, uring.now() > 0
      end, 2))
      assert(fed:send(3))
      assert(select(2, fed:join()) == 5)
      local failing = assert(uring.worker(function() error "worker's" end))
      assert(select(2, failing:join()):find "worker's")
      return key .. value
    end) == "cx")
    local ring = uring.ring()
    for _ = 1, 10 do ring:queue(uring.sqe():prep_timeout(1000)) end
    ring:submit()
  end
  io.write "ran "
]]

local function works(program, ...)
  local command = { program, ... }
  command[#command + 1] = helper.file(SCRIPT)
  assert.equal("ran closed\n", execute(table.unpack(command)))
end

-- In a test: the folder with Lua's own sources, or the test is skipped.
local function lua_source()
  local cache = os.getenv "XDG_CACHE_HOME"
    or (os.getenv "HOME" or "") .. "/.cache"
  local src = ("%s/%s/src"):format(os.getenv "URING_CACHE"
    or cache .. "/uring", lua)
  if not exists(src .. "/lapi.c") then
    helper.skip("needs the source of %s, which make apicheck fetches", lua)
  end
  return src
end

-- A liblua.a with assertions, made of those sources.
local function checked_lua(src)
  local objects, out = {}, dir .. "/liblua"
  for file in execute("/bin/ls", src):gmatch "(l%w+)%.c\n" do
    if file ~= "lua" and file ~= "luac" and file ~= "ltests" then
      objects[#objects + 1] = ("%s/%s.c"):format(src, file)
    end
  end
  execute("/bin/mkdir", out)
  execute("/bin/sh", "-c", [[
    cd "$1" && shift && for file; do
      cc -O1 -DLUA_USE_LINUX -DLUAI_ASSERT -DLUA_USE_APICHECK -c "$file" \
        || exit
    done && ar rcs liblua.a *.o
  ]], "sh", out, table.unpack(objects))
  return out .. "/liblua.a"
end

describe("a host works", function()
  setup(function()
    dir = helper.tmpname()
    os.remove(dir)
    execute("/bin/mkdir", dir)
  end)
  teardown(function()
    execute("/bin/rm", "-r", dir)
    helper.clean()
  end)

  it("that is linked with a shared liblua", function()
    needs_compiler()
    library(lib .. ".so")
    works(host("shared", "-l" .. lua))
  end)

  it("that has Lua inside and exports it (-Wl,-E)", function()
    needs_compiler()
    works(host("exports", library(lib .. ".a"), "-Wl,-E"))
  end)

  it("that has Lua inside and exports nothing, with the archive", function()
    needs_compiler()
    local program = host("static", "-DARCHIVE", archive, library(lib .. ".a"),
      "-luring", "-pthread")
    works("/usr/bin/env", "LUA_PATH=", "LUA_CPATH=", program)
  end)

  -- A new state could not be given the standard libraries.
  it("that is linked without luaL_openlibs: without workers, and says why",
    function()
      needs_compiler()
      local script = helper.file([[
        local uring = require "uring"
        if uring.probe().available then
          uring.run(function()
            local double = { workers = 0, main = function(n) return 2 * n end }
            local pool = assert(uring.pool(double))
            local sum = 0
            for _, n in pool:map { 1, 2, 3 } do sum = sum + n end
            assert(sum == 12, sum)
            local to = assert(uring.mailbox()):address()
            assert(to:send "mailboxes work")
            for _, make in ipairs { uring.worker, function(f)
              return uring.pool { workers = 2, main = f }
            end } do
              local none, why, errno = make(double.main)
              assert(none == nil and errno == uring.errno.ENOSYS, why)
              assert(why:find("linked without the standard libraries", 1,
                true) and why:find("-Wl,-u,]] .. OPENER .. [[", 1, true), why)
            end
          end)
        end
        io.write "ran "
      ]])
      for _, program in ipairs {
        host("chosen", "-DCHOSEN", library(lib .. ".a"), "-Wl,-E"),
        host("chosen_static", "-DCHOSEN", "-DARCHIVE", archive,
          library(lib .. ".a"), "-luring", "-pthread") } do
        assert.falsy(execute("/usr/bin/nm", program):find("T " .. OPENER, 1,
          true))
        assert.equal("ran closed\n", execute(program, script))
      end
      -- the cure that it names
      local cured = host("cured", "-DCHOSEN", "-Wl,-u," .. OPENER,
        library(lib .. ".a"), "-Wl,-E")
      assert.equal("ran closed\n", execute(cured, helper.file [[
        local uring = require "uring"
        if uring.probe().available then
          uring.run(function()
            local w = uring.worker(function() return 5 end)
            assert(select(2, w:join()) == 5)
          end)
        end
        io.write "ran "]]))
    end)

  -- (the module cannot be loaded there at all, and no build of it could be)
  it("whose archive brings the program no name but luaopen_*", function()
    needs_compiler()
    local names = {}
    for kind, name in execute("/usr/bin/nm", "-g", archive)
        :gmatch "%x+ (%a) ([^\n]+)" do
      assert.equal("T", kind, name)
      names[#names + 1] = name
    end
    table.sort(names)
    assert.same({ "luaopen_uring", "luaopen_uring_core" }, names)
  end)

  it("that loads its Lua by dlopen RTLD_LOCAL, once that is made global",
    function()
      needs_compiler()
      local path = library(lib .. ".so")
      local name = execute("/usr/bin/readelf", "-d", path)
        :match "SONAME[^\n]*%[([^%]]+)%]"
      local loader = host("loader", "-DLOADER")
      local plugin = host("plugin.so", "-DPLUGIN", "-shared", "-fPIC",
        "-l" .. lua, ('-DPROMOTE="%s"'):format(name))
      works(loader, plugin)
      -- without that no module can be loaded that does not link liblua
      local local_only = host("local.so", "-DPLUGIN", "-shared", "-fPIC",
        "-l" .. lua)
      local status, output = spec.execute(60 * helper.slow, "/usr/bin/env",
        "-u", "LD_PRELOAD", loader, local_only, helper.file(SCRIPT))
      assert.equal(1, status)
      assert.truthy(output:find("undefined symbol: lua", 1, true), output)
    end)

  it("that has a Lua of its own, as C++: errors are exceptions", function()
    needs_compiler()
    local path = library(lib .. "-c++.so")
    if not execute("/usr/bin/nm", "-D", path):find " T luaL_newstate" then
      helper.skip("needs a Lua in C++ whose functions have C's names")
    end
    works(host("exceptions", "-l" .. lua .. "-c++"))
  end)

  it("that has a Lua with assertions and API checks", function()
    needs_compiler()
    local src = lua_source()
    works(host("checked", "-I" .. src, checked_lua(src), "-Wl,-E"))
  end)
end)


describe("the host in doc/embedding.md", function()
  setup(function()
    dir = helper.tmpname()
    os.remove(dir)
    execute("/bin/mkdir", dir)
  end)
  teardown(function()
    execute("/bin/rm", "-r", dir)
    helper.clean()
  end)

  local program

  -- Runs a script with it: status and output.
  local function run(code)
    return spec.execute(60 * helper.slow, "/usr/bin/env", "-u", "LD_PRELOAD",
      "LUA_PATH=", "LUA_CPATH=", program, helper.file(code))
  end

  helper.needs_ring(it)("runs scripts, and bounds what they take", function()
    needs_compiler()
    local text = helper.content "doc/embedding.md"
      :match "\n```c\n(.-\n)```\n"
    local _, lines = text:gsub("%S[^\n]*\n", "")
    assert(lines <= 46, lines)
    local source = helper.file(text)
    assert(os.rename(source, dir .. "/host.c"))
    program = build_host("host", dir .. "/host.c", "-Wall", "-Wextra",
      "-Werror", archive, "-l" .. lua, "-luring", "-pthread")
    assert.same({ 0, "" }, { run(SCRIPT:gsub('io.write "ran "', "")) })
    local status, output = run [[
      local uring, all = require "uring", {}
      uring.run(function()
        for i = 1, 100 do all[i] = uring.buffer(1 << 20) end
      end)
    ]]
    assert.equal(1, status)
    assert(output:find("uring.loop{ memory }", 1, true), output)
    status, output = run [[
      local uring = require "uring"
      local ok, why = pcall(uring.run, function()
        return ("x"):rep(1 << 25)
      end)
      assert(not ok and why:find "not enough memory", why)
      assert(uring.run(function() return uring.buffer(1 << 20) end))
      error(why, 0)
    ]]
    assert.equal(1, status)
    assert(output:find "not enough memory", output)
  end)
end)
