-- examples/game: a game host in C, with threads, reloads and a flood.

local c_host = require "c_host"
local helper = require "helper"
local spec = require "uring_spec"
local needs_ring = helper.needs_ring(it)

local ACTORS = "examples/game/actors.lua"

describe("the game host", function()
  local program

  teardown(function() helper.clean() end)

  local function build()
    return c_host.build("examples/game/host.c", "examples/game/zone.c",
      "examples/game/network.c", "examples/game/players.c")
  end

  -- Runs it with these options: status and report.
  local function play(...)
    program = program or build()
    return spec.execute(60 * helper.slow, program, ...)
  end

  -- It must go well. Answers the numbers of its report's line of this name.
  local function report(...)
    local status, output = play(...)
    assert.same({ 0, output }, { status, output })
    assert.is_truthy(output:find "\nall counts add up\n$")
    return function(name)
      local numbers = {}
      local line = assert(output:match("\n" .. name .. " +([^\n]+)"))
      for n in line:gmatch "%d+" do numbers[#numbers + 1] = tonumber(n) end
      return table.unpack(numbers)
    end
  end

  needs_ring("accounts for each message, through reloads", function()
    local numbers = report("--seconds", "3", ACTORS)
    local sent, posted, full, away, lost = numbers "datagrams"
    assert.is_true(posted > 0)
    assert.equal(sent, posted + full + away + lost)
    local by_c, by_actors, received, undelivered = numbers "messages"
    assert.equal(posted, by_c)
    assert.is_true(by_actors > 0)
    assert.equal(by_c + by_actors, received + undelivered)
    local answered, taken, left, heard = numbers "answers"
    assert.equal(answered, taken + left)
    assert.is_true(heard > 0)
    assert.equal(3, (numbers "reloads"))
    assert.is_true(numbers "actors" > 0)
  end)

  needs_ring("refuses what is too much, and loses none of it", function()
    local numbers = report("--seconds", "2", "--flood", ACTORS)
    local sent, posted, full, away, lost = numbers "datagrams"
    assert.equal(sent, posted + full + away + lost)
    assert.is_true(full > 0)
    local by_c, by_actors, received, undelivered = numbers "messages"
    assert.equal(by_c + by_actors, received + undelivered)
  end)

  needs_ring("is told of a message that was not counted", function()
    local wrong = helper.content(ACTORS)
      :gsub("received = received %+ 1", "received = received + 2")
    local status, output = play("--seconds", "1", helper.file(wrong))
    assert.equal(1, status)
    assert.is_truthy(output:find "\nWRONG +messages: %d+ is not %d+\n")
  end)

  needs_ring("reports errors of actors", function()
    local wrong = helper.content(ACTORS)
      :gsub("timeouts = timeouts %+ 1", "error 'out of ideas'")
    local status, output = play("--seconds", "1", helper.file(wrong))
    assert.equal(1, status)
    assert.is_truthy(output:find "zone %d: [^\n]*out of ideas")
    assert.is_truthy(output:find "\nWRONG +errors of scripts: %d+ is not 0\n")
  end)

  it("gives up with 77 where io_uring is forbidden", function()
    program = program or build()
    local interpreter = ("/proc/%d/exe"):format(spec.getpid())
    local status, output = spec.execute(30 * helper.slow, interpreter, "-e",
      ([[
        local spec, ENOSYS = require "uring_spec", 38
        if not spec.forbid("io_uring_setup", ENOSYS) then os.exit(99) end
        local status, output = spec.execute(20, "%s", "%s")
        io.write(output)
        os.exit(status)
      ]]):format(program, ACTORS))
    if status == 99 then helper.skip "needs a kernel with seccomp filters" end
    assert.same({ 77, output }, { status, output })
    assert.is_truthy(output:find("io_uring", 1, true))
  end)

  it("says how it is called", function()
    for _, words in ipairs { {}, { "--wrong", ACTORS },
      { "--seconds", "0", ACTORS } } do
      local status, output = play(table.unpack(words))
      assert.equal(2, status)
      assert.equal("usage: host [--seconds N] [--actors N] [--flood] "
        .. "actors.lua\n", output)
    end
  end)
end)
