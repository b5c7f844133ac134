-- Does a test die without each line that safety hangs on?
--
--     lua5.4 tools/guards.lua [PATTERN]      (or: make guards)
--
-- For every `/* guard: … */` in csrc a copy of the tree is built without the
-- line that carries it (an `if` is made never true; a comment of its own
-- stands for the next line) and tested. What survives is printed: either a
-- test is missing, or the line is.

local pattern = arg[1] or ""

local function sh(command)
  local ok = os.execute(command)
  return ok == true
end

local function output(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read "a"
end

local function lines(path)
  local list = {}
  for line in io.lines(path) do list[#list + 1] = line end
  return list
end

-- The line without what it does; nil where that cannot be told.
local function without(line)
  local code = line:gsub("/%*.-%*/", ""):gsub("/%*.*$", "")
  local before, condition, after = code:match "^(.-)if (%b())(.*)$"
  if condition then
    return ("%sif (0 && %s)%s"):format(before, condition, after)
  end
  before, condition, after = code:match "^(.-)while (%b())(.*)$"
  if condition then
    return ("%swhile (0 && %s)%s"):format(before, condition, after)
  end
  if code:match "^%s*return" or not code:match ";%s*$" then return nil end
  local indent, call = code:match "^(%s*)(.*);%s*$"
  -- a declaration stays one, without what it calls
  local left = call:match "^([%w_%*%s]+=)%s*[%w_]+%b()$"
  if left then return ("%s%s 0;"):format(indent, left) end
  return indent .. ";"
end

local tree = output "mktemp -d":match "%S+"
assert(sh(("git ls-files -z | xargs -0 cp --parents -t %s"):format(tree)))
local build = ("cd %s && make -s tests-plain >/dev/null 2>&1"):format(tree)
local test = ("cd %s && TEST_TIMEOUT=120 make -s test >%s/log 2>&1")
  :format(tree, tree)
assert(sh(build) and sh(test), "the tree fails as it is: make test")

local killed, survived, by_hand = 0, {}, {}
for path in output "grep -l 'guard:' csrc/*.c":gmatch "%S+" do
  local source = lines(path)
  for i, line in ipairs(source) do
    local where = ("%s:%d"):format(path, i)
    if line:find("guard:", 1, true) and where:find(pattern, 1, true) then
      local at = i
      if line:match "^%s*/%*" then  -- a comment of its own
        while not source[at]:find("*/", 1, true) do at = at + 1 end
        at = at + 1
      end
      local mutant = without(source[at])
      if mutant then
        local copy = table.move(source, 1, #source, 1, {})
        copy[at] = mutant
        local file <close> = assert(io.open(tree .. "/" .. path, "w"))
        file:write(table.concat(copy, "\n"), "\n")
        file:close()
        if not sh(build) then by_hand[#by_hand + 1] = where
        elseif sh(test) then survived[#survived + 1] = where
        else killed = killed + 1 end
        sh(("cp %s %s/%s"):format(path, tree, path))
      else
        by_hand[#by_hand + 1] = where
      end
      io.stderr:write(("\r%d killed, %d survived, %d by hand"):format(killed,
        #survived, #by_hand))
    end
  end
end
sh("rm -rf " .. tree)
io.stderr:write "\n"
for _, where in ipairs(by_hand) do print("by hand   " .. where) end
for _, where in ipairs(survived) do print("survived  " .. where) end
print(("%d guards: %d killed, %d survived, %d to be tried by hand"):format(
  killed + #survived + #by_hand, killed, #survived, #by_hand))
