-- examples/redis.lua against Debian's redis-server.

local helper = require "helper"
local net = require "net"
local program = require "program"
local spec = require "uring_spec"
local uring = require "uring"
local web = require "web"

local it = helper.needs_ring(it)

describe("examples/redis.lua", function()
  after_each(program.stop)

  -- The address of a server that was started for the test.
  local function server()
    program.needs "redis-server"
    local port = web.port()
    program.command("redis-server", "--port", tostring(port), "--save", "",
      "--bind", "127.0.0.1", "--dir", "/tmp")
    web.wait_for(port)
    return ("127.0.0.1:%d"):format(port)
  end

  local function run(...)
    return spec.execute(30 * helper.slow, "/proc/self/exe",
      "examples/redis.lua", ...)
  end

  it("pipelines commands, and gets what is published", function()
    local status, output = run(server())
    assert.equal(0, status, output)
    assert.equal("OK\nhello\nnil\tERR unknown command 'NO SUCH COMMAND', "
      .. "with args beginning with: \n100\nnumber 1\nnumber 2\nnumber 3\n",
      output)
  end)

  it("measures requests", function()
    local status, output = run(server(), "bench", "500")
    assert.equal(0, status, output)
    assert.truthy(output:find "^one connection %d+\n50 connections %d+\n$",
      output)
  end)

  it("says that the server has closed the connection, or is none", function()
    for answer, why in pairs { [""] = "has closed the connection",
      ["SSH-2.0\r\n"] = "this is not Redis" } do
      local code, err
      net.run(function()
        local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
        uring.daemon(listener.serve, listener, function(conn)
          conn:read("l", net.patience)
          conn:write(answer)
          conn:shutdown "write"
          conn:read("a", net.patience)
        end)
        local p <close> = assert(uring.process { "/proc/self/exe",
          "examples/redis.lua", tostring(listener:getsockname()),
          stdin = "null", stdout = "pipe", stderr = "pipe" })
        local _
        _, err, _, code = p:communicate(nil, { timeout = 2 * net.patience })
      end)
      assert.equal(1, code, err)
      assert.truthy(err:find(why, 1, true), err)
    end
  end)

  it("says where there is no server", function()
    local status, output = run(("127.0.0.1:%d"):format(web.port()))
    assert.equal(1, status)
    assert.truthy(output:find "ECONNREFUSED", output)
  end)
end)
