-- A chat server.
--
--     tools/env.sh plain lua5.4 examples/chat.lua [ADDRESS]
--     socat - TCP:127.0.0.1:7780
--
-- What a client writes goes to the others in its room. It begins in the room
-- "lobby" and is called by its address; /join ROOM, /name NAME and /quit
-- change that. A client that does not read what it is sent is dropped: it
-- slows no other. INT (Ctrl-C) and TERM end the server, after a last line to
-- each client.

local uring = require "uring"

local LINE <const> = 1000        -- bytes of a line
local BEHIND <const> = 256       -- lines that a client may be behind
local IDLE <const> = 3600        -- seconds

local rooms = {}                 -- name -> its clients

-- A client's outbox takes what its connection does not take yet. A full one
-- means that the client does not read.
local function send(client, text)
  if not client.outbox:try_send(text) then client.task:cancel "too slow" end
end

local function tell(client, text)
  for other in pairs(rooms[client.room]) do
    if other ~= client then send(other, text) end
  end
end

local function leave(client)
  tell(client, ("* %s leaves"):format(client.name))
  local room = rooms[client.room]
  room[client] = nil
  if not next(room) then rooms[client.room] = nil end
end

local function join(client, name)
  rooms[name] = rooms[name] or {}
  rooms[name][client] = true
  client.room = name
  tell(client, ("* %s joins"):format(client.name))
  send(client, ("* this is room %s"):format(name))
end

local commands = {}

function commands.join(client, name)
  leave(client)
  join(client, name)
end

function commands.name(client, name)
  tell(client, ("* %s is now %s"):format(client.name, name))
  client.name = name
end

local function obey(client, line)
  local command, word = line:match "^/(%a+) +(%S+)%s*$"
  if commands[command] then commands[command](client, word)
  elseif line:find "^/" then send(client, "* /join ROOM, /name NAME, /quit")
  else tell(client, ("%s: %s"):format(client.name, line)) end
end

local function write(conn, outbox)
  for text in outbox:messages() do assert(conn:write(text, "\n")) end
end

-- A connection's task. Its writer is a daemon of the scope, and ends with it.
local function attend(conn, peer)
  local client = setmetatable({ name = tostring(peer), task = uring.current(),
    outbox = uring.channel(BEHIND) }, { __close = leave })
  uring.scope(function()
    uring.daemon(write, conn, client.outbox)
    join(client, "lobby")
    local _ <close> = client
    for words in conn:lines("l", { max = LINE, timeout = IDLE }) do
      local line = words:gsub("%c", "")
      if line == "/quit" then break end
      if line ~= "" then obey(client, line) end
    end
  end)
end

uring.run(function()
  local listener <close> =
    assert(uring.tcp.listen(arg[1] or "127.0.0.1:7780"))
  local stop <close> = assert(uring.signals("INT", "TERM"))
  print(("chat on %s"):format(listener:getsockname()))
  io.stdout:flush()
  local server = uring.spawn(listener.serve, listener, attend,
    { max = 10000, grace = 1, on_error = function(message, _, peer)
      print(("%s: %s"):format(peer, message))
    end })
  stop:receive()
  for _, room in pairs(rooms) do
    for client in pairs(room) do send(client, "* the server ends") end
  end
  server:cancel "the end"
  server:join()
end)
