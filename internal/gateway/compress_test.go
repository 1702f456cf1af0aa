package gateway_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway"
)

// unpacked is an answer's text and its coding.
func (a answer) unpacked(t *testing.T) (text, coding string) {
	t.Helper()
	var in io.Reader = strings.NewReader(a.body)
	switch coding = a.header.Get("Content-Encoding"); coding {
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		in = z
	case "br":
		in = brotli.NewReader(in)
	}
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	return string(b), coding
}

// TestRouteCompresses picks the coding that the caller likes best.
func TestRouteCompresses(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/a", Compress: true})
	r.route(lambent.Route{Path: "/plain"})
	long := strings.Repeat("compress me ", 1000)
	r.runs(answering(`{"statusCode":200,"headers":{"content-type":"text/plain","etag":"W/\"1\""},"body":"` + long + `"}`))
	for accepts, want := range map[string]string{
		"gzip": "gzip", "br": "br", "gzip, br": "br", "br;q=0.5, gzip": "gzip", "gzip;q=0.5, br;q=0.6": "br", "*": "br", "*;q=0.1, br;q=0": "gzip",
		"x-gzip": "gzip", "GZIP ; Q=1": "gzip", "gzip, deflate, br, zstd": "br",
		"": "", "gzip;q=0": "", "identity": "", "deflate, zstd": "", "gzip;q=x": "", "gzip;q=2": "", "gzip;q=nan": "", "*;q=0": "", "identity, gzip;q=0.5": "", "br;level=1": "",
	} {
		got := r.do("GET", "h", "/a", "", "Accept-Encoding", accepts)
		if text, coding := got.unpacked(t); text != long || coding != want || got.header.Get("Vary") != "Accept-Encoding" || got.header.Get("Etag") != `W/"1"` {
			t.Errorf("%q: coding %q, want %q: %v", accepts, coding, want, got.header)
		}
		if want != "" && len(got.body) > 500 {
			t.Errorf("%q: %d bytes", accepts, len(got.body))
		}
	}
	if got := r.do("GET", "h", "/plain", "", "Accept-Encoding", "gzip"); got.body != long || got.header.Get("Vary") != "" {
		t.Errorf("a route that does not want it: %v", got.header)
	}
}

// TestRouteLeavesAnswers finds those that must pass as they are.
func TestRouteLeavesAnswers(t *testing.T) {
	r := newRig(t)
	r.route(lambent.Route{Path: "/a", Compress: true})
	long := strings.Repeat("compress me ", 1000)
	for name, c := range map[string]struct{ header, request, value string }{
		"an image":            {header: `"content-type":"image/png"`},
		"compressed":          {header: `"content-type":"text/plain","content-encoding":"zstd"`},
		"no-transform":        {header: `"content-type":"text/plain","cache-control":"public, No-Transform"`},
		"named bytes":         {header: `"content-type":"text/plain","etag":"\"1\""`},
		"digest of the bytes": {header: `"content-type":"text/plain","content-digest":"sha-256=:x:"`},
		"a range was asked":   {header: `"content-type":"text/plain"`, request: "Range", value: "bytes=0-5"},
	} {
		r.runs(answering(`{"statusCode":200,"headers":{` + c.header + `},"body":"` + long + `"}`))
		header := []string{"Accept-Encoding", "gzip, br"}
		if c.request != "" {
			header = append(header, c.request, c.value)
		}
		if got := r.do("GET", "h", "/a", "", header...); got.body != long || strings.Contains("gzip br", got.header.Get("Content-Encoding")) && got.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d bytes, %v", name, len(got.body), got.header)
		}
	}
	for name, status := range map[string]int{"part": 206, "not modified": 304, "nothing": 204} {
		r.runs(answering(fmt.Sprintf(`{"statusCode":%d,"headers":{"content-type":"text/plain"},"body":"%s"}`, status, long)))
		if got := r.do("GET", "h", "/a", "", "Accept-Encoding", "gzip"); got.header.Get("Content-Encoding") != "" || got.status != status {
			t.Errorf("%s: %d %v", name, got.status, got.header)
		}
	}
	r.runs(answering(`"short"`))
	if got := r.do("GET", "h", "/a", "", "Accept-Encoding", "gzip"); got.body != "short" {
		t.Errorf("short: %q", got.body)
	}
}

// TestRouteCompressesParts has an application flush: what it has made so far must
// be readable then, which brotli here cannot do, and events pass as they are.
func TestRouteCompressesParts(t *testing.T) {
	r := newRig(t)
	more := make(chan bool)
	r.application("web", func(w http.ResponseWriter, q *http.Request, _ gateway.Target) {
		w.Header().Set("Content-Type", q.Header.Get("Accept"))
		for range 2 {
			if _, err := io.WriteString(w, "data: 1\n\n"); err != nil {
				t.Error(err)
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-more
		}
	})
	if _, err := r.catalog.PutRoutes(t.Context(), account, []lambent.Route{{Path: "/a", Function: "web", Compress: true, Access: lambent.AccessPublic}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"text/plain", "gzip"}, {"text/event-stream", ""}} {
		kind := c[0]
		res, err := client.Do(r.request("GET", "h", "/a", "", "Accept", kind, "Accept-Encoding", "br, gzip"))
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("Content-Encoding"); got != c[1] {
			t.Errorf("%s: coding %q", kind, got)
		}
		var in io.Reader = res.Body
		if c[1] == "gzip" {
			if in, err = gzip.NewReader(in); err != nil {
				t.Fatal(err)
			}
		}
		b := make([]byte, len("data: 1\n\n"))
		if _, err := io.ReadFull(in, b); err != nil || string(b) != "data: 1\n\n" {
			t.Errorf("%s: %q %v", kind, b, err)
		}
		more <- true
		more <- true
		if rest, err := io.ReadAll(in); err != nil || string(rest) != "data: 1\n\n" {
			t.Errorf("%s: then %q %v", kind, rest, err)
		}
		_ = res.Body.Close()
	}
}

// FuzzCompress reads back what was compressed.
func FuzzCompress(f *testing.F) {
	f.Add("br", strings.Repeat("x", 5000))
	f.Add("gzip;q=0.3", strings.Repeat("{\"a\":1},", 30000))
	r := newRig(f)
	r.route(lambent.Route{Path: "/a", Compress: true})
	f.Fuzz(func(t *testing.T, accepts, text string) {
		text = "\xff" + text // so that it is no JSON
		r.runs(func(context.Context, *lambent.Invocation) (*lambent.Result, error) {
			return &lambent.Result{ContentType: "text/plain", Payload: []byte(text)}, nil
		})
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/a", nil)
		req.Header["Accept-Encoding"] = []string{accepts}
		res := httptest.NewRecorder()
		r.handler.ServeHTTP(res, req)
		got := answer{header: res.Header(), body: res.Body.String()}
		if back, coding := got.unpacked(t); back != text || res.Code != http.StatusOK {
			t.Errorf("%d %s: %d bytes come back as %d", res.Code, coding, len(text), len(back))
		}
	})
}
