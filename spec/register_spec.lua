-- What a ring is told once: files, an eventfd, its own enabling; and the
-- cancel that waits.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, some, take = hand.one, hand.some, hand.take
local content, pipe = hand.content, helper.pipe

local function after()
  hand.close()
  helper.clean()
end

describe("register_files", function()
  after_each(after)

  it("makes slots of descriptors of all kinds, some of them empty",
    function()
      local ring = hand.ring()
      local file <close> = assert(io.open(helper.file "file"))
      local fd <close> = uring.fd((one(ring, uring.sqe():prep_openat(
        uring.AT_FDCWD, helper.file "fd"))))
      local r, w = pipe()
      assert.is_true(ring:register_files { file, fd, -1, r, false })
      spec.write(w, "pipe")
      assert.equal("file", content(ring, 0))
      assert.equal("fd", content(ring, 1))
      assert.equal(-E.EBADF, content(ring, 2))
      assert.equal("pipe", content(ring, 3, -1))
      assert.equal(-E.EBADF, content(ring, 4))
      assert.equal(-E.EBADF, content(ring, 5))
      assert.is_true(ring:unregister_files())
      assert.equal(-E.EBADF, content(ring, 0))
    end)

  it("keeps files that are closed here", function()
    local ring = hand.ring()
    do
      local file <close> = assert(io.open(helper.file "kept"))
      assert(ring:register_files { file })
    end
    assert.equal("kept", content(ring, 0))
  end)

  it("can be done once, and undone once", function()
    local ring = hand.ring()
    local r = pipe()
    local ok, why, errno = ring:unregister_files()
    assert.same({ nil, E.ENXIO }, { ok, errno })
    assert.truthy(why:find(("unregister_files on ring (fd %d)"):format(
      ring:fd()), 1, true))
    assert(ring:register_files { r })
    assert.equal(E.EBUSY, (select(3, ring:register_files { r })))
    assert.equal(E.EBUSY, (select(3, ring:register_files_sparse(1))))
    assert(ring:unregister_files())
    assert(ring:register_files_sparse(1))
  end)

  it("refuses descriptors that are not open, and rings", function()
    local ring = hand.ring()
    assert.equal(E.EBADF, (select(3, ring:register_files { 9999 })))
    assert.equal(E.EBADF, (select(3, ring:register_files { ring })))
    assert.equal(-E.EBADF, content(ring, 0))
  end)

  it("refuses values that are no array of descriptors", function()
    local ring = hand.ring()
    helper.raises("table expected", ring.register_files, ring)
    helper.raises("table expected", ring.register_files, ring, 3)
    helper.raises("array of 1 to 1048576", ring.register_files, ring, {})
    for _, what in ipairs { "0", true, {}, print } do
      helper.raises("descriptor expected", ring.register_files, ring,
        { what })
      helper.raises("bad argument #2", ring.register_files, ring, { what })
    end
    helper.raises("descriptor expected, got another number",
      ring.register_files, ring, { 0.5 })
  end)
end)

describe("register_files_sparse", function()
  after_each(after)

  it("makes empty slots", function()
    local ring = hand.ring()
    assert.is_true(ring:register_files_sparse(3))
    for i = 0, 2 do assert.equal(-E.EBADF, content(ring, i)) end
    assert.equal(0, (one(ring, uring.sqe():prep_openat_direct(uring.AT_FDCWD,
      helper.file "third", 0, 0, 2))))
    assert.equal("third", content(ring, 2))
  end)

  it("says when there would be too many", function()
    local ring = hand.ring()
    local ok, why, errno = ring:register_files_sparse(1 << 20)
    if not ok then  -- (some may have so many files)
      assert.equal(true, errno == E.EMFILE or errno == E.ENOMEM)
      assert.truthy(why:find("register_files_sparse", 1, true))
      if errno == E.EMFILE then
        assert.truthy(why:find("ulimit -n", 1, true))
      end
      assert(ring:register_files_sparse(1))
    end
    for _, n in ipairs { 0, -1, (1 << 20) + 1, 0.5, "1" } do
      helper.raises("integer from 1 to 1048576", ring.register_files_sparse,
        ring, n)
    end
  end)
end)

describe("register_files_update", function()
  after_each(after)

  it("changes some of the slots, and says how many", function()
    local ring = hand.ring()
    assert(ring:register_files_sparse(3))
    local a <close> = assert(io.open(helper.file "a"))
    local b <close> = assert(io.open(helper.file "b"))
    assert.equal(2, ring:register_files_update(1, { a, b }))
    assert.same({ -E.EBADF, "a", "b" },
      { content(ring, 0), content(ring, 1), content(ring, 2) })
    assert.equal(3, ring:register_files_update(0, { b, false, -1 }))
    assert.same({ "b", -E.EBADF, -E.EBADF },
      { content(ring, 0), content(ring, 1), content(ring, 2) })
  end)

  it("refuses slots that are not there", function()
    local ring = hand.ring()
    local r = pipe()
    assert.equal(E.ENXIO, (select(3, ring:register_files_update(0, { r }))))
    assert(ring:register_files_sparse(2))
    assert.equal(E.EINVAL, (select(3,
      ring:register_files_update(1, { r, r }))))
    assert.equal(E.EBADF, (select(3,
      ring:register_files_update(0, { 9999 }))))
    helper.raises("integer from 0 to 2147483647", ring.register_files_update,
      ring, -1, { r })
    helper.raises("table expected", ring.register_files_update, ring, 0, r)
  end)
end)

