#!/bin/sh
# tools/kernels.sh [SUITE...]
#
# Run the tests that make has built under the kernels of Debian suites
# (bookworm has 6.1, trixie 6.12, sid the newest; SUITE-backports have versions
# in between), in a virtual machine that needs neither root nor KVM: the tree,
# the interpreter and busted are packed into an initramfs. If the kernel has
# the sysctl that forbids io_uring, the tests run a second time with it set.
# Prints one line for each run.
#
# Without KVM everything is about twenty times slower; URING_SLOW is the factor
# by which specs extend their time limits.
set -u
cd "$(dirname "$0")/.." || exit
. tools/debian.sh
[ $# -gt 0 ] || set -- bookworm trixie sid
lua=${LUA:-lua5.4}

give_up() { echo "kernels: skipped: $1"; exit 0; }
[ "$(uname -m)" = x86_64 ] || give_up "it is written for x86-64"
for tool in qemu-system-x86_64 cpio gzip apt-get dpkg-deb /bin/busybox; do
  command -v $tool >/dev/null || give_up "there is no $tool"
done

tmp=$(mktemp -d) || exit
trap 'rm -rf "$tmp"' EXIT
machine=
trap 'kill $machine 2>/dev/null; exit 130' INT TERM
table=$tmp/table bad=0
row() { printf '%-46s %8s %8s %8s\n' "$@" >>"$table"; }
row kernel passed failed skipped

# fetch SUITE: its kernel, with apt settings apart from the system's
fetch() {
  dir=$cache/kernels/$1
  [ -s "$dir/vmlinuz" ] && return
  mkdir -p "$dir/lists/partial" "$dir/archives/partial" && : >"$dir/status" &&
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
      "$(mirror) $1 main" >"$dir/sources.list" || return
  set -- -q -o Dir::Etc::sourcelist="$dir/sources.list" \
    -o Dir::Etc::sourceparts=- -o Dir::State="$dir" \
    -o Dir::State::lists="$dir/lists" -o Dir::State::status="$dir/status" \
    -o Dir::Cache="$dir" -o Acquire::Check-Valid-Until=false \
    -o Acquire::Languages=none -o APT::Sandbox::User=root
  apt-get "$@" update || return
  # The image package has it, or since 7.0 a package that it depends on.
  package=linux-image-cloud-amd64
  until find "$dir/new" -name 'vmlinuz*' 2>/dev/null | grep -q .; do
    package=$(apt-cache "$@" depends "$package" |
      sed -n 's/.*Depends: \(linux-\(image\|binary\)-[0-9].*\)/\1/p' |
      head -n 1)
    [ -n "$package" ] || return
    (cd "$dir" && apt-get "$@" download "$package" &&
      dpkg-deb -x linux-*.deb new && rm linux-*.deb) || return
  done
  find "$dir/new" -name 'vmlinuz*' -exec mv {} "$dir/vmlinuz" \;
  rm -rf "$dir/new" "$dir/lists" "$dir"/*.bin
}

# pack IMAGE
pack() {
  root=$tmp/root
  number=${lua#lua}
  mkdir -p "$root/bin" "$root/tree" "$root/proc" "$root/sys" "$root/dev" \
    "$root/tmp" || return
  # Follow links: Debian's Lua modules are links to libraries.
  cp -L --parents "$(command -v "$lua")" /usr/bin/busted "$root" &&
    cp -rL --parents "/usr/share/lua/$number" \
      "/usr/lib/x86_64-linux-gnu/lua/$number" "$root" &&
    cp -L /bin/busybox "$root/bin" &&
    cp -L --parents /etc/hosts /etc/services "$root" &&
    : >"$root/etc/resolv.conf" &&
    echo "hosts: files" >"$root/etc/nsswitch.conf" &&
    echo "multi on" >"$root/etc/host.conf" || return
  tar --exclude=./.git --exclude=./build/obj --exclude='./build/asan*' \
    --exclude=./build/rock -cf - . | tar -C "$root/tree" -xf - || return
  find "$root" -type f \( -name '*.so' -o -perm -100 \) -exec ldd {} + \
    2>/dev/null | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | sort -u |
    while read -r library; do cp -L --parents "$library" "$root"; done

  cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mkdir -p /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts && mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t tmpfs tmp /tmp
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
ip link set lo up
ulimit -n 16384
cd /tree
. ./settings
refused=/proc/sys/kernel/io_uring_disabled
echo "@@BEGIN $(uname -r)"
sh tools/test.sh plain $SPEC
echo "@@END $?"
if [ -e $refused ]; then
  echo 2 >$refused
  echo "@@BEGIN $(uname -r), io_uring forbidden"
  sh tools/test.sh plain $SPEC
  echo "@@END $?"
fi
poweroff -f
INIT
  chmod 755 "$root/init"
  # The factor comes from the kernel's command line: see boot. (The clock of
  # a virtual machine may be set: spec/time_spec.lua.)
  echo "export LUA=$lua URING_SLOW=\${slow:-1} URING_OWN_CLOCK=1" \
    "TEST_TIMEOUT=\$((1200 + 60 * \${slow:-1})) SPEC='${SPEC:-}'" \
    >"$root/tree/settings"
  (cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) >"$1"
}

# boot SUITE: with KVM if the kernel boots so within a minute; KVM inside of
# a virtual machine may never get so far. (Without cx16, because the emulated
# cmpxchg16b is not atomic enough for 6.12's allocator: the kernel panics
# soon.) A name=value on the kernel's command line is in init's environment.
# The log can be read while the tests run. (A machine that is busy with other
# things may fail the kernel's check of its timer.)
no_check=no_timer_check
boot() {
  log=build/kernels/$1.log
  for accel in kvm,2 tcg,20; do
    [ -w /dev/kvm ] || [ ${accel%,*} = tcg ] || continue
    echo "== $1 (${accel%,*}): $log"
    timeout "${TEST_TIMEOUT:-7200}" qemu-system-x86_64 \
      -accel "${accel%,*}" -cpu max,-cx16 -smp 2 -m 1024 -nodefaults \
      -no-reboot -display none -serial stdio \
      -kernel "$cache/kernels/$1/vmlinuz" \
      -initrd "$tmp/image" \
      -append "console=ttyS0 quiet panic=-1 $no_check slow=${accel#*,}" \
      </dev/null >"$log" 2>&1 &
    machine=$!
    if [ ${accel%,*} = kvm ]; then
      seconds=0
      until grep -q '^@@BEGIN' "$log" || [ $seconds -ge 60 ]; do
        sleep 1
        seconds=$((seconds + 1))
      done
      grep -q '^@@BEGIN' "$log" || kill $machine 2>/dev/null
    fi
    wait $machine
    tr -d '\r' <"$log" >"$tmp/log" && mv "$tmp/log" "$log"
    grep -q '^@@BEGIN' "$log" && return
  done
}

# report SUITE: a row for each run in its log
report() {
  log=build/kernels/$1.log
  grep -q '^@@BEGIN' "$log" || { row "$1" - "no boot" -; bad=1; }
  sed -n 's/^@@BEGIN //p' "$log" >"$tmp/names"
  while read -r name; do
    sed -n "/^@@BEGIN $name\$/,/^@@END/p" "$log" >"$tmp/run"
    set -- $(counts "$tmp/run")
    row "$name" "${1:--}" "${2:-no end}" "${3:--}"
    if ! grep -q '^@@END 0$' "$tmp/run"; then
      bad=1
      grep -v '^@@' "$tmp/run" | tail -n 40
    fi
  done <"$tmp/names"
}

mkdir -p build/kernels && pack "$tmp/image" ||
  { echo "kernels: packing failed" >&2; exit 1; }
for suite in "$@"; do
  if fetch "$suite" >"$tmp/fetch" 2>&1; then
    boot "$suite"
    report "$suite"
  else
    echo "$suite skipped: no kernel: $(tail -n 1 "$tmp/fetch")" >>"$table"
  fi
done

echo
cat "$table"
exit $bad
