-- A scope that scripts close before its body has ended: by closing the
-- coroutine that waits for its tasks, or by a to-be-closed variable of their
-- own. Its tasks woke an owner that was not there any more.

local helper = require "helper"

local it = helper.needs_ring(it)

local function survives(code)
  assert.equal("survived", helper.script_ok(([[
    local uring = require "uring"
    %s
    io.write "survived"]]):format(code)))
end

describe("a scope that is closed early", function()
  it("has tasks that end, though its own task waited for them", function()
    survives [[
      pcall(uring.run, function()
        local co
        uring.spawn(function()
          co = coroutine.running()
          uring.scope(function(scope) scope:spawn(uring.sleep, 10) end)
        end)
        uring.sleep(0.01)
        coroutine.close(co)
        uring.sleep(0.01)
      end)]]
  end)

  it("has tasks that end, though it could not be closed", function()
    if os.getenv "URING_APICHECK" then
      helper.skip "needs Lua 5.4.6: before, an assertion of Lua's own fails"
    end
    survives [[
      uring.run(function()
        local inner
        pcall(uring.scope, function(outer)
          local co, meta, close
          outer:spawn(uring.scope, function(scope)
            co = coroutine.running()
            inner = scope:spawn(uring.sleep, 10)
            meta = debug.getmetatable(scope)
            close, meta.__close = meta.__close, nil
            uring.sleep(10)
          end)
          uring.sleep(0)
          assert(not coroutine.close(co))
          meta.__close = close
        end)
        inner:join()
        assert(inner:status() == "cancelled")
      end)]]
  end)

  it("passes on its body's error", function()
    survives [[
      local ok, message = pcall(uring.run, function()
        uring.scope(function(scope)
          do local _ <close> = scope end
          error "mine"
        end)
      end)
      assert(not ok and message:find("mine", 1, true), message)]]
  end)

  it("gives its body's results", function()
    survives [[
      assert(7 == uring.run(function()
        return uring.scope(function(scope)
          do local _ <close> = scope end
          return 7
        end)
      end))]]
  end)

  it("does not wake its own task, which waits for something else", function()
    survives [[
      uring.run(function()
        local began, ended = uring.now()
        uring.scope(function(scope)
          scope:spawn(function() local _ <close> = scope end)
          uring.sleep(0.05)
          ended = uring.now()
        end)
        assert(ended - began >= 0.05)
      end)]]
  end)

  it("lets its own task go on, which a task of it has kept waiting", function()
    survives [[
      uring.run(function()
        local ended
        local ok, message = uring.scope(function(scope)
          scope:spawn(function()
            uring.sleep(0.001)
            do local _ <close> = scope end
            uring.shield(1, function() uring.sleep(0.001) end)
            ended = true
          end)
          scope:spawn(uring.sleep, 10)
        end)
        assert(ok == nil and message:find "was closed" and not ended)
      end)]]
  end)

  it("is named in the error, and no task of it", function()
    survives [[
      uring.run(function()
        local ok, message = uring.scope(function(scope)
          scope:spawn(uring.sleep, 10)
          do local _ <close> = scope end
          local ok, message = pcall(scope.spawn, scope, print)
          assert(not ok and message:find("(it was closed before its tasks "
            .. "had ended)", 1, true), message)
        end)
        assert(ok == nil and message == "the scope was cancelled: it was "
          .. "closed before its tasks had ended", message)
      end)]]
  end)
end)
