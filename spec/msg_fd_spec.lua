-- Messages that put an open file into another ring's table:
-- prep_msg_ring_fd.

local hand = require "hand"
local helper = require "helper"
local kinds = require "kinds"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, message, content = hand.one, hand.message, hand.content
local possible = kinds.possible

describe("prep_msg_ring_fd", function()
  local a, b, path

  before_each(function()
    if not helper.probe.available then return end
    path = helper.file "in the file"
    a, b = hand.ring(), hand.ring()
  end)

  after_each(function()
    hand.close()
    helper.clean()
  end)

  local function fd(...)
    return uring.sqe():prep_msg_ring_fd(...)
  end

  local function fd_alloc(...)
    return uring.sqe():prep_msg_ring_fd_alloc(...)
  end

  local function open(ring, slot, name)
    assert.equal(0, (one(ring, uring.sqe():prep_openat_direct(uring.AT_FDCWD,
      name or path, uring.O_RDONLY, 0, slot))))
  end

  it("installs an open file in another ring's slot", function()
    a:register_files_sparse(4)
    b:register_files_sparse(4)
    open(a, 2)
    assert.equal(0, (one(a, fd(b, 2, 3, 99))))
    assert.same({ 0, 99, 0 }, { message(b) })
    assert.equal("in the file", content(b, 3))
    -- it is shared: the sender may close its own
    assert.equal(0, (one(a, uring.sqe():prep_close_direct(2))))
    assert.equal(-E.EBADF, content(a, 2))
    assert.equal("in the file", content(b, 3))
    assert.equal(0, (one(b, uring.sqe():prep_close_direct(3))))
    assert.equal(-E.EBADF, content(b, 3))
  end)

  it("brings all 64 bits of data", function()
    a:register_files_sparse(1)
    b:register_files_sparse(1)
    open(a, 0)
    for _, data in ipairs { 0, -1, math.mininteger, 0xdeadbeefcafebabe } do
      assert.equal(0, (one(a, fd(b, 0, 0, data))))
      assert.same({ 0, data, 0 }, { message(b) })
    end
  end)

  it("replaces the file in the slot", function()
    a:register_files_sparse(2)
    b:register_files_sparse(1)
    open(a, 0)
    open(a, 1, helper.file "another")
    assert.equal(0, (one(a, fd(b, 0, 0, 1))))
    assert.same({ 0, 1, 0 }, { message(b) })
    assert.equal("in the file", content(b, 0))
    assert.equal(0, (one(a, fd(b, 1, 0, 1))))
    assert.same({ 0, 1, 0 }, { message(b) })
    assert.equal("another", content(b, 0))
  end)

  it("finds a slot itself by fd_alloc, and names it to both", function()
    a:register_files_sparse(1)
    b:register_files_sparse(4)
    assert(b:register_file_alloc_range(2, 2))
    open(a, 0)
    for slot = 2, 3 do
      assert.equal(slot, (one(a, fd_alloc(b, 0, 5))))
      assert.same({ slot, 5, 0 }, { message(b) })
      assert.equal("in the file", content(b, slot))
    end
    assert.equal(-E.ENFILE, (one(a, fd_alloc(b, 0, 5))))
    -- and again when one is free
    assert.equal(0, (one(b, uring.sqe():prep_close_direct(3))))
    assert.equal(3, (one(a, fd_alloc(b, 0, 6))))
    assert.same({ 3, 6, 0 }, { message(b) })
    hand.nothing(b)
  end)

  it("takes IORING_FILE_INDEX_ALLOC for a slot", function()
    a:register_files_sparse(1)
    b:register_files_sparse(1)
    open(a, 0)
    local sqe = fd(b, 0, uring.IORING_FILE_INDEX_ALLOC, 5)
    assert.equal(0, (one(a, sqe)))
    assert.same({ 0, 5, 0 }, { message(b) })
    assert.equal(-E.ENFILE, (one(a, sqe)))
  end)

  it("says nothing to the target with CQE_SKIP", function()
    a:register_files_sparse(1)
    b:register_files_sparse(2)
    open(a, 0)
    local skip = uring.IORING_MSG_RING_CQE_SKIP
    assert.equal(0, (one(a, fd(b, 0, 1, 5, skip))))
    assert.equal("in the file", content(b, 1))
    assert.equal(0, (one(a, fd_alloc(b, 0, 5, skip))))
    assert.equal("in the file", content(b, 0))
    hand.nothing(b)
    assert.equal(0, b:stats().messages)
  end)

  it("takes FLAGS_PASS and passes no flags", function()
    helper.needs "msg_ring_cqe_flags"
    a:register_files_sparse(1)
    b:register_files_sparse(1)
    open(a, 0)
    assert.equal(0, (one(a, fd(b, 0, 0, 5,
      uring.IORING_MSG_RING_FLAGS_PASS))))
    assert.same({ 0, 5, 0 }, { message(b) })
  end)

  it("fails with the kernel's errors", function()
    local off = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    local function try(sqe) return (one(a, sqe)) end
    assert.equal(-E.EBADF, try(fd(b, 0, 0, 1)))       -- no table
    a:register_files_sparse(2)
    assert.equal(-E.EBADF, try(fd(b, 0, 0, 1)))       -- an empty slot
    assert.equal(-E.EBADF, try(fd(b, 2, 0, 1)))       -- beyond its end
    assert.equal(-E.EBADF, try(fd_alloc(b, 1, 1)))
    open(a, 0)
    assert.equal(-E.ENXIO, try(fd(b, 0, 0, 1)))       -- no table there
    assert.equal(-E.ENFILE, try(fd_alloc(b, 0, 1)))
    b:register_files_sparse(2)
    assert.equal(-E.EINVAL, try(fd(b, 0, 2, 1)))      -- beyond its end
    assert.equal(-E.EINVAL, try(fd(a, 0, 1, 1)))      -- to itself
    assert.equal(-E.EINVAL, try(fd_alloc(a, 0, 1)))
    local res = try(fd(off, 0, 0, 1))                 -- disabled
    if res ~= -E.ENXIO then  -- (what an old kernel looks at first)
      assert.equal(-E.EBADFD, res)
    end
    assert.equal(-E.EBADF, try(fd(9999, 0, 0, 1)))
    assert.equal(-E.EINVAL, try(fd(b, 0, 0, 1, 1 << 20)))
    hand.nothing(b)
    assert.equal(-E.EBADF, content(b, 0))
  end)

  it("says in the message why it failed", function()
    a:register_files_sparse(1)
    open(a, 0)
    uring.run(function()
      local function try(...) hand.await_fails(a, ...) end
      try("the source slot) is not open", E.EBADF, fd(b, 5, 0, 1))
      try("no file table: its register_files_sparse", E.ENXIO,
        fd(b, 0, 0, 1))
      try("no free file slot", E.ENFILE, fd_alloc(b, 0, 1))
      try("cannot be sent to its own ring", E.EINVAL, fd(a, 0, 0, 1))
    end)
  end)

  it("refuses values that are no slot", function()
    local sqe = uring.sqe()
    for _, slot in ipairs { -1, 1 << 31, 0.5, "0", 1 << 40 } do
      helper.raises("#3", sqe.prep_msg_ring_fd, sqe, b, slot, 0, 1)
      helper.raises("#3", sqe.prep_msg_ring_fd_alloc, sqe, b, slot, 1)
      helper.raises("#4", sqe.prep_msg_ring_fd, sqe, b, 0, slot, 1)
    end
  end)

  it("loses no file in a queue of two", function()
    local small = hand.ring { entries = 2, cq_entries = 2 }
    a:register_files_sparse(1)
    small:register_files_sparse(8)
    open(a, 0)
    for i = 1, 8 do a:queue(fd(small, 0, i - 1, i):set_data64(i)) end
    local sent = hand.some(a, 8)
    local seen = {}
    for _ = 1, 8 do  -- the kernel keeps no order among these
      local res, data = message(small)
      assert.equal(0, res)
      seen[data] = true
    end
    for i = 1, 8 do
      assert.equal(0, sent[i])
      assert.is_true(seen[i])
      assert.equal("in the file", content(small, i - 1))
    end
  end)

  it("goes to rings of each kind", function()
    a:register_files_sparse(1)
    open(a, 0)
    for _, kind in ipairs(possible()) do
      local ring = hand.ring(kind[2])
      ring:register_files_sparse(1)
      assert.equal(0, (one(a, fd(ring, 0, 0, 7))), kind[1])
      assert.same({ 0, 7, 0 }, { message(ring) }, kind[1])
    end
  end)
end)
