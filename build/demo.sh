#!/usr/bin/env bash
# Shows imq at work, on real file trees and in a store of its own:
#
#     bash build/demo.sh [--keep]
#
# It needs Python 3.11 or later with venv, and a package index; no container engine, no registry. Every statement is
# printed before its answer, as a person would type it. --keep leaves the store, to go on with.
# IMQ_TRY_REGISTRY names an image to pull as well (registry.example:5000/team/app:1).
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

keep=''
case "${1:-}" in
    --keep) keep=yes ;;
    '') ;;
    *) printf 'imq: no option %s: it is demo.sh [--keep]\n' "$1" >&2; exit 2 ;;
esac

environment=$(bash "$checkout/build/make_venv.sh")
program=$environment/bin/imq
library=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
scratch=$(mktemp -d)
export IMQ_ROOT=$scratch/store
forget() { [ -n "$keep" ] || rm -rf -- "$scratch"; }
trap forget EXIT

say() { printf '\n# %s\n' "$*"; }

# Run one command line, printed as it is typed: imq [OPTION]... STATEMENT. A statement goes as plain words, and in
# quotes when the shell would change it.
imq() {
    local options=() statement
    while [ $# -gt 1 ]; do
        options+=("$1")
        shift
    done
    statement=$1
    set -- ${options[@]+"${options[@]}"}
    case "$statement" in
        *[!A-Za-z0-9_./:,=@%+\ -]*)
            printf "\n\$ imq%s '%s'\n" "${*:+ $*}" "$statement"
            "$program" "$@" "$statement" </dev/null
            ;;
        *)
            printf '\n$ imq%s %s\n' "${*:+ $*}" "$statement"
            # shellcheck disable=SC2086 # one word for each word
            "$program" "$@" $statement </dev/null
            ;;
    esac
}

cd -- "$library" # so that the folders have short names

say 'Images, made of real files: the libraries of the Python environment that was just made.'
imq 'import requests as redis:latest change "LABEL env=prod"'
imq 'import yaml as redis:7 change "LABEL env=prod", "CMD [\"redis-server\"]"'
imq 'import lark as team/app:1 change "LABEL env=test", "USER nobody"'
imq 'import prompt_toolkit as team/app:2 change "LABEL env=prod"'

say 'A name moves to another image: the one that had it is left without any.'
imq 'tag redis:7 as redis:latest'
imq 'images'
imq 'images where dangling and created before redis:latest format "<<.Size>>"'

say 'More questions.'
imq 'images where label.env = prod and size > 1MB order by size desc select name, size, layer_count, cmd'
imq 'images group by repository select repository, count, sum(size) order by sum(size) desc'
imq 'images where size > (images select avg(size)) select name, size, user'
imq 'images where any layers where size > 2MB select name, download_size'
imq 'images where not label.env = prod select name, label.env'
imq 'images except newest 1 per repository by tag select name'
imq 'images where tag = latest union images where user is known'
imq 'layers of team/app:2 select index, size, media_type'
imq 'images where not dangling order by size desc limit 2 select name, id, created as json'
imq 'explain images where dangling and created before redis:latest'

say 'What a removal would do; the removal; what is left.'
imq 'dry run rm images where dangling'
imq --yes 'rm images where dangling'
imq 'untag team/app:1'
imq --yes 'prune'
imq 'images'

if [ -n "${IMQ_TRY_REGISTRY:-}" ]; then
    say 'From a registry.'
    if imq "pull $IMQ_TRY_REGISTRY"; then
        imq "images where not dangling order by created desc"
    else
        say "IMQ_TRY_REGISTRY names an image that could not be pulled: the rest needs none."
    fi
fi
if [ -n "$keep" ]; then
    say "The store is kept: IMQ_ROOT=$IMQ_ROOT $program images"
fi
