-- Tasks that send at the same time: datagrams are under way together, and
-- small sends go by calls of their own or by requests that share one.

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

after_each(net.close)
after_each(helper.clean)

local TASKS = 5

-- Two ends, of which the first cannot send any more; and how much it has.
local function full_pair()
  local a, b = net.pair(uring.SOCK_DGRAM)
  local n = 0
  while a:send("filling", 0) do n = n + 1 end
  return a, b, n
end

local in_flight <const> = helper.in_flight

-- Tasks 1..TASKS, which wait to send their number.
local function senders(socket, timeout)
  local tasks = {}
  for i = 1, TASKS do
    tasks[i] = uring.spawn(function()
      return socket:send(tostring(i), timeout)
    end)
  end
  net.turns()
  return tasks
end

-- What comes after the first n: so many, sorted, and nothing else.
local function rest(socket, n, count)
  for _ = 1, n do assert.equal("filling", socket:recv(nil, net.patience)) end
  local list = {}
  for i = 1, count do list[i] = assert(socket:recv(nil, net.patience)) end
  net.fails(E.ETIME, socket:recv(nil, 0))
  table.sort(list)
  return list
end

describe("datagrams of several tasks", function()
  it("are in flight together, and all arrive", function()
    net.run(function()
      local a, b, n = full_pair()
      local before = in_flight()
      local tasks = senders(a)
      assert.equal(before + TASKS, in_flight())
      assert.same({ "1", "2", "3", "4", "5" }, rest(b, n, TASKS))
      for i = 1, TASKS do
        assert.same({ true, 1 }, { tasks[i]:join(net.patience) })
      end
    end)
  end)

  it("all end when their socket is closed", function()
    net.run(function()
      local a, b, filled = full_pair()
      local tasks = senders(a)
      a:close()
      for i = 1, TASKS do
        local ok, n, message, errno, sent = tasks[i]:join(net.patience)
        assert.same({ true, nil, E.EBADF, 0 }, { ok, n, errno, sent })
        assert.truthy(message:find("the socket was closed", 1, true))
      end
      assert.equal(0, in_flight())
      assert.same({}, rest(b, filled, 0))
    end)
  end)

  it("end one by one, by a timeout or a cancel", function()
    net.run(function()
      local a, b, n = full_pair()
      local late = senders(a, 0.001)
      local tasks = senders(a)
      assert.truthy(tasks[2]:cancel())
      for i = 1, TASKS do
        assert.same({ true, nil, "timed out", E.ETIME, 0 },
          { late[i]:join(net.patience) })
      end
      assert.equal(nil, (tasks[2]:join(net.patience)))
      assert.same({ "1", "3", "4", "5" }, rest(b, n, 4))
    end)
  end)

  it("may be sent while a select waits for space", function()
    net.run(function()
      local a, b, n = full_pair()
      local chosen = uring.spawn(uring.select, { room = a:sending "chosen" })
      local tasks = senders(a)
      assert.same({ "1", "2", "3", "4", "5", "chosen" },
        rest(b, n, TASKS + 1))
      assert.same({ true, "room", 6 }, { chosen:join(net.patience) })
      for i = 1, TASKS do assert(tasks[i]:join(net.patience)) end
    end)
  end)
end)

-- In a process with the module in which calls cost what a test says.
local prelude = ([[
package.cpath = %q .. "/?.so;" .. package.cpath
local uring = require "uring"
local file = package.searchpath("uring.core", package.cpath)
local fault = assert(package.loadlib(file, "luaopen_uring_fault"))()

-- Tasks answer what comes in 10 datagrams of one turn, by `send`: how many
-- requests and system calls of the ring that took.
function answers(cheap, tasks)
  fault.cheap(cheap)
  local requests, enters
  uring.run(function()
    local server = assert(uring.udp.bind "127.0.0.1:0")
    local client = assert(uring.udp.connect(server:getsockname()))
    local ring = uring.loop():ring()
    for i = 1, tasks do
      uring.spawn(function()
        for data, from in server:messages{ size = 64 } do
          assert(server:sendto(data .. "!", from) == #data + 1)
        end
      end)
    end
    for _ = 1, 3 do uring.sleep(0) end
    for i = 1, 10 do assert(client:send(tostring(i)) == #tostring(i)) end
    local before = ring:stats()
    local seen = {}
    for i = 1, 10 do seen[assert(client:recv(64, 10))] = true end
    for i = 1, 10 do assert(seen[i .. "!"], i) end
    local after = ring:stats()
    requests = after.submitted - before.submitted
    enters = after.enters - before.enters
    server:close()
    client:close()
  end)
  return requests, enters
end
]]):format(os.getenv "URING_FAULT_DIR" or "build/fault")

-- luacheck: globals answers
describe("a small send", function()
  it("shares a system call with others where calls are dear", function()
    helper.apart(function()
      local requests, enters = answers(false, 10)
      assert(requests >= 19, requests)  -- with those of the client
      assert(enters <= 15, enters)
    end, prelude)
  end)

  it("is a call of its own where calls are cheap", function()
    helper.apart(function()
      local requests = answers(true, 10)
      assert(requests <= 12, requests)
    end, prelude)
  end)

  it("is a call of its own where no other task is ready", function()
    helper.apart(function()
      local requests = answers(false, 1)
      assert(requests <= 12, requests)
    end, prelude)
  end)
end)
