-- Option tables: what they refuse, and what they say then.

local hand = require "hand"
local helper = require "helper"
local uring = require "uring"

local it = helper.needs_ring(it)

describe("an option table", function()
  after_each(hand.close)

  it("may be left out, nil or empty", function()
    assert.equal(64, hand.keep(assert(uring.ring())):stats().sq_entries)
    assert.equal(64, hand.ring(nil):stats().sq_entries)
    assert.equal(64, hand.ring {}:stats().sq_entries)
  end)

  it("is a table", function()
    for _, what in ipairs { 1, "entries", true, print } do
      helper.raises("table expected", uring.ring, what)
    end
  end)

  it("gets the nearest of the names that it misspells in the error", function()
    for wrong, right in pairs { entires = "entries", entrie = "entries",
        Entries = "entries", cq_entry = "cq_entries",
        cqentries = "cq_entries", flag = "flags",
        sq_thread_cpus = "sq_thread_cpu", sq_thread_idel = "sq_thread_idle",
        attachwq = "attach_wq" } do
      helper.raises(("unknown option '%s': did you mean '%s'?"):format(wrong,
        right), uring.ring, { [wrong] = 1 })
    end
  end)

  it("gets all names in the error where none is near", function()
    for _, wrong in ipairs { "somethingelse", ("x"):rep(1000) } do
      helper.raises(("unknown option '%s': the options are entries, "
        .. "cq_entries, flags, sq_thread_cpu, sq_thread_idle, attach_wq")
        :format(wrong), uring.ring, { [wrong] = 1 })
    end
    helper.raises("unknown option ''", uring.ring, { [""] = 1 })
    helper.raises("unknown option 'entries", uring.ring,
      { ["entries\0x"] = 1 })
  end)

  it("has only names for keys", function()
    helper.raises("options have names, this has a key that is a number",
      uring.ring, { 64 })
    helper.raises("a key that is a boolean", uring.ring, { [true] = 1 })
    helper.raises("a key that is a table", uring.ring, { [{}] = 1 })
  end)

  it("has numbers in their bounds, which the error names", function()
    for _, n in ipairs { -1, 0, 32769, 1.5, 2.0 ^ 63, math.huge,
        math.mininteger } do
      helper.raises("option 'entries' must be an integer from 1 to 32768, "
        .. "got " .. tostring(n), uring.ring, { entries = n })
    end
    for _, what in ipairs { "8", true, false, {}, print } do
      helper.raises("option 'entries' must be an integer from 1 to 32768",
        uring.ring, { entries = what })
    end
    helper.raises("got ", uring.ring, { entries = 0 / 0 })
    for name, most in pairs { cq_entries = 65536, flags = 4294967295,
        sq_thread_cpu = 2147483647, sq_thread_idle = 2147483647 } do
      local words = ("option '%s' must be an integer from %d to %d"):format(
        name, name == "cq_entries" and 1 or 0, most)
      helper.raises(words, uring.ring, { [name] = most + 1 })
      helper.raises(words, uring.ring, { [name] = -1 })
      helper.raises(words, uring.ring, { [name] = "1" })
    end
    assert.equal(8, hand.ring { entries = 8.0 }:stats().sq_entries)
  end)

  it("is not changed, and may be used again", function()
    local options = { entries = 8, flags = 0 }
    hand.ring(options)
    assert.same({ entries = 8, flags = 0 }, options)
    assert.equal(8, hand.ring(options):stats().sq_entries)
  end)

  it("is read without metamethods", function()
    local options = setmetatable({ entries = 8 }, {
      __index = function() error "asked" end,
      __len = function() error "asked" end,
      __pairs = function() error "asked" end,
    })
    assert.equal(8, hand.ring(options):stats().sq_entries)
  end)

  it("is read in the same way everywhere", function()
    local ring = hand.ring()
    helper.raises("unknown option 'tiemout': did you mean 'timeout'?",
      ring.register_sync_cancel, ring, { tiemout = 1 })
  end)

  describe("of a function in Lua", function()
    local function f() end

    -- A call of each, with these options.
    local calls = {
      worker = { "main", function(o) return (uring.worker(o)) end },
      pool = { "workers", function(o) return (uring.pool(o)) end },
      process = { "grace", function(o) return (uring.process(o)) end },
      event = { "block", function(o) return (uring.event(o)) end },
      mkdir = { "parents", function(o) return (uring.fs.mkdir("x", o)) end },
      remove = { "recursive", function(o)
        return (uring.fs.remove("x", o))
      end },
      write = { "atomic", function(o)
        return (uring.fs.write("x", "", o))
      end },
      sandbox = { "mailboxes", function(o) return (uring.sandbox(o)) end },
      map = { "ordered", function(o)
        local p <close> = assert(uring.pool { workers = 0, main = f })
        return p:map({}, o)
      end },
      serve = { "on_error", function(o)
        local box <close> = uring.mailbox()
        return box:serve({}, o)
      end },
      ["listener's serve"] = { "grace", function(o)
        local listener <close> = assert(uring.tcp.listen "127.0.0.1:0")
        return listener:serve(f, o)
      end },
    }

    it("says what one of C would, at the caller's line", function()
      helper.run(function()
        for _, call in pairs(calls) do
          local name, with = call[1], call[2]
          local wrong = name:sub(1, -2) .. "_"
          local why = helper.raises(
            ("(unknown option '%s': did you mean '%s'?)"):format(wrong, name),
            with, { [wrong] = 1 })
          assert.truthy(why:find "^[^\n]*options_spec.lua:%d+: bad argument #",
            why)
          helper.raises("options have names, this has a key that is a table",
            with, { [setmetatable({}, { __tostring = error })] = 1 })
          helper.raises(("option '%s' must be "):format(name), with,
            { [name] = name ~= "mailboxes"
              and setmetatable({}, { __tostring = error }) or f })
        end
      end)
    end)

    it("is read without metamethods", function()
      helper.run(function()
        local function asked() error "asked" end
        local mt = { __index = asked, __len = asked, __pairs = asked }
        helper.raises("one of the options 'main', 'module' and 'file'",
          uring.worker, setmetatable({}, mt))
        helper.raises("the program expected", uring.process,
          setmetatable({}, mt))
        helper.raises("options try, block and cancel expected", uring.event,
          setmetatable({}, mt))
        assert.same({}, uring.sandbox(setmetatable({}, mt)).mailboxes)
        local box <close> = uring.mailbox()
        box:address():close()
        assert.is_true(box:serve({}, setmetatable({}, mt)))
      end)
    end)
  end)
end)

describe("a loop's iterator that is called without its state", function()
  local loops = {
    dir = function() return uring.fs.dir "." end,
    walk = function() return uring.fs.walk "." end,
    watch = function() return assert(uring.fs.watch "."):messages() end,
    ticks = function() return uring.every(1):messages() end,
    map = function()
      local main = function(n) return n end
      return assert(uring.pool { workers = 0, main = main }):map { 1 }
    end,
    mailbox = function() return uring.mailbox():messages() end,
  }

  it("says so at the caller's line", function()
    helper.run(function()
      for name, loop in pairs(loops) do
        local step = loop()
        local ok, why = pcall(function() local x = step() return x end)
        assert.is_false(ok)
        assert.truthy(why:find "^[^\n]*options_spec.lua:%d+: bad argument #1",
          name .. ": " .. why)
      end
    end)
  end)
end)
