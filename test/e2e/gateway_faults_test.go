package e2e

import (
	"bufio"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// killAtWork ends the processes of all applications' instances, as the kernel does that has no
// memory left.
func killAtWork(t *testing.T, s *harness.Server) {
	t.Helper()
	pids := s.Processes()
	if len(pids) == 0 {
		t.Error("there is no instance to kill")
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
}

// TestInstanceIsKilled kills instances that are at work: what was sent is not sent
// again, the caller gets one clear answer or none that looks whole, and the next
// request is served.
func TestInstanceIsKilled(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	c := &http.Client{Timeout: 30 * time.Second}
	dir := filepath.Join(harness.Root(), "test", "e2e", "testdata", "app")
	app := publish(t, s, "app", dir)

	for _, method := range []string{"GET", "POST"} {
		time.AfterFunc(time.Second, func() { killAtWork(t, s) })
		got := ask(t, c, newRequest(t, method, app+"/sleep?ms=8000", ""))
		if got.status != 502 || got.header.Get("X-Lambent-Error") != "application: instance ended" || !strings.Contains(got.body, `"layer":"application"`) {
			t.Errorf("%s: %+v", method, got)
		}
		comesBack(t, c, app)
	}
	res, err := c.Get(app + "/events")
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(res.Body)
	if line, err := in.ReadString('\n'); line != "data: 0\n" {
		t.Errorf("begins with %q, %v", line, err)
	}
	killAtWork(t, s)
	if rest, err := io.ReadAll(in); err == nil {
		t.Errorf("a stream whose instance was killed ends with %q as if whole", rest)
	}
	_ = res.Body.Close()
	comesBack(t, c, app)
}

// comesBack waits until the application answers again: a request that reaches an
// instance while it ends gets a 502 of its own.
func comesBack(t *testing.T, c *http.Client, app string) {
	t.Helper()
	comesTrue(t, 10*time.Second, "the application answers again", func() bool {
		return ask(t, c, newRequest(t, "GET", app+"/a", "")).status == 200
	})
}

const waitingApp = `
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
exports.whole = async (event) => {
  if (event.rawPath !== "/a") await wait(20000);
  return "fine";
};
exports.parts = awslambda.streamifyResponse(async (event, out) => {
  out.write("fine");
  if (event.rawPath !== "/a") await wait(20000);
  out.end();
});
`

// TestFunctionIsKilled is the same for functions: one that has begun is never called
// again for a request.
func TestFunctionIsKilled(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{"--set", "instances.reserve=0"}}) // where processes are in groups of their instances
	c := &http.Client{Timeout: 30 * time.Second}
	for name, flags := range map[string][]string{"whole": nil, "parts": {"--stream"}} {
		s.Create(t, harness.Function{Name: name, Runtime: "nodejs20.x", Handler: "index." + name, Timeout: 30, Zip: harness.Zip(t, map[string]string{"index.js": waitingApp})})
		run(t, s, append([]string{"url", name, "create", "--public"}, flags...)...)
	}
	comesBack(t, c, s.Gateway+"/fn/whole")
	time.AfterFunc(time.Second, func() { killAtWork(t, s) })
	got := ask(t, c, newRequest(t, "GET", s.Gateway+"/fn/whole/wait", ""))
	if got.status != 502 || got.header.Get("X-Lambent-Error") != "function: Runtime.ExitError" || got.body != `{"message":"Internal Server Error"}` {
		t.Errorf("before its answer: %+v", got)
	}
	comesBack(t, c, s.Gateway+"/fn/whole")

	res, err := c.Do(newRequest(t, "GET", s.Gateway+"/fn/parts/wait", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	first := make([]byte, 4)
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "fine" {
		t.Errorf("begins with %q, %v", first, err)
	}
	killAtWork(t, s)
	if rest, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("a stream whose function was killed ends with %q as if whole", rest)
	}
	comesBack(t, c, s.Gateway+"/fn/parts")
}
