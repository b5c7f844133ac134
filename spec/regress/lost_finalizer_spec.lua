-- Lua calls a finalizer once. If there is no memory to call it, Lua frees the
-- object all the same: and lists of the library pointed to where it had been.

local faults = require "faults"
local helper = require "helper"

local it = helper.needs_ring(it)
local faulty = faults.tests(it)

-- luacheck: globals T uring spec

describe("an object whose finalizer Lua cannot call", function()
  -- `make` returns what is kept of it; `use` then uses that.
  local cases = {}

  function cases.ring()
    local function make()
      local ring = uring.ring { entries = 4 }
      ring:queue(T.nop(1))
    end
    return make, function() end
  end

  function cases.socket()
    local function make()
      local a, b = uring.socketpair()
      uring.spawn(function() a:receive(10, 0.001) end)
      uring.sleep(0.002)
      a:write "some"
      return b
    end
    return make, function(b) b:send "hello" end
  end

  function cases.listener()
    local function make()
      local l = uring.tcp.listen "127.0.0.1:0"
      uring.spawn(function() l:accept(0.001) end)
      uring.sleep(0.002)
      return tostring(l:getsockname())
    end
    return make, function(address)
      local s = uring.tcp.connect(address, 1)
      if s then s:close() end
    end
  end

  function cases.pool()
    local function make()
      local a, b = uring.socketpair(uring.SOCK_DGRAM)
      uring.spawn(function()
        pcall(function()
          for _ in a:messages { size = 100, timeout = 0.001 } do end
        end)
      end)
      uring.sleep(0.002)
      return b
    end
    return make, function(b) b:send "hello" end
  end

  function cases.stream()
    local function make()
      local r, w = uring.pipe()
      uring.spawn(function() r:read("l", 0.001) end)
      uring.sleep(0.002)
      return w
    end
    return make, function(w)
      w:write "hello\n"
      w:flush(0)
    end
  end

  function cases.mailbox()
    local function make()
      local box = uring.mailbox()
      uring.spawn(function() box:receive(0.001) end)
      uring.sleep(0.002)
      return box:address()
    end
    return make, function(address) address:try_send "hello" end
  end

  function cases.monitor()
    local function make()
      local box = uring.mailbox()
      local address = box:address()
      uring.select({ address:monitor() }, 0.001)
      return { box, address }
    end
    return make, function(kept) kept[1]:close() end
  end

  function cases.sending()
    local function make()
      local box = uring.mailbox { capacity = 1 }
      local address = box:address()
      address:send(1)
      uring.select({ address:sending(2) }, 0.001)
      return { box, address }
    end
    return make, function(kept) kept[1]:receive(0) end
  end

  function cases.address()
    local function make()
      local box = uring.mailbox { capacity = 1 }
      local address = box:address()
      address:send(1)
      uring.select({ address:sending(2) }, 0.001)
      return box
    end
    return make, function(box) box:receive(0) end
  end

  function cases.worker()
    local function make()
      local w = uring.worker(function()
        require "uring".sleep(0.002)
      end)
      uring.select({ w:joining() }, 0.0001)
    end
    return make, function() end
  end

  function cases.channel()
    local function make()
      local c = uring.channel()
      local co = coroutine.wrap(function() c:receive() end)
      pcall(co)
      return c
    end
    return make, function(c) c:try_send(1) end
  end

  for name, case in pairs(cases) do
    faulty(("is a leak, and no more: %s"):format(name), load(([[
      local make, use = load(%q)()
      local function lose()
        coroutine.wrap(function()
          T.fault.alloc(1, 1 << 30)
          collectgarbage()
          T.fault.alloc()
        end)()
      end
      warn "@off"
      uring.run(function()
        local left = {}
        for i = 1, 20 do left[i] = make() or false end
        for _ = 1, 3 do
          lose()
          collectgarbage()
        end
        for _, thing in ipairs(left) do
          if thing then use(thing) end
        end
        uring.sleep(0.01)
        -- (the same memory, for other things)
        for i = 1, 20 do left[i] = make() or false end
      end)
      collectgarbage()]]):format(string.dump(case))))
  end

  faulty("is a ring no longer, whatever lies where it was", function()
    warn "@off"
    local submit
    for _ = 1, 20 do
      coroutine.wrap(function()
        local ring = uring.ring { entries = 4 }
        submit = ring.submit
        ring:submit()  -- (an open ring is known by its address)
      end)()
      coroutine.wrap(function()
        T.fault.alloc(1, 1 << 30)
        collectgarbage()
        T.fault.alloc()
      end)()
      collectgarbage()
      local others = {}  -- (as large as a ring's object)
      for i = 1, 100 do
        others[i] = uring.semaphore(1)
        T.raises("uring.Ring expected, got uring.Semaphore", submit, others[i])
      end
    end
  end)
end)
