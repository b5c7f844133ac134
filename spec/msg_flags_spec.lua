-- Messages that set flags of the completion, prep_msg_ring_cqe_flags, and
-- such as look like completions. (A storm of them: see forged_spec.)

local hand = require "hand"
local helper = require "helper"
local kinds = require "kinds"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno
local one, message, nop = hand.one, hand.message, hand.nop
local possible = kinds.possible

describe("prep_msg_ring_cqe_flags", function()
  after_each(hand.close)

  it("brings flags as they are", function()
    helper.needs "msg_ring_cqe_flags"
    local a = hand.ring()
    for _, kind in ipairs(possible()) do
      local b = hand.ring(kind[2])
      for _, flags in ipairs { 0x42, 0xffff0000, 0x2, 0x1f, 0xffff7fdf,
          0 } do
        assert.equal(0, (one(a, uring.sqe():prep_msg_ring_cqe_flags(b, 1, 2,
          0, flags))))
        assert.same({ 1, 2, flags }, { message(b) }, kind[1])
      end
    end
  end)

  it("refuses flags that would corrupt the reader's queue", function()
    local b = hand.ring()
    local sqe = uring.sqe()
    for _, flags in ipairs { 0x8000, 0x20, 0x8020, 0xffffffff } do
      helper.raises("corrupt the reader's queue", sqe.prep_msg_ring_cqe_flags,
        sqe, b, 1, 2, 0, flags)
    end
    for _, flags in ipairs { -1, 1 << 32, 0.5, "0" } do
      helper.raises("integer from 0 to 4294967295",
        sqe.prep_msg_ring_cqe_flags, sqe, b, 1, 2, 0, flags)
    end
    helper.raises("#6", uring.sqe().prep_msg_ring_cqe_flags, sqe, b, 1, 2)
  end)

  -- Sends to a ring as a program does without this library. Newer
  -- kernels refuse some flags. Answers whether it was sent.
  local function send_unsafe(from, ring, data, flags)
    local ok, _, errno = from:send(ring:fd(), data, 3, flags)
    if not ok then assert.equal(E.EINVAL, errno) end
    return ok
  end

  local unsafe = { 0x8000, 0x20, 0x8020, 0x2, 0x1f, 0xffffffff }

  it("of any value do no harm if they are sent all the same", function()
    helper.needs "msg_ring_cqe_flags"
    local from = assert(spec.sender())
    for _, setup in ipairs { 0, uring.IORING_SETUP_CQE32,
        uring.IORING_SETUP_SINGLE_ISSUER
          | uring.IORING_SETUP_DEFER_TASKRUN } do
      local b = hand.ring { entries = 4, cq_entries = 128, flags = setup }
      local sent = {}
      for i = 1, 100 do
        local flags = unsafe[i % #unsafe + 1]
        if send_unsafe(from, b, i, flags) then
          sent[#sent + 1] = { 3, i, flags }
        end
      end
      for _, what in ipairs(sent) do assert.same(what, { message(b) }) end
      hand.nothing(b)
    end
    from:close()
  end)

  it("of any value do no harm in the middle of other work", function()
    helper.needs "msg_ring_cqe_flags"
    local from, b = assert(spec.sender()), hand.ring()
    local sent, messages, completions = {}, 0, 0
    for i = 1, 50 do
      b:queue(nop(i))
      if i % 2 == 0 then b:submit() end
      if send_unsafe(from, b, 1000 + i, unsafe[i % #unsafe + 1]) then
        sent[#sent + 1] = 1000 + i
      end
    end
    for _ = 1, 50 + #sent do
      local data, _, _, kind = assert(b:wait_cqe(hand.patience))
      if kind == "message" then
        messages = messages + 1
        assert.equal(sent[messages], data)
      else
        completions = completions + 1
        assert.equal(completions, data)
      end
    end
    assert.same({ 50, #sent }, { completions, messages })
    hand.nothing(b)
    from:close()
  end)

  it("of any value do no harm to others through an overflow", function()
    helper.needs "msg_ring_cqe_flags"
    -- Some kernels give F_32 two places here, one of which they then write
    -- over: what such messages say is lost or comes twice. Whatever is honest
    -- comes once.
    local b = hand.ring { entries = 4, cq_entries = 8 }
    local from = assert(spec.sender())
    local honest = {}
    for i = 1, 100 do
      if i % 3 == 0 or i % 7 < 3 then
        assert(from:send(b:fd(), i, 3))
        honest[#honest + 1] = i
      else
        send_unsafe(from, b, i, unsafe[i % 3 + 1])
      end
    end
    for i = 1, 20 do b:queue(nop(i)) end
    local n, completions = 0, 0
    while n < #honest or completions < 20 do
      local data, res, flags, kind = assert(b:wait_cqe(hand.patience))
      if kind == "completion" then
        completions = completions + 1
        assert.same({ completions, 0 }, { data, res })
      elseif flags == 0 then
        n = n + 1
        assert.same({ honest[n], 3 }, { data, res })
      end
    end
    while b:peek_cqe() do end
    assert.equal(0, (one(b, nop())))
    from:close()
  end)

  it("names the first kernel that has it where it is missing", function()
    if helper.has "msg_ring_cqe_flags" then return end
    local a, b = hand.ring(), hand.ring()
    uring.run(function()
      local n, why, errno = a:await(
        uring.sqe():prep_msg_ring_cqe_flags(b, 1, 2, 0, 0x100))
      assert.is_nil(n)
      assert.truthy(why:find("needs Linux 6.3", 1, true))
      assert.equal(E.EINVAL, errno)
    end)
  end)
end)

describe("a forged completion", function()
  after_each(hand.close)

  -- A token is secret, but not from the state that it belongs to.
  local function token(op)
    return uring.sqe():prep_cancel(op).addr
  end

  it("is a message, with all its bits, if it names nothing", function()
    local from, b = assert(spec.sender()), hand.ring()
    local op = b:queue(uring.sqe():prep_timeout(3600):set_data64(9))
    b:submit()
    local real = token(op)
    local sent = { 0, -1, 1, real ~ (1 << 24), real ~ (1 << 63), real + 1,
      real & 0xffffff, real | 0xffffff }
    for i, data in ipairs(sent) do
      assert(from:send(b:fd(), data, -E.ECANCELED - i))
    end
    for i, data in ipairs(sent) do
      assert.same({ -E.ECANCELED - i, data, 0 }, { message(b) })
    end
    assert.equal("in flight", op:status())
    assert.equal(0, b:stats().stale)
    op:cancel()
    assert.same({ 9, -E.ECANCELED, 0 }, { hand.take(b) })
    from:close()
  end)

  it("is dropped and counted if it names an ended operation", function()
    local from, b = assert(spec.sender()), hand.ring()
    local first = b:queue(nop(1))
    local old = token(first)
    hand.take(b)
    for _ = 1, 3 do assert(from:send(b:fd(), old, -1)) end
    assert(b:submit_and_wait(0))
    assert.equal(E.EAGAIN, (select(3, b:peek_cqe())))
    assert.equal(3, b:stats().stale)
    assert.equal(0, b:stats().messages)
    from:close()
  end)

  it("never ends an operation that has the same slot later", function()
    local from, b = assert(spec.sender()), hand.ring()
    local first = b:queue(nop(1))
    local old = token(first)
    hand.take(b)
    local second = b:queue(uring.sqe():prep_timeout(3600):set_data64(2))
    b:submit()
    assert.equal(old & 0xffffff, token(second) & 0xffffff)
    assert(from:send(b:fd(), old, 0))
    assert(b:submit_and_wait(0))
    assert.equal("in flight", second:status())
    assert.equal(E.EAGAIN, (select(3, b:peek_cqe())))
    assert.equal(1, b:stats().stale)
    second:cancel()
    assert.same({ 2, -E.ECANCELED, 0 }, { hand.take(b) })
    -- two uses ago it names no operation
    assert(from:send(b:fd(), old, 5))
    assert.same({ 5, old, 0 }, { message(b) })
    from:close()
  end)

  it("cannot guess the tokens, which are drawn at random", function()
    local ring = hand.ring { entries = 128 }
    local seen = {}
    for _ = 1, 4 do
      for _ = 1, 100 do
        local nonce = token(ring:queue(nop())) >> 24
        assert.not_equal(0, nonce)
        assert.is_nil(seen[nonce])
        assert.falsy(seen[nonce - 1] or seen[nonce + 1])
        seen[nonce] = true
      end
      for _ = 1, 100 do hand.take(ring) end
    end
  end)
end)
