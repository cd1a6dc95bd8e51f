#!/usr/bin/env bash
# Makes the files of a release, in dist/VERSION:
#
#     bash build/release.sh [--arch ARCH] [--executable FILE] [--url URL]... [--maintainer "NAME <ADDRESS>"]
#                           [--snapshot] [FOLDER]
#
#   imq-VERSION-py3-none-any.whl, imq-VERSION.tar.gz   the wheel and the source archive, for `pip install` and `pipx run`
#   imq-VERSION-linux-ARCH                             the static executable
#   imq_VERSION_DEBARCH.deb                            the executable, the manual page and completion, for Debian
#   imq-VERSION-oci-ARCH.tar                           an image with only the executable, made by imq itself
#   imq-VERSION.cdx.json                               the components of the executable, in CycloneDX
#   imq-VERSION-completion.tar.gz, imq.1               completion for bash, zsh and fish, and the manual page
#   install.sh, SHA256SUMS                             installs the executable after its checksum was verified
#
# HEAD must have the tag vVERSION, and no file may be changed; --snapshot builds anything. --executable uses a file of
# build/freeze/freeze.sh instead of building one.
#
# --url https://HOST/PATH is the address of the repository: the metadata of all files then has Homepage, Documentation,
# Source, Issues and Changelog. --url NAME=URL is the address of one of these. --maintainer is who answers mail. Without
# them, a release is made too, and says on standard error what its metadata lacks.
#
# ARCH is amd64 or arm64; default: that of this machine. The executable for another one is built by qemu, as root, in a
# root file system of Debian (build/emulate.sh, build/freeze/freeze_in_root.sh). That takes eight minutes of processor
# time. A release has the files of both: make each in a folder of its own, put them together, and write SHA256SUMS again
# with `sha256sum`.
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf 'release: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

executable='' snapshot='' folder='' addresses=() arch=$(uname -m)
arguments=("$@")
while [ $# -gt 0 ]; do
    case "$1" in
        --arch) arch=${2:?--arch takes an architecture}; shift ;;
        --executable) executable=$(realpath -- "${2:?--executable takes a file}"); shift ;;
        --url | --maintainer) addresses+=("$1" "${2:?$1 takes a value}"); shift ;;
        --snapshot) snapshot=yes ;;
        -*) fail "unknown option $1" ;;
        *) folder=$1 ;;
    esac
    shift
done

version=$(sed -n 's/^VERSION = "\(.*\)"$/\1/p' "$checkout/dsl/_version.py")
case "$arch" in
    x86_64 | x86-64 | amd64) arch=x86_64 debian=amd64 machine=3e00 ;; # e_machine of ELF
    aarch64 | arm64) arch=aarch64 debian=arm64 machine=b700 ;;
    *) fail "no executable is made for $arch; expected amd64 or arm64" ;;
esac
platform=linux/$debian
if [ -n "$executable" ] && [ "$(od -An -tx1 -j18 -N2 "$executable" | tr -d ' ')" != "$machine" ]; then
    fail "$executable is no executable for $debian"
fi
if [ "$arch" != "$(uname -m)" ] && [ -z "${IMQ_EMULATED:-}" ]; then
    IMQ_EMULATED=yes exec bash "$checkout/build/emulate.sh" "$arch" bash "${BASH_SOURCE[0]}" "${arguments[@]}"
fi
if [ -z "$snapshot" ]; then
    [ -z "$(git -C "$checkout" status --porcelain)" ] || fail 'files are changed; commit them, or use --snapshot'
    git -C "$checkout" tag --points-at HEAD | grep -qxF "v$version" || fail "HEAD has no tag v$version; or use --snapshot"
fi
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$checkout" log -1 --format=%ct 2>/dev/null || echo 315532800)}
export SOURCE_DATE_EPOCH
date="@$SOURCE_DATE_EPOCH"
folder=${folder:-$checkout/dist/$version}
mkdir -p -- "$folder"
folder=$(cd -- "$folder" && pwd -P)
[ -z "$(ls -A -- "$folder")" ] || fail "$folder is not empty"
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
umask 022
export TZ=UTC LC_ALL=C

environment=$(bash "$checkout/build/make_venv.sh" test)
metadata() { "$environment/bin/python" "$checkout/build/release_metadata.py" "${addresses[@]}" "$@"; }
missing=$(metadata missing) || exit 2
[ -z "$missing" ] || while read -r line; do say "$line"; done <<<"$missing"

say "the wheel and the source archive of imq $version"
mkdir "$scratch/source"
cp -R -- "$checkout"/{pyproject.toml,README.md,LICENSE,dsl,grammar,engine} "$scratch/source"
find "$scratch/source" -name __pycache__ -prune -exec rm -rf {} +
metadata project "$scratch/source/pyproject.toml"
for kind in wheel sdist; do
    (cd -- "$scratch/source" && "$environment/bin/python" -c \
        "from setuptools import build_meta; build_meta.build_$kind('$folder')" >"$scratch/log" 2>&1) ||
        { tail -n 20 "$scratch/log" >&2; exit 3; }
