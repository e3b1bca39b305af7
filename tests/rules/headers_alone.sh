#!/bin/bash
# Every header compiles alone.
set -euo pipefail
cd "$1"
status=0
for header in {base,queue,dns,tls,router}/*.h; do
    echo "#include \"$header\"" |
        cc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I. -I/usr/include/android -fsyntax-only -x c - ||
        { echo "$header does not compile alone"; status=1; }
done
exit $status
