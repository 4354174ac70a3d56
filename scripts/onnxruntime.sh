#!/usr/bin/env bash
# Brings the library that runs models, `libonnxruntime.so`, from the PyPI package `onnxruntime` into ~/.cache/lapwing, where Lapwing looks for it.
# Does nothing where it is there, or where ORT_DYLIB_PATH names one. Without it everything but models works.
set -euo pipefail

VERSION=1.31.1
say() { printf 'onnxruntime: %s\n' "$*" >&2; }

folder=${XDG_CACHE_HOME:-$HOME/.cache}/lapwing
library=$folder/libonnxruntime.so

if [ -n "${ORT_DYLIB_PATH:-}" ]; then
    [ -e "$ORT_DYLIB_PATH" ] || say "ORT_DYLIB_PATH names $ORT_DYLIB_PATH, which is not there"
    exit 0
fi
[ "$(cat "$library.version" 2>/dev/null)" = "$VERSION" ] && [ -e "$library" ] && exit 0

case "$(uname -s)-$(uname -m)" in
Linux-x86_64) platform=manylinux_2_28_x86_64 sum=1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536 ;;
Linux-aarch64) platform=manylinux_2_28_aarch64 sum=0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc ;;
*)
    say "there is no library for this machine to bring; install onnxruntime $VERSION and set ORT_DYLIB_PATH, or do without models"
    exit 0
    ;;
esac

if ! python3 -m pip --version >/dev/null 2>&1; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        say "installing python3-pip, to bring the library"
        apt-get update -qq >&2 || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip >&2 || true
    fi
    if ! python3 -m pip --version >/dev/null 2>&1; then
        say "models need python3 with pip to bring their library; install them, or set ORT_DYLIB_PATH; all else works without"
        exit 0
    fi
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "bringing onnxruntime $VERSION from PyPI into $folder"
python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --abi cp312 \
    --platform "$platform" --dest "$work" "onnxruntime==$VERSION" >&2 || {
    say "it could not be brought; models will say so, all else works"
    exit 0
}
wheel=$(echo "$work"/*.whl)
echo "$sum  $wheel" | sha256sum --check --quiet || {
    say "$(basename "$wheel") is not the file that was expected"
    exit 1
}
mkdir -p "$folder"
python3 - "$wheel" "$VERSION" "$work/library" <<'PYTHON'
import shutil, sys, zipfile

wheel, version, to = sys.argv[1:]
with zipfile.ZipFile(wheel) as files, files.open(f"onnxruntime/capi/libonnxruntime.so.{version}") as library, open(to, "wb") as out:
    shutil.copyfileobj(library, out)
PYTHON
mv "$work/library" "$library"
echo "$VERSION" >"$library.version"
say "there it is: $library"
