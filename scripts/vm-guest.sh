#!/bin/bash
# What scripts/vm.sh proves in a guest unless it is told something else: the newcomer's
# two commands, a start from each reserve, each limit seen from outside, what functions
# reach, hibernation, a server that is replaced or killed, that nothing is left, and that
# everything is back after the machine was: an orderly reboot under systemd, else a power cut.
#
#   scripts/vm-guest.sh [reserves] [limits] [network] [hibernation] [faults] [reboot] [containers]
#
# names the parts that are wanted; none is all of them.
set -uo pipefail
cd "$(dirname "$0")/.."
data=/var/lib/lambent state=/var/lib/lambent-vm
functions=$state/functions failed=0 before=
[ ! -e "$state/before" ] || before=$(cat "$state/before")
mkdir -p "$functions"
part() { [[ $parts == *" $1 "* ]]; }
parts=" ${*:-reserves limits network hibernation faults reboot containers} "
lambent() { bin/lambent "$@"; }
is() { # WHAT ACTUAL PATTERN
  if [[ $2 =~ $3 ]]; then echo "ok      $1"; else echo "FAILED  $1: $2, which is not like $3"; failed=1; fi
}
eventually() { # SECONDS COMMAND...
  local seconds=$1
  shift
  for _ in $(seq "$seconds"); do "$@" && return; sleep 1; done
  return 1
}
left() { find /sys/fs/cgroup -type d -name 'lambent*' ! -name lambent-vm.service ! -name lambent-server; ls /sys/class/net | grep ^lmb; nft list tables 2>/dev/null | grep lambent; grep lambent /proc/self/mounts | grep -v "$PWD"; }
groups() { find /sys/fs/cgroup -type d -name 'lambent-????????'; }
uml() { grep -q 'User Mode Linux' /proc/cpuinfo; }
systemd() { [ "$(ps -p 1 -o comm=)" = systemd ]; }
ready() {
  for _ in $(seq 600); do
    [ -e "$data/endpoints.json" ] && return
    ended && break
    sleep 0.1
  done
  log | tail -20; echo "FAILED  the server is not ready"; exit 1
}
# An instance whose initialisation takes a second hibernates soon.
settings=(LAMBENT_INSTANCES_HIBERNATE_INIT=1s LAMBENT_INSTANCES_HIBERNATE_AFTER=2s)
if systemd; then
  service() { systemctl show -P "$1" lambent; }
  serve() { rm -f "$data/endpoints.json"; systemctl start lambent; ready; server=$(service MainPID); }
  ended() { systemctl -q is-failed lambent; }
  log() { journalctl -q -o cat -u lambent; }
  killed() { rm -f "$data/endpoints.json"; kill -KILL "$server"; ready; server=$(service MainPID); } # Restart= starts the next one
  replaced() { systemctl reload lambent; }
  stop() { systemctl stop lambent; is "the service is stopped" "$(service ActiveState) $(service Result)" '^inactive success$'; }
else
  serve() {
    rm -f "$data/endpoints.json"
    env "${settings[@]}" "$@" bin/lambent serve >>"$state/log" 2>&1 &
    server=$!
    ready
  }
  ended() { ! kill -0 "$server" 2>/dev/null; }
  log() { cat "$state/log"; }
  stop() { kill -TERM "$server"; wait "$server" 2>/dev/null; is "stops" $? '^0$'; }
  killed() { kill -KILL "$server"; wait "$server" 2>/dev/null; serve; }
  replaced() { lambent replace; }
fi

# install puts the unit of docs/operations.md in place, as it is there.
install_unit() {
  install bin/lambent /usr/local/bin/
  awk '/A unit for systemd:$/ {on = 1; next} on && /^[^ ]/ {exit} on {print substr($0, 5)}' docs/operations.md >/etc/systemd/system/lambent.service
  mkdir -p /etc/systemd/system/lambent.service.d
  printf '[Service]\n%s' "$(printf 'Environment=%s\n' "${settings[@]}")" >/etc/systemd/system/lambent.service.d/settings.conf
  systemctl daemon-reload
  systemctl -q enable lambent
}

