-- socket:sendfile: the bytes of a file, whole and in order, whatever the peer
-- and the file do meanwhile.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local patience <const> = net.patience

after_each(function()
  net.close()
  helper.clean()
end)

local function opened(content, mode)
  return net.keep(assert(uring.open(helper.file(content), mode or "r")))
end

-- Read in a task of its own, to the end.
local function reader(r)
  r:limit(math.huge)
  return uring.spawn(function() return r:read("a", 6 * patience) end)
end

-- What arrives of f(socket), after a close of it.
local function arrives(f, pair)
  local a, b = (pair or net.pair)()
  local got = reader(b)
  f(a)
  assert(a:close())
  local _, text = got:join(6 * patience)
  return text
end

-- Wait until something has: the sender has more than fits. (A receive would go
-- on, though no task waits for it, and take megabytes.)
local function arrived(r)
  assert(uring.await(uring.sqe():prep_poll_add(r, uring.POLLIN), patience))
end

local function threads()
  local n = 0
  for line in io.lines "/proc/self/status" do
    n = tonumber(line:match "^Threads:%s+(%d+)") or n
  end
  return n
end

describe("sendfile", function()
  for name, pair in pairs { ["a unix socket"] = net.pair, TCP = net.tcp } do
    it("sends files of any size over " .. name, function()
      net.run(function()
        for _, size in ipairs { 0, 1, 13, 32767, 32768, 32769, 131072, 131073,
          1000003 } do
          local text = net.bytes(size)
          local file = opened(text)
          local got = arrives(function(a)
            assert.equal(size, a:sendfile(file))
          end, pair)
          assert.equal(size, #got)
          assert.is_true(got == text)
        end
      end)
    end)
  end

  it("sends any part of a file, and no more than there is", function()
    net.run(function()
      local text = net.bytes(300000)
      local file = opened(text)
      math.randomseed(7)
      for _, far in ipairs { math.maxinteger, math.maxinteger - 65535 } do
        for _, count in ipairs { 1, 65536, math.maxinteger } do
          assert.equal("", arrives(function(a)
            assert.equal(0, a:sendfile(file, far, count, patience))
          end))
        end
      end
      for _ = 1, 40 do
        local offset = math.random(0, 310000)
        local count = math.random(0, 4) * math.random(0, 70000)
        local want = text:sub(offset + 1, offset + count)
        local got = arrives(function(a)
          assert.equal(#want, a:sendfile(file, offset, count, patience))
        end)
        assert.is_true(got == want)
      end
    end)
  end)

  it("leaves the file's position, and sends what was written to it", function()
    net.run(function()
      local file = opened("0123456789", "r+")
      assert.equal("012", file:read(3))
      file:write "abc"  -- (where the reading ended, and buffered still)
      assert.equal("012abc6789", arrives(function(a)
        assert.equal(10, a:sendfile(file))
      end))
      assert.equal("6789", file:read "a")
    end)
  end)

  it("takes whatever has a descriptor", function()
    net.run(function()
      local name = helper.file "hello"
      local file = assert(io.open(name))
      local fd <close> = uring.fd((assert(uring.await(
        uring.sqe():prep_openat(uring.AT_FDCWD, name, 0)))))
      for _, one in ipairs { file, fd, fd:fileno() } do
        assert.equal("ell", arrives(function(a)
          assert.equal(3, a:sendfile(one, 1, 3))
        end))
      end
      file:close()
    end)
  end)

  it("is whole where a piece does not fit the socket's buffer", function()
    net.run(function()
      for _, pair in ipairs { net.pair, net.tcp } do
        local text = net.bytes(500000)
        local file = opened(text)
        assert.is_true(arrives(function(a)
          assert(a:setsockopt("SO_SNDBUF", 10000))
          assert.equal(#text, a:sendfile(file))
        end, pair) == text)
      end
    end)
  end)

  it("comes after what was written, and before what is", function()
    net.run(function()
      for _, head in ipairs { 1, 4096, 4097, 70000 } do
        for _, size in ipairs { 0, 1, 40000 } do
          local text = net.bytes(size)
          local file = opened(text)
          local got = arrives(function(a)
            a:write(("h"):rep(head))
            assert.equal(size, a:sendfile(file))
            a:write "t"
          end)
          assert.is_true(got == ("h"):rep(head) .. text .. "t")
        end
      end
    end)
  end)

  it("sends a small answer as one packet", function()
    net.run(function()
      local a, b = net.tcp()
      local file = opened "body"
      a:write "head "
      assert.equal(4, a:sendfile(file))
      assert.equal("head body", b:receive(100, patience))
      a:close()
      assert.is_nil((b:receive(100, patience)))  -- (nothing twice)
    end)
  end)

  it("keeps nothing back where the file ends before the count", function()
    net.run(function()
      local TCP <const>, INFO <const> = 6, 11
      local NOTSENT <const> = 144  -- (in tcp_info)
      local a, b = net.tcp()
      local file = opened "body"
      assert.equal(4, a:sendfile(file, 0, 60000))
      local info = assert(a:getsockopt(TCP, INFO))
      assert.equal(0, (("<I4"):unpack(info, NOTSENT + 1)))
      assert.equal("body", b:read(4, patience))
    end)
  end)

  it("is one unit: bytes of others do not mix", function()
    net.run(function()
      local a, b = net.pair()
      local file = opened(("f"):rep(300000))
      local tasks = {}
      for i = 1, 6 do
        tasks[i] = uring.spawn(function()
          for _ = 1, 3 do
            if i % 3 == 0 then assert(a:sendfile(file))
            elseif i % 3 == 1 then assert(a:send(("s"):rep(300000)))
            else
              assert(a:write(("w"):rep(3000)))
              assert(a:flush())
            end
          end
        end)
      end
      local got = reader(b)
      for i = 1, 6 do assert(tasks[i]:join(6 * patience)) end
      a:close()
      local _, text = got:join(6 * patience)
      local sizes = { f = 300000, s = 300000, w = 3000 }
      local at = 1
      while at <= #text do
        local c = text:sub(at, at)
        assert.is_true(text:sub(at, at + sizes[c] - 1) == c:rep(sizes[c]))
        at = at + sizes[c]
      end
      assert.equal(2 * 3 * (300000 + 300000 + 3000), #text)
    end)
  end)

  it("sends from beyond 4 GiB", function()
    net.run(function()
      local name = helper.file ""
      local file = net.keep(assert(uring.open(name, "r+")))
      local far <const> = (5 << 30) + 12345
      assert(file:pwrite("far away", far))
      assert.equal("far away", arrives(function(a)
        assert.equal(8, a:sendfile(file, far))
      end))
      assert.equal("\0far", arrives(function(a)
        assert.equal(4, a:sendfile(file, far - 1, 4))
      end))
    end)
  end)

  it("sends files that do not tell their size", function()
    net.run(function()
      local file = net.keep(assert(uring.open("/proc/self/mountinfo")))
      local other = assert(io.open("/proc/self/mountinfo"))
      local text = other:read "a"
      other:close()
      assert.equal(text, arrives(function(a)
        assert.equal(#text, a:sendfile(file))
      end))
    end)
  end)

  it("stops where a file that shrinks ends", function()
    net.run(function()
      local a, b = net.pair()
      local size <const> = 4000000
      local name = helper.file(("x"):rep(size))
      local file = net.keep(assert(uring.open(name, "r+")))
      local sending = uring.spawn(function() return a:sendfile(file) end)
      assert(b:read(1000, patience))
      assert(file:truncate(1500001))
      local got = reader(b)
      local _, sent = sending:join(6 * patience)
      a:close()
      local _, rest = got:join(6 * patience)
      assert.equal(1500001, sent)
      assert.equal(1500001, 1000 + #rest)
    end)
  end)

  it("tells what it sent when its time is over, and can go on", function()
    net.run(function()
      local a, b = net.tcp()
      local text = net.bytes(9000000)
      local file = opened(text)
      a:write "head"
      local ok, message, errno, sent = a:sendfile(file, 0, nil,
        0.05 * helper.slow)
      net.fails(E.ETIME, ok, message, errno)
      assert.is_true(sent > 0 and sent < #text)
      local got = reader(b)
      assert.equal(#text - sent, a:sendfile(file, sent))
      a:close()
      local _, all = got:join(6 * patience)
      assert.is_true(all == "head" .. text)
    end)
  end)

  it("is out of time, and rests, where the socket has an error to tell",
    function()
      net.run(function()
        local TIMESTAMPING <const>, SENT_BY_SOFTWARE <const> = 37, 0x112
        local a, b = net.tcp()
        assert(a:setsockopt(uring.SOL_SOCKET, TIMESTAMPING, SENT_BY_SOFTWARE))
        local text = net.bytes(9000000)
        local file = opened(text)
        local enters = uring.loop():ring():stats().enters
        local ok, message, errno, sent = a:sendfile(file, 0, nil, 0.2)
        net.fails(E.ETIME, ok, message, errno)
        enters = uring.loop():ring():stats().enters - enters
        assert.is_true(enters < 1000, enters)
        local sending = uring.spawn(function() return a:sendfile(file) end)
        local closing = uring.spawn(function() return a:send "end" end)
        net.turns(5)
        sending:cancel()
        net.fails(E.ECANCELED, sending:join(patience))
        local got = reader(b)
        assert.same({ true, 3 }, { closing:join(patience) })
        a:close()
        local _, all = got:join(6 * patience)
        assert.is_true(all:sub(1, sent) == text:sub(1, sent))
        assert.equal("end", all:sub(-3))
      end)
    end)

  it("keeps the head that did not go when its time is over", function()
    net.run(function()
      local a, b = net.pair()
      local filled = net.fill(a)
      local file = opened "body"
      a:write "head"
      local ok, message, errno, sent = a:sendfile(file, 0, nil, 0.02)
      net.fails(E.ETIME, ok, message, errno)
      assert.equal(0, sent)
      assert.equal(filled, #b:read(filled, patience))
      assert.equal("head", b:read(4, patience))
    end)
  end)

  it("stops when its task is cancelled, and lets others send", function()
    net.run(function()
      local a, b = net.pair()
      local file = opened(("f"):rep(3000000))
      local sending = uring.spawn(function() return a:sendfile(file) end)
      local waiting = uring.spawn(function() return a:send "end" end)
      arrived(b)
      sending:cancel()
      local got = reader(b)
      net.fails(E.ECANCELED, sending:join(patience))
      assert.same({ true, 3 }, { waiting:join(patience) })
      a:close()
      local _, text = got:join(patience)
      assert.is_truthy(text:find "^f+end$")
      assert.is_true(#text < 3000000)
    end)
  end)

  it("sends nothing when another's turn has come because it was cancelled",
    function()
      net.run(function()
        local a, b = net.pair()
        local file = opened(("f"):rep(3000000))
        local sending = uring.spawn(function() return a:sendfile(file) end)
        arrived(b)
        -- (runs when its own wait for room has ended, too)
        local other = uring.spawn(function()
          uring.await(uring.sqe():prep_poll_add(a, uring.POLLOUT))
          sending:cancel()
          return a:write "end"
        end)
        net.turns()
        local got = reader(b)
        net.fails(E.ECANCELED, sending:join(patience))
        assert.is_truthy(select(2, other:join(patience)))
        a:close()
        local _, text = got:join(patience)
        assert.is_truthy(text:find "^f+end$")
      end)
    end)

  describe("with a finalizer in the middle", function()
    -- The first 64 KiB are in memory, and the rest is on a disk.
    local function half_read()
      local file = opened(("f"):rep(400000))
      assert(file:sync())
      local RANDOM <const>, DONTNEED <const> = 1, 4
      for _, advice in ipairs { DONTNEED, RANDOM } do
        assert(uring.await(uring.sqe():prep_fadvise(file, 0, 0, advice)))
      end
      assert(file:pread(65536, 0))
      return file
    end

    -- f(), while finalizers call `deed` until that is true.
    local function with_finalizers(deed, f)
      local busy = true
      local function leave_garbage()
        setmetatable({}, { __gc = function()
          if busy and not deed() then leave_garbage() end
        end })
      end
      local _ <close> = helper.finally(function()
        busy = false
        collectgarbage("incremental", 200, 100)
      end)
      collectgarbage("incremental", 1, 1000)
      collectgarbage()
      leave_garbage()
      return f()
    end

    it("is whole", function()
      helper.needs_eager_collector()
      net.run(function()
        local file = half_read()
        local a, b = net.pair()
        local got = reader(b)
        assert.equal(400000, with_finalizers(function() a:try_send "x" end,
          function() return a:sendfile(file) end))
        a:close()
        local _, text = got:join(6 * patience)
        local before, after = text:match "^(x*)f+(x*)$"
        assert.equal(400000, #text - #before - #after)
      end)
    end)

    it("does not wait for its turn when that has cancelled it", function()
      helper.needs_eager_collector()
      net.run(function()
        local a, b = net.pair()
        local file = opened "file"
        local before = uring.spawn(function()
          return a:send(("b"):rep(3000000))
        end)
        arrived(b)
        local sending
        sending = uring.spawn(function()
          return with_finalizers(function()
            sending:cancel()
            return true
          end, function() return a:sendfile(file) end)
        end)
        net.fails(E.ECANCELED, sending:join(patience))
        before:cancel()
      end)
    end)
  end)

  it("reads from what a call cannot read in its turn, which then ends",
    function()
      net.run(function()
        local a, b = net.pair()
        local file = net.keep(assert(uring.open "/proc/self/comm"))
        local tasks = {
          uring.spawn(function() return a:send(("s"):rep(3000000)) end),
          uring.spawn(function() return a:sendfile(file) end),
          uring.spawn(function() return a:send "end" end),
        }
        arrived(b)
        local got = reader(b)
        for i, task in ipairs(tasks) do
          assert.is_true(task:join(patience), i)
        end
        a:close()
        local _, text = got:join(patience)
        assert.is_truthy(text:find "^s+[^\n]+\nend$")
      end)
    end)

  it("ends when the owner of a number is closed", function()
    net.run(function()
      for _, own in ipairs { uring.open, function(name)
        return uring.fd((assert(uring.await(uring.sqe():prep_openat(
          uring.AT_FDCWD, name, 0)))))
      end } do
        local a, b = net.pair()
        local file = assert(own(helper.file(("f"):rep(3000000))))
        local sending = uring.spawn(function()
          return a:sendfile(file:fileno())
        end)
        arrived(b)
        assert(file:close())
        opened(("other"):rep(1000000))  -- (has the number now)
        local got = reader(b)
        local _, ok, message, errno, sent = sending:join(patience)
        net.fails(E.EBADF, ok, message, errno)
        a:close()
        local _, text = got:join(patience)
        assert.equal(sent, #text)
        assert.is_nil(text:find "other")
      end
    end)
  end)

  it("sees where a finalizer closes the owner of a number as it begins",
    function()
      helper.needs_eager_collector()
      net.run(function()
        local a, b = net.pair()
        local n, all = 0, true
        while all do
          n = n + 1
          local file = opened "file"
          local sent, message, errno
          all = helper.in_allocation(n, function() file:close() end,
            function() sent, message, errno = a:sendfile(file:fileno()) end)
          if sent then assert.equal("file", b:read(4, patience))
          else assert.equal(E.EBADF, errno, message) end
        end
        assert.is_true(n > 1, n)
      end)
    end)

  it("leaves nothing behind if its coroutine is closed", function()
    local a, b = net.pair()
    helper.fails("ended from outside", function()
      local file = opened(("f"):rep(3000000))
      local _, co = helper.started(function() a:sendfile(file) end)
      arrived(b)
      coroutine.close(co)
      helper.forever()
    end)
    net.run(function()
      local got = reader(b)
      assert.equal(3, a:send("end", patience))
      a:close()
      local _, text = got:join(patience)
      assert.is_truthy(text:find "^f+end$")
    end)
  end)

  it("tells that the socket or the file was closed", function()
    net.run(function()
      for _, which in ipairs { "socket", "file" } do
        local a, b = net.pair()
        local file = opened(("f"):rep(3000000))
        local sending = uring.spawn(function()
          return table.pack(a:sendfile(file))
        end)
        arrived(b)
        local waiting = uring.spawn(function() return a:send "end" end)
        net.turns(5);
        (which == "file" and file or a):close()
        local _, r = sending:join(patience)
        local message = net.fails(E.EBADF, r[1], r[2], r[3])
        assert.is_truthy(message:find(which == "file"
          and "the file was closed" or "which was closed"))
        assert.is_true(r[4] > 0)
        if which == "file" then  -- the next in line sends
          b:limit(math.huge):read(r[4], patience)
          assert.same({ true, 3 }, { waiting:join(patience) })
          assert.equal("end", b:read(3, patience))
        end
        b:close()
      end
    end)
  end)

  it("tells so too where it waits for its turn", function()
    net.run(function()
      local a = net.pair()
      local file = opened(("f"):rep(3000000))
      local first = uring.spawn(function() a:sendfile(file) end)
      net.turns(5)
      local second = uring.spawn(function()
        return table.pack(a:sendfile(file))
      end)
      net.turns(5)
      a:close()
      assert.is_true((first:join(patience)))
      local _, r = second:join(patience)
      local message = net.fails(E.EBADF, r[1], r[2], r[3])
      assert.is_truthy(message:find "which was closed")
      assert.equal(0, r[4])
    end)
  end)

  it("sends nothing of a file that has a closed one's number", function()
    net.run(function()
      local a, b = net.pair()
      local file = opened(("f"):rep(3000000))
      local sending = uring.spawn(function() return a:sendfile(file) end)
      arrived(b)
      net.turns(5)  -- (reads of its round have not begun: the peer is full)
      file:close()
      for _ = 1, 8 do opened(("o"):rep(100000)) end
      local got = reader(b)
      sending:join(patience)
      a:close()
      local _, text = got:join(patience)
      assert.is_truthy(text:find "^f+$")
    end)
  end)

  it("tells that the peer has gone, once, and raises no SIGPIPE", function()
    net.run(function()
      for _, head in ipairs { "", "head" } do
        local a, b = net.pair()
        local file = opened(("f"):rep(3000000))
        b:close()
        a:write(head)
        local ok, message, errno, sent = a:sendfile(file)
        net.fails(E.EPIPE, ok, message, errno)
        assert.is_truthy(message:find("sendfile of '", 1, true))
        assert.equal(0, sent)
        assert.is_true(a:close())
      end
    end)
  end)

  it("sends nothing of what is no file, and names it", function()
    net.run(function()
      local a = net.pair()
      local r, w = assert(uring.pipe())
      net.keep(r, w)
      local message = net.fails(E.ESPIPE, a:sendfile(r))
      assert.is_truthy(message:find "which is no file")
      local dir <close> = uring.fd((assert(uring.await(uring.sqe():prep_openat(
        uring.AT_FDCWD, "/", uring.O_DIRECTORY)))))
      net.fails(E.EISDIR, a:sendfile(dir))
      local out = opened("", "w")
      assert.is_truthy(net.fails(E.EBADF, a:sendfile(out, 0, 1))
        :find "read")
      helper.raises("a socket of messages has no bytes", function()
        local m = net.pair(uring.SOCK_DGRAM)
        m:sendfile(out)
      end)
    end)
  end)

  it("tells of O_DIRECT where that does not let it read", function()
    net.run(function()
      local a, b = net.pair()
      local got = reader(b)
      local number, why, code = uring.await(uring.sqe():prep_openat(
        uring.AT_FDCWD, helper.file(("d"):rep(100000)),
        uring.O_RDONLY | uring.O_DIRECT))
      if code == E.EINVAL then helper.skip "no O_DIRECT on this device" end
      local fd <close> = uring.fd(assert(number, why))
      local n, message, errno = a:sendfile(fd, 1)
      if n then helper.skip "this file system reads whatever it is asked" end
      net.fails(E.EINVAL, n, message, errno)
      assert.is_truthy(message:find("open it without", 1, true))
      a:close()
      got:join(patience)
    end)
  end)

  it("costs no thread and no memory of its own for a slow peer", function()
    local clients <const> = 1000
    net.run(function()
      local listener <close> = assert(uring.tcp.listen("127.0.0.1:0", 4096))
      local file = opened(("x"):rep(8 << 20))
      local address = listener:getsockname()
      local ends = {}
      local fine = pcall(function()
        for _ = 1, clients do
          ends[#ends + 1] = assert(uring.tcp.connect(address, patience))
          ends[#ends + 1] = assert(listener:accept(patience))
        end
      end)
      if not fine then  -- (some for what comes)
        for _ = 1, 30 do
          local last = table.remove(ends)
          if last then last:close() end
        end
      end
      local before = threads()
      local memory = uring.loop():stats().memory
      local sending = {}
      for i = 2, #ends, 2 do
        sending[#sending + 1] = uring.spawn(function()
          return ends[i]:sendfile(file)
        end)
      end
      uring.sleep(0.3)
      local now, grown = threads(), uring.loop():stats().memory - memory
      for _, task in ipairs(sending) do task:cancel() end
      for _, task in ipairs(sending) do task:join(6 * patience) end
      for _, s in ipairs(ends) do s:close() end
      if not fine then helper.skip("fewer descriptors than 2,000 here") end
      assert.equal(before, now)
      local nowait = uring.await(uring.sqe():prep_readv2(file,
        { uring.buffer(1) }, 0, uring.RWF_NOWAIT))
      assert.is_true(grown < clients * (nowait and 2000 or 40000) + 70000,
        grown)
    end)
  end)
end)
