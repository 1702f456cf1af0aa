package gateway_test

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/gateway"
	"lambent.dev/lambent/internal/httpwire"
	"lambent.dev/lambent/internal/store"
)

const (
	account = "000000000000"
	region  = "us-east-1"
)

// everything runs on this host.
type everything struct{}

func (everything) Check(string, string) (string, error) { return "", nil }

// function answers invocations.
type function func(ctx context.Context, inv *lambent.Invocation) (*lambent.Result, error)

func (f function) Invoke(ctx context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	return f(ctx, inv)
}

// answering is a function with one answer.
func answering(payload string) function {
	return func(context.Context, *lambent.Invocation) (*lambent.Result, error) {
		return &lambent.Result{Payload: []byte(payload), ContentType: "application/json"}, nil
	}
}

// echo answers with its event.
func echo(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	return &lambent.Result{Payload: inv.Payload}, nil
}

// rig is a gateway that serves on a port as the server has it serve, with real
// rooms around it, and a function named hello.
type rig struct {
	t       testing.TB
	catalog *catalog.Catalog
	keys    *auth.Keys
	addr    string
	log     lines
	run     atomic.Pointer[function]
	handler http.Handler
	app     func(http.ResponseWriter, *http.Request, gateway.Target) // nil until application
	permits atomic.Pointer[string]                                   // the one action, and its resource, that roles allow
}

// runs says what functions do.
func (r *rig) runs(f function) { r.run.Store(&f) }

// permit has roles allow action on the resource, and nothing else.
func (r *rig) permit(action, resource string) {
	both := action + " " + resource
	r.permits.Store(&both)
}

// lines is a log that is read while it is written.
type lines struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t}
	r.runs(echo)
	r.permit("", "")
	artifacts, err := artifact.Open(artifact.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	records := store.NewMemory()
	t.Cleanup(func() { _ = records.Close() })
	if r.catalog, err = catalog.Open(t.Context(), catalog.Options{Records: records, Artifacts: artifacts, Runtimes: everything{}, Region: region}); err != nil {
		t.Fatal(err)
	}
	if r.keys, err = auth.Open(t.TempDir(), auth.Options{
		Account: account, Region: region, Lives: func(string, string) bool { return true },
	}); err != nil {
		t.Fatal(err)
	}
	r.function("hello")
	g := gateway.New(gateway.Options{
		Catalog: r.catalog, Keys: r.keys, Region: region, Namespace: account, Domain: "localhost",
		Invoker: function(func(ctx context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
			return (*r.run.Load())(ctx, inv)
		}),
		Permits: func(_ auth.Identity, action, resource string) bool { return action+" "+resource == *r.permits.Load() },
		Log:     slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	g.Apps = func(w http.ResponseWriter, req *http.Request, t gateway.Target) { r.app(w, req, t) }
	r.handler = g
	r.serve(g)
	return r
}

func (r *rig) serve(h http.Handler) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	other := &http.Server{Handler: h, ReadHeaderTimeout: time.Second, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(quiet.Handler(), slog.LevelDebug)}
	srv := httpwire.NewServer(httpwire.Options{
		Handler: h, Takes: gateway.Takes, Other: other, Header: 64 << 10, HeaderTimeout: time.Second, Idle: time.Minute, Log: quiet,
	})
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }() // waited for below
	r.t.Cleanup(func() { srv.Close(); _ = other.Close(); <-done })
	r.addr = l.Addr().String()
}

// function adds a function.
func (r *rig) function(name string) { r.create(name, nil) }

// application adds an HTTP application.
func (r *rig) application(name string, app func(http.ResponseWriter, *http.Request, gateway.Target)) {
	r.app = app
	r.create(name, &lambent.App{Port: 8080, StartTimeout: time.Second, Concurrency: 1})
}

func (r *rig) create(name string, app *lambent.App) {
	r.t.Helper()
	var code bytes.Buffer
	z := zip.NewWriter(&code)
	if w, err := z.Create("index.py"); err != nil {
		r.t.Fatal(err)
	} else if _, err := w.Write([]byte("def handler(event, context): return event")); err != nil {
		r.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		r.t.Fatal(err)
	}
	_, err := r.catalog.CreateFunction(r.t.Context(), catalog.CreateFunction{
		Version: lambent.Version{
			Namespace: account, Function: name, Runtime: "python3.12", Handler: "index.handler", Role: "arn:aws:iam::" + account + ":role/r", Timeout: 3 * time.Second,
			App: app,
		},
		Source: artifact.Source{Zip: code.Bytes()}, Publish: true,
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// url gives hello a URL and returns its host name. One of AuthType NONE is opened.
func (r *rig) url(u lambent.URL) string {
	r.t.Helper()
	u.Namespace, u.Function = account, "hello"
	if u.AuthType == "" {
		u.AuthType = "NONE"
		r.open("")
	}
	made, err := r.catalog.CreateURL(r.t.Context(), u)
	if err != nil {
		r.t.Fatal(err)
	}
	return made.ID + ".lambda-url." + region + ".localhost"
}

// open lets everybody call hello's URL.
func (r *rig) open(qualifier string) {
	r.t.Helper()
	arn := lambent.FunctionARN(region, account, "hello", qualifier)
	_, err := r.catalog.AddStatement(r.t.Context(), arn, catalog.Statement{Sid: "open", JSON: []byte(`{"Sid":"open","Effect":"Allow","Principal":"*",` +
		`"Action":"lambda:InvokeFunctionUrl","Resource":"` + arn + `","Condition":{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}}`)}, "")
	if err != nil {
		r.t.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request; header are pairs.
func (r *rig) do(method, host, target, body string, header ...string) answer {
	r.t.Helper()
	req := r.request(method, host, target, body, header...)
	return r.send(req)
}

func (r *rig) request(method, host, target, body string, header ...string) *http.Request {
	r.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.addr+target, in)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Host = host
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return req
}

// client uses no connection twice, so that none is left.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}

func (r *rig) send(req *http.Request) answer {
	r.t.Helper()
	res, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

// sign signs a request with the server's key.
func (r *rig) sign(req *http.Request, body string) *http.Request {
	return r.signBy(r.keys.Default(), req, body)
}

// signBy is sign with another key.
func (r *rig) signBy(key auth.Key, req *http.Request, body string) *http.Request {
	r.t.Helper()
	credentials := aws.Credentials{AccessKeyID: key.Access, SecretAccessKey: key.Secret, SessionToken: key.Token}
	err := v4.NewSigner().SignHTTP(r.t.Context(), credentials, req, sum(body), "lambda", region, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return req
}
