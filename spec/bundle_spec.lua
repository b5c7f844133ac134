-- Bundles: several buffers of a group that are received into or sent from at
-- once.

local groups = require "groups"
local hand = require "hand"
local helper = require "helper"
local sockets = require "sockets"
local uring = require "uring"

local it = groups.needs(it)
local E = uring.errno
local one, take, has = hand.one, hand.take, hand.has
local adds_up, all_home, multishot, armed, more =
  groups.adds_up, groups.all_home, groups.multishot, groups.armed, groups.more
local after = sockets.after
local sqe = uring.sqe


describe("a bundle", function()
  after_each(after)

  it("is received into buffers that follow one another", function()
    helper.needs "bundles"
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 8, size = 10 })
    -- (unix sockets tell how much there is in newer kernels)
    local a, b = sockets.connection(ring)
    local function receive(n)
      local text = ("0123456789abcdefghij"):rep(4):sub(1, n)
      sockets.write(a, text)
      local op = ring:queue(multishot(b, group)
        :set_ioprio(uring.IORING_RECV_MULTISHOT
          | uring.IORING_RECVSEND_BUNDLE))
      local leases, got, most = {}, {}, 0
      local goes_on
      while #table.concat(got) < n do
        local _, res, flags = take(ring)
        goes_on = more(flags)  -- it need not where it took all there are
        local all = assert(group:bundle(res, flags))
        assert.equal((res + 9) // 10, #all)
        most = math.max(most, #all)
        for _, lease in ipairs(all) do
          leases[#leases + 1] = lease
          got[#got + 1] = lease:string()
        end
      end
      assert.equal(text, table.concat(got))
      adds_up(group, #leases)
      op:cancel()
      if goes_on then take(ring) end
      return leases, most
    end
    local most = 0
    for _, n in ipairs { 1, 10, 11, 35, 80, 79 } do
      local leases, n_most = receive(n)
      most = math.max(most, n_most)
      for _, lease in ipairs(leases) do lease:release() end
      all_home(group)
    end
    assert.truthy(most > 1)
    -- the order of going home is the order of being filled
    local order = { 3, 1, 4, 2, 8, 6, 5, 7 }
    for _ = 1, 5 do
      local leases = receive(80)
      for i = 1, 8 do leases[order[i]]:release() end
    end
    all_home(group)
    receive(25)  -- collected
    helper.collect()
    all_home(group)
  end)

  it("is sent from the buffers that a group has", function()
    helper.needs "bundles"
    local ring, group, a, op = armed { entries = 4, size = 4 }
    local c, d = sockets.pair()
    sockets.write(a, "oneatwoa3333")
    for _ = 1, 3 do
      local _, res, flags = take(ring)
      group:lease(res, flags):release()
    end
    op:cancel()
    take(ring)
    -- the first that went home are behind the one never used
    local res, _, flags = one(ring, uring.sqe():prep_send_bundle(c)
      :set_buf_group(group:bgid()))
    assert.equal(16, res)
    assert.equal("\0\0\0\0oneatwoa3333", sockets.read(d))
    if helper.has "buf_ring_status" then
      assert.equal(4, adds_up(group, 0).kernel)
    end
    local leases = group:bundle(res, flags)
    assert.equal(4, #leases)
    adds_up(group, 4)
    for _, lease in ipairs(leases) do lease:release() end
    all_home(group)
  end)

  it("that is not taken gives all its buffers back", function()
    helper.needs "bundles"
    local ring = hand.ring()
    local group = assert(ring:buf_ring { entries = 8, size = 10 })
    local a, b = sockets.pair()
    sockets.write(a, ("x"):rep(45))
    ring:queue(uring.sqe():prep_recv(b):set_buf_group(group:bgid())
      :set_ioprio(uring.IORING_RECVSEND_BUNDLE))
    ring:submit_and_wait(1, hand.patience)
    ring:close()
    adds_up(group, 0)
  end)
end)


describe("a bundle's send", function()
  after_each(after)

  it("takes the buffers of a legacy group", function()
    helper.needs "bundles"
    local ring = hand.ring()
    local a, b = sockets.pair()
    local memory = uring.buffer "hello"
    assert.equal(0, (one(ring, sqe():prep_provide_buffers(memory, 5, 1,
      9))))
    local res, _, flags = one(ring, sqe():prep_send_bundle(a)
      :set_buf_group(9))
    assert.equal(5, res)
    assert.is_true(has(flags, uring.IORING_CQE_F_BUFFER))
    assert.equal("hello", sockets.read(b))
    assert.equal(-E.ENOBUFS, (one(ring, sqe():prep_send_bundle(a)
      :set_buf_group(9))))
  end)
end)
