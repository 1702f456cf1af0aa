package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// TestHostedService keeps one instance of an application, as one would of any
// service: it is there before it is asked, comes back when it ends, by itself or
// killed, and when the server does.
func TestHostedService(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a server")
	}
	s := harness.Start(t, harness.Options{Args: []string{"--set", "instances.idle=1s", "--set", "instances.prediction.histogram=false"}})
	app := publish(t, s, "service", filepath.Join(harness.Root(), "test", "e2e", "testdata", "app"), "--health", "/healthz", "--min-instances", "1")
	c := &http.Client{Timeout: 30 * time.Second}
	one := func() bool { return len(s.Instances()) == 1 }
	answers := func(when string) {
		t.Helper()
		comesTrue(t, 30*time.Second, "an instance is there, "+when, one)
		if got := ask(t, c, newRequest(t, "GET", app+"/", "")); got.status != 200 {
			t.Errorf("%s: %+v", when, got)
		}
	}
	answers("once it is deployed")
	time.Sleep(3 * time.Second) // longer than an idle one is kept
	answers("when nobody asked for it")

	if got := ask(t, c, newRequest(t, "POST", app+"/exit", "")); got.status != 502 {
		t.Errorf("an exit answers %+v", got)
	}
	answers("after it ended by itself")

	for _, pid := range s.Processes() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	comesTrue(t, 10*time.Second, "it is noticed", func() bool { return ask(t, c, newRequest(t, "GET", app+"/", "")).status == 200 })
	answers("after it was killed")

	s.Stop()
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	app = s.Gateway + "/fn/service"
	answers("after the server was restarted")

	s.Kill()
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	app = s.Gateway + "/fn/service"
	answers("after the server was killed")
}

// TestGin deploys an application of Gin's from its source.
func TestGin(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a server")
	}
	dir := writeTree(t, map[string]string{"go.mod": "module site\n\ngo 1.25\n", "main.go": `package main

import "github.com/gin-gonic/gin"

func main() {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.GET("/hello/:name", func(c *gin.Context) { c.JSON(200, gin.H{"hello": c.Param("name")}) })
	_ = r.Run() // on PORT
}
`})
	cmd := exec.Command("go", "mod", "tidy")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := harness.Start(t, harness.Options{})
	app := publish(t, s, "gin", dir)
	if got := ask(t, &http.Client{Timeout: time.Minute}, newRequest(t, "GET", app+"/hello/you", "")); got.status != 200 || got.body != `{"hello":"you"}` {
		t.Errorf("answers %+v", got)
	}
}
