-- Tables in messages: they arrive as they were, whatever their keys, their
-- depth and their order; shared ones are shared, and cycles are cycles; what
-- cannot travel is named by its path. Bytes that are no message do no harm.

local faults = require "faults"
local helper = require "helper"
local mailboxes = require "mailboxes"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)
local E = uring.errno

local failed <const> = mailboxes.failed

-- f(there and back, mailbox, address), in a task, with room for all.
local function with_mailbox(f)
  helper.run(function()
    local box <close> = uring.mailbox { bytes = 1 << 30 }
    local address <close> = box:address()
    f(function(...)
      assert(address:send(...))
      return box:receive()
    end, box, address)
  end)
end

-- Sending these raises so, and nothing was accepted.
local function refused(box, address, words, ...)
  local before = box:stats()
  for _, send in ipairs { address.send, address.try_send, address.sending } do
    local ok, message = pcall(send, address, ...)
    assert.is_false(ok)
    assert.truthy(message:find(words, 1, true), message)
  end
  assert.same(before, box:stats())
end

describe("a table in a message", function()
  it("arrives with all its keys and values", function()
    with_mailbox(function(through)
      for _, t in ipairs {
        {}, { 1, 2, 3 }, { "a", { "b", { false } } },
        { x = 1, y = { z = 2 } }, { 1, 2, x = 3 }, { 1, nil, 3, nil, 5 },
        { [0] = 0, [-1] = -1, [1 << 53] = 2, [math.mininteger] = 3 },
        { [1.5] = 1, [-0.5] = 2, [math.huge] = 3, [true] = 4, [false] = 5 },
        { [""] = 1, ["a\0b"] = "c\0d", [("k"):rep(5000)] = ("v"):rep(5000) },
        { [1] = 1, [2] = 2, [3] = 3, [5] = 5 }, { [2] = 2, [1] = 1 },
      } do
        assert.same(t, through(t))
      end
    end)
  end)

  it("keeps integers, floats, -0.0 and NaN apart", function()
    with_mailbox(function(through)
      local t = through { 1, 1.0, math.mininteger, -0.0, 0 / 0, 1 / 0,
        n = 2^53 }
      assert.same({ "integer", "float", "integer", "float" },
        { math.type(t[1]), math.type(t[2]), math.type(t[3]),
          math.type(t[4]) })
      assert.equal(math.mininteger, t[3])
      assert.equal(-math.huge, 1 / t[4])
      assert(t[5] ~= t[5])
      assert.equal("float", math.type(t.n))
    end)
  end)

  it("is sent beside other values, nils among them", function()
    with_mailbox(function(through)
      local got = table.pack(through("first", nil, { 1 }, nil, { a = 1 }, nil))
      assert.same({ n = 6, "first", nil, { 1 }, nil, { a = 1 } }, got)
    end)
  end)

  it("that was built in any order arrives whole", function()
    with_mailbox(function(through)
      local t, backward, sparse = {}, {}, {}
      for i = 1, 1000 do t["k" .. i] = i end
      for i = 1, 1000 do t[i] = i end
      for i = 1000, 1, -1 do backward[i] = i end
      for i = 1, 1000 do sparse[i] = i end
      for i = 1, 1000, 7 do sparse[i] = nil end
      for i = 1, 1000, 3 do t["k" .. i] = nil end
      assert.same(t, through(t))
      assert.same(backward, through(backward))
      assert.equal(1000, #through(backward))
      assert.same(sparse, through(sparse))
    end)
  end)

  it("is one table for the reader, wherever it is", function()
    with_mailbox(function(through)
      local part = { "part" }
      local a, b = through({ part, part, { part }, x = part }, part)
      assert.equal("part", b[1])
      assert(a[1] == a[2] and a[1] == a[3][1] and a[1] == a.x and a[1] == b)
      local many, all = {}, {}
      for i = 1, 100 do many[i] = { i } end
      for i = 1, 100 do all[i] = { many[i], many[101 - i] } end
      local got = through(all)
      for i = 1, 100 do
        assert.equal(i, got[i][1][1])
        assert(got[i][1] == got[101 - i][2])
      end
    end)
  end)

  it("may contain itself, as a value and as a key", function()
    with_mailbox(function(through)
      local t = {}
      t[1], t.self, t[t] = t, { t }, t
      local got = through(t)
      assert(got[1] == got and got.self[1] == got and got[got] == got)
      assert(got ~= t)
      local a, b = { name = "a" }, { name = "b" }
      a.next, b.next = b, a
      got = through(a)
      assert(got.next.next == got and got.next.name == "b")
    end)
  end)

  it("may be a key", function()
    with_mailbox(function(through)
      local key, value = next(through { [{ "key", { "in it" } }] = "value" })
      assert.same({ "key", { "in it" } }, key)
      assert.equal("value", value)
      local deep = {}
      for i = 1, 1000 do deep = { [deep] = i } end
      local got, n = through(deep), 1000
      while next(got) do
        key, value = next(got)
        assert.equal(n, value)
        got, n = key, n - 1
      end
      assert.equal(0, n)
      local shared = {}
      got = through { { [shared] = { [shared] = shared } }, shared }
      assert(got[1][got[2]][got[2]] == got[2])
    end)
  end)

  it("may be 100,000 deep", function()
    with_mailbox(function(through)
      for _, depth in ipairs { 16, 17, 99, 100, 101, 100000 } do
        local t = { n = 0 }
        for i = 1, depth do t = { t, n = i } end
        local got, n = through(t), depth
        while got[1] do
          assert(got.n == n)
          got, n = got[1], n - 1
        end
        assert.equal(0, n)
      end
    end)
  end)

  it("calls no metamethod, and has no metatable", function()
    with_mailbox(function(_, box, address)
      local function never() error "a metamethod" end
      local t = setmetatable({ 1 }, { __index = never, __len = never,
        __pairs = never, __metatable = "hidden", __name = "A" })
      refused(box, address, "cannot send a table with a metatable", t)
      refused(box, address, "cannot send [1].x: a table with a metatable",
        { { x = t } })
    end)
  end)

  it("that cannot travel is refused with the path", function()
    with_mailbox(function(through, box, address)
      local co = coroutine.create(print)
      refused(box, address, "#2 ", { print })
      refused(box, address,
        "cannot send .players[3].handler: a function",
        { players = { {}, {}, { handler = print } } })
      refused(box, address, "#3 ", 1, { print })
      refused(box, address, "cannot send [1][2]: a thread", { { 1, co } })
      refused(box, address, "cannot send [1.5][true]: a function",
        { [1.5] = { [true] = print } })
      refused(box, address, "cannot send [\"two words\"]: a function",
        { ["two words"] = print })
      refused(box, address, "cannot send [a table]: a function",
        { [{}] = print })
      refused(box, address, "cannot send [a table].f: a function",
        { [{ f = print }] = 1 })
      refused(box, address, "cannot send .x: a function, as a key",
        { x = { [print] = 1 } })
      refused(box, address, "cannot send .x: a userdata",
        { x = io.stdout })
      local deep = { leaf = print }
      for _ = 1, 5000 do deep = { inner = deep } end
      refused(box, address, "cannot send .inner.inner....inner.leaf: a "
        .. "function", deep)
      assert.same({ 1 }, through { 1 })
    end)
  end)

  it("counts 48 bytes for each value, and is refused as soon as that is "
    .. "too much", function()
    helper.run(function()
      local box <close> = uring.mailbox { bytes = 1000 }
      local address <close> = box:address()
      assert(address:try_send { 1, 2, x = 3 })  -- and x, of 8 bytes
      assert.equal(32 + 5 * 48 + 8, box:stats().bytes)
      box:receive()
      local shared = { 1, 2 }
      assert(address:try_send { shared, shared })
      assert.equal(32 + 5 * 48, box:stats().bytes)
      failed(E.EAGAIN, "full", address:try_send(("x"):rep(800)))
      local large = {}
      for i = 1, 1000000 do large[i] = i end
      failed(E.EMSGSIZE, "more than the mailbox takes",
        address:try_send(large))
      local deep = {}
      for _ = 1, 1000000 do deep = { deep } end
      failed(E.EMSGSIZE, "more than the mailbox takes",
        address:send(deep))
    end)
  end)

  it("carries descriptors, also as keys", function()
    helper.keeps_fds(function()
      with_mailbox(function(through, box, address)
        local out, into = helper.pipe()
        local a, b = uring.fd(out), uring.fd(into)
        local got = through { x = { [a] = "key" }, y = { { b } } }
        assert.equal(out, next(got.x):fileno())
        assert.equal(into, got.y[1][1]:fileno())
        a, b = next(got.x), got.y[1][1]
        refused(box, address, "cannot send .z: the same descriptor twice",
          { { a }, z = a })
        refused(box, address, "cannot send [2]: a function", { a, print })
        assert.equal(out, a:fileno())
        a:close()
        b:close()
      end)
    end)
  end)

  it("arrives, or the message stays, when memory is refused", function()
    local ok, problem = spec.state([=[
      local uring = require "uring"
      local refuse = refuse
      local box = uring.mailbox { bytes = 1 << 24 }
      local to = box:address()
      local shared = { "shared" }
      local deep = {}
      for i = 1, 300 do deep = { deep, i } end
      local function message()
        return { shared, shared, deep, [shared] = ("x"):rep(700) }
      end
      for at = 1, 60 do
        local m = message()
        refuse(at, at % 2 == 0 and 1000000 or 1)
        local sent, value, _, errno = pcall(to.try_send, to, m)
        refuse()
        m = nil
        if not (sent and value) then
          assert(not sent or errno == uring.errno.ENOMEM)
          assert(box:stats().messages == 0)
          assert(to:try_send(message()))
        end
        refuse(at, at % 2 == 0 and 1000000 or 1)
        local ok, t = pcall(box.try_receive, box)
        refuse()
        if not ok then
          assert(box:stats().messages == 1)
          t = box:try_receive()
        end
        assert(t[1] == t[2] and t[1][1] == "shared" and #t[t[1]] == 700)
        local n, d = 300, t[3]
        while d[1] do
          assert(d[2] == n)
          d, n = d[1], n - 1
        end
        assert(n == 0 and box:stats().messages == 0)
      end
      to:close()
      box:close()
    ]=])
    assert(ok, problem)
  end)
end)

-- luacheck: globals T

-- (Under ASAN a byte too far is an error.)
describe("a message's bytes", function()
  faulty("that are corrupt are refused, or give other values", function()
    local shared = { 1, 2, x = "y" }
    local cycle = {}
    cycle[1] = cycle
    local deep = {}
    for _ = 1, 120 do deep = { deep } end
    local messages = {
      { 1, 2.5, "three", false },
      { ("x"):rep(700), "" },
      { { 1, 2, 3, { a = 1, b = { true } } }, { [1.5] = 2, [true] = "k" } },
      { shared, shared, { shared } },
      { cycle }, { deep },
      { { ["\0"] = "\0", [math.mininteger] = -0.0, [math.huge] = 0 } },
    }
    math.randomseed(7)
    local counts = {}
    for _, values in ipairs(messages) do
      local bytes = T.fault.encode(table.unpack(values))
      T.equal(#values, (T.fault.decode(bytes)))
      for _ = 1, 4000 do
        local changed = bytes
        for _ = 1, math.random(3) do
          local at = math.random(#bytes)
          changed = changed:sub(1, at - 1) .. string.char(math.random(0, 255))
            .. changed:sub(at + 1)
        end
        local result, why = T.fault.decode(changed)
        if result == "failed" then error(why, 0) end
        local kind = math.type(result) or result
        counts[kind] = (counts[kind] or 0) + 1
      end
    end
    assert(counts.corrupt > 1000 and counts.integer > 1000)
  end)

  faulty("that are cut off are refused, or end with nils", function()
    local bytes = T.fault.encode({ 1, 2, { x = "y" } }, "z")
    for size = 16, #bytes - 8, 8 do
      T.equal("corrupt", (T.fault.decode(bytes:sub(1, size))))
    end
    bytes = T.fault.encode(true, 1, 2.5, false)
    for size = 16, #bytes - 8, 8 do
      local n, first, _, _, last = T.fault.decode(bytes:sub(1, size))
      T.equal(4, n)
      T.equal(size > 16 and true or nil, first)
      T.equal(nil, last)
    end
  end)
end)
