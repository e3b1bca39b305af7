#!/bin/bash
# Includes point down only: base < queue, dns < tls < router; queue and tls never see each other, nor do queue and dns.
set -euo pipefail
cd "$1"
declare -A allowed=(
    [base]="base" [queue]="base queue" [dns]="base dns" [tls]="base dns tls"
    [router]="base queue dns tls router"
)
status=0
for room in "${!allowed[@]}"; do
    while IFS=: read -r file line included; do
        case " ${allowed[$room]} " in
        *" $included "*) ;;
        *)
            echo "$file:$line: $room must not include from $included"
            status=1
            ;;
        esac
    done < <(grep -noE '^#include "(base|queue|dns|tls|router|bench|tests)/' "$room"/*.[ch] |
        sed -E 's|:#include "([a-z]+)/|:\1|')
done
exit $status
