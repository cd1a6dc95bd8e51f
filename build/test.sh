#!/usr/bin/env bash
# Runs all checks: style, types, and the tests, whose summary is the last line.
#
#     bash build/test.sh [ARGUMENT OF PYTEST]...
#
# Without arguments, all tests run, on all processors.
#
# The tests use real servers and other tools. As root on Debian and Ubuntu, missing ones are installed, and a root file
# system with the engines of Debian 13 is made. Otherwise the tests that need them are skipped, with a message. With
# IMQ_REQUIRE_SERVERS=1, a missing program is a failure.
# IMQ_EXECUTABLE is the path of a frozen executable (build/freeze/freeze.sh): then tests/frozen runs too, and the
# command-line cases and terminal sessions use that executable. IMQ_EXECUTABLE_AARCH64 is that of an executable for arm64
# (build/release.sh --arch arm64), whose files a test makes and runs.
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$checkout"

# A program, its package, and the tests that use it.
programs='
docker-registry  docker-registry  pulls from and pushes to a registry
htpasswd         apache2-utils    a registry with passwords
openssl          openssl          a registry with https
skopeo           skopeo           reading the store, and benchmarks
umoci            umoci            unpacking images of the store
buildah          buildah          layers of other tools
bsdtar           libarchive-tools archives of other tools
debootstrap      debootstrap      engines of Debian 13
zstd             zstd             streams of other tools
dockerd          docker.io        command lines compared with docker
containerd       containerd       namespaces of containerd
ctr              containerd       namespaces of containerd
runc             runc             containers of containerd, and of the store with another runtime
crun             crun             containers of the store
fuse-overlayfs   fuse-overlayfs   containers of ordinary users
newuidmap        uidmap           containers of ordinary users
busybox          busybox-static   programs in containers of the store
pg_ctlcluster    postgresql       a catalogue in PostgreSQL
redis-server     redis-server     a real server in a container of the store
nginx            nginx-light      a real server in a container of the store
podman           podman           images exchanged with podman
ssh              openssh-client   engines on other machines, over ssh
sshd             openssh-server   engines on other machines, over ssh
tmux             tmux             the interactive session on a terminal
zsh              zsh              completion in zsh
fish             fish             completion in fish
chromium         chromium         reports in a browser
chromedriver     chromium-driver  reports in a browser
qemu-aarch64-static qemu-user-static executables for arm64
man              man-db           the manual page
groff            groff            the manual page
'

say() { printf '%s\n' "$*" >&2; }

# Print the rows of the table above whose program is missing.
list_missing() {
    local program package purpose
    while read -r program package purpose; do
        if [ -n "$program" ] && ! PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null; then
            printf '%s %s %s\n' "$program" "$package" "$purpose"
        fi
    done <<<"$programs"
}

install_programs() {
    local rows packages
    rows=$(list_missing)
    if [ -n "$rows" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        packages=$(awk '{ print $2 }' <<<"$rows" | sort -u | tr '\n' ' ')
        say "imq: apt-get install $packages"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq >&2 </dev/null || true
        # shellcheck disable=SC2086 # one word for each package
        apt-get install -qq -y --no-install-recommends $packages >&2 </dev/null || true
        rows=$(list_missing)
    fi
    [ -n "$rows" ] || return 0
    while read -r program package purpose; do
        say "imq: $program not found (package $package): skipping tests of $purpose"
    done <<<"$rows"
    if [ -n "${IMQ_REQUIRE_SERVERS:-}" ]; then
        say 'imq: IMQ_REQUIRE_SERVERS is set: missing programs are a failure'
        return 1
    fi
}

status=0
check() {
    say "+ $*"
    "$bin/python" -m "$@" || status=1
}

# mypy does not follow editable installs: links give it the installed layout of the packages.
check_types() {
    local packages=.cache/packages
    rm -rf "$packages"
    mkdir -p "$packages/imq"
    ln -s "$checkout"/dsl/* "$checkout/grammar" "$checkout/engine" "$packages/imq/"
    say '+ mypy'
    MYPYPATH=$packages "$bin/python" -m mypy --cache-dir .cache/mypy |
        sed -E "s#^$packages/imq/(engine|grammar)/#\\1/#; s#^$packages/imq/#dsl/#" || status=1
}

environment=$(bash build/make_venv.sh test)
bin=$environment/bin
install_programs
making_root=
if [ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null; then
    bash build/make_engine_root.sh >/dev/null & # during the checks that need one core
    making_root=$!
fi
export PATH=$bin:$PATH:/usr/sbin:/sbin
if [ -z "${IMQ_EXECUTABLE:-}" ]; then
    say 'imq: skipping tests of the frozen executable: build it with build/freeze/freeze.sh, and set IMQ_EXECUTABLE'
fi

export RUFF_CACHE_DIR=.cache/ruff
check ruff check .
check ruff format --check .
check_types
if [ -n "$making_root" ]; then
    wait "$making_root" || say 'imq: skipping tests of the engines of Debian 13'
fi
if [ $# -eq 0 ]; then
    scratch=$(mktemp -d) # a short path: podman refuses folders with more than 50 characters
    trap 'rm -rf --one-file-system "$scratch" || true' EXIT
    set -- --numprocesses=auto --basetemp="$scratch"
fi
check pytest -o cache_dir=.cache/pytest "$@"
exit "$status"
