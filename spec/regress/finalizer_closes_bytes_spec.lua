-- A finalizer runs in whatever allocation comes next, also in the middle of a
-- function of the library. What it closed or changed there was still read:
-- memory that was freed, or a table that was longer than when it was measured.

local helper = require "helper"

local it = helper.needs_ring(it)

-- `make` gives locals, `call` is called with a finalizer in each allocation
-- that runs `finalizer`, until it gives true.
local function script(make, call, finalizer)
  helper.needs_eager_collector()
  return helper.script_ok(([[
    local uring = require "uring"
    local ring = uring.ring { entries = 16 }
    %s
    local armed
    local function arm()
      setmetatable({}, { __gc = function()
        if not armed then return end
        if not (function() %s end)() then arm() end
      end })
    end
    local function call() %s end
    collectgarbage "stop"
    collectgarbage("incremental", 10, 1000, 30)
    armed = true
    for _ = 1, 7 do arm() end
    collectgarbage "restart"
    local ok, what = pcall(call)
    armed = false
    io.write(ok and "done " or "raised ", tostring(what))]])
    :format(make, finalizer, call))
end

describe("a finalizer that closes", function()
  local message = [[
    -- so large that it is unmapped when it is freed
    local buffer = uring.buffer(40 << 20)
    buffer:write(0, string.pack("=I4I4I4I4", 16, 0, 5, 0)
      .. string.pack("=I2>I2I4=I8", 2, 53, 0x7f000001, 0) .. "hello")
    local msg = uring.msghdr { namelen = 16 }]]

  it("the bytes of recvmsg_out does it no harm", function()
    local out = script(message, [[
      local out = uring.recvmsg_out(buffer, msg)
      return out.payload .. tostring(out.name)]],
      "return buffer:close()")
    assert.truthy(out == "done hello127.0.0.1:53"
      or out:find "^raised .*closed buffer", out)
  end)

  it("its msghdr does it no harm", function()
    local out = script(message, [[
      local out = uring.recvmsg_out(buffer, msg)
      return out.payload .. tostring(out.name)]], "return msg:close()")
    assert.truthy(out == "done hello127.0.0.1:53"
      or out:find "^raised .*closed msghdr", out)
  end)

  it("a msghdr whose control is read does it no harm", function()
    local out = script([[
      local a, b = uring.socketpair(uring.SOCK_DGRAM)
      local msg = uring.msghdr { controllen = 64,
        iov = { uring.buffer(4) } }
      ring:queue(uring.sqe():prep_sendmsg(a, uring.msghdr { iov = { "x" },
        control = { fds = { io.stdout, io.stdout } } }))
      ring:queue(uring.sqe():prep_recvmsg(b, msg))
      assert(ring:wait_cqe(5))
      assert(ring:wait_cqe(5))]],
      "return #msg:control().fds", "return msg:close()")
    assert.truthy(out == "done 2" or out:find "^raised .*closed msghdr", out)
  end)

  it("a msghdr, at whatever point, loses none of its descriptors", function()
    local out = script([[
      local a, b = uring.socketpair(uring.SOCK_DGRAM)
      local msg, turn, at = nil, 0, 0
      local sent = uring.msghdr { iov = { "x" },
        control = { fds = { io.stdout, io.stdout } } }
      local fine, refused = 0, 0]], [[
      for i = 1, 200 do
        at = 0
        msg = uring.msghdr { controllen = 64, iov = { uring.buffer(4) } }
        ring:queue(uring.sqe():prep_sendmsg(a, sent))
        ring:queue(uring.sqe():prep_recvmsg(b, msg))
        assert(ring:wait_cqe(5))
        assert(ring:wait_cqe(5))
        turn, at = 0, i % 10 + 1
        local ok, control = pcall(msg.control, msg)
        at = 0
        if ok then
          fine = fine + 1
          assert(#control.fds == 2)
          for _, fd in ipairs(control.fds) do assert(fd:close()) end
        else
          refused = refused + 1
          assert(control:find "closed msghdr", control)
        end
      end
      armed = false
      return fine > 0 and refused > 0]], [[
        turn = turn + 1
        if turn == at then msg:close() end]])
    assert.equal("done true", out)
  end)

  it("a buffer, by sending it away, has it in no msghdr", function()
    local out = script([[
      local box = uring.mailbox()
      local to, buffer, turn, at = box:address(), nil, 0, 0
      local early, late = 0, 0]], [[
      for i = 1, 200 do
        at = 0
        buffer = uring.buffer(8)
        turn, at = 0, i % 40 + 1
        local ok, why = pcall(uring.msghdr, { iov = { buffer } })
        at = 0
        if ok then -- it was sent after that, if at all
        elseif why:find "while it was read" then late = late + 1
        else
          early = early + 1
          assert(why:find "sent away", why)
        end
      end
      armed = false
      return early > 0 and late > 0]], [[
        turn = turn + 1
        if turn == at then to:try_send(buffer) end]])
    assert.equal("done true", out)
  end)

  it("the bytes of recvmsg_out, by sending them away, does it no harm",
    function()
      local out = script(message .. [[
        local box = uring.mailbox { bytes = 1 << 30 }
        local to = box:address()]], [[
        local out = uring.recvmsg_out(buffer, msg)
        return out.payload .. tostring(out.name)]],
        "return to:try_send(buffer)")
      assert.truthy(out == "done hello127.0.0.1:53"
        or out:find "^raised .*buffer was sent away", out)
    end)

  for name, result in pairs { stats = "leased", bundle = 1, lease = "string",
      string = "byte" } do
    it("a group does no harm in " .. name, function()
      local out = script([[
        local a, b = uring.socketpair()
        local group = assert(ring:buf_ring { entries = 8, size = 8 })
        ring:queue(uring.sqe():prep_send(a, "hello"))
        ring:queue(uring.sqe():prep_recv(b):set_buf_group(group:bgid())
          :set_data64(1))
        local data, res, flags
        repeat
          data, res, flags = ring:wait_cqe(5)
        until data == 1]],
        ("return group:%s(res, flags)[%q]"):format(name, result),
        "return group:close()")
      assert.truthy(out:find "^raised .*closed buf_ring", out)
    end)
  end
end)

describe("a finalizer that changes control messages", function()
  for name, case in pairs {
    ["that are bytes"] = { "{ control[1] }", [[
      turn = turn + 1
      if turn % 11 > 0 then return end  -- now here, now there
      local raw = control[1]
      raw[3] = #raw[3] > 1 and "x" or ("x"):rep(20000)]] },
    ["that are descriptors"] = { "{ fds = control.fds }", [[
      turn = turn + 1
      if turn % 11 > 0 then return end
      local fds = control.fds
      local last = #fds > 1 and 1 or 250
      for i = #fds, last + 1, -1 do fds[i] = nil end
      for i = #fds + 1, last do fds[i] = 0 end]] },
    -- (the bytes that go leave space for descriptors that come)
    ["that are both"] = { "control", [[
      turn = turn + 1
      if turn % 61 > 0 then return end
      local many = #control.fds == 1
      control[1][3] = many and "x" or ("x"):rep(2000)
      for i = 2, 250 do control.fds[i] = many and 0 or nil end]] },
  } do
    it("does no harm to those " .. name, function()
      local out = script([[
        local control = { { 1, 77, "x" }, fds = { 0 } }
        local function open()
          local n = 0
          local sqe = uring.sqe()
          for fd = 0, 999 do
            local ok = io.open("/proc/self/fd/" .. fd)
            if ok then n = n + 1 ok:close() end
          end
          return n
        end
        local fine, refused, turn = 0, 0, 0
        local before = open()]], ([[
        for i = 1, 200 do
          local ok, msg, why = pcall(uring.msghdr, { iov = { "x" },
            control = %s })
          if ok then fine = fine + 1 else refused = refused + 1 end
          assert(ok or msg:find "changed while it was read", msg)
          if ok then assert(msg:close()) end
        end
        armed = false
        collectgarbage()
        collectgarbage()
        assert(fine > 0 and refused > 0, fine .. ' ' .. refused)
        return open() - before]]):format(case[1]), case[2])
      assert.equal("done 0", out)
    end)
  end
end)
