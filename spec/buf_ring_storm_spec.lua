-- A storm: provided buffers that are received into, leased, kept, dropped and
-- given back at random. Their counts add up at every step.

local groups = require "groups"
local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"

local it = groups.needs(it)
local E = uring.errno
local adds_up, all_home, multishot, more =
  groups.adds_up, groups.all_home, groups.multishot, groups.more
local after = sockets.after


describe("random lives of buffers", function()
  after_each(after)

  local function random_of(seed)
    local state = seed
    return function(below)
      state = state ~ state << 13
      state = state ~ state >> 7
      state = state ~ state << 17
      return (state >> 1) % below
    end
  end

  -- Adler's sum, with where it is
  local function checksum()
    local a, b, n = 1, 0, 0
    return function(s)
      for i = 1, #s do
        a = (a + s:byte(i)) % 65521
        b = (b + a) % 65521
      end
      n = n + #s
      return b << 16 | a, n
    end
  end

  -- Sends and receives at random, takes as leases or strings, keeps some,
  -- drops some, cancels and arms again. What is received is what was sent.
  local function live(options, seed, steps)
    local random = random_of(seed)
    local ring = hand.ring()
    local group = assert(ring:buf_ring(options))
    local a, b = sockets.pair()
    local nonblock = uring.MSG_DONTWAIT
    local sent, received = checksum(), checksum()
    local kept, waiting, op = {}, 0, nil
    local function completion(data, res, flags)
      if data > 0 then  -- a send; there was room for it
        assert.equal(data, res)
        return
      end
      if flags & uring.IORING_CQE_F_BUFFER ~= 0 then
        if random(2) == 0 then
          received(assert(group:string(res, flags)))
        else
          local lease = assert(group:lease(res, flags))
          local text = lease:string()
          received(text)
          kept[#kept + 1] = { lease, text }
        end
      else
        assert(res == -E.ENOBUFS or res == -E.ECANCELED, res)
      end
      if not more(flags) then op = nil end
    end
    local function reap(patience)
      local data, res, flags = ring:wait_cqe(patience)
      if data then completion(data, res, flags) end
      return data
    end
    local function give_back(i)
      local lease, text = table.unpack(kept[i])
      assert.equal(text, lease:string())  -- not overwritten
      if random(4) > 0 then lease:release() end  -- or leaves it as garbage
      kept[i] = kept[#kept]
      kept[#kept] = nil
    end
    for _ = 1, steps do
      local what = random(10)
      if what < 4 and waiting < 16384 then
        local n = 1 + random(options.size * 3)
        local text = string.char(random(256)):rep(n // 2)
          .. tostring(random(1 << 40)):rep(n)
        text = text:sub(1, n)
        ring:queue(uring.sqe():prep_send(a, text, nil, nonblock)
          :set_data64(n))
        ring:submit()
        sent(text)
        waiting = waiting + n
      elseif what < 6 then
        if not op then
          op = ring:queue(multishot(b, group):set_data64(0))
          ring:submit()
        end
      elseif what == 6 then
        if op and random(4) == 0 then op:cancel() end
      elseif what == 7 then
        if #kept > 0 then give_back(1 + random(#kept)) end
      elseif what == 8 and random(20) == 0 then
        helper.collect()
      else
        while reap(0) do end
        waiting = select(2, sent "") - select(2, received "")
      end
      adds_up(group)
    end
    -- to the last byte
    local limit = 100000
    while select(2, received "") < select(2, sent "") do
      while #kept > 0 do give_back(1) end
      helper.collect()
      if not op then
        op = ring:queue(multishot(b, group):set_data64(0))
      end
      assert(reap(hand.patience))
      limit = limit - 1
      assert(limit > 0)
    end
    assert.same({ sent "" }, { received "" })
    if op then
      op:cancel()
      while op do assert(reap(hand.patience)) end
    end
    while #kept > 0 do give_back(1) end
    helper.collect()
    adds_up(group, 0)
    return group
  end

  it("add up at every step, and lose nothing", function()
    for seed = 1, 3 do
      all_home(live({ entries = 8, size = 50 }, seed * 7919, 1500))
      after()
    end
  end)

  it("add up as well where they are filled by parts", function()
    helper.needs "buf_ring_inc"
    for seed = 1, 3 do
      live({ entries = 4, size = 200, flags = uring.IOU_PBUF_RING_INC },
        seed * 104729, 1500)
      after()
    end
  end)
end)
