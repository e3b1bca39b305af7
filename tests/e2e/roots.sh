#!/bin/bash
# Private roots for the real mail servers of the end-to-end tests: each of Debian's MTA packages,
# which exclude one another and want port 25 and /etc, in an overlay of its own over "/".
#
#   roots.sh install          apt-get each server into an overlay once; kept as tar files in the cache
#   roots.sh check            whether "run" would work
#   roots.sh run COMMAND ...  private network, mount and process namespaces with the roots mounted at
#                             $SLUICE_E2E_ROOTS/NAME/m, loopback up; nothing of it outlives COMMAND
#
# The machine itself stays as it was. Upper folders lie on a tmpfs, because an overlay's upper folder
# must not lie on an overlay itself (containers). Exit 77: not possible here, with the reason; with
# CI=true that is a failure.
set -eu

CACHE=${SLUICE_E2E_CACHE:-/var/cache/sluice-e2e}
SERVERS="postfix exim opensmtpd"
RUN_TMPFS_SIZE=3g
INSTALL_TMPFS_SIZE=1500m

say() { printf 'roots: %s\n' "$*" >&2; }

impossible() {
    say "skipped: $*"
    [ "${CI:-}" = true ] && exit 1
    exit 77
}

packages_of() {
    case $1 in
    postfix) echo postfix ;;
    exim) echo exim4-daemon-light ;;
    opensmtpd) echo opensmtpd ;;
    esac
}

# A root fits the machine that it was made over: the libraries below it, and how it was made.
fingerprint_of() {
    {
        packages_of "$1"
        dpkg-query -W -f '${Package} ${Version}\n' base-files libc6 libssl3 libgnutls30 2>/dev/null || true
        dpkg --print-architecture
    } | sha256sum | cut -d' ' -f1
}

is_installed() { [ -s "$CACHE/$1.tar" ] && [ "$(cat "$CACHE/$1.key" 2>/dev/null)" = "$(fingerprint_of "$1")" ]; }

check_possible() {
    [ "$(id -u)" = 0 ] || impossible "private roots need root"
    unshare -n -m -p -f --mount-proc --propagation private true 2>/dev/null ||
        impossible "this machine does not allow namespaces"
    unshare -m --propagation private sh -c 'mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/m &&
        mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/m' 2>/dev/null ||
        impossible "this machine does not allow overlay mounts"
}

# In a private mount namespace, with the network of the machine: apt's downloads need it.
install_one() {
    local name=$1 dir
    dir=$(mktemp -d)
    mount -t tmpfs -o size=$INSTALL_TMPFS_SIZE tmpfs "$dir"
    mkdir "$dir/u" "$dir/w" "$dir/m"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/u,workdir=$dir/w" "$dir/m"
    mount -t proc proc "$dir/m/proc"
    mount --rbind /dev "$dir/m/dev"
    for file in resolv.conf hosts; do # in a container they are mounts of their own, not in "/"
        cat "/etc/$file" >"$dir/etc.$file"
        rm -f "$dir/m/etc/$file"
        cp "$dir/etc.$file" "$dir/m/etc/$file"
    done
    printf '#!/bin/sh\nexit 101\n' >"$dir/m/usr/sbin/policy-rc.d" # no service starts at installation
    chmod 755 "$dir/m/usr/sbin/policy-rc.d"
    in_root() { chroot "$dir/m" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@" >>"$dir/log" 2>&1 </dev/null; }
    say "$name: installing (apt)"
    # shellcheck disable=SC2046
    if ! in_root apt-get install -y --no-install-recommends $(packages_of "$name"); then
        say "$name: fetching the package lists first"
        if ! { in_root apt-get update && in_root apt-get install -y --no-install-recommends $(packages_of "$name"); }; then
            tail -20 "$dir/log" >&2
            impossible "$name could not be installed"
        fi
    fi
    rm -rf "$dir/m"/var/cache/apt/*.bin "$dir/m"/var/cache/apt/archives/*.deb "$dir/m"/var/lib/apt/lists/* 2>/dev/null || true
    umount -l "$dir/m/dev" "$dir/m/proc" "$dir/m"
    tar -C "$dir/u" --xattrs --xattrs-include='*' --exclude=./var/lib/apt/lists --exclude=./proc --exclude=./dev \
        -cf "$CACHE/$name.tar.tmp$$" .
    mv "$CACHE/$name.tar.tmp$$" "$CACHE/$name.tar"
    fingerprint_of "$name" >"$CACHE/$name.key"
    umount -l "$dir" && rmdir "$dir"
    say "$name: ready ($(du -h "$CACHE/$name.tar" | cut -f1))"
}

install_all() {
    check_possible
    mkdir -p "$CACHE"
    exec 9>"$CACHE/lock"
    flock 9 # two runs at once: the second one finds the work done
    for name in $SERVERS; do
        if is_installed "$name"; then
            say "$name: in the cache"
        else
            unshare -m --propagation private "$0" install-one "$name"
        fi
    done
}

# Inside the new namespaces.
run_inside() {
    export SLUICE_E2E_ROOTS=$1
    shift
    ip link set lo up
    mount -t tmpfs -o size=$RUN_TMPFS_SIZE tmpfs "$SLUICE_E2E_ROOTS"
    # Thousands of short connections on one loopback address: per namespace, so nobody else sees it.
    echo "1024 65535" >/proc/sys/net/ipv4/ip_local_port_range
    echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse
    echo 4096 >/proc/sys/net/core/somaxconn 2>/dev/null || true
    echo "nameserver 127.0.0.1" >"$SLUICE_E2E_ROOTS/resolv.conf"
    mount --bind "$SLUICE_E2E_ROOTS/resolv.conf" /etc/resolv.conf
    for name in $SERVERS; do
        local dir=$SLUICE_E2E_ROOTS/$name
        mkdir -p "$dir/base" "$dir/u" "$dir/w" "$dir/m"
        tar -C "$dir/base" --xattrs --xattrs-include='*' -xpf "$CACHE/$name.tar"
        mount -t overlay overlay -o "lowerdir=$dir/base:/,upperdir=$dir/u,workdir=$dir/w" "$dir/m"
        mount -t proc proc "$dir/m/proc"
        mount --rbind /dev "$dir/m/dev"
        rm -f "$dir/m/etc/resolv.conf" "$dir/m/etc/hosts"
        echo "nameserver 127.0.0.1" >"$dir/m/etc/resolv.conf"
        echo "127.0.0.1 localhost" >"$dir/m/etc/hosts"
    done
    # No exec: as the first process of its namespace this shell reaps what the servers leave behind.
    local status=0
    "$@" || status=$?
    exit $status
}

check_all() {
    check_possible
    for name in $SERVERS; do
        is_installed "$name" || impossible "$name is not in the cache: run '$0 install' first"
    done
}

run_command() {
    check_all
    local dir status=0
    dir=$(mktemp -d)
    # The process namespace ends every server with the command, however it ends.
    unshare -n -m -p -f --kill-child --mount-proc --propagation private "$0" run-inside "$dir" "$@" || status=$?
    rmdir "$dir"
    exit $status
}

case ${1:-} in
install) install_all ;;
check) check_all ;;
install-one) install_one "$2" ;;
run) shift && run_command "$@" ;;
run-inside) shift && run_inside "$@" ;;
*) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2 && exit 64 ;;
esac
