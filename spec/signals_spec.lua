-- uring.signals: signals of the process as messages.

local clean = require "clean"
local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local take <const> = require("uring.core").listener_take
local patience <const> = net.patience
local INT <const>, USR1 <const>, USR2 <const>, TERM <const> = 2, 10, 12, 15

before_each(clean.begin(function()  -- (the loop, and its doorbell)
  uring.run(function() assert(uring.mailbox()):close() end)
end))

after_each(clean.finish(function()
  for _, sig in ipairs { USR1, USR2, TERM } do
    assert.equal("default", spec.signal(sig, "default"))
  end
end))

local function raise(sig) assert(spec.kill(spec.getpid(), sig)) end

describe("uring.signals", function()
  it("gives those that were asked for, by name", function()
    net.run(function()
      local signals <close> = assert(uring.signals("USR1", "TERM"))
      assert.equal("uring.Signals (USR1, TERM)", tostring(signals))
      raise(USR1)
      assert.equal("USR1", signals:receive(patience))
      raise(TERM)
      assert.equal("TERM", signals:receive(patience))
      local _, message, errno = signals:receive(0.001)
      assert.same({ "timed out", E.ETIME }, { message, errno })
    end)
  end)

  it("tells when they are closed, or their scope has ended", function()
    net.run(function()
      local closed <close> = assert(uring.signals "USR1")
      closed:close()
      assert.equal("uring.Signals (closed, USR1)", tostring(closed))
      local ended = uring.scope(function()
        return assert(uring.signals("USR1", "TERM"))
      end)
      assert.equal("uring.Signals (closed, USR1, TERM)", tostring(ended))
    end)
  end)

  it("keeps what comes between two receives", function()
    net.run(function()
      local signals <close> = assert(uring.signals("USR1", "USR2"))
      for _ = 1, 50 do raise(USR1) end
      raise(USR2)
      local n = { USR1 = 0, USR2 = 0 }
      for _ = 1, 51 do
        local name = assert(signals:receive(patience))
        n[name] = n[name] + 1
      end
      assert.same({ USR1 = 50, USR2 = 1 }, n)
    end)
  end)

  it("wakes a task that waits, in receive or select", function()
    net.run(function()
      local signals <close> = assert(uring.signals "USR1")
      local task = helper.started(signals.receive, signals)
      raise(USR1)
      assert.same({ true, "USR1" }, { task:join(patience) })
      uring.spawn(function() raise(USR1) end)
      assert.same({ "signal", "USR1" }, { uring.select({
        signal = signals:receiving() }, patience) })
    end)
  end)

  it("closes when its loop is left", function()
    net.run(function()
      local signals = assert(uring.signals "USR1")
      raise(USR1)
      for name in signals:messages() do
        assert.equal("USR1", name)
        if name then break end
      end
      assert.equal("default", spec.signal(USR1, "default"))
      for _, name in ipairs { "receive", "receiving", "messages" } do
        helper.raises("closed signals", signals[name], signals)
      end
    end)
  end)

  it("can be closed while a signal is on its way", function()
    net.run(function()
      local r, w = helper.pipe()
      local poll = uring.sqe():prep_poll_add(r, uring.POLLIN)
      for _, first in ipairs { true, false } do  -- which is ready first
        local signals = assert(uring.signals "USR1")
        local task = helper.started(function()
          assert(uring.await(poll))
          signals:close()
        end)
        if first then spec.write(w, "x") end
        raise(USR1)
        if not first then spec.write(w, "x") end
        task:join()
        spec.read(r, 1)
        helper.turns()
      end
    end)
  end)

  it("gives EBADF to what waits for them when they are closed", function()
    net.run(function()
      local signals = assert(uring.signals "USR1")
      local call = helper.started(signals.receive, signals)
      local choice = helper.started(uring.select, { signals:receiving() })
      signals:close()
      local function check(_, first, message, errno)
        assert.is_nil(first)
        assert.equal("the signals were closed", message)
        assert.equal(E.EBADF, errno)
      end
      check(call:join(patience))
      check(select(2, choice:join(patience)))
    end)
  end)

  it("ends a loop when it is closed", function()
    net.run(function()
      local signals = assert(uring.signals "USR1")
      local task = helper.started(function()
        for _ in signals:messages() do error "a signal" end
        return "ended"
      end)
      signals:close()
      signals:close()
      assert.same({ true, "ended" }, { task:join(patience) })
    end)
  end)

  it("is closed at the end of its scope", function()
    net.run(function()
      local signals
      uring.scope(function() signals = assert(uring.signals "USR1") end)
      assert.equal("default", spec.signal(USR1, "default"))
      helper.raises("closed", take, signals.listener)
    end)
  end)

  it("puts back what was there before, after the last listener", function()
    net.run(function()
      spec.signal(USR1, "ignore")
      local a = assert(uring.signals "USR1")
      local b = assert(uring.signals("USR1", "USR2"))
      raise(USR1)
      assert.equal("USR1", a:receive(patience))
      assert.equal("USR1", b:receive(patience))
      a:close()
      raise(USR1)
      assert.equal("USR1", b:receive(patience))
      b:close()
      raise(USR1)
      assert.equal("ignore", spec.signal(USR1, "default"))
    end)
  end)

  it("leaves a disposition alone that another has set", function()
    net.run(function()
      local a = assert(uring.signals "USR1")
      spec.signal(USR1, "ignore")
      a:close()
      assert.equal("ignore", spec.signal(USR1, "default"))
    end)
  end)

  it("listens again at each run and step, whatever was set between", function()
    local heard = {}
    local task = uring.spawn(function()
      for name in uring.signals("USR1", "USR2"):messages() do
        heard[#heard + 1] = name
      end
    end)
    local function press() raise(USR1) uring.sleep(0) uring.sleep(0) end
    uring.run(helper.turns)
    spec.signal(USR1, "ignore")
    uring.run(function() helper.turns() press() helper.turns() end)
    assert.same({ "USR1" }, heard)
    spec.signal(USR1, "ignore")
    uring.loop():step()  -- (it has nothing to do, and leaves that alone)
    assert.equal("ignore", spec.signal(USR1, "ignore"))
    uring.spawn(uring.sleep, 0)
    uring.loop():step()
    raise(USR1)
    uring.run(helper.turns)
    assert.same({ "USR1", "USR1" }, heard)
    task:cancel()
    uring.run(helper.turns)
    -- what was there when it was set last, and before the first time
    assert.equal("ignore", spec.signal(USR1, "default"))
    assert.equal("default", spec.signal(USR2, "default"))
  end)

  it("works in several states at once", function()
    net.run(function()
      local signals <close> = assert(uring.signals "USR1")
      local ok, name = spec.state [[
        local uring = require "uring"
        local spec = require "uring_spec"
        return uring.run(function()
          local a = assert(uring.signals "USR1")
          spec.kill(spec.getpid(), 10)
          return a:receive(10)
        end)]]
      assert.same({ true, "USR1" }, { ok, name })
      assert.equal("USR1", signals:receive(patience))
      raise(USR1)  -- (the other state is closed, and this one listens on)
      assert.equal("USR1", signals:receive(patience))
    end)
  end)

  it("works in several threads, which come and go", function()
    net.run(function()
      local signals <close> = assert(uring.signals "USR1")
      local threads = {}
      for i = 1, 4 do
        threads[i] = spec.thread([[
          local slow = ...
          local uring = require "uring"
          local spec = require "uring_spec"
          for _ = 1, 20 do
            uring.run(function()
              local a <close> = assert(uring.signals("USR1", "USR2"))
              local b <close> = assert(uring.signals "USR1")
              spec.kill(spec.getpid(), 10)
              assert(a:receive(20 * slow) == "USR1")
              assert(b:receive(20 * slow) == "USR1")
            end)
          end]], helper.slow)
      end
      for i = 1, 4 do
        local ok, why = threads[i]:join()
        assert.is_true(ok, why)
      end
      -- (signals of one kind that come at the same time are one)
      assert.equal("USR1", signals:receive(patience))
    end)
  end)

  it("does nothing in a forked child", function()
    net.run(function()
      local signals <close> = assert(uring.signals "USR1")
      local pid = spec.fork()
      if pid == 0 then
        raise(USR1)
        local ok, why = pcall(take, signals.listener)
        spec._exit(not ok and why:find "another process" and 0 or 1)
      end
      assert.equal(0, (spec.wait(pid)))
      assert.is_false(spec.ready(require("uring.core").listener_fileno(
        signals.listener)))
      local _, _, errno = signals:receive(0.001)
      assert.equal(E.ETIME, errno)
    end)
  end)

  it("lets a child have the default again", function()
    net.run(function()
      local signals <close> = assert(uring.signals "TERM")
      local p <close> = assert(uring.process { "sleep", "20" })
      assert.is_true(p:kill "TERM")
      assert.same({ "signal", TERM }, { p:wait(patience) })
      local _, _, errno = signals:receive(0)
      assert.equal(E.ETIME, errno)
    end)
  end)

  it("does not keep a run from its end", function()
    net.run(function() assert(uring.signals "USR1") end)
  end)

  it("refuses what it cannot listen to", function()
    net.run(function()
      helper.mistake("name of a signal expected", uring.signals)
      helper.mistake("#2 to 'signals' (no signal 'INTR': did you mean 'INT'?",
        uring.signals, "USR1", "INTR")
      helper.mistake("names are without SIG, as 'INT'", uring.signals,
        "SIGINT")
      helper.mistake("'KILL' cannot be caught", uring.signals, "KILL")
      helper.mistake("'SEGV' is for a fault of the program", uring.signals,
        "SEGV")
      helper.mistake("got number", uring.signals, 2)
    end)
    helper.raises("uring.run", uring.signals, "USR1")
  end)
end)

describe("Ctrl-C", function()
  it("is a message where it is asked for, and once again an error",
  function()
    local status, out = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
      local function press() spec.kill(spec.getpid(), 2) end
      uring.run(function()
        uring.spawn(press)
        for name in uring.signals("INT"):messages() do print(name) break end
        press()
        uring.sleep(60)
      end)]]
    assert.equal(1, status)
    assert.truthy(out:find("INT\n", 1, true), out)
    assert.truthy(out:find("interrupted!", 1, true), out)
    assert.equal(INT, 2)
  end)
end)
