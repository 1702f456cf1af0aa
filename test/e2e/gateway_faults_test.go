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

// killAtWork ends the processes of all instances, as the kernel does that has no
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

const sleeper = `
import time
def handler(event, context):
    print("asked", event["rawPath"])
    time.sleep(float(event["rawPath"][1:]))
    return "slept"
`

// TestInstanceIsKilled kills instances that are at work: what was sent is not sent
// again, the caller gets one clear answer or none that looks whole, and the next
// request is served.
func TestInstanceIsKilled(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	c := &http.Client{Timeout: 30 * time.Second}
	dir := filepath.Join(harness.Root(), "test", "e2e", "testdata", "app")
	app := publish(t, s, "app", dir)
	s.Create(t, harness.Function{Name: "sleeper", Runtime: "python3.11", Handler: "index.handler", Timeout: 20, Zip: harness.Zip(t, map[string]string{"index.py": sleeper})})
	run(t, s, "url", "sleeper", "create", "--public")

	for _, method := range []string{"GET", "POST"} {
		time.AfterFunc(time.Second, func() { killAtWork(t, s) })
		got := ask(t, c, newRequest(t, method, app+"/sleep?ms=8000", ""))
		if got.status != 502 || got.header.Get("X-Lambent-Error") != "application: instance ended" || !strings.Contains(got.body, `"layer":"application"`) {
			t.Errorf("%s: %+v", method, got)
		}
		if got := ask(t, c, newRequest(t, "GET", app+"/a", "")); got.status != 200 {
			t.Errorf("the next request: %+v", got)
		}
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
	if got := ask(t, c, newRequest(t, "GET", app+"/a", "")); got.status != 200 {
		t.Errorf("after the stream: %+v", got)
	}

	if got := ask(t, c, newRequest(t, "GET", s.Gateway+"/fn/sleeper/0", "")); got.status != 200 {
		t.Fatalf("the function: %+v", got)
	}
	time.AfterFunc(time.Second, func() { killAtWork(t, s) })
	if got := ask(t, c, newRequest(t, "GET", s.Gateway+"/fn/sleeper/8", "")); got.status != 502 || !strings.HasPrefix(got.header.Get("X-Lambent-Error"), "function: ") {
		t.Errorf("a function whose instance was killed: %+v", got)
	}
	if n := strings.Count(run(t, s, "logs", "sleeper"), "asked /8"); n != 1 {
		t.Errorf("the function was asked %d times", n)
	}
}
