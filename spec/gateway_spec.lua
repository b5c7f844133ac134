-- examples/gateway.lua, as it is started, and asked by many connections.

local helper = require "helper"
local net = require "net"
local program = require "program"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

after_each(program.stop)

-- What wrk sees in so many seconds: how many answers, all of them good ones.
local function load_of(address, connections, seconds)
  local status, output = spec.execute(60 * helper.slow, "/bin/sh", "-c",
    ("ulimit -n 4096; exec env -u LD_PRELOAD wrk -t 1 -c %d -d %d --timeout 60"
      .. " http://%s/"):format(connections, seconds, address))
  if status ~= 0 or output:find "Socket errors" or output:find "Non%-2xx" then
    error(output, 2)
  end
  return math.tointeger(output:match "(%d+) requests in")
end

-- Asks once, or more often on one connection.
local function ask(address, times)
  local conn <close> = assert(uring.tcp.connect(address, net.patience))
  for _ = 1, times do
    assert(conn:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    local head = assert(conn:read_until("\r\n\r\n", 4096, net.patience))
    assert(head:find "^HTTP/1.1 200 OK\r\n", head)
    assert.equal("hello\n", (conn:read(6, net.patience)))
  end
end

describe("examples/gateway.lua", function()
  it("says at once what keeps its workers from serving", function()
    local began = os.time()
    for _, words in ipairs { { "203.0.113.1:7779", "2", "share" },
      { "127.0.0.1:0", "2", "hand", "100000000" } } do
      local status, output = program.start("examples/gateway.lua",
        table.unpack(words)):interrupt(0)  -- (it ends by itself)
      assert.equal(1, status, output)
      assert.truthy(output:find(words[4] and "register" or "EADDRNOTAVAIL", 1,
        true), output)
    end
    assert.truthy(os.time() - began < 10 * helper.slow)
  end)
end)

for _, how in ipairs { "hand", "share" } do
  describe("examples/gateway.lua " .. how, function()
    it("answers on each connection, also in pieces and side by side",
      function()
        local server = program.start("examples/gateway.lua", "127.0.0.1:0",
          "2", how)
        local address = server:line()
        helper.run(function()
          for i = 1, 40 do uring.spawn(ask, address, i % 4 + 1) end
        end)
        helper.run(function()
          local conn <close> = assert(uring.tcp.connect(address, net.patience))
          for piece in ("GET / HTTP/1.1\r\n\r\n"):gmatch "..?" do
            assert(conn:send(piece))
            uring.sleep(0.002)
          end
          assert(conn:read_until("hello\n", 4096, net.patience))
        end)
      end)

    it("serves 1,000 connections", function()
      program.needs "wrk"
      local server = program.start("examples/gateway.lua", "127.0.0.1:0", "2",
        how)
      local address = server:line()
      -- (on a machine that is busy with other things it takes its time)
      local seconds = 1
      while load_of(address, 1000, seconds) < 1000 do
        seconds = seconds * 2
        assert(seconds < 60 * helper.slow)
      end
      helper.run(function() ask(address, 3) end)
    end)
  end)
end

describe("examples/gateway.lua", function()
  it("goes on when more connections come at once than it has slots for",
    function()
      local server = program.start("examples/gateway.lua", "127.0.0.1:0", "1",
        "hand", "4")
      local address = server:line()
      helper.run(function()
        local conns = {}
        for i = 1, 60 do
          conns[i] = uring.tcp.connect(address, net.patience)
        end
        for _, conn in pairs(conns) do conn:close() end
        -- (it may take a moment until their slots are free)
        local limit = uring.now() + net.patience
        local ok, message
        repeat
          assert(uring.now() < limit, message)
          ok, message = uring.pcall(ask, address, 2)
        until ok
      end)
    end)

  for _, how in ipairs { "hand", "share" } do
    it("reads no request without an end: " .. how, function()
      local server = program.start("examples/gateway.lua", "127.0.0.1:0", "1",
        how)
      local address = server:line()
      helper.run(function()
        local conn <close> = assert(uring.tcp.connect(address, net.patience))
        -- (the bytes that it has not read make the end a reset)
        for _ = 1, 1000 do
          if not conn:send(("x"):rep(1000), net.patience) then break end
          net.turns(1)
        end
        local bytes, _, errno = conn:recv(1, net.patience)
        assert.is_nil(bytes)
        assert.not_equal(uring.errno.ETIME, errno)
        ask(address, 1)
      end)
    end)
  end
end)
