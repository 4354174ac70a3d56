#!/usr/bin/env bash
# Builds the C++ library of RocksDB once for all clones and profiles of this machine: it takes a quarter of an hour on two cores, and does not
# change with Lapwing. It goes to ~/.cache/lapwing, and `.cargo/config.toml` of this clone, which git does not know, tells cargo where it is. Without
# that file all builds too: cargo then compiles the library itself, for each profile anew.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'rocksdb: %s\n' "$*" >&2; }
export PATH="$HOME/.cargo/bin:$PATH"

version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
[ -n "$version" ] || {
    say "Cargo.lock names no librocksdb-sys"
    exit 1
}
folder=${XDG_CACHE_HOME:-$HOME/.cache}/lapwing/rocksdb-$version-$(uname -m)
include=$(${CC:-cc} -print-file-name=include)

if [ ! -e "$folder/librocksdb.a" ]; then
    mkdir -p "$folder"
    # Two clones that need it at once build it once.
    exec 9>"$folder/lock"
    command -v flock >/dev/null && flock 9
fi
if [ ! -e "$folder/librocksdb.a" ]; then
    say "building RocksDB ($version) once for this machine, into $folder; this takes a while"
    work=$folder/build
    # Not this clone's settings: they name the library that is not there yet.
    env -u ROCKSDB_LIB_DIR -u RUSTFLAGS ROCKSDB_COMPILE=1 BINDGEN_EXTRA_CLANG_ARGS="-I$include" \
        cargo build --release --quiet --locked -p librocksdb-sys --target-dir "$work" >&2
    mv "$(ls -t "$work"/release/build/librocksdb-sys-*/out/librocksdb.a | head -n 1)" "$folder/librocksdb.a.new"
    mv "$folder/librocksdb.a.new" "$folder/librocksdb.a"
    rm -rf "$work"
    say "there it is, after $SECONDS s"
fi

settings=$(
    cat <<TOML
# Written by scripts/rocksdb.sh: where this machine's library of RocksDB is, and the headers that its bindings are made with.
[env]
ROCKSDB_LIB_DIR = "$folder"
ROCKSDB_STATIC = "1"
BINDGEN_EXTRA_CLANG_ARGS = "-I$include"
TOML
)
if [ "$(cat .cargo/config.toml 2>/dev/null)" != "$settings" ]; then
    mkdir -p .cargo
    printf '%s\n' "$settings" >.cargo/config.toml
fi