deploy() {
  is "deploy" "$(lambent deploy examples/hello-python --name hello 2>&1)" created
  is "invoke" "$(lambent invoke hello -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
  mkdir "$functions/go" && cp .vm/built/examples/hello-go "$functions/go/bootstrap"
  is "deploy a program" "$(lambent deploy "$functions/go" --name go --runtime provided.al2023 2>&1)" created
  is "invoke a program" "$(lambent invoke go -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
  is "deploy Node.js" "$(lambent deploy examples/hello-nodejs --name node --memory 512 2>&1)" created
  is "invoke Node.js" "$(lambent invoke node -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
  is "deploy Ruby" "$(lambent deploy examples/hello-ruby --name ruby --memory 512 2>&1)" created
  is "invoke Ruby" "$(lambent invoke ruby -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
  mkdir "$functions/limits"
  cat >"$functions/limits/lambda_function.py" <<'P'
import mmap, socket, threading, time

def lambda_handler(event, context):
    what = event["do"]
    if what == "memory":
        # In one system call: a page fault of a User Mode Linux's program takes long.
        with mmap.mmap(-1, event["mb"] << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE) as m:
            return len(m) >> 20
    if what == "threads":
        threading.stack_size(1 << 16) # with 8 MB each a User Mode Linux does not come to its end
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
        # The most of three times: a host that is busy or stands still gives less.
        shares = []
        for _ in range(3):
            start, before = time.monotonic(), time.process_time()
            while time.monotonic() < start + event["seconds"]: pass
            shares.append((time.process_time() - before) / (time.monotonic() - start))
        return round(max(shares), 2)
    if what == "sleep":
        time.sleep(event["seconds"])
    if what == "connect":
        with socket.create_connection((event["to"], 8000), timeout=3) as c:
            return c.recv(100).decode()
    if what == "listen":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect((event["towards"], 1))
            own = s.getsockname()[0]
        server = socket.create_server(("", 8000))
        socket.create_connection((own, 8000), timeout=3)
        print("listens at", own, flush=True)
        time.sleep(event["seconds"])
    if what == "groups":
        return open("/proc/self/cgroup").read()
P
  is "deploy what goes to its limits" "$(lambent deploy "$functions/limits" --name limits --memory 512 --timeout 300 2>&1)" created
}

# warm tells whether the reserve has an interpreter of Python that forks, and a fork.
warm() { lambent reserves | grep -A1 '^python3.* [1-9][0-9]* ' | grep -qE '^  base +[1-9]'; }
blank() { lambent reserves | grep -qE '^nodejs[^ ]* +[1-9]'; }
reserves() {
  is "an interpreter of Python waits, and forks" "$(eventually 60 warm && echo warm)" warm
  is "one of Node.js waits" "$(eventually 60 blank && echo blank)" blank
  lambent reserves
  is "Python starts as a fork" "$(lambent coldstart hello --fresh 2>/dev/null | head -1)" 'forked from a warm interpreter|from a reserve'
  is "Node.js starts from a reserve" "$(lambent coldstart node --fresh 2>/dev/null | head -1)" 'from a reserve'
  is "without a reserve it starts from nothing" "$(lambent set hello reserve=off >/dev/null 2>&1; lambent coldstart hello --fresh 2>/dev/null | head -1; lambent set hello reserve=on 2>&1)" 'started from nothing'
}

limits() {
  is "memory within the limit" "$(lambent invoke limits -d '{"do": "memory", "mb": 200}' 2>/dev/null)" '^200'
  is "memory used is reported" "$(lambent logs limits | grep REPORT | tail -1 | grep -o 'Max Memory Used: [0-9]*')" ': 2[0-9][0-9]$'
  is "out of memory" "$(lambent invoke limits -d '{"do": "memory", "mb": 600}' 2>&1)" 'Runtime.ExitError.*|signal: killed'
  is "the function is named as out of memory" "$(lambent logs limits | grep REPORT | tail -1)" 'OutOfMemory'
  systemd && is "the service is not" "$(service ActiveState) $(service Result) $(service NRestarts) $(service MainPID)" "^active success 0 $server\$"
  is "processes" "$(lambent invoke limits -d '{"do": "threads"}' 2>&1)" '"[0-9]+, then: can.t start new thread"'
  is "share of a processor" "$(lambent invoke limits -d '{"do": "spin", "seconds": 3}' 2>/dev/null)" '^0\.(2[5-9]|3[0-3])'
  is "its groups are its own" "$(lambent invoke limits -d '{"do": "groups"}' 2>/dev/null)" '0::/\\n"'
}

