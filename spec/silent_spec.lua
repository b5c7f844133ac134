-- Silent SQEs (IOSQE_CQE_SKIP_SUCCESS): only their errors are reported.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local nop, some, bad = hand.nop, hand.some, hand.bad
local SKIP = uring.IOSQE_CQE_SKIP_SUCCESS
local HARD = uring.IOSQE_IO_HARDLINK

local function silent(sqe)
  return sqe:set_flags(SKIP)
end

-- what is in flight, has succeeded in silence, and has been reported
local function books(ring)
  local s = helper.lawful(ring)
  return { s.in_flight, s.silent, s.completed }
end

describe("a silent sqe", function()
  after_each(hand.close)

  it("posts no completion of a success", function()
    local ring = hand.ring()
    ring:queue(silent(nop(1)))
    ring:submit()
    hand.nothing(ring)
    assert.same({ 0, 1, 1 }, books(ring))  -- the reported one is `nothing`'s
  end)

  it("posts a completion of a failure", function()
    local ring = hand.ring()
    ring:queue(silent(bad(1)))
    assert.same({ 1, -E.EBADF, 0 }, { hand.take(ring) })
    assert.same({ 0, 0, 1 }, books(ring))
  end)

  it("is in flight until it has completed, however many come later",
  function()
    local ring = hand.ring { entries = 256 }
    local r, w = spec.pipe()
    local op = ring:queue(silent(uring.sqe():prep_poll_add(r, uring.POLLIN)
      :set_data64(7)))
    local sqe = silent(nop())
    for _ = 1, 10000 do ring:queue(sqe) end
    ring:submit()
    hand.nothing(ring)
    assert.same({ 1, 10000, 1 }, books(ring))
    assert.equal("in flight", op:status())
    op:cancel()
    assert.same({ 7, -E.ECANCELED, 0 }, { hand.take(ring) })
    assert.equal(0, ring:stats().stale)
    spec.close(r)
    spec.close(w)
  end)

  it("does not pile up where the program never waits", function()
    local ring = hand.ring { entries = 16 }
    local sqe = silent(nop())
    for _ = 1, 200 do
      for _ = 1, 10 do assert(ring:queue(sqe)) end
      assert(ring:submit())
    end
    local stats = helper.lawful(ring)
    assert(stats.in_flight <= stats.cq_entries, stats.in_flight)
    assert.equal(0, stats.overflowed)
  end)

  it("does not end a wait for completions", function()
    local ring = hand.ring()
    for _ = 1, 3 do ring:queue(silent(nop())) end
    ring:queue(uring.sqe():prep_timeout(0.01):set_data64(5))
    ring:submit_and_wait(1, hand.patience)
    assert.same({ 5, -E.ETIME, 0, "completion" }, { ring:peek_cqe() })
  end)

  it("needs no reported sqe in its chain", function()
    local ring = hand.ring()
    ring:queue(silent(nop(1)), silent(nop(2)), nop(3), silent(nop(4)))
    assert.same({ 3, 0, 0 }, { hand.take(ring) })
    hand.nothing(ring)
    assert.same({ 0, 3, 2 }, books(ring))
  end)

  it("that fails has the rest of its chain cancelled", function()
    local ring = hand.ring()
    ring:queue(silent(bad(1)), nop(2), silent(nop(3)), nop(4))
    assert.same({ -E.EBADF, -E.ECANCELED, -E.ECANCELED, -E.ECANCELED },
      some(ring, 4))
    assert.same({ 0, 0, 4 }, books(ring))
    ring:queue(nop(1), silent(bad(2)), nop(3))
    assert.same({ 0, -E.EBADF, -E.ECANCELED }, some(ring, 3))
    ring:queue(bad(1), silent(nop(2)), nop(3))
    assert.same({ -E.EBADF, -E.ECANCELED, -E.ECANCELED }, some(ring, 3))
    hand.nothing(ring)
    assert.equal(0, ring:stats().stale)
  end)

  it("that fails before a hard link cancels nothing", function()
    local ring = hand.ring()
    ring:queue(bad(1):set_flags(SKIP | HARD), nop(2))
    assert.same({ -E.EBADF, 0 }, some(ring, 2))
    hand.nothing(ring)
    assert.equal(0, books(ring)[1])
  end)

  it("may use memory, which is free when it has completed", function()
    local ring = hand.ring()
    local r, w = spec.pipe()
    local buffer, other = uring.buffer "hello", uring.buffer(5)
    ring:queue(silent(uring.sqe():prep_read(r, other)))
    ring:submit()
    for _ = 1, 5000 do ring:queue(silent(nop())) end
    hand.nothing(ring)
    helper.raises("in use", other.close, other)
    ring:queue(silent(uring.sqe():prep_write(w, buffer)))
    hand.nothing(ring)
    helper.eventually(function()
      ring:submit_and_wait(0)
      return ring:stats().in_flight == 0
    end)
    assert.equal("hello", other:string())
    assert.is_true(buffer:close())
    assert.is_true(other:close())
    spec.close(r)
    spec.close(w)
  end)

  it("closes the file that it has opened", function()
    local ring = hand.ring()
    helper.keeps_fds(function()
      ring:queue(silent(uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null",
        uring.O_RDONLY)))
      helper.eventually(function()
        ring:submit_and_wait(0)
        return ring:stats().in_flight == 0
      end)
    end)
    hand.nothing(ring)
    assert.equal(1, ring:stats().silent)
  end)

  it("gives back the buffer that it has picked", function()
    helper.needs "buf_ring"
    local ring = hand.ring()
    assert(ring:buf_ring { entries = 1, size = 16, bgid = 3 })
    local a, b = assert(uring.socketpair())
    for _ = 1, 5 do
      assert.equal(5, hand.one(ring, uring.sqe():prep_send(a, "hello")))
      ring:queue(uring.sqe():prep_recv(b, nil):set_buf_group(3)
        :set_flags(SKIP | uring.IOSQE_BUFFER_SELECT))
      ring:submit()
      hand.nothing(ring)
    end
    assert.same({ 0, 5, 10 }, books(ring))
    a:close()
    b:close()
  end)

  it("that cuts its chain off is reported: short, or timed out", function()
    local ring = hand.ring()
    local r, w = spec.pipe()
    assert(spec.write(w, "hello"))
    ring:queue(silent(uring.sqe():prep_read(r, uring.buffer(9)):set_data64(1)),
      nop(2))
    assert.same({ 5, -E.ECANCELED }, some(ring, 2))
    ring:queue(silent(uring.sqe():prep_timeout(0.001):set_data64(1)), nop(2))
    assert.same({ -E.ETIME, -E.ECANCELED }, some(ring, 2))
    -- and where that is a success it is not
    ring:queue(silent(uring.sqe():prep_timeout(0.001, 0,
      uring.IORING_TIMEOUT_ETIME_SUCCESS):set_data64(1)), nop(2))
    assert.same({ 2, 0, 0 }, { hand.take(ring) })
    assert.same({ 0, 1, 5 }, books(ring))
    spec.close(r)
    spec.close(w)
  end)

  it("that sends less than all with MSG_WAITALL is reported", function()
    local ring = hand.ring()
    local a, b = assert(uring.socketpair())
    local function all(sqe)
      return sqe:set_flags(SKIP):set_data64(1)
    end
    assert.equal(5, hand.one(ring, uring.sqe():prep_send(a, "hello")))
    assert.equal(0, hand.one(ring, uring.sqe():prep_shutdown(a, 1)))
    local header = uring.msghdr { iov = { uring.buffer(2), uring.buffer(2) } }
    ring:queue(all(uring.sqe():prep_recvmsg(b, header, uring.MSG_WAITALL)),
      nop(2))
    assert.same({ 2, 0, 0 }, { hand.take(ring) })
    ring:queue(all(uring.sqe():prep_recv(b, uring.buffer(9), nil,
      uring.MSG_WAITALL)), nop(2))
    assert.same({ 1, -E.ECANCELED }, some(ring, 2))
    a:close()
    b:close()
  end)

  it("that receives less without MSG_WAITALL is not reported", function()
    local ring = hand.ring()
    local a, b = assert(uring.socketpair())
    for _, sqe in ipairs {
      uring.sqe():prep_recv(b, uring.buffer(9)),
      uring.sqe():prep_recvmsg(b, uring.msghdr { iov = { uring.buffer(9) } }),
    } do
      assert.equal(5, hand.one(ring, uring.sqe():prep_send(a, "hello")))
      ring:queue(silent(sqe:set_data64(1)), nop(2))
      assert.same({ 2, 0, 0 }, { hand.take(ring) })
      hand.nothing(ring)
    end
    a:close()
    b:close()
  end)

  it("cannot complete more than once", function()
    local ring = hand.ring()
    local r, w = spec.pipe()
    for _, sqe in ipairs {
      uring.sqe():prep_poll_multishot(r, uring.POLLIN),
      uring.sqe():prep_multishot_accept(r),
      uring.sqe():prep_accept(r):set_ioprio(uring.IORING_ACCEPT_MULTISHOT),
      uring.sqe():prep_timeout(1, 0, uring.IORING_TIMEOUT_MULTISHOT),
      uring.sqe():prep_send_zc(r, uring.buffer(1)),
    } do
      helper.raises("completes more than once", ring.queue, ring, silent(sqe))
      helper.raises("completes more than once", ring.queue, ring, silent(sqe),
        nop())
    end
    assert.equal(0, ring:stats().submitted)
    spec.close(r)
    spec.close(w)
  end)

  it("lets a later one drain", function()
    local ring = hand.ring()
    ring:queue(silent(nop()))
    ring:queue(nop(2):set_flags(uring.IOSQE_IO_DRAIN))
    assert.same({ 2, 0, 0 }, { hand.take(ring) })
  end)

  it("frees its memory when its ring closes", function()
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

describe("a silent sqe of a task", function()
  it("whose operation was collected leaves nothing behind", function()
    local function failing()
      return uring.sqe():prep_read(-1, uring.buffer(1)):set_flags(SKIP)
    end
    uring.run(function()
      local ring = uring.loop():ring()
      for _ = 1, 10 do
        for _ = 1, 100 do assert(ring:queue(failing())) end
        uring.sleep(0)
        helper.collect()
      end
      helper.eventually(function()
        uring.sleep(0)
        helper.collect()
        return ring:stats().in_flight == ring:stats().internal
      end)
    end)
    local data, _, errno = uring.loop():ring():peek_cqe()
    assert.same({ nil, E.EAGAIN }, { data, errno })
  end)
end)

describe("a silent member of an awaited chain", function()
  local function await_chain(sqes, timeout)
    local results
    uring.run(function()
      results = { uring.loop():ring():await_chain(sqes, timeout) }
    end)
    return results[1], results[2]
  end

  it("gives { silent = true } for a success, also when it is the last",
  function()
    assert.same({ { silent = true }, { 0, 0 }, { silent = true } },
      (await_chain { silent(nop()), nop(), silent(nop()) }))
  end)

  it("ends with its chain, whatever the kernel refuses", function()
    for _, flags in ipairs { SKIP, SKIP | HARD, HARD, 0 } do
      local results = assert(await_chain({
        nop():set_flags(flags), nop(), nop():set_ioprio(1) }, 5))
      assert.equal(3, #results)
      assert.equal(-E.EINVAL, results[3][1])
    end
  end)

  it("ends in a chain of thousands", function()
    local ring <close> = assert(uring.ring { entries = 8192 })
    local sqes = {}
    for i = 1, 5000 do sqes[i] = silent(nop()) end
    sqes[5001] = nop()
    uring.run(function()
      local results = assert(ring:await_chain(sqes, hand.patience))
      assert.equal(5001, #results)
      assert.is_true(results[1].silent and results[5000].silent)
      assert.same({ 0, 0 }, results[5001])
    end)
  end)

  it("needs a member that is not silent, which ends the wait", function()
    helper.raises("must complete visibly", await_chain,
      { silent(nop()), silent(nop()) })
  end)
end)
