-- Static files by HTTP: examples/httpd.lua beside nginx with one worker, once
-- with sendfile(2) and once with reads and sends of 32 KiB ("copying"), and
-- beside small servers with lua-luv and lua-cqueues that parse no more than
-- the path. Requests a second as wrk sees them over 50 connections, and the
-- server's processor time for each request, in turns; medians of rounds.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/httpd.lua --markdown
--
-- A ratio is the median of the rounds' ratios. What is missing is left out.
-- Nothing is logged.

local helper = require "helper"
local program = require "program"
local web = require "web"

local quick = os.getenv "BENCH_QUICK"
local ROUNDS <const>, SECONDS <const> = quick and 1 or 5, quick and 1 or 2
local CONNECTIONS <const> = 50
local FILES <const> = { { "13 B", 13 }, { "64 KiB", 65536 },
  { "8 MiB", 8 << 20 } }
local SERVERS <const> = { "ours", "nginx", "copying", "luv", "cqueues" }
local TICKS <const> = 100  -- a second, in /proc

if program.missing "wrk" then
  print "httpd: left out, for wrk is missing"
  return
end

local NGINX <const> = [[
daemon off;
master_process off;
pid %s/nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile %s;
  output_buffers 2 32k;
  tcp_nopush on;
  keepalive_requests 1000000000;
  default_type application/octet-stream;
  client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s;
  uwsgi_temp_path %s; scgi_temp_path %s;
  server { listen 127.0.0.1:%d; root %s; }
}
]]

local directory = os.tmpname()
os.remove(directory)
assert(os.execute("mkdir -m 755 " .. directory))

local function fill()
  for i, file in ipairs(FILES) do
    local f <close> = assert(io.open(("%s/%d"):format(directory, i), "w"))
    f:write(("0123456789abcde\n"):rep(file[2] // 16 + 1):sub(1, file[2]))
  end
end


-- ---- servers --------------------------------------------------------------

-- Each starts one: its port, and its process.
local start = {}

function start.ours()
  local server = program.start("examples/httpd.lua", directory, "127.0.0.1:0")
  return tonumber(server:line():match ":(%d+)/"), server
end

local function nginx(sendfile)
  if program.missing "nginx" then return end
  local port, d = web.port(), directory
  local configuration = helper.file(NGINX:format(d, sendfile, d, d, d, d, d,
    port, d))
  local server = program.command("nginx", "-p", d, "-c", configuration)
  web.wait_for(port)
  return port, server
end

function start.nginx() return nginx "on" end
function start.copying() return nginx "off" end

local function peer(name)
  return function()
    if not pcall(require, name) then return end
    local server = program.start("bench/httpd_" .. name .. ".lua", directory)
    return tonumber(server:line()), server
  end
end

start.luv, start.cqueues = peer "luv", peer "cqueues"

-- The processor time of a process, in seconds.
local function cpu(pid)
  local f <close> = assert(io.open(("/proc/%d/stat"):format(pid)))
  local fields = f:read "a":match "^.*%)(.*)"
  local user, system = fields:match("^" .. (" %S+"):rep(11)
    .. " (%d+) (%d+)")
  return (user + system) / TICKS
end

local UNITS <const> = { [""] = 1, K = 1 << 10, M = 1 << 20, G = 1 << 30 }

-- Requests a second, and microseconds of processor time for each. Of large
-- files the bytes are counted: many are half through when the time is over.
local function measure(port, pid, file, seconds)
  local before = cpu(pid)
  local _, output = program.run("wrk", "-t", "1", "-c",
    tostring(CONNECTIONS), "-d", seconds .. "s", "--timeout", "20",
    ("http://127.0.0.1:%d/%d"):format(port, file))
  local took = cpu(pid) - before
  local n, time = output:match "(%d+) requests in ([%d.]+)s"
  local amount, unit = output:match "([%d.]+)([KMG]?)B read"
  if not amount or output:find "Non%-2xx" then error(output, 0) end
  if FILES[file][2] > 1 << 20 then
    n = amount * UNITS[unit] / FILES[file][2]
  end
  return n / time, took * 1e6 / n
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end


-- ---- the run --------------------------------------------------------------

local function run()
  fill()
  local ports, servers, there = {}, {}, {}
  for _, name in ipairs(SERVERS) do
    ports[name], servers[name] = start[name]()
    if ports[name] then there[#there + 1] = name end
  end
  local markdown = arg[1] == "--markdown"
  local row = markdown and "| %s | %s | %s | %s | %s | %s | %s |\n"
    or "%-8s %-8s %12s %12s %10s %10s %12s\n"
  io.write(row:format("file", "server", "requests/s", "us of CPU", "rate",
    "CPU", "CPU, copying"))
  if markdown then io.write "|---|---|---|---|---|---|---|\n" end
  for i, file in ipairs(FILES) do
    local rates, times = {}, {}
    for round = 1, ROUNDS do
      for _, name in ipairs(there) do
        rates[name], times[name] = rates[name] or {}, times[name] or {}
        rates[name][round], times[name][round] =
          measure(ports[name], servers[name].pid, i, SECONDS)
      end
    end
    -- How many times ours, or another's, is nginx's.
    local function ratio(of, name, to)
      if not of[to] then return "-" end
      local list = {}
      for round = 1, ROUNDS do
        list[round] = of[name][round] / of[to][round]
      end
      return ("%.2f"):format(median(list))
    end
    local cells = {}
    for _, name in ipairs(there) do
      cells[name] = { ratio(rates, name, "nginx"),
        ratio(times, name, "nginx"), ratio(times, name, "copying") }
    end
    for _, name in ipairs(there) do
      io.write(row:format(file[1], name, ("%.0f"):format(median(rates[name])),
        ("%.1f"):format(median(times[name])), table.unpack(cells[name])))
    end
  end
end

local ok, why = xpcall(run, debug.traceback)
program.stop()
helper.clean()
os.execute("rm -r " .. directory)
if not ok then error(why, 0) end
