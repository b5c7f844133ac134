# What matrix.sh and kernels.sh share; sourced by them in the tree's top.

# Roots and kernels are kept outside the tree. To renew one, remove it there.
cache=${URING_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/uring}

# mirror: the one that this system's apt is set to; nothing if it has none, and
# debootstrap then takes its own default
mirror() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -v '^ *#' | grep -oE 'https?://[^ ]+/debian/?( |$)' |
    head -n 1 | grep .
}

# counts FILE: "passed failed skipped", by the last line that make test wrote
counts() {
  grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" |
    tail -n 1 | tr -cd '0-9 \n' | tr -s ' '
}
