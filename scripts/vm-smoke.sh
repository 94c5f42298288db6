#!/bin/sh
# Runs the smoke tests (or TESTS) on a stock Debian kernel with cgroup v2, in a throw-away virtual machine that sees this
# checkout. Needs the tool `testvm`: SAMPAN_TESTVM names it, or it is found beside the checkout; else this is skipped.
# Without KVM all is emulated and takes minutes. Usage: vm-smoke.sh [PYTEST ARGUMENT...]
set -eu
cd "$(dirname "$0")/.."
testvm=${SAMPAN_TESTVM:-$PWD/../shared/tools/testvm}
if [ ! -x "$testvm" ]; then
  echo "vm-smoke: skipped: there is no testvm (set SAMPAN_TESTVM to its path)"
  exit 0
fi
scratch=/var/lib/sampan-smoke
# shellcheck disable=SC2086 # TESTS are words
exec "$testvm" --scratch "$scratch" --mem "${SAMPAN_TESTVM_MEM:-3072}" --timeout "${SAMPAN_TESTVM_TIMEOUT:-3600}" \
  --cgroup "${SAMPAN_TESTVM_CGROUP:-v2}" --module br_netfilter -- \
  tests/isolated .venv/bin/python -m pytest --timeout 1800 --basetemp "$scratch/tests" --durations 10 "$@" \
  ${TESTS:-tests/integration/test_smoke.py}
