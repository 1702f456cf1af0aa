package gateway_test

import (
	"bytes"
	"context"
	"net/http"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway"
)

// nowhere is where answers of the benchmark go.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

type body struct{ bytes.Reader }

func (*body) Close() error { return nil }

// BenchmarkGateway is what the gateway adds to an invocation.
func BenchmarkGateway(b *testing.B) {
	r := newRig(b)
	host := r.url(lambent.URL{})
	payload := []byte(`{"statusCode":200,"headers":{"content-type":"text/plain"},"body":"hello, world"}`)
	g := gateway.New(gateway.Options{
		Catalog: r.catalog, Keys: r.keys, Region: region, Namespace: account, Domain: "localhost",
		Invoker: function(func(context.Context, *lambent.Invocation) (*lambent.Result, error) {
			return &lambent.Result{Payload: payload, ContentType: "application/json"}, nil
		}),
	})
	req := r.request("POST", host, "/path?name=value", "x", "Content-Type", "application/json", "User-Agent", "bench", "Accept", "*/*")
	req.RequestURI, req.RemoteAddr, req.ContentLength = "/path?name=value", "127.0.0.1:1234", 29
	in := &body{}
	req.Body = in
	w := nowhere{make(http.Header, 8)}
	b.ReportAllocs()
	for b.Loop() {
		in.Reset([]byte(`{"hello":"world","number":42}`))
		clear(w.header)
		g.ServeHTTP(w, req)
	}
}
