-- examples/hosts/prosody in a real Prosody: answers from tasks, in the
-- foreground and as a daemon, which forks when the module is loaded.

local helper = require "helper"
local program = require "program"
local spec = require "uring_spec"
local web = require "web"
local needs_ring = helper.needs_ring(it)

local HERE = "examples/hosts/prosody/"
local PROSODY = "/usr/bin/prosody"
local SIGTERM = 15

-- Beside the example's module: what a test asks of the state.
local INSIDE = [[
  module:set_global()
  module:depends "http"
  local modules = require "core.modulemanager"
  module:provides("http", { route = {
    ["GET /tasks"] = function()
      return ("%d"):format(#require "uring".tasks())
    end,
    ["GET /reload"] = function()
      return modules.reload("*", "uring") and "reloaded"
    end,
  } })
]]

local folders = {}

local function needs_prosody()
  program.needs(PROSODY)
  program.needs "curl"
  if _VERSION ~= "Lua 5.4" then
    helper.skip("needs the Lua 5.4 of Prosody (this is %s)", _VERSION)
  end
end

local function folder()
  local pipe <close> = assert(io.popen "mktemp -d")
  local name = pipe:read "l"
  folders[#folders + 1] = name
  return name
end

local function write(name, text)
  local file <close> = assert(io.open(name, "w"))
  file:write(text)
end

-- Starts one with its example's module and configuration: its port, and its
-- folder.
local function start(mode)
  local port, dir = web.port(), folder()
  write(dir .. "/mod_uring.lua", helper.content(HERE .. "mod_uring.lua"))
  write(dir .. "/mod_inside.lua", INSIDE)
  write(dir .. "/prosody.cfg.lua", "run_as_root = true\n"
    .. web.configure(HERE .. "prosody.cfg.lua", {
      ["5280"] = ("%d"):format(port),
      ["/usr/local/lib/prosody/modules"] = dir,
      ["/tmp/prosody-uring"] = dir,
      ['"uring"'] = '"uring", "inside"',
    }))
  local server = program.start(PROSODY, mode, "--config",
    dir .. "/prosody.cfg.lua")
  web.wait_for(port)
  return port, dir, server
end

-- Ends a daemon.
local function terminate(dir)
  local file = io.open(dir .. "/prosody.pid")
  local pid = file and file:read "n"
  if file then file:close() end
  if not pid then return end
  spec.kill(pid, SIGTERM)
  helper.eventually(function()
    return os.execute(("test ! -e /proc/%d"):format(pid))
  end, 10)
end

local function clean()
  program.stop()
  for i, dir in pairs(folders) do
    terminate(dir)
    os.execute("rm -rf " .. dir)
    folders[i] = nil
  end
  helper.clean()
end

-- curl in the background: its output comes with the pipe's end.
local function asks(port, path)
  return assert(io.popen(("env -u LD_PRELOAD curl -s http://127.0.0.1:%d%s")
    :format(port, path)))
end

-- So many tasks wait there.
local function waiting(port, n)
  helper.eventually(function()
    local _, body = web.get(port, "/inside/tasks")
    return tonumber(body) == n
  end, 5)
end

local function no_errors(dir)
  for line in io.lines(dir .. "/prosody.log") do
    -- (it has no certificates, and needs none)
    if line:find "\terror\t" and not line:find "certificate" then
      error(line, 2)
    end
  end
end

describe("Prosody with the example's module", function()
  after_each(clean)

  local function serves(mode)
    local port, dir, server = start(mode)
    local function get(...) return { web.get(port, ...) } end
    assert.same({ 200, "waited 0.05 seconds\n" }, get "/uring/wait/0.05")
    assert.same({ 400, "" }, get "/uring/wait/soon")
    assert.same({ 404 }, { (web.get(port, "/uring/nothing")) })

    local next_one = asks(port, "/uring/next")
    waiting(port, 1)
    assert.same({ 202, "" }, get("/uring/say", "-d", "hello"))
    assert.equal("hello", next_one:read "a")
    next_one:close()
    assert.same({ 202, "" }, get("/uring/say", "-d", "kept"))
    assert.same({ 200, "kept" }, get "/uring/next")
    waiting(port, 0)
    no_errors(dir)
    return port, dir, server
  end

  needs_ring("answers from tasks", function()
    needs_prosody()
    serves "-F"
  end)

  needs_ring("answers as a daemon, which forks after loading", function()
    needs_prosody()
    local _, dir, server = serves "-D"
    local file <close> = assert(io.open(dir .. "/prosody.pid"))
    assert.not_equal(server.pid, file:read "n")
  end)

  needs_ring("lets 64 connections wait at once", function()
    needs_prosody()
    program.needs "wrk"
    local port, dir = start "-F"
    -- one after the other they would be 10 in that second
    local answers = web.load(port, "/uring/wait/0.1", 64)
    assert(answers > 15, answers)
    no_errors(dir)
  end)

  needs_ring("cancels the task of a client that has gone", function()
    needs_prosody()
    local port, dir = start "-F"
    local status = program.run("curl", "-s", "-m", "0.2",
      ("http://127.0.0.1:%d/uring/wait/25"):format(port))
    assert.equal(28, status)  -- curl's own timeout
    waiting(port, 0)
    no_errors(dir)
  end)

  needs_ring("can load the module again", function()
    needs_prosody()
    local port, dir = start "-F"
    local slow = asks(port, "/uring/wait/25")
    waiting(port, 1)
    assert.same({ 202, "" }, { web.get(port, "/uring/say", "-d", "lost") })
    assert.same({ 200, "reloaded" }, { web.get(port, "/inside/reload") })
    assert.equal("", slow:read "a")  -- 503, with no body
    slow:close()
    waiting(port, 0)
    assert.same({ 202, "" }, { web.get(port, "/uring/say", "-d", "new") })
    assert.same({ 200, "new" }, { web.get(port, "/uring/next") })
    no_errors(dir)
  end)
end)
