-- uring.loop{ memory = bytes }: what C holds for a state is bounded, which
-- lua_Alloc cannot do; and stats() tells how much that is.

local helper = require "helper"
local shortage = require "shortage"
local spec = require "uring_spec"

local it = helper.needs_ring(it)

-- luacheck: no unused (what is held is memory)

-- Runs f(uring, ...), which has no upvalues, in a state of its own, whose loop
-- has this limit beyond what it needs itself: what it returns.
local function within(bytes, f, ...)
  local results = table.pack(spec.state(string.dump(function(code, ...)
    local uring = require "uring"
    local limit = ...
    local options = { entries = 8, cq_entries = 64 }
    if limit then options.memory = 4096 + limit end
    assert(uring.loop(options))
    return load(code)(uring, select(2, ...))
  end), string.dump(f), bytes, ...))
  if not results[1] then error(results[2], 2) end
  return table.unpack(results, 2, results.n)
end

after_each(helper.clean)

describe("a limit of memory", function()
  it("is seen in the loop's stats, beside what is held", function()
    local before, during, after, limit = within(100000, function(uring)
      local before = uring.loop():stats().memory
      local buffer = uring.buffer(50000)
      local during = uring.loop():stats().memory
      buffer:close()
      local stats = uring.loop():stats()
      return before, during, stats.memory, stats.memory_limit
    end)
    assert(during >= before + 50000 and during < before + 50200)
    assert.equal(before, after)
    assert.equal(104096, limit)
    assert.is_nil(within(nil, function(uring)
      return uring.loop():stats().memory_limit
    end))
  end)

  it("refuses what would exceed it, with a message that says so", function()
    within(60000, function(uring)
      local ENOMEM <const> = uring.errno.ENOMEM
      local function says(why)
        assert(why:find "emory" and why:find "uring.loop{ memory }", why)
      end
      local ring = assert(uring.ring { entries = 8, cq_entries = 16 })
      local buffer = uring.buffer(10)
      local function raises(f, ...)
        local ok, why = pcall(f, ...)
        assert(not ok, "it was not refused")
        says(why)
      end
      local big = ("x"):rep(65536)
      raises(uring.buffer, 65536)
      raises(uring.buffer, big)
      raises(buffer.resize, buffer, 65536)
      raises(uring.sqe().prep_write, uring.sqe(), 1, big)
      raises(uring.msghdr, { iov = { big } })
      do
        local headers = {}
        raises(function()
          for i = 1, 5 do headers[i] = uring.msghdr { controllen = 20000 } end
        end)
        assert(#headers >= 2 and #headers < 5)
      end
      local none, why, errno = uring.ring { entries = 1024 }
      assert(not none and errno == ENOMEM)
      says(why)
      none, why, errno = ring:buf_ring { entries = 16, size = 4096 }
      assert(not none and errno == ENOMEM)
      says(why)
      -- and all that is smaller works
      assert(ring:buf_ring { entries = 2, size = 64 })
      assert(ring:queue(uring.sqe():prep_nop()))
      assert(ring:wait_cqe(60))
      assert(buffer:resize(20))
    end)
  end)

  it("has room for all that mailboxes may hold", function()
    within(300000, function(uring)
      local function held() return uring.loop():stats().memory end
      local before, boxes = held(), {}
      local function fill()
        boxes = {}
        repeat
          local box, why, errno = uring.mailbox()
          boxes[#boxes + 1] = box
          if not box then
            assert(errno == uring.errno.ENOMEM, why)
            assert(why:find("uring.loop{ memory }", 1, true), why)
          end
        until not box
        assert(#boxes == 4, #boxes)  -- (of 64 KiB each)
        assert(held() == before + 4 * 65536)
      end
      fill()
      -- what they hold is paid for: so it is with a limit that is reached
      for _, box in ipairs(boxes) do
        local address = box:address()
        assert(address:try_send(("x"):rep(65000)))
        assert(held() == before + 4 * 65536)
        assert(#box:try_receive() == 65000)
      end
      assert(not uring.mailbox())
      boxes[1]:close()
      assert(held() == before + 3 * 65536)
      boxes[1]:close()
      assert(uring.mailbox { bytes = 65536 })
      fill()  -- garbage is collected first
      boxes = nil
      collectgarbage()
      collectgarbage()
      assert(held() == before)
      assert(uring.mailbox { bytes = 200000 })
    end)
    within(nil, function(uring)
      local before = uring.loop():stats().memory
      local box = uring.mailbox()
      assert(uring.loop():stats().memory == before + 1048576)
      box:close()
      assert(uring.loop():stats().memory == before)
    end)
  end)

  it("counts the messages of sends that wait, and of sending", function()
    within(400000, function(uring)
      local function held() return uring.loop():stats().memory end
      local function says(why)
        assert(why:find("uring.loop{ memory }", 1, true), why)
      end
      uring.run(function()
        local box = uring.mailbox { capacity = 1, bytes = 200000 }
        local address, text = box:address(), ("x"):rep(30000)
        assert(address:send "first")
        local before, n = held(), 0
        local refused = 0
        for _ = 1, 12 do
          uring.spawn(function()
            local ok, why, errno = address:send(text)
            if ok then
              n = n + 1
              return
            end
            assert(errno == uring.errno.ENOMEM, why)
            says(why)
            refused = refused + 1
          end)
          uring.sleep(0)
          if refused > 0 then break end
        end
        assert(refused == 1)
        local waiting = box:stats().waiting
        assert(waiting >= 5 and waiting <= 6, waiting)
        assert(held() >= before + waiting * 30000)
        for _ = 0, waiting do assert(box:receive()) end
        repeat uring.sleep(0) until n == waiting
        for _ = 1, 100 do address:sending(text) end  -- (garbage is collected)
        do
          local events = {}
          local ok, why = pcall(function()
            for i = 1, 12 do events[i] = address:sending(text) end
          end)
          assert(not ok and #events >= 5, #events)
          says(why)
        end
        collectgarbage()
        collectgarbage()
        assert(held() < before + 30000, held() - before)
      end)
    end)
  end)

  it("bounds what has arrived and was not read", function()
    within(1 << 20, function(uring)
      local function held() return uring.loop():stats().memory end
      local function refused(none, why, errno)
        assert(none == nil and errno == uring.errno.ENOMEM, why)
        assert(why:find("uring.loop{ memory }", 1, true), why)
      end
      uring.run(function()
        local before = held()
        local zero <close> = assert(uring.open("/dev/zero", "r"))
        refused(zero:read(1 << 24, 60))
        assert(held() > before + 262144, held() - before)
        assert(#zero:read(100000, 60) == 100000)  -- nothing was lost
        zero:close()
        local pieces, i = { ("a"):rep(300000), ("b"):rep(300000) }, 0
        local functions <close> = uring.stream { read = function()
          i = i + 1
          return pieces[i]
        end }
        refused(functions:read("a", 60))
        refused(functions:read("a", 60))
        assert(functions:read(300000, 60) == pieces[1])
        assert(functions:read("a", 60) == pieces[2])
        functions:close()
        local a <close>, b = uring.socketpair(uring.SOCK_STREAM)
        local sent = ("0123456789"):rep(80000)
        uring.spawn(function()
          b:send(sent)
          b:close()
        end)
        refused(a:read("a", 60))
        local got = {}
        for piece in function() return a:recv() end do
          got[#got + 1] = piece
        end
        assert(table.concat(got) == sent)
        assert(held() <= before + 200000, held() - before)
      end)
    end)
  end)

  it("counts what closed mailboxes keep, until it is taken or dropped",
    function()
      within(600000, function(uring)
        local function held() return uring.loop():stats().memory end
        local function closed(n)
          local box = assert(uring.mailbox { bytes = 250000 })
          local a <close> = box:address()
          for _ = 1, n do assert(a:try_send(("x"):rep(100000))) end
          assert(select(2, box:close(true)) == n)
          return box
        end
        local before, kept = held(), { closed(2), closed(1) }
        assert(held() == before + 500000, held() - before)
        assert(not uring.mailbox { bytes = 250000 })
        kept[1]:close()
        assert(held() == before + 250000, held() - before)
        for text in kept[2]:undelivered() do assert(#text == 100000) end
        collectgarbage()  -- (Lua 5.5's large strings are the message's memory)
        collectgarbage()
        assert(held() == before, held() - before)
        kept[1] = closed(0)
        assert(held() == before, held() - before)
        for _ = 1, 20 do kept[1] = closed(2) end  -- garbage is collected first
      end)
    end)

  it("fails a seek over what a read has left, and does not stop it", function()
    local path = helper.file(("0123456789"):rep(10000))
    within(1 << 20, function(uring, name)
      uring.run(function()
        local file <close> = assert(uring.open(name))
        local reading = uring.spawn(file.read, file, 50000)
        local cancelling = uring.spawn(reading.cancel, reading)
        reading:join()
        cancelling:join()
        uring.sleep(0)  -- (it has read a piece by now)
        local held = {}
        for _, size in ipairs { 1 << 16, 1 << 12, 1 << 8, 1 } do
          repeat
            local ok, buffer = pcall(uring.buffer, size)
            held[#held + 1] = ok and buffer or nil
          until not ok
        end
        local at, message, errno = file:seek("cur")
        assert(at == nil and errno == uring.errno.ENOMEM, message or at)
        assert(message:find("uring.loop{ memory }", 1, true), message)
        for _, buffer in ipairs(held) do buffer:close() end
        assert(file:seek("cur") == 0)
        assert(file:seek("cur", 13) == 13)
        assert(file:read(3) == "345")
      end)
    end, path)
  end)

  it("bounds what is unread", function()
    within(1 << 20, function(uring)
      local function held() return uring.loop():stats().memory end
      uring.run(function()
        local a <close> = uring.socketpair(uring.SOCK_STREAM)
        local text = ("x"):rep(100000)
        local n, before = 0, held()
        local ok, why
        repeat
          ok, why = pcall(a.unread, a, text)
          if ok then n = n + 1 end
        until not ok or n > 20
        assert(why:find "emory" and why:find("uring.loop{ memory }", 1, true))
        assert(n >= 3 and n <= 10, n)
        assert(held() >= before + n * #text)
        assert(a:read(n * #text) == text:rep(n))
        assert(held() == before, held() - before)
        for _ = 1, 20 do  -- garbage is collected first
          local r = uring.pipe()
          r:unread(text)
        end
      end)
    end)
  end)

  it("tells of a close by a finalizer of the garbage", function()
    within(1 << 20, function(uring)
      uring.run(function()
        local text = ("x"):rep(300000)
        local function closed_by_garbage(a)
          uring.buffer(600000)
          setmetatable({}, { __gc = function() a:close() end })
        end
        collectgarbage()
        local a, b = uring.socketpair(uring.SOCK_STREAM)
        closed_by_garbage(a)
        local ok, why = pcall(a.unread, a, text)
        assert(not ok and why:find "closed", why)
        b:close()
        local zero = assert(uring.open("/dev/zero", "r"))
        closed_by_garbage(zero)
        local done, none, message = pcall(zero.read, zero, 1 << 24, 60)
        assert(not none or not done)
        assert((message or none):find "closed", message or none)
      end)
    end)
  end)

  it("counts what a socket has that comes from another state", function()
    within(1 << 20, function(uring)
      local function held() return uring.loop():stats().memory end
      uring.run(function()
        local box = uring.mailbox { bytes = 400000 }
        local address = box:address()
        local a, _ <close> = uring.socketpair(uring.SOCK_STREAM)
        local before = held()
        a:unread(("x"):rep(200000))
        local with = held()
        assert(with >= before + 200000)
        assert(address:send(a))
        assert(held() <= before, held() - before)
        local b <close> = box:receive()
        assert(held() == with)
        assert(#b:read(200000) == 200000)
        assert(held() <= before)
      end)
    end)
  end)

  -- (Of what the state itself makes for its first worker some is kept, more
  -- before 6.13, where the doorbell is a descriptor: 40,000 bytes may be.)
  it("bounds what workers hold, in Lua and in C", function()
    within(8 << 20, function(uring)
      local function held() return uring.loop():stats().memory end
      local function fails(main, ...)
        local w = assert(uring.worker(main, ...))
        local ok, why = w:join()
        assert(not ok and why:find "memory", why)
        return why
      end
      uring.run(function()
        local before = held()
        fails(function()
          local t = {}
          for i = 1, 64 do t[i] = ("x"):rep((1 << 20) + i) end
          return #t
        end)
        local why = fails(function()
          local t = {}
          for i = 1, 64 do t[i] = uring.buffer(1 << 20) end
          return #t
        end)
        assert(why:find("uring.loop{ memory }", 1, true), why)
        -- nor with a bound of its own, that is larger; nor by one of its own
        fails { memory = 1 << 30, main = function()
          local t = {}
          for i = 1, 64 do t[i] = uring.buffer(1 << 20) end
          return #t
        end }
        fails(function()
          local w = uring.worker(function()
            local t = {}
            for i = 1, 64 do t[i] = ("x"):rep((1 << 20) + i) end
            return #t
          end)
          local ok, problem = w:join()
          if not ok then error(problem, 0) end
        end)
        -- what it ends with, and is sent, counts as well
        fails(function()
          local text = ("x"):rep(1 << 20)
          return { text, text, text, text, text, text, text }
        end)
        local text = ("x"):rep(2 << 20)
        local none, message, errno = uring.worker(function() end, text, text,
          text, text)
        assert(not none and errno == uring.errno.ENOMEM, message)
        assert(message:find("uring.loop{ memory }", 1, true), message)
        none, message, errno = uring.worker { main = function() end,
          inbox = { bytes = 16 << 20 } }
        assert(not none and errno == uring.errno.ENOMEM, message)
        uring.sleep(0)
        collectgarbage()
        collectgarbage()
        assert(held() < before + 40000, held() - before)
      end)
    end)
  end)

  it("is shared by a state and its workers", function()
    within(8 << 20, function(uring)
      local function held() return uring.loop():stats().memory end
      uring.run(function()
        local function hold()
          local before, box = held(), uring.mailbox()
          local w = uring.worker(function(ready)
            local _ <close> = uring.buffer(5 << 20)
            local stats = uring.loop():stats()
            ready:send(stats.memory, stats.memory_limit)
            uring.inbox():receive()
          end, box)
          local memory, limit = box:receive()
          assert(memory >= 5 << 20 and limit == (8 << 20) + 4096)
          assert(held() > before + (5 << 20))
          assert(not pcall(uring.buffer, 3 << 20))
          w:send "end"
          assert(w:join())
          box:close()
        end
        local before = held()
        hold()
        collectgarbage()
        collectgarbage()
        assert(held() < before + 40000, held() - before)
        assert(uring.buffer(7 << 20))
        local results = {}
        local pool <close> = assert(uring.pool { workers = 2,
          main = function(n) return n * n end })
        for i, n in pool:map({ 1, 2, 3 }) do results[i] = n end
        assert(results[2] == 4 and results[3] == 9)
      end)
    end)
  end)

  it("leaves workers of a state that has none alone", function()
    within(nil, function(uring)
      uring.run(function()
        local before = uring.loop():stats().memory
        local w = uring.worker(function(ready)
          local _ <close> = uring.buffer(1 << 20)
          ready = ready + uring.loop():stats().memory
          assert(not uring.loop():stats().memory_limit)
          return ready
        end, 0)
        local ok, memory = w:join()
        assert(ok and memory > 1 << 20, memory)
        assert(uring.loop():stats().memory < before + 40000)
      end)
    end)
  end)

  it("is refused itself, with a loop that needs more", function()
    local none, why, errno, again = select(2, assert(spec.state([[
      local uring = require "uring"
      local none, why, errno = uring.loop { memory = 100 }
      return none, why, errno, (uring.loop { memory = 1 << 20 }) ~= nil
    ]])))
    assert.is_nil(none)
    assert.equal(12, errno)
    assert(why:find "100 bytes", why)
    assert.is_true(again)
  end)

  it("collects garbage before it refuses", function()
    within(100000, function(uring)
      for _ = 1, 100 do uring.buffer(30000) end
      for _ = 1, 100 do
        uring.sqe():prep_write(1, ("x"):rep(20000))
      end
      for _ = 1, 100 do
        assert(uring.ring { entries = 64, cq_entries = 128 })
      end
      for _ = 1, 100 do uring.msghdr { controllen = 20000 } end
    end)
  end)

  it("counts what operations in flight hold", function()
    within(200000, function(uring)
      local stats = function() return uring.loop():stats().memory end
      local before = stats()
      local ring = assert(uring.ring { entries = 8, cq_entries = 16 })
      local sqe = uring.sqe():prep_write(1, ("x"):rep(90000))
      -- (it waits for the timeout, and is never written)
      assert(ring:queue(uring.sqe():prep_timeout(1000)
        :set_flags(uring.IOSQE_IO_LINK), sqe))
      assert(ring:submit())
      sqe:prep_nop()
      collectgarbage()
      collectgarbage()
      assert(stats() - before > 90000, stats() - before)
      assert(not pcall(uring.buffer, 150000))
      ring:close()
      assert(stats() - before < 1000, stats() - before)
      assert(uring.buffer(150000))
    end)
  end)

  it("bounds operations and completions that are not taken", function()
    within(300000, function(uring)
      local ring <close> = assert(uring.ring { entries = 8 })
      local n = 0
      while true do
        local op, why, errno = ring:queue(uring.sqe():prep_nop())
        n = n + 1
        if not op then
          assert(errno == uring.errno.ENOMEM, why)
          break
        end
        assert(n < 20000)
      end
      assert(n > 500, n)
      -- what was queued completes, and then there is room again
      for _ = 1, n - 1 do assert(ring:wait_cqe(60)) end
      assert(ring:queue(uring.sqe():prep_nop()))
      assert(ring:wait_cqe(60))
    end)
  end)

  it("does not bind finalizers that run after the library's last", function()
    assert(spec.state([[
      local uring
      local late = setmetatable({}, { __gc = function()
        -- (of what it makes Lua calls no finalizers)
        local buffer <close> = uring.buffer(100000)
        local _ <close> = uring.msghdr { iov = { "x", buffer } }
        local ring <close> = uring.ring { entries = 8 }
        if ring then ring:queue(uring.sqe():prep_nop()) end
      end })
      uring = require "uring"
      assert(uring.loop { entries = 8, cq_entries = 16, memory = 5000 })
      KEPT = late
    ]]))
  end)

  it("is not in the way of what frees and cancels", function()
    within(100000, function(uring)
      local ring = assert(uring.ring { entries = 8, cq_entries = 16 })
      local op = assert(ring:queue(uring.sqe():prep_timeout(1000)))
      assert(ring:submit())
      local hoard = {}
      uring.run(function()
        local asleep = uring.spawn(uring.await,
          uring.sqe():prep_timeout(1000))
        uring.sleep(0)
        local size = 1 << 20
        while size > 0 do  -- to the last byte
          local ok, buffer = pcall(uring.buffer, size)
          if ok then hoard[#hoard + 1] = buffer else size = size // 2 end
        end
        local stats = uring.loop():stats()
        assert(stats.memory_limit - stats.memory < 200)
        assert(op:cancel())
        asleep:cancel()
        asleep:join()
        local none, why = uring.timeout(0.001, uring.sleep, 60)
        assert(none == nil and why == "timed out")
      end)
      assert(ring:wait_cqe(60))
      assert(ring:close())
      for _, buffer in ipairs(hoard) do buffer:close() end
      assert(uring.buffer(50000))
    end)
  end)
end)


describe("programs that use all of the library", function()
  -- Runs in each state: the program, and what is held before and after.
  local function held(_, name)
    local uring, again = require "uring", require "shortage"
    local function now()
      collectgarbage()
      collectgarbage()
      uring.run(uring.sleep, 0)
      collectgarbage()
      return uring.loop():stats().memory
    end
    again.run(name)
    again.run(name)
    local before = now()
    again.run(name)
    return before, now()
  end

  it("refund all that they were charged", function()
    for _, name in ipairs(shortage.names) do
      local before, after = within(nil, held, name)
      assert.equal(before, after, name)
    end
  end)

  -- With each limit they run, or fail for want of memory.
  local function limited(uring, name)
    local again = require "shortage"
    local ok, why = pcall(again.run, name)
    why = tostring(why)
    assert(ok or why:find "memory" or why:find "ENOMEM", why)
    assert(uring.run(function() return true end))
    return ok
  end

  it("fail for want of memory alone, whatever the limit is", function()
    local failed, fine = 0, 0
    for _, name in ipairs(shortage.names) do
      for _, bytes in ipairs { 300, 4000, 100000, 1 << 24 } do
        local ok = within(bytes, limited, name)
        if ok then fine = fine + 1 else failed = failed + 1 end
      end
    end
    assert(failed > 20 and fine > 20, failed .. " " .. fine)
  end)
end)
