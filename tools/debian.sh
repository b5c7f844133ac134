# Functions of matrix.sh and kernels.sh, which source this at the top of the
# tree.

# Roots and kernels are kept outside the tree. To renew one, remove it there.
cache=${URING_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/uring}

# mirror: the Debian mirror of this system's apt; empty if it has none, and
# debootstrap then uses its own default
mirror() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -v '^ *#' | grep -oE 'https?://[^ ]+/debian/?( |$)' |
    head -n 1 | grep .
}

# counts FILE: "passed failed skipped", from the last line of make test
counts() {
  grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" |
    tail -n 1 | tr -cd '0-9 \n' | tr -s ' '
}
