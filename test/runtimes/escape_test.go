package runtimes

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// asked is what probes try besides what they know by themselves.
type asked struct {
	Read    []string `json:"read,omitempty"`
	Write   []string `json:"write,omitempty"`
	Dial    []string `json:"dial,omitempty"`
	Process []int    `json:"process,omitempty"`
	Seek    string   `json:"seek,omitempty"`
}

// outcome of probes, by their names.
type outcome struct{ Worked, Refused, Broken map[string]string }

func (o outcome) names() []string {
	all := maps.Clone(o.Worked)
	maps.Copy(all, o.Refused)
	maps.Copy(all, o.Broken)
	return slices.Sorted(maps.Keys(all))
}

// bait is what there is on the host for a function to reach.
type bait struct {
	asked
	reached atomic.Int64 // connections and datagrams that arrived
}

// newBait puts up listeners of every kind on every address of the host, and
// collects the files of the server.
func newBait(t *testing.T, s *harness.Server) *bait {
	t.Helper()
	b := &bait{}
	b.Process = strangers(t, s.PID(), os.Getpid())
	b.Read = append(b.Read, fmt.Sprintf("/proc/%d/root/etc/shadow", b.Process[len(b.Process)-1]))
	b.listen(t, "tcp", "127.0.0.1:0", "127.0.0.1")
	b.listen(t, "unix", filepath.Join(t.TempDir(), "socket"), "")
	b.listen(t, "unix", fmt.Sprintf("@lambent-bait-%d", os.Getpid()), "")
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() {
			continue
		}
		b.listen(t, "tcp", net.JoinHostPort(n.IP.String(), "0"), n.IP.String())
		b.datagrams(t, n.IP.String())
	}
	b.Dial = append(b.Dial, "tcp "+strings.TrimPrefix(s.API, "http://"), "tcp "+strings.TrimPrefix(s.Gateway, "http://"))
	err = filepath.WalkDir(s.Data, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (d.Name() == "credentials" || d.Name() == "records.db" || d.Name() == "secret.txt") {
			b.Read = append(b.Read, path)
		}
		return err
	})
	if err != nil || len(b.Read) < 4 {
		t.Fatalf("files of the server: %v, %v", b.Read, err)
	}
	b.Read = append(b.Read, s.Data)
	return b
}

// strangers are those of the processes, and another one, whose ids are higher than any
// that a sandbox of this test has for its own: on a host that was just started the
// server has one that a probe has as well, and nobody is refused his own.
func strangers(t *testing.T, pids ...int) []int {
	t.Helper()
	const own = 4096
	far := slices.DeleteFunc(pids, func(pid int) bool { return pid <= own })
	_ = os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte("20000"), 0)
	for {
		c := exec.CommandContext(t.Context(), "cat")
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		end := func() { _ = in.Close(); _ = c.Wait() }
		if c.Process.Pid > own {
			t.Cleanup(end)
			return append(far, c.Process.Pid)
		}
		end()
	}
}

func (b *bait) listen(t *testing.T, network, address, host string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.reached.Add(1)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	if host != "" {
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		address = net.JoinHostPort(host, port)
	}
	b.Dial = append(b.Dial, network+" "+address)
}

func (b *bait) datagrams(t *testing.T, host string) {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64)
		for {
			if _, _, err := c.ReadFrom(buf); err != nil {
				return
			}
			b.reached.Add(1)
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
	b.Dial = append(b.Dial, "udp "+c.LocalAddr().String())
}

// linkLocal adds the host's ends of the instances' own links, which appear with
// them.
func (b *bait) linkLocal(t *testing.T, port string) []string {
	t.Helper()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	seen := map[string]bool{}
	for _, l := range links {
		addrs, err := l.Addrs()
		if err != nil || !strings.HasPrefix(l.Name, "lmb") {
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() == nil && !seen[n.IP.String()] {
				seen[n.IP.String()] = true
				out = append(out, fmt.Sprintf("tcp [%s%%if]:%s", n.IP, port))
			}
		}
	}
	return out
}

// outside runs a probe on the host as root, where only its mounts and name are
// its own. That all of it works there is what makes a refusal mean something.
func outside(t *testing.T, dir string, command ...string) []byte {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "PROBE_ISOLATE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("probe outside: %v\n%s", err, out)
	}
	return out
}

// hostLacks are the attempts that need something of the kernel or the host that
// is not everywhere. Without it they are refused outside too.
var hostLacks = []string{
	"read /boot", "read /var/log", "read kernel memory", "read /proc/kcore", "trace kernel files", "read /dev/kmsg",
	"load a module", "load a module from file", "load a kernel", "use a keyring", "use io_uring", "use userfaultfd",
	"account processes", "open a perf event", "use bpf", "vsock", "crypto socket", "netfilter socket", "swap",
	"write /sys", "write sysrq", "write /proc/sysrq-trigger", "write /sys/kernel/mm/transparent_hugepage/enabled",
	"change a control group", "raise RLIMIT_NOFILE", "raise RLIMIT_NPROC", "raise RLIMIT_MEMLOCK", "raise limits",
	"use a loop device", "open a file by handle",
}

