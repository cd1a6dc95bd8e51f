#!/usr/bin/env bash
# Creates a Python environment with imq and its dependencies, and prints its folder:
#
#     environment=$(bash build/make_venv.sh [EXTRA]...)
#
# EXTRA is `test` or `build`, an extra of pyproject.toml. The environment is kept in .cache. Its name depends on the
# Python, pyproject.toml and the path of the checkout, so it is created once. imq is installed in it as editable.
# $PYTHON is used instead of the first suitable Python.
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s\n' "$*" >&2; }

# Print the first Python 3.11 or later with venv and ensurepip.
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
        say 'imq: no Python 3.11 or later found: install one, or set PYTHON'
    fi
    return 3
}

# Print the name of an environment: a hash of everything that determines its contents.
environment_name() {
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
    say "imq: creating an environment with $("$python" -V) in $environment"
    rm -rf -- "$environment"
    if ! "$python" -m venv "$environment" >"$log" 2>&1; then
        reason="$python -m venv failed"
    elif ! "$environment/bin/python" -m pip install --disable-pip-version-check --no-input \
        --editable "$checkout$extras" >>"$log" 2>&1; then
        reason='pip failed; it needs a reachable package index'
    else
        return 0
    fi
    grep -v '^ *$' "$log" | tail -n 15 >&2
    say "imq: cannot create the environment: $reason (log: $log)"
    return 3
}

main() {
    local python environment extras=''
    python=$(find_python)
    mkdir -p "$checkout/.cache"
    # pip caches downloads in the home folder. Without one it would use / or the current folder.
    if [ ! -d "${HOME:-}" ] || [ ! -w "$HOME" ]; then
        export HOME="$checkout/.cache/home"
        mkdir -p "$HOME"
    fi
    unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
    environment=$checkout/.cache/$(environment_name "$python" "$@")
    if [ $# -gt 0 ]; then
        extras="[$(IFS=,; printf '%s' "$*")]"
    fi
    # A concurrent run waits for this one. Without flock, concurrent runs are not safe.
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
