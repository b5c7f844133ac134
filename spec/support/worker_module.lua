-- What a worker of spec/worker_spec.lua runs by name.

return { main = function(...) return "main", ... end }
