-- Every wait (spec/support/waits.lua) ended in every way: it gives the right
-- result or uring.cancelled, nothing is lost, nothing stays in flight, no
-- descriptor and no buffer is missing.

local helper = require "helper"
local net = require "net"
local uring = require "uring"
local waits = require "waits"

local it = helper.needs_ring(it)

local turns <const> = helper.turns

-- A task in this scope that waits; `of` has what came of it, and its
-- coroutine.
local function launch(scope, f, of)
  return scope:spawn(function()
    of.co = coroutine.running()
    of.out = table.pack(pcall(f))
    if not of.out[1] then error(of.out[2], 0) end
  end)
end

local function is_cancelled(of)
  assert(of.out, "it has not ended")
  assert(of.out[1] == false and of.out[2] == uring.cancelled,
    "it was not cancelled: " .. tostring(of.out[2]))
end

local function went_well(w, of)
  assert(of.out, "it has not ended")
  assert(of.out[1], of.out[2])
  w.result(table.unpack(of.out, 2, of.out.n))
end

-- What has come before the task is cancelled goes back, but for what cannot:
-- that is the result, and the next wait is the one that raises.
local function came(w, of)
  if w.final then went_well(w, of) else is_cancelled(of) end
end

-- What it waits for comes; when this returns it has, and the task has not run
-- since: it became ready later than the one that calls.
local function fire(w, task)
  w.fire()
  helper.eventually(function()
    local status = task:status()
    if status == "ready" then return true end
    assert(status == "waiting", status)
    uring.sleep(0)
    return task:status() == "ready"
  end)
end

-- The ends. Each answers whether what was waited for came, and whether the
-- task has taken it.
local ends = {}

ends["by its result"] = function(w, scope, of)
  local t = launch(scope, w.wait, of)
  turns()
  fire(w, t)
  t:join()
  went_well(w, of)
  return true, true
end

ends["before it begins"] = function(w, scope, of)
  local t = launch(scope, function()
    uring.current():cancel()
    return w.wait()
  end, of)
  t:join()
  is_cancelled(of)
  return false
end

ends["before its task begins"] = function(w, scope, of)
  local t = launch(scope, w.wait, of)
  t:cancel()
  t:join()
  assert(of.out == nil and of.co == nil)
  return false
end

ends["in the turn in which it begins"] = function(w, scope, of)
  local t = launch(scope, w.wait, of)
  uring.sleep(0)
  t:cancel()
  t:join()
  is_cancelled(of)
  return false
end

ends["while it waits"] = function(w, scope, of)
  local t = launch(scope, w.wait, of)
  turns()
  assert(t:status() == "waiting")
  t:cancel()
  t:join()
  is_cancelled(of)
  return false
end

ends["when it has come"] = function(w, scope, of)
  local t = launch(scope, w.wait, of)
  turns()
  fire(w, t)
  t:cancel()
  t:join()
  came(w, of)
  return true
end

ends["by a timeout"] = function(w, scope, of)
  local t = launch(scope, function()
    return uring.timeout(0.001, w.wait)
  end, of)
  t:join()
  assert(of.out[1] and of.out[2] == nil
    and of.out[4] == uring.errno.ETIME, "it was not timed out")
  return false
end

-- In the same turn as what it waits for: either wins, and nothing is lost.
ends["by a timeout that races"] = function(w, scope, of)
  local function wait() return "won", w.wait() end
  local t = launch(scope, function() return uring.timeout(0.02, wait) end, of)
  turns()
  w.fire()
  require "uring_spec".sleep(0.021)
  t:join()
  assert(of.out[1])
  if of.out[2] == "won" then
    w.result(table.unpack(of.out, 3, of.out.n))
    return true, true
  end
  assert(of.out[4] == uring.errno.ETIME)
  return true
end

ends["by a sibling's error"] = function(w, _, of)
  local value = {}
  local ok, err = pcall(uring.scope, function(scope)
    launch(scope, w.wait, of)
    turns()
    scope:spawn(error, value)
    uring.sleep(20)
  end)
  assert(not ok and err == value)
  is_cancelled(of)
  return false
end

ends["by a sibling's error when it has come"] = function(w, _, of)
  local value = {}
  local ok, err = pcall(uring.scope, function(scope)
    local t = launch(scope, w.wait, of)
    turns()
    fire(w, t)
    error(value)
  end)
  assert(not ok and err == value)
  came(w, of)
  return true
end

ends["by its scope's end"] = function(w, _, of)
  assert(not pcall(uring.scope, function(scope)
    launch(scope, w.wait, of)
    turns()
    error "the body's"
  end))
  is_cancelled(of)
  return false
