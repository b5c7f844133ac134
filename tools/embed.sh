#!/bin/sh
# tools/embed.sh FILE...: print the table of csrc/lua/embedded.h: the texts of
# these Lua files, as they are, so that lines in error messages are theirs.
set -eu
n=0 table=

echo '#include "lua/embedded.h"'
for file; do
  path=${file#lua/}
  path=${path%.lua}
  n=$((n + 1))
  echo
  echo "static const unsigned char text_$n[] = {"
  od -An -v -tx1 "$file" | sed 's/ \(..\)/0x\1,/g'
  echo "};"
  table="$table  { \"$(echo "$path" | tr / .)\", EMBEDDED \"${path#uring}.lua\",
    text_$n, sizeof(text_$n) },
"
done
echo
echo 'const struct embedded_file embedded_files[] = {'
printf '%s' "$table"
echo '  { 0, 0, 0, 0 }'
echo '};'
