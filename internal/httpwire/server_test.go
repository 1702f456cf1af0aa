package httpwire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const long = 10 * time.Second

func takesHot(method string, target []byte) bool {
	return method == http.MethodPost && bytes.HasPrefix(target, []byte("/hot"))
}

// rig is a server of a handler, and one of net/http to hold it against.
type rig struct {
	*testing.T
	s           *Server
	ours, plain string // addresses
}

func newRig(t *testing.T, h http.Handler, change ...func(*Options)) *rig {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	newHTTP := func(h http.Handler) *http.Server {
		return &http.Server{Handler: h, ReadHeaderTimeout: long, MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(quiet.Handler(), 0)}
	}
	o := Options{
		Handler: h, Takes: takesHot, Header: 8 << 10, HeaderTimeout: long, Idle: long, Log: quiet,
		Other: newHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Served-By", "net/http")
			h.ServeHTTP(w, r)
		})),
	}
	for _, f := range change {
		f(&o)
	}
	r := &rig{T: t, s: NewServer(o)}
	plain := newHTTP(h)
	for addr, serve := range map[*string]func(net.Listener) error{&r.ours: r.s.Serve, &r.plain: plain.Serve} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*addr = l.Addr().String()
		served := make(chan error, 1)
		go func() { served <- serve(l) }()
		t.Cleanup(func() {
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("Serve: %v", err)
			}
		})
	}
	t.Cleanup(func() { r.s.Close(); o.Other.Close(); plain.Close(); r.s.conns.Wait() })
	return r
}

func (r *rig) dial(addr string) net.Conn {
	r.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(long)) // a TCP connection always takes one
	return c
}

// answered is what a client sees of one answer.
type answered struct {
	status int
	header string
	body   string
}

func (a answered) String() string { return fmt.Sprintf("%d %s %q", a.status, a.header, a.body) }

// talk sends in and returns the answers, until the connection ends.
func (r *rig) talk(addr, in string) []answered {
	r.Helper()
	c := r.dial(addr)
	go io.WriteString(c, in)
	var all []answered
	for b := bufio.NewReader(c); ; {
		res, err := http.ReadResponse(b, nil)
		if err != nil {
			return all
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			body = append(body, "!"...)
		}
		if _, err := http.ParseTime(res.Header.Get("Date")); err != nil && res.StatusCode < 300 && res.StatusCode >= 200 {
			r.Errorf("date: %v", err)
		}
		res.Header.Del("Date")
		var header strings.Builder
		for _, name := range slices.Sorted(maps.Keys(res.Header)) {
			fmt.Fprintf(&header, "%s=%q ", name, res.Header[name])
		}
		fmt.Fprintf(&header, "close=%v length=%d", res.Close, res.ContentLength)
		all = append(all, answered{res.StatusCode, header.String(), string(body)})
	}
}

// mirror answers with all that a handler can see of a request, or as the query
// says.
func mirror(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Has("panic") {
		panic(http.ErrAbortHandler)
	}
	for _, v := range q["header"] {
		name, value, _ := strings.Cut(v, ":")
		w.Header().Add(name, value)
	}
	if n, err := strconv.Atoi(q.Get("status")); err == nil {
		w.WriteHeader(n)
	}
	if q.Has("unread") {
		_, _ = io.WriteString(w, "unread")
		return
	}
	if n, err := strconv.Atoi(q.Get("write")); err == nil {
		for range max(1, n/1000) {
			_, _ = io.WriteString(w, strings.Repeat("x", min(n, 1000)))
		}
		return
	}
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %s host=%s close=%v length=%d coding=%v proto=%s\n", r.Method, r.RequestURI, r.URL, r.URL.EscapedPath(), r.Host, r.Close, r.ContentLength, r.TransferEncoding, r.Proto)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(w, "%s=%q\n", name, r.Header[name])
	}
	fmt.Fprintf(w, "%q %v", body, err != nil)
}

