-- A ring's end: by close, <close>, a finalizer or lua_close; with operations
-- of every kind in flight; in any order of collection.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

-- Each puts operations into a ring that do not end by themselves, or race
-- the close. `p` has a pipe, a buffer, a path.
local kinds = {
  ["a poll"] = function(ring, p)
    ring:queue(uring.sqe():prep_poll_add(p.r, uring.POLLIN))
  end,
  ["a multishot poll"] = function(ring, p)
    ring:queue(uring.sqe():prep_poll_multishot(p.r, uring.POLLIN))
  end,
  ["a read"] = function(ring, p)
    ring:queue(uring.sqe():prep_read(p.r, p.buffer, 100, 0))
  end,
  ["a read by a worker"] = function(ring, p)
    ring:queue(uring.sqe():prep_read(p.r, p.buffer, 100, 0)
      :set_flags(uring.IOSQE_ASYNC))
  end,
  ["a timeout"] = function(ring)
    ring:queue(uring.sqe():prep_timeout(1000))
  end,
  ["a chain that waits for its first"] = function(ring, p)
    ring:queue(uring.sqe():prep_poll_add(p.r, uring.POLLIN),
      uring.sqe():prep_read(p.r, p.buffer, 100, 0),
      uring.sqe():prep_nop())
  end,
  ["a chain that broke"] = function(ring, p)
    ring:queue(uring.sqe():prep_read(1 << 20, p.buffer, 1, 0),
      uring.sqe():prep_read(p.r, p.buffer, 100, 0))
  end,
  ["silent ones"] = function(ring, p)
    local skip = uring.IOSQE_CQE_SKIP_SUCCESS
    ring:queue(uring.sqe():prep_nop():set_flags(skip))
    ring:queue(uring.sqe():prep_poll_add(p.r, uring.POLLIN)
      :set_flags(skip))
    ring:queue(uring.sqe():prep_poll_add(p.r, uring.POLLIN)
      :set_flags(skip), uring.sqe():prep_nop())
  end,
  ["a silent one with memory, in a chain"] = function(ring, p)
    ring:queue(uring.sqe():prep_read(p.r, p.buffer, 100, 0)
      :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS), uring.sqe():prep_nop())
  end,
  ["opens that race it"] = function(ring, p)
    for i = 1, 4 do
      ring:queue(uring.sqe():prep_openat(uring.AT_FDCWD, p.path,
        uring.O_RDONLY, 0):set_flags(i % 2 == 0 and uring.IOSQE_ASYNC or 0))
    end
  end,
  ["opens into slots"] = function(ring, p)
    ring:register_files_sparse(4)
    for i = 0, 3 do
      ring:queue(uring.sqe():prep_openat_direct(uring.AT_FDCWD, p.path,
        uring.O_RDONLY, 0, i))
    end
  end,
  ["messages to itself"] = function(ring)
    for i = 1, 4 do
      ring:queue(uring.sqe():prep_msg_ring(ring, i, i, 0))
    end
  end,
  ["an operation that was cancelled"] = function(ring, p)
    ring:queue(uring.sqe():prep_read(p.r, p.buffer, 100, 0)):cancel()
  end,
  ["strings on their way"] = function(ring, p)
    for _ = 1, 4 do
      ring:queue(uring.sqe():prep_write(p.null, ("s"):rep(5000), 5000, 0)
        :set_flags(uring.IOSQE_ASYNC))
    end
  end
}

