-- What was taken from the kernel or a ring was lost where there was no memory
-- for the words that are told with it.

local faults = require "faults"
local helper = require "helper"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)

-- luacheck: globals T uring spec

describe("a want of memory does not lose", function()
  faulty("a completion or a message that is taken", function()
    local ring <close> = assert(uring.ring { entries = 4 })
    for _, take in ipairs { ring.wait_cqe, ring.peek_cqe } do
      for n = 1, 10 do
        assert(ring:queue(T.nop(n)))
        assert(ring:queue(uring.sqe():prep_msg_ring(ring, 5, n)
          :set_data64(100)))
        ring:submit()
        T.collect()
        local kinds = {}
        for _ = 1, 3 do
          T.fault.alloc(n, 1 << 30)
          local ok, data, res, _, kind = pcall(take, ring)
          T.fault.alloc()
          if not ok then data, res, _, kind = take(ring) end
          assert(data == n and (kind == "message" and res == 5
            or kind == "completion" and res == 0)
            or data == 100 and kind == "completion", kind)
          kinds[kind] = (kinds[kind] or 0) + 1
        end
        assert(kinds.message == 1 and kinds.completion == 2)
      end
    end
  end)

  faulty("a connection that is taken", function()
    local net = require "net"
    local failures = 0
    net.run(function()
      local listener = net.listener()
      local peer = listener:getsockname()
      for _, accept in ipairs {
        function() return listener:accept(net.patience) end,
        function()
          local _, connection, from = uring.select({ listener:accepting() },
            net.patience)
          return connection, from
        end,
      } do
        local n, ok = 0
        repeat
          n = n + 1
          local client <close> = assert(uring.tcp.connect(peer))
          local connection, from
          T.fault.alloc(n, 1 << 30)
          ok, connection, from = pcall(accept)
          T.fault.alloc()
          if not ok then
            failures = failures + 1
            assert(connection:find("memory", 1, true), connection)
            connection, from = accept()
          end
          assert(from == client:getsockname())
          connection:close()
        until ok
      end
    end)
    assert(failures > 3, failures)
    net.close()
  end)

  faulty("a provided buffer or a bundle that is taken", function()
    local ring <close> = assert(uring.ring { entries = 8 })
    local a, b = assert(uring.socketpair())
    local _ <close> = a
    local _ <close> = b
    local group = assert(ring:buf_ring { entries = 4, size = 4 })
    for _, take in ipairs { "lease", "bundle" } do
      local n, got, message = 0
      repeat
        n = n + 1
        assert(ring:queue(uring.sqe():prep_send(a, "abcd")))
        assert(ring:wait_cqe(5 * T.slow))
        assert(ring:queue(
          uring.sqe():prep_recv(b):set_buf_group(group:bgid())))
        local _, res, flags = assert(ring:wait_cqe(5 * T.slow))
        T.fault.malloc(n, 1 << 30)
        got, message = group[take](group, res, flags)
        T.fault.malloc()
        local lease = got
        if not got then
          assert(message:find("ENOMEM", 1, true), message)
          lease = assert(group[take](group, res, flags))
        end
        if take == "bundle" then lease = lease[1] end
        assert(lease:string() == "abcd")
        lease:release()
      until got
      assert(n > 1, n)
    end
  end)

  faulty("a file that a chain has opened", function()
    local ring <close> = assert(uring.ring { entries = 8 })
    local fds, failures = T.fds(), 0
    uring.run(function()
      local chain = { uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null", 0),
        T.nop(1):set_flags(uring.IOSQE_CQE_SKIP_SUCCESS), T.nop(2) }
      local n, ok, results = 0
      repeat
        n = n + 1
        T.collect()
        T.fault.alloc(n, 1 << 30)
        ok, results = pcall(ring.await_chain, ring, chain)
        T.fault.alloc()
        if ok then
          assert(results[1].silent == nil and results[2].silent)
          spec.close(results[1][1])
        else
          assert(tostring(results):find("memory", 1, true), results)
          failures = failures + 1
        end
      until ok
    end)
    assert(failures > 3, failures)
    T.collect()
    assert(T.fds() <= fds + 2, "a descriptor is left")  -- (the loop's own)
  end)
end)
