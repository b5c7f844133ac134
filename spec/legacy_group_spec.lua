-- Legacy groups of buffers: prep_provide_buffers and prep_remove_buffers.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"
local wrong = require "wrong"

local it = helper.needs_ring(it)
local E = uring.errno
local one, take = hand.one, hand.take
local after = sockets.after
local sqe = uring.sqe
local refuses, integer = wrong.refuses, wrong.integer


describe("legacy groups", function()
  after_each(after)

  local function provide(ring, ...)
    return (one(ring, sqe():prep_provide_buffers(...)))
  end

  it("are provided, picked from and removed", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    local memory = uring.buffer(4 * 5)
    assert.equal(0, provide(ring, memory, 4, 5, 9, 100))
    sockets.write(a, "aaaabbbbcc")
    for _ = 1, 3 do
      local res, _, flags = one(ring, sqe():prep_recv(b, nil, 4)
        :set_buf_group(9))
      local bid = (flags >> uring.IORING_CQE_BUFFER_SHIFT) - 100
      assert.truthy(bid >= 0 and bid < 5)
      local text = memory:string(bid * 4 + 1, bid * 4 + res)
      assert.truthy(("aaaa bbbb cc"):find(text, 1, true))
    end
    assert.equal(2, (one(ring, sqe():prep_remove_buffers(5, 9))))
    sockets.write(a, "x")
    assert.equal(-E.ENOBUFS, (one(ring, sqe():prep_recv(b, nil, 4)
      :set_buf_group(9))))
    assert.equal(-E.ENOENT, (one(ring, sqe():prep_remove_buffers(5,
      1000))))
    assert.equal(0, provide(ring, memory, 4, 5, 9))
    assert.equal(1, (one(ring, sqe():prep_recv(b, nil, 4):set_buf_group(
      9))))
  end)

  it("keep their memory until the ring is closed", function()
    local ring = hand.ring()
    local a, b = sockets.pair()
    local memory = uring.buffer(8)
    assert.equal(0, provide(ring, memory, 8, 1, 9))
    helper.raises("cannot close a buffer that is in use", memory.close,
      memory)
    helper.raises("cannot resize a buffer that is in use", memory.resize,
      memory, 100)
    do local _ = uring.buffer(8) end
    -- collected it is the kernel's still
    assert.equal(0, provide(ring, uring.buffer(1000), 1000, 1, 10))
    helper.collect()
    local junk = {}  -- in its place
    for i = 1, 100 do junk[i] = uring.buffer(1000) end
    sockets.write(a, ("x"):rep(1000))
    assert.equal(1000, (one(ring, sqe():prep_recv(b, nil, 1000)
      :set_buf_group(10))))
    for i = 1, 100 do assert.equal(("\0"):rep(1000), junk[i]:string()) end
    ring:close()
    assert.is_true(memory:close())
  end)

  it("keep no memory that the kernel has not taken", function()
    local ring = hand.ring()
    local first, second, third = uring.buffer(8), uring.buffer(8),
      uring.buffer(8)
    assert.equal(0, provide(ring, first, 8, 1, 9))
    -- numbers of buffers beyond the last
    assert.truthy(provide(ring, second, 1, 2, 9, 65535) < 0)
    assert.equal(0, provide(ring, third, 8, 1, 10))
    assert.is_true(second:close())
    for _, memory in ipairs { first, third } do
      helper.raises("cannot close a buffer that is in use", memory.close,
        memory)
    end
    -- nor what it has never seen, of a chain that was cut off
    second = uring.buffer(8)
    ring:queue(sqe():prep_close(9999):set_flags(uring.IOSQE_IO_LINK),
      sqe():prep_provide_buffers(second, 8, 1, 11):set_data64(1))
    assert.equal(-E.ECANCELED, hand.some(ring, 2)[1])
    assert.is_true(second:close())
    ring:close()
    assert.is_true(first:close())
    assert.is_true(third:close())
  end)

  it("serve multishots until they are empty", function()
    helper.needs "recv_multishot"
    local ring = hand.ring()
    local a, b = sockets.pair()
    local memory = uring.buffer(8)
    assert.equal(0, provide(ring, memory, 4, 2, 9))
    ring:queue(sqe():prep_recv_multishot(b):set_buf_group(9))
    sockets.write(a, "aaaabbbbcccc")
    local results = {}
    for i = 1, 3 do results[i] = select(2, take(ring)) end
    assert.same({ 4, 4, -E.ENOBUFS }, results)
    assert.equal("cccc", sockets.read(b))
  end)

  it("do not share a number with others", function()
    helper.needs "buf_ring"
    local ring = hand.ring()
    local memory = uring.buffer(8)
    assert.equal(0, provide(ring, memory, 4, 2, 9))
    local group, _, errno = ring:buf_ring { bgid = 9 }
    assert.same({ nil, E.EEXIST }, { group, errno })
    assert(ring:buf_ring { bgid = 10 })
    local res = provide(ring, memory, 4, 2, 10)
    assert.truthy(res == -E.EINVAL or res == -E.EEXIST, res)
  end)

  it("refuse wrong arguments", function()
    local memory = uring.buffer(8)
    local function from_one(max)
      return { words = ("integer from 1 to %d expected"):format(max),
        bad = { 0, -1, 0.5, "1", {}, max + 1 } }
    end
    refuses("prep_provide_buffers", { memory, 4, 2, 0 }, {
      { words = "uring.Buffer expected", bad = { 5, "12345678", {} } },
      from_one(0x7fffffff), from_one(65535), integer(65535),
      integer(65535) })
    refuses("prep_remove_buffers", { 1, 0 }, { from_one(65535),
      integer(65535) })
    local s = sqe()
    helper.raises("a buffer of 8 bytes has no room for 3 times 4",
      s.prep_provide_buffers, s, memory, 4, 3, 0)
    helper.raises("has no room for 65535 times 2147483647",
      s.prep_provide_buffers, s, memory, 0x7fffffff, 65535, 0)
  end)
end)
