-- The library as a guest of the state, or of several, and of the process.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local ring_it = helper.needs_ring(it)

-- Another copy of the module's table, as after package.loaded was cleared.
local function again()
  local loaded = package.loaded
  local kept = { loaded["uring"], loaded["uring.core"] }
  loaded["uring"], loaded["uring.core"] = nil, nil
  local copy = require "uring"
  loaded["uring"], loaded["uring.core"] = kept[1], kept[2]
  return copy
end

describe("require", function()
  it("gives the same table", function()
    assert.equal(uring, require "uring")
    assert.equal("table", type(uring))
  end)

  it("works after package.loaded was cleared", function()
    local other = again()
    assert.not_equal(uring, other)
    for name, value in pairs(uring) do
      assert.equal(type(value), type(other[name]), name)
    end
    assert.equal(uring.cancelled, other.cancelled)
    assert.same(uring.errno, other.errno)
  end)

  ring_it("after that gives functions for the same objects", function()
    local other = again()
    local a <close> = assert(uring.ring {})
    local b <close> = assert(other.ring {})
    local sqe = other.sqe():prep_msg_ring(a, 1, 2, 0)
    b:queue(sqe)
    b:submit()
    assert.equal(2, (a:wait_cqe(1)))
    assert.equal(uring.loop(), other.loop())
    assert.equal(7, other.run(function()
      local task = uring.spawn(function() return (other.await(sqe)) end)
      assert(task:join())
      return select(2, a:receive(1)) + 5
    end))
    assert.equal(getmetatable(a), getmetatable(b))
  end)

  it("that a finalizer does in the middle of another makes no second state",
    function()
      helper.needs_eager_collector()
      local code = string.dump(function(turn)
        local inner
        local function arm()
          setmetatable({}, { __gc = function()
            turn = turn - 1
            if turn > 0 then return arm() end
            inner = require("uring.core").public
          end })
        end
        collectgarbage "stop"
        collectgarbage("incremental", 10, 1000, 30)
        arm()
        collectgarbage "restart"
        local outer = require("uring.core").public
        if not inner then return end
        -- each knows the objects of the other
        inner.msghdr { iov = { outer.buffer(1) } }
        outer.msghdr { iov = { inner.buffer(1) } }
        return inner.cancelled == outer.cancelled
      end)
      local turn, same = 0
      repeat
        turn = turn + 1
        same = select(2, assert(spec.state(code, turn)))
        assert(same ~= false)
      until same == nil
      assert(turn > 20, turn)
    end)

  it("sets no globals, changes no library, prints nothing", function()
    assert.equal("", helper.script_ok [[
      local seen = {}
      for k, v in pairs(_G) do
        seen[k] = v
        if type(v) == "table" and v ~= _G and v ~= package.loaded then
          for name, value in pairs(v) do seen[k .. "." .. name] = value end
        end
      end
      local strings = getmetatable ""
      local uring = require "uring"
      uring.probe()
      if uring.probe().available then
        local ring <close> = uring.ring {}
        uring.run(function() uring.sleep(0) end)
      end
      for k, v in pairs(_G) do
        assert(seen[k] == v, k)
        if type(v) == "table" and v ~= _G and v ~= package.loaded then
          for name, value in pairs(v) do
            assert(seen[k .. "." .. name] == value, name)
          end
        end
      end
      assert(getmetatable "" == strings)
      for _, t in ipairs { 0, nil, print, io.stdout } do
        assert(t == io.stdout or getmetatable(t) == nil)
      end
      assert(next(seen))
    ]])
  end)

  it("from a file of its own works as well", function()
    local file = assert(package.searchpath("uring.core", package.cpath))
    local open = assert(package.loadlib(file, "luaopen_uring_core"))
    assert.equal("function", type(open().public.ring))
  end)

  it("finds no inner module of the library under another name",
    function()
      local file = assert(package.searchpath("uring.core", package.cpath))
      for _, name in ipairs {
        "ring_open", "op_new", "sys_enter", "loop_wake", "block_bury",
        "state_push", "embedded_open", "io_uring_prep_nop"
      } do
        local f, message = package.loadlib(file, name)
        assert.equal(nil, f, name)
        assert(message:find("undefined symbol", 1, true), message)
      end
    end)
end)


