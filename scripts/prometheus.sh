#!/usr/bin/env bash
# Brings Prometheus and promtool, which the tests of the metrics run, from the system's package archive into ~/.cache/lapwing: unpacked, not installed,
# so that no daemon is started. Does nothing where they are there.
set -euo pipefail

say() { printf 'prometheus: %s\n' "$*" >&2; }

folder=${XDG_CACHE_HOME:-$HOME/.cache}/lapwing/prometheus
[ -e "$folder/complete" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    ln -s "$(command -v prometheus)" "$(command -v promtool)" "$work/bin/"
else
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        say "the tests of the metrics need prometheus and promtool on the path; please install: prometheus"
        exit 1
    fi
    say "bringing Prometheus from the package archive into $folder"
    if [ "$(id -u)" = 0 ]; then
        apt-get update -qq >&2 || true
    fi
    # The sandbox of apt may not write to a folder of ours.
    (cd "$work" && apt-get -o APT::Sandbox::User=root download -qq prometheus >&2) || {
        say "it could not be brought; please install: prometheus"
        exit 1
    }
    dpkg --extract "$work"/prometheus_*.deb "$work/unpacked"
    mv "$work/unpacked/usr/bin/prometheus" "$work/unpacked/usr/bin/promtool" "$work/bin/"
fi
"$work/bin/promtool" --version >/dev/null 2>&1 || {
    say "promtool does not run here; please install: prometheus"
    exit 1
}
rm -rf "$folder"
mkdir -p "$folder"
mv "$work/bin" "$folder/bin"
touch "$folder/complete"
say "there it is: $folder"
