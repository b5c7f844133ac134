-- Calls public functions with arguments that do not belong there, and notes
-- what is wrong with how they are refused. See spec/bad_input_spec.lua.

local helper = require "helper"
local uring = require "uring"
local values = require "bad_input.values"

local calls = {}
local pool, good = values.pool, values.good
local none = {}

-- Objects of the classes, and closed ones.
local selves = {
  ["uring.Ring"] = { "ring", "closed_ring" },
  ["uring.Sqe"] = { "sqe" },
  ["uring.Operation"] = { "op" },
  ["uring.Buffer"] = { "buffer", "closed_buffer" },
  ["uring.Fd"] = { "fd", "closed_fd" },
  ["uring.BufRing"] = { "group", "closed_group" },
  ["uring.Lease"] = { "lease", "closed_lease" },
  ["uring.Msghdr"] = { "msghdr", "closed_msghdr" },
  ["uring.Sockaddr"] = { "address" },
  ["uring.Socket"] = { "socket", "closed_socket" },
  ["uring.Stream"] = { "stream", "closed_stream" },
  ["uring.Reader"] = { "reader" },
  ["uring.Ref"] = { "ref" },
  ["uring.Task"] = { "task" },
  ["uring.Loop"] = { "loop" },
  ["uring.Scope"] = { "scope", "ended_scope" },
  ["uring.Event"] = { "event" },
  ["uring.Channel"] = { "channel", "closed_channel" },
  ["uring.Semaphore"] = { "semaphore" },
  ["uring.Mailbox"] = { "mailbox", "closed_mailbox" },
  ["uring.Address"] = { "sender", "closed_sender" },
  ["uring.Worker"] = { "worker", "closed_worker" },
}

-- Methods in Lua cannot see how they were called, and count their arguments as
-- a call with a colon does.
local in_lua = { ["uring.Socket.serve"] = true,
  ["uring.Mailbox.serve"] = true }
for _, name in ipairs { "seek", "pread", "pwrite", "sync", "truncate",
    "stat" } do
  in_lua["uring.Stream." .. name] = true
end

-- Classes whose objects no program can reach.
local private = {
  ["uring.CancelScope"] = true, ["uring.SelectWaiter"] = true,
  ["uring.Wrapped"] = true, ["uring.WaitingSend"] = true,
  ["uring.Sending"] = true, ["uring.NameWait"] = true,
  ["uring.Monitor"] = true, ["uring.Calling"] = true,
  ["uring.ServedCall"] = true,
  ["uring.Child"] = true, ["uring.Listener"] = true,
  ["uring.JobWait"] = true, ["uring.WallTimer"] = true,
}

-- What is known to be poor: function -> complaints about it, as patterns. Each
-- must still be true: with its cure it is taken out of here.
local poor = {
  -- the object that the event is of is counted
  ["uring.Event.block"] = {
    "names another argument: .*argument #3 to 'block'" },
  -- anything will do as self
  ["uring.Event.wrap"] = { "with self = .* was accepted",
    "names another argument: .*argument #1 to 'wrap'" },
  ["uring.Task.__index"] = { "" }, ["uring.Worker.__index"] = { "" },
}

-- The methods that a class's metatable gives to its objects.
local function methods_of(meta)
  local index = meta.__index
  if type(index) == "function" then
    index = select(2, debug.getupvalue(index, 2))
  end
  return index or {}
end

local metas = {}  -- name of a class -> its metatable

-- The module's own lists: name of a class (or "uring") -> functions.
local function enumerate()
  local found = { uring = {} }
  for name, value in pairs(uring) do
    if type(value) == "function" and not name:find "^_" then
      found.uring[name] = value
    end
  end
  for name, meta in pairs(debug.getregistry()) do
    if type(name) == "string" and name:find "^uring%."
        and not private[name] then
      metas[name] = meta
    end
  end
  for name, meta in pairs(metas) do
    found[name] = {}
    for method, value in pairs(methods_of(meta)) do
      if type(value) == "function" and not method:find "^_" then
        found[name][method] = value
      end
    end
  end
  return found
end

local found = enumerate()
calls.found = found

local callers = {}  -- name -> a function that calls that of its name

