-- examples/scan.lua, which looks for listeners of this spec's own.

local helper = require "helper"
local net = require "net"
local program = require "program"
local spec = require "uring_spec"
local uring = require "uring"
local needs_ring = helper.needs_ring(it)

-- Its status, and what it prints, sorted; what it says at the end comes last.
local function scan(...)
  local words = { ... }
  for i, word in ipairs(words) do words[i] = tostring(word) end
  local status, output = spec.execute(60 * helper.slow, "/proc/self/exe",
    "examples/scan.lua", table.unpack(words))
  local lines = {}
  for line in output:gmatch "[^\n]+" do lines[#lines + 1] = line end
  table.sort(lines, function(a, b) return #a < #b or #a == #b and a < b end)
  return status, lines
end

local function port_of(socket)
  return (socket:getsockname().port)
end

-- Somebody listens there.
local function open_port()
  return port_of(net.listener())
end

-- The number is taken, and nothing listens.
local function closed_port()
  local socket = net.keep(assert(uring.socket(uring.AF_INET,
    uring.SOCK_STREAM)))
  assert(socket:bind "127.0.0.1:0")
  return port_of(socket)
end

-- A connect there waits, for its listener does not accept.
local function silent_port()
  local listener = net.listener("127.0.0.1:0", 0)
  net.run(function()
    net.crowd(uring.tcp.connect, listener:getsockname())
  end)
  return port_of(listener)
end

describe("the port scanner", function()
  after_each(program.stop)
  after_each(net.close)

  needs_ring("finds the ports that listen", function()
    local a, b, closed = open_port(), open_port(), closed_port()
    local found = { tostring(a), tostring(b) }
    table.sort(found, function(x, y) return tonumber(x) < tonumber(y) end)
    found[3] = "3 of 3 ports asked: 2 open, 1 closed, 0 silent"
    local status, lines = scan("127.0.0.1",
      ("%d,%d,%d-%d"):format(a, closed, b, b), 2, 30 * helper.slow)
    table.sort(lines, function(x, y)
      return (tonumber(x) or math.huge) < (tonumber(y) or math.huge)
    end)
    assert.same({ 0, found }, { status, lines })
  end)

  needs_ring("does not wait for hosts that do not answer", function()
    local status, lines = scan("127.0.0.1", silent_port(), 1, 0.05)
    assert.same({ "1 of 1 ports asked: 0 open, 0 closed, 1 silent" }, lines)
    assert.equal(0, status)
  end)

  needs_ring("has as many connects under way as asked, and no more", function()
    local silent, open = silent_port(), open_port()
    local ports = silent .. "," .. open
    -- the first has the only slot, so that the second's turn never comes
    local status, lines = scan("127.0.0.1", ports, 1, 60, 0.1)
    assert.same({ "0 of 2 ports asked: 0 open, 0 closed, 0 silent (timed out)",
    }, lines)
    assert.equal(1, status)
    status, lines = scan("127.0.0.1", ports, 2, 60, 0.5 * helper.slow)
    assert.same({ tostring(open),
      "1 of 2 ports asked: 1 open, 0 closed, 0 silent (timed out)" }, lines)
    assert.equal(1, status)
  end)

  needs_ring("says how far it got when it is interrupted", function()
    local silent, open = silent_port(), open_port()
    local running = program.start("examples/scan.lua", "127.0.0.1",
      silent .. "," .. open, "2", "60")
    assert.equal(tostring(open), running:line())
    local status, rest = running:interrupt()
    assert.truthy(rest:find(
      "^1 of 2 ports asked: 1 open, 0 closed, 0 silent %(.*interrupted!%)\n$"),
      rest)
    assert.equal(1, status)
  end)

  needs_ring("says what is wrong with a host that cannot be reached",
    function()
      local status, lines = scan("255.255.255.255", "5")
      assert.equal(1, status)
      assert.truthy(lines[1]:find(
        "^0 of 1 ports asked: .* %(port 5: connect .* %(%u+%)%)$"), lines[1])
    end)

  needs_ring("shows its usage", function()
    for words, message in pairs {
      ["127.0.0.1"] = "HOST and PORTS expected",
      ["localhost 1"] = "'localhost' is no IP address",
      ["127.0.0.1 80-22"] = "'80-22' is no port from 1 to 65535, and no range",
      ["127.0.0.1 80,"] = "'' is no port from 1 to 65535, and no range",
      ["127.0.0.1 65536"] =
        "'65536' is no port from 1 to 65535, and no range",
      ["127.0.0.1 1 none"] = "LIMIT: 'none' is no number above 0",
      ["127.0.0.1 1 1 -1"] = "TIMEOUT: '-1' is no number above 0",
      ["127.0.0.1 1 1 1 nan"] = "OVERALL: 'nan' is no number above 0",
    } do
      local parts = {}
      for word in words:gmatch "%S+" do parts[#parts + 1] = word end
      local status, output = spec.execute(30 * helper.slow, "/proc/self/exe",
        "examples/scan.lua", table.unpack(parts))
      assert.equal(1, status)
      assert.equal(message, output:match "^[^\n]*")
    end
  end)
end)
