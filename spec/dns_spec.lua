-- examples/dns.lua, asked by dig, and with malformed queries.

local helper = require "helper"
local program = require "program"
local spec = require "uring_spec"
local uring = require "uring"
local needs_ring = helper.needs_ring(it)
local includes <const> = helper.includes

local SERVER = "examples/dns.lua"
local HEADER = ">I2I2I2I2I2I2"

local function has_ipv6()
  local sock = uring.udp.bind "[::1]:0"
  return sock and sock:close()
end

-- Starts it; the addresses that it prints.
local function serve(zone, ...)
  local server = program.start(SERVER, zone, ...)
  local found = {}
  for i = 1, select("#", ...) do
    local line = server:line()
    found[i] = uring.sockaddr(line:match "^listening on (.*)$" or line)
  end
  return server, table.unpack(found)
end

local function dig(host, port, ...)
  local status, output = program.run("dig", "@" .. host, "-p",
    ("%d"):format(port), "+tries=1", "+time=5", ...)
  assert.same({ 0, output }, { status, output })
  return output
end

-- Its answers' data, as a list.
local function short(host, port, ...)
  local list = {}
  for line in dig(host, port, "+short", ...):gmatch "[^\n]+" do
    list[#list + 1] = line
  end
  table.sort(list)
  return list
end

describe("the DNS server", function()
  after_each(program.stop)
  after_each(helper.clean)

  local function answers(host)
    local address = (host:find ":" and "[%s]:0" or "%s:0"):format(host)
    local server, at = serve("examples/zone.txt", address)
    local function data(...) return short(host, at.port, ...) end

    assert.same({ "192.0.2.80", "192.0.2.81" }, data("www.example.test", "A"))
    assert.same({ "2001:db8::80" }, data("www.example.test", "AAAA"))
    assert.same({ "2001:db8::80", "www.example.test." },
      data("ftp.example.test", "AAAA"))
    assert.same({ [["another"]],
      [["several strings" "in" "one" "record; with \"quotes\""]] },
      data("TEXT.example.test", "TXT"))
    assert.same({ "ns1.example.test.", "ns2.example.test." },
      data("example.test", "NS"))
    assert.same({ "10 mail.example.test." }, data("example.test", "MX"))
    assert.same({ "ns1.example.test. hostmaster.example.test. "
      .. "2024010100 7200 900 1209600 300" }, data("example.test", "SOA"))
    assert.equal(8, #data("big.example.test", "TXT"))

    local output = dig(host, at.port, "no.example.test", "A")
    includes("status: NXDOMAIN", output)
    includes("flags: qr aa rd;", output)
    includes("example.test.\t\t300\tIN\tSOA\tns1.example.test.", output)
    for _, name in ipairs { "v4.example.test", "b.c.example.test" } do
      output = dig(host, at.port, name, "AAAA")
      includes("status: NOERROR", output)
      includes("ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 1", output)
    end
    includes("status: REFUSED", dig(host, at.port, "example.org", "A"))

    output = dig(host, at.port, "+bufsize=4096", "+dnssec", "example.test")
    includes("EDNS: version: 0, flags: do; udp: 1232", output)
    output = dig(host, at.port, "+noedns", "example.test")
    includes("ADDITIONAL: 0", output)
    output = dig(host, at.port, "+edns=1", "+noednsneg", "example.test")
    includes("status: BADVERS", output)
    includes("EDNS: version: 0, flags:; udp: 1232", output)
    output = dig(host, at.port, "+noedns", "+ignore", "big.example.test",
      "TXT")
    includes("flags: qr aa tc rd;", output)

    local status, rest = server:interrupt()
    assert.same({ 1, rest }, { status, rest })
    includes("interrupted!", rest)
  end

  needs_ring("answers over IPv4", function()
    program.needs "dig"
    answers "127.0.0.1"
  end)

  needs_ring("answers over IPv6", function()
    program.needs "dig"
    if not has_ipv6() then helper.skip "there is no IPv6 here" end
    answers "::1"
  end)

  needs_ring("answers from the address that was asked", function()
    program.needs "dig"
    local _, any = serve("examples/zone.txt", "0.0.0.0:0")
    -- dig takes no answer from another address than it has asked
    for _, host in ipairs { "127.0.0.1", "127.0.0.2", "127.1.2.3" } do
      assert.same({ "192.0.2.1" }, short(host, any.port, "example.test"))
    end
    if not has_ipv6() then return end
    local _, any6 = serve("examples/zone.txt", "[::]:0")
    assert.same({ "192.0.2.1" }, short("::1", any6.port, "example.test"))
  end)

  needs_ring("listens on several addresses at once", function()
    local server = serve("examples/zone.txt", "127.0.0.1:0", "127.0.0.2:0")
    local status, output = server:interrupt()
    assert.same({ 1, output }, { status, output })
  end)

  needs_ring("is shown by make demo-dns", function()
    program.needs "dig"
    local status, output = spec.execute(60 * helper.slow,
      ("/proc/%d/exe"):format(spec.getpid()), "tools/demo_dns.lua")
    assert.same({ 0, output }, { status, output })
    local right, all = output:match "\n(%d+) of (%d+) answers were right\n$"
    assert.equal(all, right)
    assert.is_true(tonumber(all) > 100)
  end)

  it("says what is wrong with a zone, and where", function()
    local function wrong(words, zone)
      local name = helper.file(zone)
      local status, output = spec.execute(30 * helper.slow, "/proc/self/exe",
        SERVER, name, "127.0.0.1:0")
      assert.same({ 1, output }, { status, output })
      includes(name .. words, output)
    end
    helper.needs_ring()
    wrong(": there is nothing in it", "; nothing\n")
    wrong(":2: unknown type: SRV", "$TTL 1\na.test. IN SRV 1 2 3 x\n")
    wrong(":3: A: an IPv4 address expected",
      "$TTL 1\na.test. A 192.0.2.1\n A 192.0.2.256\n")
    wrong(":1: no time to live: $TTL is missing", "a.test. A 192.0.2.1\n")
    wrong(":2: '(' without ')'", "$TTL 1\na.test. TXT ( x\n\n")
    wrong(":2: no closing quote", "$TTL 1\na.test. TXT \"x\n")
    wrong(":2: a label has 1 to 63 bytes", "$TTL 1\na..test. TXT x\n")
    wrong(":3: the name is not in this zone",
      "$TTL 1\na.test. TXT x\nb.test. TXT x\n")
    wrong(":3: a CNAME stands alone",
      "$TTL 1\na.test. TXT x\na.test. CNAME b\n")
  end)
end)

describe("the DNS server, asked badly,", function()
  after_each(program.stop)

  -- A question; `name` in wire form.
  local function query(id, name, fields, tail)
    fields = fields or {}
    return string.pack(HEADER, id, fields.flags or 0x0100,
      fields.questions or 1, fields.answers or 0, fields.authorities or 0,
      fields.more or 0) .. name .. string.pack(">I2I2", 1, 1) .. (tail or "")
  end

  local WWW = "\3www\7example\4test\0"
  local OPT = "\0" .. string.pack(">I2I2I4I2", 41, 4096, 0, 0)

  -- Runs f with ask(packet) -> the answer to it, or nil where a good question
  -- that is asked next is answered first.
  local function asking(f)
    local _, at = serve("examples/zone.txt", "127.0.0.1:0")
    uring.run(function()
      local sock <close> = assert(uring.udp.connect(at))
      local last = 0xFF00
      f(function(packet)
        assert(sock:send(packet))
        last = last + 1
        local limit = 10 * helper.slow
        assert(sock:send(query(last, WWW)))
        local first = assert(sock:recv(4096, limit))
        if string.unpack(">I2", first) == last then return nil end
        local second = assert(sock:recv(4096, limit))
        assert.equal(last, (string.unpack(">I2", second)))
        return first
      end, sock)
    end)
  end

  local function code(answer)
    assert(answer, "there was no answer")
    local _, flags = string.unpack(HEADER, answer)
    assert.equal(0x8000, flags & 0x8000)
    return flags & 15
  end

  needs_ring("says what is wrong with a query, or nothing", function()
    local FORMERR, NOTIMP = 1, 4
    asking(function(ask)
      assert.equal(0, code(ask(query(1, WWW))))
      assert.equal(0, code(ask(query(1, WWW, { more = 1 }, OPT))))
      -- no query, or an answer: an answer to it could go round for ever
      assert.is_nil(ask "")
      assert.is_nil(ask "x")
      assert.is_nil(ask(query(2, WWW):sub(1, 11)))
      assert.is_nil(ask(query(3, WWW, { flags = 0x8000 })))
      for _, packet in ipairs {
        query(4, WWW):sub(1, 12), query(4, WWW):sub(1, 20),
        query(4, WWW):sub(1, -2), query(4, WWW, nil, "x"),
        query(4, WWW, { questions = 0 }), query(4, WWW, { questions = 2 }),
        query(4, WWW, { answers = 65535 }), query(4, WWW, { more = 1 }),
        query(4, WWW, { more = 2 }, OPT .. OPT),
        query(4, WWW, { answers = 1 }, OPT),
        query(4, WWW, { more = 1 }, "\1x" .. OPT),
        query(4, WWW, { more = 1 }, OPT:sub(1, -3) .. "\255\255"),
        query(4, "\192\12"), query(4, "\1x\192\12"), query(4, "\192\0"),
        query(4, "\192\14\192\12"), query(4, "\255\255"),
        query(4, "\64" .. ("x"):rep(64) .. "\0"), query(4, "\128\0"),
        query(4, ("\63" .. ("x"):rep(63)):rep(4) .. "\0"),
      } do
        assert.equal(FORMERR, code(ask(packet)))
      end
      assert.equal(NOTIMP, code(ask(query(5, WWW, { flags = 0x1000 }))))
    end)
  end)

  needs_ring("answers an OPT by an OPT, also one that is wrong", function()
    local FORMERR, NOTIMP = 1, 4
    asking(function(ask)
      local function has_opt(expected, packet)
        local answer = ask(packet)
        assert.equal(expected, code(answer))
        assert.equal(1, (select(6, string.unpack(HEADER, answer))))
        assert.equal("\0" .. string.pack(">I2I2I4I2", 41, 1232, 0, 0),
          answer:sub(-11))
      end
      local function has_none(expected, packet)
        local answer = ask(packet)
        assert.equal(expected, code(answer))
        assert.equal(0, (select(6, string.unpack(HEADER, answer))))
        assert.equal(12, #answer)
      end
      local question = WWW .. string.pack(">I2I2", 1, 1)
      has_opt(NOTIMP, query(1, WWW, { flags = 0x2000, more = 1 }, OPT))
      has_none(NOTIMP, query(1, WWW, { flags = 0x2000 }))
      has_none(NOTIMP, query(1, WWW, { flags = 0x2000, more = 1 }, "x"))
      for _, packet in ipairs {
        query(2, WWW, { more = 1 }, OPT .. "x"),
        query(2, WWW, { more = 2 }, OPT),
        query(2, WWW, { more = 2 }, OPT .. OPT),
        query(2, WWW, { answers = 1 }, OPT),
        query(2, WWW, { questions = 2, more = 1 }, question .. OPT),
        string.pack(HEADER, 2, 0x0100, 0, 0, 0, 1) .. OPT,
      } do
        has_opt(FORMERR, packet)
      end
      has_none(FORMERR, query(3, WWW, { more = 1 }))
    end)
  end)

  needs_ring("reads names that point back", function()
    asking(function(ask)
      -- an OPT's owner must be the root, an unknown record's may be any name
      local function owned(by)
        return by .. string.pack(">I2I2I4s2", 99, 1, 0, "data")
      end
      for name, expected in pairs {
        ["\192\12"] = 0, ["\1a\192\16"] = 0, ["\192\24"] = 0,
        ["\192\34"] = 1, ["\192\11"] = 1, ["\192\255"] = 1,
      } do
        assert.equal(expected,
          code(ask(query(6, WWW, { more = 1 }, owned(name)))), name)
      end
    end)
  end)

  needs_ring("goes on after bytes that are no query", function()
    local seed = os.time()
    math.randomseed(seed)
    local random = math.random
    local function bytes(n)
      local list = {}
      for i = 1, n do list[i] = string.char(random(0, 255)) end
      return table.concat(list)
    end
    local good = query(7, WWW, { more = 1 }, OPT)
    local function hostile()
      local kind = random(4)
      if kind == 1 then return bytes(random(0, 600)) end
      if kind == 2 then return query(7, bytes(random(0, 40))) end
      local packet = good
      for _ = 1, random(4) do
        local at = random(3, #packet)
        packet = packet:sub(1, at - 1) .. bytes(1) .. packet:sub(at + 1)
      end
      return kind == 3 and packet or packet:sub(1, random(0, #packet))
    end
    asking(function(ask, sock)
      for _ = 1, 40 do
        for _ = 1, 25 do assert(sock:send(hostile())) end
        local last = query(0xBEEF, WWW)
        assert(sock:send(last))
        repeat  -- among the answers to the others
          local answer, why = sock:recv(4096, 10 * helper.slow)
          assert(answer, ("%s, with seed %d"):format(why, seed))
        until string.unpack(">I2", answer) == 0xBEEF
      end
      assert.equal(0, code(ask(query(8, WWW))))
    end)
  end)
end)
