-- examples/make.lua and examples/supervisor.lua, as they are started.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local patience <const> = 4 * net.patience

after_each(function()
  net.close()
  helper.idle_loop()
end)

local function start(example, ...)
  local lua = assert(io.open "/proc/self/cmdline"):read "a":match "^%Z+"
  return assert(uring.process { lua, "examples/" .. example
    .. ".lua", stdin = "null", stdout = "pipe", stderr = "stdout", ... })
end

local function output(process)
  local out, _, kind, code = assert(process:communicate(nil,
    { timeout = patience }))
  assert.equal("exit", kind, out)
  return code, out
end

describe("examples/make.lua", function()
  it("runs commands side by side, and keeps their outputs apart", function()
    net.run(function()
      local code, out = output(start("make", "2",
        "echo a1; sleep 0.05; echo a2", "echo b1; sleep 0.05; echo b2 >&2",
        "echo c"))
      assert.equal(0, code, out)
      for _, words in ipairs { "a1\na2\n", "b1\nb2\n", "== echo c\nc\n" } do
        assert.truthy(out:find(words, 1, true), out)
      end
    end)
  end)

  it("stops at the first failure", function()
    net.run(function()
      local began = uring.now()
      local code, out = output(start("make", "2", "sleep 1000", "exit 3",
        "echo never"))
      assert.equal(1, code, out)
      assert.truthy(out:find("exit 3: exit 3", 1, true), out)
      assert.is_nil(out:find("never", 1, true), out)
      assert.is_true(uring.now() - began < patience)
    end)
  end)
end)

describe("examples/supervisor.lua", function()
  it("starts again what ends, and ends with TERM", function()
    net.run(function()
      local p <close> = start("supervisor", "exit 7", "exec sleep 1000")
      local n = 0
      for line in p.stdout:lines("l", { timeout = patience }) do
        if line == "exit 7: ended, exit 7" then n = n + 1 end
        if n == 2 then break end
      end
      assert.equal(2, n)
      assert.is_true(p:kill "TERM")
      local code, out = output(p)
      assert.equal(0, code, out)
      assert.truthy(out:find("TERM: the end", 1, true), out)
    end)
  end)
end)
