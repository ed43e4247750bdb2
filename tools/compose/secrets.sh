#!/usr/bin/env bash
# Makes what docker-compose.yml asks for and nobody else should know, once, in .env,
# which is not committed. What is there stays as it is.
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
umask 077
touch .env
chmod 600 .env
random() { head -c 32 /dev/urandom | base64 | tr -d '+/=\n'; }
add() { # add NAME VALUE: unless there is one
  grep -q "^$1=." .env || { echo "$1=$2" >>.env; echo "made $1"; }
}
# The secret of a stream must not change: entities would be others.
stream=$(cat weir.secret 2>/dev/null | tr -d '\n' || true)
add WEIR_STREAM_SECRET "${stream:-$(random)}"
add CLICKHOUSE_PASSWORD "$(random)"
for user in MIGRATOR WRITER READER ANALYST ERASER; do add "CLICKHOUSE_${user}_PASSWORD" "$(random)"; done
add REDIS_PASSWORD "$(random)"
add GRAFANA_PASSWORD "$(random)"
add WEIR_GATE_TOKEN "$(random)"
add WEIR_CONSOLE_TOKEN "$(random)"
echo "the secrets are in $PWD/.env; Grafana's user is admin, with GRAFANA_PASSWORD; the console takes WEIR_CONSOLE_TOKEN"
