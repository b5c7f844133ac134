-- The types that lua/uring/meta.lua declares for results are those that calls
-- give: a sample of functions and methods is called, each where it works and
-- where it fails, and every result is compared with its `---@return` line.

local helper = require "helper"
local uring = require "uring"
local needs_ring = helper.needs_ring(it)

local META = "lua/uring/meta.lua"

-- ---- what is declared ------------------------------------------------------

-- name -> array of { type =, name =, rest = }; class -> name -> type
local returns, classes, aliases = {}, {}, {}

-- The type that a text begins with, and what comes after it: a type has
-- spaces only within brackets and quotes, and around "|".
local function split_type(text)
  local depth, at, quoted = 0, 1, false
  while at <= #text do
    local c = text:sub(at, at)
    if c:find "[({<]" then depth = depth + 1
    elseif c:find "[)}>]" then depth = depth - 1
    elseif c == '"' then quoted = not quoted
    elseif c == " " and depth == 0 and not quoted then
      local after = text:match("^ | ()", at)
      if not after and text:find("^async fun", at - 5) then after = at + 1 end
      if not after and text:sub(at - 1, at - 1) == ":" then after = at + 1 end
      if not after then break end
      at = after - 1
    end
    at = at + 1
  end
  return text:sub(1, at - 1), text:sub(at + 1)
end

local function read_meta()
  local results, class, alias = {}, nil, nil
  for line in helper.content(META):gmatch "([^\n]*)\n" do
    local tag, text = line:match "^%-%-%-@(%a+) (.*)$"
    local more = line:match "^%-%-%-| (.*)$"
    if tag == "return" then
      local kind, rest = split_type(text)
      results[#results + 1] = {
        type = kind, name = rest:match "^[%w_.]+",
      }
    elseif tag == "class" then
      class = text:match "^[%w_.]+"
      classes[class] = classes[class] or {}
    elseif tag == "field" then
      local name, rest = text:match "^(%S+) (.*)$"
      classes[class][name] = split_type(rest)
    elseif tag == "alias" then
      local name, rest = text:match "^(%S+) ?(.*)$"
      alias = name
      aliases[alias] = split_type(rest)
    elseif more then
      local before = aliases[alias]
      aliases[alias] = (before == "" and "" or before .. "|")
        .. split_type(more)
    end
    local name = line:match "^function ([%w_.:]+)%("
    if name then returns[name] = results end
    if not line:find "^%-%-%-" then results = {} end
  end
end

read_meta()

