#!/usr/bin/env bash
# Grants each program of a stream what it needs in Kafka, and no more. Arguments are
# passed on to kafka-acls.sh; the administrator's principal runs it:
#
#   deploy/kafka/acls.sh --bootstrap-server kafka:9093 --command-config admin.properties
#
# STREAM is the stream's name, GATEWAYS the principal of gateways or their shippers.
set -euo pipefail
stream=${STREAM:-weir}
acls=${KAFKA_ACLS:-kafka-acls.sh}

allow() { # allow PRINCIPAL OPERATIONS RESOURCE…: OPERATIONS separated by commas
  local principal=$1 operations=() op
  for op in ${2//,/ }; do operations+=(--operation "$op"); done
  shift 2
  "$acls" "${connection[@]}" --add --force --allow-principal "User:$principal" "${operations[@]}" "$@"
}
connection=("$@")
topics() { local t; for t in "$@"; do printf -- '--topic\n%s.%s\n' "$stream" "$t"; done; }
groups() { local g; for g in "$@"; do printf -- '--group\n%s.%s\n' "$stream" "$g"; done; }
all=(--topic "$stream." --resource-pattern-type prefixed)

# shellcheck disable=SC2046 # names of topics have no blanks
{
  allow "${GATEWAYS:-gateway}" Write $(topics events)

  allow weir-worker Read $(topics events facets signals decisions controls rules incarnations)
  allow weir-worker Write $(topics facets signals dead)
  allow weir-worker DescribeConfigs,Describe "${all[@]}"
  allow weir-worker Read $(groups ingest detect decisions controls notices)

  allow weir-gate Write $(topics decisions events) # events for gate.events: on or all
  allow weir-gate-controls Write $(topics decisions events controls) # for gate.controls: on

  # What it writes changes scores: for people with weir label, release, switch
  # and erase.
  allow weir-analyst Write $(topics controls)
  allow weir-analyst Read $(topics rules) # names of rules that were pushed
  allow weir-eraser Write $(topics controls)
  allow weir-eraser Describe,DescribeConfigs "${all[@]}"
  allow weir-eraser Describe $(groups ingest detect decisions controls)

  # What it writes changes every score: for people with weir rules push.
  allow weir-rules Read $(topics rules incarnations)
  allow weir-rules Write $(topics rules facets)
  allow weir-rules Describe $(topics events)
  allow weir-rules Describe $(groups ingest detect)

  allow weir-migrate Create,Describe,DescribeConfigs "${all[@]}"
  allow weir-migrate Read,Write $(topics incarnations)

  allow weir-check Describe,DescribeConfigs "${all[@]}"
  allow weir-check Read $(topics events incarnations rules)
  allow weir-check Describe $(groups detect)

  allow weir-console Read $(topics dead rules)
  allow weir-console Write $(topics controls)

  allow weir-canary Write $(topics events)
  allow weir-canary Read $(topics signals)

  allow weir-keda Describe $(topics events facets) # the lag, in Kubernetes
  allow weir-keda Describe $(groups ingest detect)

  allow weir-dead Read $(topics dead replays)
  allow weir-dead Write $(topics events replays)
  allow weir-dead Create,Describe $(topics replays)
}
