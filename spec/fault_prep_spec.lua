-- Preps, and a malloc that fails; see spec/support/faults.lua.

local faults = require "faults"

local faulty = faults.tests(it)

-- luacheck: globals T uring

describe("a prep", function()
  faulty("that finds no memory leaves the sqe as it was", function()
    local sqe, buffer = uring.sqe(), uring.buffer(10)
    for _, call in ipairs { { "write", 0, "hello" }, { "openat", 0, "x" },
        { "timeout", 1 }, { "connect", 0, "127.0.0.1:1" },
        { "sendto", 0, "hello", nil, 0, "127.0.0.1:1" },
        { "sendto", 0, buffer, nil, 0, "127.0.0.1:1" } } do
      local prep = sqe["prep_" .. call[1]]
      sqe:prep_read(5, buffer, 7, 3)
      local before = tostring(sqe)
      T.fault.malloc(1)
      local ok, message = pcall(prep, sqe, table.unpack(call, 2, 6))
      T.fault.malloc()
      assert(not ok and message:find("not enough memory for %d+ bytes"),
        message)
      T.equal(before, tostring(sqe))
      prep(sqe, table.unpack(call, 2, 6))
    end
    sqe:prep_nop()
    buffer:resize(20)
    buffer:close()
  end)
end)
