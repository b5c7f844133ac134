-- A number that was given back while a queued SQE still named it could be
-- another file's by the time the kernel looked: the read went to a stranger.

local helper = require "helper"
local spec = require "uring_spec"
local uring = require "uring"

local it = helper.needs_ring(it)

-- Two files, of which only the first may be read.
local right, wrong

local function open(path)
  local ring <close> = assert(uring.ring { entries = 2 })
  assert(ring:queue(uring.sqe():prep_openat(uring.AT_FDCWD, path)))
  local _, number = assert(ring:wait_cqe(1))
  return number
end

-- Whatever number has just become free, the wrong file takes.
local function stranger() return uring.fd(open(wrong)) end

local function read_of(fd, flags)
  local buffer = uring.buffer(5)
  return uring.sqe():prep_read(fd, buffer, 5, 0):set_flags(flags or 0), buffer
end

describe("a queued SQE that names a descriptor", function()
  before_each(function()
    right, wrong = helper.file "right", helper.file "wrong"
  end)
  after_each(helper.clean)

  it("holds its file when the uring.fd and the sqe are collected", function()
    local ring <close> = assert(uring.ring { entries = 4 })
    local buffer
    local fd = uring.fd(open(right))
    local sqe
    sqe, buffer = read_of(fd)
    fd = nil
    helper.collect()
    assert(ring:queue(sqe))
    sqe = nil
    helper.collect()
    local other <close> = stranger()
    local _, res = assert(ring:wait_cqe(1))
    assert.equal(5, res, tostring(other))
    assert.equal("right", buffer:string())
    assert.is_nil(fd or sqe)
  end)

  it("holds its file when the sqe is prepared anew", function()
    local ring <close> = assert(uring.ring { entries = 4 })
    local sqe, buffer = read_of(uring.fd(open(right)))
    helper.collect()
    assert(ring:queue(sqe))
    sqe:prep_nop()
    local _ <close> = stranger()
    assert(ring:wait_cqe(1))
    assert.equal("right", buffer:string())
  end)

  -- what the kernel takes up late: it waits behind a drain
  for _, where in ipairs { "behind", "at the head of its chain" } do
    it("holds its file " .. where .. " where something drains", function()
      local ring <close> = assert(uring.ring { entries = 8 })
      local gate, opener = spec.pipe()
      local late = uring.buffer(1)
      assert(ring:queue(uring.sqe():prep_read(gate, late)))
      local fd = uring.fd(open(right))
      local sqe, buffer = read_of(fd)
      local drain = uring.sqe():prep_nop():set_flags(uring.IOSQE_IO_DRAIN)
      if where == "behind" then
        assert(ring:queue(drain))
        assert(ring:queue(sqe))
      else
        assert(ring:queue(sqe, drain))
      end
      assert(ring:submit())
      sqe, fd = nil, nil  -- luacheck: ignore
      helper.collect()
      local _ <close> = stranger()
      assert(spec.write(opener, "x"))
      for _ = 1, 3 do assert(ring:wait_cqe(1)) end
      assert.equal("right", buffer:string())
      spec.close(gate)
      spec.close(opener)
    end)
  end

  -- Each makes `name` in a directory.
  local MAKERS <const> = {
    openat = function(dir, name)
      return uring.sqe():prep_openat(dir, name, uring.O_CREAT | uring.O_WRONLY,
        tonumber("600", 8))
    end,
    openat2 = function(dir, name)
      return uring.sqe():prep_openat2(dir, name, { mode = tonumber("600", 8),
        flags = uring.O_CREAT | uring.O_WRONLY })
    end,
    mkdirat = function(dir, name)
      return uring.sqe():prep_mkdirat(dir, name, tonumber("700", 8))
    end,
    symlinkat = function(dir, name)
      return uring.sqe():prep_symlinkat("target", dir, name)
    end,
    ["linkat, the second directory"] = function(dir, name)
      return uring.sqe():prep_linkat(uring.AT_FDCWD, right, dir, name)
    end,
  }

  for what, make in pairs(MAKERS) do
    it("holds a directory until an io-wq worker has used it: " .. what,
      function()
        local here = os.tmpname()
        os.remove(here)
        assert(os.execute("mkdir " .. here .. " " .. here .. "/right "
                          .. here .. "/wrong"))
        finally(function() os.execute("rm -r " .. here) end)
        local ring <close> = assert(uring.ring { entries = 4 })
        for i = 1, 50 do
          local directory = uring.fd(open(here .. "/right"))
          assert(ring:queue(make(directory, "f" .. i)))
          assert(ring:submit())
          directory:close()
          local _ <close> = uring.fd(open(here .. "/wrong"))
          local _, res = assert(ring:wait_cqe(10 * helper.slow))
          -- (the close may have come first)
          if res > 0 then assert(uring.fd(res)):close() end
          if res < 0 then
            assert.truthy(res == -uring.errno.ECANCELED
              or res == -uring.errno.EINTR
              or res == -uring.errno.ENOTDIR, res)
          end
        end
        local list <close> = io.popen("ls " .. here .. "/wrong")
        assert.equal("", list:read "a")
      end)
  end

  -- A Lua file's close is not the library's, and tells it nothing.
  it("reads the Lua file that it was queued with", function()
    local ring <close> = assert(uring.ring { entries = 4 })
    local file = assert(io.open(right))
    local sqe, buffer = read_of(file)
    assert(ring:queue(sqe))
    file:close()
    local other <close> = assert(io.open(wrong))
    assert(ring:wait_cqe(1))
    assert.equal("right", buffer:string(), tostring(other))
  end)

  it("reads the Lua file also as a later member of a chain", function()
    local ring <close> = assert(uring.ring { entries = 4 })
    local gate, opener = spec.pipe()
    local file = assert(io.open(right))
    local sqe, buffer = read_of(file)
    assert(ring:queue(uring.sqe():prep_read(gate, uring.buffer(1)), sqe))
    assert(ring:submit())
    file:close()
    local other <close> = assert(io.open(wrong))
    assert(spec.write(opener, "x"))
    for _ = 1, 2 do assert(ring:wait_cqe(1)) end
    assert.equal("right", buffer:string(), tostring(other))
    spec.close(gate)
    spec.close(opener)
  end)

  it("reads its file for a task whose sqe another prepares anew", function()
    local file = assert(io.open(right))
    local sqe, buffer = read_of(file)
    file = nil
    uring.run(function()
      uring.spawn(function()
        sqe:prep_nop()
        helper.collect()
        local other <close> = assert(io.open(wrong))
        uring.sleep(0.01)
        assert.truthy(other)
      end)
      assert.equal(5, uring.await(sqe))
    end)
    assert.equal("right", buffer:string())
    assert.is_nil(file)
  end)

  -- or popen's close would wait for a child that waits for us
  it("keeps a Lua file no longer than its operation", function()
    local ring <close> = assert(uring.ring { entries = 4 })
    local cat = assert(io.popen("cat >/dev/null", "w"))
    local sqe = uring.sqe():prep_write(cat, "x")
    assert(ring:queue(sqe))
    assert(ring:wait_cqe(1))
    assert.is_true(cat:close())
    helper.raises("closed after it was prepared", ring.queue, ring, sqe)
  end)
end)
