package httpwire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

var testLimits = Limits{Header: 8 << 10, Line: 6 << 10}

const errorType = "Lambda-Runtime-Function-Error-Type"

// TestRefusals are requests that another server on the way could read in another
// way, or that are none.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		status int
	}{
		"no request":                 {"hello\r\n\r\n", 400},
		"empty line first":           {"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"two spaces":                 {"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"tab for a space":            {"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"space in the target":        {"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"space in the version":       {"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 505},
		"control in the target":      {"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"method is no token":         {"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"no version":                 {"GET /\r\nHost: x\r\n\r\n", 400},
		"lower-case version":         {"GET / http/1.1\r\nHost: x\r\n\r\n", 400},
		"version 1.2":                {"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505},
		"version 2":                  {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		"bare LF":                    {"GET / HTTP/1.1\nHost: x\r\n\r\n", 400},
		"bare LF in the header":      {"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400},
		"bare LF at the end":         {"GET / HTTP/1.1\r\nHost: x\r\n\n", 400},
		"bare CR in a value":         {"GET / HTTP/1.1\r\nHost: x\r\nA: b\rContent-Length: 3\r\n\r\n", 400},
		"NUL in a value":             {"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", 400},
		"no colon":                   {"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", 400},
		"no name":                    {"GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n", 400},
		"space before the colon":     {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", 400},
		"space before the name":      {"POST / HTTP/1.1\r\nHost: x\r\n Transfer-Encoding: chunked\r\n\r\n", 400},
		"continued line":             {"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400},
		"no host":                    {"GET / HTTP/1.1\r\n\r\n", 400},
		"two hosts":                  {"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400},
		"host with a path":           {"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400},
		"host with a space":          {"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400},
		"length and chunks":          {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		"chunks and length":          {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
		"chunked twice":              {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
		"chunked after another":      {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
		"chunked and another":        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 501},
		"quoted coding":              {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", 501},
		"identity":                   {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", 501},
		"vertical tab in the coding": {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400},
		"chunks in HTTP/1.0":         {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
		"two lengths":                {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
		"list of lengths":            {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n", 400},
		"length with a sign":         {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n", 400},
		"negative length":            {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
		"hexadecimal length":         {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\n", 400},
		"length with an underscore":  {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0\r\n\r\n", 400},
		"empty length":               {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400},
		"length beyond 63 bits":      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775808\r\n\r\n", 400},
		"other expectation":          {"POST / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n", 417},
		"long line":                  {"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 6<<10) + "\r\n\r\n", 431},
		"long request line":          {"GET /" + strings.Repeat("a", 6<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
		"endless line":               {strings.Repeat("a", 10<<10), 431},
		"many lines":                 {"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 2000) + "\r\n", 431},
	} {
		r := NewReader(strings.NewReader(c.in), io.Discard, testLimits)
		var wrong *Error
		if err := r.Next(); !errors.As(err, &wrong) || wrong.Status != c.status {
			t.Errorf("%s: %v, want %d", name, err, c.status)
		}
	}
}

// TestBadChunks are bodies that are refused once they are read.
func TestBadChunks(t *testing.T) {
	for name, in := range map[string]string{
		"negative":          "-1\r\nabc\r\n0\r\n\r\n",
		"no size":           "\r\nabc\r\n0\r\n\r\n",
		"prefix":            "0x3\r\nabc\r\n0\r\n\r\n",
		"space before":      " 3\r\nabc\r\n0\r\n\r\n",
		"beyond 60 bits":    "1000000000000000\r\n",
		"longer than said":  "3\r\nabcd\r\n0\r\n\r\n",
		"bare LF":           "3\nabc\r\n0\r\n\r\n",
		"bare LF after":     "3\r\nabc\n0\r\n\r\n",
		"many extensions":   strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 100) + "0\r\n\r\n",
		"long extension":    "3;" + strings.Repeat("a", 300) + "\r\nabc\r\n0\r\n\r\n",
		"bad trailer":       "0\r\nA : b\r\n\r\n",
		"endless trailers":  "0\r\n" + strings.Repeat("A: b\r\n", 2000) + "\r\n",
		"ends in a chunk":   "3\r\nab",
		"ends after one":    "3\r\nabc\r\n",
		"ends in trailers":  "0\r\nA: b\r\n",
		"ends after a size": "3",
	} {
		r := NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"+in), io.Discard, testLimits)
		if err := r.Next(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if body, err := io.ReadAll(r); err == nil || r.Ended() || r.Skip(1<<20) {
			t.Errorf("%s: read %q", name, body)
		}
	}
}

func TestReader(t *testing.T) {
	in := "POST /a?b=c HTTP/1.1\r\nhost: x:1\r\nContent-Length: 3\r\nContent-Length: 3\r\nEXPECT: 100-Continue\r\nA:\t b \r\n\r\nabc" +
		"PUT * HTTP/1.1\r\nHost:\r\nTransfer-Encoding: Chunked\r\nConnection: x, Close\r\n\r\n2;a=b\r\nhi\r\n1 \r\n!\r\n0\r\nOdd: 1\r\n" + errorType + ": T\r\n\r\n" +
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
	for _, source := range []io.Reader{strings.NewReader(in), iotestOneByte{strings.NewReader(in)}} {
		var sent bytes.Buffer
		r := NewReader(source, &sent, testLimits, errorType)
		next := func() Head {
			if err := r.Next(); err != nil {
				t.Fatal(err)
			}
			return r.Head
		}
		h := next()
		if h.Method != http.MethodPost || string(h.Target) != "/a?b=c" || h.Length != 3 || !h.KeepAlive || !h.Expect || string(h.Host) != "x:1" {
			t.Errorf("%+v", h)
		}
		var fields []string
		for name, value := range r.Fields() {
			fields = append(fields, string(name)+"="+string(value))
		}
		if want := []string{"host=x:1", "Content-Length=3", "Content-Length=3", "EXPECT=100-Continue", "A=b"}; !slices.Equal(fields, want) {
			t.Errorf("%q", fields)
		}
		if body, err := io.ReadAll(r); string(body) != "abc" || err != nil || sent.String() != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Errorf("%q, %v, sent %q", body, err, &sent)
		}
		if h := next(); h.Method != http.MethodPut || string(h.Target) != "*" || h.Length != -1 || h.KeepAlive || !h.Chunked {
			t.Errorf("%+v", h)
		}
		if body, err := io.ReadAll(r); string(body) != "hi!" || err != nil || r.Trailer(errorType) != "T" || r.Trailer("Odd") != "" {
			t.Errorf("%q, %v, trailer %q", body, err, r.Trailer(errorType))
		}
		if h := next(); !h.Old || !h.KeepAlive || !r.Ended() || r.Trailer(errorType) != "" {
			t.Errorf("%+v", h)
		}
		if err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	}
}

// iotestOneByte makes every line and body come in pieces.
type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

func TestEndWithinARequest(t *testing.T) {
	const in = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
	for n := 1; n < len(in); n++ {
		r := NewReader(strings.NewReader(in[:n]), io.Discard, testLimits)
		err := r.Next()
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", in[:n], err)
		}
	}
}

func TestBufferIsNotKeptLarge(t *testing.T) {
	limits := Limits{Header: 1 << 20, Line: 1 << 20}
	large := "GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 1<<19) + "\r\n\r\n"
	r := NewReader(strings.NewReader(large+"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), io.Discard, limits)
	for range 2 {
		if err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.buf.b); n > keepBuffer {
		t.Errorf("%d bytes are kept", n)
	}
}

// FuzzReader holds the reader against net/http: what ours accepts, net/http
// accepts too and reads as the same request. It may refuse more.
func FuzzReader(f *testing.F) {
	f.Add([]byte("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabcGET / HTTP/1.0\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nhost:x\r\nTransfer-Encoding: chunked\r\nTrailer: Lambda-Runtime-Function-Error-Type\r\n\r\n" +
		"3;x=y\r\nabc\r\n0\r\nLambda-Runtime-Function-Error-Type: Function.X\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c: d\r\nE : f\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		ours := NewReader(bytes.NewReader(in), io.Discard, Limits{Header: 1 << 20, Line: 1 << 20}, errorType)
		theirs := bufio.NewReader(bytes.NewReader(in))
		for range 8 {
			if ours.Next() != nil {
				return
			}
			head := ours.Head
			head.Target = bytes.Clone(head.Target)
			fields := collect(ours)
			body, bodyErr := io.ReadAll(ours)
			want, err := http.ReadRequest(theirs)
			if err != nil {
				if strings.Contains(err.Error(), "Host") || strings.Contains(err.Error(), "parse") || strings.Contains(err.Error(), "invalid method") {
					return // what a host or a URL may look like is the user's matter
				}
				t.Fatalf("accepted %q %q, net/http says %v", head.Method, head.Target, err)
			}
			wantBody, wantErr := io.ReadAll(want.Body)
			if head.Method != want.Method || string(head.Target) != want.RequestURI || head.Length != want.ContentLength {
				t.Fatalf("read %+v, net/http: %+v", head, want)
			}
			compareHeaders(t, fields, want)
			if bodyErr == nil && (wantErr != nil || !bytes.Equal(body, wantBody)) {
				t.Fatalf("body %q, net/http: %q, %v", body, wantBody, wantErr)
			}
			if bodyErr != nil {
				return
			}
			if got := ours.Trailer(errorType); got != "" && len(want.Trailer[errorType]) > 0 && !slices.Contains(want.Trailer[errorType], got) {
				t.Fatalf("trailer %q, net/http: %q", got, want.Trailer)
			}
		}
	})
}

func collect(r *Reader) http.Header {
	h := http.Header{}
	for name, value := range r.Fields() {
		h.Add(string(name), string(value))
	}
	return h
}

// compareHeaders leaves out what net/http takes from the header or mends.
func compareHeaders(t *testing.T, got http.Header, want *http.Request) {
	t.Helper()
	for _, name := range []string{"Host", "Transfer-Encoding", "Content-Length", "Trailer", "Cache-Control"} {
		got.Del(name)
		want.Header.Del(name)
	}
	for name := range got {
		if !slices.Equal(got[name], want.Header[name]) {
			t.Fatalf("%s: %q, net/http: %q", name, got[name], want.Header[name])
		}
	}
	if len(got) != len(want.Header) {
		t.Fatalf("header %q, net/http: %q", got, want.Header)
	}
}

// FuzzTarget holds the short ways of a request against those of net/http.
func FuzzTarget(f *testing.F) {
	f.Add("/2015-03-31/functions/hello:$LATEST/invocations?Qualifier=a%20b", "X-Amz-Date")
	f.Add("//host/path", "x-amzn-trace-id")
	f.Add("/?", "ETag")
	f.Add("/a;b?#c", "a-")
	f.Fuzz(func(t *testing.T, target, name string) {
		if strings.HasPrefix(target, "/") && !strings.ContainsAny(target, " \t") && all(target, text) {
			got, err := parseTarget(target)
			want, wantErr := url.ParseRequestURI(target)
			if (err == nil) != (wantErr == nil) || err == nil && *got != *want {
				t.Fatalf("%q: %#v, %v; net/url: %#v, %v", target, got, err, want, wantErr)
			}
		}
		if IsToken(name) {
			if got, want := Canonical(name), http.CanonicalHeaderKey(name); got != want {
				t.Fatalf("%q: %q, net/http: %q", name, got, want)
			}
		}
	})
}

// TestReady gives a chunked body byte by byte: Ready is true only where Read does
// not need another byte, and where a chunk is there it is true.
func TestReady(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	for sent, want := range map[string]bool{
		"\n":                   false,
		"":                     false,
		"\r":                   false,
		"\r\n":                 false,
		"\r\n3":                false,
		"\r\n3\r\n":            false,
		"\r\n3\r\nf":           true,
		"\r\n0\r\n\r\n":        false,
		"\r\n3;x=y\r\nfoo\r\n": true,
	} {
		ours, theirs := net.Pipe()
		r := NewReader(ours, ours, Limits{Header: 1 << 10, Line: 1 << 10})
		wrote := make(chan error, 1)
		go func() { _, err := io.WriteString(theirs, head+"3\r\none"+sent); wrote <- err }()
		if err := r.Next(); err != nil {
			t.Fatal(err)
		}
		var b [8]byte
		if n, err := r.Read(b[:]); err != nil || string(b[:n]) != "one" {
			t.Fatalf("%q: read %q, %v", sent, b[:n], err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		if got := r.Ready(); got != want {
			t.Errorf("after %q Ready is %v, want %v", sent, got, want)
		}
		_ = ours.Close()   // both are the test's own
		_ = theirs.Close() // and end with it
	}
}
