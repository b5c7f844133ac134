-- uring.probe(): what this kernel and this liburing can do, by trial.

local hand = require "hand"
local helper = require "helper"
local uring = require "uring"

local ring_it = helper.needs_ring(it)

-- "6.13" as a number that can be compared.
local function version(s)
  local major, minor = s:match "^(%d+)%.(%d+)"
  return major * 1000 + minor
end

describe("uring.probe()", function()
  local probe = uring.probe()

  it("names the versions of kernel and liburing", function()
    assert.truthy(probe.kernel:match "^%d+%.%d+")
    assert.truthy(probe.liburing.built:match "^%d+%.%d+")
    assert.truthy(probe.liburing.running:match "^%d+%.%d+")
    assert.is_boolean(probe.available)
    local release = helper.content "/proc/sys/kernel/osrelease"
    assert.equal(probe.kernel, release:sub(1, #probe.kernel))
  end)

  it("gives a reason where there is no io_uring, and only there",
    function()
      assert.equal(probe.available, probe.reason == nil)
      if probe.available then return end
      assert.truthy(#probe.reason > 20)
      local ring, why, errno = uring.ring()
      assert.is_nil(ring)
      assert.equal("integer", math.type(errno))
      -- the first ring says the same
      assert.truthy(why:find("cannot make a ring: ", 1, true))
      local cause = probe.reason:match "^(.-) %(E%u+%)$"
      assert.truthy(why:find(cause, 1, true), why)
      for _, feature in pairs(probe.features) do
        assert.is_false(feature.works)
      end
    end)

  it("tells of each feature whether it works, and if not why", function()
    local n = 0
    for name, feature in pairs(probe.features) do
      n = n + 1
      assert.is_boolean(feature.works, name)
      assert.truthy(feature.since:match "^%d%.%d+$", name)
      assert.equal(feature.works, feature.note == nil, name)
      if not feature.works and probe.available
        and version(probe.kernel) < version(feature.since) then
        assert.equal("needs Linux " .. feature.since, feature.note)
      end
    end
    assert.truthy(n > 30)
    for name, since in pairs { msg_ring = "5.18", msg_ring_fd = "6.0",
        msg_ring_fd_alloc = "6.0", msg_ring_cqe_flags = "6.3",
        sync_msg = "6.13", fixed_fd_install = "6.8",
        defer_taskrun = "6.1" } do
      assert.equal(since, probe.features[name].since)
    end
  end)

  ring_it("finds the features that every kernel from 6.1 on has", function()
    for _, name in ipairs { "msg_ring", "msg_ring_fd", "msg_ring_fd_alloc",
        "file_alloc_range", "submit_all", "coop_taskrun", "single_issuer",
        "defer_taskrun", "cqe_skip", "ext_arg", "sync_cancel" } do
      assert.is_true(probe.features[name].works, name)
    end
  end)

  ring_it("names opcodes, known and unknown ones", function()
    for _, name in ipairs { "nop", "msg_ring", "read", "write", "openat",
        "close", "timeout", "poll_add", "async_cancel" } do
      assert.is_true(probe.ops[name], name)
    end
    for name, works in pairs(probe.ops) do
      assert.is_boolean(works, name)
    end
    assert.equal(helper.has "fixed_fd_install", probe.ops.fixed_fd_install)
  end)

  ring_it("agrees with what the kernel does", function()
    local a, b = hand.ring(), hand.ring()
    local sync = uring.register_sync_msg(uring.sqe():prep_msg_ring(b, 1, 2))
    assert.equal(helper.has "sync_msg", sync == true)
    local res = hand.one(a, uring.sqe():prep_msg_ring_cqe_flags(b, 1, 2, 0,
      0x100))
    assert.equal(helper.has "msg_ring_cqe_flags", res == 0)
    if sync then assert.same({ 1, 2, 0 }, { hand.message(b) }) end
    if res == 0 then assert.same({ 1, 2, 0x100 }, { hand.message(b) }) end
    assert.equal(helper.has "cqe_mixed", uring.ring {
      flags = uring.IORING_SETUP_CQE_MIXED } ~= nil)
    hand.close()
  end)

  it("leaves nothing behind, and answers the same again", function()
    helper.keeps_fds(function()
      assert.same(probe, uring.probe())
      uring.probe().features.msg_ring = nil  -- a table of its caller's
      assert.truthy(uring.probe().features.msg_ring)
    end)
  end)
end)
