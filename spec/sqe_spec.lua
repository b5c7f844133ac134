-- SQEs as values: what is in them, what changes them, and what they refuse.

local hand = require "hand"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local ring_it = helper.needs_ring(it)
local E = uring.errno

describe("uring.sqe()", function()
  it("is empty, and says so", function()
    local sqe = uring.sqe()
    assert.equal("uring.Sqe (nothing prepared)", tostring(sqe))
    for _, field in ipairs { "opcode", "fd", "len", "user_data", "addr" } do
      assert.is_nil(sqe[field])
    end
  end)

  it("has no setters before it has a prep", function()
    local sqe = uring.sqe()
    for _, setter in ipairs { "set_flags", "set_data64", "set_ioprio",
        "set_personality", "set_buf_group" } do
      helper.raises("setters come after the prep", sqe[setter], sqe, 0)
    end
  end)

  it("is returned by preps and setters", function()
    local sqe = uring.sqe()
    assert.equal(sqe, sqe:prep_nop())
    assert.equal(sqe, sqe:set_flags(0):set_data64(1):set_ioprio(0)
      :set_personality(0):set_buf_group(0))
  end)

  it("has no fields to write to, and no metatable to change", function()
    local sqe = uring.sqe():prep_nop()
    assert.is_false(pcall(function() sqe.fd = 3 end))
    assert.equal("uring.Sqe", getmetatable(sqe))
    assert.is_nil(sqe.nothing)
    assert.is_nil(sqe[1])
    assert.is_nil(sqe[{}])
  end)
end)

