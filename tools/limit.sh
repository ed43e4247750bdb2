#!/usr/bin/env bash
# limit.sh SECONDS COMMAND…: ends the command, and all that it started, once its
# time is over, and says so. timeout(1) is not on every system that has make.
set -u
seconds=$1; shift
set -m                      # the command gets a process group of its own
"$@" & command=$!
trap 'kill -TERM -- "-$command" 2>/dev/null' INT TERM
(
  trap 'kill "$sleep" 2>/dev/null; exit' TERM
  sleep "$seconds" & sleep=$!
  wait "$sleep" || exit
  echo "$1 ran for $seconds s, which is its limit, and is ended; its tests print their stacks" >&2
  kill -QUIT -- "-$command" 2>/dev/null
  sleep 10 & sleep=$!
  wait "$sleep"
  kill -KILL -- "-$command" 2>/dev/null
) & watch=$!
wait "$command"; status=$?
while kill -0 "$command" 2>/dev/null; do wait "$command"; status=$?; done
kill -TERM "$watch" 2>/dev/null
exit "$status"
