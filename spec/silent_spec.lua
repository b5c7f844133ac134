-- Silent SQEs (IOSQE_CQE_SKIP_SUCCESS): what is said of them, and what they
-- hold.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local nop, some, bad = hand.nop, hand.some, hand.bad
local SKIP = uring.IOSQE_CQE_SKIP_SUCCESS

describe("a silent sqe", function()
  after_each(hand.close)

  local function silent(sqe)
    return sqe:set_flags(SKIP)
  end

  local function books(ring)
    local s = helper.lawful(ring)
    return { s.in_flight, s.silent, s.completed }
  end

  it("says nothing of a success", function()
    local ring = hand.ring()
    ring:queue(silent(nop(1)))
    ring:submit()
    hand.nothing(ring)
    assert.same({ 1, 0, 1 }, books(ring))  -- the visible one is another's
  end)

  it("says that it failed", function()
    local ring = hand.ring()
    ring:queue(silent(bad(1)))
    assert.same({ 1, -E.EBADF, 0 }, { hand.take(ring) })
    assert.same({ 0, 0, 1 }, books(ring))
  end)

  it("is in flight until 4,096 later ones are", function()
    local ring = hand.ring { entries = 256 }
    local sqe = silent(nop())
    for _ = 1, 4096 do ring:queue(sqe) end
    ring:submit()
    assert.same({ 4096, 0, 0 }, books(ring))
    for _ = 1, 10 do ring:queue(sqe) end
    ring:submit()
    assert.same({ 4096, 10, 0 }, books(ring))
    ring:close()
    assert.same({ 0, 4106, 0 }, books(ring))
  end)

  it("may fail as late as that, and says it all the same", function()
    local ring = hand.ring { entries = 256 }
    local r, w = spec.pipe()
    local op = ring:queue(silent(uring.sqe():prep_poll_add(r, uring.POLLIN)
      :set_data64(7)))
    for _ = 1, 4095 do ring:queue(silent(nop())) end
    ring:submit()
    assert.equal("in flight", op:status())
    op:cancel()
    assert.same({ 7, -E.ECANCELED, 0 }, { hand.take(ring) })
    spec.close(r)
    spec.close(w)
  end)

  it("is settled by a later member of its chain", function()
    local ring = hand.ring()
    ring:queue(silent(nop(1)), silent(nop(2)), nop(3), silent(nop(4)))
    assert.same({ 3, 0, 0 }, { hand.take(ring) })
    assert.same({ 1, 2, 1 }, books(ring))
    hand.nothing(ring)
  end)

  it("that fails takes the rest of its chain with it", function()
    local ring = hand.ring()
    -- the kernel says nothing of those behind it
    ring:queue(silent(bad(1)), nop(2), silent(nop(3)), nop(4))
    assert.same({ -E.EBADF, -E.ECANCELED, -E.ECANCELED, -E.ECANCELED },
      some(ring, 4))
    assert.same({ 0, 0, 4 }, books(ring))
    ring:queue(nop(1), silent(bad(2)), nop(3))
    assert.same({ 0, -E.EBADF, -E.ECANCELED }, some(ring, 3))
    assert.equal(0, ring:stats().stale)
    -- and of one that is cut off before it starts, it does: that is dropped
    ring:queue(bad(1), silent(nop(2)), nop(3))
    assert.same({ -E.EBADF, -E.ECANCELED, -E.ECANCELED }, some(ring, 3))
    hand.nothing(ring)
  end)

  it("that fails before a hard link takes none with it", function()
    local ring = hand.ring()
    ring:queue(bad(1):set_flags(SKIP | uring.IOSQE_IO_HARDLINK), nop(2))
    local got = some(ring, 2)
    assert.equal(-E.EBADF, got[1])
    hand.nothing(ring)
    assert.equal(0, books(ring)[1])
  end)

  it("pins no memory that nobody would give back", function()
    local ring = hand.ring()
    local r, w = spec.pipe()
    local write = silent(uring.sqe():prep_write(w, "hello"))
    local read = silent(uring.sqe():prep_read(r, uring.buffer(5)))
    for _, sqe in ipairs { write, read, silent(uring.sqe():prep_timeout(0)),
        silent(uring.sqe():prep_openat(uring.AT_FDCWD, "/")) } do
      helper.raises("nobody would know", ring.queue, ring, sqe)
      helper.raises("nobody would know", ring.queue, ring, nop(), sqe)
      helper.raises("nobody would know", ring.queue, ring, sqe,
        silent(nop()))
    end
    assert.equal(0, ring:stats().submitted)
    ring:queue(write, read, silent(nop()), nop(2))
    assert.same({ 2, 0, 0 }, { hand.take(ring) })
    assert.same({ 0, 3, 1 }, books(ring))
    spec.close(r)
    spec.close(w)
  end)

  it("holds its memory until the visible member has come", function()
    local ring = hand.ring()
    local r, w = spec.pipe()
    local buffer, other = uring.buffer "hello", uring.buffer(1)
    ring:queue(silent(uring.sqe():prep_write(w, buffer)),
      uring.sqe():prep_read(r, other):set_data64(1),
      uring.sqe():prep_read(r, uring.buffer(10)):set_data64(2))
    for _ = 1, 4200 do ring:queue(silent(nop())) end
    helper.raises("in use", buffer.close, buffer)
    assert.same({ 1, 4 }, some(ring, 2))
    assert.is_true(buffer:close())
    spec.close(r)
    spec.close(w)
  end)

  it("of a ring that closes frees what it held", function()
    local ring = assert(uring.ring())
    local r, w = spec.pipe()
    local buffer = uring.buffer(5)
    ring:queue(silent(uring.sqe():prep_read(r, buffer)), nop())
    ring:submit()
    helper.raises("in use", buffer.close, buffer)
    assert.is_true(ring:close())
    assert.equal(0, helper.lawful(ring).in_flight)
    assert.is_true(buffer:close())
    spec.close(r)
    spec.close(w)
  end)
end)