describe("an sqe", function()
  it("shows the wire format of messages", function()
    local function fields(sqe)
      return { sqe.opcode, sqe.fd, sqe.off, sqe.len, sqe.addr, sqe.addr3,
        sqe.file_index, sqe.rw_flags }
    end
    local op = uring.IORING_OP_MSG_RING
    local sqe = uring.sqe()
    assert.same({ op, 9, -2, 0xffffffff, 0, 0, 0, 5 },
      fields(sqe:prep_msg_ring(9, -1, -2, 5)))
    assert.same({ op, 9, 4, 3, 0, 0, 0xffff7fdf, 2 },
      fields(sqe:prep_msg_ring_cqe_flags(9, 3, 4, 0, 0xffff7fdf)))
    assert.same({ op, 9, 4, 3, 0, 0, 1, 3 },
      fields(sqe:prep_msg_ring_cqe_flags(9, 3, 4, 1, 1)))
    assert.same({ op, 9, 6, 0, 1, 4, 6, 7 },
      fields(sqe:prep_msg_ring_fd(9, 4, 5, 6, 7)))
    assert.same({ op, 9, 6, 0, 1, 4, 0xffffffff, 7 },
      fields(sqe:prep_msg_ring_fd_alloc(9, 4, 6, 7)))
  end)

  it("shows what its setters set", function()
    local sqe = uring.sqe():prep_nop():set_flags(0x7f):set_data64(-5)
      :set_ioprio(0xffff):set_personality(0xfffe):set_buf_group(0xfffd)
    assert.same({ 0, 0x7f, -5, 0xffff, 0xfffe, 0xfffd }, { sqe.opcode,
      sqe.flags, sqe.user_data, sqe.ioprio, sqe.personality,
      sqe.buf_group })
  end)

  it("shows no address of the library's memory", function()
    local sqe = uring.sqe():prep_read(0, uring.buffer(10), 7, 3)
    assert.same({ uring.IORING_OP_READ, 0, 7, 3 },
      { sqe.opcode, sqe.fd, sqe.len, sqe.off })
    assert.is_nil(sqe.addr)
    assert.is_nil(sqe:prep_write(0, "x").addr)
    assert.is_nil(sqe:prep_timeout(1).addr)
    assert.is_nil(sqe:prep_openat(0, "x").addr)
    assert.equal(0, sqe:prep_nop().addr)
  end)

  it("says in words what is prepared", function()
    local sqe = uring.sqe():prep_msg_ring(9, -1, 7):set_data64(5)
      :set_flags(uring.IOSQE_ASYNC | uring.IOSQE_CQE_SKIP_SUCCESS)
    assert.equal("uring.Sqe (msg_ring fd=9 len=4294967295 off=7 "
      .. "flags=ASYNC|CQE_SKIP_SUCCESS data=5)", tostring(sqe))
    assert.truthy(tostring(sqe:prep_nop()):find("nop", 1, true))
    assert.truthy(tostring(sqe:prep_timeout(1)):find("timeout", 1, true))
    assert.truthy(tostring(sqe:prep_openat(0, "x")):find("openat", 1, true))
  end)

  it("is cleared by the next prep", function()
    local sqe = uring.sqe():prep_msg_ring(9, 8, 7):set_data64(5)
      :set_flags(uring.IOSQE_ASYNC):set_ioprio(1):set_personality(2)
    local fresh = uring.sqe():prep_nop()
    sqe:prep_nop()
    for _, field in ipairs { "opcode", "flags", "ioprio", "fd", "off", "len",
        "rw_flags", "user_data", "buf_index", "personality", "file_index",
        "addr3", "addr" } do
      assert.equal(fresh[field], sqe[field], field)
    end
  end)

  it("stays as it was when a prep raises", function()
    local sqe = uring.sqe():prep_msg_ring(9, 8, 7):set_data64(5)
    local before = tostring(sqe)
    for _, call in ipairs { { "prep_msg_ring", 9 }, { "prep_read", 0, "x" },
        { "prep_write", 0, 5 }, { "prep_openat", 0, "a\0b" },
        { "prep_timeout", -1 }, { "prep_poll_add", 0 }, { "prep_close" },
        { "prep_cancel", 1 } } do
      assert.is_false(pcall(sqe[call[1]], sqe, table.unpack(call, 2)))
      assert.equal(before, tostring(sqe))
    end
  end)

  it("takes flags of IOSQE_, and no others", function()
    local sqe = uring.sqe():prep_nop()
    sqe:set_flags(uring.IOSQE_ASYNC)
    sqe:set_flags(uring.IOSQE_IO_DRAIN)  -- in place of those
    assert.equal(uring.IOSQE_IO_DRAIN, sqe.flags)
    helper.raises("flags of IOSQE_ expected", sqe.set_flags, sqe, 0x80)
    for _, flags in ipairs { -1, 256, 0.5, "1", true } do
      helper.raises("integer from 0 to 255", sqe.set_flags, sqe, flags)
    end
    helper.raises("got no value", sqe.set_flags, sqe)
    assert.equal(uring.IOSQE_IO_DRAIN, sqe.flags)
  end)

  it("takes numbers that fit, and no others", function()
    local sqe = uring.sqe():prep_nop()
    for _, setter in ipairs { "set_ioprio", "set_personality",
        "set_buf_group" } do
      for _, n in ipairs { -1, 65536, 0.5, "1", 0 / 0, 1 << 32 } do
        helper.raises("integer from 0 to 65535", sqe[setter], sqe, n)
      end
    end
    for _, data in ipairs { 0.5, "1", 0 / 0, 2.0 ^ 63, math.huge, {} } do
      helper.raises("integer from -9223372036854775808", sqe.set_data64, sqe,
        data)
    end
    assert.equal(3, sqe:set_data64(3.0).user_data)
    assert.equal(math.mininteger, sqe:set_data64(-(2.0 ^ 63)).user_data)
  end)

  it("takes flags of reads and writes for those alone", function()
    local sqe, buffer = uring.sqe(), uring.buffer(8)
    for _, prep in ipairs { sqe.prep_read, sqe.prep_write } do
      prep(sqe, 0, buffer)
      assert.equal(sqe, sqe:set_rw_flags(uring.RWF_NOSIGNAL))
      assert.equal(0x100, sqe.rw_flags)
      helper.raises("integer from 0 to 4294967295", sqe.set_rw_flags, sqe, -1)
      prep(sqe, 0, buffer)
      assert.equal(0, sqe.rw_flags)
    end
    sqe:prep_openat(uring.AT_FDCWD, "x", uring.O_WRONLY)
    helper.raises("prepare a read or a write first", sqe.set_rw_flags, sqe, 0)
  end)

  it("is the only one that its methods take", function()
    local sqe = uring.sqe()
    for _, method in ipairs { "prep_nop", "prep_msg_ring", "set_flags" } do
      for _, self in ipairs { 1, "sqe", {}, uring.buffer(1), io.stdout } do
        helper.raises("uring.Sqe expected", sqe[method], self)
      end
      helper.raises("uring.Sqe expected", sqe[method])
    end
  end)
end)

