-- What a program that embeds the library is promised: doc/embedding.md has the
-- list, and the specs that prove each promise.

local faults = require "faults"
local helper = require "helper"
local shortage = require "shortage"
local spec = require "uring_spec"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)

local module = assert(package.searchpath("uring.core", package.cpath))
local open = assert(package.loadlib(module, "luaopen_uring"))

-- luacheck: globals T


-- What each state does in each round: it leaves requests in flight, and tasks
-- that wait.
local USE <const> = [[
  local i, round = ...
  local uring = uring
  if round == 1 then
    -- (on a slow machine what is in flight takes longer to end than 0.1 s, and
    -- would leak)
    assert(uring.loop { entries = 8, cq_entries = 64, close_timeout = 60 })
    ring = assert(uring.ring { entries = 4, cq_entries = 16 })
    a, b = assert(uring.socketpair())
    assert(ring:queue(uring.sqe():prep_timeout(1000)))
    assert(ring:queue(uring.sqe():prep_recv(a, uring.buffer(100))))
    assert(ring:submit())
  end
  local got = uring.run(function()
    local channel = uring.channel()
    uring.spawn(function() channel:send(i * 1000 + round) end)
    local key, value = uring.select { c = channel:receiving(),
      t = uring.after(60) }
    assert(key == "c")
    assert(select(2, uring.timeout(0, uring.sleep, 60)) == "timed out")
    return value
  end)
  assert(got == i * 1000 + round)
]]

describe("states", function()
  it("may be 200 on a thread", function()
    helper.keeps_fds(spec.states, open, USE, 200, 3)
  end)

  it("may have each other's references in a forked child", function()
    local box = "references " .. spec.getpid()
    spec.states(open, ([[
      local i, round = ...
      if i == 2 and round == 1 then
        box = uring.mailbox { name = %q }
      elseif i == 1 and round == 2 then
        rings = {}
        for n = 1, 8 do
          rings[n] = assert(uring.ring { entries = 1 })
          assert(uring.address(%q):try_send(rings[n]:ref()))
        end
      elseif i == 2 and round == 2 then
        refs = {}
        for n = 1, 8 do refs[n] = assert(box:try_receive()) end
      end
    ]]):format(box, box), 2, 2, true)
  end)

  it("may be 20 on each of 16 threads", function()
    helper.keeps_fds(function()
      local threads = {}
      for t = 1, 16 do
        threads[t] = spec.thread([[
          local file, code = ...
          require("uring_spec").states(
            package.loadlib(file, "luaopen_uring"), code, 20, 2)
        ]], module, USE)
      end
      for t = 1, 16 do assert(threads[t]:join()) end
    end)
  end)

  -- Bytes of memory in use, and mappings.
  local function footprint()
    local n = 0
    for _ in io.lines "/proc/self/maps" do n = n + 1 end
    return helper.resident(), n
  end

  it("come and go without growth of memory, mappings, descriptors",
    function()
      local n = tonumber(os.getenv "URING_STATES") or 300
      helper.keeps_fds(function()
        for _ = 1, 100 do spec.states(open, USE, 1, 1) end
        helper.collect()
        local size, maps = footprint()
        for _ = 1, n do spec.states(open, USE, 1, 1) end
        helper.collect()
        local more, others = footprint()
        -- (ASAN keeps what was freed for some time)
        assert(more <= size + (1 << 18) or module:find "asan",
          ("%d bytes, then %d"):format(size, more))
        assert(others <= maps + 2, ("%d mappings, then %d"):format(maps,
          others))
      end)
    end)
end)


-- Each of the programs of spec/support/shortage, stopped after `count`
-- instructions by an error, in a state that is closed then.
local STOPPED <const> = string.dump(function(name, count)
  local again = require "shortage"
  local co = coroutine.create(again.run)
  local stop = function() error("stopped", 0) end
  debug.sethook(co, stop, "", count)
  debug.sethook(stop, "", 20 * count)
  local ok, why = coroutine.resume(co, name)
  debug.sethook()
  KEPT = co  -- luacheck: ignore
  return ok, tostring(why)
end)

