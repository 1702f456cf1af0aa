package e2e

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

// publish deploys an application by the command line and opens it to everybody.
func publish(t *testing.T, s *harness.Server, name string, args ...string) (address string) {
	t.Helper()
	if _, errs, err := s.CLI("", append([]string{"deploy", "--name", name}, args...)...); err != nil {
		t.Fatalf("deploy: %v\n%s", err, errs)
	}
	makeURL(t, s, &lambda.CreateFunctionUrlConfigInput{FunctionName: aws.String(name), AuthType: types.FunctionUrlAuthTypeNone})
	_, err := s.Lambda().AddPermission(t.Context(), &lambda.AddPermissionInput{
		FunctionName: aws.String(name), StatementId: aws.String("open"), Action: aws.String("lambda:InvokeFunctionUrl"),
		Principal: aws.String("*"), FunctionUrlAuthType: types.FunctionUrlAuthTypeNone,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.Gateway + "/fn/" + name
}

// comesTrue waits for something to become true.
func comesTrue(t *testing.T, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v not: %s", limit, what)
		}
	}
}

// upgraded opens a connection that goes on in another protocol.
func upgraded(t *testing.T, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	host, path, _ := strings.Cut(strings.TrimPrefix(address, "http://"), "/")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = fmt.Fprintf(c, "GET /%s/upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n", path)
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", res, err)
	}
	return c, in
}

// TestApplication deploys a program that serves HTTP and uses it in every way.
func TestApplication(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{"--set", "instances.idle=1s", "--set", "instances.prediction.histogram=false"}})
	dir := filepath.Join(harness.Root(), "test", "e2e", "testdata", "app")
	app := publish(t, s, "app", dir, "--health", "/healthz", "--env", "COLOUR=blue", "--concurrency", "20", "--memory", "1769")
	c := &http.Client{Timeout: 30 * time.Second}

	if got := ask(t, c, newRequest(t, "DELETE", app+"/a%2Fb?x=1&x", "")); got.status != 200 || got.body != "DELETE /a%2Fb?x=1&x /fn/app blue" {
		t.Errorf("answers %+v", got)
	}
	t.Run("body", func(t *testing.T) { echo(t, c, app) })
	t.Run("many at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { ask(t, c, newRequest(t, "GET", app+"/", "")) })
		}
		wg.Wait()
		if n := len(s.Instances()); n != 1 {
			t.Errorf("twenty requests have %d instances", n)
		}
	})
	t.Run("events", func(t *testing.T) {
		res, err := c.Get(app + "/events")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		began := time.Now()
		if line, err := bufio.NewReader(res.Body).ReadString('\n'); line != "data: 0\n" || time.Since(began) > 150*time.Millisecond {
			t.Errorf("the first event is %q, %v, after %v", line, err, time.Since(began))
		}
	})
	t.Run("stream holds its instance", func(t *testing.T) {
		conn, in := upgraded(t, app)
		for _, wait := range []time.Duration{0, 3 * time.Second} {
			time.Sleep(wait)
			_, _ = io.WriteString(conn, "hello\n")
			if line, err := in.ReadString('\n'); line != "> hello\n" {
				t.Fatalf("after %v the answer is %q, %v", wait, line, err)
			}
		}
		_ = conn.Close()
		comesTrue(t, 15*time.Second, "scaled to zero", func() bool { return len(s.Instances()) == 0 })
		if got := ask(t, c, newRequest(t, "GET", app+"/", "")); got.status != 200 {
			t.Errorf("and back: %+v", got)
		}
	})
	t.Run("ends", func(t *testing.T) { ends(t, s, c, app) })
	t.Run("is no function", func(t *testing.T) {
		if _, err := s.TryInvoke("app", "{}"); err == nil || !strings.Contains(err.Error(), "is an HTTP application") {
			t.Errorf("an invocation gives %v", err)
		}
	})
	t.Run("minimum", func(t *testing.T) {
		if _, errs, err := s.CLI("", "deploy", dir, "--min-instances", "1"); err != nil {
			t.Fatalf("%v\n%s", err, errs)
		}
		time.Sleep(4 * time.Second)
		if n := len(s.Instances()); n != 1 {
			t.Errorf("%d instances are kept, want 1", n)
		}
	})
}

