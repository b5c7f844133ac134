#!/bin/sh
# tools/apicheck.sh [SPEC...]                (make apicheck)
#
# Run the specs, all if none is named, with a Lua that checks itself and how it
# is used: lua_assert and LUA_USE_APICHECK. It is built from the source package
# of this system's Lua, which is kept outside the tree: spec/hosts_spec.lua
# finds it there too. Skipped, with a reason, where it cannot be had.
set -u
cd "$(dirname "$0")/.." || exit
. tools/debian.sh
lua=$(basename "${LUA:-lua5.4}")
dir=$cache/$lua out=build/apicheck

give_up() { echo "apicheck: skipped: $1"; exit 0; }

# fetch: its source in $dir/src, with apt settings apart from the system's
fetch() {
  [ -s "$dir/src/lapi.c" ] && return
  suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  mkdir -p "$dir/lists/partial" && : >"$dir/status" &&
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
      "$(mirror) $suite main" >"$dir/sources.list" || return
  set -- -q -o Dir::Etc::sourcelist="$dir/sources.list" \
    -o Dir::Etc::sourceparts=- -o Dir::State="$dir" \
    -o Dir::State::lists="$dir/lists" -o Dir::State::status="$dir/status" \
    -o Dir::Cache="$dir" -o Acquire::Check-Valid-Until=false \
    -o Acquire::Languages=none -o APT::Sandbox::User=root
  apt-get "$@" update || return
  (cd "$dir" && apt-get "$@" --download-only source "$lua" &&
    mkdir -p new && tar -C new --strip-components=1 -xf "$lua"_*.orig.tar.* &&
    mv new/src src && rm -rf new lists ./*.bin ./"$lua"_*) || return
}

# build: the interpreter, which looks for modules where Debian has them
build() {
  triplet=$(${CC:-cc} -print-multiarch) number=${lua#lua}
  rm -rf "$out" && mkdir -p "$out/src" && cp "$dir"/src/*.[ch] "$out/src" &&
    rm -f "$out/src/luac.c" "$out/src/ltests.c" || return
  sed -i "s|^#define LUA_ROOT.*|#define LUA_ROOT \"/usr/\"|
    s|\\./?\\.so|/usr/lib/$triplet/lua/$number/?.so;&|" "$out/src/luaconf.h" &&
    ${CC:-cc} -O1 -g -DLUA_USE_LINUX -DLUAI_ASSERT -DLUA_USE_APICHECK \
      -DLUA_COMPAT_5_3 -o "$out/$lua" "$out"/src/*.c -Wl,-E -lm -ldl
}

command -v apt-get >/dev/null || give_up "there is no apt-get"
mkdir -p "$cache" && fetch >"$dir.log" 2>&1 || give_up "no source of $lua: see $dir.log"
build || exit
# shellcheck disable=SC2086
URING_APICHECK=1 LUA=$PWD/$out/$lua URING_SLOW=${URING_SLOW:-4} tools/test.sh plain "$@"
