#!/usr/bin/env bash
# Demonstrates imq on real file trees, in a temporary store:
#
#     bash build/demo.sh [--keep]
#
# It needs Python 3.11 or later with venv, and a package index, but no container engine and no registry. Every command
# line is printed before its output. --keep keeps the store. IMQ_TRY_REGISTRY is an image to pull
# (registry.example:5000/team/app:1).
set -euo pipefail
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

keep=''
case "${1:-}" in
    --keep) keep=yes ;;
    '') ;;
    *) printf 'imq: unknown option %s\nusage: demo.sh [--keep]\n' "$1" >&2; exit 2 ;;
esac

environment=$(bash "$checkout/build/make_venv.sh")
program=$environment/bin/imq
library=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
scratch=$(mktemp -d)
export IMQ_ROOT=$scratch/store
clean_up() { [ -n "$keep" ] || rm -rf -- "$scratch"; }
trap clean_up EXIT

say() { printf '\n# %s\n' "$*"; }

# Print and run one command line: imq [OPTION]... STATEMENT. The statement is quoted when the shell would change it.
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

cd -- "$library" # for short folder names

say 'Images of real files: the libraries of the Python environment.'
imq 'import requests as redis:latest change "LABEL env=prod"'
imq 'import yaml as redis:7 change "LABEL env=prod", "CMD [\"redis-server\"]"'
imq 'import lark as team/app:1 change "LABEL env=test", "USER nobody"'
imq 'import prompt_toolkit as team/app:2 change "LABEL env=prod"'

say 'A name moves to another image. The previous image becomes dangling.'
imq 'tag redis:7 as redis:latest'
imq 'images'
imq 'images where dangling and created before redis:latest format "<<.Size>>"'

say 'More queries.'
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

say 'A preview of a removal, the removal, and the remaining images.'
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
        say "The image in IMQ_TRY_REGISTRY could not be pulled. The rest of the demo does not need it."
    fi
fi
if [ -n "$keep" ]; then
    say "The store is kept: IMQ_ROOT=$IMQ_ROOT $program images"
fi