-- The parts of a list at its outer level.
local function parts(text, separator)
  local found, depth, from = {}, 0, 1
  for at = 1, #text do
    local c = text:sub(at, at)
    if c:find "[({<]" then depth = depth + 1
    elseif c:find "[)}>]" then depth = depth - 1
    elseif c == separator and depth == 0 then
      found[#found + 1] = text:sub(from, at - 1)
      from = at + 1
    end
  end
  found[#found + 1] = text:sub(from)
  for i, part in ipairs(found) do found[i] = part:match "^%s*(.-)%s*$" end
  return found
end

local is                                -- is(type, value)

local PLAIN = {
  any = function() return true end,
  K = function() return true end,       -- (generic)
  integer = function(v) return math.type(v) == "integer" end,
}
for _, name in ipairs { "nil", "boolean", "string", "number", "table",
    "function" } do
  PLAIN[name] = function(v) return type(v) == name end
end
PLAIN["true"] = function(v) return v == true end
PLAIN["false"] = function(v) return v == false end
PLAIN["file*"] = function(v) return io.type(v) ~= nil end

-- A plain table has the fields that are declared, and no other.
local function has_fields(fields, value)
  if type(value) ~= "table" then return false end
  for name, kind in pairs(fields) do
    local key = name:match "^([%w_]+)%??$"
    local index = name:match "^%[(%d+)%]%??$"
    if key or index then
      local v = value[key or math.tointeger(tonumber(index))]
      if not (v == nil and name:find "%?$") and not is(kind, v) then
        return false
      end
    end
  end
  for key, v in pairs(value) do
    local name = type(key) == "string" and key or ("[%s]"):format(key)
    local others = type(key) == "integer" and fields["[integer]"]
    if not fields[name] and not fields[name .. "?"]
        and not (others and is(others, v)) then
      return false
    end
  end
  return true
end

local function is_one(kind, value)
  local optional = kind:match "^(.*)%?$"
  if optional then return value == nil or is(optional, value) end
  local element = kind:match "^(.*)%[%]$"
  if element then
    if type(value) ~= "table" then return false end
    for _, v in ipairs(value) do
      if not is(element, v) then return false end
    end
    return true
  end
  local group = kind:match "^%((.*)%)$"
  if group then return is(group, value) end
  local literal = kind:match '^"(.*)"$'
  if literal then return value == literal end
  local from, to = kind:match "^table<(.-), (.*)>$"
  if from then
    if type(value) ~= "table" then return false end
    for k, v in pairs(value) do
      if not is(from, k) or not is(to, v) then return false end
    end
    return true
  end
  local record = kind:match "^{ (.*) }$"
  if record then
    local fields = {}
    for _, field in ipairs(parts(record, ",")) do
      local name, field_kind = field:match "^(%S+): (.*)$"
      fields[name] = field_kind
    end
    return has_fields(fields, value)
  end
  if kind:find "^fun%(" or kind:find "^async fun%(" then
    return type(value) == "function"
  end
  if PLAIN[kind] then return PLAIN[kind](value) end
  if aliases[kind] then return is(aliases[kind], value) end
  local fields = assert(classes[kind], "no such type: " .. kind)
  local meta = debug.getmetatable(value)
  if type(meta) == "table" and meta.__name == kind then return true end
  return has_fields(fields, value)
end

function is(kind, value)
  for _, one in ipairs(parts(kind, "|")) do
    if is_one(one, value) then return true end
  end
  return false
end


-- ---- what is given ---------------------------------------------------------

local called = {}                       -- name -> { works =, fails = }

-- What was given, as many as it was and of those types?
local function compare(name, given)
  local declared = assert(returns[name], name .. " is not in " .. META)
  local rest
  for i = 1, math.max(#declared, given.n) do
    local r = declared[i] or rest
    if not r then
      error(("%s gave %d results, not %d"):format(name, given.n, #declared))
    end
    if r.name == "..." then rest = r end
    local missing = i > given.n and r.name == "..."
    if not missing and not is(r.type, given[i]) then
      error(("%s: result %d is %s, which is no %s"):format(name, i,
        tostring(given[i]), r.type))
    end
  end
end

local function note(name, how)
  called[name] = called[name] or {}
  called[name][how] = true
end

-- The function, and its arguments with the object before them.
local function find(name, ...)
  local object, method = ..., name:match ":(.*)$"
  if method then return object[method] end
  local f = uring
  for key in name:gsub("^uring%.", ""):gmatch "%w[%w_]*" do f = f[key] end
  return f
end

-- This call succeeds; answers its results.
local function works(name, ...)
  local given = table.pack(find(name, ...)(...))
  compare(name, given)
  for i, r in ipairs(returns[name]) do
    if (r.name == "message" or r.name == "errno") and given[i] ~= nil then
      error(("%s failed: %s"):format(name, given[i]))
    end
  end
  note(name, "works")
  return table.unpack(given, 1, given.n)
end

-- This call fails: nil, a message and an errno, each where it is declared.
local function fails(errno, name, ...)
  local given = table.pack(find(name, ...)(...))
  compare(name, given)
  assert.same({ nil, "string", uring.errno[errno] },
    { given[1], type(given[2]), given[3] }, name)
  note(name, "fails")
end

local function sqe() return uring.sqe() end

-- Requests that fail, and one that takes its time.
local function bad() return sqe():prep_read(-1, uring.buffer(1)) end
local function long() return sqe():prep_timeout(100) end

describe("the results that meta.lua declares", function()
  describe("are read", function()
    it("as types and names", function()
      assert.same({ "integer?", "res" },
        { returns["uring.await"][1].type, returns["uring.await"][1].name })
      assert.same({ "integer|string", "flags" },
        { returns["uring.await"][2].type, returns["uring.await"][2].name })
      assert.equal("...", returns["uring.run"][1].name)
      assert.equal(0, #returns["uring.sleep"])
    end)

    it("so that a wrong one is seen", function()
      assert.has_error(function() compare("uring.now", { n = 0 }) end)
      assert.has_error(function() compare("uring.now", { "1", n = 1 }) end)
      assert.has_error(function() compare("uring.now", { 1, 2, n = 2 }) end)
      assert.has_error(function() compare("uring.sqe", { {}, n = 1 }) end)
      assert.has_error(function() compare("uring.sleep", { 1, n = 1 }) end)
      assert.has_error(function()
        compare("Socket:stats", { { waiting = 1 }, n = 1 })
      end)
      compare("uring.now", { 1.5, n = 1 })
    end)

    it("and every type in them is known", function()
      for name, declared in pairs(returns) do
        for _, r in ipairs(declared) do
          assert(pcall(is, r.type, nil), name .. ": " .. r.type)
        end
      end
    end)
  end)

  needs_ring("are those of rings by hand", function()
    local ring <close> = works("uring.ring")
    fails("EINVAL", "uring.ring", { flags = 1 << 31 })
    local nop = works("uring.sqe"):prep_nop()
    works("Sqe:set_data64", nop, 7)
    works("Sqe:prep_nop", sqe())
    works("uring.probe")
    works("Ring:queue", ring, nop)
    works("Ring:queue", ring, nop, nop)
    works("Ring:submit", ring)
    works("Ring:submit_and_wait", ring, 3, 1.0)
    works("Ring:peek_cqe", ring)
    works("Ring:wait_cqe", ring, 1.0)
    works("Ring:wait_cqe", ring)
    fails("EAGAIN", "Ring:peek_cqe", ring)
    works("Ring:cqes", ring)
    fails("ETIME", "Ring:wait_cqe", ring, 0)
    works("Ring:flags", ring)
    works("Ring:features", ring)
    works("Ring:fd", ring)
    works("Ring:stats", ring)
    local ref = works("Ring:ref", ring)
    works("Ref:closed", ref)

    works("Ring:register_files_sparse", ring, 2)
    fails("EBUSY", "Ring:register_files_sparse", ring, 2)
    works("Ring:register_files_update", ring, 0, { false })
    works("Ring:unregister_files", ring)
    fails("ENXIO", "Ring:unregister_files", ring)
    fails("ENOENT", "Ring:register_sync_cancel", ring, { fd = 0 })

    local other <close> = assert(uring.ring())
    local message = sqe():prep_msg_ring(other, 0, 0)
    other:close()
    fails("EPIPE", "Ring:queue", ring, message)
    works("Ring:close", ring)
    works("Ref:closed", ref)
  end)

  needs_ring("are those of messages", function()
    helper.needs "sync_msg"
    local ring = assert(uring.ring())
    local message = sqe():prep_msg_ring(ring, 1, 2)
    works("uring.register_sync_msg", message)
    assert(ring:wait_cqe(1.0))
    ring:close()
    fails("EPIPE", "uring.register_sync_msg", message)
  end)

  needs_ring("are those of memory and descriptors", function()
    local buffer = works("uring.buffer", "memory")
    works("Buffer:string", buffer)
    works("Buffer:write", buffer, 0, "M")
    works("Buffer:resize", buffer, 9)
    works("Buffer:close", buffer)
    works("uring.sockaddr", "127.0.0.1:53")
    works("uring.sockaddr", "unix:/x")

    local there, here = works("uring.socketpair")
    local number = assert(uring.run(uring.await,
      sqe():prep_openat(uring.AT_FDCWD, "LICENSE")))
    local fd = works("uring.fd", number)
    works("Fd:fileno", fd)
    fails("EEXIST", "uring.fd", number)
    works("Fd:close", fd)
    there:close()
    here:close()

    local message = works("uring.msghdr", { iov = { "bytes" } })
    works("Msghdr:name", message)
    works("Msghdr:control", message)
    works("Msghdr:flags", message)
    works("Msghdr:close", message)
  end)

  needs_ring("are those of waits", function()
    works("uring.run", function() return 1, nil, "x" end)
    fails("ECANCELED", "uring.run", function()
      uring.current():cancel()
      uring.sleep(1)
    end)
    local loop = works("uring.loop")
    local ring = works("Loop:ring", loop)
    works("Loop:spawn", loop, function() end)
    works("uring.spawn", function() end)
    works("Loop:step", loop)
    works("Loop:step", loop, { max = 9, seconds = 0.01, gc = true })
    works("Loop:timeout", loop)
    works("Loop:fd", loop)
    works("Loop:stats", loop)
    helper.run(function()
      works("uring.now")
      works("uring.current")
      works("uring.sleep", 0)
      works("uring.await", sqe():prep_nop())
      fails("EBADF", "uring.await", bad())
      fails("ETIME", "uring.await", long(), 0)
      works("Ring:await", ring, sqe():prep_nop())
      fails("EBADF", "Ring:await", ring, bad())
      works("Ring:await_chain", ring, { sqe():prep_nop(), bad() })
      fails("ETIME", "Ring:await_chain", ring, { sqe():prep_nop(), long() },
        0.01)

      local op = ring:queue(long())
      works("Operation:status", op)
      fails("ETIME", "Operation:await", op, 0)
      works("Operation:cancel", op)
      fails("ECANCELED", "Operation:await", op)
      fails("ESRCH", "Operation:await", op)
      works("Operation:await", ring:queue(sqe():prep_nop()))
      works("Operation:completions", ring:queue(sqe():prep_nop()))

      local other <close> = assert(uring.ring())
      fails("ETIME", "Ring:receive", other, 0)
      assert(uring.await(sqe():prep_msg_ring(other, 1, 2)))
      works("Ring:receive", other)
      works("Ring:messages", other)
      works("Ring:receiving", other)
    end)
  end)

  needs_ring("are those of tasks and scopes", function()
    helper.run(function()
      local task = works("uring.spawn", function() return 1, 2 end)
      works("Task:status", task)
      works("Task:joining", task)
      works("Task:join", task)
      works("Task:reason", task)
      local sleeper = works("uring.spawn", helper.forever)
      fails("ETIME", "Task:join", sleeper, 0)
      works("uring.tasks")
      works("uring.tree")
      works("Task:cancel", sleeper)
      fails("ECANCELED", "Task:join", sleeper)
      works("uring.daemon", helper.forever)

      local kept
      works("uring.scope", function(scope)
        kept = scope
        works("Scope:spawn", scope, uring.sleep, 0)
        return "a", nil
      end)
      fails("ECANCELED", "uring.scope", function(scope)
        works("Scope:cancel", scope)
        uring.sleep(1)
      end)
      works("Scope:failures", kept)
      pcall(uring.scope, function(scope)
        kept = scope
        error "failed"
      end)
      assert.equal(1, #works("Scope:failures", kept))

      works("uring.timeout", 1, function() return 1 end)
      fails("ETIME", "uring.timeout", 0.001, uring.sleep, 1)
      works("uring.shield", 1, function() return 1 end)
      works("uring.pcall", error, "x")
      works("uring.wrap", function() end)
    end)
  end)

  needs_ring("are those of events, channels and semaphores", function()
    helper.run(function()
      local channel = works("uring.channel", 1)
      works("Channel:send", channel, "one", 1)
      fails("EAGAIN", "Channel:try_send", channel, "two")
      works("Channel:receive", channel)
      fails("EAGAIN", "Channel:try_receive", channel)
      fails("ETIME", "Channel:receive", channel, 0)
      works("Channel:try_send", channel, "three")
      works("Channel:try_receive", channel)
      works("Channel:sending", channel, "four")
      local receiving = works("Channel:receiving", channel)
      fails("ETIME", "uring.select", { receiving }, 0)
      channel:send("five", 5)
      works("uring.select", { it = receiving, late = uring.after(9) })
      works("Channel:messages", channel)
      works("Channel:close", channel)
      fails("EPIPE", "Channel:send", channel, "six")
      fails("EPIPE", "Channel:receive", channel)

      works("uring.after", 1)
      works("uring.at", 1)
      works("uring.at_time", 1)
      works("uring.time")
      local ticks = works("uring.every", 0.001)
      works("Ticks:receive", ticks)
      works("Ticks:receiving", ticks)
      fails("ETIME", "Ticks:receive", works("uring.every", 3600), 0)
      works("Ticks:messages", ticks)
      works("Ticks:close", ticks)
      works("uring.event", helper.forever)
      works("Event:wrap", uring.after(1), tostring)

      local semaphore = works("uring.semaphore", 1)
      works("Semaphore:acquire", semaphore)
      fails("ETIME", "Semaphore:acquire", semaphore, 0)
      fails("EAGAIN", "Semaphore:try_acquire", semaphore)
      works("Semaphore:release", semaphore)
      works("Semaphore:try_acquire", semaphore)
      works("Semaphore:acquiring", semaphore)
    end)
  end)

  needs_ring("are those of sockets", function()
    helper.run(function()
      local listener <close> = works("uring.tcp.listen", "127.0.0.1:0")
      fails("EADDRINUSE", "uring.tcp.listen", listener:getsockname())
      local address = works("Socket:getsockname", listener)
      fails("ETIME", "Socket:accept", listener, 0)
      fails("ENOTCONN", "Socket:getpeername", listener)
      local near <close> = works("uring.tcp.connect", address, 1)
      local far <close> = works("Socket:accept", listener, 1)
      works("Socket:getpeername", near)
      works("Socket:setsockopt", near, "TCP_NODELAY", true)
      works("Socket:getsockopt", near, "TCP_NODELAY")
      fails("ENOPROTOOPT", "Socket:getsockopt", near, uring.SOL_SOCKET, 9999)
      fails("ENOPROTOOPT", "Socket:setsockopt", near, uring.SOL_SOCKET, 9999,
        1)
      works("Socket:send", near, "hello")
      works("Socket:recv", far, 2, 1)
      works("Socket:recvfrom", far, 1, 1)
      works("Socket:receive", far, nil, 1)
      fails("ETIME", "Socket:recv", far, 1, 0)
      fails("ETIME", "Socket:recvfrom", far, 1, 0)
      fails("ETIME", "Socket:receive", far, 1, 0)
      fails("EAGAIN", "Socket:try_receive", far)
      works("Socket:try_send", near, "tried")
      works("Socket:try_receive", far)
      works("Socket:sendmsg", near, { data = "message" })
      local file <close> = assert(io.open "/proc/self/cmdline")
      works("Socket:sendfile", near, file)
      fails("ESPIPE", "Socket:sendfile", near, far)
      works("Socket:stats", far)
      works("Socket:fileno", far)
      works("Socket:chunks", far)
      works("Socket:messages", far)
      works("Socket:connections", listener)
      works("Socket:receiving", far)
      works("Socket:sending", near, "x")
      works("Socket:accepting", listener)
      works("Socket:shutdown", near, "write")
      fails("EPIPE", "Socket:send", near, "more")
      assert(far:recv())
      works("Socket:recv", far)           -- the end: a single nil
      works("Socket:receive", far)
      works("Socket:close", far)

      works("uring.resolve", "127.0.0.1", 80)
      fails("ETIME", "uring.resolve", "no-such-host.invalid", 80, 0)
      listener:close()
      fails("ECONNREFUSED", "uring.tcp.connect", address, 1)
      local server <close> = works("uring.udp.bind", "127.0.0.1:0")
      fails("EADDRINUSE", "uring.udp.bind", server:getsockname())
      local client <close> = works("uring.udp.connect", server:getsockname())
      works("Socket:send", client, "one")
      local _, from = works("Socket:receive", server, 1, 1)
      works("Socket:sendto", server, "two", from, 1)
      fails("EMSGSIZE", "Socket:sendto", server, ("x"):rep(70000), from)
      works("Socket:sendmsg", server, { { data = "a", name = from } })
      fails("EAFNOSUPPORT", "uring.socket", 999, uring.SOCK_STREAM)
      works("uring.socket", uring.AF_INET, uring.SOCK_STREAM):close()
    end)
  end)

  needs_ring("are those of provided buffers", function()
    helper.run(function()
      local ring = uring.loop():ring()
      local group = works("Ring:buf_ring", ring, { entries = 2, size = 64 })
      fails("EEXIST", "Ring:buf_ring", ring, { bgid = group:bgid() })
      works("BufRing:bgid", group)
      works("BufRing:stats", group)
      local a, b = assert(uring.socketpair())
      local function received(text)
        assert(a:send(text))
        local receive = sqe():prep_recv(b, nil)
        receive:set_flags(uring.IOSQE_BUFFER_SELECT)
        return uring.await(receive:set_buf_group(group:bgid()))
      end
      local res, flags = received "one"
      local lease = works("BufRing:lease", group, res, flags)
      fails("EINVAL", "BufRing:lease", group, res, flags)
      works("Lease:string", lease)
      works("Lease:release", lease)
      res, flags = received "two"
      works("BufRing:string", group, res, flags)
      fails("EINVAL", "BufRing:string", group, res, flags)
      works("BufRing:close", group)
      a:close()
      b:close()
    end)
  end)

  needs_ring("were tried of more than a hundred functions", function()
    local n, failed = 0, 0
    for _, how in pairs(called) do
      n = n + 1
      if how.fails then failed = failed + 1 end
    end
        assert(n > 100, n)
    assert(failed >= 30, failed)
  end)
end)
