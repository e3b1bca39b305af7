#!/bin/bash
# usage: calls.sh POWERCUT LIBRARY...
# Every function of the C library on descriptors, paths or mappings that the libraries use must be
# defined in the simulation, or be listed here with the reason why it never meets the spool.
set -euo pipefail
powercut=$1
shift
files='^(__)?(open(at)?(64)?(_2)?|creat|close|p?(read|write)v?2?(64)?(_chk)?|preadv|pwritev|f?(data)?sync|syncfs|sync_file_range|msync|f?l?stat(at|x)?(64)?|statx|mmap(64)?|munmap|mremap|link(at)?|symlink(at)?|rename(at2?)?|unlink(at)?|rmdir|mkdir(at)?|f?opendir|fdopendir|readdir(64)?|closedir|dirfd|rewinddir|scandir|fcntl(64)?|flock|lockf|f?truncate(64)?|(posix_)?fallocate(64)?|posix_fadvise|f?chmod(at)?|f?chown(at)?|utimensat|futimens|copy_file_range|sendfile(64)?|splice|dup[23]?|lseek(64)?|f?access(at)?)$'
# read: sockets, eventfd, inotify. fchmod: the control socket, before it has a name.
elsewhere=' read __read_chk fchmod '
used=$(nm -u "$@" | awk '{print $2}' | grep -E "$files" | sort -u)
defined=$(nm --defined-only "$powercut" | awk '$2 == "T" {print $3}' | sort -u)
status=0
for function in $used; do
    grep -qx "$function" <<<"$defined" && continue
    [[ $elsewhere == *" $function "* ]] && continue
    echo "$function: used by the router, unknown to the simulation"
    status=1
done
[ "$(wc -l <<<"$used")" -ge 15 ] || { echo "only these were found: $used"; status=1; }
exit $status
