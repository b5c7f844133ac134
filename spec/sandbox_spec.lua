-- uring.sandbox: what a script that is not trusted is given; and what it tries
-- in order to get more.

local helper = require "helper"
local uring = require "uring"
local needs_ring = helper.needs_ring(it)

local FUNCTIONS <const> = { "channel", "now", "scope", "select", "semaphore",
  "shield", "sleep", "spawn", "timeout" }

-- A script's whole world: base functions that a careful host gives, and the
-- sandbox.
local function world(sandbox)
  return {
    uring = sandbox, getmetatable = getmetatable, setmetatable = setmetatable,
    rawget = rawget, rawset = rawset, pcall = pcall, xpcall = xpcall,
    error = error, next = next, pairs = pairs, ipairs = ipairs, type = type,
    tostring = tostring, select = select, assert = assert,
    coroutine = coroutine, collectgarbage = collectgarbage,
    table = { pack = table.pack, unpack = table.unpack },
  }
end

-- Runs a script in a task: what it returns.
local function script(code, mailboxes)
  local sandbox = uring.sandbox { mailboxes = mailboxes }
  local f = assert(load(code, "=script", "t", world(sandbox)))
  return uring.run(f)
end

describe("uring.sandbox", function()
  after_each(helper.clean)

  it("is a fresh table of these functions and addresses alone", function()
    local sandbox, names = uring.sandbox(), {}
    for name in pairs(sandbox) do names[#names + 1] = name end
    table.sort(names)
    local expected = { table.unpack(FUNCTIONS) }
    table.insert(expected, 2, "mailboxes")
    table.sort(expected)
    assert.same(expected, names)
    assert.same({}, sandbox.mailboxes)
    assert.is_nil(getmetatable(sandbox))
    for _, name in ipairs(FUNCTIONS) do
      assert.equal(uring[name], sandbox[name])
    end
    sandbox.spawn = nil
    assert.equal(uring.spawn, uring.sandbox().spawn)
  end)

  needs_ring("is enough for tasks, channels and messages", function()
    local mailbox <close> = assert(uring.mailbox())
    assert.equal("42 timed out", script([[
      local channel = uring.channel(1)
      uring.spawn(function() channel:send(42) end)
      local key, value = uring.select { c = channel:receiving() }
      assert(key == "c" and uring.mailboxes.log:send(value))
      local _, why = uring.timeout(0.001, uring.sleep, 60)
      uring.mailboxes.log:close()
      return value .. " " .. why
    ]], { log = mailbox }))
    assert.equal(42, mailbox:try_receive())
  end)

  needs_ring("gives addresses that are the script's own to close", function()
    local mailbox <close> = assert(uring.mailbox())
    local address <close> = mailbox:address()
    script("uring.mailboxes.log:close()", { log = address })
    assert.is_true(address:try_send(1))
    assert.equal(1, mailbox:stats().senders)
  end)

  it("refuses what is no mailbox, and unknown options", function()
    local closed = assert(uring.mailbox())
    closed:close()
    helper.mistake("mailboxes[x]: an open mailbox or address expected",
      uring.sandbox, { mailboxes = { x = 1 } })
    helper.mistake("expected, got uring.Mailbox (closed)",
      uring.sandbox, { mailboxes = { x = closed } })
    helper.mistake("unknown option 'mailbox'", uring.sandbox,
      { mailbox = {} })
    helper.mistake("option 'mailboxes' must be a table", uring.sandbox,
      { mailboxes = 1 })
    helper.mistake("table expected, got number", uring.sandbox, 1)
  end)
end)

-- All that can be reached from a value without `debug`.
local function walk(value, seen, visit)
  if value == nil or seen[value] then return end
  local kind = type(value)
  if kind ~= "table" and kind ~= "userdata" then return end
  seen[value] = true
  visit(value)
  walk(getmetatable(value), seen, visit)
  if kind == "table" then
    for k, v in next, value do
      walk(k, seen, visit)
      walk(v, seen, visit)
    end
  end
end

describe("a script in a sandbox", function()
  after_each(helper.clean)

  -- What it can get: each kind of object that its functions make, and what
  -- these give it when it takes part in a select.
  local LOOT <const> = [[
    local loot, channel = {}, uring.channel(4)
    local function keep(...)
      for _, v in ipairs { ... } do loot[#loot + 1] = v end
      return ...
    end
    keep(uring, channel, uring.semaphore(1), channel:receiving(),
      channel:sending(1), channel:messages())
    keep(uring.mailboxes.log, uring.mailboxes.log:sending(1))
    keep(channel:receiving():wrap(function() end))
    keep(channel:receiving():wrap(function() end):wrap(function() end))
    local task = keep(uring.spawn(uring.sleep, 60))
    keep(task:joining(), task:status())
    task:cancel(loot)
    keep(task:join())
    keep(pcall(uring.scope, function(scope)
      keep(scope, scope:spawn(error, { "mine" }))
      keep(scope:failures())
      uring.sleep(60)
    end))
    keep(uring.timeout(0.001, function()
      keep(pcall(uring.sleep, 60))     -- uring.cancelled
    end))
    local mine = {}
    function mine:try(waiter) keep(waiter) return waiter ~= nil, 1 end
    function mine:block(waiter) keep(waiter) end
    function mine:cancel(waiter) keep(waiter) end
    keep(uring.select { mine })
    keep(uring.select({ channel:receiving() }, 0))
    for _, f in next, uring do keep(pcall(f)) keep(pcall(f, {}, {})) end
    return loot
  ]]

  local function loot()
    local mailbox <close> = assert(uring.mailbox())
    return script(LOOT, { log = mailbox })
  end

  needs_ring("reaches no ring, descriptor, name or loop", function()
    local allowed, n = {}, 0
    for _, name in ipairs { "Channel", "Semaphore", "Event", "Task", "Scope",
        "Address", "cancelled" } do allowed["uring." .. name] = true end
    walk(loot(), {}, function(value)
      n = n + 1
      if type(value) == "userdata" then
        assert(allowed[getmetatable(value)], tostring(value))
      end
    end)
    assert(n >= 20, n)
  end)

  needs_ring("reaches no table that the library itself uses", function()
    local theirs = {}
    walk(loot(), {}, function(value) theirs[value] = true end)
    -- the tables of the library's functions: their upvalues, to any depth
    local seen = { [_G] = true, [package.loaded] = true }
    local function visit(value, path)
      if seen[value] then return end
      local kind = type(value)
      if kind ~= "table" and kind ~= "function" then return end
      seen[value] = true
      if kind == "table" then
        assert(not theirs[value], path)
        for k, v in next, value do visit(v, path .. "." .. tostring(k)) end
        local meta = debug.getmetatable(value)
        if meta then visit(meta, path .. "<meta>") end
        return
      end
      for i = 1, math.huge do
        local name, v = debug.getupvalue(value, i)
        if not name then break end
        visit(v, path .. "^" .. name)
      end
    end
    for name, value in next, uring do
      if type(value) == "function" then visit(value, name) end
    end
  end)

  needs_ring("has nothing to write to that another script has", function()
    script [[
      local _, cancelled = uring.timeout(0.001, function()
        return pcall(uring.sleep, 60)
      end)
      local task = uring.spawn(function()
        local ok, why = pcall(uring.sleep, 60)
        assert(not ok and type(why) == "userdata" and why.anything == nil)
        assert(tostring(why) == "uring.cancelled")
        assert(not pcall(function() why.anything = 1 end))
        assert(not pcall(rawset, why, "anything", 1))
        assert(not pcall(setmetatable, why, {}))
        error(why)
      end)
      uring.sleep(0)
      task:cancel()
      assert(select(3, task:join()) == 125)
    ]]
  end)

  needs_ring("cannot change what a select of the host does", function()
    local mailbox <close> = assert(uring.mailbox())
    script([[
      local channel, waiters = uring.channel(1), {}
      local mine = {}
      function mine:try(waiter) waiters[1] = waiter return waiter ~= nil end
      function mine:block() end
      function mine:cancel() end
      uring.select { mine }
      local function spoil(object)
        local meta = getmetatable(object)
        if type(meta) == "table" then
          for k in next, meta do meta[k] = function() error "spoiled" end end
          meta.try = function() error "spoiled" end
        end
        pcall(setmetatable, object, nil)
      end
      spoil(waiters[1])
      spoil(channel:receiving():wrap(function() end))
    ]], { log = mailbox })
    assert.equal("x!", uring.run(function()
      local channel = uring.channel()
      uring.spawn(channel.send, channel, "x")
      return (select(2, uring.select { channel:receiving()
        :wrap(function(v) return v .. "!" end) }))
    end))
  end)
end)
