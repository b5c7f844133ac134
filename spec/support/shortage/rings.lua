-- Rings, requests by hand, and memory and descriptors.

local checks = require "shortage.checks"
local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local patience <const> = checks.patience
local r <const> = checks.r
local w <const> = checks.w
local fails <const> = checks.fails
local owner <const> = checks.owner
local nop <const> = helper.nop
local first <const> = helper.first
local ETIME <const> = uring.errno.ETIME

local programs = {}

programs["a ring by hand"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local buffer = uring.buffer("hello")
  local op = assert(ring:queue(
    uring.sqe():prep_write(w, buffer, 5, 0):set_data64(1)))
  assert(ring:queue(nop(2), nop(3)))
  assert(ring:queue(uring.sqe():prep_read(r, buffer)))
  assert(ring:ref())
  for _ = 1, 4 do assert(ring:wait_cqe(patience)) end
  ring:stats()
  ring:flags()
  assert(tostring(op) and tostring(ring) and tostring(buffer))
  assert(ring:register_files { r, w })
  assert(ring:register_files_update(0, { w }))
  assert(ring:unregister_files())
  assert(ring:queue(
    uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null", 0)))
  local _, fd = assert(ring:wait_cqe(patience))
  spec.close(fd)
  assert(ring:close())
end

programs["a descriptor"] = function()
  local fd = owner(spec.dup, w)
  local ring <close> = assert(uring.ring { entries = 8 })
  local _ <close> = fd
  assert(ring:queue(uring.sqe():prep_write(fd, "x")))
  assert(ring:submit_and_wait(1, patience))
  assert(ring:wait_cqe(patience))
  assert(tostring(fd))
end

programs["provided buffers"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local a, b = assert(uring.socketpair())
  local _ <close> = a
  local _ <close> = b
  local group = assert(ring:buf_ring { entries = 4, size = 4 })
  assert(ring:queue(uring.sqe():prep_send(a, "hello")))
  assert(ring:wait_cqe(patience))
  local function received()
    assert(ring:queue(
      uring.sqe():prep_recv(b):set_buf_group(group:bgid())))
    local _, res, flags = assert(ring:wait_cqe(patience))
    return res, flags
  end
  local lease = assert(group:lease(received()))
  assert(lease:string() == "hell" and tostring(lease))
  group:stats()
  group:available()
  lease:release()
  local rest = assert(group:string(received()))
  assert(rest == "o")
  assert(group:close())
end

programs["message headers"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local a, b = assert(uring.socketpair(uring.SOCK_DGRAM))
  local _ <close> = a
  local _ <close> = b
  local file <close> = assert(io.open "/dev/null")
  local out <close> = uring.msghdr { iov = { "hello", uring.buffer "x" },
    control = { fds = { file }, creds = {} } }
  assert(ring:queue(uring.sqe():prep_sendmsg(a, out)))
  local into <close> = uring.msghdr { controllen = 256, namelen = 128,
    iov = { uring.buffer(16) } }
  assert(ring:queue(uring.sqe():prep_recvmsg(b, into)))
  for _ = 1, 2 do
    local _, res = assert(ring:wait_cqe(patience))
    assert(res == 6)
  end
  into:name()
  into:flags()
  into:control().fds[1]:close()
end

programs["messages and operations"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  uring.run(function()
    local receiver = uring.spawn(function()
      local len, data = assert(ring:receive(patience))
      assert(len == 5 and data == 7)
    end)
    local chooser = uring.spawn(function()
      local key, len, message = uring.select({ m = ring:receiving(),
        t = uring.after(60) }, patience)
      if not len then error(message, 0) end
      assert(key == "m" and len == 5)
    end)
    for _ = 1, 2 do
      assert(uring.await(uring.sqe():prep_msg_ring(ring, 5, 7, 0)))
    end
    assert(receiver:join())
    assert(chooser:join())
    local a = assert(ring:queue(uring.sqe():prep_timeout(0)))
    local b = assert(ring:queue(nop()))
    local _, message, errno = a:await(patience)
    assert(errno == ETIME, message)
    for res in b:completions() do assert(res == 0) end
  end)
end

programs["chains"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  uring.run(function()
    local results = assert(ring:await_chain({
      nop():set_flags(uring.IOSQE_CQE_SKIP_SUCCESS),
      uring.sqe():prep_openat(uring.AT_FDCWD, "/dev/null", 0), nop(),
    }, patience))
    spec.close(results[2][1])
    local _, message, errno = uring.timeout(0, ring.await_chain, ring,
      { uring.sqe():prep_timeout(60), nop() })
    assert(errno == ETIME, message)
  end)
end

programs["small calls"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local address = uring.sockaddr("127.0.0.1", 0)
  local udp = assert(uring.socket(uring.AF_INET, uring.SOCK_DGRAM))
  local _ <close> = udp
  assert(udp:bind(address))
  local msg = uring.sqe():prep_msg_ring(ring, 1, 2)
  if helper.has "sync_msg" then
    assert(uring.register_sync_msg(msg))
    assert(ring:wait_cqe(patience))
  else
    fails("6.13", assert, uring.register_sync_msg(msg))
  end
  local none, why = uring.recvmsg_out(uring.buffer(8),
    uring.msghdr { namelen = 128 })
  assert(not none and why:find "too short", why)
  uring.run(function()
    assert(uring.current() and uring.loop():stats().memory > 0)
    local semaphore = uring.semaphore(0)
    local other = uring.daemon(function() semaphore:release() end)
    assert(semaphore:acquire(patience))
    assert(not semaphore:try_acquire())
    semaphore:release()
    assert(uring.select { semaphore:acquiring() })
    local c = uring.channel(1)
    assert(c:try_send "a" and uring.select({ c:sending "b" }, 0) == nil)
    assert(c:try_receive() == "a" and c:close())
    for _ in c:messages() do error "it is closed" end
    assert(other:join())
    assert(uring.select { t = uring.at(uring.now()) } == "t")
    assert(uring.pcall(uring.sleep, 0))
  end)
end

programs["the rest of a ring"] = function()
  local ring <close> = assert(uring.ring { entries = 8,
    flags = uring.IORING_SETUP_R_DISABLED })
  assert(ring:enable_rings())
  assert(ring:fd() and ring:features())
  assert(ring:peek_cqe() == nil)
  local event = owner(spec.eventfd)
  local _ <close> = event
  assert(ring:register_eventfd(event))
  assert(ring:unregister_eventfd())
  assert(ring:register_files_sparse(4))
  assert(ring:register_file_alloc_range(0, 2))
  local read = assert(ring:queue(uring.sqe():prep_timeout(60):set_ioprio(0)))
  assert(ring:submit())
  assert(read:status() and read:cancel())
  assert(ring:wait_cqe(patience))
  ring:register_sync_cancel { flags = uring.IORING_ASYNC_CANCEL_ANY }
  uring.run(function()
    assert(ring:await(nop(), patience))
    assert(ring:await(uring.sqe():prep_msg_ring(ring, 1, 2)))
    assert(first(ring:messages()) == 1)
    local ended = uring.spawn(uring.sleep, 0):joining()
    assert(uring.select { ended:wrap(function() return true end) } == 1)
    local task = uring.spawn(uring.sleep, 0)
    assert(task:status() and uring.loop():ring())
    uring.scope(function(scope) assert(#scope:failures() == 0) end)
  end)
end

-- A result that older kernels cannot give, or the function itself.
local function perhaps(value, message)
  if not value and not message:find "needs Linux" then error(message, 0) end
  return value
end

programs["what a ring has registered"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local other <close> = assert(uring.ring { entries = 8 })
  local a, b = uring.buffer(8), uring.buffer(8)
  assert(ring:register_buffers { a, false })
  assert(assert(ring:register_buffers_update_tag(1, { b }, { 0 })) == 1)
  perhaps(other:clone_buffers(ring))
  other:unregister_buffers()
  perhaps(other:clone_buffers_offset(ring, 0, 1, 1))
  assert(ring:unregister_buffers())
  assert(ring:register_buffers_sparse(2))
  assert(ring:unregister_buffers())
  assert(ring:register_buffers_tags({ a }, { 0 }))
  assert(ring:register_files_tags({ r, false }, { 0, 0 }))
  assert(assert(ring:register_files_update_tag(0, { w }, { 0 })) == 1)
  assert(ring:unregister_files())
  local event = owner(spec.eventfd)
  local _ <close> = event
  assert(ring:register_eventfd_async(event))
  assert(ring:cq_eventfd_toggle(true))
  assert(ring:unregister_eventfd())
  assert(ring:unregister_personality(assert(ring:register_personality())))
  assert(ring:register_iowq_aff { 0 })
  assert(ring:unregister_iowq_aff())
  assert(ring:register_iowq_max_workers())
  perhaps(ring:register_napi(0))
  perhaps(ring:unregister_napi())
  perhaps(ring:register_clock(uring.CLOCK_MONOTONIC))
  perhaps(ring:set_iowait(true))
  local quiet <close> = assert(uring.ring { entries = 8,
    flags = uring.IORING_SETUP_R_DISABLED })
  assert(quiet:register_restrictions { { 1, 0 } })
  assert(ring:push(uring.sqe():prep_writev(w, { "x", b })))
  perhaps(ring:submit_and_wait_min_timeout(1, patience, 0))
  assert(ring:submit_and_wait(1, patience))
  assert(first(ring:cqes()))
  assert(ring:queue(uring.sqe():prep_readv(r, { a, b })))
  assert(ring:wait_cqe(patience))
  assert(ring:queue(uring.sqe():prep_rename("/no/such/a", "/no/such/b")))
  assert(ring:wait_cqe(patience))
end

programs["the rest of memory and descriptors"] = function()
  local ring <close> = assert(uring.ring { entries = 8 })
  local buffer = uring.buffer(4)
  buffer:write(0, "abcd"):resize(2)
  assert(buffer:string() == "ab" and buffer:close())
  assert(uring.msghdr { iov = { "x" } }:close())
  assert(not ring:ref():closed())
  local a, b = assert(uring.socketpair())
  local _ <close> = a
  local _ <close> = b
  local group <close> = assert(ring:buf_ring { entries = 4, size = 4 })
  perhaps(group:head())
  assert(a:fileno())
  assert(a:getsockopt "SO_TYPE")
  assert(a:getpeername())
  assert(ring:queue(uring.sqe():prep_send(a, "hello")))
  assert(ring:wait_cqe(patience))
  assert(ring:queue(uring.sqe():prep_recv(b):set_buf_group(group:bgid())))
  local _, res, flags = assert(ring:wait_cqe(patience))
  for _, lease in ipairs(assert(group:bundle(res, flags))) do
    lease:close()
  end
  uring.run(function()
    assert(b:recvfrom(1, patience))
    assert(a:sendmsg { data = "m" })
    assert(b:recvmsg(1, patience))
    assert(a:shutdown "write")
  end)
  local fd = owner(spec.dup, w)
  local _ <close> = fd
  assert(fd:fileno())
  spec.close(fd:release())
  spec.close(assert(a:release()))
end

return programs