done

if [ -z "$executable" ] && [ "$arch" = "$(uname -m)" ]; then
    bash "$checkout/build/freeze/freeze.sh"
    executable=$checkout/dist/imq
elif [ -z "$executable" ]; then
    bash "$checkout/build/freeze/freeze_in_root.sh" "$arch"
    executable=$checkout/dist/imq-$arch
fi
program=$folder/imq-$version-linux-$arch
install -m 755 -- "$executable" "$program"
export IMQ_CACHE=$scratch/cache IMQ_ROOT=$scratch/store HOME=$scratch
imq() { "$program" --no-config "$@" </dev/null; }
[ "$(imq --version)" = "imq $version" ] || fail "$executable is not imq $version"

say 'the bill of materials, completion and the manual page'
imq --version --json >"$folder/imq-$version.cdx.json"
metadata sbom "$folder/imq-$version.cdx.json"
mkdir -p "$scratch/completion"
imq completion bash >"$scratch/completion/imq.bash"
imq completion zsh >"$scratch/completion/_imq"
imq completion fish >"$scratch/completion/imq.fish"
cp -- "$checkout/dsl/docs/imq.1" "$folder/imq.1"
tar -C "$scratch/completion" --sort=name --mtime="$date" --owner=0 --group=0 --numeric-owner -cf - . |
    gzip -9n >"$folder/imq-$version-completion.tar.gz"

say 'the Debian package'
root=$scratch/deb
install -D -m 755 -- "$program" "$root/usr/bin/imq"
install -D -m 644 -- "$scratch/completion/imq.bash" "$root/usr/share/bash-completion/completions/imq"
install -D -m 644 -- "$scratch/completion/_imq" "$root/usr/share/zsh/vendor-completions/_imq"
install -D -m 644 -- "$scratch/completion/imq.fish" "$root/usr/share/fish/vendor_completions.d/imq.fish"
install -D -m 644 -- "$checkout/LICENSE" "$root/usr/share/doc/imq/copyright"
mkdir -p "$root/usr/share/man/man1" "$root/DEBIAN"
gzip -9n <"$folder/imq.1" >"$root/usr/share/man/man1/imq.1.gz"
cat >"$root/DEBIAN/control" <<CONTROL
Package: imq
Version: $version
Architecture: $debian
$(metadata control)
Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f1)
Section: admin
Priority: optional
Suggests: crun | runc, ca-certificates
Description: query language and engine for container images
 One statement lists, pulls, copies, tags or removes the images that a condition
 selects: in Docker and Podman, in registries, in layouts and archives, and in a
 store of its own, which needs no daemon.
CONTROL
(cd -- "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group -Zgzip -z6 --build "$root" "$folder/imq_${version}_$debian.deb" >/dev/null

say 'the image, by imq itself'
image=$scratch/image
install -D -m 755 -- "$program" "$image/usr/bin/imq"
mkdir -p "$image/data"
mkdir -m 1777 "$image/tmp"
[ ! -f /etc/ssl/certs/ca-certificates.crt ] ||
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/ca-certificates.crt"
find "$image" -exec touch --no-dereference --date="$date" {} +
tar -C "$image" --sort=name --mtime="$date" --owner=0 --group=0 --numeric-owner -cf "$scratch/image.tar" .
revision=''
[ -n "$(git -C "$checkout" status --porcelain 2>&1)" ] || revision=$(git -C "$checkout" rev-parse HEAD)
instructions=('ENTRYPOINT ["/usr/bin/imq"]' 'ENV IMQ_ROOT=/data' 'ENV IMQ_CACHE=/tmp' 'ENV PATH=/usr/bin' 'VOLUME /data'
    "LABEL org.opencontainers.image.title=imq org.opencontainers.image.version=$version"
    'LABEL org.opencontainers.image.licenses=MIT'
    ${revision:+"LABEL org.opencontainers.image.revision=$revision"})
while read -r line; do instructions+=("$line"); done < <(metadata labels)
changes=()
for line in "${instructions[@]}"; do changes+=(--change "$line"); done
imq import --platform "$platform" "${changes[@]}" "$scratch/image.tar" "imq:$version" >/dev/null
imq "save imq:$version to \"oci-archive:$folder/imq-$version-oci-$arch.tar\"" >/dev/null

install -m 755 -- "$checkout/build/install.sh" "$folder/install.sh"
(cd -- "$folder" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%f\n' | sort | xargs sha256sum >SHA256SUMS)
say "$folder"
cat -- "$folder/SHA256SUMS"
