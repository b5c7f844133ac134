std = "lua54"
max_line_length = 79
exclude_files = { "build", "examples/hosts/prosody/prosody.cfg.lua" }

files["spec"] = { std = "+busted" }
files["examples/hosts/prosody"] = { globals = { "module" } }
files["examples/hosts/lighttpd"] = { globals = { "lighty" } }
