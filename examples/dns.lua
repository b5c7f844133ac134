-- A DNS server: answers queries over UDP from a zone file.
--
--     tools/env.sh plain lua5.4 examples/dns.lua ZONEFILE [ADDRESS...]
--     dig @127.0.0.1 -p 5300 www.example.test AAAA
--
-- An ADDRESS is 127.0.0.1:5300, [::1]:5300, 0.0.0.0:53; port 0 is a free one.
-- The addresses that it listens on are printed, one a line. The repository has
-- a ZONEFILE: examples/zone.txt.
--
-- Each address is a task with one multishot recvmsg: one request to the
-- kernel brings all datagrams, each with its sender (`from`) and its
-- destination (`info.control.pktinfo`). A server on 0.0.0.0 has to answer from
-- that very address, because resolvers drop answers from another one. So the
-- pktinfo goes back into sendmsg.
--
-- Of the master file format (RFC 1035, section 5) it knows $ORIGIN, $TTL, @,
-- relative names, omitted owners, parentheses, comments, quoted strings and
-- escapes, and the types below. There are no wildcards, no delegations, no
-- DNSSEC and no TCP: an answer that is too long is sent empty, with the TC
-- bit.

local uring = require "uring"

local PAYLOAD = 1232                  -- is not fragmented (EDNS0)
local TYPES = {
  A = 1, NS = 2, CNAME = 5, SOA = 6, MX = 15, TXT = 16, AAAA = 28,
}
local OPT, ANY, IN = 41, 255, 1
local NOERROR, FORMERR, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 3, 4, 5
local BADVERS = 16
local QR, AA, TC, RD = 0x8000, 0x0400, 0x0200, 0x0100
local DO = 0x8000                     -- in the flags of an OPT record
local POINTER = 0xC0


-- ---- names -----------------------------------------------------------------

-- A name is a string as it goes over the wire, "\3www\7example\4test\0".
-- Lookups use its lower case. That leaves the length bytes as they are: they
-- are smaller than any letter.

local function parent(name)
  return name:sub(name:byte() + 2)
end

-- Is it that name, or below it?
local function is_below(name, apex)
  while #name > #apex do name = parent(name) end
  return name == apex
end

