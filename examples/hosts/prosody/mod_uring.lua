-- A module for Prosody (0.12, Lua 5.4): HTTP answers from tasks.
--
--     GET  /uring/wait/0.5   answers half a second later
--     GET  /uring/next       answers with the next message of the mailbox
--                            "prosody"; 204 if none comes for half a minute
--     POST /uring/say        sends the body to that mailbox
--
-- Copy it into a folder of plugin_paths; prosody.cfg.lua beside this file is
-- a configuration to try it with. Prosody goes on while tasks wait: its own
-- loop polls the descriptor of uring's.

module:set_global()
module:depends "http"

local server = require "net.server"
local uring = require "uring"

-- What a round of Prosody's loop may spend on tasks.
local BUDGET <const> = { seconds = 0.002 }
local PATIENCE <const> = 30

local watch, mailbox, address
local running = {}  -- tasks that have not answered yet

-- The loop of this process. It begins with the first request: `prosody -D`
-- forks when the modules are loaded, and a loop stays with its process.
local function begun()
  local loop = assert(uring.loop())
  if not watch then
    mailbox = assert(uring.mailbox { name = "prosody" })
    address = mailbox:address()
    watch = server.watchfd(assert(loop:fd()), function()
      loop:step(BUDGET)
    end)
  end
  return loop
end

-- In a task: f may wait. What it returns is the answer's body, or its status.
local function answer(response, f, ...)
  local ok, result = uring.pcall(f, ...)
  response.on_destroy = nil
  running[uring.current()] = nil
  if not ok then
    module:log("error", "%s %s: %s", response.request.method,
      response.request.path, result)
    result = 500
  end
  if type(result) == "number" then
    response.status_code, result = result, nil
  end
  response:send(result)
end

-- A route whose answer is a task's.
local function in_task(f)
  return function(event, ...)
    local response = event.response
    local task = begun():spawn(answer, response, f, event, ...)
    running[task] = response
    function response.on_destroy()  -- the client has gone
      running[task] = nil
      task:cancel()
    end
    return true
  end
end

local function wait(_, path)
  local seconds = tonumber(path)
  if not seconds or seconds < 0 or seconds > PATIENCE then return 400 end
  uring.sleep(seconds)
  return ("waited %s seconds\n"):format(path)
end

local function next_message()
  local message, _, errno = mailbox:receive(PATIENCE)
  if message == nil then
    return errno == uring.errno.ETIME and 204 or 503
  end
  return tostring(message)
end

local function say(event)
  return address:send(event.request.body) and 202 or 503
end

module:provides("http", {
  route = {
    ["GET /wait/*"] = in_task(wait),
    ["GET /next"] = in_task(next_message),
    ["POST /say"] = in_task(say),
  },
})

function module.unload()
  for task, response in pairs(running) do
    response.on_destroy = nil
    task:cancel()
    response.status_code = 503
    response:send()
  end
  if watch then
    uring.loop():step()  -- what was cancelled ends
    mailbox:close()
    watch:close()
  end
end
