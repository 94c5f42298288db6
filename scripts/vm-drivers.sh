#!/bin/sh
# Runs the contract of the storage drivers on a stock Debian kernel, which has what this machine's may lack: the device
# mapper, quotas of xfs and ext4. Prints the table of drivers and cases. Needs the tool testvm, as vm-smoke.sh does.
#   SAMPAN_ZFS=DIR  a directory with `up.sh`, which loads a zfs module, puts its commands on PATH and runs the rest
# Without KVM all is emulated and takes a quarter of an hour. Usage: vm-drivers.sh [PYTEST ARGUMENT...]
set -eu
cd "$(dirname "$0")/.."
testvm=${SAMPAN_TESTVM:-$PWD/../shared/tools/testvm}
if [ ! -x "$testvm" ]; then
  echo "vm-drivers: skipped: there is no testvm (set SAMPAN_TESTVM to its path)"
  exit 0
fi
scratch=/var/lib/sampan-drivers
set -- tests/isolated .venv/bin/python -m pytest --timeout 1800 --basetemp "$scratch/tests" -q --driver-table "$@" \
  ${TESTS:-tests/contract tests/integration/storage/test_devicemapper.py}
[ -z "${SAMPAN_SHARED:-}" ] || shared="--env SAMPAN_SHARED"
if [ -n "${SAMPAN_ZFS:-}" ]; then
  set -- --show "$SAMPAN_ZFS" -- "$SAMPAN_ZFS/up.sh" "$@"
else
  set -- -- "$@"
fi
# shellcheck disable=SC2086 # shared is two words, or none
exec "$testvm" ${shared:-} --scratch "$scratch" --mem "${SAMPAN_TESTVM_MEM:-6144}" --disk "${SAMPAN_TESTVM_DISK:-24G:ext4}" \
  --timeout "${SAMPAN_TESTVM_TIMEOUT:-3600}" --cgroup v2 --module loop xfs btrfs fuse dm_mod dm_thin_pool "$@"