// TestLikeNetHTTP sends the same to both servers: for a client there must be no
// difference.
func TestLikeNetHTTP(t *testing.T) {
	const end = "POST /hot/end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	post := func(target, head, body string) string {
		return "POST /hot" + target + " HTTP/1.1\r\nHost: example.com:80\r\n" + head + "\r\n" + body
	}
	r := newRig(t, http.HandlerFunc(mirror))
	for name, in := range map[string]string{
		"plain":              post("", "Content-Length: 3\r\nAccept: */*\r\nx-amz-date: d\r\nX-a: 1\r\nx-A: 2\r\n", "abc") + end,
		"no body":            post("", "", "") + end,
		"chunks":             post("", "Transfer-Encoding: chunked\r\n", "3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n") + end,
		"query":              post("/a:b$c?a=b&c=%20d", "", "") + end,
		"empty query":        post("?", "", "") + end,
		"escapes":            post("/a%2Fb%20c", "", "") + end,
		"bad escape":         post("/%zz", "", "") + end,
		"two slashes":        "POST //hot/a HTTP/1.1\r\nHost: x\r\n\r\n" + end,
		"odd path":           post("/a(b)'[]{}|^\"<>\\", "", "") + end,
		"not ASCII":          post("/\xc3\xa4?\xc3\xa4", "A: \xc3\xa4\r\n", "") + end,
		"continue":           post("", "Expect: 100-continue\r\nContent-Length: 3\r\n", "abc") + end,
		"continue, unread":   post("?unread", "Expect: 100-continue\r\nContent-Length: 3\r\n", "abc") + end,
		"unread":             post("?unread", "Content-Length: 3\r\n", "abc") + end,
		"unread chunks":      post("?unread", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n") + end,
		"several at once":    post("", "Content-Length: 3\r\n", "abc") + post("/b", "", "") + post("/c", "Content-Length: 1\r\n", "d") + end,
		"same length twice":  post("", "Content-Length: 3\r\nContent-Length: 3\r\n", "abc") + end,
		"long header":        post("", "A: "+strings.Repeat("a", 6000)+"\r\n", "") + end,
		"large body":         post("", "Content-Length: 100000\r\n", strings.Repeat("b", 100000)) + end,
		"long answer":        post("?write=50000", "", "") + end,
		"declared":           post("?write=3000&header=Content-Length:3000", "", "") + end,
		"declared, large":    post("?write=90000&header=Content-Length:90000", "", "") + end,
		"declared too much":  post("?write=1000&header=Content-Length:3000", "", "") + end,
		"declared too few":   post("?write=3000&header=Content-Length:1000", "", "") + end,
		"status":             post("?status=404", "", "") + end,
		"hints":              post("?status=103&header=Link:a&header=Content-Length:3&write=3", "", "") + end,
		"no content":         post("?status=204", "", "") + end,
		"not modified":       post("?status=304&header=Content-Type:a/b", "", "") + end,
		"header split":       post("?header=A:b%0d%0aEvil:%20c&header=B:%20c%20", "", "") + end,
		"header name":        post("?header=A%20b:c", "", "") + end,
		"content type":       post("?header=Content-Type:a/b&header=X-A:1&header=X-A:2", "", "") + end,
		"handler closes":     post("?header=Connection:close", "", "") + end,
		"client closes":      post("", "Connection: foo, close\r\n", "") + end,
		"panic":              post("?panic", "", "") + end,
		"no other method":    "GET /hot HTTP/1.1\r\nHost: x\r\n\r\n" + end,
		"two hosts":          post("", "Host: y\r\n", ""),
		"length and sign":    post("", "Content-Length: +3\r\n", "abc"),
		"two lengths":        post("", "Content-Length: 3\r\nContent-Length: 4\r\n", "abc"),
		"other coding":       post("", "Transfer-Encoding: gzip\r\n", "abc"),
		"space before colon": post("", "A : b\r\n", ""),
		"no colon":           post("", "A\r\n", ""),
		"header too large":   post("", strings.Repeat("A: "+strings.Repeat("a", 1000)+"\r\n", 14), ""),
		"bad chunk":          post("", "Transfer-Encoding: chunked\r\n", "x\r\n\r\n") + end,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, plain := r.talk(r.ours, in), r.talk(r.plain, in)
			for i := range plain { // the reasons of refusals have words of their own
				if plain[i].status >= 400 && i < len(ours) && strings.HasSuffix(plain[i].header, "length=-1") {
					ours[i].body, plain[i].body = "", ""
					ours[i].header, _, _ = strings.Cut(ours[i].header, "length")
					plain[i].header, _, _ = strings.Cut(plain[i].header, "length")
				}
			}
			for i := range ours {
				ours[i].header = strings.Replace(ours[i].header, `Served-By=["net/http"] `, "", 1)
			}
			if fmt.Sprint(ours) != fmt.Sprint(plain) {
				t.Errorf("ours     %v\nnet/http %v", ours, plain)
			}
		})
	}
}

