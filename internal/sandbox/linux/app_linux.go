package linux

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// application is an instance of a version that serves HTTP by itself. It has no
// Runtime API, only the one that everybody calls: it is ready when its port is, and requests go to Dial.
type application struct {
	*Instance
	app      *lambent.App
	memoryMB int
	stop     unix.Signal // asks it to end
	netns    *os.File    // its network; open until it is ended
	// at is where it listens; valid once Init has found it.
	at    atomic.Pointer[netip.AddrPort]
	grace sync.Once
}

var (
	_ sandbox.Instance = (*application)(nil)
	_ sandbox.Dialer   = (*application)(nil)
)

// appSpec makes s start the application's own program instead of the runtime's.
// Of the runtime the language stays: its mounts and variables.
func appSpec(s sandbox.Spec) sandbox.Spec {
	rt := s.Runtime
	rt.Blank, rt.Control, rt.Fallback = nil, false, nil
	s.Env = withInterpreter(s.Env, rt)
	command := slices.Clone(s.Version.App.Command)
	switch {
	case rt.Application:
		command = rt.Command
	case len(command) == 0 && s.Version.Image == nil:
		command = []string{"/var/task/bootstrap"}
		rt.Fallback = []string{"/opt/bootstrap"}
	case len(command) == 0: // the image's, which the runtime has
		command = rt.Command
	case strings.Contains(command[0], "/"):
		if !path.IsAbs(command[0]) {
			command[0] = path.Join("/var/task", command[0])
		}
	default:
		command[0], rt.Fallback = onPath(command[0], slices.Concat(rt.Env, s.Env))
	}
	rt.Command = command
	s.Runtime = rt
	s.NoReserve = true
	return s
}

// onPath is where a program may be that is named without a directory: in the
// first of the places of env's PATH, else in the others.
func onPath(program string, env []string) (first string, others []string) {
	places := searchPath(env)
	for _, dir := range places[1:] {
		others = append(others, path.Join(dir, program))
	}
	return path.Join(places[0], program), others
}

// withInterpreter puts the runtime's own interpreter first on the PATH of env.
func withInterpreter(env []string, rt sandbox.Runtime) []string {
	if len(rt.Command) == 0 || !path.IsAbs(rt.Command[0]) || rt.Name == "" || strings.HasPrefix(rt.Name, "provided") {
		return env
	}
	dir := path.Dir(rt.Command[0])
	env = slices.Clone(env)
	for i, v := range env {
		if list, ok := strings.CutPrefix(v, "PATH="); ok && !slices.Contains(strings.Split(list, ":"), dir) {
			env[i] = "PATH=" + dir + ":" + list
		}
	}
	return env
}

// searchPath is where programs are looked for: the last PATH of env.
func searchPath(env []string) []string {
	list := "/usr/local/bin:/usr/bin:/bin"
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			list = value
		}
	}
	var dirs []string
	for _, dir := range strings.Split(list, ":") {
		if path.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	if dirs == nil {
		dirs = []string{"/usr/bin"}
	}
	return dirs
}

// openNetwork keeps an application's network at hand, which the shell's thread is
// in, as long as that still sees the host's files. The port of the Runtime API is
// the application's to use; the listener is where it calls the API instead.
func (b *builder) openNetwork() (err error) {
	if b.spec.Version.App == nil {
		return nil
	}
	_ = b.shell.listener.Close()
	b.shell.run(func() {
		b.netns, err = os.Open("/proc/thread-self/ns/net")
		// Images listen where they are used to, port 80 too: the network is their own.
		_ = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
		if err == nil && b.driver.opts.Calls != nil {
			var l net.Listener
			if l, err = listen(context.Background(), sandbox.CallsAddress(b.spec.Version)); err == nil {
				b.shell.listener = l
			}
		}
	})
	b.defers(func() {
		_ = b.netns.Close()
		_ = b.shell.listener.Close()
	})
	return err
}

// application makes i one.
func (b *builder) application(i *Instance) *application {
	v, stop := b.spec.Version, unix.SIGTERM
	if v.Image != nil && v.Image.StopSignal != 0 {
		stop = unix.Signal(v.Image.StopSignal)
	}
	return &application{Instance: i, app: v.App, memoryMB: v.MemoryMB, stop: stop, netns: b.netns}
}

// Init waits until the application listens on its port and, if it has a health
// path, answers there.
func (a *application) Init(ctx context.Context) (sandbox.InitResult, error) {
	ctx, cancel := context.WithTimeout(ctx, a.app.StartTimeout)
	defer cancel()
	failure := a.await(ctx)
	a.through()
	r := sandbox.InitResult{Took: time.Since(a.made), Origin: a.origin, Failure: failure}
	a.output.drain()
	if failure != nil {
		return r, nil
	}
	if err := a.confine(); err != nil && !a.ended() {
		return r, lambent.Errorf(lambent.CodeInternal, "limit the processor: %w", err)
	}
	return r, nil
}

// Intervals of looking at the port.
const (
	firstLook = 500 * time.Microsecond
	lastLook  = 20 * time.Millisecond
)

// await waits for the application to take requests. The port is looked at from
// outside: a connection that says nothing would be noise in its log.
func (a *application) await(ctx context.Context) *sandbox.Failure {
	status := 0 // the last answer's
	for wait := firstLook; ; wait = min(wait*5/4, lastLook) {
		if at, ok := a.listening(); ok {
			a.at.Store(&at)
			if a.app.Health == "" {
				return nil
			}
			if got := a.health(ctx); got > 0 {
				if status = got; status < 500 {
					return nil
				}
			}
		}
		select {
		case <-a.over:
			return a.whyEnded()
		case <-ctx.Done():
			return a.late(status)
		case <-time.After(wait):
		}
	}
}