describe("preps", function()
  after_each(hand.close)

  -- What each says of what it cannot take, by argument.
  local buffer = uring.buffer(10)
  local wrong = {
    prep_timeout = {
      { "seconds expected", nil }, { "seconds expected", "1" },
      { "seconds must be 0 or more", -1 },
      { "seconds must be 0 or more", 0 / 0 },
      { "integer from 0 to 4294967295", 1, -1 },
      { "integer from 0 to 4294967295", 1, 0, 1 << 32 },
    },
    prep_poll_add = {
      { "descriptor expected", nil, 1 }, { "descriptor expected", "0", 1 },
      { "integer from 0 to 4294967295", 0, -1 },
      { "integer from 0 to 4294967295", 0, 1 << 32 },
    },
    prep_poll_multishot = {
      { "descriptor expected", {}, 1 },
      { "integer from 0 to 4294967295", 0, nil },
    },
    prep_read = {
      { "descriptor expected", nil, buffer },
      { "descriptor expected", 1 << 31, buffer },
      { "descriptor expected", 0.5, buffer },
      { "uring.Buffer expected", 0, "x" },
      { "uring.Buffer expected", 0, nil },
      { "integer from 0 to 10", 0, buffer, 11 },
      { "integer from 0 to 10", 0, buffer, -1 },
      { "integer from -1 to", 0, buffer, 1, -2 },
      { "integer from 0 to 10", 0, buffer, 1, 0, 11 },
      { "integer from 0 to 3", 0, buffer, 4, 0, 7 },
    },
    prep_write = {
      { "descriptor expected", print, "x" },
      { "string, buffer or lease expected, got no value", 0 },
      { "string, buffer or lease expected, got number", 0, 5 },
      { "integer from 0 to 3", 0, "abc", 4 },
      { "integer from 0 to 1", 0, "abc", 2, 0, 2 },
      { "integer from -1 to", 0, "abc", 1, 0.5 },
    },
    prep_openat = {
      { "descriptor expected", nil, "x" },
      { "string expected", 0, nil }, { "string expected", 0, 5 },
      { "zero byte", 0, "a\0b" },
      { "integer from 0 to 4294967295", 0, "x", -1 },
      { "integer from 0 to 4095", 0, "x", 0, 4096 },
    },
    prep_openat_direct = {
      { "integer from 0 to 4294967295", 0, "x", 0, 0, -1 },
      { "integer from 0 to 4294967295", 0, "x", 0, 0, nil },
      { "file slot expected", 0, "x", 0, 0, 1 << 31 },
      { "file slot expected", 0, "x", 0, 0, 0xfffffffe },
    },
    prep_close = {
      { "descriptor's number expected", nil },
      { "closed by its own close()", io.stdout },
      { "integer from", 0.5 }, { "integer from", 1 << 31 },
    },
    prep_close_direct = {
      { "integer from 0 to 2147483647", -1 },
      { "integer from 0 to 2147483647", nil },
    },
    prep_fixed_fd_install = {
      { "integer from 0 to 2147483647", "0" },
      { "integer from 0 to 4294967295", 0, -1 },
    },
    prep_cancel = {
      { "operation expected, got a number", 1 },
      { "operation expected, or nil with IORING_ASYNC_CANCEL_ANY", nil },
      { "uring.Operation expected", "x" }, { "uring.Operation expected", {} },
      { "integer from 0 to 255", nil, uring.IORING_ASYNC_CANCEL_OP, 256 },
    },
    prep_cancel_fd = { { "descriptor expected", nil } },
    prep_poll_remove = {
      { "operation expected, got a number", 1 },
      { "uring.Operation expected", nil },
    },
    prep_timeout_remove = {
      { "operation expected, got a number", 1 },
      { "uring.Operation expected", nil },
    },
    prep_timeout_update = {
      { "operation expected, got a number", 1, 1 },
      { "seconds expected", nil }, { "uring.Operation expected", 1, nil },
    },
  }

  for name, calls in pairs(wrong) do
    it(name .. " says what it cannot take", function()
      local sqe = uring.sqe()
      for _, call in ipairs(calls) do
        local most = 0
        for i in pairs(call) do most = math.max(most, i) end
        helper.raises(call[1], sqe[name], sqe, table.unpack(call, 2, most))
      end
      assert.is_nil(sqe.opcode)
    end)
  end

  ring_it("let go of what the last one held", function()
    local ring = hand.ring()
    local sqe = uring.sqe()
    local weak = setmetatable({}, { __mode = "v" })
    do
      local held = uring.buffer(10)
      weak.buffer = held
      sqe:prep_read(0, held)
      sqe:prep_nop()
    end
    helper.collect()
    assert.is_nil(weak.buffer)
    assert.equal(0, (hand.one(ring, sqe)))
  end)

  ring_it("of a buffer or descriptor that closed since are refused",
    function()
      local ring = hand.ring()
      local own = uring.buffer(10)
      local sqe = uring.sqe():prep_read(0, own)
      own:resize(20)
      helper.raises("closed or resized after it was prepared", ring.queue,
        ring, sqe)
      sqe:prep_read(0, own)
      own:close()
      helper.raises("closed or resized after it was prepared", ring.queue,
        ring, sqe)
      helper.raises("closed buffer", sqe.prep_read, sqe, 0, own)
      local fd = uring.fd(spec.eventfd())
      sqe:prep_poll_add(fd, uring.POLLIN)
      spec.close(fd:release())
      helper.raises("was closed after it was prepared", ring.queue, ring,
        sqe)
      helper.raises("closed descriptor", sqe.prep_poll_add, sqe, fd, 1)
      local file = assert(io.open "/dev/null")
      sqe:prep_read(file, uring.buffer(1))
      file:close()
      helper.raises("was closed after it was prepared", ring.queue, ring,
        sqe)
      helper.raises("closed file", sqe.prep_read, sqe, file,
        uring.buffer(1))
      assert.equal(0, ring:stats().submitted)
    end)

  ring_it("that cannot select a buffer are refused by the kernel", function()
    local ring = hand.ring()
    local sqe = uring.sqe():prep_nop():set_flags(uring.IOSQE_BUFFER_SELECT)
    assert.equal(-E.EOPNOTSUPP, (hand.one(ring, sqe)))
  end)
end)