// echo sends 100 MB there and back.
func echo(t *testing.T, c *http.Client, app string) {
	sent, got := sha256.New(), sha256.New()
	res, err := c.Post(app+"/echo", "application/octet-stream", io.TeeReader(io.LimitReader(rand.Reader, 100<<20), sent))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(got, res.Body); err != nil || n != 100<<20 || string(got.Sum(nil)) != string(sent.Sum(nil)) {
		t.Errorf("of 100 MB %d bytes came back, %v", n, err)
	}
}

// ends has the program exit, and the caller go away, in the middle of a request.
func ends(t *testing.T, s *harness.Server, c *http.Client, app string) {
	got := ask(t, c, newRequest(t, "POST", app+"/exit", ""))
	if got.status != 502 || !strings.HasPrefix(got.header.Get("X-Lambent-Error"), "application: ") {
		t.Errorf("an exit answers %+v", got)
	}
	if res, err := c.Get(app + "/break"); err == nil {
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err == nil {
			t.Errorf("half an answer was passed as %q", body)
		}
	}
	comesTrue(t, 20*time.Second, "there is an instance again", func() bool {
		return ask(t, c, newRequest(t, "GET", app+"/", "")).status == 200
	})
	impatient := &http.Client{Timeout: time.Second}
	if _, err := impatient.Get(app + "/wait"); err == nil {
		t.Error("a request that waits for ever was answered")
	}
	comesTrue(t, 5*time.Second, "the application knows that the caller has gone", func() bool {
		out, _, err := s.CLI("", "logs", "app")
		return err == nil && strings.Contains(out, "the caller has gone")
	})
}

// TestFrameworks deploys what people have, as it is.
func TestFrameworks(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	c := &http.Client{Timeout: 60 * time.Second}
	for name, f := range map[string]struct {
		files map[string]string
		args  []string
		want  string
	}{
		"flask": {map[string]string{"requirements.txt": "flask", "app.py": "from flask import Flask\napp = Flask(__name__)\n@app.get('/x')\ndef x(): return 'from flask'\n"}, nil, "from flask"},
		"gunicorn": {map[string]string{"requirements.txt": "flask\ngunicorn", "main.py": "from flask import Flask\napp = Flask(__name__)\n@app.get('/x')\ndef x(): return 'from gunicorn'\n"},
			nil, "from gunicorn"},
		"heroku": {map[string]string{"requirements.txt": "flask\ngunicorn", "Procfile": "web: gunicorn -b :$PORT shop:app", "shop.py": "from flask import Flask\napp = Flask(__name__)\n@app.get('/x')\ndef x(): return 'from a Procfile'\n"},
			nil, "from a Procfile"},
		"fastapi": {map[string]string{"requirements.txt": "fastapi\nuvicorn", "main.py": "from fastapi import FastAPI\napp = FastAPI()\n@app.get('/x')\ndef x(): return 'from fastapi'\n"},
			nil, `"from fastapi"`},
		"express": {map[string]string{"package.json": `{"dependencies":{"express":"^5"},"scripts":{"start":"node server.js"}}`,
			"server.js": "const app = require('express')()\napp.get('/x', (q, r) => r.send('from express'))\napp.listen(process.env.PORT)\n"}, nil, "from express"},
		"php":      {map[string]string{"index.php": "<?php echo 'from php';"}, nil, "from php"},
		"site":     {map[string]string{"index.html": "home", "x": "from a file"}, nil, "from a file"},
		"procfile": {map[string]string{"Procfile": "web: python3 -m http.server $PORT --directory files\n", "files/x": "from python"}, nil, "from python"},
		"command":  {map[string]string{"files/x": "from a command"}, []string{"--command", "python3 -m http.server 3000 -d files", "--port", "3000"}, "from a command"},
	} {
		t.Run(name, func(t *testing.T) {
			app := publish(t, s, name, append([]string{writeTree(t, f.files)}, f.args...)...)
			if got := ask(t, c, newRequest(t, "GET", app+"/x", "")); got.status != 200 || got.body != f.want {
				out, _, _ := s.CLI("", "logs", name)
				t.Errorf("answers %+v\n%s", got, out)
			}
		})
	}
}

