#!/bin/bash
# Records runs of the router and cuts the power at every point of them. README.md says what is asked.
# usage: suite.sh POWERCUT FOLDER short|long
# Recordings stay in FOLDER when something fails, so that the command which is printed works.
set -euo pipefail
powercut=$1 folder=$2 form=$3
mkdir -p "$folder"
case $form in
short) messages=36 rounds=1 ordered=(--singles=6 --random=2) folders=(--singles=2 --random=2)
    drains=400 resumes=(35 65) promises=(group-retry strict-hold) ;;
long) messages=120 rounds=4 ordered=(--singles=0 --random=20) folders=(--singles=6 --random=20)
    drains=100 resumes=(10 20 30 40 50 60 70 80 90)
    promises=(group-retry group-hold strict-retry strict-hold) ;;
*) exit 64 ;;
esac

status=0
check() {
    "$powercut" check "$@" || status=1
}

# Drains wait for connections and retries most of the time.
check_all() {
    check "$1" --seed="$2" --order=ordered "${ordered[@]}"
    check "$1" --seed="$2" --order=folders "${folders[@]}"
    check "$1" --seed="$2" --singles=1 --random=1 --drain-every="$drains" --processes=6
}

for ((round = 1; round <= rounds; round++)); do
    for promise in "${promises[@]}"; do
        first=$folder/$promise-$round.rec
        "$powercut" record "$first" --messages="$messages" --durability="${promise%-*}" \
            --in-doubt="${promise#*-}" || status=1
        check_all "$first" "$round"
        for at in "${resumes[@]}"; do
            killed=$folder/$promise-$round-killed-$at.rec
            cut=$folder/$promise-$round-cut-$at.rec
            "$powercut" resume "$first" "$killed" --at="$at" || status=1
            check "$killed" --seed="$round" "${ordered[@]}"
            # A random subset: numbers beyond the fixed ones are.
            "$powercut" resume "$first" "$cut" --at="$at" --subset=$((100000 + round)) || status=1
            check "$cut" --seed="$round" "${ordered[@]}"
        done
    done
done
[ "$status" -ne 0 ] || rm -f "$folder"/*.rec
exit "$status"
