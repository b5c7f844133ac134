-- examples/make.lua, supervisor.lua and cron.lua, as they are started.

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

describe("examples/cron.lua", function()
  after_each(helper.clean)

  it("prints the next times of each line", function()
    net.run(function()
      local file = helper.file [[
# a comment
0 0 29 2 * leap
*/30 8-10/2 1,15 * 7 sundays or those days
@every 2 tick
]]
      local code, out = output(start("cron", file, "next", "60"))
      assert.equal(0, code, out)
      local name
      for line in out:gmatch "[^\n]+" do
        if line:find "^%S" then name = line
        elseif name == "leap" then
          assert.truthy(line:find "^  %d+%-02%-29 00:00:00$", line)
        elseif name == "sundays or those days" then
          local y, m, d, time = line:match "^  (%d+)%-(%d+)%-(%d+) (%S+)$"
          assert.truthy(time:find "^08:[03]0:00$" or time:find "^10:[03]0:00$",
            line)
          local weekday = os.date("%w", os.time { year = y, month = m,
            day = d })
          assert.truthy(d == "01" or d == "15" or weekday == "0", line)
        end
      end
      assert.equal("tick", name)
    end)
  end)

  it("runs commands, and ends them with TERM", function()
    net.run(function()
      local p <close> = start("cron", helper.file(
        "@every 0.01 echo tick; sleep 0.01\n@every 0.01 exec sleep 1000\n"))
      local n = 0
      for line in p.stdout:lines("l", { timeout = patience }) do
        assert.equal("tick", line)
        n = n + 1
        if n == 3 then break end
      end
      assert.is_true(p:kill "TERM")
      local code, out = output(p)
      assert.equal(0, code, out)
    end)
  end)

  it("says which line is wrong", function()
    net.run(function()
      for line, words in pairs { ["* * * *"] = "five fields and a command",
          ["60 * * * * x"] = "'60' is no minute",
          ["* * 5-3x * * x"] = "'5-3x' is no day",
          ["* */0 * * * x"] = "'*/0' is no hour" } do
        local code, out = output(start("cron", helper.file("\n" .. line)))
        assert.equal(1, code, out)
        assert.truthy(out:find(":2: " .. words, 1, true), out)
      end
    end)
  end)

  it("reads a long line in time in proportion to its length", function()
    net.run(function()
      local long = 100000
      local code, out = output(start("cron", helper.file("  * * * * * x"
        .. (" "):rep(long) .. "y  \n"), "next", "1"))
      assert.equal(0, code, out)
      assert.truthy(out:find("x" .. (" "):rep(long) .. "y\n", 1, true))
      code, out = output(start("cron", helper.file(("x"):rep(long) .. " *")))
      assert.equal(1, code)
      assert.truthy(out:find(":1: five fields", 1, true))
    end)
  end)
end)
