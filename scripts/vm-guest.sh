#!/bin/bash
# What scripts/vm.sh proves in a guest unless it is told something else: the newcomer's
# two commands, each limit seen from outside, recovery after a crash, and that nothing
# is left. Emulation is slow and a small function has little of the processor: the
# functions here are large.
set -uo pipefail
cd "$(dirname "$0")/.."
data=$(mktemp -d) functions=$(mktemp -d) failed=0
lambent() { bin/lambent --data "$data" "$@"; }
is() { # WHAT ACTUAL PATTERN
  if [[ $2 =~ $3 ]]; then echo "ok      $1"; else echo "FAILED  $1: $2, which is not like $3"; failed=1; fi
}
left() { find /sys/fs/cgroup -type d -name 'lambent*' ! -name lambent-vm.service ! -name lambent-server; ls /sys/class/net | grep ^lmb; nft list tables 2>/dev/null | grep lambent; grep lambent /proc/self/mounts | grep -v "$PWD"; }
under=()
# A service of systemd's that has its groups to itself, as docs/operations.md has it.
[ "$(ps -p 1 -o comm=)" != systemd ] || under=(systemd-run --quiet --scope -p Delegate=yes)
serve() {
  rm -f "$data/endpoints.json"
  "${under[@]}" bin/lambent serve --data "$data" --listen 127.0.0.1:0 --gateway 127.0.0.1:0 >"$data/log" 2>&1 &
  server=$!
  for _ in $(seq 300); do [ -e "$data/endpoints.json" ] && return; sleep 0.1; done
  tail -20 "$data/log"; echo "FAILED  the server is not ready"; exit 1
}
stop() { kill -"$1" "$server"; wait "$server" 2>/dev/null; }

serve
is "limits are enforced" "$(grep -c 'limits are not enforced' "$data/log")" '^0$'
grep WARN "$data/log" | grep -v wasm | cut -c1-200
echo "        server in $(cat /proc/$server/cgroup), functions below $(find /sys/fs/cgroup -type d -name 'lambent-????????')"

is "deploy" "$(lambent deploy examples/hello-python --name hello 2>&1)" created
is "invoke" "$(lambent invoke hello -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
mkdir "$functions/go" && cp .vm/built/examples/hello-go "$functions/go/bootstrap"
is "invoke Go" "$(lambent deploy "$functions/go" --name go --runtime provided.al2023 --memory 1024 2>&1; lambent invoke go -d '{"name": "you"}' 2>&1)" 'Hello, you!'

mkdir "$functions/limits"
cat >"$functions/limits/lambda_function.py" <<'P'
import threading, time

def lambda_handler(event, context):
    what = event["do"]
    if what == "memory":
        return len(b"x" * (event["mb"] << 20)) >> 20
    if what == "threads":
        done, n = threading.Event(), 0
        try:
            while n < 5000:
                threading.Thread(target=done.wait, daemon=True).start()
                n += 1
        except RuntimeError as e:
            return "%d, then: %s" % (n, e)
        finally:
            done.set()
        return n
    if what == "spin":
        end = time.time() + event["seconds"]
        before = time.process_time()
        while time.time() < end: pass
        return round((time.process_time() - before) / event["seconds"], 2)
    if what == "sleep":
        time.sleep(event["seconds"])
    if what == "groups":
        return open("/proc/self/cgroup").read()
P
is "deploy what goes to its limits" "$(lambent deploy "$functions/limits" --name limits --memory 1024 --timeout 60 2>&1)" created
is "memory within the limit" "$(lambent invoke limits -d '{"do": "memory", "mb": 200}' 2>/dev/null)" '^200'
is "memory used is reported" "$(lambent logs limits | grep REPORT | tail -1 | grep -o 'Max Memory Used: [0-9]*')" ': 2[0-9][0-9]$'
is "out of memory" "$(lambent invoke limits -d '{"do": "memory", "mb": 2000}' 2>&1)" 'Runtime.ExitError.*|signal: killed'
is "out of memory is reported" "$(lambent logs limits | grep -c OutOfMemory)" '^[1-9]'
is "processes" "$(lambent invoke limits -d '{"do": "threads"}' 2>&1)" '"[0-9]+, then: can.t start new thread"'
is "share of a processor" "$(lambent invoke limits -d '{"do": "spin", "seconds": 3}' 2>/dev/null)" '^0\.[456]'
is "its groups are its own" "$(lambent invoke limits -d '{"do": "groups"}' 2>/dev/null)" '0::/\\n"'
lambent invoke limits -d '{"do": "sleep", "seconds": 50}' >/dev/null 2>&1 &
sleep 2
old=$(find /sys/fs/cgroup -path '*/lambent-????????/*' -name cgroup.procs -exec cat {} +)
is "there are processes of functions" "$old" '[0-9]'
stop KILL
serve
is "those that a killed server left are ended" "$(for p in $old; do kill -0 "$p" 2>/dev/null && echo "$p"; done)" '^$'
is "it serves again" "$(lambent invoke hello -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
stop TERM
is "stops" "$?" '^0$'
is "nothing is left" "$(left)" '^$'
rm -rf "$data" "$functions"
[ $failed = 0 ] && echo "all is well" || echo "something is not well"
exit $failed
