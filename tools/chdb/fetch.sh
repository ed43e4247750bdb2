#!/usr/bin/env bash
# Fetches the embedded ClickHouse engine once, into the cache, at the version
# that package-lock.json pins and with its SHA-512 checked. Prints nothing when
# it is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/.*"@chdb\/lib-linux-x64-gnu": "\(.*\)".*/\1/p' "$here/package.json")
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
dir=$cache/chdb/$version
[ -f "$dir/libchdb.so" ] && exit 0
fail() { echo "$*" >&2; exit 1; }
command -v npm >/dev/null ||
  fail "the embedded ClickHouse engine is fetched with npm, which is missing: install it (Debian: apt-get install npm), or set WEIR_CHDB_LIB to a libchdb.so of version $version"
mkdir -p "$dir"
tmp=$(mktemp -d "$cache/chdb/fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$tmp"
echo "fetching the embedded ClickHouse engine $version (178 MB) into $dir"
(cd "$tmp" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2 ||
  fail "npm could not fetch the embedded ClickHouse engine $version; its message is above"
lib=$(find "$tmp/node_modules/@chdb" -name libchdb.so | head -1)
[ -n "$lib" ] || fail "there is no embedded ClickHouse engine for $(uname -s)/$(uname -m)"
mv "$lib" "$dir/libchdb.so.new"
mv "$dir/libchdb.so.new" "$dir/libchdb.so"
