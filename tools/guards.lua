-- Check that a test fails without each line that safety depends on.
--
--     lua5.4 tools/guards.lua [PATTERN]      (or: make guards GUARD=PATTERN)
--
-- SHARE=1/2 and SHARE=2/2 test every second one each, to run in parallel.
-- MOST=n tries n specs for each line at most: quick, and what survives is to
-- be tried again without it.
-- COVERAGE=FILE keeps there which specs execute which guards, for later runs.
--
-- For every `/* guard: … */` in csrc a copy of the tree is built without the
-- line that carries it, and tested; a comment on a line of its own is about
-- the next line. A condition is made false, then true, because either may be
-- the wrong one. The C test of the module runs first, then the specs that
-- execute the line (gcov knows them), those of the module's name before the
-- others and quick ones before slow ones, then the same under ASAN and UBSAN,
-- until one fails. If none does, either a test is missing or the line is
-- superfluous.

local pattern = arg[1] or ""
local part, parts = (os.getenv "SHARE" or "1/1"):match "^(%d+)/(%d+)$"

local most = tonumber(os.getenv "MOST") or math.huge

local function sh(command) return (os.execute(command)) == true end

local function output(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read "a"
end

-- Change -> the changed line; nil if the line is of no known form.
local function mutants(line)
  local code = line:gsub("/%*.-%*/", ""):gsub("/%*.*$", "")
  local before, word, condition, after = code:match "^(.-)(%l+) (%b())(.*)$"
  if word == "if" or word == "while" then
    local form = before .. word .. " (%s %s)" .. after:gsub("%%", "%%%%")
    return { never = form:format(condition, "&& 0"),
      always = word == "if" and form:format(condition, "|| 1") or nil }
  end
  if word == "for" then
    return { never = before .. "if (0) for " .. condition .. after }
  end
  -- a part of a condition: the first, or a later one
  before = code:match "^%s*if %(" or code:match "^%s*[&|][&|] "
  if before then
    local _, opened = code:gsub("%(", "")
    local _, closed = code:gsub("%)", "")
    after = (")"):rep(closed - opened)
    return { never = before .. "0" .. after, always = before .. "1" .. after }
  end
  local indent, call = code:match "^(%s*)(.*);%s*$"
  if call == nil or call:match "^return." then return nil end
  -- a declaration stays one
  local left = call:match "^[%w_]+[%s%*]+[%w_]+ ="
  return { without = indent .. (left and left .. " 0;" or ";") }
end

local tree = output "mktemp -d":match "%S+"
assert(sh(("git ls-files -z | xargs -0 cp --parents -t %s"):format(tree)))

-- (without slow options, because there are hundreds of builds)
local function build(options)
  return sh(("make -s -j2 -C %s LTO= %s >%s/log 2>&1"):format(tree, options,
    tree))
end

-- The first failure that the log names.
local function complaint()
  local log <close> = assert(io.open(tree .. "/log"))
  for line in log:lines() do
    if line:find "FAILED" or line:find "ERROR: %a+Sanitizer" then
      return line
    end
    if line:find "^%a+ .* @ %d+$" then
      local title, message = log:read("l", "l")
      -- (an error outside of a test has no title)
      return title:find "^suite " and message or title
    end
  end
  return "?"
end

local HANGS <const> = "it did not end"

-- nil, or how COMMAND failed.
local function run(variant, seconds, command)
  local ok, why, status = os.execute(("cd %s && timeout -k 10 %d "
    .. "tools/env.sh %s %s >log 2>&1 </dev/null"):format(tree, seconds,
    variant, command))
  if ok then return nil end
  return status == 124 and HANGS or why == "signal" and
    "signal " .. status or status > 128 and "signal " .. status - 128
    or complaint()
end

local BUSTED <const> = "lua5.4 /usr/bin/busted --no-keep-going "

-- Which specs execute which guarded line, and the seconds that each takes.
local specs, took, executed = {}, {}, {}
for spec in output "ls spec/*_spec.lua spec/regress/*_spec.lua"
  :gmatch "%S+" do specs[#specs + 1] = spec end

local function covers(key, spec)
  executed[key] = executed[key] or {}
  executed[key][spec] = true
end

-- Run each spec with counters. guarded: the lines of interest, as keys
local function cover(guarded, kept)
  assert(build "tests-plain CFLAGS='-O0 --coverage' LDFLAGS=--coverage",
    "the build with counters fails")
  for _, spec in ipairs(specs) do
    local begin = output "date +%s.%N"
    local failed = run("plain", 600, BUSTED .. spec)
    took[spec] = output "date +%s.%N" - begin
    if failed then print("fails with counters", spec, failed) end
    kept:write(("%s %.3f\n"):format(spec, took[spec]))
    local lines = output(("cd %s && find build/obj/plain -name '*.gcda' | "
      .. "xargs -r gcov -t 2>/dev/null; find build/obj/plain -name '*.gcda' "
      .. "-delete"):format(tree))
    local path
    for line in lines:gmatch "[^\n]+" do
      local count, number, text = line:match "^%s*(%S+):%s*(%d+):(.*)$"
      if number == "0" then
        path = text:match "^Source:.-(csrc/.*)$" or path
      elseif count and count:find "^%d" and path
        and guarded[path .. ":" .. number] then
        covers(path .. ":" .. number, spec)
        kept:write(path, ":", number, " ", spec, "\n")
      end
    end
  end
end

local function read_coverage(file)
  for line in file:lines() do
    local first, second = line:match "^(%S+) (%S+)$"
    if tonumber(second) then took[first] = tonumber(second)
    else covers(first, second) end
  end
end

-- The specs to try for a line, likely ones first.
local function likely(path, line)
  local module = path:match "([%w_]+)%.[ch]$"
  local first = module:match "^[^_]+"
  local function rank(spec)
    local name = spec:match "([%w_]+)_spec%.lua$"
    return name == module and 0 or name:find(first, 1, true) and 1 or 2
  end
  local covering = executed[path .. ":" .. line]
  local list = {}
  for _, spec in ipairs(specs) do
    took[spec] = took[spec] or 10
    if covering == nil or covering[spec] then list[#list + 1] = spec end
  end
  table.sort(list, function(a, b)
    local x, y = rank(a), rank(b)
    if x ~= y then return x < y end
    return took[a] < took[b]
  end)
  return { table.unpack(list, 1, math.min(most, #list)) }
end

-- The C tests of a module: the one of its name, and those that link it, which
-- the Makefile names.
local function c_tests(module)
  local lists, names = {}, {}
  for line in io.lines "Makefile" do
    local test, modules = line:match "^CTEST_([%w_]+) := (.*)$"
    if test then
      lists[test] = (modules:gsub("%$%(CTEST_([%w_]+)%)", lists))
    end
  end
  for test in output "ls spec/c":gmatch "test_([%w_]+)%.c" do
    local linked = (" %s "):format(lists[test] or test)
    if test == module then table.insert(names, 1, test)
    elseif linked:find((" %s "):format(module), 1, true) then
      names[#names + 1] = test
    end
  end
  return names
end

-- The first failure of the tree in its present state.
local function failure(path, list)
  local tests = c_tests(path:match "([%w_]+)%.[ch]$")
  for _, variant in ipairs { "plain", "asan" } do
    local asan = variant == "asan"
    local out = asan and "build/asan/" or "build/"
    local targets = ("%suring/core.so build/%s/uring/core.so "
      .. "%sspec/uring_spec.so %s"):format(out, asan and "asan-fault"
      or "fault", out, path:find "host/" and "build/liburing_lua.a" or "")
    for _, test in ipairs(tests) do
      targets = ("%s %sc/test_%s"):format(targets, out, test)
    end
    if not build(targets .. " CFLAGS=-O1") then
      return asan and "?" or ""
    end
    for _, test in ipairs(tests) do
      local failed = run(variant, 120, out .. "c/test_" .. test)
      if failed then return ("test_%s: %s"):format(test, failed) end
    end
    for _, spec in ipairs(list) do
      local limit = (took[spec] * 8 + 40) // 1
      local bad = run(variant, limit, BUSTED .. spec)
      -- once more, because it may have failed by chance
      bad = bad and (bad == HANGS and bad
        or run(variant, limit, BUSTED .. spec))
      if bad then return ("%s: %s"):format(spec, bad) end
    end
  end
end

io.stdout:setvbuf "line"
local counts = { killed = 0, survived = 0, ["by hand"] = 0 }
local function report(result, ...)
  counts[result] = counts[result] + 1
  print(result, ...)
end

-- The guards that are asked for, and the lines of all
local guards, guarded, tried = {}, {}, 0
for path in output "grep -rl 'guard:' csrc | sort":gmatch "%S+" do
  local source = {}
  for line in io.lines(path) do source[#source + 1] = line end
  for i, line in ipairs(source) do
    local at, where = i, ("%s:%d"):format(path, i)
    if line:find("guard:", 1, true) then
      if line:match "^%s*/%*" then  -- a comment of its own
        while not source[at]:find("*/", 1, true) do at = at + 1 end
        at = at + 1
      end
      guarded[("%s:%d"):format(path, at)] = true
      if where:find(pattern) then
        tried = tried + 1
        if tried % parts == part % parts then
          guards[#guards + 1] = { path = path, where = where, at = at,
            source = source }
        end
      end
    end
  end
end
assert(tried >= (pattern == "" and 150 or 1), "there should be more guards")

local name = os.getenv "COVERAGE"
local kept = name and io.open(name)
if kept then
  read_coverage(kept)
else
  kept = name and assert(io.open(name, "w")) or assert(io.tmpfile())
  cover(guarded, kept)
end
kept:close()
assert(build "tests-plain CFLAGS=-O1", "the tree cannot be built")
for _, guard in ipairs(guards) do
  local path, where, at = guard.path, guard.where, guard.at
  local ways = mutants(guard.source[at])
  if ways == nil then report("by hand", where) end
  local list = likely(path, at)
  for how, mutant in pairs(ways or {}) do
    local copy = table.move(guard.source, 1, #guard.source, 1, {})
    -- (the comment may go on in the next line)
    local open = guard.source[at]:gsub("/%*.-%*/", ""):find("/*", 1, true)
    copy[at] = mutant .. (open and " /*" or "")
    local file <close> = assert(io.open(tree .. "/" .. path, "w"))
    file:write(table.concat(copy, "\n"), "\n")
    file:close()
    local by = failure(path, list)
    report(not by and "survived" or by == "" and "by hand" or "killed",
      where, how, by or #list .. " specs")
  end
  sh(("cp %s %s/%s"):format(path, tree, path))
end
sh("rm -rf " .. tree)
print(("%d killed, %d survived, %d to be tried by hand"):format(counts.killed,
  counts.survived, counts["by hand"]))
