-- For specs of the file system: empty folders, and what is in them.
--
--     after_each(folders.clean)

local helper = require "helper"
local net = require "net"
local uring = require "uring"

local folders = {}
local fs = uring.fs
local made = {}

function folders.clean()
  net.close()
  helper.clean()
  for i, path in ipairs(made) do
    assert(os.execute("chmod -R u+rwx " .. path .. "; rm -rf " .. path))
    made[i] = nil
  end
end

-- f(path of an empty folder), in a task; no descriptor stays open.
function folders.within(f)
  net.run(function()
    local path = assert(fs.mkdtemp "/tmp/uring-fs.XXXXXX")
    made[#made + 1] = path
    -- (before Linux 6.13 the first job opens an eventfd, the loop's doorbell)
    assert(fs.chmod(path, tonumber("700", 8)))
    helper.collect()
    local before = helper.fds()
    f(path)
    -- (a helper thread may be at work still for a task that has left)
    helper.eventually(function()
      uring.sleep(0)
      helper.collect()
      return helper.fds() == before
    end, 5)
  end)
end

-- "name kind" of each entry that iterate(...) gives, sorted.
function folders.names(iterate, ...)
  local found = {}
  for name, kind in iterate(...) do
    found[#found + 1] = ("%s %s"):format(name, kind)
  end
  table.sort(found)
  return found
end

return folders
