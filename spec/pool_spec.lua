-- Pools: one function for many items, in workers or in this state.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(helper.clean)

local function pool(n, main) return assert(uring.pool { workers = n,
  main = main }) end

-- Runs f(uring, raises), which has no upvalues, in a state whose memory is
-- bounded. raises(words, f, ...): f must raise, and say them.
local function bounded(bytes, f)
  local ok, why = spec.state(string.dump(function(code, limit)
    local uring = require "uring"  -- luacheck: ignore
    local main, ended = load(code), false
    assert(uring.loop { memory = limit })
    uring.run(function()
      main(uring, function(words, call, ...)
        local ok, why = pcall(call, ...)
        assert(not ok and why:find(words, 1, true), why)
      end)
      ended = true
    end)
    assert(ended, "it was cancelled")
  end), string.dump(f), bytes)
  if not ok then error(why, 2) end
end

-- 1 to n, as an iterator; how many it has given so far.
local function upto(n)
  local i = 0
  return function()
    i = i + 1
    if i <= n then return i end
  end, function() return i end
end

for _, n in ipairs { 0, 1, 3 } do
  describe(("a pool of %d workers"):format(n), function()
    it("calls its function for each item, and gives all results", function()
      uring.loop()
      helper.keeps_fds(helper.run, function()
        local p <close> = pool(n, function(i, text)
          if i == 7 then return end
          return i * i, nil, text, { i }
        end)
        local items = {}
        for i = 1, 100 do items[i] = i end
        local got, of = {}, {}
        for k, square, none, text, array in p:map(function()
          local i = table.remove(items, 1)
          if i then return i, "x" end
        end) do
          assert.is_nil(got[k])
          got[k], of[k] = square or 0, array or {}
          assert.is_nil(none)
          assert(k == 7 or text == "x")
        end
        for i = 1, 100 do
          assert.equal(i == 7 and 0 or i * i, got[i])
          assert.same(i == 7 and {} or { i }, of[i])
        end
      end)
    end)

    it("gives them in order, if it is asked to", function()
      helper.run(function()
        local p <close> = pool(n, function(i)
          uring.sleep(i % 5 == 1 and 0.003 or 0)
          return -i
        end)
        local k = 0
        for number, result in p:map(upto(60), { ordered = true }) do
          k = k + 1
          assert.equal(k, number)
          assert.equal(-k, result)
        end
        assert.equal(60, k)
        for number, result in p:map({ 5, 6 }, { ordered = true }) do
          assert.equal(-(number + 4), result)
        end
      end)
    end)

    it("takes no more items than its workers can begin with", function()
      helper.run(function()
        local p <close> = pool(n, function(i) return i end)
        local items, taken = upto(1000)
        local given = 0
        for _ in p:map(items, { ordered = true }) do
          given = given + 1
          assert(taken() - given <= 4 * math.max(n, 1), taken() - given)
          if given == 50 then break end
        end
        -- and what was on its way is no result of the next loop
        local sum = 0
        for _, result in p:map { 1, 2, 3 } do sum = sum + result end
        assert.equal(6, sum)
      end)
    end)

    it("raises errors from the loop, and goes on with the next", function()
      helper.run(function()
        local p <close> = pool(n, function(i)
          if i == 3 then error "three" end
          if i == 5 then return 1, print end
          return i
        end)
        local function last(items)
          local seen = 0
          local ok, why = pcall(function()
            for k in p:map(items, { ordered = true }) do seen = k end
          end)
          return seen, ok, why
        end
        local seen, ok, why = last { 1, 2, 3, 4 }
        assert.equal(2, seen)
        assert.is_false(ok)
        assert.truthy(why:find("three", 1, true), why)
        assert.truthy(why:find("stack traceback", 1, true), why)
        seen, ok, why = last { 5 }
        assert.equal(0, seen)
        assert.is_false(ok)
        assert.equal("result #2: cannot send a function", why)
        seen, ok, why = last { 1, print }
        assert(seen <= 1)
        assert.is_false(ok)
        assert.equal("pool:map: an item cannot be sent: value #1: cannot send "
          .. "a function", why)
        helper.raises("from the iterator", function()
          for _ in p:map(function() error "from the iterator" end) do end
        end)
        assert.same({ 2, true }, { last { 7, 8 } })
      end)
    end)

    it("takes and gives as many descriptors as a message has", function()
      helper.run(function()
        local p <close> = pool(n, function(sockets) return sockets end)
        local sockets = {}
        for i = 1, 64 do
          sockets[i] = uring.socket(uring.AF_INET, uring.SOCK_DGRAM)
        end
        for _, back in p:map { sockets } do
          assert.equal(64, #back)
          for _, socket in ipairs(back) do socket:close() end
        end
      end)
    end)

    it("ends with its scope, also in the middle", function()
      helper.run(function()
        local kept, following, map
        uring.scope(function()
          kept = pool(n, function(i) return ("x"):rep(100000) .. i end)
          following, map = kept:map((upto(100)))
          following(map)
        end)
        assert.equal(0, #uring.workers())
        helper.mistake("pool:map: the pool is closed", following, map)
        assert.equal(("uring.Pool (%d workers, closed)"):format(n),
          tostring(kept))
        assert(kept:close())
        helper.mistake("the pool is closed", kept.map, kept, {})
      end)
    end)

    it("may be closed in its loop, and by its iterator", function()
      helper.run(function()
        local p
        local function in_loop(items, close)
          p = pool(n, function(i) return i end)
          for _ in p:map(items) do close() end
        end
        local function close() p:close() end
        for _, items in ipairs { (upto(100)), function() close() return 1 end }
        do
          local why = helper.raises("pool:map: the pool is closed", in_loop,
            items, close)
          assert.truthy(why:find "^[^\n]*pool_spec.lua:%d+: pool:map", why)
        end
        in_loop({ 1 }, close)  -- (there is no more to map)
      end)
    end)

    it("may be closed while its loop waits", function()
      helper.run(function()
        local p = pool(n, function(i) uring.sleep(i) return i end)
        local closer = uring.spawn(function() p:close() end)
        helper.raises("pool:map: the pool is closed", function()
          for _ in p:map { 0.01, 0.01 } do end
        end)
        assert(closer:join())
      end)
    end)

    it("is for one loop at a time", function()
      helper.run(function()
        local p <close> = pool(n, function(i) return i end)
        for _ in p:map { 1 } do
          helper.mistake("another loop maps", p.map, p, {})
        end
        for k in p:map { 1 } do assert.equal(1, k) end
      end)
    end)

    it("leaves no task behind once it was closed", function()
      helper.run(function()
        local before = #uring.tasks()
        for _ = 1, 3 do
          local p <close> = pool(n, function(i) return i end)
          for k in p:map { 1 } do assert.equal(1, k) end
          p:close()
          while #uring.workers() > 0 do uring.sleep(0.001) end
        end
        for _ = 1, 3 do uring.sleep(0) end
        assert.equal(before, #uring.tasks())
      end)
    end)

    it("is free for the next loop once one has ended, whatever drives it",
       function()
      helper.run(function()
        local p <close> = pool(n, function(i) return i end)
        local step, map = p:map { 1 }
        assert.equal(1, step(map))
        assert.is_nil(step(map))
        for k in p:map { 1 } do assert.equal(1, k) end
        assert.is_nil(step(map))
      end)
    end)

    it("runs a module or a file", function()
      helper.run(function()
        local p <close> = assert(uring.pool { workers = n,
          module = "worker_module" })
        for _, main, item in p:map { 9 } do
          assert.equal("main", main)
          assert.equal(9, item)
        end
        local name = helper.file "return (...) + 1"
        local q <close> = assert(uring.pool { workers = n, file = name })
        for _, result in q:map { 9 } do assert.equal(10, result) end
      end)
    end)
  end)
end

describe("a pool", function()
  it("raises from the loop that a worker of it is dead", function()
    helper.run(function()
      helper.raises("a worker of the pool has ended", function()
        uring.scope(function()
          local p = assert(uring.pool { workers = 2, memory = 3 << 20,
            main = function(i)
              if i < 10 then return i end
              local ok = pcall(string.rep, "x", 1 << 26)
              uring.inbox():close()
              return ok
            end })
          for _ in p:map((upto(1000))) do end
        end)
      end)
    end)
  end)

  it("raises so from each loop after that, too", function()
    helper.run(function()
      local ok, why = pcall(uring.scope, function()
        local p = pool(1, function() require "uring".current():cancel() end)
        local told = 0
        for _ = 1, 3 do
          uring.timeout(30, function()
            helper.raises("a worker of the pool has ended", function()
              for _ in p:map { 1, 2, 3 } do end
            end)
            told = told + 1
          end)
        end
        assert.equal(3, told)
      end)
      assert(ok, why)
    end)
  end)

  it("raises so where replies wait for space meanwhile, too", function()
    bounded(24 << 20, function(uring, raises)  -- luacheck: ignore
      uring.scope(function()
        local p = assert(uring.pool { workers = 2, main = function(size)
          local uring <const> = require "uring"  -- luacheck: ignore
          if size == 1 then return "x" end
          uring.address(size > 0 and "reply" or "die", 30)
          if size > 0 then return ("x"):rep(size) end
          uring.current():cancel()
        end })
        raises("a worker of the pool has ended", uring.timeout, 30, function()
          local large <const> = 3 << 19  -- there is no space for two
          for i in p:map { 1, large, 0, large } do
            if i == 1 then
              local _ <close> = uring.mailbox { name = "reply" }
              while p.replies:stats().waiting == 0 do uring.sleep(0.001) end
              local _ <close> = uring.mailbox { name = "die" }
              while not p.dead do uring.sleep(0.001) end
            end
          end
        end)
      end)
    end)
  end)

  it("raises for what is too large to be sent, and goes on", function()
    bounded(32 << 20, function(uring, raises)  -- luacheck: ignore
      for n = 0, 3, 3 do
        local p <close> = assert(uring.pool { workers = n,
          main = function(text)
            local what, size = text:match "^(%a+) (%d+)"
            if what == "results" then return ("x"):rep(size) end
            if what == "error" then error(("x"):rep(size)) end
            return #text
          end })
        local function last(...)
          local length
          for _, results in p:map { ... } do length = results end
          return length
        end
        local why <const> = (" cannot be sent: %s: the message counts as")
          :format(n > 0 and "send" or "try_send")
        local size <const> = n > 0 and 2200000 or 8800000
        raises("the results" .. why, last, "results " .. size)
        raises("the error" .. why, last, "error " .. size)
        raises("an item" .. why, last, ("x"):rep(size))
        assert(last("four") == 4)
      end
    end)
  end)

  it("leaves no worker where there is no memory for all of them", function()
    bounded(6 << 20, function(uring)  -- luacheck: ignore 431
      local ok, err = pcall(uring.scope, function()
        local p, why, errno = uring.pool { workers = 400,
          main = function() end }
        if p then
          -- (workers that have failed already made room for the last ones)
          local looped, problem = pcall(function()
            for _ in p:map(function() return 1 end) do end
          end)
          assert(not looped)
          assert(tostring(problem):find "not enough memory", problem)
          p:close()
        else
          assert(errno == uring.errno.ENOMEM, why)
          assert(#uring.workers() == 0)
        end
      end)
      assert(ok or tostring(err):find "not enough memory", err)
      assert(#uring.workers() == 0)
    end)
  end)

  it("refuses what is no option", function()
    helper.run(function()
      local function f() end
      for words, options in pairs {
        ["bad argument #1 to 'pool' (unknown option 'n'"] = { n = 1 },
        ["option 'workers' expected"] = { main = f },
        ["option 'workers' must be an integer from 0"] = { main = f,
          workers = -1 },
        ["one of the options 'main', 'module' and 'file'"] = { workers = 1 },
      } do
        helper.mistake(words, uring.pool, options)
      end
      local p <close> = pool(0, f)
      helper.mistake("function or table expected, got nil", p.map, p)
      helper.mistake("unknown option 'order'", p.map, p, {}, { order = 1 })
      helper.mistake("option 'ordered' must be a boolean", p.map, p, {},
        { ordered = 1 })
      helper.mistake("uring.Pool expected", p.map, {}, {})
    end)
    helper.mistake("only a task can wait", uring.pool, { workers = 1,
      main = function() end })
  end)
end)
