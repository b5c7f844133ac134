-- Of a buffer that several completions fill, each took the bytes of whichever
-- was to come next, not its own, when they were not taken in the order in
-- which they had come. And of a bundle that was taken as if it were one buffer
-- the rest was lost.

local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"

local it = helper.needs_ring(it)

local function after()
  hand.close()
  sockets.close()
end

describe("a buffer that several operations share", function()
  after_each(after)

  -- What two operations were sent in turn, as { result, flags }.
  local function received(group, ring, texts)
    local ends = {}
    for i = 1, 2 do
      local a, b = sockets.pair()
      ends[i] = a
      ring:queue(uring.sqe():prep_recv_multishot(b):set_data64(i)
        :set_buf_group(group:bgid()))
    end
    ring:submit()
    local got = {}
    for i, text in ipairs(texts) do
      sockets.write(ends[2 - i % 2], text)
      local data, res, flags = ring:wait_cqe(hand.patience)
      assert.equal(2 - i % 2, data)
      got[i] = { res, flags }
    end
    return got
  end

  it("gives each its own bytes, in any order", function()
    helper.needs "buf_ring_inc"
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 2, size = 100,
      flags = uring.IOU_PBUF_RING_INC })
    local texts = { "of one", "of two..", "one", "two 2" }
    local got = received(group, ring, texts)
    for _, i in ipairs { 4, 2, 1, 3 } do
      assert.equal(texts[i], group:string(table.unpack(got[i])))
      assert.is_nil((group:string(table.unpack(got[i]))))  -- once
    end
  end)

  it("is taken as a bundle where the request is one", function()
    helper.needs "bundles"
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 4, size = 4 })
    local a, b = sockets.pair()
    sockets.write(a, "0123456789")
    ring:queue(uring.sqe():prep_recv(b):set_buf_group(group:bgid())
      :set_ioprio(uring.IORING_RECVSEND_BUNDLE | uring.IORING_RECV_MULTISHOT))
    local text, bundles = "", 0
    while #text < 10 do
      local _, res, flags = ring:wait_cqe(hand.patience)
      assert(res > 0)
      if res > 4 then
        bundles = bundles + 1
        for _, method in ipairs { "string", "lease" } do
          local none, why, errno = group[method](group, res, flags)
          assert.same({ nil, uring.errno.EINVAL }, { none, errno })
          assert.truthy(why:find("take them with bundle()", 1, true), why)
        end
      end
      for _, lease in ipairs(assert(group:bundle(res, flags))) do
        text = text .. lease:string()
      end
    end
    assert.equal("0123456789", text)
    -- (6.12 takes each buffer alone, 6.18 does not)
    if bundles == 0 then helper.needs_linux(6, 18) end
    assert.equal(1, bundles)
  end)
end)
