-- examples/fdpass.lua: connections are served by processes that have not
-- accepted them, and no process keeps one that has ended.

local helper = require "helper"
local program = require "program"
local spec = require "uring_spec"
local uring = require "uring"
local needs_ring = helper.needs_ring(it)

local LIMIT = 10 * helper.slow

-- Starts it with so many workers: the server, its address, { [pid] = true }.
local function serve(workers)
  local server = program.start("examples/fdpass.lua", "127.0.0.1:0",
    ("%d"):format(workers))
  local pids = {}
  for _ = 1, workers do
    pids[tonumber(server:line():match "^worker process (%d+)$")] = true
  end
  return server, server:line():match "^listening on (.*)$", pids
end

-- A connection and the process that serves it; nil where it ends at once.
local function connect(address)
  local conn = assert(uring.tcp.connect(address, LIMIT))
  local hello = ""
  while not hello:find "\n" do
    local part, why = conn:recv(100, LIMIT)
    if not part then
      conn:close()
      return nil, why
    end
    hello = hello .. part
  end
  local pid, peer = hello:match "^process (%d+) serves (.*)\n$"
  assert.equal(tostring(conn:getsockname()), peer)
  return conn, tonumber(pid)
end

local function descriptors(pid)
  local n = 0
  local list <close> = assert(io.popen(("ls /proc/%d/fd"):format(pid)))
  for _ in list:lines() do n = n + 1 end
  return n
end

describe("passing connections", function()
  after_each(program.stop)

  needs_ring("lets other processes serve them", function()
    local server, address, pids = serve(2)
    uring.run(function()
      local served = {}
      for i = 1, 20 do
        local conn <close>, pid = assert(connect(address))
        assert.is_true(pids[pid])
        served[pid] = (served[pid] or 0) + 1
        local text = ("connection %d"):format(i)
        assert(conn:send(text))
        assert.equal(text, conn:recv(100, LIMIT))
        assert(conn:shutdown "write")
        -- it ends only when every process has closed it
        assert.equal(1, select("#", conn:recv(100, LIMIT)))
      end
      for pid in pairs(pids) do assert.equal(10, served[pid]) end
    end)
    local status, output = server:interrupt()  -- and so its workers end
    assert.same({ 1, output }, { status, output })
    assert.is_truthy(output:find "^%g*interrupted!\n$")
  end)

  needs_ring("leaves nothing open", function()
    local server, address, pids = serve(1)
    local worker = next(pids)
    uring.run(function()
      -- (the one before it has been closed there when the next is accepted)
      connect(address):close()
      connect(address):close()
      local before = descriptors(server.pid)
      local conns = {}
      for i = 1, 50 do conns[i] = assert(connect(address)) end
      assert.is_true(descriptors(worker) >= 50)
      helper.eventually(function()
        return descriptors(server.pid) <= before
      end, LIMIT)
      for _, conn in ipairs(conns) do conn:close() end
      helper.eventually(function() return descriptors(worker) < 50 end, LIMIT)
    end)
  end)

  needs_ring("goes on with the workers that are left", function()
    local server, address, pids = serve(2)
    local dead = next(pids)
    local alive = next(pids, dead)
    spec.kill(dead, 9)
    uring.run(function()
      -- what is handed over while it dies is lost with it
      helper.eventually(function()
        local conn, pid = connect(address)
        if conn then conn:close() end
        local other, again = connect(address)
        if other then other:close() end
        return pid == alive and again == alive
      end, LIMIT)
      for _ = 1, 4 do
        local conn <close>, pid = assert(connect(address))
        assert.equal(alive, pid)
        assert(conn:send "still there?")
        assert.equal("still there?", conn:recv(100, LIMIT))
      end
    end)
    local status, output = server:interrupt()
    assert.same({ 1, output }, { status, output })
  end)
end)
