-- TLS for sockets of uring, by LuaSec (Debian: lua-sec). A module for programs
-- to copy, as this one uses it:
--
--     tools/env.sh plain lua5.4 examples/https.lua get https://example.com/
--
--     local context = assert(tls.context { cafile = "ca.pem" })
--     local stream = assert(tls.client(conn, context, "example.test"))
--
--     local context = assert(tls.context { certificate = "cert.pem",
--       key = "key.pem" })
--     listener:serve(function(conn)
--       local stream <close> = assert(tls.server(conn, context))
--     end)
--
-- A stream has read, lines, write and all else that uring's streams have. The
-- socket is its own from the start, and is closed with it, or where the
-- handshake fails: nil, message, errno. It may have read ahead, as before
-- a STARTTLS. Both functions take as long as the peer lets them: call them
-- within uring.timeout.
--
-- LuaSec knows descriptors only, and would wait for the peer when it closes
-- one. So it gets one end of a socketpair, and this moves what is encrypted
-- between the other end and the connection. No call ever waits there, as the
-- pair is empty whenever another task may run.

local uring = require "uring"
local ssl = require "ssl"
local E = uring.errno

local MOST <const> = 65536     -- bytes that are read at once

local tls = {}

-- A context for many connections; nil, message. A server's has its chain of
-- certificates and its key (names of PEM files). A client's has those that it
-- trusts as authorities: `cafile`, or the system's.
function tls.context(options)
  local server = options.certificate ~= nil
  local context, message = ssl.newcontext {
    mode = server and "server" or "client", protocol = "any",
    certificate = options.certificate, key = options.key,
    cafile = options.cafile,
    capath = not server and not options.cafile and "/etc/ssl/certs" or nil,
    verify = server and "none" or "peer",
    -- (to be told why: `verified` refuses what was not right)
    verifyext = not server and "lsec_continue" or nil,
    options = { "all", "no_sslv2", "no_sslv3", "no_tlsv1", "no_tlsv1_1",
      "no_compression", "no_renegotiation" } }
  if context then return context end
  return nil, ("TLS: %s (%s)"):format(message, options.certificate
    or options.cafile)
end


-- ---- the peer's certificate -----------------------------------------------

-- An address as certificates have it; nil if this is a name.
local function address_of(host)
  local ok, address = pcall(uring.sockaddr, host, 0)
  return ok and address.host or nil
end

-- A name, or one whose first label is "*": "*.example.test".
local function matches(pattern, host)
  pattern = pattern:lower():gsub("%.$", "")
  if not pattern:find("*", 1, true) then return pattern == host end
  local rest = pattern:match "^%*(%.[^*.]+%.[^*]+)$"
  return rest ~= nil and host:match "^[%w_-]+(%..*)$" == rest
end

local function is_for(certificate, host)
  local names = certificate:extensions()["2.5.29.17"] or {}
  local address = address_of(host)
  for _, name in ipairs(names[address and "iPAddress" or "dNSName"] or {}) do
    if address and name == address or not address and matches(name, host) then
      return true
    end
  end
  return false
end