// neverOutside are answers that only the listener's side can give.
func neverOutside(name string) bool {
	return strings.HasPrefix(name, "dial udp") || strings.Contains(name, "%if") || name == "nothing"
}

// checkOutside makes sure that the probes can work.
func checkOutside(t *testing.T, o outcome) {
	t.Helper()
	for name, why := range o.Refused {
		if !slices.Contains(hostLacks, name) && !neverOutside(name) {
			t.Errorf("outside of a sandbox, %q is refused too (%s): it proves nothing", name, why)
		} else if !neverOutside(name) {
			t.Logf("this host does not have it: %s (%s)", name, why)
		}
	}
	for name, why := range o.Broken {
		t.Errorf("outside of a sandbox, %q is broken: %s", name, why)
	}
	if len(o.Worked) < 10 {
		t.Errorf("outside of a sandbox only these work: %v", o.Worked)
	}
}

// checkInside makes sure that none works, and each for being refused.
func checkInside(t *testing.T, o outcome, want []string) {
	t.Helper()
	for name, what := range o.Worked {
		t.Errorf("%s: %s", name, what)
	}
	for name, why := range o.Broken {
		t.Errorf("%q is broken: %s", name, why)
	}
	for _, name := range want {
		if _, ok := o.Refused[name]; !ok {
			t.Errorf("%q was tried outside, not in the sandbox", name)
		}
	}
}

func outcomeOf(t *testing.T, b []byte) outcome {
	t.Helper()
	var o outcome
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatalf("outcome of probes: %v\n%.2000s", err, b)
	}
	return o
}

// native are the probes of each language as programs of their own.
func native(t *testing.T, language, dir string, a asked) outcome {
	t.Helper()
	switch language {
	case "python":
		return outcomeOf(t, outside(t, dir, "python3", "probes.py", marshal(t, a)))
	case "nodejs":
		return outcomeOf(t, outside(t, dir, "node", "probes.js", marshal(t, a)))
	default:
		args := []string{"java", "-cp", ".", "fn.Probes", "seek", a.Seek}
		for key, values := range map[string][]string{"read": a.Read, "write": a.Write, "dial": a.Dial} {
			for _, v := range values {
				args = append(args, key, v)
			}
		}
		for _, pid := range a.Process {
			args = append(args, "process", fmt.Sprint(pid))
		}
		o := outcome{map[string]string{}, map[string]string{}, map[string]string{}}
		for line := range strings.Lines(string(outside(t, dir, args...))) {
			kind, rest, _ := strings.Cut(strings.TrimSpace(line), "\t")
			name, what, _ := strings.Cut(rest, "\t")
			map[string]map[string]string{"worked": o.Worked, "refused": o.Refused, "broken": o.Broken}[kind][name] = what
		}
		return o
	}
}

// TestEscape tries, from functions of every runtime, what a sandbox has to stop,
// and the same outside, where all of it has to work.
func TestEscape(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "secret", Runtime: "provided.al2023",
		Zip: harness.Zip(t, map[string]string{"bootstrap!": "#!/bin/sh\n", "secret.txt": "another function's code"})})
	b := newBait(t, s)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.API, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	neighbour := newNeighbour(t, s)
	b.Seek = neighbour.marker
	b.Dial = append(b.Dial, b.linkLocal(t, port)...)

	// Everything can be reached, by one who is outside.
	write(t, filepath.Join("/tmp", b.Seek), "bait", 0o600)
	t.Cleanup(func() { _ = os.Remove(filepath.Join("/tmp", b.Seek)) })
	program := providedProgram.Path(t)
	free := outcomeOf(t, outside(t, t.TempDir(), program, "probe", marshal(t, b.asked)))
	checkOutside(t, free)
	deadline := time.Now().Add(2 * time.Second)
	for want := int64(len(b.Dial) - 2 - len(b.linkLocal(t, port))); b.reached.Load() < want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d listeners were reached from outside", b.reached.Load(), want)
		}
	}

	inside := b.asked
	inside.Write = []string{"/var/task", "/opt", "/dev", "/run", "/proc", "/var/runtime"}
	inside.Dial = append(slices.Clone(inside.Dial), neighbour.dial...)
	inside.Dial = append(inside.Dial, "tcp 169.254.169.254:80", "tcp 169.254.170.2:80")
	var before int64
	t.Run("from", func(t *testing.T) {
		for _, language := range []string{"python", "nodejs", "java", "provided"} {
			escapeFrom(t, s, attempt{language: language, outside: b.asked, inside: inside, want: free.names()})
		}
		// What follows, in parallel, is inside; the last from outside may still be accepted.
		time.Sleep(100 * time.Millisecond)
		before = b.reached.Load()
	})
	if n := b.reached.Load(); n != before {
		t.Errorf("the host's listeners were reached %d times", n-before)
	}
	neighbour.check(t, s)
}

// attempt is one language's part of the test.
type attempt struct {
	language        string
	outside, inside asked
	want            []string // names of the native program's probes
}

