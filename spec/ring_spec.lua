-- Rings by hand: making, queueing, submitting, taking; chains, silent SQEs,
-- full queues; closing; the books.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local nop, some = hand.nop, hand.some
local SKIP = uring.IOSQE_CQE_SKIP_SUCCESS
local SOON = 0.01  -- for waits whose end is what is tested

local function timeout(seconds, data)
  return uring.sqe():prep_timeout(seconds):set_data64(data or 0)
end

-- An SQE that fails.
local function bad(data)
  return uring.sqe():prep_close(9999):set_data64(data or 0)
end

-- One that does not end, and nobody could tell: a read of an empty pipe.
local function reading(buffer, data)
  local r, w = spec.pipe()
  local sqe = uring.sqe():prep_read(r, buffer):set_data64(data or 0)
  return sqe, r, w
end

describe("uring.ring", function()
  after_each(hand.close)

  it("has 64 entries, a CQ of eight times that, and the best flags",
    function()
      for _, options in ipairs { { n = 0 }, { n = 1 }, { {}, n = 1 } } do
        local ring = hand.keep(assert(uring.ring(
          table.unpack(options, 1, options.n))))
        assert.equal(64, ring:stats().sq_entries)
        assert.equal(512, ring:stats().cq_entries)
      end
      local bits, names = hand.ring():flags()
      local function has(name, feature)
        local is = bits & uring["IORING_SETUP_" .. name] ~= 0
        assert.equal(helper.has(feature), is, name)
        assert.equal(is, ("|" .. names .. "|"):find("|" .. name .. "|", 1,
          true) ~= nil, name)
      end
      has("SINGLE_ISSUER", "single_issuer")
      has("DEFER_TASKRUN", "defer_taskrun")
      has("TASKRUN_FLAG", "defer_taskrun")
      has("SUBMIT_ALL", "submit_all")
      assert.truthy(bits & uring.IORING_SETUP_CQSIZE ~= 0)
      local features
      bits, features = hand.ring():features()
      assert.truthy(bits & uring.IORING_FEAT_NODROP ~= 0)
      assert.truthy(features:find "NODROP")
    end)

  it("has as many entries as asked, and a CQ to match", function()
    for entries, sizes in pairs { [1] = { 1, 8 }, [3] = { 4, 32 },
        [4096] = { 4096, 32768 }, [8192] = { 8192, 65536 },
        [16384] = { 16384, 65536 }, [32768] = { 32768, 65536 } } do
      local ring, why, errno = uring.ring { entries = entries }
      if ring then
        local stats = hand.keep(ring):stats()
        assert.equal(sizes[1], stats.sq_entries)
        -- dropped only where the kernel refuses it
        if ring:flags() & uring.IORING_SETUP_CQSIZE ~= 0 then
          assert.truthy(stats.cq_entries >= sizes[2], entries)
        end
      else  -- a small machine
        assert.equal(E.ENOMEM, errno, why)
      end
    end
    assert.equal(256, hand.ring { cq_entries = 256 }:stats().cq_entries)
    assert.equal(16, hand.ring { entries = 8, cq_entries = 9 }
      :stats().cq_entries)
  end)

  it("takes its flags as they are given", function()
    local free = uring.IORING_SETUP_NO_SQARRAY  -- liburing's own
    assert.equal(0, hand.ring { flags = 0 }:flags() & ~free)
    local sized = hand.ring { flags = 0, cq_entries = 256 }
    assert.equal(uring.IORING_SETUP_CQSIZE, sized:flags() & ~free)
    assert.equal(256, sized:stats().cq_entries)
    for _, flags in ipairs { uring.IORING_SETUP_SINGLE_ISSUER,
        uring.IORING_SETUP_SINGLE_ISSUER | uring.IORING_SETUP_DEFER_TASKRUN,
        uring.IORING_SETUP_COOP_TASKRUN | uring.IORING_SETUP_TASKRUN_FLAG,
        uring.IORING_SETUP_SUBMIT_ALL | uring.IORING_SETUP_R_DISABLED } do
      assert.equal(flags, hand.ring { flags = flags }:flags() & ~free)
    end
  end)

  it("refuses what the kernel refuses, and peels no given flag", function()
    for _, options in ipairs {
        { flags = 1 << 30 },
        { flags = uring.IORING_SETUP_TASKRUN_FLAG },
        { flags = uring.IORING_SETUP_DEFER_TASKRUN },
        { entries = 64, cq_entries = 32 },
        { flags = uring.IORING_SETUP_SQPOLL | uring.IORING_SETUP_SINGLE_ISSUER
            | uring.IORING_SETUP_DEFER_TASKRUN } } do
      local ring, why, errno = uring.ring(options)
      assert.same({ nil, E.EINVAL }, { ring, errno })
      assert.truthy(why:find("cannot make a ring", 1, true))
      assert.truthy(why:find("EINVAL", 1, true))
    end
  end)

  it("refuses options that are none", function()
    local words = {
      ["did you mean 'entries'?"] = { entires = 4 },
      ["did you mean 'cq_entries'?"] = { cq_entrys = 4 },
      ["the options are entries, cq_entries, flags"] = { something = 4 },
      ["'entries' must be an integer from 1 to 32768, got 0"] =
        { entries = 0 },
      ["1 to 32768, got 32769"] = { entries = 32769 },
      ["1 to 32768, got 1.5"] = { entries = 1.5 },
      ["1 to 32768, got 64x"] = { entries = "64x" },
      ["'cq_entries' must be an integer from 1 to 65536"] =
        { cq_entries = 65537 },
      ["'flags' must be an integer from 0 to 4294967295"] =
        { flags = 1 << 32 },
      ["'flags' must be an integer"] = { flags = "SQPOLL" },
      ["options have names"] = { 64 },
      ["'attach_wq' must be a ring"] = { attach_wq = 3 },
      ["'sq_thread_idle' must be an integer"] = { sq_thread_idle = -1 },
    }
    for text, options in pairs(words) do
      helper.raises(text, uring.ring, options)
    end
    helper.raises("table expected", uring.ring, 64)
    helper.raises("table expected", uring.ring, "64")
  end)

  it("shares the workers of another", function()
    local a = hand.ring()
    local b = hand.ring { attach_wq = a }
    assert.truthy(b:flags() & uring.IORING_SETUP_ATTACH_WQ ~= 0)
    assert.equal(0, (hand.one(b, nop())))
    local c = hand.ring { flags = uring.IORING_SETUP_SQPOLL,
      sq_thread_idle = 10 }
    local d = hand.ring { flags = uring.IORING_SETUP_SQPOLL, attach_wq = c }
    for i = 1, 10 do assert(d:queue(nop(i))) end
    assert.equal(0, some(d, 10)[10])
    c:close()
    helper.raises("closed ring", uring.ring, { attach_wq = c })
  end)

  it("keeps no descriptor when it is closed, however", function()
    helper.keeps_fds(function()
      local a = uring.ring()
      a:ref()
      assert.is_true(a:close())
      assert.is_true(a:close())
      do local _ <close> = uring.ring() end
      uring.ring()
      uring.ring():ref()
    end)
  end)

  it("says what it is", function()
    local ring = hand.ring()
    assert.equal(("uring.Ring (fd %d)"):format(ring:fd()), tostring(ring))
    ring:close()
    assert.equal("uring.Ring (closed)", tostring(ring))
  end)
end)

