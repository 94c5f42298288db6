#!/bin/sh
# Makes a fresh checkout ready: system packages, virtual environment, the shim. Usage: dev.sh PYTHON VENV
set -eu
python=$1 venv=$2
cd "$(dirname "$0")/.."

# What the engine runs with; what builds it; what the tests compare it with.
packages="crun nftables libnftables1 libseccomp2 tini busybox-static mmdebstrap iproute2 procps ca-certificates
python3 python3-venv gcc libc6-dev musl-tools util-linux xz-utils zstd bsdextrautils
runc iptables openssl docker-registry skopeo btrfs-progs e2fsprogs xfsprogs fuse-overlayfs fuse3"

missing=
for package in $packages; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  if ! command -v apt-get >/dev/null; then
    echo "dev: this is no Debian: install the equivalents of:$missing" >&2
    exit 1
  elif [ "$(id -u)" != 0 ]; then
    echo "dev: run as root, or install first:$missing" >&2
    exit 1
  fi
  echo "dev: installing$missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null; }
fi
[ -x "$python" ] || python=/usr/bin/python3

if [ ! -x "$venv/bin/python3" ]; then
  echo "dev: making $venv with $("$python" --version)"
  "$python" -m venv "$venv"
fi
echo "dev: installing the pinned requirements"
"$venv/bin/python3" -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
echo "dev: building the shim and installing sampan"
"$venv/bin/python3" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --editable .
"$venv/bin/python3" -m compileall -q sampan
touch "$venv/.ready"

echo "dev: what this host lacks:"
"$venv/bin/python3" -c 'from sampan.kernel.host import probe
for sentence in probe().missing() or ["nothing"]: print("  -", sentence)'