-- Calls a function of a table by a field, so that messages can name it.
local function caller(name)
  callers[name] = callers[name] or assert(load(
    ("local t, n, args = ... return t.%s(table.unpack(args, 1, n))")
      :format(name):gsub("return (.*)$", "return table.pack(%1)"), name))
  return callers[name]
end

-- Calls a function of a class or of the module; answers as pcall does.
local function call(class, name, args)
  return pcall(caller(name), found[class], args.n, args)
end


-- The ring works on: a NOP, and a message to itself.
local function works(ring)
  ring:queue(uring.sqe():prep_nop():set_data64(7))
  ring:queue(uring.sqe():prep_msg_ring(ring, 1, 2):set_data64(8))
  local seen = {}
  for _ = 1, 3 do
    local data, res, _, what = ring:wait_cqe(5 * helper.slow)
    seen[#seen + 1] = ("%s %s %s"):format(what, data, res)
  end
  table.sort(seen)
  local all = table.concat(seen, ", ")
  if all ~= "completion 7 0, completion 8 0, message 2 1" then
    error("the ring does not work on: " .. all, 2)
  end
end

-- All that an SQE shows of itself, as a string.
local function content(request)
  return table.concat({ tostring(request), tostring(request.len),
    tostring(request.off), tostring(request.fd), tostring(request.flags),
    tostring(request.user_data), tostring(request.ioprio),
    tostring(request.personality), tostring(request.buf_group) }, " ")
end

-- Good arguments, self included.
local function arguments(class, kinds)
  local args, first = { n = 0 }, 0
  if class ~= "uring" then
    args[1] = good[selves[class][1]]
    first = 1
  end
  for i, k in ipairs(kinds) do args[first + i] = k.good() end
  args.n = first + #kinds
  return args, first
end

-- What an expectation is told by.
local words = { "expected", "must", "closed", "unknown option", "path",
  "cannot send", "option", "what to cancel", "nothing is prepared",
  "file slot",
  "has ended", "in use", "released", "takes", "no room", "neither",
  "too long" }

local complaints

-- Begins to note complaints afresh.
function calls.begin() complaints = {} end

-- Is this complaint known? (class is left out where name has it)
local function is_known(full_name, complaint)
  for i, pattern in ipairs(poor[full_name] or none) do
    if complaint:find(pattern) then
      poor[full_name].seen = poor[full_name].seen or {}
      poor[full_name].seen[i] = true
      return true
    end
  end
end

-- A function's name with its class or the module before it.
local function full_name(class, name)
  return class == "uring" and "uring." .. name or class .. "." .. name
end

-- All that is known to be poor of a function has been seen.
local function check_poor(name)
  for i, pattern in ipairs(poor[name] or none) do
    local seen = poor[name].seen
    assert(seen and seen[i], name .. " is poor no more: " .. pattern)
  end
end

-- This call must raise, with argument number and expectation.
local function refused(class, name, args, number, what)
  local before = content(good.sqe)
  local ok, message = call(class, name, args)
  message = tostring(message)
  if in_lua[class .. "." .. name] and number > 1 then number = number - 1 end
  local said = false
  for _, word in ipairs(words) do
    said = said or message:find(word, 1, true)
  end
  local complaint
  if ok then
    complaint = "was accepted"
  elseif not said then
    complaint = "says no expectation: " .. message
  elseif not message:find(("bad argument #%d to '%s'"):format(number, name),
      1, true) then
    complaint = "names another argument: " .. message
  elseif message:find "lua/uring/%l+%.lua:%d" then
    complaint = "tells a line of the library's: " .. message
  end
  if content(good.sqe) ~= before then
    complaint = "changed the sqe: " .. content(good.sqe)
    good.sqe:prep_msg_ring(good.ring, 0x10, 0x1234)
  end
  works(good.ring)
  if complaint then
    complaint = ("%s.%s with %s %s"):format(class, name, what, complaint)
    if not is_known(full_name(class, name), complaint) then
      complaints[#complaints + 1] = complaint
    end
  end
end

-- Raises what was noted, if that is anything.
local function complain()
  if #complaints == 0 then return end
  error(("%d complaints:\n%s"):format(#complaints,
    table.concat(complaints, "\n", 1, math.min(#complaints, 12))), 0)
end

-- These arguments with another value at one place.
local function replaced(args, i, v)
  local copy = table.move(args, 1, args.n, 1, { n = args.n })
  copy[i] = v
  return copy
end

-- One function with each argument in turn replaced by each wrong value.
local function try_arguments(class, name, kinds)
  local args, first = arguments(class, kinds)
  for i, k in ipairs(kinds) do
    local at = first + i
    for _, entry in ipairs(pool) do
      local what, value = entry[1], entry[2]
      if not k.accepts(value) then
        refused(class, name, replaced(args, at, value), at, what)
      end
    end
    if not k.accepts(nil) then
      local less = replaced(args, at, nil)
      refused(class, name, less, at, "nil")
      less.n = at - 1
      refused(class, name, less, at, "no argument")
    end
    for option, value_kind in pairs(k.names or none) do
      refused(class, name, replaced(args, at, { [option .. "s"] = 1 }), at,
        "a misspelt option")
      for _, entry in ipairs(pool) do
        if not value_kind.accepts(entry[2]) then
          refused(class, name, replaced(args, at, { [option] = entry[2] }),
            at, ("%s = %s"):format(option, entry[1]))
        end
      end
    end
    if k.names then
      for _, key in ipairs { 1, 1.5, true, print, "entries\0", "" } do
        refused(class, name, replaced(args, at, { [key] = 1 }), at,
          "an option's name that is " .. tostring(key))
      end
    end
  end
end

-- One method with each other thing in its object's place.
local function try_selves(class, name, kinds)
  local mine = selves[class]
  local args = arguments(class, kinds)
  for _, entry in ipairs(pool) do
    local what, value = entry[1], entry[2]
    local own = false
    for _, known in ipairs(mine) do own = own or what == known end
    if class == "uring.Operation" then
      own = own or what == "op_of_closed"
    elseif class == "uring.Sqe" then
      own = own or what == "an unprepared sqe"
    elseif class == "uring.Socket" and found["uring.Stream"][name] then
      -- (what both have is one function, for objects of both)
      own = own or what == "stream"
    elseif class == "uring.Stream" and found["uring.Socket"][name] then
      own = own or what == "socket"
    elseif class == "uring.Address" then  -- (a worker is one)
      own = own or what == "worker" or what == "closed_worker"
    end
    local closed = mine[2] == what and not kinds.closed
    if not own or closed then
      refused(class, name, replaced(args, 1, value), 1,
        "self = " .. what)
    end
  end
  refused(class, name, replaced(args, 1, nil), 1, "self = nil")
  refused(class, name, { n = 0 }, 1, "nothing at all")
end

-- Runs f with the pool's scope being this one, which lives meanwhile.
local function with_scope(f, scope)
  for _, entry in ipairs(pool) do
    if entry[1] == "scope" then entry[2] = scope end
  end
  good.scope = scope
  f()
end

-- Runs f where this function is to be called: in a task and a scope, or not.
local function in_its_place(kinds, f)
  if kinds.outside then f()
  else uring.run(uring.scope, function(scope) with_scope(f, scope) end) end
end

-- All wrong calls of one function.
function calls.try(class, name, kinds)
  calls.begin()
  in_its_place(kinds, function()
    try_arguments(class, name, kinds)
    if class ~= "uring" then try_selves(class, name, kinds) end
  end)
  complain()
  check_poor(full_name(class, name))
end

-- Is it an object of this class, of the pool's own?
local function is_own(class, value)
  local own = false
  for object_name, o in pairs(good) do
    own = own or o == value
      and debug.getmetatable(o) == debug.getmetatable(
        good[selves[class][1]]) and object_name
  end
  return own
end

-- A class's metamethods with everything that is no object of it.
function calls.try_metamethods(class)
  calls.begin()
  for name, f in pairs(metas[class]) do
    local full = full_name(class, name)
    if type(f) == "function" and name:find "^__" and name ~= "__eq" then
      for _, entry in ipairs(pool) do
        if not is_own(class, entry[2]) and entry[1] ~= "an unprepared sqe"
            and pcall(f, entry[2]) and not is_known(full, "") then
          complaints[#complaints + 1] = name .. " " .. entry[1]
        end
      end
      if pcall(f) and not is_known(full, "") then
        complaints[#complaints + 1] = name
      end
      check_poor(full)
    end
  end
  complain()
  works(good.ring)
end

calls.works, calls.arguments, calls.full_name = works, arguments, full_name
calls.refused, calls.complain = refused, complain

return calls