-- True; or nil, message, errno: this is not the host that was asked for.
local function verified(session, host)
  local certificate = session:getpeercertificate()
  local trusted, why = session:getpeerverification()
  if certificate and trusted and is_for(certificate, host) then return true end
  local words = trusted and { "it is for another host" } or {}
  for _, errors in pairs(trusted and {} or why) do  -- of each in the chain
    table.move(errors, 1, #errors, #words + 1, words)
  end
  return nil, ("TLS with %s: its certificate is refused: %s"):format(host,
    table.concat(words, ", ")), E.EACCES
end


-- ---- connections ----------------------------------------------------------

local Connection = {}
Connection.__index = Connection

-- All that is there, or nil.
local function take_all(pair)
  local bytes = pair:try_receive(MOST)
  local more = bytes and pair:try_receive(MOST)
  if not more then return bytes end
  local parts = { bytes }
  repeat
    parts[#parts + 1] = more
    more = pair:try_receive(MOST)
  until not more
  return table.concat(parts)
end

-- Sends what OpenSSL has made. (All of it is taken before a wait.)
function Connection:send()
  local bytes = take_all(self.pair)
  if not bytes then return true end
  self.cut = self.cut + 1
  local sent, message, errno = self.socket:send(bytes)
  if not sent then return nil, message, errno end
  self.cut = self.cut - 1
  return true
end

-- Gives OpenSSL more of what the peer has sent: true, or nil, message, errno.
-- A read and a write may both want that.
function Connection:receive(timeout)
  local times = self.times
  local turn <close>, late, errno = self.turn:acquire(timeout)
  if not turn then return nil, late, errno end
  if self.times ~= times then return true end
  local bytes, message, why = self.socket:recv(MOST, timeout)
  if not bytes then
    return nil, message or "the peer has ended the connection without "
      .. "close_notify: something may be missing", why or E.ECONNRESET
  end
  self.times = times + 1
  local taken = self.pair:try_send(bytes) or 0
  if taken < #bytes then self.socket:unread(bytes:sub(taken + 1)) end
  return true
end

-- Goes on with what OpenSSL wants before it can do more.
function Connection:go_on(wants, timeout)
  local ok, message, errno = self:send()
  if not ok then return nil, message, errno end
  if wants == "wantread" then return self:receive(timeout) end
  if wants == "wantwrite" then return true end
  return nil, "TLS: " .. tostring(wants), E.EPROTO
end

function Connection:handshake(host)
  repeat
    local done, wants = self.session:dohandshake()
    local ok, message, errno = self:go_on(done and "wantwrite" or wants)
    if not ok then return nil, message, errno end
  until done
  if not host then return true end
  return verified(self.session, host)
end

function Connection:read(max, timeout)
  while true do
    local bytes, wants, part = self.session:receive(max)
    bytes = bytes or part ~= "" and part
    if not bytes and wants == "closed" then return nil end
    local ok, message, errno = self:go_on(bytes and "wantwrite" or wants,
      timeout)  -- (which sends, too, where keys change)
    if bytes then return bytes end
    if not ok then return nil, message, errno end
  end
end

function Connection:write(bytes)
  while true do
    local sent, wants, part = self.session:send(bytes)
    sent = sent or part
    local ok, message, errno = self:go_on(sent > 0 and "wantwrite" or wants)
    if not ok then return nil, message, errno end
    if sent > 0 then return sent end
  end
end

-- Tells the peer of the end; where there is no room now, while the socket
-- lingers, which it does in tasks.
local function say_end(socket, bytes)
  if not socket:try_send(bytes) and uring.current() then
    socket:write(bytes)
  end
end

-- If something was cut short the peer is not told.
function Connection:close()
  if self.session then self.session:close() end
  local bytes = self.cut == 0 and self.pair:try_receive(MOST)
  -- (the socket may have been closed by others)
  if bytes then pcall(say_end, self.socket, bytes) end
  if self.pair then self.pair:close() end
  return self.socket:close()
end

function Connection:__close()
  if self.open then return end
  self.cut = 1
  self:close()
end

local function open(socket, context, host)
  local self <close> = setmetatable({ socket = socket, cut = 0, times = 0,
    turn = uring.semaphore(1) }, Connection)
  local pair, other, errno = uring.socketpair()
  if not pair then return nil, other, errno end
  self.pair = pair
  local _ <close> = other
  local session, why = ssl.wrap({ setfd = function() end,
    getfd = function() return assert(other:release()) end }, context)
  if not session then return nil, "TLS: " .. why, E.ENOMEM end
  self.session = session
  session:settimeout(0)
  if host and not address_of(host) then session:sni(host) end
  local ok, message
  ok, message, errno = self:handshake(host)
  if not ok then return nil, message, errno end
  self.open = true
  return uring.stream {
    read = function(max, timeout) return self:read(max, timeout) end,
    write = function(bytes) return self:write(bytes) end,
    close = function() return self:close() end,
  }
end

-- A stream to the server of this name, or address, whose certificate has to be
-- for it.
function tls.client(socket, context, host)
  return open(socket, context, host:lower():gsub("%.$", ""))
end

-- A stream to a client.
function tls.server(socket, context)
  return open(socket, context)
end

return tls
