-- Rings by hand: making and closing them, which process and thread may use
-- one, and the counts.
-- (For queueing and waiting see queue_spec.)

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local nop, some, timeout = hand.nop, hand.some, hand.timeout
local SKIP = uring.IOSQE_CQE_SKIP_SUCCESS

-- An SQE that does not end, and leaves no trace: a read of an empty pipe.
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

  it("takes flags as they are given", function()
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

  it("names the first kernel with the flags that are missing", function()
    local kernel = helper.probe.kernel:match "^%d+%.%d+"
    for name, since in pairs { CQE_MIXED = "6.18", SQE_MIXED = "6.19",
        SQ_REWIND = "7.0" } do
      local major, minor = since:match "(%d+)%.(%d+)"
      local this, part = kernel:match "(%d+)%.(%d+)"
      if this * 1000 + part < major * 1000 + minor then
        local ring, why, errno = uring.ring {
          flags = uring["IORING_SETUP_" .. name] }
        assert.same({ nil, E.EINVAL }, { ring, errno })
        assert.truthy(why:find(("need Linux %s (this is %s)"):format(since,
          kernel), 1, true), why)
      end
    end
  end)

  it("refuses what the kernel refuses, and drops no given flag", function()
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

  it("refuses wrong options", function()
    local words = {
      ["did you mean 'entries'?"] = { entires = 4 },
      ["did you mean 'cq_entries'?"] = { cq_entrys = 4 },
      ["the options are entries, cq_entries, flags"] = { something = 4 },
      ["'entries' must be an integer from 1 to 32768, got 0"] =
        { entries = 0 },
      ["1 to 32768, got 32769"] = { entries = 32769 },
      ["1 to 32768, got 1.5"] = { entries = 1.5 },
      ["1 to 32768, got string"] = { entries = "64x" },
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

  it("shows its descriptor as a string", function()
    local ring = hand.ring()
    assert.equal(("uring.Ring (fd %d)"):format(ring:fd()), tostring(ring))
    ring:close()
    assert.equal("uring.Ring (closed)", tostring(ring))
  end)
end)

describe("a closed ring", function()
  it("says so in every call", function()
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

  it("keeps all counts, under the names in meta.lua", function()
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

  it("has counted its submits and completions", function()
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

  it("submits, cancels and drains the requests in flight", function()
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
        -- (an SQPOLL ring's cancels are requests too)
        local polled = flags == uring.IORING_SETUP_SQPOLL
        assert.same({ 7, 0, 0 }, { polled and math.min(7, stats.submitted)
          or stats.submitted, stats.in_flight, stats.leaked })
        assert.is_true(buffer:close())
        spec.close(r)
        spec.close(w)
      end)
    end
  end)

  it("drains rings that were never enabled, too", function()
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

  it("closes files that were opened and not taken", function()
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

  it("happens to rings that are collected, in any order", function()
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

  it("happens to all rings that a script leaves open", function()
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
          "wait_cqe", "peek_cqe", "cqes", "fd", "ref", "flags",
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
        "wait_cqe", "peek_cqe", "cqes", "register_files_sparse",
        "close" } do
      local ok, why = spec.in_thread(ring[method], ring, nop())
      assert.is_false(ok, method)
      assert.truthy(why:find("belongs to another thread", 1, true), why)
    end
    assert.equal(0, (hand.one(ring, nop())))
  end)

  it("may be another thread's without SINGLE_ISSUER", function()
    local ring = hand.ring { flags = 0 }
    local ok, res = spec.in_thread(hand.one, ring, nop())
    assert.same({ true, 0 }, { ok, res })
    assert.equal(0, (hand.one(ring, nop())))
  end)
end)

describe("a ring whose number was closed by others", function()
  after_each(hand.close)

  it("does nothing to the ring that has it now", function()
    local ring = assert(uring.ring())
    local number = ring:fd()
    spec.close(number)
    local other = hand.ring()
    assert.equal(number, other:fd())
    assert(other:register_files_sparse(2))
    assert(other:queue(nop(1)))
    for _, f in ipairs { ring.submit, ring.wait_cqe } do
      local ok, message, errno = f(ring)
      assert.is_nil(ok)
      assert.equal(E.EBADF, errno)
      assert.truthy(message:find("its number was closed", 1, true), message)
    end
    ring:close()
    assert.equal(1, (other:wait_cqe(hand.patience)))
    assert.equal(1, other:register_files_update(0, { false }))
  end)

  it("registers nothing with the ring that has it now", function()
    local ring = assert(uring.ring())
    spec.close(ring:fd())
    local other = hand.ring()
    local ok, _, errno = ring:register_files_sparse(4)
    assert.is_nil(ok)
    assert.equal(E.EBADF, errno)
    assert.is_nil((ring:buf_ring{ entries = 2, size = 16, bgid = 1 }))
    assert(other:register_files_sparse(2))
    assert(other:buf_ring{ entries = 2, size = 16, bgid = 1 }):close()
    ring:close()
  end)

  it("does not wait at its close for what cannot end", function()
    local ring = assert(uring.ring())
    assert(ring:queue(uring.sqe():prep_timeout(100)))
    assert(ring:submit())
    spec.close(ring:fd())
    local enters = ring:stats().enters
    ring:close()
    assert.is_true(ring:stats().enters - enters < 5)
  end)

  it("ends the waits of the tasks there", function()
    local ring = assert(uring.ring())
    uring.run(function()
      local quiet <close> = uring.socketpair()
      local poll = uring.sqe():prep_poll_add(quiet, uring.POLLIN)
      local polls = uring.spawn(ring.await, ring, poll)
      local hears = uring.spawn(ring.receive, ring)
      uring.sleep(0.001)
      spec.close(ring:fd())
      polls:cancel()
      local ended = { polls:join(hand.patience) }
      local heard = { hears:join(hand.patience) }
      local res, message, errno
      if heard[1] then res, message, errno = ring:await(nop()) end
      ring:close()
      assert.same({ nil, "the task was cancelled", E.ECANCELED }, ended)
      assert.same({ true, nil, E.EBADF }, { heard[1], heard[2], heard[4] })
      assert.same({ nil, E.EBADF }, { res, errno })
      assert.truthy(message:find("its number was closed", 1, true), message)
    end)
  end)

  it("ends them by a step, too, and leaves it nothing to do", function()
    local ring = assert(uring.ring())
    local loop = assert(uring.loop())
    local quiet <close> = uring.socketpair()
    local poll = uring.sqe():prep_poll_add(quiet, uring.POLLIN)
    local task = loop:spawn(ring.await, ring, poll)
    loop:step()
    spec.close(ring:fd())
    task:cancel()
    local more
    for _ = 1, 5 do more = loop:step() end
    local status = task:status()
    ring:close()
    loop:step()
    assert.same({ "cancelled", false }, { status, more })
  end)

  it("has no file table but its own to let go of", function()
    local ring = assert(uring.ring())
    spec.close(ring:fd())
    local other = hand.ring()
    assert(other:register_files_sparse(2))
    ring:close()
    assert.equal(1, other:register_files_update(0, { false }))
  end)
end)

describe("a ring and the loop", function()
  after_each(hand.close)

  it("exclude each other: no taking by hand while a task waits", function()
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

describe("a wait of no time", function()
  after_each(hand.close)

  it("enters the kernel only where there is something to do", function()
    local ring = hand.ring()
    hand.nothing(ring)
    if not select(2, ring:flags()):find "TASKRUN_FLAG" then
      helper.skip "needs IORING_SETUP_TASKRUN_FLAG"
    end
    local r, w = spec.pipe()
    ring:queue(uring.sqe():prep_read(r, uring.buffer(5)):set_data64(7))
    ring:submit()
    local before = ring:stats().enters
    for _ = 1, 10 do
      assert.equal(E.ETIME, select(3, ring:wait_cqe(0)))
      assert.equal(E.ETIME, select(3, ring:submit_and_wait(1, 0)))
    end
    assert.equal(before, ring:stats().enters)
    spec.write(w, "hello")
    helper.eventually(function() return ring:wait_cqe(0) == 7 end)
    spec.close(r)
    spec.close(w)
  end)

  it("submits the requests that were queued", function()
    local ring = hand.ring()
    for i = 1, 3 do ring:queue(hand.nop(i)) end
    for i = 1, 3 do assert.equal(i, (ring:wait_cqe(0))) end
    assert.equal(E.ETIME, select(3, ring:wait_cqe(0)))
  end)
end)
