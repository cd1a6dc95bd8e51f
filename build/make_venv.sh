#!/usr/bin/env bash
# Makes a Python environment with imq and what it depends on, and prints its folder:
#
#     environment=$(bash build/make_venv.sh [EXTRA]...)
#
# EXTRA is `test` or `build`, the groups of pyproject.toml. The environment is kept under .cache, named after the
# Python, the dependencies and the place of the checkout, so it is made once; imq in it is the checkout itself
# (an editable install). PYTHON names a Python to use instead of the first one found that will do.
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s\n' "$*" >&2; }

# A Python that will do: 3.11 or later, with venv and the pip that ensurepip puts into it.
find_python() {
    local name found=''
    for name in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3.14 python3 python \
        /usr/bin/python3 /usr/local/bin/python3; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null </dev/null || continue
        found=$name
        "$name" -c 'import ensurepip, venv; ensurepip.version()' 2>/dev/null </dev/null || continue
        "$name" -c 'import sys; print(sys.executable)'
        return
    done
    if [ -n "$found" ]; then
        say "imq: $found has no venv module: on Debian and Ubuntu, apt-get install python3-venv"
    else
        say 'imq: no Python 3.11 or later found: install one, or name it in PYTHON'
    fi
    return 3
}

# Everything that decides what the environment holds, in a few letters.
name_of() {
    "$1" - "$checkout" "${@:2}" <<'PYTHON'
import hashlib, sys
checkout, *extras = sys.argv[1:]
with open(f"{checkout}/pyproject.toml", "rb") as file:
    key = "\0".join([sys.version, sys.executable, checkout, *extras]).encode() + file.read()
version = "%d.%d" % sys.version_info[:2]
print("-".join(["python", version, *extras, hashlib.sha256(key).hexdigest()[:12]]))
PYTHON
}

install() {
    local python=$1 environment=$2 extras=$3 log=$2.log reason
    say "imq: making an environment with $("$python" -V) in $environment"
    rm -rf -- "$environment"
    if ! "$python" -m venv "$environment" >"$log" 2>&1; then
        reason="$python -m venv failed"
    elif ! "$environment/bin/python" -m pip install --disable-pip-version-check --no-input \
        --editable "$checkout$extras" >>"$log" 2>&1; then
        reason='pip failed; it needs a package index that it can reach'
    else
        return 0
    fi
    grep -v '^ *$' "$log" | tail -n 15 >&2
    say "imq: no environment: $reason (all it said: $log)"
    return 3
}

main() {
    local python environment extras=''
    python=$(find_python)
    mkdir -p "$checkout/.cache"
    # pip keeps its downloads in the home folder; without one it would put them into / or the current folder.
    if [ ! -d "${HOME:-}" ] || [ ! -w "$HOME" ]; then
        export HOME="$checkout/.cache/home"
        mkdir -p "$HOME"
    fi
    unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
    environment=$checkout/.cache/$(name_of "$python" "$@")
    if [ $# -gt 0 ]; then
        extras="[$(IFS=,; printf '%s' "$*")]"
    fi
    # Two runs at once: the second waits for the first. Where there is no flock they had better not.
    exec 9>"$environment.lock"
    if command -v flock >/dev/null; then
        flock 9
    fi
    if [ ! -e "$environment/complete" ]; then
        install "$python" "$environment" "$extras"
        touch "$environment/complete"
    fi
    printf '%s\n' "$environment"
}

main "$@"
