#!/usr/bin/env bash
# Fetches Apache Kafka's jars once, into the cache. Prints nothing when they are
# there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
lib=$cache/kafka/$version
compgen -G "$lib/slf4j-simple-*.jar" >/dev/null && exit 0
command -v mvn >/dev/null || { echo "Apache Kafka for the tests is fetched with Maven, which is missing: install it (Debian: apt-get install maven)" >&2; exit 1; }
mkdir -p "$cache/kafka"
tmp=$(mktemp -d "$cache/kafka/fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
echo "fetching Apache Kafka $version into $lib"
mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$tmp/lib" ||
  { echo "Maven could not fetch Apache Kafka $version; see its message above" >&2; exit 1; }
if [ -d "$lib" ]; then mv -n "$tmp"/lib/*.jar "$lib"; else mv "$tmp/lib" "$lib"; fi
