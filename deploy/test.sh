#!/usr/bin/env bash
# Sets up, builds and runs the fast tests: what CI runs. test.sh [PRESET], release by default.
#
# From a fresh Debian it takes about 11 minutes on two cores, most of it compiling; the second time a minute or two.
# JOBS (default: the number of cores) limits parallel compilers, AFTERIMAGE_TEST_LABELS (default: fast) chooses tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset="${1:-release}"
bash deploy/setup.sh
setup_seconds=$SECONDS
bash deploy/build.sh "$preset"
built_seconds=$SECONDS

echo "test: setup $setup_seconds s, build $((built_seconds - setup_seconds)) s; now the tests"
# The last lines are ctest's own summary.
exec ctest --test-dir "build/$preset" -L "${AFTERIMAGE_TEST_LABELS:-fast}" --output-on-failure --no-tests=error \
  -j "${JOBS:-$(nproc)}"