// TestHandOver are connections that are net/http's from their first request, or a
// later one, on.
func TestHandOver(t *testing.T) {
	const end = "GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	r := newRig(t, http.HandlerFunc(mirror))
	for name, c := range map[string]struct {
		in    string
		other string // which of the answers are net/http's
	}{
		"first":         {"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + end, "yy"},
		"with a body":   {"PUT /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + end, "yy"},
		"second":        {"POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n" + end, "nyy"},
		"for good":      {"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /hot HTTP/1.1\r\nHost: x\r\n\r\n" + end, "yyy"},
		"HTTP/1.0":      {"POST /hot HTTP/1.0\r\n\r\n", "y"},
		"upgrade":       {"POST /hot HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + end, "yy"},
		"trailers":      {"POST /hot HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n" + end, "yy"},
		"HEAD":          {"HEAD /hot HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "y"},
		"whole target":  {"POST http://x/hot HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "y"},
		"large and hot": {"POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\nUpgrade: x\r\n\r\n" + strings.Repeat("b", 9000) + end, "yy"},
	} {
		got := ""
		for _, a := range r.talk(r.ours, c.in) {
			if a.status != 200 {
				t.Errorf("%s: %v", name, a)
			}
			if strings.Contains(a.header, "Served-By") {
				got += "y"
			} else {
				got += "n"
			}
		}
		if got != c.other {
			t.Errorf("%s: served by net/http: %s, want %s", name, got, c.other)
		}
	}
}

// TestSmuggling are forms that net/http puts up with.
func TestSmuggling(t *testing.T) {
	r := newRig(t, http.HandlerFunc(mirror))
	for name, in := range map[string]string{
		"length and chunks": "POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"bare LF":           "POST /hot HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
		"continued line":    "POST /hot HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
		"odd host":          "POST /hot HTTP/1.1\r\nHost: x/y\r\n\r\n",
	} {
		got := r.talk(r.ours, in+"POST /hot/smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
		if len(got) != 1 || got[0].status != 400 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestClientGoesAway(t *testing.T) {
	for name, head := range map[string]string{
		"no body": "\r\n", "body": "Content-Length: 3\r\n\r\nabc", "chunks": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	} {
		started, ended := make(chan struct{}), make(chan error, 1)
		r := newRig(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			done := r.Context().Done()
			_, _ = io.ReadAll(r.Body)
			close(started)
			select {
			case <-done:
				ended <- r.Context().Err()
			case <-time.After(long):
				ended <- errors.New("it was not told")
			}
		}))
		c := r.dial(r.ours)
		fmt.Fprint(c, "POST /hot HTTP/1.1\r\nHost: x\r\n"+head)
		<-started
		c.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A client that is still there is not taken for one that has gone, whatever it
// sends meanwhile, and its connection works afterwards.
func TestClientStays(t *testing.T) {
	var last context.Context
	r := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if last != nil && last.Err() == nil {
			t.Error("a context outlived its request")
		}
		last = r.Context()
		select {
		case <-r.Context().Done():
			t.Error("canceled")
		case <-time.After(5 * watchAfter):
		}
		_, _ = io.WriteString(w, r.RequestURI)
	}), func(o *Options) { o.Idle = 2 * watchAfter })
	c := r.dial(r.ours)
	b := bufio.NewReader(c)
	for i := range 4 {
		fmt.Fprintf(c, "POST /hot/%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
		if i%2 == 1 { // the next one is sent early
			time.Sleep(2 * watchAfter)
			fmt.Fprintf(c, "POST /hot/early HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		for range 1 + i%2 {
			res, err := http.ReadResponse(b, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
	}
}

// slowConn takes its time to lift a deadline.
type slowConn struct{ net.Conn }

func (c slowConn) SetReadDeadline(at time.Time) error {
	if at.IsZero() {
		time.Sleep(50 * time.Millisecond)
	}
	return c.Conn.SetReadDeadline(at)
}

// A request that ends while its watch begins is not held up by it.
func TestEndAsTheWatchBegins(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	c := newConn(NewServer(Options{}), slowConn{near})
	c.phase = phaseBody
	c.r.buf.next()
	l := &life{c: c, body: true}
	done := l.Done()
	time.Sleep(watchAfter + 10*time.Millisecond)
	late := time.AfterFunc(2*time.Second, func() {
		t.Error("the watch did not end")
		far.Close()
	})
	l.end()
	late.Stop()
	<-done
	far.Close()
}

func TestSlowClients(t *testing.T) {
	r := newRig(t, http.HandlerFunc(mirror), func(o *Options) { o.HeaderTimeout, o.Idle = 50*time.Millisecond, 200*time.Millisecond })
	for name, c := range map[string]struct {
		in   string
		most time.Duration
	}{
		"nothing sent":                     {"", 2 * time.Second},
		"half a head":                      {"POST /hot HTTP/1.1\r\nHos", 150 * time.Millisecond},
		"after one request":                {"POST /hot HTTP/1.1\r\nHost: x\r\n\r\n", 2 * time.Second},
		"half of a body that nobody reads": {"POST /hot?unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", 150 * time.Millisecond},
	} {
		begin := time.Now()
		r.talk(r.ours, c.in)
		if took := time.Since(begin); took < 45*time.Millisecond || took > c.most+time.Second {
			t.Errorf("%s: the connection ended after %v", name, took)
		}
	}
	// A body may take its time.
	c := r.dial(r.ours)
	fmt.Fprint(c, "POST /hot HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\na")
	time.Sleep(400 * time.Millisecond)
	fmt.Fprint(c, "bc")
	if out, err := io.ReadAll(c); err != nil || !bytes.Contains(out, []byte(`"abc"`)) {
		t.Errorf("%q, %v", out, err)
	}
}

func TestShutdown(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	r := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-finish
		_, _ = io.WriteString(w, "done")
	}))
	idle, busy := r.dial(r.ours), r.dial(r.ours)
	fmt.Fprint(busy, "POST /hot HTTP/1.1\r\nHost: x\r\n\r\n")
	<-started
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.s.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a request running: %v", err)
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection was answered")
	}
	if c, err := net.Dial("tcp", r.ours); err == nil {
		c.Close()
		t.Error("a connection was accepted")
	}
	close(finish)
	if err := r.s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	out, err := io.ReadAll(busy)
	if err != nil || !bytes.HasSuffix(out, []byte("done")) || !bytes.Contains(out, []byte("Connection: close")) {
		t.Errorf("%q, %v", out, err)
	}
}

func TestCloseCutsRequests(t *testing.T) {
	started := make(chan struct{})
	r := newRig(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
	}))
	c := r.dial(r.ours)
	fmt.Fprint(c, "POST /hot HTTP/1.1\r\nHost: x\r\n\r\n")
	<-started
	r.s.Close()
	r.s.conns.Wait()
	if out, err := io.ReadAll(c); err == nil && len(out) > 0 {
		t.Errorf("%q", out)
	}
}

// The warm path has a budget.
func TestAllocations(t *testing.T) {
	const budget = 8
	r := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = r.Header["Content-Type"]
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "{}")
	}))
	c := r.dial(r.ours)
	in := []byte("POST /hot/invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Amz-Date: 20200101T000000Z\r\nContent-Length: 2\r\n\r\n{}")
	buf := make([]byte, 4096)
	got := testing.AllocsPerRun(500, func() {
		if _, err := c.Write(in); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	})
	if got > budget {
		t.Errorf("a request makes %.0f allocations, the budget is %d", got, budget)
	}
}
