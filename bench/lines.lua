-- Lines of 100 bytes, read one by one: of a file beside io.lines, and of
-- a connection beside lua-cqueues and luasocket. Nanoseconds of processor time
-- for a line, medians of rounds that alternate; what is missing is left out.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/lines.lua --markdown
--
-- The sender of the connections is a process of its own. "file_limit" is what
-- Lua itself takes: pieces of the file from which string.sub takes the lines,
-- whose places it knows.

local helper = require "helper"
local program = require "program"
local uring = require "uring"
local has_cqueues, cqueues_socket = pcall(require, "cqueues.socket")
local has_luasocket, luasocket = pcall(require, "socket")

local quick = os.getenv "BENCH_QUICK"
local ROUNDS <const>, N <const> = quick and 1 or 5, quick and 20000 or 500000
local PAUSE <const> = 0.2  -- until the sender has filled the socket

local name = helper.file(("%s\n"):format(("x"):rep(99)):rep(N))
local sender = program.start(helper.file [[
  local uring = require "uring"
  local name = ...
  uring.run(function()
    local listener = assert(uring.tcp.listen "127.0.0.1:0")
    print(listener:getsockname().port)
    io.stdout:flush()
    listener:serve(function(conn)
      local file <close> = assert(uring.open(name))
      assert(conn:sendfile(file))
    end)
  end)]], name)
local port = tonumber(sender:line())

local works = {}

function works.file_io()
  local n = 0
  for _ in io.lines(name) do n = n + 1 end
  return n
end

function works.file_limit()
  local n, file <close> = 0, assert(io.open(name))
  for piece in function() return file:read(65500) end do
    for i = 1, #piece, 100 do
      local _ = piece:sub(i, i + 98)
      n = n + 1
    end
  end
  return n
end

function works.file_ours()
  return uring.run(function()
    local n = 0
    local file <close> = assert(uring.open(name))
    for _ in file:lines() do n = n + 1 end
    return n
  end)
end

function works.socket_ours()
  return uring.run(function()
    local n = 0
    local conn <close> = assert(uring.tcp.connect("127.0.0.1:" .. port))
    uring.sleep(PAUSE)
    for _ in conn:lines() do n = n + 1 end
    return n
  end)
end

works.socket_cqueues = has_cqueues and function()
  local n, loop = 0, require "cqueues".new()
  loop:wrap(function()
    local conn = cqueues_socket.connect("127.0.0.1", port)
    require "cqueues".sleep(PAUSE)
    for _ in conn:lines "*l" do n = n + 1 end
    conn:close()
  end)
  assert(loop:loop())
  return n
end

works.socket_luasocket = has_luasocket and function()
  local n = 0
  local conn = assert(luasocket.connect("127.0.0.1", port))
  luasocket.sleep(PAUSE)
  while conn:receive "*l" do n = n + 1 end
  conn:close()
  return n
end

local function nanoseconds(work)
  local began = os.clock()
  local n = works[work]()
  local took = os.clock() - began
  assert(n == N, work .. ": " .. n)
  return took * 1e9 / N
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local ORDER <const> = { "file_io", "file_limit", "file_ours", "socket_ours",
  "socket_cqueues", "socket_luasocket" }
local times = {}
for round = 1, ROUNDS do
  for _, work in ipairs(ORDER) do
    if works[work] then
      times[work] = times[work] or {}
      times[work][round] = nanoseconds(work)
    end
  end
end
program.stop()
helper.clean()

local row = arg[1] == "--markdown" and "| %s | %s | %s |\n"
  or "%-18s %8s %12s\n"
io.write(row:format("lines of 100 bytes", "ns", "times ours"))
if arg[1] == "--markdown" then io.write "|---|---|---|\n" end
for _, work in ipairs(ORDER) do
  if times[work] then
    local ours = median(times[work:match "^%a+" .. "_ours"])
    local ns = median(times[work])
    io.write(row:format(work, ("%.0f"):format(ns), ("%.2f"):format(ns / ours)))
  end
end
