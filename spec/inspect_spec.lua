-- A look inside: uring.tasks() and uring.tree().

local helper = require "helper"
local net = require "net"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

local turns <const> = helper.turns

-- What uring.tasks() says of one.
local function look(task)
  for _, t in ipairs(uring.tasks()) do
    if t.task == task then return t end
  end
end

local function here()
  return debug.getinfo(2, "l").currentline
end

after_each(function()
  net.close()
  helper.idle_loop()
end)

describe("uring.tasks", function()
  it("is empty where there are no tasks", function()
    assert.same({}, uring.tasks())
    assert.equal("", uring.tree())
  end)

  it("tells of each task what it waits for, where, and since when", function()
    helper.run(function()
      local ring, r, w = assert(uring.ring()), spec.pipe()
      local own = uring.loop():ring()
      local channel, semaphore = uring.channel(3), uring.semaphore(0)
      local full = uring.channel()
      local other = uring.spawn { name = "other", main = function()
        uring.sleep(60)
      end }
      local op = ring:queue(uring.sqe():prep_timeout(60))
      local buffer = uring.buffer(10)
      local a, b = net.pair(uring.SOCK_DGRAM)
      local listener, busy = net.listener(), net.listener()
      local out = net.pair()
      -- a listener whose queue is full does not answer
      local full_up = "@uring-look-" .. spec.getpid()
      net.keep(assert(uring.unix.listen(full_up, 0)))
      net.crowd(uring.unix.connect, full_up)
      local cases = {
        { "in uring.sleep, for 5%d%.%d+ s more$",
          function() uring.sleep(60) end },
        { ("for read %%(fd %d%%) on ring %%(fd %d%%)$"):format(r, own:fd()),
          function() uring.await(uring.sqe():prep_read(r, buffer)) end },
        { ("for read .* on ring %%(fd %d%%), for 5.* s more at most$")
            :format(ring:fd()),
          function() ring:await(uring.sqe():prep_read(r, buffer), 60) end },
        { "for timeout .*on ring",
          function() uring.await(uring.sqe():prep_timeout(60)) end },
        { ("for poll_add %%(fd %d%%) for POLLIN|POLLRDHUP on ring "
            .. "%%(fd %d%%)$"):format(r, own:fd()),
          function() uring.await(uring.sqe():prep_poll_add(r,
            uring.POLLIN | uring.POLLRDHUP)) end },
        { ("for poll_add %%(fd %d%%) for POLLIN on ring %%(fd %d%%)$")
            :format(r, ring:fd()),
          function() ring:await(uring.sqe():prep_poll_add(r,
            uring.POLLIN)) end },
        { ("for a chain of 2 on ring %%(fd %d%%): timeout, nop$"):format(
            ring:fd()),
          function() ring:await_chain { uring.sqe():prep_timeout(60),
            uring.sqe():prep_nop() } end },
        { "for a chain of 2 on ring .*: one that has ended, read %(fd %d+%)$",
          function() ring:await_chain { uring.sqe():prep_nop(),
            uring.sqe():prep_read(r, buffer) } end },
        { "for a chain of 9 on ring .*, nop, …$",
          function()
            local chain = { uring.sqe():prep_timeout(60) }
            for i = 2, 9 do chain[i] = uring.sqe():prep_nop() end
            ring:await_chain(chain)
          end },
        { ("for timeout.* on ring %%(fd %d%%)$"):format(ring:fd()),
          function() op:await() end },
        { ("for a message to ring %%(fd %d%%)$"):format(ring:fd()),
          function() ring:receive() end },
        { "for a message to ring .*, for 5.* s more at most$",
          function() ring:receive(60) end },
        { "for task [%d.]+ 'other' to end$",
          function() other:join() end },
        { "for the 1 tasks? of its scope to end$",
          function() uring.scope(function(scope)
            scope:spawn(uring.sleep, 60)
          end) end },
        { "for uring.Event %(receiving of uring.Channel %(0 of 3%)%)$",
          function() channel:receive() end },
        { "for uring.Event %(receiving of .*, for 5.* s more at most$",
          function() channel:receive(60) end },
        { "receiving of uring.Channel",
          function() for _ in channel:messages() do uring.sleep(0) end end },
        { "for uring.Event %(sending of uring.Channel %(0 of 0%): 1%)$",
          function() full:send(1) end },
        { 'for uring.Event .*: 1.5, true, nil, "a\\nb", table, '
            .. '"x+"…, function, thread%)$',
          function() full:send(1.5, true, nil, "a\nb", {}, ("x"):rep(1000),
            print, coroutine.create(print)) end },
        { "for uring.Event .*: 1, 2, 3, 4, 5, 6, 7, 8, …%)$",
          function() full:send(1, 2, 3, 4, 5, 6, 7, 8, 9) end },
        { "for uring.Event %(acquiring of uring.Semaphore %(0%)%)$",
          function() semaphore:acquire() end },
        { "in uring.select of { .*job: uring.Event %(receiving of ",
          function() uring.select { job = channel:receiving(),
            [2] = uring.after(60), m = ring:receiving() } end },
        { "in uring.select of {.* t: uring.Event %(after 60%)",
          function() uring.select { t = uring.after(60):wrap(print),
            j = other:joining() } end },
        { "in uring.select of .*, …",
          function()
            local events = {}
            for i = 1, 20 do events[i] = channel:receiving() end
            uring.select(events)
          end },
        { "uring.Event %(call of work%)", function()
            uring.select { uring.event { name = "work", main = function()
              uring.sleep(60)
            end } }
          end },
        { "^to receive on socket %(fd %d+%)$",
          function() a:receive() end },
        { "^to receive at most 77 bytes on socket %(fd %d+%)$",
          function() a:recv(77) end },
        { "^to receive at most 78 bytes on .*, for 5.* s more at most$",
          function() a:receive(78, 60) end },
        { "^to receive at most 79 bytes on socket",
          function() uring.wrap(function() a:recvfrom(79) end)() end },
        { "^to receive at most 64 bytes on socket",
          function()
            local next, reader = b:messages { size = 64 }
            next(reader)
          end },
        { "^to accept on socket %(fd %d+%)$",
          function() listener:accept() end },
        { "^to accept on socket %(fd %d+%)$",
          function() listener:accept() end },
        { "^to accept on socket %(fd %d+%)$",
          function()
            local next, reader = busy:connections()
            next(reader)
          end },
        { "^to send 8000000 bytes on socket %(fd %d+%)$",
          function() out:send(("x"):rep(8000000)) end },
        { "^to send 3 bytes on socket %(fd %d+%)$",
          function() out:send "abc" end },
        { "^to send a message on socket %(fd %d+%)$",
          function() out:sendmsg { data = "abc" } end },
        { "^to send messages on socket %(fd %d+%)$",
          function() out:sendmsg { { data = "abc" } } end },
        { "^to connect socket %(fd %d+%) to unix:@uring%-look%-%d+$",
          function() net.keep(uring.unix.connect(full_up)) end },
        { "in uring.sleep",
          function() uring.shield(0.3, uring.sleep, 60) end },
        { "in uring.sleep",
          function() uring.timeout(60, uring.sleep, 60) end },
        { "in uring.sleep",
          function() uring.wrap(function() uring.sleep(60) end)() end },
      }
      uring.scope(function(scope)
        for i, case in ipairs(cases) do
          case.task = scope:spawn({ name = "case " .. i, main = case[2] })
        end
        turns()
        uring.sleep(0.02)
        local me = uring.current()
        for i, case in ipairs(cases) do
          local t = look(case.task)
          local info = debug.getinfo(case[2], "S")
          local why = ("case %d: %s"):format(i, t.waits)
          assert.equal("waiting", t.state, why)
          assert.truthy(t.waits:find(case[1]), why .. " and not " .. case[1])
          assert.equal("spec/inspect_spec.lua", t.file, why)
          assert.truthy(t.line >= info.linedefined
            and t.line <= info.lastlinedefined, why)
          assert.truthy(t.seconds >= 0.005 and t.seconds < 30, why)
          assert.equal(me, t.parent)
          assert.equal("case " .. i, t.name)
          assert.truthy(t.id:find("'case " .. i .. "'", 1, true))
          assert.truthy(t.spawned_at:find "^spec/inspect_spec.lua:%d+$")
          assert.is_false(t.daemon)
          assert.is_false(t.cancelled)
        end
        scope:cancel()
      end)
      other:cancel()
      op:cancel()
      op:await()
      ring:close()
      spec.close(r)
      spec.close(w)
    end)
  end)

  it("tells which tasks are ready, running, daemons or cancelled", function()
    uring.run({ name = "main", main = function()
      local t = uring.spawn(function() uring.sleep(60) end)
      local d = uring.daemon(function() uring.sleep(60) end)
      assert.equal("new", look(t).state)
      assert.is_nil(look(t).waits)
      assert.is_true(look(d).daemon)
      turns()
      t:cancel()
      assert.equal("ready", look(t).state)
      assert.is_true(look(t).cancelled)
      local all, line = uring.tasks(), here()
      local me = all[1]
      assert.same({ "running", "main", line, "spec/inspect_spec.lua" },
        { me.state, me.name, me.line, me.file })
      assert.is_nil(me.parent)
      assert.is_nil(me.seconds)
      local inside = coroutine.wrap(function()
        return uring.tasks()[1].line, here()
      end)
      local said, is = inside()
      assert.equal(is, said)
      t:join()
      assert.is_nil(look(t))
      assert.equal(2, #uring.tasks())
    end })
    assert.same({}, uring.tasks())
  end)

  it("tells which worker's end a task waits for", function()
    helper.run(function()
      local main = function() uring.inbox():receive() end
      local named = assert(uring.worker { name = "mill", main = main })
      local other = assert(uring.worker(main))
      local first = uring.spawn(named.join, named)
      local second = uring.spawn(other.join, other)
      uring.sleep(0)
      assert.equal("for the end of worker 'mill'", look(first).waits)
      assert.equal("for the end of a worker", look(second).waits)
      named:close()
      other:close()
    end)
  end)

  it("tells of a task that is being closed while it waits", function()
    helper.fails("ended from outside", function()
      local said = {}
      local a, b = net.pair(uring.SOCK_DGRAM)
      local channel = uring.channel()
      for i, wait in ipairs {
        function() a:recv(77) end,
        function() channel:receive() end,
        function() uring.await(uring.sqe():prep_poll_add(b, uring.POLLIN)) end
      } do
        local task, co
        task = uring.spawn(function()
          co = coroutine.running()
          local _ <close> = helper.finally(function()
            said[i] = look(task).waits
          end)
          wait()
        end)
        turns()
        assert(coroutine.close(co))
      end
      assert.truthy(said[1]:find "^to receive on socket %(fd %d+%)$")
      assert.equal("for others", said[2])
      assert.truthy(said[3]:find "^for poll_add %(fd %d+%) on ring")
      error(select(2, pcall(uring.sleep, 60)), 0)
    end)
  end)

  it("raises the error of a __tostring of the user, and goes on", function()
    helper.run(function()
      local bad = setmetatable({}, { __tostring = function() error "no" end })
      local t = uring.spawn(function()
        uring.select { [bad] = uring.channel():receiving() }
      end)
      turns()
      helper.raises("no", uring.tasks)
      t:cancel()
      t:join()
      assert.equal(1, #uring.tasks())
    end)
  end)

  it("does not change the tasks that it shows", function()
    helper.run(function()
      local channel = uring.channel()
      local t = uring.spawn(function()
        return uring.select { c = channel:receiving(),
          t = uring.after(60) }
      end)
      local f = uring.spawn(function()
        return uring.wrap(function() return channel:receive() end)()
      end)
      turns()
      for _ = 1, 100 do uring.tasks() end
      channel:send(1)
      channel:send(2)
      assert.same({ true, "c", 1 }, { t:join() })
      assert.same({ true, 2 }, { f:join() })
    end)
  end)
end)

describe("uring.tree", function()
  it("puts each task below the one whose scope it is in", function()
    uring.run({ name = "main", main = function()
      uring.spawn { name = "outer", main = function()
        uring.scope(function(scope)
          scope:spawn { name = "inner", main = function()
            uring.scope(function(deepest)
              deepest:daemon { name = "deep", main = function()
                uring.sleep(60)
              end }
              uring.sleep(60)
            end)
          end }
          uring.channel():receive()
        end)
      end }
      local late = uring.spawn { name = "late", main = function()
        uring.sleep(60)
      end }
      turns(5)
      late:cancel()
      local depth = {}
      for line in uring.tree():gmatch "[^\n]+" do
        local indent, name = line:match "^( *)task [%d.]+ '(%w+)'"
        depth[name] = #indent
        if name == "deep" then
          assert.truthy(line:find("waits (daemon) in uring.sleep", 1, true))
          assert.truthy(line:find
            "since %d%.%d s at spec/inspect_spec.lua:%d+$")
        elseif name == "late" then
          assert.truthy(line:find("ready (cancelled)", 1, true))
        elseif name == "main" then
          assert.truthy(line:find "running at spec/inspect_spec.lua:%d+$")
        end
      end
      assert.same({ main = 0, outer = 0, inner = 2, deep = 4, late = 0 },
        depth)
      for _, t in ipairs(uring.tasks()) do
        if not t.parent then t.task:cancel() end
      end
    end })
  end)

  it("may have very many tasks, side by side or one in another", function()
    helper.run(function()
      uring.scope(function(scope)
        for _ = 1, 50000 do scope:daemon(uring.sleep, 60) end
        turns(2)
        assert.equal(50001, #uring.tasks())
        local _, n = uring.tree():gsub("\n", "")
        assert.equal(50000, n)
      end)
      local depth, deepest = 5000, false
      local function deeper(n)
        if n == 0 then
          deepest = true
          uring.sleep(60)
        end
        uring.scope(function(scope) scope:spawn(deeper, n - 1) end)
      end
      local t = uring.spawn(deeper, depth)
      repeat uring.sleep(0) until deepest
      assert.equal(depth + 2, #uring.tasks())
      local tree = uring.tree()
      local _, n = tree:gsub("\n", "")
      assert.equal(depth + 1, n)
      assert.truthy(#tree < 300 * depth)
      t:cancel()
    end)
  end)
end)

describe("a deadlock", function()
  it("shows the choices that wait", function()
    local why = helper.raises("deadlock", uring.run, function()
      local channel = uring.channel()
      uring.spawn { name = "chooser", main = function()
        uring.select { job = channel:receiving() }
      end }
      channel:receive()
    end)
    assert.truthy(why:find("'chooser' waits in uring.select of { job: "
      .. "uring.Event (receiving of uring.Channel (0 of 0)) } at "
      .. "spec/inspect_spec.lua:", 1, true), why)
    assert.truthy(why:find("(spawned at spec/inspect_spec.lua:", 1, true), why)
  end)
end)
