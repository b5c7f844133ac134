-- A Prosody on this machine alone that serves mod_uring's pages, and no XMPP:
--
--     install -D -m 644 mod_uring.lua \
--       /usr/local/lib/prosody/modules/mod_uring.lua
--     mkdir /tmp/prosody-uring
--     prosody -F --config prosody.cfg.lua        in the foreground
--     prosody -D --config prosody.cfg.lua        as a daemon
--     curl http://127.0.0.1:5280/uring/wait/0.5
--
-- The module `uring` is found in Lua's usual paths, or in those of the
-- environment (LUA_PATH, LUA_CPATH).

plugin_paths = { "/usr/local/lib/prosody/modules" }
data_path = "/tmp/prosody-uring"
pidfile = "prosody.pid"  -- in data_path
log = { info = "/tmp/prosody-uring/prosody.log" }

modules_enabled = { "http", "uring", "posix" }

http_ports = { 5280 }
http_interfaces = { "127.0.0.1" }
https_ports = {}
c2s_ports = {}
s2s_ports = {}
http_default_host = "localhost"

network_backend = "epoll"

VirtualHost "localhost"
