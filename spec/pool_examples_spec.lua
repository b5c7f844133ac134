-- examples/wordcount.lua, as it is started.

local helper = require "helper"
local spec = require "uring_spec"

local it = helper.needs_ring(it)
local LIMIT <const> = 60 * helper.slow

after_each(helper.clean)

-- Its status and its output.
local function count(...)
  return spec.execute(LIMIT, "/proc/self/exe", "examples/wordcount.lua", ...)
end

-- What wc says of the same tree.
local function words_of(directory)
  local wc <close> = assert(io.popen(([[find '%s' -type f \
    -exec sh -c 'cat "$1"; echo' sh {} \; | LC_ALL=C wc -w]]):format(
    directory)))
  return math.tointeger(wc:read "n")
end

-- Copies of directories, without what versions of wc do not agree about: are
-- bytes that are no ASCII a word?
local function ascii()
  local folder = os.tmpname()
  assert(os.execute((([[
    unset LD_PRELOAD
    rm D && mkdir D && cp -r csrc doc D &&
    find D -type f -exec env LC_ALL=C sed -i 's/[\x80-\xff]/a/g' {} +
  ]]):gsub("%f[%w]D%f[%W]", folder))))
  finally(function() os.execute("rm -r " .. folder) end)
  return { folder .. "/csrc", folder .. "/doc" }
end

describe("examples/wordcount.lua", function()
  for _, workers in ipairs { 0, 1, 3 } do
    it(("counts what wc -w counts, with %d workers"):format(workers),
      function()
        for _, directory in ipairs(ascii()) do
          local status, output = count(directory, workers)
          assert.same({ 0, words_of(directory) }, { status,
            math.tointeger(output:match "(%d+) words in %d+ files") }, output)
        end
      end)
  end

  it("takes time in proportion to the bytes, if words are long", function()
    local folder = os.tmpname()
    assert(os.execute(("rm %s && mkdir %s"):format(folder, folder)))
    finally(function() os.execute("rm -r " .. folder) end)
    local file <close> = assert(io.open(folder .. "/words", "w"))
    -- (words that end in the middle of a piece, and that go on in the next)
    file:write((("x"):rep(60000) .. " "):rep(60), ("y"):rep(1 << 18), "\n",
      ("z"):rep(65536), " ", ("\1"):rep(1 << 17), "z\1\n")
    file:close()
    local status, output = count(folder, 0)
    assert.equal(0, status, output)
    assert.truthy(output:find("63 words in 1 files", 1, true), output)
  end)

  it("goes on where a file or a directory cannot be read", function()
    local status, output = count "/nowhere/at/all"
    assert.equal(1, status)
    assert.truthy(output:find("open '/nowhere/at/all'", 1, true), output)
    assert.truthy(output:find("0 words in 0 files", 1, true), output)
  end)

  it("says how it is called", function()
    local status, output = count()
    assert.equal(2, status)
    assert.truthy(output:find("usage:", 1, true), output)
  end)
end)
