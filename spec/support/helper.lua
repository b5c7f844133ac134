-- What specs share: what this kernel can do, patience, scratch files, other
-- interpreters, garbage, descriptors.
--
--     local helper = require "helper"
--     local it = helper.needs_ring(it)
--
--     it("does x", function()
--       helper.needs "sync_msg"
--       ...
--     end)

local spec = require "uring_spec"
local uring = require "uring"

local helper = {}

-- How many times slower than usual this machine is, for time limits.
helper.slow = tonumber(os.getenv "URING_SLOW") or 1

-- The interpreter's name, which its package, headers and library have too.
helper.lua = (os.getenv "LUA" or "lua5.4"):match "[^/]*$"

helper.probe = uring.probe()

-- What a test calls `pending` is given to spec files alone; any instance of
-- busted's core raises the same. (Not loaded by scripts, which skip nothing.)
local function skip(...)
  require "busted.core"().pending(string.format(...))
end

helper.skip = skip

-- In a test: skip it where io_uring is refused. Given `it`, answers one
-- whose tests all do that.
function helper.needs_ring(it)
  if not it then
    if not helper.probe.available then skip("%s", helper.probe.reason) end
    return
  end
  return function(name, f)
    it(name, function()
      helper.needs_ring()
      f()
    end)
  end
end

-- In a test: skip it where the kernel lacks one of these (see
-- uring.probe().features).
function helper.needs(...)
  helper.needs_ring()
  for _, name in ipairs { ... } do
    local feature = helper.probe.features[name]
    assert(feature, "no such feature: " .. name)
    if not feature.works then
      skip("%s: %s (this is %s)", name, feature.note, helper.probe.kernel)
    end
  end
end

-- In a test: skip it where the kernel is older.
function helper.needs_linux(major, minor)
  local a, b = helper.probe.kernel:match "^(%d+)%.(%d+)"
  if tonumber(a) < major or tonumber(a) == major and tonumber(b) < minor then
    skip("needs Linux %d.%d (this is %s)", major, minor, helper.probe.kernel)
  end
end

-- In a test: skip it where the collector cannot be made to finish a cycle in
-- the middle of a call, as 5.4's can.
function helper.needs_eager_collector()
  if _VERSION ~= "Lua 5.4" then
    helper.skip("needs Lua 5.4 (this is %s)", _VERSION)
  end
end

-- Calls f, under pcall, and in its n-th allocation, or later, `deed`, as
-- a finalizer; false if it makes not as many. Needs an eager collector.
function helper.in_allocation(n, deed, f, ...)
  local armed = true
  local function arm()
    setmetatable({}, { __gc = function()
      if not armed then return end
      n = n - 1
      if n > 0 then arm()
      else
        armed = false
        deed()
      end
    end })
  end
  helper.collect()
  collectgarbage "stop"
  collectgarbage("incremental", 10, 1000, 30)  -- a cycle each time
  arm()
  collectgarbage "restart"
  pcall(f, ...)
  collectgarbage("incremental", 200, 100, 13)
  local done = not armed
  armed = false
  return done
end

-- Does this kernel have it?
function helper.has(name)
  local feature = helper.probe.features[name]
  assert(feature, "no such feature: " .. name)
  return feature.works
end

-- Runs f until it answers something true, and answers that; raises when that
-- takes more than `seconds` (2, more where it is slow).
function helper.eventually(f, seconds)
  local limit = os.time() + (seconds or 2) * helper.slow + 1
  repeat
    local answer = f()
    if answer then return answer end
    spec.sleep(0.001)
  until os.time() > limit
  error("it did not happen in time", 2)
end

-- f must raise, and say `words` (plain text).
function helper.raises(words, f, ...)
  local ok, message = pcall(f, ...)
  if ok then error("no error was raised: " .. words, 2) end
  message = tostring(message)
  if not message:find(words, 1, true) then
    error(("the error does not say %q:\n%s"):format(words, message), 2)
  end
  return message
end

