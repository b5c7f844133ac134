-- Run commands at the times of a crontab.
--
--     tools/env.sh plain lua5.4 examples/cron.lua FILE
--     tools/env.sh plain lua5.4 examples/cron.lua FILE next 5
--
-- A line of FILE has five fields and a command as in crontab(5): minute, hour,
-- day of the month, month, day of the week; each is *, a number, a range, a
-- list, or one of these with a step: */15, 8-18/2, 1,15. Or it is `@every
-- SECONDS COMMAND`. Lines that begin with # are comments. `next` prints the
-- next times of each line and runs nothing.
--
-- Times are local. They follow the clock: it may be set while a command waits
-- for its time. A command that still runs at its next time misses that. TERM
-- and Ctrl-C end the commands, and then this program.

local uring = require "uring"

local FIELDS <const> = {
  { "minute", 0, 59 }, { "hour", 0, 23 }, { "day", 1, 31 },
  { "month", 1, 12 }, { "weekday", 0, 7 },
}


-- ---- lines ----------------------------------------------------------------

-- The set of numbers that a field names, or nil.
local function parse_field(text, low, high)
  local set = {}
  for part in (text .. ","):gmatch "(.-)," do
    local range, step = part:match "^([^/]+)/?(%d*)$"
    local from, to = (range or ""):match "^(%d+)%-(%d+)$"
    if range == "*" then from, to = low, high end
    from = math.tointeger(tonumber(from or range))
    to = math.tointeger(tonumber(to or from))
    step = step == "" and 1 or math.tointeger(tonumber(step))
    if not from or from < low or to > high or not step or step < 1 then
      return nil
    end
    for n = from, to, step do set[n] = true end
  end
  return set
end

-- { command =, every = } or { command =, minute = set … }; or nil, message.
local function parse_line(line)
  local every, command = line:match "^@every%s+([%d.]+)%s+(.+)$"
  if every then return { every = tonumber(every), command = command } end
  local words = table.pack(line:match("^" .. ("(%S+)%s+"):rep(5) .. "(.+)$"))
  if words.n < 6 then return nil, "five fields and a command expected" end
  local job = { command = words[6] }
  for i, field in ipairs(FIELDS) do
    job[field[1]] = parse_field(words[i], field[2], field[3])
    if not job[field[1]] then
      return nil, ("'%s' is no %s"):format(words[i], field[1])
    end
  end
  if job.weekday[7] then job.weekday[0] = true end
  -- (where both days are restricted, one of them is enough)
  job.any_day = words[3] ~= "*" and words[5] ~= "*"
  return job
end

local function day_fits(job, t)
  local day, weekday = job.day[t.day], job.weekday[t.wday - 1]
  if job.any_day then return day or weekday end
  return day and weekday
end

-- The first time of a job that is after `now`, or nil if it has none within
-- four years.
local function next_time(job, now)
  local t = os.date("*t", now // 1 | 0)
  t.sec, t.min, t.isdst = 0, t.min + 1, nil
  local last = now + 4 * 366 * 86400
  while true do
    local time = os.time(t)  -- (which also carries: minute 60 is 0)
    if time > last then return nil end
    t = os.date("*t", time)
    if not job.month[t.month] then
      t.month, t.day, t.hour, t.min = t.month + 1, 1, 0, 0
    elseif not day_fits(job, t) then t.day, t.hour, t.min = t.day + 1, 0, 0
    elseif not job.hour[t.hour] then t.hour, t.min = t.hour + 1, 0
    elseif not job.minute[t.min] then t.min = t.min + 1
    else return time end
    t.isdst = nil
  end
end

local function read_jobs(path)
  local jobs, n = {}, 0
  for line in assert(uring.open(path)):lines() do
    n = n + 1
    if line:find "^%s*[^%s#]" then
      local job, message = parse_line(line:match "^%s*(.*%S)")
      if not job then error(("%s:%d: %s"):format(path, n, message), 0) end
      jobs[#jobs + 1] = job
    end
  end
  return jobs
end


-- ---- running --------------------------------------------------------------

local function run_command(command)
  local shell <close> = assert(uring.process { "/bin/sh", "-c", command,
    stdin = "null", group = true })
  local kind, code = shell:wait()
  if kind ~= "exit" or code ~= 0 then
    uring.stderr:write(("%s: %s %d\n"):format(command, kind, code))
  end
end

local function run_job(job)
  if job.every then
    for _ in uring.every(job.every) do run_command(job.command) end
  end
  while true do
    local time = next_time(job, uring.time())
    if not time then return end
    uring.select { uring.at_time(time) }
    run_command(job.command)
  end
end

local function print_next(job, count)
  local time = uring.time()
  print(job.command)
  for _ = 1, count do
    time = job.every and time + job.every or next_time(job, time)
    if not time then break end
    print(os.date("  %Y-%m-%d %H:%M:%S", time // 1 | 0))
  end
end

local function main(path, count)
  local jobs = read_jobs(path)
  if count then
    for _, job in ipairs(jobs) do print_next(job, count) end
    return
  end
  local stop <close> = uring.signals("INT", "TERM")
  uring.scope(function(scope)
    for _, job in ipairs(jobs) do
      scope:spawn { name = job.command, main = function() run_job(job) end }
    end
    stop:receive()
    scope:cancel "stopped"
  end)
end


local path, what, count = arg[1], arg[2], math.tointeger(tonumber(arg[3] or 1))
if not path or what and what ~= "next" or not count then
  io.stderr:write("usage: tools/env.sh plain lua5.4 "
    .. "examples/cron.lua FILE [next [COUNT]]\n")
  os.exit(2)
end

local ok, message = pcall(uring.run, main, path, what and count)
if not ok then
  io.stderr:write(tostring(message):match "[^\n]*", "\n")
  os.exit(1)
end
