#!/usr/bin/env bash
# Builds dist/imq, the frozen executable: one static file that needs no Python and no library of its system.
#
#     bash build/freeze/freeze.sh [--twice]
#
# It is built from a wheel in a separate environment (.cache/freeze), with a Python that has a static library: the
# distribution's, or the one in $PYTHON. As root on Debian and Ubuntu, missing packages are installed. The same sources
# and the same Python give the same file. --twice builds it again in another folder, time zone, locale and file mode
# mask, and compares the files.
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
packages=(python3 python3-venv python3-dev binutils patchelf gcc libc6-dev libzstd-dev)
tools=(objcopy strip ldd patchelf gcc)

say() { printf '%s\n' "$*" >&2; }

# Whether a Python is 3.11 or later with venv, a shared library (for PyInstaller) and a static one (to be linked).
is_suitable() {
    "$1" - 2>/dev/null <<'PYTHON'
import ensurepip, os, sys, sysconfig, venv
ensurepip.version()
names = sysconfig.get_config_vars("LIBDIR", "MULTIARCH", "INSTSONAME")
folders = (names[0], os.path.join(names[0], names[1] or ""))
library = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
static = os.path.join(*sysconfig.get_config_vars("LIBPL", "LIBRARY"))
shared = any(os.path.exists(os.path.join(folder, library)) for folder in folders)
sys.exit(sys.version_info < (3, 11) or not shared or not os.path.exists(static))
PYTHON
}

find_python() {
    local name
    for name in ${PYTHON:+"$PYTHON"} /usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14; do
        if is_suitable "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

missing() {
    local tool
    for tool in "${tools[@]}"; do
        command -v "$tool" >/dev/null || printf ' %s' "$tool"
    done
    printf '#include <zstd.h>\nint main(void) { return ZSTD_isError(0); }' |
        gcc -static -x c -o /dev/null - -lzstd 2>/dev/null || printf ' static libraries of C and zstd'
    find_python >/dev/null || printf ' a Python 3.11 or later with venv, libpython3.x.so and libpython3.x.a'
}

if [ "$(uname -s)" != Linux ]; then
    say "imq: the frozen executable can only be built on Linux"
    exit 3
fi
if [ -n "$(missing)" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "imq: missing$(missing): apt-get install ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 </dev/null || true
    apt-get install -qq -y --no-install-recommends "${packages[@]}" >&2 </dev/null || true
fi
if [ -n "$(missing)" ]; then
    say "imq: missing$(missing); on Debian and Ubuntu, apt-get install ${packages[*]}"
    exit 3
fi

scratch=$checkout/.cache/freeze
rm -rf -- "$scratch" "$checkout/.cache/setuptools" # setuptools would also pack removed modules of an earlier build
mkdir -p "$scratch"
if [ ! -d "${HOME:-}" ] || [ ! -w "$HOME" ]; then
    export HOME="$scratch/home"
    mkdir -p "$HOME"
fi
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
export PYTHONHASHSEED="${PYTHONHASHSEED:-1}" PYINSTALLER_CONFIG_DIR="$scratch/pyinstaller"
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git -C "$checkout" log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=315532800
fi
export SOURCE_DATE_EPOCH

python=$(find_python)
say "imq: freezing with $("$python" -V) ($python)"
run() { "$@" >>"$scratch/log" 2>&1 </dev/null || { tail -n 20 "$scratch/log" >&2; exit 3; }; }
run "$python" -m venv "$scratch/environment"
python=$scratch/environment/bin/python
run "$python" -m pip wheel --disable-pip-version-check --no-deps --wheel-dir "$scratch/wheel" "$checkout"
wheel=("$scratch"/wheel/imq-*.whl)
run "$python" -m pip install --disable-pip-version-check --no-input --no-compile "${wheel[0]}[build]"
cd "$scratch"
run "$python" "$checkout/build/freeze/freeze.py" "$scratch" "$checkout/dist/imq"
tail -n 1 "$scratch/log"
if [ "${1:-}" = --twice ]; then
    again="$scratch/another folder"
    mkdir "$again"
    tar -C "$checkout" --exclude=./.cache --exclude=./.git --exclude=./dist -cf - . | tar -C "$again" -xf -
    (umask 077 && LC_ALL=C TZ=Asia/Tokyo PYTHONHASHSEED=2 bash "$again/build/freeze/freeze.sh")
    cmp "$again/dist/imq" "$checkout/dist/imq" || exit 1
    say "imq: the second build is the same file"
fi
