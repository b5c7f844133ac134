-- Compare socket servers of the library, in C, and with lua-luv and
-- lua-cqueues, in one run: ratios of medians.
--
--     make bench                                 or, as a table for README.md:
--     tools/env.sh plain lua5.4 bench/sockets.lua --markdown
--
-- The four alternate, so that other load on the machine slows all; a ratio is
-- the median of the rounds' ratios. load.c measures them. Arguments are names
-- of works, to run only these. With BENCH_QUICK=1 it takes a few seconds, and
-- its figures mean little. A library that is not installed is left out.

local quick = os.getenv "BENCH_QUICK"
local lua = os.getenv "LUA" or "lua5.4"
local rounds = tonumber(os.getenv "BENCH_ROUNDS") or quick and 1 or 5

local servers = {
  { name = "C", command = "build/bench/sockets" },
  { name = "ours", command = lua .. " bench/sockets_ours.lua" },
  { name = "luv", command = lua .. " bench/sockets_luv.lua",
    module = "luv" },
  { name = "cqueues", command = lua .. " bench/sockets_cqueues.lua",
    module = "cqueues" },
}

-- The number of messages, and the least ratio of luv's time to ours. Streams
-- are counted in KiB.
local works = {
  { "udp_receive", 65536, 3 },
  { "udp_echo_1", 20000, 1.25 },
  { "udp_echo_32", 30000, 1.25 },
  { "tcp_echo_1", 20000, 1.25 },
  { "tcp_echo_64", 30000, 1.25 },
  { "tcp_echo_1000", 30000, 1.25 },
  { "accept", 5000 },
  { "receive_stream", 512 },
  { "send_16k", 512 },
  { "send_1m", 512 },
  { "send_16k_zc", 64, only = { C = true } },
  { "send_1m_zc", 512, only = { C = true, ours = true } },
}
local AT_MOST = 1.6  -- times C

local markdown = false
local chosen
for _, word in ipairs(arg) do
  if word == "--markdown" then markdown = true
  else
    chosen = chosen or {}
    chosen[word] = true
  end
end

local function works_here(server)
  return not server.module or os.execute(("%s -e 'require %q' 2>/dev/null")
    :format(lua, server.module))
end

-- Nanoseconds for each message: the server's processor time, and wall time.
local function measure(work, n, server)
  local command = ("build/bench/load %s %d %s"):format(work, n,
    server.command)
  local pipe <close> = assert(io.popen(command))
  local cpu, wall = pipe:read("n", "n")
  assert(cpu and wall, command)
  return cpu, wall
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local function print_row(...)
  local row = markdown and "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n"
    or "%-14s %6s %6s %6s %7s %6s %8s %5s  %s\n"
  io.write(row:format(...))
end

local function whole(n) return n and ("%.0f"):format(n) or "" end
local function ratio(n) return n and ("%.2f"):format(n) or "" end

local function targets(work, to_c, to_luv)
  local words = {}
  if to_c and to_c > AT_MOST then
    words[#words + 1] = ("ours/C > %.1f"):format(AT_MOST)
  end
  if to_luv and work[3] and to_luv < work[3] then
    words[#words + 1] = ("luv/ours < %.4g"):format(work[3])
  end
  return #words > 0 and table.concat(words, ", ") or to_c and "met" or ""
end

local peers = {}
for _, server in ipairs(servers) do
  if works_here(server) then peers[#peers + 1] = server end
end

local cpu, wall = {}, {}   -- work -> server -> a figure for each round
for _ = 1, rounds do
  for _, work in ipairs(works) do
    local name, n = work[1], work[2]
    if quick then n = math.max(n // 10, 64) end
    if not chosen or chosen[name] then
      cpu[name], wall[name] = cpu[name] or {}, wall[name] or {}
      for _, server in ipairs(peers) do
        if not work.only or work.only[server.name] then
          local c, w = measure(name, n, server)
          for into, value in pairs { [cpu] = c, [wall] = w } do
            local list = into[name][server.name] or {}
            into[name][server.name] = list
            list[#list + 1] = value
          end
        end
      end
    end
  end
end

-- The median over the rounds of a / b.
local function compared(figures, a, b)
  if not figures[a] or not figures[b] then return nil end
  local list = {}
  for i = 1, rounds do list[i] = figures[a][i] / figures[b][i] end
  return median(list)
end

local function print_table(title, all, judged)
  print_row(title, "C", "ours", "luv", "cqueues", "ours/C", "luv/ours",
    "luv/C", judged and "targets" or "")
  if markdown then io.write(("|---"):rep(9), "|\n") end
  for _, work in ipairs(works) do
    local figures = all[work[1]]
    if figures then
      local to_c = compared(figures, "ours", "C")
      local to_luv = compared(figures, "luv", "ours")
      local ns = {}
      for _, server in ipairs(servers) do
        local list = figures[server.name]
        ns[#ns + 1] = whole(list and median(table.move(list, 1, #list, 1,
          {})))
      end
      print_row(work[1], ns[1], ns[2], ns[3], ns[4], ratio(to_c),
        ratio(to_luv), ratio(compared(figures, "luv", "C")),
        judged and targets(work, to_c, to_luv) or "")
    end
  end
end

print_table("processor ns", cpu, true)
io.write "\n"
print_table("elapsed ns", wall, false)
