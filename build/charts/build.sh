#!/usr/bin/env bash
# Makes engine/render/report/echarts.min.js, the charts of reports, from the npm packages that package-lock.json pins:
#
#     bash build/charts/build.sh [--check]
#
# npm verifies the checksum of each package. The same packages make the same bytes; SHA256SUMS has their checksum, which
# a test compares. --check writes nothing, and fails when the bytes differ. It needs npm and a reachable registry.
#
# To update: edit the versions in package.json, then run `npm install --package-lock-only --ignore-scripts` here, and
# this script. ECharts is under Apache-2.0, and the renderer zrender in it under BSD-3-Clause: echarts.LICENSE.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
target=$here/../../engine/render/report
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

cp "$here/package.json" "$here/package-lock.json" "$here/entry.js" "$scratch/"
cd -- "$scratch"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2

version() { node -p "require('./node_modules/$1/package.json').version"; }
banner="/*! Apache ECharts $(version echarts), https://echarts.apache.org/, Apache License 2.0,\
 https://www.apache.org/licenses/LICENSE-2.0; Copyright The Apache Software Foundation.\
 With zrender $(version zrender), BSD 3-Clause License, Copyright Baidu Inc. and other contributors. */"
node_modules/.bin/esbuild entry.js --bundle --minify --format=iife --global-name=echarts --target=es2020 \
    --charset=utf8 --legal-comments=none --banner:js="$banner" --log-level=warning --outfile=echarts.min.js
{
    cat node_modules/echarts/NOTICE node_modules/echarts/LICENSE
    printf '\n\nzrender\n=======\n\n'
    cat node_modules/zrender/LICENSE
    printf '\n\ntslib\n=====\n\n'
    cat node_modules/tslib/LICENSE.txt
} >echarts.LICENSE
sha256sum echarts.min.js echarts.LICENSE >SHA256SUMS

if [ "${1:-}" = --check ]; then
    diff -u "$here/SHA256SUMS" SHA256SUMS
else
    cp echarts.min.js echarts.LICENSE "$target/"
    cp SHA256SUMS "$here/SHA256SUMS"
fi
cat SHA256SUMS