# world makes a network namespace that stands for the outside, also for the metadata
# service of a cloud. Who connects to it, and to the host, is told from which address.
world() {
  cat >"$state/who.py" <<'P'
import socket
server = socket.create_server(("", 8000))
while True:
    c, peer = server.accept()
    c.sendall(peer[0].encode())
    c.close()
P
  ip netns add world && ip link add world0 type veth peer name eth0 netns world || return
  ip address add 198.51.100.1/24 dev world0 && ip link set world0 up
  ip -n world address add 198.51.100.2/24 dev eth0 && ip -n world address add 169.254.169.254/32 dev eth0 && ip -n world link set eth0 up
  ip -n world route add default via 198.51.100.1 && ip route add 169.254.169.254 via 198.51.100.2
  ip netns exec world python3 "$state/who.py" &
  servers=$!
  python3 "$state/who.py" &
  servers+=" $!"
}
connect() { "$@" python3 -c 'import socket, sys; print(socket.create_connection((sys.argv[1], 8000), 3).recv(100).decode())' "$to" 2>&1 | tail -1; }
calls() { lambent invoke limits -d '{"do": "connect", "to": "'"$to"'"}' 2>&1; }
network() {
  if uml; then
    is "that functions do not reach the outside is told" "$(log | grep -c 'functions have no network but loopback')" '^1$'
    return
  fi
  world
  to=198.51.100.2
  is "the outside is there" "$(eventually 30 connect >/dev/null; connect)" '^198.51.100.1$'
  is "a function reaches it, by the host's address" "$(calls)" '198.51.100.1'
  to=198.51.100.1
  is "the host listens" "$(connect)" '^198.51.100.1$'
  is "a function does not reach it" "$(calls)" 'timed out'
  to=169.254.169.254
  is "a link-local address is there" "$(connect)" '^198.51.100.1$'
  is "a function does not reach it" "$(calls)" 'timed out'
  lambent invoke limits -d '{"do": "listen", "seconds": 30, "towards": "198.51.100.2"}' >/dev/null 2>&1 &
  local listener=$!
  eventually 30 listens
  to=$(lambent logs limits | sed -n 's/.*listens at //p' | tail -1)
  is "a function listens, and reaches itself" "$to" '^[0-9.]+$'
  is "another instance does not reach it" "$(calls)" 'timed out'
  is "nor does the outside" "$(connect ip netns exec world)" 'timed out'
  wait "$listener"
  # shellcheck disable=SC2086 # they are two
  kill $servers
  ip netns delete world
}
listens() { lambent logs limits | grep -q 'listens at'; }

frozen() { find "$(groups)" -name cgroup.events -exec grep -l '^frozen 1' {} + | grep -q .; }
hibernation() {
  mkdir "$functions/dear"
  printf 'import time\ntime.sleep(1.5)\ncalls = 0\n\ndef lambda_handler(event, context):\n    global calls\n    calls += 1\n    return calls\n' >"$functions/dear/lambda_function.py"
  is "deploy what is dear to start" "$(lambent deploy "$functions/dear" --name dear 2>&1)" created
  is "invoke it" "$(lambent invoke dear 2>/dev/null)" '^1'
  is "idle, it is frozen" "$(eventually 30 frozen && echo frozen)" frozen
  is "a call wakes it" "$(lambent invoke dear 2>/dev/null)" '^2'
  is "which is reported" "$(lambent logs dear | grep REPORT | tail -1)" 'Thaw: '
}

faults() {
  lambent invoke limits -d '{"do": "sleep", "seconds": 50}' >/dev/null 2>&1 &
  sleep 2
  old=$(find "$(groups)" -name cgroup.procs -exec cat {} +)
  is "there are processes of functions" "$old" '[0-9]'
  killed
  is "those that a killed server left are ended" "$(for p in $old; do kill -0 "$p" 2>/dev/null && echo "$p"; done)" '^$'
  is "it serves again" "$(lambent invoke hello -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
  lambent invoke limits -d '{"do": "sleep", "seconds": 5}' >"$state/slept" 2>&1 &
  sleep 2
  systemd && install bin/lambent /usr/local/bin/ # an upgrade
  is "replaced" "$(replaced 2>&1; echo "$?")" '(^|.)0$'
  wait $!
  is "the call that ran is answered" "$? $(cat "$state/slept")" '^0 null'
  is "the next program is the same process" "$(lambent invoke hello -d '{"name": "you"}' 2>/dev/null) $(kill -0 "$server" && echo "$server")" 'Hello, you!.* [0-9]+$'
  systemd && is "the service knows it" "$(service ActiveState) $(service MainPID)" "^active $server\$"
  is "limits are enforced then" "$(log | grep -c 'limits are not enforced') $(lambent invoke limits -d '{"do": "memory", "mb": 600}' 2>&1)" '^0 .*signal: killed'
}