describe("register_file_alloc_range", function()
  after_each(after)

  it("bounds the slots that the kernel gives", function()
    local ring = hand.ring()
    local sqe = uring.sqe():prep_openat_direct(uring.AT_FDCWD, "/dev/null",
      0, 0, uring.IORING_FILE_INDEX_ALLOC)
    assert(ring:register_files_sparse(8))
    assert.is_true(ring:register_file_alloc_range(5, 2))
    assert.same({ 5, 6, -E.ENFILE },
      { (one(ring, sqe)), (one(ring, sqe)), (one(ring, sqe)) })
    assert.is_true(ring:register_file_alloc_range(0, 8))
    assert.equal(0, (one(ring, uring.sqe():prep_close_direct(6))))
    local got = {}
    for i = 1, 8 do got[i] = (one(ring, sqe)) end
    table.sort(got)
    assert.same({ -E.ENFILE, 0, 1, 2, 3, 4, 6, 7 }, got)
  end)

  it("refuses slots outside of the table", function()
    local ring = hand.ring()
    assert(ring:register_files_sparse(8))
    assert.equal(E.EINVAL, (select(3,
      ring:register_file_alloc_range(7, 2))))
    for _, n in ipairs { -1, 1 << 31, 0.5, "1" } do
      helper.raises("integer from 0 to 2147483647",
        ring.register_file_alloc_range, ring, n, 1)
      helper.raises("integer from 0 to 2147483647",
        ring.register_file_alloc_range, ring, 1, n)
    end
  end)
end)

describe("register_eventfd", function()
  after_each(after)

  it("makes an eventfd count the completions", function()
    for _, options in ipairs { {}, { flags = 0 } } do
      local ring = hand.ring(options)
      local fd <close> = uring.fd(spec.eventfd())
      assert.is_true(ring:register_eventfd(fd))
      assert.is_false(spec.ready(fd:fileno()))
      ring:queue(hand.nop())
      ring:submit_and_wait(1)
      assert.is_true(spec.ready(fd:fileno(), hand.patience))
      spec.read(fd:fileno(), 8)
      take(ring)
      assert.is_true(ring:unregister_eventfd())
      one(ring, hand.nop())
      assert.is_false(spec.ready(fd:fileno()))
    end
  end)

  it("takes one eventfd, and no other descriptor", function()
    local ring = hand.ring()
    local fd <close> = uring.fd(spec.eventfd())
    local r = pipe()
    local ok, why, errno = ring:unregister_eventfd()
    assert.same({ nil, E.ENXIO }, { ok, errno })
    assert.truthy(why:find("none was registered", 1, true))
    assert.equal(E.EINVAL, (select(3, ring:register_eventfd(r))))
    assert.equal(E.EBADF, (select(3, ring:register_eventfd(9999))))
    assert(ring:register_eventfd(fd))
    assert.equal(E.EBUSY, (select(3, ring:register_eventfd(fd))))
    assert(ring:unregister_eventfd())
    assert(ring:register_eventfd(fd))
    helper.raises("descriptor expected", ring.register_eventfd, ring)
    helper.raises("descriptor expected", ring.register_eventfd, ring, "0")
  end)

  it("is refused while the loop has its own eventfd there", function()
    local ring = hand.ring()
    local fd <close> = uring.fd(spec.eventfd())
    uring.run(function()
      local task = uring.spawn(function()
        return ring:await(uring.sqe():prep_timeout(3600), 0.02)
      end)
      uring.sleep(0)
      helper.raises("the loop watches this ring", ring.register_eventfd,
        ring, fd)
      task:join()
    end)
    assert.is_true(ring:register_eventfd(fd))
  end)
end)

describe("enable_rings", function()
  after_each(after)

  it("lets a disabled ring do what others do", function()
    for _, more in ipairs { 0, uring.IORING_SETUP_SINGLE_ISSUER
        | uring.IORING_SETUP_DEFER_TASKRUN } do
      local ring = hand.ring {
        flags = uring.IORING_SETUP_R_DISABLED | more }
      assert(ring:queue(hand.nop(1)))
      for _, method in ipairs { "submit", "submit_and_wait" } do
        local n, why, errno = ring[method](ring)
        assert.same({ nil, E.EBADFD }, { n, errno })
        assert.truthy(why:find("enable_rings() first", 1, true))
      end
      assert(ring:register_files_sparse(1))  -- what it is for
      assert.is_true(ring:enable_rings())
      assert.same({ 1, 0, 0 }, { take(ring) })
    end
  end)

  it("works on disabled rings only, and once", function()
    local ring = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    assert(ring:enable_rings())
    local ok, why, errno = ring:enable_rings()
    assert.same({ nil, E.EBADFD }, { ok, errno })
    assert.truthy(why:find("enable_rings on ring", 1, true))
    assert.equal(E.EBADFD, (select(3, hand.ring():enable_rings())))
  end)

  it("binds the ring to the thread that calls it", function()
    local ring = assert(uring.ring { flags = uring.IORING_SETUP_R_DISABLED
      | uring.IORING_SETUP_SINGLE_ISSUER })
    local ok, enabled, res = spec.in_thread(function()
      return ring:enable_rings(), (one(ring, hand.nop()))
    end)
    assert.same({ true, true, 0 }, { ok, enabled, res })
    helper.raises("belongs to another thread", ring.queue, ring, hand.nop())
    ring = nil  -- luacheck: ignore
    helper.collect()
  end)
end)