// Why is the instance's. What has used up its memory is told so: AWS's words for it are
// those of any signal.
func (a *application) Why() *sandbox.Failure {
	f := a.Instance.Why()
	if f == nil || f.ReportType != sandbox.OutOfMemory {
		return f
	}
	return &sandbox.Failure{Type: sandbox.OutOfMemory, Message: fmt.Sprintf("it used all of its %d MB of memory", a.memoryMB)}
}

// whyEnded words the end of a program that was to listen.
func (a *application) whyEnded() *sandbox.Failure {
	f := *a.Why()
	switch {
	case a.process.entry != nil && len(a.app.Command) == 0: // its image says what it runs
		f.Message = "The application cannot be started: " + f.Message
		return &f
	case a.process.entry != nil:
		f.Message = "The command " + strings.Join(a.app.Command, " ") + " cannot be started: " + f.Message
		return &f
	}
	f.Message = fmt.Sprintf("The application ended before it listened on port %d: %s", a.app.Port, f.Message)
	return &f
}

// late says what was missing when StartTimeout was over.
func (a *application) late(status int) *sandbox.Failure {
	f := &sandbox.Failure{Type: "Runtime.StartTimeout"}
	switch {
	case status > 0:
		f.Message = fmt.Sprintf("The health path %s still answered %d after %s", a.app.Health, status, a.app.StartTimeout)
	case a.at.Load() != nil:
		f.Message = fmt.Sprintf("The health path %s did not answer within %s", a.app.Health, a.app.StartTimeout)
	default:
		f.Message = fmt.Sprintf("The application did not listen on port %d within %s", a.app.Port, a.app.StartTimeout)
		if others := a.others(); len(others) > 0 {
			f.Message += "; it listens on " + strings.Join(others, ", ") + " instead (the port to use is in the variable PORT)"
		}
	}
	return f
}

// listeners are all that listens in its network.
func (a *application) listeners() []netip.AddrPort {
	if all, err := listenersIn(a.netns); err == nil {
		return all
	}
	return listeners(a.process.pid)
}

// listening tells where the application listens on its port, as it is reached
// from its own network.
func (a *application) listening() (netip.AddrPort, bool) {
	for _, at := range a.listeners() {
		if int(at.Port()) != a.app.Port {
			continue
		}
		switch addr := at.Addr(); {
		case addr == netip.IPv4Unspecified():
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port()), true
		case addr == netip.IPv6Unspecified():
			return netip.AddrPortFrom(netip.IPv6Loopback(), at.Port()), true
		}
		return at, true
	}
	return netip.AddrPort{}, false
}

// others are the ports that it listens on.
func (a *application) others() []string {
	var ports []string
	ours := a.listener.Addr().String()
	for _, at := range a.listeners() {
		if at.String() == ours {
			continue
		}
		if p := strconv.Itoa(int(at.Port())); !slices.Contains(ports, p) && len(ports) < 8 {
			ports = append(ports, p)
		}
	}
	return ports
}

// health asks the health path and returns the status; 0 is no answer.
func (a *application) health(ctx context.Context) int {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return a.Dial(ctx) }, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:"+strconv.Itoa(a.app.Port)+a.app.Health, nil)
	if err != nil {
		return http.StatusInternalServerError // no such path can be asked for
	}
	req.Header.Set("User-Agent", "lambent-health")
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0
	}
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that it can finish its answer
	_ = res.Body.Close()
	return res.StatusCode
}

// healthTimeout bounds one question; the next one may find the application in a
// better state.
const healthTimeout = 5 * time.Second

// Dial connects to the application. The connection is made in its network, which
// only the socket has to be made in.
func (a *application) Dial(ctx context.Context) (net.Conn, error) {
	at := a.at.Load()
	if at == nil {
		return nil, lambent.Errorf(lambent.CodeUnavailable, "connect to %s: it does not listen yet", a.id)
	}
	c, err := a.dial(ctx, *at)
	if err != nil {
		return nil, lambent.Errorf(lambent.CodeUnavailable, "connect to port %d of %s: %w", a.app.Port, a.id, err)
	}
	return c, nil
}

func (a *application) dial(ctx context.Context, at netip.AddrPort) (net.Conn, error) {
	if a.ended() {
		return nil, net.ErrClosed
	}
	return dialIn(ctx, a.netns, at)
}

// stopGrace is how long an application may take to end its work by itself. The
// pool has let the requests end before.
const stopGrace = 5 * time.Second

// Stop asks an application that listens for it to end, and ends it if it does not.
func (a *application) Stop(ctx context.Context) error {
	a.grace.Do(func() {
		a.end(&sandbox.Failure{Type: sandbox.ByPlatform, Message: "The sandbox was stopped"})
		a.bid(ctx, a.stop, stopGrace, a.staying())
		_ = a.netns.Close()
	})
	return a.Instance.Stop(ctx)
}

// staying tells of a program that has taken the signal, has put the default in the
// place of its handler, and listens on. Node.js does that with each program that has
// no handler of its own, to end by the signal, which the first process of a namespace
// cannot (pid_namespaces(7)).
func (a *application) staying() func() bool {
	seen := 0
	return func() bool {
		if _, listens := a.listening(); !listens || catches(a.process.pid, a.stop) {
			seen = 0
			return false
		}
		seen++
		return seen > 3
	}
}

// Ready is always: requests do not wait for each other.
func (a *application) Ready() <-chan struct{} { return always }

// WhenReady never has to wait.
func (a *application) WhenReady(func()) bool { return false }

var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Invoke is not for applications.
func (a *application) Invoke(context.Context, sandbox.Event) (sandbox.Answer, error) {
	return sandbox.Answer{}, lambent.Errorf(lambent.CodeUnsupported, "%s is an HTTP application, which takes no events", a.id)
}
