#!/bin/sh
# Starts Deno on the function's own configuration, which Deno would look for beside
# the bootstrap.
for config in deno.json deno.jsonc; do
  if [ -f "$LAMBDA_TASK_ROOT/$config" ]; then
    exec "$@" --config "$LAMBDA_TASK_ROOT/$config" "${0%/*}/deno.mjs"
  fi
done
exec "$@" "${0%/*}/deno.mjs"
