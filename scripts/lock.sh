#!/bin/sh
# Pins requirements*.in, with hashes and without the address of any registry. Needs pip-tools in the environment.
set -eu
cd "$(dirname "$0")/.."
for name in requirements requirements-dev; do
  .venv/bin/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-find-links \
    --no-emit-trusted-host --no-header --output-file "$name.txt" "$name.in"
done
