-- A port scanner: which TCP ports of a host are open?
--
--     tools/env.sh plain lua5.4 examples/scan.lua HOST PORTS \
--       [LIMIT [TIMEOUT [OVERALL]]]
--     tools/env.sh plain lua5.4 examples/scan.lua 127.0.0.1 1-1024
--     tools/env.sh plain lua5.4 examples/scan.lua ::1 22,8000-8100 500 0.5 10
--
-- At most LIMIT connects are in flight at once (100), each for at most TIMEOUT
-- seconds (1), and all of them for at most OVERALL seconds (60). Open ports
-- are printed as they are found. However it ends, Ctrl-C included, it prints
-- how many ports it has asked. The status is 0 only if it has asked all.
--
-- The guide (doc/guide.md, "A port scanner") builds it step by step.

local uring = require "uring"

local E <const> = uring.errno


-- ---- the scan --------------------------------------------------------------

-- Does a program listen there? nil, message where that could not be found out.
local function ask(host, port, seconds)
  local address = uring.sockaddr(host, port)
  local conn, message, errno = uring.tcp.connect(address, seconds)
  if conn then
    conn:close()
    return "open"
  elseif errno == E.ECONNREFUSED then
    return "closed"
  elseif errno == E.ETIME or errno == E.ETIMEDOUT then
    return "silent"
  end
  return nil, message
end

-- Asks all these ports, and sends the results to the channel `answers`.
-- Returns when it has them all.
local function scan(host, ports, limit, seconds, answers)
  local slots = uring.semaphore(limit)

  local function one(port)
    local answer, message = ask(host, port, seconds)
    slots:release()
    if not answer then error(("port %d: %s"):format(port, message), 0) end
    answers:send(port, answer)
  end

  uring.scope(function()
    for _, port in ipairs(ports) do
      slots:acquire()
      uring.spawn(one, port)
    end
  end)
end

-- Returns why ports are missing, or nothing. `counts` is right at any moment.
local function main(job, counts)
  local answers = uring.channel(16)
  local printing = uring.spawn({ name = "printing", main = function()
    for port, answer in answers:messages() do
      counts.asked = counts.asked + 1
      counts[answer] = counts[answer] + 1
      if answer == "open" then
        print(port)
        io.stdout:flush()
      end
    end
  end })

  local _, message, errno = uring.timeout(job.overall, scan, job.host,
    job.ports, job.limit, job.seconds, answers)
  answers:close()  -- the loop over it ends when it is empty
  printing:join()
  if errno == E.ETIME then return message end
end


-- ---- the command line ------------------------------------------------------

local function give_up(message)
  io.stderr:write(message, "\n")
  os.exit(1)
end

local function usage(what)
  give_up(what .. "\nusage: tools/env.sh plain lua5.4 examples/scan.lua "
    .. "HOST PORTS [LIMIT [TIMEOUT [OVERALL]]]\n"
    .. "PORTS is as 22,80,8000-8100")
end

local function parse_ports(text)
  local ports, seen = {}, {}
  for part in (text .. ","):gmatch "([^,]*)," do
    local first, last = part:match "^(%d+)%-(%d+)$"
    if not first then
      first = part:match "^%d+$"
      last = first
    end
    first, last = math.tointeger(tonumber(first)),
      math.tointeger(tonumber(last))
    if not first or first < 1 or last < first or last > 65535 then
      usage(("'%s' is no port from 1 to 65535, and no range"):format(part))
    end
    for port = first, last do
      if not seen[port] then
        seen[port] = true
        ports[#ports + 1] = port
      end
    end
  end
  return ports
end

local function number(text, default, what)
  local n = text == nil and default or tonumber(text)
  if not n or n <= 0 or n ~= n then
    usage(("%s: '%s' is no number above 0"):format(what, text))
  end
  return n
end

local function parse(words)
  local host, ports = words[1], words[2]
  if not ports or #words > 5 then usage "HOST and PORTS expected" end
  if not pcall(uring.sockaddr, host, 1) then
    usage(("'%s' is no IP address"):format(host))
  end
  return {
    host = host, ports = parse_ports(ports),
    limit = math.max(1, number(words[3], 100, "LIMIT") // 1 | 0),
    seconds = number(words[4], 1, "TIMEOUT"),
    overall = number(words[5], 60, "OVERALL"),
  }
end

local job = parse(arg)
local counts = { asked = 0, open = 0, closed = 0, silent = 0 }

local ok, why = pcall(uring.run, main, job, counts)
if not ok then why = tostring(why):match "^[^\n]*" end
io.stdout:flush()
io.stderr:write(("%d of %d ports asked: %d open, %d closed, %d silent%s\n")
  :format(counts.asked, #job.ports, counts.open, counts.closed, counts.silent,
    why and " (" .. why .. ")" or ""))
os.exit(counts.asked == #job.ports)
