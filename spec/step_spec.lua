-- loop:step: a host lets tasks go on, with a budget.

local helper = require "helper"
local faults = require "faults"
local hosts = require "hosts"

local it = helper.needs_ring(it)
local hosted = hosts.tests(it)
local faulty = hosts.tests(it, faults.path .. "_G.fault = fault")

-- luacheck: globals loop uring spec H fault

describe("loop:step", function()
  hosted("begins tasks, and goes on with them each time", function()
    local log = {}
    local task = loop:spawn(function(...)
      log[1] = select("#", ...)
      uring.sleep(0)
      log[2] = "again"
      return 1, nil
    end, 1, nil, 3, nil)
    H.equal("new", task:status())
    local more, resumed = loop:step { max = 1 }
    H.equal(4, log[1])
    assert(more and resumed == 1 and log[2] == nil)
    more, resumed = loop:step()
    assert(not more and resumed == 1 and log[2] == "again")
    more, resumed = loop:step()
    assert(not more and resumed == 0)
    -- join of what has ended works outside a task
    local r = table.pack(task:join())
    assert(r.n == 3 and r[1] == true and r[2] == 1 and r[3] == nil)
  end)

  hosted("takes what a ring that tells no task work has completed", function()
    local ring = assert(uring.ring {
      flags = uring.IORING_SETUP_SINGLE_ISSUER
        | uring.IORING_SETUP_DEFER_TASKRUN })
    for _ = 1, 3 do
      local r, w = spec.pipe()
      local reader = loop:spawn(function()
        return ring:await(uring.sqe():prep_poll_add(r, uring.POLLIN), 5)
      end)
      H.settle()
      H.equal("waiting", reader:status())
      spec.write(w, "x")
      loop:step()
      loop:step()
      H.equal("done", reader:status())
      H.equal(uring.POLLIN, select(2, reader:join()))
    end
  end)

  hosted("takes tables with names, and refuses what is no function",
    function()
      local task = loop:spawn({ main = function(x) return x end,
        name = "reader" }, 7)
      H.equal("reader", task.name)
      H.settle()
      H.equal(7, select(2, task:join()))
      H.raises("function expected", loop.spawn, loop)
      H.raises("did you mean 'main'?", loop.spawn, loop,
        { mian = print })
      H.raises("uring.Loop expected", loop.spawn, {}, print)
      H.equal(0, loop:stats().tasks)
      loop:step()
    end)

  hosted("refuses options that it does not know, and bad values", function()
    H.raises("did you mean 'seconds'?", loop.step, loop, { second = 1 })
    H.raises("table expected", loop.step, loop, 1)
    H.raises("'max' must be an integer", loop.step, loop, { max = 0 })
    H.raises("'max' must be an integer", loop.step, loop, { max = "9" })
    H.raises("'max' must be an integer", loop.step, loop, { max = 1.5 })
    H.raises("'seconds' must be seconds", loop.step, loop,
      { seconds = -1 })
    H.raises("'seconds' must be seconds", loop.step, loop,
      { seconds = 0 / 0 })
    H.raises("got string", loop.step, loop, { max = "3" })
    H.raises("'now' must be seconds, 0 or more, got string", loop.step, loop,
      { now = "1" })
    H.raises("'gc' must be a boolean", loop.step, loop, { gc = 1 })
    H.raises("options have names", loop.step, loop, { 1 })
  end)

  hosted("submits, and takes completions of the loop's ring and of others",
    function()
      local ring = assert(uring.ring())
      local got = {}
      for _, r in ipairs { loop:ring(), ring } do
        loop:spawn(function()
          local res = r:await(uring.sqe():prep_nop())
          got[#got + 1] = res
          local _, _, errno = r:await(uring.sqe():prep_timeout(0.001))
          got[#got + 1] = errno
        end)
      end
      H.host(function() return #got == 4 end)
      H.equal("0 0 62 62", table.concat(got, " "))
      assert(not loop:step())
    end)

  hosted("ends sleeps and timeouts", function()
    local t = { loop:spawn(uring.sleep, 2),
      loop:spawn(uring.timeout, 3, uring.sleep, 60) }
    local n = H.settle { now = 0 }
    H.equal(2, n)
    H.equal(2, loop:timeout())
    assert(H.settle { now = 4 } == 2)
    H.equal(true, t[1]:join())
    H.equal(uring.errno.ETIME, select(4, t[2]:join()))
    H.equal(math.huge, loop:timeout())
  end)

  hosted("has a root scope that lasts, until an error or a close", function()
    local log, first = {}, nil
    local function daemon(name)
      return uring.root():daemon(function()
        local _ <close> = setmetatable({}, { __close = function()
          log[#log + 1] = name
        end })
        uring.sleep(60)
      end)
    end
    loop:spawn(function()
      first = uring.root()
      daemon "one"
      uring.root():daemon(print):cancel()  -- (it ends: the others go on)
    end)
    H.settle()
    loop:spawn(function() assert(uring.root() == first) end)
    H.settle()
    H.equal(0, #log)
    H.equal(1, loop:stats().tasks)
    uring.run(function() assert(uring.root() ~= first) end)
    loop:spawn(function() uring.root():spawn(error, "boom") end)
    H.raises("boom", H.settle)
    H.equal("one", log[1])
    loop:spawn(function()
      assert(uring.root() ~= first)
      uring.root():cancel()
      daemon "two"
    end)
    H.settle()
    H.equal(1, loop:stats().tasks)
    assert(loop:close())
    H.equal("two", log[2])
  end)

  hosted("is not for inside a step, a run or a task", function()
    local why = {}
    loop:spawn(function()
      why[1] = H.raises("inside a step", loop.step, loop)
      why[2] = H.raises("inside a step", uring.run, print)
      why[3] = H.raises("inside a step", loop.close, loop)
    end)
    loop:step()
    H.equal(3, #why)
    uring.run(function()
      H.raises("inside a run", loop.step, loop)
      H.raises("inside a run", loop.close, loop)
      H.raises("inside a task", uring.run, print)
    end)
    assert(not loop:step())
  end)

  hosted("belongs to the thread that made the first one", function()
    H.needs "single_issuer"
    assert(spec.in_thread(loop.step, loop))  -- the loop was made here
    H.raises("another thread", loop.step, loop)
    H.raises("another thread", uring.run, print)
    H.raises("another thread", loop.fd, loop)
    for _, f in ipairs { loop.step, loop.fd, loop.close } do
      local ok, why = spec.in_thread(f, loop)  -- (that is a later one)
      assert(not ok and why:find "another thread", why)
    end
  end)

  hosted("is closed by that thread", function()
    assert(spec.in_thread(function()
      loop:spawn(uring.sleep, 60)
      loop:step()
      assert(loop:fd())
      assert(loop:close())
    end))
  end)

  it("may be moved from thread to thread, if the loop is movable", function()
    helper.script_ok [[
      local uring, spec = require "uring", require "uring_spec"
      local _, why = pcall(uring.loop, { movable = true,
        flags = uring.IORING_SETUP_SINGLE_ISSUER })
      assert(why:find("cannot have SINGLE_ISSUER", 1, true), why)
      local loop = assert(uring.loop { movable = true })
      local server = assert(uring.udp.bind("127.0.0.1:0"))
      local to = server:getsockname()
      local client = assert(uring.udp.bind("127.0.0.1:0"))
      local got = {}
      loop:spawn(function()
        for payload in server:messages() do got[#got + 1] = payload end
      end)
      loop:spawn(function()
        uring.sleep(0.01)
        got.slept = true
      end)
      local fd = assert(loop:fd())
      local function step_until(done)
        while not done() do
          spec.ready(fd, 10)
          assert(spec.in_thread(loop.step, loop))  -- a new one each time
        end
      end
      assert(spec.in_thread(loop.step, loop))
      for i = 1, 5 do
        assert(loop:spawn(function() assert(client:sendto("m" .. i, to)) end))
        step_until(function() return #got == i end)
        loop:step()
      end
      step_until(function() return got.slept end)
      assert(table.concat(got, " ") == "m1 m2 m3 m4 m5")
      assert(spec.in_thread(loop.close, loop))
    ]]
  end)

  hosted("and a message before it: the ring is not enabled yet", function()
    local sqe = uring.sqe():prep_msg_ring(loop:ring():fd(), 1, 2)
    H.equal(uring.errno.EBADFD, select(3, uring.register_sync_msg(sqe)))
    loop:step()
    assert(uring.register_sync_msg(sqe))
    local task = loop:spawn(function() return loop:ring():receive(1) end)
    H.settle()
    H.equal(1, select(2, task:join()))
  end, "sync_msg")

  hosted("raises in a forked child, which has a loop of its own", function()
    loop:step()
    H.in_child(function()
      H.raises("another process", loop.step, loop)
      H.raises("another process", loop.fd, loop)
      H.raises("another process", loop.spawn, loop, print)
      H.raises("another process", loop.close, loop)
      local own = uring.loop()
      assert(own ~= loop)
      local task = own:spawn(function() return 5 end)
      H.settle()
      H.equal(5, select(2, task:join()))
    end)
    local task = loop:spawn(function() return 6 end)
    H.settle()
    H.equal(6, select(2, task:join()))
  end)
end)

describe("the budget of a step", function()
  hosted("is so many resumes", function()
    local count = 0
    for _ = 1, 100 do
      loop:spawn(function() count = count + 1 end)
    end
    local more, resumed = loop:step { max = 30 }
    assert(more and resumed == 30 and count == 30)
    more, resumed = loop:step()  -- 64
    assert(more and resumed == 64 and count == 94)
    more, resumed = loop:step { max = 7 }
    assert(not more and resumed == 6)
    -- a task that never waits for long goes on in the same step
    local busy = H.busy(loop)
    more, resumed = loop:step { max = 10 }
    assert(more and resumed == 10 and busy.n == 10)
  end)

  hosted("counts a name that is there already", function()
    local box, found = assert(uring.mailbox { name = "here" }), 0
    loop:spawn(function()
      for _ = 1, 300 do
        assert(uring.address("here", 1)):close()
        found = found + 1
      end
    end)
    loop:step { max = 10 }
    assert(found <= 10, found)
    H.settle()
    H.equal(300, found)
    box:close()
  end)

  hosted("counts waits that need not wait", function()
    local ring, taken = loop:ring(), 0
    loop:spawn(function()
      for _ in ring:messages() do taken = taken + 1 end
    end)
    loop:step()
    local sqe = uring.sqe():prep_msg_ring(ring, 1, 2)
    for _ = 1, 300 do ring:queue(sqe) end
    ring:submit()
    local steps = 0
    repeat
      local before = taken
      local more = loop:step { max = 10 }
      steps = steps + 1
      assert(taken - before <= 10, taken - before)
    until not more and taken == 300
    assert(steps >= 30 and steps < 60, steps)
    ring:submit()
    for _ = 1, 100 do ring:queue(sqe) end
    ring:submit()
    loop:step { seconds = 10 }
    assert(taken <= 364)
  end)

  hosted("is time: nothing is resumed after it", function()
    local count = 0
    for _ = 1, 50 do
      loop:spawn(function()
        count = count + 1
        local till = uring.now() + 0.002
        repeat until uring.now() > till
      end)
    end
    local more, resumed = loop:step { max = 1000, seconds = 0.001 }
    assert(more and resumed == 1 and count == 1)
    more, resumed = loop:step { max = 1000, seconds = 0.005 }
    assert(more and resumed >= 1 and resumed <= 3, resumed)
    local before = count
    more, resumed = loop:step { seconds = 0 }
    assert(more and resumed == 0 and count == before)
  end)

  hosted("is kept while deadlines pass", function()
    for _ = 1, 200 do loop:spawn(uring.sleep, 1) end
    H.settle { max = 1000, now = 0 }
    local more, resumed = loop:step { max = 50, now = 2 }
    assert(more and resumed == 50)
    H.equal(0, loop:timeout())
    H.equal(150, H.settle { max = 1000, now = 2 })
    H.equal(math.huge, loop:timeout())
  end)

  hosted("is kept while completions are taken", function()
    local ring = loop:ring()
    local sqe = uring.sqe():prep_msg_ring(ring, 1, 2)
    for _ = 1, 400 do ring:queue(sqe) end
    ring:submit()
    local before = loop:stats().taken
    local more = loop:step { max = 1 }
    local taken = loop:stats().taken - before
    assert(more and taken > 0 and taken <= 64, taken)
    H.settle()
    H.equal(800, ring:stats().cqes)
  end)

  -- How many of so many tasks, each of which has a message in a mailbox of its
  -- own, a step with these options makes ready.
  hosted("is kept while mailboxes with messages are heard of", function()
    local function heard(n, options)
      local tasks, addresses = {}, {}
      for i = 1, n do
        local mailbox = assert(uring.mailbox { bytes = 4096 })
        addresses[i] = mailbox:address()
        tasks[i] = loop:spawn(mailbox.receive, mailbox)
      end
      H.settle()
      for i = 1, n do assert(addresses[i]:try_send(i)) end
      assert(loop:step(options))
      local left = 0
      for i = 1, n do
        if tasks[i]:status() == "waiting" then left = left + 1 end
      end
      H.settle()
      for i = 1, n do H.equal("done", tasks[i]:status()) end
      return n - left
    end
    H.equal(10, heard(100, { max = 10 }))
    assert(heard(1000, { max = 1000, seconds = 0 }) < 100)
  end)

  hosted("is seen by a run that comes after it", function()
    local got, addresses = {}, {}
    for i = 1, 3 do
      local mailbox = assert(uring.mailbox())
      addresses[i] = mailbox:address()
      loop:spawn(function() got[i] = mailbox:receive() end)
    end
    H.settle()
    for i = 1, 3 do assert(addresses[i]:try_send(i)) end
    assert(loop:step { max = 1 })
    uring.run(uring.sleep, 0.001)
    H.equal("1 2 3", table.concat(got, " "))
  end)

  hosted("leaves what is left of its time to the collector", function()
    collectgarbage "stop"
    local weak = setmetatable({}, { __mode = "k" })
    weak[{}] = true
    loop:step { seconds = 0.05 }
    assert(next(weak))
    local function collected(options)
      for _ = 1, 100000 do
        loop:step(options)
        if not next(weak) then return true end
      end
    end
    assert(collected { seconds = 0.05, gc = true })
    weak[{}] = true
    assert(collected { gc = true })
    -- a finalizer in it is in the step
    local why
    setmetatable({}, { __gc = function()
      why = select(2, pcall(loop.step, loop))
    end })
    for _ = 1, 100 do
      if why then break end
      loop:step { seconds = 0.05, gc = true }
    end
    assert(tostring(why):find "inside a step", why)
  end)

  -- (what counts is how many steps that are over at once a cycle takes: on
  -- a busy machine they are only more)
  hosted("holds for the collector, whose usual steps are larger", function()
    collectgarbage "incremental"
    local alive, weak = {}, setmetatable({}, { __mode = "k" })
    for i = 1, 2000 do
      alive[i] = {}
      for j = 1, 100 do alive[i][j] = { j } end
    end
    collectgarbage()
    collectgarbage "stop"
    weak[{}] = true
    local steps = 0
    while next(weak) and alive[1] do
      loop:step { seconds = 0.00002, gc = true }
      steps = steps + 1
    end
    assert(steps > 40, steps)
    -- the program's parameters are as before
    if _VERSION ~= "Lua 5.4" then return end
    local usual = collectgarbage("setstepmul", 120)
    loop:step { seconds = 0.001, gc = true }
    H.equal(120, collectgarbage("setstepmul", usual))
  end)
end)

describe("an idle step", function()
  faulty("enters no ring, and allocates nothing", function()
    local ring = assert(uring.ring())
    loop:spawn(function() ring:receive() end)
    for _ = 1, 200 do loop:spawn(uring.sleep, 60) end
    loop:spawn(function() loop:ring():receive() end)
    H.settle()
    local options = { max = 64, seconds = 0.001 }
    loop:step(options)
    collectgarbage()
    collectgarbage "stop"
    local calls, bytes = fault.calls "enter", collectgarbage "count"
    local registered = fault.calls "register"
    for _ = 1, 1000 do
      loop:step()
      loop:step(options)
    end
    H.equal(bytes, collectgarbage "count")
    H.equal(calls, fault.calls "enter")
    H.equal(registered, fault.calls "register")
  end)

  it("makes no system call, as strace sees it, with a descriptor too",
    function()
      if os.execute "strace -V >/dev/null 2>&1" ~= true then
        helper.skip "needs strace"
      end
      local name = helper.tmpname()
      local script = helper.file [[
        local uring = require "uring"
        local spec = require "uring_spec"
        local loop = uring.loop()
        local fd = loop:fd()
        for _ = 1, 20 do loop:spawn(uring.sleep, 60) end
        loop:spawn(function() uring.signals("USR1"):receive() end)
        for _ = 1, 20 do loop:step() end
        for _ = 1, 100 do loop:step() end
        assert(not spec.ready(fd))
        collectgarbage "stop"
        spec.close(4000)  -- a mark
        for _ = 1, 500 do loop:step() end
        spec.close(4001)]]
      local ok = os.execute(("strace -o %s /proc/self/exe %s 2>/dev/null")
        :format(name, script):gsub("/proc/self/exe", "lua5.4"))
      if ok ~= true then helper.skip "strace may not trace here" end
      local log = helper.content(name)
      helper.clean()
      local between = log:match "close%(4000%)[^\n]*\n(.*)close%(4001%)"
      assert.equal("", between)
    end)
end)

describe("an error", function()
  hosted("ends its task alone, and a step raises it after its work, one a "
    .. "step", function()
      local done = 0
      loop:spawn(function() error "first" end)
      loop:spawn(function() done = done + 1 end)
      loop:spawn(function() error { 2 } end)
      loop:spawn(function()
        uring.sleep(0)
        done = done + 1
      end)
      local why = H.raises("first", loop.step, loop)
      assert(why:find "a task spawned at", why)
      H.equal(2, done)
      H.equal(0, loop:timeout())
      local ok, value = pcall(loop.step, loop)
      assert(not ok and value[1] == 2)
      H.equal(math.huge, loop:timeout())
      assert(not loop:step())
    end)

  hosted("in a task's task ends both", function()
    local inner, log = nil, {}
    local outer = loop:spawn(function()
      local _ <close> = H.finally(function() log[#log + 1] = "closed" end)
      inner = uring.spawn(function() error "inside" end)
      uring.sleep(60)
    end)
    H.raises("inside", H.settle)
    H.settle()
    H.equal("cancelled failed closed", table.concat({ outer:status(),
      inner:status(), log[1] }, " "))
    H.equal(math.huge, loop:timeout())
  end)

  hosted("of a task that was cancelled is none", function()
    local task = loop:spawn(uring.sleep, 60)
    H.settle()
    assert(task:cancel())
    H.settle()
    H.equal("cancelled", task:status())
    task = loop:spawn(print)
    task:cancel()
    H.settle()
    H.equal("cancelled", task:status())
  end)

  hosted("of a debug hook leaves the loop as it was", function()
    local busy = H.busy(loop)
    loop:step { max = 5 }
    local main = coroutine.running()
    loop:spawn(function()
      debug.sethook(main, function()
        debug.sethook(main)
        error "hooked"
      end, "c")
    end)
    H.raises("hooked", H.settle)
    local more, resumed = loop:step { max = 5 }
    assert(more and resumed == 5)
    assert(busy.n >= 10)
  end)
end)

describe("on_error", function()
  local told = hosts.tests(it, [[
    errors = {}
    require("uring").loop { on_error = function(...)
      errors[#errors + 1] = table.pack(...)
    end }]])
  -- luacheck: globals errors

  told("is told of each error, with traceback and task", function()
    local t = {}
    t[1] = loop:spawn { name = "one", main = function() error "first" end }
    t[2] = loop:spawn(function()
      t[3] = uring.spawn(function() error(false) end)
      pcall(uring.sleep, 60)
      error { 5 }
    end)
    H.settle()
    H.equal(3, #errors)
    assert(errors[1][1]:find "first" and errors[1][3] == t[1])
    assert(errors[1][2]:find "stack traceback")
    assert(errors[1][2]:find "a task spawned at", errors[1][2])
    assert(errors[2][1] == false and errors[2][3] == t[3])
    assert(errors[3][1][1] == 5 and errors[3][3] == t[2])
    assert(errors[3].n == 3)
    H.equal(math.huge, loop:timeout())
    H.equal(0, #uring.tasks())
  end)

  told("is told during a run, too", function()
    loop:spawn(function() error "outside" end)
    H.equal(7, uring.run(function()
      uring.sleep(0.001)
      return 7
    end))
    H.equal(1, #errors)
    assert(errors[1][1]:find "outside")
  end)

  hosted("has the step raise its own error, and is no place to wait",
    function()
      H.raises("made already", uring.loop, { on_error = print })
      local out = H.script_ok [[
        local uring = require "uring"
        local calls = 0
        local loop
        loop = uring.loop { on_error = function(why)
          calls = calls + 1
          if calls == 1 then error("mine: " .. why, 0) end
          local ok, message = pcall(uring.sleep, 0)
          assert(not ok and message:find "only a task can wait")
          ok, message = pcall(loop.step, loop)
          assert(not ok and message:find "inside a step")
          loop:spawn(print, "spawned")
        end }
        for i = 1, 2 do loop:spawn(error, "e" .. i, 0) end
        local ok, why = pcall(loop.step, loop)
        assert(not ok and why == "mine: e1", why)
        loop:step()
        assert(not loop:step())
        io.write(calls)
        print(pcall(uring.loop, { on_error = 1 }))]]
      assert(out:find "spawned\n2", out)
      assert(out:find "made already", out)
      local why = H.script_ok [[
        print(pcall(require("uring").loop, { on_error = 1 }))]]
      assert(why:find "'on_error' must be a function", why)
    end)
end)

describe("loop:stats", function()
  hosted("counts steps, resumes and completions, and names the worst",
    function()
      loop:step()
      H.equal(nil, loop:stats().worst)
      loop:spawn(function() uring.await(uring.sqe():prep_nop()) end)
      H.settle()
      -- longer than any resume before, which may be long on a busy machine
      local function work()
        local till = uring.now() + loop:stats().worst.seconds + 0.02
        repeat until uring.now() > till
      end
      local gate = uring.channel(1)
      local slow = debug.getinfo(1, "l").currentline + 3
      loop:spawn { name = "slow", main = function()
        work()
        gate:receive()
      end }
      H.settle()
      local s = loop:stats()
      assert(s.steps >= 3 and s.resumed == 3 and s.taken == 1)
      H.equal(1, s.tasks)
      assert(s.memory > 1000)
      H.equal("slow", s.worst.task)
      H.equal(slow, s.worst.line)
      assert(s.worst.seconds >= 0.02 and s.worst.file)
      local line = debug.getinfo(1, "l").currentline + 1
      loop:spawn(function() work() end)
      H.settle()
      s = loop:stats()
      H.equal(line, s.worst.line)  -- it has ended: where it was spawned
      assert(s.worst.task:find "^task %d+%.1$", s.worst.task)
      assert(gate:try_send(1))
      H.settle()
      local before = s.memory
      local kept = uring.buffer(1 << 20)
      assert(loop:stats().memory - before >= 1 << 20, kept)
    end)
end)
