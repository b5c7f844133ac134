-- A finalizer that runs while bytes are made a string of tries for the same
-- bytes by an event, which needs no wait. They were taken twice.

local helper = require "helper"

local it = helper.needs_ring(it)

describe("an event that a finalizer tries", function()
  for name, use in pairs {
    ["a stream is read"] = { "b, a = uring.pipe()", "reading", "read" },
    ["a socket is read"] = { "a, b = uring.socketpair(uring.SOCK_STREAM)",
      "reading", "read" },
    ["a socket receives"] = { "a, b = uring.socketpair(uring.SOCK_STREAM)",
      "receiving", "recv" },
  } do
    it("takes no bytes that are being taken: while " .. name, function()
      helper.needs_eager_collector()
      assert.equal("0", helper.script_ok(([[
        local uring = require "uring"
        local armed, event, tries, got, sent = false, nil, 0, 0, 0
        local function arm()
          setmetatable({}, { __gc = function()
            if armed then
              local ok, chosen, data = pcall(event.try, event)
              tries = tries + 1
              if ok and chosen and data then got = got + #data end
            end
            arm()
          end })
        end
        uring.run(function()
          local a, b
          %s
          event = b:%s(4000)
          collectgarbage("incremental", 10, 1000, 10)
          for _ = 1, 7 do arm() end
          for _ = 1, 300 do
            local bytes = ("x"):rep(4000)
            assert(a:write(bytes) and a:flush())
            sent = sent + #bytes
            armed = true
            local data = b:%s(4000, 0)
            armed = false
            got = got + (data and #data or 0)
          end
          a:close()
          for data in b:lines(4000) do got = got + #data end
        end)
        assert(tries > 10, tries)
        io.write(sent - got)]]):format(table.unpack(use))))
    end)
  end

  it("puts no waiter that was collected into its queue", function()
    assert.equal("yz", helper.script_ok [[
      local uring = require "uring"
      uring.run(function()
        local c = uring.channel(1)
        local event, kept, tried = c:receiving(), nil, nil
        uring.spawn(function()
          local waiter = { n = 0, task = uring.current() }
          kept = setmetatable({ waiter = waiter }, { __gc = function(self)
            assert(not event:try(self.waiter))
            tried = true
          end })
          event:block(waiter)
        end):join()
        assert(c:try_send "x" and c:try_receive() == "x")
        kept = nil
        for _ = 1, 3 do collectgarbage() end
        assert(tried)
        assert(c:try_send "y")
        io.write(c:try_receive())
        assert(c:try_send "z")
        io.write(select(2, uring.select { event }))
      end)]])
  end)

  it("is in no queue after its own finalizer", function()
    assert.equal("1xy", helper.script_ok [[
      local uring = require "uring"
      uring.run(function()
        local box = uring.mailbox { capacity = 1 }
        local to = box:address()
        local waiter, kept = { n = 0, task = uring.current() }, nil
        local function leave()
          local event = to:sending "lost"
          setmetatable({}, { __gc = function()
            event:block(waiter)
            kept = event
          end })
        end
        assert(to:try_send(1))
        leave()
        for _ = 1, 3 do collectgarbage() end
        assert(kept)
        local tasks = {}
        for i, value in ipairs { "x", "y" } do
          tasks[i] = uring.spawn(uring.select, { to:sending(value) })
          uring.sleep(0)
        end
        kept:cancel(waiter)
        for _ = 1, 3 do
          io.write((assert(box:receive(5))))
          uring.sleep(0)
        end
      end)]])
  end)

  it("can be used when its object was collected", function()
    assert.equal("the stream is closed: false", helper.script_ok [[
      local uring = require "uring"
      local kept = {}
      local function leave(...)
        for i, event in ipairs { ... } do
          setmetatable({}, { __gc = function() kept[i] = event end })
        end
      end
      local function make()
        leave(uring.pipe():reading "l", uring.channel():sending "x")
      end
      uring.run(function()
        make()
        for _ = 1, 3 do collectgarbage() end
        local waiter = { n = 0, task = uring.current() }
        local _, _, message = kept[1]:try(waiter)
        local blocked = pcall(kept[2].block, kept[2], waiter)
        kept[2]:cancel(waiter)
        io.write(message:match "^[^:]*: ", tostring(blocked))
      end)]])
  end)
end)
