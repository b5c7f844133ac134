-- The size from which zero-copy sends pay.
--
--     tools/env.sh plain lua5.4 bench/zero_copy.lua [--markdown]   (as root)
--
-- Over loopback they never do, because the kernel copies there. So datagrams
-- are sent to an interface that drops them (ifb), in a network namespace that
-- is made for this and ends with it. The same in C and with the library, which
-- requests zero copy from 48 KiB on; medians of rounds.

local rounds = tonumber(os.getenv "BENCH_ROUNDS") or 7
local lua = os.getenv "LUA" or "lua5.4"
local TO = "10.77.0.2"
local N = 5000

if arg[1] ~= "inside" then
  local ok = os.execute(([[unshare -n sh -e -c 'ip link add ifb9 type ifb
    ip link set ifb9 mtu 65535 up; ip address add 10.77.0.1/24 dev ifb9
    exec %s bench/zero_copy.lua inside "$0"' %s]])
    :format(lua, arg[1] or ""))
  if not ok then
    print "zero copy: not measured (it needs root, unshare, ip and ifb)"
  end
  return
end

local uring = require "uring"

local function in_c(size)
  local pipe <close> = assert(io.popen(("build/bench/zero_copy %s %d %d")
    :format(TO, size, N)))
  local with, without, copied = pipe:read("n", "n", "n")
  assert(copied == 0, "this interface copies")
  return without / with
end

local function ours(size)
  local took = {}
  for _, zero_copy in ipairs { false, true } do
    took[zero_copy] = uring.run(function()
      local socket <close> = assert(uring.udp.connect(TO .. ":9"))
      assert(socket:setsockopt("SO_ZEROCOPY", zero_copy))
      local buffer = uring.buffer(("x"):rep(size))
      local began = uring.now()
      for _ = 1, N do assert(socket:send(buffer)) end
      local ns = (uring.now() - began) / N
      assert(socket:stats().zero_copy == zero_copy)
      return ns
    end)
  end
  return took[true] / took[false]
end

local function median(f, size)
  local list = {}
  for i = 1, rounds do list[i] = f(size) end
  table.sort(list)
  return list[(#list + 1) // 2]
end

local row = "%-14s %6s %6s\n"
if arg[2] == "--markdown" then row = "| %s | %s | %s |\n" end
io.write(row:format("no copy / copy", "C", "ours"))
if arg[2] == "--markdown" then io.write "|---|---|---|\n" end
for _, size in ipairs { 4096, 8192, 16384, 32768, 49152, 65000 } do
  io.write(row:format(size, ("%.2f"):format(median(in_c, size)),
    ("%.2f"):format(median(ours, size))))
end
