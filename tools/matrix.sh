#!/bin/sh
# tools/matrix.sh
#
# Run make test on this system, and in roots of Debian suites with other
# versions of liburing and Lua. debootstrap makes each root; it gets a copy of
# the tree, and ./bootstrap installs the packages as on any fresh machine. Ends
# with one line for each run, or with the reason why one was skipped.
set -u
cd "$(dirname "$0")/.." || exit
. tools/debian.sh
roots=$cache/matrix
mkdir -p "$roots" || exit

# The runs must not be sub-makes of the make that started this script.
unset MAKEFLAGS MFLAGS MAKELEVEL LUA

table=$(mktemp) || exit
trap 'rm -f "$table"' EXIT
bad=0
row() { printf '%-10s %-9s %-8s %8s %8s %8s\n' "$@" >>"$table"; }
skip() { printf '%-10s skipped: %s\n' "$1" "$2" | tee -a "$table"; }
row suite liburing lua passed failed skipped

# test_in NAME LUA COMMAND...: COMMAND runs a script given as its last argument
test_in() {
  name=$1 lua=$2
  shift 2
  log=$roots/$name-$lua.log
  echo "== $name, $lua: $log"
  "$@" "./bootstrap test LUA=$lua" </dev/null >"$log" 2>&1
  status=$?
  liburing=$("$@" "pkg-config --modversion liburing" 2>/dev/null)
  version=$("$@" "$lua -v 2>&1" 2>/dev/null |
    sed 's/.*Lua \([0-9.]*\) .*/\1/')
  set -- $(counts "$log")
  if [ $# -eq 0 ] || [ "$status" -ne 0 ]; then
    tail -n 40 "$log"
    bad=1
  fi
  row "$name" "${liburing:-?}" "${version:-$lua}" \
    "${1:--}" "${2:-no end}" "${3:--}"
}

# in_root ROOT SCRIPT: run it in namespaces of its own, so that no mount and no
# process stays behind
in_root() {
  unshare --mount --pid --fork --kill-child --mount-proc="$1/proc" \
    chroot "$1" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    http_proxy="${http_proxy-}" sh -c "cd /uring && $2"
}

# make_root SUITE: make it, or print the reason why not
make_root() {
  root=$roots/$1
  [ "$(id -u)" -eq 0 ] || { skip "$1" "it takes root"; return 1; }
  if [ ! -d "$root" ]; then
    command -v debootstrap >/dev/null ||
      { skip "$1" "there is no debootstrap"; return 1; }
    echo "== $1: making $root"
    rm -rf "$root.new"
    debootstrap --variant=minbase "$1" "$root.new" $(mirror) \
      >"$root.log" 2>&1 ||
      { skip "$1" "debootstrap failed: $(tail -n 1 "$root.log")"; return 1; }
    mv "$root.new" "$root"
  fi
  # A mirror's index of an unstable suite may have expired.
  echo 'Acquire::Check-Valid-Until "false";' \
    >"$root/etc/apt/apt.conf.d/99matrix"
  cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null
  cp /etc/hosts "$root/etc/hosts" 2>/dev/null
  rm -rf "$root/uring" && mkdir "$root/uring" &&
    tar --exclude=./build --exclude=./.git -cf - . |
    tar -C "$root/uring" --no-same-owner -xf - || exit
  in_root "$root" true 2>/dev/null ||
    { skip "$1" "namespaces are not allowed here"; return 1; }
}

test_in "$(. /etc/os-release && echo "${VERSION_CODENAME:-here}")" lua5.4 sh -c
if make_root trixie; then
  test_in trixie lua5.4 in_root "$roots/trixie"
fi
if make_root sid; then
  test_in sid lua5.4 in_root "$roots/sid"
  test_in sid lua5.5 in_root "$roots/sid"
fi

echo
cat "$table"
exit $bad