-- How many rings and sockets are open. (Of pipes and files the programs own
-- the numbers, and leave some.)
local function owned()
  local n = 0
  helper.collect()
  for _, what in pairs(select(2, spec.fds())) do
    if what:find "^socket:" or what:find "io_uring" then n = n + 1 end
  end
  return n
end

describe("lua_close", function()
  it("at any moment of a program leaves nothing", function()
    local before = owned()
    for _, name in ipairs(shortage.names) do
      for _, count in ipairs { 150, 900, 2500 } do
        local ok, why = spec.state(STOPPED, name, count)
        assert(ok, name .. ": " .. tostring(why))
      end
    end
    assert.equal(before, owned())
  end)

  it("may be another thread's, and is bounded all the same", function()
    for _, name in ipairs(shortage.names) do
      for _, count in ipairs { 700, 2500 } do
        local seconds, ok, why = spec.outlived(STOPPED, name, count)
        assert(ok, name .. ": " .. tostring(why))
        assert(seconds < 0.9 * helper.slow, name .. ": " .. seconds)
      end
    end
  end)

  faulty("waits for all rings together as long as close_timeout says",
    function()
      local uring, spec = _G.uring, _G.spec  -- luacheck: ignore 431
      local code = [[
        local bound, uring = ..., require "uring"
        local options = { close_timeout = bound }
        assert(uring.loop(bound and options))
        KEPT = {}
        for i = 1, 4 do
          KEPT[i] = assert(uring.ring { entries = 4 })
          KEPT[i]:queue(uring.sqe():prep_timeout(1000))
          KEPT[i]:submit()
        end
      ]]
      T.fault.withhold(true)
      for _, case in ipairs { { nil, 0.1 }, { 0, 0 }, { 0.02, 0.02 },
          { 0.3, 0.3 } } do
        local began = uring.now()
        assert(spec.state(code, case[1]))
        local took = uring.now() - began
        assert(took >= case[2] - 0.01 and took < case[2] + 0.5 * T.slow,
          ("%s: %.3f s"):format(case[1], took))
      end
      T.fault.withhold()
      T.fault.exit()
    end)

  it("has a close_timeout of seconds, or none", function()
    for _, wrong in ipairs { -1, "1", 1e9, 0 / 0 } do
      local code = 'require("uring").loop { close_timeout = ... }'
      local ok, why = spec.state(code, wrong)
      assert.is_false(ok)
      assert(why:find("'close_timeout' must be seconds", 1, true), why)
    end
  end)
end)