describe("register_sync_cancel", function()
  after_each(after)

  local ANY, ALL = uring.IORING_ASYNC_CANCEL_ANY,
    uring.IORING_ASYNC_CANCEL_ALL
  local CANCELED = -E.ECANCELED

  local function timeout(data)
    return uring.sqe():prep_timeout(3600):set_data64(data)
  end

  local function poll(fd, data)
    return uring.sqe():prep_poll_add(fd, uring.POLLIN):set_data64(data)
  end

  it("ends all requests, also unsubmitted ones, and counts them", function()
    local ring = hand.ring()
    local r = pipe()
    ring:queue(timeout(1))
    ring:queue(poll(r, 2))
    ring:submit()
    ring:queue(poll(r, 3))
    assert.equal(3, ring:register_sync_cancel { flags = ANY | ALL })
    assert.same({ CANCELED, CANCELED, CANCELED }, some(ring, 3))
    assert.equal(0, ring:register_sync_cancel { flags = ANY | ALL })
    assert.equal(0, ring:register_sync_cancel { flags = ANY | ALL,
      timeout = 0.5 })
  end)

  it("ends an operation, or says that there is none", function()
    local ring = hand.ring()
    local op = ring:queue(timeout(1))
    ring:queue(timeout(2))
    assert.equal(0, ring:register_sync_cancel { op = op })
    assert.same({ 1, CANCELED, 0 }, { take(ring) })
    local n, why, errno = ring:register_sync_cancel { op = op, timeout = 1 }
    assert.same({ nil, E.ENOENT }, { n, errno })
    assert.truthy(why:find("register_sync_cancel on ring", 1, true))
    assert.equal(1, ring:stats().in_flight)
  end)

  it("ends a chain at its first unfinished member", function()
    local ring = hand.ring()
    local _, second = ring:queue(timeout(1), hand.nop(2))
    ring:submit()
    assert.equal(0, ring:register_sync_cancel { op = second })
    assert.same({ CANCELED, CANCELED }, some(ring, 2))
  end)

  it("ends the requests that use a descriptor", function()
    local ring = hand.ring()
    local r = pipe()
    local r2 = pipe()
    for i = 1, 2 do ring:queue(poll(r, i)) end
    ring:queue(poll(r2, 3))
    local fd = uring.fd(spec.dup(r))
    assert.equal(2, ring:register_sync_cancel { fd = fd, flags = ALL })
    fd:close()
    assert.same({ CANCELED, CANCELED }, some(ring, 2))
    assert.equal(1, ring:stats().in_flight)
    assert.equal(0, ring:register_sync_cancel { fd = r2 })
    take(ring)
    assert.equal(E.ENOENT, (select(3, ring:register_sync_cancel {
      fd = r2 })))
    assert.equal(E.EBADF, (select(3, ring:register_sync_cancel {
      fd = 9999 })))
  end)

  it("ends the requests that have an opcode", function()
    helper.needs "cancel_op"
    local ring = hand.ring()
    local r = pipe()
    ring:queue(timeout(1))
    ring:queue(poll(r, 2))
    ring:queue(poll(r, 3))
    assert.equal(2, ring:register_sync_cancel {
      opcode = uring.IORING_OP_POLL_ADD, flags = ALL })
    assert.same({ [2] = CANCELED, [3] = CANCELED }, some(ring, 2))
  end)

  it("needs to be told what to end", function()
    local ring, other = hand.ring(), hand.ring()
    local op = other:queue(timeout(1))
    local cancel = ring.register_sync_cancel
    helper.raises("what to cancel: op, fd or opcode", cancel, ring, {})
    helper.raises("what to cancel", cancel, ring, { flags = ALL })
    helper.raises("table expected", cancel, ring)
    helper.raises("table expected", cancel, ring, op)
    helper.raises("'op' must be an operation", cancel, ring, { op = 5 })
    helper.raises("operation of another ring", cancel, ring, { op = op })
    helper.raises("descriptor expected", cancel, ring, { fd = "0" })
    helper.raises("'opcode' must be an integer from 0 to 255", cancel, ring,
      { opcode = 256 })
    helper.raises("did you mean 'flags'?", cancel, ring, { flag = ANY })
    for _, seconds in ipairs { -1, "1", 0 / 0 } do
      helper.raises("seconds", cancel, ring, { flags = ANY,
        timeout = seconds })
    end
  end)
end)
