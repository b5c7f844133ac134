-- Addresses: values that are parsed, printed and compared.

local helper = require "helper"
local uring = require "uring"

local address = uring.sockaddr

-- Fields of an address that are there.
local function fields(a)
  return { family = a.family, host = a.host, port = a.port,
    scope_id = a.scope_id, path = a.path }
end

local function parses(text, expected)
  local a = address(text)
  assert.same(expected, fields(a))
  assert.equal(text, tostring(a))
  assert.equal(a, address(tostring(a)))
end

describe("uring.sockaddr", function()
  it("reads IPv4", function()
    for text, host in pairs { ["127.0.0.1:53"] = "127.0.0.1",
        ["0.0.0.0:53"] = "0.0.0.0", ["255.255.255.255:53"] =
        "255.255.255.255", ["1.2.3.4:53"] = "1.2.3.4" } do
      parses(text, { family = uring.AF_INET, host = host, port = 53 })
    end
    for _, port in ipairs { 0, 1, 255, 256, 65535 } do
      parses("10.20.30.40:" .. port, { family = uring.AF_INET,
        host = "10.20.30.40", port = port })
    end
    assert.equal(7, address("1.2.3.4:0000000007").port)
  end)

  it("reads IPv6, with a scope or without", function()
    local function v6(host, port, scope)
      return { family = uring.AF_INET6, host = host, port = port,
        scope_id = scope or 0 }
    end
    parses("[::1]:53", v6("::1", 53))
    parses("[::]:0", v6("::", 0))
    parses("[2001:db8::ff00:42:8329]:65535",
      v6("2001:db8::ff00:42:8329", 65535))
    parses("[::ffff:1.2.3.4]:1", v6("::ffff:1.2.3.4", 1))
    parses("[fe80::1%7]:53", v6("fe80::1", 53, 7))
    parses("[fe80::1%4294967295]:53", v6("fe80::1", 53, 4294967295))
    -- what is written in other ways is printed in this one
    assert.equal("[2001:db8::1]:53",
      tostring(address "[2001:0DB8:0:0:0:0:0:1]:53"))
    assert.equal("[::1]:53", tostring(address "[::1%0]:53"))
    local lo = address "[fe80::1%lo]:53"
    assert.truthy(lo.scope_id > 0)
    assert.equal(("[fe80::1%%%d]:53"):format(lo.scope_id), tostring(lo))
  end)

  it("reads unix paths, abstract and unnamed ones", function()
    local function unix(path)
      return { family = uring.AF_UNIX, path = path }
    end
    parses("unix:/run/x", unix "/run/x")
    parses("unix:x", unix "x")
    parses("unix:127.0.0.1:53", unix "127.0.0.1:53")
    parses("unix:", unix "")
    parses("unix:@", unix "@")
    parses("unix:@name", unix "@name")
    parses("unix:@a\0b\0", unix "@a\0b\0")
    parses("unix:@\0", unix "@\0")
    parses("unix:" .. ("p"):rep(107), unix(("p"):rep(107)))
    parses("unix:@" .. ("n"):rep(107), unix("@" .. ("n"):rep(107)))
    parses("unix:\255\1 \n", unix "\255\1 \n")
  end)

  it("tells a path that begins with @ from an abstract name", function()
    -- as the kernel tells them
    local function named(path)
      local name = string.pack("=I2", uring.AF_UNIX) .. path .. "\0"
      return uring.recvmsg_out(string.pack("=I4I4I4I4", #name, 0, 0, 0)
        .. name, uring.msghdr { namelen = #name }).name
    end
    for path, text in pairs {
      ["@x"] = "./@x", ["@"] = "./@", ["./@x"] = "././@x",
      ["././@x"] = "./././@x", ["./x"] = "./x", ["."] = ".", ["./"] = "./",
      ["./x@"] = "./x@", [".@x"] = ".@x",
    } do
      local a = named(path)
      assert.equal("unix:" .. text, tostring(a))
      assert.equal(a, address(tostring(a)))
      assert.equal(text, a.path)
    end
    assert.not_equal(named "@x", address "unix:@x")
    assert.equal(named("@" .. ("x"):rep(106)),
      address("unix:./@" .. ("x"):rep(106)))
  end)

  it("takes a host and a port as two arguments", function()
    assert.equal(address "127.0.0.1:53", address("127.0.0.1", 53))
    assert.equal(address "[::1]:53", address("::1", 53.0))
    assert.equal(address "[fe80::1%3]:0", address("fe80::1%3", 0))
    assert.equal(address "[::1]:53", address("::1%0", 53))
  end)

  it("takes an address object", function()
    local a = address "127.0.0.1:53"
    assert.equal(a, address(a))
    assert.equal(a, address(a, nil))
  end)

  it("says what is wrong with a text", function()
    local v6 = "an IPv6 address is written [address]:port"
    local neither =
      "neither an IPv4 nor an IPv6 address; uring.resolve looks up the name "
      .. "of a host"
    local port = "the port must be a number from 0 to 65535"
    local missing = "a port is missing behind the colon"
    local host = "a host is missing before the colon; 0.0.0.0 and [::] mean "
      .. "any"
    local long = "too long, or with a zero byte in it"
    local scope = "there is no network interface of that name"
    for text, words in pairs {
      [""] = "a port is missing: address:port",
      ["127.0.0.1"] = "a port is missing: address:port",
      ["unix"] = "a port is missing: address:port",
      [":"] = host, [":53"] = host, ["*:53"] = host,
      ["localhost:53"] = neither,
      ["localhost:"] = missing, ["localhost:65536"] = port,
      ["localhost:http"] = neither,
      ["1.2.3:53"] = neither, ["1.2.3.4.5:53"] = neither,
      ["256.0.0.1:53"] = neither, ["-1.0.0.1:53"] = neither,
      [" 1.2.3.4:53"] = neither, ["1.2.3.4 :53"] = neither,
      ["1.2.3.4%1:53"] = neither, ["0x1.2.3.4:53"] = neither,
      ["Unix:/run/x:1"] = v6, ["UNIX:1"] = neither,
      ["127.0.0.1:"] = missing, ["[::1]:"] = missing,
      ["127.0.0.1:65536"] = port, ["127.0.0.1:-1"] = port,
      ["127.0.0.1:+1"] = port, ["127.0.0.1: 1"] = port,
      ["127.0.0.1:0x10"] = port, ["127.0.0.1:1.0"] = port,
      ["127.0.0.1:http"] = port, ["[::1]:65536"] = port,
      ["127.0.0.1:4294967296"] = port,
      ["127.0.0.1:18446744073709551669"] = port,
      ["::1"] = v6, ["::1:53"] = v6, ["fe80::1%lo:53"] = v6, ["["] = v6,
      ["[::1"] = v6, ["[::1]"] = v6, ["[::1]53"] = v6, ["[::1] :53"] = v6,
      ["[]"] = v6, ["1:2:3"] = v6, ["127.0.0.1:5:3"] = v6,
      ["[]:53"] = host, ["[:]:53"] = neither, ["[:::]:53"] = neither,
      ["[::1::]:53"] = neither, ["[12345::]:53"] = neither,
      ["[g::]:53"] = neither, ["[[::1]:53"] = neither,
      ["[127.0.0.1]:53"] = "only an IPv6 address is written in brackets",
      ["[fe80::1%]:53"] = scope, ["[fe80::1%no-such-one]:53"] = scope,
      ["[fe80::1%4294967296]:53"] = scope, ["[fe80::1%-1]:53"] = scope,
      ["[fe80::1%1x]:53"] = scope,
      ["1.2.3.4:53\0"] = long, ["1.2.3.4\0:53"] = long,
      [("1"):rep(128) .. ":1"] = long, [("1"):rep(100000)] = long,
      ["[" .. ("0"):rep(200) .. "::1]:1"] = long,
      ["unix:/a\0b"] = "a unix path has no zero bytes",
      ["unix:\0abc"] = "a unix path has no zero bytes",
      ["unix:" .. ("p"):rep(108)] = "a unix path has at most 107 bytes",
      ["unix:@" .. ("n"):rep(108)] = "a unix path has at most 107 bytes",
      ["unix:" .. ("p"):rep(100000)] = "a unix path has at most 107 bytes",
    } do
      helper.raises(words, address, text)
      helper.raises("bad argument #1 to", address, text)
    end
  end)

  it("says what is wrong with a host or a port", function()
    for _, host in ipairs { "", "localhost", "127.0.0.1:53", "[::1]",
        "1.2.3", "unix:/x", "1.2.3.4%lo" } do
      helper.raises(("'%s' is neither an IPv4"):format(host), address, host,
        53)
    end
    helper.raises("too long", address, ("1"):rep(128), 53)
    helper.raises("zero byte", address, "1.2.3.4\0", 53)
    for _, port in ipairs { -1, 65536, 0.5, "53", {}, true } do
      helper.raises("integer from 0 to 65535 expected", address, "1.2.3.4",
        port)
    end
    for _, what in ipairs { 5, {}, true, print, uring.sqe() } do
      helper.raises("address expected", address, what)
      helper.raises("string expected", address, what, 53)
    end
    helper.raises("address expected", address)
    helper.raises("string expected", address, address "1.2.3.4:5", 53)
  end)

  it("compares by content", function()
    local all = { "127.0.0.1:53", "127.0.0.1:54", "127.0.0.2:53",
      "[::1]:53", "[::2]:53", "[::1]:54", "[::1%1]:53", "[::1%2]:53",
      "[::ffff:127.0.0.1]:53", "unix:/a", "unix:/ab", "unix:@/a", "unix:",
      "unix:@", "unix:@a", "unix:@a\0", "unix:@a\0\0" }
    for i, a in ipairs(all) do
      for j, b in ipairs(all) do
        assert.equal(i == j, address(a) == address(b), a .. ", " .. b)
      end
      assert.is_false(address(a) == a)
    end
  end)

  it("is immutable, and has no other fields", function()
    local a = address "127.0.0.1:53"
    for _, key in ipairs { "hosts", 1, "" } do
      assert.is_nil(a[key])
    end
    assert.is_nil(a[print])
    assert.is_false(pcall(function() a.port = 54 end))
    assert.equal(53, a.port)
  end)
end)

describe("random addresses", function()
  local random

  before_each(function()  -- the same in every run
    local state = 2463534242
    function random(below)
      state = (state ~ (state << 13)) & 0xffffffff
      state = state ~ (state >> 17)
      state = (state ~ (state << 5)) & 0xffffffff
      return state % below
    end
  end)

  local function bytes(n, first)
    local t = {}
    for i = 1, n do t[i] = string.char(first + random(256 - first)) end
    return table.concat(t)
  end

  it("are printed as they are parsed", function()
    for _ = 1, 500 do
      local port = random(65536)
      local host = ("%d.%d.%d.%d"):format(random(256), random(256),
        random(256), random(256))
      local a = address(host, port)
      assert.equal(host .. ":" .. port, tostring(a))
      assert.equal(a, address(tostring(a)))

      local groups = {}
      for i = 1, 8 do  -- many zeros: they are what is written in short
        groups[i] = ("%x"):format(random(3) == 0 and random(65536) or 0)
      end
      local scope = random(2) * random(1 << 31)
      local b = address(table.concat(groups, ":") .. "%" .. scope, port)
      assert.equal(scope, b.scope_id)
      assert.equal(b, address(tostring(b)))
      assert.equal(b, address(b.host .. "%" .. scope, b.port))

      local path = bytes(random(108), 1)
      local name = "@" .. bytes(random(108), 0)
      for _, text in ipairs { "unix:" .. path, "unix:" .. name } do
        local c = address(text)
        assert.equal(text, tostring(c))
        assert.equal(text:sub(6), c.path)
        assert.equal(c, address(tostring(c)))
      end
    end
  end)

  it("are refused where they are malformed, and do no harm", function()
    local letters = "0123456789abcdef:.[]%@unix/ \0"
    local good = 0
    for _ = 1, 4000 do
      local t = {}
      for i = 1, random(24) do
        local at = 1 + random(#letters)
        t[i] = letters:sub(at, at)
      end
      local text = table.concat(t)
      if random(3) == 0 then text = "unix:" .. text end
      local ok, a = pcall(address, text)
      if ok then
        good = good + 1
        assert.equal(a, address(tostring(a)))
      else
        assert.truthy(tostring(a):find("address expected, got", 1, true), a)
      end
    end
    assert.truthy(good > 200)
  end)
end)