end

ends["by its scope's cancel, in the body"] = function(w, _, of)
  local out = table.pack(uring.scope(function(scope)
    scope:spawn(function() turns() scope:cancel() end)
    of.out = table.pack(pcall(w.wait))
    error(of.out[2])
  end))
  assert(out[1] == nil and out[3] == uring.errno.ECANCELED)
  is_cancelled(of)
  return false
end

ends["as a daemon, by its scope's end"] = function(w, _, of)
  uring.scope(function(scope)
    scope:daemon(function()
      of.out = table.pack(pcall(w.wait))
      error(of.out[2], 0)
    end)
    turns()
  end)
  is_cancelled(of)
  return false
end

local function outside(ok, err)
  assert(not ok and tostring(err):find("ended from outside", 1, true), err)
end

-- The task's coroutine is closed: in the wait, or when it has come.
local function closed(w, of, wait, has_come)
  outside(pcall(uring.scope, function(scope)
    local t = launch(scope, wait, of)
    turns()
    if has_come then fire(w, t) end
    assert(coroutine.close(of.co))
    uring.sleep(20)
  end))
  assert(of.out == nil)
  return has_come
end

ends["by coroutine.close"] = function(w, _, of)
  return closed(w, of, w.wait, false)
end

ends["by coroutine.close when it has come"] = function(w, _, of)
  return closed(w, of, w.wait, true)
end

ends["in uring.wrap, by coroutine.close of that"] = function(w, scope, of)
  local inner
  local t = launch(scope, function()
    local ok, err = pcall(uring.wrap(function()
      inner = coroutine.running()
      w.wait()
    end))
    assert(not ok and err:find("was closed while it waited", 1, true), err)
  end, of)
  turns()
  assert(coroutine.close(inner))
  t:join()
  assert(of.out[1])
  return false
end

ends["in uring.wrap, by coroutine.close when it has come"] = function(w, _,
                                                                     of)
  return closed(w, of, uring.wrap(w.wait), true)
end

ends["by its result, after collections"] = function(w, scope, of)
  local t = launch(scope, w.wait, of)
  turns()
  helper.collect()
  fire(w, t)
  helper.collect()
  t:join()
  went_well(w, of)
  return true, true
end

-- What time alone ends is not there any more when it has come.
local FIRES = {
  ["by its result"] = true, ["when it has come"] = true,
  ["by a sibling's error when it has come"] = true,
  ["by coroutine.close when it has come"] = true,
  ["in uring.wrap, by coroutine.close when it has come"] = true,
  ["by a timeout that races"] = true,
  ["by its result, after collections"] = true,
}

local function sorted(t)
  local names = {}
  for name in pairs(t) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local in_flight <const> = helper.in_flight

local function try(wait, ending)
  local done
  net.run(function()
    uring.scope(function(scope)
      local before = in_flight()
      local w = waits[wait](scope)
      w.brief = FIRES[ending]
      local fired, taken = ends[ending](w, scope, {})
      turns()
      if not taken or wait == "operation await" or wait == "socket send" then
        w.after(fired, taken)
      end
      w.close()
      helper.eventually(function()
        uring.sleep(0)
        return in_flight() == before
      end)
      uring.sleep(0)
      assert(#uring.tasks() == 2, uring.tree())
      done = true
    end)
  end)
  assert(done, "the test itself was cancelled")
  assert(#uring.tasks() == 0)
end

after_each(helper.idle_loop)

for _, wait in ipairs(sorted(waits)) do
  describe(wait .. " leaves nothing behind, ended", function()
    for _, ending in ipairs(sorted(ends)) do
      it(ending, function()
        -- (what is made once: the loop's ring, and a reference to it)
        net.run(function() uring.loop():ring():ref() end)
        helper.keeps_fds(try, wait, ending)
      end)
    end

    it("by the end of the state, and of its coroutine before", function()
      for _, closes in ipairs { "false", "true" } do
        helper.script_ok(([[
          local uring = require "uring"
          local waits = require "waits"
          uring.run(function()
            uring.scope(function(scope)
              local w = waits[%q](scope)
              local co
              scope:spawn(function() co = coroutine.running() w.wait() end)
              uring.spawn(pcall, w.wait)  -- (one alone awaits an operation)
              for _ = 1, 4 do uring.sleep(0) end
              if %s then coroutine.close(co) end
              os.exit(0, true)
            end)
          end)
        ]]):format(wait, closes))
      end
    end)
  end)
end

it("after waits have been ended in all ways no buffer is missing", function()
  helper.needs("recvmsg_multishot", "recv_multishot")
  net.run(function() net.whole(64) end)
end)
