package runtimes_test

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox"
)

// process is a running function, however it came to be.
type process interface {
	kill()
	wait() int // the exit status
}

// launched is what to run.
type launched struct {
	runtime sandbox.Runtime
	dir     string
	env     []string
}

// originOverride, if set, starts from nothing whatever the test's name. Tests that
// set it do not run beside others.
var originOverride string

// originOf tells from a test's name how its functions are started: the same suites
// run over all of them.
func originOf(name string) string {
	if originOverride != "" {
		return ""
	}
	for _, origin := range []string{"Blank", "Fork"} {
		if strings.Contains(name, "Over"+origin) {
			return origin
		}
	}
	return ""
}

// launch starts the process and brings it to the point where it is the function's.
func launch(t *testing.T, log io.Writer, l launched) process {
	t.Helper()
	toHost := strings.NewReplacer(append([]string{"/var/task", l.dir}, mounts(l.runtime)...)...)
	toHostAll := func(list []string) []string {
		var out []string
		for _, s := range list {
			out = append(out, toHost.Replace(s))
		}
		return out
	}
	// The sources are not a read-only mount here.
	env := append(toHostAll(l.env), "PYTHONDONTWRITEBYTECODE=1")
	switch origin := originOf(t.Name()); {
	case origin == "":
		return execute(t, log, program{command: toHostAll(l.runtime.Command), env: env, dir: l.dir})
	case l.runtime.Blank == nil:
		t.Fatal("the runtime has no blank")
	case origin == "Fork":
		z := zygotes.get(t, program{
			command: toHostAll(l.runtime.Blank.Zygote),
			env:     append(toHostAll(l.runtime.Blank.Env), "PYTHONDONTWRITEBYTECODE=1", "LAMBENT_CONTROL=3"),
		})
		f := z.fork(t, log)
		f.specialise(t, env)
		return f
	}
	blank := toHostAll(l.runtime.Blank.Env)
	blank = append(blank, "PYTHONDONTWRITEBYTECODE=1", "LAMBENT_CONTROL=3", "LAMBENT_BLANK=1")
	ours, theirs := pair(t, unix.SOCK_STREAM)
	e := execute(t, log, program{command: toHostAll(l.runtime.Blank.Command), env: blank, dir: "/", control: theirs})
	_ = theirs.Close()
	(&control{f: ours}).specialise(t, env)
	return e
}

// mounts are pairs of sandbox path and host path.
func mounts(rt sandbox.Runtime) []string {
	var out []string
	for _, m := range rt.Mounts {
		if m.Host != "" {
			out = append(out, m.Guest, m.Host)
		}
	}
	return out
}

type program struct {
	command, env []string
	dir          string
	control      *os.File
}

type executed struct{ cmd *exec.Cmd }

func execute(t *testing.T, log io.Writer, p program) *executed {
	t.Helper()
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.env, p.dir, log, log
	if p.control != nil {
		cmd.ExtraFiles = []*os.File{p.control}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &executed{cmd}
}

func (e *executed) kill() { _ = e.cmd.Process.Kill() } // it may have ended by itself

func (e *executed) wait() int {
	_ = e.cmd.Wait() // the status says it
	return e.cmd.ProcessState.ExitCode()
}

// pair is a connected pair of sockets; ours is closed by the test.
func pair(t *testing.T, kind int) (ours, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = os.NewFile(uintptr(fds[0]), "driver"), os.NewFile(uintptr(fds[1]), "bootstrap")
	t.Cleanup(func() { _ = ours.Close() })
	return ours, theirs
}

// control is the driver's end of the control protocol.
type control struct {
	f       *os.File
	modules []string // of the message M
	mu      sync.Mutex
	done    chan struct{}
}

// hear reads one message.
func (c *control) hear(t *testing.T, want byte) {
	t.Helper()
	var b [1]byte
	if _, err := io.ReadFull(c.f, b[:]); err != nil {
		t.Fatalf("read %q from the bootstrap: %v", want, err)
	}
	if b[0] == 'E' {
		text, _ := c.block() // it is only shown
		t.Fatalf("the fork ended: %s", text)
	}
	if b[0] == 'T' && want == 'L' { // the same word, with the time
		var at [8]byte
		if _, err := io.ReadFull(c.f, at[:]); err != nil {
			t.Fatalf("read the time: %v", err)
		}
		b[0] = want
	}
	if b[0] != want {
		t.Fatalf("the bootstrap said %q, want %q", b[0], want)
	}
}

func (c *control) block() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.f, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(c.f, body)
	return body, err
}

// told are the modules of M.
func (c *control) told() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.modules
}

// specialise makes a function of a blank.
func (c *control) specialise(t *testing.T, env []string) {
	t.Helper()
	c.hear(t, 'B')
	c.send(t, env)
	c.hear(t, 'L')
	c.done = make(chan struct{})
	go func() { // ends with the bootstrap's end of the socket
		defer close(c.done)
		var b [1]byte
		if _, err := io.ReadFull(c.f, b[:]); err != nil || b[0] != 'M' {
			return
		}
		if body, err := c.block(); err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			_ = json.Unmarshal(body, &c.modules) // an empty list fails the tests that look
		}
	}()
	t.Cleanup(func() { _ = c.f.Close(); <-c.done })
}

func (c *control) send(t *testing.T, env []string) {
	t.Helper()
	vars := map[string]string{}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	body, err := json.Marshal(map[string]any{"env": vars})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.f.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		t.Fatal(err)
	}
}

// zygotes has one for each command line, for all tests.
var zygotes zygoteSet

type zygoteSet struct {
	mu  sync.Mutex // guards all
	all map[string]*zygote
}

