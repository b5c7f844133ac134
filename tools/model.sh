#!/bin/sh
# tools/model.sh                             (make model)
#
# Check the models in spec/model with spin: every interleaving must be without
# an error. Each WITHOUT_… in a model leaves out a step that the code must not
# leave out: with it spin must find an error, or the model proves nothing.
set -eu
cd "$(dirname "$0")/.."

command -v spin >/dev/null || {
  echo "make model: spin is not installed: ./bootstrap model" >&2
  exit 1
}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# verify MODEL [DEFINE]: "errors: N", and how many states were seen
verify() {
  (
    cd "$tmp" && rm -f pan* ./*.trail
    spin -a ${2:+"-D$2"} "$OLDPWD/$1" >spin.log 2>&1 || cat spin.log >&2
    ${CC:-gcc} -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c
    ./pan -m200000 -n >pan.log 2>&1 || true
    sed -n 's/^State-vector.*\(errors: [0-9]*\).*/\1/p
            s/^ *\([0-9.e+]*\) states, stored.*/\1 states/p
            s/^error: max search depth.*/too deep/p' pan.log | tr '\n' ' '
  )
}

status=0
for model in spec/model/*.pml; do
  found=$(verify "$model")
  echo "$model: $found"
  case $found in "errors: 0 "*states*) ;; *) status=1 ;; esac
  for step in $(sed -n 's/^#ifn*def \(WITHOUT_[A-Z_]*\).*/\1/p' "$model" |
                sort -u); do
    found=$(verify "$model" "$step")
    echo "$model, $step: $found"
    case $found in "errors: 0"*) status=1 ;; "errors: "*) ;; *) status=1 ;; esac
  done
done
[ $status -eq 0 ] || echo "make model: FAILED" >&2
exit $status
