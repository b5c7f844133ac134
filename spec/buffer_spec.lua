-- Buffers: memory that the kernel may use, and that stays while it does.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local ring_it = helper.needs_ring(it)

-- Nobody has so much; ASAN ends a process that asks for it.
local MUCH = 1 << 40
local asan = os.getenv "ASAN_OPTIONS"

describe("uring.buffer", function()
  it("has the size that was asked, and zeros in it", function()
    for _, n in ipairs { 0, 1, 10, 4096, 1 << 20, 3.0 } do
      local buffer = uring.buffer(n)
      assert.equal(n, #buffer)
      assert.equal(("\0"):rep(n // 1 | 0), buffer:string())
    end
  end)

  it("has a copy of the string's bytes", function()
    for _, s in ipairs { "", "x", "a\0b\255", ("xyz"):rep(1000) } do
      local buffer = uring.buffer(s)
      assert.equal(#s, #buffer)
      assert.equal(s, buffer:string())
    end
    local s = "constant"
    uring.buffer(s):write(0, "CHANGED!")
    assert.equal("constant", s)
    assert.equal("12", uring.buffer("12"):string())  -- no number
  end)

  ring_it("can be aligned, as a file with O_DIRECT needs it", function()
    local path <const> = helper.file(("x"):rep(8192) .. ("y"):rep(8192))
    uring.run(function()
      local sqe <const> = uring.sqe():prep_openat(uring.AT_FDCWD, path,
        uring.O_RDONLY | uring.O_DIRECT)
      local number <const>, message = uring.await(sqe)
      if not number then helper.skip("%s", message) end
      local file <close> = uring.fd(number)
      local buffer <const> = uring.buffer(8192, 4096)
      assert.equal(8192, uring.await(sqe:prep_read(file, buffer, 8192, 4096)))
      assert.equal(("x"):rep(4096) .. ("y"):rep(4096), buffer:string())
      buffer:resize(12288)
      assert.equal(4096, uring.await(sqe:prep_read(file, buffer, 4096, 8192,
        8192)))
      assert.equal("yxyyyy", buffer:string(4097, 4097)
        .. buffer:string(1, 1) .. buffer:string(8189, 8192))
    end)
    for i = 0, 20 do
      local buffer <close> = uring.buffer("bytes", 1 << i)
      assert.equal("bytes", buffer:string())
    end
    for _, bad in ipairs { 0, -1, 3, 48, 1 << 21, "16", 1.5 } do
      assert.has_error(function() return uring.buffer(8, bad) end)
    end
  end)

  it("refuses values that are no size", function()
    for _, n in ipairs { -1, 0.5, 0 / 0, (1 << 40) + 1, math.huge,
        math.mininteger } do
      helper.raises("integer from 0 to 1099511627776", uring.buffer, n)
    end
    for _, what in ipairs { {}, true, print } do
      helper.raises("size or string expected", uring.buffer, what)
    end
    helper.raises("size or string expected", uring.buffer)
  end)

  it("says when there is no memory", function()
    if asan then helper.skip "ASAN ends a process that asks for too much" end
    local ok, what = pcall(uring.buffer, MUCH)
    if ok then what:close()  -- where memory is promised without end
    else
      assert.truthy(tostring(what):find(
        "not enough memory for a buffer of 1099511627776 bytes", 1, true))
    end
  end)

  it("shows its size as a string", function()
    local buffer = uring.buffer(12)
    assert.equal("uring.Buffer (12 bytes)", tostring(buffer))
    buffer:close()
    assert.equal("uring.Buffer (closed)", tostring(buffer))
  end)
end)

describe("buffer:string", function()
  it("takes positions as string.sub does", function()
    local s = "hello"
    local buffer = uring.buffer(s)
    local numbers = { -7, -6, -5, -4, -1, 0, 1, 2, 4, 5, 6, 7,
      math.mininteger, math.maxinteger }
    for _, i in ipairs(numbers) do
      assert.equal(s:sub(i), buffer:string(i), i)
      for _, j in ipairs(numbers) do
        assert.equal(s:sub(i, j), buffer:string(i, j), i .. ", " .. j)
      end
    end
    assert.equal("ello", buffer:string(2, nil))
    assert.equal("", uring.buffer(0):string(1, 1))
  end)

  it("refuses values that are no position", function()
    local buffer = uring.buffer "hello"
    for _, i in ipairs { 0.5, "1", 0 / 0, {} } do
      helper.raises("integer from", buffer.string, buffer, i)
      helper.raises("integer from", buffer.string, buffer, 1, i)
    end
  end)
end)

describe("buffer:write", function()
  it("puts a string anywhere in it", function()
    local buffer = uring.buffer "........"
    assert.equal(buffer, buffer:write(2, "ab"))
    buffer:write(0, "x"):write(7, "y"):write(8, ""):write(4, "\0")
    assert.equal("x.ab\0..y", buffer:string())
  end)

  it("puts all of it there or nothing", function()
    local buffer = uring.buffer "........"
    helper.raises("9 bytes do not fit at offset 0 of a buffer of 8 bytes",
      buffer.write, buffer, 0, "123456789")
    helper.raises("2 bytes do not fit at offset 7", buffer.write, buffer, 7,
      "ab")
    for _, at in ipairs { -1, 9, 0.5, "0", 1 << 62 } do
      helper.raises("integer from 0 to 8", buffer.write, buffer, at, "a")
    end
    for _, what in ipairs { 5, {}, true } do
      helper.raises("string expected", buffer.write, buffer, 0, what)
    end
    helper.raises("string expected", buffer.write, buffer, 0)
    assert.equal("........", buffer:string())
  end)
end)

describe("buffer:resize", function()
  it("keeps as much as fits", function()
    local buffer = uring.buffer "hello"
    assert.equal(buffer, buffer:resize(8))
    assert.equal("hello\0\0\0", buffer:string())
    assert.equal("he", buffer:resize(2):string())
    assert.equal(0, #buffer:resize(0))
    assert.equal("\0\0", buffer:resize(2):string())
    assert.equal(2, #buffer:resize(2))
  end)

  it("refuses values that are no size, and stays as it was", function()
    local buffer = uring.buffer "hello"
    for _, n in ipairs { -1, 0.5, "5", (1 << 40) + 1 } do
      helper.raises("integer from 0 to 1099511627776", buffer.resize, buffer,
        n)
    end
    if not asan then pcall(buffer.resize, buffer, MUCH) end
    assert.equal("hello", buffer:string(1, 5))
  end)
end)

describe("buffer:close", function()
  it("may come twice, and ends all its uses", function()
    local buffer = uring.buffer(10)
    assert.is_true(buffer:close())
    assert.is_true(buffer:close())
    for _, method in ipairs { "string", "write", "resize" } do
      helper.raises("closed buffer", buffer[method], buffer, 0, "")
    end
    helper.raises("closed buffer", function() return #buffer end)
    local sqe = uring.sqe()
    helper.raises("closed buffer", sqe.prep_read, sqe, 0, buffer)
    helper.raises("closed buffer", sqe.prep_write, sqe, 0, buffer)
  end)

  it("comes at the end of a scope", function()
    local outside
    do
      local buffer <close> = uring.buffer(10)
      outside = buffer
    end
    assert.equal("uring.Buffer (closed)", tostring(outside))
  end)

  it("is refused on other objects", function()
    local buffer = uring.buffer(1)
    for _, self in ipairs { 1, "x", {}, uring.sqe() } do
      helper.raises("uring.Buffer expected", buffer.close, self)
      helper.raises("uring.Buffer expected", buffer.string, self)
    end
  end)
end)

describe("a buffer in use", function()
  local r, w

  before_each(function()
    r, w = spec.pipe()
  end)

  after_each(function()
    hand.close()
    spec.close(r)
    spec.close(w)
  end)

  ring_it("is not closed or resized, and says what holds it", function()
    local ring = hand.ring()
    local buffer = uring.buffer "hello"
    ring:queue(uring.sqe():prep_read(r, buffer))
    for _ = 1, 2 do  -- before and after the submit
      for _, method in ipairs { "close", "resize" } do
        helper.raises(("cannot %s a buffer that is in use: read on fd %d, in "
          .. "flight on ring (fd %d), holds it"):format(method, r,
          ring:fd()), buffer[method], buffer, 5)
      end
      ring:submit()
    end
    -- it may be looked at and written to
    assert.equal("hello", buffer:write(0, "j"):string():gsub("j", "h"))
    spec.write(w, "abc")
    assert.equal(3, (select(2, hand.take(ring))))
    assert.equal("abc\0\0", buffer:write(3, "\0\0"):resize(5):string())
    assert.is_true(buffer:close())
  end)

  ring_it("is free when its operation has ended, taken or not", function()
    local ring = hand.ring()
    local buffer = uring.buffer(5)
    local op = ring:queue(uring.sqe():prep_read(r, buffer))
    ring:submit()
    op:cancel()
    ring:submit_and_wait(1, hand.patience)
    assert.equal("completed", op:status())
    assert.is_true(buffer:close())
  end)

  ring_it("is free when the last of its operations has ended", function()
    local a, b = hand.ring(), hand.ring()
    local buffer = uring.buffer(5)
    local sqe = uring.sqe():prep_read(r, buffer)
    local ops = { a:queue(sqe), a:queue(sqe), (b:queue(sqe)) }
    a:submit()
    b:submit()
    for i, ring in ipairs { a, a, b } do
      local why = helper.raises("in use", buffer.close, buffer)
      local fd = tonumber(why:match "in flight on ring %(fd (%d+)%)")
      assert.truthy(fd == b:fd() or i < 3 and fd == a:fd(), why)
      ops[i]:cancel()
      hand.take(ring)
    end
    assert.is_true(buffer:close())
  end)

  ring_it("keeps its bytes when it is collected", function()
    local ring = hand.ring()
    local copy = uring.buffer(10)
    local sqe = uring.sqe():prep_read(r, uring.buffer(10))
    ring:queue(sqe)
    sqe:prep_nop()
    ring:submit()
    helper.collect()
    local junk = {}  -- in its place
    for i = 1, 1000 do junk[i] = uring.buffer(10) end
    spec.write(w, "0123456789")
    assert.equal(10, (select(2, hand.take(ring))))
    for i = 1, 1000 do assert.equal(copy:string(), junk[i]:string()) end
  end)

  ring_it("keeps them when its scope ends, too", function()
    local ring = hand.ring()
    do
      local buffer <close> = uring.buffer(5)
      ring:queue(uring.sqe():prep_read(r, buffer))
      ring:submit()
    end
    spec.write(w, "hello")
    assert.equal(5, (select(2, hand.take(ring))))
  end)

  ring_it("may be prepared and not queued without being in use", function()
    local buffer = uring.buffer(5)
    local sqe = uring.sqe():prep_read(r, buffer)
    assert.is_true(buffer:close())
    local ring = hand.ring()
    helper.raises("prepare it again", ring.queue, ring, sqe)
  end)

  ring_it("is kept by an sqe that is prepared with it", function()
    local ring = hand.ring()
    local read = uring.sqe():prep_read(r, uring.buffer(5))
    local write
    do
      local buffer = uring.buffer "hello"
      write = uring.sqe():prep_write(w, buffer)
    end
    helper.collect()
    helper.collect()
    for _ = 1, 2 do
      ring:queue(write, read)
      assert.equal(5, (select(2, hand.take(ring))))
      assert.equal(5, (select(2, hand.take(ring))))
    end
  end)

  ring_it("may be used by several operations at once", function()
    local ring = hand.ring()
    local buffer = uring.buffer "one two"
    ring:queue(uring.sqe():prep_write(w, buffer, 3, -1, 4),
      uring.sqe():prep_write(w, buffer, 3, -1, 0),
      uring.sqe():prep_read(r, buffer, 6, -1, 1))
    for _, n in ipairs { 3, 3, 6 } do
      assert.equal(n, (select(2, hand.take(ring))))
    end
    assert.equal("otwoone", buffer:string())
  end)
end)
