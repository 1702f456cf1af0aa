package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"lambent.dev/lambent"
)

// TestRouteStreams has a function send events through a route, in either format,
// past the route's time-out, which is over with the head.
func TestRouteStreams(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/two", Stream: true, Compress: true, TimeoutSeconds: 0.2})
	r.route(lambent.Route{Path: "/one", Stream: true, Format: "1.0"})
	r.route(lambent.Route{Path: "/whole"})
	for _, path := range []string{"/two", "/one"} {
		parts := make(chan string)
		r.runs(streaming(preludeType, parts, lambent.Result{}, nil))
		go func() {
			parts <- `{"statusCode":200,"headers":{"content-type":"text/event-stream"}}` + "\x00\x00\x00\x00\x00\x00\x00\x00"
			parts <- "data: 1\n\n"
		}()
		res, err := client.Do(r.request("GET", "h", path, "", "Accept-Encoding", "gzip"))
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(res.Body)
		if line, err := in.ReadString('\n'); line != "data: 1\n" || err != nil || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %q %v %v", path, line, err, res.Header)
		}
		time.Sleep(300 * time.Millisecond)
		parts <- "data: 2\n\n"
		close(parts)
		if rest, err := io.ReadAll(in); string(rest) != "\ndata: 2\n\n" || err != nil {
			t.Errorf("%s: %q %v", path, rest, err)
		}
		_ = res.Body.Close()
	}
	r.runs(func(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
		if inv.Stream != nil {
			t.Error("a route that does not stream has a stream")
		}
		return &lambent.Result{Payload: []byte(`"whole"`)}, nil
	})
	want(t, r.do("GET", "h", "/whole", ""), 200, "whole")
	r.runs(answering(`{"statusCode":202,"body":"at once"}`))
	want(t, r.do("GET", "h", "/two", ""), 202, "at once")
	want(t, r.do("GET", "h", "/one", ""), 202, "at once")
	if _, err := r.catalog.PutRoutes(t.Context(), account, []lambent.Route{{Path: "/x", Function: "hello", Stream: true, Format: "alb"}}); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("alb: %v", err)
	}
}

// TestRouteStreamIsCut by the route's time-out before its head, and by the caller.
func TestRouteStreamIsCut(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/slow", Stream: true, TimeoutSeconds: 0.1})
	r.route(lambent.Route{Path: "/a", Stream: true})
	r.runs(func(ctx context.Context, _ *lambent.Invocation) (*lambent.Result, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	want(t, r.do("GET", "h", "/slow", ""), http.StatusGatewayTimeout, `"layer":"route","limit":"timeout 100ms"`)

	r.leaves("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
}
