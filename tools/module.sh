#!/bin/sh
# tools/module.sh FILE: check that the module can be loaded into any process:
# it links no Lua, stays loaded, and exports nothing but luaopen_*.
set -u
file=$1 bad=0

complain() { echo "$file: $1" >&2; bad=1; }

dynamic=$(readelf -dW "$file") || exit
exports=$(nm -D --defined-only "$file") || exit

case $dynamic in
*NEEDED*liblua*) complain "it links liblua, and so brings a second Lua" ;;
esac
case $dynamic in
*NODELETE*) ;;
*) complain "it lacks -z nodelete, and lua_close would unload it" ;;
esac
# (lines of: address, kind, name)
others=$(echo "$exports" | awk '$3 !~ /^luaopen_/ { printf " %s", $3 }')
[ -z "$others" ] || complain "it exports more than luaopen_*:$others"
for name in luaopen_uring luaopen_uring_core; do
  echo "$exports" | grep -q " $name\$" || complain "it does not export $name"
done
exit $bad
