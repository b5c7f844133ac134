-- Registered buffers: requests that name a buffer by its number, and whose
-- pages the kernel has locked before.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, sqe = hand.one, uring.sqe

describe("registered buffers", function()
  local ring
  before_each(function()
    if helper.probe.available then ring = hand.ring() end
  end)
  after_each(function()
    hand.close()
    helper.clean()
  end)

  local function open(content)
    return uring.fd((one(ring, sqe():prep_open(helper.file(content),
      uring.O_RDWR))))
  end

  it("are read into and written from", function()
    local a, b = uring.buffer(8), uring.buffer("12345678")
    local file <close> = open "hello world"
    assert.is_true(ring:register_buffers { a, false, b })
    assert.equal(3, (one(ring, sqe():prep_read_fixed(file, a, 3, 6, 0, 2))))
    assert.equal("\0\0wor\0\0\0", a:string())
    assert.equal(4, (one(ring, sqe():prep_write_fixed(file, b, 4, 0, 2, 4))))
    assert.equal(8, (one(ring, sqe():prep_read(file, b, 8, 0)
      :set_buf_index(0))))
    assert.equal("5678o wo", b:string())
  end)

  it("are what their number says, and no other buffer", function()
    local a, b = uring.buffer(8), uring.buffer(8)
    local file <close> = open "hello"
    assert(ring:register_buffers { a, false })
    assert.equal(-E.EFAULT, (one(ring, sqe():prep_read_fixed(file, b, 8, 0,
      0))))
    assert.equal(-E.EFAULT, (one(ring, sqe():prep_read_fixed(file, a, 8, 0,
      1))))
    assert.equal(-E.EFAULT, (one(ring, sqe():prep_read_fixed(file, a, 8, 0,
      2))))
    assert.equal(("\0"):rep(8), b:string())
  end)

  it("keep their addresses when they are closed or collected", function()
    local file <close> = open "hello"
    assert(ring:register_buffers { uring.buffer(4096), uring.buffer(4096) })
    helper.collect()
    -- no new buffer has the same address as one of those: the kernel would
    -- read into its old pages
    for _ = 1, 50 do
      local other = uring.buffer(4096)
      for i = 0, 1 do
        assert.equal(-E.EFAULT, (one(ring, sqe():prep_read_fixed(file, other,
          5, 0, i))))
      end
    end
    local closed = uring.buffer(4096)
    assert.equal(1, ring:register_buffers_update_tag(1, { closed }, { 0 }))
    closed:close()
    assert.is_true(ring:unregister_buffers())
  end)

  it("are replaced, and tell their tag when they are free", function()
    local a, b = uring.buffer(8), uring.buffer(8)
    local file <close> = open "hello"
    assert(ring:register_buffers_tags({ a, a }, { 77, 0 }))
    assert.equal(2, ring:register_buffers_update_tag(0, { b, false },
      { 78, 0 }))
    local len, data = hand.message(ring)
    assert.same({ 0, 77 }, { len, data })
    assert.equal(5, (one(ring, sqe():prep_read_fixed(file, b, 8, 0, 0))))
    assert.equal(-E.EFAULT, (one(ring, sqe():prep_read_fixed(file, a, 8, 0,
      1))))
  end)

  it("tell their tag when the table goes", function()
    helper.needs_linux(6, 13)
    assert(ring:register_buffers_tags({ uring.buffer(8) }, { 78 }))
    assert(ring:unregister_buffers())
    local len, data = hand.message(ring)
    assert.same({ 0, 78 }, { len, data })
  end)

  it("are registered once, and in a sparse table later", function()
    local a = uring.buffer(8)
    local file <close> = open "hello"
    assert.equal(E.ENXIO, (select(3, ring:unregister_buffers())))
    assert.is_true(ring:register_buffers_sparse(4))
    assert.equal(E.EBUSY, (select(3, ring:register_buffers { a })))
    assert.equal(1, ring:register_buffers_update_tag(3, { a }, { 0 }))
    assert.equal(E.EINVAL, (select(3, ring:register_buffers_update_tag(4,
      { a }, { 0 }))))
    assert.equal(5, (one(ring, sqe():prep_read_fixed(file, a, 8, 0, 3))))
    assert(ring:unregister_buffers())
    assert(ring:register_buffers { a })
  end)

  it("hold their memory while a request uses it", function()
    local r, w = helper.pipe()
    local a = uring.buffer(8)
    assert(ring:register_buffers { a })
    assert(ring:queue(sqe():prep_read_fixed(r, a, 8, -1, 0)))
    assert(ring:submit())
    helper.raises("in use", a.close, a)
    a = nil  -- luacheck: ignore
    helper.collect()
    spec.write(w, "12345678")
    assert.equal(8, (select(2, hand.take(ring))))
  end)

  it("are those of another ring as well", function()
    local other = hand.ring()
    local a, b = uring.buffer(8), uring.buffer(8)
    local file <close> = open "hello"
    assert(other:register_buffers { a, b })
    local ok, why, errno = ring:clone_buffers(other)
    if errno == E.EINVAL and why:find "needs Linux" then helper.skip(why) end
    assert(ok, why)
    other:close()
    helper.collect()
    assert.equal(5, (one(ring, sqe():prep_read_fixed(file, b, 8, 0, 1))))
    assert.equal("hello", b:string(1, 5))
    assert.equal(E.EBUSY, (select(3, ring:clone_buffers(ring))))
  end)

  it("are cloned in part", function()
    local other = hand.ring()
    local a, b = uring.buffer(8), uring.buffer(8)
    local file <close> = open "hello"
    assert(other:register_buffers { a, b })
    local ok, why, errno = ring:clone_buffers_offset(other, 2, 1, 1)
    if errno == E.EINVAL and why:find "needs Linux" then helper.skip(why) end
    assert(ok, why)
    assert.equal(5, (one(ring, sqe():prep_read_fixed(file, b, 8, 0, 2))))
    assert.equal(-E.EFAULT, (one(ring, sqe():prep_read_fixed(file, b, 8, 0,
      1))))
    assert.is_true(ring:clone_buffers_offset(other, 0, 0, 1,
      uring.IORING_REGISTER_DST_REPLACE))
    assert.equal(5, (one(ring, sqe():prep_read_fixed(file, a, 8, 0, 0))))
    helper.collect()
    assert.equal(5, (one(ring, sqe():prep_read_fixed(file, b, 8, 0, 2))))
  end)

  it("are sent without a copy", function()
    local here, there = sockets.connection(ring)
    local a = uring.buffer("hello world")
    assert(ring:register_buffers { a })
    assert(ring:queue(sqe():prep_send_zc_fixed(here, a, 5, 0, 0, 0, 6)))
    local _, res, flags = hand.take(ring)
    assert.equal(5, res)
    if hand.has(flags, uring.IORING_CQE_F_MORE) then hand.take(ring) end
    local into = uring.buffer(20)
    assert.equal(5, (one(ring, sqe():prep_recv(there, into))))
    assert.equal("world", into:string(1, 5))
  end)

  it("that are none are refused", function()
    local closed = uring.buffer(1)
    closed:close()
    for _, array in ipairs { {}, { closed }, { "x" }, { true },
        { uring.buffer(1), {} } } do
      helper.raises("#1 to 'register_buffers'", function()
        ring:register_buffers(array)
      end)
    end
    for _, tags in ipairs { {}, { 1, 2 }, { "1" }, { 0.5 } } do
      helper.raises("#2 to 'register_buffers_tags'", function()
        ring:register_buffers_tags({ uring.buffer(1) }, tags)
      end)
    end
  end)
end)
