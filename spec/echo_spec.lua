-- examples/echo.lua, with socat and with a thousand connections at once.

local helper = require "helper"
local program = require "program"
local uring = require "uring"
local needs_ring = helper.needs_ring(it)

-- Starts it on one address: the server, and its TCP and UDP addresses.
local function serve(address)
  local server = program.start("examples/echo.lua", address)
  local tcp, udp = server:line(), server:line()
  return server, uring.sockaddr(tcp:match "^tcp (.*)$"),
    uring.sockaddr(udp:match "^udp (.*)$")
end

-- What socat gives back of a file's content. -t: how long to wait for the
-- rest after the file's end.
local function socat(content, kind, address)
  local file = helper.file(content)
  local status, output = program.run("socat", "-b", "65536", "-t",
    kind == "TCP" and "30" or "0.2",
    ("OPEN:%s,rdonly!!STDOUT"):format(file), kind .. ":" .. tostring(address))
  assert.same({ 0, #content }, { status, #output })
  assert.equal(content, output)
end

local function ends_well(server)
  local status, output = server:interrupt()
  assert.same({ 1, output }, { status, output })
  assert.is_truthy(output:find "^%g*interrupted!\n")
end

describe("the echo server", function()
  after_each(program.stop)
  after_each(helper.clean)

  local function talks(host)
    program.needs "socat"
    local server, tcp, udp = serve(host)
    local suffix = host:find "^%[" and "6" or "4"
    socat("hello\n", "TCP" .. suffix, tcp)
    socat(("0123456789abcdef"):rep(1 << 16), "TCP" .. suffix, tcp)
    socat("a datagram", "UDP" .. suffix, udp)
    socat(("x"):rep(65507), "UDP" .. suffix, udp)
    ends_well(server)
  end

  needs_ring("talks with socat over IPv4", function()
    talks "127.0.0.1:0"
  end)

  needs_ring("talks with socat over IPv6", function()
    local sock = uring.udp.bind "[::1]:0"
    if not sock then helper.skip "there is no IPv6 here" end
    sock:close()
    talks "[::1]:0"
  end)

  needs_ring("survives peers that reset", function()
    local server, tcp = serve "127.0.0.1:0"
    uring.run(function()
      for _ = 1, 20 do
        local conn <close> = assert(uring.tcp.connect(tcp))
        assert(conn:setsockopt("SO_LINGER", string.pack("=i4i4", 1, 0)))
        assert(conn:send(("x"):rep(100000)))
      end
      local conn <close> = assert(uring.tcp.connect(tcp))
      assert(conn:send "still there?")
      assert.equal("still there?", conn:recv())
    end)
    local status, output = server:interrupt()
    assert.same({ 1, output }, { status, output })
  end)

  needs_ring("has a thousand connections at once", function()
    local server, tcp = serve "127.0.0.1:0"
    -- in a process of its own, which may have as many descriptors
    local client = program.start(helper.file [[
      local uring = require "uring"
      local address, limit = arg[1], tonumber(arg[2])
      local N, ROUNDS = 1000, 5
      local conns = {}

      -- N tasks of f(i), all at once, to their end
      local function all(f)
        local tasks = {}
        for i = 1, N do tasks[i] = uring.spawn(f, i) end
        for i = 1, N do assert(tasks[i]:join(limit)) end
      end

      local function exchange(i)
        for round = 1, ROUNDS do
          local text = ("%d/%d "):format(i, round):rep(i)
          assert(conns[i]:send(text, limit))
          local parts, size = {}, 0
          while size < #text do
            local part = assert(conns[i]:recv(65536, limit))
            parts[#parts + 1] = part
            size = size + #part
          end
          assert(table.concat(parts) == text)
        end
      end

      uring.run(function()
        all(function(i)
          conns[i] = assert(uring.tcp.connect(address, limit))
        end)
        print(#conns, "open")
        all(exchange)
        all(function(i) assert(conns[i]:shutdown "write") end)
        all(function(i)  -- a single nil is the end, and no error
          assert(select("#", conns[i]:recv(1, limit)) == 1)
        end)
        print(#conns, "ended")
      end)
    ]], tostring(tcp), ("%d"):format(60 * helper.slow))
    assert.equal("1000\topen", client:line())
    assert.equal("1000\tended", client:line())
    ends_well(server)
  end)
end)
