#!/usr/bin/env bash
# Checks everything: style, types, then the tests, whose closing line is the last one.
#
#     bash build/test.sh [ARGUMENT OF PYTEST]...
#
# The tests talk to real servers and to other people's tools. As root on Debian and Ubuntu those that are missing are
# installed; else the tests that need them are left out, and it says which and why. IMQ_REQUIRE_SERVERS=1 makes a
# missing one a failure. IMQ_EXECUTABLE names a frozen executable (build/freeze/freeze.sh): then tests/frozen is run as well,
# and the command-line cases and the sessions on terminals run that executable.
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$checkout"

# A program, the package that brings it, and what it is for.
programs='
docker-registry  docker-registry  pulling from and pushing to a registry
htpasswd         apache2-utils    a registry that wants a password
openssl          openssl          a registry that speaks https
skopeo           skopeo           reading the store back, and measuring against it
umoci            umoci            unpacking images of the store
buildah          buildah          layers that others have made
bsdtar           libarchive-tools archives that others have made
zstd             zstd             streams that others have packed
dockerd          docker.io        the command lines of docker, against docker itself
podman           podman           images that podman takes and gives
ssh              openssh-client   engines of other machines, over ssh
sshd             openssh-server   engines of other machines, over ssh
tmux             tmux             the interactive session on a terminal
zsh              zsh              the completion of command lines in zsh
fish             fish             the completion of command lines in fish
man              man-db           the manual page
groff            groff            the manual page
'

say() { printf '%s\n' "$*" >&2; }

# The rows of the table above whose program is not here.
missing() {
    local program package purpose
    while read -r program package purpose; do
        if [ -n "$program" ] && ! PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null; then
            printf '%s %s %s\n' "$program" "$package" "$purpose"
        fi
    done <<<"$programs"
}

bring_programs() {
    local rows packages
    rows=$(missing)
    if [ -n "$rows" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        packages=$(awk '{ print $2 }' <<<"$rows" | sort -u | tr '\n' ' ')
        say "imq: apt-get install $packages"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq >&2 </dev/null || true
        # shellcheck disable=SC2086 # one word for each package
        apt-get install -qq -y --no-install-recommends $packages >&2 </dev/null || true
        rows=$(missing)
    fi
    [ -n "$rows" ] || return 0
    while read -r program package purpose; do
        say "imq: no $program (package $package): left out are the tests for $purpose"
    done <<<"$rows"
    if [ -n "${IMQ_REQUIRE_SERVERS:-}" ]; then
        say 'imq: IMQ_REQUIRE_SERVERS is set, so that is a failure'
        return 1
    fi
}

status=0
check() {
    say "+ $*"
    "$bin/python" -m "$@" || status=1
}

# mypy does not follow editable installs: it is shown the packages as they are installed, through links.
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
bring_programs
export PATH=$bin:$PATH:/usr/sbin:/sbin
if [ -z "${IMQ_EXECUTABLE:-}" ]; then
    say 'imq: left out are the tests of the frozen executable: make it with build/freeze/freeze.sh, name it in IMQ_EXECUTABLE'
fi

export RUFF_CACHE_DIR=.cache/ruff
check ruff check .
check ruff format --check .
check_types
check pytest -o cache_dir=.cache/pytest "$@"
exit "$status"
