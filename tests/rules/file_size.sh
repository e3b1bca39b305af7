#!/bin/bash
# A file holds one idea and stays under 600 lines; a .c opens with what it does and what it does not.
set -euo pipefail
cd "$1"
status=0
for file in {base,queue,dns,tls,router}/*.[ch] bench/*/*.[ch]; do
    lines=$(wc -l <"$file")
    [ "$lines" -le 600 ] || { echo "$file: $lines lines"; status=1; }
    [ "$(head -c 2 "$file")" = "/*" ] || { echo "$file: does not open with a comment"; status=1; }
done
exit $status
