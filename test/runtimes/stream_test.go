package runtimes

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
	"lambent.dev/lambent/test/runtimes/clients"
)

var streamProgram = harness.GoProgram("test/runtimes/functions/stream")

// streamCode is the function that streams, for one client.
func streamCode(t *testing.T, client string) (dir, runtime string) {
	t.Helper()
	dir = t.TempDir()
	source := sourceDir("stream")
	switch client {
	case "go":
		write(t, filepath.Join(dir, "bootstrap"), streamProgram.Content(t), 0o755)
		return dir, "provided.al2023"
	case "rust":
		return clients.Build(t, "rust-stream"), "provided.al2023"
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

// streamed is the status of every answer that is a stream.
const streamed = http.StatusNonAuthoritativeInfo

// TestStreams streams through what can: the managed Node.js, aws-lambda-ric,
// aws-lambda-go and Rust's lambda_runtime.
func TestStreams(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, client := range []string{"nodejs20.x", "aws-lambda-ric", "go", "rust"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			dir, runtime := streamCode(t, client)
			name := "stream-" + strings.ReplaceAll(client, ".", "-")
			s.Create(t, harness.Function{Name: name, Runtime: runtime, Handler: "stream.handle", Zip: harness.ZipDir(t, dir), Timeout: 3})
			if _, stderr, err := s.CLI("", "url", name, "create", "--public", "--stream"); err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			// A busy host would start a second instance beside one that is not quite back.
			if _, stderr, err := s.CLI("", "set", name, "scale.max=1"); err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			f := &streamer{t, s, name, &http.Client{Transport: transport, Timeout: 30 * time.Second}}
			if client != "aws-lambda-ric" { // which then does not send the head either
				f.get("none", streamed, "")
			}
			f.parts()
			f.api("parts", "one\ntwo\n", "")
			f.api("hang", "some\n", "Unhandled")
			f.get("big", streamed, strings.Repeat("x", 64<<20))
			f.get("early", http.StatusBadGateway, "Error\n")
			if client != "rust" { // which sends its error as a part of the answer
				f.broken("late")
			}
			f.callerLeaves("forever", "error")
			if client == "nodejs20.x" || client == "aws-lambda-ric" { // other writers learn it from a write
				f.callerLeaves("silent", "close")
			}
			f.broken("exit")
			f.get("told", streamed, "nothing") // of a new instance
			f.broken("hang")
		})
	}
}

func (f *streamer) open(path string) *http.Response {
	f.Helper()
	r, err := http.NewRequestWithContext(f.Context(), http.MethodGet, f.s.Gateway+"/fn/"+f.name+"/"+path, nil)
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
	if err != nil || res.StatusCode != status || status == streamed && string(body) != want {
		f.Errorf("%s: %d, %d bytes (%.100q), %v", path, res.StatusCode, len(body), body, err)
	}
	if status == streamed && (res.Header.Get("X-A") != "b" || res.Header.Get("Content-Type") != "text/plain") {
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

// api streams by InvokeWithResponseStream, whose last event says how it ended.
func (f *streamer) api(path, want, errorCode string) {
	f.Helper()
	out, err := f.s.Lambda().InvokeWithResponseStream(f.Context(), &lambda.InvokeWithResponseStreamInput{
		FunctionName: &f.name, Payload: []byte(`{"rawPath":"/` + path + `"}`),
	})
	if err != nil {
		f.Fatal(err)
	}
	stream := out.GetStream()
	defer stream.Close()
	var body strings.Builder
	var last *types.InvokeWithResponseStreamCompleteEvent
	for e := range stream.Events() {
		switch e := e.(type) {
		case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			body.Write(e.Value.Payload)
		case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			last = &e.Value
		}
	}
	_, got, _ := strings.Cut(body.String(), strings.Repeat("\x00", 8))
	if err := stream.Err(); err != nil || last == nil {
		f.Errorf("%s by the API: %q, %v, last event %v", path, got, err, last)
		return
	}
	if code := aws.ToString(last.ErrorCode); got != want || code != errorCode {
		f.Errorf("%s by the API: %q, %q %s", path, got, code, aws.ToString(last.ErrorDetails))
	}
}

// broken reads an answer that begins, and must not look whole.
func (f *streamer) broken(path string) {
	f.Helper()
	res := f.open(path)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil || string(body) != "some\n" || res.StatusCode != streamed {
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
	f.get("told", streamed, want)
}
