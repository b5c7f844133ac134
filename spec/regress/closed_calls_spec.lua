-- On a closed object every call raises; one that is waiting already fails with
-- EBADF, and iterators end. Some calls went on, or their iterators raised.

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(net.close)

-- All methods of an object but those that close it, or only look whether it
-- is; with arguments that would do.
local function methods(object, arguments, not_these)
  local list = {}
  for name in pairs(arguments) do
    assert(object[name], name)
    if not not_these[name] then list[#list + 1] = name end
  end
  return list
end

local address = "127.0.0.1:9"

local socket_calls = {
  bind = { address }, listen = {}, shutdown = { "both" }, getsockname = {},
  getpeername = {}, setsockopt = { "SO_REUSEADDR", true },
  getsockopt = { "SO_REUSEADDR" }, fileno = {}, stats = {}, receive = {},
  recvmsg = {}, recv = { 0 }, recvfrom = {}, accept = {}, receiving = {},
  accepting = {}, messages = {}, chunks = {}, connections = {},
  send = { "x" }, sendto = { "x", address }, sendmsg = { {} },
  connect = { address }, sending = { "x" },
}

describe("a closed socket", function()
  it("raises in every call, in the task that closed it and in others",
    function()
      net.run(function()
        local a, b = net.pair()
        local names = methods(a, socket_calls, {})
        -- each begins after the close, in the same turn
        local tasks = {}
        for i, name in ipairs(names) do
          tasks[i] = uring.spawn(function()
            return pcall(a[name], a, table.unpack(socket_calls[name]))
          end)
        end
        a:close()
        for i, task in ipairs(tasks) do
          local _, ok, why = task:join(net.patience)
          assert.is_false(ok)
          assert.truthy(why:find("closed socket", 1, true), names[i])
          helper.raises("closed socket", a[names[i]], a,
            table.unpack(socket_calls[names[i]]))
        end
        assert.is_true(a:close())
        assert.equal("uring.Socket (closed)", tostring(a))
        assert.truthy(b)
      end)
    end)

  it("ends iterators that were begun before", function()
    net.run(function()
      local a = net.pair()
      local all = { (a:messages()), (a:chunks()), (a:connections()) }
      a:close()
      for _, next in ipairs(all) do assert.is_nil((next())) end
    end)
  end)
end)

describe("a closed ring", function()
  it("raises in every call but those that only inspect it", function()
    local ring = assert(uring.ring())
    local sqe = uring.sqe():prep_nop()
    local calls = {
      queue = { sqe }, submit = {}, submit_and_wait = {}, wait_cqe = {},
      peek_cqe = {}, fd = {}, ref = {}, flags = {}, features = {},
      buf_ring = { {} }, register_files = { {} },
      register_files_sparse = { 1 }, register_files_update = { 0, {} },
      register_file_alloc_range = { 0, 1 }, unregister_files = {},
      register_eventfd = { 0 }, unregister_eventfd = {},
      register_sync_cancel = { {} }, enable_rings = {}, await = { sqe },
      await_chain = { { sqe } }, awaiting = { sqe }, receive = {},
      receiving = {}, messages = {},
    }
    local names = methods(ring, calls, {})
    local iterate = ring:messages()
    ring:close()
    helper.run(function()
      for _, name in ipairs(names) do
        helper.raises("closed ring", ring[name], ring,
          table.unpack(calls[name]))
      end
      assert.is_nil((iterate(ring)))
    end)
    assert.equal(0, ring:stats().in_flight)
    assert.is_true(ring:close())
  end)
end)

describe("a wait whose object is closed meanwhile", function()
  it("ends completions of a descriptor that was closed here", function()
    net.run(function()
      local r, w = spec.pipe()
      local fd = uring.fd(r)
      local ring = assert(uring.ring())
      local polls = {
        uring.loop():ring():queue(uring.sqe():prep_poll_multishot(fd,
          uring.POLLIN)),
        ring:queue(uring.sqe():prep_poll_multishot(fd, uring.POLLIN)),
      }
      local tasks = {}
      for i, op in ipairs(polls) do
        tasks[i] = uring.spawn(function()
          local n = 0
          for _ in op:completions() do n = n + 1 end
          return n
        end)
      end
      spec.write(w, "x")
      net.turns(5)
      fd:close()
      for _, task in ipairs(tasks) do
        local ok, n = task:join(net.patience)
        assert.is_true(ok)
        assert(n >= 1)
      end
      for _ in polls[1]:completions() do error "all was taken" end
      ring:close()
      spec.close(w)
    end)
  end)

  it("ends all writes to a stream that was never read", function()
    net.run(function()
      local r, w = assert(uring.pipe())
      local calls = assert(uring.stream { write = helper.forever })
      for _, s in ipairs { w, calls } do
        local tasks = {}
        for i = 1, 3 do
          tasks[i] = uring.spawn(s.write, s, ("x"):rep(1 << 20))
        end
        net.turns()
        -- (where a call cannot wait a close does not wait, either)
        string.gsub("x", "x", function() s:close() end)
        for _, task in ipairs(tasks) do
          local ok, written, _, errno = task:join(net.patience)
          assert.is_true(ok)
          assert.is_nil(written)
          assert.equal(E.EBADF, errno)
        end
      end
      r:close()
    end)
  end)

  it("raises where another cancel has ended it", function()
    net.run(function()
      local r, w = spec.pipe()
      local ring = uring.loop():ring()
      local op = ring:queue(uring.sqe():prep_poll_multishot(r, uring.POLLIN))
      local task = uring.spawn(function()
        return pcall(function() for _ in op:completions() do end end)
      end)
      net.turns()
      assert(uring.await(uring.sqe():prep_cancel(op)) == 0)
      local _, ok, why = task:join(net.patience)
      assert.is_false(ok)
      assert.truthy(why:find("ECANCELED", 1, true))
      spec.close(r)
      spec.close(w)
    end)
  end)
end)

describe("a receive of zero bytes", function()
  it("returns an empty string at once, and takes no data", function()
    net.run(function()
      for _, type in ipairs { uring.SOCK_STREAM, uring.SOCK_DGRAM } do
        local a, b = net.pair(type)
        for _, name in ipairs { "recv", "recvfrom", "receive" } do
          assert.equal("", (b[name](b, 0)))
        end
        assert.same({ "k", "" }, { uring.select { k = b:receiving(0) } })
        a:send "abc"
        assert.equal("", b:recv(0))
        assert.equal("abc", b:recv())
        a:close()
        if type == uring.SOCK_STREAM then
          assert.equal("", b:recv(0))
          assert.is_nil((b:recv()))
        end
        b:close()
        helper.raises("closed socket", b.recv, b, 0)
      end
    end)
  end)
end)

it("a descriptor that waits for a close fails only its own calls", function()
  net.run(function()
    local a = net.pair()
    local first = uring.spawn(function() return a:recv() end)
    local second = uring.spawn(function() return uring.select {
      a:receiving() } end)
    net.turns()
    a:close()
    assert.equal(E.EBADF, select(4, first:join(net.patience)))
    local ok, key, res, _, errno = second:join(net.patience)
    assert.same({ true, 1, nil, E.EBADF }, { ok, key, res, errno })
  end)
end)