# down has the machine go down and come up, and this script with it.
down() {
  [ "$(lambent invoke limits --async -d '{"do": "sleep", "seconds": 10}' 2>&1 | tee "$state/event" | wc -l)" != 0 ] || failed=1
  echo "$failed" >"$state/before"
  sync "$state/before" "$state/event" "$state"
  echo "lambent-vm: again"
  if systemd; then systemctl --no-block reboot; else echo b >/proc/sysrq-trigger; fi
  sleep infinity
}

up() {
  failed=$before
  if systemd; then
    ready
    server=$(service MainPID)
    is "the machine came back with its service" "$(service ActiveState) $(service NRestarts)" '^active 0$'
  else
    is "the power was cut" "$([ -e "$data/endpoints.json" ] && echo "the server had not stopped")" had
    serve
  fi
  is "functions are back" "$(lambent invoke hello -d '{"name": "you"}' 2>&1)" 'Hello, you!'
  is "a program is back" "$(lambent invoke go -d '{"name": "you"}' 2>&1)" 'Hello, you!'
  is "an event that was accepted before is run" "$(lambent invocations wait "$(cat "$state/event")" 2>&1)" 'succeeded'
}

# bounded has the service have a limit that nothing more fits into.
bounded() {
  systemctl set-property --runtime lambent MemoryMax=300M
  lambent invoke node -d '{}' >/dev/null 2>&1 &
  sleep 5
  is "the service's own limit is known" "$(lambent scale why node 2>&1)" 'the group /system.slice/lambent.service has [0-9]+ MB of memory left of 300'
  wait $!
  is "a call that does not fit is refused" $? '^[1-9]'
  systemctl set-property --runtime lambent MemoryMax=infinity
  is "and that it is gone" "$(lambent invoke node -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
}

end() {
  stop
  is "nothing is left" "$(left)" '^$'
  is "no error was logged" "$(log | grep -E 'level=ERROR|panic')" '^$'
}

# contained runs a server as in a container, which sees its own groups only: it may
# write to them (rw) or not (ro).
contained() {
  mkdir "/sys/fs/cgroup/box-$1"
  : >"$state/log"
  serve unshare --mount sh "$state/contain" "$1"
}
containers() {
  cat >"$state/contain" <<'C'
echo $$ >"/sys/fs/cgroup/box-$1/cgroup.procs" || exit
exec unshare --cgroup sh -c 'umount /sys/fs/cgroup && mount -t cgroup2 box /sys/fs/cgroup && mount -o "remount,bind,$0" /sys/fs/cgroup && exec "$@"' "$@"
C
  contained rw
  is "limits are enforced in a container" "$(log | grep -c 'limits are not enforced') $(find /sys/fs/cgroup/box-rw -name 'lambent-????????')" '^0 .*/box-rw/lambent'
  is "out of memory in a container" "$(lambent invoke limits -d '{"do": "memory", "mb": 600}' 2>&1)" 'Runtime.ExitError.*|signal: killed'
  stop
  contained ro
  is "a container that only reads its groups is told" "$(log | grep 'limits are not enforced')" 'read-only file system'
  is "it serves all the same" "$(lambent invoke hello -d '{"name": "you"}' 2>/dev/null)" 'Hello, you!'
  stop
  is "nothing is left by it" "$(left)" '^$'
  find /sys/fs/cgroup/box-r? -depth -type d -exec rmdir {} +
}

if [ "$(printf '%s\n' 5.12 "$(uname -r)" | sort -V | head -1)" != 5.12 ]; then
  is "a kernel that is too old is named" "$(bin/lambent serve 2>&1)" "needs Linux 5.12.* this is $(uname -r)"
  exit $failed
fi
if [ -z "$before" ]; then
  ! systemd || install_unit
  serve
  is "limits are enforced" "$(log | grep -c 'limits are not enforced')" '^0$'
  log | grep WARN | grep -v wasm | cut -c1-200
  echo "        server in $(cat "/proc/$server/cgroup"), functions below $(groups)"
  ! systemd || is "functions are in the service's group" "$(groups)" '/lambent.service/'
  deploy
  for name in reserves limits network hibernation faults; do ! part "$name" || "$name"; done
  ! part reboot || down
else
  up
  ! systemd || bounded
fi
end
systemd || ! part containers || containers
[ "$failed" = 0 ] && echo "all is well" || echo "something is not well"
exit "$failed"
