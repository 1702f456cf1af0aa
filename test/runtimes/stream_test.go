package runtimes

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
	"lambent.dev/lambent/test/runtimes/clients"
)

// streamCode is the function that streams, for one client.
func streamCode(t *testing.T, client string) (dir, runtime string) {
	t.Helper()
	dir = t.TempDir()
	source := sourceDir("stream")
	switch client {
	case "go":
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "bootstrap"), ".")
		cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
		return dir, "provided.al2023"
	case "aws-lambda-ric":
		if err := os.CopyFS(dir, os.DirFS(clients.Build(t, "nodejs"))); err != nil {
			t.Fatal(err)
		}
		runtime = "provided.al2023"
	default:
		runtime = client
	}
	b, err := os.ReadFile(filepath.Join(source, "stream.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "stream.mjs"), string(b), 0o644)
	return dir, runtime
}

// streamer is a function whose URL streams.
type streamer struct {
	*testing.T
	s    *harness.Server
	name string
	http *http.Client
}

// TestStreams streams through what can: the managed Node.js, aws-lambda-ric and
// aws-lambda-go.
func TestStreams(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, client := range []string{"nodejs20.x", "aws-lambda-ric", "go"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			dir, runtime := streamCode(t, client)
			name := "stream-" + strings.ReplaceAll(client, ".", "-")
			s.Create(t, harness.Function{Name: name, Runtime: runtime, Handler: "stream.handle", Zip: harness.ZipDir(t, dir), Timeout: 3})
			if _, stderr, err := s.CLI("", "url", name, "create", "--public", "--stream"); err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			f := &streamer{t, s, name, &http.Client{Transport: transport, Timeout: 30 * time.Second}}
			if client != "aws-lambda-ric" { // which then does not send the head either
				f.get("none", 203, "")
			}
			f.parts()
			f.get("big", 203, strings.Repeat("x", 64<<20))
			f.get("early", 502, "Error\n")
			f.broken("late")
			f.callerLeaves("forever", "error")
			if client != "go" { // whose writer learns it from a write
				f.callerLeaves("silent", "close")
			}
			f.broken("exit")
			f.get("told", 203, "nothing") // of a new instance
			f.broken("hang")
		})
	}
}

func (f *streamer) open(path string) *http.Response {
	f.Helper()
	r, err := http.NewRequestWithContext(f.Context(), "GET", f.s.Gateway+"/fn/"+f.name+"/"+path, nil)
	if err != nil {
		f.Fatal(err)
	}
	res, err := f.http.Do(r)
	if err != nil {
		f.Fatalf("%s: %v", path, err)
	}
	return res
}

// get reads an answer to its end, which must be a proper one.
func (f *streamer) get(path string, status int, want string) {
	f.Helper()
	res := f.open(path)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status || status == 203 && string(body) != want {
		f.Errorf("%s: %d, %d bytes (%.100q), %v", path, res.StatusCode, len(body), body, err)
	}
	if status == 203 && (res.Header.Get("X-A") != "b" || res.Header.Get("Content-Type") != "text/plain") {
		f.Errorf("%s: headers %v", path, res.Header)
	}
}

// parts sees the first part of an answer while the second is not there.
func (f *streamer) parts() {
	f.Helper()
	res := f.open("parts")
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	first, err := in.ReadString('\n')
	began := time.Now()
	rest, err2 := io.ReadAll(in)
	if took := time.Since(began); err != nil || err2 != nil || first != "one\n" || string(rest) != "two\n" || took < 200*time.Millisecond {
		f.Errorf("parts: %q (%v), %v later %q (%v)", first, err, took, rest, err2)
	}
}

// broken reads an answer that begins, and must not look whole.
func (f *streamer) broken(path string) {
	f.Helper()
	res := f.open(path)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil || string(body) != "some\n" || res.StatusCode != 203 {
		f.Errorf("%s: %d %q, %v", path, res.StatusCode, body, err)
	}
}

// callerLeaves goes away in the middle. The function learns it, and its instance
// takes the next call.
func (f *streamer) callerLeaves(path, want string) {
	f.Helper()
	res := f.open(path)
	if _, err := io.ReadFull(res.Body, make([]byte, 5)); err != nil {
		f.Errorf("%s: %v", path, err)
	}
	_ = res.Body.Close() // which ends the connection
	time.Sleep(500 * time.Millisecond)
	f.get("told", 203, want)
}
