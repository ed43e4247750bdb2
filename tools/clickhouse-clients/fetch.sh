#!/usr/bin/env bash
# Makes a Python environment with ClickHouse clients of other hands, once, in the
# cache. Prints nothing when it is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$(cksum "$here/requirements.txt" | cut -d' ' -f1)
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
dir=$cache/clickhouse-clients/$version
[ -f "$dir/ready" ] && exit 0
fail() { echo "$*" >&2; exit 1; }
command -v python3 >/dev/null || fail "ClickHouse's Python clients for the tests need python3, which is missing: install it (Debian: apt-get install python3 python3-venv)"
echo "fetching ClickHouse's Python clients into $dir"
rm -rf "$dir"
mkdir -p "$cache/clickhouse-clients"
python3 -m venv "$dir" || fail "python3 makes no virtual environment: install it (Debian: apt-get install python3-venv)"
"$dir/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" || fail "pip could not fetch ClickHouse's Python clients; its message is above"
touch "$dir/ready"
