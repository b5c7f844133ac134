-- include/uring_lua.h: the header compiles wherever hosts are compiled, and
-- a host in C (spec/c/host_api) finds each function as the header says.

local c_host = require "c_host"
local helper = require "helper"
local spec = require "uring_spec"

local build_host, compile, needs = c_host.build, c_host.compile, c_host.needs

local HEADER <const> = c_host.HEADER

local SOURCES <const> = {}
for i, name in ipairs { "host", "values", "steps", "memory", "threads",
    "calls", "closing" } do
  SOURCES[i] = ("spec/c/host_api/%s.c"):format(name)
end

-- In the order of the sources.
local TESTS <const> = {
  "values cross both ways", "calls say what is wrong", "names are of realms",
  "an inbox takes only its types", "tables arrive in C",
  "boxes and buffers travel", "a full inbox makes Lua wait",
  "posts overtake sends that wait",
  "a step is not nested, nor another thread's",
  "a thread that has ended keeps its loop",
  "a movable state goes from thread to thread", "a step keeps to its budget",
  "errors are told", "a slow task is told of", "each block is released once",
  "no memory loses no message", "no memory closes no loop",
  "no memory is LUA_ERRMEM", "threads post to a host that polls",
  "a state closes under posts", "a forked child is told",
  "all is valid after the state", "calls are answered",
  "answers own what they give", "answers race with the caller",
  "monitors tell of the end", "monitors race with the end", "counts are told",
  "room is told of", "a closed state is polled no more",
  "a closed state leaves no descriptor", "a closed state ends chains",
  "a cancelled thread ends after its calls",
}

describe("the C header", function()
  local function is_clean(compiler, standard, ...)
    compile(compiler, "-std=" .. standard, "-Wall", "-Wextra", "-Werror",
      "-Wconversion", "-Wshadow", "-pedantic", "-fsyntax-only", ...)
  end

  it("is clean C99 and C11, and asserts its layout in both", function()
    needs "/usr/bin/gcc"
    is_clean("/usr/bin/gcc", "c99", "-x", "c", HEADER)
    is_clean("/usr/bin/gcc", "c11", "-x", "c", HEADER)
  end)

  it("is clean C++", function()
    needs "/usr/bin/g++"
    is_clean("/usr/bin/g++", "c++11", "-x", "c++", HEADER)
    is_clean("/usr/bin/g++", "c++98", "-Wno-long-long", "-x", "c++", HEADER)
  end)

  it("is clean with clang", function()
    needs "/usr/bin/clang"
    is_clean("/usr/bin/clang", "c99", "-x", "c", HEADER)
    is_clean("/usr/bin/clang", "c++11", "-x", "c++", HEADER)
  end)

  it("agrees with lua.h, before it and after it", function()
    needs "/usr/bin/g++"
    local code = helper.file [[
      #include <lua.hpp>
      #include <uring_lua.h>
      int f (lua_State *L, const struct uring_api *u);
      int f (lua_State *L, const struct uring_api *u) {
        return u->open(L, 0) + u->spawn(L, 0);
      }
    ]]
    local command = { "/usr/bin/g++", "-fsyntax-only", "-Iinclude" }
    for _, flag in ipairs(c_host.flags("", "--cflags", helper.lua)) do
      command[#command + 1] = flag
    end
    command[#command + 1] = "-xc++"
    command[#command + 1] = code
    compile(table.unpack(command))
  end)
end)

describe("a host in C finds that", function()
  local program

  local function build()
    program = program or build_host(table.unpack(SOURCES))
  end

  teardown(function() helper.clean() end)

  for _, name in ipairs(TESTS) do
    it(name, function()
      helper.needs_ring()
      build()
      local status, output = spec.execute(120 * helper.slow, program, name)
      assert.equal("passed\n", output)
      assert.equal(0, status)
    end)
  end

  it("all of its tests are run here", function()
    build()
    local _, output = spec.execute(10 * helper.slow, program)
    assert.equal(table.concat(TESTS, "\n") .. "\n", output)
  end)
end)

describe("doc/embedding.md", function()
  -- The snippet after the first such line.
  local function snippet(fence)
    local text = helper.content "doc/embedding.md"
    local at = assert(text:find("\n## The C header\n", 1, true))
    return text:match("\n```" .. fence .. "\n(.-\n)```\n", at)
  end

  teardown(function() helper.clean() end)

  it("shows a host in C that works", function()
    helper.needs_ring()
    needs "/usr/bin/cc"
    local source = helper.file(snippet "c")
    assert(os.rename(source, source .. ".c"))
    local program = build_host(source .. ".c")
    os.remove(source .. ".c")
    local input = helper.file "one\ntwo\n\nthree"
    local status, output = spec.execute(60 * helper.slow, "/bin/sh", "-c",
      '"$0" "$1" <"$2"', program, helper.file(snippet "lua lines.lua"), input)
    assert.same({ 0, "ONE\nTWO\n\nTHREE\n" }, { status, output })
    local many = {}
    for i = 1, 5000 do many[i] = "line " .. i end
    input = helper.file(table.concat(many, "\n") .. "\n")
    status, output = spec.execute(60 * helper.slow, "/bin/sh", "-c",
      '"$0" "$1" <"$2"', program, helper.file(snippet "lua lines.lua"), input)
    assert.equal(0, status)
    assert.equal(table.concat(many, "\n"):upper() .. "\n", output)
  end)
end)