-- From text; `origin` completes a relative one. nil, message where it is none.
local function name_of(text, origin)
  if text == "@" then return origin end
  if text == "." then return "\0" end
  local labels, label = {}, ""
  local at, dot = 1, false
  while at <= #text do
    local c = text:sub(at, at)
    dot = c == "."
    if c == "\\" then
      local code = text:match("^%d%d%d", at + 1)
      if code and tonumber(code) > 255 then return nil, "no such byte" end
      label = label .. (code and string.char(code) or text:sub(at + 1, at + 1))
      at = at + (code and 3 or 1)
    elseif not dot then
      label = label .. c
    end
    at = at + 1
    if dot or at > #text then
      if #label == 0 or #label > 63 then
        return nil, "a label has 1 to 63 bytes"
      end
      labels[#labels + 1] = string.pack("s1", label)
      label = ""
    end
  end
  local name = table.concat(labels) .. (dot and "\0" or origin)
  if #name > 255 then return nil, "a name has at most 255 bytes" end
  return name
end


-- ---- the zone --------------------------------------------------------------

-- The data of a record is a list of its parts: bytes as they are, and tables
-- { name }, which answers may compress.

local function seconds(word)
  local units = { [""] = 1, s = 1, m = 60, h = 3600, d = 86400, w = 604800 }
  local total = 0
  for digits, unit in word:lower():gmatch "(%d+)(%a?)" do
    if not units[unit] then return nil end
    total = total + tonumber(digits) * units[unit]
  end
  return word:find "^[%dsmhdwSMHDW]+$" and word:find "^%d"
    and total < 1 << 31 and math.tointeger(total) or nil
end

local function ipv4(text)
  local ok, address = pcall(uring.sockaddr, text, 0)
  if not ok or address.family ~= uring.AF_INET then return nil end
  return (address.host:gsub("(%d+)%.?", string.char))
end

local function ipv6(text)
  local ok, address = pcall(uring.sockaddr, text, 0)
  if not ok or address.family ~= uring.AF_INET6 then return nil end
  local host = address.host:gsub("(%d+)%.(%d+)%.(%d+)%.(%d+)$",
    function(a, b, c, d)
      return ("%x:%x"):format(a << 8 | b, c << 8 | d)
    end)
  local _, groups = host:gsub("%x+", "")
  host = host:gsub("::", ":" .. ("0:"):rep(8 - groups), 1)
  return (host:gsub(":?(%x+):?", function(group)
    return string.pack(">I2", tonumber(group, 16))
  end))
end

local READ = {}  -- type -> function(words, origin): data, or nil, message

function READ.A(words)
  local bytes = #words == 1 and ipv4(words[1].text)
  if not bytes then return nil, "an IPv4 address expected" end
  return { bytes }
end

function READ.AAAA(words)
  local bytes = #words == 1 and ipv6(words[1].text)
  if not bytes then return nil, "an IPv6 address expected" end
  return { bytes }
end

function READ.NS(words, origin)
  if #words ~= 1 then return nil, "a name expected" end
  local name, why = name_of(words[1].text, origin)
  if not name then return nil, why end
  return { { name } }
end

READ.CNAME = READ.NS

function READ.MX(words, origin)
  local preference = #words == 2 and math.tointeger(tonumber(words[1].text))
  if not preference or preference < 0 or preference > 65535 then
    return nil, "a preference and a name expected"
  end
  local name, why = name_of(words[2].text, origin)
  if not name then return nil, why end
  return { string.pack(">I2", preference), { name } }
end

function READ.TXT(words)
  if #words == 0 then return nil, "a string expected" end
  local data = {}
  for i, word in ipairs(words) do
    local text = word.text:gsub("\\(%d?%d?%d?)(.?)", function(code, c)
      if #code == 3 and tonumber(code) < 256 then
        return string.char(code) .. c
      end
      return code .. c
    end)
    if #text > 255 then return nil, "a string has at most 255 bytes" end
    data[i] = string.pack("s1", text)
  end
  return data
end

function READ.SOA(words, origin)
  if #words ~= 7 then return nil, "two names and five numbers expected" end
  local server, why = name_of(words[1].text, origin)
  if not server then return nil, why end
  local mailbox
  mailbox, why = name_of(words[2].text, origin)
  if not mailbox then return nil, why end
  local serial = math.tointeger(tonumber(words[3].text))
  local times = {}
  for i = 4, 7 do times[#times + 1] = seconds(words[i].text) end
  if not serial or serial < 0 or serial >= 1 << 32 or #times ~= 4 then
    return nil, "a serial number and four times expected"
  end
  return { { server }, { mailbox }, string.pack(">I4I4I4I4I4", serial,
    table.unpack(times)), minimum = times[4] }
end

-- An entry is a line, or several within parentheses: a list of words
-- { text =, quoted = }, with `owned` false where the line begins with a space.
local function entries(text)
  local at, number = 1, 1
  return function()
    local words, depth = { line = number }, 0
    words.owned = not text:find("^[ \t]", at)
    while at <= #text do
      local c = text:sub(at, at)
      if c == "\n" then
        number = number + 1
        at = at + 1
        if depth == 0 then return words end
      elseif c:find "%s" then
        at = at + 1
      elseif c == ";" then
        at = text:find("\n", at, true) or #text + 1
      elseif c == "(" or c == ")" then
        depth = depth + (c == "(" and 1 or -1)
        if depth < 0 then words.wrong = "')' without '('" end
        at = at + 1
      else
        local from, quoted = at, c == '"'
        local stop = quoted and '^["\n]' or '^[%s;()"]'
        if quoted then at = at + 1 end
        while at <= #text and not text:find(stop, at) do
          at = at + (text:find("^\\[^\n]", at) and 2 or 1)
        end
        words[#words + 1] = { quoted = quoted,
          text = text:sub(quoted and from + 1 or from, at - 1) }
        if quoted then
          if text:sub(at, at) ~= '"' then words.wrong = "no closing quote" end
          at = at + 1
        end
      end
    end
    if depth > 0 then words.wrong = "'(' without ')'" end
    return (#words > 0 or words.wrong) and words or nil
  end
end

-- The zone is { apex =, soa =, [name] = { [type] = { ttl, data... } } }. Names
-- that exist only because longer ones do have an empty table.

-- Add a record, or answer why not.
local function add(zone, name, kind, ttl, data)
  local key = name:lower()
  local at = zone.apex or key
  if not is_below(key, at) then return "the name is not in this zone" end
  zone.apex = at
  while #key > #at do
    zone[key] = zone[key] or {}
    key = parent(key)
  end
  zone[at] = zone[at] or {}
  local sets = zone[name:lower()]
  local set = sets[kind] or { ttl = ttl }
  sets[kind] = set
  set[#set + 1] = data
  if kind == TYPES.CNAME or sets[TYPES.CNAME] then
    if next(sets, next(sets)) or #set > 1 then
      return "a CNAME stands alone"
    end
  end
  if kind == TYPES.SOA then
    if name:lower() ~= at or #set > 1 then
      return "the SOA comes first, and once"
    end
    zone.soa = set
  end
end

local function read_zone(file_name)
  local file <close> = assert(io.open(file_name))
  local zone, origin, ttl, owner = {}, "\0", nil, nil

  local function entry(words)
    local first = words[1].text
    if words.wrong then return words.wrong end
    if first == "$ORIGIN" or first == "$TTL" then
      local value, why
      if #words ~= 2 then return "one value expected" end
      if first == "$TTL" then
        value, why = seconds(words[2].text), "a time expected"
        ttl = value
      else
        value, why = name_of(words[2].text, origin)
        origin = value
      end
      return not value and why
    elseif first:sub(1, 1) == "$" then
      return "unknown: " .. first
    end
    if words.owned then
      local why
      owner, why = name_of(first, origin)
      if not owner then return why end
      table.remove(words, 1)
    elseif not owner then
      return "whose is it?"
    end
    local own = ttl
    while words[1] do  -- a time and a class, in any order
      local word = words[1].text
      if seconds(word) then own = seconds(word)
      elseif word:upper() ~= "IN" then break end
      table.remove(words, 1)
    end
    local kind = words[1] and words[1].text:upper()
    if not READ[kind] then return "unknown type: " .. (kind or "none") end
    table.remove(words, 1)
    local data, why = READ[kind](words, origin)
    if not data then return kind .. ": " .. why end
    own = own or data.minimum  -- (an SOA before any $TTL)
    if not own then return "no time to live: $TTL is missing" end
    return add(zone, owner, TYPES[kind], own, data)
  end

  for words in entries(file:read "a") do
    local why = #words > 0 and entry(words) or words.wrong
    if why then
      error(("%s:%d: %s"):format(file_name, words.line, why), 0)
    end
  end
  if not zone.apex then error(file_name .. ": there is nothing in it", 0) end
  return zone
end


-- ---- queries ---------------------------------------------------------------

-- The name at `at` and where it ends; nil where there is none. A pointer may
-- only point back, before all that was read so far, so that this ends.
local function read_name(packet, at)
  local parts, size, limit, after = {}, 1, at, nil
  while true do
    local n = packet:byte(at)
    if not n then return nil end
    if n == 0 then
      parts[#parts + 1] = "\0"
      return table.concat(parts), after or at + 1
    elseif n < 64 then
      size = size + n + 1
      if size > 255 or at + n > #packet then return nil end
      parts[#parts + 1] = packet:sub(at, at + n)
      at = at + n + 1
    elseif n >= POINTER and at < #packet then
      after = after or at + 2
      at = ((n & 0x3F) << 8 | packet:byte(at + 1)) + 1
      if at <= 12 or at >= limit then return nil end
      limit = at
    else
      return nil
    end
  end
end

-- Reads into q the part after the header; false where it is malformed. An OPT
-- record that was found stays in q, because the error needs it too.
local function read_records(packet, q, questions, others, more)
  local right, at = questions == 1, 13
  local name, kind, class
  for _ = 1, questions do
    name, at = read_name(packet, at)
    if not name or at + 3 > #packet then return false end
    kind, class = string.unpack(">I2I2", packet, at)
    at = at + 4
  end
  for i = 1, others + more do
    local owner, after = read_name(packet, at)
    if not owner or after + 9 > #packet then return false end
    local rtype, rclass, rttl, size = string.unpack(">I2I2I4I2", packet, after)
    at = after + 10 + size
    if at > #packet + 1 then return false end
    if rtype == OPT then
      right = right and not q.opt and i > others and owner == "\0"
      q.opt = { size = rclass, version = rttl >> 16 & 0xFF, flags = rttl & DO }
    end
  end
  if not right or at <= #packet then return false end
  q.name, q.kind, q.class = name, kind, class
  return true
end

-- A decoded query; or nil, and the error where one should be sent.
local function read_query(packet)
  if #packet < 12 then return nil end
  local q = {}
  local questions, answers, authorities, more
  q.id, q.flags, questions, answers, authorities, more =
    string.unpack(">I2I2I2I2I2I2", packet)
  if q.flags & QR ~= 0 then return nil end  -- an answer gets no answer
  local right = read_records(packet, q, questions, answers + authorities, more)
  if q.flags >> 11 & 15 ~= 0 then
    q.name = nil  -- what another opcode has there need not be a question
    return nil, NOTIMP, q
  end
  if not right then return nil, FORMERR, q end
  return q
end


-- ---- answers ---------------------------------------------------------------

-- Appends a name; a suffix that was written before becomes a pointer.
local function put_name(out, name)
  local key = name:lower()
  while key ~= "\0" do
    local seen = out.names[key]
    if seen then
      out:put(string.pack(">I2", POINTER << 8 | seen))
      return
    end
    if out.size < 0x4000 then out.names[key] = out.size end
    out:put(name:sub(1, name:byte() + 1))
    name, key = parent(name), parent(key)
  end
  out:put "\0"
end

local function put(out, bytes)
  out[#out + 1] = bytes
  out.size = out.size + #bytes
end

-- All records of a set; how many.
local function put_set(out, name, kind, set, ttl)
  for _, data in ipairs(set) do
    put_name(out, name)
    out:put(string.pack(">I2I2I4", kind, IN, ttl or set.ttl))
    local length = #out + 1
    out:put "\0\0"
    local from = out.size
    for _, part in ipairs(data) do
      if type(part) == "string" then out:put(part)
      else put_name(out, part[1]) end
    end
    out[length] = string.pack(">I2", out.size - from)
  end
  return #set
end

-- What the zone says of a question: a code, and what goes into the answer's
-- two sections as { name, kind, set, ttl }.
local function look_up(zone, q)
  local name, answers, authority = q.name:lower(), {}, {}
  if q.class ~= IN and q.class ~= ANY or not is_below(name, zone.apex) then
    return REFUSED, answers, authority
  end
  local sets = zone[name]
  local shown, followed = q.name, 0
  while sets and sets[TYPES.CNAME] and q.kind ~= TYPES.CNAME
        and q.kind ~= ANY do
    local set = sets[TYPES.CNAME]
    answers[#answers + 1] = { shown, TYPES.CNAME, set }
    shown = set[1][1][1]
    name, followed = shown:lower(), followed + 1
    if not is_below(name, zone.apex) or followed > 8 then
      return NOERROR, answers, authority  -- the asker's to follow
    end
    sets = zone[name]
  end
  local kind = q.kind
  if kind == ANY and sets then kind = next(sets) end  -- one will do: RFC 8482
  local set = sets and sets[kind]
  if set then
    answers[#answers + 1] = { shown, kind, set }
  elseif zone.soa then
    authority[1] = { zone.apex, TYPES.SOA, zone.soa,
      math.min(zone.soa.ttl, zone.soa[1].minimum) }
  end
  return sets and NOERROR or NXDOMAIN, answers, authority
end

-- An answer, with `sections` or without; false where it is too long.
local function pack(q, code, sections, limit, bits)
  local out = { put = put, names = {}, size = 0 }
  local counts = { 0, 0 }
  out:put ""  -- the header, at the end
  out.size = 12
  if q.name then
    put_name(out, q.name)
    out:put(string.pack(">I2I2", q.kind, q.class))
  end
  for i, section in ipairs(sections) do
    for _, set in ipairs(section) do
      counts[i] = counts[i] + put_set(out, table.unpack(set, 1, 4))
    end
  end
  if q.opt then
    out:put(string.pack(">BI2I2I4I2", 0, OPT, PAYLOAD,
      code >> 4 << 24 | q.opt.flags, 0))
  end
  if out.size > limit then return false end
  out[1] = string.pack(">I2I2I2I2I2I2", q.id,
    QR | q.flags & (0x7800 | RD) | bits | code & 15, q.name and 1 or 0,
    counts[1], counts[2], q.opt and 1 or 0)
  return table.concat(out)
end

-- The answer to a packet; nil where it deserves none.
local function answer(zone, packet)
  local q, code, wrong = read_query(packet)
  if not q then return code and pack(wrong, code, {}, 512, 0) end
  if q.opt and q.opt.version > 0 then return pack(q, BADVERS, {}, 512, 0) end
  local answers, authority
  code, answers, authority = look_up(zone, q)
  local limit = 512
  if q.opt then limit = math.min(math.max(q.opt.size, 512), PAYLOAD) end
  local bits = code == REFUSED and 0 or AA
  return pack(q, code, { answers, authority }, limit, bits)
    or pack(q, code, {}, limit, bits | TC)
end


-- ---- the server ------------------------------------------------------------

local function open(address)
  address = uring.sockaddr(address)
  local sock = assert(uring.socket(address.family, uring.SOCK_DGRAM))
  if address.family == uring.AF_INET6 then
    assert(sock:setsockopt("IPV6_V6ONLY", true))  -- "::" beside "0.0.0.0"
    assert(sock:setsockopt("IPV6_RECVPKTINFO", true))
  else
    assert(sock:setsockopt("IP_PKTINFO", true))
  end
  return assert(sock:bind(address))
end

local function serve(zone, sock)
  for packet, from, info in sock:messages { size = 4096 } do
    local reply = not info.truncated and answer(zone, packet)
    if reply then
      -- an answer that cannot be sent is lost, as any datagram may be
      sock:sendmsg({
        data = reply, name = from,
        control = { pktinfo = info.control.pktinfo },
      }, 1.0)
    end
  end
end

local function main(file_name, ...)
  local zone = read_zone(file_name)
  for _, address in ipairs { ... } do
    local sock = open(address)
    uring.spawn({ main = serve, name = address }, zone, sock)
    print("listening on " .. tostring(sock:getsockname()))
  end
  io.stdout:flush()
end

if not arg[1] then
  io.stderr:write("usage: tools/env.sh plain lua5.4 "
    .. "examples/dns.lua ZONEFILE [ADDRESS...]\n")
  os.exit(2)
end
local addresses = { table.unpack(arg, 2) }
if not addresses[1] then addresses = { "127.0.0.1:5300", "[::1]:5300" } end
local ok, why = pcall(uring.run, main, arg[1], table.unpack(addresses))
if not ok then
  io.stderr:write(tostring(why):match "^[^\n]*", "\n")
  os.exit(1)
end
