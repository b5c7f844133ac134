-- Workers in bad weather: whatever ends first, every message is accounted for
-- and nothing is left: no thread, no descriptor, no memory.
--
-- URING_WORKERS and URING_JOBS set how many; `make soak` takes 10^4 and 10^5.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)
local E = uring.errno

local WORKERS <const> = tonumber(os.getenv "URING_WORKERS") or 40
local JOBS <const> = tonumber(os.getenv "URING_JOBS") or 5000

local function worker(...) return assert(uring.worker(...)) end

local function threads()
  return tonumber(helper.content("/proc/self/status"):match "Threads:%s*(%d+)")
end

-- Accepted is received or undelivered.
local function adds_up(what)
  local s = what:stats()
  assert.equal(s.accepted, s.received + s.undelivered)
  assert.equal(0, s.messages)
  return s
end

-- f, called with the name of a mailbox for what workers report.
local function with_reports(f)
  helper.run(function()
    local reports <close> = assert(uring.mailbox { name = "reports",
      capacity = 1 << 16 })
    f(reports)
  end)
end

describe("workers", function()
  it("come and go, and nothing grows", function()
    uring.loop()
    local before = threads()
    local function some(n)
      helper.run(function()
        for i = 1, n, 4 do
          uring.scope(function()
            for k = i, i + 3 do
              local w = worker(function(...) return (uring.inbox():receive()),
                ... end, k)
              assert(w:send "go")
              uring.spawn(function()
                assert.same({ true, "go", k }, { w:join() })
              end)
            end
          end)
        end
      end)
      helper.collect()
    end
    some(WORKERS)
    local held = helper.resident()
    helper.keeps_fds(some, WORKERS)
    helper.eventually(function() return threads() <= before end, 10)
    -- (a sanitizer keeps what was freed)
    local more = os.getenv "LD_PRELOAD" and 0 or helper.resident() - held
    assert(more < 8 << 20, more)
  end)

  it("do jobs for tasks that send and receive, with room for 4", function()
    helper.run(function()
      local answers = uring.mailbox { name = "answers", capacity = 4 }
      local w = worker { inbox = { capacity = 4 }, main = function()
        local reply <close> = assert(uring.address "answers")
        for id, n in uring.inbox():messages() do reply:send(id, n * n) end
      end }
      local sent = uring.spawn(function()
        for i = 1, JOBS do assert(w:send(i, i)) end
        w:close()
      end)
      for i = 1, JOBS do
        local id, square = answers:receive()
        assert.equal(i, id)
        assert.equal(i * i, square)
      end
      assert(sent:join())
      assert(w:join())
      assert.equal(JOBS, adds_up(w).received)
      answers:close()
      assert.equal(JOBS, adds_up(answers).received)
    end)
  end)

  it("64 of them send to a slow reader, within its bounds", function()
    helper.run(function()
      local senders <const> = 64
      local each <const> = math.max(JOBS // senders, 4)
      local box <close> = uring.mailbox { capacity = 100, bytes = 50000 }
      local all, got = {}, {}
      for i = 1, senders do
        got[i] = 0
        all[i] = worker(function(to, k, count)
          for m = 1, count do assert(to:send(k, m, ("x"):rep(m % 400))) end
          return count
        end, box, i, each)
      end
      local held, begun = nil, 0
      for n = 1, senders * each do
        local k, m, text = box:receive()
        got[k] = got[k] + 1
        if m == 1 then begun = begun + 1 end
        if begun == senders and not held then held = helper.resident() end
        assert.equal(got[k], m)
        assert.equal(m % 400, #text)
        if n % 64 == 0 then
          local s = box:stats()
          assert(s.messages <= 100 and s.bytes <= 50000)
          assert(s.waiting <= senders)
          assert.equal(s.accepted, s.received + s.messages)
          uring.sleep(0)
        end
      end
      for i = 1, senders do
        assert.same({ true, each }, { all[i]:join() })
        assert.equal(each, got[i])
      end
      assert.equal(E.EPIPE, (select(3, box:receive())))
      local s = adds_up(box)
      assert(s.high_water <= 100 and s.high_water_bytes <= 50000)
      assert.same({ senders * each, 0, 0 }, { s.received, s.undelivered,
        s.senders })
      local more = os.getenv "LD_PRELOAD" and 0 or helper.resident() - held
      assert(more < 64 << 20, more)
    end)
  end)

  it("that end with full inboxes end every wait, and lose none in silence",
    function()
      helper.run(function()
        for round = 1, 8 do
          local w = worker({ inbox = { capacity = 3 }, main = function(n)
            local inbox = uring.inbox()
            for _ = 1, n do inbox:receive() end
            if n % 2 == 0 then error "out" end
          end }, round)
          local accepted, refused = 0, 0
          for _ = 1, 4 do
            uring.spawn(function()
              while true do
                local ok, _, errno = w:send(("x"):rep(round * 100))
                if not ok then
                  refused = refused + 1
                  return assert.equal(E.EPIPE, errno)
                end
                accepted = accepted + 1
              end
            end)
          end
          w:join()
          while refused < 4 do uring.sleep(0) end
          local s = adds_up(w)
          assert.equal(accepted, s.accepted)
          assert.equal(round, s.received)
          assert.equal(0, s.waiting)
        end
      end)
    end)

  it("that are cancelled while they send leave whole messages", function()
    with_reports(function(reports)
      for round = 1, 6 do
        local box = assert(uring.mailbox { name = "sink", capacity = 2 })
        local senders = {}
        for i = 1, 4 do
          senders[i] = worker(function(k)
            local to <close> = assert(uring.address "sink")
            local count <close> = assert(uring.address "reports")
            local n = 0
            local _ <close> = setmetatable({}, { __close = function()
              assert(count:try_send(n))
            end })
            while to:send(k, n, ("y"):rep(n % 700)) do n = n + 1 end
          end, i)
        end
        local got, last = 0, {}
        -- (all have begun by then)
        while got < round * 20 or #last < 4 or not (last[1] and last[2]
            and last[3]) do
          local k, n, text = box:receive()
          assert.equal(last[k] and last[k] + 1 or 0, n)
          assert.equal(n % 700, #text)
          last[k], got = n, got + 1
        end
        for i = 1, 4, 2 do senders[i]:cancel() end
        for i = 1, 4, 2 do senders[i]:join() end
        local _, undelivered = box:close()
        for i = 2, 4, 2 do senders[i]:join() end
        -- what they know to be accepted is what there was: one that ended by
        -- its cancel may have been told no more of its last
        local told = 0
        for _ = 1, 4 do told = told + reports:receive() end
        local s = adds_up(box)
        assert.equal(got, s.received)
        assert.equal(undelivered, s.undelivered)
        assert(told <= s.accepted and s.accepted <= told + 4)
      end
    end)
  end)

  it("whose states close in any order, with messages in flight", function()
    local function guest(n)
      local library = require "uring"
      local loop = library.loop { realm = "storm " .. n }
      loop:spawn(function()
        local box = library.mailbox { name = "in", capacity = 8 }
        local all = {}
        for i = 1, 3 do
          all[i] = assert(library.worker(function(k)
            local to = assert(library.address("in", 20))
            local m = 0
            while to:send(k, m, ("z"):rep(m % 3000)) do
              m = m + 1
              library.inbox():try_receive()
            end
          end, i))
        end
        for m = 1, 1 << 30 do
          box:receive()
          all[m % 3 + 1]:try_send(m)
        end
      end)
      for _ = 1, n * 10 do loop:step() end
    end
    helper.keeps_fds(function()
      for n = 1, 6 do
        local ok, why = spec.state(string.dump(guest), n)
        assert(ok, why)
      end
    end)
    assert.equal(0, select(2, uring.workers()))
  end)

  it("start workers, which end with them", function()
    helper.run(function()
      local w = worker(function()
        local function nest(depth)
          if depth == 0 then uring.sleep(100) end
          local inner = assert(uring.worker(function(code, k)
            return load(code)(k)
          end, "return ...", depth))
          assert(inner:join())
          uring.worker(function() uring.sleep(100) end)
          return nest(depth - 1)
        end
        nest(2)
      end)
      uring.sleep(0.05)
      w:cancel()
      local ok, _, errno = w:join()
      assert.is_nil(ok)
      assert.equal(E.ECANCELED, errno)
    end)
  end)

  it("go on while the process forks", function()
    helper.run(function()
      local w = worker(function()
        local sum = 0
        for n in uring.inbox():messages() do sum = sum + n end
        return sum
      end)
      for i = 1, 200 do
        if i % 50 == 0 then
          helper.in_child(function()
            helper.raises("belongs to another process", w.send, w, 1)
            w = nil
            helper.collect()
          end)
        end
        w:send(i)
      end
      w:close()
      assert.same({ true, 20100 }, { w:join() })
    end)
  end)
end)
