rockspec_format = "3.0"
package = "uring"
version = "scm-1"

-- `luarocks make` in a clone uses the clone itself, not this.
source = {
  url = "git+file://.",
}

description = {
  summary = "io_uring and its messages for Lua",
  detailed = [[
Ring to ring, thread to thread, socket to program: a coroutine waits for any
message in one line, and one wait covers them all. Linux 6.1 and later.]],
  license = "MIT",
}

supported_platforms = { "linux" }

dependencies = {
  "lua >= 5.4, < 5.6",
}

external_dependencies = {
  LIBURING = { header = "liburing.h", library = "uring" },
}

-- The Makefile holds the one list of sources. The rock has a build directory
-- of its own, so that a build by root leaves the developer's alone.
build = {
  type = "make",
  build_target = "all",
  variables = {
    BUILD = "build/rock",
    CC = "$(CC)",
    CFLAGS = "$(CFLAGS)",
    LIBFLAG = "$(LIBFLAG)",
    LUA = "$(LUA)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    LIBURING_INCDIR = "$(LIBURING_INCDIR)",
    LIBURING_LIBDIR = "$(LIBURING_LIBDIR)",
  },
  install_variables = {
    INST_LIBDIR = "$(LIBDIR)",
    INST_LUADIR = "$(LUADIR)",
    INST_INCDIR = "$(PREFIX)/include",
  },
}
