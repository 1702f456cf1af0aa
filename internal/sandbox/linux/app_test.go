package linux

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// server is the beginning of a program that serves by what follows.
const server = `
import http.server, os, signal, socket, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200
    def do_GET(self):
        body = (os.environ["PORT"] + " " + os.getcwd() + " " + os.environ.get("AWS_LAMBDA_RUNTIME_API", "no api")).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET
port = int(os.environ["PORT"])
def serve(address="", kind=Server, p=port): kind((address, p), Handler).serve_forever()
`

// appSpecOf is an application of this program.
func appSpecOf(t *testing.T, id, program string) (sandbox.Spec, *sandboxtest.Lines) {
	t.Helper()
	code := t.TempDir()
	if err := os.Chmod(code, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(code, "server.py"), []byte(server+program), 0o644); err != nil {
		t.Fatal(err)
	}
	lines := &sandboxtest.Lines{}
	spec := sandboxtest.Spec(id, code, lines)
	spec.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin"}
	spec.Version.MemoryMB = 1769
	spec.Version.App = &lambent.App{Port: 8080, Command: []string{"python3", "server.py"}, StartTimeout: 10 * time.Second, Concurrency: 10}
	return spec, lines
}

func ask(t *testing.T, i sandbox.Instance, path string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return i.(sandbox.Dialer).Dial(ctx) }}}
	res, err := c.Get("http://app" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestApplications starts applications that listen in every way, beside each other
// on the same port.
func TestApplications(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	before := traces(t, dir)
	d := sandbox.Guard(newDriver(t, Options{DataDir: dir, Log: verbose(t)}))
	for name, program := range map[string]string{
		"anywhere":        "serve()",
		"loopback":        "serve('127.0.0.1')",
		"after-a-while":   "time.sleep(0.5); serve()",
		"ipv6":            "Server.address_family = socket.AF_INET6; serve('::')",
		"ipv6-loopback":   "Server.address_family = socket.AF_INET6; serve('::1')",
		"api-port":        "import threading; threading.Thread(target=serve, args=('127.0.0.1', Server, 9001)).start(); serve()",
		"own-address":     "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('192.0.2.1', 1)); serve(s.getsockname()[0])",
		"several-threads": "serve()",
	} {
		t.Run(name, func(t *testing.T) {
			spec, _ := appSpecOf(t, "app-"+name, program)
			i := sandboxtest.Start(t, d, spec).Instance
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if status, body := ask(t, i, "/"); status != 200 || body != "8080 /var/task no api" {
						t.Errorf("%d %q", status, body)
					}
				})
			}
			wg.Wait()
		})
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if after := traces(t, dir); !slices.Equal(before, after) {
		t.Errorf("left on the host: %v, before: %v", after, before)
	}
}

// TestApplicationsThatDoNotStart say what is wrong.
func TestApplicationsThatDoNotStart(t *testing.T) {
	needRoot(t)
	d := sandbox.Guard(newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)}))
	t.Cleanup(func() { _ = d.Close() }) // when those that run beside each other have ended
	for name, c := range map[string]struct {
		program, kind, message string
		change                 func(*lambent.App)
	}{
		"never":     {"time.sleep(60)", "Runtime.StartTimeout", "did not listen on port 8080 within 4s", nil},
		"elsewhere": {"serve(p=3000)", "Runtime.StartTimeout", "it listens on 3000 instead", nil},
		"exits":     {"sys.exit(7)", "Runtime.ExitError", "ended before it listened on port 8080: Runtime exited with error: exit status 7", nil},
		"fails":     {"raise ValueError('x')", "Runtime.ExitError", "exit status 1", nil},
		"unhealthy": {"Handler.status = 503; serve()", "Runtime.StartTimeout", "/healthz still answered 503 after 4s", func(a *lambent.App) { a.Health = "/healthz" }},
		"mute": {"s = socket.create_server(('', port)); time.sleep(60)", "Runtime.StartTimeout", "/healthz did not answer within 4s",
			func(a *lambent.App) { a.Health = "/healthz" }},
		"no-program": {"", "Runtime.InvalidEntrypoint", "nosuch", func(a *lambent.App) { a.Command = []string{"nosuch"} }},
		"no-file":    {"", "Runtime.InvalidEntrypoint", "/var/task/run.sh", func(a *lambent.App) { a.Command = []string{"./run.sh"} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, _ := appSpecOf(t, "app-"+name, c.program)
			spec.Version.App.StartTimeout = 4 * time.Second
			if c.change != nil {
				c.change(spec.Version.App)
			}
			i, err := d.Start(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = i.Stop(context.Background()) }()
			r, err := i.Init(t.Context())
			if err != nil || r.Failure == nil || r.Failure.Type != c.kind || !strings.Contains(r.Failure.Message, c.message) {
				t.Errorf("%+v, %v", r.Failure, err)
			}
		})
	}
}

