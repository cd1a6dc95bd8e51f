#!/bin/sh
# Installs the static executable of imq after its checksum was verified:
#
#     sh install.sh [--from FOLDER-OR-URL] [--to FOLDER]
#
# --from is where the files of a release are: a folder, or an https address. Default: the folder of this script.
# --to is where the executable goes. Default: /usr/local/bin for root, else ~/.local/bin.
# Nothing is installed when a file is missing or its checksum is wrong. It needs sha256sum, and curl or wget for a URL.
set -eu

fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

from=$(dirname -- "$0")
if [ "$(id -u)" = 0 ]; then to=/usr/local/bin; else to=${HOME:?}/.local/bin; fi
while [ $# -gt 0 ]; do
    case "$1" in
        --from) from=${2:?--from takes a folder or an address} ;;
        --to) to=${2:?--to takes a folder} ;;
        *) fail "unknown option $1; usage: install.sh [--from FOLDER-OR-URL] [--to FOLDER]" ;;
    esac
    shift 2
done

[ "$(uname -s)" = Linux ] || fail 'the executable is for Linux; elsewhere, install the wheel with pip'
arch=$(uname -m)
[ "$arch" != arm64 ] || arch=aarch64

# Write a file of the release to standard output.
fetch() {
    case "$from" in
        https://* | http://127.0.0.1:* | http://localhost:*)
            if command -v curl >/dev/null; then
                curl --fail --silent --show-error --location --proto-redir =https "$from/$1"
            elif command -v wget >/dev/null; then
                wget --quiet --output-document=- "$from/$1"
            else
                fail 'neither curl nor wget was found'
            fi
            ;;
        *://*) fail "$from: expected a folder or an https address" ;;
        *) cat -- "$from/$1" ;;
    esac
}

sums=$(fetch SHA256SUMS) || fail "$from has no SHA256SUMS"
line=$(printf '%s\n' "$sums" | grep -E "^[0-9a-f]{64}  imq-[^ /]+-linux-$arch\$") || fail "the release has no executable for $arch"
[ "$(printf '%s\n' "$line" | wc -l)" = 1 ] || fail "the release has several executables for $arch"
name=${line#*  }

mkdir -p -- "$to"
part=$(mktemp "$to/.imq-XXXXXX")
trap 'rm -f -- "$part"' EXIT
trap 'exit 130' INT TERM
fetch "$name" >"$part" || fail "$name cannot be read"
printf '%s  %s\n' "${line%% *}" "$part" | sha256sum -c - >/dev/null 2>&1 ||
    fail "$name has another checksum than SHA256SUMS says; nothing was installed"
chmod 755 "$part"
mv -f -- "$part" "$to/imq"
printf '%s: %s\n' "$to/imq" "$("$to/imq" --version)"
case ":$PATH:" in
    *":$to:"*) ;;
    *) printf 'add %s to PATH to run it as imq\n' "$to" ;;
esac
