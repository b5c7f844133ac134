-- Not enough memory, wherever that is found out: nothing crashes, hangs, leaks
-- or stays half made; the error says what it is; and all goes on as ever when
-- there is memory again.
--
-- Here only some of the places are tried; `make sweep` tries all of them, with
-- one to six requests in a row refused, and all from there on.

local faults = require "faults"
local helper = require "helper"
local shortage = require "shortage"
local spec = require "uring_spec"

local needs_ring = helper.needs_ring(it)
local faulty = faults.tests(needs_ring)

-- luacheck: globals T


describe("a shortage of memory is survived by", function()
  for _, name in ipairs(shortage.names) do
    local sweep = load(("require('shortage').sweep(%q, T)"):format(name))
    faulty(name, sweep)
  end
end)


-- In a state of its own, where all of it is for the first time: the library,
-- its loop, its pools of buffers.
describe("in a state whose memory is short", function()
  -- luacheck: globals refuse
  local function first(n, failing, loaded)
    if loaded then require "uring" end
    local function use()
      local uring = require "uring"
      if not uring.probe().available then return end
      local a, b = assert(uring.socketpair())
      local _ <close> = a
      local _ <close> = b
      uring.run(function()
        local c = uring.channel()
        uring.spawn(function()
          assert(a:send "x")
          c:send(1)
        end)
        local key, value, message = uring.select({ s = b:receiving(),
          t = uring.after(60) })
        if not value then error(message, 0) end
        assert(key == "s" and value == "x")
        assert(c:receive() == 1)
        assert(uring.await(uring.sqe():prep_nop()))
        for _, options in ipairs { {}, { lease = true } } do
          assert(a:send "y")
          local next, reader, _, closer = b:chunks(options)
          local _ <close> = closer
          local data = next(reader)
          if options.lease then data:release() end
        end
        uring.scope(function(s) s:spawn(uring.sleep, 0) end)
        local _, why = uring.timeout(0, uring.sleep, 1)
        assert(why == "timed out")
        local five = uring.wrap(function()
          uring.sleep(0)
          return 5
        end)()
        assert(five == 5)
      end)
    end
    refuse(n, failing)
    local ok, why = pcall(loaded and use or require, "uring")
    local asked = refuse()
    if not ok then
      why = tostring(why)
      assert(why:find "memory" or why:find "ENOMEM", why)
    end
    use()
    local uring = require "uring"
    for class, object in pairs {
      ["uring.Buffer"] = uring.buffer(1), ["uring.Sqe"] = uring.sqe(),
      ["uring.Msghdr"] = uring.msghdr {},
      ["uring.Socket"] = assert(uring.socketpair()),
    } do
      local meta = debug.getmetatable(object)
      assert(meta.__name == class and meta.__metatable == class, class)
      assert(meta.__gc and meta.__index, class)
    end
    return asked
  end

  local function sweep(stride, loaded)
    local code = string.dump(first)
    return shortage.places(stride, function(n, failing)
      local ok, asked = spec.state(code, n, failing, loaded)
      if not ok then
        error(("refused the %d-th of %d: %s"):format(n, failing, asked), 0)
      end
      return asked < n
    end)
  end

  it("a failed require can be repeated, and is then whole", function()
    assert(sweep(173, false) > 30)
  end)

  local function call(n, failing)
    local uring = require "uring"
    local asked, ok, why
    pcall(uring.run, function()
      local box <close> = uring.mailbox()
      local to <close> = box:address()
      uring.daemon(function()
        local handlers = { f = function() return {} end }
        repeat until uring.pcall(box.serve, box, handlers)
      end)
      uring.sleep(0)
      refuse(n, failing)
      ok, why = pcall(to.call, to, "f")
      asked = refuse()
    end)
    asked = asked or refuse()
    if ok == false and why ~= uring.cancelled then
      assert(why:find "memory" or why:find "ENOMEM", why)
    end
    return asked
  end

  needs_ring("a call says what it was that failed", function()
    local code = string.dump(call)
    for failing = 1, 7 do
      for n = 1, 1000 do
        local ok, asked = spec.state(code, n, failing)
        assert(ok, asked)
        if asked < n then break end
      end
    end
  end)

  local function receive(n, failing)
    local uring = require "uring"
    local a, b = assert(uring.socketpair())
    local _ <close> = a
    local _ <close> = b
    return uring.run(function()
      local function one()
        local next, reader, _, closer = b:chunks()
        local _ <close> = closer
        return next(reader)
      end
      assert(a:send "x")
      refuse(n, failing)
      local ok, data = pcall(one)
      local asked = refuse()
      assert(ok and data == "x" or tostring(data):find "memory"
        or tostring(data):find "ENOMEM", data)
      if not ok then assert(one() == "x") end
      collectgarbage()
      return asked, uring.loop():stats().memory
    end)
  end

  needs_ring("no buffers of a first receive are lost", function()
    local code = string.dump(receive)
    local ok, most, usual = spec.state(code, 1 << 40, 1)
    assert(ok, most)
    assert.is_true(most > 5)
    for n = 1, most do  -- (Lua asks twice)
      local done, _, held = spec.state(code, n, 2)
      assert(done, _)
      assert.is_true(held <= usual, n)
    end
  end)

  needs_ring("a failed first use can be repeated", function()
    assert(sweep(17, true) > 15)
  end)
end)