describe("programs that use all of the library", function()
  -- All of them, with the library as it is found in a script.
  local function all(before, after)
    return helper.script_ok(([[
      local uring, spec = require "uring", require "uring_spec"
      local function loaded_again()
        for name in pairs(package.loaded) do
          if name:find "^shortage" then package.loaded[name] = nil end
        end
        return require "shortage"
      end
      local shortage = loaded_again()
      %s
      for _, name in ipairs(shortage.names) do shortage.run(name) end
      %s
    ]]):format(before, after or ""))
  end

  -- So that the sweeps miss none. (The preps and setters of an sqe are rows of
  -- one table, and select calls C's waiters by themselves.)
  it("call each public function and method", function()
    assert.equal("", all([[
      -- they see functions that note that they were called
      local missing = {}
      local function watch(module, from, to)
        for name, value in next, from do
          local full = module .. "." .. name
          if type(value) == "function" and not full:find "^uring.Sqe.%a+_"
              and not full:find "SelectWaiter"
              and full ~= "uring.Loop.close" then  -- (others need the loop)
            missing[full] = true
            to[name] = function(...)
              missing[full] = nil
              return value(...)
            end
          else to[name] = value end
        end
      end
      for module, methods in pairs(package.loaded) do
        if module:find "^uring%.%u" then watch(module, methods, methods) end
      end
      local copy = setmetatable({}, getmetatable(uring))
      watch("uring", uring, copy)
      package.loaded.uring, package.loaded.helper = copy, nil
      shortage = loaded_again()
    ]], [[
      local names = {}
      for name in pairs(missing) do names[#names + 1] = name end
      table.sort(names)
      io.write(table.concat(names, " "))
    ]]))
  end)

  it("print nothing, and leave signals alone", function()
    assert.equal("", all([[
      local function signals()
        local file <close> = assert(io.open "/proc/self/status")
        local text = file:read "a"
        return text:match "SigBlk:%s*%x+\n" .. text:match "SigIgn:%s*%x+\n"
          -- (32 and 33 are the C library's: the first thread needs them)
          .. (tonumber(text:match "SigCgt:%s*(%x+)\n", 16)
            & ~(3 << 31))
      end
      local before = signals()
    ]], "assert(signals() == before)"))
  end)

  it("go on whatever signals interrupt them", function()
    assert.equal("", all("spec.itimer(0.0003)", [[
      for _, name in ipairs(shortage.names) do shortage.run(name) end
      assert(spec.itimer(0) > 0)
    ]]))
  end)

  it("run in both processes after a fork behind require", function()
    assert.equal("", all([[
      local pid = spec.fork()
      -- (the programs have a pipe, which the two must not share)
      shortage = loaded_again()
    ]], [[
      if pid == 0 then spec._exit(0) end
      assert(spec.wait(pid) == 0)
    ]]))
  end)
end)


describe("a send to a socket whose peer has gone", function()
  it("gives EPIPE, and is no SIGPIPE", function()
    assert.equal("", helper.script_ok [[
      local uring = require "uring"
      uring.run(function()
        for _, how in ipairs { "send", "sendmsg", "prep_send", "by hand" } do
          local a, b = assert(uring.socketpair())
          b:close()
          local ok, why, errno
          if how == "prep_send" then
            ok, why, errno = uring.await(uring.sqe():prep_send(a, "x"))
          elseif how == "by hand" then
            local ring <close> = assert(uring.ring())
            assert(ring:queue(uring.sqe():prep_send(a, "x")))
            local _, res = assert(ring:wait_cqe(60))
            ok, errno = res >= 0, -res
          elseif how == "sendmsg" then
            ok, why, errno = a:sendmsg { data = "x" }
          else
            ok, why, errno = a:send "x"
          end
          assert(not ok and errno == uring.errno.EPIPE, why or how)
          a:close()
        end
      end)
    ]])
  end)
end)


describe("a user with 64 KiB of locked memory", function()
  it("has a loop, and an error that says why for a larger ring", function()
    local script = helper.file(([[
      package.path, package.cpath = %q, %q
      local uring = require "uring"
      assert(uring.run(function()
        uring.sleep(0)
        return true
      end))
      local large, why, errno = uring.ring { entries = 32768 }
      if not large then
        assert(errno == uring.errno.ENOMEM and why:find "RLIMIT_MEMLOCK", why)
      end
      io.write "ran"
    ]]):format(package.path, package.cpath))
    if module:find "asan" then
      helper.skip "needs a module that is not instrumented"
    end
    local prlimit, setpriv = "/usr/bin/prlimit", "/usr/bin/setpriv"
    for _, name in ipairs { prlimit, setpriv } do
      local file = io.open(name)
      if not file then helper.skip("needs %s", name) end
      file:close()
    end
    os.execute("chmod 644 " .. script)
    local status, output = spec.execute(30 * helper.slow, prlimit,
      "--memlock=65536", setpriv, "--reuid=65534", "--clear-groups",
      "/usr/bin/env", "-u", "LD_PRELOAD", "/bin/sh", "-c",
      [[test -r "$1" || exit 77; exec "$2" "$3"]], "sh", module,
      "/usr/bin/" .. helper.lua, script)
    if status == 77 or output:find "Operation not permitted" then
      helper.skip "needs root, and a module that others may read"
    end
    assert.equal("ran", output)
  end)
end)
