#!/bin/sh
# Runs docker-py's own integration tests (the reference data has the runner and the list of what must pass) against a
# daemon of its own in namespaces of its own; only the installation of the suite sees the network. What the suite pulls
# comes from a docker-registry that is the daemon's mirror; without that program the pulls of docker.io fail.
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
mirror=
if command -v docker-registry >/dev/null; then
  mirror=127.0.0.1:5055
  start="$start --registry-mirror http://$mirror"
fi
mkdir -p "$WORK"
"$here/tests/isolated" $start >"$work/log" 2>&1 &
daemon=$!
registry=
trap 'kill $registry $daemon 2>/dev/null; wait $daemon || true' EXIT INT TERM
until [ -S "$work/s.sock" ]; do kill -0 $daemon; sleep 0.05; done
if [ "$mirror" ]; then
  cat >"$work/registry.yml" <<YAML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "$mirror"}
YAML
  nsenter --target $daemon --net docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
  registry=$!
  export MIRROR=$mirror
fi
# Files whose subject this version has; the environment's FILES wins.
export RUN_IN="nsenter --target $daemon --net"
files="api_client api_container api_exec api_healthcheck api_image api_network api_volume client errors"
export FILES="${FILES:-$files models_containers models_images models_networks models_volumes regression}"
bash "$runner"
