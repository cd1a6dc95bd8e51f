#!/usr/bin/env bash
# Runs dist/imq in root file systems of other distributions:
#
#     bash build/test_distros.sh [RELEASE]...      # as root; default releases of Debian: bullseye, bookworm and trixie
#
# debootstrap creates each release from apt's mirror. A root with only musl and busybox stands for Alpine. The roots are
# kept in .cache/roots.
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
roots=$checkout/.cache/roots
program=${IMQ_EXECUTABLE:-$checkout/dist/imq}
packages=(debootstrap busybox-static musl)
status=0

say() { printf '%s\n' "$*" >&2; }

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "imq: this needs root, on Debian or Ubuntu"
    exit 3
fi
if [ ! -x "$program" ]; then
    say "imq: $program not found: bash build/freeze/freeze.sh"
    exit 3
fi
mkdir -p "$roots"
if ! dpkg-query -s "${packages[@]}" >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 </dev/null || true
    apt-get install -qq -y --no-install-recommends "${packages[@]}" >&2 </dev/null
fi

# Test one root: copy the executable and a tree to import, and run a few statements in it.
test_root() {
    local name=$1 root=$roots/$1 output
    cp "$program" "$root/imq"
    rm -rf "$root/tree" "$root/root/.cache/imq" "$root/root/.local/share/imq"
    cp -r "$checkout/grammar" "$root/tree"
    # shellcheck disable=SC2016 # the inner shell expands these
    output=$(unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -c "
        export HOME=/root
        /imq import /tree as test:1 >/tmp/output && /imq images select name as tsv && /imq images select name as tsv
        /imq \"lines of \\\"/tree/imq.lark\\\" where line matches \\\"^start\\\" count as ids\" >/tmp/output || echo no re2
        /imq pull 127.0.0.1:1/none:1 2>&1 | grep -c unreachable"' "$root" 2>&1) || true
    if [ "$(grep -c '^test:1$' <<<"$output")" = 2 ] && [ "$(tail -n 1 <<<"$output")" = 1 ]; then
        say "imq: runs in $name"
    else
        say "imq: does not run in $name: $output"
        status=1
    fi
}

for release in "${@:-bullseye bookworm trixie}"; do
    for name in $release; do
        if [ ! -e "$roots/$name/complete" ]; then
            rm -rf "${roots:?}/$name"
            debootstrap --variant=minbase "$name" "$roots/$name" >"$roots/$name.log" 2>&1 ||
                { tail -n 3 "$roots/$name.log" >&2; status=1; continue; }
            touch "$roots/$name/complete"
        fi
        test_root "$name"
    done
done

root=$roots/musl
mkdir -p "$root"/{bin,lib,proc,tmp,root}
cp /bin/busybox "$root/bin/"
cp -L /lib/ld-musl-*.so.1 "$root/lib/"
for name in sh grep; do
    ln -sf busybox "$root/bin/$name"
done
test_root musl
exit "$status"
