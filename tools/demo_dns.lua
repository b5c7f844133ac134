-- `make demo-dns`: start examples/dns.lua on free ports, send it some hundred
-- queries with dig, and count the correct answers.
--
-- The exit status is 0 if all were correct, 1 if not, and 77 if it cannot run.

local uring = require "uring"

local REPEAT = 12

-- name, type, status, and the data of the answers in any order.
local ASKED = {
  { "www", "A", "NOERROR", "192.0.2.80", "192.0.2.81" },
  { "www", "AAAA", "NOERROR", "2001:db8::80" },
  { "WwW", "AAAA", "NOERROR", "2001:db8::80" },
  { "ftp", "AAAA", "NOERROR", "www.example.test.", "2001:db8::80" },
  { "v6", "AAAA", "NOERROR", "2001:db8::6" },
  { "v6", "A", "NOERROR" },
  { "b.c", "A", "NOERROR" },
  { "a.b.c", "A", "NOERROR", "203.0.113.1" },
  { "ns1", "A", "NOERROR", "192.0.2.53" },
  { "mail", "A", "NOERROR", "192.0.2.25" },
  { "text", "TXT", "NOERROR", [["another"]],
    [["several strings" "in" "one" "record; with \"quotes\""]] },
  { "nobody", "A", "NXDOMAIN" },
  { "nobody", "TXT", "NXDOMAIN" },
}

local function give_up(...)
  io.stderr:write(table.concat { ... }, "\n")
  os.exit(77, true)
end

local function quoted(word)
  return "'" .. word:gsub("'", [['\'']]) .. "'"
end

-- The server: its output, and a value whose close ends it.
local function start(...)
  local words = { "exec", quoted(arg[-1]), "examples/dns.lua",
    "examples/zone.txt", ... }
  local output = assert(io.popen("echo $$; " .. table.concat(words, " ")))
  local pid = assert(output:read "l")
  return setmetatable({ output = output }, { __close = function()
    os.execute("kill " .. pid)
    output:close()
  end })
end

local function listening(output, n)
  local found = {}
  for i = 1, n do
    local line = output:read "l"
    found[i] = uring.sockaddr(line and line:match "^listening on (.*)$"
      or give_up "the server did not start")
  end
  return found
end

local function expected(asked)
  local data = { table.unpack(asked, 4) }
  table.sort(data)
  return asked[3] .. " " .. table.concat(data, " ")
end

-- The answers in dig's output, in order, in the form of `expected`.
local function answers(output)
  local section, status, data
  local found = {}
  for line in output:lines() do
    status = line:match "status: (%u+)" or status
    if line:find "^;; Got answer" then
      data = {}
    elseif line:find "^;; ANSWER SECTION" then
      section = data
    elseif line == "" or line:find "^;" then
      section = nil
    elseif section then
      section[#section + 1] = line:match "^%S+%s+%d+%s+IN%s+%u+%s+(.*)$"
    end
    if line:find "^;; Query time" then
      table.sort(data)
      found[#found + 1] = status .. " " .. table.concat(data, " ")
    end
  end
  return found
end

if not uring.probe().available then
  give_up("io_uring does not work here: ", uring.probe().reason)
elseif not os.execute "command -v dig >/dev/null 2>&1" then
  give_up "there is no dig here; its package is Debian's bind9-dnsutils"
end

local hosts = { "127.0.0.1:0" }
local ipv6 = uring.udp.bind "[::1]:0"
if ipv6 then
  ipv6:close()
  hosts[2] = "'[::1]:0'"
end

local right, all = 0, 0
do
  local server <close> = start(table.unpack(hosts))
  local addresses = listening(server.output, #hosts)
  for i, address in ipairs(addresses) do
    addresses[i] = ("@%s -p %d"):format(address.host, address.port)
    print(("the server listens on %s"):format(address))
  end

  local batch = os.tmpname()
  local file = assert(io.open(batch, "w"))
  local questions = {}
  for _ = 1, REPEAT do
    for _, asked in ipairs(ASKED) do
      for _, where in ipairs(addresses) do
        questions[#questions + 1] = asked
        file:write(("%s %s.example.test %s\n"):format(where, asked[1],
          asked[2]))
      end
    end
  end
  file:close()

  print(("dig asks %d questions\n"):format(#questions))
  local dig <close> = assert(io.popen("dig +tries=1 +time=5 +noall +comments "
    .. "+answer +stats -f " .. batch))
  local got = answers(dig)
  os.remove(batch)
  for i, asked in ipairs(questions) do
    local want, is = expected(asked), got[i] or "no answer"
    local ok = want == is
    all = all + 1
    if ok then right = right + 1 end
    if i % #addresses == 0 and i <= #ASKED * #addresses or not ok then
      print(("%-20s %-5s %s%s"):format(asked[1] .. ".example.test", asked[2],
        is, ok and "" or ("   WRONG: it is " .. want)))
    end
  end
end

print(("\n%d of %d answers were right"):format(right, all))
os.exit(right == all and all > 0 and 0 or 1, true)
