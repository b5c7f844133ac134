-- FIFOs: an open waits for the other end, as open(2) does, and loses nothing.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local fs, E = uring.fs, uring.errno
local patience <const> = net.patience

local fifo

before_each(function()
  fifo = helper.tmpname()
  os.remove(fifo)
  assert(os.execute("mkfifo " .. fifo))
end)

after_each(function()
  os.remove(fifo)
  helper.no_tasks()
end)

local function turns(n)
  for _ = 1, n do uring.sleep(0) end
end

-- Wait until nothing has it. A thread of the kernel's that has read or written
-- lets go of its file after the request has ended, and for a moment the other
-- end takes that for a reader, or a writer.
local function let_go()
  local limit = uring.now() + patience
  local nonblocking <const> = uring.O_RDONLY | uring.O_NONBLOCK
  repeat
    assert(uring.now() < limit, "something has the FIFO open")
    local fd <close> = uring.fd(assert(uring.await(uring.sqe():prep_openat(
      uring.AT_FDCWD, fifo, nonblocking))))
    local buffer <close> = uring.buffer(1)
    local ended = uring.await(uring.sqe():prep_read(fd, buffer, 1)) == 0
    fd:close()
    local file, _, errno = uring.open(fifo, "w", 0)
    if file then file:close() end
    turns(1)
  until ended and errno == E.ENXIO
end

-- Neither a reader nor a writer is left.
local function left_alone()
  local file, _, errno = uring.open(fifo, "w", 0)
  assert.is_nil(file, "a reader is left")
  assert.equal(E.ENXIO, errno)
end

describe("a FIFO", function()
  it("takes every byte, whichever end comes first", function()
    net.run(function()
      local before
      for i = 1, 400 do
        let_go()
        local text = ("through it %d"):format(i)
        local reader, writer
        if i % 4 == 0 then
          reader = uring.spawn(fs.read, fifo)
          turns(i % 7)
          writer = uring.spawn(fs.write, fifo, text)
        else
          writer = uring.spawn(fs.write, fifo, text)
          if i % 4 == 1 then turns(i % 7)
          elseif i % 4 == 2 then uring.sleep(0.002)
          else turns(1) end
          reader = uring.spawn(fs.read, fifo)
        end
        assert.same({ true, text }, { reader:join(patience) })
        assert.same({ true, true }, { writer:join(patience) })
        if before == nil then  -- (without what other tests have left)
          collectgarbage()
          collectgarbage()
          before = spec.fds()
        end
      end
      let_go()
      assert.equal(before, spec.fds())
    end)
  end)

  it("of which another process has an end is waited for", function()
    net.run(function()
      for i = 1, 10 do
        let_go()
        local child = assert(uring.process { "/bin/sh", "-c",
          ("echo %d > %s"):format(i, fifo) })
        turns(i)
        local text = uring.timeout(patience, fs.read, fifo)
        assert.equal(i .. "\n", text)
        assert(child:wait())
      end
    end)
  end)

  it("is written whole, however long its reader takes", function()
    net.run(function()
      local data = net.bytes(150000)  -- (it holds less)
      local writing = uring.spawn(fs.write, fifo, data)
      local reader <close> = assert(uring.open(fifo, "r", patience))
      uring.sleep(5.2)  -- (a close waits for less)
      assert.is_true(reader:read("a", patience) == data)
      assert.same({ true, true }, { writing:join(patience) })
    end)
  end)

  it("is not open by what a writer has left that is gone", function()
    net.run(function()
      let_go()
      local other = uring.fd(assert(uring.await(uring.sqe():prep_openat(
        uring.AT_FDCWD, fifo, uring.O_RDONLY | uring.O_NONBLOCK))))
      assert(fs.write(fifo, "left, "))
      net.fails(E.ETIME, uring.open(fifo, "r", 0.02))
      local reading = uring.spawn(fs.read, fifo)
      assert(fs.write(fifo, "and more"))
      assert.same({ true, "left, and more" }, { reading:join(patience) })
      other:close()
    end)
  end)

  it("is open when the other end is, with nothing written yet", function()
    net.run(function()
      for i = 1, 20 do
        let_go()
        local other = uring.spawn(uring.open, fifo, i % 2 == 0 and "w" or "r")
        turns(i % 5)
        local file <close> = assert(uring.open(fifo, i % 2 == 0 and "r" or "w",
          patience))
        local ok, peer = other:join(patience)
        assert(ok, peer)
        peer:close()
        file:close()
      end
    end)
  end)

  it("has no reader after an open that was cancelled, or in vain", function()
    net.run(function()
      local before
      for i = 1, 60 do
        if i % 2 == 0 then
          local _, _, errno = uring.open(fifo, "r", i % 10 * 0.0005 + 0.0001)
          assert.equal(E.ETIME, errno)
        else
          local task = uring.spawn(uring.open, fifo, "r")
          turns(i % 11)
          task:cancel()
          task:join()
        end
        left_alone()
        before = before or spec.fds()
      end
      assert.equal(before, spec.fds())
    end)
  end)
end)