describe("objects", function()
  ring_it("keep their metatables, and with them their finalizers, to "
    .. "themselves", function()
    local ring <close> = assert(uring.ring {})
    for name, object in pairs {
      ["uring.Ring"] = ring, ["uring.Sqe"] = uring.sqe(),
      ["uring.Buffer"] = uring.buffer(1), ["uring.Ref"] = ring:ref(),
      ["uring.Operation"] = ring:queue(uring.sqe():prep_nop()),
      ["uring.Loop"] = uring.loop()
    } do
      assert.equal(name, getmetatable(object))
      assert.equal("userdata", type(object))
      assert(tostring(object):find(name, 1, true), tostring(object))
    end
  end)

  ring_it("survive what debug.getmetatable lets a script do", function()
    local ring = assert(uring.ring {})
    local gc = debug.getmetatable(ring).__gc
    gc(ring)
    gc(ring)
    assert(tostring(ring):find("closed", 1, true))
    for _, wrong in ipairs { 1, "x", {}, io.stdout, uring.sqe() } do
      helper.raises("uring.Ring", gc, wrong)
    end
  end)
end)


describe("a process", function()
  -- Lines of /proc/self/status, before and after all of the library was used
  it("gets no signal handlers and no threads", function()
    assert.equal("", helper.script_ok [[
      local function status()
        local file <close> = assert(io.open "/proc/self/status")
        local all = file:read "a"
        local t = {}
        for _, name in ipairs { "SigBlk", "SigIgn", "SigCgt", "Threads" } do
          t[name] = assert(all:match("\n" .. name .. ":%s*(%x+)"))
        end
        return t
      end
      local before = status()
      local uring = require "uring"
      if uring.probe().available then
        local ring <close> = uring.ring {}
        local other <close> = uring.ring { flags = 0 }
        uring.run(function()
          uring.spawn(function() other:receive(0.001) end)
          uring.sleep(0.001)
          assert(uring.await(uring.sqe():prep_nop()))
        end)
      end
      for name, value in pairs(status()) do
        assert(before[name] == value, name)
      end
    ]])
  end)

  it("may have the library in a state that came later", function()
    assert.equal("", helper.script_ok [[
      local spec = require "uring_spec"
      for i = 1, 5 do
        local threads = {}
        for k = 1, 3 do
          threads[k] = spec.thread([=[
            local uring = require "uring"
            if not uring.probe().available then return 6 end
            return uring.run(function(n)
              uring.sleep(0.0001)
              return n
            end, 6)
          ]=])
        end
        for k = 1, 3 do
          local ok, n = threads[k]:join()
          assert(ok and n == 6, n)
        end
      end
      local uring = require "uring"
      assert(uring.errno.EAGAIN == 11)
    ]])
  end)

  it("may have several states, which know nothing of each other",
    function()
      local ok, names, cancelled = spec.thread([[
        local uring = require "uring"
        local names = {}
        for name in pairs(uring) do names[#names + 1] = name end
        table.sort(names)
        return table.concat(names, " "), tostring(uring.cancelled)
      ]]):join()
      assert(ok, names)
      local mine = {}
      for name in pairs(uring) do mine[#mine + 1] = name end
      table.sort(mine)
      assert.equal(table.concat(mine, " "), names)
      assert.equal(tostring(uring.cancelled), cancelled)
    end)

  it("that refuses io_uring can load the library all the same", function()
    -- (this one may not; what needs no ring works in both)
    assert.equal(11, uring.errno.EAGAIN)
    assert.equal("hello", uring.buffer("hello"):string())
    assert.equal("uring.Sqe", getmetatable(uring.sqe():prep_nop()))
    assert.equal("boolean", type(uring.probe().available))
    if not uring.probe().available then
      local ring, message, errno = uring.ring {}
      assert.equal(nil, ring)
      assert(message:find("io_uring", 1, true), message)
      assert.equal("integer", math.type(errno))
      helper.raises("io_uring", uring.run, function() end)
    end
  end)
end)
