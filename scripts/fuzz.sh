#!/usr/bin/env bash
# Runs each fuzz target for some seconds: scripts/fuzz.sh [SECONDS]. Works with the stable compiler; the coverage that libFuzzer wants
# is asked for by flags.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}
export PATH="$HOME/.cargo/bin:$PATH"
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
# With --target the flags stay off build scripts.
cargo build --release --quiet --manifest-path fuzz/Cargo.toml --target "$host"
for target in parser compiler decoder state; do
    corpus=fuzz/corpus/$target
    mkdir -p "$corpus" fuzz/artifacts
    case $target in
    parser | compiler) find rules -name '*.lap' -size -8k -exec cp -f {} "$corpus/" \; ;;
    decoder) printf '%s\n' '{"type":"e","at":1,"k":"x","n":3,"x":1.5,"d":0.10,"b":true,"i":"10.0.0.1","lat":1.0,"lon":-2.5}' \
        '{"type": "e", "at": 2, "k": "y", "a": {"b": "z"}}' '{"id":7,"at":"2026-01-01T00:00:00Z","k":"x"}' >"$corpus/seed" ;;
    esac
    echo "fuzz: $target for $seconds s"
    "fuzz/target/$host/release/$target" -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=4096 \
        -artifact_prefix=fuzz/artifacts/ -print_final_stats=1 "$corpus" >"fuzz/artifacts/$target.log" 2>&1 || {
        tail -n 40 "fuzz/artifacts/$target.log"
        exit 1
    }
    grep -E "number_of_executed_units|new_units_added" "fuzz/artifacts/$target.log" || true
done
