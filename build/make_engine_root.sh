#!/usr/bin/env bash
# Prints the path of a root file system of Debian 13 with its container engines, which it makes in about a minute:
#
#     bash build/make_engine_root.sh [--existing]      # as root, on Debian or Ubuntu
#
# debootstrap takes the packages from apt's mirror. The root is kept in .cache/roots. With --existing, nothing is made.
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
release=trixie
packages=buildah,containerd,docker.io,podman,runc
root=$checkout/.cache/roots/$release-engines

say() { printf '%s\n' "$*" >&2; }

is_complete() {
    [ "$(cat "$root/complete" 2>/dev/null)" = "$packages" ]
}

make_root() {
    if [ "$(id -u)" != 0 ]; then
        say 'imq: this needs root'
        return 3
    fi
    if ! command -v debootstrap >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq >&2 </dev/null || true
        apt-get install -qq -y --no-install-recommends debootstrap >&2 </dev/null
    fi
    say "imq: creating a root file system of Debian $release in $root"
    rm -rf "$root"
    mkdir -p "$root"
    # in mounts of its own: what debootstrap mounts goes with it, even when it is killed
    if ! unshare --mount debootstrap --variant=minbase "--include=$packages" "$release" "$root" \
        >"$root.log" 2>&1 </dev/null; then
        tail -n 3 "$root.log" >&2
        return 1
    fi
    rm -rf "$root"/var/cache/apt/archives/*.deb
    printf '%s\n' "$packages" >"$root/complete"
}

if ! is_complete; then
    if [ "${1:-}" = --existing ]; then
        say 'imq: run bash build/make_engine_root.sh'
        exit 3
    fi
    mkdir -p "${root%/*}"
    exec 9>"$root.lock"
    flock 9
    is_complete || make_root
fi
printf '%s\n' "$root"
