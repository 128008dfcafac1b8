#!/usr/bin/env bash
# Configures and builds everything: build.sh [PRESET], release by default. JOBS (default: the number of cores) limits
# the compilers that run at once; a file that includes LibTorch takes up to 1.5 GB of memory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset="${1:-release}"
start=$SECONDS
if ! configured="$(cmake --preset "$preset" 2>&1)"; then
  printf '%s\n' "$configured" >&2
  exit 1
fi
cmake --build "build/$preset" -j "${JOBS:-$(nproc)}"
echo "build: preset $preset in $((SECONDS - start)) s"