// TestApplicationIsAskedToEnd has one clean up, one not care, one send itself the signal
// as Node.js does, and one that takes a second signal for an order, and has work to do.
func TestApplicationIsAskedToEnd(t *testing.T) {
	needRoot(t)
	d := sandbox.Guard(newDriver(t, Options{DataDir: t.TempDir(), Log: verbose(t)}))
	defer func() { _ = d.Close() }()
	for name, program := range map[string]string{
		"cleans-up": "def end(*a): print('cleaned up', flush=True); os._exit(0)\nsignal.signal(signal.SIGTERM, end); serve()",
		"does-not":  "serve()",
		"re-raises": "def end(*a): signal.signal(signal.SIGTERM, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGTERM)\nsignal.signal(signal.SIGTERM, end); serve()",
		"works-on": "import time\ns = Server(('', port), Handler)\n" +
			"def end(*a): signal.signal(signal.SIGTERM, signal.SIG_DFL); s.server_close(); time.sleep(1); print('cleaned up', flush=True); os._exit(0)\n" +
			"signal.signal(signal.SIGTERM, end); s.serve_forever()",
	} {
		t.Run(name, func(t *testing.T) {
			spec, lines := appSpecOf(t, "app-"+name, program)
			i, err := d.Start(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := i.Init(t.Context()); err != nil || r.Failure != nil {
				t.Fatalf("%+v, %v", r.Failure, err)
			}
			began := time.Now()
			if err := i.Stop(context.Background()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("its end took %v", took)
			}
			if said := slices.Contains(lines.All(), "cleaned up"); said != (name == "cleans-up" || name == "works-on") {
				t.Errorf("it wrote %q", lines.All())
			}
			if _, err := i.(sandbox.Dialer).Dial(t.Context()); err == nil {
				t.Error("it can still be connected to")
			}
		})
	}
}

func TestParseListeners(t *testing.T) {
	const (
		names      = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
		listen     = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
		listen6    = "   1: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000\n"
		connection = "   2: 0100007F:1F91 0100007F:B476 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
	)
	want := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("[::1]:3000")}
	if got := parseListeners(strings.NewReader(names + listen + listen6 + connection)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, c := range map[string]struct {
		line string
		want int
	}{"connections": {connection, 0}, "listeners": {listen, maxListeners}} {
		many := strings.NewReader(names + strings.Repeat(c.line, 100_000))
		if got := parseListeners(many); len(got) != c.want {
			t.Errorf("%s: %d of them, want %d", name, len(got), c.want)
		}
		if read := many.Size() - int64(many.Len()); read > 200_000 {
			t.Errorf("%s: %d bytes were read", name, read)
		}
	}
}

// Both ways to find listeners find the same.
func TestListenersIn(t *testing.T) {
	needRoot(t)
	onOwnThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		network, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
			return
		}
		defer network.Close()
		check := func(want ...string) {
			t.Helper()
			var got []netip.AddrPort
			var err error
			onOwnThread(func() { got, err = listenersIn(network) }) // this one stays in the network
			for _, all := range [][]netip.AddrPort{got, listeners(unix.Gettid())} {
				var found []string
				for _, at := range all {
					found = append(found, at.String())
				}
				slices.Sort(found)
				if !slices.Equal(found, want) || err != nil {
					t.Errorf("%q listen, want %q: %v", found, want, err)
				}
			}
		}
		check()
		var want []string
		for i := range 300 { // more than one answer has room for
			kind, at := "tcp4", "0.0.0.0:"+strconv.Itoa(2000+i)
			if i%3 == 0 {
				kind, at = "tcp6", "[::]:"+strconv.Itoa(2000+i)
			}
			l, err := net.Listen(kind, at)
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			want = append(want, at)
		}
		slices.Sort(want)
		check(want...)
	})
}

func FuzzParseDiag(f *testing.F) {
	done := []byte{20, 0, 0, 0, unix.NLMSG_DONE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	f.Add(done)
	one := make([]byte, unix.NLMSG_HDRLEN+diagAnswerSize)
	one[0], one[4], one[16] = byte(len(one)), sockDiagByFamily, unix.AF_INET6
	f.Add(append(one, done...))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _, _ := parseDiag(b)
		for _, at := range all {
			if !at.IsValid() {
				t.Errorf("%v is no address", at)
			}
		}
	})
}

func FuzzParseListeners(f *testing.F) {
	f.Add([]byte("sl\nx: 0100007F:1F90 00000000:0000 0A\n"))
	f.Add([]byte("sl\nx: 0:1F90 0 0A\n: : : 0A 0A\n"))
	f.Fuzz(func(t *testing.T, table []byte) {
		for _, at := range parseListeners(bytes.NewReader(table)) {
			if !at.IsValid() {
				t.Errorf("%v is no address", at)
			}
		}
	})
}
