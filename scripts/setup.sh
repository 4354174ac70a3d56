#!/usr/bin/env bash
# Sees to it that this machine can build and test Lapwing: compilers for C and C++, libclang (RocksDB's bindings are made with it), what librdkafka is
# built with, Rust, and the library of RocksDB, built once a machine.
# Installs only what is missing, by the system's own package manager, and says what it does.
set -euo pipefail

RUST_MIN=1.95
say() { printf 'setup: %s\n' "$*" >&2; }

apt_install() {
    local sudo=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { say "please install as root: apt-get install $*"; exit 1; }
        sudo=sudo
    fi
    if ! command -v apt-get >/dev/null; then
        say "this machine has no apt-get; please install: $*"
        exit 1
    fi
    say "installing $*"
    $sudo apt-get update -qq >&2 || true
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 || {
        say "could not install them; please install: $*"
        exit 1
    }
}

no_rust() {
    say "Rust could not be installed; please install Rust $RUST_MIN or later: https://rustup.rs"
    exit 1
}

export PATH="$HOME/.cargo/bin:$PATH"

# Whether a libclang.so is where it is looked for; libclang-cpp is another library.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return
    local known
    known=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null; ls /usr/lib/llvm-*/lib 2>/dev/null) || true
    grep -qE 'libclang(-[0-9.]+)?\.so' <<<"$known"
}

command -v cc >/dev/null || apt_install build-essential
has_libclang || apt_install libclang1

# librdkafka is built by cmake, over the system's OpenSSL and zlib.
has_header() { echo "#include <$1>" | cc -E -x c - >/dev/null 2>&1; }
packages=()
command -v c++ >/dev/null || packages+=(g++)
command -v cmake >/dev/null || packages+=(cmake)
command -v make >/dev/null || packages+=(make)
command -v pkg-config >/dev/null || packages+=(pkg-config)
has_header openssl/ssl.h || packages+=(libssl-dev)
has_header zlib.h || packages+=(zlib1g-dev)
[ ${#packages[@]} = 0 ] || apt_install "${packages[@]}"

if ! command -v cargo >/dev/null; then
    # Debian 13 and later package rustup; Debian's own cargo is too old. Elsewhere rustup's own installer is the way.
    if command -v apt-cache >/dev/null && apt-cache policy rustup | grep -q 'Candidate: [0-9]'; then
        apt_install rustup
        rustup default stable >&2 || no_rust
    else
        command -v curl >/dev/null || apt_install curl ca-certificates
        say "installing Rust by rustup, into ~/.cargo and ~/.rustup"
        curl --proto '=https' --tlsv1.2 -sSf --max-time 60 https://sh.rustup.rs |
            sh -s -- -y --quiet --profile minimal --no-modify-path >&2 || no_rust
    fi
    command -v cargo >/dev/null || no_rust
fi

have=$(cargo --version | sed 's/^cargo \([0-9]*\.[0-9]*\).*/\1/')
if [ "$(printf '%s\n%s\n' "$RUST_MIN" "$have" | sort -V | head -n 1)" != "$RUST_MIN" ]; then
    say "cargo is $have, Lapwing needs $RUST_MIN or later; please run: rustup update stable"
    exit 1
fi

for tool in "$@"; do
    case "$tool" in
    fmt) cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt >&2 ;;
    clippy) cargo clippy --version >/dev/null 2>&1 || rustup component add clippy >&2 ;;
    valgrind) command -v valgrind >/dev/null || apt_install valgrind ;;
    curl) command -v curl >/dev/null || apt_install curl ;;
    python3) command -v python3 >/dev/null || apt_install python3 ;;
    *)
        say "unknown tool $tool"
        exit 1
        ;;
    esac
done

scripts=$(dirname "$0")
"$scripts/rocksdb.sh"
