#!/usr/bin/env bash
# Makes the folder of the extension for Visual Studio Code, with the grammar that imq itself uses, and packs it:
#
#     bash build/vscode/package.sh FOLDER          # FOLDER is ready for `vsce package` and for ~/.vscode/extensions
#     bash build/vscode/package.sh --vsix FILE     # with npm and a reachable registry: the packed extension
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
VSCE=4.1.0

fill() {
    mkdir -p -- "$1"
    cp -- "$here"/{package.json,language-configuration.json,snippets.json} "$here/../../LICENSE" "$1/"
    cp -- "$here/../../dsl/editors/imq.tmLanguage.json" "$1/"
    printf '# imq\n\nColours and snippets for imq, the query language for container images.\n' >"$1/README.md"
}

case "${1:?a folder, or --vsix FILE}" in
    --vsix)
        target=$(realpath -- "${2:?--vsix takes a file}")
        scratch=$(mktemp -d)
        trap 'rm -rf -- "$scratch"' EXIT
        fill "$scratch/imq"
        cd -- "$scratch/imq"
        npx --yes "@vscode/vsce@$VSCE" package --allow-missing-repository --out "$target"
        ;;
    *) fill "$1" ;;
esac
