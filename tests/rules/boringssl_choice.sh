#!/bin/bash
# Which BoringSSL is linked: Debian's, an own build by BORINGSSL_ROOT and never another one beside it, or a
# source tree by BORINGSSL_FETCH, without a network. SLUICE_BORINGSSL_SOURCE=DIR tries a real tree instead
# of the stand-in (minutes).
set -euo pipefail
source=$1
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
tree=${SLUICE_BORINGSSL_SOURCE:-$source/tests/rules/boringssl_tree}

configure() { cmake -S "$source" -B "$build/$1" -G Ninja -DSLUICE_TESTS=OFF -DCMAKE_BUILD_TYPE=Debug "${@:2}" >"$build/$1.log" 2>&1; }
fail() {
    echo "$1"
    tail -n 20 "$build"/*.log
    exit 1
}

! configure wrong_root -DBORINGSSL_ROOT="$build" || fail "an empty BORINGSSL_ROOT fell back to another library"
! configure both -DBORINGSSL_ROOT="$build" -DBORINGSSL_FETCH=ON || fail "BORINGSSL_ROOT and BORINGSSL_FETCH went together"
configure fetch -DBORINGSSL_FETCH=ON -DFETCHCONTENT_SOURCE_DIR_BORINGSSL="$tree" || fail "BORINGSSL_FETCH does not configure"
cmake --build "$build/fetch" >"$build/build.log" 2>&1 || fail "BORINGSSL_FETCH does not build"
"$build/fetch/router/sluice" --version | grep -q '^TLS: BoringSSL' || fail "the program does not run"
if [ -z "${SLUICE_BORINGSSL_SOURCE:-}" ]; then
    grep -q "BoringSSL: API 9999, built from $tree" "$build/fetch.log" || fail "not built from the given tree"
fi
cmake --install "$build/fetch" --prefix "$build/prefix" >"$build/install.log" 2>&1 || fail "does not install"
[ -z "$(find "$build/prefix" -name 'lib*.a')" ] || fail "BoringSSL was installed along with sluice"
