-- examples/hosts/lighttpd in a real lighttpd: a step and a message in each
-- request.

local helper = require "helper"
local program = require "program"
local web = require "web"
local needs_ring = helper.needs_ring(it)

local CONFIGURATION = "examples/hosts/lighttpd/lighttpd.conf"
local VISITS = web.path "examples/hosts/lighttpd/visits.lua"
local SIGTERM = 15

local function needs_lighttpd()
  program.needs "lighttpd"
  program.needs "curl"
  program.needs "/usr/lib/lighttpd/mod_magnet.so"
  if _VERSION ~= "Lua 5.4" then
    helper.skip("needs the Lua 5.4 of lighttpd (this is %s)", _VERSION)
  end
end

local server

-- Starts one with its example's configuration, and more; its port.
local function start(script, more)
  local port = web.port()
  local conf = helper.file(web.configure(CONFIGURATION, {
    ["8080"] = ("%d"):format(port),
    ["/usr/local/share/lighttpd/visits.lua"] = script,
  }) .. (more or ""))
  -- it sends signals on to all of its process group
  server = program.command("setsid", "lighttpd", "-D", "-f", conf)
  web.wait_for(port)
  return port
end

describe("lighttpd with the example's script", function()
  after_each(function()
    local ended = server
    server = nil
    if not ended then return end
    -- (its workers end with it, and their states are closed)
    local status, output = ended:interrupt(SIGTERM)
    -- (1: clients were still connected)
    assert(status <= 1, ("status %d: %s"):format(status, output))
  end)
  after_each(helper.clean)

  needs_ring("answers each request by a task", function()
    needs_lighttpd()
    local port = start(VISITS)
    for i = 1, 3 do
      assert.same({ 200, ("visit %d\n"):format(i) },
        { web.get(port, "/a") })
    end
    assert.same({ 200, "visit 1\n" }, { web.get(port, "/b") })
  end)

  needs_ring("answers 64 connections at once, and loses no message", function()
    needs_lighttpd()
    program.needs "wrk"
    local port = start(VISITS)
    local answers = web.load(port, "/x", 64)
    assert(answers > 64, answers)
    local _, body = web.get(port, "/x")
    -- wrk does not count the last answer of each connection
    local visits = math.tointeger(body:match "^visit (%d+)\n$")
    assert(visits > answers and visits <= answers + 65, body)
  end)

  needs_ring("has a loop in each of its workers", function()
    needs_lighttpd()
    program.needs "wrk"
    local port = start(VISITS,
      "server.max-worker = 2\n")
    assert(web.load(port, "/x", 64) > 64)
    local status, body = web.get(port, "/x")
    assert.equal(200, status)
    assert(body:find "^visit %d+\n$", body)
  end)

  needs_ring("goes on when its tasks have an error", function()
    needs_lighttpd()
    local port = start(helper.file [[
      local uring = require "uring"
      uring.loop():spawn(error, "mistake")
      local ok, why = pcall(uring.loop().step, uring.loop())
      lighty.r.resp_body:set(tostring(ok) .. " " .. tostring(why))
      return 200
    ]])
    for _ = 1, 2 do
      local status, body = web.get(port, "/")
      assert.equal(200, status)
      assert(body:find "^false mistake", body)
    end
  end)
end)
