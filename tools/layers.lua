-- Check that the dependencies of csrc's modules go down and have no circle.
--
--     lua5.4 tools/layers.lua OBJECTS        (part of: make check)
--
-- OBJECTS is the folder with the objects of the sources.
--
--   - A file includes, and calls, only files of its own folder or a lower one.
--   - base and ring have no Lua in them.
--   - The calls between files have no circle.
--   - A static function's name is unique, so that no backtrace is ambiguous.

local LAYERS <const> = { "base", "ring", "lua", "api", "task", "net", "os",
  "worker", "host" }
local WITHOUT_LUA <const> = { base = true, ring = true }
local FILES <const> = 140  -- at least: finding no file must not be a success

local objects = assert(arg[1], "usage: layers.lua OBJECTS")
local failed = 0

local function complain(...)
  failed = failed + 1
  io.stderr:write(("layers: " .. (...) .. "\n"):format(select(2, ...)))
end

local function lines(command)
  local pipe <close> = assert(io.popen(command))
  local all = {}
  for line in pipe:lines() do all[#all + 1] = line end
  return all
end

local rank = { core = #LAYERS + 1, compat = 0 }  -- (these are in no folder)
for i, name in ipairs(LAYERS) do rank[name] = i end

-- The folder of "csrc/ring/sys.c" or "ring/sys.h"; for core.c and compat.h
-- their names.
local function layer(path)
  local name = path:gsub("^csrc/", "")
  local folder = name:match "^(%w+)/" or name:match "^(%w+)%."
  return rank[folder] and folder or error("no such layer: " .. path, 0)
end


-- ---- includes, and static functions --------------------------------------

local statics, sources = {}, 0

-- The names of a source's static functions. A definition begins a line, may go
-- on over several, and has its name before the first parenthesis.
local function static_functions(text)
  local names = {}
  text = "\n" .. text:gsub("/%*.-%*/", "")
  for head in text:gmatch "\n(static[^;={]*){" do
    names[#names + 1] = head:gsub("__attribute__ %b()", "")
      :match "([%w_]+) %("
  end
  return names
end

for _, path in ipairs(lines "find csrc -name '*.[ch]' | sort") do
  local own = layer(path)
  sources = sources + (path:find "%.c$" and 1 or 0)
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    local name = line:match '^%s*#%s*include%s+"([^"]+)"'
    if name and rank[layer(name)] > rank[own] then
      complain("%s:%d: an include that goes up, of %s", path, number, name)
    end
    if WITHOUT_LUA[own] and line:find "#%s*include%s+<l[ua]%w*lib%.h>"
        or WITHOUT_LUA[own] and line:find "<lua%.h>" then
      complain("%s:%d: %s has no Lua in it", path, number, own)
    end
  end
  local file <close> = assert(io.open(path))
  for _, name in ipairs(static_functions(file:read "a")) do
    if statics[name] and statics[name] ~= path then
      complain("%s: %s() is static in %s as well", path, name, statics[name])
    end
    statics[name] = path
  end
end
if sources < FILES then complain("only %d sources were found", sources) end


-- ---- calls ---------------------------------------------------------------

local defined_in, calls, files = {}, {}, {}  -- symbol -> file; file -> symbols

for _, path in ipairs(lines(("find %s/csrc -name '*.o' | sort")
    :format(objects))) do
  local file = path:sub(#objects + 2):gsub("%.o$", ".c")
  local source <close> = io.open(file)
  if source then  -- (otherwise it was removed, and its object is old)
    files[#files + 1] = file
    calls[file] = {}
    for _, line in ipairs(lines("nm " .. path)) do
      local kind, symbol = line:match "(%a) ([%w_]+)$"
      if kind == "U" then
        table.insert(calls[file], symbol)
        if WITHOUT_LUA[layer(file)] and symbol:find "^luaL?_" then
          complain("%s calls %s: %s has no Lua in it", file, symbol,
            layer(file))
        end
      elseif kind and kind:find "[TDBRC]" then defined_in[symbol] = file end
    end
  end
end
if #files ~= sources then
  complain("%d sources, and %d objects in %s", sources, #files, objects)
end

local arrows = {}
for _, file in ipairs(files) do
  arrows[file] = {}
  for _, symbol in ipairs(calls[file]) do
    local to = defined_in[symbol]
    if to and to ~= file then
      arrows[file][to] = arrows[file][to] or symbol
      if rank[layer(to)] > rank[layer(file)] then
        complain("%s calls %s, which is up in %s", file, symbol, to)
      end
    end
  end
end

-- Tarjan's strongly connected components.
local index, low, stack, count = {}, {}, {}, 0

local function visit(file)
  count = count + 1
  index[file], low[file] = count, count
  stack[#stack + 1] = file
  stack[file] = true
  for to in pairs(arrows[file]) do
    if not index[to] then
      visit(to)
      low[file] = math.min(low[file], low[to])
    elseif stack[to] then low[file] = math.min(low[file], index[to]) end
  end
  if low[file] < index[file] then return end
  local circle = {}
  repeat
    local member = table.remove(stack)
    stack[member] = nil
    circle[member] = true
  until member == file
  circle[file] = nil
  if next(circle) == nil then return end
  circle[file] = true
  for from in pairs(circle) do
    for to, symbol in pairs(arrows[from]) do
      if circle[to] then
        complain("in a circle: %s calls %s of %s", from, symbol, to)
      end
    end
  end
end

for _, file in ipairs(files) do
  if not index[file] then visit(file) end
end

if failed > 0 then os.exit(1) end
print(("layers: %d files, no arrow up, no circle"):format(#files))