// get gives the zygote for a program, started when it is first asked for.
func (s *zygoteSet) get(t *testing.T, p program) *zygote {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a zygote needs root")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.Join(slices.Concat(p.command, p.env), "\x00")
	if z := s.all[key]; z != nil {
		return z
	}
	z := startZygote(t, p)
	if s.all == nil {
		s.all = map[string]*zygote{}
	}
	s.all[key] = z
	return z
}

func (s *zygoteSet) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, z := range s.all {
		z.end()
	}
}

// zygote is the driver's end of one.
type zygote struct {
	mu  sync.Mutex // one request at a time
	f   *os.File
	run *executed
	log *syncBuffer
}

func startZygote(t *testing.T, p program) *zygote {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "zygote")
	p.dir, p.control = "/", theirs
	z := &zygote{f: os.NewFile(uintptr(fds[0]), "driver"), log: &syncBuffer{}}
	z.run = execute(t, z.log, p)
	_ = theirs.Close()
	return z
}

func (z *zygote) end() {
	_ = z.f.Close()
	z.run.wait()
}

type reply struct {
	PID    int
	Error  string
	Loaded []string
	Failed map[string]string
}

// ask sends one request.
func (z *zygote) ask(t *testing.T, request map[string]any, fds ...int) reply {
	t.Helper()
	z.mu.Lock()
	defer z.mu.Unlock()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(int(z.f.Fd()), body, unix.UnixRights(fds...), nil, 0); err != nil {
		t.Fatalf("ask the zygote: %v; it said:\n%s", err, z.log)
	}
	buf := make([]byte, 64<<10)
	n, err := unix.Read(int(z.f.Fd()), buf)
	if err != nil || n == 0 {
		t.Fatalf("the zygote does not answer: %v; it said:\n%s", err, z.log)
	}
	var out reply
	if err := json.Unmarshal(buf[:n], &out); err != nil {
		t.Fatalf("the zygote answered %s: %v", buf[:n], err)
	}
	return out
}

// step is one system call for a fork.
func step(name string, nr int, args ...any) map[string]any {
	return map[string]any{"name": name, "nr": nr, "args": args}
}

func fd(i int) map[string]any { return map[string]any{"fd": i} }

// forked is a process that a zygote made.
type forked struct {
	control
	pid    int
	copied chan struct{}
}

// fork makes a blank whose output goes to log. It does what is left of the driver's
// list when nothing is isolated.
func (z *zygote) fork(t *testing.T, log io.Writer) *forked {
	t.Helper()
	ours, theirs := pair(t, unix.SOCK_STREAM)
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	answer := z.ask(t, map[string]any{"op": "fork", "steps": []any{
		step("setsid", unix.SYS_SETSID),
		step("dup stdin", unix.SYS_DUP3, fd(1), 0, 0),
		step("dup stdout", unix.SYS_DUP3, fd(2), 1, 0),
		step("dup stderr", unix.SYS_DUP3, fd(2), 2, 0),
		step("dup control", unix.SYS_DUP3, fd(0), 3, 0),
		step("close_range", unix.SYS_CLOSE_RANGE, 4, uint64(^uint32(0)), 0),
	}}, int(theirs.Fd()), int(null.Fd()), int(in.Fd()))
	for _, f := range []*os.File{theirs, null, in} {
		_ = f.Close()
	}
	if answer.PID == 0 {
		t.Fatalf("the zygote answered %+v", answer)
	}
	f := &forked{control: control{f: ours}, pid: answer.PID, copied: make(chan struct{})}
	go func() { // ends with the last writer
		defer close(f.copied)
		_, _ = io.Copy(log, out)
		_ = out.Close()
	}()
	return f
}

func (f *forked) kill() { _ = syscall.Kill(f.pid, syscall.SIGKILL) } // it may have ended by itself

func (f *forked) wait() int {
	var status syscall.WaitStatus
	for {
		if _, err := syscall.Wait4(f.pid, &status, 0, nil); err == nil {
			break
		} else if err != syscall.EINTR {
			return -2
		}
	}
	select {
	case <-f.copied:
	case <-time.After(5 * time.Second): // somebody else has its output open
	}
	return status.ExitStatus()
}

// Every suite of the handlers runs again over processes that were there before
// their function.

func TestPythonOverBlanks(t *testing.T) { overOrigins(t, pythonSuites) }
func TestPythonOverForks(t *testing.T)  { overOrigins(t, pythonSuites) }
func TestNodeOverBlanks(t *testing.T)   { overOrigins(t, nodeSuites) }

func overOrigins(t *testing.T, suites map[string]func(*testing.T)) {
	for name, suite := range suites {
		t.Run(name, suite)
	}
}

var pythonSuites = map[string]func(*testing.T){
	"Echo": TestPythonEcho, "NonASCII": TestPythonNonASCII, "Error": TestPythonError, "OutOfFiles": TestPythonOutOfFiles,
	"InitErrors": TestPythonInitErrors, "Exits": TestPythonExits, "Context": TestPythonContext, "Payloads": TestPythonPayloads,
	"RefusedAnswers": TestPythonRefusedAnswers, "LogText": TestPythonLogText, "LogJSON": TestPythonLogJSON,
}

var nodeSuites = map[string]func(*testing.T){
	"Echo": TestNodeEcho, "HandlerForms": TestNodeHandlerForms, "Errors": TestNodeErrors, "Callbacks": TestNodeCallbacks,
	"InitErrors": TestNodeInitErrors, "Exits": TestNodeExits, "Context": TestNodeContext, "Payloads": TestNodePayloads,
	"RefusedAnswers": TestNodeRefusedAnswers, "Streaming": TestNodeStreaming, "LogText": TestNodeLogText, "LogJSON": TestNodeLogJSON,
}
