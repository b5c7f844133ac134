-- The module as a guest: what it exports, what it is linked with, how often
-- it may be loaded; and the one list of its sources.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local content <const> = helper.content
local module = package.searchpath("uring.core", package.cpath)

-- A program in the usual places, or the test is skipped.
local function program(name)
  for _, dir in ipairs { "/usr/bin/", "/bin/", "/usr/local/bin/" } do
    local path = dir .. name
    local file = io.open(path)
    if file then
      file:close()
      return path
    end
  end
  helper.skip("there is no %s", name)
end

-- Runs one that must go well: its output. A sanitizer that is preloaded is
-- for this process alone.
local function run(...)
  local status, output = spec.execute(60 * helper.slow, program "env", "-u",
    "LD_PRELOAD", ...)
  assert.equal(0, status, output)
  return output
end

describe("the module", function()
  it("exports luaopen_uring, luaopen_uring_core and nothing else", function()
    local names = {}
    for name in run(program "nm", "-D", "--defined-only", module)
        :gmatch "%x+ %a ([^\n]+)" do
      names[#names + 1] = name
    end
    table.sort(names)
    assert.same({ "luaopen_uring", "luaopen_uring_core" }, names)
  end)

  it("is not linked with Lua, and is never unloaded", function()
    local dynamic = run(program "readelf", "-dW", module)
    assert.truthy(dynamic:find "NEEDED")
    assert.is_nil(dynamic:lower():match "needed[^\n]*liblua")
    assert.truthy(dynamic:match "FLAGS_1[^\n]*NODELETE")
  end)

  it("is loaded again after package.loaded was cleared", function()
    local sqe = uring.sqe():prep_nop()
    local core = package.loaded["uring.core"]
    package.loaded["uring"] = nil
    package.loaded["uring.core"] = nil
    local again = require "uring"
    assert.are_not.equal(uring, again)
    package.loaded["uring"] = uring
    package.loaded["uring.core"] = core
    -- its objects are of the same classes
    assert.equal("uring.Sqe", getmetatable(again.sqe()))
    assert.equal(uring.cancelled, again.cancelled)
    if not helper.probe.available then return end
    local a, b = assert(uring.ring()), assert(again.ring())
    assert(b:queue(sqe))
    assert(a:queue(again.sqe():prep_msg_ring(b, 1, 2)))
    assert.equal(0, (select(2, a:wait_cqe(5 * helper.slow))))
    a:close()
    b:close()
  end)

  it("works in two states at once, and after one of them has ended",
    function()
      helper.needs_ring()
      local code = [[
        local uring = require "uring"
        local ring = assert(uring.ring())
        assert(ring:queue(uring.sqe():prep_nop()))
        assert(select(2, ring:wait_cqe(60)) == 0)
        return uring.run(function() return "ran" end)
      ]]
      for _ = 1, 3 do
        local a, b = spec.thread(code), spec.thread(code)
        assert.same({ true, "ran" }, { a:join() })
        assert.same({ true, "ran" }, { b:join() })
      end
      local ring <close> = assert(uring.ring())
      assert(ring:queue(uring.sqe():prep_nop()))
      assert.equal(0, (select(2, ring:wait_cqe(5 * helper.slow))))
    end)

  it("makes no globals, prints nothing and handles no signals", function()
    local output = helper.script_ok [[
      local function signals()
        local file <close> = io.open "/proc/self/status"
        local status = file:read "a"
        return status:match "SigCgt:%s*(%x+)" .. " "
          .. status:match "SigBlk:%s*(%x+)" .. " "
          .. status:match "Threads:%s*(%d+)"
      end
      local before, globals = signals(), {}
      for name in pairs(_G) do globals[name] = true end
      local uring = require "uring"
      uring.probe()
      local ring = uring.ring()
      if ring then
        ring:queue(uring.sqe():prep_nop())
        ring:wait_cqe(60)
        uring.run(function() uring.sleep(0.001) end)
      end
      for name in pairs(_G) do assert(globals[name], name) end
      assert(signals() == before, before .. " / " .. signals())
    ]]
    assert.equal("", output)
  end)
end)

describe("the rockspec", function()
  local function rockspec()
    local env = {}
    assert(load(content "rockspec/uring-scm-1.rockspec", "rockspec", "t",
      env))()
    return env
  end

  it("has one list of C sources with the Makefile", function()
    local rock = rockspec()
    if rock.build.type == "make" then
      -- it builds by the Makefile, which has the list
      assert.is_nil(rock.build.modules)
      assert.truthy(content "Makefile":find "\nSRC%s*:=")
      return
    end
    local listed = {}
    for _, name in ipairs(rock.build.modules["uring.core"].sources) do
      listed[name] = true
    end
    for name in content "Makefile":gmatch "csrc/[%w_/]+%.c" do
      assert.is_true(listed[name], name)
    end
  end)

  it("names liburing, the license, and Lua from 5.4 to 5.5", function()
    local rock = rockspec()
    assert.equal("uring", rock.package)
    assert.equal("MIT", rock.description.license)
    local _, liburing = next(rock.external_dependencies)
    assert.same({ "liburing.h", "uring" },
      { liburing.header, liburing.library })
    assert.same({ "lua >= 5.4, < 5.6" }, rock.dependencies)
    assert.truthy(content "LICENSE":find("MIT License", 1, true))
  end)

  it("passes what luarocks gives on to variables that make knows", function()
    local makefile = content "Makefile"
    local build = rockspec().build
    for _, set in ipairs { build.variables, build.install_variables } do
      for name in pairs(set) do
        assert.truthy(makefile:find("$(" .. name .. ")", 1, true)
          or makefile:find("\n" .. name .. "%s*%?="), name)
      end
    end
    assert.truthy(makefile:find("\n" .. build.build_target .. ":"))
  end)

  it("installs what Lua then finds", function()
    local make = program "make"
    local dir = helper.tmpname()
    os.remove(dir)
    local output = run(make, "-n", "install", "DESTDIR=" .. dir)
    assert.truthy(output:find(dir, 1, true))
    assert.truthy(output:find "/usr/local/lib/lua/%d%.%d\"?/uring/core%.so")
    assert.truthy(output:find "/usr/local/share/lua/%d%.%d\"?/")
    assert.truthy(output:find "/usr/local/include\"?/uring_lua%.h")
    for name in run(program "find", "lua", "-name", "*.lua")
        :gmatch "lua/(%g+)" do
      assert.truthy(output:find("%f[%w]" .. name:gsub("%p", "%%%0")
        .. "%f[^%w.]"), name)
    end
  end)
end)

-- Names and texts of the C sources, without their comments and strings.
local function sources()
  local all, n = {}, 0
  for name in run(program "find", "csrc", "-name", "*.[ch]")
      :gmatch "csrc/[%w_/]+%.[ch]" do
    all[name] = content(name):gsub("/%*.-%*/", ""):gsub('"[^"\n]*"', "")
    n = n + 1
  end
  assert(n > 250, n)
  assert(all["csrc/ring/sys.c"])
  return all
end

describe("the sources", function()
  it("enter the kernel and read the CQ in one file", function()
    for name, text in pairs(sources()) do
      -- (a lock sleeps on a futex, which is no ring's; and the C library has
      -- no function for openat2)
      if not name:find "/sys%.c$" and name ~= "csrc/base/lock.c"
          and name ~= "csrc/os/stream_make.c" then
        for _, call in ipairs { "io_uring_submit", "io_uring_enter",
            "io_uring_wait_cqe", "io_uring_peek_", "io_uring_for_each",
            "io_uring_cq_advance", "io_uring_cqe_seen",
            "io_uring_queue_init", "io_uring_get_events", "syscall%s*%(",
            "__NR_io_uring" } do
          assert.is_nil(text:find(call), name .. ": " .. call)
        end
      end
    end
  end)

  it("make requests of the kinds that the preps are of", function()
    for name, text in pairs(sources()) do
      if not name:find "^csrc/ring/" and not name:find "^csrc/api/"
          and name ~= "csrc/compat.h" then
        for _, way in ipairs { "io_uring_prep_", "%f[%w_]KIND_INIT",
            "%f[%w_]KIND%(", "sqe%.opcode = " } do
          assert.is_nil(text:find(way), name .. ": " .. way)
        end
      end
    end
  end)

  it("know the version of liburing in one file", function()
    for name, text in pairs(sources()) do
      if name ~= "csrc/compat.h" then
        assert.is_nil(text:find "IO_URING_VERSION", name)
      end
    end
  end)

  it("print nothing and end no process", function()
    for name, text in pairs(sources()) do
      for _, call in ipairs { "printf", "puts", "exit", "_exit", "abort",
          "signal", "sigaction" } do
        -- (a handler is set when a script asks for signals; and what ends, or
        -- has no handlers, is a child that was started)
        local own = name == "csrc/os/signals.c" and call == "sigaction"
          or name == "csrc/os/spawn.c"
        assert.is_nil(not own and text:find("[^%w_]" .. call
          .. "%s*%(") or nil, name .. ": " .. call)
      end
      if name ~= "csrc/os/stream_make.c" then  -- (it flushes what print wrote)
        assert.is_nil(text:find "stderr", name)
        assert.is_nil(text:find "stdout", name)
      end
    end
  end)
end)
