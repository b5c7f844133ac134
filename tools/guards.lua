-- Check that a test fails without each line that safety depends on.
--
--     lua5.4 tools/guards.lua [PATTERN]      (or: make guards GUARD=PATTERN)
--
-- SHARE=1/2 and SHARE=2/2 test every second one each, to run in parallel.
--
-- For every `/* guard: … */` in csrc a copy of the tree is built without the
-- line that carries it, and tested; a comment on a line of its own is about
-- the next line. A condition is made false, then true, because either may be
-- the wrong one. Likely tests run first, then all, then all under ASAN and
-- UBSAN, until one fails. If none does, either a test is missing or the line
-- is superfluous.

local pattern = arg[1] or ""
local part, parts = (os.getenv "SHARE" or "1/1"):match "^(%d+)/(%d+)$"

-- The specs that test a module, besides those with its name.
local NEAR <const> = {
  buf_group = "buf_ring lease bundle receive messages",
  buf_pool = "receive messages pending socket",
  buf_ring = "lease bundle legacy_group",
  cancel_scope = "scope scope_cancel scope_error daemon timeout",
  cmsg = "control msghdr_control", event = "select loser",
  fd = "uses", handle = "fd ref uses fork",
  loop = "wait wrap", loop_fd = "step", loop_object = "thread step prompt",
  loop_close = "step", detached = "prompt step", turn = "run loop step",
  ready = "loop_fd", completion = "loop_fd",
  msg_delivery = "msg cancel_matrix",
  msghdr = "msghdr_control",
  op_table = "operation forged msg msg_flags chain silent",
  prep = "sqe msg msg_fd msg_flags prep_send prep_recv legacy_group",
  recv = "receive messages accept control socket socket_close",
  recv_request = "receive messages pending accept socket socket_close",
  recvmsg_out = "msghdr msghdr_control", ref_object = "ref msg",
  ring = "queue chain silent buf_ring msg ref thread fault fault_loop "
    .. "socket_event fd uses",
  ring_watch = "wait msg",
  run = "task scope scope_cancel event select",
  rx_data = "receive messages socket",
  scope = "scope_cancel scope_error daemon", send = "sendmsg connect",
  sockaddr = "msghdr", socket = "tcp socket_close",
  sys = "fault fault_loop fault_memory ring queue",
  task = "scope scope_cancel scope_error daemon",
  wait = "msg operation cancel cancel_matrix chain",
  wait_cancel = "wait wrap cancel zero_copy",
  wait_queue = "channel socket wait", wrap = "cancel coroutine_close",
}

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

local function build(variant)
  -- (without slow options, because there are hundreds of builds)
  return sh(("make -s -j2 -C %s LTO= CFLAGS=-O1 tests-%s >/dev/null 2>&1")
    :format(tree, variant))
end

local function complaint()
  local log <close> = assert(io.open(tree .. "/log"))
  for line in log:lines() do
    if line:find "FAILED" then return line end
    if line:find "^%a+ .* @ %d+$" then return log:read "l" end
  end
  return "?"
end

-- The first failure, or nil if all tests pass. A spec that fails is run again,
-- because it may have failed by chance.
local function test(variant, seconds, specs)
  local command = ("cd %s && TEST_TIMEOUT=%d TEST_OPTIONS=--no-keep-going "
    .. "tools/test.sh %s %s >log 2>&1"):format(tree, seconds, variant, specs)
  if not sh(command) and (complaint():find "FAILED" or not sh(command)) then
    return complaint()
  end
end

-- The first failure of the tree in its present state.
local function failure(path)
  local module = path:match "([%w_]+)%.[ch]$"
  local first = module:match "^[^_]+"
  local likely = output(("ls $(printf 'spec/%%s_spec.lua\n' %s %s %s fork "
    .. "close | sort -u) 2>/dev/null"):format(module, first, NEAR[module]
    or NEAR[first] or "")):gsub("\n", " ") .. "spec/regress"
  return test("plain", 90, likely) or test("plain", 300, "")
    or build "asan" and (test("asan", 600, likely) or test("asan", 600, ""))
end

assert(build "plain" and not test("plain", 300, ""),
  "the tree fails as it is: make test")

io.stdout:setvbuf "line"
local counts = { killed = 0, survived = 0, ["by hand"] = 0 }
local function report(result, ...)
  counts[result] = counts[result] + 1
  print(result, ...)
end

local tried = 0
for path in output "grep -rl 'guard:' csrc | sort":gmatch "%S+" do
  local source = {}
  for line in io.lines(path) do source[#source + 1] = line end
  for i, line in ipairs(source) do
    local at, where = i, ("%s:%d"):format(path, i)
    local found = line:find("guard:", 1, true)
      and where:find(pattern, 1, true)
    if found then tried = tried + 1 end
    if found and tried % parts == part % parts then
      if line:match "^%s*/%*" then  -- a comment of its own
        while not source[at]:find("*/", 1, true) do at = at + 1 end
        at = at + 1
      end
      local ways = mutants(source[at])
      if ways == nil then report("by hand", where) end
      for how, mutant in pairs(ways or {}) do
        local copy = table.move(source, 1, #source, 1, {})
        copy[at] = mutant
        local file <close> = assert(io.open(tree .. "/" .. path, "w"))
        file:write(table.concat(copy, "\n"), "\n")
        file:close()
        local by = build "plain" and (failure(path) or "")
        report(not by and "by hand" or by == "" and "survived" or "killed",
          where, how, by or "")
        sh(("cp %s %s/%s"):format(path, tree, path))
      end
    end
  end
end
sh("rm -rf " .. tree)
assert(tried >= (pattern == "" and 150 or 1), "there should be more guards")
print(("%d killed, %d survived, %d to be tried by hand"):format(counts.killed,
  counts.survived, counts["by hand"]))
