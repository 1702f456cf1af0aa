package runtimes_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
)

// BenchmarkInvoke is the time of one warm invocation of an echo handler against
// a Runtime API that does nothing else: a loop over one raw connection.
func BenchmarkInvoke(b *testing.B) {
	for _, f := range []function{
		{runtime: "python3.11", handler: "main.handler", dir: "../../test/runtimes/functions/python"},
		{runtime: "python3.12", handler: "main.handler", dir: "../../test/runtimes/functions/python"},
		{runtime: "nodejs20.x", handler: "index.handler", dir: "../../test/runtimes/functions/nodejs"},
	} {
		b.Run(f.runtime, func(b *testing.B) { benchmarkInvoke(b, f) })
	}
}

func benchmarkInvoke(b *testing.B, f function) {
	c, err := host()
	if err != nil {
		b.Fatal(err)
	}
	v := &lambent.Version{Runtime: f.runtime, Handler: f.handler, MemoryMB: 512}
	rt, err := c.Resolve(v)
	if err != nil {
		b.Skip(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }() // loopback only
	guest := append([]string{"/var/task", f.dir}, mounts(rt)...)
	toHost := strings.NewReplacer(guest...)
	command := strings.Fields(toHost.Replace(strings.Join(rt.Command, " ")))
	ctx, cancel := context.WithCancel(b.Context())
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = []string{"PYTHONDONTWRITEBYTECODE=1", "LAMBDA_TASK_ROOT=" + f.dir, "_HANDLER=" + f.handler,
		"AWS_EXECUTION_ENV=AWS_Lambda_" + f.runtime, "AWS_LAMBDA_RUNTIME_API=" + l.Addr().String()}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }() // it is killed
	conn, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	r := bufio.NewReader(conn)
	event := `{"hello":"world","n":[1,2,3]}`
	next := fmt.Sprintf("HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 1\r\nLambda-Runtime-Deadline-Ms: 1\r\n"+
		"Lambda-Runtime-Trace-Id: Root=1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(event), event)
	for b.Loop() {
		for _, answer := range []string{next, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"} {
			req, err := http.ReadRequest(r)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, req.Body) // loopback
			if _, err := io.WriteString(conn, answer); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkOpen is what finding the host's interpreters adds to a server's start,
// but for its first.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		if _, err := runtimes.Open(b.Context(), runtimes.Options{DataDir: dir, Log: slog.New(slog.DiscardHandler)}); err != nil {
			b.Fatal(err)
		}
	}
}
