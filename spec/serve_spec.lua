-- serve: a task for each connection; map: a task for each item.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(net.close)
after_each(helper.clean)

-- f(address, listener, task of the server) while `handle` serves; what serve
-- gave when it had ended: because it was cancelled, or the listener closed.
local function serving(handle, options, f)
  return net.run(function()
    local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
    local results
    local task = uring.spawn(function()
      results = table.pack(listener:serve(handle, options))
    end)
    f(listener:getsockname(), listener, task)
    listener:close()
    task:join(net.patience)
    if results then return table.unpack(results, 1, results.n) end
  end)
end

local function connect(address)
  return net.keep(assert(uring.tcp.connect(address, net.patience)))
end

describe("serve", function()
  it("gives each connection a task, and closes it when that ends", function()
    net.run(function() end)  -- (now the loop has its ring)
    helper.keeps_fds(function()
      local peers = {}
      local ok, failed = serving(function(conn, peer)
        peers[#peers + 1] = tostring(peer)
        for line in conn:lines() do conn:write(line, "!\n") end
      end, nil, function(address)
        local clients = {}
        for i = 1, 20 do clients[i] = connect(address) end
        for i = 20, 1, -1 do clients[i]:write(i, "\n") end
        for i = 1, 20 do
          assert.equal(i .. "!", clients[i]:read("l", net.patience))
        end
        for i = 1, 20 do
          assert.equal(peers[i], tostring(clients[i]:getsockname()))
          clients[i]:shutdown "write"
          assert.is_nil((clients[i]:read("l", net.patience)))
          clients[i]:close()
        end
      end)
      assert.same({ true, 0 }, { ok, failed })
    end)
  end)

  it("lets an error end its connection alone, and tells it", function()
    local told = {}
    local ok, failed = serving(function(conn)
      local line = conn:read("l", net.patience)
      if line == "bad" then error "it is bad" end
      if line == "table" then error { code = 7 } end
      for _ in conn:chunks() do end
    end, { on_error = function(err, trace, peer)
      told[#told + 1] = { err, trace, tostring(peer) }
    end }, function(address)
      local good, bad, strange = connect(address), connect(address),
        connect(address)
      bad:write "bad\n"
      strange:write "table\n"
      assert.is_nil((bad:read("a", net.patience) or ""):match ".")
      assert.is_nil((strange:read("a", net.patience) or ""):match ".")
      good:write "good\n"
      assert.equal("timed out", (select(2, good:read("l", 0.05))))
      good:close()
    end)
    assert.same({ true, 2 }, { ok, failed })
    assert.equal(2, #told)
    table.sort(told, function(a) return type(a[1]) == "string" end)
    assert.truthy(told[1][1]:find("it is bad", 1, true))
    assert.truthy(told[1][2]:find("traceback", 1, true))
    assert.equal(7, told[2][1].code)
  end)

  it("tells an error that has no text, and counts what fails once", function()
    local silent = setmetatable({}, {
      __tostring = function() error "no text" end })
    local told = {}
    local ok, failed = serving(function() error(silent) end, {
      on_error = function(err, trace)
        told[#told + 1] = { rawequal(err, silent), trace }
        error "another"
      end }, function(address)
      connect(address):read("a", net.patience)
      net.eventually(function() return told[1] end)
    end)
    assert.same({ true, 1, 1, true }, { ok, failed, #told, told[1][1] })
    assert.truthy(told[1][2]:find "^an error of type table\nstack traceback:")
  end)

  it("tells the error of a task that a connection has spawned", function()
    local told, cancelled = {}, 0
    local ok, failed = serving(function(conn)
      uring.spawn(function()
        conn:read "l"
        error("its task failed", 0)
      end)
      local _ <close> = helper.finally(function()
        cancelled = cancelled + 1
      end)
      uring.sleep(60)
    end, { on_error = function(err, trace, peer)
      told[#told + 1] = { err, trace, tostring(peer) }
    end }, function(address)
      local client = connect(address)
      client:write "\n"
      assert.equal("", client:read("a", net.patience))
      net.eventually(function() return told[1] end)
      assert.same({ "its task failed", tostring(client:getsockname()) },
        { told[1][1], told[1][3] })
      assert.truthy(told[1][2]:find("^its task failed\nstack traceback:"))
    end)
    assert.same({ true, 1, 1, 1 }, { ok, failed, #told, cancelled })
  end)

  it("waits for the tasks that a connection has spawned", function()
    local release, ended = uring.channel(), false
    local ok, failed = serving(function(conn)
      uring.spawn(function()
        release:receive()
        ended = true
      end)
      conn:read "l"
    end, nil, function(address, listener, task)
      local client = connect(address)
      client:write "\n"
      assert.equal("", client:read("a", net.patience))  -- closed with f's end
      listener:close()
      assert.equal("timed out", (select(2, task:join(0.01))))
      release:send(true)
      assert.is_true((task:join(net.patience)))
      assert.is_true(ended)
    end)
    assert.same({ true, 0 }, { ok, failed })
  end)

  it("has no more connections than max at a time", function()
    local now, most = 0, 0
    serving(function(conn)
      now = now + 1
      most = math.max(most, now)
      conn:read("l")
      now = now - 1
    end, { max = 3 }, function(address)
      local clients = {}
      for i = 1, 9 do clients[i] = connect(address) end
      for i = 1, 9 do
        clients[i]:write "\n"
        assert(clients[i]:read("a", net.patience))
        assert.truthy(now <= 3)
      end
    end)
    assert.equal(3, most)
  end)

  it("waits for its connections when the listener is closed", function()
    local ended = 0
    local ok = serving(function(conn)
      conn:read "l"
      uring.sleep(0.05)
      ended = ended + 1
    end, nil, function(address, listener)
      local client = connect(address)
      uring.sleep(0.02)
      listener:close()
      client:write "\n"
    end)
    assert.is_true(ok)
    assert.equal(1, ended)
  end)

  it("ends when the listener is closed while it waits for a place", function()
    local begun = uring.channel(1)
    local ok, failed = serving(function(conn)
      begun:send(true)
      conn:read "l"
    end, { max = 1 }, function(address, listener)
      local client = connect(address)
      begun:receive()
      listener:close()
      client:write "\n"
    end)
    assert.same({ true, 0 }, { ok, failed })
  end)

  it("that is cancelled lets connections end, and cancels the rest", function()
    local ended, cancelled = 0, 0
    serving(function(conn)
      local _ <close> = helper.finally(function() ended = ended + 1 end)
      local what = conn:read "l"
      local ok = pcall(uring.sleep, what == "long" and 60 or 0.05)
      if not ok then cancelled = cancelled + 1 end
    end, { grace = 0.3 }, function(address, _, task)
      local long, short = connect(address), connect(address)
      long:write "long\n"
      short:write "short\n"
      helper.turns(3)
      uring.sleep(0.02)
      local began = uring.now()
      task:cancel()
      local _, _, errno = task:join(net.patience)
      assert.equal(E.ECANCELED, errno)
      assert.truthy(uring.now() - began >= 0.29)
      assert.truthy(uring.now() - began < 2 + net.patience)
      assert.same({ 2, 1 }, { ended, cancelled })
    end)
    helper.no_tasks()
  end)

  it("goes on where no descriptor can be had", function()
    helper.script_ok [[
      local uring = require "uring"
      local spec = require "uring_spec"
      local E = uring.errno
      uring.run(function()
        local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
        local task = uring.spawn(function()
          assert(listener:serve(function(conn) conn:write "served" end))
        end)
        local client = assert(uring.tcp.connect(listener:getsockname()))
        assert(client:read("a", 5) == "served")
        client:close()
        local waiting = assert(uring.socket(uring.AF_INET, uring.SOCK_STREAM))
        local taken = {}
        repeat
          local fd, _, errno = uring.socket(uring.AF_INET, uring.SOCK_STREAM)
          taken[#taken + 1] = fd
        until errno == E.EMFILE or #taken > 100000
        assert(waiting:connect(listener:getsockname(), 5))
        assert(not waiting:read("a", 0.3))
        for _, s in ipairs(taken) do s:close() end
        assert(waiting:read("a", 5) == "served")
        listener:close()
        assert(task:join(5))
      end)
    ]]
  end)

  it("refuses mistakes", function()
    net.run(function()
      local listener = net.listener()
      local serve = listener.serve
      helper.raises("#1 to 'serve' (function", serve, listener)
      helper.raises("#2 to 'serve' (table", serve, listener, print, 5)
      helper.raises("unknown option 'maximum'", serve, listener, print,
        { maximum = 1 })
      helper.raises("option 'max' must be an integer from 1 to 2147483647, "
        .. "got 0", serve, listener, print, { max = 0 })
      helper.raises("option 'grace' must be seconds", serve, listener, print,
        { grace = -1 })
      helper.raises("option 'on_error' must be a function", serve,
        listener, print, { on_error = 1 })
      listener:close()
      helper.raises("closed socket", serve, listener, print)
    end)
  end)
end)

describe("map", function()
  it("runs some at a time, and gives the results in order", function()
    net.run(function()
      local now, most = 0, 0
      local results = uring.map(3, { 5, 4, 3, 2, 1, 0 }, function(v, i)
        now = now + 1
        most = math.max(most, now)
        uring.sleep(v / 200)
        now = now - 1
        return v * 10 + i
      end)
      assert.same({ 51, 42, 33, 24, 15, 6, n = 6 }, results)
      assert.equal(3, most)
      assert.same({ n = 0 }, uring.map(2, {}, print))
    end)
  end)

  it("raises the first error, after the others were cancelled", function()
    net.run(function()
      local began = uring.now()
      helper.raises("no three", uring.map, 4, { 1, 2, 3, 4 }, function(v)
        if v == 3 then error "no three" end
        uring.sleep(60)
      end)
      assert.truthy(uring.now() - began < net.patience)
      helper.raises("#1 to 'map'", uring.map, 0, {}, print)
      helper.raises("#2 to 'map'", uring.map, 1, nil, print)
      for _, length in ipairs { {}, "1", 1.5, 1 / 0 } do
        helper.raises("#2 to 'map'", uring.map, 1, setmetatable({},
          { __len = function() return length end }), print)
      end
      helper.raises("#3 to 'map'", uring.map, 1, {}, nil)
    end)
    helper.mistake("uring.map waits, and only a task can", uring.map, 1, {},
      print)
    helper.mistake("uring.map waits, and only a task can", uring.map, 1, {},
      print)
  end)

  it("tells what was called, and the line that has called map", function()
    local listener = net.listener()
    listener:close()
    local line
    local ok, message = pcall(uring.run, function()
      line = debug.getinfo(1, "l").currentline + 1
      local all = uring.map(1, { listener }, listener.accept)
      return all
    end)
    assert.False(ok)
    assert.truthy(message:find("bad argument #1 to 'uring.Socket.accept' "
      .. "(attempt to use a closed socket)", 1, true))
    assert.truthy(message:find(("serve_spec.lua:%d)"):format(line), 1, true),
      message)
  end)
end)
