#!/usr/bin/env bash
# Fetches what the tests of deploy/kubernetes need, once, into the cache: the schemas of
# Kubernetes with a validator, and kustomize where there is no kubectl. Prints nothing
# when they are there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$(cksum "$here/requirements.txt" | cut -d' ' -f1)
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
dir=$cache/kubernetes/$version
[ -f "$dir/ready" ] && exit 0
fail() { echo "$*" >&2; exit 1; }
command -v python3 >/dev/null || fail "the validator for Kubernetes needs python3, which is missing: install it (Debian: apt-get install python3 python3-venv)"
echo "fetching the schemas of Kubernetes into $dir"
rm -rf "$dir"
mkdir -p "$cache/kubernetes"
python3 -m venv "$dir" || fail "python3 makes no virtual environment: install it (Debian: apt-get install python3-venv)"
"$dir/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --no-deps -r "$here/requirements.txt" || fail "pip could not fetch the validator for Kubernetes; its message is above"
command -v kubectl >/dev/null || GOBIN=$dir/bin go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1 || fail "there is no kubectl, and kustomize could not be built; Go's message is above"
touch "$dir/ready"
