-- A forked child whose run had begun could wake, cancel and so run the tasks
-- of its parent's, and spawn into their scopes.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

-- f runs in a child of the task that calls, in a run of the child's own.
local function in_child(f, ...)
  local status = helper.child(function(...) uring.run(f, ...) end)
  assert.equal(0, status, ...)
end

after_each(helper.idle_loop)

describe("in a forked child's own run", function()
  it("the tasks of its parent neither run nor take anything", function()
    local parent, ran = spec.getpid(), false
    local function ran_here()
      if spec.getpid() ~= parent then spec._exit(3) end
      ran = true
    end
    uring.run(function()
      uring.scope(function(scope)
        local channel = uring.channel()
        local tasks = {
          scope:spawn(function() channel:receive() ran_here() end),
          scope:spawn(function()
            uring.select { channel:receiving(), uring.after(60) }
            ran_here()
          end),
          scope:spawn(function() pcall(uring.sleep, 60) ran_here() end),
          scope:spawn(function()
            local _ <close> = setmetatable({}, { __close = ran_here })
            uring.sleep(60)
          end),
        }
        uring.sleep(0)
        tasks[#tasks + 1] = scope:spawn(ran_here)
        in_child(function()
          assert(not channel:try_send "x")
          helper.raises("has ended", scope.spawn, scope, ran_here)
          scope:cancel()
          for _, t in ipairs(tasks) do
            t:cancel()
            t:join(0)
            t:reason()
          end
          for _ = 1, 3 do uring.sleep(0.001) end
          assert(#uring.tasks() == 1)
        end)
        for i, t in ipairs(tasks) do
          assert.equal(i == 5 and "new" or "waiting", t:status())
        end
        assert.is_true(channel:try_send "x")
        scope:cancel()
      end)
    end)
    assert.is_true(ran)
  end)

  it("a return into its parent's scope is an error", function()
    local status, out = helper.script [[
      local uring = require "uring"
      local spec = require "uring_spec"
      uring.run(function()
        local pid
        uring.scope(function(scope)
          scope:daemon(uring.sleep, 60)
          uring.sleep(0)
          pid = spec.fork()
          if pid == 0 then uring.run(function() uring.sleep(0) end) end
        end)
        spec.wait(pid)
        print "the parent goes on"
      end)
    ]]
    assert.equal(0, status, out)
    assert.truthy(out:find("came back into its parent's uring.run",
      1, true), out)
    assert.truthy(out:find("the parent goes on", 1, true), out)
  end)
end)