-- f, called with these, must raise, say `words`, and name the line that has
-- called it: the user's, not the library's.
function helper.mistake(words, f, ...)
  local function caller(...)
    local result = f(...)
    return result
  end
  local why = helper.raises(words, caller, ...)
  local info = debug.getinfo(caller, "S")
  local place = ("%s:%d: "):format(info.short_src, info.linedefined + 1)
  if why:sub(1, #place) ~= place then
    error(("the error does not begin with %q:\n%s"):format(place, why), 2)
  end
end

-- uring.run, whose main function must come to its end: one that was cancelled
-- ends a run without an error.
function helper.run(main)
  local ended
  uring.run(function()
    main()
    ended = true
  end)
  if not ended then error("the main task was cancelled", 2) end
end

-- uring.run must fail, and say `words`.
function helper.fails(words, main)
  return helper.raises(words, uring.run, main)
end

-- The rest must be nil, a message that has these words, and this errno.
function helper.refused(errno, words, ok, message, code)
  if ok ~= nil or code ~= errno or not message:find(words, 1, true) then
    error(("%s, %q, %s: not nil, %q, %s"):format(ok, tostring(message), code,
      words, errno), 2)
  end
end

-- Output must have these words.
function helper.includes(words, output)
  if not output:find(words, 1, true) then
    error(("%q is not in:\n%s"):format(words, output), 2)
  end
end

-- A NOP, as an SQE; `data` is its user_data (0).
function helper.nop(data)
  return uring.sqe():prep_nop():set_data64(data or 0)
end

-- n turns of the loop (3). When they are over, tasks that were to wait for
-- something do wait, and what is ready has run. (In a task.)
function helper.turns(n)
  for _ = 1, n or 3 do uring.sleep(0) end
end

-- f, protected, so deep in calls that for n = 5,000 some 40,000 slots of the
-- stack are in use.
function helper.deep(n, f)
  if n == 0 then
    local ok, why = pcall(f)
    return ok, why
  end
  local used = select("#", table.unpack({}, 1, 200))
  local ok, why = helper.deep(n - 1, f)
  return ok, why, used
end

-- How many requests are in flight on a ring (the loop's) but for the
-- library's own. Its books must balance.
function helper.in_flight(ring)
  local stats = helper.lawful(ring or uring.loop():ring())
  return stats.in_flight - stats.internal
end

-- What the first step of an iterator gives, as by a loop that breaks there:
--     helper.first(socket:messages())
function helper.first(next, state, control, closer)
  local _ <close> = closer
  return next(state, control)
end

-- What a task does that ends when it is cancelled only.
function helper.forever() uring.sleep(20) end

-- A task that is in its wait when this returns, and its coroutine.
function helper.started(f, ...)
  local co
  local task = uring.spawn(function(...)
    co = coroutine.running()
    return f(...)
  end, ...)
  helper.turns()
  return task, co
end

-- For after_each, in specs of tasks: none is left, and the loop is idle.
function helper.no_tasks()
  helper.idle_loop()
  assert(#uring.tasks() == 0, "tasks are left")
end

-- A to-be-closed variable that calls f.
function helper.finally(f)
  return setmetatable({}, { __close = f })
end


-- Scratch files and pipes. They are removed and closed by helper.clean, which
-- specs that make some give to after_each.

local made, pipes = {}, {}

-- A name for a scratch file.
function helper.tmpname()
  local name = os.tmpname()
  made[#made + 1] = name
  return name
end

-- A file with this content.
function helper.file(content)
  local name = helper.tmpname()
  local file <close> = assert(io.open(name, "w"))
  file:write(content)
  return name
end

-- What is in a file.
function helper.content(name)
  local file <close> = assert(io.open(name))
  return file:read "a"
end

-- The memory of the process that is in use, in bytes. (Without huge pages: the
-- kernel makes one of the few pages of an arena when it likes.)
function helper.resident()
  local text = helper.content "/proc/self/smaps_rollup"
  return (text:match "\nRss: +(%d+)" - text:match "\nAnonHugePages: +(%d+)")
    * 1024
end

-- The two ends of a pipe: to read from, to write to.
function helper.pipe()
  local r, w = spec.pipe()
  pipes[#pipes + 1], pipes[#pipes + 2] = r, w
  return r, w
end

-- For after_each: removes the files and closes the pipes.
function helper.clean()
  for i = #made, 1, -1 do
    os.remove(made[i])
    made[i] = nil
  end
  for i = #pipes, 1, -1 do
    spec.close(pipes[i])
    pipes[i] = nil
  end
end


-- Runs Lua code in another interpreter like this one, with the same modules;
-- answers its exit status (128 + signal where that ended it) and its output.
function helper.script(code, ...)
  local name = helper.file(code)
  local status, output = spec.execute(30 * helper.slow, "/proc/self/exe",
    name, ...)
  os.remove(name)
  return status, output
end

-- The same, for one that must go well.
function helper.script_ok(code, ...)
  local status, output = helper.script(code, ...)
  if status ~= 0 then
    error(("status %d:\n%s"):format(status, output), 2)
  end
  return output
end

-- The same with a function that has no upvalues: it must require what it
-- needs. `before` is code that runs first; f gets the other arguments, as
-- strings.
function helper.apart(f, before, ...)
  return helper.script_ok(("%s\nload(%q)(...)"):format(before or "",
    string.dump(f)), ...)
end

-- Runs f in a forked child; answers as helper.script does of its status. The
-- child ends without what an exit would do, so nothing here runs twice.
function helper.child(f)
  local pid = spec.fork()
  if pid > 0 then return spec.wait(pid) end
  local ok, message = xpcall(f, debug.traceback)
  -- (an error of luassert's is a table)
  if not ok then io.stderr:write("in the child: ", tostring(message), "\n") end
  spec._exit(ok and 0 or 1)
end

-- The same, where f must go well.
function helper.in_child(f)
  local status = helper.child(f)
  if status ~= 0 then error(("status %d of a child"):format(status), 2) end
end


-- Twice: what a finalizer lets go is collected the next time.
function helper.collect()
  collectgarbage()
  collectgarbage()
end

-- Runs f with all garbage collected between any two of its lines, also in
-- the coroutines that it makes.
function helper.each_step_gc(f, ...)
  debug.sethook(function() collectgarbage() end, "l")
  local result = table.pack(pcall(f, ...))
  debug.sethook()
  if not result[1] then error(result[2], 0) end
  return table.unpack(result, 2, result.n)
end

-- How many descriptors are open.
function helper.fds()
  return (spec.fds())
end

-- The loop's doorbell, which other threads ring, is made when it is first
-- needed; before Linux 6.13 it is a descriptor. Make it now.
function helper.make_doorbell()
  local probe = helper.probe
  if probe.available and not probe.features.sync_msg.works then
    pcall(uring.run, function()
      local box <close> = uring.mailbox()
      box:receive(0.0001)
    end)
  end
end

-- f must leave as many descriptors open as there were, once its garbage is
-- gone; says which are more where it does not.
function helper.keeps_fds(f, ...)
  helper.make_doorbell()
  helper.collect()
  local before, was = spec.fds()
  f(...)
  helper.collect()
  local after, is = spec.fds()
  if before == after then return end
  local words = {}
  for fd, what in pairs(is) do
    if was[fd] ~= what then words[#words + 1] = fd .. " " .. what end
  end
  error(("%d descriptors before, %d after: %s"):format(before, after,
    table.concat(words, ", ")), 2)
end

-- A ring's books must balance: see csrc/ring/op_table.h.
function helper.lawful(ring)
  local s = ring:stats()
  local sum = s.completed + s.silent + s.in_flight
  if s.submitted ~= sum then
    error(("submitted %d ~= completed %d + silent %d + in flight %d"):format(
      s.submitted, s.completed, s.silent, s.in_flight), 2)
  end
  if s.internal > s.in_flight then
    error(("internal %d > in flight %d"):format(s.internal, s.in_flight), 2)
  end
  return s
end

-- After a test: nothing but the library's own is in flight on the loop's ring.
function helper.idle_loop()
  if not helper.probe.available then return end
  local n = helper.in_flight()
  if n ~= 0 then error(("%d requests stay in flight"):format(n), 2) end
end

return helper
