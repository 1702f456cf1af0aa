#!/usr/bin/env bash
# Runs all tests, and then looks whether they left anything behind. Arguments go
# to go test.
set -euo pipefail
cd "$(dirname "$0")/.."
export LAMBENT_TEST_CACHE=${LAMBENT_TEST_CACHE:-$PWD/.cache/test}
mkdir -p "$LAMBENT_TEST_CACHE"

before=$(scripts/leftovers.sh)
status=0
# What starts whole servers goes one package after the other: functions have
# timeouts of seconds there, and the machine may be small. The conformance tests wait
# for most of their time, and go with the others. Of these the one that takes longest
# goes first, so that it has no time alone.
{ go list ./internal/sandbox/linux ./test/conformance; go list ./... | grep -v /test/; } | xargs go test -timeout 20m "$@" || status=$?
go list ./test/... | grep -v /conformance$ | xargs go test -p 1 -timeout 30m "$@" || status=$?

echo "AWS's recorded answers:"
go test -count=1 -run '^TestReplay$' -v ./internal/lambdaapi | grep -E 'answers match|SKIP' || status=1

after=$(scripts/leftovers.sh)
if [ "$before" != "$after" ]; then
  echo "the tests left something behind:" >&2
  diff <(echo "$before") <(echo "$after") >&2 || true
  status=1
fi
exit "$status"