local names = {}
for name in pairs(kinds) do names[#names + 1] = name end
table.sort(names)

local function with_pipe(f)
  local p = { path = helper.file "x", buffer = uring.buffer(100) }
  p.r, p.w = spec.pipe()
  local null = assert(io.open("/dev/null", "w"))
  p.null = null
  f(p)
  spec.close(p.r)
  spec.close(p.w)
  null:close()
  helper.clean()
end

-- Nothing of the ring is left: what it had in flight neither takes what comes
-- later nor writes to what it held.
local function gone(p)
  p.buffer:write(0, ("b"):rep(100))
  spec.write(p.w, "later")
  assert.equal("later", spec.read(p.r, 100))
  assert.equal(("b"):rep(100), p.buffer:string())
  assert(p.buffer:close())
end

local function settled(ring)
  local stats = helper.lawful(ring)
  assert.equal(0, stats.in_flight)
  assert.equal(0, stats.leaked)
end

local function tenfold(f)
  for _ = 1, 10 do f() end
end

describe("a ring with", function()
  after_each(helper.clean)

  for _, name in ipairs(names) do
    local queue = kinds[name]

    it(name .. " in flight is closed", function()
      helper.keeps_fds(function()
        for _, submit in ipairs { true, false } do
          with_pipe(function(p)
            local ring = assert(uring.ring {})
            queue(ring, p)
            if submit then ring:submit() end
            assert.equal(true, ring:close())
            settled(ring)
            assert.equal(true, ring:close())
            gone(p)
          end)
          with_pipe(function(p)
            local kept
            do
              local ring <close> = assert(uring.ring { flags = 0 })
              kept = ring
              queue(ring, p)
              if submit then ring:submit() end
            end
            settled(kept)
            gone(p)
          end)
        end
      end)
    end)
  end

  it("any of these in flight is collected without a trace", function()
    for _, name in ipairs(names) do
      with_pipe(function(p)
        helper.keeps_fds(function()
          local ring = assert(uring.ring {})
          kinds[name](ring, p)
          ring:submit()
        end)
        gone(p)
      end)
    end
  end)

  it("all of these in flight can be closed again and again", function()
    helper.keeps_fds(tenfold, function()
      with_pipe(function(p)
        local ring = assert(uring.ring { entries = 4 })
        for _, name in ipairs(names) do kinds[name](ring, p) end
        local stats = helper.lawful(ring)
        assert(stats.submitted > 20)
        assert.equal(true, ring:close())
        settled(ring)
        gone(p)
      end)
    end)
  end)

  it("completions not taken closes the descriptors in them", function()
    with_pipe(function(p)
      helper.keeps_fds(function()
        local ring = assert(uring.ring {})
        for _ = 1, 5 do
          ring:queue(uring.sqe():prep_openat(uring.AT_FDCWD, p.path,
            uring.O_RDONLY, 0))
        end
        assert(ring:submit_and_wait(5, 5 * helper.slow))
        assert.equal(0, ring:stats().in_flight)
        assert(ring:close())
        assert.equal(5, ring:stats().disposed)
      end)
    end)
  end)
end)


describe("closing", function()
  it("is told to those that have a reference", function()
    local a <close> = assert(uring.ring {})
    local b = assert(uring.ring {})
    local ref = b:ref()
    local sqe = uring.sqe():prep_msg_ring(ref, 1, 2, 0)
    assert.equal(false, ref:closed())
    a:queue(sqe)  -- and not yet submitted
    b:close()
    assert.equal(true, ref:closed())
    local op, message, errno = a:queue(sqe)
    assert.equal(nil, op)
    assert.equal(E.EPIPE, errno)
    assert(message:find("closed", 1, true), message)
    assert.equal(-E.EPIPE, (select(2, a:wait_cqe(1))))
  end)

  it("is what <close> does on errors, too", function()
    helper.keeps_fds(function()
      local kept
      helper.raises("on purpose", function()
        local ring <close> = assert(uring.ring {})
        kept = ring
        ring:queue(uring.sqe():prep_timeout(1000))
        ring:submit()
        error "on purpose"
      end)
      settled(kept)
      helper.raises("closed", kept.submit, kept)
    end)
  end)

  it("is not for the loop's own ring", function()
    helper.raises("loop's own", function() uring.loop():ring():close() end)
    assert.equal(3, uring.run(function() return 3 end))
  end)

  it("leaves operations that say so", function()
    local ring = assert(uring.ring {})
    local op = ring:queue(uring.sqe():prep_timeout(1000))
    ring:close()
    assert.equal("done", op:status())
    assert.equal(true, (op:cancel()))
    helper.collect()
    assert(tostring(op):find("done", 1, true))
  end)

  it("may be done by a finalizer that a hook or a wait sets off", function()
    helper.keeps_fds(function()
      uring.run(function()
        helper.each_step_gc(function()
          for _ = 1, 5 do
            local ring = uring.ring {}
            ring:queue(uring.sqe():prep_timeout(1000))
            ring:submit()
            ring = nil  -- luacheck: ignore
            uring.sleep(0)
          end
        end)
      end)
    end)
  end)
end)


describe("tasks that wait on a ring", function()
  -- Another task closes it; f must return.
  local function closed_under(f)
    local result
    helper.keeps_fds(function()
      uring.run(function()
        local r, w = spec.pipe()
        local ring = assert(uring.ring {})
        local waiter = uring.spawn(function()
          return table.pack(f(ring, r))
        end)
        uring.sleep(0)
        uring.sleep(0)
        assert.equal(true, ring:close())
        local ok, got = waiter:join()
        assert(ok, got)
        result = got
        settled(ring)
        spec.close(r)
        spec.close(w)
      end)
    end)
    return table.unpack(result, 1, result.n)
  end

  it("for an await are told when it closes", function()
    local res, _, errno = closed_under(function(ring, r)
      return ring:await(uring.sqe():prep_poll_add(r, uring.POLLIN), 100)
    end)
    assert.equal(nil, res)
    assert.equal(E.ECANCELED, errno)
  end)

  it("for an operation are told when it closes", function()
    local res, message, errno = closed_under(function(ring, r)
      local op = ring:queue(uring.sqe():prep_poll_add(r, uring.POLLIN))
      return op:await(100)
    end)
    assert.equal(nil, res)
    assert.equal(E.ECANCELED, errno)
    assert(message:find("closed", 1, true), message)
  end)

  it("for completions are told when it closes", function()
    local n, message = closed_under(function(ring, r)
      local op = ring:queue(uring.sqe():prep_poll_multishot(r,
        uring.POLLIN))
      local n = 0
      local ok, message = pcall(function()
        for _ in op:completions() do n = n + 1 end
      end)
      return n, ok or message
    end)
    assert.equal(0, n)
    assert.is_true(message)
  end)

  it("for a chain are told when it closes", function()
    local results = closed_under(function(ring, r)
      local results = ring:await_chain {
        uring.sqe():prep_poll_add(r, uring.POLLIN), uring.sqe():prep_nop()
      }
      return results
    end)
    assert.equal(-E.ECANCELED, results[1][1])
    assert.equal(-E.ECANCELED, results[2][1])
  end)

  it("for a message are told when it closes", function()
    local len, message, errno = closed_under(function(ring)
      return ring:receive(100)
    end)
    assert.equal(nil, len)
    assert.equal(E.EBADF, errno)
    assert(message:find("closed", 1, true), message)
  end)

  it("in great number, for everything, are told when it closes", function()
    helper.keeps_fds(function()
      uring.run(function()
        local r, w = spec.pipe()
        local ring = assert(uring.ring { entries = 8 })
        for _ = 1, 50 do
          uring.spawn(function() ring:receive() end)
          uring.spawn(function()
            ring:await(uring.sqe():prep_poll_add(r, uring.POLLIN))
          end)
          uring.spawn(function()
            local buffer = uring.buffer(10)
            ring:await(uring.sqe():prep_read(r, buffer, 10, 0), 50)
          end)
        end
        uring.sleep(0.001)
        assert.equal(true, ring:close())
        settled(ring)
        spec.close(r)
        spec.close(w)
      end)
    end)
  end)
end)


-- These run in processes of their own: lua_close is the end of them, and
-- their heaps are small.
describe("objects of a ring", function()
  it("are collected in any order", function()
    helper.apart(function()
      -- luacheck: ignore 431
      local helper = require "helper"
      local spec = require "uring_spec"
      local uring = require "uring"

      local function make(submit)
        local t = {}
        local r, w = spec.pipe()
        t.fd = uring.fd(spec.dup(r))
        t.ring = assert(uring.ring { entries = 4 })
        t.buffer = uring.buffer(64)
        t.sqe = uring.sqe():prep_read(t.fd, t.buffer, 64, 0)
        t.op = assert(t.ring:queue(t.sqe))
        if submit then t.ring:submit() end
        return t, r, w
      end

      local function permutations(list, n, f)
        if n == 0 then return f(list) end
        for i = 1, n do
          list[n], list[i] = list[i], list[n]
          permutations(list, n - 1, f)
          list[n], list[i] = list[i], list[n]
        end
      end

      local pattern, count = ("p"):rep(64), 0
      local fds = helper.fds()
      for _, submit in ipairs { true, false } do
        permutations({ "fd", "ring", "buffer", "sqe", "op" }, 5,
          function(order)
            local t, r, w = make(submit)
            for _, key in ipairs(order) do
              t[key] = nil
              collectgarbage()
            end
            -- what they had is free for others, and the kernel is out of it
            local others = {}
            for i = 1, 4 do others[i] = uring.buffer(pattern) end
            spec.write(w, ("K"):rep(64))
            for i = 1, 4 do assert(others[i]:string() == pattern) end
            assert(spec.read(r, 64) == ("K"):rep(64))
            spec.close(r) spec.close(w)
            assert(helper.fds() == fds, table.concat(order, " "))
            count = count + 1
          end)
      end
      assert(count == 240)
    end)
  end)

  it("are closed by lua_close at any point, with their tasks", function()
    for _, last in ipairs {
      "return", "error 'on purpose'", "os.exit(0, true)",
      "uring.run(function() error 'on purpose' end)",
      "uring.run(function() os.exit(0, true) end)",
      [[uring.run(function()
        uring.spawn(function() r2:await(poll()) end)
        uring.spawn(function() r2:receive() end)
        uring.spawn(function() uring.await(poll()) end)
        uring.spawn(function() uring.sleep(1000) end)
        local op = uring.loop():ring():queue(poll())
        uring.spawn(function() op:await() end)
        uring.sleep(0)
        uring.sleep(0)
        os.exit(0, true)
      end)]],
      [[coroutine.wrap(function()
        uring.run(function()
          uring.spawn(function() uring.sleep(1000) end)
          os.exit(0, true)
        end)
      end)()]]
    } do
      local status, output = helper.script([[
        uring, spec = require "uring", require "uring_spec"
        r, w = spec.pipe()
        fd = uring.fd(r)
        buffer = uring.buffer(100)
        function poll()
          return uring.sqe():prep_poll_add(fd, uring.POLLIN)
        end
        r1, r2 = uring.ring {}, uring.ring { flags = 0 }
        for _, ring in ipairs { r1, r2 } do
          ring:queue(uring.sqe():prep_read(fd, buffer, 100, 0))
          op = ring:queue(uring.sqe():prep_timeout(1000))
          ring:queue(uring.sqe():prep_nop()
            :set_flags(uring.IOSQE_CQE_SKIP_SUCCESS))
          ring:queue(uring.sqe():prep_write(w, "string", 6, 0))
          ring:queue(uring.sqe():prep_msg_ring(r1, 1, 2, 0))
          ring:submit()
          ring:queue(poll())
        end
        ref = r1:ref()
        -- (what is made by lua_close is never finalized, so nothing is)
        sqe = poll()
        again = setmetatable({}, { __gc = function()
          r1:queue(sqe) r1:submit() r1:stats() r1:close()
          pcall(r1.queue, r1, sqe) tostring(op)
        end })
        ]] .. last)
      if last:find "error" then
        assert.equal(1, status)
        assert(output:find("on purpose", 1, true), output)
        assert(not output:find("Sanitizer", 1, true), output)
      else
        assert.equal("", output)
        assert.equal(0, status)
      end
    end
  end)

  it("are closed by their state where that is another thread's", function()
    helper.keeps_fds(function()
      local threads = {}
      local r, w = spec.pipe()
      for i = 1, 4 do
        threads[i] = spec.thread([[
          local uring = require "uring"
          local r = ...
          for i = 1, 3 do
            local ring = uring.ring { flags = i == 2 and 0 or nil }
            ring:queue(uring.sqe():prep_read(r, uring.buffer(9), 9, 0))
            ring:queue(uring.sqe():prep_timeout(1000))
            ring:submit()
            _G["ring" .. i] = ring
          end
          uring.run(function()
            uring.spawn(function()
              ring1:await(uring.sqe():prep_poll_add(r, uring.POLLIN), 0)
            end)
          end)
          return true
        ]], r)
      end
      for _, t in ipairs(threads) do
        local ok, message = t:join()
        assert(ok, message)
      end
      spec.close(r)
      spec.close(w)
    end)
  end)
end)
