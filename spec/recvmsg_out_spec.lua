-- uring.recvmsg_out: what recvmsg_multishot puts into a buffer, taken apart.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

-- What recvmsg_multishot would have put into a buffer.
local function filled(out)
  return string.pack("=I4I4I4I4", out.namelen or #(out.name or ""),
    out.controllen or #(out.control or ""),
    out.payloadlen or #(out.payload or ""), out.flags or 0)
    .. (out.name or "") .. (out.control or "") .. (out.payload or "")
end

local function cmsg(level, type, data, len)
  return string.pack("=I8i4i4", len or 16 + #data, level, type) .. data
    .. ("\0"):rep(-#data % 8)
end


describe("uring.recvmsg_out", function()
  local empty = uring.msghdr {}
  local name = string.pack("=I2>I2", uring.AF_INET, 53) .. "\127\0\0\1"
    .. ("\0"):rep(8)

  it("takes a message apart", function()
    local control = cmsg(uring.SOL_IP, uring.IP_TTL, "\9\0\0\0")
    local text = filled { name = name, control = control,
      payload = "hello", flags = uring.MSG_EOR }
    local msg = uring.msghdr { namelen = 16, controllen = #control }
    local expected = { name = uring.sockaddr "127.0.0.1:53",
      control = { { uring.SOL_IP, uring.IP_TTL, "\9\0\0\0" } },
      payload = "hello", payloadlen = 5, flags = uring.MSG_EOR,
      truncated = { name = false, control = false, payload = false } }
    assert.same(expected, uring.recvmsg_out(text, msg))
    assert.same(expected, uring.recvmsg_out(uring.buffer(text), msg))
    -- only so much of it
    assert.same(expected, uring.recvmsg_out(text .. "more", msg, #text))
    expected.payload, expected.truncated.payload = "hell", true
    assert.same(expected, uring.recvmsg_out(text, msg, #text - 1))
    for _, len in ipairs { -1, #text + 1, 0.5, "5" } do
      helper.raises(("integer from 0 to %d"):format(#text),
        uring.recvmsg_out, text, msg, len)
    end
  end)

  it("takes anything with bytes, and a msghdr", function()
    for _, what in ipairs { 5, {}, true, empty } do
      helper.raises("string, buffer or lease expected", uring.recvmsg_out,
        what, empty)
    end
    for _, what in ipairs { 5, {}, true, "x" } do
      helper.raises("uring.Msghdr expected", uring.recvmsg_out, "", what)
    end
  end)

  it("refuses a string of every length that is too short", function()
    local msg = uring.msghdr { namelen = 16, controllen = 24 }
    local text = filled { name = name, control = ("\0"):rep(24),
      payload = "ab" }
    for size = 0, 16 + 16 + 24 - 1 do
      for _, short in ipairs { text:sub(1, size),
          uring.buffer(text:sub(1, size)) } do
        local out, why, errno = uring.recvmsg_out(short, msg)
        assert.same({ nil, E.EBADMSG }, { out, errno })
        assert.truthy(why:find(size .. " bytes are too short", 1, true), why)
      end
    end
    for size = 16 + 16 + 24, #text do
      local out = assert(uring.recvmsg_out(text:sub(1, size), msg))
      assert.equal(("ab"):sub(1, size - 56), out.payload)
      assert.equal(size < #text, out.truncated.payload)
    end
  end)

  it("tells apart the payload and the control that were cut", function()
    local function truncated(out, namelen, controllen)
      return uring.recvmsg_out(filled(out), uring.msghdr {
        namelen = namelen, controllen = controllen }).truncated
    end
    assert.same({ name = true, control = false, payload = false },
      truncated({ name = name:sub(1, 4), namelen = 16 }, 4, 0))
    assert.same({ name = false, control = true, payload = false },
      truncated({ control = ("\0"):rep(8), flags = uring.MSG_CTRUNC }, 0, 8))
    assert.same({ name = false, control = false, payload = true },
      truncated({ payload = "x", flags = uring.MSG_TRUNC }, 0, 0))
    assert.same({ name = false, control = false, payload = true },
      truncated({ payload = "x", payloadlen = 2 }, 0, 0))
    assert.same({ name = false, control = false, payload = false },
      truncated({ payload = "x" }, 0, 0))
  end)

  it("trusts no length in the header", function()
    local msg = uring.msghdr { namelen = 16, controllen = 24 }
    local control = cmsg(9, 9, "12345678")
    for _, n in ipairs { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff } do
      local out = uring.recvmsg_out(filled { name = name, namelen = n,
        control = control, controllen = n, payload = "abc",
        payloadlen = n }, msg)
      assert.equal(("abc"):sub(1, n), out.payload)
      assert.equal(n, out.payloadlen)
      assert.same(n > 1 and { { 9, 9, "12345678" } } or {}, out.control)
      assert.equal(n > 16, out.truncated.name)
    end
    -- nor one within the control messages
    for _, len in ipairs { 0, 1, 15, -1, math.mininteger } do
      local out = uring.recvmsg_out(filled {
        control = cmsg(9, 9, "12345678", len) },
        uring.msghdr { controllen = 24 })
      assert.same((len < 0) and { { 9, 9, "12345678" } } or {}, out.control)
    end
    for len, data in pairs { [16] = "", [17] = "1", [20] = "1234",
        [24] = "12345678", [25] = "12345678", [math.maxinteger] =
        "12345678", [0xffffffff] = "12345678" } do
      local out = uring.recvmsg_out(filled {
        control = cmsg(9, 9, "12345678", len) },
        uring.msghdr { controllen = 24 })
      assert.same({ { 9, 9, data } }, out.control)
    end
  end)

  it("gives control messages that are too small for their type as raw bytes",
    function()
      for _, kind in ipairs { { uring.SOL_SOCKET, uring.SCM_CREDENTIALS, 12 },
          { uring.SOL_IP, uring.IP_PKTINFO, 12 },
          { uring.SOL_IPV6, uring.IPV6_PKTINFO, 20 },
          { uring.SOL_IP, uring.IP_ORIGDSTADDR, 16 } } do
        for size = 0, kind[3] - 1 do
          local control = cmsg(kind[1], kind[2], ("\1"):rep(size))
          local out = uring.recvmsg_out(filled { control = control },
            uring.msghdr { controllen = #control })
          assert.same({ { kind[1], kind[2], ("\1"):rep(size) } },
            out.control)
        end
        local control = cmsg(kind[1], kind[2], ("\1"):rep(kind[3]))
        local out = uring.recvmsg_out(filled { control = control },
          uring.msghdr { controllen = #control })
        assert.is_nil(out.control[1])
        assert.truthy(next(out.control))
      end
    end)

  it("gives no ownership of a descriptor that a string names", function()
    helper.keeps_fds(function()
      local r, w = spec.pipe()
      local data = string.pack("=i4i4", r, w)
      local control = cmsg(uring.SOL_SOCKET, uring.SCM_RIGHTS, data)
      local out = uring.recvmsg_out(filled { control = control },
        uring.msghdr { controllen = #control })
      assert.same({ { uring.SOL_SOCKET, uring.SCM_RIGHTS, data } },
        out.control)
      out = nil  -- luacheck: ignore
      helper.collect()
      assert.equal(1, spec.write(w, "x"))
      spec.close(r)
      spec.close(w)
    end)
  end)

  it("survives any bytes at all", function()
    local state = 88172645463325252
    local function random(below)
      state = state ~ state << 13
      state = state ~ state >> 7
      state = state ~ state << 17
      return (state >> 1) % below
    end
    local msgs = {}
    for i = 1, 40 do
      msgs[i] = { random(129), random(3) * random(100) }
      msgs[i][3] = uring.msghdr { namelen = msgs[i][1],
        controllen = msgs[i][2] }
    end
    for _ = 1, 1500 do
      local msg = msgs[1 + random(#msgs)]
      local namelen, controllen = msg[1], msg[2]
      local bytes = {}
      for i = 1, random(300) do
        -- small numbers, where lengths are, and any
        bytes[i] = string.char(random(2) == 0 and random(256)
          or random(5) * random(2))
      end
      local text = table.concat(bytes)
      local left = #text - 16 - namelen - controllen
      local out, _, errno = uring.recvmsg_out(text, msg[3])
      if left < 0 then
        assert.same({ nil, E.EBADMSG }, { out, errno })
      else
        local full = string.unpack("=I4", text, 9)
        assert.equal(full, out.payloadlen)
        assert.equal(text:sub(17 + namelen + controllen)
          :sub(1, full), out.payload)
        tostring(out.name)
      end
    end
  end)
end)