describe("a closed ring", function()
  it("says so, whatever is asked of it", function()
    local ring = assert(uring.ring())
    local sqe = uring.sqe()
    ring:close()
    for _, method in ipairs { "queue", "submit", "submit_and_wait",
        "wait_cqe", "peek_cqe", "fd", "ref", "flags", "features", "await",
        "await_chain", "receive", "messages", "register_files",
        "register_files_sparse", "register_files_update",
        "register_file_alloc_range", "unregister_files", "register_eventfd",
        "unregister_eventfd", "register_sync_cancel", "enable_rings" } do
      if ring[method] == nil then error("no method " .. method) end
      helper.raises("closed ring", ring[method], ring)
    end
    helper.raises("closed ring", sqe.prep_msg_ring, sqe, ring, 1, 1)
    helper.raises("closed ring", sqe.prep_poll_add, sqe, ring, uring.POLLIN)
    assert.is_true(ring:close())
    local stats = ring:stats()
    assert.same({ 0, 0, 0 },
      { stats.in_flight, stats.sq_entries, stats.cq_entries })
  end)

  it("tells all that it has counted, under the names in meta.lua", function()
    local named, told = {}, {}
    local fields = io.open("lua/uring/meta.lua"):read "a"
      :match "%-%-%-@class uring%.Stats\n(.-)\n\n"
    for name in fields:gmatch "@field (%S+)" do named[#named + 1] = name end
    for name, value in pairs(hand.ring():stats()) do
      told[#told + 1] = name
      assert.equal("number", type(value))
    end
    table.sort(named)
    table.sort(told)
    assert.same(named, told)
  end)

  it("has counted what it did", function()
    local ring = assert(uring.ring())
    ring:queue(nop(), nop():set_flags(SKIP), nop())
    ring:queue(nop():set_flags(SKIP))
    ring:queue(timeout(3600))
    ring:submit()
    ring:close()
    local stats = helper.lawful(ring)
    assert.same({ 5, 0, 0 },
      { stats.submitted, stats.in_flight, stats.leaked })
    assert.equal(2, stats.silent)
  end)
end)

describe("close", function()
  after_each(hand.close)

  it("submits, cancels and drains what is in flight", function()
    for _, flags in ipairs { 0, uring.IORING_SETUP_SQPOLL,
        uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN } do
      helper.keeps_fds(function()
        local ring = assert(uring.ring { flags = flags })
        local buffer = uring.buffer(10)
        local read, r, w = reading(buffer)
        ring:queue(read)
        ring:queue(timeout(3600), nop(), nop())
        ring:queue(uring.sqe():prep_poll_multishot(r, uring.POLLIN))
        ring:queue(nop():set_flags(SKIP))
        ring:submit()
        ring:queue(read)  -- and what was never submitted
        helper.raises("in use", buffer.close, buffer)
        assert.is_true(ring:close())
        local stats = helper.lawful(ring)
        assert.same({ 7, 0, 0 },
          { stats.submitted, stats.in_flight, stats.leaked })
        assert.is_true(buffer:close())
        spec.close(r)
        spec.close(w)
      end)
    end
  end)

  it("does it for rings that were never enabled, too", function()
    helper.keeps_fds(function()
      local ring = assert(uring.ring {
        flags = uring.IORING_SETUP_R_DISABLED })
      local buffer = uring.buffer(10)
      local read, r, w = reading(buffer)
      assert(ring:queue(read))
      assert.equal(E.EBADFD, (select(3, ring:submit())))
      assert.is_true(ring:close())
      assert.equal(0, helper.lawful(ring).leaked)
      assert.is_true(buffer:close())
      spec.close(r)
      spec.close(w)
    end)
  end)

  it("closes what was opened and not taken", function()
    helper.keeps_fds(function()
      local ring = assert(uring.ring())
      for _ = 1, 3 do
        ring:queue(uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null",
          uring.O_RDONLY))
      end
      ring:submit_and_wait(3, hand.patience)
      ring:close()
    end)
  end)

  it("happens at the end of a scope, also by an error", function()
    local ring
    helper.keeps_fds(function()
      pcall(function()
        local scoped <close> = assert(uring.ring())
        ring = scoped
        ring:queue(timeout(3600))
        ring:submit()
        error "oops"
      end)
      assert.equal("uring.Ring (closed)", tostring(ring))
    end)
  end)

  it("happens to what is collected, in any order", function()
    helper.keeps_fds(function()
      for order = 1, 6 do
        local keep
        do
          local buffer = uring.buffer(10)
          local read, r, w = reading(buffer)
          local ring = assert(uring.ring())
          keep = { ring = ring, op = ring:queue(read), ref = ring:ref(),
            buffer = buffer, sqe = read, fd = uring.fd(r), fd2 = uring.fd(w) }
          ring:submit()
        end
        local names = { "ring", "buffer", "sqe", "op", "fd", "fd2", "ref" }
        for i = 1, 7 do
          keep[names[i * order % 7 + 1]] = nil
          helper.collect()
        end
        assert.is_nil(next(keep))
      end
    end)
  end)

  it("happens to all that a script leaves behind", function()
    assert.equal("done\n", helper.script_ok [[
      local uring = require "uring"
      local spec = require "uring_spec"
      local r = spec.pipe()
      buffers, rings, fds = {}, {}, {}
      for i = 1, 20 do
        buffers[i] = uring.buffer(100)
        rings[i] = assert(uring.ring { entries = 4 })
        rings[i]:queue(uring.sqe():prep_read(r, buffers[i]))
        rings[i]:queue(uring.sqe():prep_timeout(3600), uring.sqe():prep_nop())
        if i % 2 == 0 then rings[i]:submit() end
      end
      print "done"
    ]])
  end)
end)

describe("a ring that is not this process's or thread's", function()
  after_each(hand.close)

  it("says so to a child, and is not disturbed by it", function()
    local ring = hand.ring()
    local op = ring:queue(timeout(3600, 1))
    ring:submit()
    ring:queue(nop(2))
    assert.equal(0, (helper.child(function()
      for _, method in ipairs { "queue", "submit", "submit_and_wait",
          "wait_cqe", "peek_cqe", "fd", "ref", "flags",
          "register_files_sparse", "enable_rings" } do
        helper.raises("belongs to another process", ring[method], ring,
          nop())
      end
      helper.raises("belongs to another process", op.cancel, op)
      helper.raises("belongs to another process", ring.close, ring)
      local own <close> = assert(uring.ring())
      assert(hand.one(own, nop()) == 0)
      ring, op = nil, nil
      helper.collect()
    end)))
    assert.same({ 2, 0, 0 }, { hand.take(ring) })
    op:cancel()
    assert.same({ 1, -E.ECANCELED, 0 }, { hand.take(ring) })
  end)

  it("says so to another thread, and works on", function()
    local ring = hand.ring()
    for _, method in ipairs { "queue", "submit", "submit_and_wait",
        "wait_cqe", "peek_cqe", "register_files_sparse", "close" } do
      local ok, why = spec.in_thread(ring[method], ring, nop())
      assert.is_false(ok, method)
      assert.truthy(why:find("belongs to another thread", 1, true), why)
    end
    assert.equal(0, (hand.one(ring, nop())))
  end)

  it("is another thread's without SINGLE_ISSUER", function()
    local ring = hand.ring { flags = 0 }
    local ok, res = spec.in_thread(hand.one, ring, nop())
    assert.same({ true, 0 }, { ok, res })
    assert.equal(0, (hand.one(ring, nop())))
  end)
end)

describe("queue and submit", function()
  after_each(hand.close)

  it("count what was submitted", function()
    local ring = hand.ring()
    for i = 1, 5 do ring:queue(nop(i)) end
    assert.equal(5, ring:submit())
    assert.equal(0, ring:submit())
    for i = 1, 5 do assert.same({ i, 0, 0 }, { hand.take(ring) }) end
    local stats = helper.lawful(ring)
    assert.same({ 5, 5, 0, 0, 5 }, { stats.submitted, stats.completed,
      stats.silent, stats.in_flight, stats.cqes })
  end)

  it("copy the sqe, which may be queued again, on any ring", function()
    local a, b = hand.ring(), hand.ring()
    local sqe = nop(1)
    a:queue(sqe)
    sqe:set_data64(2)
    a:queue(sqe)
    sqe:prep_nop()
    b:queue(sqe)
    sqe:prep_close(9999)
    assert.same({ 0, 0 }, some(a, 2))
    assert.same({ [0] = 0 }, some(b, 1))
  end)

  it("submit a full queue by themselves", function()
    for _, options in ipairs { { entries = 4 }, { entries = 1 },
        { entries = 4, flags = 0 },
        { entries = 4, flags = uring.IORING_SETUP_SQPOLL },
        { entries = 4, flags = 0, cq_entries = 4 } } do
      local ring = hand.ring(options)
      for i = 1, 100 do assert(ring:queue(nop(i))) end
      for i = 1, 100 do assert.same({ i, 0, 0 }, { hand.take(ring) }) end
      assert.equal(0, ring:stats().lost)
    end
  end)

  it("wake a kernel thread that has gone to sleep", function()
    local ring = hand.ring { flags = uring.IORING_SETUP_SQPOLL,
      sq_thread_idle = 1 }
    for i = 1, 3 do
      spec.sleep(0.01)
      ring:queue(nop(i))
      assert.equal(1, ring:submit())
      assert.same({ i, 0, 0 }, { hand.take(ring) })
    end
  end)

  it("need an sqe that is prepared", function()
    local ring = hand.ring()
    helper.raises("uring.Sqe expected", ring.queue, ring)
    for _, what in ipairs { 1, "sqe", {}, ring, uring.buffer(1) } do
      helper.raises("uring.Sqe expected", ring.queue, ring, what)
      helper.raises("#3", function() ring:queue(nop(), nop(), what) end)
    end
    helper.raises("nothing is prepared", ring.queue, ring, uring.sqe())
    helper.raises("nothing is prepared", ring.queue, ring, nop(),
      uring.sqe())
    helper.raises("uring.Ring expected", ring.queue, nop(), nop())
    assert.equal(0, ring:stats().submitted)
  end)
end)

describe("wait_cqe", function()
  after_each(hand.close)

  it("submits, and gives data, result, flags and kind", function()
    local ring = hand.ring()
    ring:queue(nop(5))
    assert.same({ 5, 0, 0, "completion", n = 4 },
      table.pack(ring:wait_cqe()))
  end)

  it("gives 0 where no data was set, and all 64 bits where it was",
    function()
      local ring = hand.ring()
      ring:queue(uring.sqe():prep_nop())
      assert.equal(0, (hand.take(ring)))
      for _, data in ipairs { -1, math.mininteger, math.maxinteger } do
        ring:queue(nop(data))
        assert.equal(data, (hand.take(ring)))
      end
    end)

  it("ends with its timeout", function()
    for _, flags in ipairs { 0, uring.IORING_SETUP_IOPOLL,
        uring.IORING_SETUP_SQPOLL, uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN } do
      local ring = hand.ring { flags = flags }
      for _, seconds in ipairs { 0, SOON } do
        assert.same({ nil, "timed out", E.ETIME, n = 3 },
          table.pack(ring:wait_cqe(seconds)))
      end
    end
    local ring = hand.ring()
    ring:queue(timeout(3600))
    assert.equal(E.ETIME, (select(3, ring:wait_cqe(SOON))))
    assert.equal(1, ring:stats().in_flight)
  end)

  it("ends no sooner", function()
    local ring = hand.ring()
    ring:queue(timeout(0.05, 1))
    assert.same({ 1, -E.ETIME, 0 }, { hand.take(ring) })
    -- both clocks started at once, and its own runs longer
    ring:queue(timeout(0.05, 2))
    assert.equal(2, (ring:wait_cqe(0.05 + hand.patience)))
    ring:queue(timeout(0, 3))
    assert.equal(3, (ring:wait_cqe(math.huge)))
  end)

  it("outlasts a storm of signals", function()
    local ring = hand.ring()
    spec.itimer(0.0005)
    ring:queue(timeout(0.05, 1))
    local got = { ring:wait_cqe(hand.patience) }
    local none = { ring:wait_cqe(0.02) }
    local alarms = spec.itimer(0)
    assert.same({ 1, -E.ETIME, 0, "completion" }, got)
    assert.same({ nil, "timed out", E.ETIME }, none)
    assert.truthy(alarms > 0)
  end)

  it("refuses timeouts that are none", function()
    local ring = hand.ring()
    for _, seconds in ipairs { "1", true, {} } do
      helper.raises("seconds expected", ring.wait_cqe, ring, seconds)
    end
    for _, seconds in ipairs { -1, -0.001, 0 / 0, -math.huge } do
      helper.raises("seconds must be 0 or more", ring.wait_cqe, ring,
        seconds)
    end
  end)

  it("says that a disabled ring cannot wait", function()
    local ring = hand.ring { flags = uring.IORING_SETUP_R_DISABLED }
    local data, why, errno = ring:wait_cqe(SOON)
    assert.same({ nil, E.EBADFD }, { data, errno })
    assert.truthy(why:find("call enable_rings() first", 1, true))
    assert(ring:enable_rings())
    assert.equal(0, (hand.one(ring, nop())))
  end)
end)

describe("peek_cqe", function()
  after_each(hand.close)

  it("gives what is there, and says when nothing is", function()
    for _, flags in ipairs { 0, uring.IORING_SETUP_IOPOLL,
        uring.IORING_SETUP_COOP_TASKRUN, uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN } do
      local ring = hand.ring { flags = flags }
      assert.same({ nil, "no completion is there yet", E.EAGAIN, n = 3 },
        table.pack(ring:peek_cqe()))
      ring:queue(nop(1))
      ring:submit()
      assert.same({ 1, 0, 0, "completion" }, { ring:peek_cqe() })
      assert.equal(E.EAGAIN, (select(3, ring:peek_cqe())))
    end
  end)

  it("finds by itself what the kernel has deferred", function()
    local from = assert(spec.sender())
    for _, ring in ipairs { hand.ring(), hand.ring {
        flags = uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN } } do
      assert(from:send(ring:fd(), 3, 4))
      assert.same({ 3, 4, 0, "message" }, { ring:peek_cqe() })
    end
    from:close()
  end)
end)

describe("submit_and_wait", function()
  after_each(hand.close)

  it("waits for as many as asked, and leaves them to be taken", function()
    local ring = hand.ring()
    for i = 1, 3 do ring:queue(nop(i)) end
    ring:queue(timeout(0.005, 4))
    assert.equal(4, ring:submit_and_wait(4, hand.patience))
    for i = 1, 4 do assert.equal(i, (ring:peek_cqe())) end
    assert.equal(E.EAGAIN, (select(3, ring:peek_cqe())))
  end)

  it("waits for one where no number is given, for none with 0", function()
    local ring = hand.ring()
    ring:queue(timeout(0.005, 1))
    assert.equal(1, ring:submit_and_wait())
    assert.equal(1, (ring:peek_cqe()))
    ring:queue(timeout(3600, 2))
    assert.equal(1, ring:submit_and_wait(0))
    assert.equal(0, ring:submit_and_wait(0, 5))
    assert.equal(E.EAGAIN, (select(3, ring:peek_cqe())))
  end)

  it("counts what has come before", function()
    local ring = hand.ring()
    for i = 1, 3 do ring:queue(nop(i)) end
    assert.equal(3, ring:submit_and_wait(3, hand.patience))
    assert.equal(0, ring:submit_and_wait(3, SOON))
    assert.equal(1, (ring:peek_cqe()))
    assert.same({ nil, "timed out", E.ETIME },
      { ring:submit_and_wait(3, SOON) })
    assert.same({ 2, 3 }, { (ring:peek_cqe()), (ring:peek_cqe()) })
  end)

  it("ends with its timeout, and loses nothing by it", function()
    local ring = hand.ring()
    for i = 1, 3 do ring:queue(nop(i)) end
    assert.same({ nil, "timed out", E.ETIME, n = 3 },
      table.pack(ring:submit_and_wait(4, SOON)))
    assert.equal(3, ring:stats().completed)
    for i = 1, 3 do assert.equal(i, (ring:peek_cqe())) end
  end)

  it("waits for messages as well", function()
    local ring = hand.ring()
    local later = spec.send_later(0.02, ring:fd(), 3, 4)
    assert.equal(0, ring:submit_and_wait(1, hand.patience))
    assert.same({ 4, 3, 0 }, { hand.message(ring) })
    assert.is_true((later:join()))
  end)

  it("refuses numbers that the CQ cannot hold", function()
    local ring = hand.ring { entries = 4, cq_entries = 8 }
    for _, n in ipairs { -1, 9, 0.5, "1", 1 << 40 } do
      helper.raises("integer from 0 to 8 expected", ring.submit_and_wait,
        ring, n)
    end
    helper.raises("seconds expected", ring.submit_and_wait, ring, 1, "1")
  end)
end)

describe("a CQ that is too small", function()
  after_each(hand.close)

  it("loses nothing and keeps the order", function()
    for _, flags in ipairs { 0, uring.IORING_SETUP_SINGLE_ISSUER
        | uring.IORING_SETUP_DEFER_TASKRUN } do
      local ring = hand.ring { entries = 4, cq_entries = 4, flags = flags }
      local from = assert(spec.sender())
      for i = 1, 500 do
        if i % 5 == 0 then assert(from:send(ring:fd(), i, 0))
        else assert(ring:queue(nop(i))) end
      end
      local last = { completion = 0, message = 0 }
      for _ = 1, 500 do
        local data, _, _, kind = ring:wait_cqe(hand.patience)
        assert.truthy(data > last[kind])
        last[kind] = data
      end
      assert.same({ completion = 499, message = 500 }, last)
      assert.equal(0, ring:stats().lost)
      assert.equal(E.EAGAIN, (select(3, ring:peek_cqe())))
      from:close()
    end
  end)
end)

describe("a chain", function()
  after_each(hand.close)

  it("runs in order and breaks where a member fails", function()
    local ring = hand.ring()
    ring:queue(nop(1), bad(2), nop(3))
    ring:queue(nop(4))
    assert.same({ 0, -E.EBADF, -E.ECANCELED, 0 }, some(ring, 4))
  end)

  it("starts each when the one before has ended", function()
    local ring = hand.ring()
    local r, w = spec.pipe()
    local buffer = uring.buffer(5)
    ring:queue(uring.sqe():prep_read(r, buffer):set_data64(1), nop(2))
    assert.equal(2, ring:submit())
    hand.nothing(ring)
    spec.write(w, "hello")
    assert.same({ 1, 5, 0 }, { hand.take(ring) })
    assert.same({ 2, 0, 0 }, { hand.take(ring) })
    spec.close(r)
    spec.close(w)
  end)

  it("is linked by queue, which changes no sqe", function()
    local ring = hand.ring()
    local first = bad(1)
    ring:queue(first, nop(2))
    assert.same({ -E.EBADF, -E.ECANCELED }, some(ring, 2))
    assert.equal(0, first.flags)
    ring:queue(first)  -- alone it has no link
    ring:queue(nop(2))
    assert.same({ -E.EBADF, 0 }, some(ring, 2))
    -- one sqe may be several members
    local sqe = nop()
    local a, b, c = ring:queue(sqe, sqe, sqe)
    assert.truthy(a ~= b and b ~= c)
    for _ = 1, 3 do assert.same({ 0, 0, 0 }, { hand.take(ring) }) end
  end)

  it("goes on over a failure behind a hard link", function()
    local ring = hand.ring()
    ring:queue(bad(1):set_flags(uring.IOSQE_IO_HARDLINK), nop(2))
    assert.same({ -E.EBADF, 0 }, some(ring, 2))
    ring:queue(bad(1):set_flags(uring.IOSQE_IO_HARDLINK), bad(2), nop(3))
    assert.same({ -E.EBADF, -E.EBADF, -E.ECANCELED }, some(ring, 3))
  end)

  it("is never split by a full queue", function()
    for _, flags in ipairs { 0, uring.IORING_SETUP_SQPOLL } do
      local ring = hand.ring { entries = 4, flags = flags }
      for fill = 0, 4 do
        for length = 2, 4 do
          for _ = 1, fill do ring:queue(nop(-1)) end
          local chain = { bad(1) }
          for i = 2, length do chain[i] = nop(i) end
          ring:queue(table.unpack(chain))
          for _ = 1, fill do assert.equal(-1, (hand.take(ring))) end
          local got = some(ring, length)
          assert.equal(-E.EBADF, got[1])
          for i = 2, length do assert.equal(-E.ECANCELED, got[i]) end
        end
      end
    end
  end)

  it("may be as long as the queue", function()
    local ring = hand.ring { entries = 256 }
    local chain = {}
    for i = 1, 256 do chain[i] = nop(i) end
    assert.equal(256, select("#", ring:queue(table.unpack(chain))))
    for i = 1, 256 do assert.same({ i, 0, 0 }, { hand.take(ring) }) end
    chain[257] = nop()
    helper.raises("a chain of 257 does not fit into a ring of 256 entries",
      ring.queue, ring, table.unpack(chain))
  end)

  it("is refused whole where it cannot go", function()
    local ring = hand.ring { entries = 2 }
    for _, flag in ipairs { uring.IOSQE_IO_LINK, uring.IOSQE_IO_HARDLINK } do
      local link = nop():set_flags(flag)
      helper.raises("must not have a link flag", ring.queue, ring, link)
      helper.raises("must not have a link flag", ring.queue, ring, nop(),
        link)
    end
    helper.raises("does not fit", ring.queue, ring, nop(), nop(), nop())
    assert.equal(0, ring:stats().submitted)
    assert.equal(0, ring:submit())
  end)
end)

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

describe("a ring and the loop", function()
  after_each(hand.close)

  it("are apart: no taking by hand while a task waits", function()
    local ring = hand.ring()
    uring.run(function()
      local task = uring.spawn(function()
        return ring:await(timeout(3600), 0.05)
      end)
      uring.sleep(0)
      for _, method in ipairs { "wait_cqe", "peek_cqe",
          "submit_and_wait" } do
        helper.raises("driven by the loop", ring[method], ring)
      end
      assert.equal("timed out", (select(3, task:join())))
      assert.equal(0, (hand.one(ring, nop())))
    end)
  end)
end)
