#!/bin/bash
# The main job on made-up mail: a DNS responder, a receiver that plays five mail hosts, a spool with
# sample messages, and sluice that drains it. Compares what sluice says with what arrived.
# Usage: bench/demo/demo.sh BUILD_DIR [--keep] [--messages N]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
messages=400
keep=false
build=

usage() {
    echo "usage: demo.sh BUILD_DIR [--keep] [--messages N]" >&2
    exit 64
}

while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=true ;;
    --messages)
        [ $# -ge 2 ] || usage
        messages=$2
        shift
        ;;
    -*) usage ;;
    *)
        [ -z "$build" ] || usage
        build=$1
        ;;
    esac
    shift
done
[ -n "$build" ] || usage
[[ $messages =~ ^[1-9][0-9]{0,5}$ ]] || usage

sluice=$build/router/sluice
sink=$build/bench/sink/sluice-sink
dns=$build/bench/dns/sluice-dns
for program in "$sluice" "$sink" "$dns"; do
    [ -x "$program" ] || { echo "demo: $program is not built" >&2; exit 69; }
done

folder=$(mktemp -d "${TMPDIR:-/tmp}/sluice-demo.XXXXXX")
pids=()

# Ends what this script started, by its id, and waits, so that the statistics are written.
end_process() {
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

clean_up() {
    local status=$?
    for pid in "${pids[@]}"; do
        end_process "$pid"
    done
    if $keep; then
        echo "Kept: $folder"
    else
        rm -rf "$folder"
    fi
    exit $status
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# wait_for_file FILE PID: until it is there; fails when the process ends before.
wait_for_file() {
    for _ in $(seq 400); do
        [ -s "$1" ] && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.025
    done
    echo "demo: no $1" >&2
    exit 70
}

"$dns" --listen 127.0.0.1:0 --zone "$here/demo.zone" --port-file "$folder/dns.port" \
    >"$folder/dns.out" 2>&1 &
dns_pid=$!
pids+=("$dns_pid")

"$sink" --port-file "$folder/sink.ports" --stats "$folder/sink.json" --maildir "$folder/arrived" \
    --listen 127.0.0.11:0,name=mx-tls13.demo.test,tls=1.3,tickets=2 \
    --listen 127.0.0.12:same,name=mx-tls12.demo.test,tls=1.2 \
    --listen 127.0.0.13:same,name=mx-plain.demo.test,tls=none \
    --listen 127.0.0.14:same,name=mx-later.demo.test,defer-first=1 \
    --listen 127.0.0.15:same,name=mx-picky.demo.test,reject=nobody@picky.demo.test &
sink_pid=$!
pids+=("$sink_pid")

mkdir -p "$folder/spool/tmp" "$folder/spool/new"
awk -v count="$messages" -v out="$folder/spool/tmp" -v summary="$folder/expected" \
    -f "$here/messages.awk" "$here"/messages/*.eml
find "$folder/spool/tmp" -name '*.eml' -exec mv -t "$folder/spool/new" {} +

wait_for_file "$folder/dns.port" "$dns_pid"
wait_for_file "$folder/sink.ports" "$sink_pid"
port_in() { sed -n '1s/.*[^0-9]//; 1p' "$1"; } # the last number of the first line
sed -e "s|@DNS_PORT@|$(port_in "$folder/dns.port")|" -e "s|@SMTP_PORT@|$(port_in "$folder/sink.ports")|" \
    -e "s|@FOLDER@|$folder|" "$here/demo.conf.in" >"$folder/demo.conf"

# shellcheck disable=SC1091 # written by messages.awk
. "$folder/expected"
: "${recipients:?} ${rejected:?} ${deferred:?} ${dsns:?}"
echo "Draining $messages messages for $recipients recipients at five mail hosts: TLS 1.3 with"
echo "tickets, TLS 1.2, one without STARTTLS, one that defers first, one that rejects a recipient."
echo
status=0
"$sluice" run -c "$folder/demo.conf" --spool "$folder/spool" --until-empty --progress || status=$?
if [ "$status" -ne 0 ]; then
    echo "demo: sluice ended with $status" >&2
    exit 70
fi

end_process "$sink_pid"
awk -v log_file="$folder/delivery.log" -v recipients="$recipients" -v rejected="$rejected" \
    -v deferred="$deferred" -v dsns="$dsns" -f "$here/compare.awk" \
    "$folder/sink.json" "$folder/delivery.log" || exit 70

left=0
for room in new deferred hold bad; do
    if [ -d "$folder/spool/$room" ]; then
        left=$((left + $(find "$folder/spool/$room" -type f | wc -l)))
    fi
done
if [ "$left" -ne 0 ]; then
    echo "demo: $left files are left in the spool" >&2
    exit 70
fi

cat <<'END'

To run it for real:
  mv MESSAGE /var/spool/sluice/new/   # any RFC 5322 message; its envelope is its headers'
  ./run /var/spool/sluice
END
