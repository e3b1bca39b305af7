# What sluice needs of Debian 12, and how it is installed. Sourced by ./run and ./check.

build_packages=(
    build-essential cmake ninja-build pkg-config
    android-libboringssl-dev libc-ares-dev libck-dev libconfuse-dev libidn2-dev libjansson-dev
    libjemalloc-dev libhttp-parser-dev zlib1g-dev
)
test_packages=(
    libcmocka-dev clang libclang-rt-14-dev clang-format valgrind
    python3 python3-pytest python3-dnspython openssl iproute2 util-linux knot unbound
    python3-pygal chromium e2fsprogs
)

# Installs what is missing; asks for nothing when all is there.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            echo "These packages are missing, and only root can install them: ${missing[*]}" >&2
            return 77
        }
        as_root=(sudo)
    fi
    echo "Installing: ${missing[*]}"
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# build PRESET [CMAKE OPTION]...: configures and builds build/PRESET.
build() {
    cmake --preset "$@" >"build/$1.configure.log" 2>&1 || {
        cat "build/$1.configure.log" >&2
        return 1
    }
    cmake --build --preset "$1"
}
