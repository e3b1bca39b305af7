#!/bin/sh
# Every libc function that queue/ and the rooms through it import is either made to fail by
# interpose.c or stands here as one that cannot: a new call without a fault makes this fail.
# Usage: imports.sh OBJECT...
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# No system call, or none that can fail: memory and strings, formatting, conversion, the compiler's.
harmless='__divti3 __udivti3 __errno_location __stack_chk_fail __snprintf_chk __fprintf_chk
abort bsearch calloc dirfd free getpid gmtime_r malloc memchr memcmp memcpy memmem memmove memrchr
memset inet_ntop inet_pton idn2_free idn2_lookup_u8 qsort qsort_r realloc snprintf strchr strcmp
strcspn strerror strlen strncmp strnlen strrchr strspn strtoul timegm munmap closedir
__memcpy_chk __memmove_chk __memset_chk __strncpy_chk pthread_mutex_destroy pthread_mutex_init
pthread_mutex_lock pthread_mutex_unlock pthread_setname_np pthread_join'
# Once at the start, where failure is the refusal to start (router.c).
start='pthread_create'
# Never fails for 256 octets or less once the system has booted (getrandom(2)).
random='getrandom'
# Its failure means a look at each file at a start, nothing else.
slower='fstatfs'
# Under their other names.
aliases='__open_2 __openat_2 __read_chk __pread_chk'

known=$(sed -n 's/^X(\(.*\))$/\1/p' "$here/functions.inc")
defined=$(nm --defined-only "$@" 2>/dev/null | awk 'NF == 3 {print $3}' | sort -u)
nm -u "$@" | awk '$1 == "U" {sub(/@.*/, "", $2); print $2}' | sort -u | {
    bad=0
    while read -r name; do
        case $name in
        __asan_* | __ubsan_* | __tsan_* | __sanitizer_* | __sancov_*) continue ;;
        esac
        for word in $harmless $start $random $slower $aliases $known; do
            [ "$name" != "$word" ] || continue 2
        done
        printf '%s\n' "$defined" | grep -qx "$name" && continue
        # What the rooms below give: sluice's own names all have a room's prefix.
        case $name in
        buffer_* | bytes_* | check_* | clock_* | log_* | loop_* | mailbox_* | mem_* | timer_*) continue ;;
        pickup_* | recovery_* | journal_thread_* | outcome_* | progress_* | report_* | dsn_*) continue ;;
        _GLOBAL_OFFSET_TABLE_) continue ;;
        commit_gate_* | config_* | route_* | site_* | delivery_* | dispatcher_* | worker_* | pauses_* | pause_*) continue ;;
        esac
        echo "$name: neither interposed (interpose.c) nor listed as harmless (imports.sh)"
        bad=1
    done
    exit $bad
}
