-- Ctrl-C, pressed at a terminal: what it does to a script, at a prompt, and
-- where a program listens to it. (doc/guide.md, "Ctrl-C".)

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local patience <const> = 4 * net.patience

after_each(function()
  net.close()
  helper.clean()
  helper.idle_loop()
end)

-- An interpreter at a terminal of its own.
local Terminal = {}
Terminal.__index = Terminal

function Terminal:type(...)
  assert(self.stream:write(...))
  assert(self.stream:flush())
end

function Terminal:press() self:type "\3" end

-- Its output, until and with these words.
function Terminal:expect(words)
  local text, message = self.stream:read_until(words, 1 << 16, patience)
  if not text then
    error(("no %q (%s) in:\n%s"):format(words, message,
      self.stream:peek(1 << 16, 0) or ""), 2)
  end
  return text
end

-- The rest of its output, and how it ended.
function Terminal:rest()
  local lines = {}
  repeat
    local line = self.stream:read("L", patience)
    lines[#lines + 1] = line
  until not line  -- (EIO: the terminal has no other side)
  return table.concat(lines), self.process:wait(patience)
end

function Terminal:__close()
  self.process:close()
  self.stream:close()
end

local function terminal(...)
  local master, slave = spec.pty()
  if not master then helper.skip "needs a file system of terminals" end
  local self = setmetatable({ stream = assert(uring.stream(master)) },
    Terminal)
  local lua = helper.content "/proc/self/cmdline":match "^%Z+"
  -- (setsid gives it the terminal, as a login does)
  local process, message = uring.process { "setsid", "-c", lua, stdin = slave,
    stdout = slave, stderr = slave, grace = 0.1, ... }
  spec.close(slave)
  self.process = assert(process, message)
  return self
end

local prelude <const> = [[
  local uring = require "uring"
  io.stdout:setvbuf "no"
  local function compute()
    print "go"
    local until_then = uring.now() + 0.3
    repeat until uring.now() > until_then
    print "computed"
  end
  local function closed(text)
    return setmetatable({}, { __close = function() print(text) end })
  end
]]

local function script(code) return terminal(helper.file(prelude .. code)) end

describe("Ctrl-C at a terminal", function()
  it("ends a script that waits, with its to-be-closed variables", function()
    net.run(function()
      local t <close> = script [[uring.run(function()
        local _ <close> = closed "closed"
        print "go"
        uring.sleep(1000)
      end)]]
      t:expect "go"
      uring.sleep(0.01)
      t:press()
      t:expect "closed"
      local text, kind, code = t:rest()
      assert.truthy(text:find("interrupted!", 1, true), text)
      assert.truthy(text:find("stack traceback", 1, true), text)
      assert.same({ "exit", 1 }, { kind, code })
    end)
  end)

  it("is noticed when a task that computes waits, before another runs",
  function()
    net.run(function()
      local t <close> = script [[uring.run(function()
        uring.spawn(compute)
        uring.spawn(print, "another")
      end)]]
      t:expect "go"
      t:press()
      t:expect "computed"
      local text, kind, code = t:rest()
      assert.truthy(text:find("interrupted!", 1, true), text)
      assert.is_nil(text:find("another", 1, true), text)
      assert.same({ "exit", 1 }, { kind, code })
    end)
  end)

  it("kills at the second press, and closes nothing", function()
    net.run(function()
      local t <close> = script [[uring.run(function()
        local _ <close> = closed "closed"
        compute()
        print "go on"
        while true do end
      end)]]
      t:expect "go"
      t:press()
      t:expect "go on"
      t:press()
      local text, kind, number = t:rest()
      assert.is_nil(text:find("closed", 1, true), text)
      assert.same({ "signal", 2 }, { kind, number })
    end)
  end)

  it("is a message where it is asked for, and the script's end after that",
  function()
    net.run(function()
      local t <close> = script [[uring.run(function()
        local _ <close> = closed "closed"
        uring.spawn(compute)
        for name in uring.signals("INT"):messages() do print(name) break end
        print "no loop"
        uring.sleep(1000)
      end)]]
      t:expect "go"
      t:press()
      t:expect "computed"  -- (and the task has gone on)
      t:expect "INT"
      t:expect "no loop"
      uring.sleep(0.01)
      t:press()
      t:expect "closed"
      local text, kind, code = t:rest()
      assert.truthy(text:find("interrupted!", 1, true), text)
      assert.same({ "exit", 1 }, { kind, code })
    end)
  end)

  it("ends what a line at a prompt does, and not the interpreter", function()
    net.run(function()
      local t <close> = terminal "-i"
      t:expect "> "
      t:type 'uring = require "uring"\n'
      t:type 'uring.run(function() print("g" .. "o") uring.sleep(1000) end)\n'
      t:expect "go"
      uring.sleep(0.01)
      t:press()
      t:expect "interrupted!"
      -- nor while a listener of an earlier line is on
      t:type('uring.spawn(function() for name in uring.signals("INT")'
        .. ':messages() do print("heard " .. name) end end)\n')
      t:type 'uring.run(uring.sleep, 0.01)\n'
      for _ = 1, 2 do
        t:type 'uring.run(function() print("g" .. "o") uring.sleep(0.3) end)\n'
        t:expect "go"
        t:press()
        t:expect "heard INT"
      end
      t:type 'print("g" .. "o") while true do end\n'
      t:expect "go"
      t:press()
      t:expect "interrupted!"
      t:type 'os.exit(7)\n'
      local _, kind, code = t:rest()
      assert.same({ "exit", 7 }, { kind, code })
    end)
  end)

  it("ends examples/make.lua, and what that runs", function()
    net.run(function()
      local t <close> = terminal("examples/make.lua", "2",
        "echo $$ >/dev/tty; exec sleep 1000", "exit 0")
      local pid = math.tointeger(tonumber(t:expect("\n"):match "%d+"))
      t:press()
      local text, kind, code = t:rest()
      assert.truthy(text:find("interrupted!", 1, true), text)
      assert.same({ "exit", 1 }, { kind, code })
      helper.eventually(function()
        -- (its new parent may leave it a zombie for a while)
        local file = io.open(("/proc/%d/stat"):format(pid))
        local state = file and (file:read "a" or ""):match "%) (%a)"
        if file then file:close() end
        return state == nil or state == "Z"
      end)
    end)
  end)

  it("ends examples/supervisor.lua, and at once when pressed again",
  function()
    net.run(function()
      -- (it prints the command, where these words are not)
      local t <close> = terminal("examples/supervisor.lua",
        "trap 'echo stub''born' TERM; echo rea''dy; while :; do sleep 0.1; "
        .. "done")
      if not t:expect("started, pid"):find "ready" then t:expect "ready" end
      t:press()
      t:expect "INT: the end"
      t:expect "stubborn"
      local began = uring.now()
      t:press()
      local text, kind, code = t:rest()
      assert.same({ "exit", 0 }, { kind, code }, text)
      assert.is_true(uring.now() - began < 1.5 * helper.slow)
    end)
  end)
end)
