#!/usr/bin/env bash
# Builds the frozen executable for another architecture, dist/imq-ARCH, in a root file system of Debian:
#
#     bash build/emulate.sh ARCH bash build/freeze/freeze_in_root.sh ARCH     # ARCH as in `uname -m`: aarch64
#
# debootstrap takes the packages from apt's mirror. The root is kept in .cache/roots, so later builds are faster.
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
release=bookworm
packages=binutils,ca-certificates,gcc,libc6-dev,libzstd-dev,patchelf,python3,python3-dev,python3-venv
arch=${1:?the architecture, as in uname -m}
case "$arch" in
    aarch64) debian=arm64 ;;
    x86_64) debian=amd64 ;;
    *) printf 'imq: unknown architecture %s\n' "$arch" >&2; exit 3 ;;
esac
root=$checkout/.cache/roots/$release-$arch

say() { printf '%s\n' "$*" >&2; }

make_root() {
    if ! command -v debootstrap >/dev/null && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq >&2 </dev/null || true
        apt-get install -qq -y --no-install-recommends debootstrap >&2 </dev/null
    fi
    say "imq: creating a root file system of Debian $release for $debian in $root"
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    # as a container, debootstrap makes no devices, which a user namespace cannot
    if ! container=lxc debootstrap "--arch=$debian" --variant=minbase "--include=$packages" "$release" "$root" \
        >"$root.log" 2>&1 </dev/null; then
        tail -n 3 "$root.log" >&2
        return 3
    fi
    rm -rf "$root"/var/cache/apt/archives/*.deb
    printf '%s\n' "$packages" >"$root/complete"
}

mkdir -p "${root%/*}"
exec 9>"$root.lock"
flock 9
[ "$(cat "$root/complete" 2>/dev/null)" = "$packages" ] || make_root

# Mounts of this script only: emulate.sh, which runs it, has made a namespace for them.
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir -m 1777 "$root/dev/shm"

rm -rf --one-file-system "$root/imq"
mkdir "$root/imq"
tar -C "$checkout" --exclude=./.cache --exclude=./.git --exclude=./dist -cf - . | tar -C "$root/imq" -xf -
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
[ ! -f /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
environment=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8)
for name in SOURCE_DATE_EPOCH PIP_INDEX_URL PIP_TRUSTED_HOST https_proxy no_proxy; do
    [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    environment+=("SOURCE_DATE_EPOCH=$(git -C "$checkout" log -1 --format=%ct 2>/dev/null || echo 315532800)")
fi
env -i "${environment[@]}" chroot "$root" bash /imq/build/freeze/freeze.sh
mkdir -p "$checkout/dist"
install -m 755 "$root/imq/dist/imq" "$checkout/dist/imq-$arch"
say "imq: $checkout/dist/imq-$arch"
