-- Finalizers run in whatever allocation comes next, also in the middle of any
-- call, and may close, cancel and use all that the call is about.
--
-- Here only some of that is tried. `make sweep` tries all of it.

local finalizers = require "finalizers"
local helper = require "helper"

local it = helper.needs_ring(it)

-- These trials in a process of their own: { call, deed, n }, …; it says which
-- was the last.
local function try(trials)
  helper.needs_eager_collector()
  local code = { [[
    io.stdout:setvbuf "no"
    local run = require("finalizers").run
    local function trial(...)
      print(...)
      run(...)
    end]] }
  for _, t in ipairs(trials) do
    code[#code + 1] = ("trial(%q, %q, %s)"):format(t[1], t[2], t[3])
  end
  helper.script_ok(table.concat(code, "\n"))
end

if os.getenv "URING_SWEEP" then
  describe("a finalizer in any allocation of", function()
    for _, call in ipairs(finalizers.calls) do
      it(call .. " does no harm", function()
        local trials = {}
        for i, deed in ipairs(finalizers.deeds) do
          trials[i] = { call, deed }
        end
        try(trials)
      end)
    end
  end)
  return
end

describe("a finalizer in the middle of a call", function()
  it("may close every object", function()
    local trials = {}
    for i, call in ipairs(finalizers.calls) do
      trials[i] = { call, "end_all", 1 + i % 3 }
    end
    try(trials)
  end)

  it("may call every other function", function()
    local trials, deeds = {}, finalizers.deeds
    for i, call in ipairs(finalizers.calls) do
      trials[i] = { call, deeds[i % #deeds + 1], 1 + i % 5 }
    end
    try(trials)
  end)
end)
