-- busted's output handler for this tree: the plain terminal's, and last a
-- line that tools/test.sh can count. It is flushed, for a process in which
-- leaks are found ends before stdio is.

local plain = require "busted.outputHandlers.plainTerminal"

return function(options)
  local busted = require "busted"
  local handler = plain(options)

  busted.subscribe({ "suite", "end" }, function()
    io.stdout:write(("\nbusted: %d passed, %d failed, %d skipped\n"):format(
      handler.successesCount,
      handler.failuresCount + handler.errorsCount,
      handler.pendingsCount))
    io.stdout:flush()
    return nil, true
  end)

  return handler
end
