#!/bin/sh
# Runs docker-py's own integration tests (the reference data has the runner and the list of what must pass) against a
# daemon of its own in namespaces of its own; only the installation of the suite sees the network.
# Usage: docker-py.sh BIN. FILES names test files, for example "api_exec client".
set -eu
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/../.." && pwd)
runner=${SAMPAN_SHARED:-$here/../shared}/conformance/docker-py.sh
if [ ! -x "$runner" ] && [ ! -f "$runner" ]; then
  echo "docker-py: skipped: the reference data is not beside this checkout"
  exit 0
fi
work=${WORK:-$(mktemp -d)}
export WORK="$work/suite" DOCKER_HOST="unix://$work/s.sock"
start="$bin/sampand -H $DOCKER_HOST --data-root $work/data --exec-root $work/exec --pidfile $work/pid"
mkdir -p "$WORK"
"$here/tests/isolated" $start >"$work/log" 2>&1 &
daemon=$!
trap 'kill $daemon 2>/dev/null; wait $daemon || true' EXIT INT TERM
until [ -S "$work/s.sock" ]; do kill -0 $daemon; sleep 0.05; done
# Files whose subject this version has; the environment's FILES wins.
export RUN_IN="nsenter --target $daemon --net"
export FILES="${FILES:-api_client api_container api_exec api_volume client errors models_containers models_volumes regression}"
bash "$runner"
