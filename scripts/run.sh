#!/usr/bin/env bash
# Starts lambent as a newcomer would, deploys a sample function and invokes it.
# With --once it uses free ports and a temporary directory, and ends by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

once=false
[ "${1:-}" = --once ] && once=true

say() { printf '\033[1m%s\033[0m\n' "$*"; }

if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "lambent isolates functions with namespaces and cgroups and needs root: run this as root." >&2; exit 1; }
  say "lambent needs root for its sandboxes: asking sudo"
  exec sudo --preserve-env=PATH,HOME,GOFLAGS,GOPROXY "$0" "$@"
fi

scripts/run-deps.sh
say "building bin/lambent"
make --no-print-directory -s build

if $once; then
  data=$(mktemp -d "${TMPDIR:-/tmp}/lambent-demo.XXXXXX")
  addresses=(--listen 127.0.0.1:0 --gateway 127.0.0.1:0)
else
  data=$PWD/.lambent
  addresses=()
fi

server=
finish() {
  status=$?
  trap - EXIT INT TERM
  if [ -n "$server" ]; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  if $once; then rm -rf "$data"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 0' INT TERM

rm -f "$data/endpoints.json"
# A process group of its own keeps Ctrl-C for this script, which ends the server.
setsid bin/lambent serve --data "$data" "${addresses[@]}" &
server=$!
for _ in $(seq 200); do
  [ -f "$data/endpoints.json" ] && break
  kill -0 "$server" 2>/dev/null || { wait "$server" || exit $?; exit 1; }
  sleep 0.05
done
[ -f "$data/endpoints.json" ] || { echo "the server is not ready after 10 s" >&2; exit 1; }

lambent() { bin/lambent --data "$data" "$@"; }
say "deploying examples/hello-python as \"hello\""
lambent deploy examples/hello-python --name hello
say "invoking it: a cold start, then a warm one"
lambent invoke hello -d '{"name": "world"}'
lambent invoke hello -d '{"name": "again"}'

api=$(sed -nE 's/.*"api": "([^"]+)".*/\1/p' "$data/endpoints.json")
say "with any AWS client"
echo "  export AWS_SHARED_CREDENTIALS_FILE=$data/credentials"
echo "  aws --endpoint-url $api lambda invoke --function-name hello /dev/stdout"
if $once; then exit 0; fi
say "serving; Ctrl-C ends it"
cat "$data/endpoints.json"
wait "$server"
