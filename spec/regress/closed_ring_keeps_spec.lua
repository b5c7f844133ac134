-- A closed ring kept the files of its table, and its own, for as long as
-- a reference to it or an SQE that named it was alive: its handle had a dup of
-- the descriptor.

local hand = require "hand"
local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(function()
  net.close()
  hand.close()
end)

-- Everything that may name a ring.
local function names(ring)
  local sqe = uring.sqe()
  return { ring:ref(), sqe:prep_msg_ring(ring, 1, 2),
    uring.sqe():prep_poll_add(ring, uring.POLLIN),
    uring.sqe():prep_msg_ring(ring:ref(), 1, 2) }
end

describe("a closed ring", function()
  it("lets go of the files in its table at once", function()
    for _, close in ipairs { function(ring) ring:close() end,
        function() helper.collect() end } do
      local r, w = spec.pipe()
      local ring = assert(uring.ring())
      local kept = names(ring)
      assert(ring:register_files { w })
      spec.close(w)
      assert.is_false(spec.ready(r, 0))
      close(ring)
      ring = nil  -- luacheck: ignore
      helper.collect()
      assert.equal("", spec.read(r))
      assert.truthy(kept[1]:closed())
      spec.close(r)
    end
  end)

  it("lets go of its files though a forked child has it", function()
    local r, w = spec.pipe()
    local ring = assert(uring.ring())
    assert(ring:register_files { w })
    local go, gone = spec.pipe()
    local pid = spec.fork()
    if pid == 0 then
      spec.close(gone)
      spec.close(w)
      spec.read(go)  -- until the parent has closed its end
      spec._exit(0)
    end
    spec.close(w)
    ring:close()
    assert.equal("", spec.read(r))
    spec.close(gone)
    spec.wait(pid)
    spec.close(go)
    spec.close(r)
  end)

  it("frees the address of a listener in its table", function()
    net.run(function()
      local ring, listener = assert(uring.ring()), net.listener()
      local address = listener:getsockname()
      local ref = ring:ref()
      assert(ring:register_files { listener })
      listener:close()
      ring:close()
      net.keep(assert(uring.tcp.listen(address)))
      assert.truthy(ref:closed())
    end)
  end)

  it("costs no descriptor, however many rings were sent to", function()
    local sender, kept = hand.ring(), {}
    local before = helper.fds()
    for i = 1, 100 do
      local ring = assert(uring.ring { entries = 1 })
      kept[i] = names(ring)
      assert(sender:queue(kept[i][2]:set_data64(i)))
      assert(sender:queue(kept[i][3]))
      assert(ring:close())
      assert.equal(before, helper.fds())
    end
  end)

  it("costs no descriptor, though its senders send no more", function()
    local sender = hand.ring()
    local before = helper.fds()
    for i = 1, 100 do
      local ring = assert(uring.ring { entries = 1 })
      local sqe = uring.sqe():prep_msg_ring(ring, 1, i)
      if i % 2 == 0 then sqe:set_flags(uring.IOSQE_CQE_SKIP_SUCCESS) end
      assert(sender:queue(sqe))
      if i % 3 == 0 then sender:submit() end
      assert(ring:close())
      assert.equal(before, helper.fds())
    end
  end)

  -- A late request still needs its number, which no other file may have.
  it("keeps only its number, for requests that may start later",
    function()
      -- (before, a later member of a chain has its file already)
      helper.needs_linux(6, 10)
      local sender, ring = hand.ring(), assert(uring.ring())
      local r, w = spec.pipe()
      local number = ring:fd()
      sender:queue(uring.sqe():prep_read(r, uring.buffer(1)):set_data64(1),
        uring.sqe():prep_msg_ring(ring, 3, 4):set_data64(2))
      sender:submit()
      ring:close()
      local _, open = spec.fds()
      assert.is_nil(open[number]:find("io_uring", 1, true))
      local others = {}
      for i = 1, 5 do others[i] = hand.ring { entries = 1, flags = 0 } end
      spec.write(w, "x")
      assert.same({ 1, -uring.errno.EPIPE }, hand.some(sender, 2))
      for _, other in ipairs(others) do hand.nothing(other) end
      _, open = spec.fds()
      assert.is_nil(open[number])
      spec.close(r)
      spec.close(w)
    end)
end)

describe("a ring that senders of other threads race to close", function()
  it("refuses messages that come late, and no other ring gets them", function()
    local threads = {}
    for i = 1, 3 do
      threads[i] = spec.thread([[
        local uring, spec = require "uring", require "uring_spec"
        local E, i = uring.errno, ...
        local own <close> = assert(uring.ring { entries = 4 })
        local sent = 0
        while true do
          local ref = spec.take("ref" .. i)
          if not ref then return sent end
          local res
          repeat
            local op = own:queue(uring.sqe():prep_msg_ring(ref, 7, 42))
            res = -E.EPIPE
            if op then
              assert(own:submit())
              res = select(2, assert(own:wait_cqe(60)))
            end
            if res == 0 then sent = sent + 1 end
          until res ~= 0
          assert(res == -E.EPIPE, res)
        end
      ]], i)
    end
    local got = 0
    for _ = 1, 200 do
      local ring = assert(uring.ring { entries = 1, cq_entries = 4096,
        flags = uring.IORING_SETUP_SUBMIT_ALL })
      local ref = ring:ref()
      for i = 1, #threads do spec.put("ref" .. i, ref) end
      for _ = 1, 3 do
        local data, len, _, kind = ring:wait_cqe(hand.patience)
        assert.same({ 42, 7, "message" }, { data, len, kind })
        got = got + 1
      end
      assert(ring:close())
    end
    for i = 1, #threads do spec.put("ref" .. i, false) end
    local sent = 0
    for i = 1, #threads do
      local ok, n = threads[i]:join()
      assert(ok, n)
      sent = sent + n
    end
    assert(sent >= got)
  end)
end)
