#!/usr/bin/env bash
# Runs every fuzz target for the given time each, 1 minute unless told.
set -euo pipefail
cd "$(dirname "$0")/.."
for dir in $(git grep -lE '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/func //'); do
    echo "== $dir $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-1m}" "./$dir"
  done
done