// escapeFrom tries from some versions of a language, at the same time as from
// others: most of the time they wait for packets that do not come.
func escapeFrom(t *testing.T, s *harness.Server, a attempt) {
	runtimes := []string{"provided.al2023", "provided.al2"}
	if a.language != "provided" {
		runtimes = some(ready(t, s, a.language))
	}
	if len(runtimes) == 0 {
		t.Run(a.language, func(t *testing.T) { t.Skip("this host has no such runtime") })
		return
	}
	dir := code(t, a.language)
	if a.language != "provided" {
		checkOutside(t, native(t, a.language, dir, a.outside))
	}
	for _, runtime := range runtimes {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			escape(t, s, runtime, dir, a)
		})
	}
}

// handlers of the shared function.
var handlers = map[string]string{"python": "main.handler", "nodejs": "index.handler", "java": "fn.Main", "provided": "bootstrap",
	"ruby": "main.handler", "php": "main.handler", "deno": "main.handler", "bun": "main.handler", "bash": "main.handler",
	"dotnet": "fn::Fn.Main::Handle"}

func escape(t *testing.T, s *harness.Server, runtime, dir string, a attempt) {
	name := "escape-" + strings.ReplaceAll(runtime, ".", "-")
	s.Create(t, harness.Function{Name: name, Runtime: runtime, Handler: handlers[a.language], Zip: harness.ZipDir(t, dir), Memory: 512, Timeout: 60})
	event := marshal(t, a.inside)
	out := s.Invoke(t, name, marshal(t, map[string]any{"do": "run", "command": []string{"/var/task/bootstrap", "probe", event}}))
	checkInside(t, outcomeOf(t, []byte(decode[string](t, out))), a.want)
	if a.language != "provided" {
		all := map[string]any{"do": "probe"}
		if err := json.Unmarshal([]byte(event), &all); err != nil {
			t.Fatal(err)
		}
		o := decode[outcome](t, s.Invoke(t, name, marshal(t, all)))
		checkInside(t, o, nil)
		if len(o.Refused) < 20 {
			t.Errorf("only %d attempts: %v", len(o.Refused), o.names())
		}
	}
	env := decode[map[string]string](t, s.Invoke(t, name, `{"do":"env"}`))
	keys, err := s.Config().Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for variable, value := range env {
		if strings.Contains(value, keys.SecretAccessKey) || strings.Contains(value, keys.AccessKeyID) {
			t.Errorf("%s is one of the server's credentials", variable)
		}
	}
}

// neighbour is a live instance with something in its /tmp and a listener.
type neighbour struct {
	marker string
	dial   []string
}

const neighbourCode = `
import os, socket, threading

held, reached, calls = [], [], []

def accept(l):
    while True:
        reached.append(str(l.accept()[1]))

def handler(event, context):
    calls.append(context.aws_request_id)
    if not held:
        with open("/tmp/" + event["marker"], "w") as f:
            f.write("the neighbour's")
        os.chmod("/tmp/" + event["marker"], 0o644)
        held.append(socket.create_server(("0.0.0.0", 4567)))
        threading.Thread(target=accept, args=held, daemon=True).start()
        socket.create_connection(("127.0.0.1", 4567)).close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("192.0.2.1", 9))
        address = s.getsockname()[0]
    return {"address": address, "reached": reached, "calls": len(calls), "found": open("/tmp/" + event["marker"]).read()}
`

type neighbourState struct {
	Address string   `json:"address"`
	Found   string   `json:"found"`
	Calls   int      `json:"calls"`
	Reached []string `json:"reached"`
}

func newNeighbour(t *testing.T, s *harness.Server) *neighbour {
	t.Helper()
	pythons := ready(t, s, "python")
	if len(pythons) == 0 {
		t.Skip("this host has no Python")
	}
	n := &neighbour{marker: fmt.Sprintf("lambent-marker-%d", os.Getpid())}
	s.Create(t, harness.Function{Name: "neighbour", Runtime: pythons[0], Handler: "main.handler", Zip: harness.Zip(t, map[string]string{"main.py": neighbourCode})})
	state := n.invoke(t, s)
	n.dial = []string{"tcp " + state.Address + ":4567", "tcp " + state.Address + ":9001"}
	// An address of the same pool that nobody has must not be looked for outside.
	address, err := netip.ParseAddr(state.Address)
	if err != nil {
		t.Fatal(err)
	}
	free := address.As4()
	free[3] ^= 0x55
	n.dial = append(n.dial, "tcp "+netip.AddrFrom4(free).String()+":4567")
	return n
}

func (n *neighbour) invoke(t *testing.T, s *harness.Server) neighbourState {
	t.Helper()
	return decode[neighbourState](t, s.Invoke(t, "neighbour", marshal(t, map[string]string{"marker": n.marker})))
}

// check makes sure that the neighbour was there all the time, and reached by none
// but itself.
func (n *neighbour) check(t *testing.T, s *harness.Server) {
	t.Helper()
	state := n.invoke(t, s)
	if state.Calls != 2 || state.Found != "the neighbour's" || len(state.Reached) != 1 || !strings.Contains(state.Reached[0], "127.0.0.1") {
		t.Errorf("the neighbour's state is %+v", state)
	}
}
