-- A Redis client: many tasks share a connection, and each waits for its own
-- answer.
--
--     redis-server --port 6379 --save '' &
--     tools/env.sh plain lua5.4 examples/redis.lua 127.0.0.1:6379
--     tools/env.sh plain lua5.4 examples/redis.lua 127.0.0.1:6379 bench 100000
--
-- Commands are written as they come, and the server answers in their order
-- (pipelining): so a connection has a line of those that wait. One task reads
-- the answers and gives each to the first of the line. What was published
-- comes to a connection of its own.
--
-- `bench` prints requests a second: 50 tasks that set a key, over a connection
-- for all and one for each.

local uring = require "uring"


-- ---- the protocol (RESP) --------------------------------------------------

-- A command as bytes.
local function encode(...)
  local words = table.pack(...)
  local out = { ("*%d\r\n"):format(words.n) }
  for i = 1, words.n do
    local word = tostring(words[i])
    out[i + 1] = ("$%d\r\n%s\r\n"):format(#word, word)
  end
  return table.concat(out)
end

-- An answer: a string, an integer, an array, false for null; or nil and the
-- server's error.
local function read_answer(conn)
  local line = assert(conn:read "l", "the server has closed the connection")
  local kind, rest = line:match "^(.)(.-)\r?$"
  if kind == "+" then return rest
  elseif kind == "-" then return nil, rest
  elseif kind == ":" then return math.tointeger(rest)
  elseif kind == "$" then
    local size = math.tointeger(rest)
    if size < 0 then return false end
    return assert(conn:read(size + 2)):sub(1, size)
  end
  assert(kind == "*", "this is not Redis")
  local array = {}
  for i = 1, math.tointeger(rest) do array[i] = read_answer(conn) end
  return array
end


-- ---- a connection ---------------------------------------------------------

local Redis = {}
Redis.__index = Redis

-- Gives the answers to those that wait. When the connection ends all of them
-- are told why.
local function read_answers(self)
  local ok, why = uring.pcall(function()
    for slot in self.line:messages() do
      local s <close> = slot  -- (closed also where no answer comes)
      s:try_send(table.pack(read_answer(self.conn)))
    end
  end)
  self.why = not ok and why or "the connection was closed"
  self.conn:close()
  self.line:close()
  for slot in self.line:messages() do slot:close() end
end

function Redis.connect(address)
  local conn = assert(uring.tcp.connect(address, 5))
  local self = setmetatable({ conn = conn, line = uring.channel(1024) }, Redis)
  uring.root():daemon(read_answers, self)
  return self
end

-- The answer; or nil and the error. The slot of a task that is cancelled here
-- stays in the line: its answer goes to no other task.
function Redis:call(...)
  local slot = uring.channel(1)
  if not self.line:send(slot) then return nil, self.why end
  assert(self.conn:write(encode(...)))
  local answer = slot:receive()
  if not answer then return nil, self.why end
  return table.unpack(answer, 1, answer.n)
end

-- for message in redis:subscribe(channel) do: a connection for this alone.
function Redis:subscribe(channel)
  assert(self.conn:write(encode("SUBSCRIBE", channel)))
  read_answer(self.conn)
  return function() return read_answer(self.conn)[3] end
end

function Redis.listen(address)
  return setmetatable({ conn = assert(uring.tcp.connect(address, 5)) }, Redis)
end

function Redis:close()
  if self.line then self.line:close() else self.conn:close() end
end

Redis.__close = Redis.close


-- ---- shown ----------------------------------------------------------------

local function show(address)
  local redis <close> = Redis.connect(address)
  print(redis:call("SET", "greeting", "hello"))
  print(redis:call("GET", "greeting"))
  print(redis:call("NO SUCH COMMAND"))
  redis:call("DEL", "counter")
  uring.scope(function(scope)  -- a hundred requests, and one round trip or two
    for _ = 1, 100 do scope:spawn(redis.call, redis, "INCR", "counter") end
  end)
  print(redis:call("GET", "counter"))

  local listener <close> = Redis.listen(address)
  local news = listener:subscribe "news"
  for i = 1, 3 do redis:call("PUBLISH", "news", "number " .. i) end
  for _ = 1, 3 do print(news()) end
end

local TASKS <const> = 50

-- Requests a second of so many tasks, each over the connection of `of`.
local function measure(count, of)
  local start = uring.now()
  uring.scope(function(scope)
    for i = 1, TASKS do
      scope:spawn(function()
        local redis = of(i)
        for _ = 1, count // TASKS do
          assert(redis:call("SET", "key", "xxx"))
        end
      end)
    end
  end)
  return count / (uring.now() - start)
end

local function bench(address, count)
  local shared <close> = Redis.connect(address)
  print(("one connection %.0f"):format(measure(count, function()
    return shared
  end)))
  local each = {}
  for i = 1, TASKS do each[i] = Redis.connect(address) end
  print(("%d connections %.0f"):format(TASKS, measure(count, function(i)
    return each[i]
  end)))
  for i = 1, TASKS do each[i]:close() end
end


local address, what, count = arg[1], arg[2], tonumber(arg[3] or 100000)
if not address or what and what ~= "bench" or not count then
  io.stderr:write("usage: tools/env.sh plain lua5.4 "
    .. "examples/redis.lua ADDRESS [bench [COUNT]]\n")
  os.exit(2)
end

local ok, message = pcall(uring.run, what and bench or show, address, count)
if not ok then
  io.stderr:write(tostring(message):match "[^\n]*", "\n")
  os.exit(1)
end
