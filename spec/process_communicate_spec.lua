-- process:communicate: all that goes in and comes out, at once.

local children = require "children"
local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local patience <const> = net.patience
local process <const> = uring.process
local sh <const> = children.sh

children.leave_none(before_each, after_each)

describe("process:communicate", function()
  it("writes and reads at once, whatever the sizes", function()
    net.run(function()
      local p = sh("tee /proc/self/fd/2", { stdin = "pipe", stdout = "pipe",
        stderr = "pipe" })
      local input = ("0123456789abcdef"):rep(1 << 16)
      local out, err, kind, code = p:communicate(input)
      assert.is_true(out == input and err == input)
      assert.same({ "exit", 0 }, { kind, code })
    end)
  end)

  it("loses nothing at a timeout", function()
    net.run(function()
      local p = sh("echo err >&2; exec 2>&-; echo out; read line; echo $line",
        { stdin = "pipe", stdout = "pipe", stderr = "pipe" })
      local q = sh("echo err >&2; exec 2>&-; echo out; exec sleep 20",
        { stdout = "pipe", stderr = "pipe" })
      local ok, message, errno = q:communicate(nil, { timeout = 0.1 })
      assert.same({ "timed out", E.ETIME }, { message, errno })
      assert.is_nil(ok)
      q:kill "KILL"
      local out, err, kind = q:communicate()
      assert.same({ "out\n", "err\n", "signal" }, { out, err, kind })
      assert.same({ "out\nin\n", "err\n", "exit", 0 },
        { p:communicate("in\n", { timeout = patience }) })
    end)
  end)

  it("loses nothing where its task is cancelled", function()
    net.run(function()
      local p = sh("echo err >&2; exec 2>&-; echo out; exec sleep 20",
        { stdout = "pipe", stderr = "pipe" })
      assert.equal("o", p.stdout:peek(1, patience))
      local _, message = uring.timeout(0.1, p.communicate, p)
      assert.equal("timed out", message)
      p:kill "KILL"
      assert.same({ "out\n", "err\n", "signal", 9 }, { p:communicate() })
    end)
  end)

  it("takes no more than max", function()
    net.run(function()
      local p <close> = sh("while :; do echo line; done", { stdout = "pipe" })
      local ok, _, errno = p:communicate(nil, { max = 100 })
      assert.is_nil(ok)
      assert.equal(E.EMSGSIZE, errno)
      assert.equal("line", p.stdout:read("l", patience))
    end)
  end)

  it("fails if another task closes a pipe meanwhile", function()
    net.run(function()
      for _, name in ipairs { "stdin", "stdout", "stderr" } do
        for turns = 1, 4 do
          local p <close> = assert(process { "cat", stdin = "pipe",
            stdout = "pipe", stderr = "pipe" })
          local call = uring.spawn(p.communicate, p, ("x"):rep(1 << 20),
            { max = 1 << 20 })
          helper.turns(turns)
          p[name]:close()
          local ended, ok, message, errno = call:join(patience)
          assert.is_true(ended, ok)
          assert.is_nil(ok)
          assert.equal(E.EBADF, errno, message)
        end
      end
    end)
  end)

  it("does not mind a child that reads nothing", function()
    net.run(function()
      local p = assert(process { "true", stdin = "pipe" })
      assert.same({ "", "", "exit", 0 },
        { p:communicate(("x"):rep(1 << 20)) })
    end)
  end)

  it("raises for mistakes", function()
    net.run(function()
      local p <close> = assert(process { "true" })
      helper.mistake("without stdin = \"pipe\"", p.communicate, p, "x")
      helper.mistake("string expected, got table", p.communicate, p, {})
      helper.mistake("unknown option 'maximum'", p.communicate, p, nil,
        { maximum = 1 })
      helper.mistake("'max' must be an integer", p.communicate, p, nil,
        { max = 0 })
      helper.mistake("'timeout' must be seconds", p.communicate, p, nil,
        { timeout = "1" })
      local q <close> = sh("cat", { stdin = "pipe", stdout = "pipe" })
      q.stdin:close()
      helper.mistake("bad argument #1 to 'communicate' (its stdin is closed)",
        q.communicate, q, "x")
      q.stdout:close()
      helper.mistake("its stdout is closed", q.communicate, q, nil,
        { max = 10 })
    end)
  end)

  it("returns what another task's close of a pipe makes of it", function()
    net.run(function()
      local p <close> = sh("exec sleep 20", { stdin = "pipe" })
      local task = uring.spawn(p.communicate, p, ("x"):rep(1 << 20))
      net.turns(2)
      local closing = uring.spawn(p.stdin.close, p.stdin)
      net.turns(1)
      closing:cancel()  -- (it waits for less)
      local ok, result, message, errno = task:join(patience)
      assert.same({ true, nil, E.EBADF }, { ok, result, errno }, message)
    end)
  end)
end)
