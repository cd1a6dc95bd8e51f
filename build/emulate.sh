#!/usr/bin/env bash
# Runs a command that executes programs of another architecture too:
#
#     bash build/emulate.sh ARCH COMMAND [ARGUMENT]...      # as root; ARCH as in `uname -m`: aarch64
#
# The command has mounts and process IDs of its own, and all of them end with it. Where the kernel cannot execute the
# programs, qemu executes them: it is registered in a user namespace, which needs Linux 6.7, so the machine stays as it
# is. On Debian and Ubuntu, a missing qemu is installed. It exits with 3 when the programs cannot be executed.
set -euo pipefail

say() { printf 'emulate: %s\n' "$*" >&2; }
fail() { say "$*"; exit 3; }

[ $# -gt 1 ] || { say 'usage: emulate.sh ARCH COMMAND [ARGUMENT]...'; exit 2; }
arch=$1
shift
case "$arch" in
    aarch64) machine='\xb7\x00' ;; # e_machine of ELF
    x86_64) machine='\x3e\x00' ;;
    *) fail "unknown architecture $arch" ;;
esac
[ "$(id -u)" = 0 ] || fail 'this needs root'

isolate=(unshare --mount --pid --fork --kill-child)
registered=/proc/sys/fs/binfmt_misc/qemu-$arch
if [ "$(uname -m)" = "$arch" ] || grep -qs '^flags: .*F' "$registered"; then
    exec "${isolate[@]}" "$@"
fi

name=qemu-$arch-static
if ! command -v "$name" >/dev/null && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 </dev/null || true
    apt-get install -qq -y --no-install-recommends qemu-user-static >&2 </dev/null || true
fi
qemu=$(command -v "$name") || fail "$name was not found: on Debian and Ubuntu, apt-get install qemu-user-static"

# The header of a 64-bit little-endian executable, and which of its bits count. F opens qemu now, for use after chroot.
header='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00'$machine
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'

# shellcheck disable=SC2016 # the inner shell expands these
inside='
echo >"$1/ready"
read -r _ <"$1/mapped"
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2>/dev/null && printf "%s" "$2" >/proc/sys/fs/binfmt_misc/register ||
    { echo "emulate: the kernel lets no user namespace register an emulator; Linux 6.7 or later does" >&2; exit 3; }
shift 2
exec "$@"
'
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
mkfifo "$scratch/ready" "$scratch/mapped"
"${isolate[@]}" --user bash -c "$inside" bash "$scratch" ":qemu-$arch:M::$header:$mask:$qemu:PF" "$@" <&0 &
child=$!
trap 'kill "$child" 2>/dev/null || true' INT TERM
exec 3<>"$scratch/ready"
until read -r -t 0.1 _ <&3; do
    kill -0 "$child" 2>/dev/null || fail 'no user namespace could be made'
done
# All IDs that Debian uses mean the same inside. unshare's own option would need an entry in /etc/subuid.
echo '0 0 65536' >"/proc/$child/uid_map"
echo '0 0 65536' >"/proc/$child/gid_map"
echo >"$scratch/mapped"
wait "$child"
