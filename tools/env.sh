#!/bin/sh
# tools/env.sh VARIANT COMMAND...
#
# Run COMMAND with this tree's Lua files and the modules of one variant (plain,
# asan, tsan) before all others in the search paths, from any current folder:
#
#     tools/env.sh plain lua5.4 examples/demo.lua README.md
#
# Specs find the module with injected faults in URING_FAULT_DIR.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
variant=$1
shift

case $variant in
plain) out=$top/build fault=$top/build/fault ;;
asan) out=$top/build/asan fault=$top/build/asan-fault ;;
tsan) out=$top/build/tsan fault= ;;
*) echo "$0: no variant '$variant': plain, asan, tsan" >&2; exit 2 ;;
esac

# The versioned names have precedence over the plain ones.
unset LUA_INIT LUA_INIT_5_4 LUA_INIT_5_5
unset LUA_PATH_5_4 LUA_PATH_5_5 LUA_CPATH_5_4 LUA_CPATH_5_5
LUA_PATH="$top/lua/?.lua;$top/lua/?/init.lua;$top/spec/support/?.lua;;"
LUA_CPATH="$out/?.so;$out/spec/?.so;;"
URING_FAULT_DIR=$fault
export LUA_PATH LUA_CPATH URING_FAULT_DIR

[ "$variant" != plain ] || exec "$@"

# If addresses are randomised by more than 28 bits ASAN crashes at random, and
# TSAN always; hence setarch, if it is allowed.
fixed=
if setarch -R true 2>/dev/null; then fixed="setarch -R"; fi
# (a program that is instrumented has the runtime)
[ "$variant" != tsan ] || exec $fixed "$@"

# The interpreter is not instrumented, so the runtime must be preloaded. Only
# the command preloads it: otherwise setarch and shells would be searched for
# leaks, too. (What it guesses of a module's thread-local memory may be wrong,
# and crash it.)
ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:intercept_tls_get_addr=0}
UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export ASAN_OPTIONS UBSAN_OPTIONS
exec $fixed env \
  LD_PRELOAD="$("${ASAN_CC:-gcc}" -print-file-name=libasan.so)" "$@"
