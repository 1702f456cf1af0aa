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
address=(--listen 127.0.0.1:0 --gateway 127.0.0.1:0)
ready() {
  for _ in $(seq 600); do
    [ -e "$data/endpoints.json" ] && return
    ended && break
    sleep 0.1
  done
  log | tail -20; echo "FAILED  the server is not ready"; exit 1
}
if [ "$(ps -p 1 -o comm=)" = systemd ]; then
  # The unit of docs/operations.md, with addresses and data of this script's.
  cp bin/lambent /usr/local/bin/
  awk '/A unit for systemd:$/ {on = 1; next} on && /^[^ ]/ {exit} on {print substr($0, 5)}' docs/operations.md |
    sed -e "s|^ExecStart=.*|& --data $data ${address[*]}|" -e "s|^ExecReload=.*|& --data $data|" >/etc/systemd/system/lambent.service
  systemctl daemon-reload
  serve() { rm -f "$data/endpoints.json"; systemctl start lambent; ready; server=$(systemctl show -P MainPID lambent); }
  ended() { systemctl -q is-failed lambent; }
  log() { journalctl -q -o cat -u lambent; }
  killed() { rm -f "$data/endpoints.json"; kill -KILL "$server"; ready; server=$(systemctl show -P MainPID lambent); } # Restart= starts the next one
  replaced() { systemctl reload lambent; }
  stop() { systemctl stop lambent; is "the service is stopped" "$(systemctl show -P ActiveState -P Result lambent | sort | paste -s)" '^inactive.success$'; }
else
  serve() {
    rm -f "$data/endpoints.json"
    "$@" bin/lambent serve --data "$data" "${address[@]}" >"$data/log" 2>&1 &
    server=$!
    ready
  }
  ended() { ! kill -0 "$server" 2>/dev/null; }
  log() { cat "$data/log"; }
  stop() { kill -TERM "$server"; wait "$server" 2>/dev/null; is "stops" $? '^0$'; }
  killed() { kill -KILL "$server"; wait "$server" 2>/dev/null; serve; }
  replaced() { lambent replace; }
fi

if [ "$(printf '%s\n' 5.12 "$(uname -r)" | sort -V | head -1)" != 5.12 ]; then
  is "a kernel that is too old is named" "$(bin/lambent serve --data "$data" 2>&1)" "needs Linux 5.12.* this is $(uname -r)"
  exit $failed
fi
serve
is "limits are enforced" "$(log | grep -c 'limits are not enforced')" '^0$'
log | grep WARN | grep -v wasm | cut -c1-200
echo "        server in $(cat /proc/$server/cgroup), functions below $(find /sys/fs/cgroup -type d -name 'lambent-????????')"

is "deploy" "$(lambent deploy examples/hello-python --name hello --timeout 60 2>&1)" created
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
is "deploy what goes to its limits" "$(lambent deploy "$functions/limits" --name limits --memory 1024 --timeout 300 2>&1)" created
is "memory within the limit" "$(lambent invoke limits -d '{"do": "memory", "mb": 200}' 2>/dev/null)" '^200'
is "memory used is reported" "$(lambent logs limits | grep REPORT | tail -1 | grep -o 'Max Memory Used: [0-9]*')" ': 2[0-9][0-9]$'
is "out of memory" "$(lambent invoke limits -d '{"do": "memory", "mb": 1100}' 2>&1)" 'Runtime.ExitError.*|signal: killed'
is "out of memory is reported" "$(lambent logs limits | grep -c OutOfMemory)" '^[1-9]'
is "processes" "$(lambent invoke limits -d '{"do": "threads"}' 2>&1)" '"[0-9]+, then: can.t start new thread"'
is "share of a processor" "$(lambent invoke limits -d '{"do": "spin", "seconds": 3}' 2>/dev/null)" '^0\.[456]'
is "its groups are its own" "$(lambent invoke limits -d '{"do": "groups"}' 2>/dev/null)" '0::/\\n"'
lambent invoke limits -d '{"do": "sleep", "seconds": 50}' >/dev/null 2>&1 &
sleep 2
old=$(find /sys/fs/cgroup -path '*/lambent-????????/*' -name cgroup.procs -exec cat {} +)
is "there are processes of functions" "$old" '[0-9]'
killed
is "those that a killed server left are ended" "$(for p in $old; do kill -0 "$p" 2>/dev/null && echo "$p"; done)" '^$'
is "it serves again" "$(lambent invoke hello -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
is "replaced" "$(replaced 2>&1; echo "$?")" '(^|.)0$'
is "the next program is the same process" "$(lambent invoke hello -d '{"name": "you"}' 2>/dev/null) $(kill -0 "$server" && echo "$server")" 'Hello, you!.* [0-9]+$'
stop
is "nothing is left" "$(left)" '^$'
is "no error was logged" "$(log | grep -E 'level=ERROR|panic')" '^$'

# As in a container, which sees its own groups only: it may write to them or not.
if [ "$(ps -p 1 -o comm=)" != systemd ]; then
  cat >"$functions/contain" <<'C'
echo $$ >"/sys/fs/cgroup/box-$1/cgroup.procs" || exit
exec unshare --cgroup sh -c 'umount /sys/fs/cgroup && mount -t cgroup2 box /sys/fs/cgroup && mount -o "remount,bind,$0" /sys/fs/cgroup && exec "$@"' "$@"
C
  contained() { # rw or ro
    mkdir "/sys/fs/cgroup/box-$1"
    serve unshare --mount sh "$functions/contain" "$1"
  }
  contained rw
  is "limits are enforced in a container" "$(log | grep -c 'limits are not enforced') $(find /sys/fs/cgroup/box-rw -name 'lambent-????????')" '^0 .*/box-rw/lambent'
  is "out of memory in a container" "$(lambent invoke limits -d '{"do": "memory", "mb": 1100}' 2>&1)" 'Runtime.ExitError.*|signal: killed'
  stop
  contained ro
  is "a container that only reads its groups is told" "$(log | grep 'limits are not enforced')" 'read-only file system'
  is "it serves all the same" "$(lambent invoke hello -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
  stop
  is "nothing is left by it" "$(left)" '^$'
  find /sys/fs/cgroup/box-r? -depth -type d -exec rmdir {} +
fi
rm -rf "$data" "$functions"
[ $failed = 0 ] && echo "all is well" || echo "something is not well"
exit $failed
