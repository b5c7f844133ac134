#!/bin/sh
# tools/test.sh VARIANT [SPEC...]
#
# Run the C tests and the specs of one variant (plain, asan), which make has
# built. The last line of output counts both:
#
#     N passed, N failed, N skipped
#
# prefixed with "sanitize: " for asan. Each part prints such a line of its own.
# A part that ends without it (a crash, an os.exit in a spec, a timeout of
# TEST_TIMEOUT seconds) counts as a failure; so does one that fails after it,
# as a program with leaks does. TEST_OPTIONS are passed to busted.
set -u
cd "$(dirname "$0")/.." || exit
variant=$1
shift

case $variant in
asan) out=build/asan label="sanitize: " ;;
*) out=build label= ;;
esac

tmp=$(mktemp -d) || exit
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0

# run NAME COMMAND...: show its output and add its summary to the totals
run() {
  name=$1
  shift
  echo "== $name"
  {
    timeout -k 10 "${TEST_TIMEOUT:-1200}" \
      tools/env.sh "$variant" "$@" </dev/null 2>&1
    echo $? >"$tmp/status"
  } | tee "$tmp/log"
  status=$(cat "$tmp/status")
  number='\([0-9]\{1,\}\)'
  set -- $(sed -n "s/^\(busted: \)\{0,1\}$number passed, $number failed\(, \
$number skipped\)\{0,1\}\$/\2 \3 \5/p" "$tmp/log" | tail -n 1)
  if [ $# -eq 0 ]; then
    echo "$name: FAILED: it ended without its summary, with status $status"
    failed=$((failed + 1))
    return
  fi
  passed=$((passed + $1)) failed=$((failed + $2))
  skipped=$((skipped + ${3:-0}))
  if [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; then
    echo "$name: FAILED: it ended with status $status after its summary"
    failed=$((failed + 1))
  fi
}

for source in spec/c/test_*.c; do
  [ -e "$source" ] || continue
  name=$(basename "$source" .c)
  run "$name" "$out/c/$name"
done

# A dozen files for each process: busted keeps so much memory of each file that
# full collections, which many specs run, would take most of the time.
if [ $# -gt 0 ]; then echo "$@"
else find spec -name "*_spec.lua" | sort | xargs -n 12
fi >"$tmp/groups"
while read -r files; do
  # shellcheck disable=SC2086
  run specs "${LUA:-lua5.4}" "${BUSTED:-/usr/bin/busted}" ${TEST_OPTIONS-} $files
done <"$tmp/groups"

# (The line must stand alone, also after output without a final newline.)
echo
echo "$label$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
