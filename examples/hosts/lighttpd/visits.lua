-- A script for lighttpd's mod_magnet (1.4.69): tasks in a web server that has
-- no loop for them. Each request sends a message to a task and makes a step;
-- the answer is how often this worker was asked for the path.
--
--     magnet.attract-raw-url-to = ("/path/to/visits.lua")
--
-- lighttpd.conf beside this file is a configuration to try it with. A worker
-- has a state for each script, and runs the script for each request. Tasks go
-- on in requests only: nothing polls the loop in between.

local uring = require "uring"

-- What a request may spend on tasks.
local BUDGET <const> = { max = 16, seconds = 0.001 }

-- At the first request of a worker; lighttpd has forked by then. What a script
-- assigns to globals is gone with the request, but for fields of _G.
local function begin()
  local mailbox = assert(uring.mailbox())
  local self = { address = mailbox:address(), visits = {} }
  uring.loop():spawn(function()
    for path in mailbox:messages() do
      self.visits[path] = (self.visits[path] or 0) + 1
    end
  end)
  return self
end

local counter = _G.uring_counter or begin()
_G.uring_counter = counter

local path = lighty.r.req_attr["uri.path"]
local taken, why = counter.address:try_send(path)
uring.loop():step(BUDGET)

lighty.r.resp_header["Content-Type"] = "text/plain"
if not taken then
  lighty.r.resp_body:set(why .. "\n")
  return 503
end
lighty.r.resp_body:set(("visit %d\n"):format(counter.visits[path] or 0))
return 200