// writeTree writes files into a directory of the test's.
func writeTree(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for file, text := range files {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestApplicationFaults deploys applications that are wrong: the deploy says how, and
// so does the answer.
func TestApplicationFaults(t *testing.T) {
	t.Parallel() // it is waiting that takes its time
	s := harness.Start(t, harness.Options{})
	c := &http.Client{Timeout: 60 * time.Second}
	for name, f := range map[string]struct{ command, limit, layer, message string }{
		"wrong-port": {"python3 -m http.server 3000", "4s", "application: Runtime.StartTimeout", "it listens on 3000 instead"},
		"never":      {"sleep 60", "1s", "application: Runtime.StartTimeout", "did not listen on port 8080 within 1s"},
		"exits":      {"sh -c 'exit 9'", "1s", "application: Runtime.ExitError", "exit status 9"},
		"missing":    {"no-such-program", "1s", "application: Runtime.InvalidEntrypoint", "no-such-program"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			args := []string{dir, "--command", f.command, "--start-timeout", f.limit}
			_, errs, err := s.CLI("", append([]string{"deploy", "--name", name}, args...)...)
			if err == nil || !strings.Contains(errs, "is deployed but does not start: ") || !strings.Contains(errs, f.message) {
				t.Errorf("deployed: %v, %s", err, errs)
			}
			app := publish(t, s, name, append(args, "--no-check")...)
			got := ask(t, c, newRequest(t, "GET", app+"/", ""))
			if got.status != 502 || got.header.Get("X-Lambent-Error") != f.layer || !strings.Contains(got.body, f.message) {
				t.Errorf("answers %+v", got)
			}
		})
	}
}

// TestApplicationDies by itself, and its caller and its log are told of what.
func TestApplicationDies(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	dir := writeTree(t, map[string]string{"main.py": `import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith("/exit"): os._exit(7)
        if self.path.endswith("/eat"): x = [bytearray(b"x" * (10 << 20)) for _ in range(100)]
        self.send_response(200); self.end_headers()
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), H).serve_forever()
`})
	app := publish(t, s, "dies", dir, "--command", "python3 main.py", "--memory", "128")
	c := &http.Client{Timeout: time.Minute}
	for path, want := range map[string][3]string{
		"exit": {"application: instance ended", "exit status 7", "Error Type: Runtime.ExitError\tMessage: Runtime exited with error: exit status 7"},
		"eat":  {"function: memory 128 MB", "it used all of its 128 MB of memory", "Error Type: Runtime.OutOfMemory\tMessage: it used all of its 128 MB of memory"},
	} {
		got := ask(t, c, newRequest(t, "GET", app+"/"+path, ""))
		if got.status != 502 || got.header.Get("X-Lambent-Error") != want[0] || !strings.Contains(got.body, want[1]) {
			t.Errorf("%s: %+v", path, got)
		}
		comesTrue(t, 10*time.Second, "said in the log: "+want[2], func() bool {
			out, _, err := s.CLI("", "logs", "dies")
			return err == nil && strings.Contains(out, "INSTANCE_END Status: error\t"+want[2]+"\n")
		})
	}
}

// TestDeployTries an application by a question, because servers with workers listen
// before these are up.
func TestDeployTries(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	listens := "import os, socket, sys\ns = socket.create_server(('', int(os.environ['PORT'])))\n"
	for name, f := range map[string]struct{ program, said, not string }{
		"late":   {listens + "c, _ = s.accept()\nprint('no worker', flush=True)\nsys.exit(3)\n", "  | no worker\nlambent: late is deployed but does not start: ", "INIT_START"},
		"mute":   {listens + "while True: s.accept()[0].close()\n", "it starts: tried in ", "note:"},
		"broken": {listens + "while True:\n c, _ = s.accept()\n c.recv(4096)\n c.send(b'HTTP/1.1 500 No\\r\\nContent-Length: 0\\r\\n\\r\\n')\n", "answers its first page with 500", "does not start"},
	} {
		_, errs, err := s.CLI("", "deploy", "--name", name, writeTree(t, map[string]string{"app.py": f.program}), "--command", "python3 app.py")
		if (err != nil) != (name == "late") || !strings.Contains(errs, f.said) || strings.Contains(errs, f.not) {
			t.Errorf("%s: %v\n%s", name, err, errs)
		}
	}
}
