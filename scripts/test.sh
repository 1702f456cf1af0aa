#!/usr/bin/env bash
# Runs all tests, and then looks whether they left anything behind.
set -euo pipefail
cd "$(dirname "$0")/.."
export LAMBENT_TEST_CACHE=${LAMBENT_TEST_CACHE:-$PWD/.cache/test}
mkdir -p "$LAMBENT_TEST_CACHE"

before=$(scripts/leftovers.sh)
status=0
go test -timeout 20m "$@" ./... || status=$?
after=$(scripts/leftovers.sh)
if [ "$before" != "$after" ]; then
  echo "the tests left something behind:" >&2
  diff <(echo "$before") <(echo "$after") >&2 || true
  status=1
fi
exit "$status"
