-- loop:step{ now = t }: a host gives the loop its time.

local helper = require "helper"
local hosts = require "hosts"

local it = helper.needs_ring(it)
local hosted = hosts.tests(it)

-- luacheck: globals loop uring H

describe("a host's clock", function()
  hosted("is that of all waits", function()
    local log = {}
    local function note(x) log[#log + 1] = ("%s@%g"):format(x, uring.now()) end
    loop:step { now = 100 }
    H.equal(100, uring.now())
    loop:spawn(function()
      uring.sleep(1)
      note "slept"
      local _, _, errno = uring.timeout(2, uring.sleep, 60)
      H.equal(uring.errno.ETIME, errno)
      note "timed out"
      uring.select { uring.after(0.5) }
      note "after"
      uring.select { uring.at(105) }
      note "at"
      H.equal(uring.errno.ETIME,
        select(3, uring.channel():receive(1)))
      note "channel"
      H.equal(uring.errno.ETIME,
        select(3, loop:ring():receive(1)))
      note "ring"
      H.equal(uring.errno.ETIME, select(3, uring.spawn(uring.sleep, 1.5)
        :join(1)))
      note "join"
      H.equal(uring.errno.ETIME, select(3, uring.mailbox():receive(1)))
      note "mailbox"
      H.equal(uring.errno.ETIME, select(3, uring.address("nobody's", 1)))
      note "name"
    end)
    H.equal(0, loop:timeout())
    H.settle { now = 100 }
    H.equal(1, loop:timeout())
    spec.sleep(0.01)
    H.settle { now = 100.5 }
    H.equal(0.5, loop:timeout())
    for t = 101, 112 do H.settle { now = t } end
    H.equal("slept@101 timed out@103 after@104 at@105 channel@106 ring@107 "
      .. "join@108 mailbox@109 name@110", table.concat(log, " "))
    H.equal(math.huge, loop:timeout())
  end)

  hosted("never goes back, and is given to each step", function()
    loop:step { now = 5 }
    loop:step { now = 5 }
    H.raises("must not be less", loop.step, loop, { now = 4.9 })
    H.raises("needs one", loop.step, loop)
    H.raises("needs one", loop.step, loop, { max = 1 })
    H.raises("this loop's time is its host's", uring.run, print)
    H.equal(5, uring.now())
    loop:step { now = 6 }
  end)

  hosted("does not come too late", function()
    local task = loop:spawn(uring.sleep, 60)
    loop:step()
    H.raises("comes too late", loop.step, loop, { now = 1 })
    task:cancel()
    loop:step()
    loop:fd()
    loop:step { now = 1 }
  end)

  it("makes two runs of a script equal to the byte", function()
    local script = [[
      local uring = require "uring"
      local loop = uring.loop()
      local channel = uring.channel(3)
      loop:step { now = 0 }
      for i = 1, 40 do
        loop:spawn(function()
          for round = 1, 5 do
            uring.sleep((i * 7 + round) % 5 / 100)
            channel:send(("%d.%d"):format(i, round), 0.05)
            io.write(i, " ", round, " ", uring.now(), "\n")
          end
        end)
      end
      loop:spawn(function()
        while true do
          local value = channel:receive(1)
          io.write("got ", tostring(value), " ", uring.now(), "\n")
          if not value then break end
          uring.sleep(0.003)
        end
      end)
      local now = 0
      for frame = 1, 600 do
        now = frame / 60
        local more, resumed = loop:step { max = 16, now = now }
        io.write(tostring(more), " ", resumed, " ", loop:timeout(), "\n")
      end
      io.write(#uring.tasks())]]
    local first = helper.script_ok(script)
    assert.truthy(#first > 10000 and first:find "\n0$", first)
    assert.equal(first, helper.script_ok(script))
  end)
end)
