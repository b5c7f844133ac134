-- lighttpd with examples/hosts/lighttpd/visits.lua, which makes a step and
-- sends a message in each request, beside a script that only counts: requests
-- a second, as wrk sees them over 64 connections.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/lighttpd.lua --markdown
--
-- The two alternate; medians. Says so where lighttpd or wrk is missing.

local helper = require "helper"
local program = require "program"
local web = require "web"

local rounds = os.getenv "BENCH_QUICK" and 1 or 5
local ORDER <const> = { "plain", "a step and a message" }

for _, name in ipairs { "lighttpd", "/usr/lib/lighttpd/mod_magnet.so",
  "wrk" } do
  if program.missing(name) then
    print("lighttpd: left out, for " .. name .. " is missing")
    return
  end
end

local PLAIN <const> = [[
  local path = lighty.r.req_attr["uri.path"]
  local visits = _G.visits or {}
  _G.visits = visits
  visits[path] = (visits[path] or 0) + 1
  lighty.r.resp_header["Content-Type"] = "text/plain"
  lighty.r.resp_body:set(("visit %d\n"):format(visits[path]))
  return 200
]]

local ports, rates = {}, {}
for name, script in pairs {
  [ORDER[1]] = helper.file(PLAIN),
  [ORDER[2]] = web.path "examples/hosts/lighttpd/visits.lua",
} do
  ports[name], rates[name] = web.port(), {}
  program.command("lighttpd", "-D", "-f", helper.file(web.configure(
    "examples/hosts/lighttpd/lighttpd.conf", {
      ["8080"] = ("%d"):format(ports[name]),
      ["/usr/local/share/lighttpd/visits.lua"] = script,
    })))
  web.wait_for(ports[name])
end

for _ = 1, rounds do
  for _, name in ipairs(ORDER) do
    table.insert(rates[name], (web.load(ports[name], "/x", 64)))
  end
end
program.stop()
helper.clean()

local row = arg[1] == "--markdown" and "| %s | %s |\n" or "%-24s %10s\n"
io.write(row:format("lighttpd", "requests a second"))
if arg[1] == "--markdown" then io.write "|---|---|\n" end
for _, name in ipairs(ORDER) do
  table.sort(rates[name])
  io.write(row:format(name, rates[name][(rounds + 1) // 2]))
end
