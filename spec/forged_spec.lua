-- A hostile sender: messages with any user_data, res and flags, retired
-- tokens among them, at rings that are busy. No task is woken by them, all
-- real operations complete, and they arrive as messages, or are counted as
-- stale. (One by one: see msg_flags_spec.)

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

local SECONDS = 0.25
local E = uring.errno

local nop <const> = helper.nop

local seed = tonumber(os.getenv "URING_SEED") or os.time()


-- An unsigned decimal number as 64 bits.
local function bits64(digits)
  local n = 0
  for d in digits:gmatch "%d" do n = n * 10 + tonumber(d) end
  return n
end

-- The tokens of completions that are in the ring's CQ and not yet taken, as
-- the kernel shows them; none where it does not.
local function tokens_of(ring)
  local found = {}
  local file = io.open("/proc/self/fdinfo/" .. ring:fd())
  if not file then return found end
  for line in file:lines() do
    local digits = line:match "user_data:(%d+), res:"
    if digits then found[#found + 1] = bits64(digits) end
  end
  file:close()
  return found
end

-- For a message that says F_32 the kernel wants room for two: on a small queue
-- others overtake it, and at the queue's end there is a filler first.
local F_32 = 0x8000
local FILLER = "0 0 20"

-- A forger of messages to one ring. What it has sent is kept in order.
local function new_forger(ring, large)
  local random = math.random
  local forger = { sent = {}, tokens = {} }
  local known = {}  -- token -> true
  local sender = assert(spec.sender())
  local fd = ring:fd()
  local passes = helper.has "msg_ring_cqe_flags"

  local function learnt()
    return forger.tokens[random(#forger.tokens)]
  end

  local data = {
    function() return random(0) end,
    function() return random(0, 600) end,                    -- a slot
    function() return random(0) << 24 | random(0, 300) end,  -- with a nonce
    function() return random(0, 3) - 1 end,                  -- 0, and all ones
    function() return 1 << random(0, 63) end,
  }
  local replays = {
    learnt,
    function() return learnt() ~ (1 << random(24, 63)) end,
    function() return learnt() ~ random(1, 127) end,         -- another slot
  }
  local results = { 0, -1, -E.ECANCELED, -E.ETIME, -E.ENOENT, -E.EINTR,
    -E.ENOBUFS, math.mininteger >> 32 | -1 << 31, 0x7fffffff, 512, -512 }
  local bits = { 0, 1, 2, 3, 4, 8, 16, 0x20, 0x8000, 0x8020, 0xffffffff }

  -- What completions the ring's CQ holds now; they retire when taken.
  function forger.learn()
    for _, token in ipairs(tokens_of(ring)) do
      if not known[token] then
        known[token] = true
        forger.tokens[#forger.tokens + 1] = token
      end
    end
  end

  function forger.forge()
    local kind = random(#data + (#forger.tokens > 0 and #replays or 0))
    local user_data = (data[kind] or replays[kind - #data])()
    local res = random(3) == 1 and random(-1 << 31, (1 << 31) - 1)
      or results[random(#results)]
    local flags = 0
    if passes then
      flags = random(3) == 1 and random(0, 0xffffffff) or bits[random(#bits)]
      if not large then flags = flags & ~F_32 end
    end
    local ok, why = sender:send(fd, user_data, res, flags)
    if not ok and flags & F_32 ~= 0 then return end  -- refused, as by 7.2
    assert(ok, why)
    forger.sent[#forger.sent + 1] = { user_data, res & 0xffffffff, flags,
      replay = known[user_data] }
  end

  function forger.close() sender:close() end

  -- The same without order.
  local function check_set(arrived, stale)
    local left, skipped = {}, 0
    local function key(m) return ("%x %x %x"):format(m[1], m[2], m[3]) end
    for _, m in ipairs(arrived) do
      left[key(m)] = (left[key(m)] or 0) + 1
    end
    for _, s in ipairs(forger.sent) do
      local n = left[key(s)]
      if not n then
        assert(s.replay, "lost: " .. key(s))
        skipped = skipped + 1
      else
        left[key(s)] = n > 1 and n - 1 or nil
      end
    end
    left[FILLER] = nil
    assert(not next(left), "not sent: " .. tostring(next(left)))
    assert(skipped <= stale)
  end

  -- What arrived must be what was sent, in that order, but for replays that
  -- were counted as stale.
  function forger.check(arrived, stale)
    if large then return check_set(arrived, stale) end
    local i, skipped = 1, 0
    for n, m in ipairs(arrived) do
      local s = forger.sent[i]
      while s and s.replay and (s[1] ~= m[1] or s[2] ~= m[2]
        or s[3] ~= m[3]) do
        skipped, i = skipped + 1, i + 1
        s = forger.sent[i]
      end
      if not s or s[1] ~= m[1] or s[2] ~= m[2] or s[3] ~= m[3] then
        error(("message %d is %x %x %x, and %x %x %x was sent"):format(n,
          m[1], m[2], m[3], table.unpack(s or { 0, 0, 0 })), 2)
      end
      i = i + 1
    end
    skipped = skipped + #forger.sent - i + 1
    assert.equal(skipped, stale)
    assert.equal(#forger.sent, #arrived + stale)
  end

  return forger
end

before_each(function()
  math.randomseed(seed)
end)

-- Tasks that keep a ring busy until `over` answers true. Each knows what it
-- must get.
local function keep_busy(ring, over, real)
  local work = {
    function() return 0, 0, ring:await(nop()) end,
    function()
      local res, message, errno = ring:await(uring.sqe():prep_timeout(0.001))
      assert(message:find "ETIME", message)
      return nil, E.ETIME, res, errno
    end,
    function()
      local results = assert(ring:await_chain { nop(), nop(), nop() })
      return 0, 0, results[1][1] | results[2][1] | results[3][1], 0
    end,
    function()
      return 0, 0, ring:queue(nop()):await()
    end,
    function()
      local op = ring:queue(uring.sqe():prep_timeout(60))
      uring.sleep(0)
      op:cancel()
      local res, _, errno = op:await()
      return nil, E.ECANCELED, res, errno
    end,
    function()
      local res, message, errno = ring:await(uring.sqe():prep_timeout(60),
        0.001)
      assert.equal("timed out", message)
      return nil, E.ETIME, res, errno
    end,
    function()
      local value = math.random(0)
      real.n = real.n + 1
      real.set[value] = real.n
      local res, flags = ring:await(uring.sqe():prep_msg_ring(ring, real.n,
        value))
      return 0, 0, res, flags
    end,
  }
  local rounds = 0
  local tasks = {}
  for i = 1, 4 * #work do
    tasks[i] = uring.spawn(function()
      repeat
        local res, flags, got, got_flags = work[(i - 1) % #work + 1]()
        assert(res == got and flags == got_flags, ("work %d got %s %s")
          :format((i - 1) % #work + 1, got, got_flags))
        rounds = rounds + 1
      until over()
    end)
  end
  -- polls
  local from, to = spec.pipe()
  tasks[#tasks + 1] = uring.spawn(function()
    repeat
      local op = ring:queue(uring.sqe():prep_poll_add(from, uring.POLLIN))
      uring.sleep(0)
      assert.equal("in flight", op:status())
      spec.write(to, "x")
      local res = assert(op:await())
      assert(res & uring.POLLIN ~= 0)
      spec.read(from)
      rounds = rounds + 1
    until over()
  end)
  for _, task in ipairs(tasks) do assert(task:join()) end
  spec.close(from)
  spec.close(to)
  return rounds
end

-- Waits that nothing may end but what they wait for.
local function park(ring)
  local from, to = spec.pipe()
  local quiet = uring.ring { entries = 1 }
  local woken = {}
  local op = ring:queue(uring.sqe():prep_poll_multishot(from, uring.POLLIN))
  uring.spawn(function()
    ring:await(uring.sqe():prep_poll_add(from, uring.POLLIN))
    woken[#woken + 1] = "poll"
  end)
  uring.spawn(function()
    for res in op:completions() do
      woken[#woken + 1] = "multishot"
      assert(res & uring.POLLIN ~= 0)
      op:cancel()
    end
  end)
  uring.spawn(function()
    assert.equal(1, (quiet:receive()))
    woken[#woken + 1] = "receive"
    quiet:close()
  end)
  return function()
    assert.same({}, woken)
    assert.equal("in flight", op:status())
    spec.write(to, "x")
    uring.await(uring.sqe():prep_msg_ring(quiet, 1, 0))
    helper.eventually(function()
      uring.sleep(0.001)
      return #woken >= 3 and op:status() == "done"
    end)
    spec.close(from)
    spec.close(to)
  end
end

-- Learn tokens of the ring's that have just retired.
local function learn(ring, forger)
  for _ = 1, 8 do
    local op = ring:queue(nop())
    ring:submit()
    forger.learn()
    op:await()
  end
end

local function under_attack(ring, large)
  local forger = new_forger(ring, large)
  local before = helper.lawful(ring)
  local arrived, came = {}, 0
  local real = { n = 0, set = {} }
  local closing = false
  local rounds
  uring.run(function()
    local is_over = false
    local function over() return is_over end
    uring.spawn(function()
      uring.sleep(SECONDS)
      is_over = true
    end)
    local reader = uring.spawn(function()
      for len, data, flags in ring:messages() do
        if closing and data == 0x600d and len == 0x600d then break end
        if real.set[data] == len then
          real.set[data] = nil  -- (the forger may have learnt it)
          came = came + 1
        else
          arrived[#arrived + 1] = { data, len, flags }
        end
      end
    end)
    local unpark = park(ring)
    learn(ring, forger)
    uring.spawn(function()
      repeat
        for _ = 1, math.random(32) do forger.forge() end
        uring.sleep(0)
        if math.random(50) == 1 then learn(ring, forger) end
      until over()
    end)
    rounds = keep_busy(ring, over, real)
    unpark()
    closing = true
    ring:await(uring.sqe():prep_msg_ring(ring, 0x600d, 0x600d))
    assert(reader:join())
  end)
  forger.close()
  local after = helper.lawful(ring)
  assert.equal(real.n, came)
  assert(rounds > 0)
  assert(#forger.sent > 0)
  forger.check(arrived, after.stale - before.stale)
  assert.equal(after.internal, after.in_flight)
  return forger, after.stale - before.stale
end

describe("forged messages, seed " .. seed, function()
  it("harm no task that waits on the loop's own ring", function()
    under_attack(uring.loop():ring())
  end)

  it("harm no task that waits on another ring", function()
    local ring = uring.ring()
    under_attack(ring)
    ring:close()
  end)

  for name, flags in pairs {
    plain = 0, small = uring.IORING_SETUP_CQSIZE,
    CQE32 = uring.IORING_SETUP_CQE32, SQPOLL = uring.IORING_SETUP_SQPOLL,
    CQE_MIXED = 1 << 18,
  } do
    -- (Linux 6.18 writes that filler to a wrong place of a CQE32 ring)
    for _, large in ipairs { false, name ~= "CQE32" and true or nil } do
      it(("harm no task on a %s ring%s"):format(name,
        large and ", saying that they are large" or ""), function()
        local ring, message, errno = uring.ring { entries = 64,
          cq_entries = name == "small" and 64 or nil, flags = flags }
        if not ring and errno == E.EINVAL then
          return helper.skip("%s", message)
        end
        under_attack(assert(ring, message), large)
        ring:close()
      end)
    end
  end

  it("may replay tokens, and are counted", function()
    local ring = uring.ring()
    local forger = new_forger(ring)
    local op = ring:queue(nop():set_data64(7))
    ring:submit()
    local token = tokens_of(ring)[1]
    if not token then
      forger.close()
      ring:close()
      return helper.skip "this kernel's fdinfo does not show completions"
    end
    assert.equal(7, (ring:wait_cqe(1)))
    assert.equal("done", op:status())
    local stale = ring:stats().stale
    for res = -3, 3 do
      assert(spec.send(ring:fd(), token, res,
        helper.has "msg_ring_cqe_flags" and res & 2 or 0))
    end
    assert.is_nil((ring:peek_cqe()))
    assert.equal(stale + 7, ring:stats().stale)
    for bit = 0, 63 do  -- one bit is enough to be another's
      assert(spec.send(ring:fd(), token ~ (1 << bit), 1))
      local data, res, flags, kind = ring:wait_cqe(1)
      assert.same({ token ~ (1 << bit), 1, 0, "message" },
        { data, res, flags, kind })
    end
    -- the slot is used again, and the old token is still known
    ring:queue(uring.sqe():prep_timeout(60))
    ring:submit()
    assert(spec.send(ring:fd(), token, 1))
    assert.is_nil((ring:peek_cqe()))
    assert.equal(stale + 8, ring:stats().stale)
    helper.lawful(ring)
    forger.close()
    ring:close()
  end)

  it("are told apart from completions by hand", function()
    local ring = uring.ring { entries = 8 }
    local forger = new_forger(ring)
    local before = ring:stats().stale
    local arrived = {}
    local queued, completed = 0, 0
    local until_when = os.clock() + SECONDS / 2
    repeat
      for _ = 1, math.random(8) do
        queued = queued + 1
        ring:queue(nop():set_data64(queued))
      end
      for _ = 1, math.random(8) do forger.forge() end
      ring:submit()
      if #forger.tokens < 500 then forger.learn() end
      while true do
        local data, res, flags, kind = ring:peek_cqe()
        if not data then break end
        if kind == "completion" then
          completed = completed + 1
          assert.equal(completed, data)
          assert.equal(0, res)
        else
          arrived[#arrived + 1] = { data, res & 0xffffffff, flags }
        end
      end
    until os.clock() > until_when
    assert.equal(queued, completed)
    forger.check(arrived, ring:stats().stale - before)
    helper.lawful(ring)
    forger.close()
    ring:close()
  end)
end)
